//! Global functions, so that a packet's way is not one walk for the verifier.
//!
//! Linux 5.10 refuses a program in which it would have to follow more than a million instructions, and every branch of one
//! step multiplies the paths through all later ones. A global function is walked once, by itself and for any arguments
//! (since 5.6), and its callers go on from a number of which nothing is known: what would multiply adds up. On 5.10 its
//! arguments are numbers and the program's context, no pointers; hence each reads the packet's headers anew. That is
//! why only what is not on the hot path is one. There is a set of them for each hook and family.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    programs::{TcContext, XdpContext},
};
use lb_common::flow::{V4, V6};

use crate::{
    close,
    family::Family,
    flow::{self, Found, Step},
    half::{self, New},
    icmp, open,
    packet::Hook,
    parse,
    plan::{Packet, Stop},
    reap, reset, too_big,
};

/// The function has done its work: go on with the packet. What is above is a [`Stop::code`].
const DONE: u32 = 0;
/// The packet's flow was over and is gone: it may open another.
const OVER: u32 = 1;

/// Bits of a packed [`New`]; no code has the second.
const DROP_OVERFLOW: u64 = 1 << 40;
const ADOPTED: u64 = 1 << 42;
const CHOSEN: u64 = 1 << 41;

/// What the steps that are not on the hot path need of the hook: its own global functions.
pub trait Split<A> {
    /// [`flow::step`] for the packet.
    fn step(&self, _: &Packet<A>) -> Result<Step, Stop>;
    /// [`half::step`] for the packet.
    fn half(&self, _: &Packet<A>) -> Result<Found, Stop>;
    /// [`open::choose`] for the packet.
    fn choose(&self, _: &Packet<A>) -> Result<New, Stop>;
    /// [`half::open`] for the packet.
    fn open(&self, _: &Packet<A>, new: New) -> Result<(), Stop>;
    /// [`reset::segment`] for the packet, which may have moved then.
    fn reset(&self, _: &Packet<A>) -> Stop;
    /// [`close::make_room`].
    fn make_room(&self, _: &Packet<A>);
}

macro_rules! functions {
    ($hook:ty, $ctx:ty, $new:expr, $family:ty:
     $slow:ident, $step:ident, $half:ident, $choose:ident, $open:ident, $reset:ident, $icmp:ident, $too_big:ident, $room:ident) => {
        impl Split<$family> for $hook {
            #[inline(always)]
            fn step(&self, _: &Packet<$family>) -> Result<Step, Stop> {
                match $step(self.raw().cast()) {
                    DONE => Ok(Step::Go),
                    OVER => Ok(Step::Over),
                    code => Err(Stop::from_code(code)),
                }
            }

            #[inline(always)]
            fn half(&self, _: &Packet<$family>) -> Result<Found, Stop> {
                match $half(self.raw().cast()) {
                    code if code < Stop::LEAST => Ok(half::found(code)),
                    code => Err(Stop::from_code(code)),
                }
            }

            #[inline(always)]
            fn choose(&self, _: &Packet<$family>) -> Result<New, Stop> {
                match $choose(self.raw().cast()) {
                    chosen if chosen & CHOSEN != 0 => Ok(unpack(chosen)),
                    code => Err(Stop::from_code(code as u32)),
                }
            }

            #[inline(always)]
            fn open(&self, _: &Packet<$family>, new: New) -> Result<(), Stop> {
                match $open(self.raw().cast(), pack(&new)) {
                    DONE => Ok(()),
                    code => Err(Stop::from_code(code)),
                }
            }

            #[inline(always)]
            fn reset(&self, _: &Packet<$family>) -> Stop {
                Stop::from_code($reset(self.raw().cast()))
            }

            #[inline(always)]
            fn make_room(&self, _: &Packet<$family>) {
                $room();
            }
        }

        /// The slow way of a packet: what becomes of it.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $slow(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, |packet| {
                crate::slow(packet, &hook)
            }) {
                Ok(verdict) => verdict,
                Err(stop) if stop == Stop::ICMP => {
                    crate::finish(Stop::from_code($icmp(ctx)), &hook)
                }
                Err(stop) => match stop.fits() {
                    Some(mtu) => crate::finish(Stop::from_code($too_big(ctx, mtu)), &hook),
                    None => crate::finish(stop, &hook),
                },
            }
        }

        /// Steps the state of the packet's flow.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $step(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, flow::step) {
                Ok(Step::Go) => DONE,
                Ok(Step::Over) => OVER,
                Err(stop) => stop.code(),
            }
        }

        /// Looks for the packet's flow among half-open ones.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $half(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, half::step) {
                Ok(found) => half::code(found),
                Err(stop) => stop.code(),
            }
        }

        /// Chooses a server for the packet.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $choose(ctx: *mut $ctx) -> u64 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, |packet| open::choose(packet, &hook)) {
                Ok(new) => pack(&new),
                Err(stop) => stop.code().into(),
            }
        }

        /// Opens a flow for the packet; `new` comes from the function before.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $open(ctx: *mut $ctx, new: u64) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, |packet| half::open(packet, &unpack(new))) {
                Ok(()) => DONE,
                Err(stop) => stop.code(),
            }
        }

        /// Turns a segment of a flow being reset.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $reset(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, |packet| {
                Err::<(), Stop>(reset::segment(packet, &hook))
            }) {
                Ok(()) => DONE,
                Err(stop) => stop.code(),
            }
        }

        /// Sends an ICMP error on to whom it concerns.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $icmp(ctx: *mut $ctx) -> u32 {
            let hook = $new(ctx);
            match parse::ethernet_with_tags(&hook) {
                Ok(l2) => icmp::error::<$family>(&hook, &l2).code(),
                Err(stop) => stop.code(),
            }
        }

        /// Tells the packet's sender what fits.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $too_big(ctx: *mut $ctx, mtu: u32) -> u32 {
            let hook = $new(ctx);
            match with_packet::<$family, _, _>(&hook, |packet| {
                Err::<(), Stop>(too_big::answer(packet, mtu, &hook))
            }) {
                Ok(()) => DONE,
                Err(stop) => stop.code(),
            }
        }
    };
}

