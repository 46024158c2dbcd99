//! A client's connection.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::Reason;

use super::{
    frame::PREFACE,
    io::{Io, Read},
    stream,
    wire::Wire,
};
use crate::{
    proxy::{
        Stream,
        http::{client::Client, serve::Timer},
        sessions::{self, Served},
        worker::{self, Place},
    },
    topology::Server,
};

/// So many requests may a client take back within [`CANCELLING`]: each may cost a connection to a server.
const MOST_CANCELLED: u32 = 250;
const CANCELLING: Duration = Duration::from_secs(10);
/// How often is looked at least whether a client takes what it has been sent.
const LOOK: Duration = Duration::from_millis(100);

/// Whether `read` is how a client of HTTP/2 begins.
pub(in super::super) fn begins(read: &[u8]) -> bool {
    let n = read.len().min(PREFACE.len());
    n >= b"PRI * HTTP/2.0".len() && read[..n] == PREFACE[..n]
}

/// What a connection's requests share.
pub(super) struct Connection {
    /// The connection itself: whose it is, and the bytes on its socket. Another one once there is a newer configuration.
    client: RefCell<Rc<Client>>,
    wire: Rc<Wire>,
    /// The request that has come last.
    last: RefCell<Weak<Client>>,
    streams: Cell<usize>,
    /// When the last request ended, or the connection began.
    idle_since: Cell<Instant>,
    /// What the client had not got of its answers when that was looked at last, and since when it is so much.
    unsent: Cell<(usize, Instant)>,
    cancelled: RefCell<Cancelled>,
    /// Where it is counted, until the last of its requests has ended, whether or not the client has before.
    place: RefCell<Place>,
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

    /// A request has begun.
    pub(super) fn begun(&self, client: &Rc<Client>) {
        self.last.replace(Rc::downgrade(client));
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

    /// Whether a client that asks for nothing more is busy with what it was answered: `unsent` of it it has not got. It may
    /// take its time as long as it takes some.
    fn is_taking(&self, unsent: usize, now: Instant) -> bool {
        if unsent == 0 {
            return false;
        }
        let (before, mut since) = self.unsent.get();
        if unsent != before {
            since = now;
            self.unsent.set((unsent, since));
        }
        self.idle_since.set(now + LOOK);
        now < since + self.client.borrow().frontend().config.timeouts.client
    }

    /// When nothing has happened for too long, or it is to be looked at again whether something has.
    fn deadline(&self, now: Instant) -> Instant {
        let client = self.client.borrow();
        let timeouts = &client.frontend().config.timeouts;
        let patience = match client.is_new() {
            true => timeouts.http_request,
            false => timeouts.http_keep_alive,
        };
        let since = match self.streams.get() {
            0 => self.idle_since.get(),
            // They have their own time. The last to end wakes nobody.
            _ => now,
        };
        since + patience.min(timeouts.client)
    }
}

impl Served for Connection {
    fn server(&self) -> Option<Arc<Server>> {
        self.last.borrow().upgrade()?.server()
    }

