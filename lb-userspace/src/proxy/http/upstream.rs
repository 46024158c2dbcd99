//! Connections to servers, and the idle ones that each worker keeps.
//!
//! A connection is driven by whoever uses it, not by a task of its own: a response costs no hand-over between tasks. An
//! idle one is not driven at all; whether the server has closed it shows when it is taken out again.

use std::{
    cell::{Cell, RefCell, RefMut},
    net::SocketAddr,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONNECTION};
use http_body::Body;
use tokio::{sync::Notify, time};

use super::{
    body::Inbound,
    client::{Client, Upload},
    fields::Fields,
    h1, h2,
    message::Message,
    server_io::{Meter, ServerIo},
    tunnel::Far,
};
use crate::{
    proxy::{
        Stream, Worker,
        connect::{Own, Way},
    },
    tls::Session,
    topology::{Counted, Server},
};

/// Idle connections that a worker keeps to one server.
const MAX_IDLE: usize = 128;
/// How long an idle connection is kept: HAProxy's `pool-purge-delay`. Shorter than what servers usually allow, so that
/// we are the ones who close.
const IDLE: Duration = Duration::from_secs(5);
/// So long a server may be silent on a new connection before it is taken to wait for the end of others.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often they are looked at.
const TIDY: Duration = Duration::from_secs(1);
/// Told when there are more connections to some server than it is to have: whichever worker has idle ones closes some.
static CROWDED: Notify = Notify::const_new();

/// A connection to a server.
pub(super) struct Upstream {
    connection: h1::Connection,
    meter: Rc<Meter>,
    /// For whom it is, if not for every client.
    own: Option<Box<Own>>,
    /// It is not to carry another request.
    used_up: bool,
    /// When it was last put by; `None` if it never was.
    idle_since: Option<Instant>,
    /// [`Place::moves`] of where it goes, once it is put by.
    moves: u32,
    _open: Counted,
}

/// A connection that is about to be made.
pub(super) struct Coming {
    meter: Rc<Meter>,
    open: Counted,
}

impl Coming {
    /// Counts one to `server`. If it is one too many and nothing is heard of it for a while, idle ones make room, whichever
    /// worker they are of: the server may look at no other before they end.
    pub(super) fn to(server: &Arc<Server>) -> Self {
        let this = Self {
            meter: Rc::default(),
            open: server.opens(),
        };
        if server.is_crowded() {
            tokio::task::spawn_local(press(Rc::downgrade(&this.meter), Arc::clone(server)));
        }
        this
    }
}

/// Asks for room until something is heard of a connection, it is given up, or idle ones end by themselves.
async fn press(meter: Weak<Meter>, server: Arc<Server>) {
    let mut pause = PATIENCE;
    let mut pressing = None;
    while pause < IDLE {
        time::sleep(pause).await;
        let waits = meter.upgrade().is_some_and(|meter| !meter.was_heard());
        if !waits || !server.is_crowded() {
            return;
        }
        pressing.get_or_insert_with(|| server.presses());
        CROWDED.notify_waiters();
        pause *= 2;
    }
}

impl Upstream {
    /// HTTP/1 on `stream`, which was made by `way`.
    pub(super) fn over(stream: Stream, way: Way, coming: Coming) -> Box<Self> {
        let Coming { meter, open } = coming;
        let own = way.own.clone();
        let io = ServerIo::new(stream, Rc::clone(&meter), way);
        Box::new(Self {
            connection: h1::Connection::new(io),
            meter,
            own,
            used_up: false,
            idle_since: None,
            moves: 0,
            _open: open,
        })
    }

    /// Takes the request. The answer comes by driving the connection, and if it `may_repeat`, by driving another one after
    /// the server has closed this.
    pub(super) fn send(&mut self, request: Message, may_repeat: bool) {
        // Only an idle connection can have been closed before the server saw the request.
        let repeatable = may_repeat
            && self.idle_since.is_some()
            && request.method().is_idempotent()
            && request.body().is_end_stream();
        self.meter.begin(repeatable);
        self.connection.send(request);
    }

    /// The server is asked to close once it has answered, unless it is not `told`, and gets no other request.
    pub(super) fn close_after(&mut self, request: &mut Message, told: bool) {
        if told {
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(CONNECTION, close);
        }
        self.used_up = true;
    }

