//! The one adapter to bpf(2): loads the object, opens its maps, attaches and detaches. [`sync`](super::sync) and
//! [`traffic`](super::traffic) use the maps that it has opened; nothing else of the agent knows aya's types.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, HashMap, Map, MapData, MapInfo, PerCpuArray, RingBuf, xdp::DevMapHash},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use lb_common::{
    abi::{REGISTRY_CHUNK, RegistryChunk, Settings, Tick, VERSION},
    event::FlowEnd,
    flow::{Flow, FlowKey, Hop, SideKey, V4},
    load::{ActiveBlock, WeightBlock},
    service::{Lane, LaneCount, MemberChunk, Server, Service, ServiceKey, SlotChunk, SnatAddress},
};

use super::{
    capacity::Capacity,
    error::FastPathError,
    object::OBJECT,
    packets::{self, Packets},
    pins::Pins,
    registry::{self, Registry, Room},
    sys,
};

/// Names of the programs in the object.
const XDP_PROGRAM: &str = "lb_xdp";
const REAPER: &str = "lb_reap";

/// All maps of the object, pinned under these names.
const MAPS: [&str; 21] = [
    "SETTINGS",
    "CLOCK",
    "PORTS",
    "SERVICES4",
    "REALS4",
    "FLOWS4",
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
    "TURNS",
    "REASONS",
    "EVENTS",
];

/// How the program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By the driver.
    Native,
    /// To the skb hook, which every driver has.
    Generic,
    /// As the kernel thinks best.
    Any,
}

/// A loaded program with its maps.
pub(super) struct Kernel {
    ebpf: Ebpf,
    pins: Pins,
    links: BTreeMap<u32, PinnedLink>,
    packets: Option<Packets>,
    /// The maps.
    pub maps: Maps,
    /// Sizes of the maps as they are, which an earlier agent may have chosen.
    pub capacity: Capacity,
    /// Names and indexes: an earlier agent's, if there was one.
    pub registry: Registry,
    /// The registry's version as it stands in its map.
    written: u64,
    /// Whether the maps were there before, with flows perhaps.
    pub taken_over: bool,
}

/// The maps, typed.
pub(super) struct Maps {
    /// What the program reads.
    pub settings: Array<MapData, Settings>,
    /// The coarse clock.
    pub clock: Array<MapData, Tick>,
    /// Ports of interest.
    pub ports: Array<MapData, u64>,
    /// Services.
    pub services: HashMap<MapData, ServiceKey<V4>, Service>,
    /// Servers of source NAT.
    pub reals: HashMap<MapData, ServiceKey<V4>, u32>,
    /// Number of flows.
    pub flow_count: Array<MapData, u64>,
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
    /// Counters by reason.
    pub reasons: PerCpuArray<MapData, u64>,
    events: RingBuf<MapData>,
    /// Interfaces to redirect to.
    pub tx: DevMapHash<MapData>,
    registry: Array<MapData, RegistryChunk>,
    flows_fd: OwnedFd,
}

impl Kernel {
    /// Loads the object with the maps that are pinned, or with new ones of `wanted` sizes, which it pins.
    pub(super) fn load(pins: Pins, wanted: Capacity) -> Result<Self, FastPathError> {
        if OBJECT.is_empty() {
            return Err(FastPathError::NoObject);
        }
        let registry = match Found::at(&pins)? {
            Found::Nothing => None,
            Found::HalfMade => {
                tracing::warn!(
                    "what is pinned at {} is not whole, an earlier lb died over it: it is made anew",
                    pins.folder().display()
                );
                pins.clear()?;
                None
            }
            Found::Whole(registry) => Some(registry),
        };
        let sizes = sizes(&wanted);
        let paths: Vec<(&'static str, PathBuf)> = MAPS
            .iter()
            .chain(&["TX"])
            .map(|name| (*name, pins.map(name)))
            .collect();
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::STATS);
        for (name, size) in &sizes {
            loader.map_max_entries(name, *size);
        }
        for (name, path) in &paths {
            loader.map_pin_path(name, path);
        }
        let level = packets::level();
        loader.override_global("AYA_LOG_LEVEL", &level, false);
        let mut ebpf = loader.load(OBJECT).map_err(permitted)?;
        let maps = Maps::take(&mut ebpf, &pins)?;
        for name in [XDP_PROGRAM, REAPER] {
            program(&mut ebpf, name)?.load()?;
        }
        let packets = Packets::open(&mut ebpf);
        let capacity = capacity(&pins)?;
        let taken_over = registry.is_some();
        let registry = *registry.unwrap_or_default();
        Ok(Self {
            written: registry.version(),
            ebpf,
            pins,
            links: BTreeMap::new(),
            packets,
            maps,
            capacity,
            registry,
            taken_over,
        })
    }

