//! Listening sockets: one for each bind and worker, sharing the port by SO_REUSEPORT.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    inherited::{self, Inherited, Lent},
    udp,
};
use crate::{
    accounts,
    config::model::{Address, Bind, Transport},
    socket_file::{self, Access, SocketFile, SocketFileError},
    topology::{Frontend, Topology},
    wire::sockopt,
};

/// Connections that the kernel holds for us until they are accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The listeners of one worker.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Each with the frontend it is of, and which of its binds.
    pub sockets: Vec<(Arc<Frontend>, TcpListener, usize)>,
    /// The same for UDP.
    pub datagrams: Vec<(Arc<Frontend>, UdpSocket, usize)>,
    /// The names of those that are unix sockets, which go with the last worker: frontend, bind, file.
    pub files: Vec<(usize, usize, Arc<SocketFile>)>,
}

/// Files of unix sockets.
#[derive(Debug)]
pub struct Files(Vec<Arc<SocketFile>>);

impl Files {
    /// They are this process's from now on, and go with it.
    pub fn own(&self) {
        for file in &self.0 {
            file.own();
        }
    }
}

/// What tells one listening socket from another, whichever frontend it serves: what the kernel knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seat {
    transport: Transport,
    address: Address,
    both_families: bool,
    /// How many such there are before it: a port that the kernel chooses may be asked for more than once.
    nth: usize,
}

impl Seat {
    /// Where it is, of a unix socket.
    pub(super) fn path(&self) -> Option<&Path> {
        self.address.path()
    }

