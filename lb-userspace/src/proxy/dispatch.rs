//! From a backend to a connection to one of its servers: choice, queue, attempts, redispatch.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connect::ConnectError,
    retry::{self, Failed, Next},
};
use crate::config::model::{Balance, Mode};
use crate::observe::log::{Cause, Phase, Termination};
use crate::rules::Priority;
use crate::topology::{Asking, Backend, Clock, Connection, Observation, Server, Unavailable};

/// What became known on the way, for the log; complete also if the attempt is broken off.
#[derive(Debug, Default)]
pub struct Trace {
    /// The server of the last attempt.
    pub server: Option<Arc<Server>>,
    /// From the start to when a server was assigned (the last time): HAProxy's Tw. `None`: none was.
    pub queued: Option<Duration>,
    /// From then to when the connection stood: Tc. `None`: it never did.
    pub connected: Option<Duration>,
    /// The server that the next attempt is to avoid.
    pub left: Option<Arc<Server>>,
    /// The slot that [`at_once`] has given, with which [`dispatch`] begins.
    pub had: Option<Connection>,
    /// The preferred server was chosen by balancing, so that it may be another.
    pub balanced: bool,
    /// The preferred server is asked even if it is down.
    pub forced: bool,
    /// Where in queues it belongs.
    pub priority: Priority,
    /// Attempts after the first.
    pub retries: u32,
    /// Another server than the first served it.
    pub redispatched: bool,
    /// Place in the server's queue, 0 if it did not wait there.
    pub server_queue: u32,
    /// Place in the backend's queue, 0 if it did not wait there.
    pub backend_queue: u32,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// No server takes new flows.
    #[error("no server is available")]
    NoServer,
    /// No slot was free within `timeouts.queue`.
    #[error("no server had a free slot in time")]
    QueueTimeout,
    /// As many wait for the one server that will do as its `max_queue` allows.
    #[error("the server's queue is full")]
    QueueFull,
    /// The server's sessions were ended while it was being connected to.
    #[error("the server's sessions were ended")]
    ShutDown {
        /// By an operator, not for the server's state.
        killed: bool,
    },
    /// All attempts failed, the last one like this.
    #[error("{0}")]
    Connect(#[from] ConnectError),
}

impl DispatchError {
    /// How a session without a server ends: `SC` refused or none there, `sC` and `sQ` too late, `SQ` too many there, `RC` our
    /// own lack, `KC` and `DC` ended with the server's others.
    pub fn termination(&self) -> Termination {
        let (cause, phase) = match self {
            Self::NoServer | Self::Connect(ConnectError::Refused(_)) => {
                (Cause::Server, Phase::Connect)
            }
            Self::QueueTimeout => (Cause::ServerTimeout, Phase::Queue),
            Self::QueueFull => (Cause::Server, Phase::Queue),
            Self::ShutDown { killed: true } => (Cause::Killed, Phase::Connect),
            Self::ShutDown { killed: false } => (Cause::Down, Phase::Connect),
            Self::Connect(ConnectError::Timeout) => (Cause::ServerTimeout, Phase::Connect),
            Self::Connect(ConnectError::Resource(error)) => {
                tracing::warn!("cannot connect to a server for want of resources: {error}");
                (Cause::Resource, Phase::Connect)
            }
        };
        Termination::new(cause, phase)
    }
}

/// Finds a server for `asking` and connects to it with `connect`, as often as `retries` and `redispatch` allow.
///
/// `preferred` is the server that a cookie names: it is used while it is up, waited for if it is full, and left for another
/// if as many wait as may and `redispatch` allows it. The slot that is
/// returned with the connection is held as long as the guard lives. Counters of backend and servers are kept here.
///
/// `now` is asked again after everything that may take time. It need be no newer than the last poll of the caller's task.
///
/// # Errors
/// See [`DispatchError`].
pub async fn dispatch<T>(
    backend: &Backend,
    asking: impl Into<Asking>,
    preferred: Option<&Arc<Server>>,
    clock: Clock,
    now: impl Fn() -> Instant,
    trace: &mut Trace,
    mut connect: impl AsyncFnMut(&Arc<Server>) -> Result<T, ConnectError>,
) -> Result<(Connection, T), DispatchError> {
    let (start, asking) = (now(), asking.into());
    let mut preferred = usable(backend, preferred, trace);
    let mut left = trace.left.take();
    let mut had = trace.had.take();
    loop {
        // One that a later configuration has added is only asked where there is no other anyway.
        let avoid = left.as_ref().and_then(|left| backend.place_of(left));
        let slot = match had.take() {
            Some(slot) => Ok(slot),
            None => slot(backend, asking, preferred, avoid.as_slice(), trace).await,
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                backend.counters.connect_errors.inc();
                if let (DispatchError::QueueFull, Some(server)) = (&error, &trace.server) {
                    server.counters.connect_errors.inc();
                }
                return Err(error);
            }
        };
        let server = Arc::clone(slot.server());
        let assigned = now();
        note_assigned(backend, &server, assigned - start, trace);
        if let Some(left) = left.take() {
            count_move(backend, &left, &server, trace);
        }
        loop {
            server.count_session(clock.at(now()));
            let connected = unless_ended(&slot, connect(&server)).await?;
            let error = match connected {
                Ok(connection) => {
                    let connected = now() - assigned;
                    note_connected(backend, &server, connected, trace);
                    if backend.config.mode == Mode::Tcp {
                        // In mode http the response tells more.
                        server.latency.record(connected, clock.at(now()));
                    }
                    return Ok((slot, connection));
                }
                Err(error) => error,
            };
            server.latency.record_failure(clock.at(now()));
            backend.observe(&server, Observation::NotConnected);
            let failed = Failed {
                retries: trace.retries,
                direct: preferred.is_some() && !trace.balanced,
                server_up: server.is_up(),
                timed_out: matches!(error, ConnectError::Timeout),
                active_servers: backend.servers_up().0,
            };
            match retry::next(&backend.config, failed) {
                Next::GiveUp => {
                    backend.counters.connect_errors.inc();
                    server.counters.connect_errors.inc();
                    return Err(error.into());
                }
                Next::Same(pause) => {
                    trace.retries += 1;
                    backend.counters.retries.inc();
                    server.counters.retries.inc();
                    unless_ended(&slot, tokio::time::sleep(pause)).await?;
                }
                Next::Other(pause) => {
                    trace.retries += 1;
                    drop(slot);
                    preferred = None;
                    left = Some(server);
                    tokio::time::sleep(pause).await;
                    break;
                }
            }
        }
    }
}