    fn rouse(&self) {
        let streams = self.wire.state().streams.clone();
        for stream in streams {
            let mut inner = stream.inner.borrow_mut();
            inner.wake_reader();
            inner.wake_writer();
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
        place,
        told,
    } = *arrival;
    let now = client.now();
    let told = worker::destination(told, client.peer, &stream);
    // Open as long as `io` is there, which has it.
    let socket = stream.tcp().as_raw_fd();
    let wire = Wire::new();
    let connection = Rc::new(Connection {
        client: RefCell::new(client),
        wire: Rc::clone(&wire),
        last: RefCell::default(),
        streams: Cell::new(0),
        idle_since: Cell::new(now),
        unsent: Cell::new((0, now)),
        cancelled: RefCell::new(Cancelled {
            since: now,
            count: 0,
        }),
        place: RefCell::new(place),
    });
    let served: Rc<dyn Served> = Rc::clone(&connection) as _;
    sessions::show(Rc::downgrade(&served));
    drop(served);
    let mut io = Io::new(stream, read, wire);
    let mut stopping = false;
    loop {
        match drive(&connection, &mut io, &mut stopping).await {
            Driven::Closed => return,
            Driven::Ended => break,
            Driven::Superseded => {
                let place = &mut connection.place.borrow_mut();
                let client = connection.client().renewed(|_| told, &socket, place);
                connection.client.replace(client);
            }
        }
    }
    Box::pin(io.close()).await;
}

/// What has become of a connection.
enum Driven {
    /// It is over.
    Closed,
    /// It is to end, and the client is told, or is being told.
    Ended,
    /// There is a newer configuration under which it goes on: its next requests are served as that says.
    Superseded,
}

async fn drive(connection: &Rc<Connection>, io: &mut Io, stopping: &mut bool) -> Driven {
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
        io.wire.state().attend(cx.waker());
        // Streams that are on their way are served all the same.
        let local = &client.worker.http;
        if !*stopping && (client.is_leaving() || local.is_quiet() || local.is_lingering()) {
            *stopping = true;
            io.wire.state().say_goodbye();
        }
        if connection.is_abusive() {
            client.frontend().counters.request_errors.inc();
            io.wire.state().go_away(Reason::ENHANCE_YOUR_CALM);
            return Poll::Ready(Driven::Ended);
        }
        if let Poll::Ready(driven) = exchange(connection, io, cx) {
            return Poll::Ready(driven);
        }
        while timer.poll(Some(connection.deadline(client.now())), client, cx) {
            if !connection.is_taking(io.unsent(), client.now()) {
                io.wire.state().go_away(Reason::NO_ERROR);
                return Poll::Ready(Driven::Ended);
            }
        }
        // A newcomer's request is waited for, and it is told all the same if none comes.
        let leaves = client.leaves_at().filter(|_| !*stopping);
        if timer.poll(leaves, client, cx) {
            cx.waker().wake_by_ref();
        }
        io.wire.state().leave();
        Poll::Pending
    })
    .await
}

/// Reads and writes what can be.
fn exchange(connection: &Rc<Connection>, io: &mut Io, cx: &mut Context<'_>) -> Poll<Driven> {
    loop {
        let mut again = false;
        let stuffed = loop {
            let read = io.poll_read(cx);
            // Before the request that follows them, or the end that they bring.
            let none = io.wire.state().input.take_refused();
            let told = !none.is_empty();
            for refused in none {
                stream::refused(connection, refused);
            }
            match read {
                Poll::Ready(Read::Request(request)) => {
                    connection.streams.set(connection.streams.get() + 1);
                    connection.client().carries();
                    stream::begin(connection, *request);
                }
                Poll::Ready(Read::Stuffed) => break true,
                Poll::Ready(Read::Turn) => {
                    again = true;
                    break false;
                }
                Poll::Ready(Read::End) => {
                    io.wire.state().hear_no_more();
                    break false;
                }
                // The connection is over: its requests learn it themselves.
                Poll::Ready(Read::Gone) => return Poll::Ready(Driven::Closed),
                Poll::Ready(Read::Fatal(reason)) => {
                    if !told {
                        stream::unreadable(connection);
                    }
                    io.wire.state().go_away(reason);
                    return Poll::Ready(Driven::Ended);
                }
                Poll::Pending => break false,
            }
        };
        match io.poll_write(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Driven::Closed),
            Poll::Ready(Ok(turn)) => again |= turn,
            Poll::Pending => {}
        }
        let state = io.wire.state();
        if state.is_finished() && io.is_flushed() {
            return Poll::Ready(Driven::Ended);
        }
        if again {
            // Others have their turn first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !stuffed || state.is_stuffed() {
            return Poll::Pending;
        }
    }
}
