//! Step 3, service: is the destination one of ours?

use lb_common::{
    abi::Settings,
    counter::Reason,
    service::{Service, ServiceKey},
    tcp::flag,
};

use crate::{
    admit, claim,
    family::Family,
    packet::Hook,
    parse,
    plan::{Packet, Stop},
};

/// The service that a packet of no known flow is for.
#[inline(always)]
pub fn find<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> Result<*const Service, Stop> {
    let key = ServiceKey {
        addr: packet.key.dst,
        port: packet.key.dport,
        proto: packet.key.proto as u16,
    };
    match A::service(&key) {
        Some(service) if !is_everywhere(service) => Ok(service),
        _ if may_have_come(packet, hook) => Err(Stop::drop(Reason::Settling)),
        _ => Err(stranger(packet, hook)),
    }
}

/// Whether an entry is no service of an address.
#[inline(always)]
fn is_everywhere(service: *const Service) -> bool {
    // SAFETY: a live map value.
    unsafe { (*service).flags & Service::EVERYWHERE != 0 }
}

/// Whether a packet is a segment in mid-connection, of which another node may know, to a port that a frontend has at every
/// address.
#[inline(always)]
fn is_for_everywhere<A: Family>(packet: &Packet<'_, A>) -> bool {
    // Where there is none that is all it costs.
    if admit::settings().flags & Settings::EVERYWHERE == 0
        || !packet.is_tcp()
        || packet.flags & (flag::CONTROL | flag::ACK) != flag::ACK
    {
        return false;
    }
    let key = ServiceKey {
        addr: A::default(),
        port: packet.key.dport,
        proto: packet.key.proto as u16,
    };
    A::service(&key).is_some_and(is_everywhere)
}

/// Whether a segment in mid-connection is for an address of this host that the agent has not entered yet, as in the
/// milliseconds after a failover, and for a frontend that can compute its server. The host would reset the connection;
/// unanswered, its client sends the segment again, and finds the service.
#[inline(always)]
fn may_have_come<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> bool {
    is_for_everywhere(packet)
        && claim::is_for_host(packet)
        // SAFETY: the program's own context.
        && unsafe { A::is_local(packet, hook.raw()) }
        && !admit::has_socket(packet, hook)
}

/// Whether a packet of no established flow is surely none of ours: for no service, and from no server. Asked on the
/// quick way, so that a host's own traffic on a service's port costs little.
#[inline(always)]
pub fn is_stranger<A: Family>(packet: &Packet<'_, A>) -> bool {
    let key = ServiceKey {
        addr: packet.key.dst,
        port: packet.key.dport,
        proto: packet.key.proto as u16,
    };
    !parse::may_be_reply(packet.key.sport, packet.key.dport)
        && A::service(&key).is_none()
        && !is_for_everywhere(packet)
}

/// A packet to no service: a reply to one of our source NAT ports without a flow is not answered with a reset, so that
/// after a failover the client's next segment can rebuild the flow. All else is the host's.
#[inline(always)]
fn stranger<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> Stop {
    let source = ServiceKey {
        addr: packet.key.src,
        port: packet.key.sport,
        proto: packet.key.proto as u16,
    };
    let settings = admit::settings();
    let port = u16::from_be(packet.key.dport).wrapping_sub(settings.snat_first);
    if port < settings.snat_count && A::is_real(&source) && !admit::has_socket(packet, hook) {
        return Stop::drop(Reason::StrayReply);
    }
    Stop::up(Reason::NotForUs)
}
