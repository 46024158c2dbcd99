//! What was made of files, and is made anew when they change. Whoever uses it takes a pointer; nothing waits.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;

use super::{
    error::TlsError,
    files::{Overrides, Reader},
};
use crate::watched::{Stamp, Watched};

/// Something made of files.
#[derive(Debug)]
pub(super) struct Live<T> {
    current: ArcSwapOption<T>,
    /// Of those who change it; nobody else looks at it.
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    /// The files of the last attempt.
    files: Watched,
    /// What stands for a file until the file changes.
    overrides: Overrides,
}

impl<T> Live<T> {
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            control: Mutex::default(),
        }
    }

    /// What there is; `None` before the first [`Self::load`] that succeeded.
    pub(super) fn current(&self) -> Option<Arc<T>> {
        self.current.load_full()
    }

    /// Makes it. What was before stays if that fails.
    pub(super) fn load(
        &self,
        make: impl FnOnce(&mut Reader<'_>) -> Result<T, TlsError>,
    ) -> Result<(), TlsError> {
        self.make(&mut self.control(), make)
    }

    /// Makes it anew if its files are not as they were at the last attempt, even if they are being changed just now.
    pub(super) fn reload(
        &self,
        make: impl FnOnce(&mut Reader<'_>) -> Result<T, TlsError>,
    ) -> Result<(), TlsError> {
        let mut control = self.control();
        let changed = control.files.differing();
        if changed.is_empty() {
            return Ok(());
        }
        for path in &changed {
            control.overrides.remove(path);
        }
        self.make(&mut control, make)
    }

    /// Makes it anew if its files have changed since the last attempt; `None` if they have not.
    pub(super) fn follow(
        &self,
        make: impl FnOnce(&mut Reader<'_>) -> Result<T, TlsError>,
    ) -> Option<Result<(), TlsError>> {
        let mut control = self.control();
        let changed = control.files.changed();
        if changed.is_empty() {
            return None;
        }
        for path in &changed {
            control.overrides.remove(path);
        }
        Some(self.make(&mut control, make))
    }

    /// Its files that there were when they were read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let control = self.control();
        let files = control.files.files();
        let there = files.filter(|path| control.files.stamp(path) != Some(Stamp::default()));
        there.map(Path::to_owned).collect()
    }

    /// Whether `path` is one of its files.
    pub(super) fn uses(&self, path: &Path) -> bool {
        self.control().files.files().any(|seen| seen == path)
    }

    /// Whether it could be made with `files` in the place of what is on the disk.
    pub(super) fn try_out(
        &self,
        files: &Overrides,
        make: impl FnOnce(&mut Reader<'_>) -> Result<T, TlsError>,
    ) -> Result<(), TlsError> {
        let mut overrides = self.control().overrides.clone();
        overrides.extend(files.clone());
        let mut reader = Reader {
            overrides: Some(&overrides),
            seen: Vec::new(),
        };
        make(&mut reader).map(drop)
    }

    /// What is read for `path` now.
    pub(super) fn bytes(&self, path: &Path) -> Result<Vec<u8>, TlsError> {
        let control = self.control();
        let mut reader = Reader {
            overrides: Some(&control.overrides),
            seen: Vec::new(),
        };
        reader.authorities(path)
    }

    /// What stands for files, and how those were when it came to that.
    pub(super) fn exchanged(&self) -> Vec<(PathBuf, Stamp, Vec<u8>)> {
        let control = self.control();
        let each = control.overrides.iter().filter_map(|(path, bytes)| {
            let stamp = control.files.stamp(path)?;
            Some((path.clone(), stamp, bytes.clone()))
        });
        each.collect()
    }

    /// Whether `path` is one of its files, and was like this when it was read.
    pub(super) fn is_as(&self, path: &Path, stamp: Stamp) -> bool {
        self.control().files.stamp(path) == Some(stamp)
    }

    /// Whether something else stands for one of these files, or nothing.
    pub(super) fn differs(&self, files: &Overrides) -> bool {
        let control = self.control();
        let mut each = files.iter();
        each.any(|(path, bytes)| control.overrides.get(path) != Some(bytes))
    }

    /// Makes it anew with `files` in the place of what is on the disk. Nothing changes if that fails.
    pub(super) fn replace(
        &self,
        files: &Overrides,
        make: impl FnOnce(&mut Reader<'_>) -> Result<T, TlsError>,
    ) -> Result<(), TlsError> {
        let mut control = self.control();
        let before = control.overrides.clone();
        control.overrides.extend(
            files
                .iter()
                .map(|(path, bytes)| (path.clone(), bytes.clone())),
        );
        let made = self.make(&mut control, make);
        if made.is_err() {
            control.overrides = before;
        }
        made
    }

    fn make(
        &self,
        control: &mut Control,
        make: impl FnOnce(&mut Reader<'_>) -> Result<T, TlsError>,
    ) -> Result<(), TlsError> {
        let mut reader = Reader {
            overrides: Some(&control.overrides),
            seen: Vec::new(),
        };
        let made = make(&mut reader);
        let mut seen = reader.seen;
        if made.is_err() {
            // It may have stopped before files that it would have come to: those are watched as well, as they are now.
            let known: BTreeSet<&Path> = seen.iter().map(|(path, _)| path.as_path()).collect();
            let rest = control.files.files().filter(|path| !known.contains(path));
            let rest: Vec<_> = rest
                .map(|path| (path.to_owned(), Stamp::of(path)))
                .collect();
            seen.extend(rest);
        }
        control.files = Watched::new(seen);
        self.current.store(Some(Arc::new(made?)));
        Ok(())
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // Whoever panicked has not left half of a change: all of it is stored at the end.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
