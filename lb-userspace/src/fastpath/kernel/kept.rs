//! The pinned maps once more, by handles: somebody may remove the pins while the program runs.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use super::{
    super::{error::FastPathError, pins::Pins, sys},
    maps::NAMES,
};

/// A handle on each, by its name.
pub(super) struct Kept(Vec<(&'static str, OwnedFd)>);

impl Kept {
    /// Opens them.
    pub(super) fn open(pins: &Pins) -> io::Result<Self> {
        let open = |name: &&'static str| Ok((*name, sys::pinned(&pins.map(name))?));
        NAMES.iter().map(open).collect::<io::Result<_>>().map(Self)
    }

    /// Whether one is pinned no more, or the folder is another than the one that is `locked`.
    pub(super) fn is_lost(&self, pins: &Pins, locked: &fs::File) -> bool {
        !is_same(pins.folder(), locked) || self.0.iter().any(|(name, _)| is_gone(&pins.map(name)))
    }

    /// Pins them again; the lock, if the folder is a new one.
    ///
    /// # Errors
    /// They cannot be pinned, or another lb has its own there by now.
    pub(super) fn pin(
        &self,
        pins: &Pins,
        locked: &fs::File,
    ) -> Result<Option<fs::File>, FastPathError> {
        let lock = if is_same(pins.folder(), locked) {
            None
        } else {
            pins.make()?;
            let lock = pins.lock()?;
            if pins.has_maps() {
                return Err(pins.in_use());
            }
            Some(lock)
        };
        pins.make()?;
        for (name, map) in &self.0 {
            let path = pins.map(name);
            if is_gone(&path) {
                sys::pin(map.as_fd(), &path).map_err(|source| FastPathError::Pin {
                    action: "pin",
                    path,
                    source,
                })?;
            }
        }
        Ok(lock)
    }
}

/// Whether there is nothing at `path`. One that cannot be looked for is taken to be there.
pub(super) fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether that is the file, as far as can be told.
fn is_same(path: &Path, file: &fs::File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
        (_, Err(_)) => true,
    }
}
