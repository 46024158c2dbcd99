//! A client's connection.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, server};

use super::{
    CONNECTION_WINDOW, MAX_HEAD, REMEMBERED_RESETS, SEND_BUFFER, STREAM_WINDOW, STREAMS, io::Io,
    stream,
};
use crate::proxy::{
    Stream,
    http::{client::Client, serve::Timer},
    worker::{self, Place},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// So many requests may a client take back within [`CANCELLING`]: each may cost a connection to a server.
const MOST_CANCELLED: u32 = 250;
const CANCELLING: Duration = Duration::from_secs(10);
/// How long a client may take to read our goodbye.
const LINGER: Duration = Duration::from_secs(1);

/// Whether `read` is how a client of HTTP/2 begins.
pub(in super::super) fn begins(read: &[u8]) -> bool {
    let n = read.len().min(PREFACE.len());
    n >= b"PRI * HTTP/2.0".len() && read[..n] == PREFACE[..n]
}

/// What a connection's requests share.
pub(super) struct Connection {
    /// The connection itself: whose it is, and the bytes on its socket. Another one once there is a newer configuration.
    client: RefCell<Rc<Client>>,
    streams: Cell<usize>,
    /// When the last request ended, or the connection began.
    idle_since: Cell<Instant>,
    any: Cell<bool>,
    cancelled: RefCell<Cancelled>,
}

/// Requests that were taken back lately.
struct Cancelled {
    since: Instant,
    count: u32,
}

impl Connection {
    /// The connection itself under the newest configuration.
    pub(super) fn client(&self) -> Rc<Client> {
        Rc::clone(&self.client.borrow())
    }

    /// A request has ended; `cancelled` if the client took it back.
    pub(super) fn ended(&self, cancelled: bool, now: Instant) {
        self.streams.set(self.streams.get() - 1);
        self.idle_since.set(now);
        if !cancelled {
            return;
        }
        let mut lately = self.cancelled.borrow_mut();
        if now.saturating_duration_since(lately.since) > CANCELLING {
            *lately = Cancelled {
                since: now,
                count: 0,
            };
        }
        lately.count += 1;
    }

    fn is_abusive(&self) -> bool {
        self.cancelled.borrow().count > MOST_CANCELLED
    }

    /// When nothing has happened for too long.
    fn deadline(&self) -> Option<Instant> {
        let client = self.client.borrow();
        let timeouts = &client.frontend().config.timeouts;
        match self.streams.get() {
            0 if self.any.get() => {
                Some(self.idle_since.get() + timeouts.http_keep_alive.min(timeouts.client))
            }
            0 => Some(self.idle_since.get() + timeouts.http_request.min(timeouts.client)),
            // They have their own.
            _ => None,
        }
    }
}

/// A client's connection that speaks HTTP/2.
pub(in crate::proxy) struct Arrival {
    pub(in super::super) client: Rc<Client>,
    pub(in super::super) stream: Stream,
    /// What was read of it already.
    pub(in super::super) read: Bytes,
    /// Where it is counted.
    pub(in super::super) place: Place,
    /// Where it connected to, as a PROXY header has said.
    pub(in super::super) told: Option<SocketAddr>,
}

/// Serves a client until its connection ends.
pub(in crate::proxy) async fn serve(arrival: Box<Arrival>) {
    let Arrival {
        client,
        stream,
        read,
        mut place,
        told,
    } = *arrival;
    let now = client.now();
    let told = worker::destination(told, client.peer, &stream);
    // Open as long as `wire` is there, which has it.
    let socket = stream.tcp().as_raw_fd();
    let connection = Rc::new(Connection {
        client: RefCell::new(Rc::clone(&client)),
        streams: Cell::new(0),
        idle_since: Cell::new(now),
        any: Cell::new(false),
        cancelled: RefCell::new(Cancelled {
            since: now,
            count: 0,
        }),
    });
    // Boxed, so that what it takes does not stay.
    let Some(mut wire) = Box::pin(shake_hands(
        &client,
        Io::new(stream, read, Rc::clone(&connection)),
    ))
    .await
    else {
        return;
    };
    drop(client);
    let mut stopping = false;
    loop {
        match drive(&connection, &mut wire, &mut stopping).await {
            Driven::Closed => return,
            Driven::Ended => break,
            Driven::Superseded => {
                let client = connection.client().renewed(|_| told, &socket, &mut place);
                connection.client.replace(client);
            }
        }
    }
    let _ = tokio::time::timeout(LINGER, poll_fn(|cx| wire.poll_closed(cx))).await;
}

/// Exchanges the first words; `None` if the client has none, or not in time.
async fn shake_hands(client: &Client, io: Io) -> Option<server::Connection<Io, Bytes>> {
    let handshake = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .enable_connect_protocol()
        .handshake(io);
    let timeouts = &client.frontend().config.timeouts;
    let patience = timeouts.http_request.min(timeouts.client);
    tokio::time::timeout(patience, handshake).await.ok()?.ok()
}

/// What has become of a connection.
enum Driven {
    /// It is over.
    Closed,
    /// It is to end, and the client is being told.
    Ended,
    /// There is a newer configuration under which it goes on: its next requests are served as that says.
    Superseded,
}

async fn drive(
    connection: &Rc<Connection>,
    wire: &mut server::Connection<Io, Bytes>,
    stopping: &mut bool,
) -> Driven {
    let client = &connection.client();
    let sleep = pin!(tokio::time::sleep(Duration::MAX));
    let mut timer = Timer::new(sleep);
    let mut change = pin!(client.worker.http.changed().notified());
    let mut registered = false;
    poll_fn(|cx| {
        client.tick();
        if !registered {
            registered = true;
            let _ = change.as_mut().poll(cx);
        }
        if !*stopping && client.moves() {
            return Poll::Ready(Driven::Superseded);
        }
        // Streams that are on their way are served all the same.
        let local = &client.worker.http;
        if !*stopping && (client.is_leaving() || local.is_quiet() || local.is_lingering()) {
            *stopping = true;
            wire.graceful_shutdown();
        }
        if connection.is_abusive() {
            client.frontend().counters.request_errors.inc();
            wire.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            return Poll::Ready(Driven::Ended);
        }
        loop {
            match wire.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    connection.streams.set(connection.streams.get() + 1);
                    connection.any.set(true);
                    stream::begin(connection, request, respond);
                }
                // The connection is over: its requests learn it themselves.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Driven::Closed),
                Poll::Pending => break,
            }
        }
        if timer.poll(connection.deadline(), client, cx) {
            wire.abrupt_shutdown(Reason::NO_ERROR);
            return Poll::Ready(Driven::Ended);
        }
        Poll::Pending
    })
    .await
}
