//! Step 10, end: frees flows that the agent thinks idle or closed.
//!
//! The agent scans the table in batches and runs this program with candidates as its packet (`BPF_PROG_TEST_RUN`): a
//! number of keys of forward entries, after an Ethernet header's worth of zeroes that the kernel insists on. Each is
//! looked at again under its lock, so that the one owner of the counts of active flows is the kernel program.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{
    abi::{REAP_BATCH, REAP_HEADER, TICK_MS},
    counter::Reason,
    flow::{Flow, FlowKey, V4, flags},
    tcp,
};

use crate::{
    count, event,
    family::Family,
    flow::lane_active,
    lock, maps,
    packet::{opaque, u16_at, u32_at},
    split,
};

/// How long a reverse entry may be without its forward one, which is inserted right after it, and how long an entry may
/// be in removal, which takes no time: longer, and whoever was at it met another flow in the place of its own.
const ORPHAN_TICKS: u32 = 60_000 / TICK_MS;

/// Looks at each candidate once; returns `XDP_PASS`.
#[inline(always)]
pub fn ipv4(ctx: &XdpContext) -> u32 {
    for i in 0..REAP_BATCH as u32 {
        if split::lb_reap_one(ctx.ctx, i) == 0 {
            break;
        }
    }
    xdp_action::XDP_PASS
}

/// Looks at candidate `i`; `false` if there are not so many.
#[inline(always)]
pub fn candidate_at(ctx: &XdpContext, i: u32) -> bool {
    if i >= REAP_BATCH as u32 {
        return false;
    }
    let at = opaque(ctx.data() + REAP_HEADER + i as usize * size_of::<FlowKey<V4>>());
    if at + size_of::<FlowKey<V4>>() > ctx.data_end() {
        return false;
    }
    // SAFETY: checked just above.
    let key = unsafe {
        FlowKey::<V4> {
            src: u32_at::<0>(at),
            dst: u32_at::<4>(at),
            sport: u16_at::<8>(at),
            dport: u16_at::<10>(at),
            proto: u32_at::<12>(at),
        }
    };
    candidate(&key, maps::CLOCK.get(0).copied().unwrap_or(0));
    true
}

#[inline(always)]
fn candidate<A: Family>(key: &FlowKey<A>, now: u32) {
    let Some(forward) = A::flow(key) else {
        return;
    };
    // SAFETY: a live map value.
    let forward = unsafe { &mut *forward };
    if forward.flags & flags::REVERSE != 0 {
        orphan(key, forward, now);
        return;
    }
    let Some(idle) = maps::LANES.get(forward.lane).map(|lane| lane.idle) else {
        return;
    };
    let opposite = forward.opposite(key.proto);
    let translated = forward.flags & flags::TRANSLATE != 0;
    let mut last = forward.last;
    let mut reverse = core::ptr::null();
    if translated && let Some(found) = A::flow(&opposite) {
        reverse = found.cast_const();
        // SAFETY: a live map value.
        let other = unsafe { (*found).last };
        if other.wrapping_sub(last) < u32::MAX / 2 {
            last = other;
        }
    }
    let lane = forward.lane;
    let lock = &raw mut forward.lock;
    let forward: *mut Flow<A> = forward;
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    let (state, taken) = unsafe {
        lock::with(lock, || {
            let state = (*forward).state;
            let since = now.wrapping_sub(last);
            let take = since >= tcp::idle_ticks(state, idle)
                && (state & tcp::state::GONE == 0 || since >= ORPHAN_TICKS);
            if take {
                (*forward).state = state | tcp::state::GONE;
            }
            (state, take)
        })
    };
    if !taken {
        return;
    }
    // SAFETY: a live map value; only this run removes it now.
    let ended = unsafe { &*forward };
    if ended.flags & flags::TOLD == 0 {
        event::ended(key, ended, reverse, state, (0, 0));
    }
    if A::remove(key) {
        if translated {
            A::remove(&opposite);
        }
        count::flows(1u64.wrapping_neg());
        if tcp::is_closing(state) {
            count::reason(Reason::FlowClosed);
        } else {
            lane_active(lane, -1);
            count::reason(Reason::FlowExpired);
        }
    }
}

/// Removes a reverse entry whose forward one is gone: its source port would be lost for ever.
#[inline(always)]
fn orphan<A: Family>(key: &FlowKey<A>, reverse: &Flow<A>, now: u32) {
    if now.wrapping_sub(reverse.last) >= ORPHAN_TICKS
        && A::flow(&reverse.opposite(key.proto)).is_none()
    {
        A::remove(key);
        count::reason(Reason::OrphanRemoved);
    }
}
