//! The maps. Sizes here are placeholders: the agent sets the real ones before it loads the object.

use aya_ebpf::{
    btf_maps::{Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray, Queue, RingBuf},
    macros::btf_map,
};
use lb_common::{
    abi::{RegistryChunk, Settings, Tick},
    counter::Reason,
    event::{FlowEnd, RING_BYTES, TRACE_BYTES, Trace},
    flow::{Closed, Flow, FlowKey, FragmentKey, FragmentPorts, HalfSet, Hop, SideKey, V4, V6},
    load::{ActiveBlock, WeightBlock},
    service::{Lane, LaneCount, MemberChunk, Server, Service, ServiceKey, SlotChunk, SnatAddress},
};

use crate::work::Work;

/// What the agent has set.
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// The coarse clock, ticks.
#[btf_map]
pub static CLOCK: Array<Tick, 1> = Array::new();

/// Ports of interest, a bit each: first destination ports that any service or source NAT uses, then source ports of
/// servers whose replies have the client's own address (`nat`). Strangers go up after a look or two.
#[btf_map]
pub static PORTS: Array<u64, 2048> = Array::new();

/// IPv4 services by address, port and protocol.
#[btf_map]
pub static SERVICES4: HashMap<ServiceKey<V4>, Service, 1024> = HashMap::new();

/// Likewise IPv6.
#[btf_map]
pub static SERVICES6: HashMap<ServiceKey<V6>, Service, 1024> = HashMap::new();

/// Addresses that source NAT talks to: replies from them to a port of ours without a flow are not answered.
#[btf_map]
pub static REALS4: HashMap<ServiceKey<V4>, u32, 1024> = HashMap::new();

/// Likewise IPv6.
#[btf_map]
pub static REALS6: HashMap<ServiceKey<V6>, u32, 1024> = HashMap::new();

/// Established IPv4 flows.
#[btf_map]
pub static FLOWS4: HashMap<FlowKey<V4>, Flow<V4>, 1024> = HashMap::new();

/// Likewise IPv6.
#[btf_map]
pub static FLOWS6: HashMap<FlowKey<V6>, Flow<V6>, 1024> = HashMap::new();

/// Half-open IPv4 flows, a power of two sets.
#[btf_map]
pub static HALF4: Array<HalfSet<V4>, 256> = Array::new();

/// Likewise IPv6.
#[btf_map]
pub static HALF6: Array<HalfSet<V6>, 256> = Array::new();

/// What does not fit the stack of 512 bytes; see [`crate::work`].
#[btf_map]
pub static WORK4: PerCpuArray<Work<V4>, 2> = PerCpuArray::new();

/// Likewise IPv6.
#[btf_map]
pub static WORK6: PerCpuArray<Work<V6>, 2> = PerCpuArray::new();

/// Closed IPv4 flows, in the order of their closing.
#[btf_map]
pub static CLOSED4: Queue<Closed<V4>, 1024> = Queue::new();

/// Likewise IPv6.
#[btf_map]
pub static CLOSED6: Queue<Closed<V6>, 1024> = Queue::new();

/// Ports of fragmented IPv4 datagrams.
#[btf_map]
pub static FRAGMENTS4: LruHashMap<FragmentKey<V4>, FragmentPorts, 1024> = LruHashMap::new();

/// Likewise IPv6.
#[btf_map]
pub static FRAGMENTS6: LruHashMap<FragmentKey<V6>, FragmentPorts, 1024> = LruHashMap::new();

/// Denied IPv4 prefixes.
#[btf_map]
pub static DENY4: LpmTrie<V4, u32, 1024> = LpmTrie::new();

/// Likewise IPv6.
#[btf_map]
pub static DENY6: LpmTrie<V6, u32, 1024> = LpmTrie::new();

/// Token buckets of sources, a power of two of them: thousandths of a flow in the lower half, in the upper the
/// millisecond they were last looked at.
#[btf_map]
pub static BUCKETS: Array<u64, 256> = Array::new();

/// How many established flows there are: IPv4, IPv6.
#[btf_map]
pub static FLOW_COUNT: Array<u64, 2> = Array::new();

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

/// MAC addresses of this host's interfaces, by [`lb_common::flow::mac_key`].
#[btf_map]
pub static MACS: HashMap<u64, u32, 256> = HashMap::new();

/// Whose turn it is in a service's slots, by CPU.
#[btf_map]
pub static TURNS: PerCpuArray<u32, 64> = PerCpuArray::new();

/// Whether this host has connections of its own of a service, [`lb_common::service::sockets`].
#[btf_map]
pub static SOCKETS: Array<u32, 64> = Array::new();

/// Packets by [`Reason`].
#[btf_map]
pub static REASONS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();

/// Interfaces that packets may be redirected to, by ifindex.
#[btf_map]
pub static TX: DevMapHash<256> = DevMapHash::new();

/// Ends of flows.
#[btf_map]
pub static EVENTS: RingBuf<FlowEnd, { RING_BYTES as usize }> = RingBuf::new();

/// Packets of the client that is being traced.
#[btf_map]
pub static TRACES: RingBuf<Trace, { TRACE_BYTES as usize }> = RingBuf::new();

/// How many records of a trace each CPU has written in which tick: the tick in the upper half.
#[btf_map]
pub static TRACE_BUDGET: PerCpuArray<u64, 1> = PerCpuArray::new();
