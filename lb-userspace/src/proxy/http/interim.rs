//! Answers before the answer: `102 Processing`, `103 Early Hints` and whatever else of 1xx a server sends.
//!
//! hyper knows them only as something to step over. Of a server's bytes they are read beside hyper, which steps over the
//! same bytes afterwards; towards a client of HTTP/1 they are written between hyper's writes.

use http::{HeaderName, HeaderValue, Response, StatusCode, Version};

use super::forward;

/// Largest head that is taken, as of a final answer.
const MAX_HEAD: usize = 64 * 1024;
/// Most fields of one.
const MAX_FIELDS: usize = 32;
/// Most of them that wait for a client who does not read.
pub(super) const MAX_WAITING: usize = 8;
/// The first digit of a status in `HTTP/1.1 103`.
const DIGIT: usize = 9;

/// Looks at the beginning of what a server sends for a request.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// What has come of a head that is not complete. Empty but for the rare server that sends one piece by piece.
    begun: Vec<u8>,
}

/// What a server's bytes begin with.
enum Begin {
    /// So many bytes of an interim answer.
    Interim(Response<()>, usize),
    /// Not enough to tell.
    Partial,
    /// Something else, which is hyper's to judge.
    Other,
}

impl Heads {
    /// Takes the next bytes and hands each interim answer to `found`. Returns whether more may come: not once the final
    /// answer has begun.
    pub(super) fn look(&mut self, bytes: &[u8], mut found: impl FnMut(Response<()>)) -> bool {
        if self.begun.is_empty() && bytes.get(DIGIT).is_some_and(|&digit| digit != b'1') {
            return false;
        }
        self.begun.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match begin(&self.begun[at..]) {
                Begin::Interim(head, length) => {
                    at += length;
                    found(head);
                }
                Begin::Partial if self.begun.len() - at <= MAX_HEAD => {
                    self.begun.drain(..at);
                    return true;
                }
                Begin::Partial | Begin::Other => {
                    self.begun = Vec::new();
                    return false;
                }
            }
        }
    }
}

fn begin(bytes: &[u8]) -> Begin {
    if bytes.get(DIGIT).is_some_and(|&digit| digit != b'1') {
        return Begin::Other;
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Begin::Partial,
        Err(_) => return Begin::Other,
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = status.filter(|&status| is_interim(status)) else {
        return Begin::Other;
    };
    let mut head = Response::new(());
    *head.status_mut() = status;
    for field in parsed.headers.iter() {
        if let Ok(name) = HeaderName::from_bytes(field.name.as_bytes())
            && let Ok(value) = HeaderValue::from_bytes(field.value)
        {
            head.headers_mut().append(name, value);
        }
    }
    Begin::Interim(head, length)
}

/// Whether another answer follows one with this status. After a `101` what follows is no HTTP.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

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

    const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nlink: </b.js>\r\n\r\n";
    const FINAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// What is found in pieces of `bytes` of at most `size` bytes, and whether more is looked for.
    fn found(bytes: &[u8], size: usize) -> (Vec<u16>, bool) {
        let (mut heads, mut statuses, mut more) = (Heads::default(), Vec::new(), true);
        for piece in bytes.chunks(size) {
            more = more && heads.look(piece, |head| statuses.push(head.status().as_u16()));
        }
        assert!(more || heads.begun.is_empty(), "nothing is kept");
        (statuses, more)
    }

    #[test]
    fn interim_answers_are_found_however_they_come() {
        let both = [b"HTTP/1.1 102 \r\n\r\n", HINTS].concat();
        let all = [&both[..], FINAL].concat();
        for size in 1..all.len() {
            assert_eq!(found(&all, size), (vec![102, 103], false), "{size}");
            assert_eq!(found(&both, size), (vec![102, 103], true), "{size}");
        }
    }

    #[test]
    fn what_is_none_is_left_alone() {
        for bytes in [
            FINAL,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 103 \r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n bad\r\n\r\n",
            b"nonsense that is no HTTP",
            b"SSH-2.0-x1",
        ] {
            assert_eq!(found(bytes, bytes.len()), (vec![], false));
        }
        let endless = [b"HTTP/1.1 103 x\r\nA: ", &[b'a'; MAX_HEAD][..]].concat();
        assert_eq!(found(&endless, 1000), (vec![], false));
    }

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
