//! What an operator sees of a table, and does to it.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{Data, Entry, Key, Kind, Layout, Table};

/// The order in which HAProxy shows what is stored.
const SHOWN: [Data; 21] = [
    Data::ServerId,
    Data::Gpt0,
    Data::Gpc0,
    Data::Gpc0Rate,
    Data::ConnCnt,
    Data::ConnRate,
    Data::SessCnt,
    Data::SessRate,
    Data::ConnCur,
    Data::HttpReqCnt,
    Data::HttpReqRate,
    Data::HttpErrCnt,
    Data::HttpErrRate,
    Data::BytesInCnt,
    Data::BytesInRate,
    Data::BytesOutCnt,
    Data::BytesOutRate,
    Data::Gpc1,
    Data::Gpc1Rate,
    Data::HttpFailCnt,
    Data::HttpFailRate,
];

/// What came of removing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Done,
    /// There was none.
    Absent,
    /// Somebody follows it.
    InUse,
}

impl Key {
    /// As text.
    pub fn text(&self, layout: &Layout) -> String {
        match layout.key {
            Kind::Ip => match <[u8; 16]>::try_from(self.bytes()) {
                Ok(octets) => IpAddr::V6(Ipv6Addr::from(octets))
                    .to_canonical()
                    .to_string(),
                Err(_) => String::new(),
            },
            Kind::Int => match <[u8; 8]>::try_from(self.bytes()) {
                Ok(octets) => i64::from_be_bytes(octets).to_string(),
                Err(_) => String::new(),
            },
            Kind::Bin => self
                .bytes()
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect(),
            Kind::Str | Kind::Method | Kind::Bool => escaped(self.bytes()),
        }
    }
}

/// As HAProxy shows text: what is not printable, and what would end a word, as an escape.
fn escaped(text: &[u8]) -> String {
    let mut out = String::new();
    for &byte in text {
        match byte {
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            0x1b => out.push_str("\\e"),
            b'\\' | b' ' | b'=' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02X}")),
        }
    }
    out
}

impl Entry {
    /// How many follow it now.
    pub fn followers(&self) -> u64 {
        self.followers.load(Relaxed)
    }

    /// Where it lies, which tells it from others while it is there.
    pub fn place(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }
}

impl Table {
    /// What is stored of an entry, in HAProxy's order: the period, and the number as it is stored.
    pub fn stored(&self, entry: &Entry, now: u64) -> impl Iterator<Item = (Data, u64, u64)> {
        let is_stored = |data: &Data| {
            let mut stored = self.layout.store.iter();
            stored.any(|(stored, _)| stored == data)
        };
        let single = SHOWN.iter().copied().filter(is_stored);
        // Arrays come last.
        let arrays = ["gpt", "gpc", "gpc_rate"].into_iter().flat_map(|name| {
            let stored = self.layout.store.iter().map(|(data, _)| *data);
            stored.filter(move |data| data.index().is_some() && data.name() == name)
        });
        let all: Vec<Data> = single.chain(arrays).collect();
        all.into_iter().filter_map(move |data| {
            let (cell, period) = self.cell(entry, data)?;
            Some((data, period, cell.get(period, now)))
        })
    }

    /// Milliseconds until an entry is forgotten if nobody uses it; 0 where that never happens.
    pub fn left(&self, entry: &Entry, now: u64) -> u64 {
        let idle = now.saturating_sub(entry.used.load(Relaxed));
        self.layout.expire_ms.saturating_sub(idle)
    }

    /// Sets what is stored of `data`: of one that counts by period, as if all of it had happened just now.
    pub fn put(&self, entry: &Entry, data: Data, value: u64, now: u64) {
        if let Some((cell, period)) = self.cell(entry, data) {
            match period {
                0 => cell.count.store(value, Relaxed),
                _ => cell.set(value, now),
            }
        }
    }

    /// Removes a key's entry, unless somebody follows it.
    pub fn remove(&self, key: &Key) -> Removed {
        for place in self.sets_of(key).into_iter().flatten() {
            let Some(entry) = place.load_full().filter(|entry| entry.key == *key) else {
                continue;
            };
            if entry.followers() > 0 {
                return Removed::InUse;
            }
            // Whoever has replaced it meanwhile has removed it.
            self.replace(place, Some(&entry), None);
            return Removed::Done;
        }
        Removed::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Value;

    fn table(key: Kind) -> Table {
        Table::new(Layout {
            key,
            key_length: 12,
            size: 100,
            expire_ms: 10_000,
            store: vec![(Data::HttpReqRate, 1000), (Data::Gpc0, 0)],
        })
    }

    #[test]
    fn keys_are_shown_as_they_are_written() {
        for (kind, value, text) in [
            (Kind::Ip, Value::Ip([192, 0, 2, 1].into()), "192.0.2.1"),
            (Kind::Int, Value::Int(-7), "-7"),
            (
                Kind::Str,
                Value::text("a b=\\\n\u{e9}"),
                "a\\ b\\=\\\\\\n\\xC3\\xA9",
            ),
            (Kind::Bin, Value::Bin(vec![1, 0xab].into()), "01AB"),
        ] {
            let table = table(kind);
            assert_eq!(Key::of(value, table.key()).unwrap().text(table.key()), text);
        }
    }

    #[test]
    fn an_entry_is_set_and_removed() {
        let long = table(Kind::Str);
        let long =
            Key::of(Value::text("a much longer key"), long.key()).map(|key| key.bytes().len());
        assert_eq!(long, Some(12));
        let table = table(Kind::Int);
        let key = Key::of(Value::Int(1), table.key()).unwrap();
        let entry = table.entry(key.clone(), 5_500).unwrap();
        table.put(&entry, Data::HttpReqRate, 100, 5_500);
        table.put(&entry, Data::Gpc0, 3, 5_500);
        let stored = |now| {
            table
                .stored(&entry, now)
                .map(|(_, _, n)| n)
                .collect::<Vec<_>>()
        };
        assert_eq!(stored(5_500), [3, 100]);
        assert_eq!(stored(6_500), [3, 100]);
        assert_eq!(stored(7_000), [3, 50]);
        assert_eq!(table.left(&entry, 6_500), 9_000);
        entry.followers.store(1, Relaxed);
        assert_eq!(table.remove(&key), Removed::InUse);
        entry.followers.store(0, Relaxed);
        assert_eq!(table.remove(&key), Removed::Done);
        assert_eq!(table.remove(&key), Removed::Absent);
    }
}
