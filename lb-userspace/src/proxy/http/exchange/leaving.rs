//! Requests that are given up because their client has left (`abort_on_close`).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Instant,
};

use super::{Failure, persist};
use crate::{
    observe::log::{Cause, Phase},
    proxy::{dispatch::Trace, http::client::Client, sessions},
};

/// What comes of the way to a server; `None` if the client has left before that, or its connection has been ended.
pub(super) async fn unless_left<T>(
    client: &Client,
    mut reach: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| {
        // Before it is given a place that others have just had to leave.
        if sessions::is_killed() {
            return Poll::Ready(None);
        }
        match reach.as_mut().poll(cx) {
            Poll::Pending if client.has_left() => Poll::Ready(None),
            reached => reached.map(Some),
        }
    })
    .await
}

/// The client has left while its request waited for a server, or for a connection to one.
pub(super) fn given_up(client: &Client, trace: &mut Trace, started: Instant) -> Failure {
    let phase = note(client, trace, started);
    persist::forget(client);
    client.exchange().terminate(Cause::Client, phase);
    Failure::Close(None)
}

/// Takes over how far a request has come on its way to a server.
fn note(client: &Client, trace: &mut Trace, started: Instant) -> Phase {
    let phase = match trace.queued {
        None => Phase::Queue,
        Some(_) => Phase::Connect,
    };
    let waited = client.now().saturating_duration_since(started);
    trace.queued.get_or_insert(waited);
    client.exchange().note(trace);
    phase
}

/// A request's way to a server. If it is dropped before that `ends`, as that of a stream is which its client resets, the
/// log says how far it had come.
pub(super) struct OnTheWay<'a> {
    client: &'a Client,
    trace: &'a mut Trace,
    started: Instant,
    ended: bool,
}

impl<'a> OnTheWay<'a> {
    pub(super) fn new(client: &'a Client, trace: &'a mut Trace, started: Instant) -> Self {
        Self {
            client,
            trace,
            started,
            ended: false,
        }
    }

    pub(super) fn trace(&mut self) -> &mut Trace {
        self.trace
    }

    /// Whatever has come of it is known.
    pub(super) fn ends(mut self) {
        self.ended = true;
    }
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        if !self.ended && self.client.exchange().is_open() {
            let phase = note(self.client, self.trace, self.started);
            self.client.exchange().stage = phase;
        }
    }
}
