//! A frontend and its live state.

use std::{fmt, sync::Arc};

use super::{
    Backend, Clock, Pace, Rates,
    counters::FrontendCounters,
    gate::Gate,
    invalid::LastInvalid,
    limit::Limit,
    rates::{Passing, Turn},
};
use crate::{config::model, tls::Acceptor};

/// A frontend.
pub struct Frontend {
    /// Its name.
    pub name: Arc<str>,
    /// Its place in the topology, in the order of the file.
    pub index: usize,
    /// What the file says of it.
    pub config: Arc<model::Frontend>,
    /// Its counters.
    pub counters: Arc<FrontendCounters>,
    /// The last request that was none.
    pub invalid_request: Arc<LastInvalid>,
    default_backend: Option<Arc<Backend>>,
    limit: Arc<Limit>,
    /// Of each bind that has one of its own.
    limits: Vec<Option<Arc<Limit>>>,
    gate: Arc<Gate>,
    pace: Option<Arc<Pace>>,
    /// One for each bind that has TLS.
    acceptors: Vec<Option<Arc<Acceptor>>>,
}

impl Frontend {
    /// A frontend; `before` is the one of its name that is running, `acceptor` finds the TLS of a bind.
    pub(super) fn new(
        config: &Arc<model::Frontend>,
        index: usize,
        default_backend: Option<&Arc<Backend>>,
        before: Option<&Self>,
        acceptor: impl Fn(&model::Bind) -> Option<Arc<Acceptor>>,
    ) -> Self {
        let pace = config.accepting.rate.map(|rate| {
            let before = before.and_then(|before| before.pace.as_ref());
            let same = before.filter(|pace| pace.rate() == rate);
            same.map_or_else(|| Arc::new(Pace::new(rate)), Arc::clone)
        });
        Self {
            name: config.name.as_str().into(),
            index,
            config: Arc::clone(config),
            counters: before.map_or_else(Arc::default, |b| Arc::clone(&b.counters)),
            invalid_request: before.map_or_else(Arc::default, |b| Arc::clone(&b.invalid_request)),
            default_backend: default_backend.cloned(),
            limit: before.map_or_else(
                || Arc::new(Limit::new(config.maxconn)),
                |before| Arc::clone(&before.limit),
            ),
            limits: limits(config, before),
            gate: before.map_or_else(Arc::default, |before| Arc::clone(&before.gate)),
            pace,
            acceptors: config.binds.iter().map(acceptor).collect(),
        }
    }

    /// From now on this is the one that runs, in the place of `before`. An operator's `maxconn` stays until the file says
    /// something else than it said.
    pub(super) fn take_over(&self, before: Option<&Arc<Self>>) {
        if before.is_none_or(|before| before.config.maxconn != self.config.maxconn) {
            self.limit.set_max(self.config.maxconn);
        }
        for (bind, own) in self.config.binds.iter().zip(&self.limits) {
            own.iter().for_each(|own| own.set_max(bind.sockets.maxconn));
        }
    }

    /// Most connections at a time, if that is bounded.
    pub fn maxconn(&self) -> Option<u32> {
        self.limit.max()
    }

    /// Another bound holds from now on; who is there already stays.
    pub fn set_maxconn(&self, max: Option<u32>) {
        self.limit.set_max(max);
    }

    /// Whether operators let anybody in.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The backend that it uses when no rule chooses another.
    pub fn default_backend(&self) -> Option<&Arc<Backend>> {
        self.default_backend.as_ref()
    }

    /// The TLS of its bind at `index`.
    pub fn acceptor(&self, index: usize) -> Option<&Arc<Acceptor>> {
        self.acceptors.get(index)?.as_ref()
    }

    /// The TLS of each bind that has it.
    pub fn acceptors(&self) -> impl Iterator<Item = (&model::Bind, &Arc<Acceptor>)> {
        let pairs = self.config.binds.iter().zip(&self.acceptors);
        pairs.filter_map(|(bind, acceptor)| Some((bind, acceptor.as_ref()?)))
    }

    /// Userspace connections now.
    pub fn current(&self) -> u32 {
        self.limit.current()
    }

    /// Waits until `maxconn` may leave room for another connection by the bind at `bind`.
    pub async fn room(&self, bind: usize) {
        if let Some(own) = self.limits.get(bind).and_then(Option::as_ref) {
            own.room().await;
        }
        self.limit.room().await;
    }

