//! Step 3, service: is the destination one of ours?

use lb_common::{
    counter::Reason,
    service::{Service, ServiceKey},
};

use crate::{
    admit,
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
        Some(service) => Ok(service),
        None => Err(stranger(packet, hook)),
    }
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
    !parse::may_be_reply(packet.key.sport, packet.key.dport) && A::service(&key).is_none()
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
