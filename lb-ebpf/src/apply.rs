//! Step 9, out: what XDP and TC have in common in carrying out a Plan.

use lb_common::{checksum, counter::Reason, flow::Hop};

use crate::{
    count,
    family::Family,
    packet::{Hook, at, set_mac, set_u8, set_u16, set_u32, set_v6, u8_at, u16_at},
    plan::{Packet, Plan},
    rewrite,
};

/// Rewrites a packet of a flow and sends it out. `FULL` minds tags.
#[inline(always)]
pub fn forward<A: Family, const FULL: bool>(
    packet: &Packet<'_, A>,
    plan: &Plan<A>,
    hook: &impl Hook,
) -> u32 {
    // SAFETY: parse checked the bounds of the packet, and it has not moved since.
    unsafe {
        match plan.translate {
            Some(translation) => rewrite::translate(hook, packet, translation),
            None => A::lower_ttl(packet),
        }
    }
    let reason = if plan.to_server {
        Reason::ForwardedIn
    } else {
        Reason::ForwardedOut
    };
    send::<A, FULL, _>(packet, plan, hook, reason)
}

/// Sends a packet whose addresses are written, and counts it under `reason`; one that could not be sent has been counted
/// as what it is.
#[inline(always)]
pub fn send<A: Family, const FULL: bool, H: Hook>(
    packet: &Packet<'_, A>,
    plan: &Plan<A>,
    hook: &H,
    reason: Reason,
) -> u32 {
    let verdict = hook.send::<A, FULL>(packet, plan);
    if verdict != H::DROP {
        count::reason(reason);
    }
    verdict
}

/// How many bytes two tags take at most.
#[inline(always)]
pub fn tags_len(tags: [u32; 2]) -> u32 {
    4 * (u32::from(tags[0] != 0) + u32::from(tags[1] != 0))
}

/// What an outer header takes, bytes: 0 without one.
#[inline(always)]
pub fn outer_len(hop: &Hop, encapsulate: bool) -> u32 {
    if !encapsulate {
        0
    } else if hop.flags & Hop::OUTER6 != 0 {
        at::IPV6 as u32
    } else {
        at::IPV4 as u32
    }
}

/// The type that a frame announces after its tags.
#[inline(always)]
pub fn ether_type<A: Family>(hop: &Hop, encapsulate: bool) -> u16 {
    if !encapsulate {
        A::ETHER_TYPE
    } else if hop.flags & Hop::OUTER6 != 0 {
        <lb_common::flow::V6 as Family>::ETHER_TYPE
    } else {
        <lb_common::flow::V4 as Family>::ETHER_TYPE
    }
}

/// Writes the MAC addresses at `eth`.
///
/// # Safety
/// 12 bytes were checked to lie within the packet.
#[inline(always)]
pub unsafe fn write_macs<A>(eth: usize, plan: &Plan<A>) {
    // SAFETY: by contract.
    unsafe {
        set_mac::<0, 4>(eth, plan.dst_mac);
        set_mac::<{ at::ETH_SRC }, { at::ETH_SRC + 4 }>(
            eth,
            (plan.hop.src_mac_low, plan.hop.src_mac_high),
        );
    }
}

/// Writes the outer header of a packet of `len` bytes at `ip`, where the inner one follows; `false` if it does not fit
/// before `end`. Its service class is the inner one's (RFC 2983 §3.1, and RFC 6040 §4.1 for congestion marks); it must
/// not be fragmented.
///
/// # Safety
/// `ip` and `end` are of the packet as it is now.
#[inline(always)]
pub unsafe fn write_outer<A: Family>(ip: usize, end: usize, hop: &Hop, len: u32) -> bool {
    // One look at the flags: what was checked is what is written, also for the verifier.
    if hop.flags & Hop::OUTER6 != 0 {
        let inner = ip + at::IPV6;
        if inner + 4 > end {
            return false;
        }
        // SAFETY: checked just above.
        unsafe {
            let class = class_of::<A>(inner);
            set_u32::<0>(ip, (0x6000_0000 | u32::from(class) << 20).to_be());
            set_u16::<{ at::IP6_LEN }>(ip, (len as u16).to_be());
            set_u8::<{ at::IP6_NEXT }>(ip, A::ENCAPSULATED);
            set_u8::<{ at::IP6_HOPS }>(ip, OUTER_TTL);
            set_v6(ip + at::IP6_SRC, hop.outer_src);
            set_v6(ip + at::IP6_DST, hop.outer_dst);
        }
        return true;
    }
    let inner = ip + at::IPV4;
    if inner + 4 > end {
        return false;
    }
    // SAFETY: checked just above.
    unsafe {
        let total = (len as u16).wrapping_add(at::IPV4 as u16).to_be();
        let first = u16::from_ne_bytes([0x45, class_of::<A>(inner)]);
        // Identification 0: nothing will fragment it (RFC 6864 §4).
        const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
        let fifth = u16::from_ne_bytes([OUTER_TTL, A::ENCAPSULATED]);
        let (src, dst) = (hop.outer_src[0], hop.outer_dst[0]);
        let sum = u32::from(first)
            + u32::from(total)
            + u32::from(DONT_FRAGMENT)
            + u32::from(fifth)
            + (src & 0xffff)
            + (src >> 16)
            + (dst & 0xffff)
            + (dst >> 16);
        set_u16::<0>(ip, first);
        set_u16::<{ at::IP_LEN }>(ip, total);
        set_u32::<{ at::IP_ID }>(ip, u32::from(DONT_FRAGMENT) << 16);
        set_u16::<{ at::IP_TTL }>(ip, fifth);
        set_u16::<{ at::IP_CHECK }>(ip, !checksum::fold(sum));
        set_u32::<{ at::IP_SRC }>(ip, src);
        set_u32::<{ at::IP_DST }>(ip, dst);
    }
    true
}

/// Time to live of an outer header.
const OUTER_TTL: u8 = 64;

/// The service class of an IP header.
///
/// # Safety
/// Two bytes were checked to lie within the packet.
#[inline(always)]
unsafe fn class_of<A: Family>(ip: usize) -> u8 {
    // SAFETY: by contract.
    unsafe {
        if A::VERSION == 6 {
            (u16::from_be(u16_at::<0>(ip)) >> 4) as u8
        } else {
            u8_at::<1>(ip)
        }
    }
}
