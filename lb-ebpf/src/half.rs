//! Half-open flows, looked for where there is no established one: they live apart, in sets of four under a lock each, so that a flood of first packets evicts
//! nothing but its like and inserts into no hash.
//!
//! A flow is proven by whoever can only have got it from the other side: full NAT and NAT by a client that acknowledges
//! the server's initial sequence number, the others by one that goes on from its own. What has no handshake is proven by
//! an answer, or where answers go another way, by going on for a while.

use core::ptr::null_mut;

use lb_common::{
    counter::Reason,
    flow::{Flow, FlowKey, Half, HalfSet, flags},
    tcp::{flag, state},
};

use crate::{
    admit, balance,
    claim::has_tuple,
    count, event,
    family::Family,
    flow::{Found, now_ticks},
    packet::{at, u32_at},
    plan::{Packet, Stop, proto},
    sets::{Touch, look, refresh, remove, set_of, touch},
    work::{Work, room, work, work_of},
};

/// How long a flow whose answers go another way, and that has no handshake, must go on before it is taken for real.
const PROVEN_MS: u32 = 1_000;

/// A packet of no established flow: is it a half-open one's, and does it prove it?
#[inline(always)]
pub fn step<A: Family>(packet: &Packet<'_, A>) -> Result<Found, Stop> {
    let (Some(set), Some(work)) = (set_of(&packet.key), work::<A>()) else {
        return Ok(Found::Nothing);
    };
    if !touch(set, &packet.key, &raw mut work.mine, Touch::Look, (0, 0, 0)) {
        return Ok(Found::Nothing);
    }
    if packet.ttl <= 1 {
        return Err(Stop::drop(Reason::TtlExceeded));
    }
    work.leg = work.mine.leg;
    let first = &work.mine;
    let from_client = first.leg.flags & flags::REVERSE == 0;
    let one_sided = first.leg.flags & flags::TRANSLATE == 0;
    if !packet.is_tcp() || first.leg.flags & flags::ADOPTED != 0 {
        if packet.flags & flag::RST != 0 {
            return Ok(Found::Ended);
        }
        if from_client && !one_sided && !has_tuple(packet, work) {
            return Ok(Found::Nothing);
        }
        let first = &work.mine;
        let now = event::now_ms();
        let count = (packet.payload, 0, now);
        touch(set, &packet.key, null_mut(), Touch::Refresh, count);
        let proven = if one_sided {
            now.wrapping_sub(first.leg.side[0]) >= PROVEN_MS
                && count::all_flows::<A>() < admit::admit_below::<A>() / 2
        } else if !from_client {
            work.key = first.leg.opposite(packet.key.proto);
            look(&work.key, &mut work.other)
                && work.other.leg.opposite(packet.key.proto) == packet.key
        } else {
            false
        };
        return Ok(if proven { Found::Proven } else { Found::Leg });
    }
    handshake(packet, set, work, (from_client, one_sided))
}

/// A segment of a TCP flow whose handshake is not complete; its place is in `work.mine`.
#[inline(always)]
fn handshake<A: Family>(
    packet: &Packet<'_, A>,
    set: (*mut HalfSet<A>, u32),
    work: &mut Work<A>,
    (from_client, one_sided): (bool, bool),
) -> Result<Found, Stop> {
    let Some(l4) = packet.header(at::TCP) else {
        return Ok(Found::Leg);
    };
    // SAFETY: `header` checked it.
    let (seq, ack) = unsafe {
        (
            u32::from_be(u32_at::<{ at::TCP_SEQ }>(l4)),
            u32::from_be(u32_at::<{ at::TCP_ACK }>(l4)),
        )
    };
    let isn = work.mine.isn;
    let kind = packet.flags & (flag::CONTROL | flag::ACK);
    if packet.flags & flag::RST != 0 {
        let answered = work.mine.leg.state & state::ANSWERED != 0;
        // What a stray segment brought upon itself does not end the flow; a refusal does, and an abort in sequence.
        if seq == isn.wrapping_add(1) || seq == isn || (!from_client && !answered) {
            return Ok(Found::Ended);
        }
        return Ok(Found::Leg);
    }
    work.key = work.mine.leg.opposite(packet.key.proto);
    if !from_client {
        if kind == flag::SYN | flag::ACK {
            let first = work.mine.leg.state & state::ANSWERED == 0;
            let word = if first && look(&work.key, &mut work.other) {
                event::answered_word(work.other.leg.side[0])
            } else {
                0
            };
            let answer = (packet.payload, seq, word);
            touch(set, &packet.key, null_mut(), Touch::Answer, answer);
        } else {
            let count = (packet.payload, 0, 0);
            touch(set, &packet.key, null_mut(), Touch::Count, count);
        }
        return Ok(Found::Leg);
    }
    if kind == flag::SYN {
        // The same again, or another attempt of the same client from the same port: the same server either way.
        if !one_sided && !has_tuple(packet, work) {
            return Ok(Found::Nothing);
        }
        let count = (packet.payload, seq, 0);
        touch(set, &packet.key, null_mut(), Touch::Sequence, count);
        return Ok(Found::Leg);
    }
    let proven = if one_sided {
        goes_on(seq, isn, work.mine.bytes)
    } else {
        look(&work.key, &mut work.other)
            && work.other.leg.opposite(packet.key.proto) == packet.key
            && work.other.leg.state & state::ANSWERED != 0
            && kind & flag::ACK != 0
            && goes_on(ack, work.other.isn, work.other.bytes)
    };
    if proven {
        return Ok(Found::Proven);
    }
    if one_sided {
        let count = (packet.payload, 0, 0);
        touch(set, &packet.key, null_mut(), Touch::Count, count);
        return Ok(Found::Leg);
    }
    Err(Stop::drop(Reason::BadHandshake))
}

