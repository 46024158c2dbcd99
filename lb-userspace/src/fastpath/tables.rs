//! Balancing tables in the arena of slots: services whose tables are equal share one, which is freed once nobody has it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use lb_common::service::SLOTS_PER_CHUNK;

use super::arena::Arena;

/// Where the tables stand.
#[derive(Debug)]
pub(super) struct Tables {
    arena: Arena,
    placed: HashMap<Arc<[u16]>, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    base: u32,
    users: u32,
}

/// A place that a table has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its first chunk.
    pub base: u32,
    /// Whether it has to be written there: nobody had this table yet.
    pub new: bool,
}

impl Tables {
    /// Tables in an arena.
    pub(super) fn new(arena: Arena) -> Self {
        Self {
            arena,
            placed: HashMap::new(),
        }
    }

    /// A place for a table; `None` if there is no room.
    pub(super) fn take(&mut self, slots: &Arc<[u16]>, now: Instant) -> Option<Taken> {
        if let Some(place) = self.placed.get_mut(slots) {
            place.users += 1;
            return Some(Taken {
                base: place.base,
                new: false,
            });
        }
        let base = self.arena.take(chunks(slots.len()), now)?;
        self.placed
            .insert(Arc::clone(slots), Place { base, users: 1 });
        Some(Taken { base, new: true })
    }

    /// Gives up one use of a table.
    pub(super) fn give(&mut self, slots: &Arc<[u16]>, now: Instant) {
        let Some(place) = self.placed.get_mut(slots) else {
            return;
        };
        place.users -= 1;
        if place.users == 0 {
            let base = place.base;
            self.placed.remove(slots);
            self.arena.free(base, chunks(slots.len()), now);
        }
    }

    /// Frees blocks that an earlier agent had.
    pub(super) fn free_inherited(&mut self, blocks: Vec<(u32, u32)>, now: Instant) {
        for (start, len) in blocks {
            self.arena.free(start, len, now);
        }
    }
}

/// Chunks of a table with `slots` slots.
pub(super) fn chunks(slots: usize) -> u32 {
    u32::try_from(slots)
        .unwrap_or(u32::MAX)
        .div_ceil(SLOTS_PER_CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tables_share_a_place_until_the_last_one_goes() {
        let now = Instant::now();
        let mut tables = Tables::new(Arena::new(2, []));
        let a: Arc<[u16]> = vec![0; 40].into();
        let same: Arc<[u16]> = vec![0; 40].into();
        let other: Arc<[u16]> = vec![1; 40].into();
        let first = tables.take(&a, now).unwrap();
        assert!(first.new);
        let second = tables.take(&same, now).unwrap();
        assert_eq!((second.base, second.new), (first.base, false));
        assert_eq!(tables.take(&other, now), None, "the arena is full");
        tables.give(&a, now);
        assert!(!tables.take(&a, now).unwrap().new, "one still has it");
        tables.give(&a, now);
        tables.give(&same, now);
        let later = now + std::time::Duration::from_secs(2);
        assert!(tables.take(&other, later).unwrap().new);
    }
}
