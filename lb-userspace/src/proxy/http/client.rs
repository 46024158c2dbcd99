//! A client's connection: what its IO, its bodies and the exchange under way share.
//!
//! All of it lives on one thread and is only ever touched from the connection's own task, so cells do.

use std::{
    cell::{Cell, OnceCell, RefCell, RefMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, StatusCode};

use super::{
    exchange::{context::Exchange, rules::Remembered},
    h2::Incoming,
    interim,
    trailers::Last,
    tunnel::Tunnel,
    upstream::Lease,
};
use crate::{
    config::model::{Label, Timeouts},
    observe::log::Phase as Stage,
    proxy::{self, Worker, header::Ends},
    rules::SessionVars,
    tls::Session,
    topology::{Frontend, Peer},
    wire::heard::Heard,
};

mod connections;
mod deadline;
mod leaving;
mod moving;
mod rest;
mod shown;
mod states;

/// A client's connection, or a stream of one that its requests share.
pub(super) struct Client {
    whose: Rc<Whose>,
    /// Others go by the same connection at the same time.
    is_stream: bool,
    /// The number of the present request, once somebody has asked for it.
    number: Cell<Option<u64>>,
    /// What rules remember of the request, if there are any.
    pub(super) rules: RefCell<Option<Box<Remembered>>>,
    /// The time at which the task was last polled: one reading of the clock for all that happens in a poll.
    now: Cell<Instant>,
    /// The same in milliseconds of the topology's clock, once somebody has asked.
    now_ms: Cell<Option<u64>>,
    phase: Cell<Phase>,
    /// When the phase began.
    since: Cell<Instant>,
    /// When the first byte of the present request came.
    started: Cell<Instant>,
    /// Who the present request is said to come from, if a proxy that is believed has said it.
    source: Cell<Option<SocketAddr>>,
    /// It is a rule that has said so.
    renamed: Cell<bool>,
    /// The connection is to end without the other end's knowledge.
    vanishes: Cell<bool>,
    /// The present request is the connection's first, whatever stream it comes by.
    first: Cell<bool>,
    /// Requests begun.
    requests: Cell<u64>,
    wait: Cell<Wait>,
    upload: Cell<Upload>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    client_active: Cell<Instant>,
    server_active: Cell<Instant>,
    /// The socket did not take all that there was to send.
    blocked: Cell<bool>,
    /// Until when the request's body is held back for the server's word.
    held: Cell<Option<Instant>>,
    /// A `100 Continue` of hyper's may pass.
    pub(super) interim: Cell<bool>,
    /// The server has said `100 Continue`.
    continues: Cell<bool>,
    /// What the server has said before its answer and the client has not got yet.
    interims: RefCell<Vec<Response<()>>>,
    /// How far trailers have come that hyper does not write.
    pub(super) last: RefCell<Option<Box<Last>>>,
    /// hyper may still have to write something of an earlier answer.
    behind: Cell<bool>,
    /// Whether it matters that the client leaves before its answer, and whether it has.
    leaving: Cell<Leaving>,
    /// The stream of HTTP/2 that the request has come by and whose end is still to come.
    unread: Cell<Option<Incoming>>,
    /// What the connection becomes once its answer is written.
    pub(super) tunnel: Cell<Option<Box<Tunnel>>>,
    /// What the rest of a request goes by whose answer is complete.
    rest: RefCell<Option<Box<Lease>>>,
    /// The request's stream had ended before anybody looked at it, and what that is logged as.
    pub(super) gone: Cell<Option<Stage>>,
    /// The status of the answer with which to close.
    pub(super) refusal: Cell<Option<StatusCode>>,
    /// Where a rule says that the present request goes.
    redirected: Cell<Option<SocketAddr>>,
    exchange: RefCell<Exchange>,
}

/// Whose requests they are: what lasts as long as the connection, and is shared by those that are under way on it.
pub(super) struct Whose {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: Peer,
    /// Where it connected to, for whoever wants to be told.
    pub(super) destination: Peer,
    /// What a PROXY header that came first told, if one came.
    pub(super) introduced: Option<Rc<Heard>>,
    /// Which of the frontend's binds it came to.
    bind: Option<usize>,
    /// Its socket, where rules ask what the kernel knows of it or change its options. It is open as long as they may: a
    /// stream's exchange may go on after the connection that it came by.
    pub(super) socket: Option<Rc<OwnedFd>>,
    /// What its TLS handshake has shown.
    pub(super) tls: Option<Rc<Session>>,
    /// The X-Forwarded-For value, made once for all requests that want it.
    forwarded_for: OnceCell<HeaderValue>,
    /// How long its handshakes took, until a request has been told of it.
    handshake: Cell<Duration>,
    /// Since when it has had nothing to do.
    idle_from: Cell<Instant>,
    /// Its number, if somebody has asked for it; who holds on to it weakly knows whether the connection is there.
    identity: OnceCell<Rc<u64>>,
    /// It has asked for something.
    asked: Cell<bool>,
    /// It authenticates its connections to some servers, so that they are for nobody else.
    pub(super) authenticates: Cell<bool>,
    /// What rules remember of the connection.
    pub(super) session: RefCell<SessionVars>,
    frontend: Arc<Frontend>,
}

impl Deref for Client {
    type Target = Whose;

    fn deref(&self) -> &Whose {
        &self.whose
    }
}

pub(super) use leaving::Leaving;
pub(super) use rest::{Killed, Leave};
pub(super) use states::{Expired, Phase, Upload, Wait};

impl Client {
    pub(super) fn new(worker: Rc<Worker>, accepted: &proxy::Client) -> Self {
        // The handshake's time is not the first request's.
        let began = Instant::now();
        let now = match &accepted.tls {
            None => accepted.accepted,
            Some(_) => began,
        };
        let peer = accepted.address;
        let destination =
            match worker.shared.http.introduces() || worker.shared.http.asks_for_ends() {
                true => accepted.destination(),
                // Nobody is told, so nobody need be asked.
                false => peer,
            };
        let socket = match worker.shared.config.links.socket {
            true => accepted.stream.tcp().as_fd().try_clone_to_owned().ok(),
            false => None,
        };
        let whose = Whose {
            worker,
            peer,
            destination,
            introduced: accepted.introduced.clone(),
            bind: Some(accepted.bind),
            socket: socket.map(Rc::new),
            tls: accepted.tls.clone(),
            identity: OnceCell::new(),
            asked: Cell::new(false),
            authenticates: Cell::new(false),
            forwarded_for: OnceCell::new(),
            handshake: Cell::new(began.saturating_duration_since(accepted.accepted)),
            idle_from: Cell::new(began),
            session: RefCell::new(accepted.session.take()),
            frontend: Arc::clone(accepted.frontend()),
        };
        Self::begun(Rc::new(whose), now, false)
    }

    fn begun(whose: Rc<Whose>, now: Instant, is_stream: bool) -> Self {
        Self {
            whose,
            is_stream,
            number: Cell::new(None),
            rules: RefCell::new(None),
            now: Cell::new(now),
            now_ms: Cell::new(None),
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            started: Cell::new(now),
            source: Cell::new(None),
            renamed: Cell::new(false),
            vanishes: Cell::new(false),
            first: Cell::new(false),
            requests: Cell::new(0),
            wait: Cell::new(Wait::Nothing),
            upload: Cell::new(Upload::Done),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            client_active: Cell::new(now),
            server_active: Cell::new(now),
            blocked: Cell::new(false),
            held: Cell::new(None),
            interim: Cell::new(false),
            continues: Cell::new(false),
            interims: RefCell::default(),
            last: RefCell::default(),
            behind: Cell::new(false),
            leaving: Cell::new(Leaving::Ignored),
            unread: Cell::new(None),
            tunnel: Cell::new(None),
            rest: RefCell::default(),
            gone: Cell::new(None),
            refusal: Cell::new(None),
            redirected: Cell::new(None),
            exchange: RefCell::new(Exchange::new(now)),
        }
    }

    /// What a request of this connection that shares it with others is served by.
    pub(super) fn stream(&self) -> Self {
        Self::begun(Rc::clone(&self.whose), self.now(), true)
    }

    /// What the bind is called that it came to, if there is one of that number still.
    pub(super) fn label(&self) -> Option<&Label> {
        Some(&self.frontend.config.binds.get(self.bind?)?.label)
    }

    pub(super) fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }

    /// Who the present request comes from: the other end of the connection, or whom a proxy that is believed has named.
    pub(super) fn source(&self) -> Peer {
        self.source.get().map_or(self.peer, Peer::Inet)
    }

    /// Both ends of its connection, for servers that are to be told, as rules have them; a unix socket has none.
    pub(super) fn ends(&self) -> Option<Ends> {
        Some(Ends {
            source: self.speaker().inet()?,
            destination: self.reached().inet()?,
        })
    }

    pub(super) fn set_source(&self, source: SocketAddr) {
        self.source.set(Some(source));
    }

    /// A rule says who the present request comes from.
    pub(super) fn rename(&self, source: SocketAddr) {
        self.source.set(Some(source));
        self.renamed.set(true);
    }

    /// Whom servers are told of: who a rule says it is, or the other end of the connection.
    pub(super) fn speaker(&self) -> Peer {
        match self.renamed.get() {
            true => self.source(),
            false => self.peer,
        }
    }

    /// The connection is to end without a word to the other end.
    pub(super) fn vanish(&self) {
        self.vanishes.set(true);
    }

    /// Whether it is.
    pub(super) fn vanishes(&self) -> bool {
        self.vanishes.get()
    }

    /// Whom the server is told of, as a field's value, if that has an address.
    pub(super) fn forwarded_for(&self) -> Option<HeaderValue> {
        if self.renamed.get() {
            return self.source().ip().map(address_value);
        }
        let ip = self.peer.ip()?;
        let make = || address_value(ip);
        Some(self.whose.forwarded_for.get_or_init(make).clone())
    }

    fn timeouts(&self) -> &Timeouts {
        &self.frontend().config.timeouts
    }

    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// The same in milliseconds of the topology's clock.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.get().unwrap_or_else(|| {
            let now = self.worker.shared.topology.clock.at(self.now());
            self.now_ms.set(Some(now));
            now
        })
    }

    pub(super) fn tick(&self) {
        self.now.set(Instant::now());
        self.now_ms.set(None);
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.now());
    }

    /// Whether this connection has not carried a request yet.
    pub(super) fn is_new(&self) -> bool {
        self.requests.get() == 0
    }

    /// A request has come that shares the connection with others.
    pub(super) fn carries(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Whether the present request is the first that the client has sent by its connection.
    pub(super) fn is_first(&self) -> bool {
        self.first.get()
    }

    /// Requests begun.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Since when the client has said nothing, if it is its turn and it has said all of the request before.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.phase() == Phase::Idle && self.upload() == Upload::Done).then(|| self.since.get())
    }

    pub(super) fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    pub(super) fn bytes_out(&self) -> u64 {
        self.bytes_out.get()
    }

    /// The exchange under way. Never held across an await or a call into hyper.
    pub(super) fn exchange(&self) -> RefMut<'_, Exchange> {
        self.exchange.borrow_mut()
    }

    /// `n` bytes came from the client.
    pub(super) fn received(&self, n: usize) {
        if n == 0 {
            return;
        }
        self.bytes_in.set(self.bytes_in.get() + n as u64);
        self.client_active.set(self.now());
        // Of what is left of a body that nobody reads it cannot be known whether it is a head.
        if self.phase() == Phase::Idle && !self.is_sending() {
            self.started.set(self.now());
            self.phase.set(Phase::Head);
            // HAProxy gives the first request of a connection its time from the accept on.
            if !self.is_new() {
                self.since.set(self.now());
            }
        }
    }

    /// `n` bytes went to the client.
    pub(super) fn sent(&self, n: usize) {
        self.bytes_out.set(self.bytes_out.get() + n as u64);
        self.client_active.set(self.now());
        self.blocked.set(false);
    }

    /// Bytes that went through the tunnel that the connection has become.
    pub(super) fn tunnelled(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.set(self.bytes_in.get() + bytes_in);
        self.bytes_out.set(self.bytes_out.get() + bytes_out);
    }

    /// The client's socket takes no more for now.
    pub(super) fn write_blocked(&self) {
        self.blocked.set(true);
    }

    /// All that was to be sent has been.
    pub(super) fn flushed(&self) {
        self.blocked.set(false);
        self.behind.set(false);
        if self.phase() == Phase::Flushing && !self.is_carrying_on() {
            self.end_exchange();
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// hyper has parsed a request's head.
    pub(super) fn begin(&self) {
        // One that answers faster than it is flushed has its record written before the next begins.
        if self.exchange().is_open() {
            self.behind.set(true);
            self.end_exchange();
        }
        if self.phase() == Phase::Idle {
            // All of it was in hyper's buffer already.
            self.started.set(self.now());
        }
        self.requests.set(self.requests.get() + 1);
        self.first.set(!self.whose.asked.replace(true));
        self.source.set(None);
        self.renamed.set(false);
        self.redirected.set(None);
        self.number.set(None);
        self.upload.set(Upload::Done);
        self.interim.set(false);
        self.continues.set(false);
        self.interims.borrow_mut().clear();
        self.last.take();
        self.held.set(None);
        self.enter(Phase::Serving);
        let before = self.before(self.started.get());
        self.exchange()
            .begin(self.started.get(), before, self.bytes_out());
    }

    /// Nothing that could be called a request came: the record is that of an exchange all the same, begun when the
    /// present phase did.
    pub(super) fn begin_without_request(&self) {
        let since = if self.is_new() {
            self.since.get()
        } else {
            self.started.get()
        };
        self.source.set(None);
        self.renamed.set(false);
        self.number.set(None);
        let before = self.before(since);
        self.exchange().begin(since, before, self.bytes_out());
    }

    /// How long handshakes and silence were before a request that begins at `start`.
    fn before(&self, start: Instant) -> (Duration, Duration) {
        let idle = start.saturating_duration_since(self.idle_from.get());
        if self.is_stream {
            // The next one's silence begins at once.
            self.idle_from.set(start);
        }
        (self.handshake.take(), idle)
    }

    /// hyper has our answer's head.
    pub(super) fn answering(&self) {
        self.enter(Phase::Answering);
    }

    /// hyper has all of our answer.
    pub(super) fn answered(&self) {
        if self.phase() == Phase::Answering {
            self.enter(Phase::Flushing);
        }
    }

    /// The exchange is over: writes its record and waits for the next request.
    pub(super) fn end_exchange(&self) {
        self.exchange.borrow_mut().finish(self);
        self.wait.set(Wait::Nothing);
        self.enter(Phase::Idle);
        if !self.is_stream {
            self.idle_from.set(self.now());
        }
    }

    pub(super) fn wait_for(&self, wait: Wait) {
        self.wait.set(wait);
    }

    pub(super) fn upload(&self) -> Upload {
        self.upload.get()
    }

    pub(super) fn set_upload(&self, upload: Upload) {
        self.upload.set(upload);
    }

    /// The request's body is held back until then at the longest; `None`: no more.
    pub(super) fn hold_until(&self, held: Option<Instant>) {
        self.held.set(held);
    }

    /// Whether the request's body is held back.
    pub(super) fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// The server has said something before its answer: the request's body is wanted, or it is for the client, if that
    /// `understands` it. What a client does not read at all is not kept without end.
    pub(super) fn interim_came(&self, head: Response<()>, understands: bool) {
        self.server_active();
        if head.status() == StatusCode::CONTINUE {
            self.continues.set(true);
            return;
        }
        let mut interims = self.interims.borrow_mut();
        if understands && interims.len() < interim::MAX_WAITING {
            interims.push(interim::clean(head));
        }
    }

    /// Whether the server has asked for the request's body.
    pub(super) fn is_asked_to_continue(&self) -> bool {
        self.continues.get()
    }

    /// What the server has said before its answer and the client is to be told now.
    pub(super) fn take_interims(&self) -> Vec<Response<()>> {
        std::mem::take(&mut *self.interims.borrow_mut())
    }

    /// Whether there is any of it.
    pub(super) fn has_interims(&self) -> bool {
        !self.interims.borrow().is_empty()
    }

    /// Nobody reads the request's stream any more, though its end has not come.
    pub(super) fn leave_unread(&self, stream: Incoming) {
        self.unread.set(Some(stream));
    }

    /// That stream.
    pub(super) fn take_unread(&self) -> Option<Incoming> {
        self.unread.take()
    }

    /// Whether hyper may still have to write something of an earlier answer.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.get()
    }

    /// Something passed between us and the server.
    pub(super) fn server_active(&self) {
        self.server_active.set(self.now());
    }
}

/// An address as a field's value.
fn address_value(address: IpAddr) -> HeaderValue {
    let text = match address {
        IpAddr::V4(address) => dotted(address),
        IpAddr::V6(address) => address.to_string(),
    };
    // What an address is written with may stand in a field, so the other case never happens.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// An address as it is written; the library's way to it is as long as that of parsing a small request.
fn dotted(address: Ipv4Addr) -> String {
    // Of `255.255.255.255`.
    let mut text = String::with_capacity(15);
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}
