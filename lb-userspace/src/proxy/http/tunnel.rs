//! A connection that has switched protocols: what HTTP was goes on as bytes both ways.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{client::Client, h2};
use crate::{
    observe::log::{Cause, Phase, Termination},
    proxy::{
        Stream,
        session::Outcome,
        sessions,
        tcp::relay::{Before, Idle, relay},
    },
    wire::sockopt,
};

/// The server's side of a connection that is to become a tunnel.
pub(super) struct Tunnel {
    pub(super) server: Far,
    pub(super) rest: Rest,
}

/// What the server's side is.
pub(super) enum Far {
    /// A connection.
    Socket(Stream),
    /// A stream of one.
    Http2(Box<h2::Bytestream>),
}

/// What else there is to know of a tunnel.
pub(super) struct Rest {
    /// What the server has sent after its answer already.
    pub(super) early: Bytes,
    /// How long nothing may move.
    pub(super) idle: Idle,
    /// Resolves if the server's sessions are to end.
    pub(super) shut_down: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Tunnel {
    /// Carries bytes both ways to the end of the exchange. `unread` is what the client has sent after its request
    /// already; it is counted, as is the server's answer.
    pub(super) async fn run(self, client: &Client, stream: Stream, unread: Bytes) {
        match self.server {
            Far::Socket(server) => sockets(client, stream, unread, server, self.rest).await,
            Far::Http2(server) => {
                h2::carry(client, stream, unread, server, self.rest).await;
                client.tick();
                client.end_exchange();
            }
        }
    }

    /// The same where the client's side is a stream of HTTP/2, for as long as bytes move.
    pub(super) async fn carry(self, client: &Client, near: h2::Near, unread: Bytes) {
        match self.server {
            Far::Socket(server) => h2::carry(client, near, unread, server, self.rest).await,
            Far::Http2(server) => h2::carry(client, near, unread, server, self.rest).await,
        }
    }
}

/// Two connections: the kernel can move their bytes.
async fn sockets(
    client: &Client,
    mut stream: Stream,
    unread: Bytes,
    mut server: Stream,
    rest: Rest,
) {
    let mut bytes = (0, 0);
    let begun = tokio::time::timeout(rest.idle.client, async {
        if !unread.is_empty() {
            server.write_all(&unread).await?;
        }
        if !rest.early.is_empty() {
            stream.write_all(&rest.early).await?;
            client.sent(rest.early.len());
        }
        // TLS may hold back what it has encrypted.
        server.flush().await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(())
    })
    .await;
    let ended = async {
        let shut_down = async {
            match rest.shut_down {
                Some(shut_down) => shut_down.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shut_down => {}
            () = sessions::killed() => {}
        }
    };
    let outcome = match begun {
        Ok(Ok(())) => {
            relay(
                &client.worker.tcp,
                &mut stream,
                &mut server,
                rest.idle,
                Before::default(),
                Some(ended),
                |bytes_in, bytes_out| {
                    client.tunnelled(bytes_in, bytes_out);
                    bytes.0 += bytes_in;
                    bytes.1 += bytes_out;
                },
            )
            .await
        }
        Ok(Err(_)) => broken(Cause::Server),
        Err(_elapsed) => broken(Cause::ClientTimeout),
    };
    if outcome.broken {
        for stream in [&stream, &server] {
            sockopt::break_off(stream.tcp());
        }
    }
    client.tick();
    let mut exchange = client.exchange();
    // What came early is counted already.
    exchange.count_server_bytes((bytes.1, bytes.0 + unread.len() as u64));
    if outcome.termination.cause != Cause::Normal {
        exchange.terminate(outcome.termination.cause, Phase::Data);
    }
    drop(exchange);
    client.end_exchange();
}

/// It ended before it had begun.
fn broken(cause: Cause) -> Outcome {
    Outcome {
        broken: true,
        ..Outcome::nothing(Termination::new(cause, Phase::Data))
    }
}
