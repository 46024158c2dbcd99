//! The kernel maps, typed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf, lpm_trie::LpmTrie, xdp::DevMapHash},
};
use lb_common::{
    abi::{RegistryChunk, Settings, Tick},
    event::{FlowEnd, Trace},
    flow::{Flow, FlowKey, HalfSet, Hop, SideKey, V4, V6},
    load::{ActiveBlock, WeightBlock},
    service::{Lane, LaneCount, MemberChunk, Server, Service, ServiceKey, SlotChunk, SnatAddress},
};

use super::super::{error::FastPathError, pins::Pins, sys};

/// The maps that are pinned under these names: all but the program's own notes, which mean nothing after a packet.
pub(super) const NAMES: [&str; 37] = [
    "SETTINGS",
    "CLOCK",
    "PORTS",
    "SERVICES4",
    "SERVICES6",
    "REALS4",
    "REALS6",
    "FLOWS4",
    "FLOWS6",
    "HALF4",
    "HALF6",
    "CLOSED4",
    "CLOSED6",
    "FRAGMENTS4",
    "FRAGMENTS6",
    "DENY4",
    "DENY6",
    "BUCKETS",
    "FLOW_COUNT",
    "SLOTS",
    "MEMBERS",
    "LANES",
    "LANE_COUNTS",
    "SERVERS",
    "SNATS",
    "ACTIVE",
    "WEIGHTS",
    "REGISTRY",
    "HOPS",
    "SIDES",
    "MACS",
    "TURNS",
    "SOCKETS",
    "REASONS",
    "TX",
    "EVENTS",
    "TRACES",
];

/// The maps that the agent reads and writes.
pub(in crate::fastpath) struct Maps {
    /// What the program reads.
    pub settings: Array<MapData, Settings>,
    /// The coarse clock.
    pub clock: Array<MapData, Tick>,
    /// Ports of interest.
    pub ports: Array<MapData, u64>,
    /// IPv4's own.
    pub v4: FamilyMaps<V4>,
    /// IPv6's own.
    pub v6: FamilyMaps<V6>,
    flow_count: Array<MapData, u64>,
    /// Slot tables.
    pub slots: Array<MapData, SlotChunk>,
    /// Member tables.
    pub members: Array<MapData, MemberChunk>,
    /// Lanes.
    pub lanes: Array<MapData, Lane>,
    /// Traffic by lane.
    pub lane_counts: PerCpuArray<MapData, LaneCount>,
    /// Servers.
    pub servers: Array<MapData, Server>,
    /// Source NAT addresses.
    pub snats: Array<MapData, SnatAddress>,
    /// Active flows.
    pub active: Array<MapData, ActiveBlock>,
    /// Weights.
    pub weights: Array<MapData, WeightBlock>,
    /// Next hops.
    pub hops: Array<MapData, Hop>,
    /// Sides.
    pub sides: HashMap<MapData, SideKey, u32>,
    /// This host's MAC addresses.
    pub macs: HashMap<MapData, u64, u32>,
    /// Whether this host has connections of a service, by its turn counters' index.
    pub sockets: Array<MapData, u32>,
    /// Counters by reason.
    pub reasons: PerCpuArray<MapData, u64>,
    /// Interfaces to redirect to.
    pub tx: DevMapHash<MapData>,
    pub(super) registry: Array<MapData, RegistryChunk>,
    events: RingBuf<MapData>,
    traces: RingBuf<MapData>,
}

/// The maps of one family.
pub(in crate::fastpath) struct FamilyMaps<A> {
    /// Services.
    pub services: HashMap<MapData, ServiceKey<A>, Service>,
    /// Servers of source NAT.
    pub reals: HashMap<MapData, ServiceKey<A>, u32>,
    /// Denied prefixes.
    pub deny: LpmTrie<MapData, A, u32>,
    /// Flows.
    pub flows: FlowTables<A>,
}

/// The family of an address type among the maps.
pub(in crate::fastpath) trait Mapped: Sized {
    /// Its maps.
    fn maps(maps: &Maps) -> &FamilyMaps<Self>;
    /// Its maps, to be changed.
    fn maps_mut(maps: &mut Maps) -> &mut FamilyMaps<Self>;
}

impl Mapped for V4 {
    fn maps(maps: &Maps) -> &FamilyMaps<Self> {
        &maps.v4
    }

    fn maps_mut(maps: &mut Maps) -> &mut FamilyMaps<Self> {
        &mut maps.v4
    }
}

impl Mapped for V6 {
    fn maps(maps: &Maps) -> &FamilyMaps<Self> {
        &maps.v6
    }

    fn maps_mut(maps: &mut Maps) -> &mut FamilyMaps<Self> {
        &mut maps.v6
    }
}

