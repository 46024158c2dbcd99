//! A backend: its servers, and the choice among them.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use arc_swap::ArcSwap;

use super::{
    AdminState, CheckResult, Clock, Connection, Health, Server,
    counters::BackendCounters,
    events::{Event, EventKind, Notifier},
    queue::Queue,
    server::Claim,
    table::Table,
};
use crate::config::model::{self, Balance};

/// A backend.
pub struct Backend {
    /// Its name.
    pub name: Arc<str>,
    /// What the file says of it.
    pub config: Arc<model::Backend>,
    /// Its servers in the order of the file.
    pub servers: Vec<Arc<Server>>,
    /// Its counters.
    pub counters: BackendCounters,
    /// Who waits for a slot of any of its servers.
    pub queue: Arc<Queue>,
    table: ArcSwap<Table>,
    /// Turn of `roundrobin`, and of ties in `leastconn`.
    turn: AtomicUsize,
    current: AtomicU32,
    last_change_ms: AtomicU64,
    /// Writers of state take turns, or two of them could leave an old table behind.
    writer: Mutex<()>,
    clock: Clock,
    notifier: Arc<Notifier>,
}

/// Why no server could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// None takes new flows.
    NoServer,
    /// Those that would are at their `maxconn`.
    Full,
}

impl Backend {
    pub(super) fn new(
        config: &Arc<model::Backend>,
        clock: Clock,
        notifier: &Arc<Notifier>,
    ) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        let queue = Arc::new(Queue::default());
        let servers: Vec<Arc<Server>> = (0..config.servers.len())
            .filter_map(|index| Server::new(config, &name, index, &queue))
            .map(Arc::new)
            .collect();
        Self {
            name,
            config: Arc::clone(config),
            table: ArcSwap::from_pointee(Table::build(&servers)),
            servers,
            counters: BackendCounters::default(),
            queue,
            turn: AtomicUsize::new(0),
            current: AtomicU32::new(0),
            last_change_ms: AtomicU64::new(0),
            writer: Mutex::new(()),
            clock,
            notifier: Arc::clone(notifier),
        }
    }

    /// The server called `name`.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.iter().find(|s| &*s.name == name)
    }

    /// The server whose cookie value is `value`, in whatever state it is.
    pub fn server_by_cookie(&self, value: &str) -> Option<&Arc<Server>> {
        self.servers
            .iter()
            .find(|s| s.config.cookie.as_deref() == Some(value))
    }

    /// Whether a server takes new flows.
    pub fn is_up(&self) -> bool {
        !self.table.load().is_empty()
    }

    /// The balancing table of this moment.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Ordinary servers that are up, and backup servers that are: HAProxy's `act` and `bck`.
    pub fn servers_up(&self) -> (usize, usize) {
        let up = |backup| {
            self.servers
                .iter()
                .filter(|s| s.config.backup == backup && s.is_eligible())
                .count()
        };
        (up(false), up(true))
    }

    /// Milliseconds of the topology's clock at which it last won its first server or lost its last one.
    pub fn last_change_ms(&self) -> u64 {
        self.last_change_ms.load(Relaxed)
    }

    /// Userspace connections and requests now, waiting ones included.
    pub fn current(&self) -> u32 {
        self.current.load(Relaxed)
    }

    /// Counts a connection or request that has come to this backend at `now_ms` of the topology's clock, until the guard
    /// is dropped.
    pub fn enter(self: &Arc<Self>, now_ms: u64) -> Visit {
        let current = self.current.fetch_add(1, Relaxed) + 1;
        self.counters.connections.inc();
        self.counters.connection_rate.tick(now_ms);
        self.counters.max_current.raise(u64::from(current));
        Visit {
            backend: Arc::clone(self),
        }
    }

    /// The server that a new flow of `client` goes to, `exclude` (indexes) left out; `None` if there is none with a
    /// slot left. Takes no slot: see [`Backend::claim`].
    pub fn choose(&self, client: IpAddr, exclude: &[usize]) -> Option<&Arc<Server>> {
        let table = self.table.load();
        match self.config.balance {
            Balance::RoundRobin => self.round_robin(&table, exclude),
            Balance::LeastConn => self
                .least_connections(&table, exclude)
                .map(|(server, _)| server),
            Balance::Source => self.source(&table, client, exclude),
        }
    }

    /// Chooses as [`Backend::choose`] and takes a slot.
    pub fn claim(&self, client: IpAddr, exclude: &[usize]) -> Result<Connection, Unavailable> {
        let table = self.table.load();
        loop {
            let attempt = match self.config.balance {
                Balance::RoundRobin => self
                    .round_robin(&table, exclude)
                    .map(|server| server.claim().ok_or(Claim::Moved(0))),
                // The count that made it the least must still hold when the slot is taken.
                Balance::LeastConn => self
                    .least_connections(&table, exclude)
                    .map(|(server, active)| server.claim_at(active).map_err(|_| Claim::Moved(0))),
                Balance::Source => self
                    .source(&table, client, exclude)
                    .map(|server| server.claim().ok_or(Claim::Full)),
            };
            match attempt {
                Some(Ok(connection)) => {
                    self.counters.balanced.inc();
                    connection.server().counters.balanced.inc();
                    return Ok(connection);
                }
                Some(Err(Claim::Moved(_))) => {}
                Some(Err(Claim::Full)) => return Err(Unavailable::Full),
                None if table.servers().all(|index| exclude.contains(&index)) => {
                    return Err(Unavailable::NoServer);
                }
                None => return Err(Unavailable::Full),
            }
        }
    }

    fn round_robin(&self, table: &Table, exclude: &[usize]) -> Option<&Arc<Server>> {
        (0..table.len()).find_map(|_| {
            let server = self
                .servers
                .get(table.at(self.turn.fetch_add(1, Relaxed))?)?;
            (!exclude.contains(&server.index) && !server.is_full()).then_some(server)
        })
    }

    /// The server with the least (active + 1) / weight, and its userspace connections when it was looked at. Ties go
    /// in turn.
    fn least_connections(&self, table: &Table, exclude: &[usize]) -> Option<(&Arc<Server>, u32)> {
        let count = table.servers().len();
        let turn = if count > 1 {
            self.turn.fetch_add(1, Relaxed) % count
        } else {
            0
        };
        let mut best: Option<(&Arc<Server>, u32, u64, u64)> = None;
        // Twice round, so that the look starts at whose turn it is; the first of equals wins.
        for index in table.servers().cycle().skip(turn).take(count) {
            let Some(server) = self.servers.get(index) else {
                continue;
            };
            let (userspace, weight) = (
                server.userspace_active(),
                u64::from(server.effective_weight()),
            );
            if weight == 0 || exclude.contains(&index) || server.is_full() {
                continue;
            }
            let load = u64::from(server.active()) + 1;
            // load / weight < best_load / best_weight, without the division.
            if best.is_none_or(|(_, _, best_load, best_weight)| {
                load * best_weight < best_load * weight
            }) {
                best = Some((server, userspace, load, weight));
            }
        }
        best.map(|(server, userspace, ..)| (server, userspace))
    }

    fn source(&self, table: &Table, client: IpAddr, exclude: &[usize]) -> Option<&Arc<Server>> {
        let start = table.source_slot(client);
        (start..start + table.len())
            .filter_map(|slot| self.servers.get(table.at(slot)?))
            .find(|server| !exclude.contains(&server.index))
    }

    /// Takes over what a check found; `step` says to which level that leads. Nothing happens while the operator has the
    /// server in maintenance: the check was under way when that began.
    pub fn record_check(
        &self,
        server: &Arc<Server>,
        result: CheckResult,
        step: impl FnOnce(Health) -> u32,
    ) {
        self.change(server, |server| {
            let health = server
                .health()
                .filter(|_| server.admin() != AdminState::Maint)?;
            let was_up = health.is_up();
            if !result.status.passed() && was_up {
                server.counters.checks_failed.inc();
            }
            server.set_last_check(result);
            server.set_level(step(health));
            match (was_up, server.is_healthy()) {
                (true, false) => Some(EventKind::Down),
                (false, true) => Some(EventKind::Up),
                _ => None,
            }
        });
    }

    /// Sets what the operator wants of a server. Out of maintenance it counts as up until its first check, whose
    /// failure alone makes it down.
    pub fn set_admin(&self, server: &Arc<Server>, admin: AdminState) {
        self.change(server, |server| {
            let (before, was_up) = (server.admin(), server.is_up());
            server.set_admin(admin);
            if before == AdminState::Maint
                && admin != AdminState::Maint
                && let Some(health) = server.health()
            {
                server.set_level(health.rise);
            }
            match (before, admin) {
                (before, after) if before == after => None,
                (_, AdminState::Maint) => Some(EventKind::Maint { was_up }),
                (AdminState::Maint, after) => Some(EventKind::LeftMaint {
                    draining: after == AdminState::Drain,
                }),
                (_, AdminState::Drain) => Some(EventKind::Drain),
                (_, AdminState::Ready) => Some(EventKind::LeftDrain),
            }
        });
    }

    /// Sets a server's weight, 0–256 (larger ones are lowered to 256).
    pub fn set_weight(&self, server: &Arc<Server>, weight: u16) {
        self.change(server, |server| {
            server.set_weight(weight.min(256));
            None
        });
    }

    /// The kernel's flows have become fewer: whoever waits for a slot looks again.
    pub fn kernel_slots_freed(&self) {
        self.queue.wake_all();
        for server in &self.servers {
            server.queue.wake_all();
        }
    }

    /// Applies `change` to a server, then brings the table, the clocks and the subscribers up to date.
    fn change(&self, server: &Arc<Server>, change: impl FnOnce(&Server) -> Option<EventKind>) {
        let _writer = self.lock();
        let before = (server.is_up(), server.effective_weight(), server.admin());
        let backend_was_up = self.is_up();
        let kind = change(server);
        let now_ms = self.clock.now_ms();
        if before.0 != server.is_up() {
            server.note_change(now_ms);
        }
        let changed = before != (server.is_up(), server.effective_weight(), server.admin());
        let requeued = if changed && !server.is_up() {
            server.queue.len()
        } else {
            0
        };
        if changed {
            self.table.store(Arc::new(Table::build(&self.servers)));
            server.queue.wake_all();
            self.queue.wake_all();
            self.notifier.changed();
        }
        if let Some(kind) = kind {
            self.announce(kind, Some(server), requeued);
        }
        if backend_was_up != self.is_up() {
            self.last_change_ms.store(now_ms, Relaxed);
            if backend_was_up {
                self.announce(EventKind::NoServer, None, 0);
            }
        }
    }

    fn announce(&self, kind: EventKind, server: Option<&Arc<Server>>, requeued: u32) {
        let (active_servers, backup_servers) = self.servers_up();
        self.notifier.announce(Event {
            kind,
            backend: Arc::clone(&self.name),
            server: server.cloned(),
            healthy: server.is_some_and(|s| s.is_healthy()),
            check: server.and_then(|s| s.last_check()),
            active_servers,
            backup_servers,
            sessions: server.map_or(0, |s| s.active()),
            requeued,
            queued: self.queue.len(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own, so a writer that panicked left nothing half done behind it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("name", &self.name)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// A connection or request at a backend, counted until dropped.
#[derive(Debug)]
pub struct Visit {
    backend: Arc<Backend>,
}

impl Visit {
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.backend.current.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
