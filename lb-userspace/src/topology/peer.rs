//! Who is at the other end of a client's connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// A client, or where it connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An address and a port.
    Inet(SocketAddr),
    /// Somebody on this host, by a unix socket: the number of the bind, from 1. Logs show it where others have a port.
    Unix(u32),
}

impl Peer {
    /// Address and port; who comes by a unix socket has neither.
    pub fn inet(self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(address),
            Self::Unix(_) => None,
        }
    }

    /// The address alone.
    pub fn ip(self) -> Option<IpAddr> {
        self.inet().map(|address| address.ip())
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// As HAProxy writes it: an IPv6 address bare, one that is mapped as IPv4, and `unix:1`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{}:{}", address.ip().to_canonical(), address.port()),
            Self::Unix(bind) => write!(f, "unix:{bind}"),
        }
    }
}
