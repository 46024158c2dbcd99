//! Clients: connections from chosen addresses, and many of them at once with a tally of who answered.

mod steady;
mod udp;

pub use steady::{Experience, Steady};
pub use udp::{Account, Datagrams};

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect as connect_socket, socket_with,
};

use crate::{Context, Netns, Result, netns::NetnsHandle};

/// How long a connection may take for any one step before it counts as failed.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// Connects from within a namespace, from `source` if one is given. Reads and writes on it fail after ten seconds.
///
/// # Errors
/// As connect(2), and when the source address cannot be bound.
pub fn connect(netns: &Netns, target: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream> {
    netns
        .run(|| connect_here(target, source))
        .context(|| format!("connect to {target} from {}", netns.name()))
}

fn connect_here(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The limit for sending is also the one for connecting.
    for direction in [Timeout::Send, Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, direction, Some(STEP_LIMIT))?;
    }
    if let Some(source) = source {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    connect_socket(&socket, &target).map_err(|error| match error {
        // What a blocking connect says when SO_SNDTIMEO ends it.
        Errno::INPROGRESS => io::Error::from(io::ErrorKind::TimedOut),
        error => error.into(),
    })?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads the line that a server says of itself at connect, without its newline.
///
/// # Errors
/// When the connection ends or stalls before.
pub fn greeting(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0u8];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return String::from_utf8(line).map_err(io::Error::other);
        }
        line.push(byte[0]);
    }
}

/// Sends bytes to an echo server and expects them back.
///
/// # Errors
/// When others come back, or none.
pub fn echo(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    if back == bytes {
        Ok(())
    } else {
        Err(io::Error::other("other bytes came back"))
    }
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The status line and header lines as they came, without line ends.
    pub head: Vec<String>,
    /// The body, as long as Content-Length says, else until the connection ended.
    pub body: Vec<u8>,
}

impl Response {
    /// The values of all lines of one name, in order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self
            .head
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
            .collect()
    }

    /// The body's first line: the name of the server, if it is one of ours.
    pub fn server(&self) -> String {
        let line = self
            .body
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    }
}

/// Sends a request as it stands and reads one response (no chunked ones).
///
/// # Errors
/// When the connection ends or stalls before the response does, or what comes is no HTTP.
pub fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Response> {
    stream.write_all(request)?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::other("closed without a response"));
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let status = head
        .first()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {head:?}")))?;
    let mut response = Response {
        status,
        head,
        body: Vec::new(),
    };
    match response
        .header("content-length")
        .first()
        .map(|length| length.parse::<u64>())
    {
        _ if request.starts_with(b"HEAD ") || status == 204 || status == 304 => {}
        Some(length) => {
            let length = length.map_err(io::Error::other)?;
            let read = reader.take(length).read_to_end(&mut response.body)?;
            if (read as u64) < length {
                return Err(io::Error::other("closed within the body"));
            }
        }
        None => {
            reader.read_to_end(&mut response.body)?;
        }
    }
    Ok(response)
}

/// Many connections one after the other, some at a time.
#[derive(Clone, Debug)]
pub struct Load {
    target: SocketAddr,
    connections: usize,
    parallel: usize,
    rate: Option<u32>,
    sources: Vec<IpAddr>,
    ask: Ask,
}

/// What each connection of a [`Load`] does to learn who is there.
#[derive(Clone, Debug)]
enum Ask {
    /// Reads a greeting.
    Greeting,
    /// Says something, reads a greeting and has what it said back.
    Word,
    /// Gets a path over HTTP.
    Get(String),
}

/// Who answered how often, and what failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by the server's name.
    pub by_name: BTreeMap<String, u64>,
    /// One sentence per failed connection.
    pub failures: Vec<String>,
}

impl Tally {
    /// Answers of one server.
    pub fn of(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Answers of all servers.
    pub fn answered(&self) -> u64 {
        self.by_name.values().sum()
    }
}

impl Load {
    /// One connection to this address that reads a greeting.
    pub fn to(target: impl Into<SocketAddr>) -> Load {
        Load {
            target: target.into(),
            connections: 1,
            parallel: 1,
            rate: None,
            sources: Vec::new(),
            ask: Ask::Greeting,
        }
    }

    /// How many connections in all.
    pub fn connections(mut self, count: usize) -> Load {
        self.connections = count;
        self
    }

