//! Connections to servers. The requests of a worker share them.

mod connection;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::sync::Notify;

use self::connection::Connection;
use super::{
    Received,
    ask::{Again, Ask},
    bytestream::Bytestream,
    connect, head,
    pipe::Pipe,
};
use crate::{
    proxy::{
        Stream,
        connect::{ConnectError, Own, Way},
        http::{
            body::RequestBody,
            client::Client,
            message::{Message, Repeatable},
            upstream::Place,
        },
    },
    rules::Links,
    tls::Session,
};

/// A worker's connections to one server.
#[derive(Default)]
struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// One is being made.
    opening: RefCell<Option<Rc<Opening>>>,
    /// The server may choose, and has chosen HTTP/1 last time.
    chose_http_1: Cell<bool>,
    /// The most requests that each may carry, if that is bounded.
    most: Cell<Option<u32>>,
    /// The server took none on the one that was made last.
    takes_none: Cell<bool>,
}

/// A connection that is being made, for all that wait for it.
#[derive(Default)]
struct Opening {
    ended: Notify,
    /// Why it is not to be had.
    failed: OnceCell<ConnectError>,
    /// The server has chosen HTTP/1: what was made is for one of them.
    http_1: Cell<Option<Stream>>,
}

/// What a server has chosen.
pub(in super::super) enum Chosen {
    /// A connection of HTTP/1.
    Http1(Stream),
    /// Room on a connection of HTTP/2.
    Http2(Lease),
}

impl Connections {
    /// Room for a request on one of them, once each of them has said how much there is.
    async fn room(&self) -> Option<Lease> {
        loop {
            if let Some(lease) = self.free() {
                return Some(lease);
            }
            // Those that have ended are not among them any more.
            let unsaid = {
                let open = self.open.borrow();
                let unsaid = open.iter().find(|one| !one.has_said());
                unsaid.map(|one| Rc::clone(&one.said))
            };
            // Nothing else runs before it is waited for.
            unsaid?.notified().await;
        }
    }

    /// Room for a request on one of them.
    fn free(&self) -> Option<Lease> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| {
            // It may have some under way, and is of no use to others.
            let useless = connection.takes_none();
            if useless && connection.carried.get() == 0 {
                self.takes_none.set(true);
            }
            connection.is_open() && !connection.is_worn() && !useless
        });
        // The newest first, so that what is too much falls idle.
        let mut free = open.iter().rev().filter(|connection| connection.has_room());
        free.next().map(Lease::new)
    }

    /// Whoever has found no room on a new connection makes another one, unless the server takes nothing on any.
    fn ensure_taken(&self) -> Result<(), ConnectError> {
        match self.takes_none.get() {
            true => Err(ConnectError::Refused(io::Error::other(
                "no requests are taken",
            ))),
            false => Ok(()),
        }
    }

    async fn open(&self, stream: Stream, wants: Links) -> Result<Rc<Connection>, ConnectError> {
        let connection = Connection::open(stream, self.most.get().unwrap_or(u32::MAX), wants)
            .await
            .map_err(|error| ConnectError::Refused(io::Error::other(error)))?;
        self.open.borrow_mut().push(Rc::clone(&connection));
        Ok(connection)
    }

    /// What is to be spoken on a connection that the server could choose for.
    async fn chosen(&self, stream: Stream, wants: Links) -> Result<Chosen, ConnectError> {
        let http_1 = stream.alpn() != Some(b"h2");
        self.chose_http_1.set(http_1);
        if http_1 {
            return Ok(Chosen::Http1(stream));
        }
        let connection = self.open(stream, wants).await?;
        Ok(Chosen::Http2(Lease::new(&connection)))
    }

    /// The connection that is being made, or else one that is begun; `chooses` if the server chooses what for.
    ///
    /// In a task of its own: it is for all that wait, so it goes on though the one that has begun it leaves, and has its
    /// own time.
    fn opening(self: &Rc<Self>, way: Way, chooses: bool) -> Rc<Opening> {
        let again = way.server.config.max_reuse;
        self.most.set(again.map(|again| again.saturating_add(1)));
        let mut opening = self.opening.borrow_mut();
        if let Some(opening) = &*opening {
            return Rc::clone(opening);
        }
        self.takes_none.set(false);
        let begun = opening.insert(Rc::default());
        let (at, begun) = (Rc::clone(self), Rc::clone(begun));
        let told = Rc::clone(&begun);
        tokio::task::spawn_local(async move {
            let (timeout, wants) = (way.timeout, way.wants);
            let made = async {
                let stream = way.connect().await?;
                if !chooses {
                    return at.open(stream, wants).await.map(drop);
                }
                // Whose room it is is not decided yet.
                if let Chosen::Http1(stream) = at.chosen(stream, wants).await? {
                    begun.http_1.set(Some(stream));
                }
                Ok(())
            };
            let made = tokio::time::timeout(timeout, made).await;
            if let Err(error) = made.unwrap_or(Err(ConnectError::Timeout)) {
                let _ = begun.failed.set(error);
            }
            at.opening.take();
            begun.ended.notify_waiters();
        });
        told
    }
}

