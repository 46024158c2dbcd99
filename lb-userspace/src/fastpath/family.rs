//! IPv4 and IPv6 as the kernel maps know them: one body of code for both, generic over an address as it lies in the
//! packet.

use std::{
    fmt::Debug,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use aya::Pod;
use lb_common::{
    abi::{REAP_BATCH, REAP_BATCH6, reap},
    flow::{V4, V6},
};

/// An address as it lies in the packet.
pub(super) trait Address: Pod + Ord + Hash + Debug + Default + Send + 'static {
    /// What orders to the reaper carry for this family.
    const REAP_BIT: u32;
    /// Keys of flows that one run of the reaper takes.
    const REAP_BATCH: usize;

    /// The address, if it is of this family; an IPv4 address in IPv6's form counts as IPv4.
    fn from_ip(ip: IpAddr) -> Option<Self>;

    /// The address as everyone else writes it.
    fn ip(self) -> IpAddr;

    /// The words of a field that holds either family: an IPv4 address in the first.
    fn words(self) -> [u32; 4];

    /// The bytes as they lie in the packet.
    fn bytes(self) -> Vec<u8> {
        match self.ip() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }
}

impl Address for V4 {
    const REAP_BIT: u32 = 0;
    const REAP_BATCH: usize = REAP_BATCH;

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Some(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(_) => None,
        }
    }

    fn ip(self) -> IpAddr {
        Ipv4Addr::from(self.to_ne_bytes()).into()
    }

    fn words(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }
}

impl Address for V6 {
    const REAP_BIT: u32 = reap::V6;
    const REAP_BATCH: usize = REAP_BATCH6;

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => {
                let mut words = [0; 4];
                for (word, bytes) in words.iter_mut().zip(v6.octets().chunks_exact(4)) {
                    *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
                Some(words)
            }
        }
    }

    fn ip(self) -> IpAddr {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(self) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(octets).into()
    }

    fn words(self) -> [u32; 4] {
        self
    }
}

/// An address of either family as words.
pub(super) fn words(ip: IpAddr) -> [u32; 4] {
    V4::from_ip(ip)
        .map(Address::words)
        .or_else(|| V6::from_ip(ip))
        .unwrap_or_default()
}

/// The address that words hold; `family` is 4 or 6.
pub(super) fn from_words(words: V6, family: u8) -> IpAddr {
    if family == 6 {
        words.ip()
    } else {
        words[0].ip()
    }
}

/// An address and a port in network order, as everyone else writes them.
pub(super) fn socket<A: Address>(address: A, port: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), u16::from_be(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_the_order_of_the_packet() {
        let four: IpAddr = "192.0.2.1".parse().unwrap();
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let v4 = V4::from_ip(four).unwrap();
        assert_eq!(v4.to_ne_bytes(), [192, 0, 2, 1]);
        let v6 = V6::from_ip(six).unwrap();
        assert_eq!(v6[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!((v4.ip(), v6.ip()), (four, six));
        assert_eq!((V6::from_ip(four), V4::from_ip(six)), (None, None));
        assert_eq!(from_words(words(four), 4), four);
        assert_eq!(from_words(words(six), 6), six);
        assert_eq!(V4::from_ip("::ffff:192.0.2.1".parse().unwrap()), Some(v4));
    }
}
