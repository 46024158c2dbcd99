//! Which name has which index in the kernel maps.
//!
//! Flows in the table refer to servers, lanes and hops by index, and outlive the agent. So the names behind the indexes
//! are kept in a map beside them, and the next agent gives each name the index it had. An index that no flow has, and no name of
//! the file, is free again ([`census`](super::census)).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{abi::REGISTRY_CHUNK, flow::SideKey, load::BLOCK};
use serde::{Deserialize, Serialize};

/// How many of each there may be: the sizes of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Room {
    /// Blocks of servers.
    pub blocks: u32,
    /// Lanes.
    pub lanes: u32,
    /// Hops.
    pub hops: u32,
    /// Services' turn counters.
    pub turns: u32,
}

/// Something has no room left in the kernel maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel maps have no room for more {0}; a stop with `on_stop: detach` and a new start make larger ones"
)]
pub(super) struct NoRoom(pub &'static str);

/// The indexes in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registry {
    /// Raised whenever something was added.
    #[serde(skip)]
    version: u64,
    /// The first lane, and the first turn counter, above all in use, once that is known: there may be tens of thousands.
    #[serde(skip)]
    tops: [Option<u32>; 2],
    /// How often it was written: of two copies the one with the larger number counts.
    generation: u64,
    /// Backend → its block.
    blocks: BTreeMap<String, u32>,
    /// Backend → server → its ordinal in the block.
    servers: BTreeMap<String, BTreeMap<String, u8>>,
    /// Frontend → backend/server → lane.
    lanes: BTreeMap<String, BTreeMap<String, u32>>,
    /// backend/server address → hop.
    hops: BTreeMap<String, u16>,
    /// Interface and tags of a client's side → hop.
    sides: BTreeMap<String, u16>,
    /// Frontend and address → turn counter.
    turns: BTreeMap<String, u32>,
    /// What a lane had counted when it was freed, or its counts were cleared: whoever has it begins there.
    #[serde(default)]
    begun: BTreeMap<u32, Counted>,
    /// What lanes that were freed have counted for a frontend, and for a server.
    #[serde(default)]
    settled: [BTreeMap<String, Counted>; 2],
    /// Something had no room since that was last asked.
    #[serde(skip)]
    short: bool,
}

/// Flows, packets and bytes in, packets and bytes out: of a lane.
pub(super) type Counted = [u64; 5];

/// Who is in the file: of what others had, the counts are of no use any more.
pub(super) trait Known {
    /// Whether there is this frontend.
    fn frontend(&self, name: &str) -> bool;
    /// Whether there is this server.
    fn server(&self, backend: &str, server: &str) -> bool;
    /// Whether there is this backend.
    fn backend(&self, name: &str) -> bool;
}

impl Registry {
    /// Changes when something is added, so that whoever keeps a copy knows.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether something had no room since this was last asked.
    pub(super) fn take_short(&mut self) -> bool {
        std::mem::take(&mut self.short)
    }

    /// The block of a backend.
    pub(super) fn block(&mut self, backend: &str, room: &Room) -> Result<u32, NoRoom> {
        if let Some(block) = self.blocks.get(backend) {
            return Ok(*block);
        }
        let block = lowest_free(self.blocks.values().copied(), 0, room.blocks);
        let block = self.had(block, "backends")?;
        self.blocks.insert(backend.into(), block);
        self.version += 1;
        Ok(block)
    }

    /// The index of a server: its block and its ordinal in it.
    pub(super) fn server(
        &mut self,
        backend: &str,
        server: &str,
        room: &Room,
    ) -> Result<u32, NoRoom> {
        let block = self.block(backend, room)?;
        let ordinals = self.servers.entry(backend.into()).or_default();
        let ordinal = match ordinals.get(server) {
            Some(ordinal) => *ordinal,
            None => {
                let taken = ordinals.values().map(|o| u32::from(*o));
                let Some(ordinal) = lowest_free(taken, 0, BLOCK as u32) else {
                    return self.had(None, "servers in one backend");
                };
                ordinals.insert(server.into(), ordinal as u8);
                self.version += 1;
                ordinal as u8
            }
        };
        Ok(block << 8 | u32::from(ordinal))
    }

    /// The lane of a frontend's traffic to a server.
    pub(super) fn lane(
        &mut self,
        frontend: &str,
        backend: &str,
        server: &str,
        room: &Room,
    ) -> Result<u32, NoRoom> {
        let key = pair(backend, server);
        if let Some(lane) = self.lanes.get(frontend).and_then(|lanes| lanes.get(&key)) {
            return Ok(*lane);
        }
        let taken = self
            .lanes
            .values()
            .flat_map(|lanes| lanes.values().copied());
        let lane = next_free(&mut self.tops[0], taken, room.lanes);
        let lane = self.had(lane, "pairs of frontend and server")?;
        self.lanes
            .entry(frontend.into())
            .or_default()
            .insert(key, lane);
        self.version += 1;
        Ok(lane)
    }

