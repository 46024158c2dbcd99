//! WebSocket and its like in a stream (RFC 8441): to a server of HTTP/1 it is an upgrade, and what follows are bytes.

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    request,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    observe::log::{Cause, Phase},
    proxy::http::{client::Client, tunnel::Tunnel},
    rules::random,
};

/// Most that is read of the server at a time.
const PIECE: usize = 16 * 1024;

/// The proof that the server has read the request as one for WebSocket; `None` where another protocol is asked for.
pub(super) struct Proof(Option<String>);

/// Turns a request for another protocol into HTTP/1's. `None` if it is none.
pub(super) fn upgrade(head: &mut request::Parts) -> Option<Proof> {
    let protocol = head.extensions.remove::<h2::ext::Protocol>()?;
    let wanted = HeaderValue::from_str(protocol.as_str()).ok()?;
    head.method = Method::GET;
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, wanted);
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return Some(Proof(None));
    }
    // No secret: it is to differ from one request to the next, so that no cache takes one's answer for another's.
    let half = || random().to_be_bytes();
    let key = STANDARD.encode([half(), half()].concat());
    head.headers
        .insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).ok()?);
    Some(Proof(Some(accept(&key))))
}

/// RFC 6455 section 4.2.2.
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

impl Proof {
    /// Whether the server's answer has it. It is of HTTP/1, and taken out.
    pub(super) fn is_in(&self, headers: &mut HeaderMap) -> bool {
        let given = headers.remove(SEC_WEBSOCKET_ACCEPT);
        match &self.0 {
            None => true,
            Some(wanted) => given.is_some_and(|given| given.as_bytes() == wanted.as_bytes()),
        }
    }
}

/// Carries bytes both ways until both have ended, one breaks, or nothing has moved for too long.
pub(super) async fn carry(
    client: &Client,
    tunnel: Tunnel,
    from: RecvStream,
    to: SendStream<Bytes>,
) {
    let Tunnel {
        server,
        early,
        idle,
        shut_down,
    } = tunnel;
    let (mut read, mut write) = tokio::io::split(server);
    let moved = Cell::new(client.now());
    let upward = async {
        let mut from = from;
        while let Some(data) = poll_fn(|cx| from.poll_data(cx)).await {
            let data = data.map_err(|_| Cause::Client)?;
            let _ = from.flow_control().release_capacity(data.len());
            moved.set(Instant::now());
            client.received(data.len());
            let sent = async {
                write.write_all(&data).await?;
                write.flush().await
            };
            sent.await.map_err(|_| Cause::Server)?;
            client.exchange().count_server_bytes((0, data.len() as u64));
        }
        // Only what comes from the server may go on.
        let _ = write.shutdown().await;
        Ok(())
    };
    let downward = async {
        let mut to = to;
        let mut data = early;
        loop {
            if !data.is_empty() {
                moved.set(Instant::now());
                client.sent(data.len());
                send(&mut to, data).await.ok_or(Cause::Client)?;
            }
            let mut piece = BytesMut::with_capacity(PIECE);
            let n = read.read_buf(&mut piece).await.map_err(|_| Cause::Server)?;
            if n == 0 {
                break;
            }
            client.exchange().count_server_bytes((n as u64, 0));
            data = piece.freeze();
        }
        to.send_data(Bytes::new(), true).map_err(|_| Cause::Client)
    };
    let shut_down = async {
        match shut_down {
            Some(shut_down) => shut_down.await,
            None => pending().await,
        }
    };
    let ended = tokio::select! {
        biased;
        done = both(upward, downward) => done,
        () = shut_down => Err(Cause::Down),
        () = silence(&moved, idle) => Err(Cause::ClientTimeout),
    };
    if let Err(cause) = ended {
        client.exchange().terminate(cause, Phase::Data);
    }
}

/// Both to their ends, or to the first that fails.
async fn both(
    one: impl Future<Output = Result<(), Cause>>,
    other: impl Future<Output = Result<(), Cause>>,
) -> Result<(), Cause> {
    tokio::try_join!(one, other).map(|_| ())
}

/// Resolves once nothing has moved for as long as `idle`.
async fn silence(moved: &Cell<Instant>, idle: Duration) {
    let mut sleep = pin!(tokio::time::sleep(idle));
    loop {
        sleep.as_mut().await;
        let due = moved.get() + idle;
        if Instant::now() >= due {
            return;
        }
        sleep.as_mut().reset(due.into());
    }
}

/// Sends all of `data` as the window allows. `None` if the client wants no more.
async fn send(to: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    to.reserve_capacity(data.len());
    while !data.is_empty() {
        let capacity = match to.capacity() {
            0 => poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?,
            capacity => capacity,
        };
        let part = data.split_to(capacity.min(data.len()));
        to.send_data(part, false).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_rfc_6455() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
