//! Listening sockets: one for each bind and worker, sharing the port by SO_REUSEPORT.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::udp;
use crate::{
    config::model::{Bind, Transport},
    topology::{Frontend, Topology},
};

/// Connections that the kernel holds for us until they are accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The listeners of one worker.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Each with the frontend it is of, and which of its binds.
    pub sockets: Vec<(Arc<Frontend>, TcpListener, usize)>,
    /// The same for UDP.
    pub datagrams: Vec<(Arc<Frontend>, UdpSocket)>,
}

/// A bind that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody has it.
    #[error(
        "frontend {frontend}: {bind} is in use by another process: stop that one (`ss -lntup` names it) or choose another port"
    )]
    InUse {
        /// The frontend.
        frontend: String,
        /// The bind as it was written.
        bind: String,
    },
    /// The address is not of this host.
    #[error(
        "frontend {frontend}: {bind} is not an address of this host: add it to an interface or bind \"*\""
    )]
    NotOurs {
        /// The frontend.
        frontend: String,
        /// The bind as it was written.
        bind: String,
    },
    /// A port below 1024 without the right to it.
    #[error(
        "frontend {frontend}: no permission to listen on {bind}: start as root or with CAP_NET_BIND_SERVICE, or take a port from 1024 on"
    )]
    Denied {
        /// The frontend.
        frontend: String,
        /// The bind as it was written.
        bind: String,
    },
    /// Anything else.
    #[error("frontend {frontend}: cannot listen on {bind}: {source}")]
    Io {
        /// The frontend.
        frontend: String,
        /// The bind as it was written.
        bind: String,
        /// The system's words.
        source: io::Error,
    },
}

impl Listeners {
    /// Opens every bind of every frontend, once for each of `workers`.
    ///
    /// # Errors
    /// The first bind that cannot be had.
    pub fn open(topology: &Topology, workers: usize) -> Result<Vec<Self>, ListenError> {
        let mut all: Vec<Self> = (0..workers).map(|_| Self::default()).collect();
        for frontend in &topology.frontends {
            for (index, bind) in frontend.config.binds.iter().enumerate() {
                let explain = |source: io::Error| explain(&frontend.name, bind, source);
                let address = claim_address(bind).map_err(explain)?;
                for worker in &mut all {
                    let frontend = Arc::clone(frontend);
                    let socket = bound(bind, address, true).map_err(explain)?;
                    match bind.transport {
                        Transport::Tcp => {
                            socket.listen(BACKLOG).map_err(explain)?;
                            worker.sockets.push((frontend, socket.into(), index));
                        }
                        Transport::Udp => {
                            udp::socket::prepare(&socket, address).map_err(explain)?;
                            worker.datagrams.push((frontend, socket.into()));
                        }
                    }
                }
            }
        }
        Ok(all)
    }
}

/// Makes sure that nobody else listens there, which sockets with SO_REUSEPORT would not notice, and finds the port if
/// the bind asks for any (0).
fn claim_address(bind: &Bind) -> io::Result<SocketAddr> {
    // Bound, but never listening: a client that came in between would be reset.
    let probe = bound(bind, bind.address, false)?;
    probe
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

fn bound(bind: &Bind, address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let (kind, protocol) = match bind.transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!bind.both_families)?;
    }
    socket.set_nonblocking(true)?;
    if bind.transport == Transport::Tcp {
        // With UDP it would let anyone take the port who sets it too.
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it: answers leave at once instead of waiting for the client's ACK.
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn explain(frontend: &str, bind: &Bind, source: io::Error) -> ListenError {
    let (frontend, bind) = (frontend.to_owned(), bind.text.clone());
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { frontend, bind },
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { frontend, bind },
        io::ErrorKind::PermissionDenied => ListenError::Denied { frontend, bind },
        _ => ListenError::Io {
            frontend,
            bind,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::model::Balance,
        topology::{Topology, fixtures},
    };

    fn topology(bind: SocketAddr) -> Topology {
        let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
        Topology::new(&fixtures::config(
            vec![fixtures::frontend("f", bind, "b")],
            vec![backend],
        ))
    }

    #[test]
    fn every_worker_listens_on_the_same_port() {
        let listeners = Listeners::open(&topology(([127, 0, 0, 1], 0).into()), 3).unwrap();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|l| l.sockets[0].1.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(
            ports[0] != 0 && ports.iter().all(|&port| port == ports[0]),
            "{ports:?}"
        );
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_holder_would_share_it() {
        let holder = Listeners::open(&topology(([127, 0, 0, 1], 0).into()), 1).unwrap();
        let taken = holder[0].sockets[0].1.local_addr().unwrap();
        let error = Listeners::open(&topology(taken), 1).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let error = Listeners::open(&topology(([192, 0, 2, 1], 0).into()), 1).unwrap_err();
        assert!(matches!(error, ListenError::NotOurs { .. }), "{error}");
    }
}
