//! One client connection, from accept to close.

use std::{
    future::{Future, poll_fn},
    os::fd::AsRawFd,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::CONNECTION};
use hyper::{body::Incoming, server::conn::http1, service::HttpService};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Sleep,
};

use super::{
    body::{Inbound, ResponseBody},
    client::{Client, Killed, Leave, Phase},
    exchange, h2, invalid,
    io::ClientIo,
    park,
};
use crate::{
    observe::log::{Cause, Phase as Stage},
    proxy::{
        self, Stream, Worker,
        sessions::{self, Served},
        worker::destination,
    },
};

/// A request line longer than this is the reason for a head that is too large.
const MAX_TARGET: usize = 8 * 1024;
/// How long a client that was refused may take to read the answer.
const LINGER: Duration = Duration::from_secs(1);
/// How long one may go on with a request that has been answered and that nobody reads.
const HEARD: Duration = Duration::from_secs(30);

/// Why a connection is not served any longer.
pub(super) enum End {
    /// The client says nothing: it is to be parked.
    Idle,
    /// There is a newer configuration, and it is between two requests: it goes on under that.
    Superseded,
    /// Both sides are done with it.
    Closed,
    /// Its time has run out.
    TimedOut,
    /// hyper could not go on.
    Failed(hyper::Error),
}

/// Serves a client's connection until it ends, or until it turns out to speak HTTP/2. Never fails: what goes wrong is
/// answered, logged and counted.
///
/// What is large is boxed, so that a connection is small while it is parked.
pub(in crate::proxy) async fn serve(
    worker: Rc<Worker>,
    accepted: proxy::Client,
) -> Option<Box<h2::Arrival>> {
    let mut client = Rc::new(Client::new(worker, &accepted));
    show(&client);
    // Its places in the counts are held until the end.
    let proxy::Client {
        mut stream,
        mut place,
        destination: told,
        ..
    } = accepted;
    let http_2 = |client, stream, read, place| {
        Some(Box::new(h2::Arrival {
            client,
            stream,
            read,
            place,
            told,
        }))
    };
    if stream.alpn() == Some(b"h2") {
        return http_2(client, stream, Bytes::new(), place);
    }
    // TLS may have read more than its handshake.
    let mut parked = !stream.is_tls();
    let mut read = Bytes::new();
    loop {
        let ended = match parked {
            true => park::wait(&client, &stream).await,
            false => None,
        };
        match ended {
            None => {}
            Some(End::Superseded) => {
                let to = |peer| destination(told, peer, &stream);
                client = client.renewed(to, stream.tcp(), &mut place);
                show(&client);
                continue;
            }
            Some(end) => {
                Box::pin(close(&client, stream, end, &[])).await;
                return None;
            }
        }
        let next = Box::pin(requests(&client, stream, read)).await;
        match next {
            Next::Idle(idle, rest) => {
                (stream, read) = (idle, rest);
                parked = read.is_empty();
            }
            Next::Superseded(idle, rest) => {
                let to = |peer| destination(told, peer, &idle);
                client = client.renewed(to, idle.tcp(), &mut place);
                show(&client);
                (stream, read) = (idle, rest);
                // At this very moment TLS may hold what its socket will never tell of.
                parked = read.is_empty() && !stream.is_tls();
            }
            // Not from within: what HTTP/1 takes need not stay with it.
            Next::Http2(stream, read) => return http_2(client, stream, read, place),
            Next::Ended => return None,
        }
    }
}

/// Has operators see what is at `client`.
fn show(client: &Rc<Client>) {
    let client: Rc<dyn Served> = Rc::clone(client) as _;
    sessions::show(Rc::downgrade(&client));
}

/// What becomes of a connection after its requests.
enum Next {
    /// The client says nothing for a while: the connection, and what was read of it without being a request yet.
    Idle(Stream, Bytes),
    /// It goes on under a newer configuration, with the same.
    Superseded(Stream, Bytes),
    /// It goes on in HTTP/2, with what was read of that.
    Http2(Stream, Bytes),
    Ended,
}

