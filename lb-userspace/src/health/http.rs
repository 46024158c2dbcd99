//! The check that asks over HTTP/1 and looks at the status.

use std::{io, ops::RangeInclusive};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{
    body,
    finding::{Finding, MOST_INFO},
    h2,
    memory::{Heard, Memory},
    reach::Reach,
};
use crate::{
    config::model::{Content, Terms},
    topology::CheckStatus,
    wire::{
        Stream,
        h1::{Head, Reading, Unusable},
    },
};

/// What is read at a time.
const PIECE: usize = 8 * 1024;

/// What to ask, and which answers pass.
#[derive(Debug, Clone)]
pub(super) struct Request {
    method: String,
    /// The head that HTTP/1 sends.
    pub(super) bytes: Vec<u8>,
    /// What follows it.
    body: Vec<u8>,
    /// What HTTP/2 asks.
    pub(super) h2: h2::Request,
    /// Statuses that pass; empty for all.
    pub(super) pass: Vec<RangeInclusive<u16>>,
    /// What else the answer has to have.
    pub(super) content: Vec<Content>,
    /// Bytes of the body that have to be there before it is looked at.
    pub(super) least: usize,
    /// 404 passes, from a server that is up.
    pub(super) stops: bool,
}

impl Request {
    /// Writes the request. An HTTP/1.1 server is asked to close, unless `headers` say something of it. As HAProxy has it, the
    /// length of no body is told where there could be one.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    pub(super) fn new(
        method: &str,
        path: &str,
        version: &str,
        host: Option<&str>,
        headers: &[(String, String)],
        body: Option<&[u8]>,
        pass: &[RangeInclusive<u16>],
        content: &[Content],
    ) -> Self {
        let mut text = format!("{method} {path} {version}\r\n");
        if let Some(host) = host {
            text.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let bare = matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE");
        let body = body.filter(|body| !body.is_empty() || !bare);
        let length = body.map(<[u8]>::len).or((!bare).then_some(0));
        if let Some(length) = length {
            text.push_str(&format!("content-length: {length}\r\n"));
        }
        let says_connection = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("connection"));
        if version != "HTTP/1.0" && !says_connection {
            text.push_str("connection: close\r\n");
        }
        text.push_str("\r\n");
        let h2 = h2::Request::new(method, path, host, headers);
        Self {
            method: method.to_owned(),
            bytes: text.into_bytes(),
            h2: match body {
                Some(body) => h2.with_body(body.to_vec()),
                None => h2,
            },
            body: body.unwrap_or_default().to_vec(),
            pass: pass.to_vec(),
            content: content.to_vec(),
            least: 0,
            stops: false,
        }
    }

    /// The same with a field more.
    pub(super) fn with_field(&self, name: &str, value: &str) -> Self {
        let mut told = self.clone();
        // Before the blank line.
        told.bytes.truncate(told.bytes.len().saturating_sub(2));
        told.bytes
            .extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
        told.h2 = told.h2.with_field(name, value);
        told
    }
}

