//! Step 10, end: closed flows are freed without the agent. A flow that closes joins a queue, and each that is established
//! later frees at most two that have lingered long enough.

use lb_common::{
    abi::TICK_MS,
    counter::Reason,
    flow::{Closed, Flow, FlowKey, LINGER_MS, Leg, flags},
    tcp::{self, state},
};

use crate::{admit, count, event, family::Family, flow::now_ticks, lock};

/// How long a closed flow lingers when the table has no more room.
const SHORT_LINGER_MS: u32 = 1_000;

/// How long a client must have been silent whose word alone says that its flow is closed: the agent asks it after ten
/// seconds, and may be as long in coming by.
const DOUBT_TICKS: u32 = 30_000 / TICK_MS;

/// Puts a flow that has just closed on the queue, by way of `room`, which the stack has not.
#[inline(always)]
pub fn push<A: Family>(key: &FlowKey<A>, room: &mut Closed<A>) {
    room.key = *key;
    room.since_ms = event::now_ms();
    room.spare = 0;
    A::push_closed(room);
}

/// Frees up to two flows that closed long ago, whenever one is established: there the table grows.
#[inline(always)]
pub fn make_room<A: Family>() {
    let full = count::all_flows::<A>() >= admit::admit_below::<A>();
    let (now_ms, linger) = (
        event::now_ms(),
        if full { SHORT_LINGER_MS } else { LINGER_MS },
    );
    for _ in 0..2 {
        match A::peek_closed() {
            Some(first) if now_ms.wrapping_sub(first.since_ms) >= linger => {}
            _ => return,
        }
        // Another CPU may have taken that one and left the next: a little early is early enough.
        let Some(mut closed) = A::pop_closed() else {
            return;
        };
        if free_one(&closed.key, full) == Freed::TooEarly {
            closed.since_ms = now_ms;
            A::push_closed(&closed);
        }
    }
}

/// What became of a flow on the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freed {
    /// It is freed, or was opened again, or is gone already.
    Done,
    /// Only its client is said to have ended it, and not long ago.
    TooEarly,
}

/// Removes a flow unless it was opened again meanwhile. It may have been, and closed once more: what only the client is
/// said to have done has time to be taken back, unless there is no more room.
#[inline(never)]
fn free_one<A: Family>(key: &FlowKey<A>, full: bool) -> Freed {
    let Some(flow) = A::flow(key) else {
        return Freed::Done;
    };
    // SAFETY: a live map value.
    let since = now_ticks().wrapping_sub(unsafe { (*flow).last });
    let certain = full || (since >= DOUBT_TICKS && since < u32::MAX / 2);
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    let (old, taken) = unsafe {
        lock::with(&raw mut (*flow).lock, || {
            let old = (*flow).leg.state;
            let closed = tcp::is_closing(old) && old & state::GONE == 0;
            let taken = closed && (certain || tcp::is_over(old));
            if taken {
                (*flow).leg.state = old | state::GONE;
            }
            (old, taken)
        })
    };
    if taken {
        // SAFETY: a live map value; only this run removes it now.
        let flow = unsafe { &*flow };
        let opposite = flow.leg.opposite(key.proto);
        tell(key, &opposite, flow);
        remove(key, &opposite, &flow.leg, Reason::FlowClosed);
    } else if tcp::is_closing(old) && old & state::GONE == 0 {
        return Freed::TooEarly;
    }
    Freed::Done
}

/// Removes a flow if it is over, however long it has lingered; whether it was removed.
#[inline(always)]
pub fn free_over<A: Family>(key: &FlowKey<A>) -> bool {
    free_one(key, false) == Freed::Done && A::flow(key).is_none()
}

/// Tells of the end of a flow that is about to be removed, unless that was done when it ended.
#[inline(always)]
pub fn tell<A: Family>(key: &FlowKey<A>, opposite: &FlowKey<A>, forward: &Flow<A>) {
    if forward.leg.flags & flags::TOLD != 0 {
        return;
    }
    let reverse = if forward.leg.flags & flags::TRANSLATE != 0 {
        A::flow(opposite).map_or(core::ptr::null(), |flow| flow.cast_const())
    } else {
        core::ptr::null()
    };
    let state = forward.leg.state & !state::GONE;
    event::ended(key, forward, reverse, state, (0, 0));
}

/// Removes an established flow, found by its forward entry, whose state the caller has marked as gone.
#[inline(always)]
pub fn remove<A: Family>(key: &FlowKey<A>, opposite: &FlowKey<A>, leg: &Leg<A>, reason: Reason) {
    let two = leg.flags & flags::TRANSLATE != 0;
    if A::remove(key) {
        if two {
            A::remove(opposite);
        }
        count::flows::<A>(1u64.wrapping_neg());
        count::reason(reason);
    }
}