    /// The hop of a server at an address: flows to where it was before keep theirs.
    pub(super) fn hop(
        &mut self,
        backend: &str,
        server: &str,
        address: IpAddr,
        room: &Room,
    ) -> Result<u16, NoRoom> {
        let key = format!("{} {address}", pair(backend, server));
        if let Some(hop) = self.hops.get(&key) {
            return Ok(*hop);
        }
        let hop = self.free_hop(room)?;
        self.hops.insert(key, hop);
        Ok(hop)
    }

    /// The hop of a client's side.
    pub(super) fn side(&mut self, side: SideKey, room: &Room) -> Result<u16, NoRoom> {
        let key = format!("{}.{:x}.{:x}", side.ifindex, side.tags[0], side.tags[1]);
        if let Some(hop) = self.sides.get(&key) {
            return Ok(*hop);
        }
        let hop = self.free_hop(room)?;
        self.sides.insert(key, hop);
        Ok(hop)
    }

    /// The turn counter of a frontend at an address.
    pub(super) fn turn(
        &mut self,
        frontend: &str,
        address: &str,
        room: &Room,
    ) -> Result<u32, NoRoom> {
        let key = format!("{frontend} {address}");
        if let Some(turn) = self.turns.get(&key) {
            return Ok(*turn);
        }
        let taken = self.turns.values().copied();
        let turn = next_free(&mut self.tops[1], taken, room.turns);
        let turn = self.had(turn, "services")?;
        self.turns.insert(key, turn);
        self.version += 1;
        Ok(turn)
    }

    /// Counts another writing and returns which.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// How often it was written.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Every block.
    pub(super) fn all_blocks(&self) -> impl Iterator<Item = u32> {
        self.blocks.values().copied()
    }

    /// Every lane with its frontend, backend and server.
    pub(super) fn all_lanes(&self) -> impl Iterator<Item = (u32, &str, &str, &str)> {
        self.lanes.iter().flat_map(|(frontend, lanes)| {
            lanes.iter().filter_map(move |(key, lane)| {
                let (backend, server) = key.split_once('/')?;
                Some((*lane, frontend.as_str(), backend, server))
            })
        })
    }

    /// Every hop.
    pub(super) fn all_hops(&self) -> impl Iterator<Item = u16> {
        self.hops.values().chain(self.sides.values()).copied()
    }

    /// What a lane had counted when it was given to whom it is, or its counts were cleared.
    pub(super) fn begun(&self, lane: u32) -> Counted {
        self.begun.get(&lane).copied().unwrap_or_default()
    }

    /// What lanes that are others' by now have counted for frontends.
    pub(super) fn settled_of_frontends(&self) -> impl Iterator<Item = (&str, Counted)> {
        let settled = self.settled[0].iter();
        settled.map(|(name, counted)| (name.as_str(), *counted))
    }

    /// Likewise for servers, with their backends.
    pub(super) fn settled_of_servers(&self) -> impl Iterator<Item = (&str, &str, Counted)> {
        let settled = self.settled[1].iter();
        settled.filter_map(|(key, counted)| {
            let (backend, server) = key.split_once('/')?;
            Some((backend, server, *counted))
        })
    }

    /// What was counted until now counts no more: so much by those lanes.
    pub(super) fn clear_counts(&mut self, counted: BTreeMap<u32, Counted>) {
        self.begun.extend(counted);
        self.settled = Default::default();
        self.version += 1;
    }

    /// Frees lanes, which have counted this by now.
    pub(super) fn free_lanes(&mut self, counted: &BTreeMap<u32, Counted>) {
        let mut freed = Vec::new();
        for (frontend, lanes) in &mut self.lanes {
            lanes.retain(|key, lane| {
                let there = !counted.contains_key(lane);
                if !there {
                    freed.push((frontend.clone(), key.clone(), *lane));
                }
                there
            });
        }
        self.lanes.retain(|_, lanes| !lanes.is_empty());
        for (frontend, server, lane) in freed {
            let now = counted.get(&lane).copied().unwrap_or_default();
            let before = self.begun.insert(lane, now).unwrap_or_default();
            for (settled, name) in self.settled.iter_mut().zip([frontend, server]) {
                let sum = settled.entry(name).or_default();
                for (at, sum) in sum.iter_mut().enumerate() {
                    *sum = sum.wrapping_add(now[at].wrapping_sub(before[at]));
                }
            }
            self.version += 1;
        }
    }

    /// Frees hops.
    pub(super) fn free_hops(&mut self, which: &BTreeSet<u16>) {
        let before = self.hops.len() + self.sides.len();
        self.hops.retain(|_, hop| !which.contains(hop));
        self.sides.retain(|_, hop| !which.contains(hop));
        self.version += u64::from(self.hops.len() + self.sides.len() != before);
    }

