//! Step 2, flow: a packet of a known flow is on the hot path (one look-up, no lock, no clock read); one of no flow
//! goes through the steps that may open one.

use lb_common::{
    counter::Reason,
    flow::{Flow, Hop, SideKey, flags, side_signature},
    hash,
    service::{Server, Service},
    tcp::{self, flag, state},
};

use crate::{
    admit, balance, count, event,
    family::Family,
    lock, maps,
    packet::{Hook, at, u16_at, u32_at},
    parse,
    plan::{Packet, Plan, Stop},
    service,
};

/// What is to be done with a parsed packet.
#[inline(always)]
pub fn plan<A: Family>(packet: &Packet<A>, hook: &impl Hook) -> Result<Plan<A>, Stop> {
    if let Some(flow) = A::flow(&packet.key) {
        // SAFETY: a live map value. Other CPUs may write to it at the same time; every field is read or written whole
        // and none is trusted to stay.
        let flow = unsafe { &mut *flow };
        if packet.ttl <= 1 {
            return Err(Stop::Drop(Reason::TtlExceeded));
        }
        if packet.flags & flag::CONTROL == 0 && tcp::is_established(flow.state) {
            return known(packet, flow);
        }
        if hook.step_state()? {
            return known(packet, flow);
        }
    }
    let new = hook.choose()?;
    hook.open(new)?;
    let Some(flow) = A::flow(&packet.key) else {
        return Err(Stop::Drop(Reason::HalfMissing));
    };
    // SAFETY: as above.
    known(packet, unsafe { &mut *flow })
}

/// The Plan for a packet of a flow.
#[inline(always)]
fn known<A: Family>(packet: &Packet<A>, flow: &mut Flow<A>) -> Result<Plan<A>, Stop> {
    let reverse = flow.flags & flags::REVERSE != 0;
    let Some(hop) = maps::HOPS.get(u32::from(flow.hop)) else {
        return Err(Stop::Drop(Reason::HopLost));
    };
    if hop.flags & Hop::USABLE == 0 {
        return Err(Stop::Drop(Reason::HopLost));
    }
    flow.last = now_ticks();
    flow.packets += 1;
    flow.bytes += u64::from(packet.payload);
    count::lane(flow.lane, !reverse, packet.payload);
    let dst_mac = if reverse {
        (flow.side[0], flow.side[1] as u16)
    } else {
        if flow.flags & flags::TRANSLATE != 0 && flow.side[1] != signature(packet) {
            relearn(packet, flow);
        }
        (hop.dst_mac_low, hop.dst_mac_high)
    };
    Ok(Plan {
        translate: (flow.flags & flags::TRANSLATE != 0)
            .then_some((flow.src, flow.dst, flow.sport, flow.dport)),
        dst_mac,
        src_mac: (hop.src_mac_low, hop.src_mac_high),
        ifindex: hop.ifindex,
        to_server: !reverse,
    })
}

/// A segment that may change the flow's state, which the forward entry holds. `false`: the flow was over and has been
/// removed, the packet may open a new one.
#[inline(always)]
pub fn step_state<A: Family>(packet: &Packet<A>) -> Result<bool, Stop> {
    let Some(flow) = A::flow(&packet.key) else {
        return Err(Stop::Drop(Reason::HalfMissing));
    };
    // SAFETY: a live map value, as in `plan`.
    let flow = unsafe { &mut *flow };
    let from_client = flow.flags & flags::REVERSE == 0;
    let opposite = if flow.flags & flags::TRANSLATE != 0 {
        match A::flow(&flow.opposite(packet.key.proto)) {
            Some(other) => other,
            None if !from_client => return Err(Stop::Drop(Reason::HalfMissing)),
            None => core::ptr::null_mut(),
        }
    } else {
        core::ptr::null_mut()
    };
    let forward: *mut Flow<A> = if from_client { flow } else { opposite };
    if forward.is_null() {
        return Err(Stop::Drop(Reason::HalfMissing));
    }
    let reopen = from_client && packet.flags & (flag::CONTROL | flag::ACK) == flag::SYN;
    // SAFETY: not null, so a live map value.
    let states = unsafe { advance(forward, from_client, reopen, packet.flags, packet.payload) };
    let (old, new) = ((states >> 8) as u8, states as u8);
    let ends = states & TELL != 0;
    if old & state::GONE != 0 {
        return Err(Stop::Drop(Reason::HalfMissing));
    }
    if reopen && tcp::is_over(old) {
        remove(packet, flow, Reason::FlowReopened);
        return Ok(false);
    }
    if !from_client && (old ^ new) & state::ANSWERED != 0 {
        // SAFETY: a live map value.
        let opened = unsafe { (*forward).side[0] };
        flow.side[1] = flow.side[1] & 0xffff | event::answered_word(opened);
    }
    if ends {
        // SAFETY: a live map value, not null.
        let forward = unsafe { &*forward };
        let (key, reverse) = if from_client {
            (packet.key, opposite.cast_const())
        } else {
            (flow.opposite(packet.key.proto), core::ptr::from_ref(flow))
        };
        let last = if from_client {
            (packet.payload, 0)
        } else {
            (0, packet.payload)
        };
        event::ended(&key, forward, reverse, new, last);
    }
    if tcp::is_closing(old) != tcp::is_closing(new) {
        lane_active(flow.lane, if tcp::is_closing(new) { -1 } else { 1 });
    }
    if from_client {
        if !opposite.is_null() {
            // SAFETY: a live map value; one byte, and only a hint.
            unsafe { (*opposite).state = new };
        }
    } else {
        flow.state = new;
    }
    Ok(true)
}

