//! Milliseconds since the topology was made: what fits an atomic.

use std::time::{Duration, Instant};

/// Turns instants into the milliseconds that live state is kept in.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at `start`.
    pub fn new(start: Instant) -> Self {
        Self { start }
    }

    /// When it started.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Milliseconds from its start to now.
    pub fn now_ms(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Milliseconds from its start to `instant`, 0 if that is before.
    pub fn at(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant `ms` milliseconds after its start.
    pub fn instant(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
}