    /// Attaches the program to an interface, or puts it in the place of an earlier agent's, with no packet in between.
    pub(super) fn attach(&mut self, ifindex: u32, mode: Mode) -> Result<(), FastPathError> {
        if self.links.contains_key(&ifindex) {
            return Ok(());
        }
        let path = self.pins.link("xdp", ifindex);
        let xdp = program(&mut self.ebpf, XDP_PROGRAM)?;
        if path.exists() {
            match replace(xdp, &path) {
                Ok(link) => {
                    self.links.insert(ifindex, link);
                    return Ok(());
                }
                // The interface is another one than it was: its index was used again.
                Err(_) => self.pins.remove_link("xdp", ifindex)?,
            }
        }
        let mode = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
            Mode::Any => XdpMode::Default,
        };
        let id = xdp.attach_to_if_index(ifindex, mode)?;
        let link = FdLink::try_from(xdp.take_link(id)?)?;
        self.links.insert(ifindex, link.pin(&path)?);
        Ok(())
    }

    /// Detaches from an interface.
    pub(super) fn detach(&mut self, ifindex: u32) -> Result<(), FastPathError> {
        self.pins.remove_link("xdp", ifindex)?;
        self.links.remove(&ifindex);
        Ok(())
    }

    /// Interfaces that the program is attached to.
    pub(super) fn attached(&self) -> impl Iterator<Item = u32> {
        self.links.keys().copied()
    }

    /// Interfaces that an earlier agent was attached to.
    pub(super) fn pinned(&self) -> Vec<u32> {
        self.pins
            .pinned_links()
            .into_iter()
            .map(|(_, ifindex)| ifindex)
            .collect()
    }

    /// Writes what the program says of single packets.
    pub(super) fn flush_packets(&mut self) {
        if let Some(packets) = &mut self.packets {
            packets.flush();
        }
    }

    /// Runs the reaper over candidates, laid out as [`lb_common::abi::REAP_HEADER`] says.
    pub(super) fn reap(&mut self, packet: &[u8]) -> Result<(), FastPathError> {
        let fd = program(&mut self.ebpf, REAPER)?
            .fd()?
            .as_fd()
            .try_clone_to_owned()?;
        sys::test_run(fd.as_fd(), packet)?;
        Ok(())
    }

    /// Writes the registry if it changed, so that it never lags behind what refers to it: into one half of its map and
    /// the other in turn, so that dying over it leaves the one before.
    pub(super) fn write_registry(&mut self) -> Result<(), FastPathError> {
        if self.registry.version() == self.written {
            return Ok(());
        }
        let half = self.maps.registry.len() / 2;
        let first = if self.registry.next_generation().is_multiple_of(2) {
            0
        } else {
            half
        };
        let bytes = self
            .registry
            .to_bytes()
            .map_err(|_| FastPathError::RegistryFull)?;
        if registry::chunks(bytes.len()) > half as usize {
            return Err(FastPathError::RegistryFull);
        }
        // The first chunk, with length and checksum, last.
        for (at, part) in bytes.chunks(REGISTRY_CHUNK).enumerate().rev() {
            let mut chunk = RegistryChunk([0; REGISTRY_CHUNK]);
            chunk.0[..part.len()].copy_from_slice(part);
            self.maps.registry.set(first + at as u32, chunk, 0)?;
        }
        self.written = self.registry.version();
        Ok(())
    }

    /// Detaches everywhere and removes everything that was pinned: what flows are left end.
    pub(super) fn remove(self) -> Result<(), FastPathError> {
        self.pins.remove_all()
    }
}

impl Maps {
    fn take(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self, FastPathError> {
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
            services: map!("SERVICES4"),
            reals: map!("REALS4"),
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
            reasons: map!("REASONS"),
            events: map!("EVENTS"),
            tx: map!("TX"),
            flows_fd: MapInfo::from_pin(pins.map("FLOWS4"))?
                .fd()?
                .as_fd()
                .try_clone_to_owned()?,
        })
    }

    /// The next end of a flow that the program told of. What another build's program told is passed over.
    pub(super) fn next_flow_end(&mut self) -> Option<FlowEnd> {
        while let Some(item) = self.events.next() {
            if item.len() >= size_of::<FlowEnd>() {
                // SAFETY: long enough, and every bit pattern is a value; unaligned, since the ring promises 8 bytes only.
                return Some(unsafe { item.as_ptr().cast::<FlowEnd>().read_unaligned() });
            }
        }
        None
    }

    /// Reads a batch of flows; see [`sys::lookup_batch`].
    pub(super) fn flow_batch(
        &self,
        cursor: &mut Option<u32>,
        keys: &mut [FlowKey<V4>],
        flows: &mut [Flow<V4>],
    ) -> Result<(usize, bool), FastPathError> {
        Ok(sys::lookup_batch(
            self.flows_fd.as_fd(),
            cursor,
            keys,
            flows,
        )?)
    }
}

