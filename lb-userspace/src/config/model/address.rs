//! Where something listens: an address and a port, or a unix socket.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

/// Longest path of a unix socket, the NUL behind it left out (unix(7)).
pub const LONGEST_PATH: usize = 107;

/// Where a bind or a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and a port.
    Inet(SocketAddr),
    /// The path of a unix socket.
    Unix(Arc<Path>),
    /// A host name and a port, whose address is yet to be found out; without a port the name of SRV records.
    Name(Arc<str>, Option<u16>),
    /// Where the client asked to go, as far as it says nothing else.
    Asked(Asked),
}

/// A server's address that is wholly or in part the one that the client connected to, or that a rule has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The address, where it is not the client's.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: AskedPort,
}

/// A port of [`Asked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedPort {
    /// This one.
    Is(u16),
    /// So much above the one that the client asked for, or below.
    Moved(i32),
}

impl Asked {
    /// For a client that asked for `destination`; `None` if there is no such port.
    pub fn of(&self, destination: SocketAddr) -> Option<SocketAddr> {
        let port = match self.port {
            AskedPort::Is(port) => port,
            AskedPort::Moved(by) => u16::try_from(i32::from(destination.port()) + by).ok()?,
        };
        let ip = self.ip.unwrap_or(destination.ip());
        (port != 0 && !ip.is_unspecified()).then_some(SocketAddr::new(ip, port))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => f.write_str("*")?,
            Some(IpAddr::V4(ip)) => ip.fmt(f)?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
        }
        match self.port {
            AskedPort::Is(port) => write!(f, ":{port}"),
            AskedPort::Moved(0) if self.ip.is_none() => Ok(()),
            AskedPort::Moved(by) => write!(f, ":{by:+}"),
        }
    }
}

impl Address {
    /// Address and port; a unix socket has neither, a name no address.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) | Self::Name(..) | Self::Asked(_) => None,
        }
    }

    /// The address alone.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Asked(asked) => asked.ip,
            _ => self.inet().map(|address| address.ip()),
        }
    }

    /// The port alone.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
            Self::Name(_, port) => *port,
            Self::Asked(Asked {
                port: AskedPort::Is(port),
                ..
            }) => Some(*port),
            Self::Unix(_) | Self::Asked(_) => None,
        }
    }

    /// What of it is the client's to say.
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Self::Asked(asked) => Some(asked),
            _ => None,
        }
    }

    /// The path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Inet(_) | Self::Name(..) | Self::Asked(_) => None,
        }
    }

    /// Whether it is a unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Whether it is a name.
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Name(..))
    }

    /// Whether it is an IPv4 address.
    pub fn is_ipv4(&self) -> bool {
        self.inet().is_some_and(|address| address.is_ipv4())
    }

    /// Whether it is an IPv6 address.
    pub fn is_ipv6(&self) -> bool {
        self.inet().is_some_and(|address| address.is_ipv6())
    }

    /// Whom a certificate is to name where the file gives no name. What listens on a unix socket is on this host.
    pub fn certified(&self) -> IpAddr {
        self.ip().unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// What a request's authority may be where nobody has named one.
    pub fn authority(&self) -> String {
        match self {
            Self::Inet(_) | Self::Name(..) | Self::Asked(_) => self.to_string(),
            Self::Unix(_) => "localhost".into(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Asked(asked) => asked.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Name(host, Some(port)) => write!(f, "{host}:{port}"),
            Self::Name(host, None) => f.write_str(host),
        }
    }
}

/// Whose the file of a unix socket is that we listen on, and who may connect; what is not said stays as the system makes
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// The file's mode.
    pub mode: Option<u32>,
    /// Its owner: a name, or a number.
    pub user: Option<String>,
    /// Its group, likewise.
    pub group: Option<String>,
}
