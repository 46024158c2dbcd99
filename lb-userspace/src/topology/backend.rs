//! A backend: its servers, and the choice among them.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{
    AdminState, CheckResult, CheckStatus, Clock, Health, Server,
    counters::BackendCounters,
    events::{Event, EventKind, Notifier},
    invalid::LastInvalid,
    queue::Queue,
    server::Among,
    table::Table,
};
use crate::config::model;

mod choice;
mod generations;
mod slow_start;

pub(super) use generations::rebuild;
use generations::{Added, Live, ids};
pub use slow_start::STEP as SLOW_START_STEP;
pub(super) use slow_start::throttle;

/// HAProxy's words for a weight that [`Backend::follows_weight`] does not hold of.
pub const STATIC_WEIGHTS: &str =
    "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.";

/// A backend.
pub struct Backend {
    /// Its name.
    pub name: Arc<str>,
    /// What the file says of it.
    pub config: Arc<model::Backend>,
    /// Its servers in the order of the file.
    pub servers: Vec<Arc<Server>>,
    /// Its counters.
    pub counters: Arc<BackendCounters>,
    /// The last response of its servers that was none.
    pub invalid_response: Arc<LastInvalid>,
    /// Who waits for a slot of any of its servers.
    pub queue: Arc<Queue>,
    table: ArcSwap<Table>,
    /// Userspace connections of all its servers, where their load is bounded.
    load: Option<Arc<AtomicU32>>,
    /// Whether some server has a `max_queue`.
    has_queues: bool,
    /// Of the draws, so that no two backends and no two nodes draw alike.
    seed: u64,
    /// The names of the variables that its configuration's expressions know.
    variables: Arc<[String]>,
    /// What those who came under this one, and not under the present one, may have beside its servers.
    added: ArcSwapOption<Added>,
    pub(super) live: Arc<Live>,
    pub(super) clock: Clock,
    notifier: Arc<Notifier>,
}

