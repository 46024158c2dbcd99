//! What a worker's HTTP connections share.

use std::{cell::Cell, fmt, rc::Rc};

use hyper::server::conn::http1;
use tokio::sync::Notify;

use super::pool::Pool;
use crate::proxy::Worker;

/// Largest head of a request: HAProxy's `tune.bufsize` less `tune.maxrewrite`.
const MAX_HEAD: usize = 16 * 1024 - 1024;
/// What is read of a request's body at a time, and what waits of an answer before more of it is asked for.
const BUFFER: usize = 32 * 1024;
/// Most fields of a request: HAProxy's `tune.http.maxhdr`.
const MAX_FIELDS: usize = 101;

/// What a worker's HTTP connections share; never touched by another thread.
pub struct Local {
    pub(super) pool: Pool,
    pub(super) server: http1::Builder,
    lingering: Cell<bool>,
    quiet: Cell<bool>,
    stopping: Cell<bool>,
    superseded: Cell<bool>,
    changed: Notify,
}

impl Default for Local {
    fn default() -> Self {
        let mut server = http1::Builder::new();
        server
            .auto_date_header(false)
            .header_read_timeout(None)
            // A client may shut its side down and still read the answer.
            .half_close(true)
            .max_headers(MAX_FIELDS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(BUFFER);
        Self {
            pool: Pool::default(),
            server,
            lingering: Cell::new(false),
            quiet: Cell::new(false),
            stopping: Cell::new(false),
            superseded: Cell::new(false),
            changed: Notify::new(),
        }
    }
}

impl Local {
    /// Whether connections should end after the request that they are at.
    ///
    /// The worker's own flag is shared between threads; this copy is not, so every connection may look at it always.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether connections should end with the next answer, and idle ones stay until then: another process has the
    /// listeners, and a client may be about to ask.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.get()
    }

    /// Connections are to end with their next answer.
    pub(in crate::proxy) fn linger(&self) {
        self.lingering.set(true);
        self.changed.notify_waiters();
    }

    /// Whether connections should end after a request: those that have not carried one yet may still do so.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.get()
    }

    /// Whether there is a newer configuration, under which connections go on after the request that they are at.
    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.get()
    }

    /// Wakes when any of these begins.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Connections are to end after a request.
    pub(in crate::proxy) fn quieten(&self) {
        self.quiet.set(true);
        self.changed.notify_waiters();
    }

    /// Connections are to end after the request that they are at.
    pub(in crate::proxy) fn leave(&self) {
        self.stopping.set(true);
        self.changed.notify_waiters();
    }

    /// The configuration of `next` takes the place of this one's: it has the connections to servers that it can use, and
    /// clients' connections move there.
    pub(in crate::proxy) fn supersede(&self, next: &Rc<Worker>) {
        next.http.pool.inherit(&self.pool, next);
        self.superseded.set(true);
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("stopping", &self.stopping)
            .finish_non_exhaustive()
    }
}
