//! Brings the maps from what they hold to an [`Image`], writing only what differs, and in an order in which no packet
//! meets a half of it: what is referred to before what refers to it, and the reverse for what goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
    time::Instant,
};

use aya::{
    Pod,
    maps::{Array, HashMap, MapData, MapError},
};
use lb_common::{
    abi::Settings,
    flow::V4,
    load::WeightBlock,
    service::{
        Lane, MEMBERS_PER_CHUNK, MemberChunk, SLOTS_PER_CHUNK, Service, ServiceKey, SlotChunk,
    },
};

use super::{
    arena::Arena,
    capacity::Capacity,
    error::FastPathError,
    image::{Balanced, Image},
    kernel::Maps,
    registry::Registry,
};

/// What the maps hold, as far as this agent has written it.
#[derive(Debug)]
pub(super) struct Synced {
    image: Image,
    settings: Option<Settings>,
    placed: BTreeMap<ServiceKey<V4>, Placed>,
    slots: Arena,
    members: Arena,
    generation: u32,
    /// Every lane there ever was: flows of those that are in no image any more still age.
    lanes: BTreeMap<u32, Lane>,
}

/// A service with its tables' places.
#[derive(Debug, Clone)]
struct Placed {
    balanced: Balanced,
    slots_base: u32,
    members_base: u32,
}

impl Synced {
    /// Starts from what an earlier agent left: its tables keep their place until its services have been replaced.
    pub(super) fn new(
        maps: &Maps,
        capacity: &Capacity,
        registry: &Registry,
    ) -> Result<Self, FastPathError> {
        let mut old = Vec::new();
        for entry in maps.services.iter() {
            old.push(entry?);
        }
        let widest = u32::from(u16::MAX) + 1;
        let slots = old
            .iter()
            .map(|(_, s)| (s.slots_base, slot_chunks(s.slots_len)));
        // How long a member table is, its record says only for the block's servers.
        let members = old.iter().map(|(_, s)| {
            (
                s.members_base,
                member_chunks(u32::from(s.block_len).min(widest)),
            )
        });
        let mut image = Image::default();
        for (at, word) in image.ports.0.iter_mut().enumerate() {
            // An earlier agent's flows go on, to ports that may be in no image of this one.
            *word = maps.ports.get(&(at as u32), 0)?;
        }
        let lanes = registry
            .all_lanes()
            .map(|(lane, ..)| Ok((lane, maps.lanes.get(&lane, 0)?)));
        Ok(Self {
            lanes: lanes.collect::<Result<_, MapError>>()?,
            image,
            settings: None,
            placed: BTreeMap::new(),
            slots: Arena::new(capacity.slot_chunks, slots),
            members: Arena::new(capacity.member_chunks, members),
            generation: old.iter().map(|(_, s)| s.generation).max().unwrap_or(0),
        })
    }

    /// Makes the maps hold `image`. After an error all that might be half written counts as unwritten.
    pub(super) fn apply(
        &mut self,
        maps: &mut Maps,
        image: Image,
        now: Instant,
    ) -> Result<(), FastPathError> {
        let old = std::mem::take(&mut self.image);
        self.image.ports = old.ports.clone();
        self.write(maps, &old, image, now)
    }

    fn write(
        &mut self,
        maps: &mut Maps,
        old: &Image,
        mut image: Image,
        now: Instant,
    ) -> Result<(), FastPathError> {
        for (at, address) in image.snats.iter().enumerate() {
            if old.snats.get(at) != Some(address) {
                maps.snats.set(at as u32, address, 0)?;
            }
        }
        write_array(&mut maps.hops, &old.hops, &image.hops)?;
        write_array(&mut maps.servers, &old.servers, &image.servers)?;
        write_array(&mut maps.weights, &old.weights, &image.weights)?;
        write_array(&mut maps.lanes, &old.lanes, &image.lanes)?;
        self.lanes.extend(&image.lanes);
        for ifindex in image.tx.difference(&old.tx) {
            maps.tx
                .insert(*ifindex, *ifindex, None, 0)
                .map_err(xdp_map)?;
        }
        write_hash(&mut maps.sides, &old.sides, &image.sides)?;
        let reals = |set: &BTreeSet<ServiceKey<V4>>| set.iter().map(|key| (*key, 1)).collect();
        write_hash(&mut maps.reals, &reals(&old.reals), &reals(&image.reals))?;
        for (at, word) in image.ports.0.iter_mut().enumerate() {
            // A bit that is no longer wanted stays: flows to that port may still run.
            *word |= old.ports.0[at];
            if *word != old.ports.0[at] {
                maps.ports.set(at as u32, *word, 0)?;
            }
        }
        self.apply_services(maps, &image, now)?;
        self.image = image;
        Ok(())
    }

