//! Tells the agent of flows that ended. What finds no room, the agent being away, is counted and forgotten: totals come
//! from counters.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::{
    counter::Reason,
    event::FlowEnd,
    flow::{Flow, FlowKey, Half},
};

use crate::{count, family::Family, maps};

/// Tells of the end of the established flow at `key`; `reverse` may be null. `last` is the payload of the packet that
/// ended it, by direction, which the entries do not count yet.
#[inline(always)]
pub fn ended<A: Family>(
    key: &FlowKey<A>,
    forward: &Flow<A>,
    reverse: *const Flow<A>,
    state: u8,
    last: (u32, u32),
) {
    let (bytes_out, connect_ms) = if reverse.is_null() {
        (0, FlowEnd::NEVER)
    } else {
        // SAFETY: not null, so a live map value.
        unsafe { ((*reverse).bytes, answered_ms((*reverse).leg.side[1])) }
    };
    tell::<A>(
        key,
        (
            forward.bytes + u64::from(last.0),
            bytes_out + u64::from(last.1),
        ),
        (forward.leg.lane, forward.leg.side[0], connect_ms),
        (state, forward.leg.flags),
    );
}

/// Tells of the end of a half-open flow.
#[inline(always)]
pub fn half_ended<A: Family>(forward: &Half<A>, state: u8) {
    tell::<A>(
        &forward.key,
        (u64::from(forward.bytes), 0),
        (forward.leg.lane, forward.leg.side[0], FlowEnd::NEVER),
        (state, forward.leg.flags),
    );
}

#[inline(always)]
fn tell<A: Family>(
    key: &FlowKey<A>,
    (bytes_in, bytes_out): (u64, u64),
    (lane, opened_ms, connect_ms): (u32, u32, u32),
    (state, flags): (u8, u8),
) {
    let Some(mut slot) = maps::EVENTS.reserve(0) else {
        count::reason(Reason::EventLost);
        return;
    };
    slot.write(FlowEnd {
        client: key.src.words(),
        service: key.dst.words(),
        bytes_in,
        bytes_out,
        lane,
        opened_ms,
        ended_ms: now_ms(),
        connect_ms,
        client_port: key.sport,
        service_port: key.dport,
        state,
        proto: key.proto as u8,
        family: A::VERSION,
        flags,
    });
    slot.submit(0);
}

/// Milliseconds of the monotonic clock.
#[inline(always)]
pub fn now_ms() -> u32 {
    // SAFETY: the helper has no preconditions.
    (unsafe { bpf_ktime_get_ns() } / 1_000_000) as u32
}

/// The upper half of a reverse leg's second side word: the time to the server's answer plus one, 0 for none yet.
#[inline(always)]
pub fn answered_word(opened_ms: u32) -> u32 {
    let elapsed = now_ms().wrapping_sub(opened_ms);
    let elapsed = if elapsed < 0xfffe { elapsed } else { 0xfffe };
    (elapsed + 1) << 16
}

#[inline(always)]
fn answered_ms(side: u32) -> u32 {
    (side >> 16).wrapping_sub(1)
}
