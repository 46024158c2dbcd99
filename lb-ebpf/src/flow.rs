//! Step 2, flow: a packet of an established flow is on the hot path (one look-up, no lock, no clock read).

use lb_common::{
    counter::Reason,
    flow::{Flow, Hop, Leg, SideKey, flags, side_signature},
    tcp::{self, flag, state},
};

use crate::{
    apply, balance, close, count, event,
    family::Family,
    lock, maps,
    packet::{Hook, at, opaque, u16_at, u32_at},
    plan::{Packet, Plan, Stop},
    trace,
    work::work,
};

/// The quick way: a whole packet of an established flow that changes nothing. [`Stop::NO_FLOW`] if there is none,
/// [`Stop::SLOW`] if it takes more than this.
#[inline(always)]
pub fn hot<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> Result<u32, Stop> {
    let Some(flow) = A::flow(&packet.key) else {
        return Err(Stop::NO_FLOW);
    };
    // SAFETY: a live map value. Other CPUs may write to it at the same time; every field is read or written whole and
    // none is trusted to stay.
    let flow = unsafe { &mut *flow };
    if packet.ttl <= 1
        || packet.flags & flag::CONTROL != 0
        || !tcp::is_established(flow.leg.state)
        || trace::is_on()
    {
        return Err(Stop::SLOW);
    }
    let plan = plan(packet, &flow.leg, hook)?;
    if plan.hop.tags[0] != 0 {
        return Err(Stop::SLOW);
    }
    record(packet, flow, &plan);
    Ok(apply::forward::<A, false>(packet, &plan, hook))
}

/// The Plan for a packet of a flow.
#[inline(always)]
pub fn plan<A: Family>(
    packet: &Packet<'_, A>,
    leg: &Leg<A>,
    hook: &impl Hook,
) -> Result<Plan<A>, Stop> {
    let reverse = leg.flags & flags::REVERSE != 0;
    let Some(hop) = maps::HOPS.get(u32::from(leg.hop)) else {
        return Err(Stop::drop(Reason::HopLost));
    };
    if hop.flags & Hop::USABLE == 0 {
        return Err(Stop::drop(Reason::HopLost));
    }
    let segment = hook.segment();
    let len = if segment == 0 {
        packet.len
    } else {
        segment + (packet.len - packet.payload)
    };
    if len > u32::from(hop.mtu) {
        return Err(Stop::too_big(u32::from(hop.mtu)));
    }
    Ok(Plan {
        translate: (leg.flags & flags::TRANSLATE != 0)
            .then_some((leg.src, leg.dst, leg.sport, leg.dport)),
        dst_mac: if reverse {
            (leg.side[0], leg.side[1] as u16)
        } else {
            (hop.dst_mac_low, hop.dst_mac_high)
        },
        hop,
        encapsulate: leg.flags & flags::ENCAPSULATE != 0,
        to_server: !reverse,
    })
}

/// Counts a packet of an established flow, and follows a client that has moved.
#[inline(always)]
pub fn record<A: Family>(packet: &Packet<'_, A>, flow: &mut Flow<A>, plan: &Plan<A>) {
    flow.last = now_ticks();
    flow.packets += 1;
    flow.bytes += u64::from(packet.payload);
    count::lane(flow.leg.lane, plan.to_server, packet.payload);
    if plan.to_server && plan.translate.is_some() && flow.leg.side[1] != signature(packet) {
        relearn(packet, flow);
    }
}

/// What a packet of an established flow led to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Go on with it.
    Go,
    /// The flow was over and is gone: the packet may open another.
    Over,
}

