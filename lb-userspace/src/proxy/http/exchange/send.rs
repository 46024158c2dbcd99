//! Getting a request answered by a server.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Response, Version};

use super::{
    Failure, again::Copy, context::Heard, failing, leaving, own, patience, persist, rules,
};
use crate::{
    config::model::{ConnectionMode, Protocol, Reuse},
    observe::log::{Cause, Phase},
    proxy::{
        connect::{Own, Way},
        dispatch::{self, DispatchError, Trace},
        http::{
            body::Inbound,
            client::{Client, Expired, Upload, Wait},
            fields::Fields,
            h1,
            h2::{self, Chosen, NotAsked, Unanswered},
            message::{Message, Repeatable},
            plan::Target,
            upstream::{Coming, Lease, Place, Upstream},
        },
        retry::{self, Next},
    },
    topology::{Asking, Connection, Server},
};

/// A server's answer.
pub(super) struct Answered {
    pub(super) response: Response<Inbound>,
    /// Which fields that concern a proxy it has.
    pub(super) fields: Fields,
    /// The connection that its body comes by.
    pub(super) lease: Lease,
    /// Whether the client's cookie was why this server was asked.
    pub(super) direct: bool,
}

/// Gets `request` answered by a server of `target`, by `holder` if it can be.
pub(super) async fn run(
    client: &Rc<Client>,
    target: &Target,
    holder: Option<Arc<Server>>,
    mut request: Message,
) -> Result<Answered, Failure> {
    let form = rules::form(client, target, request.method());
    let asking = Asking::of_request(
        client.source(),
        &target.backend.config,
        request.uri(),
        request.headers(),
        &form,
    );
    let mut trace = Trace {
        forced: persist::said(client) == Some(true),
        priority: patience::priority(client),
        ..Trace::default()
    };
    let mut preferred = holder.clone().or_else(|| own::last(client, target));
    client.watch_for_leaving(target.backend.config.connections.abort_on_close);
    let retry_on = &target.backend.config.retry_on;
    let keeps = retry_on.keeps_requests() && !is_sent_once(client);
    let copy = Copy::of(&mut request, keeps);
    // What the server has not looked at, or may do twice, is sent once more where the file lets anything be tried again.
    let tries_again = |trace: &Trace| {
        let again = retry_on.connection && trace.retries < target.backend.config.retries;
        again && !is_sent_once(client)
    };
    // What `retry_on` tries again is not tried again beside it.
    let covered = copy.is_some() && retry_on.empty;
    let mut anew = target.backend.config.connections.reuse == Reuse::Safe
        && client.is_first()
        && !(covered || request.may_be_repeated() && tries_again(&trace));
    let mut repeated = false;
    loop {
        client.exchange().stage = Phase::Connect;
        let started = client.now();
        let wanted = Wanted {
            client,
            target,
            asking,
            preferred: preferred.as_ref(),
            request: &request,
            anew,
        };
        let reached = match wanted.at_once(&mut trace) {
            Ok(reached) => Some(Ok(reached)),
            // Boxed so that requests that need not wait do not carry its state around.
            Err(had) => {
                trace.had = had;
                let mut way = leaving::OnTheWay::new(client, &mut trace, started);
                let mut reach = Box::pin(wanted.reach(way.trace()));
                let reached = leaving::unless_left(client, reach.as_mut()).await;
                drop(reach);
                way.ends();
                reached
            }
        };
        let Some(reached) = reached else {
            return Err(leaving::given_up(client, &mut trace, started));
        };
        if matches!(reached, Err(DispatchError::QueueTimeout)) {
            trace.queued = Some(client.now().saturating_duration_since(started));
        }
        client.exchange().note(&mut trace);
        let (slot, lease) = match reached {
            Ok(reached) => reached,
            Err(error) => {
                Box::pin(request.body_mut().drain()).await;
                return Err(failing::unavailable(client, &error));
            }
        };
        let server = Arc::clone(slot.server());
        if let Some(name) = &target.backend.config.connections.name_header
            && let Ok(value) = HeaderValue::from_str(&server.name)
        {
            request.headers_mut().insert(name, value);
        }
        client.exchange().assign(slot);
        client.exchange().goes_by(lease.meter());
        let fresh = lease.is_fresh();
        let unread = tries_again(&trace);
        let repeatable = Repeatable {
            unread,
            read: unread && !covered,
        };
        let sent = send(client, target, lease, request, repeatable).await;
        let again = copy
            .as_ref()
            .filter(|copy| copy.may_go(client, retry_on, &sent));
        let next = again.map(|copy| (copy, next(client, target, &holder, &server, &trace)));
        if let Some((copy, Some(elsewhere))) = next {
            trace.retries += 1;
            let mut exchange = client.exchange();
            exchange.release();
            exchange.responded = None;
            if elsewhere {
                trace.left = Some(server);
                preferred = None;
            } else {
                exchange.count_repeat();
                preferred = Some(server);
            }
            drop(exchange);
            request = copy.request(client);
            continue;
        }
        match sent {
            Sent::Answered(response, fields, lease) => {
                client.server_active();
                client.exchange().heard = Heard::Status(response.status().as_u16());
                let direct = holder.is_some_and(|holder| Arc::ptr_eq(&holder, &server));
                return Ok(Answered {
                    response,
                    fields,
                    lease,
                    direct,
                });
            }
            Sent::Failed(trouble) => return Err(failing::failed(client, trouble)),
            Sent::Not(_) if fresh || repeated => {
                return Err(failing::server_failed(client, Cause::Server));
            }
            // The server had just closed an idle connection, or takes no more on one that is shared. Once, on a new
            // connection: what it does not take there it will not take elsewhere.
            Sent::Not(unsent) => {
                (repeated, anew) = (true, true);
                trace.retries += 1;
                let holds = |holder: &Arc<Server>| Arc::ptr_eq(holder, &server);
                trace.balanced = !holder.as_ref().is_some_and(holds);
                client.exchange().count_repeat();
                client.exchange().release();
                request = unsent;
                preferred = Some(server);
            }
        }
    }
}

