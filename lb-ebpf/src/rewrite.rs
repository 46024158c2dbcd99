//! Step 8, rewrite: addresses, ports, checksums and the time to live.

use lb_common::{
    checksum,
    flow::{V4, V6},
};

use crate::{
    family::Family,
    packet::{Hook, at, set_u8, set_u16, set_u32, set_v6, u16_at},
    plan::Packet,
};

/// Writes new addresses and ports into a packet and lowers its time to live, checksums following incrementally: a packet
/// that arrived with a wrong checksum leaves with a wrong one.
///
/// # Safety
/// The packet's bounds were checked by [`crate::parse`] and it has not moved since.
#[inline(always)]
pub unsafe fn translate<A: Family>(
    hook: &impl Hook,
    packet: &Packet<'_, A>,
    (src, dst, sport, dport): (A, A, u16, u16),
) {
    // SAFETY: by contract.
    unsafe {
        A::write(packet, src, dst);
        // A later fragment has no ports, and the first one's checksum covers it.
        if let Some(l4) = packet.header(at::UDP) {
            set_u16::<{ at::SPORT }>(l4, sport);
            set_u16::<{ at::DPORT }>(l4, dport);
            let pseudo = packet.key.src.delta(src) + packet.key.dst.delta(dst);
            let ports = checksum::delta16(packet.key.sport, sport)
                + checksum::delta16(packet.key.dport, dport);
            hook.fix_checksum(packet, pseudo, ports);
        }
    }
}

/// Brings a TCP or UDP checksum in the packet's bytes up to date.
///
/// # Safety
/// As for [`translate`].
#[inline(always)]
pub unsafe fn fix_checksum<A>(packet: &Packet<'_, A>, delta: u32) {
    // SAFETY: `header` checks.
    unsafe {
        if packet.is_tcp() {
            if let Some(l4) = packet.header(at::TCP) {
                let check = u16_at::<{ at::TCP_CHECK }>(l4);
                set_u16::<{ at::TCP_CHECK }>(l4, checksum::apply(check, delta));
            }
        } else if let Some(l4) = packet.header(at::UDP) {
            let check = u16_at::<{ at::UDP_CHECK }>(l4);
            set_u16::<{ at::UDP_CHECK }>(l4, checksum::apply_udp(check, delta));
        }
    }
}

/// Writes addresses into an IPv4 header and lowers its time to live.
///
/// # Safety
/// As for [`translate`].
#[inline(always)]
pub unsafe fn ipv4(packet: &Packet<'_, V4>, src: V4, dst: V4) {
    let addresses = packet.key.src.delta(src) + packet.key.dst.delta(dst);
    // SAFETY: by contract.
    unsafe {
        set_u32::<{ at::IP_SRC }>(packet.ip(), src);
        set_u32::<{ at::IP_DST }>(packet.ip(), dst);
        lower_ttl(packet, addresses);
    }
}

/// Lowers an IPv4 packet's time to live by one; `delta` is what else changed in the header.
///
/// # Safety
/// As for [`translate`].
#[inline(always)]
pub unsafe fn lower_ttl(packet: &Packet<'_, V4>, delta: u32) {
    // The time to live is the first byte of its 16-bit word.
    let (old, new) = (
        u16::from_ne_bytes([packet.ttl, 0]),
        u16::from_ne_bytes([packet.ttl.wrapping_sub(1), 0]),
    );
    // SAFETY: by contract.
    unsafe {
        let check = u16_at::<{ at::IP_CHECK }>(packet.ip());
        set_u16::<{ at::IP_CHECK }>(
            packet.ip(),
            checksum::apply(check, delta + checksum::delta16(old, new)),
        );
        set_u8::<{ at::IP_TTL }>(packet.ip(), packet.ttl.wrapping_sub(1));
    }
}

/// Writes addresses into an IPv6 header and lowers its hop limit.
///
/// # Safety
/// As for [`translate`].
#[inline(always)]
pub unsafe fn ipv6(packet: &Packet<'_, V6>, src: V6, dst: V6) {
    // SAFETY: by contract.
    unsafe {
        set_v6(packet.ip() + at::IP6_SRC, src);
        set_v6(packet.ip() + at::IP6_DST, dst);
        lower_hop_limit(packet);
    }
}

/// Lowers an IPv6 packet's hop limit by one.
///
/// # Safety
/// As for [`translate`].
#[inline(always)]
pub unsafe fn lower_hop_limit(packet: &Packet<'_, V6>) {
    // SAFETY: by contract.
    unsafe { set_u8::<{ at::IP6_HOPS }>(packet.ip(), packet.ttl.wrapping_sub(1)) };
}
