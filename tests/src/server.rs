//! Servers that name themselves and record what they saw.
//!
//! A server is one thread in its namespace that polls all of its connections (`engine`), so that thousands of them cost
//! little. It may be stopped, restarted, made to hang or to answer otherwise while it runs.

mod engine;
mod http;
mod udp;

pub use udp::UdpServer;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::{Context, Netns, Result};
use engine::{Command, Engine, Order};

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1 with keep-alive; the body's first line is the server's name.
    Http,
    /// Says its name and a newline at once, then sends back what it is sent, until the client closes.
    Echo,
    /// Says its name and a newline and closes.
    Name,
    /// Says nothing and swallows all it is sent: the far end of a bulk transfer.
    Sink,
}

/// A running server; stopped on drop.
#[derive(Debug)]
pub struct Server {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// An answer to HTTP requests.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code, 200 unless said otherwise.
    pub status: u16,
    /// Header lines in order, beside Content-Length and, where it closes, Connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// How long the answer is held back.
    pub delay: Duration,
    /// Closes after the answer whatever the request says.
    pub close: bool,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug)]
pub enum Body {
    /// The server's name on the first line, then the request's head as it came.
    Echo,
    /// That many bytes.
    Size(usize),
    /// Exactly these.
    Bytes(Vec<u8>),
}

impl Default for Answer {
    fn default() -> Answer {
        Answer {
            status: 200,
            headers: Vec::new(),
            body: Body::Echo,
            delay: Duration::ZERO,
            close: false,
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who sent it, as the server's socket sees him.
    pub peer: SocketAddr,
    /// The connection that it came on, counted from 1.
    pub connection: u64,
    /// Method, as `GET`.
    pub method: String,
    /// Target as it stood in the request line.
    pub target: String,
    /// Version, as `HTTP/1.1`.
    pub version: String,
    /// Header lines in order, names as they were written.
    pub headers: Vec<(String, String)>,
    /// The whole body, decoded if it was chunked.
    pub body: Vec<u8>,
}

impl Request {
    /// The values of all lines of one name, in order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let of_name = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }
}

/// What the server's thread and its owner share.
#[derive(Debug)]
struct Shared {
    conduct: Mutex<Conduct>,
    seen: Mutex<Seen>,
    accepted: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    health_checks: AtomicU64,
    received: AtomicU64,
    stuck: AtomicBool,
    wake: rustix::fd::OwnedFd,
}

/// How requests are answered now.
#[derive(Debug)]
struct Conduct {
    health_path: String,
    healthy: bool,
    answer: Arc<Answer>,
    by_path: BTreeMap<String, Arc<Answer>>,
}

/// What was seen, newest last. Bounded, the counts are not.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    peers: Vec<SocketAddr>,
}

/// How many requests and peers a server remembers.
pub const MEMORY: usize = 100_000;

impl Server {
    /// Starts a server on an address of the namespace. It listens when this returns.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(
        netns: &Netns,
        name: &str,
        protocol: Protocol,
        address: impl Into<SocketAddr>,
    ) -> Result<Server> {
        let address = address.into();
        let (orders, inbox) = mpsc::channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context(|| "make an event descriptor")?;
        let shared = Arc::new(Shared {
            conduct: Mutex::new(Conduct {
                health_path: "/healthCheck.html".to_owned(),
                healthy: true,
                answer: Arc::default(),
                by_path: BTreeMap::new(),
            }),
            seen: Mutex::default(),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            health_checks: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            wake,
        });
        let engine = Engine::new(name, protocol, shared.clone(), inbox)?;
        let namespace = netns.handle();
        let thread = thread::Builder::new()
            .name(format!("server {name}"))
            .spawn(move || match namespace.enter() {
                Ok(_inside) => engine.run(),
                Err(error) => eprintln!("a server cannot enter its namespace: {error}"),
            })
            .context(|| format!("start server {name}"))?;
        let mut server = Server {
            name: name.to_owned(),
            address,
            shared,
            orders,
            thread: Some(thread),
        };
        server.restart()?;
        Ok(server)
    }

