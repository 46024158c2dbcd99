//! Accepting: the seam between listeners and the protocols.
//!
//! Each accepted connection becomes a [`Client`] and a task of its own, which [`tcp`] or
//! [`http`] serves to its end.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Shared, Stream, entrance,
    generation::{Served, Worker},
    header::Ends,
    http, ignore,
    post::{Post, Spot},
    sessions, sieve, tcp,
};
use crate::{
    config::model::{Bind, Habits, Label, Mode},
    rules::SessionVars,
    tls::Session,
    topology::{Accepted, Frontend, Limit, Peer},
    wire::{Socket, heard::Heard, sockopt},
};

/// Pause after an accept failed for want of descriptors or memory, which only time can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections taken from one listener before others get their turn.
const ACCEPT_BURST: usize = 64;

/// A connection that a client has opened, counted everywhere until it is dropped.
#[derive(Debug)]
pub struct Client {
    /// The socket, or TLS on top of it; over TCP, TCP_NODELAY is set.
    pub stream: Stream,
    /// The client's address, or what a PROXY header says of it; an IPv4 client of a `[::]` bind is an IPv4 address.
    pub address: Peer,
    /// Where it connected to, if a PROXY header says so.
    pub destination: Option<SocketAddr>,
    /// What a PROXY header that came first told besides the ends, if one came.
    pub introduced: Option<Rc<Heard>>,
    /// What its TLS handshake has shown.
    pub tls: Option<Rc<Session>>,
    /// When it was accepted, for measuring.
    pub accepted: Instant,
    /// When it was accepted, for showing.
    pub accepted_at: SystemTime,
    /// What rules remember of it.
    pub(super) session: RefCell<SessionVars>,
    pub(super) place: Place,
    /// Which of the frontend's binds it came to.
    pub(super) bind: usize,
}

impl Client {
    /// What that bind is called.
    pub(super) fn label(&self) -> Option<&Label> {
        Some(&self.frontend().config.binds.get(self.bind)?.label)
    }

    /// The frontend it came to.
    pub fn frontend(&self) -> &Arc<Frontend> {
        self.place.accepted.frontend()
    }

    /// The name that its TLS handshake asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.server_name.as_deref()
    }

    /// Where it connected to.
    pub fn destination(&self) -> Peer {
        destination(self.destination, self.address, &self.stream)
    }

    /// The two ends of its connection, as a PROXY header tells of them; a unix socket has none.
    pub fn ends(&self) -> Option<Ends> {
        Some(Ends {
            source: self.address.inet()?,
            destination: self.destination().inet()?,
        })
    }

    /// Takes its stream out, for what is to be put in its place.
    pub(super) fn split(self) -> (Stream, impl FnOnce(Stream, Rc<Session>) -> Self) {
        let Self {
            stream,
            address,
            destination,
            introduced,
            tls: _,
            accepted,
            accepted_at,
            session,
            place,
            bind,
        } = self;
        let with = move |stream, tls| Self {
            stream,
            address,
            destination,
            introduced,
            tls: Some(tls),
            accepted,
            accepted_at,
            session,
            place,
            bind,
        };
        (stream, with)
    }
}

/// Where a client at `address` connected to by `stream`, if no PROXY header has `told` it.
pub(super) fn destination(told: Option<SocketAddr>, address: Peer, stream: &Stream) -> Peer {
    if let (None, Peer::Unix(_)) = (told, address) {
        return address;
    }
    let destination = told.or_else(|| {
        let local = stream.tcp().local_addr().ok()?;
        Some(SocketAddr::new(local.ip().to_canonical(), local.port()))
    });
    // A socket that does not know its own address is about to end.
    destination.map_or(address, Peer::Inet)
}

/// A connection's places in the frontend's and the process's count.
#[derive(Debug)]
pub(super) struct Place {
    accepted: Accepted,
    sessions: Arc<Limit>,
}

impl Place {
    /// The frontend that it is a place of.
    pub(super) fn frontend(&self) -> &Arc<Frontend> {
        self.accepted.frontend()
    }

    /// The connection goes on at `frontend`, the same one in another configuration.
    pub(super) fn move_to(&mut self, frontend: &Arc<Frontend>) {
        self.accepted.move_to(frontend);
    }

    /// Takes both if there is room.
    pub(super) fn try_take(
        shared: &Arc<Shared>,
        frontend: &Arc<Frontend>,
        bind: usize,
    ) -> Option<Self> {
        let accepted = frontend.enter(bind)?;
        shared.sessions.try_take()?;
        Some(Self {
            accepted,
            sessions: Arc::clone(&shared.sessions),
        })
    }