/// Bit of [`advance`]'s result: the flow has ended just now.
const TELL: u64 = 1 << 16;

/// Takes a forward entry from its state to the next under its lock, and returns both, `old << 8 | new`, and [`TELL`]. A flow that is
/// over and shall be opened anew, or one that is being removed already, stays as it was but for [`state::GONE`].
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
            let old = (*forward).state;
            let new = if old & state::GONE != 0 {
                old
            } else if reopen && tcp::is_over(old) {
                old | state::GONE
            } else {
                tcp::next(old, from_client, flags, payload != 0)
            };
            (*forward).state = new;
            let told = (*forward).flags & flags::TOLD;
            let tell = tcp::is_over(new) && told == 0;
            if tell {
                (*forward).flags |= flags::TOLD;
            }
            (if tell { TELL } else { 0 }) | u64::from(old) << 8 | u64::from(new)
        })
    }
}

/// Adds to the active flows of a lane's server.
#[inline(always)]
pub fn lane_active(lane: u32, n: i32) {
    if let Some(lane) = maps::LANES.get(lane) {
        balance::active(lane.server, n);
    }
}

/// Removes a flow that is over, found by its forward entry.
#[inline(always)]
fn remove<A: Family>(packet: &Packet<A>, forward: &Flow<A>, reason: Reason) {
    let opposite = forward.opposite(packet.key.proto);
    let two = forward.flags & flags::TRANSLATE != 0;
    if A::remove(&packet.key) {
        if two {
            A::remove(&opposite);
        }
        count::flows(1u64.wrapping_neg());
        count::reason(reason);
    }
}

/// What is known of a new flow once its server is chosen.
pub struct New {
    /// Its lane.
    pub lane: u32,
    /// How it is forwarded, [`lb_common::service::forward`].
    pub forward: u8,
    /// Whether it is dropped if it cannot be taken after all.
    pub drop_overflow: bool,
}

/// Steps 3 to 6 for a packet of no flow: finds its service, admits it, and chooses a server, on which it counts as
/// active from now on.
#[inline(always)]
pub fn choose<A: Family>(packet: &Packet<A>, hook: &impl Hook) -> Result<New, Stop> {
    let service = service::find(packet, hook)?;
    // Copied at once: the agent's next write of any service may reuse the entry that its last one replaced.
    // SAFETY: a live map value.
    let service = &unsafe { service.read() };
    admit::admit(packet, service, hook)?;
    // A time to live that ends here ends at this host's own stack.
    if packet.ttl <= 1 {
        return Err(Stop::Up(Reason::TtlExceededUp));
    }
    let drop_overflow = service.flags & Service::DROP_OVERFLOW != 0;
    let Some(lane) = balance::choose(packet, service) else {
        return Err(admit::overflow(drop_overflow, Reason::NoServer));
    };
    Ok(New {
        lane,
        forward: service.forward,
        drop_overflow,
    })
}

/// Enters a new flow into the table, or takes back that it counts as active.
#[inline(always)]
pub fn open<A: Family>(packet: &Packet<A>, new: &New) -> Result<(), Stop> {
    let reason = match enter(packet, new) {
        Ok(()) => {
            count::opened(new.lane);
            return Ok(());
        }
        Err(reason) => reason,
    };
    lane_active(new.lane, -1);
    Err(if matches!(reason, Reason::DuplicateSyn) {
        Stop::Drop(reason)
    } else {
        admit::overflow(new.drop_overflow, reason)
    })
}

