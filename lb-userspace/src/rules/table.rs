//! Stick tables: counters by key, bounded in number, shared by all workers without a lock.
//!
//! A table is sets of up to eight places, as many in all as it may have entries; a small one is one set. A key belongs to
//! two sets; in the emptier one it takes a free place or that of an entry that has expired, or else, of both, that of the
//! one that was used longest ago and that nobody follows. So memory is bounded by `size`, a flood of keys pushes out only
//! what is idle, and as long as a fifth of a table is free next to nobody is pushed out. Who looks an entry up gets a
//! shared pointer to it, so one that was pushed out meanwhile is still counted in by whoever follows it, and then gone.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;

use super::value::{Kind, Value};

mod carried;
mod count;
mod data;
mod inspect;
mod servers;

pub use carried::CarriedTable;
pub use data::Data;
pub use inspect::Removed;

/// Most places of one of several sets: with a pointer each, a line of memory.
const WAYS: usize = 8;
/// Most places of a set that is the only one: a key of a larger table may be at as many.
const ALONE: usize = 2 * WAYS;

/// How a table is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The type of keys.
    pub key: Kind,
    /// Longest key that is told from others, bytes.
    pub key_length: usize,
    /// Most entries.
    pub size: u32,
    /// After this time without use an entry is forgotten; 0 is never, until its place is needed.
    pub expire_ms: u64,
    /// What is stored, and by which period.
    pub store: Vec<(Data, u64)>,
}

