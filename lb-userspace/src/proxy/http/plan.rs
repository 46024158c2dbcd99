//! What a configuration comes to for `mode http`: everything that can be worked out before the first request.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderValue;

use super::{
    cookie::{self, dates::Dates},
    fields::Fields,
};
use crate::{
    config::model::{self, Forwarding, Mode},
    rules::{RuleSet, action},
    topology::{Backend, Server, Topology},
};

/// One configuration, compiled. Immutable; all workers share it.
#[derive(Debug)]
pub struct Plan {
    frontends: Vec<Routes>,
    backends: Vec<Target>,
    names: HashMap<Vec<u8>, usize>,
    asks_for_ends: bool,
    asks_for_host: bool,
    asks_for_local: bool,
    introduces: bool,
    /// Requests that have got a number.
    numbered: Arc<AtomicU64>,
}

/// Where a frontend's requests go.
#[derive(Debug)]
struct Routes {
    frontend: Arc<model::Frontend>,
    default: Option<usize>,
    /// As [`Target::changes`].
    changes: (bool, bool),
    /// Lines that the log has got of it, if a line wants to know.
    lines: Arc<AtomicU64>,
}

/// A backend, as requests need it.
#[derive(Debug)]
pub struct Target {
    /// Its place in the topology.
    pub index: usize,
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its sticky cookie.
    pub cookie: Option<Sticky>,
    /// Whether its rules may change what the proxy goes by, in requests and in responses: then it is looked for again.
    pub changes: (bool, bool),
}

/// A sticky cookie with what is sent for each server.
#[derive(Debug)]
pub struct Sticky {
    /// What the file says.
    pub config: model::Cookie,
    /// What follows `path=/`.
    attributes: String,
    /// The Set-Cookie value of each server, where it carries no dates.
    set: Vec<Option<HeaderValue>>,
}

impl Sticky {
    fn new(config: &model::Cookie, backend: &Backend) -> Self {
        let attributes = config.attributes();
        let set = |server: &Arc<Server>| {
            let value = server.config.cookie.as_deref();
            match value {
                Some(_) if config.is_dated() => None,
                value => cookie::set_cookie(&config.name, value, &attributes),
            }
        };
        Self {
            config: config.clone(),
            set: backend.servers.iter().map(set).collect(),
            attributes,
        }
    }

    /// The Set-Cookie value that binds a client to `server` at `now`, or removes its cookie where the server has none.
    /// `place` is the server's in the backend; it has none if a later configuration has added it. `dates` are those that
    /// the client's had.
    pub fn set_for(
        &self,
        server: &Server,
        place: Option<usize>,
        dates: Dates,
        now: u64,
    ) -> Option<HeaderValue> {
        if let Some(Some(set)) = place.and_then(|place| self.set.get(place)) {
            return Some(set.clone());
        }
        let mut value = server.config.cookie.clone();
        if let Some(value) = &mut value {
            dates.write(value, &self.config, now);
        }
        cookie::set_cookie(&self.config.name, value.as_deref(), &self.attributes)
    }
}

