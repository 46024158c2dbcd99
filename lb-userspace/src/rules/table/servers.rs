//! The server that a key stays on.

use std::sync::atomic::Ordering::Relaxed;

use super::{Data, Key, Table};

impl Table {
    /// Whether servers are remembered in it.
    pub fn remembers_servers(&self) -> bool {
        let mut stored = self.layout.store.iter();
        stored.any(|(data, _)| *data == Data::ServerId)
    }

    /// The number of the server that is remembered of a key, which counts as a use of it.
    pub fn server(&self, key: &Key, now: u64) -> Option<u32> {
        let entry = self.find(key, now)?;
        let (cell, _) = self.cell(&entry, Data::ServerId)?;
        let id = cell.count.load(Relaxed);
        entry.used.fetch_max(now, Relaxed);
        u32::try_from(id).ok().filter(|id| *id > 0)
    }

    /// Remembers the server of the number `id`. HAProxy's numbers begin with 1.
    pub fn set_server(&self, key: Key, id: u32, now: u64) {
        if let Some(entry) = self.entry(key, now) {
            entry.used.fetch_max(now, Relaxed);
            self.set_number(&entry, Data::ServerId, u64::from(id));
        }
    }
}
