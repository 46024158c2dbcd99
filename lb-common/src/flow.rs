//! The flow tables: one preallocated hash a family, keyed by the tuple on the wire, and beside it a table for flows that
//! are not proven yet.
//!
//! A flow that is translated both ways (`fullnat`, `nat`) has two entries: the *forward* one under the client's tuple
//! and the *reverse* one under the tuple of the server's replies. A flow that is only forwarded (`dsr`, `ipip`) has the
//! forward entry alone. What is done with the packets of one direction is a [`Leg`].
//!
//! A flow begins as *half-open*: its legs stand in sets of [`WAYS`] in an array, each set with a lock of its own, the
//! oldest making room for the newest. So a flood of first packets evicts nothing but half-open flows, and costs no
//! insertion into a hash. Once the client has shown that it sees the server's answers, the legs move to the hash.
//!
//! A source NAT port is claimed among half-open flows by the set's lock (a tuple has one set it can stand in), among
//! established ones by inserting the reverse entry with `BPF_NOEXIST`.
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

/// What is done with the packets of one direction of a flow.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leg<A> {
    /// [`crate::tcp::state`] bits. A reverse leg mirrors its forward one's, so that either direction of an established
    /// flow knows from its own entry that there is nothing to decide.
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
}
layout!(
    Leg<V4>,
    size = 28,
    fields = u8,
    u8,
    u16,
    V4,
    V4,
    u16,
    u16,
    [u32; 2],
    u32
);
layout!(
    Leg<V6>,
    size = 52,
    fields = u8,
    u8,
    u16,
    V6,
    V6,
    u16,
    u16,
    [u32; 2],
    u32
);

/// An entry of the flow table.
///
/// For IPv4 48 bytes with a 16-byte key: 129 bytes of kernel memory an entry. For IPv6 72 with 40: 177.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow<A> {
    /// Guards the leg's state (forward entries; unused in reverse ones).
    pub lock: bpf_spin_lock,
    /// What is done with the packets.
    pub leg: Leg<A>,
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
    Leg<V4>,
    u32,
    u32,
    u64
);
layout!(
    Flow<V6>,
    size = 72,
    fields = bpf_spin_lock,
    Leg<V6>,
    u32,
    u32,
    u64
);

/// Places in a set of half-open flows.
pub const WAYS: usize = 4;

/// One direction of a half-open flow. Empty if `key.proto` is 0.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Half<A> {
    /// The tuple as it arrives.
    pub key: FlowKey<A>,
    /// What is done with the packets.
    pub leg: Leg<A>,
    /// TCP: the sender's initial sequence number, host order; in a reverse leg it counts once the leg's state has
    /// `ANSWERED`.
    pub isn: u32,
    /// When it was entered, or for what has no handshake, when a packet last came: milliseconds of `CLOCK_MONOTONIC`,
    /// modulo 2³². The set's smallest makes room.
    pub since_ms: u32,
    /// Packets that came this way.
    pub packets: u32,
    /// Bytes of payload that came this way.
    pub bytes: u32,
    /// Spare, zero.
    pub spare: u32,
}
layout!(
    Half<V4>,
    size = 64,
    fields = FlowKey<V4>,
    Leg<V4>,
    u32,
    u32,
    u32,
    u32,
    u32
);
layout!(
    Half<V6>,
    size = 112,
    fields = FlowKey<V6>,
    Leg<V6>,
    u32,
    u32,
    u32,
    u32,
    u32
);

/// A set of half-open flows: all whose tuples have the same [`crate::hash::set_v4`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HalfSet<A> {
    /// Guards the whole set.
    pub lock: bpf_spin_lock,
    /// Spare, zero.
    pub spare: u32,
    /// Of each place the tuple's hash, odd; 0 if it is empty. So that most packets of no half-open flow, and most new
    /// flows, meet one line of memory and not one a place.
    pub tags: [u32; WAYS],
    /// Of each place [`Half::since_ms`].
    pub since_ms: [u32; WAYS],
    /// Spare, zero: places begin where lines do, as far as the map does.
    pub padding: [u32; 6],
    /// Its places. One is empty if its key's protocol is 0.
    pub ways: [Half<A>; WAYS],
}
layout!(
    HalfSet<V4>,
    size = 320,
    fields = bpf_spin_lock,
    u32,
    [u32; WAYS],
    [u32; WAYS],
    [u32; 6],
    [Half<V4>; WAYS]
);
layout!(
    HalfSet<V6>,
    size = 512,
    fields = bpf_spin_lock,
    u32,
    [u32; WAYS],
    [u32; WAYS],
    [u32; 6],
    [Half<V6>; WAYS]
);

/// A half-open TCP flow older than this is forgotten, milliseconds: about as long as Linux retransmits a SYN-ACK
/// (`tcp_synack_retries` 5).
pub const HALF_OPEN_MS: u32 = 60_000;

/// A flow without handshake that nobody answers is forgotten after this idle time, milliseconds: conntrack's
/// `nf_conntrack_udp_timeout`.
pub const UNANSWERED_MS: u32 = 30_000;

/// A closed flow, waiting to be freed by one that opens later.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed<A> {
    /// Key of its forward entry.
    pub key: FlowKey<A>,
    /// When it closed: milliseconds of `CLOCK_MONOTONIC`, modulo 2³².
    pub since_ms: u32,
    /// Spare, zero.
    pub spare: u32,
}
layout!(Closed<V4>, size = 24, fields = FlowKey<V4>, u32, u32);
layout!(Closed<V6>, size = 48, fields = FlowKey<V6>, u32, u32);

