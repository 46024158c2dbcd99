//! Threads by their numbers: each has what it alone writes, and others read.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The number of this thread among those that have asked; no other ever has the same.
pub(super) fn thread() -> usize {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

/// How many have asked.
pub(super) fn threads() -> usize {
    NEXT.load(Relaxed)
}
