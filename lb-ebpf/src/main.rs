//! lb's kernel program: entry points alone. ARCHITECTURE.md tells a packet's way through the other files.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics, stmt_expr_attributes)]
#![allow(
    unreachable_pub,
    reason = "a program, not a library: pub means shared between the steps"
)]
#![allow(
    missing_docs,
    reason = "the entry points' wrappers come from a macro; everything else is documented"
)]
#![allow(
    internal_features,
    reason = "the floor kernel's only atomic is an add whose result is unused"
)]

mod admit;
mod apply;
mod apply_tc;
mod apply_xdp;
mod balance;
mod claim;
mod close;
mod count;
mod event;
mod family;
mod flow;
mod half;
mod icmp;
mod lock;
mod maps;
mod open;
mod packet;
mod parse;
mod plan;
mod reap;
mod reset;
mod rewrite;
mod service;
mod sets;
mod split;
mod too_big;
mod trace;
mod work;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
};
use lb_common::{
    counter::Reason,
    event::Trace,
    flow::{V4, V6},
};

use crate::{
    family::Family,
    packet::Hook,
    plan::{Kind, Packet, Stop},
};

/// The fast path on XDP.
#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    enter_xdp(&ctx)
}

/// The same for kernels and drivers that pass packets of several buffers (Linux 5.18).
#[xdp(frags)]
pub fn lb_xdp_frags(ctx: XdpContext) -> u32 {
    enter_xdp(&ctx)
}

/// The fast path on TC ingress.
#[classifier]
pub fn lb_tc(ctx: TcContext) -> i32 {
    apply_tc::pull(&ctx);
    let slow = #[inline(always)]
    |v6, noted| {
        if v6 {
            split::lb_tc_slow6(ctx.skb.skb, noted)
        } else {
            split::lb_tc_slow4(ctx.skb.skb, noted)
        }
    };
    let hot = #[inline(always)]
    |v6| {
        if v6 {
            split::lb_tc_hot6(ctx.skb.skb)
        } else {
            split::lb_tc_hot4(ctx.skb.skb)
        }
    };
    enter(&ctx, slow, hot) as i32
}

/// Frees idle flows: see [`reap`]. Never attached; the agent runs it with candidates as its packet.
#[xdp]
pub fn lb_reap(ctx: XdpContext) -> u32 {
    reap::orders(&ctx)
}

#[inline(always)]
fn enter_xdp(ctx: &XdpContext) -> u32 {
    let slow = #[inline(always)]
    |v6, noted| {
        if v6 {
            split::lb_xdp_slow6(ctx.ctx, noted)
        } else {
            split::lb_xdp_slow4(ctx.ctx, noted)
        }
    };
    let hot = #[inline(always)]
    |v6| {
        if v6 {
            split::lb_xdp_hot6(ctx.ctx)
        } else {
            split::lb_xdp_hot4(ctx.ctx)
        }
    };
    enter(ctx, slow, hot)
}

/// [`hot`]'s answer for a packet that must go the slow way from its start: no verdict of either hook.
const GO_SLOW: u32 = 0x100;
/// Likewise for one of no established flow, that is noted already.
const GO_ON: u32 = 0x101;

/// Sends a packet the quick way if it can, else the slow one; either is told whether it is IPv6, the slow one also whether
/// the packet is noted.
#[inline(always)]
fn enter<H: Hook>(hook: &H, slow: impl Fn(bool, bool) -> u32, hot: impl Fn(bool) -> u32) -> u32 {
    let l2 = match parse::ethernet(hook) {
        Ok(l2) => l2,
        Err(stop) => return finish(stop, hook),
    };
    let tagged = hook.tag_beside() != 0 || parse::is_tag(l2.ether_type);
    let ether_type = if tagged {
        match parse::ethernet_with_tags(hook) {
            Ok(l2) => l2.ether_type,
            Err(stop) => return finish(stop, hook),
        }
    } else {
        l2.ether_type
    };
    let v6 = ether_type == V6::ETHER_TYPE;
    if !v6 && ether_type != V4::ETHER_TYPE {
        return finish(Stop::up(Reason::NotForUs), hook);
    }
    let verdict = if tagged { GO_SLOW } else { hot(v6) };
    if verdict < GO_SLOW || verdict > GO_ON {
        return verdict;
    }
    slow(v6, verdict == GO_ON)
}

/// The quick way.
#[inline(always)]
fn hot<A: Family>(hook: &impl Hook) -> u32 {
    let done = parse::ethernet(hook)
        .and_then(|l2| A::parse::<false>(hook, &l2))
        .and_then(|parsed| {
            let packet = parsed.packet();
            let done = flow::hot(&packet, hook);
            if done != Err(Stop::NO_FLOW) {
                return done;
            }
            if service::is_stranger(&packet) && !notes() {
                return Err(Stop::up(Reason::NotForUs));
            }
            let Some(work) = work::work::<A>() else {
                return Err(Stop::SLOW);
            };
            work.noted.note(&parsed);
            Ok(GO_ON)
        });
    match done {
        Ok(verdict) => verdict,
        Err(stop) if stop.kind() == Kind::Elsewhere => GO_SLOW,
        Err(stop) => finish(stop, hook),
    }
}

/// Whether anybody wants to be told of packets that are not sent on; if not, the verifier removes it as dead code.
#[inline(always)]
fn notes() -> bool {
    trace::is_on() || level_enabled(Level::Debug)
}

/// For debugging: what becomes of a packet that is not sent on.
#[inline(always)]
fn tell<A: Family>(hook: &impl Hook, packet: &Packet<'_, A>, stop: Stop) {
    trace::packet_was(packet, stop.reason(), Trace::NO_LANE);
    let key = &packet.key;
    let ctx = &packet::Raw(hook.raw());
    debug!(
        ctx,
        "{:i}:{} > {:i}:{} flags {:x}: reason #{}",
        u32::from_be(key.src.words()[0]),
        u16::from_be(key.sport),
        u32::from_be(key.dst.words()[0]),
        u16::from_be(key.dport),
        packet.flags,
        stop.reason()
    );
}

/// Counts a packet that the kernel does not send on, and says what becomes of it.
#[inline(always)]
fn finish<H: Hook>(stop: Stop, _: &H) -> u32 {
    match stop.kind() {
        Kind::Up => {
            count::index(stop.reason());
            H::PASS
        }
        Kind::Drop => {
            count::index(stop.reason());
            H::DROP
        }
        Kind::Done => stop.verdict(),
        // Never: the slow way has dealt with these.
        Kind::Elsewhere => H::DROP,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could get here.
    loop {}
}

/// The kernel offers some helpers only to programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
