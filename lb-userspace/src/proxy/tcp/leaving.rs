//! Sessions that end before their data is carried.

use tokio::io::Interest;

use super::{Client, inspect::Ended};
use crate::{
    observe::log::{Cause, Phase, Termination},
    proxy::{
        peek::{Looked, Peeked, peek},
        sessions,
    },
    wire::Socket,
};

/// Whether the client has said something that nobody has read, as who waits for a server has: HAProxy reads it meanwhile,
/// so that the session is not one on which nothing was said. A TLS client's mere goodbye is something as well.
pub(super) fn has_unread(client: &Client) -> bool {
    rustix::io::ioctl_fionread(client.stream.tcp()).is_ok_and(|unread| unread > 0)
}

/// Resolves when the client has left: it has reset the connection, or, having said nothing, closed it. A FIN after something
/// is no more than the end of that; `spoken` is that something has been read.
pub(super) async fn left(client: &Client, spoken: bool) {
    let stream = client.stream.tcp();
    // What came with the last of a handshake is in nobody's sight.
    let spoken = spoken || client.tls.is_some();
    let silent = async {
        if spoken || !is_at_end(stream).await {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = silent => {}
        () = reset(stream) => {}
    }
}

/// Whether the peer ends what it says before it has said anything.
async fn is_at_end(stream: &Socket) -> bool {
    let looked = peek(stream, 1, |seen| match seen.is_empty() {
        true => Looked::Wants(1),
        false => Looked::Enough(()),
    });
    matches!(looked.await, Ok(Peeked::Ended(0)))
}

/// Resolves when the peer has reset the connection; a mere FIN is no reset.
pub(super) async fn reset(stream: &Socket) {
    loop {
        match stream.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() => return,
            Ok(_) => tokio::task::yield_now().await,
            // Nobody watches it, which is no word of the peer.
            Err(_) => std::future::pending().await,
        }
    }
}

/// What comes of looking at what the client says first, unless the session is ended before.
pub(super) async fn unless_killed(
    looking: impl Future<Output = Result<(), Ended>>,
) -> Result<(), Ended> {
    tokio::select! {
        biased;
        () = sessions::killed() => Err(Ended::Gone(Termination::new(Cause::Killed, Phase::Request))),
        looked = looking => looked,
    }
}
