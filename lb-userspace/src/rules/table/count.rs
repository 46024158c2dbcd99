//! How many entries there are, without looking at all of them for each who asks.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Entry, Place, Table};

/// Longest time for which what has expired is counted still, milliseconds; less where entries expire sooner.
const LATEST: u64 = 1000;

impl Table {
    /// How many entries there are. Those that have expired are taken out now and then, as HAProxy does it by a timer.
    pub fn used(&self, now: u64) -> u64 {
        let Some(store) = self.store.get() else {
            return 0;
        };
        let due = self.next_sweep.load(Relaxed);
        let pause = (self.layout.expire_ms / 64).clamp(1, LATEST);
        // One of those who ask does it.
        if self.layout.expire_ms > 0
            && now >= due
            && self
                .next_sweep
                .compare_exchange(due, now + pause, Relaxed, Relaxed)
                .is_ok()
        {
            let next = self.sweep(now).max(now + pause);
            self.next_sweep.store(next, Relaxed);
        }
        u64::try_from(store.taken.load(Relaxed)).unwrap_or(0)
    }

    /// Takes out what has expired, and says when more can have.
    fn sweep(&self, now: u64) -> u64 {
        let mut next = now + self.layout.expire_ms;
        let places = self.store.get().map_or(&[][..], |store| &store.places);
        for place in places {
            let entry = place.load();
            let Some(entry) = entry.as_ref() else {
                continue;
            };
            if self.is_expired(entry, now) {
                self.replace(place, Some(entry), None);
            } else {
                // What is followed now may be let go of at once.
                next = next.min(entry.used.load(Relaxed) + self.layout.expire_ms);
            }
        }
        next
    }

    /// Puts an entry, or none, where `before` was; whether that was there still.
    pub(super) fn replace(
        &self,
        place: &Place,
        before: Option<&Arc<Entry>>,
        new: Option<Arc<Entry>>,
    ) -> bool {
        let change = i64::from(new.is_some()) - i64::from(before.is_some());
        let found = place.compare_and_swap(&before.cloned(), new);
        let replaced = match (&*found, before) {
            (Some(found), Some(before)) => Arc::ptr_eq(found, before),
            (None, None) => true,
            _ => false,
        };
        if replaced && change != 0 {
            self.store().taken.fetch_add(change, Relaxed);
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