impl Plan {
    /// Compiles the configuration that `topology` was made of. What `before` has counted is counted on.
    pub fn new(topology: &Topology, before: Option<&Self>) -> Self {
        let lines = before.map_or(&[][..], |before| &before.frontends).iter();
        let lines: HashMap<&str, &Arc<AtomicU64>> = lines
            .map(|routes| (&*routes.frontend.name, &routes.lines))
            .collect();
        let index_of = |name: &str| {
            topology
                .backends
                .iter()
                .position(|backend| &*backend.name == name)
        };
        let frontends = topology.frontends.iter().map(|frontend| {
            frontend.config.rules.resolve(index_of);
            Routes {
                changes: frontend.config.rules.changes(&Fields::has),
                frontend: Arc::clone(&frontend.config),
                lines: lines
                    .get(&*frontend.name)
                    .map_or_else(Arc::default, |lines| Arc::clone(lines)),
                default: frontend
                    .config
                    .default_backend
                    .as_deref()
                    .and_then(index_of),
            }
        });
        let backends = topology
            .backends
            .iter()
            .enumerate()
            .map(|(index, backend)| Target {
                index,
                changes: backend.config.rules.changes(&Fields::has),
                backend: Arc::clone(backend),
                cookie: backend
                    .config
                    .cookie
                    .as_ref()
                    .map(|config| Sticky::new(config, backend)),
            });
        let http = |(_, backend): &(usize, &Arc<Backend>)| backend.config.mode == Mode::Http;
        let names = topology.backends.iter().enumerate().filter(http);
        let told = || {
            let frontends = topology.frontends.iter().map(|f| &f.config.forwarding);
            frontends.chain(topology.backends.iter().map(|b| &b.config.forwarding))
        };
        let wants = || {
            let configs = topology.frontends.iter().map(|f| &f.config);
            configs.flat_map(|c| {
                let formats = c.error_log_format.iter().chain([&c.log_format]);
                formats.map(|format| c.wants_of(format))
            })
        };
        Self {
            frontends: frontends.collect(),
            backends: backends.collect(),
            names: names
                .map(|(index, backend)| (backend.name.as_bytes().to_vec(), index))
                .collect(),
            asks_for_ends: topology.frontends.iter().any(|f| {
                !f.config.rules.is_empty()
                    || !f.config.connection_rules.is_empty()
                    || f.config.unique_id.is_some()
                    || f.config.monitor.is_some()
            }) || topology
                .backends
                .iter()
                .any(|b| !b.config.rules.is_empty() || !b.config.sticks.is_empty())
                || told().any(Forwarding::asks_for_ends)
                || wants().any(|wants| wants.destination),
            asks_for_local: wants().any(|wants| wants.local),
            numbered: before.map_or_else(Arc::default, |b| Arc::clone(&b.numbered)),
            asks_for_host: told().any(Forwarding::asks_for_host),
            introduces: topology
                .backends
                .iter()
                .flat_map(|backend| &backend.servers)
                .any(|server| {
                    let config = &server.config;
                    config.send_proxy.is_some()
                        || config.address.asked().is_some()
                        || config.dialling.spoof.is_some()
                }),
        }
    }

    /// Whether any server is told of the ends of clients' connections.
    pub fn introduces(&self) -> bool {
        self.introduces
    }

    /// Whether anything may ask for the ends of a client's connection: a rule, what requests are called, what servers are remembered by.
    pub fn asks_for_ends(&self) -> bool {
        self.asks_for_ends
    }

    /// Whether any server is told of the host that clients asked for.
    pub fn asks_for_host(&self) -> bool {
        self.asks_for_host
    }

    /// Whether a line of the log has our end of connections to servers in it.
    pub fn asks_for_local(&self) -> bool {
        self.asks_for_local
    }

    /// The number of a request.
    pub fn next_number(&self) -> u64 {
        self.numbered.fetch_add(1, Relaxed)
    }

    /// How many lines the log has got of the frontend at `frontend` before this one.
    pub fn next_line(&self, frontend: usize) -> u64 {
        let routes = self.frontends.get(frontend);
        routes.map_or(0, |routes| routes.lines.fetch_add(1, Relaxed))
    }

    /// The rules of the frontend at `frontend`.
    pub fn rules(&self, frontend: usize) -> &RuleSet {
        static NONE: OnceLock<RuleSet> = OnceLock::new();
        match self.frontends.get(frontend) {
            Some(routes) => &routes.frontend.rules,
            None => NONE.get_or_init(RuleSet::default),
        }
    }

    /// Whether they may change what the proxy goes by, in requests and in responses.
    pub fn changes(&self, frontend: usize) -> (bool, bool) {
        let routes = self.frontends.get(frontend);
        routes.map_or((false, false), |routes| routes.changes)
    }

    /// The backend for requests of the frontend at `frontend` that no rule sends elsewhere.
    pub fn default(&self, frontend: usize) -> Option<&Target> {
        self.backends.get(self.frontends.get(frontend)?.default?)
    }

    /// The backend that a rule names.
    pub fn resolve(&self, target: &action::Target) -> Option<&Target> {
        match target {
            action::Target::Named(named) => self.backends.get(named.index()?),
            action::Target::Computed(_) => None,
        }
    }

    /// The backend of mode http that is called so.
    pub fn named(&self, name: &[u8]) -> Option<&Target> {
        self.backends.get(*self.names.get(name)?)
    }
}
