//! Addresses that begin alike.

use std::net::IpAddr;

/// Addresses that begin alike: `198.51.100.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The first of them; bits beyond `length` are zero.
    pub address: IpAddr,
    /// How many bits are alike: 0–32, or 0–128 in IPv6.
    pub length: u8,
}

impl Prefix {
    /// Whether `address` begins alike.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |ours: &[u8], theirs: &[u8]| {
            let (bytes, bits) = (usize::from(self.length / 8), self.length % 8);
            let mask = !(0xff_u8.checked_shr(u32::from(bits)).unwrap_or(0));
            ours.iter().take(bytes).eq(theirs.iter().take(bytes))
                && (bits == 0
                    || ours
                        .get(bytes)
                        .zip(theirs.get(bytes))
                        .is_some_and(|(a, b)| (a ^ b) & mask == 0))
        };
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same(&ours.octets(), &theirs.octets()),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(&ours.octets(), &theirs.octets()),
            _ => false,
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}
