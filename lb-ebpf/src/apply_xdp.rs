//! Carries out a Plan on XDP.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use lb_common::counter::Reason;

use crate::{
    apply::{ether_type, outer_len, tags_len, write_macs, write_outer},
    count,
    family::Family,
    maps,
    packet::{Hook, at, distance, opaque, pointer_at, set_u16, set_u32},
    plan::{Packet, Plan},
    rewrite,
};

/// Whether the kernel has packets of several buffers, and says how long one is (Linux 5.18): set by the agent before it
/// loads the object. If not, the verifier removes the question as dead code.
#[unsafe(no_mangle)]
static SEVERAL_BUFFERS: u32 = 0;

impl Hook for XdpContext {
    const PASS: u32 = xdp_action::XDP_PASS;
    const DROP: u32 = xdp_action::XDP_DROP;
    const FILLED_IN_LATER: bool = false;

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the program's own context.
        unsafe { pointer_at::<{ offset_of!(xdp_md, data) }>(self.raw()) }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { pointer_at::<{ offset_of!(xdp_md, data_end) }>(self.raw()) }
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        distance(Hook::data(self), Hook::data_end(self))
    }

    #[inline(always)]
    fn whole_len(&self) -> u32 {
        // SAFETY: a reference; the agent may have set another value than the compiler knows.
        if unsafe { core::ptr::read_volatile(&raw const SEVERAL_BUFFERS) } == 0 {
            return self.frame_len();
        }
        // SAFETY: the program's own context.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as u32 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn raw(&self) -> *mut core::ffi::c_void {
        self.ctx.cast()
    }

    #[inline(always)]
    fn tag_beside(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        0
    }

    #[inline(always)]
    unsafe fn fix_checksum<A>(&self, packet: &Packet<'_, A>, pseudo: u32, other: u32) {
        // SAFETY: by contract.
        unsafe { rewrite::fix_checksum(packet, pseudo + other) };
    }

    #[inline(always)]
    fn send<A: Family, const FULL: bool>(&self, packet: &Packet<'_, A>, plan: &Plan<A>) -> u32 {
        let hop = plan.hop;
        let outer = outer_len(hop, plan.encapsulate);
        let tags = if FULL { tags_len(hop.tags) } else { 0 };
        let before = at::ETHERNET as u32 + if FULL { tags_len(packet.tags) } else { 0 };
        let after = at::ETHERNET as u32 + tags + outer;
        if before == after {
            // SAFETY: parse checked the Ethernet header with its tags, and the packet has not moved.
            unsafe {
                write_macs(packet.eth(), plan);
                if FULL {
                    write_tags::<A>(packet.eth(), plan);
                }
            }
        } else {
            // SAFETY: the program's own context.
            if unsafe { bpf_xdp_adjust_head(self.ctx, before as i32 - after as i32) } != 0 {
                count::reason(Reason::NoHeadroom);
                return xdp_action::XDP_DROP;
            }
            let (eth, end) = (Hook::data(self), Hook::data_end(self));
            let ip = eth + at::ETHERNET + (opaque(tags as usize) & 0xf);
            // It never is: it was longer before.
            if eth + at::ETHERNET + at::IPV4 > end {
                count::reason(Reason::NoHeadroom);
                return xdp_action::XDP_DROP;
            }
            // SAFETY: checked just above, or by the callee.
            let written = unsafe {
                write_macs(eth, plan);
                if FULL {
                    write_tags::<A>(eth, plan);
                } else {
                    let announced = ether_type::<A>(hop, plan.encapsulate);
                    set_u16::<{ at::ETH_TYPE }>(eth, announced);
                }
                !plan.encapsulate || write_outer::<A>(ip, end, hop, packet.len)
            };
            if !written {
                count::reason(Reason::NoHeadroom);
                return xdp_action::XDP_DROP;
            }
        }
        send_by(packet.ifindex, hop.ifindex)
    }

    #[inline(always)]
    fn send_back(&self, _ifindex: u32) -> u32 {
        xdp_action::XDP_TX
    }

    #[inline(always)]
    fn reshape(&self, grow: u32, len: u32) -> bool {
        let now = self.whole_len() as i32;
        let cut = len as i32 - grow as i32 - now;
        // SAFETY: the program's own context.
        unsafe {
            bpf_xdp_adjust_tail(self.ctx, cut) == 0
                && bpf_xdp_adjust_head(self.ctx, -(grow as i32)) == 0
        }
    }
}

/// Sends a frame that came by interface `from` out of interface `to`.
#[inline(always)]
fn send_by(from: u32, to: u32) -> u32 {
    if to == from {
        return xdp_action::XDP_TX;
    }
    match maps::TX.redirect(to, u64::from(xdp_action::XDP_DROP)) {
        Ok(action) => action,
        Err(action) => {
            count::reason(Reason::HopLost);
            action
        }
    }
}

/// Writes the tags and the type after them.
///
/// # Safety
/// 22 bytes at `eth` were checked to lie within the packet.
#[inline(always)]
unsafe fn write_tags<A: Family>(eth: usize, plan: &Plan<A>) {
    let tags = plan.hop.tags;
    let announced = ether_type::<A>(plan.hop, plan.encapsulate);
    // SAFETY: by contract.
    unsafe {
        if tags[0] == 0 {
            set_u16::<{ at::ETH_TYPE }>(eth, announced);
            return;
        }
        set_u32::<{ at::ETH_TYPE }>(eth, tags[0]);
        if tags[1] == 0 {
            set_u16::<{ at::ETH_TYPE + 4 }>(eth, announced);
            return;
        }
        set_u32::<{ at::ETH_TYPE + 4 }>(eth, tags[1]);
        set_u16::<{ at::ETH_TYPE + 8 }>(eth, announced);
    }
}
