//! The server's HTTP/1: bytes to requests, answers to bytes. No IO.

use std::net::SocketAddr;

use super::{Answer, Body, Request};

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// More is needed.
    Partial,
    /// No request at all.
    Bad,
    /// A whole one, the length of its head, and the length of it all.
    Whole(Request, usize, usize),
}

/// Reads one request from the front of `input`.
pub(super) fn parse(input: &[u8], peer: SocketAddr, connection: u64) -> Parsed {
    let Some(head) = find(input, b"\r\n\r\n").map(|at| at + 4) else {
        return Parsed::Partial;
    };
    let Ok(text) = std::str::from_utf8(&input[..head]) else {
        return Parsed::Bad;
    };
    let mut lines = text.trim_end().split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Parsed::Bad;
    };
    let mut headers = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Parsed::Bad;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request {
        peer,
        connection,
        method: method.to_owned(),
        target: target.to_owned(),
        version: version.to_owned(),
        headers,
        body: Vec::new(),
    };
    let rest = &input[head..];
    let chunked = request
        .header("transfer-encoding")
        .iter()
        .any(|v| v.eq_ignore_ascii_case("chunked"));
    let body = if chunked {
        dechunk(rest)
    } else {
        match request
            .header("content-length")
            .first()
            .map_or(Ok(0), |value| value.parse())
        {
            Ok(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
            Err(_) => return Parsed::Bad,
        }
    };
    match body {
        Some((body, length)) => {
            request.body = body;
            Parsed::Whole(request, head, head + length)
        }
        None => Parsed::Partial,
    }
}

/// A chunked body and its length on the wire, once all of it is there (RFC 9112, section 7.1).
fn dechunk(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = find(&input[at..], b"\r\n")?;
        let size = std::str::from_utf8(&input[at..at + line])
            .ok()?
            .split(';')
            .next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        at += line + 2;
        if size == 0 {
            // No trailers, or all of them.
            let end = if input[at..].starts_with(b"\r\n") {
                2
            } else {
                find(&input[at..], b"\r\n\r\n")? + 4
            };
            return Some((body, at + end));
        }
        body.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at = at.checked_add(size)?.checked_add(2)?;
        if at > input.len() {
            return None;
        }
    }
}

/// The bytes of the answer, and whether the connection ends with it.
pub(super) fn render(
    name: &str,
    request: &Request,
    head: &[u8],
    answer: &Answer,
) -> (Vec<u8>, bool) {
    let body = match &answer.body {
        Body::Echo => [name.as_bytes(), b"\n", head].concat(),
        Body::Size(size) => vec![b'x'; *size],
        Body::Bytes(bytes) => bytes.clone(),
    };
    let asked = request.header("connection").join(",").to_ascii_lowercase();
    let old = request.version == "HTTP/1.0";
    let close = answer.close || asked.contains("close") || (old && !asked.contains("keep-alive"));
    let mut out = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status)).into_bytes();
    for (name, value) in &answer.headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let bodiless = answer.status < 200 || matches!(answer.status, 204 | 304);
    if !bodiless {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if old {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !bodiless && request.method != "HEAD" {
        out.extend_from_slice(&body);
    }
    (out, close)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "10.0.0.1:4321".parse().unwrap()
    }

    fn whole(input: &[u8]) -> (Request, usize) {
        match parse(input, peer(), 1) {
            Parsed::Whole(request, _, length) => (request, length),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        let input = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET";
        for end in 0..input.len() - 3 {
            assert_eq!(parse(&input[..end], peer(), 1), Parsed::Partial, "{end}");
        }
        let (request, length) = whole(input);
        assert_eq!(length, input.len() - 3);
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/a?b")
        );
        assert_eq!(request.header("host"), ["x"]);
        assert_eq!(request.body, b"abc");
    }

    #[test]
    fn chunks_are_joined() {
        let head = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let input = [
            head.as_slice(),
            b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        ]
        .concat();
        for end in 0..input.len() {
            assert_eq!(parse(&input[..end], peer(), 1), Parsed::Partial, "{end}");
        }
        assert_eq!(whole(&input).0.body, b"abc0123456789");
        let trailers = [head.as_slice(), b"0\r\nX: y\r\n\r\n"].concat();
        assert_eq!(whole(&trailers).1, trailers.len());
    }

    #[test]
    fn nonsense_is_told_from_the_unfinished() {
        for input in [
            "\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nnocolon\r\n\r\n",
        ] {
            assert_eq!(parse(input.as_bytes(), peer(), 1), Parsed::Bad, "{input:?}");
        }
    }

    #[test]
    fn an_answer_names_the_server_and_says_when_it_closes() {
        let text = |input: &str, answer: &Answer| {
            let (request, _) = whole(input.as_bytes());
            let (bytes, close) = render("s1", &request, b"HEAD-LINES", answer);
            (String::from_utf8(bytes).unwrap(), close)
        };
        let plain = Answer::default();
        assert_eq!(
            text("GET / HTTP/1.1\r\n\r\n", &plain),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\ns1\nHEAD-LINES".to_owned(),
                false
            )
        );
        assert_eq!(
            text("HEAD / HTTP/1.0\r\n\r\n", &plain).0,
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n"
        );
        assert!(!text("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &plain).1);
        assert!(text("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", &plain).1);
        let none = Answer {
            status: 304,
            ..Answer::default()
        };
        assert_eq!(
            text("GET / HTTP/1.1\r\n\r\n", &none).0,
            "HTTP/1.1 304 Not Modified\r\n\r\n"
        );
    }
}
