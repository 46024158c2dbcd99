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
    proxy::{dispatch::Trace, http::client::Client},
};

/// What comes of the way to a server; `None` if the client has left before that.
pub(super) async fn unless_left<T>(
    client: &Client,
    mut reach: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| match reach.as_mut().poll(cx) {
        Poll::Pending if client.has_left() => Poll::Ready(None),
        reached => reached.map(Some),
    })
    .await
}

/// The client has left while its request waited for a server, or for a connection to one.
pub(super) fn given_up(client: &Client, trace: &mut Trace, started: Instant) -> Failure {
    let phase = match trace.queued {
        None => Phase::Queue,
        Some(_) => Phase::Connect,
    };
    let waited = client.now().saturating_duration_since(started);
    trace.queued.get_or_insert(waited);
    client.exchange().note(trace);
    persist::forget(client);
    client.exchange().terminate(Cause::Client, phase);
    Failure::Close(None)
}
