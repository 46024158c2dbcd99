//! One request of a client's connection, from its head to its line in the log.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use h2::Reason;
use http::{Method, Response, StatusCode, Version};

use super::{
    Body, Incoming, Near, connect,
    fields::Refused,
    handles::Outgoing,
    head,
    incoming::Request,
    respond::{End, Responding},
    serve::Connection,
};
use crate::{
    observe::log::{Cause, Phase as Stage},
    proxy::{
        http::{
            answer::Answer,
            body::{Inbound, ResponseBody},
            client::{Client, Leaving, Phase},
            exchange,
            serve::Timer,
        },
        sessions,
    },
};

/// How long a client that has its answer may take to say that its request ends.
const END: Duration = Duration::from_secs(1);

/// Serves a request in a task of its own.
pub(super) fn begin(connection: &Rc<Connection>, request: Request) {
    let connection = Rc::clone(connection);
    let client = Rc::new(connection.client().stream());
    connection.begun(&client);
    let serving = async move {
        let ending = Ending {
            connection: &connection,
            client: &client,
        };
        serve(&client, request).await;
        let unread = client.take_unread();
        drop(ending);
        drop(connection);
        if let Some(unread) = unread {
            see_end(unread).await;
        }
    };
    // A request's state is large, and the runtime moves what it is given several times.
    let serving = Box::pin(serving);
    tokio::task::spawn_local(sessions::along(sessions::present(), serving));
}

/// Counts and logs a head that is no request. The wire has answered it: most with the end of their stream alone, so that
/// the status is 0, as HAProxy logs it. One comes of each head, and a connection ends that brings too many of them.
pub(super) fn refused(connection: &Connection, refused: Refused) {
    connection.client().frontend().counters.http.requests.inc();
    log_refusal(
        connection,
        match refused {
            Refused::Malformed => 0,
            Refused::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16(),
        },
    );
}

/// The same of frames with which the connection ends: they are no request, but HAProxy logs them like one that is none.
pub(super) fn unreadable(connection: &Connection) {
    log_refusal(connection, 0);
}

fn log_refusal(connection: &Connection, status: u16) {
    let client = connection.client().stream();
    client.begin_without_request();
    let mut exchange = client.exchange();
    exchange.terminate(Cause::Proxy, Stage::Request);
    exchange.refuse(status);
    drop(exchange);
    client.end_exchange();
}

/// Closes the books on a request, however it ends.
struct Ending<'a> {
    connection: &'a Connection,
    client: &'a Client,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.client.tick();
        self.client.leave_rest();
        let exchange = self.client.exchange();
        let cancelled = exchange.is_cancelled();
        drop(exchange);
        self.client.leave_killed();
        if self.client.exchange().is_open() {
            self.client.end_exchange();
        }
        self.connection.ended(cancelled, self.client.now());
    }
}

/// Waits a moment for the end of a request that has been answered. If more of it comes the client is to stop: it is told so
/// once the stream is dropped.
async fn see_end(mut unread: Incoming) {
    let next = poll_fn(|cx| unread.poll_data(cx));
    let _ = tokio::time::timeout(END, next).await;
}

