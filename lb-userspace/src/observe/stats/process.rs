//! Facts of the process itself.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
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
    /// Most userspace connections at a time; `u32::MAX` is no bound.
    maxconn: AtomicU32,
    /// Most that an operator may allow: what the file and the limit of file descriptors do.
    hard_maxconn: AtomicU32,
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
            maxconn: AtomicU32::new(maxconn.unwrap_or(u32::MAX)),
            hard_maxconn: AtomicU32::new(maxconn.unwrap_or(u32::MAX)),
            stopping: AtomicBool::new(false),
        }
    }

    /// Most userspace connections at a time, if bounded.
    pub fn maxconn(&self) -> Option<u32> {
        Some(self.maxconn.load(Relaxed)).filter(|&max| max != u32::MAX)
    }

    /// Another bound holds from now on.
    pub fn set_maxconn(&self, maxconn: Option<u32>) {
        self.maxconn.store(maxconn.unwrap_or(u32::MAX), Relaxed);
    }

    /// Most userspace connections that an operator may allow, if that is bounded.
    pub fn hard_maxconn(&self) -> Option<u32> {
        Some(self.hard_maxconn.load(Relaxed)).filter(|&max| max != u32::MAX)
    }

    /// Another bound holds for what an operator may allow.
    pub fn set_hard_maxconn(&self, maxconn: Option<u32>) {
        self.hard_maxconn
            .store(maxconn.unwrap_or(u32::MAX), Relaxed);
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
