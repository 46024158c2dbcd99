//! WebSocket and its like in a stream (RFC 8441): to HTTP/1 it is an upgrade, and what follows are bytes.

use std::{
    cell::Cell,
    future::pending,
    pin::pin,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    request,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
};

use crate::{
    observe::log::{Cause, Phase},
    proxy::http::{client::Client, tunnel::Rest},
    rules::random,
};

/// Most that is read of the server at a time.
const PIECE: usize = 16 * 1024;

/// The proof that the server has read the request as one for WebSocket; `None` where another protocol is asked for.
pub(super) struct Proof(Option<String>);

/// Turns a request for another protocol into HTTP/1's. `None` if HTTP/1 has none for it.
pub(super) fn upgrade(head: &mut request::Parts, protocol: HeaderValue) -> Option<Proof> {
    let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    head.method = Method::GET;
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, protocol);
    if !is_websocket {
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

/// A request of HTTP/1 for another protocol that goes to a server of HTTP/2.
pub(super) struct Switch {
    protocol: HeaderValue,
    /// What the client wants to see in the answer, if it asks for WebSocket.
    proof: Option<HeaderValue>,
}

impl Switch {
    pub(super) fn of(head: &request::Parts) -> Self {
        let offered = head
            .headers
            .get(UPGRADE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        // Whoever offers several is content with any.
        let first = offered.split(|&b| b == b',').next().unwrap_or_default();
        let key = head.headers.get(SEC_WEBSOCKET_KEY);
        let proof = key.and_then(|key| HeaderValue::from_str(&accept(key.to_str().ok()?)).ok());
        Self {
            protocol: HeaderValue::from_bytes(first.trim_ascii())
                .unwrap_or(HeaderValue::from_static("")),
            proof,
        }
    }

    /// Makes `head` the request of HTTP/2 for it.
    pub(super) fn ask(&self, head: &mut Request<()>) {
        *head.method_mut() = Method::CONNECT;
        head.headers_mut().remove(SEC_WEBSOCKET_KEY);
        let protocol = self.protocol.to_str().unwrap_or_default();
        head.extensions_mut()
            .insert(h2::ext::Protocol::from(protocol));
    }

    /// Makes the server's consent the answer that HTTP/1 has for it. What is none is an answer like any other.
    pub(super) fn answer(self, head: &mut Response<()>) {
        if !head.status().is_success() {
            return;
        }
        *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = head.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol);
        if let Some(proof) = self.proof {
            headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
        }
    }
}

/// Carries bytes between a client and a server until the server has ended, one breaks, or nothing has moved for too long.
///
/// `unread` is what the client has sent already, `early` what the server has.
pub(in super::super) async fn carry(
    client: &Client,
    near: impl AsyncRead + AsyncWrite,
    unread: Bytes,
    far: impl AsyncRead + AsyncWrite,
    tunnel: Rest,
) {
    let Rest {
        early,
        idle,
        shut_down,
    } = tunnel;
    let (mut from_client, mut to_client) = tokio::io::split(near);
    let (mut from_server, mut to_server) = tokio::io::split(far);
    let moved = Cell::new(client.now());
    let told = Notify::new();
    let upward = async {
        let mut data = unread;
        loop {
            if !data.is_empty() {
                moved.set(Instant::now());
                let sent = async {
                    to_server.write_all(&data).await?;
                    to_server.flush().await
                };
                sent.await.map_err(|_| Cause::Server)?;
                client.exchange().count_server_bytes((0, data.len() as u64));
            }
            let mut piece = BytesMut::with_capacity(PIECE);
            let n = from_client.read_buf(&mut piece).await;
            let n = n.map_err(|_| Cause::Client)?;
            if n == 0 {
                break;
            }
            client.tunnelled(n as u64, 0);
            data = piece.freeze();
        }
        // Only what comes from the server may go on.
        let _ = to_server.shutdown().await;
        if idle.server_fin.is_some() {
            // That time begins with the end that it is told.
            moved.set(Instant::now());
        }
        told.notify_one();
        pending().await
    };
    let downward = async {
        let mut data = early;
        loop {
            if !data.is_empty() {
                moved.set(Instant::now());
                let sent = async {
                    to_client.write_all(&data).await?;
                    to_client.flush().await
                };
                sent.await.map_err(|_| Cause::Client)?;
                client.tunnelled(0, data.len() as u64);
            }
            let mut piece = BytesMut::with_capacity(PIECE);
            let n = from_server.read_buf(&mut piece).await;
            let n = n.map_err(|_| Cause::Server)?;
            if n == 0 {
                break;
            }
            client.exchange().count_server_bytes((n as u64, 0));
            data = piece.freeze();
        }
        to_client.shutdown().await.map_err(|_| Cause::Client)
    };
    let shut_down = async {
        match shut_down {
            Some(shut_down) => shut_down.await,
            None => pending().await,
        }
    };
    let quiet = async {
        let (either, cause) = match idle.server < idle.client {
            true => (idle.server, Cause::ServerTimeout),
            false => (idle.client, Cause::ClientTimeout),
        };
        tokio::select! {
            () = silence(&moved, either) => cause,
            // The server's alone once it has been told that the client says no more.
            () = told.notified() => {
                silence(&moved, idle.server_fin.unwrap_or(idle.server)).await;
                Cause::ServerTimeout
            }
        }
    };
    let ended = tokio::select! {
        biased;
        ended = downward => ended,
        failed = upward => failed,
        () = shut_down => Err(Cause::Down),
        cause = quiet => Err(cause),
    };
    if let Err(cause) = ended {
        client.exchange().terminate(cause, Phase::Data);
    }
}

/// Resolves once nothing has moved for that long.
async fn silence(moved: &Cell<Instant>, time: Duration) {
    let mut sleep = pin!(tokio::time::sleep_until((moved.get() + time).into()));
    loop {
        sleep.as_mut().await;
        let due = moved.get() + time;
        if Instant::now() >= due {
            return;
        }
        sleep.as_mut().reset(due.into());
    }
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
