//! Internet checksum arithmetic (RFC 1071) and its incremental update (RFC 1624).
//!
//! All values are 16-bit words as they lie in the packet: the sum is the same in either byte order as long as all
//! operands share it (RFC 1071 §2(B)).

/// Folds a 32-bit one's-complement accumulator to 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The change that replacing `old` by `new` makes to a sum, as an accumulator to add with [`apply`].
///
/// At most `0x3fffc` each: 16,000 of them fit a `u32`.
#[inline(always)]
pub const fn delta32(old: u32, new: u32) -> u32 {
    let old = !old;
    (old & 0xffff) + (old >> 16) + (new & 0xffff) + (new >> 16)
}

/// As [`delta32`] for an IPv6 address: at most 0xffff0.
#[inline(always)]
pub const fn delta128(old: [u32; 4], new: [u32; 4]) -> u32 {
    delta32(old[0], new[0])
        + delta32(old[1], new[1])
        + delta32(old[2], new[2])
        + delta32(old[3], new[3])
}

/// As [`delta32`] for one 16-bit word.
#[inline(always)]
pub const fn delta16(old: u16, new: u16) -> u32 {
    (!old) as u32 + new as u32
}

/// A checksum field after the words behind `delta` changed (RFC 1624 equation 3: HC' = ~(~HC + ~m + m')).
#[inline(always)]
pub const fn apply(check: u16, delta: u32) -> u16 {
    !fold((!check) as u32 + fold(delta) as u32)
}

/// As [`apply`] for UDP, where 0 means "no checksum" and stays so, and a computed 0 is sent as 0xffff (RFC 768).
#[inline(always)]
pub const fn apply_udp(check: u16, delta: u32) -> u16 {
    if check == 0 {
        return 0;
    }
    let new = apply(check, delta);
    if new == 0 { 0xffff } else { new }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(words: &[u16]) -> u16 {
        !fold(words.iter().map(|w| u32::from(*w)).sum())
    }

    proptest::proptest! {
        #[test]
        fn an_incremental_update_equals_a_full_sum(mut words: [u16; 10], at in 0usize..9, new: u32, port: u16) {
            words[9] |= 1; // An all-zero header has two spellings of zero; real ones are never all zero.
            let before = sum(&words);
            let old = u32::from(words[at]) | u32::from(words[(at + 1) % 9]) << 16;
            let old_port = words[9];
            words[at] = new as u16;
            words[(at + 1) % 9] = (new >> 16) as u16;
            words[9] = port | 1;
            let delta = delta32(old, new) + delta16(old_port, port | 1);
            proptest::prop_assert_eq!(apply(before, delta), sum(&words));
        }
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        assert_eq!(apply_udp(0, delta16(1, 2)), 0);
        // 0x0001 + (1 → 0): the checksum would become 0x0002; from 0xfffe + … it becomes 0 and is sent as 0xffff.
        assert_eq!(
            apply_udp(0xfffe, delta16(1, 0xfffe)),
            apply(0xfffe, delta16(1, 0xfffe)).max(1)
        );
        assert_eq!(apply_udp(1, delta16(0, 1)), 0xffff);
    }
}
