//! A connection that waits for its client's next request.
//!
//! What serves a request takes tens of kilobytes: hyper's state and read buffer, the future of the exchange. A client
//! that says nothing for a while is left with its socket, its timer and what it has been counted as; what serves is
//! made anew once there is something to read.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::{
    client::Client,
    serve::{End, Timer},
};
use crate::proxy::Stream;

/// How long a client says nothing before its connection is parked. Short enough that few of many idle connections are
/// not; long enough that a busy one hardly ever is, and that its timer fires ten times a second at most.
pub(super) const AFTER: Duration = Duration::from_millis(100);

/// Waits until there is something to read, if only the end; `Some` if the connection is to end before that.
///
/// For a connection of which nothing is left to be read outside its socket.
pub(super) async fn wait(client: &Client, stream: &Stream) -> Option<End> {
    // Most newcomers have said something by now, and need not be waited for.
    if !client.worker.http.is_superseded() && stream.tcp().has_come() {
        return None;
    }
    // The timer is set below, if ever.
    let sleep = pin!(tokio::time::sleep_until(client.now().into()));
    let mut timer = Timer::new(sleep);
    let mut change = pin!(client.worker.http.changed().notified());
    let (mut registered, mut quiet) = (false, false);
    poll_fn(|cx| {
        client.tick();
        if !registered {
            registered = true;
            let _ = change.as_mut().poll(cx);
        }
        if client.worker.http.is_quiet() && !quiet {
            // The stop itself is still to come.
            quiet = true;
            change.set(client.worker.http.changed().notified());
            let _ = change.as_mut().poll(cx);
        }
        if client.moves() {
            return Poll::Ready(Some(End::Superseded));
        }
        // What is there is served first. Errors are for hyper to find, as without parking.
        if stream.tcp().poll_read_ready(cx).is_ready() {
            return Poll::Ready(None);
        }
        if client.is_leaving() {
            return Poll::Ready(Some(End::Closed));
        }
        // A newcomer may still have a request on its way when all stops, for a moment.
        let leaves = client.leaves_at();
        let deadline = client.deadline();
        let next = leaves.map_or(deadline, |leaves| {
            Some(deadline.map_or(leaves, |at| at.min(leaves)))
        });
        if timer.poll(next, client, cx) {
            return Poll::Ready(Some(match leaves.is_some() && client.is_leaving() {
                true => End::Closed,
                false => End::TimedOut,
            }));
        }
        Poll::Pending
    })
    .await
}
