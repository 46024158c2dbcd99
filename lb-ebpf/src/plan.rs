//! What the steps agree on: a packet as they see it, and what is to be done with it.

use lb_common::{
    counter::Reason,
    flow::{FlowKey, Hop},
};

/// IP protocol numbers (IANA).
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The part of a datagram that a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later one: the ports are those of the first, remembered.
    Later,
}

/// A packet that might be a flow's: where its headers lie and what they say. Bounds are checked up to the end of the
/// TCP or UDP header without options, but for a later fragment, which has none.
pub struct Packet<A> {
    /// Address of the Ethernet header.
    pub eth: usize,
    /// Address of the IP header.
    pub ip: usize,
    /// Address of the TCP or UDP header.
    pub l4: usize,
    /// The tuple.
    pub key: FlowKey<A>,
    /// Interface it came in by.
    pub ifindex: u32,
    /// Its VLAN tags, as in [`Hop::tags`].
    pub tags: [u32; 2],
    /// Length of the IP packet, bytes.
    pub len: u32,
    /// Bytes of payload.
    pub payload: u32,
    /// TCP flags, 0 for UDP.
    pub flags: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Whether routers must not fragment it: always so for IPv6.
    pub whole: bool,
    /// Which part of a datagram it is.
    pub part: Part,
}

impl<A> Packet<A> {
    /// Whether it is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.key.proto == proto::TCP as u32
    }
}

/// The kernel does not send the packet on as a flow's, or not by the quick way.
#[derive(Clone, Copy)]
pub enum Stop {
    /// The host's stack gets it.
    Up(Reason),
    /// Nobody does.
    Drop(Reason),
    /// It was answered, and goes back where it came from.
    Answer(Reason),
    /// It takes more than the quick way has: options, fragments, tags, a change of state.
    Slow,
    /// ICMP.
    Icmp,
    /// Too big for its way out: what fits, bytes.
    TooBig(u32),
}

/// How a packet leaves.
pub struct Plan<A> {
    /// Addresses and ports to write, if any: source, destination, source port, destination port.
    pub translate: Option<(A, A, u16, u16)>,
    /// Destination MAC address: its first four bytes and its last two, as they lie in the frame.
    pub dst_mac: (u32, u16),
    /// The way out.
    pub hop: &'static Hop,
    /// Whether it gets an outer header.
    pub encapsulate: bool,
    /// Whether it goes towards a server.
    pub to_server: bool,
}
