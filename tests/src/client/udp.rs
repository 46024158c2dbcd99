//! Many UDP flows, each from a port of its own, whose datagrams are numbered and come back whole, or are missed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::Netns;
use crate::bulk::Pattern;
use crate::netns::NetnsHandle;

/// Flow and sequence number in front of each datagram, in bytes.
const HEADER: usize = 16;
/// How many flows have a datagram under way at a time, per thread.
const WINDOW: usize = 32;
const THREADS: usize = 2;

/// A datagram that is not back after so long is lost.
const LOST: Duration = Duration::from_secs(2);

/// Datagrams to a [`crate::server::UdpServer`].
#[derive(Clone, Debug)]
pub struct Datagrams {
    target: SocketAddr,
    flows: usize,
    each: usize,
    size: usize,
    sources: Vec<IpAddr>,
    first_port: Option<u16>,
}

/// What became of [`Datagrams`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Sent.
    pub sent: u64,
    /// Came back as they were sent.
    pub back: u64,
    /// Did not.
    pub lost: u64,
    /// Flows by the server that answered.
    pub by_name: BTreeMap<String, u64>,
    /// One sentence each: datagrams that came back changed, flows that changed server, errors of sockets.
    pub failures: Vec<String>,
}

impl Datagrams {
    /// One flow of one datagram of 100 bytes.
    pub fn to(target: impl Into<SocketAddr>) -> Datagrams {
        Datagrams {
            target: target.into(),
            flows: 1,
            each: 1,
            size: 100,
            sources: Vec::new(),
            first_port: None,
        }
    }

    /// How many flows, each from a socket of its own.
    pub fn flows(mut self, count: usize) -> Datagrams {
        self.flows = count;
        self
    }

    /// How many datagrams each flow sends; one is under way at a time.
    pub fn each(mut self, count: usize) -> Datagrams {
        self.each = count;
        self
    }

    /// Bytes of payload, at least 16; the answer has the server's name beside.
    pub fn size(mut self, bytes: usize) -> Datagrams {
        self.size = bytes.max(HEADER);
        self
    }

    /// Flow `i` comes from address `i` of these, and round again.
    pub fn from(mut self, sources: impl IntoIterator<Item = impl Into<IpAddr>>) -> Datagrams {
        self.sources = sources.into_iter().map(Into::into).collect();
        self
    }

    /// Takes ports from this one on, as many as flows share an address, instead of any that is free just then: whoever
    /// counts flows wants no port twice.
    pub fn ports(mut self, first: u16) -> Datagrams {
        self.first_port = Some(first);
        self
    }

    /// Sends them all from within a namespace and waits for what comes back.
    pub fn run(&self, netns: &Netns) -> Account {
        let workers = (0..THREADS).map(|worker| {
            let (namespace, this) = (netns.handle(), self.clone());
            thread::spawn(move || this.work(worker, &namespace))
        });
        let workers: Vec<_> = workers.collect();
        let mut account = Account::default();
        for worker in workers {
            match worker.join() {
                Ok(part) => account.add(part),
                Err(_) => account.failures.push("a thread has panicked".to_owned()),
            }
        }
        account
    }

    /// Every [`THREADS`]th flow.
    fn work(&self, worker: usize, namespace: &NetnsHandle) -> Account {
        let mut account = Account::default();
        let _inside = match namespace.enter() {
            Ok(inside) => inside,
            Err(error) => {
                account
                    .failures
                    .push(format!("enter the namespace: {error}"));
                return account;
            }
        };
        let pattern = Pattern::new();
        let own: Vec<usize> = (worker..self.flows).step_by(THREADS).collect();
        for group in own.chunks(WINDOW) {
            let mut flows = Vec::new();
            for id in group {
                match self.open(*id) {
                    Ok(flow) => flows.push(flow),
                    Err(error) => account.failures.push(format!("flow {id}: {error}")),
                }
            }
            for sequence in 0..self.each as u64 {
                self.round(&mut flows, sequence, &pattern, &mut account);
            }
            for server in flows.into_iter().filter_map(|flow| flow.server) {
                *account.by_name.entry(server).or_default() += 1;
            }
        }
        account
    }