    /// Takes a place for a connection by the bind at `bind`, given back when the guard is dropped; `None` if `maxconn`
    /// leaves none.
    pub fn enter(self: &Arc<Self>, bind: usize) -> Option<Accepted> {
        let own = self.limits.get(bind).and_then(Option::as_ref);
        if let Some(own) = own {
            own.try_take()?;
        }
        let Some(current) = self.limit.try_take() else {
            own.inspect(|own| own.give_back());
            return None;
        };
        self.counters.max_current.raise(u64::from(current));
        Some(Accepted {
            frontend: Arc::clone(self),
            own: own.cloned(),
        })
    }

    /// Waits until `rate_limit_sessions` and the bounds of the process let another connection be accepted, by the bind at
    /// `bind`.
    pub async fn turn(&self, bind: usize, rates: &Arc<Rates>, clock: Clock) -> Turn {
        let passing = Passing {
            own: self.pace.as_ref(),
            process: rates,
            tls: self.acceptor(bind).is_some(),
        };
        passing.turn(clock).await
    }

    /// Counts a connection accepted at `now_ms` of the topology's clock.
    pub fn count_connection(&self, now_ms: u64) {
        self.counters.connections.inc();
        self.counters.connection_rate.tick(now_ms);
    }
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend")
            .field("name", &self.name)
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

/// A client's connection, counted until dropped.
#[derive(Debug)]
pub struct Accepted {
    frontend: Arc<Frontend>,
    /// The limit of the bind that it came by.
    own: Option<Arc<Limit>>,
}

impl Accepted {
    /// It is `frontend`'s from now on, which is the same one in another configuration.
    pub fn move_to(&mut self, frontend: &Arc<Frontend>) {
        if Arc::ptr_eq(&self.frontend.limit, &frontend.limit) {
            self.frontend = Arc::clone(frontend);
        }
    }

    /// The frontend.
    pub fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.frontend.limit.give_back();
        self.own.iter().for_each(|own| own.give_back());
    }
}

/// The limits of binds that have one; who came by a bind of the same address before counts.
fn limits(config: &model::Frontend, before: Option<&Frontend>) -> Vec<Option<Arc<Limit>>> {
    let of = |bind: &model::Bind| {
        let max = bind.sockets.maxconn?;
        let before = before.and_then(|before| {
            let mut binds = before.config.binds.iter();
            let at = binds.position(|other| other.address == bind.address)?;
            before.limits.get(at)?.clone()
        });
        Some(before.unwrap_or_else(|| Arc::new(Limit::new(Some(max)))))
    };
    config.binds.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use crate::{
        config::model::Balance,
        topology::{Topology, fixtures},
    };

    #[test]
    fn connections_are_counted_while_they_last() {
        let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
        let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
        frontend.maxconn = Some(2);
        let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
        let frontend = topology.frontend("f").unwrap();
        assert_eq!(frontend.default_backend().map(|b| &*b.name), Some("b"));
        let held = [frontend.enter(0), frontend.enter(0)];
        assert!(held.iter().all(Option::is_some));
        assert!(frontend.enter(0).is_none(), "maxconn is 2");
        drop(held);
        assert_eq!(frontend.current(), 0);
        assert!(frontend.enter(0).is_some());
        assert_eq!(frontend.counters.max_current.value(), 2);
    }

    #[test]
    fn a_bind_may_have_a_bound_of_its_own() {
        let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
        let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
        frontend.maxconn = Some(3);
        let mut second = frontend.binds[0].clone();
        frontend.binds[0].sockets.maxconn = Some(1);
        second.address = std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into();
        frontend.binds.push(second);
        let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
        let frontend = topology.frontend("f").unwrap();
        let first = frontend.enter(0);
        assert!(first.is_some());
        assert!(frontend.enter(0).is_none(), "its own is 1");
        let others = [frontend.enter(1), frontend.enter(1)];
        assert!(others.iter().all(Option::is_some));
        assert!(frontend.enter(1).is_none(), "all are 3");
        drop(first);
        assert!(frontend.enter(0).is_some());
        drop(others);
        assert_eq!(frontend.current(), 0);
    }

    #[tokio::test]
    async fn a_turn_that_nobody_used_is_the_next_ones() {
        let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
        let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
        frontend.accepting.rate = Some(1);
        let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
        let frontend = topology.frontend("f").unwrap();
        drop(frontend.turn(0, &topology.rates, topology.clock).await);
        let mut next = pin!(frontend.turn(0, &topology.rates, topology.clock));
        let next = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(next, Poll::Ready(_)), "it would wait for a second");
    }
}
