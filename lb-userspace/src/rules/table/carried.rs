//! What a table holds, for the process that takes this one's place.

use std::sync::atomic::Ordering::Relaxed;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{Data, Handle, Key, Table};

/// A part of what a table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedTable {
    /// The table's name.
    pub name: String,
    /// How it is made: only one that is made alike goes on with it.
    pub layout: String,
    /// Whether numbers are those of servers, at which place.
    pub servers_at: Option<usize>,
    /// What it holds.
    pub entries: Vec<CarriedEntry>,
}

/// A key's counters: the key in base64, when it was used, and of each number the count, when its period began, and the
/// count of the period before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedEntry(String, u64, Vec<(u64, u64, u64)>);

impl CarriedEntry {
    /// Has the number of a server be another's: what `translate` says.
    pub fn translate(&mut self, at: usize, translate: impl Fn(u64) -> u64) {
        if let Some((id, ..)) = self.2.get_mut(at) {
            *id = translate(*id);
        }
    }
}

impl Table {
    fn carried_layout(&self) -> String {
        let layout = &self.layout;
        let (key, length, size) = (layout.key, layout.key_length, layout.size);
        let stored = layout.store.iter().map(|(data, period)| {
            let index = data.index().map_or_else(String::new, |i| i.to_string());
            // What is counted by a period says when that began. There were versions that carried its number.
            let since = if *period > 0 { " since" } else { "" };
            format!("{}{index}/{period}{since}", data.name())
        });
        let stored: Vec<String> = stored.collect();
        format!("{key:?} {length} {size} {}", stored.join(","))
    }

    fn at(&self, wanted: Data) -> Option<usize> {
        let mut stored = self.layout.store.iter();
        stored.position(|(data, _)| *data == wanted)
    }
}

impl Handle {
    /// What it holds at `now`, in parts of at most `many` entries.
    pub fn carry(&self, now: u64, many: usize, mut each: impl FnMut(CarriedTable)) {
        let Some(table) = self.table() else { return };
        let part = |entries| CarriedTable {
            name: self.name().to_owned(),
            layout: table.carried_layout(),
            servers_at: table.at(Data::ServerId),
            entries,
        };
        let current = table.at(Data::ConnCur);
        let mut entries = Vec::new();
        for entry in table.entries(now) {
            let cells = entry.cells.iter().enumerate().map(|(at, cell)| {
                // Who follows it now is told of here, and stays here.
                let count = match current == Some(at) {
                    true => 0,
                    false => cell.count.load(Relaxed),
                };
                (count, cell.begun.load(Relaxed), cell.previous.load(Relaxed))
            });
            let key = BASE64_STANDARD.encode(entry.key().bytes());
            entries.push(CarriedEntry(key, entry.used.load(Relaxed), cells.collect()));
            if entries.len() == many {
                each(part(std::mem::take(&mut entries)));
            }
        }
        if !entries.is_empty() {
            each(part(entries));
        }
    }

    /// Goes on with what another process's held; whether it is made alike.
    pub fn take(&self, carried: CarriedTable) -> bool {
        let Some(table) = self
            .table()
            .filter(|t| t.carried_layout() == carried.layout)
        else {
            return false;
        };
        for CarriedEntry(key, used, cells) in carried.entries {
            let Ok(key) = BASE64_STANDARD.decode(key) else {
                continue;
            };
            if let Some(entry) = table.entry(Key(key.into()), used) {
                for (cell, (count, begun, previous)) in entry.cells.iter().zip(cells) {
                    cell.count.store(count, Relaxed);
                    cell.begun.store(begun, Relaxed);
                    cell.previous.store(previous, Relaxed);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::value::{Kind, Value};

    fn handle(size: u32) -> Handle {
        let handle = Handle::new("t");
        handle.make(super::super::Layout {
            key: Kind::Int,
            key_length: 8,
            size,
            expire_ms: 60_000,
            store: vec![(Data::HttpReqRate, 10_000), (Data::ServerId, 0)],
        });
        handle
    }

    #[test]
    fn entries_go_along_with_their_age_unless_the_table_is_another() {
        let [before, after, other] = [handle(100), handle(100), handle(50)];
        let table = before.table().unwrap();
        let key = |n| Key::of(Value::Int(n), table.key()).unwrap();
        for n in 0..5 {
            let entry = table.entry(key(n), 1000).unwrap();
            table.add(&entry, Data::HttpReqRate, 3, 1000);
            table.set_server(key(n), 7, 1000);
        }
        let mut parts = Vec::new();
        before.carry(2000, 2, |part| parts.push(part));
        assert_eq!(parts.len(), 3);
        for mut part in parts {
            assert!(!other.take(part.clone()));
            let at = part.servers_at.unwrap();
            for entry in &mut part.entries {
                entry.translate(at, |id| id + 1);
            }
            assert!(after.take(part));
        }
        let table = after.table().unwrap();
        let entry = table.find(&key(3), 2000).unwrap();
        assert_eq!(table.get(&entry, Data::HttpReqRate, 2000), Some(3));
        assert_eq!(table.server(&key(4), 2000), Some(8));
        assert!(table.find(&key(0), 61_001).is_none(), "as old as it was");
    }
}