/// What an operator wills a server's health to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Willed {
    /// Quite up.
    Up,
    /// Up, and nobody new is sent there, as after a check that asks for that.
    Stopping,
    /// Down.
    Down,
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
    /// A backend; `before` is the one of its name that is running. Nothing changes for that one until
    /// [`Backend::take_over`].
    pub(super) fn new(
        config: &Arc<model::Backend>,
        clock: Clock,
        notifier: &Arc<Notifier>,
        variables: &Arc<[String]>,
        before: Option<&Backend>,
    ) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        let queue = before.map_or_else(Arc::default, |b| Arc::clone(&b.queue));
        let live: Arc<Live> = before.map_or_else(Arc::default, |b| Arc::clone(&b.live));
        let load = before.and_then(|before| before.load.clone());
        let load = config.hash_balance_factor.map(|_| load.unwrap_or_default());
        let ids = ids(config, before, live.last_id.load(Relaxed));
        let among = Among {
            backend: config,
            name: &name,
            queue: &queue,
            load: load.as_ref(),
            current: &live.current,
        };
        let servers: Vec<Arc<Server>> = (0..config.servers.len())
            .filter_map(|index| {
                let before = before.and_then(|b| b.server(&config.servers.get(index)?.name));
                let before = before.map(|before| &**before);
                Server::new(&among, index, before, *ids.get(index)?)
            })
            .map(Arc::new)
            .collect();
        Self {
            config: Arc::clone(config),
            table: ArcSwap::from_pointee(Table::build(config, &servers)),
            servers,
            load,
            has_queues: config.servers.iter().any(|s| s.max_queue.is_some()),
            counters: before.map_or_else(Arc::default, |b| Arc::clone(&b.counters)),
            invalid_response: before.map_or_else(Arc::default, |b| Arc::clone(&b.invalid_response)),
            queue,
            seed: before.map_or_else(|| RandomState::new().hash_one(&name), |b| b.seed),
            name,
            variables: Arc::clone(variables),
            added: ArcSwapOption::empty(),
            live,
            clock,
            notifier: Arc::clone(notifier),
        }
    }

    /// The server called `name`.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.iter().find(|s| &*s.name == name)
    }

    /// The server called by the number `id`.
    pub fn server_by_id(&self, id: u32) -> Option<&Arc<Server>> {
        // Where nothing has changed since the start, it has the place that its number says.
        let place = usize::try_from(id).ok()?.checked_sub(1)?;
        let there = self.servers.get(place).filter(|server| server.id == id);
        there.or_else(|| self.servers.iter().find(|server| server.id == id))
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

    /// Those that new flows go to: ordinary servers, without which the first backup, or all of them where the file says so.
    pub fn servers_in_use(&self) -> impl Iterator<Item = &Arc<Server>> {
        let (active, backups) = self.servers_up();
        let most = match (active, self.config.connections.all_backups) {
            (0, false) => 1.min(backups),
            (0, true) => backups,
            (active, _) => active,
        };
        let is_in_use = move |s: &&Arc<Server>| s.config.backup == (active == 0) && s.is_eligible();
        self.servers.iter().filter(is_in_use).take(most)
    }

    /// Milliseconds of the topology's clock at which it last won its first server or lost its last one.
    pub fn last_change_ms(&self) -> u64 {
        self.live.last_change_ms.load(Relaxed)
    }

    /// Userspace connections and requests now, waiting ones included.
    pub fn current(&self) -> u32 {
        self.live.current.load(Relaxed)
    }

    /// Counts a connection or request that has come to this backend at `now_ms` of the topology's clock, until the guard
    /// is dropped.
    pub fn enter(self: &Arc<Self>, now_ms: u64) -> Visit {
        let current = self.live.current.fetch_add(1, Relaxed) + 1;
        self.counters.connections.inc();
        self.counters.connection_rate.tick(now_ms);
        self.counters.max_current.raise(u64::from(current));
        Visit {
            backend: Arc::clone(self),
        }
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
            let (was_up, was_stopping) = (server.is_healthy(), server.is_stopping());
            if !result.status.passed() && was_up {
                server.counters.checks_failed.inc();
            }
            let status = result.status;
            server.set_last_check(result);
            server.set_level(step(health));
            let is_up = server.is_healthy();
            match status {
                CheckStatus::L7Okc => server.set_stopping(true),
                passed if passed.passed() || !is_up => server.set_stopping(false),
                // It stays so until it is down.
                _ => {}
            }
            turned((was_up, was_stopping), server)
        });
    }

    /// Takes over what a server's agent says of it, beside its checks. Out of maintenance nobody is brought.
    pub fn record_agent(&self, server: &Arc<Server>, result: CheckResult) {
        self.change(server, |server| {
            let (was_up, down) = (server.is_healthy(), !result.status.passed());
            server.set_agent_down(down);
            let is_up = server.is_healthy();
            if was_up == is_up || server.admin() == AdminState::Maint {
                return None;
            }
            // Why it is down, until a check says something else.
            server.set_last_check(result);
            Some(match is_up {
                true => EventKind::Up,
                false => EventKind::Down,
            })
        });
    }

    /// Sets what the operator wants of a server. Out of maintenance it counts as up until its first check, whose
    /// failure alone makes it down.
    pub fn set_admin(&self, server: &Arc<Server>, admin: AdminState) {
        self.set_admin_by(server, admin, false);
    }

    /// The same as the server's agent says it, who may also end the maintenance that he has begun, no other.
    pub fn set_admin_by_agent(&self, server: &Arc<Server>, admin: AdminState) {
        self.set_admin_by(server, admin, true);
    }

    fn set_admin_by(&self, server: &Arc<Server>, admin: AdminState, agent: bool) {
        self.change(server, |server| {
            let (before, was_up) = (server.admin(), server.is_up());
            server.set_admin(admin);
            server.set_kept_by_agent(agent && admin == AdminState::Maint);
            server.set_by_file(false);
            if before == AdminState::Maint && admin != AdminState::Maint {
                server.set_stopping(false);
                if let Some(health) = server.health() {
                    server.set_level(health.rise);
                }
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

    /// Whether a weight can be followed while it runs: `static-rr` knows its servers' own weights alone, and 0. HAProxy says
    /// so of other algorithms too, which here all follow.
    pub fn follows_weight(&self, server: &Server, weight: u16) -> bool {
        self.config.balance != model::Balance::StaticRr
            || [0, server.config.weight].contains(&weight)
    }

    /// Sets a server's weight, 0–256 (larger ones are lowered to 256).
    pub fn set_weight(&self, server: &Arc<Server>, weight: u16) {
        self.change(server, |server| {
            server.set_weight(weight.min(256));
            None
        });
    }

    /// Sets the most connections that a server may have at a time; `None` is unbounded.
    pub fn set_maxconn(&self, server: &Arc<Server>, max: Option<u32>) {
        self.change(server, |server| {
            server.set_maxconn(max);
            None
        });
        // The kernel path has a part of it.
        self.notifier.changed();
        self.kernel_slots_freed();
    }

    /// Sets a server's health as an operator wills it, until its next check says something else. Nothing makes one down that is
    /// not checked.
    pub fn set_health(&self, server: &Arc<Server>, willed: Willed) {
        self.change(server, |server| {
            if server.admin() == AdminState::Maint {
                return None;
            }
            let was = (server.is_healthy(), server.is_stopping());
            match (server.health(), willed) {
                (Some(_), Willed::Down) => server.set_level(0),
                (None, Willed::Down) => return None,
                (Some(health), Willed::Up | Willed::Stopping) => server.set_level(health.top()),
                (None, Willed::Up | Willed::Stopping) => {}
            }
            server.set_stopping(willed == Willed::Stopping);
            turned(was, server)
        });
    }

    /// Sets what a server's agent has said, as an operator wills it.
    pub fn set_agent(&self, server: &Arc<Server>, up: bool) {
        self.change(server, |server| {
            let was = (server.is_healthy(), server.is_stopping());
            server.set_agent_down(!up);
            turned(was, server)
        });
    }

    /// Moves a server, as an operator wills it. What goes on with where it was goes on.
    pub fn move_server(&self, server: &Arc<Server>, to: SocketAddr) {
        self.change(server, |server| {
            server.set_address(to.into());
            None
        });
    }

    /// Ends all sessions of a server, the kernel's too.
    pub fn shut_down(&self, server: &Arc<Server>) {
        server.kill_sessions();
        self.notifier.changed();
    }

    /// Takes over where a server's name has led, or, with why, that it leads nowhere any more. What goes on with where it was
    /// goes on.
    pub fn set_address(&self, server: &Arc<Server>, address: Result<SocketAddr, &'static str>) {
        self.change(server, |server| {
            let before = server.address();
            let (was_up, was) = (server.is_up(), before.inet());
            match address {
                Ok(to) if was == Some(to) => None,
                Err(_) if was.is_none() => None,
                Ok(to) => {
                    server.set_address(to.into());
                    if was.is_none()
                        && let Some(health) = server.health()
                    {
                        // As out of maintenance.
                        server.set_level(health.rise);
                    }
                    Some(EventKind::Moved { from: was, to })
                }
                Err(why) => {
                    server.set_address(server.config.address.clone());
                    Some(EventKind::Unresolved { was_up, why })
                }
            }
        });
    }

    /// The kernel's flows have become fewer: whoever waits for a slot looks again.
    pub fn kernel_slots_freed(&self) {
        self.queue.wake_all();
        for server in &self.servers {
            server.queue.wake_all();
        }
    }

    /// Applies `change` to a server, then brings the table, the clocks and the subscribers up to date. What somebody finds
    /// out who began under an earlier configuration is said of the server as the present one has it.
    fn change(&self, server: &Arc<Server>, change: impl FnOnce(&Server) -> Option<EventKind>) {
        self.change_by(server, false, change);
    }

    /// The same because the server that it follows has changed.
    pub(super) fn change_via(
        &self,
        server: &Arc<Server>,
        change: impl FnOnce(&Server) -> Option<EventKind>,
    ) {
        self.change_by(server, true, change);
    }

    /// The writers' lock is held, `generations` is what it guards.
    fn change_locked(
        &self,
        generations: &[Weak<Self>],
        server: &Arc<Server>,
        via: bool,
        change: impl FnOnce(&Server) -> Option<EventKind>,
    ) {
        let state = |server: &Server| {
            let weight = server.balance_weight();
            (server.is_up(), weight, server.admin(), server.moves())
        };
        let before = state(server);
        let backend_was_up = self.is_up();
        let kind = change(server);
        let now_ms = self.clock.now_ms();
        if before.0 != server.is_up() {
            server.note_change(now_ms);
        }
        let changed = before != state(server);
        let requeued = if changed && !server.is_up() {
            server.queue.len()
        } else {
            0
        };
        if before.0 && !server.is_up() {
            // Before the subscribers are told to look.
            server.end_sessions();
        }
        let came_up = !before.0 && server.is_eligible();
        if came_up && server.config.on_marked_up && !server.config.backup {
            let backups = self.servers.iter().filter(|other| other.config.backup);
            backups.for_each(|backup| backup.give_way());
        }
        if changed {
            rebuild(generations);
            server.queue.wake_all();
            self.queue.wake_all();
            self.notifier.changed();
        }
        if let Some(kind) = kind {
            let via = server.tracked().filter(|_| via);
            self.announce(kind, Some(server), via, requeued);
        }
        if backend_was_up != self.is_up() {
            self.live.last_change_ms.store(now_ms, Relaxed);
            if backend_was_up {
                self.counters.times_down.inc();
                self.announce(EventKind::NoServer, None, None, 0);
            }
        }
    }

    /// Replaces the table by one of the servers as they are now; the writers' lock is held.
    fn rebuild(&self) {
        self.table
            .store(Arc::new(Table::build(&self.config, &self.servers)));
    }

    fn announce(
        &self,
        kind: EventKind,
        server: Option<&Arc<Server>>,
        via: Option<String>,
        requeued: u32,
    ) {
        let (active_servers, backup_servers) = self.servers_up();
        self.notifier.announce(Event {
            kind,
            backend: Arc::clone(&self.name),
            server: server.cloned(),
            via,
            healthy: server.is_some_and(|s| s.is_healthy()),
            check: server.and_then(|s| s.last_check()),
            active_servers,
            backup_servers,
            sessions: server.map_or(0, |s| s.active()),
            requeued,
            queued: self.queue.len(),
        });
    }
}

/// What is told of a server that was up and stopping, or not, and is now as it is.
fn turned((was_up, was_stopping): (bool, bool), server: &Server) -> Option<EventKind> {
    match (was_up, server.is_healthy()) {
        (true, false) => Some(EventKind::Down),
        (_, true) if !was_stopping && server.is_stopping() => Some(EventKind::Stopping),
        (false, true) => Some(EventKind::Up),
        (true, true) if was_stopping && !server.is_stopping() => Some(EventKind::Up),
        _ => None,
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
        self.backend.live.current.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
