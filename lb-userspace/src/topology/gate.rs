//! Whether a frontend lets anybody in, as operators will it.

use std::sync::atomic::{
    AtomicU8,
    Ordering::{Relaxed, SeqCst},
};

use tokio::sync::watch;

/// What operators want of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Passage {
    /// Connections come in.
    #[default]
    Open,
    /// None for now (`disable frontend`).
    Paused,
    /// None any more (`shutdown frontend`).
    Closed,
}

/// Lets connections in, or does not. It outlives a configuration.
#[derive(Debug, Default)]
pub struct Gate {
    passage: AtomicU8,
    /// Tells of changes.
    changed: watch::Sender<()>,
}

impl Gate {
    /// What operators want.
    pub fn passage(&self) -> Passage {
        match self.passage.load(Relaxed) {
            0 => Passage::Open,
            1 => Passage::Paused,
            _ => Passage::Closed,
        }
    }

    /// Whether connections come in.
    pub fn is_open(&self) -> bool {
        self.passage() == Passage::Open
    }

    /// HAProxy's word in the column of states; `None` if connections come in.
    pub fn word(&self) -> Option<&'static str> {
        match self.passage() {
            Passage::Open => None,
            Passage::Paused => Some("PAUSED"),
            Passage::Closed => Some("STOP"),
        }
    }

    pub(super) fn set(&self, passage: Passage) {
        self.passage.store(passage as u8, SeqCst);
        self.changed.send_replace(());
    }

    /// Resolves once connections come in, or once they do no more.
    pub async fn is(&self, open: bool) {
        // The sender is ours, so that the wait cannot fail.
        let _ = self
            .changed
            .subscribe()
            .wait_for(|()| self.is_open() == open)
            .await;
    }
}
