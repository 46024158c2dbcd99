//! What an earlier agent left pinned.

use aya::maps::{Array, Map, MapData, MapInfo};
use lb_common::abi::{RegistryChunk, Settings, VERSION};

use super::{
    super::{
        capacity::{Capacity, FlowRoom},
        error::FastPathError,
        pins::Pins,
        registry::{self, Registry, Room},
    },
    maps::NAMES,
};

/// What an earlier agent left pinned.
pub(in crate::fastpath) enum Found {
    /// Nothing.
    Nothing,
    /// Maps are missing, or were never filled: nothing has been forwarded by them, or nothing can be told of it.
    HalfMade,
    /// All there is: the names behind the indexes, and the settings.
    Whole(Box<(Registry, Settings)>),
}

impl Found {
    /// Looks.
    pub(in crate::fastpath) fn at(pins: &Pins) -> Result<Self, FastPathError> {
        if !pins.has_maps() {
            return Ok(Self::Nothing);
        }
        if !pins.map("SETTINGS").exists() {
            return Ok(Self::HalfMade);
        }
        let settings = settings_of(pins)?.get(&0, 0)?;
        // The settings are written last.
        if settings.abi == 0 {
            return Ok(Self::HalfMade);
        }
        if settings.abi != VERSION {
            return Err(FastPathError::Abi {
                path: pins.folder().into(),
                found: settings.abi,
                expected: VERSION,
            });
        }
        if !NAMES.iter().all(|name| pins.map(name).exists()) {
            return Ok(Self::HalfMade);
        }
        let registry = read_registry(pins)?;
        Ok(registry.map_or(Self::HalfMade, |registry| {
            Self::Whole(Box::new((registry, settings)))
        }))
    }
}

/// The pinned settings.
fn settings_of(pins: &Pins) -> Result<Array<MapData, Settings>, FastPathError> {
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

/// The sizes of the pinned maps.
pub(super) fn capacity(pins: &Pins) -> Result<Capacity, FastPathError> {
    let entries = |name: &str| MapInfo::from_pin(pins.map(name)).map(|info| info.max_entries());
    let flows = |family: u8| -> Result<FlowRoom, FastPathError> {
        Ok(FlowRoom {
            entries: entries(&format!("FLOWS{family}"))?,
            half_sets: entries(&format!("HALF{family}"))?,
            closed: entries(&format!("CLOSED{family}"))?,
            fragments: entries(&format!("FRAGMENTS{family}"))?,
        })
    };
    Ok(Capacity {
        room: Room {
            blocks: entries("ACTIVE")?,
            lanes: entries("LANES")?,
            hops: entries("HOPS")?,
            turns: entries("TURNS")?,
        },
        v4: flows(4)?,
        v6: flows(6)?,
        services: entries("SERVICES4")?,
        slot_chunks: entries("SLOTS")?,
        member_chunks: entries("MEMBERS")?,
        registry_chunks: entries("REGISTRY")?,
        buckets: entries("BUCKETS")?,
    })
}

/// What must be larger or smaller than the object says.
pub(super) fn sizes(wanted: &Capacity) -> Vec<(&'static str, u32)> {
    let Room {
        blocks,
        lanes,
        hops,
        turns,
    } = wanted.room;
    let (v4, v6) = (&wanted.v4, &wanted.v6);
    let reals = lanes.max(wanted.services);
    vec![
        ("SERVICES4", wanted.services),
        ("SERVICES6", wanted.services),
        ("REALS4", reals),
        ("REALS6", reals),
        ("FLOWS4", v4.entries),
        ("FLOWS6", v6.entries),
        ("HALF4", v4.half_sets),
        ("HALF6", v6.half_sets),
        ("CLOSED4", v4.closed),
        ("CLOSED6", v6.closed),
        ("FRAGMENTS4", v4.fragments),
        ("FRAGMENTS6", v6.fragments),
        // Not allocated before they are used.
        ("DENY4", DENIED),
        ("DENY6", DENIED),
        ("BUCKETS", wanted.buckets),
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
        ("SIDES", 4096),
        ("MACS", MACS),
        ("TURNS", turns),
        ("SOCKETS", turns),
        ("TX", 4096),
    ]
}

/// Most MAC addresses of this host.
pub(in crate::fastpath) const MACS: u32 = 4096;

/// Most denied prefixes of a family.
const DENIED: u32 = 1 << 20;
