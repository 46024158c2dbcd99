//! Step 1, parse: is this a packet of interest, and where are its headers?
//!
//! Whatever is too short for what it announces goes up: the host discards it by the same checks (`ip_rcv`, `tcp_v4_rcv`)
//! and answers nothing, so that no flow is disturbed.

use lb_common::{
    counter::Reason,
    flow::{FlowKey, V4},
};

use crate::{
    family::Family,
    maps,
    packet::{Hook, at, opaque, u8_at, u16_at, u32_at},
    plan::{Packet, Stop},
};

const ETH_P_IP: u16 = 0x0800u16.to_be();
const TCP: u8 = 6;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fffu16.to_be();
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();

/// Parses an IPv4 packet.
#[inline(always)]
pub fn ipv4(hook: &impl Hook) -> Result<Packet<V4>, Stop> {
    let eth = hook.data();
    let end = hook.data_end();
    let ip = eth + at::ETHERNET;
    if ip + at::IPV4 > end {
        return Err(Stop::Up(Reason::NotForUs));
    }
    // SAFETY: checked just above, up to the end of the IPv4 header without options.
    let (group, ether_type, version, len, fragment, ttl, proto, src, dst) = unsafe {
        (
            u8_at::<0>(eth) & 1,
            u16_at::<{ at::ETH_TYPE }>(eth),
            u8_at::<0>(ip),
            u32::from(u16::from_be(u16_at::<{ at::IP_LEN }>(ip))),
            u16_at::<{ at::IP_FRAG }>(ip),
            u8_at::<{ at::IP_TTL }>(ip),
            u8_at::<{ at::IP_PROTO }>(ip),
            u32_at::<{ at::IP_SRC }>(ip),
            u32_at::<{ at::IP_DST }>(ip),
        )
    };
    if ether_type != ETH_P_IP || group != 0 || version >> 4 != 4 || proto != TCP {
        return Err(Stop::Up(Reason::NotForUs));
    }
    let words = u32::from(version & 0x0f);
    let mut l4 = ip + at::IPV4;
    if words != 5 {
        if words < 5 {
            return Err(Stop::Up(Reason::Malformed));
        }
        let options = words * 4 - at::IPV4 as u32;
        if source_routed(l4, end, options) {
            return Err(Stop::Drop(Reason::SourceRoute));
        }
        l4 += (options & 0x3c) as usize;
    }
    if fragment & FRAGMENT != 0 {
        return Err(fragment_of(fragment, l4, end, src, dst));
    }
    if l4 + at::TCP > end {
        return Err(Stop::Up(Reason::Malformed));
    }
    // SAFETY: checked just above.
    let (sport, dport, offset, flags) = unsafe {
        (
            u16_at::<{ at::SPORT }>(l4),
            u16_at::<{ at::DPORT }>(l4),
            u32::from(u8_at::<{ at::TCP_OFFSET }>(l4) >> 4) * 4,
            u8_at::<{ at::TCP_FLAGS }>(l4),
        )
    };
    if !is_port_of_interest(dport) {
        return Err(Stop::Up(Reason::NotForUs));
    }
    let headers = words * 4 + offset;
    if offset < at::TCP as u32 || len < headers || (end - ip) < len as usize {
        return Err(Stop::Up(Reason::Malformed));
    }
    Ok(Packet {
        eth,
        ip,
        l4,
        key: FlowKey {
            src,
            dst,
            sport,
            dport,
            proto: u32::from(TCP),
        },
        ifindex: hook.ifindex(),
        flags,
        ttl,
        payload: len - headers,
    })
}

/// Whether any service or source NAT uses a destination port.
#[inline(always)]
pub fn is_port_of_interest(port: u16) -> bool {
    let port = u32::from(u16::from_be(port));
    // SAFETY: a live map value.
    maps::PORTS
        .get_ptr(port >> 6)
        .is_some_and(|word| unsafe { *word } >> (port & 63) & 1 != 0)
}

/// What to do with a fragment. Only the first has ports: of a flow the kernel owns it must not go up.
#[inline(always)]
fn fragment_of(fragment: u16, l4: usize, end: usize, src: V4, dst: V4) -> Stop {
    if fragment & FRAGMENT_OFFSET == 0 && l4 + 4 <= end {
        // SAFETY: checked just above.
        let (sport, dport) = unsafe { (u16_at::<{ at::SPORT }>(l4), u16_at::<{ at::DPORT }>(l4)) };
        if V4::flow(&FlowKey {
            src,
            dst,
            sport,
            dport,
            proto: u32::from(TCP),
        })
        .is_some()
        {
            return Stop::Drop(Reason::FlowFragment);
        }
    }
    Stop::Up(Reason::Fragment)
}

/// Whether IP options hold a loose or strict source route (RFC 791 §3.1), as the host's own stack refuses by default.
///
/// A function of its own, so that the verifier forgets how far the loop went before it walks the rest; and without a
/// branch in the loop but its end, so that there is one way through it.
#[inline(never)]
fn source_routed(start: usize, end: usize, len: u32) -> bool {
    const END: u64 = 0;
    const NOP: u64 = 1;
    const LSRR: u64 = 131;
    const SSRR: u64 = 137;
    // Past all options.
    const NEVER: u64 = 64;
    let (mut next, mut routed) = (0u64, 0u64);
    // 40 bytes of options at most.
    for i in 0..40u32 {
        let option = opaque(start + i as usize);
        if i >= len || option + 2 > end {
            break;
        }
        // SAFETY: checked just above; an option of one byte is followed by the next header.
        let (kind, length) =
            unsafe { (u64::from(u8_at::<0>(option)), u64::from(u8_at::<1>(option))) };
        let here = same(next, u64::from(i));
        let short = opaque((length.wrapping_sub(2) >> 63) as usize) as u64;
        let mut step = if_else(short, 2, length);
        step = if_else(same(kind, NOP), 1, step);
        step = if_else(same(kind, END), NEVER, step);
        routed |= here & (same(kind, LSRR) | same(kind, SSRR));
        next += here * step;
    }
    routed != 0
}

/// 1 if two numbers below 2⁶³ are equal, else 0; without a branch.
#[inline(always)]
fn same(a: u64, b: u64) -> u64 {
    opaque(((a ^ b).wrapping_sub(1) >> 63) as usize) as u64
}

/// `a` if `condition` is 1, `b` if it is 0; without a branch.
#[inline(always)]
fn if_else(condition: u64, a: u64, b: u64) -> u64 {
    b.wrapping_add(a.wrapping_sub(b).wrapping_mul(condition))
}
