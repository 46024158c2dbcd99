//! A counter, and the parts of it that threads have of their own.
//!
//! A request is counted in some forty places. Were each of them one number, all workers would write the same cache lines,
//! and even a worker that is alone would lock the bus forty times, which is dearer than all else that counting takes. So
//! each thread adds to a cell that no other thread writes; whoever reads adds them up.

use std::{
    cell::Cell,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::super::owner;

/// Most threads that have cells of their own; what others count goes to the counter itself.
const OWNERS: usize = 256;
/// Cells that are made at a time, and how often: counters beyond them have none.
const CHUNK: usize = 512;
const CHUNKS: usize = 512;

/// A thread's cells. They stay when it ends: what it has counted counts.
type Cells = Box<[OnceLock<Box<[AtomicU64; CHUNK]>>; CHUNKS]>;

static CELLS: [OnceLock<Cells>; OWNERS] = [const { OnceLock::new() }; OWNERS];
static PLACES: Mutex<Places> = Mutex::new(Places {
    used: 0,
    free: Vec::new(),
});

/// Where counters have their cells: the same place in each thread's.
struct Places {
    /// So many were given to somebody, from 1 on.
    used: u32,
    /// Those that are nobody's any more, with noughts in them.
    free: Vec<u32>,
}

/// A place's chunk, and where it is in there.
fn parts(place: u32) -> (usize, usize) {
    (place as usize / CHUNK, place as usize % CHUNK)
}

/// This thread's cells; `None` if there are too many threads.
fn own() -> Option<&'static Cells> {
    thread_local! {
        static OWN: Cell<Option<&'static Cells>> = const { Cell::new(None) };
    }
    OWN.get().or_else(|| {
        let none = || Box::new([const { OnceLock::new() }; CHUNKS]);
        let own = CELLS.get(owner::thread())?.get_or_init(none);
        OWN.set(Some(own));
        Some(own)
    })
}

/// The cells of a place, of all threads that have counted there.
fn cells(place: u32) -> impl Iterator<Item = &'static AtomicU64> {
    let (chunk, at) = parts(place);
    let owners = CELLS[..owner::threads().min(OWNERS)].iter();
    owners
        .filter_map(OnceLock::get)
        .filter_map(move |cells| cells[chunk].get())
        .map(move |cells| &cells[at])
}

/// A number that only grows, or that its owner sets.
#[derive(Debug, Default)]
pub struct Counter {
    /// What is in no cell.
    rest: AtomicU64,
    /// Where its cells are; 0 before something is added to it.
    place: AtomicU32,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        let (chunk, at) = match self.place.load(Acquire) {
            0 => match self.settle() {
                Some(place) => parts(place),
                None => return self.add_shared(n),
            },
            place => parts(place),
        };
        let Some(own) = own() else {
            return self.add_shared(n);
        };
        let cells = own[chunk].get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK]));
        // Nobody else writes it, which spares the bus lock.
        let sum = cells[at].load(Relaxed).wrapping_add(n);
        cells[at].store(sum, Release);
    }

    fn add_shared(&self, n: u64) {
        self.rest.fetch_add(n, Relaxed);
    }

    /// Takes a place for its cells, if there is one left.
    #[cold]
    fn settle(&self) -> Option<u32> {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been here before.
        let place = match self.place.load(Acquire) {
            0 => places.free.pop().or_else(|| {
                let next = places.used + 1;
                (parts(next).0 < CHUNKS).then(|| {
                    places.used = next;
                    next
                })
            })?,
            place => return Some(place),
        };
        self.place.store(place, Release);
        Some(place)
    }

    /// What its cells come to.
    fn counted(&self) -> u64 {
        match self.place.load(Acquire) {
            0 => 0,
            place => cells(place).fold(0, |sum, cell| sum.wrapping_add(cell.load(Acquire))),
        }
    }

    /// The present value.
    pub fn value(&self) -> u64 {
        // What was set was set with what the cells had then.
        self.rest.load(Acquire).wrapping_add(self.counted())
    }

    /// Sets it, for values that are read elsewhere and for `clear counters`.
    pub fn set(&self, n: u64) {
        self.rest.store(n.wrapping_sub(self.counted()), Release);
    }

    /// Raises it to `n` if it was below. Nothing is ever added to such a one.
    pub fn raise(&self, n: u64) {
        // A maximum is reached rarely and read always: look before taking the cache line.
        if n > self.rest.load(Relaxed) {
            self.rest.fetch_max(n, Relaxed);
        }
    }

    /// Makes what `change` says of its value. Of what two threads change at a time, one may be lost: for what is an
    /// estimate all the same, and nothing is ever added to.
    pub(super) fn change(&self, change: impl FnOnce(u64) -> u64) -> u64 {
        let now = change(self.rest.load(Relaxed));
        self.rest.store(now, Relaxed);
        now
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let place = *self.place.get_mut();
        if place == 0 {
            return;
        }
        // Who takes the place next finds noughts: this lock comes between.
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        cells(place).for_each(|cell| cell.store(0, Relaxed));
        places.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_that_threads_add_is_counted() {
        let counters = [Counter::default(), Counter::default()];
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        counters[0].inc();
                        counters[1].add(n);
                    }
                });
            }
        });
        assert_eq!(counters[0].value(), 80_000);
        assert_eq!(counters[1].value(), 8 * 49_995_000);
    }

    #[test]
    fn what_is_set_is_what_it_is_and_goes_on_from_there() {
        let counter = Counter::default();
        counter.set(7);
        counter.inc();
        thread::scope(|scope| drop(scope.spawn(|| counter.add(2))));
        assert_eq!(counter.value(), 10);
        counter.set(3);
        counter.inc();
        assert_eq!(counter.value(), 4);
        counter.set(0);
        assert_eq!(counter.value(), 0);
    }

    #[test]
    fn a_new_counter_begins_at_nought_wherever_its_cells_are() {
        for n in 1..2_000 {
            let counters = [Counter::default(), Counter::default()];
            thread::scope(|scope| drop(scope.spawn(|| counters[0].add(n))));
            counters[1].add(n);
            assert_eq!(counters[0].value() + counters[1].value(), 2 * n);
        }
    }

    #[test]
    fn a_maximum_only_rises() {
        let counter = Counter::default();
        counter.raise(5);
        counter.raise(3);
        assert_eq!(counter.value(), 5);
    }
}
