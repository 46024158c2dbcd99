//! How large the maps are made: fixed when they are created, so with room to grow.

use std::net::IpAddr;

use lb_common::{
    flow::{Closed, Flow, FlowKey, HalfSet, V4, V6, WAYS},
    load::{BLOCK, WeightBlock},
    service::{LaneCount, SLOTS_PER_CHUNK, Server, SlotChunk},
};

use super::registry::Room;
use crate::{
    config::path::serves,
    topology::{Backend, Frontend, Topology},
};

/// Sizes of the maps, entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Indexes.
    pub room: Room,
    /// IPv4's own.
    pub v4: FlowRoom,
    /// IPv6's own.
    pub v6: FlowRoom,
    /// Services of a family.
    pub services: u32,
    /// Chunks of slots.
    pub slot_chunks: u32,
    /// Chunks of members.
    pub member_chunks: u32,
    /// Chunks of the registry.
    pub registry_chunks: u32,
    /// Token buckets of sources, a power of two.
    pub buckets: u32,
}

/// Sizes of one family's tables of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowRoom {
    /// Established flows' entries: two a flow.
    pub entries: u32,
    /// Sets of half-open flows, a power of two.
    pub half_sets: u32,
    /// Closed flows that wait to be freed.
    pub closed: u32,
    /// Fragmented datagrams at a time.
    pub fragments: u32,
}

/// How many times over what is configured now.
const GROWTH: usize = 4;
/// Likewise for balancing tables, of which each change of a weight needs another for a second.
const TABLE_GROWTH: usize = 8;
/// Chunks of slots at least, a megabyte: half a dozen of the largest tables, so that a backend may become a consistent one
/// by a reload, and its servers change meanwhile.
const SLOT_CHUNKS: u32 = 1 << 14;
/// Entries of the flow table of a family that no service has: enough for a service that comes later to try it.
const FEW_ENTRIES: u32 = 4096;
/// Sets of half-open flows, at least and at most.
const HALF_SETS: std::ops::RangeInclusive<u32> = 256..=1 << 18;
/// Token buckets of sources.
const BUCKETS: u32 = 1 << 16;

/// Kernel memory of an entry of a preallocated hash beside key and value, bytes: `struct htab_elem` and its share of
/// the buckets, as measured.
const HASH_ENTRY: u64 = 65;

impl FlowRoom {
    /// Room for `flows` at a time.
    ///
    /// A half-open flow lives in its set for (entries / rate): a million SYNs a second, times the 250 ms of a slow
    /// client, are 250,000 flows of two entries each. That is for a million flows; fewer get less in proportion.
    fn of(flows: u32) -> Self {
        let sets = (flows / 8).next_power_of_two();
        Self {
            entries: flows.saturating_mul(2),
            half_sets: sets.clamp(*HALF_SETS.start(), *HALF_SETS.end()),
            closed: (flows / 2).max(1024),
            fragments: 4096,
        }
    }

    /// For a family without services.
    fn small() -> Self {
        Self {
            entries: FEW_ENTRIES,
            half_sets: *HALF_SETS.start(),
            closed: 1024,
            fragments: 256,
        }
    }

    /// Flows at a time.
    pub(super) fn flows(&self) -> u32 {
        self.entries / 2
    }

    /// From how many flows on new ones are refused: 5 % stay free for those that a hash table cannot place evenly.
    pub(super) fn admitted(&self) -> u32 {
        (u64::from(self.flows()) * 95 / 100) as u32
    }

    /// Half-open flows at a time, of those that have two entries.
    pub(super) fn half_open(&self) -> u32 {
        self.half_sets * WAYS as u32 / 2
    }