    /// Moves what can be moved.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        self.connection.drive(cx);
    }

    /// The answer, with those of its fields that concern a proxy, or why there is none, once that is known.
    pub(super) fn take_answer(
        &mut self,
    ) -> Option<Result<(Response<h1::Body>, Fields), h1::Failed>> {
        self.connection.take_answer()
    }

    /// The next of what the server has said before its answer.
    pub(super) fn take_interim(&mut self) -> Option<Response<()>> {
        self.connection.take_interim()
    }

    /// Whether it can take a request now.
    fn is_usable(&mut self) -> bool {
        if self.connection.is_silent() {
            return true;
        }
        self.drive(&mut Context::from_waker(Waker::noop()));
        // Once a task has had its share of looks, sockets say that nothing has come whether or not that is so.
        self.connection.is_idle() && tokio::task::coop::has_budget_remaining()
    }
}

/// Which server a connection goes to: its backend's place in the topology, its own in the backend, and which
/// of its addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Place {
    pub(in crate::proxy) backend: u32,
    pub(in crate::proxy) server: u32,
    /// How often its address had changed: no request goes by a connection to where it was.
    pub(in crate::proxy) moves: u32,
}

/// A connection in use.
pub(super) struct Lease {
    wire: Wire,
    /// Where it is put by; `None` if it is not, since it ends with its request or others share it.
    place: Option<Place>,
}

/// What a request goes to a server by.
enum Wire {
    /// A connection of its own.
    Http1(Box<Upstream>),
    /// A stream of a connection that others share.
    Http2(h2::Lease),
}

impl Lease {
    pub(super) fn new(upstream: Box<Upstream>, place: Option<Place>) -> Self {
        Self {
            wire: Wire::Http1(upstream),
            place,
        }
    }

    pub(super) fn shared(lease: h2::Lease) -> Self {
        Self {
            wire: Wire::Http2(lease),
            place: None,
        }
    }

    /// Whether this is its first request.
    pub(super) fn is_fresh(&self) -> bool {
        match &self.wire {
            Wire::Http1(upstream) => upstream.idle_since.is_none(),
            Wire::Http2(lease) => lease.is_fresh(),
        }
    }

