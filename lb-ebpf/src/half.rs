//! Step 5, half-open flows: they live apart, in sets of four under a lock each, so that a flood of first packets evicts
//! nothing but its like and inserts into no hash.
//!
//! A flow is proven by whoever can only have got it from the other side: full NAT and NAT by a client that acknowledges
//! the server's initial sequence number, the others by one that goes on from its own. What has no handshake is proven by
//! an answer, or where answers go another way, by going on for a while.

use core::ptr::null_mut;

use lb_common::{
    abi::Settings,
    counter::Reason,
    flow::{Flow, FlowKey, HALF_OPEN_MS, Half, HalfSet, Hop, Leg, UNANSWERED_MS, WAYS, flags},
    hash,
    service::{Server, forward},
    tcp::{flag, state},
};

use crate::{
    admit, balance, count, event,
    family::Family,
    flow::{Found, client_mac, now_ticks, side_key, signature},
    lock, maps,
    packet::{at, u32_at},
    parse,
    plan::{Packet, Stop, proto},
    work::{Work, work},
};

/// How long a flow whose answers go another way, and that has no handshake, must go on before it is taken for real.
const PROVEN_MS: u32 = 1_000;

/// A new flow's server and how it gets its packets.
#[derive(Clone, Copy)]
pub struct New {
    /// Its service's number.
    pub service: u32,
    /// Its lane.
    pub lane: u32,
    /// How it is forwarded, [`lb_common::service::forward`].
    pub forward: u8,
    /// Whether it is dropped if it cannot be taken after all.
    pub drop_overflow: bool,
    /// Whether it begins in mid-connection.
    pub adopted: bool,
}

/// What to do with the place of `key` under its set's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// Only look.
    Look,
    /// Count a packet.
    Count,
    /// The same, and it keeps the flow young.
    Refresh,
    /// Count it, and the sender's initial sequence number is this.
    Sequence,
    /// Likewise, from the server: the flow is answered.
    Answer,
    /// Take it out.
    Remove,
}

/// Finds the place of `key` and does something with it; whether it is there. A copy of it as it was before goes to
/// `copy` unless that is null.
///
/// Looks without the lock first: most packets that come here are of no half-open flow.
#[inline(always)]
fn touch<A: Family>(
    (set, tag): (*mut HalfSet<A>, u32),
    key: &FlowKey<A>,
    copy: *mut Half<A>,
    what: Touch,
    (bytes, number, now): (u32, u32, u32),
) -> bool {
    let mut there = false;
    for way in 0..WAYS {
        // SAFETY: a live map value, and looked at again below.
        there |= unsafe { (*set).tags[way] } == tag;
    }
    if !there {
        return false;
    }
    let mut found = false;
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(
            &raw mut (*set).lock,
            #[inline(always)]
            || {
                for way in 0..WAYS {
                    let half = &raw mut (*set).ways[way];
                    if (*set).tags[way] == tag && (*half).key == *key {
                        found = true;
                        if !copy.is_null() {
                            copy_words(half, copy);
                        }
                        match what {
                            Touch::Look => {}
                            Touch::Remove => {
                                (*half).key.proto = 0;
                                (*set).tags[way] = 0;
                            }
                            _ => {
                                (*half).packets += 1;
                                (*half).bytes += bytes;
                                if what == Touch::Refresh {
                                    (*half).since_ms = now;
                                    (*set).since_ms[way] = now;
                                }
                                if what == Touch::Sequence || what == Touch::Answer {
                                    (*half).isn = number;
                                }
                                if what == Touch::Answer {
                                    (*half).leg.state |= state::ANSWERED;
                                    (*half).leg.side[1] |= now;
                                }
                            }
                        }
                        break;
                    }
                }
            },
        );
    }
    found
}

/// Copies a place word by word: the compiler would call a function for it, which must not be done under a lock.
///
/// # Safety
/// Both are places of their own.
#[inline(always)]
unsafe fn copy_words<A: Family>(from: *const Half<A>, to: *mut Half<A>) {
    for i in 0..size_of::<Half<A>>() / 8 {
        // SAFETY: by contract; a place is aligned to 8 bytes and as many long as a multiple of 8.
        unsafe {
            let word = from.cast::<u64>().add(i).read_volatile();
            to.cast::<u64>().add(i).write_volatile(word);
        }
    }
}