    fn open(&self, id: usize) -> io::Result<Flow> {
        let any: IpAddr = match self.target {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let (source, place) = match self.sources.len() {
            0 => (any, id),
            length => (self.sources[id % length], id / length),
        };
        let port = self.first_port.map_or(0, |first| first + place as u16);
        let socket = UdpSocket::bind((source, port))?;
        socket.connect(self.target)?;
        Ok(Flow {
            id: id as u64,
            socket,
            server: None,
        })
    }

    /// A datagram of each flow there and back.
    fn round(&self, flows: &mut [Flow], sequence: u64, pattern: &Pattern, account: &mut Account) {
        let mut datagram = vec![0u8; self.size];
        for flow in flows.iter() {
            flow.fill(&mut datagram, sequence, pattern);
            account.sent += 1;
            if let Err(error) = flow.socket.send(&datagram) {
                account
                    .failures
                    .push(format!("flow {}: send: {error}", flow.id));
            }
        }
        let deadline = Instant::now() + LOST;
        for flow in flows {
            flow.fill(&mut datagram, sequence, pattern);
            match flow.receive(&datagram, deadline) {
                Ok(Some(server)) => {
                    account.back += 1;
                    let known = flow.server.get_or_insert_with(|| server.clone());
                    if *known != server {
                        let text = format!("flow {} moved from {known} to {server}", flow.id);
                        account.failures.push(text);
                    }
                }
                Ok(None) => account.lost += 1,
                Err(error) => {
                    account.lost += 1;
                    account
                        .failures
                        .push(format!("flow {} at {sequence}: {error}", flow.id));
                }
            }
        }
    }
}

impl Account {
    /// All came back whole, and each flow had one server.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.failures.is_empty() && self.back == self.sent
    }

    fn add(&mut self, part: Account) {
        self.sent += part.sent;
        self.back += part.back;
        self.lost += part.lost;
        self.failures.extend(part.failures);
        for (name, flows) in part.by_name {
            *self.by_name.entry(name).or_default() += flows;
        }
    }
}

struct Flow {
    id: u64,
    socket: UdpSocket,
    server: Option<String>,
}

impl Flow {
    fn fill(&self, datagram: &mut [u8], sequence: u64, pattern: &Pattern) {
        datagram[..8].copy_from_slice(&self.id.to_be_bytes());
        datagram[8..HEADER].copy_from_slice(&sequence.to_be_bytes());
        let content = &mut datagram[HEADER..];
        content.copy_from_slice(pattern.at(self.id * 31 + sequence * 7, content.len()));
    }

    /// Waits for the answer: who sent it, or nothing once the time is over. Late answers to earlier ones are stepped
    /// over.
    fn receive(&self, sent: &[u8], deadline: Instant) -> io::Result<Option<String>> {
        let mut buffer = vec![0u8; sent.len() + 256];
        loop {
            // No timeout would mean to wait forever.
            let left = deadline.saturating_duration_since(Instant::now());
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if left.is_zero() {
                        return Ok(None);
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let front = 1 + buffer[..length]
                .first()
                .map_or(0, |name| usize::from(*name));
            let Some(content) = buffer[..length].get(front..) else {
                return Err(io::Error::other("an answer that is too short"));
            };
            if content == sent {
                return Ok(Some(
                    String::from_utf8_lossy(&buffer[1..front]).into_owned(),
                ));
            }
            if content.len() != sent.len()
                || content[..8] != sent[..8]
                || content[8..HEADER] == sent[8..HEADER]
            {
                return Err(io::Error::other("other bytes came back"));
            }
        }
    }
}
