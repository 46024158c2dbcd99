//! Heads of requests, as they are written.

use std::io::Write as _;

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING},
    request,
};
use http_body::SizeHint;

use crate::wire::h1::length_of;

/// How the body of a request is written.
#[derive(Debug)]
pub(super) enum Sent {
    /// So many bytes of it are left.
    Length(u64),
    /// In the chunked coding; trailers by these names may follow it.
    Chunked(Vec<HeaderName>),
}

/// Writes the head of a request. `size` is that of its body, of which there is none if it has `ended`.
///
/// What the head says of a length or a coding holds; where it says nothing it is said here.
pub(super) fn write(
    head: &request::Parts,
    size: &SizeHint,
    ended: bool,
    out: &mut Vec<u8>,
) -> Sent {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    match (head.uri.scheme(), head.uri.path_and_query()) {
        (None, Some(path)) if path.as_str().starts_with('/') && head.uri.authority().is_none() => {
            out.extend_from_slice(path.as_str().as_bytes());
        }
        // Here a slash is put before a query alone. Memory takes what is written to it.
        _ => drop(write!(out, "{}", head.uri)),
    }
    let old = head.version == Version::HTTP_10;
    out.extend_from_slice(if old {
        b" HTTP/1.0\r\n"
    } else {
        b" HTTP/1.1\r\n"
    });
    let coded = head.headers.contains_key(TRANSFER_ENCODING);
    let length = head.headers.get(CONTENT_LENGTH).and_then(length_of);
    // RFC 9112 section 6.1: no coding in HTTP/1.0, and never both.
    let chunked = !ended && !old && coded;
    for (name, value) in &head.headers {
        let is_coding = *name == TRANSFER_ENCODING;
        let is_length = *name == CONTENT_LENGTH;
        if is_coding && !chunked || is_length && chunked {
            continue;
        }
        field(name, value, out);
    }
    let sent = match length {
        _ if chunked => Sent::Chunked(announced(&head.headers)),
        Some(length) => Sent::Length(length),
        None if ended => Sent::Length(0),
        None => match size.exact() {
            Some(length) => {
                // As above.
                drop(write!(out, "content-length: {length}\r\n"));
                Sent::Length(length)
            }
            // There is no other way to end a body of 1.0 and have an answer.
            None if old => Sent::Length(0),
            None => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Sent::Chunked(announced(&head.headers))
            }
        },
    };
    out.extend_from_slice(b"\r\n");
    sent
}

fn field(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The trailers that a head announces.
pub(in super::super) fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(TRAILER).iter();
    let names = lists.flat_map(|list| list.as_bytes().split(|&byte| byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Writes the end of a chunked body, with those of its trailers that were announced and may be trailers (RFC 9110 section
/// 6.5.1).
pub(in super::super) fn write_end(
    trailers: Option<&HeaderMap>,
    announced: &[HeaderName],
    out: &mut Vec<u8>,
) {
    use http::header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HOST,
        MAX_FORWARDS, SET_COOKIE, TE,
    };
    const NEVER: [HeaderName; 12] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ];
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if announced.contains(name) && !NEVER.contains(name) {
            field(name, value, out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn written(request: Request<()>, size: SizeHint, ended: bool) -> (String, String) {
        let (head, ()) = request.into_parts();
        let mut out = Vec::new();
        let sent = write(&head, &size, ended, &mut out);
        (String::from_utf8(out).unwrap(), format!("{sent:?}"))
    }

    #[test]
    fn requests_have_one_length_or_one_coding() {
        let request = |method: &str| Request::builder().method(method).uri("/a?b");
        let exact = SizeHint::with_exact;
        let get = request("GET").header("X-A", "b").body(()).unwrap();
        assert_eq!(
            written(get, exact(0), true),
            (
                "GET /a?b HTTP/1.1\r\nx-a: b\r\n\r\n".to_owned(),
                "Length(0)".to_owned()
            )
        );
        let both = request("POST")
            .header("content-length", "3")
            .header("transfer-encoding", "chunked")
            .header("trailer", "X-Sum, x-b")
            .body(())
            .unwrap();
        assert_eq!(
            written(both, SizeHint::default(), false),
            (
                "POST /a?b HTTP/1.1\r\ntransfer-encoding: chunked\r\ntrailer: X-Sum, x-b\r\n\r\n"
                    .to_owned(),
                r#"Chunked(["x-sum", "x-b"])"#.to_owned()
            )
        );
        let coded = request("POST").header("transfer-encoding", "chunked");
        assert_eq!(
            written(coded.body(()).unwrap(), exact(0), true).0,
            "POST /a?b HTTP/1.1\r\n\r\n"
        );
        let length = request("POST").header("content-length", "3").body(());
        assert_eq!(written(length.unwrap(), exact(3), false).1, "Length(3)");
        let silent = || request("POST").body(()).unwrap();
        assert_eq!(
            written(silent(), exact(7), false),
            (
                "POST /a?b HTTP/1.1\r\ncontent-length: 7\r\n\r\n".to_owned(),
                "Length(7)".to_owned()
            )
        );
        assert_eq!(
            written(silent(), SizeHint::default(), false),
            (
                "POST /a?b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
                "Chunked([])".to_owned()
            )
        );
        let old = request("GET").version(Version::HTTP_10);
        let old = old.header("transfer-encoding", "chunked").body(()).unwrap();
        assert_eq!(
            written(old, SizeHint::default(), false),
            (
                "GET /a?b HTTP/1.0\r\n\r\n".to_owned(),
                "Length(0)".to_owned()
            )
        );
        let whole = Request::builder().uri("http://a.example/b").body(());
        assert!(
            written(whole.unwrap(), exact(0), true)
                .0
                .starts_with("GET http://a.example/b HTTP")
        );
    }

    #[test]
    fn only_announced_trailers_that_may_be_are_written() {
        let trailers: HeaderMap = ["x-sum", "x-b", "host"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .into_iter()
            .collect();
        let announced = ["x-sum", "host"].map(HeaderName::from_static);
        let mut out = Vec::new();
        write_end(Some(&trailers), &announced, &mut out);
        write_end(None, &announced, &mut out);
        assert_eq!(out, b"0\r\nx-sum: 1\r\n\r\n0\r\n\r\n");
    }
}
