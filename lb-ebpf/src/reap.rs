//! Step 10, end: does to flows what the agent orders, which has no other hand on them.
//!
//! The agent scans the table in batches and runs this program with candidates as its packet (`BPF_PROG_TEST_RUN`): a
//! [`ReapHeader`] and keys of forward entries. Each is looked at again under its lock, so that the one owner of the
//! counts of active flows is the kernel program.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{
    abi::{REAP_BATCH, REAP_HEADER, ReapHeader, TICK_MS, reap},
    counter::Reason,
    flow::{Flow, FlowKey, V4, V6, WAYS, flags},
    tcp::{self, state},
};

use crate::{
    balance, close, count, event,
    family::Family,
    flow::now_ticks,
    half, lock, maps,
    packet::{Hook, opaque, u16_at, u32_at, v6_at},
    split,
    work::{room, work_of},
};

/// How long a reverse entry may be without its forward one, which is inserted right after it, and how long an entry may
/// be in removal, which takes no time: longer, and whoever was at it met another flow in the place of its own.
const ORPHAN_TICKS: u32 = 60_000 / TICK_MS;

/// Carries out an order; returns `XDP_PASS`.
#[inline(always)]
pub fn orders(ctx: &XdpContext) -> u32 {
    let Some(header) = header(ctx) else {
        return xdp_action::XDP_PASS;
    };
    let six = header.order & reap::V6 != 0;
    if header.order & !reap::V6 == reap::HALF {
        let now = event::now_ms();
        for i in 0..REAP_BATCH as u32 * WAYS as u32 {
            let (set, way) = (i / WAYS as u32, i % WAYS as u32);
            if set >= header.count {
                break;
            }
            if six {
                split::lb_expire6(header.first + set, way, now);
            } else {
                split::lb_expire4(header.first + set, way, now);
            }
        }
        return xdp_action::XDP_PASS;
    }
    for i in 0..REAP_BATCH as u32 {
        let more = if six {
            split::lb_reap_one6(ctx.ctx, i)
        } else {
            split::lb_reap_one4(ctx.ctx, i)
        };
        if more == 0 {
            break;
        }
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn header(ctx: &XdpContext) -> Option<ReapHeader> {
    let at = Hook::data(ctx);
    if at + REAP_HEADER > Hook::data_end(ctx) {
        return None;
    }
    // SAFETY: checked just above.
    Some(unsafe {
        ReapHeader {
            order: u32_at::<0>(at),
            count: u32_at::<4>(at),
            first: u32_at::<8>(at),
            spare: 0,
        }
    })
}

/// A key as it lies in the order.
pub trait Listed: Family {
    /// Reads it.
    ///
    /// # Safety
    /// It was checked to lie within the packet.
    unsafe fn key_at(at: usize) -> FlowKey<Self>;
}

impl Listed for V4 {
    #[inline(always)]
    unsafe fn key_at(at: usize) -> FlowKey<V4> {
        // SAFETY: by contract.
        unsafe {
            FlowKey {
                src: u32_at::<0>(at),
                dst: u32_at::<4>(at),
                sport: u16_at::<8>(at),
                dport: u16_at::<10>(at),
                proto: u32_at::<12>(at),
            }
        }
    }
}

impl Listed for V6 {
    #[inline(always)]
    unsafe fn key_at(at: usize) -> FlowKey<V6> {
        // SAFETY: by contract.
        unsafe {
            FlowKey {
                src: v6_at::<0, 4, 8, 12>(at),
                dst: v6_at::<16, 20, 24, 28>(at),
                sport: u16_at::<32>(at),
                dport: u16_at::<34>(at),
                proto: u32_at::<36>(at),
            }
        }
    }
}

/// Deals with the flow at place `i` of the order; `false` if it has not so many.
#[inline(always)]
pub fn candidate_at<A: Listed>(ctx: &XdpContext, i: u32) -> bool {
    let Some(header) = header(ctx) else {
        return false;
    };
    if i >= REAP_BATCH as u32 || i >= header.count {
        return false;
    }
    let at = opaque(Hook::data(ctx) + REAP_HEADER + i as usize * size_of::<FlowKey<A>>());
    if at + size_of::<FlowKey<A>>() > Hook::data_end(ctx) {
        return false;
    }
    // SAFETY: checked just above.
    let key = unsafe { A::key_at(at) };
    let Some(flow) = A::flow(&key) else {
        if header.order & !reap::V6 == reap::REMOVE {
            half::forget(&key);
        }
        return true;
    };
    // SAFETY: a live map value.
    let flow = unsafe { &mut *flow };
    match header.order & !reap::V6 {
        reap::RESET => reset(&key, flow),
        reap::REMOVE if flow.leg.flags & flags::REVERSE == 0 => {
            take(&key, flow, None, Reason::FlowReset)
        }
        reap::IDLE => idle(&key, flow, now_ticks()),
        _ => {}
    }
    true
}

/// Removes a flow if it is idle or closed.
#[inline(always)]
fn idle<A: Family>(key: &FlowKey<A>, forward: &mut Flow<A>, now: u32) {
    if forward.leg.flags & flags::REVERSE != 0 {
        orphan(key, forward, now);
        return;
    }
    take(key, forward, Some(now), Reason::FlowExpired);
}

/// Removes a flow: if `now` is given, only if it has been idle for as long as its state allows.
#[inline(always)]
fn take<A: Family>(key: &FlowKey<A>, forward: &mut Flow<A>, now: Option<u32>, reason: Reason) {
    let idle = maps::LANES
        .get(forward.leg.lane)
        .map_or(0, |lane| lane.idle);
    let opposite = forward.leg.opposite(key.proto);
    let mut last = forward.last;
    if forward.leg.flags & flags::TRANSLATE != 0
        && let Some(found) = A::flow(&opposite)
    {
        // SAFETY: a live map value.
        let other = unsafe { (*found).last };
        if other.wrapping_sub(last) < u32::MAX / 2 {
            last = other;
        }
    }
    let lane = forward.leg.lane;
    let lock = &raw mut forward.lock;
    let forward: *mut Flow<A> = forward;
    let (always, now) = match now {
        Some(now) => (false, now),
        None => (true, 0),
    };
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    let (old, taken) = unsafe {
        lock::with(lock, || {
            let old = (*forward).leg.state;
            let since = now.wrapping_sub(last);
            let gone = old & state::GONE != 0;
            let due = always || (since >= tcp::idle_ticks(old, idle) && since < u32::MAX / 2);
            let take = due && (!gone || (!always && since >= ORPHAN_TICKS));
            if take {
                (*forward).leg.state = old | state::GONE;
            }
            (old, take)
        })
    };
    if !taken {
        return;
    }
    // SAFETY: a live map value; only this run removes it now.
    let ended = unsafe { &*forward };
    close::tell(key, &opposite, ended);
    let closing = tcp::is_closing(old & !state::GONE);
    if !closing {
        balance::lane_active(lane, -1);
    }
    let reason = if closing && !always {
        Reason::FlowClosed
    } else {
        reason
    };
    close::remove(key, &opposite, &ended.leg, reason);
}

/// Marks a flow as being reset: it no longer counts, and its segments take the slow way.
#[inline(always)]
fn reset<A: Family>(key: &FlowKey<A>, forward: &mut Flow<A>) {
    if forward.leg.flags & flags::REVERSE != 0 {
        return;
    }
    let lock = &raw mut forward.lock;
    let forward: *mut Flow<A> = forward;
    const RESET: u8 = state::RST_CLIENT | state::RST_SERVER;
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    let old = unsafe {
        lock::with(lock, || {
            let leg = &mut (*forward).leg;
            let old = leg.state;
            if old & state::GONE == 0 {
                leg.state = old | RESET;
                leg.flags |= flags::RESETTING;
            }
            old
        })
    };
    if old & state::GONE != 0 {
        return;
    }
    // SAFETY: a live map value.
    let forward = unsafe { &mut *forward };
    let opposite = forward.leg.opposite(key.proto);
    if forward.leg.flags & flags::TRANSLATE != 0
        && let Some(reverse) = A::flow(&opposite)
    {
        // SAFETY: a live map value; single bytes.
        unsafe {
            (*reverse).leg.state = old | RESET;
            (*reverse).leg.flags |= flags::RESETTING;
        }
    }
    if !tcp::is_closing(old) {
        balance::lane_active(forward.leg.lane, -1);
        count::reason(Reason::FlowReset);
        if let Some(work) = work_of::<A>(room::ORDER) {
            close::push(key, &mut work.closed);
        }
    }
}

/// Removes a reverse entry whose forward one is gone: its source port would be lost for ever.
#[inline(always)]
fn orphan<A: Family>(key: &FlowKey<A>, reverse: &Flow<A>, now: u32) {
    if now.wrapping_sub(reverse.last) >= ORPHAN_TICKS
        && A::flow(&reverse.leg.opposite(key.proto)).is_none()
    {
        A::remove(key);
        count::reason(Reason::OrphanRemoved);
    }
}
