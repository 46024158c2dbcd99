//! The userspace data paths.
//!
//! A thread per core: each [`worker`] has listeners of its own (SO_REUSEPORT), a single-threaded runtime, and what it
//! needs not share with the others. Everything shared is behind one pointer, [`Shared`], and read without a lock.

use std::{
    io,
    sync::Arc,
    sync::OnceLock,
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

pub mod connect;
pub mod dispatch;
mod entrance;
#[cfg(test)]
mod fixtures;
pub mod http;
mod inherited;
pub mod listener;
mod peek;
mod pulse;
pub mod retry;
mod session;
mod sieve;
pub mod tcp;
pub mod udp;
pub mod worker;

pub use listener::{ListenError, Listeners};
pub use pulse::Pulses;
pub use worker::{Client, Worker};

pub use crate::wire::{Stream, header, stream};
use crate::{
    config::Config,
    observe::{
        log::Sink,
        stats::{Sources, endpoint::Endpoint},
    },
    rules::Table,
    topology::{Limit, Topology, counters::Counter},
};

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The running model.
    pub topology: Arc<Topology>,
    /// The configuration that it was made of.
    pub config: Arc<Config>,
    /// What the configuration comes to for mode http.
    pub http: http::Plan,
    /// What it comes to for mode tcp.
    pub tcp: tcp::Plan,
    /// Where finished sessions are logged.
    pub log: Sink,
    /// Userspace connections of clients, all frontends together, and their bound (`global.maxconn`).
    pub sessions: Limit,
    /// Connections accepted, all frontends together.
    pub accepted: Counter,
    /// By frontend, the statistics that it shows; set before the first connection.
    pub statistics: OnceLock<Vec<Option<Arc<Endpoint>>>>,
    /// Connections that could not be accepted, most often for want of file descriptors.
    pub accept_errors: Counter,
}

impl Shared {
    /// Bounded by `maxconn`, which is at most what the file limit allows.
    pub fn new(topology: Arc<Topology>, config: Arc<Config>, log: Sink, maxconn: u32) -> Self {
        config
            .tables
            .iter()
            .filter_map(|handle| handle.table())
            .for_each(Table::reserve);
        Self {
            http: http::Plan::new(&topology),
            tcp: tcp::Plan::new(&topology),
            topology,
            config,
            log,
            sessions: Limit::new(Some(maxconn)),
            accepted: Counter::default(),
            statistics: OnceLock::new(),
            accept_errors: Counter::default(),
        }
    }
}

impl Shared {
    /// Gives the frontends that show statistics those of `sources`, once.
    pub fn show(&self, sources: &Sources) {
        let frontends = self.topology.frontends.iter().map(|frontend| {
            let config = frontend.config.stats.clone()?;
            Some(Arc::new(Endpoint::new(config, sources.clone())))
        });
        self.statistics.get_or_init(|| frontends.collect());
    }
}

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    Running,
    /// No new connections; those that there are run to their end.
    Graceful,
    /// All connections end.
    Now,
}

/// The running workers.
#[derive(Debug)]
pub struct Proxy {
    stop: watch::Sender<Stop>,
    threads: Vec<JoinHandle<()>>,
    running: watch::Sender<usize>,
    pulses: Pulses,
}

impl Proxy {
    /// Starts a worker thread for each set of listeners.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made; those already started are stopped.
    pub fn start(shared: &Arc<Shared>, listeners: Vec<Listeners>) -> io::Result<Self> {
        let stop = watch::Sender::new(Stop::Running);
        let mut proxy = Self {
            pulses: Pulses::new(stop.subscribe()),
            stop,
            threads: Vec::new(),
            running: watch::Sender::new(0),
        };
        for (index, listeners) in listeners.into_iter().enumerate() {
            let (shared, stop) = (Arc::clone(shared), proxy.stop.subscribe());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let running = Running::begin(&proxy.running);
            let beat = proxy.pulses.add();
            runtime.spawn(beat.answer());
            let thread = thread::Builder::new()
                .name(format!("lb-worker-{index}"))
                .spawn(move || {
                    let (_running, _beat) = (running, beat);
                    worker::run(&runtime, index, shared, listeners, stop);
                })?;
            proxy.threads.push(thread);
        }
        Ok(proxy)
    }

    /// Begins or hastens the stop; never goes back.
    pub fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|now| {
            let further = stop > *now;
            if further {
                *now = stop;
            }
            further
        });
    }

    /// Whether the workers turn.
    pub fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }

    /// Whether all workers have ended.
    pub fn is_finished(&self) -> bool {
        *self.running.borrow() == 0
    }

    /// Resolves once all workers have ended.
    pub async fn finished(&self) {
        // The sender is ours, so that the wait cannot fail.
        let _ = self
            .running
            .subscribe()
            .wait_for(|running| *running == 0)
            .await;
    }
}

/// Counts a worker while it runs, also if it panics.
struct Running(watch::Sender<usize>);

impl Running {
    fn begin(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|running| *running += 1);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop(Stop::Now);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread has panicked");
            }
        }
    }
}
