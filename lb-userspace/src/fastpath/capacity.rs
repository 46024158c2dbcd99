//! How large the maps are made: fixed when they are created, so with room to grow.

use super::registry::Room;
use crate::topology::Topology;

/// Sizes of the maps, entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Indexes.
    pub room: Room,
    /// Entries of the flow table: two a flow.
    pub flow_entries: u32,
    /// Services.
    pub services: u32,
    /// Chunks of slots.
    pub slot_chunks: u32,
    /// Chunks of members.
    pub member_chunks: u32,
    /// Chunks of the registry.
    pub registry_chunks: u32,
}

/// How many times over what is configured now.
const GROWTH: usize = 4;

impl Capacity {
    /// Room for what `topology` needs, several times over. `addresses` is how many local addresses `*` may mean.
    pub(super) fn of(topology: &Topology, max_flows: u32, addresses: usize) -> Self {
        let servers: usize = topology.backends.iter().map(|b| b.servers.len()).sum();
        let binds: usize = topology
            .frontends
            .iter()
            .map(|f| f.config.binds.len())
            .sum();
        let widest = topology
            .backends
            .iter()
            .map(|b| b.servers.len())
            .max()
            .unwrap_or(0);
        let lanes = topology
            .frontends
            .iter()
            .filter_map(|f| f.default_backend())
            .map(|b| b.servers.len())
            .sum();
        let slots: usize = topology
            .backends
            .iter()
            .map(|b| b.table().len() / 32 + 1)
            .sum();
        let services = binds * addresses.max(1);
        let room = Room {
            blocks: at_least(64, topology.backends.len()),
            lanes: at_least(1024, lanes),
            hops: at_least(1024, servers + 64).min(1 << 16),
            turns: at_least(1024, services),
        };
        Capacity {
            room,
            flow_entries: max_flows.saturating_mul(2),
            services: room.turns,
            slot_chunks: at_least(4096, slots * addresses.max(1)),
            member_chunks: at_least(1024, services * (widest / 16 + 1)),
            // Two copies.
            registry_chunks: at_least(64, (servers + services + lanes) * 128 / 4096 + 1)
                .saturating_mul(2),
        }
    }
}

fn at_least(least: u32, needed: usize) -> u32 {
    u32::try_from(needed * GROWTH)
        .unwrap_or(u32::MAX)
        .max(least)
}