/// Whether a rule says so.
fn is_sent_once(client: &Client) -> bool {
    let rules = client.rules.borrow();
    rules.as_ref().is_some_and(|rules| rules.is_sent_once())
}

/// What is done after a server has spoilt a request that may be sent again: `None` is nothing, else whether another
/// server is asked.
fn next(
    client: &Client,
    target: &Target,
    holder: &Option<Arc<Server>>,
    server: &Arc<Server>,
    trace: &Trace,
) -> Option<bool> {
    let backend = &target.backend;
    let failed = retry::Failed {
        retries: trace.retries,
        direct: holder
            .as_ref()
            .is_some_and(|holder| Arc::ptr_eq(holder, server)),
        server_up: server.is_up(),
        // It has cost its time, and there is no pause.
        timed_out: true,
        active_servers: backend.servers_up().0,
    };
    match retry::again(&backend.config, failed) {
        _ if client.upload() != Upload::Done => None,
        Next::GiveUp => None,
        Next::Same(_) => Some(false),
        Next::Other(_) => Some(true),
    }
}

/// A connection that a request is to go by.
struct Wanted<'a> {
    client: &'a Client,
    target: &'a Target,
    asking: Asking,
    preferred: Option<&'a Arc<Server>>,
    request: &'a Message,
    /// It has to be a new one.
    anew: bool,
}

