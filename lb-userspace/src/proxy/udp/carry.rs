//! A flow's way from its first datagram to its log line: a server, then datagrams both ways until nothing moves.

use std::{
    cell::Cell,
    future::pending,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

use super::{BURST, Opened, socket};
use crate::{
    config::model::Timeouts,
    observe::log::{Cause, Phase, Termination},
    proxy::{
        connect::ConnectError,
        dispatch::{DispatchError, Trace, count_move, slot},
        session::{Found, Outcome, Session, millis},
        tcp::failure,
    },
    topology::{Backend, Connection, Peer, Server},
};

/// Idle time of every flow once the worker stops: UDP has no end that could be waited for.
const STOPPING_IDLE: Duration = Duration::from_secs(2);
/// Bytes after which a flow is counted while it lasts.
const COUNT_BYTES: u64 = 64 * 1024;
/// Time after which it is counted at the next datagram in any case.
const COUNT_TIME: Duration = Duration::from_secs(1);

/// Carries a flow to its end, counts and logs it.
pub(super) async fn run(opened: &Opened) {
    let (worker, frontend) = (&opened.worker, opened.place.frontend());
    let session = Session {
        tls: false,
        shared: &worker.shared,
        frontend,
        client: opened.key.0.into(),
        destination: Some(Peer::Inet((opened.key.1, opened.relay.bound.port()).into())),
        accepted: opened.accepted,
        accepted_at: opened.accepted_at,
    };
    let mut trace = Trace::default();
    let Some(backend) = frontend.default_backend() else {
        let outcome = failure(&DispatchError::NoServer);
        session.log(None, &trace, &outcome, Found::default());
        return;
    };
    let clock = worker.shared.topology.clock;
    let visit = backend.enter(clock.at(opened.accepted));
    let served = tokio::select! {
        biased;
        served = serve(opened, backend, &mut trace) => served,
        () = opened.flow.eviction.notified() => {
            Ok(Termination::new(Cause::Resource, Phase::Data))
        }
    };
    let termination = match served {
        Ok(termination) => termination,
        Err(error) => {
            backend.counters.connect_errors.inc();
            failure(&error).termination
        }
    };
    let (bytes_in, bytes_out) = opened.flow.bytes();
    let outcome = Outcome {
        termination,
        bytes_in,
        bytes_out,
        broken: false,
    };
    session.count(backend, trace.server.as_deref(), &outcome);
    drop(visit);
    session.log(Some(backend), &trace, &outcome, Found::default());
}

/// Tries servers until one does not refuse, each at most once unless there are no others, as often as `retries` allows.
/// No pause and no `redispatch`: what was refused, nobody has seen.
async fn serve(
    opened: &Opened,
    backend: &Arc<Backend>,
    trace: &mut Trace,
) -> Result<Termination, DispatchError> {
    let clock = opened.worker.shared.topology.clock;
    let client = opened.key.0;
    let mut refused: Vec<usize> = Vec::new();
    let told = Cell::new((0, 0));
    let mut left: Option<Arc<Server>> = None;
    loop {
        let start = Instant::now();
        let slot = slot(backend, client, None, &refused, trace).await?;
        let server = Arc::clone(slot.server());
        let assigned = Instant::now();
        trace.queued = Some(assigned - start);
        trace.server = Some(Arc::clone(&server));
        let distributions = &backend.counters.distributions;
        distributions.queue.record(assigned - start);
        backend.counters.times.queue.add(millis(assigned - start));
        server.counters.times.queue.add(millis(assigned - start));
        if let Some(left) = left.take() {
            count_move(backend, &left, &server, trace);
        }
        server.count_session(clock.at(assigned));
        // The file gives no unix sockets to frontends with datagrams.
        let address = server.address().inet();
        let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported));
        let error = match address.and_then(|to| socket::to_server(to, server.config.source)) {
            Ok(socket) => {
                trace.connected = Some(assigned.elapsed());
                match carry(opened, (backend, &told), &slot, socket).await {
                    Ended::Refused => {
                        ConnectError::Refused(io::ErrorKind::ConnectionRefused.into())
                    }
                    Ended::As(termination) => return Ok(termination),
                }
            }
            Err(error) => error.into(),
        };
        trace.connected = None;
        if trace.retries >= backend.config.retries || matches!(error, ConnectError::Resource(_)) {
            server.counters.connect_errors.inc();
            return Err(error.into());
        }
        trace.retries += 1;
        refused.extend(backend.place_of(&server));
        left = Some(server);
    }
}

/// How a flow's time with a server ended.
enum Ended {
    /// Nobody listens there, and nothing was answered.
    Refused,
    /// The flow is over.
    As(Termination),
}