    /// Takes both, waiting for room.
    async fn take(shared: &Arc<Shared>, frontend: &Arc<Frontend>, bind: usize) -> Self {
        loop {
            let Some(accepted) = frontend.enter(bind) else {
                frontend.room(bind).await;
                continue;
            };
            if shared.sessions.try_take().is_some() {
                return Self {
                    accepted,
                    sessions: Arc::clone(&shared.sessions),
                };
            }
            drop(accepted);
            shared.sessions.room().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.give_back();
    }
}

/// Accepts until the stop begins, or until it is the only one that has an end, and the listener's queue is empty.
pub(super) async fn accept(post: Rc<Post>, listener: Rc<TcpListener>) {
    listening(&post, &listener);
    // One that was passed on may have a filter of a process that has not ended well.
    ignore::nobody(&listener);
    let Some(mut listener) = watched(&post, listener) else {
        return;
    };
    let mut burst = 0;
    // How many more wait, as far as has been asked.
    let mut queued = 0_u32;
    let mut failing = false;
    let mut quiet = false;
    let mut _ignoring = None;
    loop {
        // Readiness first, place second, accept third: an idle listener holds no place, and a connection without one
        // waits in the kernel's queue.
        let gate = Arc::clone(post.spot().frontend.gate());
        if !gate.is_open() {
            // What has refused once is told of for ever: it is watched anew.
            let bare = listener.into_inner();
            if !paused(&post, &bare).await {
                return;
            }
            match watched(&post, bare) {
                Some(again) => listener = again,
                None => return,
            }
            continue;
        }
        let ready = tokio::select! {
            biased;
            ready = listener.readable() => Some(ready),
            () = gate.is(false) => continue,
            // What the kernel has let in is served, whether or not the runtime has been told of it by now.
            () = post.ended() => match is_knocked_at(listener.get_ref()) {
                true => None,
                false => return,
            },
            () = post.quiet(), if !quiet => {
                quiet = true;
                // A stop that goes on to its end at once is quiet too, and closes the listener.
                if post.spot().worker.is_quiet() {
                    match ignore::Ignoring::begin(listener.get_ref()) {
                        Ok(ignoring) => _ignoring = Some(ignoring),
                        Err(error) => tracing::debug!("a listener goes on answering: {error}"),
                    }
                }
                continue;
            }
        };
        let Ok(mut ready) = ready.transpose() else {
            return;
        };
        let Spot {
            worker,
            frontend,
            bind,
        } = post.spot();
        if !frontend.gate().is_open() {
            continue;
        }
        let (turn, place) = tokio::select! {
            biased;
            both = async {
                let topology = &worker.shared.topology;
                let turn = frontend.turn(bind, &topology.rates, topology.clock).await;
                (turn, Place::take(&worker.shared, &frontend, bind).await)
            } => both,
            () = worker.stopping() => return,
            // Perhaps there is more room now.
            () = post.moved() => continue,
        };
        let by_unix = frontend.config.binds.get(bind);
        let by_unix = by_unix.is_some_and(|bind| bind.address.is_unix());
        let by_unix = by_unix.then(|| Peer::Unix(u32::try_from(bind + 1).unwrap_or(u32::MAX)));
        let accepted = match ready {
            Some(ref mut ready) => ready.try_io(|listener| accept_one(listener.get_ref(), by_unix)),
            None => match accept_one(listener.get_ref(), by_unix) {
                // Another who listens there has taken it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                accepted => Ok(accepted),
            },
        };
        match accepted {
            Ok(Ok((stream, address))) => {
                failing = false;
                turn.spend();
                // Whether more wait costs less to ask than to accept in vain: for that the kernel makes a socket first.
                let more = match queued.saturating_sub(1) {
                    // That there is nobody has to be true now: who came while this task waited for something has been told
                    // of, and would be forgotten.
                    0 => sockopt::queued(listener.get_ref()),
                    known => Some(known),
                };
                let last = more == Some(0);
                queued = more.unwrap_or(0);
                burst += 1;
                if last && let Some(ready) = &mut ready {
                    // Whoever has come since is told of.
                    ready.clear_ready();
                    burst = 0;
                }
                serve(&worker, stream, address, (bind, last), place);
                if burst >= ACCEPT_BURST {
                    burst = 0;
                    tokio::task::yield_now().await;
                }
            }
            // Nobody is there any more: another accept, or the client gave up.
            Err(_would_block) => (burst, queued) = (0, 0),
            Ok(Err(error)) if is_clients_fault(&error) => {}
            Ok(Err(error)) => {
                drop((turn, place));
                worker.shared.accept_errors.inc();
                if !failing {
                    tracing::error!(
                        "frontend {}: cannot accept connections: {error}; they wait in the kernel meanwhile",
                        frontend.name
                    );
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether a connection waits to be accepted.
fn is_knocked_at(listener: &TcpListener) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    let now = Timespec::default();
    poll(&mut asked, Some(&now)).is_ok_and(|_| asked[0].revents().contains(PollFlags::IN))
}

/// Waits until operators let somebody in again; `false` if the listener is to close instead. Whoever knocks meanwhile is
/// refused by the kernel, as with HAProxy; a unix socket cannot be had back once it refuses, so there they wait.
async fn paused(post: &Post, listener: &TcpListener) -> bool {
    let refuses = || {
        let Spot { frontend, bind, .. } = post.spot();
        let bind = frontend.config.binds.get(bind);
        bind.is_some_and(|bind| !bind.address.is_unix())
    };
    if refuses()
        && let Err(error) = rustix::net::shutdown(listener, rustix::net::Shutdown::Read)
    {
        tracing::debug!("a listener goes on: {error}");
    }
    loop {
        // It may serve another frontend by now.
        let Spot {
            worker, frontend, ..
        } = post.spot();
        if post.is_closed() {
            return false;
        }
        let gate = Arc::clone(frontend.gate());
        if gate.is_open() {
            let backlog = super::listener::backlog(&frontend, post.spot().bind);
            if refuses()
                && let Err(error) = rustix::net::listen(listener, backlog)
            {
                tracing::error!("frontend {}: cannot listen again: {error}", frontend.name);
            }
            return true;
        }
        let stopping = worker.stopping();
        // Whoever waits does not keep the view.
        drop((worker, frontend));
        tokio::select! {
            () = gate.is(true) => {}
            () = post.moved() => {}
            () = stopping => return false,
        }
    }
}

/// Has one listen that does not: it was opened beside those that another process lends, or was lent and shut by its lender,
/// since the frontend there was paused, and this one, of another name, is not.
fn listening(post: &Post, listener: &TcpListener) {
    let Spot { frontend, bind, .. } = post.spot();
    let by_unix = |bind: &Bind| bind.address.is_unix();
    if !frontend.gate().is_open() || frontend.config.binds.get(bind).is_some_and(by_unix) {
        return;
    }
    if rustix::net::sockopt::socket_acceptconn(listener) == Ok(false)
        && let Err(error) = rustix::net::listen(listener, super::listener::backlog(&frontend, bind))
    {
        tracing::error!("frontend {}: cannot listen: {error}", frontend.name);
    }
}

/// A listener that tells when somebody knocks.
fn watched(post: &Post, listener: Rc<TcpListener>) -> Option<AsyncFd<Rc<TcpListener>>> {
    // SAFETY: a `TcpListener` owns its descriptor and names the same one at each call; this pointer to it is dropped only
    // after the `AsyncFd` around it has let go of it.
    match unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) } {
        Ok(listener) => Some(listener),
        Err(error) => {
            let name = &post.spot().frontend.name;
            tracing::error!("frontend {name}: cannot watch its listener: {error}");
            None
        }
    }
}

/// A connection, and who opened it: nobody in particular where that is by a unix socket. Such a
/// connection goes by a [`Socket`] like others: see [`dial::connect`](crate::wire::dial::connect).
fn accept_one(listener: &TcpListener, by_unix: Option<Peer>) -> io::Result<(OwnedFd, Peer)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let (fd, address) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = match by_unix {
        Some(peer) => peer,
        None => {
            let address = address
                .and_then(|address| SocketAddr::try_from(address).ok())
                .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            SocketAddr::new(address.ip().to_canonical(), address.port()).into()
        }
    };
    Ok((fd, peer))
}

/// accept(2) passes on errors of the connection itself, which are over with it.
fn is_clients_fault(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM
        )
    )
}

