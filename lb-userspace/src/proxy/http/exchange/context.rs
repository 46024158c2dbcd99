//! What is kept of one request and its answer, from the first byte to the log line.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Context,
    time::{Duration, Instant},
};

use http::{Method, Uri, Version, request};

use super::super::{client::Client, cookie::dates::Dates, server_io::Meter};
use crate::{
    config::model::LogOptions,
    observe::log::{Cause, CookieSeen, CookieSet, Phase, ServerField, Termination},
    proxy::{dispatch::Trace, sessions},
    tls::Session,
    topology::{Backend, Connection, Observation, Server, Visit},
};

/// One request and its answer. Reused for all requests of a connection.
pub(in super::super) struct Exchange {
    open: bool,
    start: Instant,
    pub(super) request: Option<(Method, Uri, Version)>,
    /// How far it has come, as the log's second letter has it.
    pub(in super::super) stage: Phase,
    pub(super) termination: Option<Termination>,
    visit: Option<Visit>,
    slot: Option<Connection>,
    /// Resolves if the server's sessions are to end.
    shut_down: Option<Pin<Box<dyn Future<Output = ()>>>>,
    pub(super) server: Option<Arc<Server>>,
    pub(in super::super) request_received: Option<Duration>,
    pub(super) queued: Option<Duration>,
    pub(super) connected: Option<Duration>,
    pub(in super::super) responded: Option<Duration>,
    /// What the server has sent behind its answer's head is no body.
    pub(in super::super) malformed: bool,
    pub(in super::super) status: Option<u16>,
    pub(super) retries: u32,
    pub(super) redispatched: bool,
    pub(super) server_queue: u32,
    pub(super) backend_queue: u32,
    pub(in super::super) cookie_seen: CookieSeen,
    pub(in super::super) cookie_set: CookieSet,
    /// Dates of the cookie that named the server.
    pub(in super::super) cookie_dates: Dates,
    /// The connection's bytes in at the end of the exchange before, and bytes out.
    bytes_in: u64,
    bytes_out: u64,
    /// Who has answered where no server did.
    pub(super) nobody: ServerField<'static>,
    /// It is nobody's business.
    pub(super) unlogged: bool,
    /// A rule has denied it, which is counted by itself.
    pub(super) denied: bool,
    /// What has come of asking a server, before rules made anything else of it.
    pub(super) heard: Heard,
    /// Bytes of ours that are not counted as an answer's, as HAProxy has it.
    pub(super) uncounted: bool,
    /// Bytes of an answer that is written once the books are closed.
    unwritten: u64,
    server_bytes: (u64, u64),
    /// What the server's connection counts, as long as it is this exchange's alone.
    meter: Option<Rc<Meter>>,
    /// Handshakes and silence before it.
    pub(super) before: (Duration, Duration),
    /// Our end of the connection to the server, if the log wants to know.
    pub(super) local: Option<SocketAddr>,
    /// What the TLS of that connection has shown, likewise.
    pub(super) server_tls: Option<Rc<Session>>,
    /// Whether the server was asked by HTTP/2.
    pub(super) is_http2: bool,
}

/// What has come of asking a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// None has been asked, or none that could be reached.
    Nothing,
    /// An answer of this status.
    Status(u16),
    /// No answer in time, or none that could be understood.
    Failure,
}

/// Whether `one` is this server.
fn is_it(one: &Option<Arc<Server>>, server: &Arc<Server>) -> bool {
    one.as_ref().is_some_and(|one| Arc::ptr_eq(one, server))
}

