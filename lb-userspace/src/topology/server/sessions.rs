//! Sessions of a server: how many it may have, and how all of them end before their time.

use std::sync::{
    Arc,
    atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};

use super::{Live, Server};
use crate::config::model::OnMarkedDown;

/// `minconn`: a limit that grows with what is asked of the backend.
#[derive(Debug)]
pub(super) struct Dynamic {
    /// What it never falls below.
    pub(super) least: u32,
    /// Sessions of the backend from which on it is `maxconn`.
    pub(super) full: u32,
    /// Sessions that the backend has, waiting ones included.
    pub(super) current: Arc<AtomicU32>,
}

impl Dynamic {
    /// HAProxy's rule, where `slots` is the whole.
    fn limit(&self, slots: u32) -> u32 {
        let current = self.current.load(Relaxed);
        if current >= self.full {
            return slots;
        }
        let part = u64::from(current) * u64::from(slots) / u64::from(self.full.max(1));
        u32::try_from(part)
            .unwrap_or(slots)
            .max(self.least)
            .min(slots)
    }
}

impl Server {
    /// How often all its sessions have been ended, which `on_marked_down: shutdown-sessions` asks for when it goes
    /// down. Whoever carries sessions to it ends those that began before this rose; [`Topology::changes`] tells when to
    /// look.
    ///
    /// [`Topology::changes`]: super::super::Topology::changes
    pub fn shutdown_sessions(&self) -> u64 {
        self.live.shutdowns.count()
    }

    /// Ends its sessions, if that is what is to become of them.
    pub(in crate::topology) fn end_sessions(&self) {
        if self.config.on_marked_down == OnMarkedDown::ShutdownSessions {
            self.live.shutdowns.rise();
        }
    }

    /// Ends its sessions because a server that it stood in for is up again and wants them (`on_marked_up`).
    pub(in crate::topology) fn give_way(&self) {
        self.live.shutdowns.rise();
    }

    /// Ends its sessions because an operator wants that.
    pub(in crate::topology) fn kill_sessions(&self) {
        self.live.shutdowns.order();
    }

    /// Whether sessions of it that were ended had to give way: it has not gone down itself.
    pub fn gives_way(&self) -> bool {
        self.may_give_way && self.is_up()
    }

    /// Whether it has a slot for everybody: who waited under a limit that is gone has been told.
    pub(in crate::topology) fn is_unlimited(&self) -> bool {
        self.live.userspace_slots.load(SeqCst) == u32::MAX
    }

    /// Connections that userspace may have there now: what `maxconn` leaves it, less while few ask the backend
    /// (`minconn`), or in a slow start.
    pub(in crate::topology) fn limit(&self) -> u32 {
        let slots = self.live.userspace_slots.load(SeqCst);
        if slots == u32::MAX {
            return slots;
        }
        let slots = self
            .dynamic
            .as_ref()
            .map_or(slots, |dynamic| dynamic.limit(slots));
        match self.live.throttle.load(SeqCst) {
            percent @ 0..100 => {
                let part = u64::from(slots) * u64::from(percent) / 100;
                u32::try_from(part).unwrap_or(slots).max(1)
            }
            _ => slots,
        }
    }
}

/// A slot of a server, given back when dropped.
#[derive(Debug)]
pub struct Connection {
    pub(super) server: Arc<Server>,
    /// [`Server::shutdown_sessions`] when it began.
    pub(super) shutdowns: u64,
}

impl Connection {
    /// The server whose slot this is.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Whether the server's sessions are to end, this one among them. It may be asked at any time, and costs no more than
    /// looking.
    pub fn is_over(&self) -> bool {
        self.server.live.shutdowns.count() > self.shutdowns
    }

    /// Whether it is an operator who wants that.
    pub fn is_killed(&self) -> bool {
        self.server.live.shutdowns.ordered() > self.shutdowns
    }

    /// Resolves once an operator or the server's state ends its sessions, this one among them.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.server.live.shutdowns.more_than(self.shutdowns)
    }

    /// Resolves once the server's sessions are to end, this one among them; `None` where its state never brings that about.
    /// An operator may, and sees to it that everybody asks [`Connection::is_over`].
    pub fn shut_down(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.server.config.on_marked_down != OnMarkedDown::ShutdownSessions
            && !self.server.may_give_way
        {
            return None;
        }
        Some(self.ended())
    }
}

/// Something of a server that is counted for as long as this lives.
#[derive(Debug)]
pub struct Counted {
    server: Arc<Server>,
    count: fn(&Live) -> &AtomicU32,
}

impl Counted {
    fn new(server: &Arc<Server>, count: fn(&Live) -> &AtomicU32) -> Self {
        count(&server.live).fetch_add(1, Relaxed);
        Self {
            server: Arc::clone(server),
            count,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.server.live).fetch_sub(1, Relaxed);
    }
}

impl Server {
    /// Another connection of HTTP/1 is made to it, which counts whether or not a request is on it.
    pub fn opens(self: &Arc<Self>) -> Counted {
        Counted::new(self, |live| &live.open)
    }

    /// Whether there are more connections than `maxconn` lets carry a request at a time: some are idle, and may keep a
    /// server that serves no more than so many from looking at those that are not.
    pub fn is_crowded(&self) -> bool {
        let most = self.maxconn();
        most.is_some_and(|most| self.live.open.load(Relaxed) > most)
    }

    /// A connection to it is made to wait, since it has others that it looks at first.
    pub fn presses(self: &Arc<Self>) -> Counted {
        Counted::new(self, |live| &live.pressing)
    }

    /// Whether idle connections to it are to end, since others wait for that.
    pub fn is_pressed(&self) -> bool {
        self.live.pressing.load(Relaxed) > 0 && self.is_crowded()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.live.active.fetch_sub(1, SeqCst);
        if let Some(load) = &self.server.backend_load {
            load.fetch_sub(1, Relaxed);
        }
        if self.server.is_unlimited() {
            // There are slots without this one. Whoever finds fewer has looked after it was given back.
            return;
        }
        // Both: if there are more slots than wait for this very server, they are the backend's.
        self.server.queue.wake_one();
        self.server.backend_queue.wake_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_grows_with_what_is_asked() {
        let current = Arc::new(AtomicU32::new(0));
        let dynamic = Dynamic {
            least: 2,
            full: 100,
            current: Arc::clone(&current),
        };
        let at = |now| {
            current.store(now, Relaxed);
            dynamic.limit(20)
        };
        assert_eq!(
            [at(0), at(10), at(50), at(99), at(100), at(1000)],
            [2, 2, 10, 19, 20, 20]
        );
    }
}
