//! Services, the servers behind them, and the tables from which one is chosen.
//!
//! A service record points into three arenas. Userspace writes new blocks first and the record last; a hash entry is
//! replaced whole, so a packet sees the old tables or the new ones and never a service without servers.
//!
//! ```text
//! SERVICES[addr, port, proto] ─ slots ──▶ SLOTS   ordinal of a server in its backend, one a slot
//!                             ─ members ▶ MEMBERS lane of each ordinal
//!                             ─ block ──▶ ACTIVE  active flows of a backend's servers, one lock; WEIGHTS beside it
//! LANES[lane] ─ server ─▶ SERVERS[server] ─ hop ─▶ HOPS[hop]
//! ```

use crate::{
    flow::{V4, V6},
    layout,
};

/// Key of a service, and of a server in the set of those that replies may come from.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey<A> {
    /// Address, network order.
    pub addr: A,
    /// Port, network order.
    pub port: u16,
    /// IP protocol number.
    pub proto: u16,
}
layout!(ServiceKey<V4>, size = 8, fields = V4, u16, u16);
layout!(ServiceKey<V6>, size = 20, fields = V6, u16, u16);

/// A service: one address, port and protocol of a frontend.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Service {
    /// Index of its turn counters.
    pub id: u32,
    /// First chunk of its slots.
    pub slots_base: u32,
    /// How many slots; 0 when no server may take a new flow.
    pub slots_len: u32,
    /// First chunk of its members.
    pub members_base: u32,
    /// Block of its backend's loads.
    pub block: u32,
    /// Servers in that block, at most [`crate::load::BLOCK`].
    pub block_len: u16,
    /// [`algorithm`].
    pub algorithm: u8,
    /// [`forward`].
    pub forward: u8,
    /// [`Service::DROP_OVERFLOW`] and its siblings.
    pub flags: u32,
    /// Raised with each change, for people reading a dump.
    pub generation: u32,
}
layout!(
    Service,
    size = 32,
    fields = u32,
    u32,
    u32,
    u32,
    u32,
    u16,
    u8,
    u8,
    u32,
    u32
);

impl Service {
    /// A new flow that cannot be taken is dropped, not passed up.
    pub const DROP_OVERFLOW: u32 = 1;
    /// A segment of no known flow may be another node's: its server is recomputed (`source`, `maglev`).
    pub const STATELESS: u32 = 2;
    /// Stands under the unspecified address, and no packet is for it: a [`Service::STATELESS`] frontend is bound to every
    /// address, those that are yet to come included.
    pub const EVERYWHERE: u32 = 4;
}

/// Whether this host has, or may have, connections of a service of its own: ones that userspace or another program
/// serves. A new flow is then looked up among the host's sockets first, which costs as much as all the rest of opening it.
pub mod sockets {
    /// It may.
    pub const MAYBE: u32 = 0;
    /// None was passed up since the agent wrote this.
    pub const WATCHED: u32 = 1;
    /// It has none.
    pub const NONE: u32 = 2;
}

/// How a slot is chosen.
pub mod algorithm {
    /// Each slot in turn, a turn counter a CPU.
    pub const ROUND_ROBIN: u8 = 0;
    /// The least active server for its weight; no slots.
    pub const LEAST_CONN: u8 = 1;
    /// By a hash of the client's address.
    pub const SOURCE: u8 = 2;
    /// By a hash of the client's address and port, in a table built after Maglev.
    pub const MAGLEV: u8 = 3;
    /// The less loaded of two slots drawn at random.
    pub const RANDOM: u8 = 4;
}

/// What is done to a flow's packets.
pub mod forward {
    /// Source and destination rewritten.
    pub const FULL_NAT: u8 = 0;
    /// Destination MAC address rewritten.
    pub const DSR: u8 = 1;
    /// Destination rewritten, the client's address kept.
    pub const NAT: u8 = 2;
    /// Encapsulated in another IP header.
    pub const IPIP: u8 = 3;
}

/// Ordinals in a chunk of the slots arena. An array's elements are rounded up to 8 bytes by the kernel
/// (`array_map_alloc`), so a chunk is a cache line.
pub const SLOTS_PER_CHUNK: u32 = 32;

/// One chunk of slots: each the ordinal of a server in its backend.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotChunk(pub [u16; SLOTS_PER_CHUNK as usize]);
layout!(SlotChunk, size = 64, fields = [u16; 32]);

/// Lanes in a chunk of the members arena.
pub const MEMBERS_PER_CHUNK: u32 = 16;

/// One chunk of members: the lane of each ordinal.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemberChunk(pub [u32; MEMBERS_PER_CHUNK as usize]);
layout!(MemberChunk, size = 64, fields = [u32; 16]);

/// A lane: the traffic of one frontend to one server, what a flow is counted under.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lane {
    /// The server: its block and its ordinal in it, `block << 8 | ordinal`.
    pub server: u32,
    /// Idle time of an established flow, ticks.
    pub idle: u32,
}
layout!(Lane, size = 8, fields = u32, u32);

/// What the kernel counts a lane by; one a CPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCount {
    /// Flows opened.
    pub flows: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes of payload from clients, as HAProxy counts them.
    pub bytes_in: u64,
    /// Packets from servers.
    pub packets_out: u64,
    /// Bytes of payload from servers.
    pub bytes_out: u64,
}
layout!(LaneCount, size = 40, fields = u64, u64, u64, u64, u64);

/// A server, at `block << 8 | ordinal`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Server {
    /// Address, network order; an IPv4 one in the first word.
    pub addr: [u32; 4],
    /// Source NAT addresses start here in their arena.
    pub snat_base: u32,
    /// How many; 0 takes the service's own address.
    pub snat_len: u16,
    /// Port, network order.
    pub port: u16,
    /// Index of its next hop.
    pub hop: u16,
    /// Spare, zero.
    pub spare: [u16; 3],
}
layout!(
    Server,
    size = 32,
    fields = [u32; 4],
    u32,
    u16,
    u16,
    u16,
    u16,
    u32
);

/// A source NAT address, network order; an IPv4 one in the first word.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnatAddress(pub [u32; 4]);
layout!(SnatAddress, size = 16, fields = [u32; 4]);