impl Exchange {
    pub(in super::super) fn new(now: Instant) -> Self {
        Self {
            open: false,
            start: now,
            request: None,
            stage: Phase::Request,
            termination: None,
            visit: None,
            slot: None,
            shut_down: None,
            server: None,
            request_received: None,
            queued: None,
            connected: None,
            responded: None,
            malformed: false,
            status: None,
            retries: 0,
            redispatched: false,
            server_queue: 0,
            backend_queue: 0,
            cookie_seen: CookieSeen::NotApplicable,
            cookie_set: CookieSet::NotApplicable,
            cookie_dates: Dates::default(),
            bytes_in: 0,
            bytes_out: 0,
            nobody: ServerField::None,
            unlogged: false,
            denied: false,
            heard: Heard::Nothing,
            uncounted: false,
            unwritten: 0,
            server_bytes: (0, 0),
            meter: None,
            before: (Duration::ZERO, Duration::ZERO),
            local: None,
            server_tls: None,
            is_http2: false,
        }
    }

    /// A request has begun, `before` which there were handshakes and silence. What is counted from the last end on is its own.
    pub(in super::super) fn begin(
        &mut self,
        start: Instant,
        before: (Duration, Duration),
        bytes_out: u64,
    ) {
        let bytes_in = self.bytes_in;
        *self = Self {
            open: true,
            before,
            bytes_in,
            bytes_out,
            ..Self::new(start)
        };
    }

    pub(in super::super) fn is_open(&self) -> bool {
        self.open
    }

    /// The head is complete and has been understood.
    pub(in super::super) fn accept(&mut self, head: &request::Parts, now: Instant) {
        self.request = Some((head.method.clone(), head.uri.clone(), head.version));
        self.request_received = Some(now.saturating_duration_since(self.start));
    }

    /// As much of the body as was waited for is there as well, or there will be no more of it.
    pub(super) fn hear_out(&mut self, now: Instant) {
        self.request_received = Some(now.saturating_duration_since(self.start));
    }

    /// It has come to a backend.
    pub(in super::super) fn enter(&mut self, visit: Visit) {
        self.visit = Some(visit);
    }

    /// It has a slot of a server.
    pub(in super::super) fn assign(&mut self, slot: Connection) {
        let server = slot.server();
        if !is_it(&self.server, server) {
            self.server = Some(Arc::clone(server));
        }
        self.server_tls = None;
        self.shut_down = slot.shut_down().map(|end| Box::pin(end) as _);
        self.slot = Some(slot);
    }

    /// Whether the client has taken the request back.
    pub(in super::super) fn is_cancelled(&self) -> bool {
        self.termination
            .is_some_and(|termination| termination.cause == Cause::Client)
    }

    /// Whether the server's sessions are to end, this one among them, as far as can be seen without waiting for it.
    pub(in super::super) fn is_over(&self) -> bool {
        match (&self.slot, self.termination) {
            (Some(slot), _) => slot.is_over(),
            // It was, and the client has not taken all that it is to have.
            (None, Some(end)) => matches!(end.cause, Cause::Killed | Cause::Down | Cause::Up),
            (None, None) => false,
        }
    }

    /// Whether the server's sessions are to end, this one among them, or the connection is. If not, the task is woken when
    /// they are: where it is for an operator to say so, by [`sessions::Served`].
    pub(in super::super) fn is_shut_down(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_over() || sessions::is_killed() {
            return true;
        }
        let Some(end) = &mut self.shut_down else {
            return false;
        };
        let ended = end.as_mut().poll(cx).is_ready();
        if ended {
            self.shut_down = None;
        }
        ended
    }