/// The sizes of the pinned maps.
fn capacity(pins: &Pins) -> Result<Capacity, FastPathError> {
    let entries = |name| MapInfo::from_pin(pins.map(name)).map(|info| info.max_entries());
    Ok(Capacity {
        room: Room {
            blocks: entries("ACTIVE")?,
            lanes: entries("LANES")?,
            hops: entries("HOPS")?,
            turns: entries("TURNS")?,
        },
        flow_entries: entries("FLOWS4")?,
        services: entries("SERVICES4")?,
        slot_chunks: entries("SLOTS")?,
        member_chunks: entries("MEMBERS")?,
        registry_chunks: entries("REGISTRY")?,
    })
}

/// What must be larger or smaller than the object says.
fn sizes(wanted: &Capacity) -> Vec<(&'static str, u32)> {
    let Room {
        blocks,
        lanes,
        hops,
        turns,
    } = wanted.room;
    vec![
        ("SERVICES4", wanted.services),
        ("REALS4", lanes.max(wanted.services)),
        ("FLOWS4", wanted.flow_entries),
        ("SLOTS", wanted.slot_chunks),
        ("MEMBERS", wanted.member_chunks),
        ("LANES", lanes),
        ("LANE_COUNTS", lanes),
        ("SERVERS", blocks.saturating_mul(256)),
        ("SNATS", 1024),
        ("ACTIVE", blocks),
        ("WEIGHTS", blocks),
        ("REGISTRY", wanted.registry_chunks),
        ("HOPS", hops),
        ("SIDES", 1024),
        ("TURNS", turns),
    ]
}

/// What an earlier agent left pinned.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Maps are missing, or were never filled: nothing has been forwarded by them, or nothing can be told of it.
    HalfMade,
    /// All there is, with the names behind the indexes.
    Whole(Box<Registry>),
}

impl Found {
    /// Looks.
    pub(super) fn at(pins: &Pins) -> Result<Self, FastPathError> {
        if !pins.has_maps() {
            return Ok(Self::Nothing);
        }
        if !pins.map("SETTINGS").exists() {
            return Ok(Self::HalfMade);
        }
        let found = settings_of(pins)?.get(&0, 0)?.abi;
        // The settings are written last.
        if found == 0 {
            return Ok(Self::HalfMade);
        }
        if found != VERSION {
            return Err(FastPathError::Abi {
                path: pins.folder().into(),
                found,
                expected: VERSION,
            });
        }
        if !MAPS
            .iter()
            .chain(&["TX"])
            .all(|name| pins.map(name).exists())
        {
            return Ok(Self::HalfMade);
        }
        let registry = read_registry(pins)?;
        Ok(registry.map_or(Self::HalfMade, |registry| Self::Whole(Box::new(registry))))
    }
}

/// The pinned settings.
pub(super) fn settings_of(pins: &Pins) -> Result<Array<MapData, Settings>, FastPathError> {
    let data = MapData::from_pin(pins.map("SETTINGS"))?;
    Ok(Map::Array(data).try_into()?)
}

/// The newer of the registry's two copies that is whole.
fn read_registry(pins: &Pins) -> Result<Option<Registry>, FastPathError> {
    let data = MapData::from_pin(pins.map("REGISTRY"))?;
    let map: Array<MapData, RegistryChunk> = Map::Array(data).try_into()?;
    let half = map.len() / 2;
    let mut newest: Option<Registry> = None;
    for first in [0, half] {
        let mut bytes = map.get(&first, 0)?.0.to_vec();
        for at in 1..registry::chunks_of(&bytes).min(half) {
            bytes.extend(map.get(&(first + at), 0)?.0);
        }
        let copy = Registry::from_bytes(&bytes);
        newest = newest
            .into_iter()
            .chain(copy)
            .max_by_key(Registry::generation);
    }
    Ok(newest)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, FastPathError> {
    let program = ebpf
        .program_mut(name)
        .ok_or(FastPathError::NoProgram(name))?;
    Ok(program.try_into()?)
}

/// Puts the program in the place of the one that a pinned link holds.
fn replace(xdp: &mut Xdp, path: &PathBuf) -> Result<PinnedLink, FastPathError> {
    let old = PinnedLink::from_pin(path)?;
    let link = XdpLink::try_from(FdLink::from(old))?;
    xdp.attach_to_link(link)?;
    // The program's own handle on the link keeps it; the pin is opened once more to hold it by path.
    Ok(PinnedLink::from_pin(path)?)
}

fn permitted(error: aya::EbpfError) -> FastPathError {
    let text = super::error::cause(&error);
    if text.contains("Operation not permitted") || text.contains("EPERM") {
        return FastPathError::NotPermitted;
    }
    FastPathError::Load(error)
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("links", &self.links.keys())
            .finish_non_exhaustive()
    }
}
