//! Blocks that are written: by the static table, or spelled out. Pure.

use http::{HeaderName, HeaderValue, StatusCode};

use super::table;

/// A number that begins in the last `bits` of a byte, whose others are `first`.
#[inline]
fn integer(out: &mut Vec<u8>, first: u8, bits: u32, number: usize) {
    let most = (1usize << bits) - 1;
    if number < most {
        // It is less than a byte.
        out.push(first | number as u8);
        return;
    }
    out.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, string: &[u8]) {
    integer(out, 0, 7, string.len());
    out.extend_from_slice(string);
}

/// What says that no table is used: a peer that allows less of one than there is by itself has to be told (RFC 7541 section
/// 4.2), at the beginning of a block.
pub(in super::super) const NO_TABLE: u8 = 0x20;

/// The status of an answer, which is the first of its fields.
pub(in super::super) fn status(out: &mut Vec<u8>, status: StatusCode) {
    let number = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            out.push(8);
            return string(out, status.as_str().as_bytes());
        }
    };
    out.push(0x80 | number);
}

/// A field. What is sensitive is not to be put into tables further on either.
pub(in super::super) fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let first = if value.is_sensitive() { 0x10 } else { 0 };
    let name = name.as_str();
    match table::number(name) {
        Some(number) => integer(out, first, 4, usize::from(number)),
        None => {
            out.push(first);
            string(out, name.as_bytes());
        }
    }
    string(out, value.as_bytes());
}