/// A worker's connections.
#[derive(Default)]
pub(in super::super) struct Pool {
    places: RefCell<HashMap<Place, AtServer>>,
}

/// Connections to one server.
#[derive(Default)]
struct AtServer {
    /// Those that every client may use.
    shared: Option<Rc<Connections>>,
    /// Those of some clients alone.
    own: HashMap<Box<Own>, Rc<Connections>>,
}

impl Pool {
    fn at(&self, place: Place, own: Option<&Own>) -> Option<Rc<Connections>> {
        let places = self.places.borrow();
        let at = places.get(&place)?;
        match own {
            None => at.shared.clone(),
            Some(own) => at.own.get(own).cloned(),
        }
    }

    /// Takes over what another one holds to places that are still there as `moved` says.
    pub(in super::super) fn inherit(&self, before: &Self, moved: &dyn Fn(Place) -> Option<Place>) {
        let mut places = self.places.borrow_mut();
        for (place, at) in before.places.take() {
            if let Some(place) = moved(place) {
                places.insert(place, at);
            }
        }
    }

    fn at_or_new(&self, place: Place, own: Option<Box<Own>>) -> Rc<Connections> {
        let mut places = self.places.borrow_mut();
        if !places.contains_key(&place) {
            let here =
                |other: &Place| (other.backend, other.server) == (place.backend, place.server);
            places.retain(|other, _| !here(other));
        }
        let at = places.entry(place).or_default();
        let found = match own {
            None => at.shared.get_or_insert_default(),
            Some(own) => at.own.entry(own).or_default(),
        };
        Rc::clone(found)
    }

    /// Room for a request at `place` on a connection that there is. If it takes longer than `timeout` to know, there is none.
    pub(in super::super) async fn find(
        &self,
        place: Place,
        own: Option<&Own>,
        timeout: Duration,
    ) -> Option<Lease> {
        let at = self.at(place, own)?;
        if let Some(lease) = at.free() {
            return Some(lease);
        }
        let room = tokio::time::timeout(timeout, at.room());
        Box::pin(room).await.ok().flatten()
    }

    /// Room for a request at `place`, on a connection that is made by `way` if there is none, or if it is to be `anew`.
    ///
    /// # Errors
    /// The connection that was waited for is not to be had, or not in time.
    pub(in super::super) async fn lease(
        &self,
        place: Place,
        way: Way,
        anew: bool,
    ) -> Result<Lease, ConnectError> {
        let at = self.at_or_new(place, way.own.clone());
        if !anew && let Some(lease) = at.free() {
            return Ok(lease);
        }
        let timeout = way.timeout;
        let leased = async {
            if !anew && let Some(lease) = at.room().await {
                return Ok(lease);
            }
            loop {
                // Whoever comes while one is being made waits for it: there may be room for all.
                let opening = at.opening(way.clone(), false);
                opening.ended.notified().await;
                if let Some(error) = opening.failed.get() {
                    return Err(error.again());
                }
                if let Some(lease) = at.room().await {
                    return Ok(lease);
                }
                at.ensure_taken()?;
            }
        };
        let leased = tokio::time::timeout(timeout, Box::pin(leased)).await;
        leased.unwrap_or(Err(ConnectError::Timeout))
    }

    /// A new connection to `place`, made by `way`, for whatever the server chooses.
    ///
    /// As long as it may choose HTTP/2, all that come wait for one connection, which may have room for them; once it has
    /// chosen HTTP/1 each makes its own.
    ///
    /// # Errors
    /// The connection is not to be had, or not in time.
    pub(in super::super) async fn choose(
        &self,
        place: Place,
        way: Way,
    ) -> Result<Chosen, ConnectError> {
        let at = self.at_or_new(place, way.own.clone());
        let timeout = way.timeout;
        let chosen = async {
            while !at.chose_http_1.get() {
                let opening = at.opening(way.clone(), true);
                opening.ended.notified().await;
                if let Some(error) = opening.failed.get() {
                    return Err(error.again());
                }
                if let Some(stream) = opening.http_1.take() {
                    return Ok(Chosen::Http1(stream));
                }
                if let Some(lease) = at.room().await {
                    return Ok(Chosen::Http2(lease));
                }
                at.ensure_taken()?;
            }
            at.chosen(way.clone().connect().await?, way.wants).await
        };
        let chosen = tokio::time::timeout(timeout, chosen).await;
        chosen.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Closes what has been idle for too long, or was closed. Returns whether any is left.
    pub(in super::super) fn expire(&self, now: Instant, idle: Duration) -> bool {
        let mut left = false;
        let mut tidy = |at: &Connections| {
            let mut open = at.open.borrow_mut();
            open.retain(|connection| {
                connection.is_open()
                    && (connection.active.get() > 0
                        || now.saturating_duration_since(connection.idle_since.get()) < idle)
            });
            let any = !open.is_empty() || at.opening.borrow().is_some();
            left |= any;
            any
        };
        for at in self.places.borrow_mut().values_mut() {
            // What a server has chosen is remembered, where that is not for each client.
            if let Some(shared) = &at.shared {
                tidy(shared);
            }
            at.own.retain(|_, at| tidy(at));
        }
        left
    }
}

/// Room for a request on a connection, and the request once it is sent.
pub(in super::super) struct Lease {
    connection: Rc<Connection>,
    fresh: bool,
    /// Boxed, as most requests have no body, and all are handed on with this.
    upload: Option<Box<Pipe<RequestBody>>>,
    /// The way of what follows a request for another protocol.
    switching: Option<Box<SendStream<Bytes>>>,
}

impl Lease {
    fn new(connection: &Rc<Connection>) -> Self {
        connection.active.set(connection.active.get() + 1);
        Self {
            connection: Rc::clone(connection),
            fresh: connection
                .carried
                .replace(connection.carried.get().saturating_add(1))
                == 0,
            upload: None,
            switching: None,
        }
    }

