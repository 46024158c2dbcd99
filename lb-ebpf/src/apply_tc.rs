//! Carries out a Plan on TC ingress. Packets may be several that were received together, may want their checksums
//! finished by a device, and have their outer tag beside the frame: hence the kernel's own helpers.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
        BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_l4_csum_replace, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_pull_data, bpf_skb_vlan_pop, bpf_skb_vlan_push,
    },
    programs::TcContext,
};
use lb_common::{
    counter::Reason,
    flow::{Hop, TAG_MASK},
};

use crate::{
    apply::{ether_type, outer_len, write_macs, write_outer},
    count,
    family::Family,
    packet::{Hook, at, distance, pointer_at, set_u16},
    plan::{Packet, Plan},
};

/// What the steps look at, at most: an Ethernet header, a tag, an IPv6 header with as much again of extensions, TCP.
const LOOKED_AT: u32 = 14 + 4 + 40 + 40 + 20;

/// Makes sure that the headers can be looked at.
#[inline(always)]
pub fn pull(ctx: &TcContext) {
    let len = ctx.skb.len();
    let wanted = if len < LOOKED_AT { len } else { LOOKED_AT };
    if distance(Hook::data(ctx), Hook::data_end(ctx)) < wanted {
        // SAFETY: the program's own context. What is still not there afterwards goes up as too short.
        unsafe { bpf_skb_pull_data(ctx.skb.skb, wanted) };
    }
}

impl Hook for TcContext {
    /// To whoever comes next, and at last the stack.
    const PASS: u32 = TC_ACT_UNSPEC as u32;
    const DROP: u32 = TC_ACT_SHOT as u32;
    const FILLED_IN_LATER: bool = true;

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the program's own context.
        unsafe { pointer_at::<{ offset_of!(__sk_buff, data) }>(self.raw()) }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { pointer_at::<{ offset_of!(__sk_buff, data_end) }>(self.raw()) }
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.skb.len()
    }

    #[inline(always)]
    fn whole_len(&self) -> u32 {
        self.frame_len()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.skb.skb).ingress_ifindex }
    }

    #[inline(always)]
    fn raw(&self) -> *mut core::ffi::c_void {
        self.skb.skb.cast()
    }

    #[inline(always)]
    fn tag_beside(&self) -> u32 {
        // SAFETY: the program's own context.
        let (present, kind, tag) = unsafe {
            let skb = self.skb.skb;
            ((*skb).vlan_present, (*skb).vlan_proto, (*skb).vlan_tci)
        };
        if present == 0 {
            return 0;
        }
        let ([a, b], [c, d]) = ((kind as u16).to_ne_bytes(), (tag as u16).to_be_bytes());
        u32::from_ne_bytes([a, b, c, d]) & TAG_MASK
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.skb.skb).gso_size }
    }

    #[inline(always)]
    unsafe fn fix_checksum<A>(&self, packet: &Packet<'_, A>, pseudo: u32, other: u32) {
        let l4 = distance(Hook::data(self), packet.l4());
        let (offset, zero) = if packet.is_tcp() {
            (l4 + at::TCP_CHECK as u32, 0)
        } else {
            (l4 + at::UDP_CHECK as u32, u64::from(BPF_F_MARK_MANGLED_0))
        };
        // SAFETY: the program's own context; the helper checks the offset.
        unsafe {
            let skb = self.skb.skb;
            if pseudo != 0 {
                let flags = u64::from(BPF_F_PSEUDO_HDR) | zero;
                bpf_l4_csum_replace(skb, offset, 0, u64::from(pseudo), flags);
            }
            bpf_l4_csum_replace(skb, offset, 0, u64::from(other), zero);
        }
    }

    #[inline(always)]
    fn send<A: Family, const FULL: bool>(&self, packet: &Packet<'_, A>, plan: &Plan<A>) -> u32 {
        let (skb, hop) = (self.skb.skb, plan.hop);
        // The kernel adds a header only to a packet that is seen to be IP, which one with a tag in the frame is not.
        let retag = FULL
            && (packet.tags[0] != hop.tags[0]
                || packet.tags[1] != hop.tags[1]
                || (plan.encapsulate && hop.tags[0] != 0));
        // SAFETY: the program's own context.
        let moved = unsafe {
            (!retag || pop_all(self, packet))
                && (!plan.encapsulate || {
                    let kind = if hop.flags & Hop::OUTER6 != 0 {
                        BPF_F_ADJ_ROOM_ENCAP_L3_IPV6
                    } else {
                        BPF_F_ADJ_ROOM_ENCAP_L3_IPV4
                    };
                    let len = outer_len(hop, true) as i32;
                    bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, u64::from(kind)) == 0
                })
        };
        if !moved {
            count::reason(Reason::NoHeadroom);
            return Self::DROP;
        }
        let (eth, end) = (Hook::data(self), Hook::data_end(self));
        // What gets another header has no tag in the frame.
        let ip = eth + at::ETHERNET;
        if ip > end {
            count::reason(Reason::NoHeadroom);
            return Self::DROP;
        }
        // SAFETY: checked just above, or by the callee.
        let written = unsafe {
            write_macs(eth, plan);
            !plan.encapsulate || {
                set_u16::<0>(ip - 2, ether_type::<A>(hop, true));
                write_outer::<A>(ip, end, hop, packet.len)
            }
        };
        // SAFETY: the program's own context; the packet may move from here on.
        let written =
            written && (!retag || unsafe { push(self, hop.tags[1]) && push(self, hop.tags[0]) });
        if !written {
            count::reason(Reason::NoHeadroom);
            return Self::DROP;
        }
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_redirect(hop.ifindex, 0) as u32 }
    }

    #[inline(always)]
    fn send_back(&self, ifindex: u32) -> u32 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_redirect(ifindex, 0) as u32 }
    }

    #[inline(always)]
    fn reshape(&self, grow: u32, len: u32) -> bool {
        let skb = self.skb.skb;
        // SAFETY: the program's own context.
        unsafe {
            bpf_skb_change_tail(skb, len.wrapping_sub(grow), 0) == 0
                && bpf_skb_change_head(skb, grow, 0) == 0
                && bpf_skb_pull_data(skb, len) == 0
        }
    }
}

/// Takes off the packet's tags. The packet has moved then.
///
/// # Safety
/// `ctx` is the program's own context.
#[inline(always)]
unsafe fn pop_all<A>(ctx: &TcContext, packet: &Packet<'_, A>) -> bool {
    let skb = ctx.skb.skb;
    // SAFETY: by contract.
    unsafe {
        (packet.tags[1] == 0 || bpf_skb_vlan_pop(skb) == 0)
            && (packet.tags[0] == 0 || bpf_skb_vlan_pop(skb) == 0)
    }
}

/// Puts on a tag, if there is one.
///
/// # Safety
/// `ctx` is the program's own context.
#[inline(always)]
unsafe fn push(ctx: &TcContext, tag: u32) -> bool {
    let [a, b, c, d] = tag.to_ne_bytes();
    let (kind, id) = (u16::from_ne_bytes([a, b]), u16::from_be_bytes([c, d]));
    // SAFETY: by contract.
    tag == 0 || unsafe { bpf_skb_vlan_push(ctx.skb.skb, kind, id) } == 0
}
