//! The idle connections to servers that each worker keeps.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::HashMap,
    pin::pin,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use super::{
    client::Client,
    h2,
    upstream::{Place, Upstream},
};
use crate::proxy::{Worker, connect::Own};

/// Idle connections that a worker keeps to one server.
const MAX_IDLE: usize = 128;
/// Idle connections that are kept for one client alone: HAProxy's `max-session-srv-conns`.
const MAX_OWN: usize = 5;
/// How long an idle connection is kept: HAProxy's `pool-purge-delay`. Shorter than what servers usually allow, so that
/// we are the ones who close. Those of one client stay as long as it does.
pub(super) const IDLE: Duration = Duration::from_secs(5);
/// How often they are looked at.
const TIDY: Duration = Duration::from_secs(1);
/// Told when there are more connections to some server than it is to have: whichever worker has idle ones closes some.
pub(super) static CROWDED: Notify = Notify::const_new();

/// The idle connections of one worker.
#[derive(Default)]
pub(super) struct Pool {
    /// By backend, by server; the longest idle first.
    #[expect(
        clippy::vec_box,
        reason = "they are handed to leases and back without being copied"
    )]
    idle: RefCell<Vec<Vec<Vec<Box<Upstream>>>>>,
    /// Those of one client alone, by what it is called.
    own: RefCell<HashMap<u64, Mine>>,
    /// Those that requests share.
    pub(super) shared: h2::Pool,
    sweeping: Cell<bool>,
}

/// What is kept for one client alone.
struct Mine {
    /// It is there as long as the client is.
    client: Weak<u64>,
    /// Its idle connections, the longest idle first.
    idle: Vec<(Place, Box<Upstream>)>,
    /// Servers, by backend and by number, where it authenticates connections.
    authenticating: Vec<(u32, u32)>,
}

impl Mine {
    fn of(client: &Client) -> Self {
        Self {
            client: Rc::downgrade(client.whose()),
            idle: Vec::new(),
            authenticating: Vec::new(),
        }
    }
}

impl Pool {
    /// The connection to `place` for the same clients that was used last, if there is one that works. It is that of
    /// `worker`, and once another configuration runs, whatever that has inherited: clients that came under an earlier one
    /// would else make one more each.
    pub(super) fn take(
        &self,
        worker: &Worker,
        place: Place,
        own: Option<&Own>,
    ) -> Option<Box<Upstream>> {
        if worker.http.is_superseded() {
            let next = worker.next()?;
            let place = next.shared.kept(place)?;
            return next.http.pool.take(&next, place, own);
        }
        if let Some((own, client)) = own.and_then(|own| Some((own, own.client?))) {
            return self.take_own(client, place, own);
        }
        loop {
            let mut idle = self.idle.borrow_mut();
            let connections = idle.get_mut(place.backend as usize)?;
            let connections = connections.get_mut(place.server as usize)?;
            let at = connections
                .iter()
                .rposition(|c| c.moves == place.moves && c.own.as_deref() == own)?;
            let mut upstream = connections.remove(at);
            drop(idle);
            if upstream.is_usable() {
                return Some(upstream);
            }
        }
    }

    fn take_own(&self, client: u64, place: Place, own: &Own) -> Option<Box<Upstream>> {
        loop {
            let mut clients = self.own.borrow_mut();
            let idle = &mut clients.get_mut(&client)?.idle;
            let at = idle
                .iter()
                .rposition(|(at, c)| *at == place && c.own.as_deref() == Some(own))?;
            let (_, mut upstream) = idle.remove(at);
            drop(clients);
            if upstream.is_usable() {
                return Some(upstream);
            }
        }
    }

    /// The server of the backend at `backend` to which the one who is called `client` has an idle connection of its own, the
    /// one that was used last.
    pub(super) fn last_of(&self, backend: usize, client: u64) -> Option<usize> {
        let clients = self.own.borrow();
        let mut idle = clients.get(&client)?.idle.iter().rev();
        let (place, _) = idle.find(|(place, _)| place.backend as usize == backend)?;
        Some(place.server as usize)
    }

    /// `client` authenticates its connections to `place`: all of them are its own from now on.
    pub(super) fn authenticates(&self, worker: &Rc<Worker>, place: Place, client: &Client) {
        client.authenticates.set(true);
        if worker.http.is_superseded() {
            if let Some(next) = worker.next()
                && let Some(place) = next.shared.kept(place)
            {
                next.http.pool.authenticates(&next, place, client);
            }
            return;
        }
        let mut clients = self.own.borrow_mut();
        let mine = clients.entry(client.identity());
        let mine = mine.or_insert_with(|| Mine::of(client));
        let server = (place.backend, place.server);
        if !mine.authenticating.contains(&server) {
            mine.authenticating.push(server);
        }
        drop(clients);
        self.keep_tidy(worker);
    }

    /// Whether it does.
    pub(super) fn is_authenticating(&self, worker: &Worker, place: Place, client: &Client) -> bool {
        if !client.authenticates.get() {
            return false;
        }
        if worker.http.is_superseded() {
            return worker.next().is_some_and(|next| {
                let place = next.shared.kept(place);
                place.is_some_and(|place| next.http.pool.is_authenticating(&next, place, client))
            });
        }
        let clients = self.own.borrow();
        let mine = clients.get(&client.identity());
        mine.is_some_and(|mine| mine.authenticating.contains(&(place.backend, place.server)))
    }