/// A key, as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// A value as a key of a table of such keys.
    pub fn of(value: Value<'_>, layout: &Layout) -> Option<Self> {
        let value = value.cast(layout.key)?;
        let bytes = match value {
            Value::Ip(address) => super::value::bits(address).to_be_bytes().to_vec().into(),
            other => other.into_bytes(),
        };
        let length = match layout.key {
            Kind::Str | Kind::Bin => bytes.len().min(layout.key_length),
            _ => bytes.len(),
        };
        Some(Self(bytes[..length].into()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A number of events: all, or in the last period as HAProxy estimates it. A period begins where the one before ends, and
/// with the next event where that was longer ago: what comes all at once is counted in full for a whole period.
#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    /// When the period began that `count` is of, milliseconds; one more, and 0 where none has.
    begun: AtomicU64,
    /// The count of the period before.
    previous: AtomicU64,
}

impl Cell {
    fn add(&self, n: u64, period: u64, now: u64) {
        if period > 0 {
            let before = self.begun.load(Relaxed);
            let elapsed = (now + 1).saturating_sub(before);
            // Whoever moves the period on moves the counts; events that others count in between go to either period.
            if before == 0 || elapsed >= period {
                let follows = before > 0 && elapsed - period < period;
                let begun = if follows { before + period } else { now + 1 };
                let moved = self.begun.compare_exchange(before, begun, Relaxed, Relaxed);
                if moved.is_ok() {
                    let last = self.count.swap(0, Relaxed);
                    self.previous.store(if follows { last } else { 0 }, Relaxed);
                }
            }
        }
        self.count.fetch_add(n, Relaxed);
    }

    fn get(&self, period: u64, now: u64) -> u64 {
        let count = self.count.load(Relaxed);
        if period == 0 {
            return count;
        }
        let elapsed = (now + 1).saturating_sub(self.begun.load(Relaxed));
        let (current, last, elapsed) = match elapsed / period {
            0 => (count, self.previous.load(Relaxed), elapsed),
            1 => (0, count, elapsed - period),
            _ => return 0,
        };
        if current == 0 && last <= 1 {
            // Lest it be none and one in turns.
            return last;
        }
        // No more than `last`.
        let left = u128::from(last) * u128::from(period - elapsed) / u128::from(period);
        current + left as u64
    }

    /// Has `n` events have happened just now.
    fn set(&self, n: u64, now: u64) {
        self.begun.store(now + 1, Relaxed);
        self.previous.store(0, Relaxed);
        self.count.store(n, Relaxed);
    }
}

/// A key's counters.
#[derive(Debug)]
pub struct Entry {
    key: Key,
    used: AtomicU64,
    followers: AtomicU64,
    cells: Box<[Cell]>,
}

impl Entry {
    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether nobody follows it, nor has used it for `expire_ms`, unless that is 0.
    fn is_expired(&self, expire_ms: u64, now: u64) -> bool {
        expire_ms > 0
            && self.followers.load(Relaxed) == 0
            && now.saturating_sub(self.used.load(Relaxed)) >= expire_ms
    }
}

/// A place of a set.
type Place = ArcSwapOption<Entry>;

/// A table.
#[derive(Debug)]
pub struct Table {
    layout: Layout,
    /// Made when the proxy starts: whoever only checks a file needs none.
    store: OnceLock<Arc<Store>>,
    /// Nothing that has expired need be sought before; [`u64::MAX`] while somebody does.
    next_sweep: Arc<AtomicU64>,
}

/// What a table holds. It outlives a configuration.
#[derive(Debug)]
struct Store {
    hasher: RandomState,
    /// The sets' places, one set's after another's.
    places: Box<[Place]>,
    /// How many sets there are, how many places each has at least, and how many of them, the first, have one more.
    sets: usize,
    ways: usize,
    larger: usize,
    /// How many places are taken; below zero while who takes one is slower to count than who gives it back.
    taken: AtomicI64,
}

impl Store {
    /// The places of a set, of which there are more than `index`.
    fn set(&self, index: usize) -> &[Place] {
        let begin = index * self.ways + index.min(self.larger);
        &self.places[begin..][..self.ways + usize::from(index < self.larger)]
    }
}

impl Table {
    /// An empty one.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            store: OnceLock::new(),
            next_sweep: Arc::default(),
        }
    }

    fn store(&self) -> &Arc<Store> {
        self.store.get_or_init(|| {
            let size = (self.layout.size as usize).max(1);
            let sets = match size {
                ..=ALONE => 1,
                _ => size.div_ceil(WAYS),
            };
            Arc::new(Store {
                hasher: RandomState::new(),
                places: (0..size).map(|_| ArcSwapOption::empty()).collect(),
                sets,
                ways: size / sets,
                larger: size % sets,
                taken: AtomicI64::new(0),
            })
        })
    }

    /// Makes its places, lest the first request wait for them.
    pub fn reserve(&self) {
        self.store();
    }

    /// Holds what `before` holds from the beginning, if that is made alike; to be called before anything else.
    pub fn go_on_with(&self, before: &Self) {
        let (ours, theirs) = (&self.layout, &before.layout);
        if ours.key == theirs.key
            && ours.key_length == theirs.key_length
            && ours.size == theirs.size
            && ours.store == theirs.store
        {
            // It is the first, or the table is in use already.
            let _ = self.store.set(Arc::clone(before.store()));
        }
    }

    /// How it was made.
    pub fn key(&self) -> &Layout {
        &self.layout
    }

    /// The two sets that a key belongs to; the second is empty where they are the same.
    fn sets_of(&self, key: &Key) -> [&[Place]; 2] {
        let store = &**self.store();
        let hash = store.hasher.hash_one(key);
        // The upper half of the product is below the number of sets, of which there are 2^21 at the most.
        let set = |hash: u64| ((hash * store.sets as u64) >> 32) as usize;
        let (one, other) = (set(hash >> 32), set(hash & u64::from(u32::MAX)));
        match one == other {
            true => [store.set(one), &[]],
            false => [store.set(one), store.set(other)],
        }
    }

    fn is_expired(&self, entry: &Entry, now: u64) -> bool {
        entry.is_expired(self.layout.expire_ms, now)
    }

    /// A key's entry, if there is one.
    pub fn find(&self, key: &Key, now: u64) -> Option<Arc<Entry>> {
        self.sets_of(key).into_iter().flatten().find_map(|place| {
            let entry = place.load();
            let entry = entry.as_ref().filter(|entry| entry.key == *key)?;
            (!self.is_expired(entry, now)).then(|| Arc::clone(entry))
        })
    }

    /// A key's entry, made if need be. `None` where all others of its sets are followed.
    pub fn entry(&self, key: Key, now: u64) -> Option<Arc<Entry>> {
        let mut made = None;
        // Another worker may take the place first, and may have made the very entry.
        for _ in 0..WAYS {
            if let Some(entry) = self.find(&key, now) {
                entry.used.store(now, Relaxed);
                return Some(entry);
            }
            let (place, before) = self.free_place(&key, now)?;
            if let Some(entry) = &before
                && entry.followers.load(Relaxed) > 0
            {
                continue;
            }
            let entry = made.get_or_insert_with(|| {
                Arc::new(Entry {
                    key: key.clone(),
                    used: AtomicU64::new(now),
                    followers: AtomicU64::new(0),
                    cells: self.layout.store.iter().map(|_| Cell::default()).collect(),
                })
            });
            if self.replace(place, before.as_ref(), Some(Arc::clone(entry))) {
                return made;
            }
        }
        None
    }

    /// The place to take, and who was seen there: nobody, one that has expired, or the one idle for longest. Nobody else may
    /// be replaced: whoever has come meanwhile has just been made.
    fn free_place(&self, key: &Key, now: u64) -> Option<(&Place, Option<Arc<Entry>>)> {
        let mut oldest: Option<(u64, &Place, Arc<Entry>)> = None;
        let mut emptiest: Option<(usize, &Place, Option<Arc<Entry>>)> = None;
        for set in self.sets_of(key) {
            let (mut free, mut first) = (0, None);
            for place in set {
                let entry = match place.load_full() {
                    Some(entry) if !self.is_expired(&entry, now) => entry,
                    gone => {
                        free += 1;
                        first.get_or_insert((place, gone));
                        continue;
                    }
                };
                let used = entry.used.load(Relaxed);
                let older = oldest.as_ref().is_none_or(|(before, ..)| used < *before);
                if older && entry.followers.load(Relaxed) == 0 {
                    oldest = Some((used, place, entry));
                }
            }
            if let Some((place, before)) = first
                && emptiest.as_ref().is_none_or(|(most, ..)| free > *most)
            {
                emptiest = Some((free, place, before));
            }
        }
        let emptiest = emptiest.map(|(_, place, before)| (place, before));
        emptiest.or_else(|| oldest.map(|(_, place, entry)| (place, Some(entry))))
    }

    fn cell<'e>(&self, entry: &'e Entry, data: Data) -> Option<(&'e Cell, u64)> {
        let place = |data: Data| {
            let mut stored = self.layout.store.iter();
            stored.position(|(stored, _)| *stored == data)
        };
        // As HAProxy has it, an array's first places stand for the counters of their own names.
        let index = place(data).or_else(|| place(data.of_array()?))?;
        Some((entry.cells.get(index)?, self.layout.store[index].1))
    }

    /// Milliseconds until an entry is forgotten unless it is used; 0 where that is never.
    pub fn remaining(&self, entry: &Entry, now: u64) -> i64 {
        let since = now.saturating_sub(entry.used.load(Relaxed));
        let left = self.layout.expire_ms.saturating_sub(since);
        i64::try_from(left).unwrap_or(i64::MAX)
    }

    /// Milliseconds since it was used.
    pub fn idle(&self, entry: &Entry, now: u64) -> i64 {
        let whole = i64::try_from(self.layout.expire_ms).unwrap_or(i64::MAX);
        whole - self.remaining(entry, now)
    }

    /// Counts `n` events.
    pub fn add(&self, entry: &Entry, data: Data, n: u64, now: u64) {
        if let Some((cell, period)) = self.cell(entry, data) {
            cell.add(n, period, now);
        }
    }

    /// Counts `n` for what rules count, and how fast that grows.
    pub fn count(&self, entry: &Entry, data: Data, n: u64, now: u64) {
        self.add(entry, data, n, now);
        if let Some(rate) = data.rate() {
            self.add(entry, rate, n, now);
        }
    }

    /// Sets a number.
    pub fn set_number(&self, entry: &Entry, data: Data, n: u64) {
        if let Some((cell, _)) = self.cell(entry, data) {
            cell.count.store(n, Relaxed);
        }
    }

    /// What is stored of `data`; `None` if nothing is.
    pub fn get(&self, entry: &Entry, data: Data, now: u64) -> Option<i64> {
        let (cell, period) = self.cell(entry, data)?;
        let value = cell.get(period, now);
        let value = match data {
            Data::BytesInCnt | Data::BytesOutCnt => value >> 10,
            _ => value,
        };
        Some(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// All entries that have not expired.
    pub fn entries(&self, now: u64) -> impl Iterator<Item = Arc<Entry>> {
        let places = self.store.get().map_or(&[][..], |store| &store.places);
        places.iter().filter_map(move |place| {
            place
                .load_full()
                .filter(|entry| !self.is_expired(entry, now))
        })
    }
}

/// A table by its name; made once the whole configuration has been read.
#[derive(Debug)]
pub struct Handle {
    name: String,
    table: OnceLock<Table>,
}

impl Handle {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            table: OnceLock::new(),
        }
    }

    /// Its name: that of the proxy that it is written in.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The table; `None` if there is none of that name.
    pub fn table(&self) -> Option<&Table> {
        self.table.get()
    }

    /// Makes it, once.
    pub fn make(&self, layout: Layout) {
        let _ = self.table.set(Table::new(layout));
    }
}

