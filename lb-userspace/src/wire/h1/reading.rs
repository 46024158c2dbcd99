//! Answers to health checks, read as those to traffic are: a server whose answers nobody would get is not up, nor is one down
//! whose answers would be passed on. Pure.

use bytes::BytesMut;
use http::{Method, StatusCode};
use hyper::ext::ReasonPhrase;

use super::{
    MAX_HEAD,
    framing::{Decoded, Framing},
    head,
};

/// An answer of HTTP/1, as far as it has come.
#[derive(Debug)]
pub struct Reading {
    method: Method,
    read: BytesMut,
    framing: Framing,
}

/// The head of the answer that counts.
#[derive(Debug)]
pub struct Head {
    /// As it came, its end included.
    pub bytes: Vec<u8>,
    /// Its status.
    pub status: StatusCode,
    /// The words behind that.
    pub reason: Vec<u8>,
}

/// What has come would not be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable;

impl Reading {
    /// The answer to a request of `method`, of which nothing has come.
    pub fn new(method: &str) -> Self {
        Self {
            // Only what has no body is told apart.
            method: Method::from_bytes(method.as_bytes()).unwrap_or_default(),
            read: BytesMut::new(),
            framing: Framing::Close,
        }
    }

    /// Where what comes is to be put.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.read
    }

    /// The head of the answer, once it is there; those before it (1xx) are stepped over.
    ///
    /// # Errors
    /// It is none, or too long, or could be read in two ways.
    pub fn head(&mut self) -> Result<Option<Head>, Unusable> {
        loop {
            if self.read.is_empty() {
                return Ok(None);
            }
            let before = self.read.clone();
            // Checks of many servers take turns here: no answer is likely to look like the one before it.
            let read = head::read(&mut self.read, &self.method, &mut { usize::MAX });
            let Some(answer) = read.map_err(|_| Unusable)? else {
                return match self.read.len() < MAX_HEAD {
                    true => Ok(None),
                    false => Err(Unusable),
                };
            };
            if head::is_interim(answer.head.status) {
                continue;
            }
            if !head::is_clear(&answer.head.headers, answer.fields) {
                return Err(Unusable);
            }
            self.framing = answer.framing;
            let bytes = &before[..before.len() - self.read.len()];
            // Empty lines before it are none of it.
            let start = bytes.iter().position(|byte| !b"\r\n".contains(byte));
            let status = answer.head.status;
            let reason = match answer.head.extensions.get::<ReasonPhrase>() {
                Some(own) => own.as_bytes(),
                None => status.canonical_reason().unwrap_or_default().as_bytes(),
            };
            return Ok(Some(Head {
                bytes: bytes[start.unwrap_or(0)..].to_vec(),
                status,
                reason: reason.to_vec(),
            }));
        }
    }

    /// Takes what has come of the body behind the head to `text`; whether that was all of it.
    ///
    /// # Errors
    /// It is not in its coding.
    pub fn body(&mut self, text: &mut Vec<u8>) -> Result<bool, Unusable> {
        loop {
            match self.framing.decode(&mut self.read).map_err(|_| Unusable)? {
                Decoded::Data(data) => text.extend_from_slice(&data),
                Decoded::Trailers(_) => {}
                Decoded::End => return Ok(true),
                Decoded::More => return Ok(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of `text`, which comes in pieces of `size`: the head, the body and whether that was all.
    fn read(
        method: &str,
        text: &str,
        size: usize,
    ) -> Result<Option<(Head, String, bool)>, Unusable> {
        let (mut reading, mut found) = (Reading::new(method), None);
        let (mut body, mut ended) = (Vec::new(), false);
        for piece in text.as_bytes().chunks(size) {
            reading.buffer().extend_from_slice(piece);
            if found.is_none() {
                found = reading.head()?;
            }
            if found.is_some() {
                ended = reading.body(&mut body)?;
            }
        }
        let body = String::from_utf8(body).expect("text");
        Ok(found.map(|head| (head, body, ended)))
    }

    #[test]
    fn an_answer_is_read_however_it_comes() {
        for (text, status, reason, body, ended) in [
            ("HTTP/1.0 200 OK\r\n\r\nab", 200, "OK", "ab", false),
            ("HTTP/1.1 204\n\n", 204, "", "", true),
            (
                "\r\nHTTP/1.1 503 Busy\r\nA: b\r\n\r\n",
                503,
                "Busy",
                "",
                false,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nabc",
                302,
                "Found",
                "ab",
                true,
            ),
            (
                "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
                200,
                "Fine",
                "a",
                true,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\n\r\n",
                101,
                "Switching Protocols",
                "",
                true,
            ),
        ] {
            for size in [1, 7, text.len()] {
                let (head, said, all) = read("GET", text, size).unwrap().unwrap();
                assert_eq!(head.status, status, "{text:?}");
                assert_eq!(String::from_utf8(head.reason).unwrap(), reason);
                assert_eq!((said.as_str(), all), (body, ended), "{text:?}");
                let head = String::from_utf8(head.bytes).unwrap();
                assert!(
                    head.starts_with(&format!("HTTP/1.{}", &head[7..8])),
                    "{head:?}"
                );
                assert!(
                    head.ends_with("\n\n") || head.ends_with("\r\n\r\n"),
                    "{head:?}"
                );
            }
        }
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert!(read("HEAD", text, text.len()).unwrap().unwrap().2);
    }

    #[test]
    fn what_would_not_be_passed_on_is_no_answer() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(150));
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
        for text in [
            many.as_str(),
            &long,
            "SSH-2.0-x\r\n",
            "\0",
            "HTTP/2 200\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            for size in [1, text.len()] {
                assert!(read("GET", text, size).is_err(), "{text:?}");
            }
        }
    }
}
