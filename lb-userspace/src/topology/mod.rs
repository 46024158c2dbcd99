//! The running model: frontends, backends, servers and their live state.
//!
//! [`Server`] is the one source of truth for a server's state. Health checks and operators write it, through its
//! [`Backend`]; fast path, proxy and statistics read it, or subscribe to [`Topology::changes`]. Decisions are pure and
//! nothing here touches a socket.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use tokio::sync::{broadcast, watch};

pub mod asking;
pub mod backend;
pub mod carried;
pub mod check;
pub mod clock;
pub mod counters;
pub mod events;
mod facts;
pub mod frontend;
pub mod gate;
mod hashing;
pub mod histogram;
pub mod invalid;
pub mod latency;
pub mod limit;
mod live;
pub mod observation;
mod owner;
pub mod pace;
pub mod peer;
pub mod queue;
pub mod rates;
mod remembered;
pub mod resolving;
pub mod server;
pub mod table;
mod tracking;

pub use asking::Asking;
pub use backend::{Backend, STATIC_WEIGHTS, Unavailable, Visit, Willed};
pub use check::{CheckResult, CheckStatus};
pub use clock::Clock;
pub use events::{Event, EventKind};
pub use frontend::{Accepted, Frontend};
pub use gate::{Gate, Passage};
pub use limit::Limit;
pub use observation::Observation;
pub use pace::Pace;
pub use peer::Peer;
pub use rates::Rates;
pub use resolving::Resolving;
pub use server::{AdminState, Connection, Counted, Elsewhere, Health, Server, Slots};

use counters::KernelTraffic;

use crate::{
    config::{
        Config,
        model::{self, Address},
    },
    rules::{Handle, Map, Process, Variables},
    tls::{Acceptor, BindOptions, Overrides, TlsError},
};

/// The running model of one configuration.
#[derive(Debug)]
pub struct Topology {
    /// Frontends in the order of the file.
    pub frontends: Vec<Arc<Frontend>>,
    /// Backends in the order of the file.
    pub backends: Vec<Arc<Backend>>,
    /// Files that rules look values up in.
    pub maps: Vec<Arc<Map>>,
    /// Tables that rules count in.
    pub tables: Vec<Arc<Handle>>,
    /// The values of the variables that the whole process has.
    pub variables: Arc<Variables>,
    process: Process,
    /// What the stats endpoint listens on, with the TLS of each bind that has it.
    pub stats: Vec<(model::Bind, Option<Arc<Acceptor>>)>,
    /// The clock that live state is kept in.
    pub clock: Clock,
    /// Messages that were none.
    pub invalid_events: Arc<invalid::Events>,
    /// How much the whole process accepts, as operators will it.
    pub rates: Arc<Rates>,
    /// What DNS servers have answered.
    pub resolving: Arc<Resolving>,
    notifier: Arc<events::Notifier>,
}

/// The TLS of binds that are running, by what they are.
type Acceptors<'a> = HashMap<(&'a Address, &'a BindOptions), &'a Arc<Acceptor>>;

impl Topology {
    /// The model of `config`, all servers in their initial state.
    pub fn new(config: &Config) -> Self {
        Self::begun(config, Clock::new(Instant::now()))
    }

    /// The same with a clock that may have begun earlier, in a process whose place this one takes.
    pub fn begun(config: &Config, clock: Clock) -> Self {
        let topology = Self::build(config, None, clock);
        for backend in &topology.backends {
            backend.take_over(None);
        }
        topology.process.begin();
        topology.settle();
        topology
    }

    /// The model of `config`, in which whatever has a name that `self` has as well goes on with its counters and its
    /// state. Nothing changes for `self` until [`Topology::take_over`].
    pub fn next(&self, config: &Config) -> Self {
        Self::build(config, Some(self), self.clock)
    }

    /// From now on this is the one that runs, in the place of `before`, which it was made from.
    pub fn take_over(&self, before: &Self) {
        for backend in &self.backends {
            backend.take_over(before.backend(&backend.name));
        }
        self.settle();
        for frontend in &self.frontends {
            frontend.take_over(before.frontend(&frontend.name));
        }
        // What operators amend, such as a server that comes, is no reload: what was set meanwhile stays.
        if !self.process.is_read_with(&before.process) {
            self.process.begin();
        }
        self.notifier.changed();
    }

