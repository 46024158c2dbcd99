//! A request of a check over HTTP/2: one connection, one stream, and the connection is dropped.

use std::{future::Future, pin::pin};

use bytes::Bytes;
use h2::{RecvStream, client};
use http::{HeaderMap, Uri, response::Parts, uri::PathAndQuery};

use super::body::MOST;
use crate::wire::Stream;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    method: String,
    path: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// It cannot be asked for.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The server does not speak it.
    #[error(transparent)]
    Protocol(#[from] h2::Error),
}

impl Request {
    pub(super) fn new(
        method: &str,
        path: &str,
        host: Option<&str>,
        headers: &[(String, String)],
    ) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            host: host.map(str::to_owned),
            headers: headers.to_vec(),
            body: None,
        }
    }

    pub(super) fn with_field(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn with_body(self, body: Vec<u8>) -> Self {
        Self {
            body: Some(body.into()),
            ..self
        }
    }

    fn to_http(&self, authority: &str, secure: bool) -> Result<http::Request<()>, http::Error> {
        let uri = Uri::builder()
            .scheme(if secure { "https" } else { "http" })
            .authority(self.host.as_deref().unwrap_or(authority))
            .path_and_query(PathAndQuery::try_from(self.path.as_str())?)
            .build()?;
        let mut request = http::Request::builder()
            .version(http::Version::HTTP_2)
            .method(self.method.as_str())
            .uri(uri);
        for (name, value) in &self.headers {
            // It is the authority.
            if !name.eq_ignore_ascii_case("host") {
                request = request.header(name, value);
            }
        }
        request.body(())
    }
}

/// An answer, as far as it has come.
pub(super) struct Answer {
    parts: Parts,
    stream: RecvStream,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Its head as HTTP/1 would have written it.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/2 {}\r\n", self.status()).into_bytes();
        for (name, value) in &self.parts.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Waits for more of its body; `false` if there is none, or no more is looked at.
    pub(super) async fn more(&mut self) -> Result<bool, Failed> {
        if self.body.len() >= MOST {
            return Ok(false);
        }
        let Some(data) = self.stream.data().await else {
            return Ok(false);
        };
        let data = data?;
        self.body.extend_from_slice(&data);
        self.stream.flow_control().release_capacity(data.len())?;
        Ok(true)
    }

    /// What comes after the body.
    pub(super) async fn trailers(&mut self) -> Result<Option<HeaderMap>, Failed> {
        Ok(self.stream.trailers().await?)
    }
}

/// Asks, and hands the answer to `judge` as soon as its head is there.
pub(super) async fn ask<T, F: Future<Output = Result<T, Failed>>>(
    stream: Stream,
    authority: &str,
    request: &Request,
    judge: impl FnOnce(Answer) -> F,
) -> Result<T, Failed> {
    let head = request.to_http(authority, stream.is_tls())?;
    let (sender, connection) = client::Builder::new()
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await?;
    let mut asked = pin!(async {
        let mut sender = sender.ready().await?;
        let (answer, mut body) = sender.send_request(head, request.body.is_none())?;
        if let Some(bytes) = &request.body {
            body.send_data(bytes.clone(), true)?;
        }
        let (parts, stream) = answer.await?.into_parts();
        let answer = Answer {
            parts,
            stream,
            body: Vec::new(),
        };
        judge(answer).await
    });
    tokio::select! {
        biased;
        asked = &mut asked => return asked,
        // The connection has ended; what had come before is still there.
        _ = connection => {}
    }
    asked.await
}