/// What comes of `trying`, unless the server's sessions are to end before.
async fn unless_ended<T>(
    slot: &Connection,
    trying: impl Future<Output = T>,
) -> Result<T, DispatchError> {
    tokio::select! {
        biased;
        tried = trying => Ok(tried),
        () = slot.ended() => Err(DispatchError::ShutDown { killed: slot.is_killed() }),
    }
}

/// The server that is preferred, if it is asked by whoever prefers it.
fn usable<'s>(
    backend: &Backend,
    preferred: Option<&'s Arc<Server>>,
    trace: &Trace,
) -> Option<&'s Arc<Server>> {
    let persists = backend.config.connections.persist || trace.forced;
    preferred.filter(|server| persists || server.is_usable_by_cookie())
}

/// The slot that [`dispatch`] would take first, if nobody has to be waited for; `None` says no more than that.
pub fn at_once(
    backend: &Backend,
    asking: impl Into<Asking>,
    preferred: Option<&Arc<Server>>,
    trace: &Trace,
) -> Option<Connection> {
    if trace.left.is_some() {
        return None;
    }
    match usable(backend, preferred, trace) {
        Some(server) => unqueued(backend, server),
        None if backend.queue.is_empty() => backend.claim(asking.into(), &[]).ok(),
        None => None,
    }
}

/// A request has a server without having waited, and a connection to it that there was: what [`dispatch`] writes down of
/// that.
pub fn note_at_once(backend: &Backend, server: &Arc<Server>, now_ms: u64, trace: &mut Trace) {
    note_assigned(backend, server, Duration::ZERO, trace);
    server.count_session(now_ms);
    note_connected(backend, server, Duration::ZERO, trace);
}

fn note_assigned(backend: &Backend, server: &Arc<Server>, queued: Duration, trace: &mut Trace) {
    trace.queued = Some(queued);
    trace.server = Some(Arc::clone(server));
    backend.counters.distributions.queue.record(queued);
    backend.counters.times.queue.add(millis(queued));
    server.counters.times.queue.add(millis(queued));
}

