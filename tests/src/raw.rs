//! Frames as they are on the wire: sent and received on an interface through AF_PACKET.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::{Context, Netns, Result, link};

/// All protocols, in network byte order as the kernel wants it (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003_u16.to_be();

/// A packet socket on one interface, seeing what comes in and goes out.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
    ifindex: u32,
}

/// A frame and which way it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it, from the Ethernet header on, VLAN tag included.
    pub bytes: Vec<u8>,
    /// Sent by this host, not received.
    pub outgoing: bool,
}

impl RawSocket {
    /// Opens a socket on an interface of the namespace.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when there is no such interface.
    pub fn open(netns: &Netns, interface: &str) -> Result<RawSocket> {
        netns.run(|| {
            let ifindex = link::ifindex(interface)?;
            let socket = open_packet_socket(ifindex)
                .context(|| format!("open a packet socket on {interface}"))?;
            Ok(RawSocket { socket, ifindex })
        })
    }

    /// Sends one frame of at least 14 bytes.
    ///
    /// # Errors
    /// When it is too short or longer than the MTU allows, or the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let address = packet_address(self.ifindex);
        // SAFETY: frame and address are valid for the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The next frame, if one comes within `limit`.
    ///
    /// # Errors
    /// When the interface has gone.
    pub fn receive(&self, limit: Duration) -> io::Result<Option<Frame>> {
        let mut poll = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd.
        if unsafe { libc::poll(&mut poll, 1, limit) } < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(None)
            } else {
                Err(error)
            };
        }
        if poll.revents == 0 {
            return Ok(None);
        }
        // Nothing here has an MTU or a segment beyond this.
        let mut buffer = vec![0u8; 1 << 16];
        let frame = self.take(&mut buffer)?;
        Ok(frame.map(|(length, outgoing)| Frame {
            bytes: buffer[..length].to_vec(),
            outgoing,
        }))
    }

    /// The first frame received (not sent) within `limit` of which `wanted` makes something.
    ///
    /// # Errors
    /// When the interface has gone.
    pub fn receive_matching<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(frame) = self.receive(left)? {
                if !frame.outgoing
                    && let Some(value) = wanted(&frame.bytes)
                {
                    return Ok(Some(value));
                }
            } else if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Reads a frame into `buffer` if one is there: its length, and whether it was sent by this host.
    pub(crate) fn take(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let mut address = packet_address(0);
        let mut length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: buffer and address are valid for the lengths given.
        let received = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                std::ptr::from_mut(&mut address).cast(),
                &mut length,
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        Ok(Some((
            received as usize,
            address.sll_pkttype == libc::PACKET_OUTGOING,
        )))
    }

    /// Frames lost since the last call because nobody read them in time.
    pub(crate) fn lost(&self) -> u32 {
        // struct tpacket_stats: packets, drops
        let mut statistics = [0u32; 2];
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the buffer is valid for the length given.
        unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &mut length,
            )
        };
        statistics[1]
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.socket
    }
}

fn open_packet_socket(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    // Protocol 0: nothing is received until bound to the interface.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // A bulk transfer must not overrun a reader that shares two CPUs with it.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20)?;
    let mut address = packet_address(ifindex);
    address.sll_protocol = ETH_P_ALL;
    // SAFETY: the address is valid for the length given.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(socket)
    }
}

fn packet_address(ifindex: u32) -> libc::sockaddr_ll {
    // SAFETY: all zeroes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex as i32;
    address
}