/// The tables of flows of one family, to be read: a handle of its own, which another thread may have.
pub(in crate::fastpath) struct FlowTables<A> {
    flows: OwnedFd,
    half: OwnedFd,
    family: std::marker::PhantomData<fn() -> A>,
}

impl<A> FlowTables<A> {
    fn open(pins: &Pins, flows: &str, half: &str) -> Result<Self, FastPathError> {
        let open = |name: &str| -> Result<OwnedFd, FastPathError> {
            // Not by the map's id, which only CAP_SYS_ADMIN opens maps by.
            let map = MapData::from_pin(pins.map(name))?;
            Ok(map.fd().as_fd().try_clone_to_owned()?)
        };
        Ok(Self {
            flows: open(flows)?,
            half: open(half)?,
            family: std::marker::PhantomData,
        })
    }

    /// Another handle on the same tables.
    pub(in crate::fastpath) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            flows: self.flows.try_clone()?,
            half: self.half.try_clone()?,
            family: std::marker::PhantomData,
        })
    }
}

impl<A> FlowTables<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    HalfSet<A>: Pod,
{
    /// An established flow's entry.
    pub(in crate::fastpath) fn get(&self, key: &FlowKey<A>) -> io::Result<Option<Flow<A>>> {
        sys::lookup(self.flows.as_fd(), key)
    }

    /// Reads a batch of established flows; see [`sys::lookup_batch`].
    pub(in crate::fastpath) fn batch(
        &self,
        cursor: &mut Option<u32>,
        keys: &mut [FlowKey<A>],
        flows: &mut [Flow<A>],
    ) -> io::Result<(usize, bool)> {
        sys::lookup_batch(self.flows.as_fd(), cursor, keys, flows, false)
    }

    /// Reads a batch of sets of half-open flows, each under its lock.
    pub(in crate::fastpath) fn half_batch(
        &self,
        cursor: &mut Option<u32>,
        indexes: &mut [u32],
        sets: &mut [HalfSet<A>],
    ) -> io::Result<(usize, bool)> {
        sys::lookup_batch(self.half.as_fd(), cursor, indexes, sets, true)
    }
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self, FastPathError> {
        macro_rules! map {
            ($name:literal) => {
                ebpf.take_map($name)
                    .ok_or(FastPathError::NoMap($name))?
                    .try_into()?
            };
        }
        Ok(Maps {
            settings: map!("SETTINGS"),
            clock: map!("CLOCK"),
            ports: map!("PORTS"),
            v4: FamilyMaps {
                services: map!("SERVICES4"),
                reals: map!("REALS4"),
                deny: map!("DENY4"),
                flows: FlowTables::open(pins, "FLOWS4", "HALF4")?,
            },
            v6: FamilyMaps {
                services: map!("SERVICES6"),
                reals: map!("REALS6"),
                deny: map!("DENY6"),
                flows: FlowTables::open(pins, "FLOWS6", "HALF6")?,
            },
            flow_count: map!("FLOW_COUNT"),
            slots: map!("SLOTS"),
            members: map!("MEMBERS"),
            lanes: map!("LANES"),
            lane_counts: map!("LANE_COUNTS"),
            servers: map!("SERVERS"),
            snats: map!("SNATS"),
            active: map!("ACTIVE"),
            weights: map!("WEIGHTS"),
            registry: map!("REGISTRY"),
            hops: map!("HOPS"),
            sides: map!("SIDES"),
            macs: map!("MACS"),
            sockets: map!("SOCKETS"),
            reasons: map!("REASONS"),
            events: map!("EVENTS"),
            traces: map!("TRACES"),
            tx: map!("TX"),
        })
    }

    /// Established flows of both families.
    pub(in crate::fastpath) fn flows(&self) -> Result<u64, FastPathError> {
        Ok(self.flow_count.get(&0, 0)? + self.flow_count.get(&1, 0)?)
    }

    /// The next end of a flow that the program told of. What another build's program told is passed over.
    pub(in crate::fastpath) fn next_flow_end(&mut self) -> Option<FlowEnd> {
        next(&mut self.events)
    }

    /// The next packet of the traced client.
    pub(in crate::fastpath) fn next_trace(&mut self) -> Option<Trace> {
        next(&mut self.traces)
    }
}

fn next<T: Pod>(ring: &mut RingBuf<MapData>) -> Option<T> {
    while let Some(item) = ring.next() {
        if item.len() >= size_of::<T>() {
            // SAFETY: long enough, and every bit pattern is a value (`Pod`); unaligned, since the ring promises 8 bytes
            // only.
            return Some(unsafe { item.as_ptr().cast::<T>().read_unaligned() });
        }
    }
    None
}