    /// What two processes call it.
    pub fn text(&self) -> String {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let address = match &self.address {
            Address::Inet(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
            // Only servers have names.
            Address::Name(..) | Address::Asked(_) => String::new(),
        };
        let both = if self.both_families { " v4v6" } else { "" };
        format!("{transport} {address}{both} #{}", self.nth)
    }
}

/// Each bind of each frontend, with its seat.
pub(super) fn seats(topology: &Topology) -> impl Iterator<Item = (Seat, &Arc<Frontend>, usize)> {
    let mut known: HashMap<(Transport, &Address, bool), usize> = HashMap::new();
    let binds = topology.frontends.iter().flat_map(|frontend| {
        let binds = frontend.config.binds.iter().enumerate();
        binds.map(move |(index, bind)| (frontend, index, bind))
    });
    binds.map(move |(frontend, index, bind)| {
        let nth = known
            .entry((bind.transport, &bind.address, bind.both_families))
            .or_default();
        let seat = Seat {
            transport: bind.transport,
            address: bind.address.clone(),
            both_families: bind.both_families,
            nth: *nth,
        };
        *nth += 1;
        (seat, frontend, index)
    })
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
    /// A unix socket.
    #[error("frontend {frontend}: {bind}: {source}; {mend}", mend = mend(source))]
    Unix {
        /// The frontend.
        frontend: String,
        /// The bind as it was written.
        bind: String,
        /// What stands in the way.
        source: SocketFileError,
    },
    /// A user or group that there is not.
    #[error(
        "frontend {frontend}: {bind}: this host has no {what} {name}: create it or name another"
    )]
    NoOwner {
        /// The frontend.
        frontend: String,
        /// The bind as it was written.
        bind: String,
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
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

/// How many connections the kernel is to keep for a frontend.
pub(super) fn backlog(frontend: &Frontend, bind: usize) -> i32 {
    let own = frontend.config.binds.get(bind);
    let own = own.and_then(|bind| bind.sockets.backlog);
    let wanted = own.or(frontend.config.accepting.backlog);
    wanted.map_or(BACKLOG, |wanted| i32::try_from(wanted).unwrap_or(i32::MAX))
}

impl Listeners {
    /// Opens every bind of every frontend, once for each of `workers`.
    ///
    /// # Errors
    /// The first bind that cannot be had.
    pub fn open(topology: &Topology, workers: usize) -> Result<Vec<Self>, ListenError> {
        Self::open_with(topology, workers, &mut Lent::default())
    }

    /// The same, where another process still listens on what it has `lent`: that is taken instead of opened, whatever the
    /// number of workers was there.
    ///
    /// # Errors
    /// The first bind that cannot be had.
    pub fn open_with(
        topology: &Topology,
        workers: usize,
        lent: &mut Lent,
    ) -> Result<Vec<Self>, ListenError> {
        Self::open_more(topology, workers, &HashSet::new(), &HashSet::new(), lent)
    }

    /// The files of all unix sockets.
    pub fn files(all: &[Self]) -> Files {
        let files = all.iter().flat_map(|listeners| &listeners.files);
        Files(files.map(|(_, _, file)| Arc::clone(file)).collect())
    }

    /// Opens the binds that are not among those that are `held`, once for each of `workers`. Sockets of this process may
    /// be bound to `ours` besides.
    ///
    /// # Errors
    /// The first bind that cannot be had.
    pub(super) fn open_more(
        topology: &Topology,
        workers: usize,
        held: &HashSet<Seat>,
        ours: &HashSet<&Seat>,
        lent: &mut Lent,
    ) -> Result<Vec<Self>, ListenError> {
        // Sockets of the other process are as good as our own.
        let ports_lent = lent.ports();
        let mut all: Vec<Self> = (0..workers).map(|_| Self::default()).collect();
        let mut inherited = Inherited::take();
        for (seat, frontend, index) in seats(topology) {
            if held.contains(&seat) {
                continue;
            }
            if let Some(bind) = frontend.config.binds.get(index) {
                let explain = |source: io::Error| explain(&frontend.name, bind, source);
                let mut passed = lent.take(&seat.text());
                // Another process takes all who come, until it is known that this one serves.
                let backlog_now = passed.is_empty().then(|| backlog(frontend, index));
                let mut file = None;
                if passed.is_empty() {
                    passed = inherited.of(bind);
                } else if let Address::Unix(path) = &bind.address {
                    file = Some(Arc::new(SocketFile::lent(path, lent.file(path))));
                }
                if !passed.is_empty() {
                    let sockets = inherited::spread(passed, bind.transport, workers, || {
                        beside(bind, backlog_now)
                    });
                    for (worker, socket) in sockets.map_err(explain)? {
                        if bind.transport == Transport::Tcp && !bind.address.is_unix() {
                            sockopt::listening(&socket, &bind.sockets);
                        }
                        let (worker, frontend) = (&mut all[worker], Arc::clone(frontend));
                        if let Some(file) = &file {
                            let file = (frontend.index, index, Arc::clone(file));
                            worker.files.push(file);
                        }
                        match bind.transport {
                            Transport::Tcp => worker.sockets.push((frontend, socket.into(), index)),
                            Transport::Udp => {
                                if let Address::Inet(address) = bind.address {
                                    udp::socket::prepare(&socket, address).map_err(explain)?;
                                }
                                worker.datagrams.push((frontend, socket.into(), index));
                            }
                        }
                    }
                    continue;
                }
                let asked = match &bind.address {
                    Address::Inet(address) => *address,
                    // The file has none.
                    Address::Name(..) | Address::Asked(_) => continue,
                    Address::Unix(path) => {
                        let (socket, file) = listen_on_file(frontend, index, bind, path)?;
                        let file = Arc::new(file);
                        for worker in &mut all {
                            // One socket for all: a path has no SO_REUSEPORT. Whoever is first takes the connection.
                            let socket = socket.try_clone().map_err(explain)?;
                            let socket = (Arc::clone(frontend), socket.into(), index);
                            worker.sockets.push(socket);
                            worker
                                .files
                                .push((frontend.index, index, Arc::clone(&file)));
                        }
                        continue;
                    }
                };
                let shares = shares_port(bind, ours)
                    || ports_lent.contains(&(bind.transport, bind.address.port()));
                let address = claim_address(bind, asked, shares).map_err(explain)?;
                for worker in &mut all {
                    let backlog = backlog(frontend, index);
                    let frontend = Arc::clone(frontend);
                    let socket = bound(bind, address, true).map_err(explain)?;
                    match bind.transport {
                        Transport::Tcp => {
                            socket.listen(backlog).map_err(explain)?;
                            worker.sockets.push((frontend, socket.into(), index));
                        }
                        Transport::Udp => {
                            udp::socket::prepare(&socket, address).map_err(explain)?;
                            worker.datagrams.push((frontend, socket.into(), index));
                        }
                    }
                }
            }
        }
        inherited.finish();
        Ok(all)
    }
}

/// One more socket beside those of a bind that others have opened. Without a `backlog` nobody can come by it yet.
fn beside(bind: &Bind, backlog: Option<i32>) -> io::Result<Socket> {
    let Address::Inet(address) = bind.address else {
        return Err(io::ErrorKind::AddrInUse.into());
    };
    let socket = bound(bind, address, true)?;
    if let Some(backlog) = backlog.filter(|_| bind.transport == Transport::Tcp) {
        socket.listen(backlog)?;
    }
    Ok(socket)
}

/// Makes sure that nobody else listens there, which sockets with SO_REUSEPORT would not notice, and finds the port if
/// the bind asks for any (0). One that is ours may have the port by another address: `*:80` beside `192.0.2.1:80`.
fn claim_address(bind: &Bind, address: SocketAddr, shares: bool) -> io::Result<SocketAddr> {
    // Bound, but never listening: a client that came in between would be reset.
    let probe = match bound(bind, address, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && shares => {
            bound(bind, address, true)?
        }
        probe => probe?,
    };
    probe
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

fn shares_port(bind: &Bind, ours: &HashSet<&Seat>) -> bool {
    let (transport, port) = (bind.transport, bind.address.port());
    ours.iter()
        .any(|seat| seat.transport == transport && seat.address.port() == port)
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
        sockopt::before_bind(&socket, &bind.sockets, address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    if bind.transport == Transport::Tcp {
        sockopt::listening(&socket, &bind.sockets);
    }
    Ok(socket)
}

fn listen_on_file(
    frontend: &Frontend,
    index: usize,
    bind: &Bind,
    path: &Path,
) -> Result<(OwnedFd, SocketFile), ListenError> {
    let access = access(frontend, bind)?;
    SocketFile::listen(path, access, backlog(frontend, index))
        .map_err(|source| unix(frontend, bind, source))
}

/// Gives the files of unix sockets that stay to whom `after` says, where `before` has said something else.
///
/// # Errors
/// The first that cannot be given away.
pub(super) fn give_files(before: &Topology, after: &Topology) -> Result<(), ListenError> {
    let binds = before.frontends.iter().flat_map(|f| &f.config.binds);
    let known: HashMap<_, _> = binds
        .filter_map(|bind| Some((bind.address.path()?, &bind.permissions)))
        .collect();
    for frontend in &after.frontends {
        for bind in &frontend.config.binds {
            let Some(path) = bind.address.path() else {
                continue;
            };
            if known.get(path).is_some_and(|p| **p != bind.permissions) {
                socket_file::give(path, access(frontend, bind)?)
                    .map_err(|source| unix(frontend, bind, source))?;
            }
        }
    }
    Ok(())
}

fn access(frontend: &Frontend, bind: &Bind) -> Result<Access, ListenError> {
    let number = |name: &Option<String>, what, find: fn(&str) -> Option<u32>| {
        let Some(name) = name else { return Ok(None) };
        let found = find(name).or_else(|| name.parse().ok());
        found.map(Some).ok_or_else(|| ListenError::NoOwner {
            frontend: frontend.name.to_string(),
            bind: bind.text.clone(),
            what,
            name: name.clone(),
        })
    };
    let user = |name: &str| accounts::user(name).map(|(user, _)| user);
    Ok(Access {
        mode: bind.permissions.mode,
        user: number(&bind.permissions.user, "user", user)?,
        group: number(&bind.permissions.group, "group", accounts::group)?,
    })
}

fn unix(frontend: &Frontend, bind: &Bind, source: SocketFileError) -> ListenError {
    ListenError::Unix {
        frontend: frontend.name.to_string(),
        bind: bind.text.clone(),
        source,
    }
}

/// What to do about a path that cannot be listened on.
fn mend(error: &SocketFileError) -> &'static str {
    match error {
        SocketFileError::InUse => "stop that one (`ss -lxp` names it) or choose another path",
        SocketFileError::NotASocket => "remove it or choose another path",
        SocketFileError::System { .. } => {
            "its folder has to exist and to be writable, and only root gives files away; an lb that runs already makes none \
             in folders that it was not started with (restart it)"
        }
    }
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
mod tests;
