//! Routing tables: longest prefix first, then the smallest metric, as `fib_table_lookup` and `fib6_lookup` do.

use std::collections::HashMap;
use std::net::IpAddr;

use super::model::{Family, Prefix, Route, Table};

/// The local and main tables of both families.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    by_prefix: HashMap<(Table, Prefix), Vec<Route>>,
    /// How many prefixes there are of each length, so that a look-up tries only lengths that exist.
    lengths: HashMap<(Table, Family), Vec<u32>>,
}

impl PartialEq for Routes {
    fn eq(&self, other: &Self) -> bool {
        self.by_prefix == other.by_prefix
    }
}

impl Eq for Routes {}

/// What [`Routes::remove`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The route was there and is gone.
    Done,
    /// Nothing of that key was there.
    Absent,
    /// Routes of that key are there, but none is the one named (a part of an IPv6 multipath route goes so): the tables
    /// must be read again.
    Unclear,
}

impl Routes {
    /// Adds `route`, behind others of its key, or in place of the first of them. Says whether anything changed.
    ///
    /// IPv6 tells each change of a multipath route by sending all of it, so that one takes the place of its parts.
    pub fn insert(&mut self, route: Route, replace: bool) -> bool {
        let key = (route.table, route.destination);
        if !self.by_prefix.contains_key(&key) {
            *self.length_count(key) += 1;
        }
        let entries = self.by_prefix.entry(key).or_default();
        if entries.contains(&route) {
            return false;
        }
        let superseded = |old: &Route| {
            old.same_key(&route)
                && (replace
                    || (old.destination.ip.is_ipv6()
                        && old.hops.iter().any(|hop| route.hops.contains(hop))))
        };
        if replace {
            if let Some(at) = entries.iter().position(superseded) {
                entries.remove(at);
            }
        } else {
            entries.retain(|old| !superseded(old));
        }
        // Ordered by metric; of equals the kernel prefers the first.
        let at = if replace {
            entries.partition_point(|old| old.metric < route.metric)
        } else {
            entries.partition_point(|old| old.metric <= route.metric)
        };
        entries.insert(at, route);
        true
    }

    /// Takes `route` away.
    pub fn remove(&mut self, route: &Route) -> Removal {
        let key = (route.table, route.destination);
        let Some(entries) = self.by_prefix.get_mut(&key) else {
            return Removal::Absent;
        };
        let outcome = if let Some(at) = entries.iter().position(|old| old == route) {
            entries.remove(at);
            Removal::Done
        } else if entries.iter().any(|old| old.same_key(route)) {
            Removal::Unclear
        } else {
            Removal::Absent
        };
        if entries.is_empty() {
            self.by_prefix.remove(&key);
            *self.length_count(key) -= 1;
        }
        outcome
    }

    /// The routes of `table` that hold `destination`, best first.
    pub fn matching(&self, table: Table, destination: IpAddr) -> impl Iterator<Item = &Route> {
        let counts = self
            .lengths
            .get(&(table, Family::of(destination)))
            .map_or(&[][..], Vec::as_slice);
        let lengths = counts
            .iter()
            .enumerate()
            .rev()
            .filter(|&(_, count)| *count > 0);
        lengths
            .filter_map(move |(len, _)| {
                let prefix = Prefix::new(destination, u8::try_from(len).ok()?);
                self.by_prefix.get(&(table, prefix))
            })
            .flatten()
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_prefix.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }

    fn length_count(&mut self, (table, prefix): (Table, Prefix)) -> &mut u32 {
        let counts = self
            .lengths
            .entry((table, Family::of(prefix.ip)))
            .or_insert_with(|| vec![0; 129]);
        &mut counts[usize::from(prefix.len.min(128))]
    }
}