/// Serves requests until the client says nothing for a while. `read` is what was read of it already.
async fn requests(client: &Rc<Client>, stream: Stream, read: Bytes) -> Next {
    // What is not even a request yet stays here until it is one.
    let stays = (!read.is_empty()).then(|| client.requests());
    // Dropped after what serves, which says how far it has come.
    let _killed = Killed(client);
    let io = ClientIo::new(stream, read, Rc::clone(client));
    let service = hyper::service::service_fn({
        let client = Rc::clone(client);
        move |request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            let client = Rc::clone(&client);
            async move {
                let lingering = client.worker.clone();
                let mut answer =
                    exchange::serve(client, Box::new(head), Inbound::Http1(body)).await;
                // Said with the answer, so that no request is ever on its way to a connection that has been closed.
                if lingering.http.is_lingering()
                    && let Ok(answer) = &mut answer
                    && answer.status() != StatusCode::SWITCHING_PROTOCOLS
                {
                    let headers = answer.headers_mut();
                    headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        }
    });
    let mut connection = client.worker.http.server.serve_connection(io, service);
    let _rest = Leave(client);
    let end = drive(client, &mut connection, stays).await;
    if client.is_carrying_on() && !matches!(end, End::TimedOut) {
        Box::pin(carry_on(client)).await;
    }
    let parts = connection.into_parts();
    let stream = parts.io.stream;
    match end {
        End::Idle => return Next::Idle(stream, rest(parts.read_buf)),
        End::Superseded => return Next::Superseded(stream, rest(parts.read_buf)),
        End::Closed if let Some(tunnel) = client.tunnel.take() => {
            Box::pin(tunnel.run(client, stream, parts.read_buf)).await;
        }
        End::Failed(_)
            if client.is_new()
                && h2::begins(&parts.read_buf)
                && client.frontend().config.h2_upgrade =>
        {
            return Next::Http2(stream, parts.read_buf);
        }
        end => close(client, stream, end, &parts.read_buf).await,
    }
    Next::Ended
}

/// Nothing of a buffer is a buffer all the same.
fn rest(buffer: Bytes) -> Bytes {
    match buffer.is_empty() {
        true => Bytes::new(),
        false => buffer,
    }
}

/// Ends a connection; `unread` is what was read of it without being served.
async fn close(client: &Client, stream: Stream, end: End, unread: &[u8]) {
    client.tick();
    if client.vanishes() {
        settle(client, end, unread);
        return vanish(stream);
    }
    let hears = matches!(end, End::Closed) && client.is_sending();
    match settle(client, end, unread) {
        Some(refusal) => refuse(stream, &client.answer(refusal).message()).await,
        // It has its answer, and is still at its request.
        None if hears => hear_out(stream).await,
        None => say_goodbye(stream).await,
    }
}

/// Polls the connection and its one timer.
///
/// The timer is only moved when its deadline comes nearer; one that fires early is set anew. So most requests never
/// touch it.
///
/// A connection is parked once it is idle for long enough, unless no request has come since there were `stays`.
async fn drive<S>(
    client: &Client,
    connection: &mut http1::Connection<ClientIo, S>,
    stays: Option<u64>,
) -> End
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // The timer sets it.
    let sleep = pin!(tokio::time::sleep_until(client.now().into()));
    let mut timer = Timer::new(sleep);
    let mut change = pin!(client.worker.http.changed().notified());
    let (mut registered, mut quiet, mut stopping, mut moves) = (false, false, false, false);
    poll_fn(|cx| {
        client.tick();
        if !registered {
            // The flag says it; this is for the wake-up, and the task's waker stays the same.
            registered = true;
            let _ = change.as_mut().poll(cx);
        }
        if client.worker.http.is_quiet() && !quiet {
            // The stop itself is still to come.
            quiet = true;
            change.set(client.worker.http.changed().notified());
            let _ = change.as_mut().poll(cx);
        }
        if client.worker.http.is_superseded() && !moves && !stopping {
            moves = client.moves();
        }
        if !stopping && client.is_leaving() {
            stopping = true;
            Pin::new(&mut *connection).graceful_shutdown();
        }
        let moves = moves && !stopping;
        let moves = |client: &Client| moves && client.is_between_requests();
        if moves(client) {
            return Poll::Ready(End::Superseded);
        }
        let mut expired = false;
        loop {
            match Pin::new(&mut *connection).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(End::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending => {}
            }
            if client.is_carrying_on() && client.poll_rest(cx).is_ready() {
                // What hyper does next depends on it.
                continue;
            }
            // A newcomer has said something, or is none any more.
            if !stopping && client.is_leaving() {
                stopping = true;
                Pin::new(&mut *connection).graceful_shutdown();
                continue;
            }
            if moves(client) {
                return Poll::Ready(End::Superseded);
            }
            let leaves = client.leaves_at().filter(|_| !stopping);
            let deadline = client.deadline();
            let deadline = leaves.map_or(deadline, |leaves| {
                Some(deadline.map_or(leaves, |at| at.min(leaves)))
            });
            let park = client
                .idle_since()
                .filter(|_| stays != Some(client.requests()) && leaves.is_none())
                .map(|since| since + park::AFTER);
            let next = park.map_or(deadline, |park| deadline.map(|at| at.min(park)));
            if !timer.poll(next, client, cx) {
                return Poll::Pending;
            }
            if park.is_some() && deadline.is_some_and(|at| client.now() < at) {
                return Poll::Ready(End::Idle);
            }
            if leaves.is_some() && client.is_leaving() {
                continue;
            }
            // An exchange answers for itself, once; if it does not, hyper is not asking it, since the client does not
            // take what there is.
            match client.phase() {
                Phase::Serving | Phase::Answering if !expired => expired = true,
                Phase::Flushing if client.is_carrying_on() && !expired => expired = true,
                _ => return Poll::Ready(End::TimedOut),
            }
        }
    })
    .await
}

