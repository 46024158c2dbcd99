//! Frames as bytes (RFC 9113 sections 4 and 6). Pure.

use h2::Reason;

use super::incoming::{Fatal, PROTOCOL, SIZE};

/// The length of a frame's head.
pub(super) const HEAD: usize = 9;
/// The largest payload that we take, and that we send: what every peer takes.
pub(super) const MAX_LENGTH: usize = 16_384;
/// What a client of HTTP/2 begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window, and the largest number of a stream.
pub(super) const MAX_31: u32 = (1 << 31) - 1;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags of frames.
pub(super) mod flag {
    /// Of DATA and HEADERS.
    pub(in super::super) const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING.
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(in super::super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Of its payload.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Its stream; 0 is the connection.
    pub(super) id: u32,
}

impl Head {
    /// The head that `bytes` begin with, if all of it is there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, d, e, f, g] = bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            id: u32::from_be_bytes([d, e, f, g]) & MAX_31,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where in `payload` its content is, without padding.
    ///
    /// # Errors
    /// There is more padding than frame (section 6.1), or no length of it though there should be (section 4.2).
    pub(super) fn content(&self, payload: &[u8]) -> Result<std::ops::Range<usize>, Fatal> {
        if !self.has(flag::PADDED) {
            return Ok(0..payload.len());
        }
        let padding = usize::from(*payload.first().ok_or(SIZE)?);
        let end = payload.len().checked_sub(padding).ok_or(PROTOCOL)?;
        match end {
            0 => Err(PROTOCOL),
            end => Ok(1..end),
        }
    }
}

/// Writes a frame's head. `length` is at most [`MAX_LENGTH`].
pub(super) fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, id: u32) {
    // No frame of ours is longer than its three bytes can say.
    let [_, a, b, c] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    let [d, e, f, g] = id.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Writes a frame of one number.
fn number(out: &mut Vec<u8>, kind: u8, id: u32, number: u32) {
    head(out, 4, kind, 0, id);
    out.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn reset(out: &mut Vec<u8>, id: u32, reason: Reason) {
    number(out, RST_STREAM, id, reason.into());
}

pub(super) fn window_update(out: &mut Vec<u8>, id: u32, increment: u32) {
    number(out, WINDOW_UPDATE, id, increment);
}

pub(super) fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    head(out, settings.len() * 6, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, SETTINGS, flag::ACK, 0);
}

pub(super) fn ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    head(out, payload.len(), PING, flags, 0);
    out.extend_from_slice(&payload);
}

pub(super) fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason) {
    head(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&u32::from(reason).to_be_bytes());
}

/// Writes what `write` does as a header block: as HEADERS, and as CONTINUATION what does not fit into that.
pub(super) fn block(
    out: &mut Vec<u8>,
    id: u32,
    end_stream: bool,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let mut flags = if end_stream { flag::END_STREAM } else { 0 };
    let at = out.len();
    head(out, 0, HEADERS, flags | flag::END_HEADERS, id);
    write(out);
    // Nearly all fit, and need no copy.
    let length = out.len() - at - HEAD;
    if length <= MAX_LENGTH {
        let [_, lengths @ ..] = u32::try_from(length).unwrap_or(0).to_be_bytes();
        out[at..at + lengths.len()].copy_from_slice(&lengths);
        return;
    }
    let block = out.split_off(at + HEAD);
    out.truncate(at);
    let mut kind = HEADERS;
    let mut rest = block.as_slice();
    loop {
        let (part, after) = rest.split_at(rest.len().min(MAX_LENGTH));
        if after.is_empty() {
            flags |= flag::END_HEADERS;
        }
        head(out, part.len(), kind, flags, id);
        out.extend_from_slice(part);
        if after.is_empty() {
            return;
        }
        (rest, kind, flags) = (after, CONTINUATION, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let mut out = Vec::new();
        head(&mut out, 16_384, DATA, flag::PADDED, 0x7fff_fffe);
        assert_eq!(out, [0, 0x40, 0, 0, 8, 0x7f, 0xff, 0xff, 0xfe]);
        // The reserved bit is none of the number.
        out[5] |= 0x80;
        let read = Head::parse(&out).expect("a head");
        assert_eq!(
            (read.length, read.kind, read.id),
            (16_384, DATA, 0x7fff_fffe)
        );
        assert_eq!(Head::parse(&out[..8]), None);
    }

    #[test]
    fn padding_is_no_content() {
        let padded = Head {
            length: 0,
            kind: DATA,
            flags: flag::PADDED,
            id: 1,
        };
        assert_eq!(padded.content(&[2, b'x', 0, 0]), Ok(1..2));
        assert_eq!(padded.content(&[1, 0]), Ok(1..1));
        assert_eq!(padded.content(&[0]), Ok(1..1));
        assert_eq!(padded.content(&[1]), Err(PROTOCOL));
        assert_eq!(padded.content(&[]), Err(SIZE));
        assert_eq!(padded.content(&[5, 0, 0]), Err(PROTOCOL));
    }

    #[test]
    fn a_block_that_is_too_large_for_one_frame_goes_on_in_others() {
        let mut out = Vec::new();
        block(&mut out, 3, true, |out| out.extend([7; MAX_LENGTH + 1]));
        let first = Head::parse(&out).expect("a head");
        assert_eq!((first.kind, first.flags), (HEADERS, flag::END_STREAM));
        let second = Head::parse(&out[HEAD + MAX_LENGTH..]).expect("a head");
        assert_eq!(second.length, 1);
        assert_eq!(
            (second.kind, second.flags),
            (CONTINUATION, flag::END_HEADERS)
        );
        assert_eq!(second.id, 3);
    }
}
