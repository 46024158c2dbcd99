//! The programs of `cargo xtask bench l4`: the wrapper through which it runs what it measures, and the stubs whose time
//! is taken off. An object of its own, never part of lb.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a program, not a library; the entry points' wrappers come from a macro"
)]
#![allow(
    internal_features,
    reason = "the floor kernel's only atomic is an add whose result is unused"
)]

use core::{
    arch::asm,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::bench::{FRAME, HEAD, Run, Tuple};

/// What is measured.
#[btf_map]
pub static TARGET: ProgramArray<1> = ProgramArray::new();

/// How.
#[btf_map]
pub static RUN: Array<Run, 1> = Array::new();

/// Rounds so far, less those that came around.
#[btf_map]
pub static ROUND: Array<u64, 1> = Array::new();

/// Flows; the benchmark sets their number.
#[btf_map]
pub static TUPLES: Array<Tuple, 1> = Array::new();

/// Makes the frame what it was before the last round, but for the next tuple, and goes on to what is measured.
#[xdp]
pub fn bench_wrapper(ctx: XdpContext) -> u32 {
    let (Some(run), Some(round)) = (RUN.get(0), ROUND.get_ptr_mut(0)) else {
        return xdp_action::XDP_ABORTED;
    };
    let grown = (ctx.data_end() - ctx.data()) as i64 - FRAME as i64;
    if grown != 0 {
        // SAFETY: the program's own context.
        unsafe { bpf_xdp_adjust_head(ctx.ctx, grown as i32) };
    }
    let frame = ctx.data();
    if frame + FRAME > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    for (i, word) in run.head.iter().enumerate().take(HEAD) {
        // SAFETY: the head is shorter than the frame, whose length was checked. A test run's frame begins at a multiple
        // of eight (`bpf_prog_test_run_xdp`: a page's start and XDP_PACKET_HEADROOM).
        unsafe { *((frame + i * 8) as *mut u64) = *word };
    }
    // SAFETY: a live map value, and one CPU alone runs this.
    let number = unsafe { *round };
    let mut step = 1;
    let tuple = if run.count == 0 {
        stranger(number)
    } else {
        if number + 1 >= u64::from(run.count) {
            step = number.wrapping_neg();
        }
        match TUPLES.get(run.first + number as u32) {
            Some(tuple) => *tuple,
            None => return xdp_action::XDP_ABORTED,
        }
    };
    // SAFETY: as above; the tuple of either family lies within the head.
    unsafe {
        if run.family == 4 {
            write::<26, 34>(frame, &tuple);
            if run.count != 0 {
                write::<30, 36>(frame, &tuple.reversed());
            }
        } else {
            write::<34, 54>(frame, &tuple);
            if run.count != 0 {
                write::<50, 56>(frame, &tuple.reversed());
            }
        }
        // As an atomic it is also a barrier on x86: what was written above reaches the cache before the program starts.
        // Else it would wait for stores that no packet from a network card has in flight.
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(round, step);
        TARGET.tail_call(&ctx, 0);
    }
    xdp_action::XDP_ABORTED
}

/// A source that no earlier round had: an address below 64.0.0.0/3, each once in half a billion rounds.
#[inline(always)]
fn stranger(number: u64) -> Tuple {
    /// 2³²/φ, odd: multiplying by it permutes the numbers below any power of two.
    const SPREAD: u64 = 0x9e37_79b1;
    let spread = number.wrapping_mul(SPREAD) as u32;
    Tuple {
        src: (0x4000_0000 | spread & 0x1fff_ffff).to_be(),
        sport: ((spread >> 13) as u16 | 1024).to_be(),
        ..Tuple::default()
    }
}

trait Reversed {
    fn reversed(&self) -> Tuple;
}

impl Reversed for Tuple {
    #[inline(always)]
    fn reversed(&self) -> Tuple {
        Tuple {
            src: self.dst,
            sport: self.dport,
            ..Tuple::default()
        }
    }
}

/// Writes a tuple's source address and port at these offsets.
///
/// # Safety
/// They lie within what was checked of the frame.
#[inline(always)]
unsafe fn write<const ADDRESS: usize, const PORT: usize>(frame: usize, tuple: &Tuple) {
    // SAFETY: by contract. The address lies at no multiple of four, where the compiler would write single bytes.
    unsafe {
        asm!(
            "*(u32 *)({p} + {offset}) = {value}",
            value = in(reg) u64::from(tuple.src),
            p = in(reg) frame,
            offset = const ADDRESS,
            options(nostack, preserves_flags)
        );
        *((frame + PORT) as *mut u16) = tuple.sport;
    }
}

/// Calibration of what is passed up: nothing.
#[xdp]
pub fn bench_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Calibration of what is sent as long as it came: the Ethernet addresses.
#[xdp]
pub fn bench_send(ctx: XdpContext) -> u32 {
    send(&ctx)
}

/// Calibration of what is encapsulated: room for an IPv4 header, and the Ethernet header before it.
#[xdp]
pub fn bench_wrap(ctx: XdpContext) -> u32 {
    // SAFETY: the program's own context.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -20) } != 0 {
        return xdp_action::XDP_ABORTED;
    }
    send(&ctx)
}

#[inline(always)]
fn send(ctx: &XdpContext) -> u32 {
    let frame = ctx.data();
    if frame + 14 > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    for i in 0..7 {
        // SAFETY: checked just above.
        unsafe { *((frame + i * 2) as *mut u16) = 0x0202 };
    }
    xdp_action::XDP_TX
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
