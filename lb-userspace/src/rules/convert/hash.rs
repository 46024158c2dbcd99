//! Hashes, and hexadecimal digits.

use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use xxhash_rust::{xxh3::xxh3_64_with_seed, xxh32::xxh32, xxh64::xxh64};

use crate::rules::value::{Kind, Value};

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// `sha1`.
    Sha1,
    /// `sha2` with so many bits.
    Sha2(u16),
    /// `crc32`: Ethernet's.
    Crc32(bool),
    /// `crc32c`: iSCSI's.
    Crc32c(bool),
    /// `djb2`; with `true` its result is hashed again (`avalanche`).
    Djb2(bool),
    /// `sdbm`.
    Sdbm(bool),
    /// `wt6`.
    Wt6(bool),
    /// `xxh32` with a seed.
    Xxh32(u32),
    /// `xxh64` with a seed.
    Xxh64(u64),
    /// `xxh3` with a seed.
    Xxh3(u64),
}

impl Digest {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Sha1 | Self::Sha2(_) => Kind::Bin,
            _ => Kind::Int,
        }
    }

    /// Of those that make a number of 32 bits, the number; 0 of others.
    pub(crate) fn number(self, bytes: &[u8]) -> u32 {
        match self.apply(bytes) {
            Value::Int(number) => number as u32,
            _ => 0,
        }
    }

    pub(super) fn apply(self, bytes: &[u8]) -> Value<'static> {
        Value::Int(match self {
            Self::Sha1 => return bin(Sha1::digest(bytes).as_slice()),
            Self::Sha2(224) => return bin(Sha224::digest(bytes).as_slice()),
            Self::Sha2(384) => return bin(Sha384::digest(bytes).as_slice()),
            Self::Sha2(512) => return bin(Sha512::digest(bytes).as_slice()),
            Self::Sha2(_) => return bin(Sha256::digest(bytes).as_slice()),
            Self::Crc32(again) => i64::from(avalanche(crc(bytes, 0xedb8_8320), again)),
            Self::Crc32c(again) => i64::from(avalanche(crc(bytes, 0x82f6_3b78), again)),
            Self::Djb2(again) => {
                let step = |hash: u32, b: &u8| hash.wrapping_mul(33).wrapping_add(u32::from(*b));
                i64::from(avalanche(bytes.iter().fold(5381, step), again))
            }
            Self::Sdbm(again) => {
                let step = |hash: u32, b: &u8| {
                    u32::from(*b)
                        .wrapping_add(hash << 6)
                        .wrapping_add(hash << 16)
                        .wrapping_sub(hash)
                };
                i64::from(avalanche(bytes.iter().fold(0, step), again))
            }
            Self::Wt6(again) => i64::from(avalanche(wt6(bytes), again)),
            Self::Xxh32(seed) => i64::from(xxh32(bytes, seed)),
            Self::Xxh64(seed) => xxh64(bytes, seed).cast_signed(),
            Self::Xxh3(seed) => xxh3_64_with_seed(bytes, seed).cast_signed(),
        })
    }
}

fn bin(digest: &[u8]) -> Value<'static> {
    Value::Bin(digest.to_vec().into())
}

/// Bit by bit: it is short, and what is hashed here are names.
fn crc(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ polynomial,
            _ => crc >> 1,
        })
    })
}

/// HAProxy's own, from Willy Tarreau.
fn wt6(bytes: &[u8]) -> u32 {
    let (mut first, mut second) = (0xa53c_965a_u32, 0x5ca6_953a_u32);
    let (mut left, mut right) = (6, 18);
    for &b in bytes {
        first = !(first ^ u32::from(b));
        second = !second.wrapping_add(u32::from(b));
        let turned = second.rotate_left(left);
        second = first.rotate_left(right);
        first = turned;
        let steps = (first >> 16 ^ second) & 0xffff;
        left = steps & 0x1f;
        right = steps >> 11;
    }
    first ^ second
}

/// Bob Jenkins's full avalanche, as HAProxy has it.
pub(crate) fn avalanche(hash: u32, wanted: bool) -> u32 {
    if !wanted {
        return hash;
    }
    let mut a = hash;
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    // A large prime near three quarters of the range spreads them better.
    a.wrapping_mul(3_221_225_473)
}

/// In upper case, as HAProxy's `hex`.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

/// The bytes of hexadecimal digits.
pub(in crate::rules) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}