functions!(XdpContext, xdp_md, XdpContext::new, V4:
    lb_xdp_slow4, lb_xdp_step4, lb_xdp_half4, lb_xdp_choose4, lb_xdp_open4, lb_xdp_reset4, lb_xdp_icmp4, lb_xdp_too_big4, lb_room4);
functions!(XdpContext, xdp_md, XdpContext::new, V6:
    lb_xdp_slow6, lb_xdp_step6, lb_xdp_half6, lb_xdp_choose6, lb_xdp_open6, lb_xdp_reset6, lb_xdp_icmp6, lb_xdp_too_big6, lb_room6);
functions!(TcContext, __sk_buff, TcContext::new, V4:
    lb_tc_slow4, lb_tc_step4, lb_tc_half4, lb_tc_choose4, lb_tc_open4, lb_tc_reset4, lb_tc_icmp4, lb_tc_too_big4, lb_room4);
functions!(TcContext, __sk_buff, TcContext::new, V6:
    lb_tc_slow6, lb_tc_step6, lb_tc_half6, lb_tc_choose6, lb_tc_open6, lb_tc_reset6, lb_tc_icmp6, lb_tc_too_big6, lb_room6);

/// The quick way of an IPv6 packet on XDP; a function, so that the stack of IPv4's is not below it.
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

/// Frees IPv4 flows that closed long ago.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_room4() -> u32 {
    close::make_room::<V4>();
    DONE
}

/// Likewise IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_room6() -> u32 {
    close::make_room::<V6>();
    DONE
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
    half::expire::<V4>(set, way as usize, now);
    DONE
}

/// Likewise IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_expire6(set: u32, way: u32, now: u32) -> u32 {
    half::expire::<V6>(set, way as usize, now);
    DONE
}

#[inline(always)]
fn with_packet<A: Family, H: Hook, T>(
    hook: &H,
    f: impl FnOnce(&Packet<A>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let l2 = parse::ethernet_with_tags(hook)?;
    let packet = A::parse::<true>(hook, &l2)?;
    f(&packet)
}

/// A [`New`] as a number: the lane, then the way of forwarding, then bits.
#[inline(always)]
fn pack(new: &New) -> u64 {
    let drop = if new.drop_overflow { DROP_OVERFLOW } else { 0 };
    let adopted = if new.adopted { ADOPTED } else { 0 };
    u64::from(new.lane) | u64::from(new.forward) << 32 | drop | adopted | CHOSEN
}

#[inline(always)]
fn unpack(new: u64) -> New {
    New {
        lane: new as u32,
        forward: (new >> 32) as u8,
        drop_overflow: new & DROP_OVERFLOW != 0,
        adopted: new & ADOPTED != 0,
    }
}
