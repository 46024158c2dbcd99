//! A server and its live state: the one source of truth for whether traffic may go there.
//!
//! State is read by anyone at any time (atomics), and changed only through the server's [`Backend`](super::Backend),
//! which keeps the balancing table in step and tells the subscribers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use super::{
    CheckResult, Peer,
    backend::throttle,
    counters::ServerCounters,
    latency::Latency,
    live::{Live, Whereabouts},
    observation::Observer,
    queue::{Queue, Turn},
    tracking::{Links, State},
};
use crate::{
    config::model::{self, Address, Observe},
    tls::{Connector, ServerOptions},
};

mod orders;
mod sessions;
mod state;

pub(super) use orders::Orders;
pub use orders::{Elsewhere, OrdersState};
use sessions::Dynamic;
pub use sessions::{Connection, Counted};

/// What the operator wants of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AdminState {
    /// Traffic as health allows.
    Ready = 0,
    /// No new flows; holders of its cookie stay.
    Drain = 1,
    /// No traffic and no checks.
    Maint = 2,
}

impl AdminState {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Ready,
            1 => Self::Drain,
            _ => Self::Maint,
        }
    }
}

/// HAProxy's health counter: from 0 to `rise + fall - 1`, up from `rise` on.
///
/// A server that is down climbs by one at each success and is up at `rise`, where it jumps to the top; one that is up
/// falls by one at each failure, and to 0 when it would fall below `rise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The counter.
    pub level: u32,
    /// Successes that make it up, at least 1.
    pub rise: u32,
    /// Failures that make it down, at least 1.
    pub fall: u32,
}

impl Health {
    /// The state before any result: up, but the first failure makes it down.
    pub fn initial(rise: u32, fall: u32) -> Self {
        let (rise, fall) = (rise.max(1), fall.max(1));
        Self {
            level: rise,
            rise,
            fall,
        }
    }

    /// The level of a server that has nothing against it.
    pub fn top(&self) -> u32 {
        self.rise.saturating_add(self.fall) - 1
    }

    /// Whether it counts as up.
    pub fn is_up(&self) -> bool {
        self.level >= self.rise
    }
}

/// HAProxy's texts: `UP`, `UP 1/3`, `DOWN`, `DOWN 1/2`.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, rise, fall } = *self;
        match level {
            0 => f.write_str("DOWN"),
            _ if level < rise => write!(f, "DOWN {level}/{rise}"),
            _ if level < self.top() => write!(f, "UP {}/{fall}", level - rise + 1),
            _ => f.write_str("UP"),
        }
    }
}

/// Slots of a server's `maxconn` by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Flows that the kernel may have there.
    pub kernel: u32,
    /// Connections that userspace may have there.
    pub userspace: u32,
}

/// A server of a backend.
pub struct Server {
    /// Its name, unique in the backend.
    pub name: Arc<str>,
    /// Its backend's name.
    pub backend: Arc<str>,
    /// Its place in the backend, in the order of the file.
    pub index: usize,
    /// What it is called by where a name is too long: 1 for the first of the file at the start, and never another's as
    /// long as the process runs.
    pub id: u32,
    /// Where it listens. The server of the same name in the next configuration has the same, if that says the same of it.
    pub(super) at: Arc<Whereabouts>,
    /// What the file says of it.
    pub config: model::Server,
    /// The TLS towards it.
    pub tls: Option<Arc<Connector>>,
    /// The TLS of each connection of its check, where it is not that of its traffic.
    pub check_tls: Vec<Option<Arc<Connector>>>,
    /// Its counters.
    pub counters: Arc<ServerCounters>,
    /// How quickly it has answered of late.
    pub latency: Arc<Latency>,
    /// What its traffic says of its health.
    pub observer: Arc<Observer>,
    observe: Option<Observe>,
    /// Who waits for a slot of this very server (cookie holders).
    pub queue: Arc<Queue>,
    backend_queue: Arc<Queue>,
    /// Connections of all servers of the backend, where somebody asks for them.
    backend_load: Option<Arc<AtomicU32>>,
    /// `(rise, fall)` if it is checked.
    pub(super) check: Option<(u32, u32)>,
    /// What changes while it runs, and outlives a configuration.
    pub(super) live: Arc<Live>,
    /// Whom it follows, and who follows it.
    pub(super) links: Links,
    /// What weights are multiplied by for balancing, so that parts of them can be told.
    scale: u16,
    /// A server that it stands in for may want its sessions to end.
    may_give_way: bool,
    /// Where its limit depends on how many ask the backend.
    dynamic: Option<Dynamic>,
}

/// Parts of a weight that a slow start can tell, HAProxy's scale.
const SLOW_START_SCALE: u16 = 16;

