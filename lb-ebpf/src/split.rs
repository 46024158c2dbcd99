//! Global functions, so that a packet's way is not one walk for the verifier.
//!
//! Linux 5.10 refuses a program in which it would have to follow more than a million instructions, and every branch of one
//! step multiplies the paths through all later ones. A global function is walked once, by itself and for any arguments
//! (since 5.6), and its callers go on from a number of which nothing is known: what would multiply adds up. On 5.10 its
//! arguments are numbers and the program's context, no pointers; hence what one leaves for the next lies in a map
//! ([`crate::work`]). The quick way is one as well, so that its stack is not below the others'. There is a set of them for
//! each hook and family.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    programs::{TcContext, XdpContext},
};
use lb_common::{
    counter::Reason,
    flow::{V4, V6},
};

use crate::{
    claim::{self, New},
    close,
    family::Family,
    flow::{self, Found},
    half, icmp, open,
    packet::Hook,
    parse,
    plan::{Kind, Packet, Stop},
    reap, reset, sets, too_big,
    work::{room, work},
};

/// What a function says that found nothing to stop the packet for; what is above is a [`Stop::code`]. Nothing was found.
const NOTHING: u32 = 0;
/// A leg of a half-open flow, left in [`crate::work::Work::leg`].
const LEG: u32 = 1;
/// An established flow.
const ESTABLISHED: u32 = 2;
/// A half-open flow that is proven, or has ended; its place is in [`crate::work::Work::mine`].
const PROVEN: u32 = 3;
const ENDED: u32 = 4;

/// Bits of a packed [`New`]; no code has [`CHOSEN`].
const DROP_OVERFLOW: u64 = 1 << 40;
const ADOPTED: u64 = 1 << 42;
const CHOSEN: u64 = 1 << 41;
const SERVICE_SHIFT: u32 = 43;

macro_rules! functions {
    ($hook:ty, $ctx:ty, $new:expr, $family:ty:
     $slow:ident, $parse:ident, $known:ident, $half:ident, $choose:ident, $open:ident, $send:ident, $note:ident,
     $reset:ident, $about:ident, $icmp:ident, $too_big:ident, $room:ident, $promote:ident, $end:ident) => {
        /// The slow way of a packet: what becomes of it. One that is `noted` is of no established flow. Inlined where packets come in, and without a packet of its own,
        /// so that below each of the functions it calls there is hardly any stack.
        #[inline(always)]
        pub fn $slow(ctx: *mut $ctx, noted: bool) -> u32 {
            let mut code = NOTHING;
            if !noted {
                code = $parse(ctx);
                if code == NOTHING {
                    code = $known(ctx);
                }
            }
            if code == NOTHING {
                code = $half(ctx);
                if code == ENDED {
                    code = $end(room::PACKET);
                } else if code == PROVEN {
                    code = $promote();
                    $room();
                    if code == ESTABLISHED {
                        // What else the segment says of the flow it has just established: FIN, perhaps.
                        code = $known(ctx);
                    }
                } else if code == NOTHING {
                    let new = $choose(ctx);
                    code = if new & CHOSEN != 0 {
                        $open(ctx, new)
                    } else {
                        new as u32
                    };
                    if Stop::from_code(code) == Stop::AGAIN {
                        code = $known(ctx);
                        if code == NOTHING {
                            // Gone once more: what little is left of it is the host's.
                            code = Stop::up(Reason::NoFlow).code();
                        }
                    }
                }
            }
            if code == LEG || code == ESTABLISHED {
                code = $send(ctx, code);
            }
            let mut stop = Stop::from_code(code);
            if stop == Stop::ICMP {
                let found = $about(ctx);
                stop = Stop::from_code(if found == LEG { $icmp(ctx) } else { found });
            } else if stop == Stop::RESET {
                stop = Stop::from_code($reset(ctx));
            } else if let Some(mtu) = stop.fits() {
                stop = Stop::from_code($too_big(ctx, mtu));
            }
            if crate::notes() && stop.kind() != Kind::Done {
                $note(ctx, stop.code());
            }
            crate::finish(stop, &$new(ctx))
        }

        /// Reads the packet's headers for the functions after this one.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $parse(ctx: *mut $ctx) -> u32 {
            parse::<$family>(&$new(ctx))
        }

        /// Takes the packet's established flow from state to state.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $known(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| flow::known(packet),
            ) {
                Ok(true) => ESTABLISHED,
                Ok(false) => NOTHING,
                Err(stop) => stop.code(),
            }
        }

        /// Looks for the packet's flow among half-open ones.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $half(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| half::step(packet),
            ) {
                Ok(Found::Nothing) => NOTHING,
                Ok(Found::Leg) => LEG,
                Ok(Found::Established) => ESTABLISHED,
                Ok(Found::Proven) => PROVEN,
                Ok(Found::Ended) => ENDED,
                Err(stop) => stop.code(),
            }
        }

        /// Chooses a server for the packet.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $choose(ctx: *mut $ctx) -> u64 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| open::choose(packet, &hook),
            ) {
                Ok(new) => pack(&new),
                Err(stop) => stop.code().into(),
            }
        }

        /// Opens a flow for the packet; `new` comes from the function before.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $open(ctx: *mut $ctx, new: u64) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| claim::open(packet, &unpack(new)),
            ) {
                Ok(()) => LEG,
                Err(stop) => stop.code(),
            }
        }

        /// Sends the packet on, by what was found.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $send(ctx: *mut $ctx, found: u32) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| flow::send(packet, found == ESTABLISHED, &hook),
            ) {
                Ok(verdict) => Stop::done(verdict).code(),
                Err(stop) => stop.code(),
            }
        }

        /// Tells of a packet that is not sent on.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $note(ctx: *mut $ctx, code: u32) -> u32 {
            let hook = $new(ctx);
            let _ = with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| {
                    crate::tell(&hook, packet, Stop::from_code(code));
                    Ok(())
                },
            );
            NOTHING
        }

        /// Turns a segment of a flow being reset.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $reset(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| Err::<(), Stop>(reset::segment(packet, &hook)),
            ) {
                Ok(()) => NOTHING,
                Err(stop) => stop.code(),
            }
        }

        /// Finds the flow that an ICMP error is about.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $about(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match parse::ethernet_with_tags(&hook).and_then(
                #[inline(always)]
                |l2| icmp::find::<$family>(&hook, &l2),
            ) {
                Ok(()) => LEG,
                Err(stop) => stop.code(),
            }
        }

        /// Sends an ICMP error on to whom it concerns.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $icmp(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match parse::ethernet_with_tags(&hook) {
                Ok(l2) => icmp::send::<$family>(&hook, &l2).code(),
                Err(stop) => stop.code(),
            }
        }

        /// Tells the packet's sender what fits.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $too_big(ctx: *mut $ctx, mtu: u32) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(
                &hook,
                #[inline(always)]
                |packet| Err::<(), Stop>(too_big::answer(packet, mtu, &hook)),
            ) {
                Ok(()) => NOTHING,
                Err(stop) => stop.code(),
            }
        }
    };
}

