//! What the steps agree on: a packet as they see it, and what is to be done with it.

use lb_common::{counter::Reason, flow::FlowKey};

/// A packet that might be a flow's: where its headers lie and what they say. Bounds are checked up to the end of the
/// TCP header without options.
pub struct Packet<A> {
    /// Address of the Ethernet header.
    pub eth: usize,
    /// Address of the IP header.
    pub ip: usize,
    /// Address of the TCP header.
    pub l4: usize,
    /// The tuple.
    pub key: FlowKey<A>,
    /// Interface it came in by.
    pub ifindex: u32,
    /// TCP flags.
    pub flags: u8,
    /// Time to live.
    pub ttl: u8,
    /// Bytes of payload.
    pub payload: u32,
}

/// The kernel does not send the packet on.
pub enum Stop {
    /// The host's stack gets it.
    Up(Reason),
    /// Nobody does.
    Drop(Reason),
}

/// How a packet leaves.
pub struct Plan<A> {
    /// Addresses and ports to write, if any: source, destination, source port, destination port.
    pub translate: Option<(A, A, u16, u16)>,
    /// Destination MAC address: its first four bytes and its last two, as they lie in the frame.
    pub dst_mac: (u32, u16),
    /// Source MAC address, likewise.
    pub src_mac: (u32, u16),
    /// Interface to leave by.
    pub ifindex: u32,
    /// Whether it goes towards a server.
    pub to_server: bool,
}