    fn build(config: &Config, before: Option<&Self>, clock: Clock) -> Self {
        let notifier = before.map_or_else(Arc::default, |b| Arc::clone(&b.notifier));
        let named = |list: &'_ [Arc<Backend>]| -> HashMap<Arc<str>, Arc<Backend>> {
            let pairs = list.iter().map(|b| (Arc::clone(&b.name), Arc::clone(b)));
            pairs.collect()
        };
        let variables: Arc<[String]> = config.variables.as_slice().into();
        let running = named(before.map_or(&[], |before| &before.backends));
        let backends: Vec<_> = config
            .backends
            .iter()
            .map(|b| {
                let before = running.get(b.name.as_str());
                let before = before.map(|before| &**before);
                Arc::new(Backend::new(b, clock, &notifier, &variables, before))
            })
            .collect();
        Self::link(&backends);
        let by_name = named(&backends);
        let running: HashMap<&str, &Frontend> = before.map_or_else(HashMap::new, |before| {
            let frontends = before.frontends.iter();
            frontends.map(|f| (&*f.name, &**f)).collect()
        });
        let acceptors = before.map_or_else(Acceptors::new, Self::known_acceptors);
        let acceptor = |bind: &model::Bind| {
            let tls = bind.tls.as_ref()?;
            Some(match acceptors.get(&(&bind.address, tls)) {
                Some(acceptor) => Arc::clone(acceptor),
                None => Arc::new(Acceptor::new(tls.clone())),
            })
        };
        let frontends = config
            .frontends
            .iter()
            .enumerate()
            .map(|(index, f)| {
                let default = f.default_backend.as_deref();
                Arc::new(Frontend::new(
                    f,
                    index,
                    default.and_then(|name| by_name.get(name)),
                    running.get(f.name.as_str()).copied(),
                    acceptor,
                ))
            })
            .collect();
        let stats = config.stats.iter().flat_map(|stats| &stats.binds);
        let stats = stats.map(|bind| (bind.clone(), acceptor(bind))).collect();
        if let Some(before) = before {
            remembered::keep(before, config);
        }
        let variables = before.map_or_else(Arc::default, |b| Arc::clone(&b.variables));
        variables.bind(&config.process.named);
        Self {
            frontends,
            backends,
            maps: config.maps.clone(),
            tables: config.tables.clone(),
            variables,
            process: config.process.clone(),
            stats,
            clock,
            invalid_events: before.map_or_else(Arc::default, |b| Arc::clone(&b.invalid_events)),
            rates: before.map_or_else(Arc::default, |b| Arc::clone(&b.rates)),
            resolving: before.map_or_else(Arc::default, |b| Arc::clone(&b.resolving)),
            notifier,
        }
    }

    /// What a bind of the same address with the same options goes on with: its session tickets, and certificates that
    /// an operator has exchanged.
    fn known_acceptors(&self) -> Acceptors<'_> {
        let frontends = self.frontends.iter().flat_map(|f| f.acceptors());
        let stats = self.stats.iter();
        let stats = stats.filter_map(|(bind, acceptor)| Some((bind, acceptor.as_ref()?)));
        let all = frontends.chain(stats);
        all.filter_map(|(bind, acceptor)| Some(((&bind.address, bind.tls.as_ref()?), acceptor)))
            .collect()
    }

    /// The frontend called `name`.
    pub fn frontend(&self, name: &str) -> Option<&Arc<Frontend>> {
        self.frontends.iter().find(|f| &*f.name == name)
    }

    /// The backend called `name`.
    pub fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|b| &*b.name == name)
    }

    /// The server called `server` of the backend called `backend`.
    pub fn server(&self, backend: &str, server: &str) -> Option<&Arc<Server>> {
        self.backend(backend)?.server(server)
    }

    /// All that the kernel path counts for.
    pub fn kernel_traffic(&self) -> impl Iterator<Item = &KernelTraffic> {
        let servers = self.backends.iter().flat_map(|backend| &backend.servers);
        let servers = servers.map(|server| &server.counters.kernel);
        let frontends = self.frontends.iter().map(|f| &f.counters.kernel);
        servers.chain(frontends)
    }

    /// A version number that rises at each change that the kernel maps have to follow: health, weight, operator's
    /// state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.notifier.changes()
    }

    /// Opens, pauses or closes a frontend for new connections, for both paths.
    pub fn set_gate(&self, frontend: &Frontend, passage: Passage) {
        frontend.gate().set(passage);
        self.notifier.changed();
    }

    /// Changes worth a log line, from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.notifier.events()
    }

    /// The TLS of every bind that has it, with whose it is.
    pub fn acceptors(&self) -> impl Iterator<Item = (String, &Arc<Acceptor>)> {
        let frontends = self.frontends.iter().flat_map(|frontend| {
            let acceptors = frontend.acceptors();
            acceptors.map(|(bind, acceptor)| {
                (
                    format!("frontend {}: {}", frontend.name, bind.text),
                    acceptor,
                )
            })
        });
        let stats = self.stats.iter().filter_map(|(bind, acceptor)| {
            Some((format!("stats: {}", bind.text), acceptor.as_ref()?))
        });
        frontends.chain(stats)
    }

    /// Whether any bind or server has TLS.
    pub fn has_tls(&self) -> bool {
        let mut servers = self.backends.iter().flat_map(|backend| &backend.servers);
        self.acceptors().next().is_some()
            || servers.any(|server| server.connectors().next().is_some())
    }

    /// Reads the certificates and keys of all binds and servers. Until then TLS refuses everybody. Of what is in use already
    /// it is only found out whether they could be read again, by whoever may.
    ///
    /// # Errors
    /// The first that cannot be used, with whose it is.
    pub fn load_tls(&self) -> Result<(), (String, TlsError)> {
        for (whose, acceptor) in self.acceptors() {
            let loaded = match acceptor.is_loaded() {
                true => unless_denied(acceptor.try_out(&Overrides::default())),
                false => acceptor.load(),
            };
            loaded.map_err(|error| (whose, error))?;
        }
        for server in self.backends.iter().flat_map(|backend| &backend.servers) {
            for connector in server.connectors() {
                let loaded = match connector.is_loaded() {
                    true => unless_denied(connector.try_out()),
                    false => connector.load(),
                };
                loaded.map_err(|error| {
                    (format!("server {}/{}", server.backend, server.name), error)
                })?;
            }
        }
        Ok(())
    }

    /// The files of all that.
    pub fn tls_files(&self) -> BTreeSet<PathBuf> {
        let binds = self.acceptors().flat_map(|(_, acceptor)| acceptor.files());
        let servers = self.backends.iter().flat_map(|backend| &backend.servers);
        let connectors = servers.flat_map(|server| server.connectors());
        let files = connectors.flat_map(|connector| connector.files());
        binds.chain(files).collect()
    }

    /// Reads certificates and keys again whose files are not as they were, at once.
    ///
    /// # Errors
    /// The first that cannot be used, with whose it is; it stays as it was.
    pub fn reload_tls(&self) -> Result<(), (String, TlsError)> {
        let mut result = Ok(());
        for (whose, acceptor) in self.acceptors() {
            let reloaded = acceptor.reload().map_err(|error| (whose, error));
            result = result.and(reloaded);
        }
        for server in self.backends.iter().flat_map(|backend| &backend.servers) {
            for connector in server.connectors() {
                let whose = || format!("server {}/{}", server.backend, server.name);
                let reloaded = connector.reload().map_err(|error| (whose(), error));
                result = result.and(reloaded);
            }
        }
        result
    }

    /// Reads certificates and keys again whose files have changed; says of each whose it is and what came of it.
    pub fn follow_tls(&self) -> Vec<(String, Result<(), TlsError>)> {
        let mut changed = Vec::new();
        for (whose, acceptor) in self.acceptors() {
            changed.extend(acceptor.follow().map(|result| (whose, result)));
        }
        for server in self.backends.iter().flat_map(|backend| &backend.servers) {
            let whose = || format!("server {}/{}", server.backend, server.name);
            let results = server
                .connectors()
                .filter_map(|connector| connector.follow());
            changed.extend(results.map(|result| (whose(), result)));
        }
        changed
    }

    /// Where health checks of `server` go: its address and port, unless the check has its own. A unix socket has no port
    /// that could be another one.
    pub fn check_address(server: &Server, check: &model::HealthCheck) -> Address {
        let address = server.address();
        let elsewhere = match check.kind {
            model::CheckKind::Agent { .. } => server.agent_elsewhere(),
            _ => server.check_elsewhere(),
        };
        let port = elsewhere.port.or(check.port).or(address.port());
        let ip = elsewhere.address.or(check.address).or(address.ip());
        match (ip, port) {
            (Some(ip), Some(port)) => SocketAddr::new(ip, port).into(),
            _ => address,
        }
    }
}

/// Who may not read a file has read it before, where something was made of it.
fn unless_denied(tried: Result<(), TlsError>) -> Result<(), TlsError> {
    tried.or_else(|error| match error.denied() {
        Some(_) => Ok(()),
        None => Err(error),
    })
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod next_tests;
