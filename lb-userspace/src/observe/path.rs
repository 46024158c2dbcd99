//! Which data path carries what, and why: published by the fast path, shown by `lb status`, the page and the metrics.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

/// Everything there is to say about the in-kernel path at one moment. The default says that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PathStatus {
    /// Build of the kernel program (`--version` names it too); `None` where none is loaded.
    pub program: Option<String>,
    /// A frontend without an entry is served by userspace alone.
    pub frontends: Vec<FrontendPath>,
    /// The interfaces that were considered.
    pub interfaces: Vec<InterfacePath>,
    /// Kernel flows now.
    pub flows: u64,
    /// Most kernel flows at a time; 0 where no program is loaded.
    pub max_flows: u64,
    /// The kernel's counters by reason.
    pub counters: Vec<KernelCounter>,
}

/// The path of one frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontendPath {
    /// The frontend's name.
    pub frontend: String,
    /// Where its new flows go.
    pub path: PathKind,
    /// Why, as one clause: "fast_path.attach is off", "mode http needs userspace".
    pub reason: String,
}

/// Where new flows of a frontend go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// The kernel takes them; userspace only what the kernel cannot.
    Kernel,
    /// Userspace takes all of them.
    Userspace,
    /// Some binds or interfaces have the kernel path, others do not.
    Both,
}

impl PathKind {
    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
            Self::Both => "both",
        }
    }
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePath {
    /// Its name.
    pub name: String,
    /// How the program is attached: `xdp`, `xdp-generic`, `tc`, `none`.
    pub attach: String,
    /// Why this way, as one clause.
    pub reason: String,
}

/// One of the kernel's counters, summed over CPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounter {
    /// Its name in snake case, without prefix: `no_neighbour`.
    pub name: String,
    /// One sentence for operators.
    pub help: String,
    /// What counting it means.
    pub kind: CounterKind,
    /// Packets.
    pub value: u64,
}

/// What it means that a counter went up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterKind {
    /// Packets that were forwarded.
    Forwarded,
    /// Packets that were left to the host.
    PassedUp,
    /// Packets that were dropped.
    Dropped,
    /// Something else that is worth counting.
    Other,
}

impl CounterKind {
    /// As a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::PassedUp => "passed_up",
            Self::Dropped => "dropped",
            Self::Other => "other",
        }
    }
}

/// The present [`PathStatus`]; clones share it. The fast path stores, everyone else loads.
#[derive(Debug, Clone, Default)]
pub struct SharedPathStatus(Arc<ArcSwap<PathStatus>>);

impl SharedPathStatus {
    /// The latest.
    pub fn load(&self) -> Arc<PathStatus> {
        self.0.load_full()
    }

    /// Publishes a new one.
    pub fn store(&self, status: PathStatus) {
        self.0.store(Arc::new(status));
    }
}

impl PathStatus {
    /// What the fast path says of `frontend`; `None` if it does not serve it.
    pub fn of(&self, frontend: &str) -> Option<&FrontendPath> {
        self.frontends.iter().find(|path| path.frontend == frontend)
    }
}