/// An entry that a request follows until it is over.
#[derive(Debug)]
pub struct Tracked {
    handle: Arc<Handle>,
    entry: Arc<Entry>,
}

impl Tracked {
    /// Begins to follow a key's entry, and counts that.
    pub fn begin(handle: &Arc<Handle>, value: Value<'_>, now: u64) -> Option<Self> {
        let tracked = Self::begin_connection(handle, value, now)?;
        tracked.count_request(now);
        Some(tracked)
    }

    /// The same for a connection that has brought no request yet.
    pub fn begin_connection(handle: &Arc<Handle>, value: Value<'_>, now: u64) -> Option<Self> {
        let table = handle.table()?;
        let entry = table.entry(Key::of(value, &table.layout)?, now)?;
        entry.followers.fetch_add(1, Relaxed);
        for data in [Data::ConnCnt, Data::ConnCur, Data::ConnRate] {
            table.add(&entry, data, 1, now);
        }
        Some(Self {
            handle: Arc::clone(handle),
            entry,
        })
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        self.entry.key()
    }

    /// How many follow its entry, this one among them.
    pub fn followers(&self) -> u64 {
        self.entry.followers()
    }

    /// Counts a connection that was let in.
    pub fn count_session(&self, now: u64) {
        self.add(Data::SessCnt, 1, now);
        self.add(Data::SessRate, 1, now);
    }

