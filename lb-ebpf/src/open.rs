//! A packet of no flow: its service, whether it is admitted, and which server it gets.

use lb_common::{counter::Reason, service::Service};

use crate::{
    admit, balance,
    claim::New,
    family::Family,
    packet::Hook,
    plan::{Kind, Packet, Stop},
    service,
};

/// Finds the packet's service, admits it, and chooses a server, on which it counts as active from now on.
#[inline(always)]
pub fn choose<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> Result<New, Stop> {
    let service = service::find(packet, hook)?;
    // Copied at once: the agent's next write of any service may reuse the entry that its last one replaced.
    // SAFETY: a live map value.
    let service = &unsafe { service.read() };
    let chosen = for_service(packet, service, hook);
    if let Err(stop) = chosen
        && stop.kind() == Kind::Up
    {
        admit::passed_up(service.id);
    }
    chosen
}

#[inline(always)]
fn for_service<A: Family>(
    packet: &Packet<'_, A>,
    service: &Service,
    hook: &impl Hook,
) -> Result<New, Stop> {
    let adopted = admit::admit(packet, service, hook)?;
    // A time to live that ends here ends at this host's own stack.
    if packet.ttl <= 1 {
        return Err(Stop::up(Reason::TtlExceededUp));
    }
    let drop_overflow = service.flags & Service::DROP_OVERFLOW != 0;
    let Some(lane) = balance::choose(packet, service) else {
        return Err(admit::overflow(drop_overflow, Reason::NoServer));
    };
    Ok(New {
        service: service.id,
        lane,
        forward: service.forward,
        drop_overflow,
        adopted,
    })
}