fn note_connected(backend: &Backend, server: &Arc<Server>, took: Duration, trace: &mut Trace) {
    backend.observe(server, Observation::Connected);
    trace.connected = Some(took);
    backend.counters.distributions.connect.record(took);
    backend.counters.times.connect.add(millis(took));
    server.counters.times.connect.add(millis(took));
}

/// A slot of `server` that nobody waits for.
fn unqueued(backend: &Backend, server: &Arc<Server>) -> Option<Connection> {
    match server.has_slot_for(None) && backend.lets_pass(server, None) {
        true => server.claim(),
        false => None,
    }
}

/// A redispatch that ends on the same server is but a retry.
pub(super) fn count_move(
    backend: &Backend,
    from: &Arc<Server>,
    to: &Arc<Server>,
    trace: &mut Trace,
) {
    if Arc::ptr_eq(from, to) {
        backend.counters.retries.inc();
        to.counters.retries.inc();
    } else {
        trace.redispatched = true;
        backend.counters.redispatches.inc();
        from.counters.redispatches.inc();
    }
}

/// A slot of the preferred server, else of the one that balancing chooses, if possible none of `avoid` (indexes).
pub(super) async fn slot(
    backend: &Backend,
    asking: impl Into<Asking>,
    preferred: Option<&Arc<Server>>,
    avoid: &[usize],
    trace: &mut Trace,
) -> Result<Connection, DispatchError> {
    let asking = asking.into();
    let patience = backend.config.timeouts.queue;
    // Who has waited for a server that is gone now waits on until another comes, or is balanced anew like a newcomer, whom
    // nobody serves where there is none: as HAProxy has both.
    let redispatches = backend.config.redispatch.is_some();
    let mut stays = false;
    if let Some(server) = preferred {
        if let Some(slot) = unqueued(backend, server) {
            return Ok(slot);
        }
        let persists = backend.config.connections.persist || trace.forced;
        let usable = || !server.is_retired() && (persists || server.is_usable_by_cookie());
        match wait_for(backend, server, usable, patience, trace).await {
            Ok(Some(slot)) => return Ok(slot),
            Ok(None) => stays = !redispatches,
            Err(DispatchError::QueueFull) if backend.config.redispatch.is_some() => {
                trace.server = None;
                trace.server_queue = 0;
                trace.redispatched = true;
                backend.counters.redispatches.inc();
                server.counters.redispatches.inc();
            }
            Err(error) => return Err(error),
        }
    }
    let claim = |turn| {
        let asking = Asking { turn, ..asking };
        let but = |avoid| {
            let own = backend.claim(asking, avoid);
            own.or_else(|reason| backend.claim_added(turn, reason))
        };
        match but(avoid) {
            Err(_) if !avoid.is_empty() => but(&[]),
            done => done,
        }
    };
    if backend.queue.is_empty() {
        match claim(None) {
            Ok(slot) => return Ok(slot),
            Err(Unavailable::NoServer) if !stays => return Err(DispatchError::NoServer),
            Err(_) => {}
        }
    } else if !stays && !backend.is_up() {
        return Err(DispatchError::NoServer);
    }
    // A hash leads to one server, which others' slots are no help for: who waits, waits for that one.
    let bound = || match backend.config.balance {
        // Those whose queues are as good as others join the one where all wait, once there is one.
        Balance::LeastConn if !backend.queue.is_empty() => None,
        _ => backend.bound_to(asking, avoid),
    };
    while let Some(server) = bound() {
        let usable = || server.is_eligible();
        match wait_for(backend, server, usable, patience, trace).await {
            Ok(Some(slot)) => {
                backend.counters.balanced.inc();
                server.counters.balanced.inc();
                return Ok(slot);
            }
            Ok(None) if redispatches && !backend.is_up() => return Err(DispatchError::NoServer),
            Ok(None) => {}
            // Its last place was taken between the look and the step.
            Err(DispatchError::QueueFull) if backend.config.balance == Balance::LeastConn => {}
            Err(error) => return Err(error),
        }
    }
    // However it ends, also when whoever waits leaves.
    let _after = After(|| backend.goes_on());
    let place = backend.queue.count(&mut trace.backend_queue);
    let wait = backend
        .queue
        .wait(trace.priority, |turn| match claim(Some(turn)) {
            // One that is down or in maintenance may come back; those that the file has no longer do not.
            Err(Unavailable::NoServer) if backend.servers.iter().all(|s| s.is_retired()) => {
                Some(Err(DispatchError::NoServer))
            }
            Err(_) => None,
            Ok(slot) => Some(Ok(slot)),
        });
    let slot = tokio::time::timeout(patience, wait).await;
    let slot = slot.map_err(|_elapsed| DispatchError::QueueTimeout)??;
    place.served();
    Ok(slot)
}

