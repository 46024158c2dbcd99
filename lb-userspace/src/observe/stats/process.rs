//! Facts of the process itself.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
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
    predecessors: Mutex<Vec<(u32, u64)>>,
    /// Of whoever reloads and whoever asks; neither is in a hurry.
    reloads: Mutex<Reloads>,
    servers_refused: Mutex<Vec<String>>,
}

/// What became of reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloads {
    /// Configurations taken, the first one not among them.
    pub succeeded: u64,
    /// Configurations refused.
    pub failed: u64,
    /// Whether the last one was taken.
    pub last_succeeded: bool,
    /// When the running configuration was taken.
    pub last_success: SystemTime,
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
            predecessors: Mutex::default(),
            reloads: Mutex::new(Reloads {
                succeeded: 0,
                failed: 0,
                last_succeeded: true,
                last_success: SystemTime::now(),
            }),
            servers_refused: Mutex::default(),
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

    /// Processes whose place this one has taken and that serve their last connections: their ids, and how many those are.
    pub fn predecessors(&self) -> Vec<(u32, u64)> {
        let predecessors = self.predecessors.lock();
        predecessors.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// They are these from now on.
    pub fn set_predecessors(&self, now: Vec<(u32, u64)>) {
        let predecessors = self.predecessors.lock();
        *predecessors.unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// What became of reloads until now.
    pub fn reloads(&self) -> Reloads {
        *self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reload has come to its end.
    pub fn count_reload(&self, succeeded: bool) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        reloads.last_succeeded = succeeded;
        if succeeded {
            reloads.succeeded += 1;
            reloads.last_success = SystemTime::now();
        } else {
            reloads.failed += 1;
        }
    }

    /// What is wrong with files of servers, so that earlier ones are in use.
    pub fn servers_refused(&self) -> Vec<String> {
        let refused = self.servers_refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This is wrong with files of servers from now on.
    pub fn set_servers_refused(&self, why: Vec<String>) {
        let refused = self.servers_refused.lock();
        *refused.unwrap_or_else(PoisonError::into_inner) = why;
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
