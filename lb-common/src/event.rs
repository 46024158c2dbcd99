//! What the kernel program tells of a flow's end, through a ring buffer, for the access log.

use crate::{flow::V6, layout};

/// A flow has ended. Times are milliseconds of `CLOCK_MONOTONIC`, modulo 2³².
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowEnd {
    /// The client's address, network order; an IPv4 one in the first word.
    pub client: V6,
    /// The service's address, likewise.
    pub service: V6,
    /// Bytes of payload from the client.
    pub bytes_in: u64,
    /// Bytes of payload from the server; 0 where the server answers the client directly.
    pub bytes_out: u64,
    /// The lane it was counted under.
    pub lane: u32,
    /// When it opened.
    pub opened_ms: u32,
    /// When it ended: for one that idled out, when that was found.
    pub ended_ms: u32,
    /// From the SYN to the server's answer, [`FlowEnd::NEVER`] if none came.
    pub connect_ms: u32,
    /// The client's port, network order.
    pub client_port: u16,
    /// The service's port, network order.
    pub service_port: u16,
    /// Its last state, [`crate::tcp::state`].
    pub state: u8,
    /// IP protocol number.
    pub proto: u8,
    /// 4 or 6: which addresses the words are.
    pub family: u8,
    /// Its [`crate::flow::flags`].
    pub flags: u8,
}
layout!(
    FlowEnd,
    size = 72,
    fields = V6,
    V6,
    u64,
    u64,
    u32,
    u32,
    u32,
    u32,
    u16,
    u16,
    u8,
    u8,
    u8,
    u8
);

impl FlowEnd {
    /// No answer in [`FlowEnd::connect_ms`].
    pub const NEVER: u32 = u32::MAX;
}

/// Bytes of the ring buffer: some 13,000 flows' ends between two looks of the agent.
pub const RING_BYTES: u32 = 1 << 20;

/// What the program decided for one packet of the client that is being traced (`lb trace`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace {
    /// Source address as the packet came, network order; an IPv4 one in the first word.
    pub src: V6,
    /// Destination address, likewise.
    pub dst: V6,
    /// When: milliseconds of `CLOCK_MONOTONIC`, modulo 2³².
    pub at_ms: u32,
    /// The [`crate::counter::Reason`] it was counted under.
    pub reason: u32,
    /// Lane of its flow, [`Trace::NO_LANE`] if it has none.
    pub lane: u32,
    /// Interface it came in by.
    pub ifindex: u32,
    /// Length of the IP packet, bytes.
    pub len: u32,
    /// Source port, network order.
    pub sport: u16,
    /// Destination port, network order.
    pub dport: u16,
    /// IP protocol number.
    pub proto: u8,
    /// 4 or 6.
    pub family: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// The flow's [`crate::tcp::state`] before the packet, 0 if it has none.
    pub state: u8,
}
layout!(
    Trace,
    size = 60,
    fields = V6,
    V6,
    u32,
    u32,
    u32,
    u32,
    u32,
    u16,
    u16,
    u8,
    u8,
    u8,
    u8
);

impl Trace {
    /// No lane in [`Trace::lane`].
    pub const NO_LANE: u32 = u32::MAX;
    /// Records a CPU writes within one tick of the coarse clock, at most.
    pub const PER_TICK: u32 = 100;
}

/// Bytes of the ring buffer of [`Trace`]s.
pub const TRACE_BYTES: u32 = 1 << 18;