/// Drives a request and its one timer.
async fn serve(client: &Rc<Client>, request: Request) {
    let mut answering = pin!(answer(client, request));
    let sleep = pin!(tokio::time::sleep(Duration::MAX));
    let mut timer = Timer::new(sleep);
    poll_fn(|cx| {
        client.tick();
        let mut expired = false;
        loop {
            if answering.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !timer.poll(client.deadline(), client, cx) {
                return Poll::Pending;
            }
            // It answers for itself, once; if it does not, the client does not take what there is.
            match client.phase() {
                Phase::Serving | Phase::Answering if !expired => expired = true,
                Phase::Flushing if client.is_carrying_on() && !expired => expired = true,
                _ => {
                    client.exchange().terminate_here(Cause::ClientTimeout);
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

async fn answer(client: &Rc<Client>, request: Request) {
    let Request {
        asked,
        incoming,
        outgoing,
    } = request;
    client.gone.set(outgoing.begin());
    let mut head = asked.head;
    let switch = asked
        .protocol
        .and_then(|protocol| connect::upgrade(&mut head, protocol));
    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
    client.received(head::request_size(
        head.method.as_str(),
        target,
        &head.headers,
    ));
    let bodyless = head.method == Method::HEAD;
    let (body, bytes) = match &switch {
        None if incoming.is_end_stream() => (Inbound::None, Some(incoming)),
        None => (Inbound::Client(Body::new(incoming, client)), None),
        // What follows is not the request's.
        Some(_) => (Inbound::None, Some(incoming)),
    };
    let answered = {
        let mut serving = pin!(exchange::serve(Rc::clone(client), head, body));
        poll_fn(|cx| {
            let mut served = serving.as_mut().poll(cx);
            if served.is_pending() && outgoing.is_silent() && client.leaving() == Leaving::Watched {
                client.note_leaving();
                served = serving.as_mut().poll(cx);
            }
            let serving = served.map(Some);
            if client.interim.take() {
                let mut interim = Response::new(());
                *interim.status_mut() = StatusCode::CONTINUE;
                outgoing.interim(&interim);
            }
            if client.has_interims() && outgoing.is_taken() {
                for interim in client.take_interims() {
                    outgoing.interim(&interim);
                }
            }
            match serving {
                Poll::Pending if outgoing.poll_broken(cx).is_ready() => Poll::Ready(None),
                serving => serving,
            }
        })
        .await
    };
    match answered {
        Some(Ok(response)) => match switch.zip(bytes) {
            None => send(client, response, bodyless, &outgoing).await,
            Some((proof, bytes)) => switched(client, response, proof, bytes, outgoing).await,
        },
        Some(Err(exchange::Closed)) => match client.refusal.take() {
            Some(refusal) => say(client, client.answer(refusal), bodyless, &outgoing),
            None => outgoing.reset(Reason::CANCEL),
        },
        None => client.exchange().terminate_here(Cause::Client),
    }
}

/// Sends a response to its end.
async fn send(
    client: &Rc<Client>,
    response: Response<ResponseBody>,
    bodyless: bool,
    outgoing: &Outgoing,
) {
    use http_body::Body;

    let (mut head, body) = response.into_parts();
    head.version = Version::HTTP_2;
    client.sent(head::response_size(head.status, &head.headers));
    let ended = bodyless
        || body.is_end_stream()
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let answered = outgoing.answer(head.status, &head.headers, ended);
    drop(head);
    if answered.is_err() {
        client.exchange().terminate_here(Cause::Client);
        return;
    }
    if ended {
        drop(body);
    } else {
        let mut responding = Responding::new(body, outgoing, client);
        match poll_fn(|cx| responding.poll(cx)).await {
            End::Complete => {}
            End::Reset => client.exchange().terminate_here(Cause::Client),
            End::Failed(broken) => outgoing.reset(broken.reason()),
        }
    }
    if client.is_carrying_on() {
        poll_fn(|cx| client.poll_rest(cx)).await;
    }
    // The connection's task writes what there is, before the line is.
    behind_others().await;
}

/// Lets those have their turn that have been woken already.
async fn behind_others() {
    let mut woken = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Answers a request for another protocol, and carries what follows.
async fn switched(
    client: &Rc<Client>,
    response: Response<ResponseBody>,
    proof: connect::Proof,
    incoming: Incoming,
    outgoing: Outgoing,
) {
    let Some(tunnel) = client.tunnel.take() else {
        // A success would tell the client that the protocol is spoken now.
        return match response.status().is_success() {
            true => not_switched(client, &outgoing),
            false => send(client, response, false, &outgoing).await,
        };
    };
    let (mut head, body) = response.into_parts();
    drop(body);
    if !proof.is_in(&mut head.headers) {
        return not_switched(client, &outgoing);
    }
    head.status = StatusCode::OK;
    client.sent(head::response_size(head.status, &head.headers));
    client.exchange().status = Some(StatusCode::OK.as_u16());
    if outgoing.answer(head.status, &head.headers, false).is_err() {
        client.exchange().terminate_here(Cause::Client);
        return;
    }
    drop(head);
    let near = Near::new(incoming, outgoing);
    tunnel.carry(client, near, bytes::Bytes::new()).await;
}

/// The server has not switched protocols as it should have.
fn not_switched(client: &Client, outgoing: &Outgoing) {
    let answer = client.answer(StatusCode::BAD_GATEWAY);
    let mut exchange = client.exchange();
    exchange.terminate(Cause::Proxy, Stage::Headers);
    exchange.status = Some(answer.status.as_u16());
    drop(exchange);
    say(client, answer, false, outgoing);
}

/// One of our own answers.
fn say(client: &Client, answer: Answer, bodyless: bool, outgoing: &Outgoing) {
    let (head, body) = answer.into_response();
    let head = head.into_parts().0;
    let ended = bodyless || body.is_empty();
    let size = if ended { 0 } else { body.len() };
    client.sent(head::response_size(head.status, &head.headers) + size);
    if outgoing.answer(head.status, &head.headers, ended).is_ok() && !ended {
        outgoing.data(body, true);
    }
}
