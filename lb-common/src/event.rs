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
    pub state: u32,
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
    u32
);

impl FlowEnd {
    /// No answer in [`FlowEnd::connect_ms`].
    pub const NEVER: u32 = u32::MAX;
}

/// Bytes of the ring buffer: some 13,000 flows' ends between two looks of the agent.
pub const RING_BYTES: u32 = 1 << 20;