/// What the servers of a backend have in common.
pub(super) struct Among<'a> {
    /// What the file says of the backend.
    pub(super) backend: &'a model::Backend,
    /// Its name.
    pub(super) name: &'a Arc<str>,
    /// Who waits for any of them.
    pub(super) queue: &'a Arc<Queue>,
    /// Connections of all of them, where somebody asks for them.
    pub(super) load: Option<&'a Arc<AtomicU32>>,
    /// Sessions that the backend has, waiting ones included.
    pub(super) current: &'a Arc<AtomicU32>,
}

impl Server {
    /// The server at `index` of `backend`; `before` is the one of its name that is running.
    pub(super) fn new(
        among: &Among<'_>,
        index: usize,
        before: Option<&Server>,
        id: u32,
    ) -> Option<Self> {
        let backend = among.backend;
        let config = backend.servers.get(index)?.clone();
        let checked = backend.check_of(&config);
        let check = checked.map(|c| (c.rise.max(1), c.fall.max(1)));
        let tls = config.tls.clone();
        let check_tls = checked.map_or_else(Vec::new, |check| check.all_tls(config.tls.as_ref()));
        let check_before = |at: usize| before.and_then(|before| before.check_tls.get(at)?.as_ref());
        Some(Self {
            name: config.name.as_str().into(),
            backend: Arc::clone(among.name),
            index,
            id,
            at: before
                .filter(|before| before.config.address == config.address)
                .map_or_else(
                    || Arc::new(Whereabouts::new(&config)),
                    |b| Arc::clone(&b.at),
                ),
            tls: connector(tls, before.and_then(|before| before.tls.as_ref())),
            check_tls: check_tls
                .into_iter()
                .enumerate()
                .map(|(at, options)| connector(options, check_before(at)))
                .collect(),
            counters: before.map_or_else(Arc::default, |b| Arc::clone(&b.counters)),
            latency: before.map_or_else(Arc::default, |b| Arc::clone(&b.latency)),
            observer: before.map_or_else(Arc::default, |b| Arc::clone(&b.observer)),
            observe: checked.and_then(|check| check.observe),
            queue: before.map_or_else(Arc::default, |b| Arc::clone(&b.queue)),
            backend_queue: Arc::clone(among.queue),
            backend_load: among.load.cloned(),
            check,
            live: before.map_or_else(
                || Arc::new(Live::new(&config, check)),
                |b| Arc::clone(&b.live),
            ),
            links: Links::default(),
            // One scale for all servers of a backend: weights are compared.
            scale: match backend.servers.iter().any(|s| s.slowstart.is_some()) {
                true => SLOW_START_SCALE,
                false => 1,
            },
            may_give_way: config.backup && backend.servers.iter().any(|s| s.on_marked_up),
            dynamic: config.minconn.map(|least| Dynamic {
                least,
                full: backend.connections.fullconn.unwrap_or(1),
                current: Arc::clone(among.current),
            }),
            config,
        })
    }

    /// Where it listens; a name, as long as nobody knows its address.
    pub fn address(&self) -> Address {
        Address::clone(&self.at.address.load())
    }

    /// The same as the other end of a connection. A unix socket has no number there.
    pub fn peer(&self) -> Peer {
        match self.at.address.load().inet() {
            Some(address) => Peer::Inet(address),
            None => Peer::Unix(0),
        }
    }

    /// Whether its address is known.
    pub fn is_resolved(&self) -> bool {
        !self.at.address.load().is_name()
    }

    /// How often its address has changed: connections from before go to somebody else.
    pub fn moves(&self) -> u32 {
        self.at.moves.load(SeqCst)
    }

    /// The host and the port that it stands for, where its name is one of services.
    pub fn service(&self) -> Option<(String, u16)> {
        self.at.service.load().as_deref().cloned()
    }

    /// Keeps what it stands for, for whoever follows its name under the next configuration.
    pub fn set_service(&self, service: Option<&(String, u16)>) {
        if self.at.service.load().as_deref() != service {
            self.at.service.store(service.cloned().map(Arc::new));
        }
    }

    pub(super) fn set_address(&self, address: Address) {
        self.at.address.store(Arc::new(address));
        self.at.moves.fetch_add(1, SeqCst);
    }

    /// All the TLS there is towards it, its traffic's first.
    pub fn connectors(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.tls.iter().chain(self.check_tls.iter().flatten())
    }

    /// Its health; `None` if it is not checked, and then it counts as up.
    pub fn health(&self) -> Option<Health> {
        self.check.map(|(rise, fall)| Health {
            level: self.live.level.load(SeqCst),
            rise,
            fall,
        })
    }

    /// Whether its agent says that it is down.
    pub fn is_down_by_agent(&self) -> bool {
        self.live.agent_down.load(SeqCst)
    }

