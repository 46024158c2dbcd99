//! `lb trace`: what the program decides for each packet of one client. The agent loads a second copy of the program with
//! [`TRACE`] set for as long as somebody looks; in the other the verifier removes all of this as dead code.

use lb_common::{
    counter::Reason,
    event::Trace,
    flow::{Leg, V6},
};

use crate::{count, event, family::Family, flow::now_ticks, maps, plan::Packet};

/// Whether to trace: set by the agent before it loads the object.
#[unsafe(no_mangle)]
static TRACE: u32 = 0;

/// Whom to trace: an address as in [`Family::words`].
#[unsafe(no_mangle)]
static TRACE_CLIENT: V6 = [0; 4];

/// Whether this copy of the program traces.
#[inline(always)]
pub fn is_on() -> bool {
    // SAFETY: a reference; the agent may have set another value than the compiler knows.
    unsafe { core::ptr::read_volatile(&raw const TRACE) != 0 }
}

/// What is known of a packet's flow.
struct Seen {
    /// Where it sends packets of this direction: what a server answers is told by that.
    to: V6,
    /// Its state.
    state: u8,
}

/// Records that a packet of a flow was sent on by this leg.
#[inline(always)]
pub fn forwarded<A: Family>(packet: &Packet<'_, A>, to_server: bool, leg: &Leg<A>) {
    let reason = if to_server {
        Reason::ForwardedIn
    } else {
        Reason::ForwardedOut
    };
    if is_on() {
        let seen = Seen {
            to: leg.dst.words(),
            state: leg.state,
        };
        record(packet, reason as u32, leg.lane, &seen);
    }
}

/// Records what else became of a packet, if it is one of the traced client.
#[inline(always)]
pub fn packet_was<A: Family>(packet: &Packet<'_, A>, reason: u32, lane: u32) {
    if is_on() {
        let seen = match A::flow(&packet.key) {
            // SAFETY: a live map value.
            Some(flow) => unsafe {
                Seen {
                    to: (*flow).leg.dst.words(),
                    state: (*flow).leg.state,
                }
            },
            None => Seen {
                to: [0; 4],
                state: 0,
            },
        };
        record(packet, reason, lane, &seen);
    }
}

/// Whether an address is the traced client's.
#[inline(always)]
fn is_client(words: &V6) -> bool {
    let client = &raw const TRACE_CLIENT;
    // SAFETY: as for `TRACE`.
    let client = unsafe { core::ptr::read_volatile(client) };
    words[0] == client[0] && words[1] == client[1] && words[2] == client[2] && words[3] == client[3]
}

#[inline(never)]
fn record<A: Family>(packet: &Packet<'_, A>, reason: u32, lane: u32, seen: &Seen) -> bool {
    let (src, dst) = (packet.key.src.words(), packet.key.dst.words());
    if !is_client(&src) && !is_client(&dst) && !is_client(&seen.to) {
        return false;
    }
    if !in_budget() {
        count::reason(Reason::TraceLost);
        return false;
    }
    let Some(mut slot) = maps::TRACES.reserve(0) else {
        count::reason(Reason::TraceLost);
        return false;
    };
    slot.write(Trace {
        src,
        dst,
        at_ms: event::now_ms(),
        reason,
        lane,
        ifindex: packet.ifindex,
        len: packet.len,
        sport: packet.key.sport,
        dport: packet.key.dport,
        proto: packet.key.proto as u8,
        family: A::VERSION,
        tcp_flags: packet.flags,
        state: seen.state,
    });
    slot.submit(0);
    true
}

/// Whether this CPU may write another record within this tick.
#[inline(always)]
fn in_budget() -> bool {
    let Some(budget) = maps::TRACE_BUDGET.get_ptr_mut(0) else {
        return false;
    };
    let now = u64::from(now_ticks()) << 32;
    // SAFETY: a live per-CPU map value.
    unsafe {
        if *budget & 0xffff_ffff_0000_0000 != now {
            *budget = now;
        }
        *budget += 1;
        *budget - now <= u64::from(Trace::PER_TICK)
    }
}