    /// Takes over what another one holds that the configuration of `worker` can use: from now on that one puts nothing by.
    pub(super) fn inherit(&self, before: &Self, worker: &Rc<Worker>) {
        let servers = before.idle.take();
        for (backend, servers) in servers.into_iter().enumerate() {
            for (server, connections) in servers.into_iter().enumerate() {
                let kept = worker.shared.kept.get(&(backend, server));
                if let Some(&(backend, server)) = kept
                    && !connections.is_empty()
                {
                    *self.at(backend, server) = connections;
                }
            }
        }
        let moved = |place| worker.shared.kept(place);
        let moved_server = |(backend, server)| {
            let at = moved(Place {
                backend,
                server,
                moves: 0,
            })?;
            Some((at.backend, at.server))
        };
        for (client, mine) in before.own.take() {
            let idle = mine.idle.into_iter();
            let servers = mine.authenticating.into_iter();
            let mine = Mine {
                client: mine.client,
                idle: idle.filter_map(|(at, c)| Some((moved(at)?, c))).collect(),
                authenticating: servers.filter_map(moved_server).collect(),
            };
            self.own.borrow_mut().insert(client, mine);
        }
        self.shared.inherit(&before.shared, &moved);
        self.keep_tidy(worker);
    }

    /// What is idle to one server.
    #[expect(
        clippy::vec_box,
        reason = "they are handed to leases and back without being copied"
    )]
    fn at(&self, backend: usize, server: usize) -> RefMut<'_, Vec<Box<Upstream>>> {
        RefMut::map(self.idle.borrow_mut(), |idle| {
            if idle.len() <= backend {
                idle.resize_with(backend + 1, Vec::new);
            }
            let servers = &mut idle[backend];
            if servers.len() <= server {
                servers.resize_with(server + 1, Vec::new);
            }
            &mut servers[server]
        })
    }

    /// Keeps a connection that `client` has done with.
    pub(super) fn put(
        &self,
        worker: &Rc<Worker>,
        place: Place,
        mut upstream: Box<Upstream>,
        client: &Client,
    ) {
        if worker.http.is_superseded() {
            // Where nobody can use it any more it is closed.
            if let Some(next) = worker.next()
                && let Some(place) = next.shared.kept(place)
            {
                next.http.pool.put(&next, place, upstream, client);
            }
            return;
        }
        upstream.idle_since = Some(client.now());
        upstream.moves = place.moves;
        if let Some(whose) = upstream.own.as_ref().and_then(|own| own.client) {
            let mut clients = self.own.borrow_mut();
            let mine = clients.entry(whose).or_insert_with(|| Mine::of(client));
            if mine.idle.len() >= MAX_OWN {
                mine.idle.remove(0);
            }
            mine.idle.push((place, upstream));
            drop(clients);
            self.keep_tidy(worker);
            return;
        }
        let mut connections = self.at(place.backend as usize, place.server as usize);
        if connections.len() < MAX_IDLE {
            connections.push(upstream);
        }
        drop(connections);
        self.keep_tidy(worker);
    }

    /// Looks after what is idle from now on.
    pub(super) fn keep_tidy(&self, worker: &Rc<Worker>) {
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(worker)));
        }
    }

    /// Closes what is idle, the longest first, to servers that have more connections than they are to have, some of which
    /// wait for that.
    fn make_room(&self, worker: &Worker) {
        let backends = &worker.shared.topology.backends;
        for (backend, servers) in self.idle.borrow_mut().iter_mut().enumerate() {
            for (server, connections) in servers.iter_mut().enumerate() {
                let server = backends.get(backend).and_then(|b| b.servers.get(server));
                while let Some(server) = server
                    && server.is_pressed()
                    && !connections.is_empty()
                {
                    connections.remove(0);
                }
            }
        }
        for mine in self.own.borrow_mut().values_mut() {
            mine.idle.retain(|(place, _)| {
                let backend = backends.get(place.backend as usize);
                let server = backend.and_then(|b| b.servers.get(place.server as usize));
                server.is_none_or(|server| !server.is_pressed())
            });
        }
    }

    /// Closes what has been idle for too long, was closed by the server, or is of a client that has left. Returns whether any is left.
    fn expire(&self, now: Instant) -> bool {
        let mut left = self.shared.expire(now, IDLE);
        for connections in self.idle.borrow_mut().iter_mut().flatten() {
            connections.retain_mut(|c| {
                c.idle_since
                    .is_some_and(|since| now.saturating_duration_since(since) < IDLE)
                    && c.is_usable()
            });
            left |= !connections.is_empty();
        }
        let mut clients = self.own.borrow_mut();
        clients.retain(|_, mine| {
            mine.idle.retain_mut(|(_, upstream)| upstream.is_usable());
            let any = !mine.idle.is_empty() || !mine.authenticating.is_empty();
            any && mine.client.strong_count() > 0
        });
        left | !clients.is_empty()
    }
}

/// Keeps a worker's pool tidy until it is empty.
async fn sweep(worker: Weak<Worker>) {
    let mut next = time::Instant::now() + TIDY;
    loop {
        // Before it looks: it has to be told of what happens meanwhile.
        let mut crowded = pin!(CROWDED.notified());
        crowded.as_mut().enable();
        let Some(this) = worker.upgrade() else {
            return;
        };
        this.http.pool.make_room(&this);
        drop(this);
        if time::timeout_at(next, crowded).await.is_ok() {
            continue;
        }
        next = time::Instant::now() + TIDY;
        let Some(this) = worker.upgrade() else {
            return;
        };
        if !this.http.pool.expire(Instant::now()) {
            this.http.pool.sweeping.set(false);
            return;
        }
    }
}