/// Asks the server.
pub(super) async fn check(
    reach: &Reach,
    request: &Request,
    (memory, terms): (&mut Memory<'_>, &Terms),
    deadline: Instant,
) -> Finding {
    let mut said = Vec::new();
    let asked = match reach.connect(deadline).await {
        Ok(stream) if reach.speaks_h2(&stream) => {
            let authority = reach.address().authority();
            timeout_at(deadline, ask_h2(stream, &authority, request, &mut said)).await
        }
        Ok(mut stream) => timeout_at(deadline, ask(&mut stream, request, &mut said)).await,
        Err(finding) => return finding,
    };
    let found = match asked {
        Err(_elapsed) => Finding::new(CheckStatus::L7Tout),
        Ok(finding) if said.is_empty() => return finding,
        Ok(finding) => finding,
    };
    let head = found.code.map(|code| (code, said.as_slice()));
    memory.told(
        found,
        terms,
        Heard {
            head,
            ..Heard::default()
        },
    )
}

/// Asks, and judges what comes; the head of the answer is what it `said`.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &Request,
    said: &mut Vec<u8>,
) -> Finding {
    let mut reading = Reading::new(&request.method);
    let head = match read_head(stream, request, &mut reading).await {
        Ok(head) => head,
        // With TLS 1.3 a server says only now what it makes of our certificate.
        Err(NoHead::Broken(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return Finding {
                info: error.to_string(),
                ..Finding::new(CheckStatus::L6Rsp)
            };
        }
        Err(_) => return Finding::new(CheckStatus::L7Rsp),
    };
    let code = head.status.as_u16();
    let (mut text, mut over) = (Vec::new(), false);
    let mut line = Some(StatusLine {
        code,
        reason: printable(&head.reason),
    });
    loop {
        // What has come of the body with the head has its say first: nobody would get an answer that breaks in it.
        let Ok(whole) = reading.body(&mut text) else {
            said.clear();
            return Finding::new(CheckStatus::L7Rsp);
        };
        if let Some(line) = line.take() {
            said.clone_from(&head.bytes);
            if let Some(finding) = judge_head(request, line, said) {
                return finding;
            }
        }
        let ended = over || whole || text.len() >= body::MOST;
        if let Some(finding) = judge_body(request, code, &text, ended) {
            return finding;
        }
        over = !matches!(stream.read_buf(reading.buffer()).await, Ok(n) if n > 0);
    }
}

/// The same over HTTP/2.
async fn ask_h2(stream: Stream, authority: &str, request: &Request, said: &mut Vec<u8>) -> Finding {
    let asked = h2::ask(stream, authority, &request.h2, async |mut answer| {
        let line = StatusLine {
            code: answer.status(),
            // HTTP/2 has none.
            reason: String::new(),
        };
        let code = line.code;
        *said = answer.head();
        if let Some(finding) = judge_head(request, line, said) {
            return Ok(finding);
        }
        loop {
            let ended = !answer.more().await?;
            if let Some(finding) = judge_body(request, code, answer.body(), ended) {
                return Ok(finding);
            }
        }
    });
    asked.await.unwrap_or_else(|error| Finding {
        info: error.to_string(),
        ..Finding::new(CheckStatus::L7Rsp)
    })
}

/// What a head alone decides.
fn judge_head(request: &Request, line: StatusLine, head: &[u8]) -> Option<Finding> {
    let finding = |status, info| Finding {
        status,
        code: Some(line.code),
        info,
    };
    if request.stops && line.code == 404 {
        return Some(finding(CheckStatus::L7Okc, line.reason));
    }
    let passes = |range: &RangeInclusive<u16>| range.contains(&line.code);
    if !request.pass.is_empty() && !request.pass.iter().any(passes) {
        return Some(finding(CheckStatus::L7Sts, line.reason));
    }
    request.content.iter().find_map(|content| {
        (!body::head_has(head, content)).then(|| finding(CheckStatus::L7Sts, line.reason.clone()))
    })
}

/// What a body decides that has come as far as this; `None` while more of it may come.
fn judge_body(request: &Request, code: u16, text: &[u8], ended: bool) -> Option<Finding> {
    let finding = |status, info: &str| Finding {
        status,
        code: Some(code),
        info: info.to_owned(),
    };
    if text.len() < request.least && !ended {
        return None;
    }
    let mut content = request.content.iter();
    let waits = |content: &Content| match content {
        Content::Not(unwanted) => !matches!(**unwanted, Content::Header(_)),
        _ => false,
    };
    match content.all(|content| body::contains(text, content)) {
        // What must not be there may still come.
        true if !ended && request.content.iter().any(waits) => None,
        true => Some(finding(CheckStatus::L7Ok, "")),
        false => ended.then(|| {
            let mut missing = request
                .content
                .iter()
                .filter(|of| !body::contains(text, of));
            Finding {
                info: match missing.next() {
                    Some(Content::Not(_)) => "HTTP check matched unwanted content".to_owned(),
                    _ => "HTTP content check did not match".to_owned(),
                },
                ..Finding::new(CheckStatus::L7Rsp)
            }
        }),
    }
}

/// Why there is no head of a response.
enum NoHead {
    /// What came is none, or not all of one.
    Other,
    /// The connection broke.
    Broken(io::Error),
}

/// Sends the request and reads the head of the answer.
async fn read_head(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &Request,
    reading: &mut Reading,
) -> Result<Head, NoHead> {
    let whole = [&request.bytes[..], &request.body].concat();
    // A server that refuses to read may have answered all the same.
    let _ = stream.write_all(&whole).await;
    let _ = stream.flush().await;
    loop {
        match reading.head() {
            Ok(Some(head)) => return Ok(head),
            Ok(None) => {}
            Err(Unusable) => return Err(NoHead::Other),
        }
        reading.buffer().reserve(PIECE);
        match stream.read_buf(reading.buffer()).await {
            Ok(1..) => {}
            Ok(0) => return Err(NoHead::Other),
            Err(error) => return Err(NoHead::Broken(error)),
        }
    }
}

/// What a head says first.
#[derive(Debug)]
struct StatusLine {
    code: u16,
    reason: String,
}

/// A reason as it is shown.
fn printable(reason: &[u8]) -> String {
    let shown = reason.iter().take(MOST_INFO);
    shown
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_haproxys_byte_for_byte() {
        let request = Request::new(
            "GET",
            "/healthCheck.html",
            "HTTP/1.0",
            None,
            &[],
            None,
            &[],
            &[],
        );
        assert_eq!(request.bytes, b"GET /healthCheck.html HTTP/1.0\r\n\r\n");
    }

    #[test]
    fn an_http_1_1_request_names_its_host_and_closes() {
        let headers = [("x-probe".to_owned(), "lb".to_owned())];
        let request = Request::new(
            "HEAD",
            "/",
            "HTTP/1.1",
            Some("a.example"),
            &headers,
            None,
            &[],
            &[],
        );
        assert_eq!(
            String::from_utf8(request.bytes).unwrap(),
            "HEAD / HTTP/1.1\r\nhost: a.example\r\nx-probe: lb\r\nconnection: close\r\n\r\n"
        );
    }
}