    /// The name that it gives.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, as a process that ends.
    pub fn stop(&mut self) {
        self.order(Command::Close);
        self.order(Command::CloseConnections);
    }

    /// Closes the listener alone: new connections are refused, those there are go on.
    pub fn refuse(&mut self) {
        self.order(Command::Close);
    }

    /// Ends every connection with RST.
    pub fn reset_connections(&mut self) {
        self.order(Command::ResetConnections);
    }

    /// Listens again after [`Server::stop`] or [`Server::refuse`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn restart(&mut self) -> Result<()> {
        let (reply, bound) = mpsc::sync_channel(1);
        self.send(Order {
            command: Command::Listen(self.address),
            reply,
        });
        let lost = || std::io::Error::other("its thread has ended");
        bound
            .recv()
            .unwrap_or_else(|_| Err(lost()))
            .context(|| format!("server {} cannot listen on {}", self.name, self.address))
    }

    /// While stuck it accepts connections and says nothing; afterwards it answers what it has been asked.
    pub fn hang(&mut self, stuck: bool) {
        self.shared.stuck.store(stuck, Ordering::SeqCst);
        self.order(Command::LookAgain);
    }

    /// Whether the health path is answered by 200 or by 503.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.conduct().healthy = healthy;
    }

    /// The path that health checks ask for, `/healthCheck.html` unless set. They are counted apart.
    pub fn set_health_path(&self, path: &str) {
        path.clone_into(&mut self.shared.conduct().health_path);
    }

    /// How requests are answered from now on.
    pub fn set_answer(&self, answer: Answer) {
        self.shared.conduct().answer = Arc::new(answer);
    }

    /// How requests for one path (without its query) are answered from now on.
    pub fn set_answer_for(&self, path: &str, answer: Answer) {
        self.shared
            .conduct()
            .by_path
            .insert(path.to_owned(), Arc::new(answer));
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Requests answered so far, health checks apart.
    pub fn served(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Health checks answered so far.
    pub fn health_checks(&self) -> u64 {
        self.shared.health_checks.load(Ordering::SeqCst)
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::SeqCst)
    }

    /// The requests since the last call, oldest first, at most [`MEMORY`].
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.seen().requests)
    }

    /// The peers that connected since the last call, oldest first, at most [`MEMORY`].
    pub fn take_peers(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.shared.seen().peers)
    }

    /// Sends an order and waits until it is carried out.
    fn order(&self, command: Command) {
        let (reply, done) = mpsc::sync_channel(1);
        self.send(Order { command, reply });
        let _ = done.recv();
    }

    fn send(&self, order: Order) {
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.order(Command::Quit);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw_peer(&self, peer: SocketAddr) {
        let mut seen = self.seen();
        if seen.peers.len() < MEMORY {
            seen.peers.push(peer);
        }
    }

    /// Chooses the answer and takes note. The lock is not held while answering.
    fn answer_to(&self, request: Request) -> Arc<Answer> {
        let path = request.target.split('?').next().unwrap_or_default();
        let conduct = self.conduct();
        if path == conduct.health_path {
            self.health_checks.fetch_add(1, Ordering::SeqCst);
            let status = if conduct.healthy { 200 } else { 503 };
            let body = Body::Bytes(Vec::new());
            return Arc::new(Answer {
                status,
                body,
                ..Answer::default()
            });
        }
        let answer = conduct.by_path.get(path).unwrap_or(&conduct.answer).clone();
        drop(conduct);
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut seen = self.seen();
        if seen.requests.len() < MEMORY {
            seen.requests.push(request);
        }
        answer
    }
}

/// A listener with a queue that a burst of connections does not overflow (the standard library's holds 128).
pub(crate) fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}
