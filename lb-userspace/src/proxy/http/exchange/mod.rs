//! One request, from its head to the head of its answer.

mod again;
pub(super) mod context;
pub(in crate::proxy) mod facts;
mod failing;
mod leaving;
mod line;
mod links;
mod monitor;
mod naming;
mod own;
pub(super) mod page;
mod patience;
mod persist;
mod resolving;
pub(super) mod rules;
mod send;
mod slow;
mod statistics;
mod stick;
mod tally;
mod waiting;

use std::{fmt, future::poll_fn, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{
    Method, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, EXPECT},
    request,
};
use send::Answered;

use super::{
    answer::Answer,
    body::{self, Inbound, RequestBody, ResponseBody},
    client::{Client, Upload, Wait},
    fields::Fields,
    forward, forwarded, invalid,
    message::Message,
    plan::Target,
    tunnel::{Rest, Tunnel},
};
use crate::{
    observe::log::{Cause, CookieSeen, CookieSet, Phase},
    proxy::tcp::relay::Idle,
    rules::Awaited,
};

/// How long a body is held back for the server's `100 Continue`.
const CONTINUE: Duration = Duration::from_secs(1);

/// Why a request has no answer of a server's.
enum Failure {
    /// It gets ours with this status, and the connection goes on.
    Status(StatusCode),
    /// It gets this one, and the connection goes on.
    Answer(Box<Answer>),
    /// It gets ours with this status, with which the connection ends: it was no request, or not all of one, so whatever
    /// follows could not be told apart from it.
    Refuse(StatusCode),
    /// The connection ends, with our answer of this status if the client is still there to read it.
    Close(Option<StatusCode>),
}

/// The connection ends here; what is left to say is written when hyper is done with it.
#[derive(Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed after this request")
    }
}

impl std::error::Error for Closed {}

/// What of the request its answer depends on.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
}

/// Answers one request.
pub(super) async fn serve(
    client: Rc<Client>,
    head: Box<request::Parts>,
    body: Inbound,
) -> Result<Response<ResponseBody>, Closed> {
    if client.is_carrying_on() {
        // The request before is not all with its server yet.
        poll_fn(|cx| client.poll_rest(cx)).await;
    }
    client.begin();
    tally::count_request(&client);
    let frontend = &client.frontend().counters.http;
    frontend.requests.inc();
    frontend.request_rate.tick(client.now_ms());

    let asked = Asked {
        method: head.method.clone(),
        version: head.version,
        keep_alive: head.version != Version::HTTP_10 || forward::asks_keep_alive(&head.headers),
    };
    // What is logged of an answer of ours is what it stands for, whatever the page's own status is.
    let mut meant = None;
    let mut response = match forward_to_backend(&client, head, body, &asked).await {
        Ok(response) => response,
        Err(failure) => {
            let answer = ours(&client, failure)?;
            meant = answer.meant;
            answered(&client, answer, &asked)
        }
    };
    let old = asked.version == Version::HTTP_10;
    let closes = client.closes() && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if closes || (old && ends_with_connection(&response, &asked)) {
        forward::say_whether_kept(response.headers_mut(), false);
        if old {
            // hyper would say of one of 1.1 that it is kept as well.
            *response.version_mut() = Version::HTTP_10;
        }
    }
    let status = meant.unwrap_or_else(|| response.status());
    let mut exchange = client.exchange();
    exchange.status = Some(status.as_u16());
    exchange.log_early(&client);
    drop(exchange);
    client.answering();
    Ok(response)
}

/// Whether a client that speaks HTTP/1.0 learns only by the end of the connection where the answer ends.
fn ends_with_connection(response: &Response<ResponseBody>, asked: &Asked) -> bool {
    use http_body::Body;

    asked.method != Method::HEAD
        && !forward::is_bodyless(response.status())
        && !response.headers().contains_key(CONTENT_LENGTH)
        && response.body().size_hint().exact().is_none()
}

/// The answer of ours that a request without a server's gets, unless the connection ends instead.
fn ours(client: &Client, failure: Failure) -> Result<Answer, Closed> {
    let answer = match failure {
        Failure::Status(status) => client.answer(status),
        Failure::Answer(answer) => *answer,
        Failure::Refuse(refusal) => {
            let mut exchange = client.exchange();
            exchange.release();
            exchange.terminate(Cause::Proxy, Phase::Request);
            exchange.refuse(refusal.as_u16());
            client.refusal.set(Some(refusal));
            return Err(Closed);
        }
        Failure::Close(refusal) => {
            let mut exchange = client.exchange();
            exchange.release();
            exchange.status = refusal.map(|status| status.as_u16()).or(exchange.status);
            client.refusal.set(refusal);
            return Err(Closed);
        }
    };
    if answer.silent {
        let mut exchange = client.exchange();
        exchange.release();
        exchange.status = Some(answer.meant.unwrap_or(answer.status).as_u16());
        return Err(Closed);
    }
    Ok(answer)
}

