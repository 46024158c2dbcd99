//! Cookie values that are computed of a key and the server's address: the same on every node, without a value for each
//! server in the file. HAProxy's own, so that clients keep their server when one takes the other's place.

use std::net::IpAddr;

use super::model::Address;

/// The value of the server at `address`; as HAProxy's, one behind a unix socket has none.
pub(crate) fn value(key: &str, address: &Address) -> Option<String> {
    let address = address.inet()?;
    let mut bytes = key.as_bytes().to_vec();
    match address.ip() {
        IpAddr::V4(v4) => bytes.extend(v4.octets()),
        IpAddr::V6(v6) => bytes.extend(v6.octets()),
    }
    bytes.extend(u32::from(address.port()).to_be_bytes());
    Some(format!("{:016x}", xxh64(&bytes)))
}

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

fn round(sum: u64, word: u64) -> u64 {
    sum.wrapping_add(word.wrapping_mul(P2))
        .rotate_left(31)
        .wrapping_mul(P1)
}

/// XXH64 with seed 0 (the xxHash specification, section "XXH64").
fn xxh64(bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let little = bytes.iter().rev();
        little.fold(0u64, |word, &byte| word << 8 | u64::from(byte))
    };
    let (mut stripes, mut sum) = (bytes.chunks_exact(32), P5);
    if bytes.len() >= 32 {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        for stripe in &mut stripes {
            for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(bytes));
            }
        }
        sum = lanes
            .iter()
            .zip([1, 7, 12, 18])
            .fold(0u64, |sum, (lane, by)| {
                sum.wrapping_add(lane.rotate_left(by))
            });
        for lane in lanes {
            sum = (sum ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        }
    }
    sum = sum.wrapping_add(bytes.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for bytes in &mut words {
        sum = (sum ^ round(0, word(bytes)))
            .rotate_left(27)
            .wrapping_mul(P1)
            .wrapping_add(P4);
    }
    let mut halves = words.remainder().chunks_exact(4);
    for bytes in &mut halves {
        sum = (sum ^ word(bytes).wrapping_mul(P1))
            .rotate_left(23)
            .wrapping_mul(P2)
            .wrapping_add(P3);
    }
    for &byte in halves.remainder() {
        sum = (sum ^ u64::from(byte).wrapping_mul(P5))
            .rotate_left(11)
            .wrapping_mul(P1);
    }
    sum = (sum ^ (sum >> 33)).wrapping_mul(P2);
    sum = (sum ^ (sum >> 29)).wrapping_mul(P3);
    sum ^ (sum >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
        assert_eq!(
            xxh64(b"Nobody inspects the spammish repetition"),
            0xfbce_a83c_8a37_8bf1
        );
    }

    #[test]
    fn values_are_haproxys() {
        let of = |address: &str| {
            let address = Address::Inet(address.parse().unwrap());
            value("MYKEY", &address).unwrap()
        };
        assert_eq!(of("127.0.0.1:18001"), "7497dcc5bee77f6e");
        assert_eq!(of("127.0.0.1:18002"), "5463ac70ac81258e");
        assert_ne!(of("[2001:db8::1]:80"), of("[2001:db8::2]:80"));
    }
}