    /// Frees the places of servers that are unknown, that have no lane, and that have no flow, as `is_idle` says of an index.
    /// And what was counted for whom nobody knows. Returns the indexes.
    pub(super) fn free_servers(
        &mut self,
        known: &impl Known,
        is_idle: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let with_lanes: BTreeSet<String> = self
            .lanes
            .values()
            .flat_map(|lanes| lanes.keys().cloned())
            .collect();
        let mut freed = Vec::new();
        for (backend, servers) in &mut self.servers {
            let Some(block) = self.blocks.get(backend) else {
                continue;
            };
            servers.retain(|server, ordinal| {
                let index = block << 8 | u32::from(*ordinal);
                let stays = known.server(backend, server)
                    || with_lanes.contains(&pair(backend, server))
                    || !is_idle(index);
                if !stays {
                    freed.push(index);
                }
                stays
            });
        }
        self.servers.retain(|_, servers| !servers.is_empty());
        let blocks = self.blocks.len();
        let servers = &self.servers;
        self.blocks
            .retain(|backend, _| servers.contains_key(backend) || known.backend(backend));
        if !freed.is_empty() || self.blocks.len() != blocks {
            self.version += 1;
        }
        let [frontends, servers] = &mut self.settled;
        frontends.retain(|frontend, _| known.frontend(frontend));
        servers.retain(|key, _| {
            let pair = key.split_once('/');
            pair.is_some_and(|(backend, server)| known.server(backend, server))
        });
        freed
    }

    /// What was looked for, if there is some; that there is none is noted.
    fn had(&mut self, found: Option<u32>, what: &'static str) -> Result<u32, NoRoom> {
        self.short |= found.is_none();
        found.ok_or(NoRoom(what))
    }

    /// The registry as the chunks of its map: length, checksum, JSON.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(HEADER + json.len());
        bytes.extend((json.len() as u64).to_le_bytes());
        bytes.extend(checksum(&json).to_le_bytes());
        bytes.extend(json);
        Ok(bytes)
    }

    /// Reads what [`Registry::to_bytes`] wrote; `None` if it was not written whole.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let len = usize::try_from(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)).ok()?;
        let sum = u64::from_le_bytes(bytes.get(8..HEADER)?.try_into().ok()?);
        let json = bytes.get(HEADER..HEADER.checked_add(len)?)?;
        (checksum(json) == sum)
            .then(|| serde_json::from_slice(json).ok())
            .flatten()
    }

    fn free_hop(&mut self, room: &Room) -> Result<u16, NoRoom> {
        let taken = self
            .hops
            .values()
            .chain(self.sides.values())
            .map(|h| u32::from(*h));
        // 0 stands for none.
        let hop = lowest_free(taken, 1, room.hops.min(1 << 16));
        let hop = self.had(hop, "next hops")?;
        self.version += 1;
        Ok(hop as u16)
    }
}

const HEADER: usize = 16;

/// Chunks of the registry that begins with `bytes`.
pub(super) fn chunks_of(bytes: &[u8]) -> u32 {
    let len = bytes.get(..8).and_then(|len| len.try_into().ok());
    let len = usize::try_from(u64::from_le_bytes(len.unwrap_or_default())).unwrap_or(usize::MAX);
    u32::try_from(chunks(len.saturating_add(HEADER))).unwrap_or(u32::MAX)
}

/// Chunks that hold `len` bytes.
pub(super) fn chunks(len: usize) -> usize {
    len.div_ceil(REGISTRY_CHUNK)
}

/// A server's name with its backend's. Names hold no slash in front of the first: HAProxy's names have none at all.
fn pair(backend: &str, server: &str) -> String {
    format!("{backend}/{server}")
}

/// A free index: the one above all in use, whose place is kept in `top`, or where that is too large the lowest.
fn next_free(
    top: &mut Option<u32>,
    taken: impl Iterator<Item = u32> + Clone,
    to: u32,
) -> Option<u32> {
    let next = match *top {
        Some(next) => next,
        None => taken.clone().max().map_or(0, |largest| largest + 1),
    };
    if next < to {
        *top = Some(next + 1);
        return Some(next);
    }
    lowest_free(taken, 0, to)
}

fn lowest_free(taken: impl Iterator<Item = u32>, from: u32, to: u32) -> Option<u32> {
    let mut taken: Vec<u32> = taken.filter(|t| *t >= from).collect();
    taken.sort_unstable();
    taken.dedup();
    let free = taken
        .iter()
        .zip(from..)
        .find(|(t, expected)| *t != expected)
        .map(|(_, free)| free);
    let free = free.unwrap_or(from + taken.len() as u32);
    (free < to).then_some(free)
}