/// An answer of ours as a response.
fn answered(client: &Rc<Client>, answer: Answer, asked: &Asked) -> Response<ResponseBody> {
    let (response, body) = answer.into_response();
    let (mut head, ()) = response.into_parts();
    let before = head.status;
    rules::after(client, &mut head);
    forward::restated(&mut head, before, None);
    let body = match forward::is_bodyless(head.status) {
        true => Bytes::new(),
        false => body,
    };
    let mut response = Response::from_parts(head, ResponseBody::local(client, body));
    if asked.version == Version::HTTP_10 {
        forward::say_whether_kept(response.headers_mut(), asked.keep_alive);
    } else if client.upload() != Upload::Done {
        // Nobody reads the rest of the request, so the next one's beginning could not be told.
        forward::say_whether_kept(response.headers_mut(), false);
    }
    client.exchange().release();
    response
}

async fn forward_to_backend(
    client: &Rc<Client>,
    mut head: Box<request::Parts>,
    mut body: Inbound,
    asked: &Asked,
) -> Result<Response<ResponseBody>, Failure> {
    let fields = forward::check(&head).map_err(Failure::Refuse)?;
    client.exchange().accept(&head, client.now());
    forward::to_http_1(&mut head, fields, body.is_end_stream());
    rules::capture(client, &head);
    if let Some(answer) = monitor::answer(client, &head) {
        Box::pin(RequestBody::new(body, client).drain()).await;
        return Err(Failure::Answer(Box::new(answer)));
    }
    let upgrade = forward::leave_connection(&mut head, fields);
    let shared = &client.worker.shared;
    let told = forwarded::receive(client, &shared.http, &mut head);
    let (target, fields) =
        match rules::route(client, &shared.http, &mut head, (fields, &mut body)).await {
            Ok(routed) => routed,
            Err(failure) => {
                let mut body = RequestBody::new(body, client);
                // Whoever waits for a `100 Continue` learns from the answer that nobody wants the body, unless rules have
                // waited for it: then it is on its way.
                if !fields.any(Fields::EXPECT) || client.interim.get() {
                    Box::pin(body.drain()).await;
                }
                return Err(failure);
            }
        };
    let mut holder = persist::read(client, target, fields, &mut head.headers);
    if let Some(server) = rules::server(client, target) {
        holder = Some(server);
        client.exchange().ignore_cookie();
    }
    let (holder, remembering) = stick::find(client, target, &head, holder);
    forward::request(&mut head, fields);
    forwarded::tell(client, target, told, &mut head.headers);

    let mut body = RequestBody::new(body, client);
    if fields.any(Fields::EXPECT) && expects_continue(&head, asked) {
        body.hold(client.now() + CONTINUE);
    }
    if let Some(phase) = client.gone.get() {
        // No server is asked what nobody waits for.
        client.exchange().terminate(Cause::Client, phase);
        return Err(Failure::Close(None));
    }
    let request = Message::from_parts(head, body);
    let answered = send::run(client, target, holder, request).await?;
    stick::store(client, target, remembering, &answered.response);
    match answered.response.status() {
        StatusCode::SWITCHING_PROTOCOLS if upgrade => {
            Box::pin(switch(client, target, answered, asked)).await
        }
        _ => answer(client, target, answered, asked).await,
    }
}

