//! The check that asks over HTTP/1 and looks at the status.

use std::{io, ops::RangeInclusive};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{
    body,
    finding::Finding,
    h2,
    memory::{Heard, Memory},
    reach::Reach,
};
use crate::{
    config::model::{Content, Terms},
    topology::CheckStatus,
    wire::Stream,
};

/// A response head longer than this is no answer to a check; HAProxy's buffer size.
const HEAD_MAX: usize = 16 * 1024;
/// A reason phrase is shown in log lines; no more of it than this.
const REASON_MAX: usize = 256;

/// What to ask, and which answers pass.
#[derive(Debug, Clone)]
pub(super) struct Request {
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
    let whole = [&request.bytes[..], &request.body].concat();
    let (line, head, rest) = match read_head(stream, &whole).await {
        Ok(found) => found,
        // With TLS 1.3 a server says only now what it makes of our certificate.
        Err(NoHead::Broken(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return Finding {
                info: error.to_string(),
                ..Finding::new(CheckStatus::L6Rsp)
            };
        }
        Err(_) => return Finding::new(CheckStatus::L7Rsp),
    };
    let code = line.code;
    said.clone_from(&head);
    if let Some(finding) = judge_head(request, line, &head) {
        return finding;
    }
    let (mut body, mut over) = (body::Body::new(&head, code, rest), false);
    loop {
        let ended = over || body.is_complete();
        if let Some(finding) = judge_body(request, code, &body.text(), ended) {
            return finding;
        }
        over = !matches!(stream.read_buf(body.raw()).await, Ok(n) if n > 0);
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
        false => ended.then(|| finding(CheckStatus::L7Rsp, "HTTP content check did not match")),
    }
}

/// Why there is no head of a response.
enum NoHead {
    /// What came is none, or not all of one.
    Other,
    /// The connection broke.
    Broken(io::Error),
}

/// Sends the request and reads the head of the final response, and what came with it of the body.
async fn read_head(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Result<(StatusLine, Vec<u8>, Vec<u8>), NoHead> {
    // A server that refuses to read may have answered all the same.
    let _ = stream.write_all(request).await;
    let _ = stream.flush().await;
    let mut head = Vec::with_capacity(1024);
    loop {
        match parse(&head) {
            Head::Complete { line, length } if is_final(line.code) => {
                let rest = head.split_off(length);
                return Ok((line, head, rest));
            }
            Head::Complete { length, .. } => {
                head.drain(..length);
                continue;
            }
            Head::Bad => return Err(NoHead::Other),
            Head::Partial if head.len() >= HEAD_MAX => return Err(NoHead::Other),
            Head::Partial => {}
        }
        match stream.read_buf(&mut head).await {
            Ok(1..) => {}
            Ok(0) => return Err(NoHead::Other),
            Err(error) => return Err(NoHead::Broken(error)),
        }
    }
}

/// Interim responses precede the one that counts (RFC 9110, section 15.2); 101 ends HTTP.
fn is_final(code: u16) -> bool {
    !(100..200).contains(&code) || code == 101
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StatusLine {
    code: u16,
    reason: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// More is needed.
    Partial,
    /// No HTTP/1 response.
    Bad,
    /// A whole head of this length.
    Complete { line: StatusLine, length: usize },
}

/// Reads a status line (RFC 9112, section 4) and looks for the end of the head; header lines are nobody's business
/// here. Lines may end with a bare LF (section 2.2).
fn parse(bytes: &[u8]) -> Head {
    const PREFIX: &[u8] = b"HTTP/1.";
    let seen = bytes.len().min(PREFIX.len());
    if bytes[..seen] != PREFIX[..seen] {
        return Head::Bad;
    }
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return Head::Partial;
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let Some(line) = status_line(&line[PREFIX.len()..]) else {
        return Head::Bad;
    };
    let mut start = end + 1;
    while let Some(length) = bytes[start..].iter().position(|&byte| byte == b'\n') {
        let next = start + length + 1;
        if matches!(&bytes[start..next], b"\n" | b"\r\n") {
            return Head::Complete { line, length: next };
        }
        start = next;
    }
    Head::Partial
}

/// `1 200 OK`, the part after `HTTP/1.`.
fn status_line(rest: &[u8]) -> Option<StatusLine> {
    let (minor, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(b" ")?;
    let (code, reason) = rest.split_at_checked(3)?;
    let valid = minor.is_ascii_digit()
        && code.iter().all(u8::is_ascii_digit)
        && code[0] != b'0'
        && reason.first().is_none_or(|&byte| byte == b' ');
    if !valid {
        return None;
    }
    let code = code
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let reason = reason
        .iter()
        .skip(1)
        .take(REASON_MAX)
        .map(|&byte| {
            if (b' '..=b'~').contains(&byte) {
                char::from(byte)
            } else {
                '?'
            }
        })
        .collect();
    Some(StatusLine { code, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(code: u16, reason: &str, length: usize) -> Head {
        Head::Complete {
            line: StatusLine {
                code,
                reason: reason.into(),
            },
            length,
        }
    }

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

    #[test]
    fn heads_are_read_to_their_end() {
        assert_eq!(
            parse(b"HTTP/1.0 200 OK\r\n\r\nbody"),
            complete(200, "OK", 19)
        );
        assert_eq!(parse(b"HTTP/1.1 204\n\n"), complete(204, "", 14));
        assert_eq!(
            parse(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n"),
            complete(503, "Service Unavailable", 42)
        );
        assert_eq!(
            parse(b"HTTP/1.1 200 bad\x01\r\n\r\n"),
            complete(200, "bad?", 21)
        );
    }

    #[test]
    fn every_prefix_of_a_good_head_wants_more() {
        let head = b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n";
        for length in 0..head.len() {
            assert_eq!(parse(&head[..length]), Head::Partial, "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_response_is_told_at_once() {
        for bytes in [
            &b"SSH-2.0-x"[..],
            b"\0",
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 20\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1  200 OK\r\n",
            b"HTTP/1.x 200 OK\r\n",
            b"HTTP/1.1 099 x\r\n",
            b"HTTP/1.\n",
        ] {
            assert_eq!(parse(bytes), Head::Bad, "{}", bytes.escape_ascii());
        }
    }
}
