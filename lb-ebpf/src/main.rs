//! lb's kernel program: entry points alone. ARCHITECTURE.md tells a packet's way through the other files.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
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
mod apply_xdp;
mod balance;
mod count;
mod event;
mod family;
mod flow;
mod lock;
mod maps;
mod packet;
mod parse;
mod plan;
mod reap;
mod rewrite;
mod service;
mod split;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use lb_common::{counter::Reason, flow::V4, tcp::flag};

use crate::plan::{Packet, Stop};

/// The fast path on XDP.
#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    let packet = match parse::ipv4(&ctx) {
        Ok(packet) => packet,
        Err(stop) => return verdict(stop),
    };
    match flow::plan(&packet, &ctx) {
        Ok(plan) => {
            if packet.flags & flag::CONTROL != 0 {
                tell(
                    &ctx,
                    &packet,
                    if plan.to_server {
                        Reason::ForwardedIn
                    } else {
                        Reason::ForwardedOut
                    },
                );
            }
            apply_xdp::send(&packet, &plan)
        }
        Err(stop) => {
            let (Stop::Up(reason) | Stop::Drop(reason)) = stop;
            tell(&ctx, &packet, reason);
            verdict(stop)
        }
    }
}

/// For debugging: what becomes of a packet that opens or closes a flow, or is not sent on. The agent sets
/// `AYA_LOG_LEVEL` before it loads the object; below debug the verifier removes this as dead code.
#[inline(always)]
fn tell(ctx: &XdpContext, packet: &Packet<V4>, reason: Reason) {
    let key = &packet.key;
    debug!(
        ctx,
        "{:i}:{} > {:i}:{} flags {:x}: reason #{}",
        u32::from_be(key.src),
        u16::from_be(key.sport),
        u32::from_be(key.dst),
        u16::from_be(key.dport),
        packet.flags,
        reason as u32
    );
}

/// Frees idle flows: see [`reap`]. Never attached; the agent runs it with candidates as its packet.
#[xdp]
pub fn lb_reap(ctx: XdpContext) -> u32 {
    reap::ipv4(&ctx)
}

/// Counts a packet that the kernel does not send on, and says what becomes of it.
#[inline(always)]
fn verdict(stop: Stop) -> u32 {
    match stop {
        Stop::Up(reason) => {
            count::reason(reason);
            xdp_action::XDP_PASS
        }
        Stop::Drop(reason) => {
            count::reason(reason);
            xdp_action::XDP_DROP
        }
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