/// Whether a number is the next after an initial one, or after some of the `bytes` that were sent from there on, and an
/// end behind them. There are such before a flow is established where data comes with the SYN (RFC 7413 §4.1) or right
/// behind the answer to it, and where the table has no room for the flow.
#[inline(always)]
fn goes_on(number: u32, isn: u32, bytes: u32) -> bool {
    let end = u32::from(bytes != 0);
    number.wrapping_sub(isn).wrapping_sub(1) <= bytes.wrapping_add(end)
}

/// A half-open flow, one of whose places is in `mine` of that room, ends by a reset, which is still sent on.
#[inline(always)]
pub fn end<A: Family>(room: u32) {
    let Some(work) = work_of::<A>(room) else {
        return;
    };
    let from_client = work.mine.leg.flags & flags::REVERSE == 0;
    let two = work.mine.leg.flags & flags::TRANSLATE != 0;
    work.key = work.mine.leg.opposite(work.mine.key.proto);
    let (forward, reset) = if from_client {
        (&work.mine, state::RST_CLIENT)
    } else if look(&work.key, &mut work.other) {
        (&work.other, state::RST_SERVER)
    } else {
        remove(&work.mine.key);
        return;
    };
    if remove(&forward.key) {
        balance::lane_active(forward.leg.lane, -1);
        event::half_ended(forward, forward.leg.state | reset);
        count::reason(Reason::FlowClosed);
    }
    if two {
        remove(if from_client {
            &work.key
        } else {
            &work.mine.key
        });
    }
}

/// Takes out the half-open flow whose forward leg stands at `key`, if there is one, as the reaper was ordered.
#[inline(always)]
pub fn forget<A: Family>(key: &FlowKey<A>) {
    let Some(work) = work_of::<A>(room::ORDER) else {
        return;
    };
    if look(key, &mut work.mine) && work.mine.leg.flags & flags::REVERSE == 0 {
        A::end(room::ORDER);
    }
}

/// Moves a flow that is proven, one of whose places is in `work.mine` and the other, if it has two, in `work.other`, to
/// the table of established ones. Without room there it goes on as half-open.
///
/// The packet that has proven it is counted here and goes on by its leg, [`Found::Leg`], unless it says more of the flow,
/// or another CPU was first: then as any of an established one.
#[inline(always)]
pub fn promote<A: Family>() -> Found {
    let Some(work) = work::<A>() else {
        return Found::Leg;
    };
    let from_client = work.mine.leg.flags & flags::REVERSE == 0;
    let two = work.mine.leg.flags & flags::TRANSLATE != 0;
    work.key = work.mine.leg.opposite(work.mine.key.proto);
    let (plain, payload) = work.noted.counts();
    let image = work.flow.as_mut_ptr().cast::<Flow<A>>();
    let now = now_ticks();
    if plain {
        work.mine.packets += 1;
        work.mine.bytes += payload;
    }
    if two {
        let reverse = if from_client { &work.other } else { &work.mine };
        // SAFETY: the image has room for a flow.
        let inserted = unsafe {
            write_flow(image, reverse, state::ESTABLISHED, now);
            A::insert(&reverse.key, image)
        };
        if inserted.is_err() && A::flow(&reverse.key).is_none() {
            keep(work, two);
            return Found::Leg;
        }
    }
    let forward = if from_client { &work.mine } else { &work.other };
    let established = (forward.leg.state & state::ONE_SIDED) | state::ESTABLISHED;
    // SAFETY: as above.
    let inserted = unsafe {
        write_flow(image, forward, established, now);
        A::insert(&forward.key, image)
    };
    if inserted.is_ok() {
        count::flows::<A>(1);
        count::reason(Reason::FlowEstablished);
        if work.mine.key.proto == u32::from(proto::TCP) {
            count::connection(forward.leg.lane);
        }
        // Whoever ended or evicted the half-open flow since it was looked at has taken it off its server's count, not
        // knowing that it goes on.
        if !remove(&forward.key) {
            balance::lane_active(forward.leg.lane, 1);
        }
        if two {
            remove(if from_client {
                &work.key
            } else {
                &work.mine.key
            });
        }
    } else if A::flow(&forward.key).is_none() {
        if two {
            A::remove(if from_client {
                &work.key
            } else {
                &work.mine.key
            });
        }
        keep(work, two);
        return Found::Leg;
    }
    // Else another CPU was first, and takes the half-open flow out.
    if plain && inserted.is_ok() {
        Found::Leg
    } else {
        Found::Established
    }
}

/// Keeps a proven flow, for which there is no room, among half-open ones for as long as it goes on.
#[inline(always)]
fn keep<A: Family>(work: &Work<A>, two: bool) {
    count::reason(Reason::NotEstablished);
    let now = event::now_ms();
    // What has no handshake was counted when it came.
    let counted =
        work.mine.key.proto != u32::from(proto::TCP) || work.mine.leg.flags & flags::ADOPTED != 0;
    let what = if counted {
        Touch::Young
    } else {
        Touch::Refresh
    };
    refresh(&work.mine.key, what, (work.noted.counts().1 as u32, 0, now));
    if two {
        refresh(&work.key, Touch::Young, (0, 0, now));
    }
}

/// Writes the flow that a half-open leg becomes.
///
/// # Safety
/// `flow` points to room for one.
#[inline(always)]
unsafe fn write_flow<A: Family>(flow: *mut Flow<A>, half: &Half<A>, state: u8, now: u32) {
    // SAFETY: by contract.
    unsafe {
        (*flow).lock.val = 0;
        (*flow).leg = half.leg;
        (*flow).leg.state = state;
        (*flow).last = now;
        (*flow).packets = half.packets;
        (*flow).bytes = u64::from(half.bytes);
    }
}