    /// Counts a request.
    pub fn count_request(&self, now: u64) {
        self.add(Data::HttpReqCnt, 1, now);
        self.add(Data::HttpReqRate, 1, now);
    }

    /// Counts `n` events.
    pub fn add(&self, data: Data, n: u64, now: u64) {
        if let Some(table) = self.handle.table() {
            table.add(&self.entry, data, n, now);
        }
    }

    /// From now on it is idle, and expires in time.
    pub fn touch(&self, now: u64) {
        self.entry.used.fetch_max(now, Relaxed);
    }

    /// Counts `n` for what rules count, and how fast that grows.
    pub fn count(&self, data: Data, n: u64, now: u64) {
        if let Some(table) = self.handle.table() {
            table.count(&self.entry, data, n, now);
        }
    }

    /// Sets a number.
    pub fn set(&self, data: Data, n: u64) {
        if let Some(table) = self.handle.table() {
            table.set_number(&self.entry, data, n);
        }
    }

    /// What is stored of `data`.
    pub fn get(&self, data: Data, now: u64) -> Option<i64> {
        self.handle.table()?.get(&self.entry, data, now)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.entry.followers.fetch_sub(1, Relaxed);
        if let Some(table) = self.handle.table()
            && let Some((cell, _)) = table.cell(&self.entry, Data::ConnCur)
        {
            // An operator may have set it meanwhile.
            let _ = cell
                .count
                .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        }
    }
}

#[cfg(test)]
mod tests;
