//! What is said of sockets beside their addresses.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderName;

use super::{Bind, Config, Server};
use crate::rules::RuleSet;

/// What a bind says of its sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sockets {
    /// Most connections at a time that have come by it.
    pub maxconn: Option<u32>,
    /// Connections that the kernel keeps until they are accepted, where that is not the frontend's `backlog`.
    pub backlog: Option<u32>,
    /// The segment size that clients are told; if it is negative, by how much less is sent at a time than they would take.
    pub mss: Option<i32>,
    /// How long data may wait for a client's acknowledgement.
    pub user_timeout: Option<Duration>,
    /// Connections count once they have brought something.
    pub defer_accept: bool,
    /// TCP Fast Open.
    pub fast_open: bool,
    /// The interface that clients have to come by.
    pub interface: Option<Arc<str>>,
    /// The address need not be one of this host's.
    pub transparent: bool,
}

/// `sockets` of a frontend, for its clients' connections, or of a backend, for those to its servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Habits {
    /// The kernel asks from time to time whether the other end is there.
    pub keepalive: Option<KeepAlive>,
    /// They end by a reset: what is not sent by then never is.
    pub resets: bool,
    /// The other end has to say something in its time, whatever it is told meanwhile.
    pub independent: bool,
}

/// `keepalive` of `sockets`; what is not said is the system's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeepAlive {
    /// Silence before the first question.
    pub idle: Option<Duration>,
    /// From one question to the next.
    pub interval: Option<Duration>,
    /// Questions without an answer that end the connection.
    pub count: Option<u32>,
}

/// How connections to a server are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialling {
    /// The backend's.
    pub habits: Habits,
    /// How long data may wait for the server's acknowledgement.
    pub user_timeout: Option<Duration>,
    /// TCP Fast Open.
    pub fast_open: bool,
    /// The interface that they leave by.
    pub interface: Option<Arc<str>>,
    /// Whose address they come from, if not lb's.
    pub spoof: Option<Spoof>,
}

impl Config {
    /// Whether sockets are to be what only CAP_NET_ADMIN or CAP_NET_RAW allows.
    pub fn rules_networks(&self) -> bool {
        let of_bind = |bind: &Bind| bind.sockets.transparent || bind.sockets.interface.is_some();
        let mut binds = self.frontends.iter().flat_map(|frontend| &frontend.binds);
        let of_server = |server: &Server| {
            server.dialling.spoof.is_some() || server.dialling.interface.is_some()
        };
        let mut servers = self.backends.iter().flat_map(|backend| &backend.servers);
        let marks = |sets: [&RuleSet; 3]| sets.into_iter().any(RuleSet::marks);
        let frontends = self.frontends.iter();
        let backends = self.backends.iter();
        binds.any(of_bind)
            || servers.any(of_server)
            || frontends
                .map(|f| [&f.rules, &f.connection_rules, &f.inspect.rules])
                .any(marks)
            || backends
                .map(|b| [&b.rules, &b.inspect.rules, &b.inspect_response.rules])
                .any(marks)
    }
}

/// `as` of `source`: who the server believes to speak to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoof {
    /// The client, with its port.
    Client,
    /// The client, with any port.
    ClientAddress,
    /// This one, with any port if it is 0.
    Address(SocketAddr),
    /// The address in a field of the request: which occurrence, counted from 1, or from the last backwards from -1.
    Field(HeaderName, i32),
}

impl Spoof {
    /// Whether each client has a connection of its own.
    pub fn is_clients(&self) -> bool {
        !matches!(self, Self::Address(_))
    }
}
