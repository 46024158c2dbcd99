//! The userspace data paths.
//!
//! A thread per core: each [`worker`] has listeners of its own (SO_REUSEPORT), a single-threaded runtime, and what it
//! needs not share with the others. Everything shared is behind one pointer, [`Shared`], and read without a lock.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::LocalOptions,
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
        watch,
    },
};

pub mod connect;
pub mod dispatch;
mod entrance;
#[cfg(test)]
mod fixtures;
pub mod generation;
pub mod http;
mod ignore;
mod inherited;
pub mod listener;
mod peek;
mod post;
mod pulse;
mod refused;
pub mod retry;
mod session;
mod sessions;
mod sieve;
pub mod tcp;
pub mod udp;
pub mod worker;

use generation::Thread;
pub use generation::Worker;
pub use inherited::Lent;
pub use listener::{Files, ListenError, Listeners, Seat};
use post::Change;
pub use post::Loan;
pub use pulse::Pulses;
pub use worker::Client;

pub use crate::wire::{Stream, header, stream};
use crate::{
    allocator,
    config::{Config, model::Stats},
    observe::{
        log::{Sink, held},
        sessions::{Asked, Sessions},
        stats::{Sources, endpoint::Endpoint},
    },
    rules::{Links, Table},
    socket_file::SocketFile,
    topology::{Frontend, Limit, Topology, counters::Counter},
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
    pub sessions: Arc<Limit>,
    /// Connections accepted, all frontends together.
    pub accepted: Arc<Counter>,
    /// By frontend, the statistics that it shows; set before the first connection.
    pub statistics: OnceLock<Pages>,
    /// Connections that could not be accepted, most often for want of file descriptors.
    pub accept_errors: Arc<Counter>,
    /// Frontends by name.
    names: HashMap<Arc<str>, usize>,
    /// Backend and server of the configuration before, and the same server in this one, where its connections can be used
    /// as before.
    kept: HashMap<(usize, usize), (usize, usize)>,
}

impl Shared {
    /// Bounded by `maxconn`, which is at most what the file limit allows.
    pub fn new(topology: Arc<Topology>, config: Arc<Config>, log: Sink, maxconn: u32) -> Self {
        Self::build(topology, config, log, maxconn, None)
    }

    /// That of the configuration that comes after this one.
    pub fn next(
        &self,
        topology: Arc<Topology>,
        config: Arc<Config>,
        log: Sink,
        maxconn: u32,
    ) -> Self {
        Self::build(topology, config, log, maxconn, Some(self))
    }

    fn build(
        topology: Arc<Topology>,
        config: Arc<Config>,
        log: Sink,
        maxconn: u32,
        before: Option<&Self>,
    ) -> Self {
        config
            .tables
            .iter()
            .filter_map(|handle| handle.table())
            .for_each(Table::reserve);
        Self {
            http: http::Plan::new(&topology, before.map(|before| &before.http)),
            tcp: tcp::Plan::new(&topology),
            names: topology
                .frontends
                .iter()
                .map(|frontend| (Arc::clone(&frontend.name), frontend.index))
                .collect(),
            // What has to be remembered of a connection is found out when it is made.
            kept: before
                .filter(|before| before.config.links.tls || !config.links.tls)
                .map_or_else(HashMap::new, |b| kept(&b.topology, &topology)),
            topology,
            config,
            log,
            sessions: before.map_or_else(
                || Arc::new(Limit::new(Some(maxconn))),
                |before| Arc::clone(&before.sessions),
            ),
            accepted: before.map_or_else(Arc::default, |b| Arc::clone(&b.accepted)),
            statistics: OnceLock::new(),
            accept_errors: before.map_or_else(Arc::default, |b| Arc::clone(&b.accept_errors)),
        }
    }

    /// What anybody wants to know of connections to servers.
    fn wants_of_servers(&self) -> Links {
        let wants = self.config.links;
        Links {
            local: self.http.asks_for_local() || wants.local,
            ..wants
        }
    }

