//! The server's thread: one epoll over the listener, the orders and every connection.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::sockopt;

use super::http::{self, Parsed};
use super::{Protocol, Shared, listener};
use crate::{Context, Result};

/// What the owner wants done.
pub(super) enum Command {
    Listen(SocketAddr),
    Close,
    CloseConnections,
    ResetConnections,
    LookAgain,
    Quit,
}

/// A command and where to say that it is done.
pub(super) struct Order {
    pub(super) command: Command,
    pub(super) reply: SyncSender<io::Result<()>>,
}

const LISTENER: u64 = 0;
const ORDERS: u64 = 1;

/// Connections accepted in a row: on a slow machine new ones may come as quickly as they are taken, and those that are
/// there must have their turn.
const ACCEPTED_IN_A_ROW: usize = 64;

/// Reading stops while this much waits to be sent, in bytes.
const BACKLOG: usize = 1 << 20;

pub(super) struct Engine {
    name: String,
    protocol: Protocol,
    shared: Arc<Shared>,
    inbox: Receiver<Order>,
    epoll: OwnedFd,
    listener: Option<TcpListener>,
    connections: HashMap<u64, Connection>,
    /// Those whose answer is held back.
    held: BTreeSet<u64>,
    /// Also the number of connections so far, plus [`ORDERS`].
    last: u64,
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` is out.
    sent: usize,
    /// Output waits until then.
    due: Option<Instant>,
    /// No more will come in.
    ended: bool,
    /// To be closed when all output is out.
    closing: bool,
    interest: EventFlags,
}

impl Engine {
    pub(super) fn new(
        name: &str,
        protocol: Protocol,
        shared: Arc<Shared>,
        inbox: Receiver<Order>,
    ) -> Result<Engine> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context(|| "make an epoll")?;
        epoll::add(
            &epoll,
            &shared.wake,
            EventData::new_u64(ORDERS),
            EventFlags::IN,
        )
        .context(|| "watch for orders")?;
        Ok(Engine {
            name: name.to_owned(),
            protocol,
            shared,
            inbox,
            epoll,
            listener: None,
            connections: HashMap::new(),
            held: BTreeSet::new(),
            last: ORDERS,
        })
    }

    /// Runs until told to quit.
    pub(super) fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(256);
        loop {
            events.clear();
            let pause = self
                .pause()
                .and_then(|pause| Timespec::try_from(pause).ok());
            let waited = epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                pause.as_ref(),
            );
            if waited.is_err_and(|error| error != rustix::io::Errno::INTR) {
                return;
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    ORDERS => {
                        if !self.obey() {
                            return;
                        }
                    }
                    id => self.turn(id, event.flags),
                }
            }
            self.send_what_is_due();
        }
    }

    /// Until the next held-back answer.
    fn pause(&self) -> Option<Duration> {
        let held = self.held.iter().filter_map(|id| self.connections.get(id));
        let next = held.filter_map(|connection| connection.due).min()?;
        // Rounded up, or the last millisecond would be spent polling.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn send_what_is_due(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_due = |id: &&u64| {
            let connection = self.connections.get(id);
            connection.is_some_and(|connection| connection.due.is_some_and(|due| due <= now))
        };
        for id in self.held.iter().filter(is_due).copied().collect::<Vec<_>>() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.due = None;
            }
            self.turn(id, EventFlags::empty());
        }
    }

    /// Carries out what was ordered; false to quit.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&self.shared.wake, &mut [0u8; 8]);
        while let Ok(order) = self.inbox.try_recv() {
            let mut result = Ok(());
            match order.command {
                Command::Listen(address) => result = self.listen(address),
                Command::Close => self.close_listener(),
                Command::CloseConnections => self.close_all(),
                Command::ResetConnections => {
                    for connection in self.connections.values() {
                        let _ =
                            sockopt::set_socket_linger(&connection.stream, Some(Duration::ZERO));
                    }
                    self.close_all();
                }
                Command::LookAgain => {
                    for id in self.connections.keys().copied().collect::<Vec<_>>() {
                        self.turn(id, EventFlags::empty());
                    }
                }
                Command::Quit => {
                    self.listener = None;
                    self.close_all();
                    let _ = order.reply.send(Ok(()));
                    return false;
                }
            }
            let _ = order.reply.send(result);
        }
        true
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<()> {
        self.listener = None;
        let listener = listener(address)?;
        epoll::add(
            &self.epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Stops listening. Shut down first: a child that another thread has just forked holds the socket open until it
    /// executes its program.
    fn close_listener(&mut self) {
        if let Some(listener) = self.listener.take() {
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
    }

    fn close_all(&mut self) {
        self.connections.clear();
        self.held.clear();
        self.shared.open.store(0, Ordering::SeqCst);
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED_IN_A_ROW {
            let Some(Ok((stream, peer))) = self.listener.as_ref().map(TcpListener::accept) else {
                break;
            };
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            self.last += 1;
            let interest = EventFlags::IN | EventFlags::RDHUP;
            let data = EventData::new_u64(self.last);
            if epoll::add(&self.epoll, &stream, data, interest).is_err() {
                continue;
            }
            self.shared.accepted.fetch_add(1, Ordering::SeqCst);
            self.shared.open.fetch_add(1, Ordering::SeqCst);
            self.shared.saw_peer(peer);
            let mut connection = Connection {
                stream,
                peer,
                input: Vec::new(),
                output: Vec::new(),
                sent: 0,
                due: None,
                ended: false,
                closing: self.protocol == Protocol::Name,
                interest,
            };
            if matches!(self.protocol, Protocol::Echo | Protocol::Name) {
                connection.output = format!("{}\n", self.name).into_bytes();
            }
            self.connections.insert(self.last, connection);
            self.turn(self.last, EventFlags::empty());
        }
    }

    /// Moves one connection on as far as it goes.
    fn turn(&mut self, id: u64, events: EventFlags) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let alive = if events.contains(EventFlags::ERR) {
            false
        } else {
            connection.receive(&self.shared)
                && {
                    if !self.shared.stuck.load(Ordering::SeqCst) {
                        connection.work(&self.name, self.protocol, &self.shared, id - ORDERS);
                    }
                    self.shared.stuck.load(Ordering::SeqCst) || connection.send()
                }
                && connection.watch(&self.epoll, id)
        };
        if alive && connection.due.is_some() {
            self.held.insert(id);
        } else {
            self.held.remove(&id);
        }
        if !alive {
            self.connections.remove(&id);
            self.shared.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Connection {
    fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Reads what there is; false when the connection is lost.
    fn receive(&mut self, shared: &Shared) -> bool {
        let mut buffer = [0u8; 65536];
        while !self.ended && self.waiting() < BACKLOG && self.input.len() < 64 * BACKLOG {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    shared.received.fetch_add(length as u64, Ordering::SeqCst);
                    self.input.extend_from_slice(&buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if self.input.len() > BACKLOG {
                // Let the others have their turn; epoll reports what is left.
                break;
            }
        }
        true
    }

    /// Turns input into output.
    fn work(&mut self, name: &str, protocol: Protocol, shared: &Shared, number: u64) {
        match protocol {
            Protocol::Sink | Protocol::Name => self.input.clear(),
            Protocol::Echo => self.output.append(&mut self.input),
            Protocol::Http => {
                while self.due.is_none() && !self.closing {
                    match http::parse(&self.input, self.peer, number) {
                        Parsed::Partial => break,
                        Parsed::Bad => {
                            self.output.extend_from_slice(
                                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                            );
                            self.closing = true;
                        }
                        Parsed::Whole(request, head, length) => {
                            let answer = shared.answer_to(request.clone());
                            let head = &self.input[..head];
                            let (bytes, close) = http::render(name, &request, head, &answer);
                            self.output.extend_from_slice(&bytes);
                            self.closing = close;
                            if !answer.delay.is_zero() {
                                self.due = Some(Instant::now() + answer.delay);
                            }
                            self.input.drain(..length);
                        }
                    }
                }
            }
        }
    }

    /// Writes what may go; false when the connection is done with.
    fn send(&mut self) -> bool {
        if self.due.is_some() {
            return true;
        }
        while self.waiting() > 0 {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.output.clear();
        self.sent = 0;
        !(self.ended || self.closing)
    }

    /// Asks epoll for what can be made use of now; false when it refuses.
    fn watch(&mut self, epoll: &OwnedFd, id: u64) -> bool {
        let mut interest = EventFlags::empty();
        if !self.ended && self.waiting() < BACKLOG {
            interest |= EventFlags::IN | EventFlags::RDHUP;
        }
        if self.waiting() > 0 && self.due.is_none() {
            interest |= EventFlags::OUT;
        }
        if interest == self.interest {
            return true;
        }
        self.interest = interest;
        epoll::modify(epoll, &self.stream, EventData::new_u64(id), interest).is_ok()
    }
}
