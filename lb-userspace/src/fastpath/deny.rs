//! Denied prefixes: those of the file, and what an operator has changed of them since the start.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::model::Prefix;

/// Prefixes whose new flows the kernel drops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DenyList {
    file: BTreeSet<Prefix>,
    added: BTreeSet<Prefix>,
    removed: BTreeSet<Prefix>,
}

/// What an operator has changed, for another process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Prefixes that are denied beside those of the file.
    pub added: Vec<(std::net::IpAddr, u8)>,
    /// Prefixes of the file that are not denied.
    pub removed: Vec<(std::net::IpAddr, u8)>,
}

impl DenyList {
    /// What the file says, with the changes of an operator.
    pub(super) fn changed(file: &[Prefix], changes: Option<&Changes>) -> Self {
        let mut list = Self::new(file);
        let prefixes = |of: &[(std::net::IpAddr, u8)]| -> Vec<Prefix> {
            let prefixes = of.iter();
            let prefixes = prefixes.map(|&(address, length)| Prefix { address, length });
            prefixes.collect()
        };
        if let Some(changes) = changes {
            for prefix in prefixes(&changes.added) {
                list.add(prefix);
            }
            for prefix in prefixes(&changes.removed) {
                list.remove(prefix);
            }
        }
        list
    }

    /// What an operator has changed.
    pub(super) fn changes(&self) -> Changes {
        let plain = |of: &BTreeSet<Prefix>| of.iter().map(|p| (p.address, p.length)).collect();
        Changes {
            added: plain(&self.added),
            removed: plain(&self.removed),
        }
    }

    /// What the file says.
    pub(super) fn new(file: &[Prefix]) -> Self {
        Self {
            file: file.iter().copied().collect(),
            ..Self::default()
        }
    }

    /// The file says something else from now on. What an operator has changed stays changed.
    pub(super) fn follow(&mut self, file: &[Prefix]) {
        self.file = file.iter().copied().collect();
        self.added.retain(|prefix| !self.file.contains(prefix));
        self.removed.retain(|prefix| self.file.contains(prefix));
    }

    /// Adds a prefix until the next start; whether it was not there.
    pub(super) fn add(&mut self, prefix: Prefix) -> bool {
        if self.file.contains(&prefix) {
            return self.removed.remove(&prefix);
        }
        self.added.insert(prefix)
    }

    /// Takes a prefix out until the next start; whether it was there.
    pub(super) fn remove(&mut self, prefix: Prefix) -> bool {
        if self.file.contains(&prefix) {
            return self.removed.insert(prefix);
        }
        self.added.remove(&prefix)
    }

    /// The prefixes that count.
    pub(super) fn effective(&self) -> impl Iterator<Item = Prefix> {
        self.file
            .difference(&self.removed)
            .chain(&self.added)
            .copied()
    }

    /// The prefixes that count, and whether the file has them.
    pub(super) fn listed(&self) -> impl Iterator<Item = (Prefix, bool)> {
        self.effective()
            .map(|prefix| (prefix, self.file.contains(&prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix {
            address: address.parse().unwrap(),
            length: length.parse().unwrap(),
        }
    }

    #[test]
    fn what_the_operator_changes_holds_until_the_next_start() {
        let (a, b) = (prefix("192.0.2.0/24"), prefix("2001:db8::/32"));
        let mut list = DenyList::new(&[a]);
        assert!(!list.add(a), "it is there");
        assert!(list.add(b) && !list.add(b));
        assert!(list.remove(a) && !list.remove(a));
        assert_eq!(list.listed().collect::<Vec<_>>(), [(b, false)]);
        assert!(list.add(a));
        assert!(list.remove(b) && !list.remove(b));
        assert_eq!(list.listed().collect::<Vec<_>>(), [(a, true)]);
    }
}