impl Wanted<'_> {
    /// What [`reach`](Self::reach) comes to where nothing has to be waited for, as most have it: a slot that is free, and
    /// a connection of HTTP/1 that is idle. Otherwise the slot, if there is one.
    fn at_once(&self, trace: &mut Trace) -> Result<(Connection, Lease), Option<Connection>> {
        let backend = &self.target.backend;
        let slot = dispatch::at_once(backend, self.asking, self.preferred, trace).ok_or(None)?;
        let server = slot.server();
        if self.anew || matches!(server.config.protocol, Protocol::H2 | Protocol::Auto) {
            return Err(Some(slot));
        }
        let place = place(self.target, server);
        let own = own::of(self.client, self.target, server, place, self.request);
        match self.idle(place, own.as_deref()) {
            None => Err(Some(slot)),
            Some(idle) => {
                dispatch::note_at_once(backend, server, self.client.now_ms(), trace);
                Ok((slot, Lease::new(idle, place)))
            }
        }
    }

    /// A connection that is idle.
    fn idle(&self, place: Option<Place>, own: Option<&Own>) -> Option<Box<Upstream>> {
        let worker = &self.client.worker;
        worker.http.pool.take(worker, place?, own)
    }

    /// A slot of a server and a connection to it, one that there is if it need not be made anew.
    async fn reach(&self, trace: &mut Trace) -> Result<(Connection, Lease), DispatchError> {
        let (client, target, anew) = (self.client, self.target, self.anew);
        let timeout = target.backend.config.timeouts.connect;
        let clock = client.worker.shared.topology.clock;
        let pool = &client.worker.http.pool;
        let upgrade = h2::is_upgrade(self.request.headers());
        let to_server = async |server: &Arc<Server>| {
            let place = place(target, server);
            // What nobody looks at again: what is made for this request ends with it.
            let apart = h2::Pool::default();
            let (shared, at) = match place {
                Some(place) => (&pool.shared, place),
                None => (&apart, Place::default()),
            };
            let own = own::of(client, target, server, place, self.request);
            let way = |own| Way {
                server: Arc::clone(server),
                timeout,
                own,
                http_1: upgrade,
                speaks: true,
                wants: client.worker.shared.wants_of_servers(),
            };
            let protocol = server.config.protocol;
            if protocol == Protocol::H2 {
                // Before it is waited for: whoever waits may leave.
                pool.keep_tidy(&client.worker);
                let lease = shared.lease(at, way(own), anew).await?;
                return Ok(Lease::shared(lease, place));
            }
            // As HAProxy has it: a server that may choose gets HTTP/1 where that is how the protocol is changed.
            if protocol == Protocol::Auto
                && !anew
                && !upgrade
                && let Some(lease) = shared.find(at, own.as_deref(), timeout).await
            {
                return Ok(Lease::shared(lease, place));
            }
            let idle = match anew {
                true => None,
                false => self.idle(place, own.as_deref()),
            };
            let upstream = match idle {
                Some(idle) => idle,
                None => {
                    let way = way(own);
                    let coming = Coming::to(server);
                    // Boxed so that requests on idle connections do not carry its state around.
                    let chooses = protocol == Protocol::Auto && server.tls.is_some() && !upgrade;
                    let stream = if !chooses {
                        Box::pin(way.clone().connect()).await?
                    } else {
                        pool.keep_tidy(&client.worker);
                        match Box::pin(shared.choose(at, way.clone())).await? {
                            Chosen::Http1(stream) => stream,
                            Chosen::Http2(lease) => return Ok(Lease::shared(lease, place)),
                        }
                    };
                    Upstream::over(stream, way, coming)
                }
            };
            Ok(Lease::new(upstream, place))
        };
        dispatch::dispatch(
            &target.backend,
            self.asking,
            self.preferred,
            clock,
            || client.now(),
            trace,
            to_server,
        )
        .await
    }
}

/// Where connections to a server are kept; nowhere if only a later configuration has it.
fn place(target: &Target, server: &Server) -> Option<Place> {
    let place = target.backend.place_of(server)?;
    Some(Place {
        // No file has as many.
        backend: target.index as u32,
        server: place as u32,
        moves: server.moves(),
    })
}

/// What came of giving a request to a connection.
pub(super) enum Sent {
    Answered(Response<Inbound>, Fields, Lease),
    /// It may be sent once more: not a byte of it was written, or the server does not answer it.
    Not(Message),
    Failed(Trouble),
}

