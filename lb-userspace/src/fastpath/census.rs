//! Which indexes nobody uses any more, so that others may have them: servers come and go, by name and address, for as long as
//! the maps live.
//!
//! An index is free once it has been in no image for a while, and a sweep that began only then has found it in no flow. No new
//! flow can have got it meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    time::{Duration, Instant},
};

use lb_common::load::ActiveBlock;

use super::{
    error::FastPathError,
    image::Image,
    kernel::Kernel,
    net::ports::PortSet,
    registry::{Counted, Known, Registry},
    traffic,
};
use crate::topology::Topology;

/// A packet that has met an index in the maps opens its flow sooner than this.
const REST: Duration = Duration::from_secs(1);

/// Indexes that flows refer to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub lanes: HashSet<u32>,
    pub hops: HashSet<u16>,
    /// Ports that servers know clients by, host order.
    pub ports: HashSet<u16>,
}

/// Indexes that are in no image.
#[derive(Debug, Default)]
pub(super) struct Census {
    lanes: Left<u32>,
    hops: Left<u16>,
    /// Likewise ports that source NAT had under an earlier file.
    ports: Left<u16>,
}

/// Since when each is in none, and those that may be free at the end of a sweep.
#[derive(Debug)]
struct Left<T> {
    since: HashMap<T, Instant>,
    spare: BTreeSet<T>,
}

impl<T> Default for Left<T> {
    fn default() -> Self {
        Self {
            since: HashMap::new(),
            spare: BTreeSet::new(),
        }
    }
}

impl<T: Copy + Eq + Hash + Ord> Left<T> {
    fn note(&mut self, all: impl Iterator<Item = T>, is_used: impl Fn(T) -> bool, now: Instant) {
        let mut since = HashMap::new();
        for index in all.filter(|index| !is_used(*index)) {
            since.insert(index, self.since.get(&index).copied().unwrap_or(now));
        }
        self.since = since;
        self.spare.retain(|index| self.since.contains_key(index));
    }

    fn begin(&mut self, now: Instant) {
        let rested = |since: &Instant| now.saturating_duration_since(*since) >= REST;
        let spare = self.since.iter().filter(|(_, since)| rested(since));
        self.spare = spare.map(|(index, _)| *index).collect();
    }

    fn free(&mut self, seen: &HashSet<T>) -> BTreeSet<T> {
        let free: BTreeSet<T> = std::mem::take(&mut self.spare)
            .into_iter()
            .filter(|index| !seen.contains(index))
            .collect();
        self.since.retain(|index, _| !free.contains(index));
        free
    }
}

impl Census {
    /// Notes what is in no image, now that there is another.
    pub(super) fn note(&mut self, registry: &Registry, image: &Image, now: Instant) {
        let lanes = registry.all_lanes().map(|(lane, ..)| lane);
        self.lanes
            .note(lanes, |lane| image.lanes.contains_key(&lane), now);
        let is_used = |hop| image.hops.contains_key(&u32::from(hop));
        self.hops.note(registry.all_hops(), is_used, now);
    }

    /// Notes ports that no new flow gets.
    pub(super) fn note_ports(&mut self, ports: &PortSet, now: Instant) {
        let ports = ports.ranges().iter().cloned().flatten();
        self.ports.note(ports, |_| false, now);
    }

    /// A sweep begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.lanes.begin(now);
        self.hops.begin(now);
        self.ports.begin(now);
    }

    /// Those of such ports that no flow has any more, at the end of that sweep.
    pub(super) fn free_ports(&mut self, seen: &Seen) -> PortSet {
        self.ports.free(&seen.ports).into_iter().collect()
    }

    /// That sweep has ended, and has seen these. Frees the rest; indexes of servers that are free.
    ///
    /// # Errors
    /// The counters cannot be read; nothing is freed then.
    pub(super) fn end(
        &mut self,
        seen: &Seen,
        kernel: &mut Kernel,
        topology: &Topology,
    ) -> Result<Vec<u32>, FastPathError> {
        let mut counted: BTreeMap<u32, Counted> = BTreeMap::new();
        for lane in self.lanes.free(&seen.lanes) {
            counted.insert(lane, traffic::counted(&kernel.maps, lane)?);
        }
        let mut active: HashMap<u32, ActiveBlock> = HashMap::new();
        for block in kernel.registry.all_blocks() {
            active.insert(block, kernel.maps.active.get(&block, 0)?);
        }
        let is_idle = |index: u32| {
            let block = active.get(&(index >> 8));
            block.is_some_and(|block| block.active[(index & 0xff) as usize] == 0)
        };
        let registry = &mut kernel.registry;
        registry.free_lanes(&counted);
        registry.free_hops(&self.hops.free(&seen.hops));
        Ok(registry.free_servers(topology, is_idle))
    }
}

impl Known for Topology {
    fn frontend(&self, name: &str) -> bool {
        self.frontend(name).is_some()
    }

    fn server(&self, backend: &str, server: &str) -> bool {
        self.server(backend, server).is_some()
    }

    fn backend(&self, name: &str) -> bool {
        self.backend(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_free_once_it_has_rested_and_no_flow_has_it() {
        let begun = Instant::now();
        let mut left = Left::<u32>::default();
        left.note([1, 2, 3].into_iter(), |index| index == 3, begun);
        left.begin(begun);
        assert!(left.free(&HashSet::new()).is_empty(), "it has not rested");
        left.begin(begun + REST);
        // One that is in an image again while the sweep lasts.
        left.note([1, 2, 3].into_iter(), |index| index == 1, begun + REST);
        assert_eq!(left.free(&HashSet::new()), [2].into());
        left.begin(begun + 3 * REST);
        assert!(left.free(&[3].into()).is_empty(), "a flow has it");
        left.begin(begun + 3 * REST);
        assert_eq!(left.free(&HashSet::new()), [3].into());
    }
}
