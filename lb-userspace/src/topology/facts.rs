//! What expressions ask of proxies and servers.

use std::sync::Arc;

use super::{Backend, Frontend, Server, Topology};
use crate::rules::{Asked, Fact, Named};

impl Topology {
    /// A number of the proxies and servers there are; where it names none, of `here` or of `backend`: those that a request or
    /// a check is at. `now` is the clock's.
    pub fn fact(
        &self,
        fact: &Fact,
        here: Option<&Arc<Frontend>>,
        backend: Option<&Arc<Backend>>,
        now: u64,
    ) -> Option<i64> {
        let backend_of = |named: Option<&Named>| match named {
            None => backend,
            Some(named) => self.backends.get(named.index()?),
        };
        let server_of = |backend: &Named, server: &Named| {
            backend_of(Some(backend))?.servers.get(server.index()?)
        };
        let frontend = |named: &Option<Named>| match named {
            Some(named) => self.frontends.get(named.index()?),
            None => here,
        };
        let rate = |per_second: u64| i64::try_from(per_second).unwrap_or(i64::MAX);
        Some(match fact {
            Fact::UsableServers(b) => usable(backend_of(b.as_ref())?),
            Fact::BackendConnections(b) => backend_of(b.as_ref())?.current().into(),
            Fact::BackendRate(b) => {
                let counters = &backend_of(b.as_ref())?.counters;
                rate(counters.connection_rate.per_second(now))
            }
            Fact::Queue(b) => queued(backend_of(b.as_ref())?),
            Fact::AverageQueue(b) => {
                let backend = backend_of(b.as_ref())?;
                let usable = usable(backend).max(1);
                (queued(backend) + usable - 1) / usable
            }
            Fact::Slots(b) => {
                let backend = backend_of(b.as_ref())?;
                let up = backend.servers.iter().filter(|server| server.is_eligible());
                // The same where a queue has none.
                let slots = up.map(|server| {
                    let room = i64::from(server.config.max_queue?) - i64::from(server.queue.len());
                    Some(free(server)? + room.max(0))
                });
                slots.sum::<Option<i64>>().unwrap_or(-1)
            }
            Fact::BackendFree(b) => {
                let backend = backend_of(b.as_ref())?;
                // HAProxy says -1 where a server has no limit, since nothing can be told then.
                let free = backend
                    .servers
                    .iter()
                    .filter(|s| s.is_eligible())
                    .map(|s| free(s));
                free.sum::<Option<i64>>().unwrap_or(-1)
            }
            Fact::FrontendConnections(f) => frontend(f)?.current().into(),
            Fact::FrontendRate(f) => rate(frontend(f)?.counters.connection_rate.per_second(now)),
            Fact::FrontendRequestRate(f) => {
                rate(frontend(f)?.counters.http.request_rate.per_second(now))
            }
            Fact::ServerUp(b, s) => server_of(b, s)?.is_up().into(),
            Fact::ServerConnections(b, s) => server_of(b, s)?.active().into(),
            Fact::ServerFree(b, s) => free(server_of(b, s)?).unwrap_or(-1),
            Fact::ServerWeight(b, s) => server_of(b, s)?.weight().into(),
            Fact::ServerInitialWeight(b, s) => server_of(b, s)?.config.weight.into(),
            Fact::ServerRate(b, s) => {
                rate(server_of(b, s)?.counters.connection_rate.per_second(now))
            }
            Fact::ServerQueue(b, s) => server_of(b, s)?.queue.len().into(),
        })
    }

    /// A number of the backend or server that is called `name`; a server without its backend is one of `backend`.
    pub fn named(&self, what: Asked, name: &str, backend: Option<&Arc<Backend>>) -> Option<i64> {
        let find = |name: &str| self.backends.iter().find(|one| &*one.name == name);
        Some(match what {
            Asked::UsableServers => usable(find(name)?),
            Asked::ServerQueue => {
                let (backend, server) = match name.split_once('/') {
                    Some((backend, server)) => (find(backend)?, server),
                    None => (backend?, name),
                };
                backend.server(server)?.queue.len().into()
            }
        })
    }
}

/// Servers that new requests may go to.
fn usable(backend: &Backend) -> i64 {
    let count = match backend.servers_up() {
        // Of the spares one is used at a time, unless all are.
        (0, spares) if !backend.config.connections.all_backups => spares.min(1),
        (0, spares) => spares,
        (count, _) => count,
    };
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Requests that wait for any of a backend's servers.
fn queued(backend: &Backend) -> i64 {
    let of_servers = backend
        .servers
        .iter()
        .map(|server| i64::from(server.queue.len()));
    i64::from(backend.queue.len()) + of_servers.sum::<i64>()
}

/// Places that a server has left; `None` if it has no limit.
fn free(server: &Server) -> Option<i64> {
    let most = i64::from(server.maxconn()?);
    Some((most - i64::from(server.active())).max(0))
}
