//! Listening sockets that others have opened: a service manager (sd_listen_fds(3)), matched to binds by their address, or
//! the lb whose place this process takes, by what both call them.
//!
//! They stay open there while lb restarts, so that clients wait instead of being refused. With `ReusePort=yes` in the
//! socket unit, and if they are this user's, lb opens more beside each, one a worker; without, the workers share what
//! there is.

use std::{
    collections::{HashMap, HashSet},
    env, io,
    net::SocketAddr,
    os::fd::{AsFd, FromRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{SocketType, sockopt::socket_type},
};
use socket2::Socket;

use crate::{
    config::model::{Address, Bind, Transport},
    socket_file::Identity,
};

/// The first descriptor that is passed on.
const FIRST: RawFd = 3;

/// Those that are passed on and nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<(Name, Transport, Socket)>);

/// Sockets of the lb whose place this process takes, which still listens on them as well, by what they are called
/// ([`Seat::text`](super::Seat::text)).
#[derive(Debug, Default)]
pub struct Lent {
    sockets: HashMap<String, Vec<Socket>>,
    /// Those of unix sockets, as the other process has made them.
    files: HashMap<PathBuf, Identity>,
}

impl Lent {
    /// Adds one.
    pub fn add(&mut self, name: String, socket: OwnedFd) {
        self.sockets.entry(name).or_default().push(socket.into());
    }

    /// Adds the file that the other process has at a path.
    pub fn add_file(&mut self, path: PathBuf, identity: Identity) {
        self.files.insert(path, identity);
    }

    /// The file that the other process has at `path`.
    pub fn file(&self, path: &Path) -> Option<Identity> {
        self.files.get(path).copied()
    }

    /// Those of that name.
    pub(super) fn take(&mut self, name: &str) -> Vec<Socket> {
        self.sockets.remove(name).unwrap_or_default()
    }

    /// Ports that they are bound to.
    pub(super) fn ports(&self) -> HashSet<(Transport, Option<u16>)> {
        let sockets = self.sockets.values().flatten();
        let ports = sockets.filter_map(|socket| {
            let transport = match socket.r#type().ok()? {
                socket2::Type::DGRAM => Transport::Udp,
                _ => Transport::Tcp,
            };
            let address = socket.local_addr().ok()?.as_socket()?;
            Some((transport, Some(address.port())))
        });
        ports.collect()
    }

    /// The names of those that nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.sockets.keys().map(String::as_str)
    }
}

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl Inherited {
    /// Those of this process; none when asked again.
    pub(super) fn take() -> Self {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let number = |name| env::var(name).ok()?.parse::<u32>().ok();
        let ours = number("LISTEN_PID") == Some(std::process::id());
        let Some(count) = number("LISTEN_FDS").filter(|_| ours) else {
            return Self::default();
        };
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Self::default();
        }
        let descriptors = (FIRST..).take(count as usize).filter(|&fd| {
            // SAFETY: F_GETFD only asks whether the number is one of an open descriptor.
            unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
        });
        // SAFETY: the protocol makes these descriptors, which are open, this process's own, and each is taken once.
        let owned = descriptors.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Self(owned.filter_map(known).collect())
    }

    /// Those bound to the address of `bind`.
    pub(super) fn of(&mut self, bind: &Bind) -> Vec<Socket> {
        let wanted = match &bind.address {
            Address::Inet(address) => Name::Inet(*address),
            Address::Unix(path) => Name::Unix(path.to_path_buf()),
            // Only servers have names.
            Address::Name(..) | Address::Asked(_) => return Vec::new(),
        };
        let found = self.0.extract_if(.., |(name, transport, _)| {
            *name == wanted && *transport == bind.transport
        });
        found.map(|(_, _, socket)| socket).collect()
    }

    /// Says what is left: it is closed.
    pub(super) fn finish(self) {
        for (name, transport, _) in self.0 {
            let udp = if transport == Transport::Udp {
                "udp:"
            } else {
                ""
            };
            let name = match name {
                Name::Inet(address) => address.to_string(),
                Name::Unix(path) => path.display().to_string(),
            };
            tracing::warn!(
                "the service manager passes {udp}{name} on, which no frontend binds: it is closed"
            );
        }
    }
}