async fn send(
    client: &Rc<Client>,
    target: &Target,
    mut lease: Lease,
    mut request: Message,
    repeatable: Repeatable,
) -> Sent {
    let connected = client.now();
    client.exchange().stage = Phase::Headers;
    client.server_active();
    client.wait_for(Wait::Response(patience::of_server(client, target)));
    let understands = request.version() != Version::HTTP_10;
    let outcome = match lease.http1() {
        Ok(upstream) => {
            if client.connection_mode() > ConnectionMode::KeepAlive
                && !h2::is_upgrade(request.headers())
            {
                let told = !target.backend.config.http.pretend_keep_alive;
                upstream.close_after(&mut request, told);
            }
            upstream.send(request, repeatable.read);
            wait(client, |cx| {
                loop {
                    upstream.drive(cx);
                    let mut more = false;
                    while let Some(interim) = upstream.take_interim() {
                        client.interim_came(interim, understands);
                        more = true;
                    }
                    // The body may go on now.
                    if !more {
                        break;
                    }
                }
                match upstream.take_answer() {
                    None => Poll::Pending,
                    Some(Ok((response, fields))) => {
                        Poll::Ready(Ok((response.map(Inbound::Server), fields)))
                    }
                    Some(Err(failed)) => Poll::Ready(Err(failed.into())),
                }
            })
            .await
        }
        Err(shared)
            if h2::is_upgrade(request.headers())
                && !Box::pin(switches(client, target, shared)).await =>
        {
            Err(Trouble::Unswitchable)
        }
        Err(shared) => match shared.ask(client, request, repeatable) {
            Ok(mut ask) => {
                wait(client, |cx| {
                    lease.drive(cx);
                    while let Some(interim) = ask.poll_interim(cx) {
                        client.interim_came(interim, understands);
                        lease.drive(cx);
                    }
                    ask.poll(client, cx)
                        .map_ok(|response| {
                            let fields = Fields::of(response.headers());
                            (response, fields)
                        })
                        .map_err(|why| match why {
                            Unanswered::Unseen(request) => Trouble::Unsent(request),
                            Unanswered::Reset => Trouble::Reset,
                            Unanswered::Malformed => Trouble::Malformed,
                        })
                })
                .await
            }
            Err(NotAsked::Closed(unsent)) => Err(Trouble::Unsent(unsent)),
            Err(NotAsked::Unsendable) => Err(Trouble::Unsendable),
        },
    };
    let wants = client.worker.shared.wants_of_servers();
    if wants.local {
        client.exchange().local = lease.local();
    }
    if wants.tls {
        client.exchange().server_tls = lease.tls();
    }
    client.exchange().is_http2 = lease.is_http2();
    client.wait_for(Wait::Nothing);
    match outcome {
        Ok((response, fields)) => {
            client.exchange().responded = Some(client.now().saturating_duration_since(connected));
            own::answered(client, target, &mut lease, &response);
            Sent::Answered(response, fields, lease)
        }
        Err(Trouble::Malformed) => {
            if client.upload() != Upload::Malformed && !lease.is_http2() {
                failing::note_invalid(client, target, lease.into_unread().into());
            }
            Sent::Failed(Trouble::Malformed)
        }
        Err(Trouble::Unsent(request)) => {
            // Who refuses one request there refuses the next.
            lease.use_up();
            client.exchange().settle();
            Sent::Not(request)
        }
        Err(trouble) => Sent::Failed(trouble),
    }
}

/// Whether a server of HTTP/2 carries other protocols. One that does not say so in time does not.
async fn switches(client: &Client, target: &Target, lease: &h2::Lease) -> bool {
    let mut asked = pin!(lease.switches());
    let timeout = tokio::time::sleep(target.backend.config.timeouts.connect);
    let mut timeout = pin!(timeout);
    poll_fn(|cx| match asked.as_mut().poll(cx) {
        Poll::Pending if client.exchange().is_shut_down(cx) => Poll::Ready(false),
        Poll::Pending => timeout.as_mut().poll(cx).map(|()| false),
        told => told,
    })
    .await
}

/// Waits for a response as long as there is any use in it.
async fn wait<T>(
    client: &Client,
    mut response: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Trouble>>,
) -> Result<T, Trouble> {
    poll_fn(|cx| match response(cx) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => match client.expired() {
            Some(whose) => Poll::Ready(Err(Trouble::Expired(whose))),
            None if client.exchange().is_shut_down(cx) => Poll::Ready(Err(Trouble::ShutDown)),
            None if client.has_left() => Poll::Ready(Err(Trouble::Left)),
            None => Poll::Pending,
        },
    })
    .await
}

/// Why there is no response.
pub(super) enum Trouble {
    /// What the server has said is no answer.
    Malformed,
    /// The connection ended before there was an answer.
    Closed,
    /// The request may be sent once more.
    Unsent(Message),
    /// The server's protocol cannot carry it.
    Unsendable,
    /// It asks for another protocol, and the server carries none.
    Unswitchable,
    /// The server, or its connection, ended the stream.
    Reset,
    Expired(Expired),
    /// The server went down, and its sessions end with it.
    ShutDown,
    /// The client does not wait for an answer any more.
    Left,
}

impl From<h1::Failed> for Trouble {
    fn from(failed: h1::Failed) -> Self {
        match failed {
            h1::Failed::Unsent(request) => Self::Unsent(request),
            h1::Failed::Malformed => Self::Malformed,
            h1::Failed::Closed => Self::Closed,
        }
    }
}
