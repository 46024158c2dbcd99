//! Ends a connection from the middle: a flow that is *being reset* turns its ends' segments into resets. Only an end's own
//! acknowledgement says which sequence number the other will accept (RFC 9293 §3.10.7.4), so the agent provokes one by
//! a segment outside the window, and what comes back is turned in place.

use lb_common::{
    checksum,
    counter::Reason,
    flow::{Flow, flags},
    tcp::flag,
};

use crate::{
    apply, count,
    family::Family,
    flow,
    packet::{Hook, at, set_mac, set_u16, set_u32, u16_at, u32_at},
    plan::{Packet, Part, Stop},
    trace,
};

/// What becomes of a segment of a flow being reset: its sender gets a reset for it. Of a flow of which only the client is
/// seen, the first goes on to the server as a reset instead.
#[inline(always)]
pub fn segment<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> Stop {
    let Some(flow) = A::flow(&packet.key) else {
        return Stop::drop(Reason::HalfMissing);
    };
    // SAFETY: a live map value, as in `flow::hot`.
    let flow: &mut Flow<A> = unsafe { &mut *flow };
    let ack = packet.flags & (flag::CONTROL | flag::ACK) == flag::ACK;
    let Some(l4) = packet.header(at::TCP) else {
        return Stop::drop(Reason::ResetDropped);
    };
    if !packet.is_tcp() || !ack || packet.payload != 0 || packet.part != Part::Whole {
        return Stop::drop(Reason::ResetDropped);
    }
    if flow.leg.flags & (flags::TRANSLATE | flags::RESET_SENT) == 0 {
        flow.leg.flags |= flags::RESET_SENT;
        let plan = match flow::plan(packet, &flow.leg, hook) {
            Ok(plan) => plan,
            Err(stop) => return stop,
        };
        // SAFETY: parse checked the headers, and the packet has not moved.
        unsafe {
            let delta = turn(l4, u32_at::<{ at::TCP_SEQ }>(l4));
            A::lower_ttl(packet);
            hook.fix_checksum(packet, 0, delta);
        }
        let verdict = apply::send::<A, true, _>(packet, &plan, hook, Reason::ForwardedIn);
        return Stop::done(verdict);
    }
    count::reason(Reason::ResetAnswered);
    trace::packet_was(packet, Reason::ResetAnswered as u32, flow.leg.lane);
    // SAFETY: parse checked all headers up to TCP's, and the packet has not moved.
    unsafe {
        let delta = turn(l4, u32_at::<{ at::TCP_ACK }>(l4));
        send_back_addresses(packet);
        // To swap addresses and ports is neutral to the checksum.
        A::write(packet, packet.key.dst, packet.key.src);
        set_u16::<{ at::SPORT }>(l4, packet.key.dport);
        set_u16::<{ at::DPORT }>(l4, packet.key.sport);
        hook.fix_checksum(packet, 0, delta);
    }
    Stop::done(hook.send_back(packet.ifindex))
}

/// Makes a segment a reset with this sequence number (network order); what changed, for the checksum.
///
/// # Safety
/// The TCP header at `l4` was checked to lie within the packet.
#[inline(always)]
unsafe fn turn(l4: usize, seq: u32) -> u32 {
    // SAFETY: by contract.
    unsafe {
        let (old_seq, old_ack) = (u32_at::<{ at::TCP_SEQ }>(l4), u32_at::<{ at::TCP_ACK }>(l4));
        let (old_flags, old_window) = (
            u16_at::<{ at::TCP_OFFSET }>(l4),
            u16_at::<{ at::TCP_WINDOW }>(l4),
        );
        let [offset, _] = old_flags.to_ne_bytes();
        let new_flags = u16::from_ne_bytes([offset & 0xf0, flag::RST]);
        set_u32::<{ at::TCP_SEQ }>(l4, seq);
        set_u32::<{ at::TCP_ACK }>(l4, 0);
        set_u16::<{ at::TCP_OFFSET }>(l4, new_flags);
        set_u16::<{ at::TCP_WINDOW }>(l4, 0);
        checksum::delta32(old_seq, seq)
            + checksum::delta32(old_ack, 0)
            + checksum::delta16(old_flags, new_flags)
            + checksum::delta16(old_window, 0)
    }
}

/// Swaps a frame's MAC addresses.
///
/// # Safety
/// Parse checked the Ethernet header.
#[inline(always)]
pub unsafe fn send_back_addresses<A>(packet: &Packet<'_, A>) {
    // SAFETY: by contract.
    unsafe {
        let eth = packet.eth();
        let dst = (u32_at::<0>(eth), u16_at::<4>(eth));
        let src = (
            u32_at::<{ at::ETH_SRC }>(eth),
            u16_at::<{ at::ETH_SRC + 4 }>(eth),
        );
        set_mac::<0, 4>(eth, src);
        set_mac::<{ at::ETH_SRC }, { at::ETH_SRC + 4 }>(eth, dst);
    }
}
