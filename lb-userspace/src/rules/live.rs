//! Maps and lists that rules change while they run: all that were read from one file, however they are compared.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

pub use super::map::Change;
use super::map::Map;

/// What was read from a file.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    maps: OnceLock<Vec<Arc<Map>>>,
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
            let _ = map.settle(change, key, text);
        }
    }
}