/// The server has switched protocols, as the client has asked it to: the connection becomes a tunnel once the client
/// has been told. Rules may change or deny the answer, but not its status: what follows is not HTTP.
async fn switch(
    client: &Rc<Client>,
    target: &Target,
    Answered {
        response,
        lease,
        direct,
        ..
    }: Answered,
    asked: &Asked,
) -> Result<Response<ResponseBody>, Failure> {
    let (mut head, incoming) = response.into_parts();
    // A request that goes on after the answer to it could not be told from what is to follow.
    let complete = client.upload() == Upload::Done && forward::switching(&mut head);
    client.exchange().settle();
    let Some((server, early)) = lease.into_switched(incoming).filter(|_| complete) else {
        return Err(failing::server_failed(client, Cause::Proxy));
    };
    let fields = Fields::of(&head.headers);
    let mut reached = rules::Responding::default();
    let fields = loop {
        match rules::respond(client, target, &mut head, fields, &mut reached)? {
            rules::Turn::Done(fields) => break fields,
            // What follows is no body.
            rules::Turn::Await(_) => {}
        }
    };
    persist::write(client, target, &asked.method, &mut head, fields, direct);
    rules::after(client, &mut head);
    forward::switched(&mut head);
    client.exchange().stage = Phase::Data;
    let shut_down = client.exchange().take_shut_down();
    client.tunnel.set(Some(Box::new(Tunnel {
        server,
        rest: Rest {
            early,
            idle: {
                let timeouts = &target.backend.config.timeouts;
                let frontend = &client.frontend().config;
                let time = patience::of_rules(client, Awaited::Tunnel).or(timeouts.upgraded);
                Idle {
                    server: time.unwrap_or_else(|| patience::of_server(client, target)),
                    client_fin: frontend.timeouts.client_fin,
                    server_fin: timeouts.server_fin,
                    client_alone: frontend.habits.independent,
                    ends_with_server: true,
                    ..Idle::both(time.unwrap_or(frontend.timeouts.client))
                }
            },
            shut_down,
        },
    })));
    Ok(Response::from_parts(head, ResponseBody::switched(client)))
}

/// Whether the client waits for `100 Continue` before it sends the body.
fn expects_continue(head: &request::Parts, asked: &Asked) -> bool {
    asked.version != Version::HTTP_10
        && head
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Turns a server's response into the client's.
async fn answer(
    client: &Rc<Client>,
    target: &Target,
    Answered {
        response,
        fields,
        mut lease,
        direct,
    }: Answered,
    asked: &Asked,
) -> Result<Response<ResponseBody>, Failure> {
    if response.version() == Version::HTTP_10 {
        // Who speaks 1.0 may not understand the next request's chunked body.
        lease.use_up();
    }
    let (mut head, mut incoming) = response.into_parts();
    let client_is = (asked.version, asked.keep_alive);
    let Some(length) = forward::response(&mut head, fields, client_is) else {
        failing::note_invalid(client, target, invalid::written(&head));
        return Err(failing::server_failed(client, Cause::Proxy));
    };
    if client.is_held() && !head.status.is_success() {
        // The client will not send the body now, so that the next request's beginning could not be told.
        client.hold_until(None);
        client.set_upload(Upload::Unwanted);
        forward::say_whether_kept(&mut head.headers, false);
    }
    let status = head.status;
    let mut reached = rules::Responding::default();
    let fields = loop {
        if waiting::is_looked_at(client, target) {
            Box::pin(waiting::show(client, (&mut incoming, &mut lease), &head)).await;
        }
        match rules::respond(client, target, &mut head, fields, &mut reached)? {
            rules::Turn::Done(fields) => break fields,
            // Boxed so that others do not carry its state around.
            rules::Turn::Await(wait) => {
                Box::pin(waiting::wait(
                    client,
                    target,
                    (&mut incoming, &mut lease),
                    wait,
                ))
                .await?;
            }
        }
    };
    persist::write(client, target, &asked.method, &mut head, fields, direct);
    rules::after(client, &mut head);
    let declared = forward::restated(&mut head, status, length.declared);
    if fields.any(Fields::TRAILER) && asked.version == Version::HTTP_11 {
        client.announce(&head.headers);
    }
    client.exchange().stage = Phase::Data;
    let closes = client
        .rules
        .borrow()
        .as_ref()
        .is_some_and(|rules| rules.closes_server());
    if closes {
        lease.use_up();
    }

    let is_free = lease.is_free(&incoming);
    if !is_free {
        client.wait_for(Wait::Body(patience::of_server(client, target)));
    }
    if is_free || incoming.is_end_stream() {
        // All of it is here already: the server need not wait for the client to take it.
        body::complete(Some(lease), client);
        let body = match declared {
            Some(length) if asked.method != Method::HEAD => ResponseBody::declared(client, length),
            _ => ResponseBody::server(client, incoming, None),
        };
        return Ok(Response::from_parts(head, body));
    }
    let mut body = ResponseBody::server(client, incoming, Some(lease));
    if closes {
        body.cut();
    }
    Ok(Response::from_parts(head, body))
}
