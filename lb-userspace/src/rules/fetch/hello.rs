//! The name that a TLS client asks for, read from its first message without answering it (RFC 8446, section 4.1.2;
//! RFC 6066, section 3). Pure.

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a ClientHello that has this many bytes at least.
    Partial(usize),
    /// A whole one, with the name that it asks for, lower-case.
    Complete(Option<String>),
    /// No TLS, or none that can be understood.
    Other,
}

/// Longest ClientHello that is waited for. Post-quantum key shares make some of 2 KiB.
pub const LONGEST: usize = 16 * 1024;

/// Record header: type, version, length.
const RECORD: usize = 5;
/// Handshake header: type, length.
const MESSAGE: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// A ClientHello's body, as far as it has come.
pub(super) enum Body {
    /// The beginning of a message that has this many bytes at least.
    Partial(usize),
    /// All of it.
    Whole(Vec<u8>),
    /// No TLS.
    Other,
}

/// Looks at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Hello {
    match body(bytes) {
        Body::Partial(least) => Hello::Partial(least),
        Body::Other => Hello::Other,
        Body::Whole(body) => match server_name(&body) {
            Some(name) => Hello::Complete(name),
            None => Hello::Other,
        },
    }
}

/// The body of the ClientHello that a connection begins with.
pub(super) fn body(bytes: &[u8]) -> Body {
    // A message may be spread over several records: their contents one after the other.
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let taken = bytes.len() - rest.len();
        if rest.first().is_some_and(|&kind| kind != HANDSHAKE)
            || rest.get(1).is_some_and(|&major| major != 3)
        {
            return Body::Other;
        }
        let Some((header, after)) = rest.split_first_chunk::<RECORD>() else {
            return Body::Partial(taken + RECORD);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || taken + RECORD + length > LONGEST {
            return Body::Other;
        }
        if message.is_empty() && after.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
            return Body::Other;
        }
        let Some((contents, next)) = after.split_at_checked(length) else {
            return Body::Partial(taken + RECORD + length);
        };
        message.extend_from_slice(contents);
        rest = next;
        if let Some((header, body)) = message.split_first_chunk::<MESSAGE>() {
            let length =
                usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
            if length > LONGEST {
                return Body::Other;
            }
            if let Some(body) = body.get(..length) {
                return Body::Whole(body.to_vec());
            }
        }
    }
}

/// An extension of a ClientHello's body; the outer `None` is a body that breaks off before it.
pub(super) fn extension(body: &[u8], wanted: u16) -> Option<Option<&[u8]>> {
    let mut extensions = extensions(body)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let data = extensions.vector(2)?;
        if kind == usize::from(wanted) {
            return Some(Some(data));
        }
    }
    Some(None)
}

/// The protocols in the data of an extension for that.
pub(super) fn protocols(data: &[u8]) -> Option<Vec<&[u8]>> {
    let mut list = Parts(Parts(data).vector(2)?);
    let mut found = Vec::new();
    while !list.0.is_empty() {
        found.push(list.vector(1)?);
    }
    Some(found)
}

/// All extensions of a ClientHello's body; `None` if that breaks off.
fn extensions(body: &[u8]) -> Option<Parts<'_>> {
    let mut body = Parts(body);
    body.take(2 + 32)?;
    body.vector(1)?;
    body.vector(2)?;
    body.vector(1)?;
    if body.0.is_empty() {
        return Some(Parts(&[]));
    }
    Some(Parts(body.vector(2)?))
}

/// The name in a ClientHello's body; the outer `None` is a body that breaks off.
fn server_name(body: &[u8]) -> Option<Option<String>> {
    let mut extensions = extensions(body)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let data = extensions.vector(2)?;
        if kind != usize::from(SERVER_NAME) {
            continue;
        }
        let mut names = Parts(Parts(data).vector(2)?);
        while !names.0.is_empty() {
            let kind = names.number(1)?;
            let name = names.vector(2)?;
            if kind == usize::from(HOST_NAME) {
                let name = std::str::from_utf8(name).ok()?;
                return Some(Some(name.to_ascii_lowercase()));
            }
        }
    }
    Some(None)
}

/// Bytes that are taken from the front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |n, &byte| n << 8 | usize::from(byte)))
    }

    /// Bytes after their length, which has `bytes` bytes itself.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs};

    use super::*;

    /// What rustls says first to a server called `name`.
    fn hello(name: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_found_and_every_part_of_the_message_wants_more() {
        let bytes = hello("Some.Example");
        let found = Hello::Complete(Some("some.example".into()));
        assert_eq!(parse(&bytes), found);
        for length in 0..bytes.len() {
            match parse(&bytes[..length]) {
                Hello::Partial(least) => assert!(length < least && least <= bytes.len()),
                other => panic!("{length} bytes: {other:?}"),
            }
        }
        assert_eq!(parse(&hello("192.0.2.1")), Hello::Complete(None));
    }

    #[test]
    fn a_message_in_several_records_is_one() {
        let bytes = hello("some.example");
        let contents = &bytes[RECORD..];
        let mut split = Vec::new();
        for part in contents.chunks(7) {
            split.extend_from_slice(&[HANDSHAKE, 3, 1, 0, part.len() as u8]);
            split.extend_from_slice(part);
        }
        assert_eq!(parse(&split), Hello::Complete(Some("some.example".into())));
    }

    #[test]
    fn what_is_no_hello_is_told_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-x\r\n",
            b"\x16\x02\x01",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\0\x05\x02",
            b"\x16\x03\x01\xff\xff",
            // A body of two bytes.
            b"\x16\x03\x01\0\x06\x01\0\0\x02\x03\x03",
        ] {
            assert_eq!(parse(bytes), Hello::Other, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            at in 0_usize..200,
            change in prop::collection::vec(any::<u8>(), 1..8),
            cut in 0_usize..300,
        ) {
            let mut bytes = hello("some.example");
            let end = (at + change.len()).min(bytes.len());
            let at = at.min(end);
            bytes.splice(at..end, change);
            bytes.truncate(cut);
            let _ = parse(&bytes);
        }
    }
}