    /// Whether the server is spoken to by HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.wire, Wire::Http2(_))
    }

    /// Our end of the connection, if somebody wants to know.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match &self.wire {
            Wire::Http1(upstream) => upstream.meter.local(),
            Wire::Http2(lease) => lease.local(),
        }
    }

    /// What its TLS has shown, if somebody wants to know.
    pub(super) fn tls(&self) -> Option<Rc<Session>> {
        match &self.wire {
            Wire::Http1(upstream) => upstream.meter.tls(),
            Wire::Http2(lease) => lease.tls(),
        }
    }

    /// Whether the request was sent again since it was asked last.
    pub(super) fn take_repeated(&self) -> bool {
        match &self.wire {
            Wire::Http1(upstream) => upstream.meter.take_repeated(),
            Wire::Http2(_) => false,
        }
    }

    /// The connection, where the request has one of its own.
    pub(super) fn http1(&mut self) -> Result<&mut Upstream, &mut h2::Lease> {
        match &mut self.wire {
            Wire::Http1(upstream) => Ok(upstream),
            Wire::Http2(lease) => Err(lease),
        }
    }

    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        match &mut self.wire {
            Wire::Http1(upstream) => upstream.drive(cx),
            Wire::Http2(lease) => lease.drive(cx),
        }
    }

    /// The connection itself, or the stream, once the server has switched protocols, with what has come after its answer,
    /// whose body would be `incoming`. `None` if HTTP is not done with it.
    pub(super) fn into_switched(self, incoming: Inbound) -> Option<(Far, Bytes)> {
        let upstream = match (self.wire, incoming) {
            (Wire::Http1(upstream), _) => upstream,
            (Wire::Http2(lease), Inbound::Http2(received)) => {
                let stream = lease.into_switched(received)?;
                return Some((Far::Http2(Box::new(stream)), Bytes::new()));
            }
            (Wire::Http2(_), _) => return None,
        };
        let (stream, early) = upstream.connection.into_switched()?;
        Some((Far::Socket(stream), early))
    }

    /// What has come of a response that could not be understood.
    pub(super) fn into_unread(self) -> Bytes {
        match self.wire {
            Wire::Http1(upstream) => upstream.connection.into_unread(),
            Wire::Http2(_) => Bytes::new(),
        }
    }

    /// What counts the bytes of its connection; `None` if they are counted as they pass.
    pub(super) fn meter(&self) -> Option<Rc<Meter>> {
        match &self.wire {
            Wire::Http1(upstream) => Some(Rc::clone(&upstream.meter)),
            Wire::Http2(_) => None,
        }
    }

    /// The connection will carry no other exchange than those that are on it.
    pub(super) fn use_up(&mut self) {
        match &mut self.wire {
            Wire::Http1(upstream) => upstream.used_up = true,
            Wire::Http2(lease) => lease.use_up(),
        }
    }

    /// Whether the exchange on it is complete, so that the next may begin.
    pub(super) fn is_free(&self, incoming: &Inbound) -> bool {
        match &self.wire {
            Wire::Http1(upstream) => upstream.connection.is_idle(),
            Wire::Http2(lease) => lease.is_sent() && incoming.is_end_stream(),
        }
    }

    /// The response is complete: keeps the connection for the next request if it can carry one. It comes back if the
    /// server is still to get the rest of the request.
    pub(super) fn give_back(mut self, client: &Client) -> Option<Self> {
        let mut unwoken = Context::from_waker(Waker::noop());
        let goes_on = match self.send_on(&mut unwoken) {
            Sending::More => true,
            // Whoever looks next finds that out.
            Sending::Ended { failed } => failed && client.upload() != Upload::Done,
            Sending::Done => false,
        };
        if goes_on && client.upload() != Upload::Unwanted && !client.is_held() {
            return Some(self);
        }
        self.put_by(client);
        None
    }

    /// Sends the rest of a request whose answer is complete.
    pub(super) fn send_on(&mut self, cx: &mut Context<'_>) -> Sending {
        self.drive(cx);
        match &self.wire {
            Wire::Http1(upstream) => match upstream.connection.end() {
                Some(failed) => Sending::Ended { failed },
                None if upstream.connection.is_idle() => Sending::Done,
                None => Sending::More,
            },
            Wire::Http2(lease) if !lease.is_sent() => Sending::More,
            Wire::Http2(_) => Sending::Done,
        }
    }

    /// Both are complete, or the server is to get no more: keeps the connection if it can carry another request, as it has
    /// just shown when it was driven.
    pub(super) fn put_by(self, client: &Client) {
        let Wire::Http1(upstream) = self.wire else {
            return;
        };
        client.exchange().settle();
        if let Some(place) = self.place
            && !upstream.used_up
            && upstream.connection.is_idle()
        {
            client
                .worker
                .http
                .pool
                .put(&client.worker, place, upstream, client.now());
        }
    }
}

/// How far the rest of a request has come whose answer is complete.
pub(super) enum Sending {
    /// The server is still to get some of it.
    More,
    /// The server has all of it.
    Done,
    /// The connection has ended: the server says no more, or it has `failed` in the middle of the request.
    Ended { failed: bool },
}

/// The idle connections of one worker.
#[derive(Default)]
pub(super) struct Pool {
    /// By backend, by server; the longest idle first.
    #[expect(
        clippy::vec_box,
        reason = "they are handed to leases and back without being copied"
    )]
    idle: RefCell<Vec<Vec<Vec<Box<Upstream>>>>>,
    /// Those that requests share.
    pub(super) shared: h2::Pool,
    sweeping: Cell<bool>,
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

    /// The server of the backend at `backend` to which the one who is called `client` has an idle connection of its own, the
    /// one that was used last.
    pub(super) fn last_of(&self, backend: usize, client: u64) -> Option<usize> {
        let idle = self.idle.borrow();
        let servers = idle.get(backend)?.iter().enumerate();
        let found = servers.filter_map(|(server, connections)| {
            let mut own = connections.iter().rev();
            let own = own.find(|c| c.own.as_ref().is_some_and(|own| own.is_of(client)))?;
            Some((own.idle_since, server))
        });
        found.max().map(|(_, server)| server)
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

    fn put(&self, worker: &Rc<Worker>, place: Place, mut upstream: Box<Upstream>, now: Instant) {
        if worker.http.is_superseded() {
            // Where nobody can use it any more it is closed.
            if let Some(next) = worker.next()
                && let Some(place) = next.shared.kept(place)
            {
                next.http.pool.put(&next, place, upstream, now);
            }
            return;
        }
        upstream.idle_since = Some(now);
        upstream.moves = place.moves;
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
    }

    /// Closes what has been idle for too long or was closed by the server. Returns whether any is left.
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
        left
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
