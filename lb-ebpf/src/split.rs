//! Global functions, so that a packet's way is not one walk for the verifier.
//!
//! Linux 5.10 refuses a program in which it would have to follow more than a million instructions, and every branch of one
//! step multiplies the paths through all later ones. A global function is walked once, by itself and for any arguments
//! (since 5.6), and its callers go on from a number of which nothing is known: what would multiply adds up. On 5.10 its
//! arguments are numbers and the program's context, no pointers; hence each reads the packet's headers anew. That is
//! why only what is not on the hot path is one.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{counter::Reason, flow::V4};

use crate::{
    flow::{self, New},
    parse,
    plan::{Packet, Stop},
    reap,
};

/// The function has done its work: go on with the packet.
const DONE: u32 = 0;
/// The packet's flow was over and is gone: it may open another.
const OVER: u32 = 1;
/// Above this: [`Stop::Up`] with the reason in the low byte.
const UP: u32 = 0x100;
/// Above this: [`Stop::Drop`] likewise.
const DROP: u32 = 0x200;

/// Bits of a packed [`New`]; no code has the second.
const DROP_OVERFLOW: u64 = 1 << 40;
const CHOSEN: u64 = 1 << 41;

const _: () = assert!(Reason::COUNT <= 0x100);

/// What the steps that are not on the hot path need of the hook: its own global functions.
pub trait Split {
    /// [`flow::step_state`] for the packet.
    fn step_state(&self) -> Result<bool, Stop>;
    /// [`flow::choose`] for the packet.
    fn choose(&self) -> Result<New, Stop>;
    /// [`flow::open`] for the packet.
    fn open(&self, new: New) -> Result<(), Stop>;
}

impl Split for XdpContext {
    #[inline(always)]
    fn step_state(&self) -> Result<bool, Stop> {
        match lb_step_state(self.ctx) {
            DONE => Ok(true),
            OVER => Ok(false),
            code => Err(stop(code)),
        }
    }

    #[inline(always)]
    fn choose(&self) -> Result<New, Stop> {
        match lb_choose(self.ctx) {
            chosen if chosen & CHOSEN != 0 => Ok(unpack(chosen)),
            code => Err(stop(code as u32)),
        }
    }

    #[inline(always)]
    fn open(&self, new: New) -> Result<(), Stop> {
        match lb_open(self.ctx, pack(&new)) {
            DONE => Ok(()),
            code => Err(stop(code)),
        }
    }
}

/// Steps the state of the packet's flow.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_step_state(ctx: *mut xdp_md) -> u32 {
    with_packet(ctx, |packet, _| match flow::step_state(packet) {
        Ok(true) => DONE,
        Ok(false) => OVER,
        Err(stop) => code(stop),
    })
}

/// Chooses a server for the packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_choose(ctx: *mut xdp_md) -> u64 {
    with_packet(ctx, |packet, hook| match flow::choose(packet, hook) {
        Ok(new) => pack(&new),
        Err(stop) => code(stop).into(),
    })
}

/// Opens a flow for the packet; `new` comes from [`lb_choose`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_open(ctx: *mut xdp_md, new: u64) -> u32 {
    with_packet(ctx, |packet, _| match flow::open(packet, &unpack(new)) {
        Ok(()) => DONE,
        Err(stop) => code(stop),
    })
}

/// Looks at candidate `i` of the reaper's packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_reap_one(ctx: *mut xdp_md, i: u32) -> u32 {
    u32::from(reap::candidate_at(&XdpContext::new(ctx), i))
}

#[inline(always)]
fn with_packet<T: From<u32>>(ctx: *mut xdp_md, f: impl FnOnce(&Packet<V4>, &XdpContext) -> T) -> T {
    let hook = XdpContext::new(ctx);
    match parse::ipv4(&hook) {
        Ok(packet) => f(&packet, &hook),
        Err(stop) => code(stop).into(),
    }
}

/// A [`New`] as a number: the lane, then the way of forwarding, then bits.
#[inline(always)]
fn pack(new: &New) -> u64 {
    let drop = if new.drop_overflow { DROP_OVERFLOW } else { 0 };
    u64::from(new.lane) | u64::from(new.forward) << 32 | drop | CHOSEN
}

#[inline(always)]
fn unpack(new: u64) -> New {
    New {
        lane: new as u32,
        forward: (new >> 32) as u8,
        drop_overflow: new & DROP_OVERFLOW != 0,
    }
}

#[inline(always)]
fn code(stop: Stop) -> u32 {
    match stop {
        Stop::Up(reason) => UP + reason as u32,
        Stop::Drop(reason) => DROP + reason as u32,
    }
}

#[inline(always)]
fn stop(code: u32) -> Stop {
    if code >= DROP {
        Stop::Drop(reason(code))
    } else {
        Stop::Up(reason(code))
    }
}

/// The reason in a code. The other arm is never taken: [`code`] made it.
#[inline(always)]
fn reason(code: u32) -> Reason {
    Reason::from_index(code & 0xff).unwrap_or(Reason::NotForUs)
}
