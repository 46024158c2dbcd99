//! Step 4, admit: may this packet open a flow?

use lb_common::{abi::Settings, counter::Reason, service::Service, tcp::flag};

use crate::{
    family::Family,
    maps,
    packet::Hook,
    plan::{Packet, Stop},
};

const NO_SETTINGS: Settings = Settings {
    abi: 0,
    flags: Settings::DRAINING,
    admit_below: 0,
    snat_first: 0,
    snat_count: 0,
};

/// What the agent has set.
#[inline(always)]
pub fn settings() -> &'static Settings {
    maps::SETTINGS.get(0).unwrap_or(&NO_SETTINGS)
}

/// Whether this host has a socket for the packet's tuple that is not a listener.
#[inline(always)]
pub fn has_socket<A: Family>(packet: &Packet<A>, hook: &impl Hook) -> bool {
    // SAFETY: the program's own context.
    unsafe { A::has_socket(&packet.key, hook.raw()) }
}

/// Lets a SYN through that the kernel may take; anything else of no known flow is stopped here.
#[inline(always)]
pub fn admit<A: Family>(
    packet: &Packet<A>,
    service: &Service,
    hook: &impl Hook,
) -> Result<(), Stop> {
    let settings = settings();
    let drop_overflow = service.flags & Service::DROP_OVERFLOW != 0;
    if has_socket(packet, hook) {
        return Err(Stop::Up(Reason::UserspaceOwned));
    }
    if packet.flags & (flag::CONTROL | flag::ACK) != flag::SYN {
        return Err(if settings.flags & Settings::SETTLING != 0 {
            Stop::Drop(Reason::Settling)
        } else {
            Stop::Up(Reason::NoFlow)
        });
    }
    if settings.flags & Settings::DRAINING != 0 {
        return Err(overflow(drop_overflow, Reason::Draining));
    }
    // SAFETY: a live map value.
    let flows = maps::FLOW_COUNT
        .get_ptr(0)
        .map_or(u64::MAX, |count| unsafe { *count });
    if flows >= u64::from(settings.admit_below) {
        return Err(overflow(drop_overflow, Reason::TableFull));
    }
    Ok(())
}

/// A new flow that the kernel cannot take for `reason`: up, or dropped where the service says so.
#[inline(always)]
pub fn overflow(drop: bool, reason: Reason) -> Stop {
    if drop {
        Stop::Drop(Reason::OverflowDropped)
    } else {
        Stop::Up(reason)
    }
}