    /// What resolves if the server's sessions are to end, whoever wants that, for whoever takes the exchange over.
    pub(in super::super) fn take_shut_down(&mut self) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let known = self.shut_down.take();
        // It is not polled for operators, who are heard all the same.
        known.or_else(|| Some(Box::pin(self.slot.as_ref()?.ended()) as _))
    }

    /// Gives the slot back; the server is still the one that the log names.
    pub(in super::super) fn release(&mut self) {
        self.slot = None;
        self.shut_down = None;
    }

    /// Takes over what was found out on the way to a server.
    pub(in super::super) fn note(&mut self, trace: &mut Trace) {
        self.server = trace.server.take();
        self.queued = trace.queued;
        self.connected = trace.connected;
        self.retries = trace.retries;
        self.redispatched = trace.redispatched;
        if self.redispatched && self.cookie_seen == CookieSeen::Valid {
            // The server that it named could not be reached, so that it was as good as down.
            self.cookie_seen = CookieSeen::Down;
        }
        self.server_queue = trace.server_queue;
        self.backend_queue = trace.backend_queue;
    }

    /// Its cookie is not why its server is asked.
    pub(in super::super) fn ignore_cookie(&mut self) {
        if !matches!(
            self.cookie_seen,
            CookieSeen::None | CookieSeen::NotApplicable
        ) {
            self.cookie_seen = CookieSeen::Unused;
        }
    }

    /// The request was sent to the server once more: it had closed an idle connection, or `retry_on` is for it.
    pub(in super::super) fn count_repeat(&mut self) {
        self.retries += 1;
        if let (Some(server), Some(visit)) = (&self.server, &self.visit) {
            server.counters.retries.inc();
            visit.backend().counters.retries.inc();
        }
    }

    pub(in super::super) fn backend(&self) -> Option<&Arc<Backend>> {
        self.visit.as_ref().map(Visit::backend)
    }

    pub(in super::super) fn server(&self) -> Option<&Arc<Server>> {
        self.server.as_ref()
    }

    /// The first thing that ended it; what follows from that does not count.
    pub(in super::super) fn terminate(&mut self, cause: Cause, phase: Phase) {
        let gives_way = || {
            self.server
                .as_ref()
                .is_some_and(|server| server.gives_way())
        };
        let is_killed =
            || sessions::is_killed() || self.slot.as_ref().is_some_and(Connection::is_killed);
        let cause = match cause {
            Cause::Down | Cause::Client if is_killed() => Cause::Killed,
            Cause::Down if gives_way() => Cause::Up,
            cause => cause,
        };
        self.termination
            .get_or_insert(Termination::new(cause, phase));
    }

    /// The client left, or its time ran out, wherever it was.
    pub(in super::super) fn terminate_here(&mut self, cause: Cause) {
        self.terminate(cause, self.stage);
    }

    /// The server's response will not be complete, which is the server's fault unless `cause` says otherwise.
    pub(in super::super) fn broken(&mut self, cause: Cause) {
        self.terminate(cause, Phase::Data);
        self.release();
        if matches!(cause, Cause::Down | Cause::Client | Cause::Proxy) {
            return;
        }
        if let (Some(server), Some(visit)) = (&self.server, &self.visit) {
            server.counters.server_aborts.inc();
            visit.backend().counters.server_aborts.inc();
        }
    }

    /// It was no request: neither the line nor the answer's bytes are logged.
    pub(in super::super) fn refuse(&mut self, status: u16) {
        self.request = None;
        self.request_received = None;
        self.status = Some(status);
        self.uncounted = true;
    }

    /// An answer of this length is still to be written.
    pub(in super::super) fn owes(&mut self, length: usize) {
        self.unwritten = length as u64;
    }

    pub(in super::super) fn count_server_bytes(&mut self, (received, sent): (u64, u64)) {
        self.server_bytes.0 += received;
        self.server_bytes.1 += sent;
    }

    /// It goes by the connection whose `meter` this is, until that is given away or broken off.
    pub(in super::super) fn goes_by(&mut self, meter: Option<Rc<Meter>>) {
        self.settle();
        self.meter = meter;
    }

    /// Takes over what the server's connection has counted; what it counts from now on is another's.
    pub(in super::super) fn settle(&mut self) {
        if let Some(meter) = self.meter.take() {
            self.count_server_bytes(meter.take());
        }
    }

    /// Counts and logs it.
    pub(in super::super) fn finish(&mut self, client: &Client) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.release();
        self.settle();
        let total = client.now().saturating_duration_since(self.start);
        let bytes_in = client.bytes_in() - std::mem::replace(&mut self.bytes_in, client.bytes_in());
        let bytes_out = client.bytes_out() - self.bytes_out + self.unwritten;
        self.count(client, bytes_in, bytes_out, total);
        self.write_line(client, total, (bytes_in, bytes_out));
        let fault = super::tally::fault(self);
        super::tally::count_end(client, fault, bytes_in, bytes_out);
        if let Some(remembered) = client.rules.borrow_mut().as_mut() {
            super::tally::finish(client, remembered, fault, bytes_in, bytes_out);
        }
        self.visit = None;
        self.server = None;
        // Its parts hold the buffer that the request was read into.
        self.request = None;
    }

    /// Logs it now where that is not waited with.
    pub(super) fn log_early(&mut self, client: &Client) {
        if !self.open || !client.frontend().config.logs_at_once() {
            return;
        }
        let total = client.now().saturating_duration_since(self.start);
        let bytes_in = client.bytes_in() - self.bytes_in;
        let bytes_out = client.bytes_out() - self.bytes_out;
        self.write_line(client, total, (bytes_in, bytes_out));
        self.unlogged = true;
    }

    fn write_line(&self, client: &Client, total: Duration, bytes: (u64, u64)) {
        let remembered = client.rules.borrow();
        let options = LogOptions {
            level: remembered.as_ref().and_then(|rules| rules.log_level()),
            ..client.frontend().config.log_options
        };
        drop(remembered);
        if client.worker.shared.log.wants(&options) && !self.unlogged {
            self.log(client, options, total, bytes);
        }
    }

    fn count(&self, client: &Client, bytes_in: u64, bytes_out: u64, total: Duration) {
        let frontend = &client.frontend().counters;
        frontend.bytes_in.add(bytes_in);
        frontend.bytes_out.add(bytes_out);
        frontend.http.response(self.status.unwrap_or(0));
        let termination = self.termination.unwrap_or(Termination::NORMAL);
        let client_left = matches!(termination.cause, Cause::Client | Cause::ClientTimeout);
        // Who came and went without a whole request has asked for nothing.
        if termination.phase != Phase::Request || !client_left {
            frontend.total.record(total);
        }
        // What was answered here on purpose was no error, nor was what a rule denied.
        let meant = self.denied || matches!(termination.cause, Cause::Normal | Cause::Local);
        if termination.phase == Phase::Request && !meant {
            frontend.request_errors.inc();
        }
        let Some(visit) = &self.visit else { return };
        let backend = &visit.backend().counters;
        backend.bytes_in.add(bytes_in);
        backend.bytes_out.add(bytes_out);
        backend.http.requests.inc();
        backend.distributions.total.record(total);
        backend.http.response(self.status.unwrap_or(0));
        if client_left {
            backend.client_aborts.inc();
        }
        let Some(server) = &self.server else { return };
        let (received, sent) = self.server_bytes;
        server.counters.bytes_in.add(sent);
        server.counters.bytes_out.add(received);
        if client_left {
            server.counters.client_aborts.inc();
        }
        // A server's own answers alone count as its.
        let Some(responded) = self.responded else {
            return;
        };
        let now_ms = client.now_ms();
        server.latency.record(responded, now_ms);
        if let Some(status) = self.status {
            // One whose body is none is no answer, whatever it began with.
            let seen = match self.malformed {
                true => Observation::BadResponse,
                false => Observation::Status(status),
            };
            visit.backend().observe(server, seen);
        }
        server.counters.http.requests.inc();
        server.counters.http.response(self.status.unwrap_or(0));
        backend.distributions.response.record(responded);
        for times in [&backend.times, &server.counters.times] {
            times.response.add(millis(Some(responded)));
            times.total.add(millis(Some(total)));
        }
    }
}

fn millis(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}
