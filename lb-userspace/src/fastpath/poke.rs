//! Pokes: a segment that makes the end of a connection speak, so that the kernel program can answer it with an exact
//! reset.
//!
//! A program on XDP sends one packet for each that comes. So a flow that is to end is marked first (the reaper's order
//! `RESET`), then each end is sent an acknowledgement with a sequence number that it cannot accept; RFC 9293 §3.10.7.4
//! has it answer with what it does accept, and the program turns that answer into a reset.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use lb_common::{checksum, hash::mix, tcp::flag};
use socket2::{Domain, Protocol, Socket, Type};

/// Length of a TCP header without options.
const TCP_LEN: u16 = 20;
/// Time to live.
const TTL: u8 = 64;

/// Sends pokes.
#[derive(Debug, Default)]
pub(super) struct Poker {
    v4: Option<Socket>,
    v6: Option<Socket>,
    /// Whether a failure was told: one line is enough.
    told: bool,
}

impl Poker {
    /// Pokes `to` in the name of `from`, which are of one family. `turn` makes the next poke of the same end another.
    pub(super) fn poke(&mut self, from: SocketAddr, to: SocketAddr, turn: u32) {
        if let Err(error) = self.send(from, to, turn)
            && !self.told
        {
            self.told = true;
            tracing::warn!("ends of a connection that is to be reset cannot be told: {error}");
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, turn: u32) -> io::Result<()> {
        let socket = match to.ip() {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        };
        let socket = match socket {
            Some(socket) => socket,
            None => socket.insert(open(to.is_ipv6())?),
        };
        // A raw socket takes no port.
        let address = SocketAddr::new(to.ip(), 0).into();
        socket.send_to(&packet(from, to, turn), &address)?;
        Ok(())
    }
}

/// A raw socket that takes packets with their IP header.
fn open(v6: bool) -> io::Result<Socket> {
    let raw = Some(Protocol::from(libc::IPPROTO_RAW));
    let socket = if v6 {
        let socket = Socket::new(Domain::IPV6, Type::RAW, raw)?;
        socket.set_header_included_v6(true)?;
        socket
    } else {
        let socket = Socket::new(Domain::IPV4, Type::RAW, raw)?;
        socket.set_header_included_v4(true)?;
        socket
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The poke with its IP header.
fn packet(from: SocketAddr, to: SocketAddr, turn: u32) -> Vec<u8> {
    let tcp = segment(from, to, turn);
    let mut packet = Vec::with_capacity(60);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + TCP_LEN).to_be_bytes());
            // Identification, no fragment; the kernel fills in the checksum.
            packet.extend([0, 0, 0x40, 0, TTL, libc::IPPROTO_TCP as u8, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
        }
        (src, dst) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(TCP_LEN.to_be_bytes());
            packet.extend([libc::IPPROTO_TCP as u8, TTL]);
            packet.extend(octets(src));
            packet.extend(octets(dst));
        }
    }
    packet.extend(tcp);
    packet
}

