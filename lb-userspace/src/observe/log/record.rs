//! The facts of one finished connection or request, as the access log needs them.
//!
//! The data paths fill these as plain borrowed data at the end of a session; how they are written is
//! [`super::httplog`]'s, [`super::tcplog`]'s and [`super::json`]'s business.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::termination::{CookieSeen, CookieSet, Termination};
use crate::{
    config::model::{AccessLog, LogLine, LogOptions},
    rules::{Captured, Value},
    topology::Peer,
};

/// What a TCP connection and an HTTP request have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Common<'a> {
    /// How the frontend wants it written (`log_format`).
    pub format: &'a AccessLog,
    /// Whether it wants it at all.
    pub options: LogOptions,
    /// The client, after a PROXY header if one was accepted.
    pub client: Peer,
    /// When the connection was accepted, or for a request when its first byte arrived.
    pub accepted: SystemTime,
    /// The frontend's name.
    pub frontend: &'a str,
    /// Whether the client's side was TLS, which HAProxy shows as a `~` after the frontend's name.
    pub tls: bool,
    /// The backend's name; `None` where none was chosen, which reads as the frontend's own name.
    pub backend: Option<&'a str>,
    /// The server, or why there is none.
    pub server: ServerField<'a>,
    /// Time spent waiting for a server's slot (HAProxy's Tw); `None` reads `-1`: never got there.
    pub queued: Option<Duration>,
    /// Time until the connection to the server stood (Tc).
    pub connected: Option<Duration>,
    /// Whole time, from the accept or the first byte of the request to the last byte sent (Tt or Ta).
    pub total: Duration,
    /// Bytes received from the client.
    pub bytes_in: u64,
    /// Bytes sent to the client, heads included.
    pub bytes_out: u64,
    /// How it ended.
    pub termination: Termination,
    /// Sessions at the time of logging, this one included.
    pub active: Active,
    /// Times the connection to a server was tried again.
    pub retries: u32,
    /// Whether it was redispatched to another server, shown as a `+` before the retries.
    pub redispatched: bool,
    /// Requests that were ahead of this one in the server's queue.
    pub server_queue: u32,
    /// Requests that were ahead of this one in the backend's queue.
    pub backend_queue: u32,
    /// What only some lines are about.
    pub extra: Extra<'a>,
}

impl Common<'_> {
    /// What stands before figures that are not final.
    pub(super) fn so_far(&self) -> &'static str {
        match self.options.asap {
            true => "+",
            false => "",
        }
    }
}

/// What only some lines are about, and whoever fills a record leaves out where nobody asks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Extra<'a> {
    /// What the frontend keeps of messages.
    pub captured: Option<&'a Captured>,
    /// What the expressions of the frontend's line have come to, in their order.
    pub samples: &'a [Option<Value<'static>>],
    /// The line of its structured data.
    pub structured: Option<Structured<'a>>,
    /// Handshakes before the first request of a connection (HAProxy's Th).
    pub handshake: Duration,
    /// From there, or from the end of the request before, to the first byte (Ti).
    pub idle: Duration,
    /// The address that the client came to.
    pub destination: Option<Peer>,
    /// Our end of the connection to the server.
    pub local: Option<SocketAddr>,
    /// The server's address.
    pub server: Option<Peer>,
    /// The request's unique id.
    pub id: Option<&'a [u8]>,
    /// Version and cipher of the client's TLS.
    pub tls: Option<(&'a str, &'a str)>,
    /// Lines of the frontend before this one.
    pub lines: u64,
    /// The request's number in this process.
    pub number: u64,
}

/// Structured data of a line, for targets whose format has any.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Structured<'a> {
    /// What it consists of.
    pub line: &'a LogLine,
    /// What its expressions have come to.
    pub samples: &'a [Option<Value<'static>>],
}

/// The server's part of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerField<'a> {
    /// A server took it.
    Name(&'a str),
    /// No server was chosen or none was available: `<NOSRV>`.
    None,
    /// The stats page answered: `<STATS>`.
    Stats,
}

impl<'a> ServerField<'a> {
    /// As it is written in the line.
    pub fn text(self) -> &'a str {
        match self {
            Self::Name(name) => name,
            Self::None => "<NOSRV>",
            Self::Stats => "<STATS>",
        }
    }
}

/// Sessions that were open when the line was written (HAProxy's actconn/feconn/beconn/srv_conn).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Active {
    /// Of the process.
    pub process: u32,
    /// Of the frontend.
    pub frontend: u32,
    /// Of the backend.
    pub backend: u32,
    /// Of the server.
    pub server: u32,
}

/// A finished TCP connection: HAProxy's `option tcplog`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TcpRecord<'a> {
    /// Everything there is.
    pub common: Common<'a>,
    /// Which path carried it.
    pub path: Path,
}

/// Which data path carried a connection. Only the JSON form says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The kernel's.
    Kernel,
    /// The daemon's own.
    Userspace,
}

/// A finished HTTP request: HAProxy's `option httplog`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HttpRecord<'a> {
    /// What it shares with TCP connections.
    pub common: Common<'a>,
    /// Time from the first byte to the end of the request's head (TR); `None` if it never was complete.
    pub request_received: Option<Duration>,
    /// Time from the connection to the server until its response head (Tr).
    pub responded: Option<Duration>,
    /// The status sent to the client; `None` reads `-1`: nothing was sent.
    pub status: Option<u16>,
    /// The request line; `None` reads `<BADREQ>`.
    pub request: Option<RequestLine<'a>>,
    /// What the sticky cookie in the request was.
    pub cookie_seen: CookieSeen,
    /// What was done to the sticky cookie in the response.
    pub cookie_set: CookieSet,
}

/// A request line's three parts as the client sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// The target, query included.
    pub uri: &'a str,
    /// `HTTP/1.1` and so on.
    pub version: &'a str,
}
