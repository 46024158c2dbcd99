//! The last message of each proxy that was none, for an operator to look at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::ArcSwapOption;

use super::Peer;

/// A message that was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// When it was found out.
    pub at: SystemTime,
    /// Its number among all of the process.
    pub event: u64,
    /// The frontend's name.
    pub frontend: Arc<str>,
    /// The backend's and the server's, of a response.
    pub server: Option<(Arc<str>, Arc<str>)>,
    /// The client.
    pub source: Peer,
    /// What was read of it.
    pub bytes: Vec<u8>,
    /// What of it is wrong: where, and what was being read there.
    pub fault: Fault,
}

/// Where a message is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which byte, from 0.
    pub position: usize,
    /// What was being read there, by HAProxy's name and number.
    pub state: (&'static str, u8),
}

/// The last one of a proxy. Whoever writes waits for nobody.
#[derive(Debug, Default)]
pub struct LastInvalid(ArcSwapOption<Invalid>);

impl LastInvalid {
    /// It, if there was one.
    pub fn get(&self) -> Option<Arc<Invalid>> {
        self.0.load_full()
    }

    /// Takes the place of the one before.
    pub fn set(&self, invalid: Invalid) {
        self.0.store(Some(Arc::new(invalid)));
    }
}

/// How many there were.
#[derive(Debug, Default)]
pub struct Events(AtomicU64);

impl Events {
    /// The number of the next one.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }

    /// So many have been.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