functions!(XdpContext, xdp_md, XdpContext::new, V4:
    lb_xdp_slow4, lb_xdp_parse4, lb_xdp_known4, lb_xdp_half4, lb_xdp_choose4, lb_xdp_open4, lb_xdp_send4, lb_xdp_note4, lb_xdp_reset4, lb_xdp_about4, lb_xdp_icmp4, lb_xdp_too_big4, lb_room4, lb_promote4, lb_end4);
functions!(XdpContext, xdp_md, XdpContext::new, V6:
    lb_xdp_slow6, lb_xdp_parse6, lb_xdp_known6, lb_xdp_half6, lb_xdp_choose6, lb_xdp_open6, lb_xdp_send6, lb_xdp_note6, lb_xdp_reset6, lb_xdp_about6, lb_xdp_icmp6, lb_xdp_too_big6, lb_room6, lb_promote6, lb_end6);
functions!(TcContext, __sk_buff, TcContext::new, V4:
    lb_tc_slow4, lb_tc_parse4, lb_tc_known4, lb_tc_half4, lb_tc_choose4, lb_tc_open4, lb_tc_send4, lb_tc_note4, lb_tc_reset4, lb_tc_about4, lb_tc_icmp4, lb_tc_too_big4, lb_room4, lb_promote4, lb_end4);
functions!(TcContext, __sk_buff, TcContext::new, V6:
    lb_tc_slow6, lb_tc_parse6, lb_tc_known6, lb_tc_half6, lb_tc_choose6, lb_tc_open6, lb_tc_send6, lb_tc_note6, lb_tc_reset6, lb_tc_about6, lb_tc_icmp6, lb_tc_too_big6, lb_room6, lb_promote6, lb_end6);

/// The quick way of an IPv4 packet on XDP; a function, so that its stack is not below the slow way's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_xdp_hot4(ctx: *mut xdp_md) -> u32 {
    crate::hot::<V4>(&XdpContext::new(ctx))
}

/// Likewise on TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_tc_hot4(ctx: *mut __sk_buff) -> u32 {
    crate::hot::<V4>(&TcContext::new(ctx))
}

