//! Carries out a Plan on XDP.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{counter::Reason, flow::V4};

use crate::{
    count, maps,
    packet::{Hook, at, set_mac},
    plan::{Packet, Plan},
    rewrite,
};

impl Hook for XdpContext {
    #[inline(always)]
    fn data(&self) -> usize {
        XdpContext::data(self)
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        XdpContext::data_end(self)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn raw(&self) -> *mut core::ffi::c_void {
        self.ctx.cast()
    }
}

/// Rewrites an IPv4 packet and sends it out.
#[inline(always)]
pub fn send(packet: &Packet<V4>, plan: &Plan<V4>) -> u32 {
    // SAFETY: parse checked the bounds of the frame and XDP has not moved it since.
    unsafe {
        match plan.translate {
            Some(translation) => rewrite::ipv4_tcp(packet, translation),
            None => rewrite::lower_ttl(packet, 0),
        }
        set_mac::<0, 4>(packet.eth, plan.dst_mac);
        set_mac::<{ at::ETH_SRC }, { at::ETH_SRC + 4 }>(packet.eth, plan.src_mac);
    }
    count::reason(if plan.to_server {
        Reason::ForwardedIn
    } else {
        Reason::ForwardedOut
    });
    if plan.ifindex == packet.ifindex {
        return xdp_action::XDP_TX;
    }
    match maps::TX.redirect(plan.ifindex, u64::from(xdp_action::XDP_DROP)) {
        Ok(action) | Err(action) => action,
    }
}
