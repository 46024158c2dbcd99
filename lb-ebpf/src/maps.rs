//! The maps. Sizes here are placeholders: the agent sets the real ones before it loads the object.

use aya_ebpf::{
    btf_maps::{Array, DevMapHash, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    abi::{RegistryChunk, Settings, Tick},
    counter::Reason,
    event::{FlowEnd, RING_BYTES},
    flow::{Flow, FlowKey, Hop, SideKey, V4},
    load::{ActiveBlock, WeightBlock},
    service::{Lane, LaneCount, MemberChunk, Server, Service, ServiceKey, SlotChunk, SnatAddress},
};

/// What the agent has set.
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// The coarse clock, ticks.
#[btf_map]
pub static CLOCK: Array<Tick, 1> = Array::new();

/// One bit a destination port that any service or source NAT uses: strangers go up after one look.
#[btf_map]
pub static PORTS: Array<u64, 1024> = Array::new();

/// Services by address, port and protocol.
#[btf_map]
pub static SERVICES4: HashMap<ServiceKey<V4>, Service, 1024> = HashMap::new();

/// Addresses that source NAT talks to: replies from them to a port of ours without a flow are not answered.
#[btf_map]
pub static REALS4: HashMap<ServiceKey<V4>, u32, 1024> = HashMap::new();

/// Flows.
#[btf_map]
pub static FLOWS4: HashMap<FlowKey<V4>, Flow<V4>, 1024> = HashMap::new();

/// How many flows there are.
#[btf_map]
pub static FLOW_COUNT: Array<u64, 1> = Array::new();

/// Arena of slot tables.
#[btf_map]
pub static SLOTS: Array<SlotChunk, 64> = Array::new();

/// Arena of member tables.
#[btf_map]
pub static MEMBERS: Array<MemberChunk, 64> = Array::new();

/// Lanes.
#[btf_map]
pub static LANES: Array<Lane, 64> = Array::new();

/// Traffic of each lane.
#[btf_map]
pub static LANE_COUNTS: PerCpuArray<LaneCount, 64> = PerCpuArray::new();

/// Servers.
#[btf_map]
pub static SERVERS: Array<Server, 64> = Array::new();

/// Arena of source NAT addresses.
#[btf_map]
pub static SNATS: Array<SnatAddress, 64> = Array::new();

/// Active flows, a block a backend.
#[btf_map]
pub static ACTIVE: Array<ActiveBlock, 4> = Array::new();

/// Weights and limits, likewise.
#[btf_map]
pub static WEIGHTS: Array<WeightBlock, 4> = Array::new();

/// The agent's own.
#[btf_map]
pub static REGISTRY: Array<RegistryChunk, 4> = Array::new();

/// Ways out; entry 0 is none.
#[btf_map]
pub static HOPS: Array<Hop, 64> = Array::new();

/// The hop of the side that a packet came in by.
#[btf_map]
pub static SIDES: HashMap<SideKey, u32, 256> = HashMap::new();

/// Whose turn it is in a service's slots, by CPU.
#[btf_map]
pub static TURNS: PerCpuArray<u32, 64> = PerCpuArray::new();

/// Packets by [`Reason`].
#[btf_map]
pub static REASONS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();

/// Interfaces that packets may be redirected to, by ifindex.
#[btf_map]
pub static TX: DevMapHash<256> = DevMapHash::new();

/// Ends of flows.
#[btf_map]
pub static EVENTS: RingBuf<FlowEnd, { RING_BYTES as usize }> = RingBuf::new();
