//! Brings the maps from what they hold to an [`Image`], writing only what differs, and in an order in which no packet
//! meets a half of it: what is referred to before what refers to it, and the reverse for what goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
    time::Instant,
};

use aya::{
    Pod,
    maps::{
        Array, HashMap, MapData, MapError,
        lpm_trie::{Key, LpmTrie},
    },
};
use lb_common::{
    abi::Settings,
    flow::{V4, V6},
    load::WeightBlock,
    service::{
        Lane, MEMBERS_PER_CHUNK, MemberChunk, SLOTS_PER_CHUNK, Service, ServiceKey, SlotChunk,
    },
};

use super::{
    arena::Arena,
    capacity::Capacity,
    error::FastPathError,
    family::Address,
    image::{Balanced, Image, OfFamily},
    kernel::{Mapped, Maps},
    registry::Registry,
    tables::{self, Tables},
    transition,
};

/// What the maps hold, as far as this agent has written it.
#[derive(Debug)]
pub(super) struct Synced {
    /// As it was last applied whole.
    image: Image,
    /// The last attempt to apply one has failed, so that any entry may be of either.
    half_written: bool,
    settings: Option<Settings>,
    placed4: BTreeMap<ServiceKey<V4>, Placed>,
    placed6: BTreeMap<ServiceKey<V6>, Placed>,
    places: Places,
    /// Every lane there ever was, by index: flows of those that are in no image any more still age. Asked for each flow of a
    /// sweep.
    lanes: Vec<Option<Lane>>,
}

fn put(lanes: &mut Vec<Option<Lane>>, lane: u32, value: Lane) {
    let at = lane as usize;
    if lanes.len() <= at {
        lanes.resize(at + 1, None);
    }
    lanes[at] = Some(value);
}

/// Blocks of an arena: start, length.
type Blocks = Vec<(u32, u32)>;

/// The arenas that services' tables stand in.
#[derive(Debug)]
struct Places {
    slots: Tables,
    members: Arena,
    generation: u32,
    /// Blocks that only an earlier agent's services refer to: slots, members.
    inherited: [Blocks; 2],
}

/// A service with its tables' places.
#[derive(Debug, Clone)]
struct Placed {
    balanced: Balanced,
    slots_base: u32,
    members_base: u32,
}

/// The family of an address type among what has a place.
trait Placing: OfFamily + Mapped {
    fn placed(synced: &mut Synced) -> (&mut BTreeMap<ServiceKey<Self>, Placed>, &mut Places);
}

impl Placing for V4 {
    fn placed(synced: &mut Synced) -> (&mut BTreeMap<ServiceKey<Self>, Placed>, &mut Places) {
        (&mut synced.placed4, &mut synced.places)
    }
}

impl Placing for V6 {
    fn placed(synced: &mut Synced) -> (&mut BTreeMap<ServiceKey<Self>, Placed>, &mut Places) {
        (&mut synced.placed6, &mut synced.places)
    }
}

impl Synced {
    /// Starts from what an earlier agent left: its tables keep their place until its services have been replaced.
    pub(super) fn new(
        maps: &Maps,
        capacity: &Capacity,
        registry: &Registry,
    ) -> Result<Self, FastPathError> {
        let mut old = services::<V4>(maps)?;
        old.extend(services::<V6>(maps)?);
        let slots: Blocks = old
            .iter()
            .map(|s| (s.slots_base, tables::chunks(s.slots_len as usize)))
            .collect();
        let members: Blocks = old
            .iter()
            .map(|s| (s.members_base, member_chunks(s.block_len.into())))
            .collect();
        let mut image = Image::default();
        for (at, word) in image.ports.0.iter_mut().enumerate() {
            // An earlier agent's flows go on, to ports that may be in no image of this one.
            *word = maps.ports.get(&(at as u32), 0)?;
        }
        let mut lanes = Vec::new();
        for (lane, ..) in registry.all_lanes() {
            put(&mut lanes, lane, maps.lanes.get(&lane, 0)?);
        }
        Ok(Self {
            lanes,
            image,
            half_written: false,
            settings: None,
            placed4: BTreeMap::new(),
            placed6: BTreeMap::new(),
            places: Places {
                slots: Tables::new(Arena::new(capacity.slot_chunks, slots.clone())),
                members: Arena::new(capacity.member_chunks, members.clone()),
                generation: old.iter().map(|s| s.generation).max().unwrap_or(0),
                inherited: [apart(slots), apart(members)],
            },
        })
    }

