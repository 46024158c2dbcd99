//! A packet that is too big for its way out: its sender is told what fits, by the packet itself, cut to its headers and
//! put behind new ones (RFC 792, RFC 1191; RFC 4443 §3.2).

use lb_common::{
    checksum,
    counter::Reason,
    flow::{V4, V6},
};

use crate::{
    count,
    family::Family,
    packet::{
        Hook, at, distance, opaque, set_mac, set_u8, set_u16, set_u32, set_v6, u8_at, u16_at,
        u32_at,
    },
    plan::{Packet, Part, Stop, proto},
    reset,
};

/// Time to live of what we say ourselves.
const TTL: u8 = 64;

/// What the two families' answers differ in.
pub trait Answering: Family {
    /// Bytes of the quotation: an IP header and eight more.
    const QUOTE: usize;

    /// Writes IP and ICMP header at `ip`, the quotation behind them.
    ///
    /// # Safety
    /// All of it was checked to lie within the packet.
    unsafe fn write_error(ip: usize, addresses: (Self, Self), mtu: u32);
}

/// Answers a packet of which `mtu` bytes would fit. Without "don't fragment" TCP is told all the same, since its segments
/// can always be smaller; whoever else may not be listening.
#[inline(always)]
pub fn answer<A: Answering>(packet: &Packet<'_, A>, mtu: u32, hook: &impl Hook) -> Stop {
    // SAFETY: parse checked the IP header.
    let plain = A::VERSION == 6 || unsafe { u8_at::<0>(packet.ip()) } == 0x45;
    let told = packet.whole || packet.is_tcp();
    if !told || !plain || packet.part != Part::Whole {
        return Stop::drop(Reason::TooBigDropped);
    }
    let l2 = distance(packet.eth(), packet.ip());
    let more = (A::HEADER + at::UDP) as u32;
    // SAFETY: parse checked the Ethernet header; swapped here, since it is copied to the front below.
    let (dst, src, tags) = unsafe {
        reset::send_back_addresses(packet);
        let eth = packet.eth();
        (
            (u32_at::<0>(eth), u16_at::<4>(eth)),
            (
                u32_at::<{ at::ETH_SRC }>(eth),
                u16_at::<{ at::ETH_SRC + 4 }>(eth),
            ),
            (
                u32_at::<{ at::ETH_TYPE }>(eth),
                u32_at::<{ at::ETH_TYPE + 4 }>(eth),
            ),
        )
    };
    let (addresses, ifindex) = ((packet.key.dst, packet.key.src), packet.ifindex);
    if !hook.reshape(more, l2 + more + A::QUOTE as u32) {
        return Stop::drop(Reason::TooBigDropped);
    }
    let (eth, end) = (hook.data(), hook.data_end());
    // Where the type of what follows stands: with no tags, or one, or two.
    let kind = eth + (opaque(l2 as usize - 2) & 0x1f);
    let ip = kind + 2;
    if eth + at::ETHERNET + at::IPV4 > end || ip + A::HEADER + at::UDP + A::QUOTE > end {
        return Stop::drop(Reason::TooBigDropped);
    }
    // SAFETY: checked just above.
    unsafe {
        set_mac::<0, 4>(eth, dst);
        set_mac::<{ at::ETH_SRC }, { at::ETH_SRC + 4 }>(eth, src);
        // As many tags as it came with, and then the type.
        set_u32::<{ at::ETH_TYPE }>(eth, tags.0);
        set_u32::<{ at::ETH_TYPE + 4 }>(eth, tags.1);
        set_u16::<0>(kind, A::ETHER_TYPE);
        A::write_error(ip, addresses, mtu);
    }
    count::reason(Reason::TooBigAnswered);
    Stop::done(hook.send_back(ifindex))
}

/// The sum of `WORDS` 32-bit words at `p`.
///
/// # Safety
/// They were checked to lie within the packet.
#[inline(always)]
unsafe fn sum<const WORDS: usize>(p: usize) -> u32 {
    let mut total = 0u64;
    for word in 0..WORDS {
        // SAFETY: by contract.
        total += u64::from(unsafe { u32_at::<0>(p + 4 * word) });
    }
    // To 32 bits, each carry added again; `fold` does the rest.
    let total = (total & 0xffff_ffff) + (total >> 32);
    u32::from(checksum::fold(
        ((total & 0xffff) + ((total >> 16) & 0xffff) + (total >> 32)) as u32,
    ))
}

impl Answering for V4 {
    const QUOTE: usize = at::IPV4 + at::UDP;

    #[inline(always)]
    unsafe fn write_error(ip: usize, (src, dst): (V4, V4), mtu: u32) {
        const LEN: u16 = (at::IPV4 + at::UDP + V4::QUOTE) as u16;
        const UNREACHABLE_TOO_BIG: u16 = u16::from_ne_bytes([3, 4]);
        // SAFETY: by contract.
        unsafe {
            set_u16::<0>(ip, u16::from_ne_bytes([0x45, 0]));
            set_u16::<{ at::IP_LEN }>(ip, LEN.to_be());
            set_u32::<{ at::IP_ID }>(ip, 0);
            set_u16::<{ at::IP_TTL }>(ip, u16::from_ne_bytes([TTL, proto::ICMP]));
            set_u16::<{ at::IP_CHECK }>(ip, 0);
            set_u32::<{ at::IP_SRC }>(ip, src);
            set_u32::<{ at::IP_DST }>(ip, dst);
            set_u16::<{ at::IP_CHECK }>(ip, !checksum::fold(sum::<5>(ip)));
            let icmp = ip + at::IPV4;
            set_u16::<0>(icmp, UNREACHABLE_TOO_BIG);
            set_u16::<{ at::ICMP_CHECK }>(icmp, 0);
            set_u16::<4>(icmp, 0);
            set_u16::<6>(icmp, (mtu as u16).to_be());
            let check = !checksum::fold(sum::<{ (at::UDP + V4::QUOTE) / 4 }>(icmp));
            set_u16::<{ at::ICMP_CHECK }>(icmp, check);
        }
    }
}

impl Answering for V6 {
    const QUOTE: usize = at::IPV6 + at::UDP;

    #[inline(always)]
    unsafe fn write_error(ip: usize, (src, dst): (V6, V6), mtu: u32) {
        const LEN: u16 = (at::UDP + V6::QUOTE) as u16;
        const TOO_BIG: u16 = u16::from_ne_bytes([2, 0]);
        // SAFETY: by contract.
        unsafe {
            set_u32::<0>(ip, 0x6000_0000u32.to_be());
            set_u16::<{ at::IP6_LEN }>(ip, LEN.to_be());
            set_u8::<{ at::IP6_NEXT }>(ip, proto::ICMPV6);
            set_u8::<{ at::IP6_HOPS }>(ip, TTL);
            set_v6(ip + at::IP6_SRC, src);
            set_v6(ip + at::IP6_DST, dst);
            let icmp = ip + at::IPV6;
            set_u16::<0>(icmp, TOO_BIG);
            set_u16::<{ at::ICMP_CHECK }>(icmp, 0);
            set_u32::<4>(icmp, mtu.to_be());
            // The pseudo header (RFC 8200 §8.1).
            let pseudo = u32::from(LEN.to_be()) + u32::from(u16::from(proto::ICMPV6).to_be());
            let total =
                sum::<8>(ip + at::IP6_SRC) + sum::<{ (at::UDP + V6::QUOTE) / 4 }>(icmp) + pseudo;
            set_u16::<{ at::ICMP_CHECK }>(icmp, !checksum::fold(total));
        }
    }
}