/// A segment that may change the flow's state, which the forward entry holds.
#[inline(always)]
fn step<A: Family>(packet: &Packet<'_, A>) -> Result<Step, Stop> {
    let (Some(flow), Some(work)) = (A::flow(&packet.key), work::<A>()) else {
        return Err(Stop::drop(Reason::HalfMissing));
    };
    // SAFETY: a live map value, as in `hot`.
    let flow = unsafe { &mut *flow };
    let from_client = flow.leg.flags & flags::REVERSE == 0;
    work.key = flow.leg.opposite(packet.key.proto);
    let opposite = if flow.leg.flags & flags::TRANSLATE != 0 {
        match A::flow(&work.key) {
            Some(other) => other,
            None if !from_client => return Err(Stop::drop(Reason::HalfMissing)),
            None => core::ptr::null_mut(),
        }
    } else {
        core::ptr::null_mut()
    };
    // Opaque: the compiler knows that it is not null here and would leave the look out, but verifiers before Linux 6.2
    // have forgotten what it follows from.
    let forward: *mut Flow<A> = if from_client { flow } else { opposite };
    let forward = opaque(forward as usize) as *mut Flow<A>;
    if forward.is_null() {
        return Err(Stop::drop(Reason::HalfMissing));
    }
    let reopen = from_client && packet.flags & (flag::CONTROL | flag::ACK) == flag::SYN;
    // SAFETY: not null, so a live map value.
    let states = unsafe { advance(forward, from_client, reopen, packet.flags, packet.payload) };
    let (old, new) = ((states >> 8) as u8, states as u8);
    let ends = states & TELL != 0;
    if old & state::GONE != 0 {
        return Err(Stop::drop(Reason::HalfMissing));
    }
    if reopen && tcp::is_over(old) {
        close::remove(&packet.key, &work.key, &flow.leg, Reason::FlowReopened);
        return Ok(Step::Over);
    }
    let key = if from_client { &packet.key } else { &work.key };
    if ends {
        // SAFETY: a live map value, not null.
        let forward = unsafe { &*forward };
        let (reverse, last) = if from_client {
            (opposite.cast_const(), (packet.payload, 0))
        } else {
            (core::ptr::from_ref(flow), (0, packet.payload))
        };
        event::ended(key, forward, reverse, new, last);
    }
    if tcp::is_closing(old) != tcp::is_closing(new) {
        balance::lane_active(flow.leg.lane, if tcp::is_closing(new) { -1 } else { 1 });
        if tcp::is_closing(new) {
            close::push(key, &mut work.closed);
        }
    }
    if from_client {
        if !opposite.is_null() {
            // SAFETY: a live map value; one byte, and only a hint.
            unsafe { (*opposite).leg.state = new };
        }
    } else {
        flow.leg.state = new;
    }
    Ok(Step::Go)
}

/// Bit of [`advance`]'s result: the flow has ended just now.
const TELL: u64 = 1 << 16;

/// Takes a forward entry from its state to the next under its lock, and returns both, `old << 8 | new`, and [`TELL`]. A
/// flow that is over and shall be opened anew, or one that is being removed already, stays as it was but for
/// [`state::GONE`].
///
/// A function of its own: the verifier wants to see that what is unlocked is what was locked, and the compiler, left
/// to inline, picks the entry twice.
///
/// # Safety
/// `forward` is a live entry.
#[inline(never)]
unsafe fn advance<A: Family>(
    forward: *mut Flow<A>,
    from_client: bool,
    reopen: bool,
    flags: u8,
    payload: u32,
) -> u64 {
    // SAFETY: by contract; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(&raw mut (*forward).lock, || {
            let leg = &mut (*forward).leg;
            let old = leg.state;
            let new = if old & state::GONE != 0 {
                old
            } else if reopen && tcp::is_over(old) {
                old | state::GONE
            } else {
                tcp::next(old, from_client, flags, payload != 0)
            };
            leg.state = new;
            let tell = tcp::is_over(new) && leg.flags & flags::TOLD == 0;
            if tell {
                leg.flags |= flags::TOLD;
            }
            (if tell { TELL } else { 0 }) | u64::from(old) << 8 | u64::from(new)
        })
    }
}