    /// Makes the maps hold `image`. After an error all that might be half written counts as unwritten, and the image stays
    /// the one before: that is what the kernel serves.
    pub(super) fn apply(
        &mut self,
        maps: &mut Maps,
        image: Image,
        now: Instant,
    ) -> Result<(), FastPathError> {
        let old = std::mem::take(&mut self.image);
        let nothing = Image {
            ports: old.ports.clone(),
            ..Image::default()
        };
        let written = if self.half_written { &nothing } else { &old };
        let result = self.write(maps, written, image, now);
        self.half_written = result.is_err();
        if result.is_err() {
            self.image = old;
        }
        result
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
        let records = self.placed4.values().chain(self.placed6.values());
        let records = records.map(|placed| &placed.balanced);
        let meanwhile = transition::between(&old.weights, &image.weights, records);
        write_array(&mut maps.weights, &old.weights, &meanwhile)?;
        write_array(&mut maps.lanes, &old.lanes, &image.lanes)?;
        for (lane, value) in &image.lanes {
            put(&mut self.lanes, *lane, *value);
        }
        for ifindex in image.tx.difference(&old.tx) {
            maps.tx
                .insert(*ifindex, *ifindex, None, 0)
                .map_err(FastPathError::XdpMap)?;
        }
        write_hash(&mut maps.macs, &old.macs, &image.macs)?;
        write_hash(&mut maps.sides, &old.sides, &image.sides)?;
        write_family::<V4>(maps, old, &image)?;
        write_family::<V6>(maps, old, &image)?;
        for (at, word) in image.ports.0.iter_mut().enumerate() {
            // A bit that is no longer wanted stays: flows to that port may still run.
            *word |= old.ports.0[at];
            if *word != old.ports.0[at] {
                maps.ports.set(at as u32, *word, 0)?;
            }
        }
        self.write_services::<V4>(maps, &image, now)?;
        self.write_services::<V6>(maps, &image, now)?;
        write_array(&mut maps.weights, &meanwhile, &image.weights)?;
        let [slots, members] = std::mem::take(&mut self.places.inherited);
        self.places.slots.free_inherited(slots, now);
        for (start, len) in members {
            self.places.members.free(start, len, now);
        }
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

    /// Adds flags to the settings, if there are settings yet.
    pub(super) fn add_flags(&mut self, maps: &mut Maps, flags: u32) -> Result<(), FastPathError> {
        match self.settings {
            Some(settings) => {
                let flags = settings.flags | flags;
                self.apply_settings(maps, Settings { flags, ..settings })
            }
            None => Ok(()),
        }
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
        *self.lanes.get(lane as usize)?
    }

    /// The image as it was last applied.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    fn write_services<A: Placing>(
        &mut self,
        maps: &mut Maps,
        image: &Image,
        now: Instant,
    ) -> Result<(), FastPathError>
    where
        ServiceKey<A>: Pod,
    {
        let (placed, places) = A::placed(self);
        let wanted = &A::part(image).services;
        for (key, balanced) in wanted {
            if placed
                .get(key)
                .is_some_and(|placed| placed.balanced == *balanced)
            {
                continue;
            }
            let new = places.place(maps, balanced, now)?;
            places.generation = places.generation.wrapping_add(1);
            let record = Service {
                slots_base: new.slots_base,
                members_base: new.members_base,
                generation: places.generation,
                ..balanced.service
            };
            A::maps_mut(maps).services.insert(key, record, 0)?;
            if let Some(before) = placed.insert(*key, new) {
                places.free(&before, now);
            }
        }
        let map = &mut A::maps_mut(maps).services;
        let mut present = Vec::new();
        for key in map.keys() {
            present.push(key?);
        }
        for key in present.into_iter().filter(|key| !wanted.contains_key(key)) {
            map.remove(&key)?;
            if let Some(before) = placed.remove(&key) {
                places.free(&before, now);
            }
        }
        Ok(())
    }
}