    /// Whether this is the first request on the connection.
    pub(in super::super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Our end of the connection.
    pub(in super::super) fn local(&self) -> Option<SocketAddr> {
        self.connection.local
    }

    /// What its TLS has shown, if somebody wants to know.
    pub(in super::super) fn tls(&self) -> Option<Rc<Session>> {
        self.connection.tls.clone()
    }

    /// No other request is to go by the connection.
    pub(in super::super) fn use_up(&self) {
        self.connection.used_up.set(true);
    }

    /// Whether all of the request is on its way.
    pub(in super::super) fn is_sent(&self) -> bool {
        self.upload.is_none()
    }

    /// Whether a request for another protocol can be sent by it.
    pub(in super::super) async fn switches(&self) -> bool {
        self.connection.switches().await
    }

    /// The stream once the server has agreed to another protocol, with what comes by it.
    pub(in super::super) fn into_switched(mut self, received: Received) -> Option<Bytestream> {
        let send = self.switching.take()?;
        Some(Bytestream::new(received.into_stream(), *send, self))
    }

    /// Sends more of the request's body.
    pub(in super::super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(end) = upload.poll(cx)
        {
            if let super::pipe::End::Failed(_) = end {
                // The server is not to take what came for all of it.
                upload.reset(Reason::CANCEL);
            }
            self.upload = None;
        }
    }

    /// Sends the request's head. The request comes back if the server does not take it and it is `repeatable`.
    ///
    /// # Errors
    /// See [`NotAsked`].
    pub(in super::super) fn ask(
        &mut self,
        client: &Rc<Client>,
        request: Message,
        repeatable: Repeatable,
    ) -> Result<Ask, NotAsked> {
        if !self.connection.is_open() {
            return Err(NotAsked::Closed(request));
        }
        let (parts, mut body) = request.into_parts();
        let ended = body.is_end_stream();
        // What may be asked twice is kept, for a server that closes as it comes; of bodies what is small.
        let keeps = !self.fresh && repeatable.unread;
        let kept = (keeps && !ended).then(|| body.keep()).flatten();
        let again = (keeps && (ended || kept.is_some())).then(|| Again {
            head: parts.clone(),
            read: ended && repeatable.read && parts.method.is_idempotent(),
            body: kept,
        });
        let switch = match ended && head::is_upgrade(&parts.headers) {
            false => None,
            true => Some(Box::new(connect::Switch::of(&parts))),
        };
        let Some(mut head) = head::request(*parts, self.connection.scheme.clone()) else {
            return Err(NotAsked::Unsendable);
        };
        if let Some(switch) = &switch {
            switch.ask(&mut head);
        }
        let ended = ended && switch.is_none();
        let target = head
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let size = head::request_size(head.method().as_str(), target, head.headers());
        let mut sender = self.connection.sender.clone();
        match sender.send_request(head, ended) {
            Ok((response, stream)) => {
                client.exchange().count_server_bytes((0, size as u64));
                if switch.is_some() {
                    self.switching = Some(Box::new(stream));
                } else if !ended {
                    self.upload = Some(Box::new(Pipe::new(body, stream, client)));
                }
                Ok(Ask::new(response, again, switch))
            }
            // Neither a peer nor the network has said it: the h2 crate does not write such a head.
            Err(error) if error.reason().is_none() && !error.is_io() => Err(NotAsked::Unsendable),
            // It has gone since it was looked at.
            Err(_) => match again {
                Some(again) => Err(NotAsked::Closed(Message::from_parts(again.head, body))),
                None => Ok(Ask::of_none()),
            },
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.active.set(connection.active.get() - 1);
        connection.idle_since.set(Instant::now());
    }
}

/// Why a request was not even begun. The server has no part in it.
pub(in super::super) enum NotAsked {
    /// The connection has ended.
    Closed(Message),
    /// HTTP/2 cannot carry it, as a rule may have made it.
    Unsendable,
}