    /// How many at a time.
    pub fn parallel(mut self, count: usize) -> Load {
        self.parallel = count.max(1);
        self
    }

    /// At most that many new ones a second, evenly. A pause is not made up for.
    pub fn rate(mut self, per_second: u32) -> Load {
        self.rate = Some(per_second.max(1));
        self
    }

    /// Connection `i` comes from address `i` of these, and round again.
    pub fn from(mut self, sources: impl IntoIterator<Item = impl Into<IpAddr>>) -> Load {
        self.sources = sources.into_iter().map(Into::into).collect();
        self
    }

    /// Says something to an echo server before it reads the greeting. Who is answered with a SYN cookie has to: if the end
    /// of his handshake is lost, the server knows nothing of him, and nothing else makes the client send it again.
    pub fn speaks_first(mut self) -> Load {
        self.ask = Ask::Word;
        self
    }

    /// Gets a path over HTTP on each connection instead of reading a greeting.
    pub fn get(mut self, path: &str) -> Load {
        self.ask = Ask::Get(path.to_owned());
        self
    }

    /// Runs it from within a namespace.
    pub fn run(self, netns: &Netns) -> Tally {
        self.start(netns).finish()
    }

    /// Starts it in the background.
    pub fn start(self, netns: &Netns) -> Running {
        let load = Arc::new(self);
        let state = Arc::<State>::default();
        let threads = (0..load.parallel).map(|_| {
            let (load, state, namespace) = (load.clone(), state.clone(), netns.handle());
            thread::spawn(move || load.work(&state, &namespace))
        });
        Running {
            threads: threads.collect(),
            state,
        }
    }

    /// Takes one connection after the other until none is left.
    fn work(&self, state: &State, namespace: &NetnsHandle) {
        let mut tally = Tally::default();
        match namespace.enter() {
            Ok(_inside) => {
                while !state.stop.load(Ordering::Relaxed) {
                    let i = state.next.fetch_add(1, Ordering::Relaxed);
                    if i >= self.connections {
                        break;
                    }
                    if let Some(rate) = self.rate {
                        thread::sleep(state.turn(rate));
                    }
                    match self.one(i) {
                        Ok(name) => *tally.by_name.entry(name).or_default() += 1,
                        Err(error) => tally.failures.push(format!("connection {i}: {error}")),
                    }
                    state.done.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => tally.failures.push(format!("enter the namespace: {error}")),
        }
        let mut sum = state.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in tally.by_name {
            *sum.by_name.entry(name).or_default() += count;
        }
        sum.failures.extend(tally.failures);
    }

    fn one(&self, i: usize) -> io::Result<String> {
        let source = match self.sources.len() {
            0 => None,
            length => Some(self.sources[i % length]),
        };
        let mut stream = connect_here(self.target, source)?;
        match &self.ask {
            Ask::Greeting => greeting(&mut stream),
            Ask::Word => {
                const WORD: &[u8] = b"a word";
                stream.write_all(WORD)?;
                let name = greeting(&mut stream)?;
                // With something left unread it would end by a reset, which nobody repeats if it is lost.
                let mut back = [0; WORD.len()];
                stream.read_exact(&mut back)?;
                Ok(name)
            }
            Ask::Get(path) => {
                let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.target);
                let response = exchange(&mut stream, request.as_bytes())?;
                if response.status == 200 {
                    Ok(response.server())
                } else {
                    Err(io::Error::other(format!("status {}", response.status)))
                }
            }
        }
    }
}

/// A [`Load`] in the background. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    next: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
    /// When the next connection of a bounded rate may begin.
    due: Mutex<Option<Instant>>,
    tally: Mutex<Tally>,
}

impl State {
    /// Takes the next place in a bounded rate: how long it is until then.
    fn turn(&self, rate: u32) -> Duration {
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = due.unwrap_or(now).max(now);
        *due = Some(mine + Duration::from_secs(1) / rate);
        mine - now
    }
}

impl Running {
    /// Connections done so far, failed ones included.
    pub fn done(&self) -> usize {
        self.state.done.load(Ordering::Relaxed)
    }

    /// Lets every connection come to its end and starts no more.
    pub fn stop(self) -> Tally {
        self.state.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all connections are done.
    pub fn finish(mut self) -> Tally {
        self.join();
        std::mem::take(
            &mut *self
                .state
                .tally
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.join();
    }
}