/// A slot of `server` once it is this one's turn; `None` if the server is not `usable` any more: whoever waited for it is
/// balanced anew.
async fn wait_for(
    backend: &Backend,
    server: &Arc<Server>,
    usable: impl Fn() -> bool,
    patience: Duration,
    trace: &mut Trace,
) -> Result<Option<Connection>, DispatchError> {
    trace.server = Some(Arc::clone(server));
    // However it ends, also when whoever waits leaves.
    let _after = After(|| server.goes_on());
    let place = server.queue.count(&mut trace.server_queue);
    let claim = |turn| match backend.lets_pass(server, Some(turn)) {
        true => server.claim(),
        false => None,
    };
    let attempt = |turn| match claim(turn) {
        Some(slot) => Some(Some(slot)),
        None if !usable() => Some(None),
        None => None,
    };
    let most = server.config.max_queue.unwrap_or(u32::MAX);
    let wait = server.queue.wait_among(most, trace.priority, attempt);
    let slot = tokio::time::timeout(patience, wait).await;
    let slot = slot.map_err(|_elapsed| DispatchError::QueueTimeout)?;
    let Some(slot) = slot else {
        drop(place);
        trace.server_queue = 0;
        return Err(DispatchError::QueueFull);
    };
    place.served();
    if slot.is_none() {
        trace.server = None;
    }
    Ok(slot)
}

/// What is done when a queue has been left: who comes next may wait in another, for one server or for any.
struct After<F: Fn()>(F);

impl<F: Fn()> Drop for After<F> {
    fn drop(&mut self) {
        self.0();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        config::model,
        topology::{AdminState, Topology, fixtures},
    };

    /// A backend `b` with a server that has so many slots.
    fn topology(balance: Balance, maxconn: u32) -> Topology {
        let server = model::Server {
            maxconn: Some(maxconn),
            ..fixtures::server("s", "127.0.0.1:1")
        };
        let backend = fixtures::backend("b", balance, vec![server]);
        Topology::new(&fixtures::config(Vec::new(), vec![backend]))
    }

