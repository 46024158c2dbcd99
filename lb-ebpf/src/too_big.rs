//! A packet that is too big for its way out: its sender is told what fits, by the packet itself, cut to its headers and
//! put behind new ones (RFC 792, RFC 1191; RFC 4443 §3.2).

use lb_common::{
    checksum,
    counter::Reason,
    event::Trace,
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
    reset, trace,
};

/// Time to live of what we say ourselves.
const TTL: u8 = 64;

/// What the two families' answers differ in.
pub trait Answering: Family {
    /// Writes IP and ICMP header at `ip`, the quotation of so many bytes behind them.
    ///
    /// # Safety
    /// All of it was checked to lie within the packet.
    unsafe fn write_error(ip: usize, quote: usize, addresses: (Self, Self), mtu: u32);
}

/// Answers a packet of which `mtu` bytes would fit. Without "don't fragment" TCP is told all the same, since its segments
/// can always be smaller; whoever else may not be listening.
#[inline(always)]
pub fn answer<A: Answering, H: Hook>(packet: &Packet<'_, A>, mtu: u32, hook: &H) -> Stop {
    // SAFETY: parse checked the IP header.
    let plain = A::VERSION == 6 || unsafe { u8_at::<0>(packet.ip()) } == 0x45;
    let told = packet.whole || packet.is_tcp();
    if !told || !plain || packet.part != Part::Whole {
        return Stop::drop(Reason::TooBigDropped);
    }
    trace::packet_was(packet, Reason::TooBigAnswered as u32, Trace::NO_LANE);
    // An IP header and eight bytes more will do. But the kernel cuts nothing off before the end of a checksum that is
    // still to be filled in, which is then quoted.
    let quote = A::HEADER + if H::FILLED_IN_LATER { at::TCP } else { at::UDP };
    // Not behind extension headers.
    let settles = H::FILLED_IN_LATER && distance(packet.ip(), packet.l4()) == A::HEADER as u32;
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
    if !hook.reshape(more, l2 + more + quote as u32) {
        return Stop::drop(Reason::TooBigDropped);
    }
    let (eth, end) = (hook.data(), hook.data_end());
    // Where the type of what follows stands: with no tags, or one, or two.
    let kind = eth + (opaque(l2 as usize - 2) & 0x1f);
    let ip = kind + 2;
    if eth + at::ETHERNET + at::IPV4 > end || ip + A::HEADER + at::UDP + quote > end {
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
        if settles {
            let l4 = ip + A::HEADER + at::UDP + A::HEADER;
            if packet.is_tcp() {
                settle::<{ at::TCP_CHECK }>(l4);
            } else {
                settle::<{ at::UDP_CHECK }>(l4);
            }
        }
        A::write_error(ip, quote, addresses, mtu);
    }
    count::reason(Reason::TooBigAnswered);
    Stop::done(hook.send_back(ifindex))
}

/// Writes into the quoted checksum field, which says nothing to anybody, what makes the sum over the [`at::TCP`] bytes at
/// `l4` the same whether or not a device fills it in when the answer leaves. With any value f in the field they sum up
/// to s + f as they stand, and to -f once the sum's complement has taken its place: both are equal for half of -s, and
/// to halve modulo 2¹⁶ - 1 is to rotate.
///
/// # Safety
/// They were checked to lie within the packet.
#[inline(always)]
unsafe fn settle<const FIELD: usize>(l4: usize) {
    // SAFETY: by contract.
    unsafe {
        set_u16::<FIELD>(l4, 0);
        let sum = checksum::fold(sum(l4, at::TCP));
        set_u16::<FIELD>(l4, (!sum).rotate_right(1));
    }
}

/// The sum of `len` bytes at `p`, a constant and a multiple of four.
///
/// # Safety
/// They were checked to lie within the packet.
#[inline(always)]
unsafe fn sum(p: usize, len: usize) -> u32 {
    let mut total = 0u64;
    for word in 0..len / 4 {
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
    #[inline(always)]
    unsafe fn write_error(ip: usize, quote: usize, (src, dst): (V4, V4), mtu: u32) {
        let len = (at::IPV4 + at::UDP + quote) as u16;
        const UNREACHABLE_TOO_BIG: u16 = u16::from_ne_bytes([3, 4]);
        // SAFETY: by contract.
        unsafe {
            set_u16::<0>(ip, u16::from_ne_bytes([0x45, 0]));
            set_u16::<{ at::IP_LEN }>(ip, len.to_be());
            set_u32::<{ at::IP_ID }>(ip, 0);
            set_u16::<{ at::IP_TTL }>(ip, u16::from_ne_bytes([TTL, proto::ICMP]));
            set_u16::<{ at::IP_CHECK }>(ip, 0);
            set_u32::<{ at::IP_SRC }>(ip, src);
            set_u32::<{ at::IP_DST }>(ip, dst);
            set_u16::<{ at::IP_CHECK }>(ip, !checksum::fold(sum(ip, at::IPV4)));
            let icmp = ip + at::IPV4;
            set_u16::<0>(icmp, UNREACHABLE_TOO_BIG);
            set_u16::<{ at::ICMP_CHECK }>(icmp, 0);
            set_u16::<4>(icmp, 0);
            set_u16::<6>(icmp, (mtu as u16).to_be());
            let check = !checksum::fold(sum(icmp, at::UDP + quote));
            set_u16::<{ at::ICMP_CHECK }>(icmp, check);
        }
    }
}

impl Answering for V6 {
    #[inline(always)]
    unsafe fn write_error(ip: usize, quote: usize, (src, dst): (V6, V6), mtu: u32) {
        let len = (at::UDP + quote) as u16;
        const TOO_BIG: u16 = u16::from_ne_bytes([2, 0]);
        // SAFETY: by contract.
        unsafe {
            set_u32::<0>(ip, 0x6000_0000u32.to_be());
            set_u16::<{ at::IP6_LEN }>(ip, len.to_be());
            set_u8::<{ at::IP6_NEXT }>(ip, proto::ICMPV6);
            set_u8::<{ at::IP6_HOPS }>(ip, TTL);
            set_v6(ip + at::IP6_SRC, src);
            set_v6(ip + at::IP6_DST, dst);
            let icmp = ip + at::IPV6;
            set_u16::<0>(icmp, TOO_BIG);
            set_u16::<{ at::ICMP_CHECK }>(icmp, 0);
            set_u32::<4>(icmp, mtu.to_be());
            // The pseudo header (RFC 8200 §8.1).
            let pseudo = u32::from(len.to_be()) + u32::from(u16::from(proto::ICMPV6).to_be());
            let total = sum(ip + at::IP6_SRC, 32) + sum(icmp, at::UDP + quote) + pseudo;
            set_u16::<{ at::ICMP_CHECK }>(icmp, !checksum::fold(total));
        }
    }
}
