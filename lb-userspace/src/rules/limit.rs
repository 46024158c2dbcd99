//! `rate_limit`: so many requests in a period for each key, with bursts; bounded memory, atomics alone.
//!
//! The generic cell rate algorithm keeps one number for each key: the moment at which its bucket would be full again.
//! Keys are known by 64 bits of a hash with a secret of the process. A set of eight places holds whoever hashes to it;
//! the one whose bucket has been full for longest makes room, so a client that is at its limit is forgotten last.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

const WAYS: usize = 8;
/// Keys that are remembered: 1 MiB.
const SIZE: usize = 65_536;

#[derive(Debug, Default)]
struct Place {
    tag: AtomicU64,
    /// When the bucket is full again, microseconds.
    full: AtomicU64,
}

/// Limits by key.
#[derive(Debug)]
pub struct Limiter {
    /// Between two requests at the full rate, microseconds.
    interval: u64,
    /// What `burst` requests take at the full rate, microseconds.
    burst: u64,
    /// Made with the first request: whoever only checks a file needs none.
    store: OnceLock<Arc<Store>>,
}

/// What is remembered of keys. It outlives a configuration.
#[derive(Debug)]
struct Store {
    hasher: RandomState,
    sets: Box<[[Place; WAYS]]>,
}

impl Limiter {
    /// `requests` in `period_ms`, at most `burst` of them at once.
    pub fn new(requests: u32, period_ms: u64, burst: u32) -> Self {
        let interval = (period_ms * 1000 / u64::from(requests.max(1))).max(1);
        Self {
            interval,
            burst: interval.saturating_mul(u64::from(burst.max(1))),
            store: OnceLock::new(),
        }
    }

    /// Remembers what `before` does from the beginning, if it is the same limit; to be called before anything else.
    pub fn go_on_with(&self, before: &Self) {
        if (self.interval, self.burst) == (before.interval, before.burst) {
            // It is the first, or the limit is in use already.
            let _ = self.store.set(Arc::clone(before.store()));
        }
    }

    fn store(&self) -> &Arc<Store> {
        self.store.get_or_init(|| {
            let empty = |_| std::array::from_fn(|_| Place::default());
            Arc::new(Store {
                hasher: RandomState::new(),
                sets: (0..SIZE / WAYS).map(empty).collect(),
            })
        })
    }

    /// Takes a request of `key` in.
    ///
    /// # Errors
    /// It is one too many: after how many whole seconds it would be taken.
    pub fn admit(&self, key: &[u8], now_ms: u64) -> Result<(), u64> {
        let now = now_ms.saturating_mul(1000);
        let place = self.place(key);
        let mut full = place.full.load(Relaxed);
        loop {
            let next = full.max(now) + self.interval;
            let over = (next - now).saturating_sub(self.burst);
            if over > 0 {
                return Err(over.div_ceil(1_000_000).max(1));
            }
            match place
                .full
                .compare_exchange_weak(full, next, Relaxed, Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => full = other,
            }
        }
    }

    fn place(&self, key: &[u8]) -> &Place {
        let Store { hasher, sets } = &**self.store();
        let hash = hasher.hash_one(key);
        let set = &sets[(hash >> 32) as usize % sets.len()];
        let tag = hash | 1;
        let mut oldest = &set[0];
        for place in set {
            if place.tag.load(Relaxed) == tag {
                return place;
            }
            if place.full.load(Relaxed) < oldest.full.load(Relaxed) {
                oldest = place;
            }
        }
        let before = oldest.tag.load(Relaxed);
        if oldest
            .tag
            .compare_exchange(before, tag, Relaxed, Relaxed)
            .is_ok()
        {
            oldest.full.store(0, Relaxed);
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limiter = Limiter::new(10, 1000, 3);
        let admitted = |now| limiter.admit(b"a", now).is_ok();
        assert!(admitted(0) && admitted(0) && admitted(0));
        assert_eq!(limiter.admit(b"a", 0), Err(1));
        assert!(limiter.admit(b"b", 0).is_ok(), "another key has its own");
        assert!(!admitted(99) && admitted(100) && !admitted(100));
        assert!(admitted(5000));
    }

    #[test]
    fn who_is_refused_learns_when_to_come_again() {
        let limiter = Limiter::new(1, 60_000, 1);
        assert_eq!(limiter.admit(b"a", 1_000), Ok(()));
        assert_eq!(limiter.admit(b"a", 1_000), Err(60));
        assert_eq!(limiter.admit(b"a", 60_500), Err(1));
        assert_eq!(limiter.admit(b"a", 61_000), Ok(()));
    }

    #[test]
    fn who_is_at_its_limit_is_not_pushed_out_by_strangers() {
        let limiter = Limiter::new(1, 3_600_000, 1);
        assert_eq!(limiter.admit(b"a", 1), Ok(()));
        for n in 0..100_000_u32 {
            let _ = Limiter::admit(&limiter, &n.to_be_bytes(), 0);
        }
        // Strangers of the same moment compete; whoever came later than them all is full for longest.
        assert!(limiter.admit(b"a", 1).is_err());
    }
}
