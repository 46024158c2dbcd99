//! The flow table: one preallocated hash a family, keyed by the tuple on the wire.
//!
//! A flow that is translated both ways (`fullnat`, `nat`) has two entries: the *forward* one under the client's tuple
//! and the *reverse* one under the tuple of the server's replies. Whoever inserts the reverse entry with
//! `BPF_NOEXIST` owns its source NAT port. A flow that is only forwarded (`dsr`, `ipip`) has the forward entry alone.
//!
//! State, and the lock that guards its changes, are the forward entry's. A packet that cannot change the state (nearly
//! all) takes neither; see [`crate::tcp::flag::CONTROL`].

use crate::layout;

/// The kernel's spin lock as a field of a map value (`struct bpf_spin_lock`, `include/uapi/linux/bpf.h`). The kernel
/// finds it by this very name in the value's BTF, and hides it from userspace: it always reads 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct bpf_spin_lock {
    /// The lock's word.
    pub val: u32,
}

/// An IPv4 address as it lies in the packet.
pub type V4 = u32;

/// An IPv6 address as it lies in the packet.
pub type V6 = [u32; 4];

/// Key of a flow: the tuple as it arrives, all fields in network order.
///
/// Aligned to 8 so that the kernel program may build it on its stack with 8-byte stores.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FlowKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IP protocol number.
    pub proto: u32,
}
layout!(FlowKey<V4>, size = 16, fields = V4, V4, u16, u16, u32);
layout!(FlowKey<V6>, size = 40, fields = V6, V6, u16, u16, u32);

/// An entry of the flow table.
///
/// For IPv4 48 bytes with a 16-byte key: 129 bytes of kernel memory an entry.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow<A> {
    /// Guards `state` (forward entries; unused in reverse ones).
    pub lock: bpf_spin_lock,
    /// [`crate::tcp::state`] bits. A reverse entry mirrors its forward one's, so that either direction of an
    /// established flow knows from its own entry that there is nothing to decide.
    pub state: u8,
    /// [`flags`].
    pub flags: u8,
    /// Forward: index of the server's next hop. Reverse: index of the [`Hop`] of the client's side, without its MAC.
    pub hop: u16,
    /// Forward: source address to write. Reverse: the service's address. Network order.
    pub src: A,
    /// Forward: destination address to write. Reverse: the client's address. Network order.
    pub dst: A,
    /// Source port to write, network order.
    pub sport: u16,
    /// Destination port to write, network order.
    pub dport: u16,
    /// Forward: when the flow opened (milliseconds of `CLOCK_MONOTONIC`, modulo 2³²), then [`side_signature`] of where
    /// its packets come from. Reverse: the MAC address that replies go to, then in the last word's
    /// upper half the milliseconds to the server's answer plus one.
    pub side: [u32; 2],
    /// Index of the [`crate::service::Lane`] it is counted under.
    pub lane: u32,
    /// When a packet last came this way, in ticks.
    pub last: u32,
    /// Packets that came this way. Added to without a lock: a direction's packets come by one queue and so one CPU.
    pub packets: u32,
    /// Bytes of payload that came this way, retransmissions included.
    pub bytes: u64,
}
layout!(
    Flow<V4>,
    size = 48,
    fields = bpf_spin_lock,
    u8,
    u8,
    u16,
    V4,
    V4,
    u16,
    u16,
    [u32; 2],
    u32,
    u32,
    u32,
    u64
);
layout!(
    Flow<V6>,
    size = 72,
    fields = bpf_spin_lock,
    u8,
    u8,
    u16,
    V6,
    V6,
    u16,
    u16,
    [u32; 2],
    u32,
    u32,
    u32,
    u64
);

/// Bits of [`Flow::flags`].
pub mod flags {
    /// A reverse entry: its packets come from the server.
    pub const REVERSE: u8 = 0x01;
    /// Addresses and ports are rewritten (`fullnat`, `nat`); else the packet is only sent on (`dsr`).
    pub const TRANSLATE: u8 = 0x02;
    /// The flow is counted in its server's active flows.
    pub const COUNTED: u8 = 0x04;
    /// Both ends are being told to give up: their next segments are answered with RST.
    pub const RESETTING: u8 = 0x08;
    /// Its end was told ([`crate::event::FlowEnd`]).
    pub const TOLD: u8 = 0x10;
}

impl<A: Copy> Flow<A> {
    /// The key of the opposite entry: the tuple of what answers this entry's rewritten packets.
    #[inline(always)]
    pub const fn opposite(&self, proto: u32) -> FlowKey<A> {
        FlowKey {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto,
        }
    }
}

/// A way out: interface, tags and addresses of the frame. One entry of an array, 0 standing for "none".
///
/// A server has one of its own, so that a changed route or MAC address is one write, seen by all its flows. MAC
/// addresses are held as the words that are written into the frame: four bytes and two, as they lie there.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hop {
    /// Interface to send from.
    pub ifindex: u32,
    /// Destination MAC address, first four bytes; zero for a client's side, where each flow has its own.
    pub dst_mac_low: u32,
    /// Source MAC address, the interface's own: first four bytes.
    pub src_mac_low: u32,
    /// Destination MAC address, last two bytes.
    pub dst_mac_high: u16,
    /// Source MAC address, last two bytes.
    pub src_mac_high: u16,
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
    u32,
    u32,
    u16,
    u16,
    u16,
    u16,
    u16,
    u16
);

impl Hop {
    /// The neighbour is known: packets may be sent.
    pub const USABLE: u16 = 1;

    /// A MAC address as the words of a frame.
    pub const fn mac_words(mac: [u8; 6]) -> (u32, u16) {
        (
            u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]),
            u16::from_ne_bytes([mac[4], mac[5]]),
        )
    }
}

/// Key of the table that finds the [`Hop`] of the side a packet came in by.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
