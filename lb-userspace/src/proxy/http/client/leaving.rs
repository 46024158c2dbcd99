//! Clients that leave before they have their answer.

use super::{Client, Upload};

/// A client that leaves before it has its answer (`abort_on_close`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Leaving {
    /// Nobody looks.
    Ignored,
    /// It has not, as far as has been seen.
    Watched,
    /// It has shut its side down.
    Seen,
}

impl Client {
    /// Looks from here on whether it leaves, or does so no more.
    pub(in super::super) fn watch_for_leaving(&self, on: bool) {
        self.leaving.set(match on {
            true => Leaving::Watched,
            false => Leaving::Ignored,
        });
    }

    pub(in super::super) fn leaving(&self) -> Leaving {
        self.leaving.get()
    }

    pub(in super::super) fn note_leaving(&self) {
        self.leaving.set(Leaving::Seen);
    }

    /// Whether it has left, having said all of its request.
    pub(in super::super) fn has_left(&self) -> bool {
        self.leaving.get() == Leaving::Seen && self.upload() == Upload::Done
    }
}