/// Carries datagrams both ways.
async fn carry(
    opened: &Opened,
    (backend, told): (&Backend, &Cell<(u64, u64)>),
    slot: &Connection,
    socket: UdpSocket,
) -> Ended {
    let flow = &opened.flow;
    let socket = Rc::new(socket);
    flow.assign(Rc::clone(&socket));
    let counted = Counted::new(opened, (backend, told), slot.server());
    let mut idle = Timeouts::kernel_idle(
        &opened.place.frontend().config.timeouts,
        &backend.config.timeouts,
    );
    // Who has not refused by then has the datagrams, or they are lost.
    let held_until = Instant::now() + backend.config.timeouts.connect;
    let mut timer = std::pin::pin!(tokio::time::sleep(
        idle.min(backend.config.timeouts.connect)
    ));
    let mut shut_down = std::pin::pin!(slot.ended());
    let mut stopping = std::pin::pin!(opened.worker.stopping());
    let mut stopped = false;
    let ended = loop {
        tokio::select! {
            ready = socket::readable(&socket) => {
                if ready.is_err() {
                    break Ended::As(Termination::new(Cause::Internal, Phase::Data));
                }
                if let Some(ended) = from_server(opened, &socket) {
                    break ended;
                }
            }
            ready = readable(flow.own.as_ref()) => {
                if ready.is_err() || !from_client(opened) {
                    break Ended::As(Termination::new(Cause::Client, Phase::Data));
                }
            }
            () = flow.refusal.notified() => {
                // It may be of a server before this one.
                if flow.is_refused() {
                    break refused(opened);
                }
            }
            () = &mut shut_down => {
                let cause = match slot.server().gives_way() {
                    true => Cause::Up,
                    false => Cause::Down,
                };
                break Ended::As(Termination::new(cause, Phase::Complete));
            }
            () = &mut stopping, if !stopped => {
                stopped = true;
                idle = idle.min(STOPPING_IDLE);
                timer.as_mut().reset((flow.moved() + idle).into());
            }
            () = &mut timer => {
                let now = Instant::now();
                if now >= held_until {
                    flow.let_go();
                }
                let over = flow.moved() + idle;
                if now >= over {
                    break Ended::As(Termination::NORMAL);
                }
                let next = if flow.holds() { over.min(held_until) } else { over };
                timer.as_mut().reset(next.into());
            }
        }
        counted.count(false);
    };
    flow.leave();
    ended
}

async fn readable(own: Option<&UdpSocket>) -> io::Result<()> {
    match own {
        Some(own) => socket::readable(own).await,
        None => pending().await,
    }
}

/// Takes what the server has sent.
fn from_server(opened: &Opened, server: &UdpSocket) -> Option<Ended> {
    let mut buffer = opened.worker.udp.buffer();
    for _ in 0..BURST {
        match socket::receive(server, &mut buffer) {
            Ok(envelope) => {
                if opened
                    .flow
                    .back(&opened.relay.socket, &buffer[..envelope.length])
                    .is_err()
                {
                    return Some(Ended::As(Termination::new(Cause::Client, Phase::Data)));
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return None,
                io::ErrorKind::ConnectionRefused => return Some(refused(opened)),
                // A router's word on one datagram.
                _ => {}
            },
        }
    }
    None
}

/// Takes what the client has sent to the flow's own socket; whether it still listens.
fn from_client(opened: &Opened) -> bool {
    let (client, ip) = opened.key;
    let Some(own) = &opened.flow.own else {
        return true;
    };
    let mut buffer = opened.worker.udp.buffer();
    for _ in 0..BURST {
        match socket::receive(own, &mut buffer) {
            Ok(envelope) if socket::canonical(envelope.client) == client => {
                opened.flow.forward(&buffer[..envelope.length]);
            }
            // It came between bind and connect, and is of another flow.
            Ok(envelope) => opened
                .relay
                .take_strayed(&buffer[..envelope.length], envelope, ip),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return true,
                io::ErrorKind::ConnectionRefused => return false,
                _ => {}
            },
        }
    }
    true
}

/// Nobody listens at the server. A flow that had answers is over with it: its client's next datagram opens a new one.
fn refused(opened: &Opened) -> Ended {
    if opened.flow.is_answered() {
        Ended::As(Termination::new(Cause::Server, Phase::Data))
    } else {
        Ended::Refused
    }
}

/// What of a flow's bytes statistics know.
struct Counted<'a> {
    opened: &'a Opened,
    backend: &'a Backend,
    server: &'a Server,
    /// What the frontend and the backend know, to whom a datagram that one server after the other was given is one.
    told: &'a Cell<(u64, u64)>,
    bytes: Cell<(u64, u64)>,
    at: Cell<Instant>,
}

impl<'a> Counted<'a> {
    fn new(
        opened: &'a Opened,
        (backend, told): (&'a Backend, &'a Cell<(u64, u64)>),
        server: &'a Server,
    ) -> Self {
        Self {
            opened,
            backend,
            server,
            told,
            bytes: Cell::new((0, 0)),
            at: Cell::new(Instant::now()),
        }
    }

    /// Tells statistics of what has come, at the `end` or if it is worth it.
    fn count(&self, end: bool) {
        let now = self.opened.flow.bytes();
        let before = self.bytes.get();
        let (bytes_in, bytes_out) = (now.0 - before.0, now.1 - before.1);
        let moved = self.opened.flow.moved();
        let due = bytes_in + bytes_out >= COUNT_BYTES
            || moved.saturating_duration_since(self.at.get()) >= COUNT_TIME;
        if bytes_in + bytes_out == 0 || !(end || due) {
            return;
        }
        let (frontend, backend, server) = (
            &self.opened.place.frontend().counters,
            &self.backend.counters,
            &self.server.counters,
        );
        server.bytes_in.add(bytes_in);
        server.bytes_out.add(bytes_out);
        let told = self.told.replace(now);
        for counters in [&frontend.bytes_in, &backend.bytes_in] {
            counters.add(now.0 - told.0);
        }
        for counters in [&frontend.bytes_out, &backend.bytes_out] {
            counters.add(now.1 - told.1);
        }
        self.bytes.set(now);
        self.at.set(moved);
    }
}

/// However it ends.
impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count(true);
    }
}
