//! UDP sockets: which address a datagram came to, answers from that address, and sockets for one peer alone.
//!
//! The one part of the relay that speaks to the system by pointers: neither tokio nor rustix knows IP_PKTINFO.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, RawFd},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

/// The largest datagram there can be, less than a byte count of 16 bits.
pub(super) const LARGEST: usize = 65_535;
/// What the kernel may keep for a listening socket; it lowers it to net.core.rmem_max.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Control messages that are asked for are far smaller.
const CONTROL: usize = 128;

/// Room for control messages, aligned as their headers are.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Where a datagram came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Arrival {
    /// The address.
    pub(super) ip: IpAddr,
    /// The interface, of which link-local addresses need one; else 0.
    pub(super) interface: u32,
}

/// A datagram's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Bytes of payload.
    pub(super) length: usize,
    /// Who sent it, as the socket's family writes it.
    pub(super) client: SocketAddr,
    /// Where it came to; `None` where the socket's own address says it.
    pub(super) arrival: Option<Arrival>,
}

/// Makes a socket that is bound to `address` ready for [`receive`].
///
/// # Errors
/// Those of setsockopt(2).
pub(in crate::proxy) fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // Never a reason not to start: the kernel's default does for most.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if !address.ip().is_unspecified() {
        return Ok(());
    }
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        // Tells of IPv4 datagrams as well, with mapped addresses.
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open, and `on` is an int of `size` bytes that outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A socket of a client's own on the service's side: the kernel gives it what `client` sends to `service`, and whoever
/// asks the kernel for the owner of that flow finds it.
///
/// # Errors
/// The address is not of this host any more, or descriptors, memory or sockets of this port are used up.
pub(super) fn for_client(service: SocketAddr, client: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new(service)?;
    // The listening sockets have the port.
    socket.set_reuse_port(true)?;
    if service.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&service.into())?;
    socket.connect(&client.into())?;
    UdpSocket::from_std(socket.into())
}

/// A socket towards a server, from a port of the kernel's choice.
///
/// # Errors
/// There is no way to the server, or descriptors, memory or ports are used up.
pub(super) fn to_server(server: SocketAddr, source: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let socket = new(server)?;
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    socket.connect(&server.into())?;
    UdpSocket::from_std(socket.into())
}

fn new(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A datagram, or what ICMP said of an earlier one, which epoll tells of by itself.
const SOMETHING: Interest = Interest::READABLE.add(Interest::ERROR);

/// Waits until [`receive`] has something to tell.
///
/// # Errors
/// The runtime is gone.
pub(super) async fn readable(socket: &UdpSocket) -> io::Result<()> {
    socket.ready(SOMETHING).await.map(|_| ())
}

/// Takes the next datagram, if there is one: `WouldBlock` if not.
///
/// # Errors
/// Those of recvmsg(2), such as what ICMP said of an earlier datagram.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Envelope> {
    let fd = socket.as_raw_fd();
    // One at a time: `try_io` knows no sum of interests.
    match socket.try_io(Interest::READABLE, || receive_from(fd, buffer)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            socket.try_io(Interest::ERROR, || receive_from(fd, buffer))
        }
        done => done,
    }
}

fn receive_from(fd: RawFd, buffer: &mut [u8]) -> io::Result<Envelope> {
    let mut control = Control([0; CONTROL]);
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain old data of pointers and integers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: the storage that is passed on is as large as the length says, and the kernel writes no more than that;
    // buffer, vector and control outlive the call, and their lengths are theirs.
    let (length, client) = unsafe {
        SockAddr::try_init(|storage, size| {
            header.msg_name = storage.cast();
            header.msg_namelen = *size;
            let length = libc::recvmsg(fd, &raw mut header, 0);
            *size = header.msg_namelen;
            usize::try_from(length).map_err(|_| io::Error::last_os_error())
        })
    }?;
    let client = client
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Envelope {
        length,
        client,
        arrival: arrival(&header),
    })
}

/// What the control messages say of where a datagram came to.
fn arrival(header: &libc::msghdr) -> Option<Arrival> {
    let mut found = None;
    // SAFETY: `header` is as recvmsg left it, and the control buffer that it points to is still there: the macros walk
    // within the length that the kernel has set. The data of a message is read unaligned and only if it is long enough.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            let length = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if length >= size_of::<libc::in_pktinfo>() => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    found = Some(Arrival {
                        ip: Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into(),
                        interface: info.ipi_ifindex.unsigned_abs(),
                    });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                    if length >= size_of::<libc::in6_pktinfo>() =>
                {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    found = Some(Arrival {
                        ip: Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
                        interface: info.ipi6_ifindex,
                    });
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    found
}

/// Sends `data` to the peer of a socket that has one. `WouldBlock` if the kernel has no room: a datagram may be lost.
///
/// # Errors
/// Those of send(2), such as what ICMP said of an earlier datagram.
pub(super) fn send(socket: &UdpSocket, data: &[u8]) -> io::Result<()> {
    // Not by way of tokio, which knows of no room before it has waited for it once.
    rustix::net::send(socket, data, rustix::net::SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends `data` to `client` from where its own came to. `WouldBlock` if the kernel has no room: a datagram may be lost.
///
/// # Errors
/// Those of sendmsg(2).
pub(super) fn answer(
    socket: &UdpSocket,
    data: &[u8],
    client: SocketAddr,
    from: Option<Arrival>,
) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let name = SockAddr::from(client);
    let mut control = Control([0; CONTROL]);
    let mut vector = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: msghdr is plain old data of pointers and integers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if let Some(from) = from {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        let space = match from.ip {
            IpAddr::V4(ip) => put(
                &header,
                (libc::IPPROTO_IP, libc::IP_PKTINFO),
                libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(ip.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                },
            ),
            IpAddr::V6(ip) => put(
                &header,
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
                libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    // Elsewhere the route decides, as it does for TCP.
                    ipi6_ifindex: if ip.is_unicast_link_local() {
                        from.interface
                    } else {
                        0
                    },
                },
            ),
        };
        header.msg_controllen = space as _;
    }
    // SAFETY: name, vector, data and control outlive the call and are as long as the header says; nothing of them is
    // written to.
    let sent = unsafe { libc::sendmsg(fd, &raw const header, 0) };
    match sent {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes one control message into the buffer of `header`; the bytes that it takes.
fn put<T>(header: &libc::msghdr, (level, kind): (libc::c_int, libc::c_int), data: T) -> usize {
    const { assert!(size_of::<T>() + 2 * size_of::<libc::cmsghdr>() <= CONTROL) };
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: the control buffer of `header` has CONTROL bytes, which header and data fit in as asserted; its begin is
    // aligned for the message's header, and the data is written unaligned.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if !message.is_null() {
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
        }
        libc::CMSG_SPACE(size) as usize
    }
}

/// The same address as its own family has it: an IPv4 client of a socket of both families is an IPv4 client.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        },
        v4 => v4,
    }
}