    const ANYONE: Asking = Asking {
        client: None,
        hash: None,
        turn: None,
    };

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_for_a_server_that_goes_is_a_newcomer_only_where_requests_are_redispatched() {
        let client = std::net::SocketAddr::from(([192, 0, 2, 1], 1));
        for (balance, redispatches) in [
            (Balance::RoundRobin, true),
            (Balance::Source, false),
            (Balance::Source, true),
        ] {
            let one = model::Server {
                maxconn: Some(1),
                ..fixtures::server("s", "127.0.0.1:1")
            };
            let mut backend = fixtures::backend("b", balance, vec![one]);
            backend.redispatch = redispatches.then_some(1);
            let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
            let backend = &topology.backends[0];
            let server = &backend.servers[0];
            let held = server.claim();
            let mut trace = Trace::default();
            let mut waiting = std::pin::pin!(slot(backend, client, None, &[], &mut trace));
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
            backend.set_admin(server, AdminState::Maint);
            let told = futures_util::poll!(waiting.as_mut());
            if balance == Balance::Source && redispatches {
                let told = told.map(|told| matches!(told, Err(DispatchError::NoServer)));
                assert_eq!(told, std::task::Poll::Ready(true));
                continue;
            }
            assert!(told.is_pending(), "{balance:?}");
            let mut trace = Trace::default();
            let newcomer = slot(backend, client, None, &[], &mut trace).await;
            assert!(matches!(newcomer, Err(DispatchError::NoServer)));
            drop(held);
            backend.set_admin(server, AdminState::Ready);
            assert!(waiting.await.is_ok(), "{balance:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_slot_that_those_before_leave_is_for_those_who_wait_for_any_server() {
        let topology = topology(Balance::RoundRobin, 2);
        let backend = &topology.backends[0];
        let server = &backend.servers[0];
        let held = [server.claim(), server.claim()];
        let (mut first, mut second) = (Trace::default(), Trace::default());
        let mut this_one = std::pin::pin!(slot(backend, ANYONE, Some(server), &[], &mut first));
        let mut any = std::pin::pin!(slot(backend, ANYONE, None, &[], &mut second));
        for waiting in [this_one.as_mut(), any.as_mut()] {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        drop(held);
        for preferred in [None, Some(server)] {
            let newcomer = at_once(backend, ANYONE, preferred, &Trace::default());
            assert!(newcomer.is_none(), "nobody overtakes them");
        }
        // The second is asked first, and let wait; then it has to be told.
        let both = async { tokio::join!(any, this_one) };
        let (any, this_one) = tokio::time::timeout(Duration::from_secs(30), both)
            .await
            .expect("both are served");
        assert!(any.is_ok() && this_one.is_ok());
        assert_eq!((server.queue.len(), backend.queue.len()), (0, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_are_served_once_a_limit_is_lifted() {
        let topology = topology(Balance::RoundRobin, 1);
        let backend = &topology.backends[0];
        let server = &backend.servers[0];
        let _held = server.claim();
        let mut traces: [Trace; 4] = std::array::from_fn(|_| Trace::default());
        let waiting = traces.iter_mut().enumerate().map(|(n, trace)| {
            let preferred = (n % 2 == 0).then_some(server);
            Box::pin(slot(backend, ANYONE, preferred, &[], trace))
        });
        let mut waiting: Vec<_> = waiting.collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        backend.set_maxconn(server, None);
        // Whoever comes for this very server need not wait until they have run.
        assert!(at_once(backend, ANYONE, Some(server), &Trace::default()).is_some());
        // Who came last is the first to run.
        waiting.reverse();
        let all = futures_util::future::join_all(waiting);
        let all = tokio::time::timeout(Duration::from_secs(30), all).await;
        assert!(all.expect("all are served").iter().all(Result::is_ok));
        assert_eq!((server.queue.len(), backend.queue.len()), (0, 0));
        assert!(at_once(backend, ANYONE, None, &Trace::default()).is_some());
    }

    /// Who is served in which order when all wait for the one slot, some for that server alone and some for any: each with
    /// its class.
    async fn order(balance: Balance, come: &[(&'static str, i64)]) -> Vec<&'static str> {
        let topology = topology(balance, 1);
        let backend = &topology.backends[0];
        let server = &backend.servers[0];
        let held = server.claim();
        let served = RefCell::new(Vec::new());
        let wait = async |name: &'static str, class| {
            let mut trace = Trace {
                priority: Priority { class, offset: 0 },
                ..Trace::default()
            };
            let preferred = name.starts_with("this").then_some(server);
            let slot = slot(backend, ANYONE, preferred, &[], &mut trace).await;
            served.borrow_mut().push(name);
            // It is held while others look for it.
            tokio::task::yield_now().await;
            drop(slot);
        };
        let mut waiting = Vec::new();
        for &(name, class) in come {
            let mut one = Box::pin(wait(name, class));
            assert!(futures_util::poll!(one.as_mut()).is_pending());
            waiting.push(one);
            // Turns are told apart by microseconds.
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(held);
        // Who came last is the first to look.
        waiting.reverse();
        let all = futures_util::future::join_all(waiting);
        let all = tokio::time::timeout(Duration::from_secs(30), all).await;
        all.expect("all are served");
        served.into_inner()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_for_one_server_and_who_waits_for_any_are_served_as_they_came() {
        let come = [
            ("this 1", 0),
            ("any 2", 0),
            ("this 3", 0),
            ("any 4", 0),
            ("any 5", 0),
            ("this 6", 0),
        ];
        for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::Random] {
            let served = order(balance, &come).await;
            assert_eq!(served, come.map(|(name, _)| name), "{balance:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_class_that_is_before_is_served_before_whatever_it_waits_for() {
        let come = [("this 1", 5), ("any 2", 0), ("any 3", 5), ("this 4", -1)];
        let served = order(Balance::RoundRobin, &come).await;
        assert_eq!(served, ["this 4", "any 2", "this 1", "any 3"]);
    }
}
