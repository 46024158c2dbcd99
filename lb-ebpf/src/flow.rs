//! Step 2, flow: a packet of an established flow is on the hot path (one look-up, no lock, no clock read).

use lb_common::{
    counter::Reason,
    flow::{Flow, Hop, Leg, SideKey, flags, side_signature},
    load::{Weight, WeightBlock},
    service::ServiceKey,
    tcp::{self, flag, state, syn},
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
    flow.last = now_ticks();
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

/// Whether a segment is to open a connection. By itself it keeps no flow from being forgotten: a client that sends it again
/// and again to a server that is gone would never get to another.
#[inline(always)]
fn opens(flags: u8) -> bool {
    flags & (flag::CONTROL | flag::ACK) == flag::SYN
}

/// Counts a packet of an established flow, and follows a client that has moved.
#[inline(always)]
pub fn record<A: Family>(packet: &Packet<'_, A>, flow: &mut Flow<A>, plan: &Plan<A>) {
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
    let known = if from_client && opens(packet.flags) {
        // SAFETY: live map values; the times are looked at and no more.
        let last = unsafe {
            let other = if opposite.is_null() {
                flow.last
            } else {
                (*opposite).last
            };
            [flow.last, other]
        };
        about_syn(packet, &flow.leg, last)
    } else {
        0
    };
    // SAFETY: not null, so a live map value.
    let states = unsafe { advance(forward, from_client, known, packet.flags, packet.payload) };
    let (old, new) = ((states >> 8) as u8, states as u8);
    let ends = states & TELL != 0;
    if old & state::GONE != 0 {
        return Err(Stop::drop(Reason::HalfMissing));
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
        event::ended(key, forward, reverse, new & !state::GONE, last);
    }
    if new & state::GONE != 0 {
        if !tcp::is_closing(old) {
            balance::lane_active(flow.leg.lane, -1);
        }
        close::remove(&packet.key, &work.key, &flow.leg, Reason::FlowReopened);
        return Ok(Step::Over);
    }
    if known != 0 && new != old {
        // What comes of it has its time.
        flow.last = now_ticks();
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

/// What is known of a client's SYN on a flow whose ends have said something at these times: bits of [`tcp::syn`].
///
/// A function of its own, so that its look-ups are walked once.
#[inline(never)]
fn about_syn<A: Family>(packet: &Packet<'_, A>, leg: &Leg<A>, last: [u32; 2]) -> u8 {
    let now = now_ticks();
    // The clock may have moved on between two looks.
    let silent = |last: u32| now.wrapping_sub(last) as i32 >= syn::QUIET_TICKS as i32;
    let mut known = syn::OPENS;
    if silent(last[0]) && silent(last[1]) {
        known |= syn::QUIET;
    }
    if is_astray(packet, leg) {
        known |= syn::ASTRAY;
    }
    known
}

/// Whether the server of a flow takes no new flows of the service that the client's packets are for: that has gone, has
/// another backend, or its backend has the server at another address, or lets nobody to it.
#[inline(always)]
fn is_astray<A: Family>(packet: &Packet<'_, A>, leg: &Leg<A>) -> bool {
    let key = ServiceKey {
        addr: packet.key.dst,
        port: packet.key.dport,
        proto: packet.key.proto as u16,
    };
    let (Some(service), Some(lane)) = (A::service(&key), maps::LANES.get(leg.lane)) else {
        return true;
    };
    let (Some(server), Some(weights)) = (
        maps::SERVERS.get(lane.server),
        maps::WEIGHTS.get_ptr(lane.server >> 8),
    ) else {
        return true;
    };
    let weights: *const WeightBlock = weights;
    // SAFETY: live map values, the ordinal below BLOCK.
    let (block, weight) = unsafe {
        let ordinal = (lane.server & 0xff) as usize;
        let weight = (&raw const (*weights).0).cast::<Weight>().add(ordinal);
        ((*service).block, (*weight).external)
    };
    block != lane.server >> 8
        || weight & Weight::REFUSES != 0
        || leg.flags & flags::TRANSLATE != 0
            && (leg.dport != server.port || leg.dst != A::from_words(&server.addr))
}

/// Bit of [`advance`]'s result: the flow has ended just now.
const TELL: u64 = 1 << 16;

/// Takes a forward entry from its state to the next under its lock, and returns both, `old << 8 | new`, and [`TELL`]. `known`
/// is what is known of a client's SYN ([`tcp::syn`]). A flow that it ends, or one that is being removed already, stays as it
/// was but for [`state::GONE`].
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
    known: u8,
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
            } else if tcp::ends_by(old, known) {
                old | state::GONE
            } else if known != 0 {
                tcp::next_by_syn(old, known)
            } else {
                tcp::next(old, from_client, flags, payload != 0)
            };
            leg.state = new;
            let tell = (tcp::is_over(new) || new & !old & state::GONE != 0)
                && leg.flags & flags::TOLD == 0;
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
        if !opens(packet.flags) {
            flow.last = now_ticks();
        }
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