    /// Whether it is its agent who keeps it in maintenance, and who may end that: it is asked on.
    pub fn is_kept_by_agent(&self) -> bool {
        self.admin() == AdminState::Maint && self.live.kept_by_agent.load(SeqCst)
    }

    pub(super) fn set_kept_by_agent(&self, kept: bool) {
        self.live.kept_by_agent.store(kept, SeqCst);
    }

    /// Its check was told that it wants nobody new, as HAProxy's `NOLB` has it.
    pub fn is_stopping(&self) -> bool {
        self.live.stopping.load(SeqCst)
    }

    pub(super) fn set_stopping(&self, stopping: bool) {
        self.live.stopping.store(stopping, SeqCst);
    }

    pub(super) fn set_agent_down(&self, down: bool) {
        self.live.agent_down.store(down, SeqCst);
    }

    /// Whether checks and its agent let it count as up, whatever the operator says.
    pub fn is_healthy(&self) -> bool {
        !self.is_down_by_agent() && self.is_up_by_checks() && self.via() != State::Down
    }

    fn is_up_by_checks(&self) -> bool {
        self.health().is_none_or(|health| health.is_up())
    }

    /// How its traffic is observed, if it is.
    pub fn observe(&self) -> Option<Observe> {
        self.observe
    }

    /// What the operator wants.
    pub fn admin(&self) -> AdminState {
        AdminState::from_u8(self.live.admin.load(SeqCst))
    }

    /// The operator's weight, 0–256.
    pub fn weight(&self) -> u16 {
        self.live.weight.load(SeqCst)
    }

    /// The weight that it has now, 0–256: the operator's, less in a slow start, 0 for a server that takes no new flows.
    pub fn effective_weight(&self) -> u16 {
        self.balance_weight().div_ceil(self.scale)
    }

    /// [`Server::effective_weight`] in finer parts, 0–4096: only good to be compared with others of the same backend.
    /// What balancing uses, on both paths.
    pub fn balance_weight(&self) -> u16 {
        if !self.is_up()
            || self.admin() != AdminState::Ready
            || self.is_stopping()
            || self.drains_via()
            || self.live.is_retired()
        {
            return 0;
        }
        self.throttled()
    }

    /// The operator's weight in fine parts, as far as a slow start lets it have it.
    fn throttled(&self) -> u16 {
        let whole = u32::from(self.weight()) * u32::from(self.scale);
        let throttled = (whole * u32::from(self.live.throttle.load(SeqCst))).div_ceil(100);
        u16::try_from(throttled).unwrap_or(u16::MAX)
    }

    /// The operator's weight, less in a slow start: what a server that is down will come back with.
    pub fn current_weight(&self) -> u16 {
        self.throttled().div_ceil(self.scale)
    }

    /// HAProxy's `throttle`: percent of its weight that it has, while it is in a slow start.
    pub fn throttle(&self) -> Option<u8> {
        Some(self.live.throttle.load(SeqCst)).filter(|_| self.is_slow_starting())
    }

    pub(super) fn is_slow_starting(&self) -> bool {
        self.live.throttle.load(SeqCst) < 100
    }

    /// Sets the part of its weight that it has; whether that is another than before.
    pub(super) fn set_throttle(&self, percent: u8) -> bool {
        self.live.throttle.swap(percent, SeqCst) != percent
    }

    /// What the last check found; `None` before the first.
    pub fn last_check(&self) -> Option<Arc<CheckResult>> {
        self.live.last_check.load_full()
    }

    /// Userspace connections now.
    pub fn userspace_active(&self) -> u32 {
        self.live.active.load(SeqCst)
    }

    /// Connections now, the kernel's included.
    pub fn active(&self) -> u32 {
        self.userspace_active().saturating_add(self.kernel_active())
    }

    fn kernel_active(&self) -> u32 {
        u32::try_from(self.counters.kernel.active.value()).unwrap_or(u32::MAX)
    }

    /// How `maxconn` is divided between the paths now: all of it is userspace's where the kernel path does not serve.
    pub fn slots(&self) -> Slots {
        Slots {
            kernel: self.live.kernel_slots.load(SeqCst),
            userspace: self.live.userspace_slots.load(SeqCst),
        }
    }

    /// Divides `maxconn` anew; the kernel path's part is for its agent to hand on.
    pub fn set_slots(&self, slots: Slots) {
        self.live.kernel_slots.store(slots.kernel, SeqCst);
        self.live.userspace_slots.store(slots.userspace, SeqCst);
    }

    /// Whether `maxconn` leaves no slot to userspace.
    pub fn is_full(&self) -> bool {
        self.userspace_active() >= self.limit()
    }

