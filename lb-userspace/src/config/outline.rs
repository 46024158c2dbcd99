//! What of a file differs from another, in the words of an operator: which frontends, backends and servers came, went and
//! changed, and in what.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    plain::reads_as,
    tree::{Entry, Kind, Node},
};

/// Keys, and what stands for their values.
type Keys = BTreeMap<String, u64>;

/// What a file says, as far as it takes to tell what another says differently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// `global`, `defaults`, `stats` and what else is there but once.
    sections: BTreeMap<String, Keys>,
    frontends: BTreeMap<String, Keys>,
    backends: BTreeMap<String, Backend>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Backend {
    keys: Keys,
    servers: BTreeMap<String, Keys>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something is there that was not: `frontend web`.
    Added(String),
    /// Something is there no longer.
    Removed(String),
    /// Something says something else at these keys.
    Changed(String, Vec<String>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(what) => write!(f, "{what} added"),
            Self::Removed(what) => write!(f, "{what} removed"),
            Self::Changed(what, keys) => write!(f, "{what} changed: {}", keys.join(", ")),
        }
    }
}

impl Outline {
    /// What `after` says differently.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let names = self.sections.keys().chain(after.sections.keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        let none = Keys::new();
        for name in names {
            let of = |outline: &'_ Self| outline.sections.get(name).cloned();
            let (before, after) = (of(self), of(after));
            let (before, after) = (before.as_ref(), after.as_ref());
            let keys = differing(before.unwrap_or(&none), after.unwrap_or(&none));
            if !keys.is_empty() {
                changes.push(Change::Changed(name.clone(), keys));
            }
        }
        named(&self.frontends, &after.frontends, |change| match change {
            Named::Added(name) => changes.push(Change::Added(format!("frontend {name}"))),
            Named::Removed(name) => changes.push(Change::Removed(format!("frontend {name}"))),
            Named::Both(name, before, after) => {
                let keys = differing(before, after);
                if !keys.is_empty() {
                    changes.push(Change::Changed(format!("frontend {name}"), keys));
                }
            }
        });
        named(&self.backends, &after.backends, |change| match change {
            Named::Added(name) => changes.push(Change::Added(format!("backend {name}"))),
            Named::Removed(name) => changes.push(Change::Removed(format!("backend {name}"))),
            Named::Both(name, before, after) => between(name, before, after, &mut changes),
        });
        changes
    }
}

/// Differences of a backend and of its servers.
fn between(backend: &str, before: &Backend, after: &Backend, changes: &mut Vec<Change>) {
    let keys = differing(&before.keys, &after.keys);
    if !keys.is_empty() {
        changes.push(Change::Changed(format!("backend {backend}"), keys));
    }
    named(&before.servers, &after.servers, |change| match change {
        Named::Added(name) => changes.push(Change::Added(format!("server {backend}/{name}"))),
        Named::Removed(name) => changes.push(Change::Removed(format!("server {backend}/{name}"))),
        Named::Both(name, before, after) => {
            let keys = differing(before, after);
            if !keys.is_empty() {
                changes.push(Change::Changed(format!("server {backend}/{name}"), keys));
            }
        }
    });
}

