//! The same requests in HTTP/2.

use std::io;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    case::{Case, Step, Via},
    talk::{Fields, Place},
};

/// Carries out a case whose steps are whole requests of HTTP/1, each of which becomes a stream.
pub(crate) fn talk(place: &Place<'_>, case: &Case, fields: &mut Fields) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = place.connect()?;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let Via::H2Tls(name) = case.via else {
            return converse(stream, "http", place, case, fields).await;
        };
        let mut config = rustls::ClientConfig::clone(&place.tls);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = name.try_into().map_err(io::Error::other)?;
        let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
            .connect(name, stream)
            .await?;
        converse(stream, "https", place, case, fields).await
    })
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    scheme: &str,
    place: &Place<'_>,
    case: &Case,
    fields: &mut Fields,
) -> io::Result<()> {
    let (mut sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let mut number = 0;
    for step in &case.steps {
        let Step::Send(text) = step else { continue };
        number += 1;
        let text = place.text(text);
        let (request, body) = request(&text, scheme);
        sender = sender.ready().await.map_err(io::Error::other)?;
        let (response, mut upload) = sender
            .send_request(request, body.is_empty())
            .map_err(io::Error::other)?;
        if !body.is_empty() {
            upload.send_data(body, true).map_err(io::Error::other)?;
        }
        let mut note = |name: &str, value: String| fields.push((format!("{number} {name}"), value));
        let response = match response.await {
            Ok(response) => response,
            Err(error) => {
                note("no answer", error.to_string());
                continue;
            }
        };
        note("status", response.status().as_str().to_owned());
        for (name, value) in response.headers() {
            note(
                &format!("header {name}"),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            );
        }
        let mut body = response.into_body();
        let (mut bytes, mut whole) = (Vec::new(), true);
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    bytes.extend_from_slice(&data);
                }
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        if whole && let Ok(Some(trailers)) = body.trailers().await {
            for (name, value) in &trailers {
                note(
                    "trailer",
                    format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
                );
            }
        }
        note("body", String::from_utf8_lossy(&bytes).into_owned());
        note("whole", whole.to_string());
    }
    drop(sender);
    // Until the connection's end, so that its log lines are written.
    let _ = driver.await;
    Ok(())
}

/// A request of HTTP/1 as one of HTTP/2.
fn request(text: &str, scheme: &str) -> (Request<()>, Bytes) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let host = fields
        .iter()
        .find(|(name, _)| *name == "Host")
        .map_or("a", |(_, value)| value);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{scheme}://{host}{target}"))
        .version(http::Version::HTTP_2);
    for (name, value) in fields {
        if name != "Host" {
            request = request.header(name.to_ascii_lowercase(), value);
        }
    }
    (
        request.body(()).unwrap(),
        Bytes::copy_from_slice(body.as_bytes()),
    )
}