    fn bytes(&self, key: usize, value: usize, set: usize, closed: usize) -> u64 {
        u64::from(self.entries) * (HASH_ENTRY + (key + value) as u64)
            + u64::from(self.half_sets) * set as u64
            + u64::from(self.closed) * closed as u64
    }
}

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
        let slots: usize = topology.backends.iter().map(|b| table_chunks(b)).sum();
        // And what stands for the addresses that are yet to come.
        let services = binds * (addresses.max(1) + 1);
        let room = Room {
            blocks: at_least(64, topology.backends.len()),
            lanes: at_least(1024, lanes),
            hops: at_least(1024, servers + 64).min(1 << 16),
            turns: at_least(1024, services),
        };
        let family = |of: IpAddr| {
            if has_services(topology, of) {
                FlowRoom::of(max_flows)
            } else {
                FlowRoom::small()
            }
        };
        Capacity {
            room,
            v4: family([0, 0, 0, 0].into()),
            v6: family([0; 16].into()),
            services: room.turns,
            slot_chunks: at_least(SLOT_CHUNKS, slots * TABLE_GROWTH / GROWTH),
            member_chunks: at_least(1024, services * (widest / 16 + 1)),
            // Two copies.
            registry_chunks: at_least(64, (servers + services + lanes) * 128 / 4096 + 1)
                .saturating_mul(2),
            buckets: BUCKETS,
        }
    }

    /// Kernel memory of all maps, bytes, on a host with `cpus` CPUs. Small ones are left out.
    pub(super) fn bytes(&self, cpus: usize) -> u64 {
        let v4 = self.v4.bytes(
            size_of::<FlowKey<V4>>(),
            size_of::<Flow<V4>>(),
            size_of::<HalfSet<V4>>(),
            size_of::<Closed<V4>>(),
        );
        let v6 = self.v6.bytes(
            size_of::<FlowKey<V6>>(),
            size_of::<Flow<V6>>(),
            size_of::<HalfSet<V6>>(),
            size_of::<Closed<V6>>(),
        );
        let blocks = self.room.blocks as usize
            * (size_of::<WeightBlock>() + BLOCK * (size_of::<Server>() + size_of::<u32>()));
        let lanes = self.room.lanes as usize * cpus * size_of::<LaneCount>();
        let slots = self.slot_chunks as usize * size_of::<SlotChunk>();
        let buckets = self.buckets as usize * size_of::<u64>();
        v4 + v6 + (blocks + lanes + slots + buckets) as u64
    }

    /// Whether it has room for more flows of either family.
    pub(super) fn has_more_flows_than(&self, other: &Capacity) -> bool {
        self.v4.flows() > other.v4.flows() || self.v6.flows() > other.v6.flows()
    }

    /// Flows at a time, in the larger of the two tables.
    pub(super) fn flows(&self) -> u32 {
        self.v4.flows().max(self.v6.flows())
    }
}

/// Chunks of the largest balancing table that a backend may need.
fn table_chunks(backend: &Backend) -> usize {
    let slots = match backend.config.is_consistent() {
        true => backend.config.table_size as usize,
        false => backend.table().len(),
    };
    slots / SLOTS_PER_CHUNK as usize + 1
}

/// Whether the kernel may have to serve clients of this family.
fn has_services(topology: &Topology, unspecified: IpAddr) -> bool {
    let may = |frontend: &Frontend| {
        let backend = frontend.default_backend()?;
        let binds = frontend.config.binds.iter();
        let mut of_family = binds.filter(|bind| {
            let family = bind.address.ip().map(|ip| ip.is_ipv4());
            family == Some(unspecified.is_ipv4()) || (bind.both_families && unspecified.is_ipv4())
        });
        Some(of_family.next().is_some() && serves(&backend.config, unspecified))
    };
    topology.frontends.iter().any(|f| may(f) == Some(true))
}

fn at_least(least: u32, needed: usize) -> u32 {
    u32::try_from(needed * GROWTH)
        .unwrap_or(u32::MAX)
        .max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Balance;
    use crate::topology::fixtures;

    fn capacity(bind: [u8; 4], server: &str) -> Capacity {
        let frontend = fixtures::frontend("fe", (bind, 80).into(), "be");
        let servers = vec![fixtures::server("a", server)];
        let backend = fixtures::backend("be", Balance::RoundRobin, servers);
        let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
        Capacity::of(&topology, 1_000_000, 1)
    }

    #[test]
    fn a_million_flows_survive_a_million_syns_a_second() {
        let capacity = capacity([192, 0, 2, 1], "192.0.2.9:80");
        assert_eq!(capacity.v4.flows(), 1_000_000);
        assert!(capacity.v4.half_open() >= 250_000, "{capacity:?}");
        assert!(capacity.v4.half_sets.is_power_of_two());
    }

    #[test]
    fn a_family_without_services_costs_little() {
        let capacity = capacity([192, 0, 2, 1], "192.0.2.9:80");
        assert_eq!(capacity.v6, FlowRoom::small());
        assert_eq!(
            (capacity.v4.admitted(), capacity.v6.admitted()),
            (950_000, 1_945)
        );
        let megabytes = capacity.bytes(8) >> 20;
        assert!((250..450).contains(&megabytes), "{megabytes} MiB");
    }

    #[test]
    fn a_bind_of_one_family_with_servers_of_the_other_is_no_service() {
        let capacity = capacity([192, 0, 2, 1], "[2001:db8::9]:80");
        assert_eq!(capacity.v4, FlowRoom::small());
    }
}
