//! Options of sockets: of those that are listened on, of clients' connections, and of those to servers.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};

use crate::config::model::{Habits, KeepAlive, Sockets};

/// How long a connection that has brought nothing is left to the kernel with `defer_accept`: HAProxy's second.
const DEFERRED: libc::c_int = 1;
/// Connections that TCP Fast Open may keep before their handshakes are done.
const FAST_OPEN: libc::c_int = 1024;

/// Sets an option that is a whole number.
fn set(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: these options take an int, `value` is one and outlives the call, and the length is its.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What has to be said before a socket of TCP is bound.
///
/// # Errors
/// The system refuses: there is no such interface, or no right to bind addresses of others.
pub fn before_bind(
    socket: &(impl AsFd + AsRawFd),
    options: &Sockets,
    ipv6: bool,
) -> io::Result<()> {
    if let Some(name) = &options.interface {
        SockRef::from(socket).bind_device(Some(name.as_bytes()))?;
    }
    if options.transparent {
        foreign(socket, ipv6)?;
    }
    Ok(())
}

/// What a socket of TCP that is listened on is to be like, also of one that is listened on already. What the system does not
/// know goes unsaid, as in HAProxy.
pub fn listening(socket: &(impl AsFd + AsRawFd), options: &Sockets) {
    let tcp = |option, value| set(socket, libc::IPPROTO_TCP, option, value);
    let mut done = Ok(());
    match options.mss {
        Some(size) if size > 0 => done = tcp(libc::TCP_MAXSEG, size),
        // Of the one that the system would have, as HAProxy reckons it.
        Some(less) => {
            let usual = SockRef::from(socket).tcp_mss().unwrap_or(536);
            let size = i32::try_from(usual).unwrap_or(536).saturating_add(less);
            done = tcp(libc::TCP_MAXSEG, size.max(88));
        }
        None => {}
    }
    if let Some(time) = options.user_timeout {
        done = done.and(SockRef::from(socket).set_tcp_user_timeout(Some(time)));
    }
    if options.defer_accept {
        done = done.and(tcp(libc::TCP_DEFER_ACCEPT, DEFERRED));
    }
    if options.fast_open {
        done = done.and(tcp(libc::TCP_FASTOPEN, FAST_OPEN));
    }
    if let Err(error) = done {
        tracing::warn!("a listening socket goes without an option: {error}");
    }
}

/// The socket may be bound to an address that is none of this host's.
///
/// # Errors
/// The system refuses: it takes CAP_NET_ADMIN or CAP_NET_RAW.
pub fn foreign(socket: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        false => set(socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1),
        true => set(socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1),
    }
}

/// What a connection's socket is to be like.
pub fn habits(socket: &(impl AsFd + AsRawFd), habits: &Habits) {
    let socket = SockRef::from(socket);
    if let Some(keepalive) = habits.keepalive {
        let done = socket
            .set_keepalive(true)
            .and_then(|()| socket.set_tcp_keepalive(&times(keepalive)));
        if let Err(error) = done {
            tracing::debug!("a connection goes without keepalive: {error}");
        }
    }
    if habits.resets {
        // It counts once the socket is closed; whoever says FIN before that is heard.
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

fn times(wanted: KeepAlive) -> TcpKeepalive {
    let mut times = TcpKeepalive::new();
    if let Some(idle) = wanted.idle {
        times = times.with_time(idle);
    }
    if let Some(interval) = wanted.interval {
        times = times.with_interval(interval);
    }
    if let Some(count) = wanted.count {
        times = times.with_retries(count);
    }
    times
}

/// The first segment carries what is written first.
pub fn fast_open(socket: &impl AsRawFd) {
    if let Err(error) = set(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1) {
        tracing::debug!("a connection begins without TCP Fast Open: {error}");
    }
}

/// The port is chosen by connect(2), which knows where to: one is free for each destination (ip(7),
/// IP_BIND_ADDRESS_NO_PORT).
///
/// # Errors
/// The system refuses.
pub fn late_port(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// How many connections wait to be accepted from a socket that is listened on; `None` where the system does not tell, as of
/// unix sockets.
pub fn queued(socket: &impl AsRawFd) -> Option<u32> {
    /// Where Linux tells of a listener how many wait, and after that how many may (tcp_get_info in net/ipv4/tcp.c).
    const AT: usize = std::mem::offset_of!(libc::tcp_info, tcpi_unacked);
    const _: () = assert!(std::mem::offset_of!(libc::tcp_info, tcpi_sacked) == AT + 4);
    const LISTENING: u8 = 10;
    // Nothing after it is asked for.
    let mut info = [0_u8; AT + 2 * size_of::<u32>()];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which `info` has, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let known = done == 0 && length as usize == info.len() && info[0] == LISTENING;
    let (rest, most) = info.split_last_chunk().filter(|_| known)?;
    // Who says that none may wait does not know, as others that pass for Linux.
    if u32::from_ne_bytes(*most) == 0 {
        return None;
    }
    Some(u32::from_ne_bytes(*rest.last_chunk()?))
}

/// What one side has broken off is to look so to the other, once its socket is closed: RST, not FIN. That would take back
/// what is still on its way to it, though, which is its own before anything else.
pub fn break_off(socket: &(impl AsFd + AsRawFd)) {
    if unacknowledged(socket).is_ok_and(|bytes| bytes == 0) {
        let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
    }
}

/// How many bytes the kernel has of what was written, and the other end has not acknowledged.
///
/// # Errors
/// It is no socket that carries a stream.
pub fn unacknowledged(socket: &impl AsRawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one number to where one lives.
    let said = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    match said {
        0 => Ok(usize::try_from(bytes).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The mark that a connection's packets have in this host's filters and routing rules.
///
/// # Errors
/// The system refuses: it takes CAP_NET_ADMIN.
pub fn mark(socket: &impl AsRawFd, mark: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())
}

/// The same socket once more, for whoever is to know it as long as that lasts.
///
/// # Errors
/// Descriptors are used up, or this is none.
pub fn duplicate(socket: &impl AsRawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC does nothing to what the number is of, and fails where it is of nothing.
    let made = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    match made {
        0.. => {
            // SAFETY: it was made just now, and nobody else knows of it.
            Ok(unsafe { OwnedFd::from_raw_fd(made) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// The type of service of a connection's packets, or their traffic class in IPv6.
///
/// # Errors
/// The system refuses.
pub fn tos(socket: &impl AsRawFd, tos: u8) -> io::Result<()> {
    let value = libc::c_int::from(tos);
    // A socket of IPv6 may have an IPv4 client; one of IPv4 knows nothing of the other.
    let class = set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, value);
    set(socket, libc::IPPROTO_IP, libc::IP_TOS, value).or(class)
}

/// Says what could not be done, which is no reason to stop: HAProxy goes on as well.
pub fn told(what: &str, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::debug!("a connection goes on without {what}: {error}");
    }
}
