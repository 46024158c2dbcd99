//! The frames that are sent: one a kind, the flow's tuple written in afterwards.

use etherparse::{Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, UdpHeader};
use lb_common::bench::{FRAME, Tuple};
use lb_tests::{Context, Result};

use crate::shape::{Family, Protocol, Shape};
use crate::world::{CLIENT_MAC, PREFIX, SERVER, SERVICE};

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syn,
    SynAck,
    /// The last of the handshake.
    Ack,
    /// Data or a datagram of the client's.
    Data,
    /// Data or a datagram of the server's.
    Reply,
}

impl Kind {
    /// Whether the server sends it.
    pub(crate) fn is_servers(self) -> bool {
        matches!(self, Kind::SynAck | Kind::Reply)
    }
}

/// Initial sequence numbers of client and server.
const ISN: [u32; 2] = [0x0102_0304, 0x0506_0708];

/// A frame of [`FRAME`] bytes: data fills it, anything else is padded as Ethernet does.
pub(crate) fn frame(shape: Shape, kind: Kind) -> Result<Vec<u8>> {
    let macs = if kind.is_servers() {
        (SERVER.mac, SERVICE.mac)
    } else {
        (CLIENT_MAC, SERVICE.mac)
    };
    let headers =
        14 + match shape.family {
            Family::V4 => Ipv4Header::MIN_LEN,
            Family::V6 => Ipv6Header::LEN,
        } + match shape.protocol {
            Protocol::Tcp => TcpHeader::MIN_LEN,
            Protocol::Udp => UdpHeader::LEN,
        };
    let data = matches!(kind, Kind::Data | Kind::Reply) || shape.protocol == Protocol::Udp;
    let payload = vec![0x2a; if data { FRAME - headers } else { 0 }];
    let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
    let ip = match shape.family {
        Family::V4 => ethernet.ipv4([0; 4], [0; 4], 64),
        Family::V6 => {
            let mut prefix = [0; 16];
            prefix[..4].copy_from_slice(&PREFIX.to_be_bytes());
            ethernet.ipv6(prefix, prefix, 64)
        }
    };
    let mut bytes = Vec::new();
    let written = match shape.protocol {
        Protocol::Udp => ip.udp(0, 0).write(&mut bytes, &payload),
        Protocol::Tcp => ip.tcp_header(tcp(kind)).write(&mut bytes, &payload),
    };
    written
        .map_err(std::io::Error::other)
        .context(|| format!("write a frame for {shape}"))?;
    bytes.resize(FRAME, 0);
    let to_service = Tuple {
        dst: SERVICE.address.to_be(),
        dport: SERVICE.port.to_be(),
        ..Tuple::default()
    };
    set_tuple(shape.family, &mut bytes, to_service);
    Ok(bytes)
}

fn tcp(kind: Kind) -> TcpHeader {
    let [client, server] = ISN;
    let (sequence, acknowledgment) = match kind {
        Kind::Syn => (client, 0),
        Kind::SynAck => (server, client + 1),
        Kind::Ack | Kind::Data => (client + 1, server + 1),
        Kind::Reply => (server + 1, client + 1),
    };
    TcpHeader {
        sequence_number: sequence,
        acknowledgment_number: acknowledgment,
        window_size: 0xf000,
        syn: matches!(kind, Kind::Syn | Kind::SynAck),
        ack: kind != Kind::Syn,
        psh: matches!(kind, Kind::Data | Kind::Reply),
        ..TcpHeader::default()
    }
}

/// Where in a frame the source address's last word, the destination's, and the ports lie.
const fn offsets(family: Family) -> [usize; 4] {
    match family {
        Family::V4 => [26, 30, 34, 36],
        Family::V6 => [34, 50, 54, 56],
    }
}

/// Makes a frame one of this flow's.
pub(crate) fn set_tuple(family: Family, frame: &mut [u8], tuple: Tuple) {
    let [src, dst, sport, dport] = offsets(family);
    frame[src..src + 4].copy_from_slice(&tuple.src.to_ne_bytes());
    frame[dst..dst + 4].copy_from_slice(&tuple.dst.to_ne_bytes());
    frame[sport..sport + 2].copy_from_slice(&tuple.sport.to_ne_bytes());
    frame[dport..dport + 2].copy_from_slice(&tuple.dport.to_ne_bytes());
}

/// The tuple of a frame.
pub(crate) fn tuple(family: Family, frame: &[u8]) -> Tuple {
    let [src, dst, sport, dport] = offsets(family);
    let word =
        |at: usize| u32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let half = |at: usize| u16::from_ne_bytes([frame[at], frame[at + 1]]);
    Tuple {
        src: word(src),
        dst: word(dst),
        sport: half(sport),
        dport: half(dport),
        spare: 0,
    }
}

/// The tuple of what answers a frame.
pub(crate) fn answer(family: Family, frame: &[u8]) -> Tuple {
    let tuple = tuple(family, frame);
    Tuple {
        src: tuple.dst,
        dst: tuple.src,
        sport: tuple.dport,
        dport: tuple.sport,
        spare: 0,
    }
}

/// The tuple of the `i`th client to the service: no two share an address.
pub(crate) fn client(i: u32) -> Tuple {
    /// Odd: permutes the numbers below 2²².
    const SPREAD: u32 = 0x9e37_79b1;
    Tuple {
        // 100.64.0.0/10
        src: (0x6440_0000 | i.wrapping_mul(SPREAD) & 0x3f_ffff).to_be(),
        dst: SERVICE.address.to_be(),
        sport: (1024 + (i.wrapping_mul(7919) % 60_000) as u16).to_be(),
        dport: SERVICE.port.to_be(),
        spare: 0,
    }
}
