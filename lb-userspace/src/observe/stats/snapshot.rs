//! Everything that statistics show, at one moment.

use std::{borrow::Cow, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::{
    gather,
    history::{Curves, History},
    process::Process,
    row::Row,
    top::{Clients, Top},
};
use crate::{
    observe::{
        log::{self, sink::Totals},
        path::{PathKind, PathStatus, SharedPathStatus},
    },
    topology::Topology,
};

/// Where statistics come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sources {
    topology: Arc<ArcSwap<Topology>>,
    /// The process.
    pub process: Arc<Process>,
    /// The in-kernel path.
    pub path: SharedPathStatus,
    /// The log, for its own counters.
    pub log: log::Sink,
    /// The last hour.
    pub history: History,
    /// Who asks most.
    pub top: Top,
}

impl Sources {
    /// Statistics of `topology`.
    pub fn new(
        topology: Arc<Topology>,
        process: Arc<Process>,
        path: SharedPathStatus,
        log: log::Sink,
    ) -> Self {
        Self {
            topology: Arc::new(ArcSwap::new(topology)),
            process,
            path,
            log,
            history: History::default(),
            top: Top::default(),
        }
    }

    /// The topology that is running.
    pub fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// Another topology runs from now on.
    pub fn set_topology(&self, topology: Arc<Topology>) {
        self.topology.store(topology);
    }

    /// The present figures.
    pub fn snapshot(&self) -> Snapshot {
        let topology = self.topology();
        let path = PathStatus::clone(&self.path.load());
        Snapshot {
            process: ProcessFacts {
                version: env!("CARGO_PKG_VERSION").into(),
                node: node(),
                pid: self.process.pid,
                threads: self.process.threads,
                maxconn: self.process.maxconn(),
                started: self
                    .process
                    .started
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs()),
                uptime: self.process.started_at.elapsed().as_secs(),
                stopping: self.process.is_stopping(),
                servers_refused: self.process.servers_refused(),
                current_connections: topology
                    .frontends
                    .iter()
                    .map(|f| u64::from(f.current()))
                    .sum(),
                log: self.log.totals(),
                predecessors: {
                    let left = self.process.predecessors().into_iter();
                    let left = left.map(|(pid, connections)| Predecessor { pid, connections });
                    left.collect()
                },
            },
            frontends: topology
                .frontends
                .iter()
                .map(|frontend| gather::frontend(frontend, &path, &topology.clock, &self.process))
                .collect(),
            backends: topology
                .backends
                .iter()
                .map(|backend| gather::backend(backend, &topology.clock))
                .collect(),
            path,
            history: None,
            clients: Vec::new(),
        }
    }

    /// The present figures with all that the page has beside them: the last hour, and who asks most.
    pub fn whole(&self) -> Snapshot {
        let mut snapshot = self.snapshot();
        snapshot.history = Some(self.history.total());
        for frontend in &mut snapshot.frontends {
            let name = frontend.row.pxname.as_deref();
            frontend.history = name.and_then(|name| self.history.frontend(name));
        }
        for backend in &mut snapshot.backends {
            let name = backend.own.row.pxname.as_deref();
            backend.history = name.and_then(|name| self.history.backend(name));
        }
        snapshot.clients = self.top.clients(&self.topology());
        snapshot
    }
}

/// All figures at one moment. Its JSON form is the stats endpoint's `;json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The process.
    pub process: ProcessFacts,
    /// Frontends in the order of the file.
    pub frontends: Vec<FrontendStats>,
    /// Backends in the order of the file.
    pub backends: Vec<BackendStats>,
    /// The in-kernel path.
    #[serde(rename = "fast_path")]
    pub path: PathStatus,
    /// All frontends together in the last hour; only where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Curves>,
    /// Who asks most, by each stick table of addresses; only where it is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Clients>,
}

impl Snapshot {
    /// All rows in HAProxy's order: frontends, then each backend's servers and the backend itself.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        let frontends = self.frontends.iter().map(|frontend| &frontend.row);
        let backends = self.backends.iter().flat_map(|backend| {
            backend
                .servers
                .iter()
                .chain([&backend.own])
                .map(|member| &member.row)
        });
        frontends.chain(backends)
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> String {
        // Strings and numbers always encode.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// The program's version.
    pub version: Cow<'static, str>,
    /// The host's name.
    pub node: String,
    /// Process id.
    pub pid: u32,
    /// Worker threads.
    pub threads: usize,
    /// Most userspace connections at a time, if bounded.
    pub maxconn: Option<u32>,
    /// Seconds since 1970 at its start.
    pub started: u64,
    /// Seconds since its start.
    pub uptime: u64,
    /// Whether a stop has begun.
    pub stopping: bool,
    /// What is wrong with files of servers, so that earlier ones are in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers_refused: Vec<String>,
    /// Userspace connections now.
    pub current_connections: u64,
    /// What became of log lines.
    pub log: Totals,
    /// Processes whose place this one has taken, while they serve their last connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predecessors: Vec<Predecessor>,
}

/// A process that serves its last connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its id.
    pub pid: u32,
    /// How many they are.
    pub connections: u64,
}

impl ProcessFacts {
    /// `0d 0h03m20s`, as HAProxy writes an uptime.
    pub fn uptime_text(&self) -> String {
        let s = self.uptime;
        format!(
            "{}d {}h{:02}m{:02}s",
            s / 86_400,
            s / 3600 % 24,
            s / 60 % 60,
            s % 60
        )
    }
}

/// A frontend's figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontendStats {
    /// HAProxy's row.
    pub row: Row,
    /// Its binds as configured.
    pub binds: Vec<String>,
    /// Which way its new connections take.
    pub path: PathKind,
    /// Why, or where it is attached.
    pub path_reason: String,
    /// The kernel's part of the row.
    pub kernel: KernelShare,
    /// The last hour; only where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Curves>,
}

/// A backend's figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// How the kernel sends to its servers; `None` in mode http.
    pub forward: Option<Cow<'static, str>>,
    /// The backend itself.
    pub own: Member,
    /// Its servers in the order of the file.
    pub servers: Vec<Member>,
    /// The last hour; only where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Curves>,
}

/// A server or a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// HAProxy's row.
    pub row: Row,
    /// The kernel's part of the row.
    pub kernel: KernelShare,
}

/// What the kernel carried of a row's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KernelShare {
    /// Flows now, part of `scur`.
    pub active: u64,
    /// Flows so far, part of `stot`.
    pub connections: u64,
    /// Part of `bin`.
    pub bytes_in: u64,
    /// Part of `bout`.
    pub bytes_out: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
}

/// Whole seconds, as HAProxy's columns have them.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

/// The host's name, as `uname -n` says it.
fn node() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
