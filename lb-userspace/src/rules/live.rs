//! Maps and lists that rules change while they run: all that were read from one file, however they are compared.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::map::{Map, Which};

/// What was read from a file.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    maps: OnceLock<Vec<Arc<Map>>>,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `set_map`: a key leads to this, whether it was there or not.
    Set,
    /// `del_map`, `del_acl`: a key is removed.
    Remove,
    /// `add_acl`: a pattern is there.
    Add,
}

impl Live {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            maps: OnceLock::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells it what was read, once that is known; whether anything was.
    pub fn connect(&self, maps: &[Arc<Map>]) -> bool {
        let own = maps.iter().filter(|map| map.path() == self.path).cloned();
        !self.maps.get_or_init(|| own.collect()).is_empty()
    }

    /// Changes all of them. What cannot be a key, or what it leads to, changes nothing.
    pub(super) fn change(&self, change: Change, key: &str, text: &str) {
        for map in self.maps.get().map_or(&[][..], Vec::as_slice) {
            let mut known = false;
            let mut same = true;
            for line in map.lines().iter().filter(|line| line.key == key) {
                known = true;
                same &= line.text == text;
            }
            let _ = match (change, known) {
                (Change::Remove, true) => {
                    map.remove(Which::Key(key));
                    Ok(())
                }
                (Change::Set, true) if !same => map.replace(Which::Key(key), text).map(drop),
                (Change::Set | Change::Add, false) => map.append([(key, text)]),
                (Change::Set | Change::Add, true) | (Change::Remove, false) => Ok(()),
            };
        }
    }
}
