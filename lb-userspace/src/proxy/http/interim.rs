//! Answers before the answer: `102 Processing`, `103 Early Hints` and whatever else of 1xx a server sends.
//!
//! hyper knows them only as something to step over: towards a client of HTTP/1 they are written between its writes.

use http::{Response, Version};

use super::forward;
pub(super) use crate::wire::h1::is_interim;

/// Most of them that wait for a client who does not read.
pub(super) const MAX_WAITING: usize = 8;

/// The interim answer as a client may get it: without what belongs to one hop or would be the length of a body, which it
/// has not.
pub(super) fn clean(head: Response<()>) -> Response<()> {
    let (mut head, ()) = head.into_parts();
    forward::interim(&mut head);
    head.version = Version::HTTP_11;
    Response::from_parts(head, ())
}

/// Writes it as HTTP/1 does.
pub(super) fn write(head: &Response<()>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status().as_str().as_bytes());
    out.push(b' ');
    let reason = head.status().canonical_reason().unwrap_or_default();
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_hop_is_taken_out() {
        let head = Response::builder()
            .status(103)
            .header("link", "</a>")
            .header("connection", "close, x-hop")
            .header("x-hop", "1")
            .header("content-length", "3")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "x")
            .body(())
            .expect("a response");
        let mut out = Vec::new();
        write(&clean(head), &mut out);
        assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    }
}
