//! How many entries there are, without looking at all of them for each who asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use super::{Entry, Place, Store, Table};

/// Longest time for which what has expired is counted still, milliseconds; less where entries expire sooner.
const LATEST: u64 = 1000;
/// So many places are looked at by who asks, which takes less than a millisecond. To look at those of a larger table may
/// take a hundred: a thread of its own does.
const FEW: usize = 32 * 1024;

impl Table {
    /// How many entries there are. Those that have expired are taken out now and then, as HAProxy does it by a timer.
    pub fn used(&self, now: u64) -> u64 {
        let Some(store) = self.store.get() else {
            return 0;
        };
        let due = self.next_sweep.load(Relaxed);
        let expire_ms = self.layout.expire_ms;
        // One of those who ask does it.
        if expire_ms > 0
            && now >= due
            && self
                .next_sweep
                .compare_exchange(due, u64::MAX, Relaxed, Relaxed)
                .is_ok()
        {
            let sweep = Sweep {
                store: Arc::clone(store),
                expire_ms,
                now,
                next: Arc::clone(&self.next_sweep),
            };
            match store.places.len() {
                ..=FEW => sweep.run(),
                _ => sweep.begin(),
            }
        }
        u64::try_from(store.taken.load(Relaxed)).unwrap_or(0)
    }

    /// Puts an entry, or none, where `before` was; whether that was there still.
    pub(super) fn replace(
        &self,
        place: &Place,
        before: Option<&Arc<Entry>>,
        new: Option<Arc<Entry>>,
    ) -> bool {
        self.store().replace(place, before, new)
    }
}

/// Takes out what has expired, and says when more can have.
struct Sweep {
    store: Arc<Store>,
    expire_ms: u64,
    now: u64,
    next: Arc<AtomicU64>,
}

impl Sweep {
    /// Sweeps in a thread of its own. Without one, what has expired is counted until there is one to be had.
    fn begin(self) {
        let again = (Arc::clone(&self.next), self.now + LATEST);
        let sweeping = thread::Builder::new()
            .name("lb-expire".to_owned())
            .spawn(move || self.run());
        if let Err(error) = sweeping {
            tracing::debug!("no thread to look for entries that have expired: {error}");
            again.0.store(again.1, Relaxed);
        }
    }

    fn run(self) {
        let (expire_ms, now, began) = (self.expire_ms, self.now, Instant::now());
        let mut next = now + expire_ms;
        for place in &self.store.places {
            let entry = place.load();
            let Some(entry) = entry.as_ref() else {
                continue;
            };
            if entry.is_expired(expire_ms, now) {
                self.store.replace(place, Some(entry), None);
            } else {
                // What is followed now may be let go of at once.
                next = next.min(entry.used.load(Relaxed) + expire_ms);
            }
        }
        // It rests at least as long as it has worked.
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(LATEST);
        let pause = took + (expire_ms / 64).clamp(1, LATEST).max(took);
        self.next.store(next.max(now + pause), Relaxed);
    }
}

impl Store {
    fn replace(&self, place: &Place, before: Option<&Arc<Entry>>, new: Option<Arc<Entry>>) -> bool {
        let change = i64::from(new.is_some()) - i64::from(before.is_some());
        let found = place.compare_and_swap(&before.cloned(), new);
        let replaced = match (&*found, before) {
            (Some(found), Some(before)) => Arc::ptr_eq(found, before),
            (None, None) => true,
            _ => false,
        };
        if replaced && change != 0 {
            self.taken.fetch_add(change, Relaxed);
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn table(size: u32, expire_ms: u64) -> Table {
        Table::new(Layout {
            key: Kind::Int,
            key_length: 8,
            size,
            expire_ms,
            store: vec![(Data::Gpc0, 0)],
        })
    }

    fn key(number: i64, table: &Table) -> Key {
        Key::of(Value::Int(number), table.key()).unwrap()
    }

    #[test]
    fn entries_are_counted_as_they_come_and_go() {
        let table = table(16, 10_000);
        assert_eq!(table.used(0), 0);
        for number in [1, 2, 1] {
            table.entry(key(number, &table), 1000);
        }
        assert_eq!(table.used(1000), 2);
        assert_eq!(table.remove(&key(1, &table)), Removed::Done);
        assert_eq!(table.remove(&key(1, &table)), Removed::Absent);
        assert_eq!(table.used(1000), 1);
        for number in 0..1000 {
            table.entry(key(number, &table), 2000);
        }
        let there = table.entries(2000).count() as u64;
        assert_eq!(
            table.used(2000),
            there,
            "who is pushed out is counted no more"
        );
        let after = self::table(16, 10_000);
        after.go_on_with(&table);
        assert_eq!(after.used(2000), there);
    }

    #[test]
    fn what_has_expired_is_counted_no_more_and_what_is_followed_is() {
        let handle = Arc::new(Handle::new("t"));
        handle.make(table(64, 10_000).layout);
        let table = handle.table().unwrap();
        let followed = Tracked::begin(&handle, Value::Int(1), 0).unwrap();
        table.entry(key(2, table), 0);
        table.entry(key(3, table), 4000);
        assert_eq!(table.used(9_999), 3);
        assert_eq!(table.used(10_200), 2);
        assert_eq!(table.used(14_000), 1);
        drop(followed);
        assert_eq!(table.used(14_400), 0, "nobody has used it since");
        table.entry(key(2, table), 14_500);
        assert_eq!(table.used(14_500), 1);
    }

    #[test]
    fn who_asks_a_large_table_does_not_look_at_all_of_it() {
        const ENTRIES: i64 = 50_000;
        let table = table(100_000, 10_000);
        for number in 0..ENTRIES {
            table.entry(key(number, &table), 0);
        }
        let before = table.used(0);
        assert!(before > 0);
        // Another thread is at it, and whoever asks meanwhile begins none.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while table.used(20_000) > 0 {
            assert!(std::time::Instant::now() < deadline, "it is done some time");
            std::thread::yield_now();
        }
        assert_eq!(table.entries(0).count(), 0, "they are gone");
    }

    #[test]
    fn many_at_once_lose_no_count() {
        let table = table(4096, 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..500 {
                        table.entry(key(number, &table), 1);
                        table.remove(&key(number % 7, &table));
                    }
                });
            }
        });
        assert_eq!(table.used(1), table.entries(1).count() as u64);
    }
}