/// Begins to serve a connection. One that was accepted promptly, when it had just come, is hardly ever there with its request
/// already; of others see [`Socket`].
fn serve(
    worker: &Rc<Worker>,
    stream: OwnedFd,
    address: Peer,
    (bind, prompt): (usize, bool),
    place: Place,
) {
    let accepted = Instant::now();
    let frontend = place.accepted.frontend();
    frontend.count_connection(worker.shared.topology.clock.at(accepted));
    worker.shared.accepted.inc();
    let stream = Socket::accepted(stream);
    if prompt && let Err(error) = stream.watch() {
        worker.shared.accept_errors.inc();
        tracing::error!(
            "frontend {}: cannot watch a connection: {error}",
            frontend.name
        );
        return;
    }
    let habits = &frontend.config.habits;
    if *habits != Habits::default() {
        sockopt::habits(&stream, habits);
    }
    let mode = frontend.config.mode;
    let preamble = frontend
        .config
        .binds
        .get(bind)
        .is_some_and(Bind::has_preamble);
    let client = Client {
        stream: Stream::Plain(stream),
        address,
        destination: None,
        introduced: None,
        tls: None,
        accepted,
        accepted_at: SystemTime::now(),
        session: RefCell::default(),
        place,
        bind,
    };
    let served = Served::begin(worker);
    let entered = worker.enter(&client);
    // Boxed, since what is spawned is moved several times on its way into and out of the runtime, whole.
    let serving = Box::pin(async move {
        let worker = Rc::clone(&served.0);
        let client = match preamble {
            false => client,
            true => match Box::pin(entrance::enter(&worker, client, bind)).await {
                Some(client) => client,
                None => return,
            },
        };
        let client = match sieve::let_in(&worker, client) {
            Some(client) => client,
            None => return,
        };
        match mode {
            Mode::Tcp => Box::pin(tcp::serve(worker, client)).await,
            Mode::Http => {
                let http_2 = Box::pin(http::serve(worker, client)).await;
                if let Some(arrival) = http_2 {
                    Box::pin(http::serve_http_2(arrival)).await;
                }
            }
        }
    });
    tokio::task::spawn_local(async move { sessions::serve(&entered, serving).await });
}
