//! The rest of a request whose answer is complete.
//!
//! A server may answer before it has all of a request and want the rest all the same: an upload that is acknowledged at
//! its beginning, or one that it refuses and reads to its end so that the connection can go on. Who cut it off there would
//! leave the server with half of what was meant for it. So, as in HAProxy, the exchange lasts until both sides are done.

use std::task::{Context, Poll};

use super::{Client, Expired, Upload, Wait};
use crate::{
    observe::log::{Cause, Phase},
    proxy::{
        http::upstream::{Lease, Sending},
        sessions,
    },
};

impl Client {
    /// The answer is complete; the rest of the request goes by `lease` to the server, until the server has it.
    pub(in super::super) fn carry_on(&self, lease: Lease) {
        let patience = match self.wait.get() {
            Wait::Body(patience) => patience,
            _ => self.timeouts().client,
        };
        self.wait.set(Wait::Request(patience));
        self.rest.replace(Some(Box::new(lease)));
    }

    /// Whether there is such a rest.
    pub(in super::super) fn is_carrying_on(&self) -> bool {
        self.rest.borrow().is_some()
    }

    /// Moves it on. Ready when there is none any more.
    pub(in super::super) fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut lease) = self.rest.take() else {
            return Poll::Ready(());
        };
        let sending = lease.send_on(cx);
        let cause = match (self.upload(), sending) {
            (Upload::Aborted, _) => Some(Cause::Client),
            (Upload::Malformed, _) => Some(Cause::Proxy),
            (_, Sending::Done) | (Upload::Done, Sending::Ended { .. }) => None,
            (_, Sending::Ended { failed: true }) => Some(Cause::Server),
            // It says no more, as after an answer with which it closes, so that there is nothing to wait for.
            (_, Sending::Ended { failed: false }) => None,
            (_, Sending::More) => match self.expired() {
                Some(Expired::Client) => Some(Cause::ClientTimeout),
                Some(Expired::Server) => Some(Cause::ServerTimeout),
                None if self.exchange().is_shut_down(cx) => Some(Cause::Down),
                None => {
                    self.rest.replace(Some(lease));
                    return Poll::Pending;
                }
            },
        };
        self.wait.set(Wait::Nothing);
        match cause {
            None => lease.put_by(self),
            // With it goes the request's body.
            Some(_) => drop(lease),
        }
        let mut exchange = self.exchange();
        match cause {
            Some(cause @ (Cause::Server | Cause::ServerTimeout | Cause::Down)) => {
                exchange.broken(cause);
            }
            Some(cause) => exchange.terminate(cause, Phase::Data),
            None => {}
        }
        exchange.release();
        Poll::Ready(())
    }

    /// The connection has been ended by an operator, or with the process: so has the exchange, wherever it was.
    pub(in super::super) fn leave_killed(&self) {
        if sessions::is_killed() && self.exchange().is_open() {
            self.tick();
            self.exchange().terminate_here(Cause::Killed);
            self.end_exchange();
        }
    }

    /// Nobody moves it on any more.
    pub(in super::super) fn leave_rest(&self) {
        drop(self.rest.take());
    }

    /// Whether the client may still be sending what nobody reads.
    pub(in super::super) fn is_sending(&self) -> bool {
        matches!(
            self.upload(),
            Upload::Waiting | Upload::Sending | Upload::Unwanted | Upload::Malformed
        )
    }
}

/// Closes the books on a client's request when dropped, if it is dropped because the connection has been ended.
pub(in super::super) struct Killed<'a>(pub(in super::super) &'a Client);

impl Drop for Killed<'_> {
    fn drop(&mut self) {
        self.0.leave_killed();
    }
}

/// Leaves a client's rest when dropped: it holds the request's body, and that the client.
pub(in super::super) struct Leave<'a>(pub(in super::super) &'a Client);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave_rest();
    }
}
