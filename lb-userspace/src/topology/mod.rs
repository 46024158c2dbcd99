//! The running model: frontends, backends, servers and their live state.
//!
//! [`Server`] is the one source of truth for a server's state. Health checks and operators write it, through its
//! [`Backend`]; fast path, proxy and statistics read it, or subscribe to [`Topology::changes`]. Decisions are pure and
//! nothing here touches a socket.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio::sync::{broadcast, watch};

pub mod asking;
pub mod backend;
pub mod check;
pub mod clock;
pub mod counters;
pub mod events;
pub mod frontend;
pub mod invalid;
pub mod latency;
pub mod limit;
pub mod observation;
pub mod peer;
pub mod queue;
pub mod server;
pub mod table;

pub use asking::Asking;
pub use backend::{Backend, Unavailable, Visit};
pub use check::{CheckResult, CheckStatus};
pub use clock::Clock;
pub use events::{Event, EventKind};
pub use frontend::{Accepted, Frontend};
pub use limit::Limit;
pub use observation::Observation;
pub use peer::Peer;
pub use server::{AdminState, Connection, Health, Server, Slots};

use crate::{
    config::{
        Config,
        model::{self, Address},
    },
    rules::{Handle, Map},
    tls::{Acceptor, TlsError},
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
    /// What the stats endpoint listens on, with the TLS of each bind that has it.
    pub stats: Vec<(model::Bind, Option<Arc<Acceptor>>)>,
    /// The clock that live state is kept in.
    pub clock: Clock,
    /// Messages that were none.
    pub invalid_events: invalid::Events,
    notifier: Arc<events::Notifier>,
}

impl Topology {
    /// The model of `config`, all servers in their initial state.
    pub fn new(config: &Config) -> Self {
        let clock = Clock::new(Instant::now());
        let notifier = Arc::new(events::Notifier::default());
        let backends: Vec<_> = config
            .backends
            .iter()
            .map(|b| Arc::new(Backend::new(b, clock, &notifier)))
            .collect();
        let by_name = |name: &str| backends.iter().find(|b| &*b.name == name);
        let frontends = config
            .frontends
            .iter()
            .enumerate()
            .map(|(index, f)| {
                Arc::new(Frontend::new(
                    f,
                    index,
                    f.default_backend.as_deref().and_then(by_name),
                ))
            })
            .collect();
        let stats = config.stats.iter().flat_map(|stats| &stats.binds);
        let acceptor =
            |bind: &model::Bind| bind.tls.clone().map(|tls| Arc::new(Acceptor::new(tls)));
        Self {
            frontends,
            backends,
            maps: config.maps.clone(),
            tables: config.tables.clone(),
            stats: stats.map(|bind| (bind.clone(), acceptor(bind))).collect(),
            clock,
            invalid_events: invalid::Events::default(),
            notifier,
        }
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

    /// A version number that rises at each change that the kernel maps have to follow: health, weight, operator's
    /// state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.notifier.changes()
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

    /// Reads the certificates and keys of all binds and servers. Until then TLS refuses everybody.
    ///
    /// # Errors
    /// The first that cannot be used, with whose it is.
    pub fn load_tls(&self) -> Result<(), (String, TlsError)> {
        for (whose, acceptor) in self.acceptors() {
            acceptor.load().map_err(|error| (whose, error))?;
        }
        for server in self.backends.iter().flat_map(|backend| &backend.servers) {
            for connector in server.connectors() {
                connector.load().map_err(|error| {
                    (format!("server {}/{}", server.backend, server.name), error)
                })?;
            }
        }
        Ok(())
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
        let port = check.port.or(address.port());
        match (check.address.or(address.ip()), port) {
            (Some(ip), Some(port)) => SocketAddr::new(ip, port).into(),
            _ => address,
        }
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
