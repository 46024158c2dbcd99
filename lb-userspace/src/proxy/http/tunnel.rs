//! A connection that has switched protocols: what HTTP was goes on as bytes both ways.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;

use super::client::Client;
use crate::{
    observe::log::{Cause, Phase, Termination},
    proxy::{
        Stream,
        session::Outcome,
        tcp::relay::{Idle, relay},
    },
};

/// The server's side of a connection that is to become a tunnel.
pub(super) struct Tunnel {
    pub(super) server: Stream,
    /// What the server has sent after its answer already.
    pub(super) early: Bytes,
    /// How long nothing may move.
    pub(super) idle: Duration,
    /// Resolves if the server's sessions are to end.
    pub(super) shut_down: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Tunnel {
    /// Carries bytes both ways to the end of the exchange. `unread` is what the client has sent after its request
    /// already; it is counted, as is the server's answer.
    pub(super) async fn run(mut self, client: &Client, mut stream: Stream, unread: Bytes) {
        let mut bytes = (0, 0);
        let begun = tokio::time::timeout(self.idle, async {
            if !unread.is_empty() {
                self.server.write_all(&unread).await?;
            }
            if !self.early.is_empty() {
                stream.write_all(&self.early).await?;
                client.sent(self.early.len());
            }
            // TLS may hold back what it has encrypted.
            self.server.flush().await?;
            stream.flush().await?;
            Ok::<_, std::io::Error>(())
        })
        .await;
        let outcome = match begun {
            Ok(Ok(())) => {
                relay(
                    &client.worker.tcp,
                    &mut stream,
                    &mut self.server,
                    Idle {
                        client: self.idle,
                        server: self.idle,
                    },
                    self.shut_down,
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
            // What one side has broken off is to look so to the other: RST, not FIN.
            for stream in [&stream, &self.server] {
                let _ = SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO));
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
}

/// It ended before it had begun.
fn broken(cause: Cause) -> Outcome {
    Outcome {
        broken: true,
        ..Outcome::nothing(Termination::new(cause, Phase::Data))
    }
}
