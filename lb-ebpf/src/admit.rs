//! Step 4, admit: may this packet open a flow?

use lb_common::{
    abi::Settings,
    counter::Reason,
    service::{Service, sockets},
    tcp::flag,
};

use crate::{
    count, event,
    family::Family,
    maps,
    packet::Hook,
    plan::{Packet, Part, Stop},
};

const NO_SETTINGS: Settings = Settings {
    seed: 0,
    abi: 0,
    flags: Settings::DRAINING,
    admit_below: [0; 2],
    half_mask4: 0,
    half_mask6: 0,
    bucket_mask: 0,
    new_flows_per_source: 0,
    snat_first: 0,
    snat_count: 0,
    spare: 0,
};

/// What the agent has set.
#[inline(always)]
pub fn settings() -> &'static Settings {
    maps::SETTINGS.get(0).unwrap_or(&NO_SETTINGS)
}

/// From how many flows on new ones of a family are refused.
#[inline(always)]
pub fn admit_below<A: Family>() -> u64 {
    u64::from(settings().admit_below[A::COUNT as usize])
}

/// Whether this host has a socket for the packet's tuple that is not a listener.
#[inline(always)]
pub fn has_socket<A: Family>(packet: &Packet<'_, A>, hook: &impl Hook) -> bool {
    // SAFETY: the program's own context.
    unsafe { A::has_socket(&packet.key, hook.raw()) }
}

/// Whether this host may have connections of a service.
#[inline(always)]
fn may_have_sockets(service: u32) -> bool {
    // SAFETY: a live map value.
    maps::SOCKETS
        .get_ptr(service)
        .is_none_or(|state| unsafe { *state } != sockets::NONE)
}

/// A packet to a service goes up: from now on this host may have a connection of it.
#[inline(always)]
pub fn passed_up(service: u32) {
    if let Some(state) = maps::SOCKETS.get_ptr_mut(service) {
        // SAFETY: a live map value. Written only where it changes, since all CPUs read it.
        unsafe {
            if *state != sockets::MAYBE {
                *state = sockets::MAYBE;
            }
        }
    }
}

/// Lets a first packet through that the kernel may take; anything else of no known flow is stopped here. `true` for a
/// segment in mid-connection of which another node may know: its server can be computed.
#[inline(always)]
pub fn admit<A: Family>(
    packet: &Packet<'_, A>,
    service: &Service,
    hook: &impl Hook,
) -> Result<bool, Stop> {
    let settings = settings();
    let drop_overflow = service.flags & Service::DROP_OVERFLOW != 0;
    if packet.part != Part::Whole {
        return Err(Stop::up(Reason::Fragment));
    }
    if settings.flags & A::DENY != 0 && packet.key.src.is_denied() {
        return Err(Stop::drop(Reason::Denied));
    }
    if packet.key.src.is_martian() {
        return Err(Stop::up(Reason::MartianSource));
    }
    if may_have_sockets(service.id) && has_socket(packet, hook) {
        return Err(Stop::up(Reason::UserspaceOwned));
    }
    let flags = packet.flags & (flag::CONTROL | flag::ACK);
    let first = !packet.is_tcp() || flags == flag::SYN;
    if !first && A::flow(&packet.key).is_some() {
        return Err(Stop::AGAIN);
    }
    if !first && (flags != flag::ACK || service.flags & Service::STATELESS == 0) {
        return Err(if settings.flags & Settings::SETTLING != 0 {
            Stop::drop(Reason::Settling)
        } else {
            Stop::up(Reason::NoFlow)
        });
    }
    if settings.flags & Settings::DRAINING != 0 {
        return Err(overflow(drop_overflow, Reason::Draining));
    }
    if count::all_flows::<A>() >= admit_below::<A>() {
        return Err(overflow(drop_overflow, Reason::TableFull));
    }
    if settings.new_flows_per_source != 0 && !has_token(packet, settings) {
        return Err(Stop::drop(Reason::RateLimited));
    }
    Ok(!first)
}

/// Takes a token of the packet's source, if it has one. A second's worth can be saved up. Sources that share a bucket
/// share its tokens. Two CPUs that write at the same moment lose one of two takings, no more.
#[inline(always)]
fn has_token<A: Family>(packet: &Packet<'_, A>, settings: &Settings) -> bool {
    let at = packet.key.src.bucket_hash(settings.seed) & settings.bucket_mask;
    let Some(bucket) = maps::BUCKETS.get_ptr_mut(at) else {
        return true;
    };
    /// Of a token, so that one millisecond's worth is a whole number.
    const PARTS: u64 = 1000;
    let now = event::now_ms();
    let rate = u64::from(settings.new_flows_per_source);
    // SAFETY: a live map value; one word, read and written whole.
    let old = unsafe { *bucket };
    // A bucket that was never looked at is full: the first look is as if it had been a long time ago.
    let passed = if old == 0 {
        PARTS
    } else {
        u64::from(now.wrapping_sub((old >> 32) as u32))
    };
    let most = rate * PARTS;
    let passed = if passed > PARTS { PARTS } else { passed };
    let saved = (old & 0xffff_ffff) + passed * rate;
    let saved = if saved > most { most } else { saved };
    let granted = saved >= PARTS;
    let left = if granted { saved - PARTS } else { saved };
    // SAFETY: as above.
    unsafe { *bucket = u64::from(now) << 32 | (left & 0xffff_ffff) };
    granted
}

/// A new flow that the kernel cannot take for `reason`: up, or dropped where the service says so.
#[inline(always)]
pub fn overflow(drop: bool, reason: Reason) -> Stop {
    if drop {
        Stop::drop(Reason::OverflowDropped)
    } else {
        Stop::up(reason)
    }
}
