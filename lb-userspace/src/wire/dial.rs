//! Opening a connection to a server: connect, introduce whom it is for, shake hands.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::TlsStream;

use super::{Socket, Stream, header, sockopt};
use crate::{
    config::model::{Address, Dialling},
    tls::Connector,
};

/// Why the server did not become reachable after it was connected to.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// The connection broke off.
    #[error(transparent)]
    Broken(io::Error),
    /// The handshake failed.
    #[error(transparent)]
    Tls(io::Error),
}

/// Where a connection comes from, and what its socket is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The address, and the port if that is not 0; `None`: what the system chooses.
    pub source: Option<SocketAddr>,
    /// The address is not this host's.
    pub foreign: bool,
    /// The rest.
    pub options: Option<&'a Dialling>,
    /// Whoever connects speaks first, so that the first segment may carry what is said.
    pub speaks: bool,
}

/// Connects to `address` from `origin`; over TCP, TCP_NODELAY is set.
///
/// Without a source the socket is not bound first: connect(2) then takes a source port that is free for this destination,
/// as it does with IP_BIND_ADDRESS_NO_PORT.
///
/// # Errors
/// What the system says.
pub async fn connect(address: &Address, origin: Origin<'_>) -> io::Result<TcpStream> {
    let address = match address {
        Address::Inet(address) => *address,
        Address::Unix(path) => return unix(path),
        // It is not chosen; one that was may have lost its address meanwhile.
        Address::Name(..) | Address::Asked(_) => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let socket = match address.is_ipv4() {
        true => TcpSocket::new_v4(),
        false => TcpSocket::new_v6(),
    }?;
    socket.set_nodelay(true)?;
    if let Some(options) = origin.options {
        sockopt::habits(&socket, &options.habits);
        if let Some(time) = options.user_timeout {
            SockRef::from(&socket).set_tcp_user_timeout(Some(time))?;
        }
        if let Some(name) = &options.interface {
            SockRef::from(&socket).bind_device(Some(name.as_bytes()))?;
        }
        if options.fast_open && origin.speaks {
            sockopt::fast_open(&socket);
        }
    }
    if let Some(source) = origin.source {
        if origin.foreign {
            sockopt::foreign(&socket, source.is_ipv6())?;
        }
        match source.port() {
            0 => sockopt::late_port(&socket)?,
            // As HAProxy, so that the port is had again at once.
            _ => socket.set_reuseaddr(true)?,
        }
        socket.bind(source)?;
    }
    socket.connect(address).await
}

/// Connects to the unix socket at `path`. It does so at once or not at all: a socket whose backlog is full is EAGAIN.
///
/// What is behind the [`TcpStream`] is no TCP, but all that is done with one of ours (reading, writing, looking, splicing,
/// closing one way) goes by the descriptor, whatever its family.
fn unix(path: &Path) -> io::Result<TcpStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    TcpStream::from_std(socket.into())
}

/// A handshake with a server.
#[derive(Debug, Clone, Copy)]
pub struct Handshake<'a> {
    /// How its file says.
    pub connector: &'a Connector,
    /// Where the server is.
    pub address: IpAddr,
    /// The name to ask for where the file gives none.
    pub host: Option<&'a str>,
    /// HTTP/1.1 alone is offered.
    pub http_1: bool,
}

/// Says what comes before a connection's own bytes: a PROXY header, TLS.
///
/// # Errors
/// See [`Unready`].
pub async fn prepare(
    mut stream: TcpStream,
    introduction: Option<header::Introduction<'_>>,
    tls: Option<Handshake<'_>>,
) -> Result<Stream, Unready> {
    if let Some(introduction) = introduction {
        let header = introduction.bytes(&stream);
        stream.write_all(&header).await.map_err(Unready::Broken)?;
    }
    let Some(tls) = tls else {
        return Ok(stream.into());
    };
    let connecting = tls
        .connector
        .connect(Socket::from(stream), tls.address, tls.host, tls.http_1);
    let stream = connecting.await;
    let stream = stream.map_err(Unready::Tls)?;
    Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
}