/// The quick way of an IPv6 packet on XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_xdp_hot6(ctx: *mut xdp_md) -> u32 {
    crate::hot::<V6>(&XdpContext::new(ctx))
}

/// Likewise on TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_tc_hot6(ctx: *mut __sk_buff) -> u32 {
    crate::hot::<V6>(&TcContext::new(ctx))
}

/// Moves a proven flow to the table of established ones.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_promote4() -> u32 {
    match half::promote::<V4>() {
        Found::Established => ESTABLISHED,
        _ => LEG,
    }
}

/// Ends a half-open flow, whose packet is still sent on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_end4(room: u32) -> u32 {
    half::end::<V4>(room);
    LEG
}

/// Claims a source port for a new IPv4 flow: one of several tries, each of which the verifier would walk on its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_take4(port: u32) -> u32 {
    u32::from(claim::take::<V4>(port as u16))
}

/// Takes a source port over from an IPv4 flow that lingers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_take_over4(port: u32) -> u32 {
    u32::from(claim::take_over::<V4>(port as u16))
}

/// Frees IPv4 flows that closed long ago.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_room4() -> u32 {
    close::make_room::<V4>();
    NOTHING
}

/// Moves a proven flow to the table of established ones.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_promote6() -> u32 {
    match half::promote::<V6>() {
        Found::Established => ESTABLISHED,
        _ => LEG,
    }
}

/// Ends a half-open flow, whose packet is still sent on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_end6(room: u32) -> u32 {
    half::end::<V6>(room);
    LEG
}

/// Claims a source port for a new IPv6 flow.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_take6(port: u32) -> u32 {
    u32::from(claim::take::<V6>(port as u16))
}

/// Takes a source port over from an IPv6 flow that lingers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_take_over6(port: u32) -> u32 {
    u32::from(claim::take_over::<V6>(port as u16))
}

/// Frees IPv6 flows that closed long ago.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_room6() -> u32 {
    close::make_room::<V6>();
    NOTHING
}

/// Looks at candidate `i` of the reaper's packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_reap_one4(ctx: *mut xdp_md, i: u32) -> u32 {
    u32::from(reap::candidate_at::<V4>(&XdpContext::new(ctx), i))
}

/// Likewise IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_reap_one6(ctx: *mut xdp_md, i: u32) -> u32 {
    u32::from(reap::candidate_at::<V6>(&XdpContext::new(ctx), i))
}

/// Empties a place among half-open flows of what is too old.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_expire4(set: u32, way: u32, now: u32) -> u32 {
    sets::expire::<V4>(set, way as usize, now);
    NOTHING
}

/// Likewise IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_expire6(set: u32, way: u32, now: u32) -> u32 {
    sets::expire::<V6>(set, way as usize, now);
    NOTHING
}

/// Parses the packet and notes it for the functions after this one.
#[inline(always)]
fn parse<A: Family>(hook: &impl Hook) -> u32 {
    // Never: the map has it.
    let Some(work) = work::<A>() else {
        return Stop::drop(Reason::HalfMissing).code();
    };
    let noted = parse::ethernet_with_tags(hook)
        .and_then(
            #[inline(always)]
            |l2| A::parse::<true>(hook, &l2),
        )
        .map(
            #[inline(always)]
            |parsed| work.noted.note(&parsed),
        );
    match noted {
        Ok(()) => NOTHING,
        Err(stop) => stop.code(),
    }
}

#[inline(always)]
fn with_packet<A: Family, H: Hook, T>(
    hook: &H,
    f: impl FnOnce(&Packet<'_, A>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let Some(work) = A::work(room::PACKET) else {
        return Err(Stop::drop(Reason::HalfMissing));
    };
    // SAFETY: a live map value of this CPU's own; what is noted is written by parse alone, and only read from here on.
    let noted = unsafe { &(*work).noted };
    f(&noted.packet(hook)?)
}

/// A [`New`] as a number: the lane, then the way of forwarding, then bits, and the service from bit 43 on (far more than
/// there can be).
#[inline(always)]
fn pack(new: &New) -> u64 {
    let drop = if new.drop_overflow { DROP_OVERFLOW } else { 0 };
    let adopted = if new.adopted { ADOPTED } else { 0 };
    let service = u64::from(new.service) << SERVICE_SHIFT;
    u64::from(new.lane) | u64::from(new.forward) << 32 | drop | adopted | CHOSEN | service
}

#[inline(always)]
fn unpack(new: u64) -> New {
    New {
        service: (new >> SERVICE_SHIFT) as u32,
        lane: new as u32,
        forward: (new >> 32) as u8,
        drop_overflow: new & DROP_OVERFLOW != 0,
        adopted: new & ADOPTED != 0,
    }
}