/// Enters the flow into the table: for one that is translated the reverse entry first, whose insertion claims the
/// source port.
#[inline(always)]
fn enter<A: Family>(packet: &Packet<A>, new: &New) -> Result<(), Reason> {
    let Some(side) = maps::SIDES.get_ptr(side_key(packet)) else {
        return Err(Reason::NoSide);
    };
    // SAFETY: a live map value.
    let side = unsafe { *side };
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
    let opened = event::now_ms();
    let key = packet.key;
    let mut forward = Flow {
        lock: Default::default(),
        state: state::ONE_SIDED,
        flags: 0,
        hop: server.hop,
        src: key.src,
        dst: A::from_words(&server.addr),
        sport: key.sport,
        dport: server.port,
        side: [opened, signature(packet)],
        lane: new.lane,
        last: now_ticks(),
        packets: 0,
        bytes: 0,
    };
    if new.forward == lb_common::service::forward::FULL_NAT {
        forward.state = state::NEW;
        forward.flags = flags::TRANSLATE;
        let reverse = Flow {
            flags: flags::REVERSE | flags::TRANSLATE,
            hop: side as u16,
            src: key.dst,
            dst: key.src,
            sport: key.dport,
            dport: key.sport,
            side: client_mac(packet),
            ..forward
        };
        claim(
            server,
            &mut forward,
            &reverse,
            key.proto,
            key.src.endpoint_hash(key.sport),
        )?;
    }
    match A::insert(&key, &forward) {
        Ok(()) => Ok(()),
        Err(error) => {
            if forward.flags & flags::TRANSLATE != 0 {
                A::remove(&forward.opposite(key.proto));
            }
            Err(if error == -EEXIST {
                Reason::DuplicateSyn
            } else {
                Reason::TableFull
            })
        }
    }
}

const EEXIST: i32 = 17;

/// Claims a source address and port for `forward` by inserting `reverse`, which must not exist yet. The port tried
/// first follows from the client's address and port, so that another node arrives at the same translation.
#[inline(always)]
fn claim<A: Family>(
    server: &Server,
    forward: &mut Flow<A>,
    reverse: &Flow<A>,
    proto: u32,
    hash: u32,
) -> Result<(), Reason> {
    const TRIES: u32 = 8;
    let settings = admit::settings();
    let ports = u32::from(settings.snat_count);
    let first = hash::reduce(hash, ports);
    // A second hash walks away from the first try: clients that collide once do not collide again.
    let stride = (hash & 0xfff) | 1;
    for i in 0..TRIES {
        let port = first + i * stride;
        let port = if ports == 0 { 0 } else { port % ports };
        let port = settings.snat_first + port as u16;
        if !parse::is_port_of_interest(port.to_be()) {
            // Something on this host listens on it: the agent leaves it out.
            continue;
        }
        if server.snat_len != 0 {
            let at = hash::reduce(hash.wrapping_mul(0x9e37_79b1), u32::from(server.snat_len));
            let Some(address) = maps::SNATS.get(server.snat_base + at) else {
                return Err(Reason::NoSnatPort);
            };
            forward.src = A::from_words(&address.0);
        }
        forward.sport = port.to_be();
        match A::insert(&forward.opposite(proto), reverse) {
            Ok(()) => return Ok(()),
            Err(error) if error == -EEXIST => {}
            Err(_) => return Err(Reason::TableFull),
        }
    }
    Err(Reason::NoSnatPort)
}

/// The client has moved to another interface, tag or MAC address: replies follow it.
#[inline(always)]
fn relearn<A: Family>(packet: &Packet<A>, forward: &mut Flow<A>) {
    let Some(reverse) = A::flow(&forward.opposite(packet.key.proto)) else {
        return;
    };
    let Some(side) = maps::SIDES.get_ptr(side_key(packet)) else {
        return;
    };
    forward.side[1] = signature(packet);
    // SAFETY: live map values, as in `plan`.
    unsafe {
        let [low, high] = client_mac(packet);
        (*reverse).side = [low, (*reverse).side[1] & 0xffff_0000 | high];
        (*reverse).hop = *side as u16;
    }
    count::reason(Reason::SideRelearnt);
}

#[inline(always)]
fn side_key<A>(packet: &Packet<A>) -> SideKey {
    SideKey {
        ifindex: packet.ifindex,
        outer_tag: 0,
        inner_tag: 0,
    }
}

#[inline(always)]
fn signature<A>(packet: &Packet<A>) -> u32 {
    let [low, high] = client_mac(packet);
    side_signature(low, high as u16, packet.ifindex, 0)
}

/// The sender's MAC address and two zero bytes.
#[inline(always)]
fn client_mac<A>(packet: &Packet<A>) -> [u32; 2] {
    // SAFETY: parse checked the Ethernet header.
    unsafe {
        [
            u32_at::<{ at::ETH_SRC }>(packet.eth),
            u32::from(u16_at::<{ at::ETH_SRC + 4 }>(packet.eth)),
        ]
    }
}

#[inline(always)]
fn now_ticks() -> u32 {
    // SAFETY: a live map value.
    maps::CLOCK.get_ptr(0).map_or(0, |tick| unsafe { *tick })
}