/// FNV-1a: a torn write shall not pass for a registry.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        blocks: 2,
        lanes: 3,
        hops: 4,
        turns: 2,
    };

    #[test]
    fn names_keep_their_indexes_over_a_restart() {
        let mut before = Registry::default();
        let a = before.server("be", "a", &ROOM).unwrap();
        let b = before.server("be", "b", &ROOM).unwrap();
        assert_ne!(a, b);
        let lane = before.lane("fe", "be", "b", &ROOM).unwrap();
        let (here, there) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let hop = before.hop("be", "b", here, &ROOM).unwrap();
        assert_ne!(hop, 0);
        assert_ne!(before.hop("be", "b", there, &ROOM), Ok(hop));
        let mut after = Registry::from_bytes(&before.to_bytes().unwrap()).unwrap();
        assert_eq!(after.server("be", "b", &ROOM), Ok(b));
        assert_eq!(after.lane("fe", "be", "b", &ROOM), Ok(lane));
        assert_eq!(after.hop("be", "b", here, &ROOM), Ok(hop));
        assert_eq!(after.version(), 0, "nothing was added");
        assert_eq!(
            after.all_lanes().collect::<Vec<_>>(),
            [(lane, "fe", "be", "b")]
        );
    }

    /// Who is known: one frontend, backend and server.
    struct Only(&'static str, &'static str, &'static str);

    impl Known for Only {
        fn frontend(&self, name: &str) -> bool {
            name == self.0
        }

        fn server(&self, backend: &str, server: &str) -> bool {
            (backend, server) == (self.1, self.2)
        }

        fn backend(&self, name: &str) -> bool {
            name == self.1
        }
    }

    #[test]
    fn what_is_freed_is_anothers_who_begins_at_nothing() {
        let mut registry = Registry::default();
        let a = registry.server("be", "a", &ROOM).unwrap();
        let old = registry.lane("fe", "be", "a", &ROOM).unwrap();
        let kept = registry.lane("fe", "be", "b", &ROOM).unwrap();
        registry.free_lanes(&[(old, [5, 50, 500, 4, 40])].into());
        let known = Only("fe", "be", "b");
        assert_eq!(registry.free_servers(&known, |_| false), [0; 0], "a flow");
        assert_eq!(registry.free_servers(&known, |_| true), [a]);
        assert_eq!(registry.server("be", "c", &ROOM), Ok(a));
        assert_eq!(registry.lane("fe", "be", "b", &ROOM), Ok(kept));
        let more = registry.lane("fe", "be", "c", &ROOM).unwrap();
        let again = registry.lane("fe", "be", "d", &ROOM).unwrap();
        assert!(
            more != old && again == old,
            "the lowest when there is no other"
        );
        assert_eq!(registry.begun(again)[0], 5);
        let settled: Vec<_> = registry.settled_of_frontends().collect();
        assert_eq!(settled, [("fe", [5, 50, 500, 4, 40])]);
        assert_eq!(registry.settled_of_servers().count(), 0, "nobody knows it");
        let copy = Registry::from_bytes(&registry.to_bytes().unwrap()).unwrap();
        assert_eq!(copy.begun(again), registry.begun(again));
    }

    #[test]
    fn no_hop_is_taken_from_whoever_has_it() {
        let mut registry = Registry::default();
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let hops: Vec<u16> = (1..4)
            .map(|n| registry.hop("be", "a", address(n), &ROOM).unwrap())
            .collect();
        assert_eq!(
            registry.hop("be", "a", address(9), &ROOM),
            Err(NoRoom("next hops"))
        );
        assert!(registry.take_short() && !registry.take_short());
        registry.free_hops(&[hops[1]].into());
        assert_eq!(registry.hop("be", "a", address(9), &ROOM), Ok(hops[1]));
        assert_eq!(registry.hop("be", "a", address(3), &ROOM), Ok(hops[2]));
    }

    #[test]
    fn a_torn_registry_is_not_believed() {
        let mut registry = Registry::default();
        registry.server("be", "a", &ROOM).unwrap();
        let mut bytes = registry.to_bytes().unwrap();
        assert!(Registry::from_bytes(&bytes[..bytes.len() - 1]).is_none());
        bytes[20] ^= 1;
        assert!(Registry::from_bytes(&bytes).is_none());
        assert!(Registry::from_bytes(&[0; 64]).is_none());
    }

    #[test]
    fn full_maps_are_an_error_that_names_what_is_full() {
        let mut registry = Registry::default();
        registry.block("a", &ROOM).unwrap();
        registry.block("b", &ROOM).unwrap();
        assert_eq!(registry.block("c", &ROOM), Err(NoRoom("backends")));
        assert_eq!(
            registry.block("b", &ROOM),
            Ok(1),
            "those that are in stay in"
        );
    }
}
