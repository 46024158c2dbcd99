//! Opening a connection to a server.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::{TcpSocket, TcpStream};

use super::Stream;
use crate::topology::Server;

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
}

impl Way {
    /// Makes a connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(self) -> Result<Stream, ConnectError> {
        Ok(connect(self.server.address, self.timeout).await?.into())
    }
}

/// Connects to `address`; TCP_NODELAY is set.
///
/// The socket is not bound first: connect(2) then takes a source port that is free for this destination, as it would
/// with IP_BIND_ADDRESS_NO_PORT.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_nodelay(true)?;
    match tokio::time::timeout(timeout, socket.connect(address)).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => Err(ConnectError::Timeout),
    }
}
