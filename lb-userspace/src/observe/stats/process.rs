//! Facts of the process itself.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Instant, SystemTime},
};

/// What the daemon knows of itself. The daemon makes one at start and shares it.
#[derive(Debug)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it started, by the clock on the wall.
    pub started: SystemTime,
    /// When it started, for uptimes.
    pub started_at: Instant,
    /// Worker threads.
    pub threads: usize,
    /// Most userspace connections at a time, if bounded.
    pub maxconn: Option<u32>,
    stopping: AtomicBool,
}

impl Process {
    /// This process, started now.
    pub fn new(threads: usize, maxconn: Option<u32>) -> Self {
        Self {
            pid: std::process::id(),
            started: SystemTime::now(),
            started_at: Instant::now(),
            threads,
            maxconn,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on `/healthz` says 503 and frontends read `STOP`.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether a stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }
}