    /// Where a server of the configuration before is in this one, if connections to it can be used as before.
    fn kept(&self, place: http::Place) -> Option<http::Place> {
        let before = (place.backend as usize, place.server as usize);
        let (backend, server) = *self.kept.get(&before)?;
        Some(http::Place {
            backend: u32::try_from(backend).ok()?,
            server: u32::try_from(server).ok()?,
            moves: place.moves,
        })
    }

    /// The frontend called `name`.
    fn frontend(&self, name: &str) -> Option<&Arc<Frontend>> {
        self.topology.frontends.get(*self.names.get(name)?)
    }
}

/// Places of servers, by backend and server, that `before` and `after` have in common.
fn kept(before: &Topology, after: &Topology) -> HashMap<(usize, usize), (usize, usize)> {
    let names = after.backends.iter().enumerate();
    let names: HashMap<&str, usize> = names.map(|(index, b)| (&*b.name, index)).collect();
    let mut kept = HashMap::new();
    for (from, backend) in before.backends.iter().enumerate() {
        let Some(&to) = names.get(&*backend.name) else {
            continue;
        };
        let servers = after.backends[to].servers.iter();
        let servers: HashMap<&str, _> = servers.map(|server| (&*server.name, server)).collect();
        for server in &backend.servers {
            let same = servers.get(&*server.name);
            if let Some(same) = same.filter(|same| same.is_reached_like(server)) {
                kept.insert((from, server.index), (to, same.index));
            }
        }
    }
    kept
}

impl Shared {
    /// Gives the frontends that show statistics those of `sources`, once.
    pub fn show(&self, sources: &Sources) {
        let page = |config: &Option<Stats>| {
            let config = config.clone()?;
            Some(Arc::new(Endpoint::new(config, sources.clone())))
        };
        let (frontends, backends) = (&self.topology.frontends, &self.topology.backends);
        self.statistics.get_or_init(|| Pages {
            metrics: Arc::new(Endpoint::new(Stats::default(), sources.clone())),
            frontends: frontends
                .iter()
                .map(|one| page(&one.config.stats))
                .collect(),
            backends: backends
                .iter()
                .filter_map(|one| Some((one.name.to_string(), page(&one.config.stats)?)))
                .collect(),
        });
    }
}

/// The statistics among the traffic, of each frontend and backend that shows them.
#[derive(Debug)]
pub struct Pages {
    /// What rules answer with by `metrics`.
    pub metrics: Arc<Endpoint>,
    /// By the frontend's index.
    pub frontends: Vec<Option<Arc<Endpoint>>>,
    /// By the backend's name.
    pub backends: HashMap<String, Arc<Endpoint>>,
}

