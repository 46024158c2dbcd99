//! From the agent of one process to that of another, while the kernel forwards by what is pinned: the lock on the pins, the
//! way to them, and what operators have denied.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::Mutex,
};

use super::{deny::Changes, pins};

/// What an agent leaves to the next.
#[derive(Debug)]
pub struct Legacy {
    /// The lock on the pins: whoever has a duplicate of it has the lock.
    pub lock: OwnedFd,
    /// What operators have denied and allowed.
    pub denied: Changes,
}

/// A lock that was handed on and not been taken yet.
static LOCK: Mutex<Option<File>> = Mutex::new(None);
/// Denials likewise.
static DENIED: Mutex<Option<Changes>> = Mutex::new(None);

impl Legacy {
    /// The next agent of this process goes on with it.
    pub fn take_over(self) {
        put(&LOCK, Some(self.lock.into()));
        put(&DENIED, Some(self.denied));
    }

    /// The same once more.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            lock: self.lock()?,
            denied: self.denied.clone(),
        })
    }

    /// A duplicate of the lock, for another process.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.try_clone()
    }
}

/// The lock that was handed on, if it is that of `folder`.
pub(super) fn lock_of(folder: &File) -> Option<File> {
    LOCK.lock().ok()?.take_if(|lock| is_of(lock, folder))
}

/// Whether there is one.
pub(super) fn has_lock_of(folder: &File) -> bool {
    let lock = LOCK.lock();
    lock.is_ok_and(|lock| lock.as_ref().is_some_and(|lock| is_of(lock, folder)))
}

fn is_of(lock: &File, folder: &File) -> bool {
    let both = lock.metadata().ok().zip(folder.metadata().ok());
    both.is_some_and(|(ours, theirs)| (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
}

/// What operators had denied under the agent before.
pub(super) fn denied() -> Option<Changes> {
    DENIED.lock().ok()?.take()
}

fn put<T>(place: &Mutex<Option<T>>, value: Option<T>) {
    if let Ok(mut place) = place.lock() {
        *place = value;
    }
}

/// A descriptor of the pin path, by which this process gets there if not by name.
pub fn way() -> Option<OwnedFd> {
    pins::held()?.as_fd().try_clone_to_owned().ok()
}

/// The pin path is to be found by `folder`.
pub fn find_by(pin_path: &Path, folder: OwnedFd) {
    pins::hold(pin_path, folder);
}