impl Places {
    fn place(
        &mut self,
        maps: &mut Maps,
        balanced: &Balanced,
        now: Instant,
    ) -> Result<Placed, FastPathError> {
        let members_base = self
            .members
            .take(member_chunks(balanced.members.len() as u32), now)
            .ok_or(FastPathError::Full("servers of services"))?;
        let slots = self
            .slots
            .take(&balanced.slots, now)
            .ok_or(FastPathError::Full("balancing tables"))?;
        let placed = Placed {
            balanced: balanced.clone(),
            slots_base: slots.base,
            members_base,
        };
        let written = write_tables(maps, &placed, slots.new);
        if written.is_err() {
            self.free(&placed, now);
        }
        written.map(|()| placed)
    }

    fn free(&mut self, placed: &Placed, now: Instant) {
        self.slots.give(&placed.balanced.slots, now);
        self.members.free(
            placed.members_base,
            member_chunks(placed.balanced.members.len() as u32),
            now,
        );
    }
}

fn write_tables(maps: &mut Maps, placed: &Placed, slots: bool) -> Result<(), FastPathError> {
    let balanced = &placed.balanced;
    let parts = balanced.slots.chunks(SLOTS_PER_CHUNK as usize);
    for (at, part) in parts.enumerate().take_while(|_| slots) {
        let mut chunk = SlotChunk::default();
        chunk.0[..part.len()].copy_from_slice(part);
        maps.slots.set(placed.slots_base + at as u32, chunk, 0)?;
    }
    let parts = balanced.members.chunks(MEMBERS_PER_CHUNK as usize);
    for (at, part) in parts.enumerate() {
        let mut chunk = MemberChunk::default();
        chunk.0[..part.len()].copy_from_slice(part);
        maps.members
            .set(placed.members_base + at as u32, chunk, 0)?;
    }
    Ok(())
}

fn member_chunks(members: u32) -> u32 {
    members.div_ceil(MEMBERS_PER_CHUNK)
}

/// Blocks without those that are there several times, since services share them.
fn apart(blocks: Blocks) -> Blocks {
    let different: BTreeSet<(u32, u32)> = blocks.into_iter().filter(|(_, len)| *len > 0).collect();
    different.into_iter().collect()
}

/// The services of a family that an earlier agent left.
fn services<A: Placing>(maps: &Maps) -> Result<Vec<Service>, MapError>
where
    ServiceKey<A>: Pod,
{
    let entries = A::maps(maps).services.iter();
    entries.map(|entry| Ok(entry?.1)).collect()
}

/// Servers of source NAT, and denied prefixes.
fn write_family<A: Placing>(
    maps: &mut Maps,
    old: &Image,
    image: &Image,
) -> Result<(), FastPathError>
where
    ServiceKey<A>: Pod,
{
    let (old, image) = (A::part(old), A::part(image));
    let reals = |set: &BTreeSet<ServiceKey<A>>| set.iter().map(|key| (*key, 1)).collect();
    let maps = A::maps_mut(maps);
    write_hash(&mut maps.reals, &reals(&old.reals), &reals(&image.reals))?;
    write_deny(&mut maps.deny, &old.deny, &image.deny)
}

/// Writes the prefixes that differ, and removes those that are not wanted.
fn write_deny<A: Address>(
    map: &mut LpmTrie<MapData, A, u32>,
    old: &BTreeSet<(A, u8)>,
    new: &BTreeSet<(A, u8)>,
) -> Result<(), FastPathError> {
    for (address, length) in new.difference(old) {
        map.insert(&Key::new(u32::from(*length), *address), 1, 0)?;
    }
    if old.is_subset(new) && !old.is_empty() {
        return Ok(());
    }
    let present: Vec<Key<A>> = map.keys().filter_map(Result::ok).collect();
    for key in present {
        let length = u8::try_from(key.prefix_len()).unwrap_or(u8::MAX);
        if !new.contains(&(key.data(), length)) {
            map.remove(&key)?;
        }
    }
    Ok(())
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
