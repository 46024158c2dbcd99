//! The server that a key stays on.

use std::sync::atomic::Ordering::Relaxed;

use super::{Data, Key, Table};

impl Table {
    /// Whether servers are remembered in it.
    pub fn remembers_servers(&self) -> bool {
        let mut stored = self.layout.store.iter();
        stored.any(|(data, _)| *data == Data::ServerId)
    }

    /// The place in its backend of the server that is remembered of a key, which counts as a use of it.
    pub fn server(&self, key: &Key, now: u64) -> Option<usize> {
        let entry = self.find(key, now)?;
        let (cell, _) = self.cell(&entry, Data::ServerId)?;
        let index = cell.count.load(Relaxed).checked_sub(1)?;
        entry.used.fetch_max(now, Relaxed);
        usize::try_from(index).ok()
    }

    /// Remembers the server at `index`. HAProxy's numbers begin with 1.
    pub fn set_server(&self, key: Key, index: usize, now: u64) {
        if let Some(entry) = self.entry(key, now) {
            entry.used.fetch_max(now, Relaxed);
            self.set_number(&entry, Data::ServerId, index as u64 + 1);
        }
    }
}
