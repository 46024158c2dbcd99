//! Who is told when something changes: the fast path by a version number, the log by events.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{broadcast, watch};

use super::{CheckResult, Server};

/// A change worth a log line, with the facts of HAProxy's.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The backend's name.
    pub backend: Arc<str>,
    /// The server, unless the event is the backend's.
    pub server: Option<Arc<Server>>,
    /// The server whose state it follows, if this is why.
    pub via: Option<String>,
    /// Whether the server was up by its checks when this happened.
    pub healthy: bool,
    /// The last check; the one that caused it, if it is [`EventKind::Down`] or [`EventKind::Up`].
    pub check: Option<Arc<CheckResult>>,
    /// Servers up that are not backups.
    pub active_servers: usize,
    /// Backup servers up.
    pub backup_servers: usize,
    /// Sessions active on the server.
    pub sessions: u32,
    /// Those that waited for the server and are balanced anew.
    pub requeued: u32,
    /// Those that wait for any server of the backend.
    pub queued: u32,
}

/// Kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A check brought the server down.
    Down,
    /// A check brought the server up.
    Up,
    /// The operator put the server into maintenance.
    Maint {
        /// Whether it was up until then.
        was_up: bool,
    },
    /// The operator took the server out of maintenance.
    LeftMaint {
        /// Whether it is drained now.
        draining: bool,
    },
    /// The operator drains the server.
    Drain,
    /// A check was told that it wants nobody new.
    Stopping,
    /// The operator ended the drain.
    LeftDrain,
    /// The server's name leads to another address than before.
    Moved {
        /// Where it was, if that was known.
        from: Option<SocketAddr>,
        /// Where it is.
        to: SocketAddr,
    },
    /// The server's name leads nowhere any more.
    Unresolved {
        /// Whether it was up until then.
        was_up: bool,
        /// HAProxy's words for it.
        why: &'static str,
    },
    /// The backend has no server left.
    NoServer,
}

/// How many events a slow reader may lag behind before it loses some (and learns how many).
const EVENTS_KEPT: usize = 1024;

/// Where changes are announced; shared by all backends of a topology.
#[derive(Debug)]
pub struct Notifier {
    version: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
}

impl Default for Notifier {
    fn default() -> Self {
        Self {
            version: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS_KEPT),
        }
    }
}

impl Notifier {
    /// A version number that rises at each change that the kernel maps have to follow.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(super) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn announce(&self, event: Event) {
        // Nobody listening is no error: a check of the configuration has no log.
        let _ = self.events.send(event);
    }
}
