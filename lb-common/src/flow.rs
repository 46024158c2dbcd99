//! The flow table: one preallocated hash a family, keyed by the tuple on the wire.
//!
//! A flow that is translated both ways (`fullnat`, `nat`) has two entries: the *forward* one under the client's tuple
//! and the *reverse* one under the tuple of the server's replies. Whoever inserts the reverse entry with
//! `BPF_NOEXIST` owns its source NAT port. A flow that is only forwarded (`dsr`, `ipip`) has the forward entry alone.
//!
//! State, and the lock that guards its changes, are the forward entry's. A packet that cannot change the state (nearly
//! all) takes neither; see [`crate::tcp::flag::CONTROL`].

use crate::layout;

/// Key of an IPv4 flow: the tuple as it arrives, all fields in network order.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FlowKey4 {
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IP protocol number.
    pub proto: u32,
}
layout!(FlowKey4, size = 16, fields = u32, u32, u16, u16, u32);

/// An entry of the IPv4 flow table.
///
/// 48 bytes with a 16-byte key: 129 bytes of kernel memory an entry.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow4 {
    /// The `bpf_spin_lock` that guards `state` and the count of active flows (forward entries; unused in reverse ones).
    pub lock: u32,
    /// [`crate::tcp::state`] bits. In a reverse entry: 0 if the flow is established, else 1, as a hint to look at the
    /// forward one.
    pub state: u8,
    /// [`flags`].
    pub flags: u8,
    /// Forward: index of the server's next hop. Reverse: index of the [`Hop`] of the client's side, without its MAC.
    pub hop: u16,
    /// Forward: source address to write. Reverse: the service's address. Network order.
    pub src: u32,
    /// Forward: destination address to write. Reverse: the client's address. Network order.
    pub dst: u32,
    /// Source port to write, network order.
    pub sport: u16,
    /// Destination port to write, network order.
    pub dport: u16,
    /// Forward: when the flow opened (milliseconds of `CLOCK_MONOTONIC`, modulo 2³²), then [`side_signature`] of where
    /// its packets come from. Reverse: the MAC address that replies go to, then two zero bytes.
    pub side: [u32; 2],
    /// Index of the [`crate::service::Lane`] it is counted under.
    pub lane: u32,
    /// When a packet last came this way, in ticks.
    pub last: u32,
    /// Packets that came this way. Added to without a lock: a direction's packets come by one queue and so one CPU.
    pub packets: u32,
    /// Bytes of IP that came this way.
    pub bytes: u64,
}
layout!(
    Flow4,
    size = 48,
    fields = u32,
    u8,
    u8,
    u16,
    u32,
    u32,
    u16,
    u16,
    [u32; 2],
    u32,
    u32,
    u32,
    u64
);

/// Bits of [`Flow4::flags`].
pub mod flags {
    /// A reverse entry: its packets come from the server.
    pub const REVERSE: u8 = 0x01;
    /// Addresses and ports are rewritten (`fullnat`, `nat`); else the packet is only sent on (`dsr`).
    pub const TRANSLATE: u8 = 0x02;
    /// The flow is counted in its server's active flows.
    pub const COUNTED: u8 = 0x04;
    /// Both ends are being told to give up: their next segments are answered with RST.
    pub const RESETTING: u8 = 0x08;
}

impl FlowKey4 {
    /// The key of the entry that packets of the other direction find, once this direction has been rewritten to
    /// `out` (source, destination, source port, destination port).
    #[inline(always)]
    pub const fn answering(src: u32, dst: u32, sport: u16, dport: u16, proto: u32) -> Self {
        FlowKey4 {
            src: dst,
            dst: src,
            sport: dport,
            dport: sport,
            proto,
        }
    }
}

impl Flow4 {
    /// The key of the opposite entry: what replies to this entry's output carry.
    #[inline(always)]
    pub const fn opposite(&self, proto: u32) -> FlowKey4 {
        FlowKey4::answering(self.src, self.dst, self.sport, self.dport, proto)
    }
}

/// A way out: interface, tags and addresses of the frame. One entry of an array, 0 standing for "none".
///
/// A server has one of its own, so that a changed route or MAC address is one write, seen by all its flows.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hop {
    /// Interface to send from.
    pub ifindex: u32,
    /// Destination MAC address; zero for the client's side of a link, where each flow has its own.
    pub dst_mac: [u8; 6],
    /// Source MAC address: the interface's own.
    pub src_mac: [u8; 6],
    /// Outer VLAN tag to push (host order, 0 for none).
    pub outer_tag: u16,
    /// Inner VLAN tag to push (host order, 0 for none).
    pub inner_tag: u16,
    /// Largest IP packet that fits, bytes.
    pub mtu: u16,
    /// [`Hop::USABLE`].
    pub flags: u16,
}
layout!(
    Hop,
    size = 24,
    fields = u32,
    [u8; 6],
    [u8; 6],
    u16,
    u16,
    u16,
    u16
);

impl Hop {
    /// The neighbour is known: packets may be sent.
    pub const USABLE: u16 = 1;
}

/// Key of the table that finds the [`Hop`] of the side a packet came in by.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SideKey {
    /// Interface that received it.
    pub ifindex: u32,
    /// Its outer VLAN tag (host order, 0 for none).
    pub outer_tag: u16,
    /// Its inner VLAN tag (host order, 0 for none).
    pub inner_tag: u16,
}
layout!(SideKey, size = 8, fields = u32, u16, u16);

/// What a forward entry remembers of where the client's packets come from, to notice a change at the price of one
/// comparison: source MAC address, interface and tags folded to 32 bits.
#[inline(always)]
pub const fn side_signature(mac_low: u32, mac_high: u16, ifindex: u32, tags: u32) -> u32 {
    (mac_low ^ (mac_high as u32).rotate_left(16) ^ ifindex.rotate_left(8))
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(tags)
}
