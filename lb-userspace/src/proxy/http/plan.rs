//! What a configuration comes to for `mode http`: everything that can be worked out before the first request.

use std::sync::Arc;

use http::HeaderValue;

use super::cookie::{self, dates::Dates};
use crate::{
    config::model,
    rules::{RequestView, RuleSet},
    topology::{Backend, Server, Topology},
};

/// One configuration, compiled. Immutable; all workers share it.
#[derive(Debug)]
pub struct Plan {
    frontends: Vec<Routes>,
    backends: Vec<Target>,
    introduces: bool,
}

/// Where a frontend's requests go.
#[derive(Debug)]
struct Routes {
    rules: RuleSet<usize>,
    default: Option<usize>,
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
    /// `dates` are those that the client's had.
    pub fn set_for(&self, server: &Server, dates: Dates, now: u64) -> Option<HeaderValue> {
        if let Some(set) = self.set.get(server.index)? {
            return Some(set.clone());
        }
        let mut value = server.config.cookie.clone()?;
        dates.write(&mut value, &self.config, now);
        cookie::set_cookie(&self.config.name, Some(&value), &self.attributes)
    }
}

impl Plan {
    /// Compiles the configuration that `topology` was made of.
    pub fn new(topology: &Topology) -> Self {
        let index_of = |name: &str| {
            topology
                .backends
                .iter()
                .position(|backend| &*backend.name == name)
        };
        let frontends = topology.frontends.iter().map(|frontend| Routes {
            rules: RuleSet::compile(&frontend.config.rules, index_of),
            default: frontend
                .config
                .default_backend
                .as_deref()
                .and_then(index_of),
        });
        let backends = topology
            .backends
            .iter()
            .enumerate()
            .map(|(index, backend)| Target {
                index,
                backend: Arc::clone(backend),
                cookie: backend
                    .config
                    .cookie
                    .as_ref()
                    .map(|config| Sticky::new(config, backend)),
            });
        Self {
            frontends: frontends.collect(),
            backends: backends.collect(),
            introduces: topology
                .backends
                .iter()
                .flat_map(|backend| &backend.servers)
                .any(|server| server.config.send_proxy.is_some()),
        }
    }

    /// Whether any server is told of the ends of clients' connections.
    pub fn introduces(&self) -> bool {
        self.introduces
    }

    /// The backend that a request of the frontend at `frontend` goes to.
    pub fn route(&self, frontend: usize, request: &RequestView<'_>) -> Option<&Target> {
        let routes = self.frontends.get(frontend)?;
        let index = routes.rules.first(request).copied().or(routes.default)?;
        self.backends.get(index)
    }
}
