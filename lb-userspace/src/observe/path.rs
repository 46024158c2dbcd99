//! Which data path carries what, and why: published by the fast path, shown by `lb status`, the page and the metrics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::request::Request;

/// Everything there is to say about the in-kernel path at one moment. The default says that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PathStatus {
    /// Build of the kernel program (`--version` names it too); `None` where none is loaded.
    pub program: Option<String>,
    /// A frontend without an entry is served by userspace alone.
    pub frontends: Vec<FrontendPath>,
    /// The interfaces that were considered.
    pub interfaces: Vec<InterfacePath>,
    /// No interface has the program, since no frontend is for it.
    #[serde(default)]
    pub idle: bool,
    /// Kernel flows now.
    pub flows: u64,
    /// Most kernel flows at a time; 0 where no program is loaded.
    pub max_flows: u64,
    /// Kernel memory of its maps, bytes.
    pub memory: u64,
    /// By how many the counts of active flows differed from the flow tables at the last exact recount.
    pub drift: u64,
    /// Why nobody looks after it, although it forwards.
    #[serde(default)]
    pub lost: Option<String>,
    /// What it cannot do here, each as a clause.
    #[serde(default)]
    pub limits: Vec<String>,
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
    /// Packets that were turned into an answer to their sender.
    Answered,
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
            Self::Answered => "answered",
            Self::Other => "other",
        }
    }
}

/// The present [`PathStatus`], and where the fast path takes requests; clones share both. The fast path stores, everyone
/// else loads.
#[derive(Debug, Clone, Default)]
pub struct SharedPathStatus {
    status: Arc<ArcSwap<PathStatus>>,
    requests: Arc<ArcSwapOption<mpsc::UnboundedSender<Request>>>,
    clear: Arc<AtomicBool>,
}

impl SharedPathStatus {
    /// The latest.
    pub fn load(&self) -> Arc<PathStatus> {
        self.status.load_full()
    }

    /// Publishes a new one.
    pub fn store(&self, status: PathStatus) {
        self.status.store(Arc::new(status));
    }

    /// Takes requests from now on, or none any more.
    pub fn take_requests(&self, sender: Option<mpsc::UnboundedSender<Request>>) {
        self.requests.store(sender.map(Arc::new));
    }

    /// Asks the fast path.
    ///
    /// # Errors
    /// There is none: why, as a sentence.
    pub fn ask(&self, request: Request) -> Result<(), String> {
        let requests = self.requests.load();
        let sent = requests.as_ref().map(|sender| sender.send(request));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.why_none()),
        }
    }

    /// Has the fast path read its counters now; whether there is one.
    ///
    /// # Errors
    /// They cannot be read: why, as a sentence.
    pub async fn look(&self) -> Result<bool, String> {
        let (done, looked) = oneshot::channel();
        if self.ask(Request::Look(done)).is_err() {
            return Ok(false);
        }
        match looked.await {
            Ok(result) => result.map(|()| true),
            // It has ended meanwhile.
            Err(_) => Ok(false),
        }
    }

    /// What the kernel has counted of traffic until now is to count no more: the fast path, or the next one, sees to it.
    pub fn clear_counts(&self) {
        self.clear.store(true, Relaxed);
    }

    /// Whether that is still to be done.
    pub fn take_clear(&self) -> bool {
        self.clear.swap(false, Relaxed)
    }

    fn why_none(&self) -> String {
        let status = self.load();
        if let Some(why) = &status.lost {
            return format!("Nobody looks after the kernel path: {why}.");
        }
        let reasons = status.frontends.iter().map(|frontend| &frontend.reason);
        let why = reasons.into_iter().find(|why| !why.contains("mode http"));
        match why {
            Some(why) => format!("There is no kernel path: {why}."),
            None => "There is no kernel path.".into(),
        }
    }
}

impl PathStatus {
    /// What the fast path says of `frontend`; `None` if it does not serve it.
    pub fn of(&self, frontend: &str) -> Option<&FrontendPath> {
        self.frontends.iter().find(|path| path.frontend == frontend)
    }
}