enum Named<'a, T> {
    Added(&'a str),
    Removed(&'a str),
    Both(&'a str, &'a T, &'a T),
}

fn named<'a, T>(
    before: &'a BTreeMap<String, T>,
    after: &'a BTreeMap<String, T>,
    mut each: impl FnMut(Named<'a, T>),
) {
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        each(Named::Removed(name));
    }
    for (name, after) in after {
        each(match before.get(name) {
            None => Named::Added(name),
            Some(before) => Named::Both(name, before, after),
        });
    }
}

/// Keys whose values differ.
fn differing(before: &Keys, after: &Keys) -> Vec<String> {
    let mut keys: Vec<String> = before
        .iter()
        .filter(|(key, value)| after.get(*key) != Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    let new = after.keys().filter(|key| !before.contains_key(*key));
    keys.extend(new.cloned());
    keys.sort();
    keys
}

/// The outline of a file.
pub(super) fn of(root: &Node) -> Outline {
    let mut outline = Outline::default();
    for entry in entries(root) {
        match entry.key.as_str() {
            "frontends" => {
                let frontends = entries(&entry.value);
                let keys = frontends.map(|e| (e.key.clone(), keys(&e.value)));
                outline.frontends = keys.collect();
            }
            "backends" => {
                let backends = entries(&entry.value);
                let backends = backends.map(|e| (e.key.clone(), backend(&e.value)));
                outline.backends = backends.collect();
            }
            name => drop(outline.sections.insert(name.to_owned(), keys(&entry.value))),
        }
    }
    outline
}

fn backend(node: &Node) -> Backend {
    let mut keys = keys(node);
    let mut servers = BTreeMap::new();
    let mut list = entries(node).filter(|entry| entry.key == "servers");
    if let Some(Kind::Sequence(items)) = list.next().map(|entry| &entry.value.kind) {
        for item in items {
            let name = entries(item).find(|entry| entry.key == "name");
            if let Some(Kind::Scalar(name)) = name.map(|entry| &entry.value.kind) {
                servers.insert(name.text.clone(), self::keys(item));
            }
        }
        keys.remove("servers");
    }
    Backend { keys, servers }
}

fn entries(node: &Node) -> impl Iterator<Item = &Entry> {
    match &node.kind {
        Kind::Mapping(entries) => entries.iter(),
        _ => [].iter(),
    }
}

fn keys(node: &Node) -> Keys {
    entries(node)
        .map(|entry| {
            let mut hasher = DefaultHasher::new();
            digest(&entry.value, &mut hasher);
            (entry.key.clone(), hasher.finish())
        })
        .collect()
}

fn digest(node: &Node, hasher: &mut DefaultHasher) {
    match &node.kind {
        // Quotes make a difference where a number or the like would be text by them.
        Kind::Scalar(scalar) => {
            let plain = scalar.plain && reads_as(&scalar.text).is_some();
            (0_u8, &scalar.text, plain).hash(hasher);
        }
        Kind::Sequence(items) => {
            (1_u8, items.len()).hash(hasher);
            items.iter().for_each(|item| digest(item, hasher));
        }
        Kind::Mapping(entries) => {
            (2_u8, entries.len()).hash(hasher);
            for entry in entries {
                entry.key.hash(hasher);
                digest(&entry.value, hasher);
            }
        }
        Kind::Poisoned => 3_u8.hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn changes(before: &str, after: &str) -> Vec<String> {
        let outline = |text: &str| {
            let loaded = parse("lb.yaml", text, &|_| None).expect("it is valid");
            loaded.config.outline
        };
        let changes = outline(before).changes(&outline(after));
        changes.iter().map(ToString::to_string).collect()
    }

    const FILE: &str = "
global: { grace: 5s }
frontends:
  a: { bind: '127.0.0.1:1001', default_backend: x }
  b: { bind: '127.0.0.1:1002', default_backend: w }
backends:
  x:
    balance: leastconn
    servers: [{ name: s1, address: '192.0.2.1:80' }, { name: s2, address: '192.0.2.2:80', weight: 5 }]
  w: { servers: [{ name: s1, address: '192.0.2.3:80' }] }
";

    #[test]
    fn what_is_written_in_another_way_is_no_difference() {
        let other = FILE.replace("{ grace: 5s }", "\n  # Not long.\n  grace: 5s");
        let other = other.replace("leastconn", "\"leastconn\"");
        assert_eq!(changes(FILE, &other), [""; 0]);
    }

    #[test]
    fn differences_are_told_by_name() {
        let other = "
global: { grace: 6s }
defaults: { retries: 2 }
frontends:
  a: { bind: '127.0.0.1:1001', default_backend: x, maxconn: 7 }
  c: { bind: '127.0.0.1:1002', default_backend: z }
backends:
  x:
    servers: [{ name: s2, address: '192.0.2.2:80', weight: 6 }, { name: s3, address: '192.0.2.1:80' }]
  z: { servers: [{ name: s1, address: '192.0.2.3:80' }] }
";
        assert_eq!(
            changes(FILE, other),
            [
                "defaults changed: retries",
                "global changed: grace",
                "frontend b removed",
                "frontend a changed: maxconn",
                "frontend c added",
                "backend w removed",
                "backend x changed: balance",
                "server x/s1 removed",
                "server x/s2 changed: weight",
                "server x/s3 added",
                "backend z added",
            ]
        );
    }
}
