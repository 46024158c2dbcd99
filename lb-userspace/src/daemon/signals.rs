//! Signals, as words.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// TERM, INT: a graceful stop, or, while that goes on, an immediate one.
    Stop,
    /// USR1: a graceful stop, and nothing more when repeated.
    SoftStop,
    /// HUP, USR2: another configuration.
    Reload,
}

/// The signals that the daemon heeds.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Heeds them from now on. Needs a runtime.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one that asks for a stop. Others wait for [`Signals::next`].
    pub(super) async fn stop(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.user1.recv() => Request::SoftStop,
        }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.user1.recv() => Request::SoftStop,
            _ = self.user2.recv() => Request::Reload,
            _ = self.hangup.recv() => Request::Reload,
        }
    }
}
