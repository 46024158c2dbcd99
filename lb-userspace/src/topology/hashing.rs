//! The hash of what balancing looks at in a request: HAProxy's functions, so that the same server is chosen. Pure.

use crate::{
    config::model::{HashFunction, Hashing},
    rules::{Digest, avalanche},
};

/// The hash of a key.
pub(super) fn hash(hashing: Hashing, key: &[u8]) -> u32 {
    let number = match hashing.function {
        HashFunction::Sdbm => Digest::Sdbm(false).number(key),
        HashFunction::Djb2 => Digest::Djb2(false).number(key),
        HashFunction::Wt6 => Digest::Wt6(false).number(key),
        HashFunction::Crc32 => Digest::Crc32(false).number(key),
        HashFunction::None => leading_number(key),
    };
    avalanche(number, hashing.avalanche)
}

/// The hash of a client's address, which HAProxy makes without a function.
pub(super) fn of_address(hashing: Hashing, client: std::net::IpAddr) -> u32 {
    let words = match client.to_canonical() {
        std::net::IpAddr::V4(v4) => v4.into(),
        std::net::IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let part = |shift: u32| (bits >> shift) as u32;
            part(96) ^ part(64) ^ part(32) ^ part(0)
        }
    };
    avalanche(words, hashing.avalanche)
}

/// The number that a key begins with, its low bits: as HAProxy reads one.
fn leading_number(key: &[u8]) -> u32 {
    let (negative, digits) = match key {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, key),
    };
    let number = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0u32, |sum, byte| {
            sum.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'))
        });
    match negative {
        true => number.wrapping_neg(),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hashed_as_the_file_says() {
        let of = |function, avalanche, key: &str| {
            let hashing = Hashing {
                function,
                avalanche,
            };
            hash(hashing, key.as_bytes())
        };
        assert_eq!(of(HashFunction::Sdbm, false, "abc"), 807_794_786);
        assert_eq!(of(HashFunction::Djb2, false, "abc"), 193_485_963);
        assert_eq!(of(HashFunction::Djb2, true, "/"), 3_725_504_903);
        assert_eq!(of(HashFunction::Crc32, false, "123456789"), 0xcbf4_3926);
        assert_eq!(of(HashFunction::None, false, "42x"), 42);
        assert_eq!(of(HashFunction::None, false, "-1"), u32::MAX);
        assert_eq!(of(HashFunction::None, false, "x"), 0);
    }

    #[test]
    fn an_address_is_its_own_hash() {
        let of = |text: &str| of_address(Hashing::default(), text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), 0xc000_0201);
        assert_eq!(of("::ffff:192.0.2.1"), 0xc000_0201);
        assert_eq!(of("2001:db8::1"), 0x2001_0db9);
    }
}