#[inline(always)]
fn set_of<A: Family>(key: &FlowKey<A>) -> Option<(*mut HalfSet<A>, u32)> {
    A::half_set(key, admit::settings())
}

/// Copies the place of `key` to `copy`; whether there is one.
#[inline(never)]
fn look<A: Family>(key: &FlowKey<A>, copy: &mut Half<A>) -> bool {
    set_of(key).is_some_and(|set| touch(set, key, copy, Touch::Look, (0, 0, 0)))
}

/// The leg at `key`, copied to `copy`.
#[inline(always)]
pub fn leg_of<'a, A: Family>(key: &FlowKey<A>, copy: &'a mut Half<A>) -> Option<&'a Leg<A>> {
    look(key, copy).then_some(&copy.leg)
}

/// Takes the place of `key` out.
#[inline(never)]
fn remove<A: Family>(key: &FlowKey<A>) -> bool {
    set_of(key).is_some_and(|set| touch(set, key, null_mut(), Touch::Remove, (0, 0, 0)))
}

/// Enters a half-open leg; the oldest of its set makes room. `false` if there is one with this key.
#[inline(never)]
fn insert<A: Family>(half: &Half<A>) -> bool {
    let Some((set, tag)) = set_of(&half.key) else {
        return false;
    };
    let now = half.since_ms;
    let (mut exists, mut evicted, mut lane) = (false, false, 0);
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(
            &raw mut (*set).lock,
            #[inline(always)]
            || {
                // Older is larger, an empty place the oldest of all.
                let (mut victim, mut oldest) = (0usize, 0u64);
                for way in 0..WAYS {
                    let other = (*set).tags[way];
                    if other == tag && (*set).ways[way].key == half.key {
                        exists = true;
                    }
                    let age = if other == 0 {
                        u64::MAX
                    } else {
                        u64::from(now.wrapping_sub((*set).since_ms[way])) + 1
                    };
                    if age > oldest {
                        (victim, oldest) = (way, age);
                    }
                }
                if !exists {
                    let victim = victim & (WAYS - 1);
                    (*set).tags[victim] = tag;
                    (*set).since_ms[victim] = now;
                    let place = &raw mut (*set).ways[victim];
                    evicted = (*place).key.proto != 0 && (*place).leg.flags & flags::REVERSE == 0;
                    lane = (*place).leg.lane;
                    copy_words(half, place);
                }
            },
        );
    }
    if evicted {
        balance::lane_active(lane, -1);
        count::reason(Reason::HalfOpenEvicted);
    }
    !exists
}

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
                && count::all_flows::<A>() < u64::from(admit::settings().admit_below / 2)
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
        seq == isn.wrapping_add(1)
    } else {
        look(&work.key, &mut work.other)
            && work.other.leg.opposite(packet.key.proto) == packet.key
            && work.other.leg.state & state::ANSWERED != 0
            && kind & flag::ACK != 0
            && ack == work.other.isn.wrapping_add(1)
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

/// A half-open flow, one of whose places is in `work.mine`, ends by a reset, which is still sent on.
#[inline(always)]
pub fn end<A: Family>() {
    let Some(work) = work::<A>() else {
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

/// Takes out the half-open flow whose forward leg stands at `key`, if there is one.
#[inline(always)]
pub fn forget<A: Family>(key: &FlowKey<A>) {
    let Some(work) = work::<A>() else {
        return;
    };
    if look(key, &mut work.mine) && work.mine.leg.flags & flags::REVERSE == 0 {
        A::end();
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
            count::reason(Reason::NotEstablished);
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
        count::reason(Reason::NotEstablished);
        return Found::Leg;
    }
    // Else another CPU was first, and takes the half-open flow out.
    if plain && inserted.is_ok() {
        Found::Leg
    } else {
        Found::Established
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

/// Opens a flow for a packet of none, or takes back that it counts as active.
#[inline(always)]
pub fn open<A: Family>(packet: &Packet<'_, A>, new: &New) -> Result<(), Stop> {
    let reason = match enter(packet, new) {
        Ok(()) => {
            count::reason(if new.adopted {
                Reason::FlowAdopted
            } else {
                Reason::FlowOpened
            });
            if !packet.is_tcp() {
                count::connection(new.lane);
            }
            return Ok(());
        }
        Err(reason) => reason,
    };
    balance::lane_active(new.lane, -1);
    if matches!(reason, Reason::DuplicateSyn) {
        return Err(Stop::drop(reason));
    }
    if !new.drop_overflow {
        admit::passed_up(new.service);
    }
    Err(admit::overflow(new.drop_overflow, reason))
}

/// Enters both legs: for a flow that is translated the reverse one first, which claims the tuple at the server.
#[inline(always)]
fn enter<A: Family>(packet: &Packet<'_, A>, new: &New) -> Result<(), Reason> {
    let Some(work) = work::<A>() else {
        return Err(Reason::NoServer);
    };
    let Some(server) = maps::LANES
        .get(new.lane)
        .and_then(|lane| maps::SERVERS.get(lane.server))
    else {
        return Err(Reason::NoServer);
    };
    let usable = maps::HOPS
        .get(u32::from(server.hop))
        .is_some_and(|hop| hop.flags & Hop::USABLE != 0);
    if !usable {
        return Err(Reason::NoNextHop);
    }
    let Some(side) = side(packet) else {
        return Err(Reason::NoSide);
    };
    let translate = new.forward == forward::FULL_NAT || new.forward == forward::NAT;
    let now = event::now_ms();
    let forward = &mut work.mine;
    forward.key = packet.key;
    forward.leg.state = if translate {
        state::NEW
    } else {
        state::ONE_SIDED
    };
    forward.leg.flags = if new.adopted { flags::ADOPTED } else { 0 }
        | if translate { flags::TRANSLATE } else { 0 }
        | if new.forward == forward::IPIP {
            flags::ENCAPSULATE
        } else {
            0
        };
    forward.leg.hop = server.hop;
    forward.leg.src = packet.key.src;
    forward.leg.dst = A::from_words(&server.addr);
    forward.leg.sport = packet.key.sport;
    forward.leg.dport = server.port;
    forward.leg.side = [now, signature(packet)];
    forward.leg.lane = new.lane;
    forward.isn = sequence(packet);
    forward.since_ms = now;
    forward.packets = 1;
    forward.bytes = packet.payload;
    forward.spare = 0;
    if translate {
        claim(packet, server, work, side, new.forward == forward::NAT)?;
    }
    if !insert(&work.mine) {
        if translate {
            remove(&work.other.key);
        }
        return Err(Reason::DuplicateSyn);
    }
    work.leg = work.mine.leg;
    Ok(())
}

/// The hop of the side that a packet came by.
#[inline(always)]
fn side<A>(packet: &Packet<'_, A>) -> Option<u16> {
    // SAFETY: a live map value.
    maps::SIDES
        .get_ptr(side_key(packet))
        .map(|side| unsafe { *side } as u16)
}

/// A TCP segment's sequence number.
#[inline(always)]
fn sequence<A>(packet: &Packet<'_, A>) -> u32 {
    match packet.header(at::TCP) {
        // SAFETY: `header` checked it.
        Some(l4) if packet.is_tcp() => u32::from_be(unsafe { u32_at::<{ at::TCP_SEQ }>(l4) }),
        _ => 0,
    }
}

/// Writes the reverse leg of `work.mine` into `work.other`.
#[inline(always)]
fn write_reverse<A: Family>(packet: &Packet<'_, A>, work: &mut Work<A>, side: u16) {
    let (forward, reverse) = (&work.mine, &mut work.other);
    reverse.key = forward.leg.opposite(packet.key.proto);
    reverse.leg.state = state::NEW;
    reverse.leg.flags = forward.leg.flags | flags::REVERSE;
    reverse.leg.hop = side;
    reverse.leg.src = packet.key.dst;
    reverse.leg.dst = packet.key.src;
    reverse.leg.sport = packet.key.dport;
    reverse.leg.dport = packet.key.sport;
    reverse.leg.side = client_mac(packet);
    reverse.leg.lane = forward.leg.lane;
    reverse.isn = 0;
    reverse.since_ms = forward.since_ms;
    reverse.packets = 0;
    reverse.bytes = 0;
    reverse.spare = 0;
}

/// Enters the reverse leg if nobody has its tuple: neither a half-open flow nor an established one. In this order:
/// whoever establishes one enters it there before it leaves here.
#[inline(never)]
fn claim_one<A: Family>(reverse: &Half<A>) -> bool {
    if !insert(reverse) {
        return false;
    }
    if A::flow(&reverse.key).is_some() {
        remove(&reverse.key);
        return false;
    }
    true
}

/// Enters the reverse leg in `work.other` with another port (network order); whether nobody has that.
#[inline(always)]
pub fn take<A: Family>(port: u16) -> bool {
    let Some(work) = work::<A>() else {
        return false;
    };
    work.other.key.dport = port;
    claim_one(&work.other)
}

/// Whether the flow of a client's packet, whose leg is `work.mine`, has its tuple at the server: the reverse leg may have
/// been evicted, and another flow may have taken the tuple since. If it is free it is claimed again; if not the flow is
/// forgotten, and the packet may open another.
#[inline(never)]
fn has_tuple<A: Family>(packet: &Packet<'_, A>, work: &mut Work<A>) -> bool {
    work.key = work.mine.leg.opposite(packet.key.proto);
    if look(&work.key, &mut work.other) {
        if work.other.leg.opposite(packet.key.proto) == packet.key {
            return true;
        }
    } else if let Some(side) = side(packet) {
        write_reverse(packet, work, side);
        if claim_one(&work.other) {
            return true;
        }
    }
    if remove(&packet.key) {
        balance::lane_active(work.mine.leg.lane, -1);
        count::reason(Reason::HalfOpenEvicted);
    }
    false
}

/// Claims a source address and port for a new flow's packets to the server. The port tried first follows from the
/// client's address and port, so that another node arrives at the same translation. With `keep` the client's own.
#[inline(always)]
fn claim<A: Family>(
    packet: &Packet<'_, A>,
    server: &Server,
    work: &mut Work<A>,
    side: u16,
    keep: bool,
) -> Result<(), Reason> {
    if keep {
        write_reverse(packet, work, side);
        return if claim_one(&work.other) {
            Ok(())
        } else {
            Err(Reason::TupleTaken)
        };
    }
    const TRIES: u32 = 8;
    let settings: &Settings = admit::settings();
    let ports = u32::from(settings.snat_count);
    let hash = packet.key.src.endpoint_hash(packet.key.sport);
    let first = hash::reduce(hash, ports);
    // A second hash walks away from the first try: clients that collide once do not collide again.
    let stride = (hash & 0xfff) | 1;
    work.mine.leg.src = packet.key.dst;
    if server.snat_len != 0 {
        let at = hash::reduce(hash.wrapping_mul(0x9e37_79b1), u32::from(server.snat_len));
        let Some(address) = maps::SNATS.get(server.snat_base + at) else {
            return Err(Reason::NoSnatPort);
        };
        work.mine.leg.src = A::from_words(&address.0);
    }
    write_reverse(packet, work, side);
    for i in 0..TRIES {
        let port = first + i * stride;
        let port = if ports == 0 { 0 } else { port % ports };
        let port = (settings.snat_first + port as u16).to_be();
        if !parse::is_port_of_interest(port) {
            // Something on this host listens on it: the agent leaves it out.
            continue;
        }
        if A::take(port) {
            work.mine.leg.sport = port;
            return Ok(());
        }
    }
    Err(Reason::NoSnatPort)
}

/// Empties place `way` of set `index` of what is too old.
#[inline(always)]
pub fn expire<A: Family>(index: u32, way: usize, now: u32) {
    let Some(set) = A::half_set_at(index) else {
        return;
    };
    let Some(work) = work::<A>() else {
        return;
    };
    let way = way & (WAYS - 1);
    let (old, mut taken) = (&raw mut work.mine, false);
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(
            &raw mut (*set).lock,
            #[inline(always)]
            || {
                let half = &raw mut (*set).ways[way];
                let limit = if (*half).key.proto == u32::from(proto::UDP) {
                    UNANSWERED_MS
                } else {
                    HALF_OPEN_MS
                };
                let age = now.wrapping_sub((*half).since_ms);
                if (*half).key.proto != 0 && age >= limit && age < u32::MAX / 2 {
                    copy_words(half, old);
                    taken = true;
                    (*half).key.proto = 0;
                    (*set).tags[way] = 0;
                }
            },
        );
    }
    if taken && work.mine.leg.flags & flags::REVERSE == 0 {
        balance::lane_active(work.mine.leg.lane, -1);
        event::half_ended(&work.mine, work.mine.leg.state);
        count::reason(Reason::HalfOpenExpired);
    }
}
