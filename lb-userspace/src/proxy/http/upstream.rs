//! Connections to servers.
//!
//! A connection is driven by whoever uses it, not by a task of its own: a response costs no hand-over between tasks. An
//! idle one is not driven at all; whether the server has closed it shows when it is taken out again.

use std::{
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONNECTION};
use tokio::time;

use super::{
    body::Inbound,
    client::{Client, Upload},
    fields::Fields,
    h1, h2,
    message::Message,
    pool::{CROWDED, IDLE},
    server_io::{Meter, ServerIo},
    tunnel::Far,
};
use crate::{
    proxy::{
        Stream,
        connect::{Own, Way},
    },
    tls::Session,
    topology::{Counted, Server},
};

/// So long a server may be silent on a new connection before it is taken to wait for the end of others.
const PATIENCE: Duration = Duration::from_millis(100);

/// A connection to a server.
pub(super) struct Upstream {
    connection: h1::Connection,
    meter: Rc<Meter>,
    /// For whom it is, if not for every client.
    pub(super) own: Option<Box<Own>>,
    /// It is not to carry another request.
    used_up: bool,
    /// When it was last put by; `None` if it never was.
    pub(super) idle_since: Option<Instant>,
    /// [`Place::moves`] of where it goes, once it is put by.
    pub(super) moves: u32,
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
        let own = way.own;
        let io = ServerIo::new(stream, Rc::clone(&meter), way.wants);
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

    /// Takes the request. The answer comes by driving the connection. The request comes back if the server closes without a
    /// word and it may be sent once more though it has been `read`.
    pub(super) fn send(&mut self, request: Message, read: bool) {
        // Only an idle connection can have been closed before the server saw the request.
        let repeatable = read && self.idle_since.is_some() && request.may_be_repeated();
        self.connection.send(request, repeatable);
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
    pub(super) fn is_usable(&mut self) -> bool {
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
    /// Where it is kept; `None` if it is not, since it ends with its request.
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

    pub(super) fn shared(lease: h2::Lease, place: Option<Place>) -> Self {
        Self {
            wire: Wire::Http2(lease),
            place,
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

    /// The server has asked who the client is by a scheme that holds for all that comes by the connection: from now on
    /// nobody else may use it, nor any other that the client authenticates there.
    pub(super) fn belongs_to(&mut self, client: &Client, own_already: bool) {
        let pool = &client.worker.http.pool;
        let mut known = own_already;
        // What is kept nowhere ends with its request.
        if let Some(place) = self.place {
            known |= pool.is_authenticating(&client.worker, place, client);
            pool.authenticates(&client.worker, place, client);
        }
        match &mut self.wire {
            Wire::Http1(upstream) => {
                let own = upstream.own.get_or_insert_default();
                own.client = Some(client.identity());
            }
            // Others are on it already. The next request goes by one of the client's own.
            Wire::Http2(lease) if !known => lease.use_up(),
            Wire::Http2(_) => {}
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
            let pool = &client.worker.http.pool;
            pool.put(&client.worker, place, upstream, client);
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