/// How long a reload waits for listeners to be closed.
const CLOSING: Duration = Duration::from_millis(200);

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    Running,
    /// Another process listens on the same sockets and takes all that is new: [`Proxy::hand_over`].
    HandedOver,
    /// First packets of new connections are not answered, so that clients repeat them, and connections of mode http end
    /// after what they are at.
    Quiet,
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
    changes: Vec<mpsc::UnboundedSender<Change>>,
    running: watch::Sender<usize>,
    /// Connections of all workers.
    clients: Arc<AtomicUsize>,
    /// What is listened on.
    seats: HashSet<Seat>,
    /// The files of unix sockets, which the workers have.
    files: HashMap<PathBuf, Weak<SocketFile>>,
    /// What was, and is not closed by all threads yet.
    closing: Vec<(HashSet<Seat>, Vec<oneshot::Receiver<()>>)>,
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
            changes: Vec::new(),
            running: watch::Sender::new(0),
            clients: Arc::default(),
            seats: seats(&shared.topology),
            files: HashMap::new(),
            closing: Vec::new(),
        };
        proxy.know_files(&listeners);
        for (index, listeners) in listeners.into_iter().enumerate() {
            let (shared, stop) = (Arc::clone(shared), proxy.stop.subscribe());
            let running = Running::begin(&proxy.running);
            let (changes, told) = mpsc::unbounded_channel();
            let clients = Arc::clone(&proxy.clients);
            let beat = proxy.pulses.add();
            let (begun, has_begun) = std::sync::mpsc::channel();
            let thread = thread::Builder::new()
                .name(format!("lb-worker-{index}"))
                .spawn(move || {
                    let _keeping = allocator::keep();
                    let _holding = held::Holding::begin(&shared.log);
                    let (_running, beat) = (running, beat);
                    // It stays on the thread that made it.
                    let made = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .on_thread_park(held::deliver)
                        .build_local(LocalOptions::default());
                    let (runtime, how) = match made {
                        Ok(runtime) => (Some(runtime), Ok(())),
                        Err(error) => (None, Err(error)),
                    };
                    // Whoever started it waits.
                    let _ = begun.send(how);
                    let Some(runtime) = runtime else { return };
                    runtime.spawn_local(beat.answer());
                    let thread = Thread::new(index, stop.clone(), clients);
                    post::run(&runtime, thread, shared, listeners, told, stop);
                })?;
            // Nothing in between can end it.
            has_begun.recv().unwrap_or(Ok(()))?;
            proxy.threads.push(thread);
            proxy.changes.push(changes);
        }
        Ok(proxy)
    }

    /// Listens on these from now on, beside what there is, for each worker. Resolves once all workers do so.
    pub async fn listen(&mut self, listeners: Vec<Listeners>) {
        self.know_files(&listeners);
        let pairs = self.changes.iter().zip(listeners);
        let told = pairs.map(|(changes, listeners)| {
            let (done, listening) = oneshot::channel();
            let _ = changes.send(Change::Listen { listeners, done });
            listening
        });
        // One that is ending has dropped its end.
        for listening in told.collect::<Vec<_>>() {
            let _ = listening.await;
        }
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Opens the binds of `topology` that are not listened on yet, once for each worker.
    ///
    /// # Errors
    /// The first bind that cannot be had.
    pub fn open_more(&mut self, topology: &Topology) -> Result<Vec<Listeners>, ListenError> {
        self.open_beside(topology, &self.seats.clone())
    }

    /// The same, and unix sockets whose path does not lead to them any more: somebody has removed the file.
    ///
    /// # Errors
    /// The first bind that cannot be had.
    pub fn open_again(&mut self, topology: &Topology) -> Result<Vec<Listeners>, ListenError> {
        let nameless = |path: &Path| {
            let file = self.files.get(path).and_then(Weak::upgrade);
            file.is_some_and(|file| !file.is_reached())
        };
        let held = self.seats.iter();
        let held = held.filter(|seat| !seat.path().is_some_and(nameless));
        self.open_beside(topology, &held.cloned().collect())
    }

    fn open_beside(
        &mut self,
        topology: &Topology,
        held: &HashSet<Seat>,
    ) -> Result<Vec<Listeners>, ListenError> {
        for (_, threads) in &mut self.closing {
            threads.retain_mut(|closed| matches!(closed.try_recv(), Err(TryRecvError::Empty)));
        }
        self.closing.retain(|(_, threads)| !threads.is_empty());
        let closing = self.closing.iter().flat_map(|(seats, _)| seats);
        let ours: HashSet<&Seat> = self.seats.iter().chain(closing).collect();
        let mut lent = Lent::default();
        Listeners::open_more(topology, self.workers(), held, &ours, &mut lent)
    }

    fn know_files(&mut self, listeners: &[Listeners]) {
        self.files.retain(|_, file| file.strong_count() > 0);
        let files = listeners.iter().flat_map(|listeners| &listeners.files);
        for (_, _, file) in files {
            let path = file.path().to_owned();
            self.files.insert(path, Arc::downgrade(file));
        }
    }

    /// Serves another configuration from now on, with the `listeners` that it has beside those that there are. What it has
    /// no longer is listened on until [`Proxy::close_removed`]. Resolves once all workers do so.
    pub async fn install(&mut self, shared: &Arc<Shared>, listeners: Vec<Listeners>) {
        self.know_files(&listeners);
        let pairs = self.changes.iter().zip(listeners);
        let told = pairs.map(|(changes, listeners)| {
            let (done, installed) = oneshot::channel();
            let shared = Arc::clone(shared);
            let _ = changes.send(Change::Install {
                shared,
                listeners,
                done,
            });
            installed
        });
        // All are told before the first is waited for. One that is ending has dropped its end.
        for installed in told.collect::<Vec<_>>() {
            let _ = installed.await;
        }
        self.seats.extend(seats(&shared.topology));
    }

    /// Gives the files of unix sockets that stay to whom the configuration of `shared` says, where that of `before` has said
    /// something else.
    ///
    /// # Errors
    /// The first that cannot be given away.
    pub fn give_files(before: &Shared, shared: &Shared) -> Result<(), ListenError> {
        listener::give_files(&before.topology, &shared.topology)
    }

    /// Closes the listeners that the configuration of `shared` has no longer. Waits a moment for that: who waits to be
    /// accepted may take longer, and so may flows of datagrams.
    pub async fn close_removed(&mut self, shared: &Shared) {
        let wanted = seats(&shared.topology);
        let removed: HashSet<Seat> = self.seats.difference(&wanted).cloned().collect();
        self.seats = wanted;
        if removed.is_empty() {
            return;
        }
        let told = self.changes.iter().map(|changes| {
            let (done, closed) = oneshot::channel();
            let _ = changes.send(Change::Close { done });
            closed
        });
        let mut told: Vec<_> = told.collect();
        let all = async {
            while let Some(closed) = told.last_mut() {
                let _ = closed.await;
                told.pop();
            }
        };
        if tokio::time::timeout(CLOSING, all).await.is_err() {
            self.closing.push((removed, told));
        }
    }

    /// Duplicates of all listening sockets, by what they are called ([`Seat::text`]).
    pub async fn lend(&self) -> Vec<Loan> {
        let told = self.changes.iter().map(|changes| {
            let (reply, lent) = oneshot::channel();
            let _ = changes.send(Change::Lend { reply });
            lent
        });
        let mut all = Vec::new();
        for lent in told.collect::<Vec<_>>() {
            // A worker that is gone listens on nothing.
            all.extend(lent.await.unwrap_or_default());
        }
        // The first bind's first, and of each the first worker's: that worker of the other process gets it.
        all.sort_by(|a: &Loan, b| a.0.cmp(&b.0));
        all
    }

    /// Another process listens on the same sockets, but for those called `left`, and takes what is new from now on. Ours
    /// are closed; connections of mode http end with their next answer, others by themselves. Resolves once nothing is
    /// listened on.
    pub async fn hand_over(&self, left: HashSet<String>) {
        let left = Arc::new(left);
        if !left.is_empty() {
            let told = self.tell(|done| Change::CloseNamed {
                names: Arc::clone(&left),
                done,
            });
            let _ = tokio::time::timeout(CLOSING, told).await;
        }
        self.tell(|done| Change::HandOver { done }).await;
        self.stop(Stop::HandedOver);
    }

    /// Tells all workers, and resolves once all have done it. One that is ending has dropped its end.
    fn tell(&self, change: impl Fn(oneshot::Sender<()>) -> Change) -> impl Future<Output = ()> {
        let told = self.changes.iter().map(|changes| {
            let (done, answer) = oneshot::channel();
            let _ = changes.send(change(done));
            answer
        });
        let told: Vec<_> = told.collect();
        async move {
            for answer in told {
                let _ = answer.await;
            }
        }
    }

    /// Connections that are served now.
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
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

    /// Where the connections that are served can be asked for.
    pub fn sessions(&self) -> Sessions {
        let threads = self.changes.iter().cloned().map(|changes| -> Asked {
            Arc::new(move |question, reply| {
                // One that is ending has dropped its end.
                let _ = changes.send(Change::Sessions { question, reply });
            })
        });
        Sessions::new(threads.collect())
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

fn seats(topology: &Topology) -> HashSet<Seat> {
    listener::seats(topology).map(|(seat, ..)| seat).collect()
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
