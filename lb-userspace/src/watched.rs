//! Whether files have changed since they were read.
//!
//! They are looked at from time to time instead of being watched: that works where a file is replaced, where its folder is
//! a link that is moved, and on network file systems.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// That of `path` now; all zero if there is none.
    pub fn of(path: &Path) -> Self {
        fs::metadata(path).map_or(Self::default(), |file| Self {
            inode: file.ino(),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}

/// Files as they were when they were last read, or at the last attempt.
#[derive(Debug, Default)]
pub struct Watched {
    seen: Vec<(PathBuf, Stamp)>,
    /// A change that was seen, and is only acted on if it is still the same the next time: a file may be half written, and
    /// files that belong together are not written at once.
    settling: Option<Vec<Stamp>>,
}

impl Watched {
    /// These, whose stamps were taken before they were read.
    pub fn new(seen: Vec<(PathBuf, Stamp)>) -> Self {
        Self {
            seen,
            settling: None,
        }
    }

    /// One, as it is now.
    pub fn one(path: &Path) -> Self {
        Self::new(vec![(path.to_owned(), Stamp::of(path))])
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.seen.iter().map(|(path, _)| path.as_path())
    }

    /// How one of them was.
    pub fn stamp(&self, path: &Path) -> Option<Stamp> {
        let mut each = self.seen.iter();
        each.find_map(|(seen, stamp)| (seen == path).then_some(*stamp))
    }

    /// Those that are not as they were, whether or not they are being written just now.
    pub fn differing(&self) -> Vec<PathBuf> {
        let differing = self.seen.iter();
        let differing = differing.filter(|(path, then)| Stamp::of(path) != *then);
        differing.map(|(path, _)| path.clone()).collect()
    }

    /// Those that have changed, once all are as they were when this was asked last.
    pub fn changed(&mut self) -> Vec<PathBuf> {
        let now: Vec<Stamp> = self.files().map(Stamp::of).collect();
        let pairs = self.seen.iter().zip(&now);
        let changed = pairs.filter(|((_, then), now)| then != *now);
        let changed: Vec<PathBuf> = changed.map(|((path, _), _)| path.clone()).collect();
        if changed.is_empty() {
            self.settling = None;
            return changed;
        }
        if self.settling.as_ref() != Some(&now) {
            self.settling = Some(now);
            return Vec::new();
        }
        self.settling = None;
        changed
    }
}
