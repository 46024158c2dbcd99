//! Heads between HTTP/1's form, in which all that is decided here is decided, and HTTP/2's. Pure.

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE},
    request,
    uri::{Authority, PathAndQuery, Scheme},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The request as a server of HTTP/2 gets it; `None` if its Host is none. `scheme` is that of the way to the server.
///
/// A request of HTTP/1 may have no Host; the h2 crate takes such a one only for what it is.
pub(super) fn request(head: request::Parts, scheme: Scheme) -> Option<Request<()>> {
    let request::Parts {
        method,
        uri,
        mut headers,
        ..
    } = head;
    let host = headers.remove(HOST);
    shed(&mut headers);
    part(&mut headers);
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = uri.into_parts().path_and_query.map(whole);
    let mut version = Version::HTTP_11;
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
        parts.scheme = Some(scheme);
        version = Version::HTTP_2;
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Some(request)
}

/// A target's path and query with the path that it has by meaning (RFC 9112, section 3.2.2): one in absolute form may have a
/// query without a path, which is no `:path` (RFC 9113, section 8.3.1).
fn whole(target: PathAndQuery) -> PathAndQuery {
    if !target.as_str().starts_with('?') {
        return target;
    }
    // A slash before it makes it one.
    PathAndQuery::try_from(format!("/{}", target.as_str())).unwrap_or(target)
}

/// Whether a request asks for another protocol, which is a CONNECT in HTTP/2.
pub(in super::super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"upgrade"))
}

/// Whether HTTP/2 has other means for a field of HTTP/1 (RFC 9113 section 8.2.2), so that a client does not get it.
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE].contains(name)
}

/// Takes such fields out.
fn shed(headers: &mut HeaderMap) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE] {
        headers.remove(name);
    }
}

/// Parts the values from the buffer that they were read into.
///
/// The h2 crate's table of fields keeps values for as long as the connection lives, and with each the whole buffer that it
/// is a part of: that of a connection to a server has up to 32 KiB, which that connection then could not use again.
fn part(headers: &mut HeaderMap) {
    let length = headers.values().map(HeaderValue::len).sum();
    let mut copy = BytesMut::with_capacity(length);
    for value in headers.values_mut() {
        copy.extend_from_slice(value.as_bytes());
        let sensitive = value.is_sensitive();
        // It has been one before.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(copy.split().freeze()) {
            own.set_sensitive(sensitive);
            *value = own;
        }
    }
}

/// The bytes that HTTP/1 would have for the head of a request.
pub(super) fn request_size(method: &str, target: &str, headers: &HeaderMap) -> usize {
    method.len() + target.len() + " ".len() + " HTTP/1.1\r\n".len() + fields_size(headers)
}

/// The bytes that HTTP/1 would have for the head of a response.
pub(super) fn response_size(status: StatusCode, headers: &HeaderMap) -> usize {
    let reason = status.canonical_reason().map_or(0, str::len);
    "HTTP/1.1 200 \r\n".len() + reason + fields_size(headers)
}

fn fields_size(headers: &HeaderMap) -> usize {
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    fields.sum::<usize>() + "\r\n".len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;

    use super::*;

    #[test]
    fn a_request_has_its_host_in_front() {
        let head = Request::get("/x?y")
            .header("host", "a:81")
            .header("connection", "keep-alive")
            .header("transfer-encoding", "chunked")
            .header("x", "z")
            .body(())
            .expect("a request")
            .into_parts()
            .0;
        let request = request(head, Scheme::HTTPS).expect("a host");
        assert_eq!(*request.uri(), "https://a:81/x?y");
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()["x"], "z");
    }

    #[test]
    fn a_target_without_a_path_has_the_shortest_one() {
        for (target, path) in [
            ("http://b:8?q", "/?q"),
            ("http://b:8?", "/?"),
            ("http://b:8", "/"),
            ("http://b:8/x?q", "/x?q"),
            ("*", "*"),
        ] {
            let head = Request::options(target).header("host", "b:8").body(());
            let head = head.expect("a request").into_parts().0;
            let request = request(head, Scheme::HTTP).expect("a host");
            let sent = request.uri().path_and_query().map(PathAndQuery::as_str);
            assert_eq!(sent, Some(path), "{target}");
        }
    }

    #[test]
    fn values_leave_the_buffer_that_they_were_read_into() {
        let read = Bytes::from(b"one two".repeat(1000));
        let mut secret = HeaderValue::from_maybe_shared(read.slice(0..3)).expect("a value");
        secret.set_sensitive(true);
        let head = Request::get("/")
            .header("host", "a")
            .header("x", secret)
            .header(
                "x",
                HeaderValue::from_maybe_shared(read.slice(4..7)).expect("a value"),
            )
            .header("y", "")
            .body(())
            .expect("a request");
        let request = request(head.into_parts().0, Scheme::HTTP).expect("a host");
        let values: Vec<_> = request.headers().get_all("x").iter().collect();
        assert_eq!(values, ["one", "two"]);
        assert!(values[0].is_sensitive() && !values[1].is_sensitive());
        assert_eq!(request.headers()["y"], "");
        assert!(read.is_unique());
    }

    #[test]
    fn sizes_are_those_of_http_1() {
        let head = Response::builder()
            .status(404)
            .header("x", "yz")
            .body(())
            .expect("a response");
        assert_eq!(
            response_size(head.status(), head.headers()),
            "HTTP/1.1 404 Not Found\r\nx: yz\r\n\r\n".len()
        );
        assert_eq!(
            request_size("GET", "/x", head.headers()),
            "GET /x HTTP/1.1\r\nx: yz\r\n\r\n".len()
        );
    }
}