    /// Writes the settings if they changed.
    pub(super) fn apply_settings(
        &mut self,
        maps: &mut Maps,
        settings: Settings,
    ) -> Result<(), FastPathError> {
        if self.settings != Some(settings) {
            maps.settings.set(0, settings, 0)?;
            self.settings = Some(settings);
        }
        Ok(())
    }

    /// Writes weights that changed.
    pub(super) fn apply_weights(
        &mut self,
        maps: &mut Maps,
        weights: BTreeMap<u32, WeightBlock>,
    ) -> Result<(), FastPathError> {
        write_array(&mut maps.weights, &self.image.weights, &weights)?;
        self.image.weights = weights;
        Ok(())
    }

    /// A lane, of this image or an earlier one.
    pub(super) fn lane(&self, lane: u32) -> Option<Lane> {
        self.lanes.get(&lane).copied()
    }

    /// The image as it was last applied.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    fn apply_services(
        &mut self,
        maps: &mut Maps,
        image: &Image,
        now: Instant,
    ) -> Result<(), FastPathError> {
        for (key, balanced) in &image.services {
            if self
                .placed
                .get(key)
                .is_some_and(|placed| placed.balanced == *balanced)
            {
                continue;
            }
            let placed = self.place(maps, balanced, now)?;
            self.generation = self.generation.wrapping_add(1);
            let record = Service {
                slots_base: placed.slots_base,
                members_base: placed.members_base,
                generation: self.generation,
                ..balanced.service
            };
            maps.services.insert(key, record, 0)?;
            if let Some(before) = self.placed.insert(*key, placed) {
                self.free(&before, now);
            }
        }
        let gone = |key: &ServiceKey<V4>| !image.services.contains_key(key);
        let mut present = Vec::new();
        for key in maps.services.keys() {
            present.push(key?);
        }
        for key in present.into_iter().filter(gone) {
            maps.services.remove(&key)?;
            if let Some(before) = self.placed.remove(&key) {
                self.free(&before, now);
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        maps: &mut Maps,
        balanced: &Balanced,
        now: Instant,
    ) -> Result<Placed, FastPathError> {
        let slots_len = balanced.slots.len() as u32;
        let slots_base = self
            .slots
            .take(slot_chunks(slots_len), now)
            .ok_or(FastPathError::Full("balancing tables"))?;
        let members_base = self
            .members
            .take(member_chunks(balanced.members.len() as u32), now)
            .ok_or(FastPathError::Full("servers of services"))?;
        for (at, part) in balanced.slots.chunks(SLOTS_PER_CHUNK as usize).enumerate() {
            let mut chunk = SlotChunk::default();
            chunk.0[..part.len()].copy_from_slice(part);
            maps.slots.set(slots_base + at as u32, chunk, 0)?;
        }
        for (at, part) in balanced
            .members
            .chunks(MEMBERS_PER_CHUNK as usize)
            .enumerate()
        {
            let mut chunk = MemberChunk::default();
            chunk.0[..part.len()].copy_from_slice(part);
            maps.members.set(members_base + at as u32, chunk, 0)?;
        }
        Ok(Placed {
            balanced: balanced.clone(),
            slots_base,
            members_base,
        })
    }

    fn free(&mut self, placed: &Placed, now: Instant) {
        self.slots.free(
            placed.slots_base,
            slot_chunks(placed.balanced.slots.len() as u32),
            now,
        );
        self.members.free(
            placed.members_base,
            member_chunks(placed.balanced.members.len() as u32),
            now,
        );
    }
}

fn slot_chunks(slots: u32) -> u32 {
    slots.div_ceil(SLOTS_PER_CHUNK)
}

fn member_chunks(members: u32) -> u32 {
    members.div_ceil(MEMBERS_PER_CHUNK)
}

/// Writes the entries of an array that differ. Entries that go are left: flows may still refer to them.
fn write_array<V: Pod + PartialEq>(
    map: &mut Array<MapData, V>,
    old: &BTreeMap<u32, V>,
    new: &BTreeMap<u32, V>,
) -> Result<(), MapError> {
    for (index, value) in new {
        if old.get(index) != Some(value) {
            map.set(*index, value, 0)?;
        }
    }
    Ok(())
}

/// Writes the entries of a hash that differ, and removes those that are not wanted.
fn write_hash<K: Pod + Ord + Hash, V: Pod + PartialEq>(
    map: &mut HashMap<MapData, K, V>,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Result<(), MapError> {
    for (key, value) in new {
        if old.get(key) != Some(value) {
            map.insert(key, value, 0)?;
        }
    }
    let keys: Vec<K> = map
        .keys()
        .filter_map(Result::ok)
        .filter(|key| !new.contains_key(key))
        .collect();
    for key in keys {
        match map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn xdp_map(error: aya::maps::xdp::XdpMapError) -> FastPathError {
    FastPathError::XdpMap(error)
}
