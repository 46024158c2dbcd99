//! Where the body of an answer ends.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::{Chunked, take};

/// What has come is not HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The next part of a body.
#[derive(Debug)]
pub enum Decoded {
    /// Some of it.
    Data(Bytes),
    /// What follows it. Its end is next.
    Trailers(HeaderMap),
    /// That was all.
    End,
    /// More has to be read first.
    More,
}

/// How a body is framed (RFC 9112 section 6.3).
#[derive(Debug)]
pub enum Framing {
    /// So many bytes are left of it.
    Length(u64),
    /// It says so itself.
    Chunked(Chunked),
    /// The connection's end is its end.
    Close,
}

impl Framing {
    /// The next part of it in `read`, which is taken out of that.
    ///
    /// # Errors
    /// It is not in its coding.
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, Malformed> {
        Ok(match self {
            Self::Chunked(chunked) => return chunked.decode(read),
            Self::Length(0) => Decoded::End,
            _ if read.is_empty() => Decoded::More,
            Self::Length(left) => {
                let n = usize::try_from(*left).map_or(read.len(), |n| n.min(read.len()));
                *left -= n as u64;
                Decoded::Data(take(read, n))
            }
            Self::Close => Decoded::Data(take(read, read.len())),
        })
    }

    /// Its length, where it is known beforehand.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Chunked(_) | Self::Close => None,
        }
    }

    /// Whether all of it has been decoded, but for an end that is in `read` and is taken out of that.
    pub fn is_over(&mut self, read: &mut BytesMut) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.ends(read),
            Self::Close => false,
        }
    }
}