fn known(fd: OwnedFd) -> Option<(Name, Transport, Socket)> {
    // Whatever this process executes is not to have it.
    let _ = fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC);
    let transport = match socket_type(fd.as_fd()) {
        Ok(SocketType::STREAM) => Transport::Tcp,
        Ok(SocketType::DGRAM) => Transport::Udp,
        _ => {
            tracing::warn!("the service manager passes on what lb cannot listen on: it is closed");
            return None;
        }
    };
    let socket = Socket::from(fd);
    let address = socket.local_addr().ok()?;
    let name = match address.as_socket() {
        Some(address) => Name::Inet(address),
        None => Name::Unix(address.as_pathname()?.to_owned()),
    };
    Some((name, transport, socket))
}

/// One socket for each of `workers`, from those that were passed on, and `another` of the same address where that is
/// allowed. UDP has one for a worker or none: whoever reads a flow's datagrams has to read all of them.
///
/// # Errors
/// A descriptor cannot be had.
pub(super) fn spread(
    passed: Vec<Socket>,
    transport: Transport,
    workers: usize,
    another: impl Fn() -> io::Result<Socket>,
) -> io::Result<Vec<(usize, Socket)>> {
    for socket in &passed {
        socket.set_nonblocking(true)?;
        if transport == Transport::Tcp {
            // Answers leave at once; accepted sockets inherit it. A unix socket has no such thing.
            let _ = socket.set_tcp_nodelay(true);
        }
    }
    let joined = passed
        .iter()
        .all(|socket| socket.reuse_port().unwrap_or(false));
    let count = passed.len();
    let mut spread: Vec<(usize, Socket)> = Vec::new();
    for worker in count..workers {
        let socket = match another() {
            Ok(socket) if joined => socket,
            _ if transport == Transport::Udp => break,
            _ => passed[worker % count].try_clone()?,
        };
        spread.push((worker, socket));
    }
    // More than workers are served as well: who comes by them waits for somebody.
    let passed = passed.into_iter().enumerate();
    spread.extend(passed.map(|(index, socket)| (index % workers, socket)));
    Ok(spread)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn listening(reuse: bool) -> Socket {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_port(reuse).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).unwrap();
        socket.listen(1).unwrap();
        socket
    }

    fn workers(spread: &[(usize, Socket)]) -> Vec<usize> {
        let mut workers: Vec<usize> = spread.iter().map(|(worker, _)| *worker).collect();
        workers.sort_unstable();
        workers
    }

    #[test]
    fn every_worker_has_one_and_none_is_left_out() {
        let none = || Err(io::ErrorKind::AddrInUse.into());
        let shared = spread(vec![listening(false)], Transport::Tcp, 3, none).unwrap();
        assert_eq!(workers(&shared), [0, 1, 2]);
        let inode = |socket: &Socket| rustix::fs::fstat(socket).unwrap().st_ino;
        assert!(
            shared
                .iter()
                .all(|(_, socket)| inode(socket) == inode(&shared[0].1)),
            "one queue for all"
        );

        let more = || Ok(listening(true));
        let joined = spread(vec![listening(true)], Transport::Tcp, 3, more).unwrap();
        assert_eq!(workers(&joined), [0, 1, 2]);
        assert_ne!(inode(&joined[0].1), inode(&joined[1].1), "a queue each");

        let many = vec![listening(true), listening(true), listening(true)];
        assert_eq!(
            workers(&spread(many, Transport::Tcp, 2, none).unwrap()),
            [0, 0, 1]
        );

        let udp = spread(vec![listening(false)], Transport::Udp, 3, none).unwrap();
        assert_eq!(workers(&udp), [0]);
    }

    #[test]
    fn a_socket_is_known_by_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (name, transport, _) = known(listener.into()).unwrap();
        assert_eq!((name, transport), (Name::Inet(address), Transport::Tcp));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(known(file.into()).is_none());
    }
}
