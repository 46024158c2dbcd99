//! A new flow's legs are entered among half-open ones, and with them its tuple at the server is claimed.

use lb_common::{
    abi::Settings,
    counter::Reason,
    flow::{Half, Hop, flags, mac_key},
    hash,
    service::{Server, forward},
    tcp::{self, state},
};

use crate::{
    admit, balance, close, count, event,
    family::Family,
    flow::{client_mac, side_key, signature},
    maps,
    packet::{at, u16_at, u32_at},
    parse,
    plan::{Packet, Stop},
    sets::{insert, look, remove},
    work::{Work, work},
};

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
    if matches!(reason, Reason::OtherStation) {
        return Err(Stop::up(reason));
    }
    if matches!(reason, Reason::DuplicateSyn) {
        return Err(if A::flow(&packet.key).is_some() {
            Stop::AGAIN
        } else {
            Stop::drop(reason)
        });
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
    if !is_own(packet, side) {
        return Err(Reason::OtherStation);
    }
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
    // In this order: whoever establishes a flow enters it there before it leaves here, so that one that was established
    // after this packet had looked for it is seen now.
    let entered = insert(&work.mine);
    if !entered || A::flow(&packet.key).is_some() {
        if entered {
            remove(&work.mine.key);
        }
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

/// [`is_own`], for a packet whose side is not known yet.
#[inline(always)]
pub fn is_for_host<A>(packet: &Packet<'_, A>) -> bool {
    side(packet).is_some_and(|side| is_own(packet, side))
}

/// Whether a packet's frame is for this host: for the interface that it came in by, as nearly all are, or for one above
/// or beside it, such as the virtual router's of VRRP (RFC 9568 section 7.3).
#[inline(always)]
fn is_own<A>(packet: &Packet<'_, A>, side: u16) -> bool {
    // SAFETY: parse checked the Ethernet header.
    let (low, high) = unsafe { (u32_at::<0>(packet.eth()), u16_at::<4>(packet.eth())) };
    maps::HOPS
        .get(u32::from(side))
        .is_some_and(|hop| hop.src_mac_low == low && hop.src_mac_high == high)
        || maps::MACS.get_ptr(mac_key(low, high)).is_some()
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

/// The same, if the port's flow is over and only lingers: where all others are taken that is better than none. A server
/// that still waits out its last packets judges the new SYN by itself (RFC 6191), as it does without a balancer.
#[inline(always)]
pub fn take_over<A: Family>(port: u16) -> bool {
    let Some(work) = work::<A>() else {
        return false;
    };
    work.other.key.dport = port;
    let Some(reverse) = A::flow(&work.other.key) else {
        return claim_one(&work.other);
    };
    // SAFETY: a live map value; what the state mirrors is looked at again under its lock.
    let leg = unsafe { &(*reverse).leg };
    if !tcp::is_over(leg.state) {
        return false;
    }
    work.key = leg.opposite(work.other.key.proto);
    close::free_over(&work.key) && claim_one(&work.other)
}

/// Whether the flow of a client's packet, whose leg is `work.mine`, has its tuple at the server: the reverse leg may have
/// been evicted, and another flow may have taken the tuple since. If it is free it is claimed again; if not the flow is
/// forgotten, and the packet may open another.
#[inline(never)]
pub fn has_tuple<A: Family>(packet: &Packet<'_, A>, work: &mut Work<A>) -> bool {
    work.key = work.mine.leg.opposite(packet.key.proto);
    if look(&work.key, &mut work.other) {
        if work.other.leg.opposite(packet.key.proto) == packet.key {
            return true;
        }
    } else if let Some(side) = side(packet) {
        write_reverse(packet, work, side);
        // As young as its packet: the oldest of its set is to make room, as it was judged before.
        work.other.since_ms = event::now_ms();
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
        if claim_one(&work.other) {
            return Ok(());
        }
        // A flow of this very client may have left it behind when it was evicted.
        work.key = work.other.key;
        let own = look(&work.key, &mut work.other)
            && work.other.leg.opposite(packet.key.proto) == packet.key
            && remove(&work.key);
        write_reverse(packet, work, side);
        return if own && claim_one(&work.other) {
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
    for i in 0..2 * TRIES {
        let port = first + (i & (TRIES - 1)) * stride;
        let port = if ports == 0 { 0 } else { port % ports };
        let port = (settings.snat_first + port as u16).to_be();
        if !parse::is_port_of_interest(port) {
            // Something on this host listens on it: the agent leaves it out.
            continue;
        }
        if A::take(port, i >= TRIES) {
            work.mine.leg.sport = port;
            return Ok(());
        }
    }
    Err(Reason::NoSnatPort)
}
