//! HPACK (RFC 7541): heads as blocks of bytes.
//!
//! What is read may refer to what came before, by a table of at most [`TABLE`] bytes. What is written refers to the static
//! table alone and is not compressed any further, as HAProxy writes it: so there is no second table for each connection.

mod decode;
mod encode;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

pub(super) use decode::{Decoder, Unreadable};
pub(super) use encode::{NO_TABLE, field, status};

/// The size of the table, as RFC 7541 section 4.1 counts it: what every client may use unless it is told otherwise.
pub(super) const TABLE: usize = 4096;
/// What a field counts beside its name and its value.
pub(super) const OVERHEAD: usize = 32;

/// The pseudo-fields that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pseudo {
    Authority,
    Method,
    Path,
    Protocol,
    Scheme,
    Status,
}

impl Pseudo {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":scheme" => Self::Scheme,
            b":status" => Self::Status,
            _ => return None,
        })
    }

    fn len(self) -> usize {
        match self {
            Self::Path => 5,
            Self::Method | Self::Scheme | Self::Status => 7,
            Self::Protocol => 9,
            Self::Authority => 10,
        }
    }
}

/// A field's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Pseudo(Pseudo),
    Field(HeaderName),
    /// What is none, of this length.
    Bad(usize),
}

impl Name {
    fn read(name: &[u8]) -> Self {
        match name.first() {
            Some(b':') => Pseudo::of(name).map_or(Self::Bad(name.len()), Self::Pseudo),
            // In lower case alone.
            _ => HeaderName::from_lowercase(name).map_or(Self::Bad(name.len()), Self::Field),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Pseudo(pseudo) => pseudo.len(),
            Self::Field(name) => name.as_str().len(),
            Self::Bad(length) => *length,
        }
    }
}

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A pseudo-field's: whatever it is.
    Pseudo(Bytes),
    Field(HeaderValue),
    /// What is none, of this length.
    Bad(usize),
}

impl Value {
    /// The value of a field of this name.
    fn read(name: &Name, value: &[u8]) -> Self {
        match name {
            Name::Pseudo(_) => Self::Pseudo(Bytes::copy_from_slice(value)),
            Name::Field(_) => HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value))
                .map_or(Self::Bad(value.len()), Self::Field),
            Name::Bad(_) => Self::Bad(value.len()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Pseudo(value) => value.len(),
            Self::Field(value) => value.len(),
            Self::Bad(length) => *length,
        }
    }
}