    /// Whether it has a slot for whoever stands at `turn` in the backend's queue or, without one, has just come: none that
    /// somebody who waits for it alone is to have before. Where there are slots for all, nobody is looked for who waits.
    pub fn has_slot_for(&self, turn: Option<Turn>) -> bool {
        self.is_unlimited() || !self.is_full() && self.queue.lets_pass(turn)
    }

    /// Somebody who waited for it alone does so no more: those who wait for any server may be next.
    pub fn goes_on(&self) {
        self.backend_queue.wake_one();
    }

    /// Whether so many wait for it alone that `max_queue` lets nobody join them.
    pub fn is_queue_full(&self) -> bool {
        let most = self.config.max_queue;
        most.is_some_and(|most| self.queue.len() >= most)
    }

    /// Takes a slot, unless `maxconn` leaves none.
    pub fn claim(self: &Arc<Self>) -> Option<Connection> {
        let mut active = self.userspace_active();
        loop {
            match self.claim_at(active) {
                Ok(connection) => return Some(connection),
                Err(Claim::Full) => return None,
                Err(Claim::Moved(now)) => active = now,
            }
        }
    }

    /// Takes a slot if there are exactly `expected` userspace connections: what makes `maxconn` and least-connections
    /// exact between threads.
    pub(super) fn claim_at(self: &Arc<Self>, expected: u32) -> Result<Connection, Claim> {
        if expected >= self.limit() {
            return Err(Claim::Full);
        }
        self.live
            .active
            .compare_exchange(expected, expected + 1, SeqCst, Relaxed)
            .map_err(Claim::Moved)?;
        if let Some(load) = &self.backend_load {
            load.fetch_add(1, Relaxed);
        }
        self.counters.max_current.raise(u64::from(expected) + 1);
        Ok(Connection {
            shutdowns: self.shutdown_sessions(),
            server: Arc::clone(self),
        })
    }

    /// Milliseconds of the topology's clock at the last change between up and not up.
    pub fn last_change_ms(&self) -> u64 {
        self.live.last_change_ms.load(Relaxed)
    }

    /// Time that it was not up, the present spell included, at `now_ms` of the topology's clock.
    pub fn downtime(&self, now_ms: u64) -> Duration {
        let spell = if self.is_up() {
            0
        } else {
            now_ms.saturating_sub(self.last_change_ms())
        };
        Duration::from_millis(self.live.downtime_ms.load(Relaxed) + spell)
    }

    /// Milliseconds of the topology's clock at the last session given to it; `None` if there was none.
    pub fn last_session_ms(&self) -> Option<u64> {
        Some(self.live.last_session_ms.load(Relaxed)).filter(|&at| at != super::live::NEVER)
    }

    /// Counts a session given to it at `now_ms`.
    pub fn count_session(&self, now_ms: u64) {
        self.counters.connections.inc();
        self.counters.connection_rate.tick(now_ms);
        self.live.last_session_ms.store(now_ms, Relaxed);
    }

    /// Counts flows that the kernel has given to it by `now_ms`, in its rate and as its last session.
    pub fn count_flows(&self, new: u64, now_ms: u64) {
        self.counters.connection_rate.add(new, now_ms);
        self.live.last_session_ms.store(now_ms, Relaxed);
    }

    pub(super) fn set_level(&self, level: u32) {
        self.live.level.store(level, SeqCst);
    }

    pub(super) fn set_admin(&self, admin: AdminState) {
        self.live.admin.store(admin as u8, SeqCst);
    }

    pub(super) fn set_weight(&self, weight: u16) {
        self.live.weight.store(weight, SeqCst);
    }

    pub(super) fn set_last_check(&self, result: CheckResult) {
        self.live.last_check.store(Some(Arc::new(result)));
    }

    /// Books the change between up and not up that has just happened.
    pub(super) fn note_change(&self, now_ms: u64) {
        let since = self.live.last_change_ms.swap(now_ms, Relaxed);
        let slow = self.config.slowstart.filter(|_| self.is_up());
        self.set_throttle(slow.map_or(100, |time| throttle(0, time)));
        if self.is_up() {
            self.live
                .downtime_ms
                .fetch_add(now_ms.saturating_sub(since), Relaxed);
        } else {
            self.counters.times_down.inc();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} {} ({})",
            self.backend,
            self.name,
            self.at.address.load(),
            self.status()
        )
    }
}

/// The TLS for these options: what there is of them, so that its sessions and certificates stay.
fn connector(
    options: Option<ServerOptions>,
    before: Option<&Arc<Connector>>,
) -> Option<Arc<Connector>> {
    let options = options?;
    match before.filter(|before| *before.options() == options) {
        Some(before) => Some(Arc::clone(before)),
        None => Some(Arc::new(Connector::new(options))),
    }
}

/// Why [`Server::claim_at`] took no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// `maxconn` leaves none.
    Full,
    /// Another thread was quicker; there are this many connections now.
    Moved(u32),
}