/// An acknowledgement of nothing, of a sequence number out of the blue. It falls into the other's window once in many
/// thousands; then the acknowledgement of nothing is what that end objects to.
fn segment(from: SocketAddr, to: SocketAddr, turn: u32) -> Vec<u8> {
    let ports = u64::from(from.port()) << 16 | u64::from(to.port());
    let sequence = mix(ports << 32 | u64::from(turn)) as u32;
    let mut tcp = Vec::with_capacity(usize::from(TCP_LEN));
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend([5 << 4, flag::ACK, 0, 0]);
    // Checksum and urgent pointer.
    tcp.extend([0; 4]);
    let mut sum = u32::from(TCP_LEN.to_be()) + u32::from((libc::IPPROTO_TCP as u16).to_be());
    for bytes in [octets(from.ip()), octets(to.ip()), tcp.clone()] {
        for pair in bytes.chunks_exact(2) {
            sum += u32::from(u16::from_ne_bytes([pair[0], pair[1]]));
        }
    }
    tcp[16..18].copy_from_slice(&(!checksum::fold(sum)).to_ne_bytes());
    tcp
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 over pseudo-header and segment: 0 if the checksum is right.
    fn verify(packet: &[u8], addresses: std::ops::Range<usize>, header: usize) -> u16 {
        let tcp = &packet[header..];
        let pseudo = [0, 6, 0, tcp.len() as u8];
        let all = [&packet[addresses], &pseudo, tcp].concat();
        let words = all.chunks_exact(2);
        let sum = words
            .map(|p| u32::from(u16::from_be_bytes([p[0], p[1]])))
            .sum();
        !checksum::fold(sum)
    }

    #[test]
    fn a_poke_is_a_whole_segment() {
        let four = packet(
            "192.0.2.1:80".parse().unwrap(),
            "198.51.100.7:40000".parse().unwrap(),
            0,
        );
        assert_eq!((four.len(), four[0], four[9]), (40, 0x45, 6));
        assert_eq!(four[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(four[20..24], [0, 80, 0x9c, 0x40]);
        assert_eq!(four[33], flag::ACK);
        assert_eq!(verify(&four, 12..20, 20), 0);
        let six = packet(
            "[2001:db8::1]:80".parse().unwrap(),
            "[2001:db8::7]:40000".parse().unwrap(),
            1,
        );
        assert_eq!((six.len(), six[0], six[6]), (60, 0x60, 6));
        assert_eq!(verify(&six, 8..40, 40), 0);
    }

    /// The flags of the next TCP segment without payload from one port of this host to another.
    fn next_bare_segment(sniffer: &Socket, header: usize, from: u16, to: u16) -> Option<u8> {
        use std::io::Read;
        let mut sniffer = sniffer;
        let mut buffer = [0; 2048];
        loop {
            let length = sniffer.read(&mut buffer).ok()?;
            let tcp = buffer.get(header..length)?;
            let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
            let bare = tcp.len() == usize::from(tcp[12] >> 4) * 4;
            if port(0) == from && port(2) == to && bare {
                return Some(tcp[13]);
            }
        }
    }

    #[test]
    fn both_families_answer_a_poke() {
        for (ip, domain, header) in [("127.0.0.1", Domain::IPV4, 20), ("::1", Domain::IPV6, 0)] {
            let tcp = Some(Protocol::TCP);
            let sniffer = match Socket::new(domain, Type::RAW, tcp) {
                Ok(sniffer) => sniffer,
                Err(error) => {
                    eprintln!("skipped: no raw socket ({error})");
                    return;
                }
            };
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else {
                eprintln!("skipped: {ip} is not there");
                continue;
            };
            let server = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(server).unwrap();
            let _accepted = listener.accept().unwrap();
            let client = client.local_addr().unwrap();
            let (from, to) = (client.port(), server.port());
            let wait = std::time::Duration::from_secs(5);
            sniffer.set_read_timeout(Some(wait)).unwrap();
            // The handshake's last segment.
            assert_eq!(
                next_bare_segment(&sniffer, header, from, to).unwrap() & 0x17,
                flag::SYN
            );
            assert_eq!(
                next_bare_segment(&sniffer, header, from, to).unwrap() & 0x17,
                flag::ACK
            );
            Poker::default().send(server, client, 0).unwrap();
            let answer = next_bare_segment(&sniffer, header, from, to);
            assert_eq!(answer.map(|flags| flags & 0x17), Some(flag::ACK), "{ip}");
        }
    }

    #[test]
    fn a_second_poke_is_another_one() {
        let poke = |turn| {
            let from = "192.0.2.1:80".parse().unwrap();
            packet(from, "198.51.100.7:40000".parse().unwrap(), turn)[24..28].to_vec()
        };
        assert_ne!(poke(0), poke(1));
    }
}
