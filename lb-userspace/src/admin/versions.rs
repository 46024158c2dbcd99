//! Maps and files of patterns that are exchanged in one step: `prepare`, then lines for a version that nobody sees yet, then
//! `commit`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::maps::{self, Sort};
use crate::{
    rules::{Map, halves},
    topology::Topology,
};

/// Bytes of lines that a file's versions may have before one of them is committed.
const MOST_BYTES: usize = 64 << 20;
/// What a line takes beside its text.
const A_LINE: usize = 64;
/// Versions that may be prepared at a time, of one file.
const MOST_VERSIONS: usize = 16;

/// What is prepared.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<BTreeMap<(PathBuf, Sort), Prepared>>);

#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// That of the lines in use.
    pub(super) current: u32,
    /// The last that was given out.
    pub(super) next: u32,
    pending: BTreeMap<u32, Version>,
}

/// One that nobody sees yet.
#[derive(Debug, Default)]
struct Version {
    lines: Vec<(String, String)>,
    /// What they take.
    bytes: usize,
}

impl Prepared {
    fn bytes(&self) -> usize {
        self.pending.values().map(|version| version.bytes).sum()
    }
}

impl Versions {
    /// The answer to a command about versions; `None` if it is none.
    pub(super) fn answer(
        &self,
        topology: &Topology,
        words: &[&str],
        payload: Option<&[u8]>,
    ) -> Option<Result<String, String>> {
        let (verb, sort, rest) = maps::about(words)?;
        let version = rest.first().and_then(|word| word.strip_prefix('@'));
        Some(match (verb, version) {
            ("prepare", _) => self.prepare(topology, sort, rest.first()),
            ("commit", version) => self.commit(topology, sort, version, rest.get(1)),
            ("add" | "clear" | "show", Some(version)) => {
                let after = rest.get(1..).unwrap_or_default();
                self.pending(topology, (verb, sort), version, after, payload)?
            }
            ("show", None) if rest.is_empty() => Ok(maps::list(topology, sort, |map| {
                let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let known = known.get(&(map.path().to_owned(), sort));
                known.map_or((0, 0), |known| (known.current, known.next))
            })),
            _ => return None,
        })
    }

    fn with<T>(&self, map: &Map, sort: Sort, what: impl FnOnce(&mut Prepared) -> T) -> T {
        // Each change is one step.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        what(all.entry((map.path().to_owned(), sort)).or_default())
    }

    fn prepare(
        &self,
        topology: &Topology,
        sort: Sort,
        name: Option<&&str>,
    ) -> Result<String, String> {
        let name = name.ok_or_else(|| sort.missing())?;
        let map = maps::find(topology, sort, name)?;
        let version = self.with(map, sort, |known| {
            known.next = known.next.wrapping_add(1).max(1);
            known.pending.insert(known.next, Version::default());
            if known.pending.len() > MOST_VERSIONS {
                // Whoever began it has forgotten it.
                known.pending.pop_first();
            }
            known.next
        });
        Ok(format!("New version created: {version}\n"))
    }

    fn commit(
        &self,
        topology: &Topology,
        sort: Sort,
        version: Option<&str>,
        name: Option<&&str>,
    ) -> Result<String, String> {
        let version = version.ok_or("Version number missing.")?;
        let name = name.ok_or_else(|| sort.missing())?;
        let map = maps::find(topology, sort, name)?;
        let version = number(version)?;
        self.with(map, sort, |known| {
            let version_lines = known
                .pending
                .get(&version)
                .ok_or("Version number out of range.")?;
            let pairs = version_lines
                .lines
                .iter()
                .map(|(key, text)| (key.as_str(), text.as_str()));
            map.exchange(pairs).map_err(|problem| problem.message)?;
            // Older ones are of no use any more.
            known.pending = known.pending.split_off(&(version.saturating_add(1)));
            known.current = version;
            Ok(String::new())
        })
    }

    /// What is done to a version that nobody sees yet, or to the one in use by its number.
    fn pending(
        &self,
        topology: &Topology,
        (verb, sort): (&str, Sort),
        version: &str,
        words: &[&str],
        payload: Option<&[u8]>,
    ) -> Option<Result<String, String>> {
        let done = || {
            let name = words.first().ok_or_else(|| sort.missing())?;
            let map = maps::find(topology, sort, name)?;
            let version = number(version)?;
            if self.with(map, sort, |known| known.current == version) {
                let mut plain = vec![verb, sort.name()];
                plain.extend(words);
                return maps::answer(topology, &plain, payload).unwrap_or(Ok(String::new()));
            }
            self.with(map, sort, |known| {
                let held = known.bytes();
                let pending = known
                    .pending
                    .get_mut(&version)
                    .ok_or("Version number out of range.")?;
                match verb {
                    "clear" => *pending = Version::default(),
                    "show" => {
                        return Ok(pending
                            .lines
                            .iter()
                            .enumerate()
                            .map(|(at, (key, text))| match sort {
                                Sort::Map => format!("{:#x} {key} {text}\n", at + 1),
                                Sort::Acl => format!("{:#x} {key}\n", at + 1),
                            })
                            .collect());
                    }
                    _ => {
                        let payload = payload.map(String::from_utf8_lossy);
                        let new = maps::lines(sort, words, payload.as_deref())?;
                        let sizes = new
                            .iter()
                            .map(|(key, text)| key.len() + text.len() + A_LINE);
                        let bytes: usize = sizes.sum();
                        if held + bytes > MOST_BYTES {
                            return Err("Out of memory.".to_owned());
                        }
                        pending.bytes += bytes;
                        pending.lines.extend(new);
                    }
                }
                Ok(String::new())
            })
        };
        Some(done())
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "Invalid version number.".to_owned())
}

/// The lines of a payload.
pub(super) fn of_payload(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.is_empty()).map(halves);
    lines
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .collect()
}