/// hyper is done with the client's connection, while the server is still to get what has come of the last request.
async fn carry_on(client: &Client) {
    // The timer sets it.
    let sleep = pin!(tokio::time::sleep_until(client.now().into()));
    let mut timer = Timer::new(sleep);
    poll_fn(|cx| {
        client.tick();
        loop {
            if client.poll_rest(cx).is_ready() {
                return Poll::Ready(());
            }
            if !timer.poll(client.deadline(), client, cx) {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// A timer that is moved as rarely as possible.
pub(super) struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    /// What it is set to; `None` if it was never set.
    set: Option<Instant>,
}

impl<'a> Timer<'a> {
    pub(super) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self { sleep, set: None }
    }

    /// Whether `deadline` has passed. If not, the task is woken by then.
    pub(super) fn poll(
        &mut self,
        deadline: Option<Instant>,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(deadline) = deadline else {
            return false;
        };
        loop {
            if client.now() >= deadline {
                return true;
            }
            let early = self.set.is_none_or(|set| deadline < set);
            if !early && self.set.is_some_and(|set| client.now() < set) {
                return false;
            }
            self.sleep.as_mut().reset(deadline.into());
            self.set = Some(deadline);
            if self.sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            client.tick();
        }
    }
}

/// Closes the books on a connection. Returns the answer that the client still has to get.
fn settle(client: &Client, end: End, unread: &[u8]) -> Option<StatusCode> {
    if let Some(refusal) = client.refusal.take() {
        // Others are requests, though not ones that we serve, or that came too late.
        if matches!(refusal.as_u16(), 400 | 501) {
            invalid::request(client, unread);
        }
        let length = client.answer(refusal).message().len();
        client.exchange().owes(length);
        client.end_exchange();
        return Some(refusal);
    }
    if client.exchange().is_open() {
        let cause = match end {
            End::TimedOut => Cause::ClientTimeout,
            End::Idle | End::Superseded | End::Closed | End::Failed(_) => Cause::Client,
        };
        let carries_on = client.is_carrying_on();
        if client.phase() != Phase::Flushing || !matches!(end, End::Closed) || carries_on {
            client.exchange().terminate_here(cause);
        }
        client.leave_rest();
        client.end_exchange();
        return None;
    }
    let nothing_came = client.phase() == Phase::Idle && unread.is_empty();
    let (cause, refusal) = match end {
        // Parking is no end.
        End::Idle | End::Superseded => return None,
        _ if nothing_came && client.frontend().config.http.ignore_probes => return None,
        End::TimedOut if client.phase() == Phase::Idle && !client.is_new() && unread.is_empty() => {
            return None;
        }
        End::TimedOut => (Cause::ClientTimeout, StatusCode::REQUEST_TIMEOUT),
        // HAProxy answers even a connection that brings nothing at all.
        End::Closed if client.phase() == Phase::Idle && !client.is_new() => return None,
        End::Closed if client.is_leaving() => return None,
        End::Closed => (Cause::Client, StatusCode::BAD_REQUEST),
        End::Failed(error) if error.is_incomplete_message() => {
            (Cause::Client, StatusCode::BAD_REQUEST)
        }
        End::Failed(error) if error.is_parse_too_large() => (Cause::Proxy, too_large(unread)),
        End::Failed(error) if error.is_parse() => (Cause::Proxy, StatusCode::BAD_REQUEST),
        // The socket failed. Between requests that is how many clients leave.
        End::Failed(_) if client.phase() == Phase::Idle && !client.is_new() => return None,
        End::Failed(_) => (Cause::Client, StatusCode::BAD_REQUEST),
    };
    if cause == Cause::Proxy {
        invalid::request(client, unread);
    }
    client.begin_without_request();
    let mut exchange = client.exchange();
    exchange.terminate(cause, Stage::Request);
    exchange.refuse(refusal.as_u16());
    drop(exchange);
    client.frontend().counters.http.requests.inc();
    client.end_exchange();
    Some(refusal)
}

/// What is too large: hyper says the same of all of it, so the bytes that it has not taken have to tell.
fn too_large(unread: &[u8]) -> StatusCode {
    let unread = unread.trim_ascii_start();
    let end = unread.iter().position(|&b| b == b'\n');
    let line = &unread[..end.unwrap_or(unread.len())];
    let version = line.trim_ascii_end();
    if line.len() > MAX_TARGET {
        StatusCode::URI_TOO_LONG
    } else if version.ends_with(b" HTTP/1.1") || version.ends_with(b" HTTP/1.0") {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else {
        // The head has been taken: it was the length of the body.
        StatusCode::BAD_REQUEST
    }
}

/// A TLS connection ends with a word of its own, without which a client could not tell the end from a cut.
async fn say_goodbye(mut stream: Stream) {
    if stream.is_tls() {
        let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
    }
}

/// Closes without a word to the other end, as far as the system lets us.
pub(in crate::proxy) fn vanish(stream: Stream) {
    let socket = SockRef::from(stream.tcp());
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the pointer and the length are those of a number that lives.
    let repairs = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if repairs != 0 {
        // That is the superuser's. Otherwise what says that it has ended gets no further than to the first router.
        let _ = socket.set_ttl_v4(1);
        let _ = socket.set_unicast_hops_v6(1);
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// Writes the answer and closes so that the client can read it: closing with unread bytes would reset the connection.
async fn refuse(mut stream: Stream, message: &[u8]) {
    let _ = tokio::time::timeout(LINGER, async {
        stream.write_all(message).await?;
        stream.shutdown().await?;
        // Not within: there would be room for it in all connections.
        let mut unread = vec![0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, std::io::Error>(())
    })
    .await;
}

/// Closes once the client has stopped sending, so that it can read what it was answered: many look at that only then, and
/// to close with unread bytes would reset the connection and take the answer with it.
async fn hear_out(mut stream: Stream) {
    let hearing = async {
        stream.shutdown().await?;
        let mut unread = vec![0; 16 * 1024];
        while tokio::time::timeout(LINGER, stream.read(&mut unread)).await?? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(HEARD, hearing).await;
}
