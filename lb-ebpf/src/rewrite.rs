//! Step 8, rewrite: addresses, ports, checksums and the time to live.

use lb_common::{checksum, flow::V4};

use crate::{
    packet::{at, set_u8, set_u16, set_u32, u16_at},
    plan::Packet,
};

/// Writes new addresses and ports into an IPv4 TCP packet and lowers its time to live, checksums following
/// incrementally: a packet that arrived with a wrong checksum leaves with a wrong one.
///
/// # Safety
/// The packet's bounds were checked by [`crate::parse`] and it has not moved since.
#[inline(always)]
pub unsafe fn ipv4_tcp(packet: &Packet<V4>, (src, dst, sport, dport): (V4, V4, u16, u16)) {
    let addresses = checksum::delta32(packet.key.src, src) + checksum::delta32(packet.key.dst, dst);
    let ports =
        checksum::delta16(packet.key.sport, sport) + checksum::delta16(packet.key.dport, dport);
    // SAFETY: by contract.
    unsafe {
        let check = u16_at::<{ at::TCP_CHECK }>(packet.l4);
        set_u16::<{ at::TCP_CHECK }>(packet.l4, checksum::apply(check, addresses + ports));
        set_u16::<{ at::SPORT }>(packet.l4, sport);
        set_u16::<{ at::DPORT }>(packet.l4, dport);
        set_u32::<{ at::IP_SRC }>(packet.ip, src);
        set_u32::<{ at::IP_DST }>(packet.ip, dst);
        lower_ttl(packet, addresses);
    }
}

/// Lowers an IPv4 packet's time to live by one; `delta` is what else changed in the header.
///
/// # Safety
/// As for [`ipv4_tcp`].
#[inline(always)]
pub unsafe fn lower_ttl(packet: &Packet<V4>, delta: u32) {
    // The time to live is the first byte of its 16-bit word.
    let (old, new) = (
        u16::from_ne_bytes([packet.ttl, 0]),
        u16::from_ne_bytes([packet.ttl.wrapping_sub(1), 0]),
    );
    // SAFETY: by contract.
    unsafe {
        let check = u16_at::<{ at::IP_CHECK }>(packet.ip);
        set_u16::<{ at::IP_CHECK }>(
            packet.ip,
            checksum::apply(check, delta + checksum::delta16(old, new)),
        );
        set_u8::<{ at::IP_TTL }>(packet.ip, packet.ttl.wrapping_sub(1));
    }
}
