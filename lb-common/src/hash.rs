//! Hashes that kernel and agent, and two nodes of a pair, must compute alike. Not keyed: what they choose is a server
//! or a port, and a client that steers itself to one server gains nothing it could not ask for.

/// A 64-bit finaliser with full avalanche (the one of SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
#[inline(always)]
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of an IPv4 client address, given as its four bytes read in network order into a host word (`u32::from(ip)`).
#[inline(always)]
pub const fn source_v4(address: u32) -> u32 {
    (mix(address as u64 ^ SEED) >> 32) as u32
}

/// Hash of an IPv6 client address, as two host words of its bytes read in network order.
#[inline(always)]
pub const fn source_v6(high: u64, low: u64) -> u32 {
    (mix(mix(high ^ SEED) ^ low) >> 32) as u32
}

/// Hash of an IPv4 client's address and port (host order): `maglev`, and the source NAT port tried first.
#[inline(always)]
pub const fn endpoint_v4(address: u32, port: u16) -> u32 {
    (mix((address as u64 | (port as u64) << 32) ^ SEED) >> 32) as u32
}

/// As [`endpoint_v4`] for IPv6, the address as for [`source_v6`].
#[inline(always)]
pub const fn endpoint_v6(high: u64, low: u64, port: u16) -> u32 {
    (mix(mix(mix(high ^ SEED) ^ low) ^ port as u64) >> 32) as u32
}

/// Place of a tuple among half-open flows, before it is cut to the table's size: addresses and ports as they lie in the
/// packet, under the table's secret.
#[inline(always)]
pub const fn set_v4(seed: u64, src: u32, dst: u32, ports: u32) -> u32 {
    let addresses = src as u64 | (dst as u64) << 32;
    (mix(addresses ^ seed ^ (ports as u64).wrapping_mul(SEED)) >> 32) as u32
}

/// As [`set_v4`] for IPv6.
#[inline(always)]
pub const fn set_v6(seed: u64, src: [u32; 4], dst: [u32; 4], ports: u32) -> u32 {
    // Multiply and fold a word at a time; one full mixing at the end.
    const fn fold(sum: u64, low: u32, high: u32) -> u64 {
        (sum ^ (low as u64 | (high as u64) << 32))
            .wrapping_mul(SEED)
            .rotate_left(29)
    }
    let sum = fold(seed, src[0], src[1]);
    let sum = fold(sum, src[2], src[3]);
    let sum = fold(sum, dst[0], dst[1]);
    let sum = fold(sum, dst[2], dst[3]);
    (mix(sum ^ ports as u64) >> 32) as u32
}

/// What a server is to a consistent algorithm: the same on every node and after every restart, whatever its name or
/// its place in the file. The address is IPv6, or IPv4 as `::ffff:a.b.c.d`, in two host words read in network order.
pub const fn server(high: u64, low: u64, port: u16) -> u64 {
    mix(mix(mix(high ^ SEED) ^ low) ^ (port as u64) << 16)
}

/// Maps a 32-bit hash evenly onto `0..n` without a division (Lemire's multiply-shift); 0 for `n` = 0.
#[inline(always)]
pub const fn reduce(hash: u32, n: u32) -> u32 {
    ((hash as u64 * n as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_addresses_spread_evenly() {
        let mut hits = [0u32; 4];
        for host in 0..10_000u32 {
            hits[reduce(source_v4(0x0a4d_0000 + host), 4) as usize] += 1;
        }
        for n in hits {
            assert!((2_300..2_700).contains(&n), "{hits:?}");
        }
    }

    #[test]
    fn neighbouring_ports_spread_evenly_in_both_families() {
        let mut hits = [[0u32; 4]; 2];
        for port in 0..10_000u16 {
            hits[0][reduce(endpoint_v4(0x0a4d_0001, port), 4) as usize] += 1;
            hits[1][reduce(endpoint_v6(0x2001_0db8 << 32, 1, port), 4) as usize] += 1;
        }
        for n in hits.as_flattened() {
            assert!((2_300..2_700).contains(n), "{hits:?}");
        }
    }

    #[test]
    fn every_part_of_a_servers_address_tells_it_from_others() {
        let one = server(0, 0xffff_0a4d_020b, 80);
        for other in [
            server(1, 0xffff_0a4d_020b, 80),
            server(0, 0xffff_0a4d_020c, 80),
            server(0, 0xffff_0a4d_020b, 81),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn reduce_stays_in_range() {
        assert_eq!(reduce(u32::MAX, 7), 6);
        assert_eq!(reduce(0, 7), 0);
        assert_eq!(reduce(u32::MAX, 0), 0);
    }
}
