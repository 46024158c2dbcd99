//! One request of a client's connection, from its head to its line in the log.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Method, Request, Response, StatusCode};

use super::{
    Received,
    bytestream::Bytestream,
    connect, head,
    pipe::{End, Pipe, Side},
    serve::Connection,
};
use crate::{
    observe::log::{Cause, Phase as Stage},
    proxy::{
        http::{
            answer::Answer,
            body::{Inbound, ResponseBody},
            client::{Client, Phase},
            exchange,
            serve::Timer,
        },
        sessions,
    },
};

/// How long a client that has its answer may take to say that its request ends.
const END: Duration = Duration::from_secs(1);

/// Serves a request in a task of its own.
pub(super) fn begin(
    connection: &Rc<Connection>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let connection = Rc::clone(connection);
    let client = Rc::new(connection.client().stream());
    let serving = async move {
        let ending = Ending {
            connection: &connection,
            client: &client,
        };
        serve(&client, request, respond).await;
        let unread = client.take_unread();
        drop(ending);
        if let Some(unread) = unread {
            see_end(unread).await;
        }
    };
    // A request's state is large, and the runtime moves what it is given several times.
    let serving = Box::pin(serving);
    tokio::task::spawn_local(sessions::along(sessions::present(), serving));
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
        if exchange.is_open() {
            drop(exchange);
            self.client.end_exchange();
        }
        self.connection.ended(cancelled, self.client.now());
    }
}

/// Waits a moment for the end of a request that has been answered. If more of it comes the client is to stop: the h2
/// crate tells it so once the stream is dropped.
async fn see_end(mut unread: RecvStream) {
    let next = poll_fn(|cx| unread.poll_data(cx));
    let _ = tokio::time::timeout(END, next).await;
}

/// Drives a request and its one timer.
async fn serve(client: &Rc<Client>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let answering = pin!(answer(client, request, respond));
    let mut answering = answering;
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

async fn answer(
    client: &Rc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (mut head, body) = request.into_parts();
    let switch = connect::upgrade(&mut head);
    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
    client.received(head::request_size(
        head.method.as_str(),
        target,
        &head.headers,
    ));
    let bodyless = head.method == Method::HEAD;
    let (body, bytes) = match &switch {
        None => (Inbound::Http2(Received::of_client(body, client)), None),
        // What follows is not the request's.
        Some(_) => (Inbound::None, Some(body)),
    };
    let answered = {
        let mut serving = pin!(exchange::serve(Rc::clone(client), head, body));
        poll_fn(|cx| {
            let serving = serving.as_mut().poll(cx).map(Some);
            if client.interim.take() {
                let mut interim = Response::new(());
                *interim.status_mut() = StatusCode::CONTINUE;
                let _ = respond.send_informational(interim);
            }
            if client.has_interims() {
                for interim in client.take_interims() {
                    let _ = respond.send_informational(head::interim(interim));
                }
            }
            match serving {
                Poll::Pending if respond.poll_reset(cx).is_ready() => Poll::Ready(None),
                serving => serving,
            }
        })
        .await
    };
    match answered {
        Some(Ok(response)) => match switch.zip(bytes) {
            None => send(client, response, bodyless, respond).await,
            Some((proof, bytes)) => switched(client, response, proof, bytes, respond).await,
        },
        Some(Err(exchange::Closed)) => match client.refusal.take() {
            Some(refusal) => say(client, client.answer(refusal), bodyless, &mut respond),
            None => respond.send_reset(Reason::CANCEL),
        },
        None => client.exchange().terminate_here(Cause::Client),
    }
}

/// Sends a response to its end.
async fn send(
    client: &Rc<Client>,
    response: Response<ResponseBody>,
    bodyless: bool,
    mut respond: SendResponse<Bytes>,
) {
    use http_body::Body;

    let (head, body) = response.into_parts();
    let head = head::response(head);
    client.sent(head::response_size(&head));
    let ended = bodyless
        || body.is_end_stream()
        || matches!(
            head.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let Ok(stream) = respond.send_response(head, ended) else {
        client.exchange().terminate_here(Cause::Client);
        return;
    };
    if ended {
        drop(body);
    } else {
        let mut pipe = Pipe::new(body, stream, Side::Client(Rc::clone(client)));
        match poll_fn(|cx| pipe.poll(cx)).await {
            End::Complete => {}
            End::Reset => client.exchange().terminate_here(Cause::Client),
            End::Failed(broken) => pipe.reset(broken.reason()),
        }
    }
    if client.is_carrying_on() {
        poll_fn(|cx| client.poll_rest(cx)).await;
    }
    // The connection's task writes what there is, before the line is.
    tokio::task::yield_now().await;
}

/// Answers a request for another protocol, and carries what follows.
async fn switched(
    client: &Rc<Client>,
    response: Response<ResponseBody>,
    proof: connect::Proof,
    bytes: RecvStream,
    mut respond: SendResponse<Bytes>,
) {
    let Some(tunnel) = client.tunnel.take() else {
        // A success would tell the client that the protocol is spoken now.
        return match response.status().is_success() {
            true => not_switched(client, &mut respond),
            false => send(client, response, false, respond).await,
        };
    };
    let (mut head, body) = response.into_parts();
    drop(body);
    if !proof.is_in(&mut head.headers) {
        return not_switched(client, &mut respond);
    }
    head.status = StatusCode::OK;
    let head = head::response(head);
    client.sent(head::response_size(&head));
    client.exchange().status = Some(StatusCode::OK.as_u16());
    match respond.send_response(head, false) {
        Ok(stream) => {
            let near = Bytestream::of_client(bytes, stream);
            tunnel.carry(client, near, Bytes::new()).await;
        }
        Err(_) => client.exchange().terminate_here(Cause::Client),
    }
}

/// The server has not switched protocols as it should have.
fn not_switched(client: &Client, respond: &mut SendResponse<Bytes>) {
    let answer = client.answer(StatusCode::BAD_GATEWAY);
    let mut exchange = client.exchange();
    exchange.terminate(Cause::Proxy, Stage::Headers);
    exchange.status = Some(answer.status.as_u16());
    drop(exchange);
    say(client, answer, false, respond);
}

/// One of our own answers.
fn say(client: &Client, answer: Answer, bodyless: bool, respond: &mut SendResponse<Bytes>) {
    let (head, body) = answer.into_response();
    let head = head::response(head.into_parts().0);
    let ended = bodyless || body.is_empty();
    let size = if ended { 0 } else { body.len() };
    client.sent(head::response_size(&head) + size);
    if let Ok(mut stream) = respond.send_response(head, ended)
        && !ended
    {
        stream.reserve_capacity(body.len());
        let _ = stream.send_data(body, true);
    }
}
