//! Where blocks of a shared array go: first fit, and a block that is freed rests for a while, since a packet that read
//! the old service record may still be looking at it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// How long a freed block is not used again. A program's run takes microseconds.
const REST: Duration = Duration::from_secs(1);

/// Free and used parts of an array of `len` elements.
#[derive(Debug)]
pub(super) struct Arena {
    /// Free blocks: start → length; neighbours are merged.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, u32, u32)>,
}

impl Arena {
    /// An arena of `len` elements, all free but for `used` (start, length).
    pub(super) fn new(len: u32, used: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut used: Vec<_> = used.into_iter().filter(|(_, n)| *n > 0).collect();
        used.sort_unstable();
        let mut free = BTreeMap::new();
        let mut next = 0;
        for (start, n) in used {
            if start > next {
                free.insert(next, start - next);
            }
            next = next.max(start.saturating_add(n));
        }
        if next < len {
            free.insert(next, len - next);
        }
        Self {
            free,
            resting: VecDeque::new(),
        }
    }

    /// A block of `n` elements; `None` if there is no room.
    pub(super) fn take(&mut self, n: u32, now: Instant) -> Option<u32> {
        while let Some((since, start, len)) = self.resting.front().copied()
            && now.saturating_duration_since(since) >= REST
        {
            self.resting.pop_front();
            self.give(start, len);
        }
        if n == 0 {
            return Some(0);
        }
        let (start, len) = self
            .free
            .iter()
            .find(|(_, len)| **len >= n)
            .map(|(s, l)| (*s, *l))?;
        self.free.remove(&start);
        if len > n {
            self.free.insert(start + n, len - n);
        }
        Some(start)
    }

    /// Gives a block back, to be used again after a rest.
    pub(super) fn free(&mut self, start: u32, n: u32, now: Instant) {
        if n > 0 {
            self.resting.push_back((now, start, n));
        }
    }

    fn give(&mut self, mut start: u32, mut n: u32) {
        if let Some((before, len)) = self.free.range(..start).next_back().map(|(s, l)| (*s, *l))
            && before + len == start
        {
            self.free.remove(&before);
            start = before;
            n += len;
        }
        if let Some(len) = self.free.remove(&(start + n)) {
            n += len;
        }
        self.free.insert(start, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap_and_rest_before_they_are_used_again() {
        let start = Instant::now();
        let mut arena = Arena::new(10, [(2, 2)]);
        assert_eq!(arena.take(2, start), Some(0));
        assert_eq!(arena.take(6, start), Some(4));
        assert_eq!(arena.take(1, start), None);
        arena.free(0, 2, start);
        assert_eq!(arena.take(1, start), None, "still resting");
        assert_eq!(arena.take(2, start + REST), Some(0));
        arena.free(0, 2, start + REST);
        arena.free(4, 6, start + REST);
        assert_eq!(arena.take(6, start + REST * 2), Some(4));
        assert_eq!(
            arena.take(0, start),
            Some(0),
            "an empty block needs no room"
        );
    }
}