/// The client has moved to another interface, tag or MAC address: replies follow it.
#[inline(never)]
fn relearn<A: Family>(packet: &Packet<'_, A>, forward: &mut Flow<A>) -> bool {
    let Some(reverse) = A::flow(&forward.leg.opposite(packet.key.proto)) else {
        return false;
    };
    let Some(side) = maps::SIDES.get_ptr(side_key(packet)) else {
        return false;
    };
    forward.leg.side[1] = signature(packet);
    // SAFETY: live map values, as in `hot`.
    unsafe {
        let [low, high] = client_mac(packet);
        let leg = &mut (*reverse).leg;
        leg.side = [low, leg.side[1] & 0xffff_0000 | high];
        leg.hop = *side as u16;
    }
    count::reason(Reason::SideRelearnt);
    true
}

/// The side that a packet came by.
#[inline(always)]
pub fn side_key<A>(packet: &Packet<'_, A>) -> SideKey {
    SideKey {
        ifindex: packet.ifindex,
        tags: packet.tags,
        spare: 0,
    }
}

/// The same as a number to compare, with the sender's MAC address.
#[inline(always)]
pub fn signature<A>(packet: &Packet<'_, A>) -> u32 {
    let [low, high] = client_mac(packet);
    let tags = packet.tags[0] ^ packet.tags[1].rotate_left(7);
    side_signature(low, high as u16, packet.ifindex, tags)
}

/// The sender's MAC address and two zero bytes.
#[inline(always)]
pub fn client_mac<A>(packet: &Packet<'_, A>) -> [u32; 2] {
    // SAFETY: parse checked the Ethernet header.
    unsafe {
        [
            u32_at::<{ at::ETH_SRC }>(packet.eth()),
            u32::from(u16_at::<{ at::ETH_SRC + 4 }>(packet.eth())),
        ]
    }
}

/// The coarse clock.
#[inline(always)]
pub fn now_ticks() -> u32 {
    // SAFETY: a live map value.
    maps::CLOCK.get_ptr(0).map_or(0, |tick| unsafe { *tick })
}

/// The first part of the slow way: a packet of an established flow takes its state along. Whether there is one that it
/// may be sent on by.
#[inline(always)]
pub fn known<A: Family>(packet: &Packet<'_, A>) -> Result<bool, Stop> {
    let Some(flow) = A::flow(&packet.key) else {
        return Ok(false);
    };
    // SAFETY: a live map value, as in `hot`.
    let leg = unsafe { &(*flow).leg };
    if packet.ttl <= 1 {
        return Err(Stop::drop(Reason::TtlExceeded));
    }
    if leg.flags & flags::RESETTING != 0 {
        return Err(Stop::RESET);
    }
    if packet.flags & flag::CONTROL == 0 && tcp::is_established(leg.state) {
        return Ok(true);
    }
    Ok(step(packet)? == Step::Go)
}

/// The last part: sends the packet on, by its established flow or by the leg that a step before has left.
#[inline(always)]
pub fn send<A: Family>(
    packet: &Packet<'_, A>,
    established: bool,
    hook: &impl Hook,
) -> Result<u32, Stop> {
    let (plan, leg) = if established {
        let Some(flow) = A::flow(&packet.key) else {
            return Err(Stop::drop(Reason::HalfMissing));
        };
        // SAFETY: a live map value, as in `hot`.
        let flow = unsafe { &mut *flow };
        let plan = plan(packet, &flow.leg, hook)?;
        record(packet, flow, &plan);
        (plan, &flow.leg)
    } else {
        let Some(work) = work::<A>() else {
            return Err(Stop::drop(Reason::HalfMissing));
        };
        let plan = plan(packet, &work.leg, hook)?;
        count::lane(work.leg.lane, plan.to_server, packet.payload);
        (plan, &work.leg)
    };
    trace::forwarded(packet, plan.to_server, leg);
    Ok(apply::forward::<A, true>(packet, &plan, hook))
}

/// What became of a packet whose flow is not among the established ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is of no flow.
    Nothing,
    /// It is of a half-open one: its leg is in [`crate::work::Work::leg`].
    Leg,
    /// It has just proven a half-open one.
    Proven,
    /// It has just ended a half-open one.
    Ended,
    /// Its flow is established.
    Established,
}
