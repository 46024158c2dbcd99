//! Opening a connection to a server.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use tokio::net::TcpStream;

use super::{Stream, header::Ends};
use crate::{
    config::model::{Address, ProxyOptions, ProxyVersion, Spoof},
    rules::Links,
    topology::Server,
    wire::{
        Socket,
        dial::{self, Handshake, Origin, Unready},
        header::{Introduction, Whom},
    },
};

/// Why a server could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It did not answer within `timeouts.connect`.
    #[error("no answer in time")]
    Timeout,
    /// It, or something on the way, refused.
    #[error("{0}")]
    Refused(io::Error),
    /// We lack what a connection needs: descriptors, ports, memory.
    #[error("out of resources: {0}")]
    Resource(io::Error),
}

impl ConnectError {
    /// The same for another that has waited for the connection.
    pub fn again(&self) -> Self {
        let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Self::Timeout => Self::Timeout,
            Self::Refused(error) => Self::Refused(copy(error)),
            Self::Resource(error) => Self::Resource(copy(error)),
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(&error) {
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::NOBUFS
                | Errno::ADDRNOTAVAIL
                | Errno::AGAIN,
            ) => Self::Resource(error),
            _ => Self::Refused(error),
        }
    }
}

/// Everything that a connection to a server is made by, so that it can be made once more.
#[derive(Debug, Clone)]
pub struct Way {
    /// The server.
    pub server: Arc<Server>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// What is different for each client; most servers are reached alike by all.
    pub own: Option<Box<Own>>,
    /// HTTP/1 is to be spoken, whatever else its TLS could agree on.
    pub http_1: bool,
    /// What is to be sent is there already.
    pub speaks: bool,
    /// What of it is to be remembered once it is made.
    pub wants: Links,
}

/// What makes a connection to a server one that not every client may use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Own {
    /// The ends that its PROXY header tells of; it tells of none for clients without an address.
    ends: Option<Ends>,
    /// What that header tells besides.
    told: Box<[u8]>,
    /// The name that TLS asks for.
    host: Option<Box<str>>,
    /// Whose it is, where nobody else may have it.
    pub client: Option<u64>,
    /// The address that it comes from, which is none of ours.
    from: Option<SocketAddr>,
    /// Where it goes, where the client has a say in that.
    to: Option<SocketAddr>,
}

impl Own {
    /// What is different at `server` for a client with these `ends` that asks for `host`, for this `client` alone if it is
    /// named. `told` makes what a header of version 2 tells besides, `field` finds the address in a field of the request.
    pub fn of(
        server: &Server,
        ends: impl Fn() -> Option<Ends>,
        host: impl FnOnce() -> Option<Box<str>>,
        told: impl FnOnce(ProxyOptions) -> Vec<u8>,
        field: impl FnOnce(&HeaderName, i32) -> Option<IpAddr>,
        client: Option<u64>,
    ) -> Option<Box<Self>> {
        let source = || ends().map(|ends| ends.source);
        let from = match &server.config.dialling.spoof {
            None => None,
            Some(Spoof::Client) => source(),
            Some(Spoof::ClientAddress) => source().map(|source| (source.ip(), 0).into()),
            Some(Spoof::Address(address)) => Some(*address),
            Some(Spoof::Field(name, which)) => field(name, *which).map(|ip| (ip, 0).into()),
        };
        // What the file says is looked at first: it costs nothing, and this is asked for each request.
        let to = server
            .config
            .address
            .asked()
            .and_then(|_| server.address().asked()?.of(ends()?.destination));
        let wants_host = server.tls.as_ref().is_some_and(|tls| tls.wants_host());
        let introduces = server.config.send_proxy.is_some();
        let tells = server.config.send_proxy == Some(ProxyVersion::V2);
        let options = server.config.proxy_options;
        (wants_host || introduces || client.is_some() || from.is_some() || to.is_some()).then(
            || {
                Box::new(Self {
                    client,
                    from,
                    to,
                    ends: introduces.then(&ends).flatten(),
                    told: match tells {
                        true => told(options).into(),
                        false => Box::default(),
                    },
                    host: wants_host.then(host).flatten(),
                })
            },
        )
    }
}

impl Way {
    /// Makes a connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(self) -> Result<Stream, ConnectError> {
        let Self {
            server,
            timeout,
            own,
            http_1,
            speaks,
            wants: _,
        } = self;
        server.counters.connects.inc();
        let bare = server.tls.is_none() && server.config.send_proxy.is_none();
        let from = own.as_ref().and_then(|own| own.from);
        let to = own.as_ref().and_then(|own| own.to);
        let address = to.map_or_else(|| server.address(), Address::Inet);
        let origin = Origin {
            source: from.or(server.config.source),
            foreign: from.is_some(),
            options: Some(&server.config.dialling),
            speaks: !bare || speaks,
        };
        if bare {
            let stream = connect(&address, origin, timeout).await?;
            return Ok(Stream::Plain(match address {
                Address::Unix(_) => stream.into(),
                _ => Socket::unhurried(stream),
            }));
        }
        let whole = Box::pin(async {
            let own = own.as_deref();
            let introduction = server.config.send_proxy.and_then(|version| {
                let own = own?;
                Some(Introduction {
                    version,
                    told: &own.told,
                    whom: own.ends.map_or(Whom::Unnamed, Whom::Client),
                })
            });
            let stream = dial::connect(&address, origin).await?;
            let tls = server.tls.as_deref().map(|connector| Handshake {
                connector,
                address: address.certified(),
                host: own.and_then(|own| own.host.as_deref()),
                http_1,
            });
            let ready = dial::prepare(stream, introduction, tls).await;
            ready.map_err(|unready| match unready {
                Unready::Broken(error) => error.into(),
                Unready::Tls(error) => {
                    let (backend, name) = (&server.backend, &server.name);
                    match server.tls.as_ref().is_some_and(|tls| tls.tells()) {
                        true => tracing::warn!(
                            "server {backend}/{name} cannot be reached over TLS: {error}"
                        ),
                        false => tracing::debug!("server {backend}/{name}: no TLS: {error}"),
                    }
                    ConnectError::Refused(error)
                }
            })
        });
        tokio::time::timeout(timeout, whole)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }
}

/// Connects to `address` from `origin` as [`dial::connect`] does, within `timeout`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    address: &Address,
    origin: Origin<'_>,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    match tokio::time::timeout(timeout, dial::connect(address, origin)).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => Err(ConnectError::Timeout),
    }
}