/// How long a closed flow keeps its tuple, milliseconds: Linux's `TCP_TIMEWAIT_LEN`.
pub const LINGER_MS: u32 = 60_000;

/// What later fragments of a datagram have in common with its first (RFC 791 §2.3, RFC 8200 §4.5).
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey<A> {
    /// Source address, network order.
    pub src: A,
    /// Destination address, network order.
    pub dst: A,
    /// Identification, as it lies in the packet.
    pub id: u32,
    /// IP protocol number.
    pub proto: u32,
}
layout!(FragmentKey<V4>, size = 16, fields = V4, V4, u32, u32);
layout!(FragmentKey<V6>, size = 40, fields = V6, V6, u32, u32);

/// What the first fragment said.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FragmentPorts {
    /// Source port, network order.
    pub sport: u16,
    /// Destination port, network order.
    pub dport: u16,
}
layout!(FragmentPorts, size = 4, fields = u16, u16);

/// Bits of [`Leg::flags`].
pub mod flags {
    /// A reverse entry: its packets come from the server.
    pub const REVERSE: u8 = 0x01;
    /// Addresses and ports are rewritten (`fullnat`, `nat`); else the packet is only sent on (`dsr`).
    pub const TRANSLATE: u8 = 0x02;
    /// The flow was opened by a segment in mid-connection: another node's, whose server was recomputed.
    pub const ADOPTED: u8 = 0x04;
    /// Both ends are being told to give up: their next segments are answered with RST.
    pub const RESETTING: u8 = 0x08;
    /// Its end was told ([`crate::event::FlowEnd`]).
    pub const TOLD: u8 = 0x10;
    /// While resetting a flow of which only the client is seen: the server has been told.
    pub const RESET_SENT: u8 = 0x20;
    /// The forward leg's packets are encapsulated (`ipip`): the hop says how.
    pub const ENCAPSULATE: u8 = 0x40;
}

impl<A: Copy> Leg<A> {
    /// The key of the opposite leg: the tuple of what answers this leg's rewritten packets.
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

/// A way out: interface, tags and addresses of the frame, and the outer header if packets are encapsulated. One entry of
/// an array, 0 standing for "none".
///
/// A server has one of its own, so that a changed route or MAC address is one write, seen by all its flows. MAC
/// addresses and tags are held as the words that are written into the frame, as they lie there.
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
    /// VLAN tags to push, outermost first; see [`tag_word`]. 0 for none, and none after one that is 0.
    pub tags: [u32; 2],
    /// Largest IP packet of a flow that fits, bytes; what the encapsulation takes is taken off.
    pub mtu: u16,
    /// [`Hop::USABLE`] and its siblings.
    pub flags: u16,
    /// Spare, zero.
    pub spare: u32,
    /// Outer source address, network order; an IPv4 one in the first word.
    pub outer_src: [u32; 4],
    /// Outer destination address, likewise.
    pub outer_dst: [u32; 4],
}
layout!(
    Hop,
    size = 64,
    fields = u32,
    u32,
    u32,
    u16,
    u16,
    [u32; 2],
    u16,
    u16,
    u32,
    [u32; 4],
    [u32; 4]
);

impl Hop {
    /// The neighbour is known: packets may be sent.
    pub const USABLE: u16 = 1;
    /// The outer header is IPv4.
    pub const OUTER4: u16 = 2;
    /// The outer header is IPv6.
    pub const OUTER6: u16 = 4;

    /// A MAC address as the words of a frame.
    pub const fn mac_words(mac: [u8; 6]) -> (u32, u16) {
        (
            u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]),
            u16::from_ne_bytes([mac[4], mac[5]]),
        )
    }
}

/// A MAC address as a number, from its words in a frame: the key of the table of this host's own.
#[inline(always)]
pub const fn mac_key(low: u32, high: u16) -> u64 {
    low as u64 | (high as u64) << 32
}

/// A VLAN tag as it lies in the frame: type and identifier (IEEE 802.1Q §9.3), priority and drop eligibility zero.
#[inline(always)]
pub const fn tag_word(tpid: u16, id: u16) -> u32 {
    let (t, i) = (tpid.to_be_bytes(), (id & 0x0fff).to_be_bytes());
    u32::from_ne_bytes([t[0], t[1], i[0], i[1]])
}

/// The bits of a tag in the frame that [`tag_word`] has: all but priority and drop eligibility.
pub const TAG_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0x0f, 0xff]);

/// Key of the table that finds the [`Hop`] of the side a packet came in by.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SideKey {
    /// Interface that received it.
    pub ifindex: u32,
    /// Its VLAN tags, outermost first, as in [`Hop::tags`].
    pub tags: [u32; 2],
    /// Spare, zero.
    pub spare: u32,
}
layout!(SideKey, size = 16, fields = u32, [u32; 2], u32);

/// What a forward entry remembers of where the client's packets come from, to notice a change at the price of one
/// comparison: source MAC address, interface and tags folded to 32 bits.
#[inline(always)]
pub const fn side_signature(mac_low: u32, mac_high: u16, ifindex: u32, tags: u32) -> u32 {
    (mac_low ^ (mac_high as u32).rotate_left(16) ^ ifindex.rotate_left(8))
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(tags)
}
