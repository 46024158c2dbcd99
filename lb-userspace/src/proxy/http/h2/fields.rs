//! What comes of a head as its fields are read: a request, or what follows one (RFC 9113 sections 8.1 to 8.5). Pure.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE},
    request,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    MAX_HEAD,
    hpack::{Name, OVERHEAD, Pseudo, Value},
};

/// What is so much larger than a head may be is not even read to its end.
const ABUSE: usize = 4 * MAX_HEAD as usize;

/// Fields of a head that is being read.
#[derive(Default)]
pub(super) struct Fields {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    headers: HeaderMap,
    /// As RFC 9113 section 6.5.2 counts it.
    size: usize,
    malformed: bool,
}

/// A request's head.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) head: Box<request::Parts>,
    /// The other protocol that a CONNECT asks for.
    pub(super) protocol: Option<HeaderValue>,
    /// How long its body is to be, if that is known.
    pub(super) length: Option<u64>,
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    TooLarge,
}

impl Fields {
    /// Takes a field in. Breaks off if it is far too many.
    pub(super) fn add(&mut self, name: Name, value: Value) -> ControlFlow<()> {
        self.size += name.len() + value.len() + OVERHEAD;
        if self.size > ABUSE {
            return ControlFlow::Break(());
        }
        // Nobody looks at what is no head, or is to be refused.
        if self.malformed || self.is_too_large() {
            return ControlFlow::Continue(());
        }
        match (name, value) {
            (Name::Pseudo(pseudo), Value::Pseudo(value)) => {
                let place = match pseudo {
                    Pseudo::Method => Some(&mut self.method),
                    Pseudo::Scheme => Some(&mut self.scheme),
                    Pseudo::Authority => Some(&mut self.authority),
                    Pseudo::Path => Some(&mut self.path),
                    Pseudo::Protocol => Some(&mut self.protocol),
                    // An answer's.
                    Pseudo::Status => None,
                };
                match place {
                    Some(place @ None) if self.headers.is_empty() => *place = Some(value),
                    _ => self.malformed = true,
                }
            }
            (Name::Field(name), Value::Field(value)) => {
                // Of these two nothing but what is right is taken.
                let value = match name == TE || name == CONTENT_LENGTH {
                    true => value,
                    false => trimmed(value),
                };
                if is_of_connection(&name) || (name == TE && value != "trailers") {
                    self.malformed = true;
                } else {
                    // Far fewer than it has room for.
                    self.malformed |= self.headers.try_append(name, value).is_err();
                }
            }
            _ => self.malformed = true,
        }
        ControlFlow::Continue(())
    }

    fn is_too_large(&self) -> bool {
        self.size >= MAX_HEAD as usize
    }

    /// The fields that follow a body.
    ///
    /// # Errors
    /// They are none.
    pub(super) fn trailers(self) -> Result<HeaderMap, Refused> {
        let pseudo = [
            &self.method,
            &self.scheme,
            &self.authority,
            &self.path,
            &self.protocol,
        ];
        if self.malformed || pseudo.iter().any(|pseudo| pseudo.is_some()) {
            return Err(Refused::Malformed);
        }
        match self.is_too_large() {
            true => Err(Refused::TooLarge),
            false => Ok(self.headers),
        }
    }

    /// The request's head; `ended`: it has no body.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn request(self, ended: bool) -> Result<Asked, Refused> {
        if self.malformed {
            return Err(Refused::Malformed);
        }
        if self.is_too_large() {
            return Err(Refused::TooLarge);
        }
        self.well_formed(ended).ok_or(Refused::Malformed)
    }

    fn well_formed(mut self, ended: bool) -> Option<Asked> {
        let mut length = length(&self.headers)?;
        if ended && length.is_some_and(|length| length > 0) {
            return None;
        }
        let method = Method::from_bytes(&self.method?).ok()?;
        let protocol = match self.protocol {
            Some(_) if method != Method::CONNECT => return None,
            Some(protocol) if protocol.is_empty() => return None,
            Some(protocol) => Some(HeaderValue::from_maybe_shared(protocol).ok()?),
            None => None,
        };
        if protocol.is_some() {
            // What follows is the other protocol's. A server that is told of a body would wait for it, and take the next
            // request on its connection for that.
            self.headers.remove(CONTENT_LENGTH);
            length = None;
        }
        let mut uri = http::uri::Parts::default();
        if let Some(authority) = self.authority {
            uri.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        if method == Method::CONNECT && protocol.is_none() {
            // Section 8.5.
            if self.scheme.is_some() || self.path.is_some() || uri.authority.is_none() {
                return None;
            }
        } else {
            let scheme = self.scheme?;
            // RFC 3986 section 3.1.
            if !scheme.first().is_some_and(u8::is_ascii_alphabetic) {
                return None;
            }
            let scheme = Scheme::try_from(&scheme[..]).ok()?;
            let path = self.path?;
            // A fragment is none of a request's, and would be left out in silence.
            if (!path.starts_with(b"/") && path != "*") || path.contains(&b'#') {
                return None;
            }
            uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
            // Without an authority it would be none.
            if uri.authority.is_some() {
                uri.scheme = Some(scheme);
            }
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        head.uri = Uri::from_parts(uri).ok()?;
        head.version = Version::HTTP_2;
        head.headers = self.headers;
        Some(Asked {
            head: Box::new(head),
            protocol,
            length,
        })
    }
}

/// Section 8.2.1: a value neither begins nor ends with a blank. HAProxy takes one that does, as does whoever reads HTTP/1;
/// but it is passed on without them, for a server of HTTP/2 may refuse it.
fn trimmed(value: HeaderValue) -> HeaderValue {
    let bytes = value.as_bytes();
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if !blank(bytes.first()) && !blank(bytes.last()) {
        return value;
    }
    match HeaderValue::from_bytes(bytes.trim_ascii()) {
        Ok(mut trimmed) => {
            trimmed.set_sensitive(value.is_sensitive());
            trimmed
        }
        // A part of a value is one, so that this never happens.
        Err(_) => value,
    }
}

/// Section 8.2.2: a message with one of these is malformed.
fn is_of_connection(name: &HeaderName) -> bool {
    match name.as_str().len() {
        7 => name == UPGRADE,
        10 => name == CONNECTION || name.as_str() == "keep-alive",
        16 => name.as_str() == "proxy-connection",
        17 => name == TRANSFER_ENCODING,
        _ => false,
    }
}

/// Section 8.1.1: how long the body is to be; `None` if several say different things, or one says none.
fn length(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Some(None);
    };
    let number = |value: &HeaderValue| {
        let digits = value.as_bytes();
        // As many as fit for certain.
        if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digit = |number, &digit: &u8| number * 10 + u64::from(digit - b'0');
        Some(digits.iter().fold(0, digit))
    };
    let length = number(first)?;
    for other in lengths {
        if number(other)? != length {
            return None;
        }
    }
    Some(Some(length))
}
