//! Frames by their facts, headers and checksums worked out by etherparse: what is put in, and what is expected to come
//! out. Nothing here is shared with the kernel program.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) mac: [u8; 6],
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

impl End {
    pub(crate) fn at_port(self, port: u16) -> End {
        End { port, ..self }
    }

    pub(crate) fn at_mac(self, mac: [u8; 6]) -> End {
        End { mac, ..self }
    }

    /// The same with another last byte of its address.
    pub(crate) fn at_host(self, host: u8) -> End {
        let address = match self.address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                IpAddr::from([a, b, c, host])
            }
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets[15] = host;
                IpAddr::from(octets)
            }
        };
        End { address, ..self }
    }
}

/// Initial sequence number of either end.
pub(crate) const ISN: u32 = 0x0102_0304;

/// IP protocol numbers and types of extension headers (IANA).
pub(crate) mod proto {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const IPV6: u8 = 41;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const DESTINATION: u8 = 60;
}

/// What follows the IP headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum L4 {
    Tcp {
        /// Letters as in tcpdump: `S`, `.` for ACK, `F`, `R`, `P`.
        flags: &'static str,
        seq: u32,
        ack: u32,
        window: u16,
        options: Vec<u8>,
    },
    Udp {
        /// Whether it has a checksum.
        summed: bool,
    },
    /// Of either version: type, code, and the four bytes after the checksum.
    Icmp(u8, u8, [u8; 4]),
    /// The payload alone, said to be of this protocol.
    Other(u8),
}

/// Which part of a datagram a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: u16,
    pub(crate) more: bool,
    /// In units of eight bytes.
    pub(crate) offset: u16,
}

/// A packet in Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) from: End,
    pub(crate) to: End,
    /// Type and identifier with priority, outermost first.
    pub(crate) tags: Vec<(u16, u16)>,
    /// Time to live, or hop limit.
    pub(crate) hops: u8,
    /// Service class.
    pub(crate) class: u8,
    /// IPv4: whether routers must not fragment it.
    pub(crate) whole: bool,
    pub(crate) part: Option<Part>,
    /// IPv4: a multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    /// IPv6: types, and a multiple of eight bytes each, of which the first two are written over.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    /// Addresses of a header around it.
    pub(crate) outer: Option<(IpAddr, IpAddr)>,
    pub(crate) l4: L4,
    pub(crate) payload: Vec<u8>,
    /// Bytes after the packet.
    pub(crate) padding: usize,
}

impl Frame {
    fn new(from: End, to: End, l4: L4) -> Frame {
        Frame {
            from,
            to,
            tags: Vec::new(),
            hops: 64,
            class: 0,
            whole: true,
            part: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            outer: None,
            l4,
            payload: Vec::new(),
            padding: 0,
        }
    }

    /// A TCP segment of a connection of which both ends began at [`ISN`] and neither has sent any data yet.
    pub(crate) fn tcp(from: End, to: End, flags: &'static str) -> Frame {
        let has = |flag| flags.contains(flag);
        let l4 = L4::Tcp {
            flags,
            seq: if has('S') { ISN } else { ISN + 1 },
            ack: if has('.') { ISN + 1 } else { 0 },
            window: 0xf000,
            options: Vec::new(),
        };
        Frame::new(from, to, l4)
    }

    /// A datagram.
    pub(crate) fn udp(from: End, to: End) -> Frame {
        Frame::new(from, to, L4::Udp { summed: true }).data(b"a datagram")
    }

    /// An ICMP message of the ends' version of IP.
    pub(crate) fn icmp(from: End, to: End, kind: u8, code: u8, rest: [u8; 4]) -> Frame {
        Frame::new(from, to, L4::Icmp(kind, code, rest))
    }

    /// Any other protocol.
    pub(crate) fn other(from: End, to: End, proto: u8) -> Frame {
        Frame::new(from, to, L4::Other(proto)).data(&[0x5a; 40])
    }

    pub(crate) fn data(self, payload: &[u8]) -> Frame {
        Frame {
            payload: payload.to_vec(),
            ..self
        }
    }

    pub(crate) fn hops(self, hops: u8) -> Frame {
        Frame { hops, ..self }
    }

    pub(crate) fn class(self, class: u8) -> Frame {
        Frame { class, ..self }
    }

    pub(crate) fn tagged(self, tags: &[(u16, u16)]) -> Frame {
        Frame {
            tags: tags.to_vec(),
            ..self
        }
    }

    pub(crate) fn may_be_fragmented(self) -> Frame {
        Frame {
            whole: false,
            ..self
        }
    }

    pub(crate) fn part(self, id: u16, more: bool, offset: u16) -> Frame {
        let part = Some(Part { id, more, offset });
        Frame {
            part,
            whole: false,
            ..self
        }
    }

    pub(crate) fn ip_options(self, options: &[u8]) -> Frame {
        Frame {
            ip_options: options.to_vec(),
            ..self
        }
    }

    /// Adds an extension header of this type and body.
    pub(crate) fn extension(mut self, kind: u8, body: &[u8]) -> Frame {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    pub(crate) fn padded(self, padding: usize) -> Frame {
        Frame { padding, ..self }
    }

    pub(crate) fn tcp_options(mut self, bytes: &[u8]) -> Frame {
        if let L4::Tcp { options, .. } = &mut self.l4 {
            *options = bytes.to_vec();
        }
        self
    }

    pub(crate) fn seq(mut self, number: u32) -> Frame {
        if let L4::Tcp { seq, .. } = &mut self.l4 {
            *seq = number;
        }
        self
    }

    pub(crate) fn ack(mut self, number: u32) -> Frame {
        if let L4::Tcp { ack, .. } = &mut self.l4 {
            *ack = number;
        }
        self
    }

    pub(crate) fn window(mut self, size: u16) -> Frame {
        if let L4::Tcp { window, .. } = &mut self.l4 {
            *window = size;
        }
        self
    }

    pub(crate) fn without_checksum(mut self) -> Frame {
        self.l4 = L4::Udp { summed: false };
        self
    }

    /// The same between other ends, one hop further.
    pub(crate) fn forwarded(self, from: End, to: End) -> Frame {
        let hops = self.hops - 1;
        Frame {
            from,
            to,
            hops,
            ..self
        }
    }

    /// The same between other MAC addresses, one hop further.
    pub(crate) fn resent(self, from: End, to: End) -> Frame {
        let from = self.from.at_mac(from.mac);
        let to = self.to.at_mac(to.mac);
        self.forwarded(from, to)
    }

    /// The same in another packet.
    pub(crate) fn wrapped(self, from: IpAddr, to: IpAddr) -> Frame {
        Frame {
            outer: Some((from, to)),
            ..self
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to.mac, self.from.mac].concat();
        for (kind, tag) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        let (src, dst) = self.outer.unwrap_or((self.from.address, self.to.address));
        let ether_type: u16 = if src.is_ipv4() { 0x0800 } else { 0x86dd };
        bytes.extend(ether_type.to_be_bytes());
        let inner = self.packet();
        if self.outer.is_some() {
            let proto = if self.from.address.is_ipv4() {
                proto::IPV4
            } else {
                proto::IPV6
            };
            let mut outer = ip(src, dst, proto, &inner);
            outer.hops = 64;
            outer.class = self.class;
            bytes.extend(outer.bytes());
        }
        bytes.extend(inner);
        bytes.extend(vec![0xee; self.padding]);
        bytes
    }

    /// The IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let l4 = self.transport();
        let mut ip = ip(self.from.address, self.to.address, self.protocol(), &l4);
        ip.hops = self.hops;
        ip.class = self.class;
        ip.whole = self.whole;
        ip.part = self.part;
        ip.options = &self.ip_options;
        ip.extensions = self.extensions.clone();
        let mut bytes = ip.bytes();
        bytes.extend(l4);
        bytes
    }

    fn protocol(&self) -> u8 {
        match (&self.l4, self.from.address) {
            (L4::Tcp { .. }, _) => proto::TCP,
            (L4::Udp { .. }, _) => proto::UDP,
            (L4::Icmp(..), IpAddr::V4(_)) => proto::ICMP,
            (L4::Icmp(..), IpAddr::V6(_)) => proto::ICMPV6,
            (L4::Other(proto), _) => *proto,
        }
    }

    fn transport(&self) -> Vec<u8> {
        let (src, dst, payload) = (self.from.address, self.to.address, &self.payload);
        let mut bytes = match &self.l4 {
            L4::Tcp {
                flags,
                seq,
                ack,
                window,
                options,
            } => {
                let has = |flag| flags.contains(flag);
                let mut tcp = TcpHeader {
                    source_port: self.from.port,
                    destination_port: self.to.port,
                    sequence_number: *seq,
                    acknowledgment_number: *ack,
                    window_size: *window,
                    syn: has('S'),
                    ack: has('.'),
                    fin: has('F'),
                    rst: has('R'),
                    psh: has('P'),
                    ..TcpHeader::default()
                };
                tcp.set_options_raw(options).unwrap();
                tcp.checksum = match (src, dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => {
                        tcp.calc_checksum_ipv4_raw(src.octets(), dst.octets(), payload)
                    }
                    (IpAddr::V6(src), IpAddr::V6(dst)) => {
                        tcp.calc_checksum_ipv6_raw(src.octets(), dst.octets(), payload)
                    }
                    _ => panic!("{src} to {dst}"),
                }
                .unwrap();
                tcp.to_bytes().to_vec()
            }
            L4::Udp { summed } => {
                let mut udp = UdpHeader {
                    source_port: self.from.port,
                    destination_port: self.to.port,
                    length: (UdpHeader::LEN + payload.len()) as u16,
                    checksum: 0,
                };
                if *summed {
                    udp.checksum = match (src, dst) {
                        (IpAddr::V4(src), IpAddr::V4(dst)) => {
                            udp.calc_checksum_ipv4_raw(src.octets(), dst.octets(), payload)
                        }
                        (IpAddr::V6(src), IpAddr::V6(dst)) => {
                            udp.calc_checksum_ipv6_raw(src.octets(), dst.octets(), payload)
                        }
                        _ => panic!("{src} to {dst}"),
                    }
                    .unwrap();
                }
                udp.to_bytes().to_vec()
            }
            L4::Icmp(kind, code, rest) => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(rest);
                let mut sum = Sum16BitWords::new().add_slice(&bytes).add_slice(payload);
                if let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) {
                    let len = (bytes.len() + payload.len()) as u32;
                    sum = sum
                        .add_16bytes(src.octets())
                        .add_16bytes(dst.octets())
                        .add_4bytes(len.to_be_bytes())
                        .add_4bytes([0, 0, 0, proto::ICMPV6]);
                }
                let check = sum.ones_complement().to_ne_bytes();
                bytes[2..4].copy_from_slice(&check);
                bytes
            }
            L4::Other(_) => Vec::new(),
        };
        bytes.extend(payload);
        bytes
    }
}

impl From<Frame> for Vec<u8> {
    fn from(frame: Frame) -> Vec<u8> {
        frame.bytes()
    }
}

/// An IP header.
struct Ip<'a> {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    /// Bytes of what follows it.
    len: usize,
    hops: u8,
    class: u8,
    whole: bool,
    part: Option<Part>,
    options: &'a [u8],
    extensions: Vec<(u8, Vec<u8>)>,
}

fn ip<'a>(src: IpAddr, dst: IpAddr, proto: u8, payload: &[u8]) -> Ip<'a> {
    Ip {
        src,
        dst,
        proto,
        len: payload.len(),
        hops: 64,
        class: 0,
        whole: true,
        part: None,
        options: &[],
        extensions: Vec::new(),
    }
}

impl Ip<'_> {
    fn bytes(mut self) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = Ipv4Header {
                    dscp: (self.class >> 2).try_into().unwrap(),
                    ecn: (self.class & 3).try_into().unwrap(),
                    dont_fragment: self.whole,
                    time_to_live: self.hops,
                    protocol: IpNumber(self.proto),
                    source: src.octets(),
                    destination: dst.octets(),
                    options: Ipv4Options::try_from(self.options).unwrap(),
                    ..Ipv4Header::default()
                };
                if let Some(part) = self.part {
                    header.identification = part.id;
                    header.more_fragments = part.more;
                    header.fragment_offset = part.offset.try_into().unwrap();
                }
                header.set_payload_len(self.len).unwrap();
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                if let Some(part) = self.part {
                    let [low, high] = (part.offset << 3 | u16::from(part.more)).to_be_bytes();
                    let [a, b] = part.id.to_be_bytes();
                    let body = vec![0, 0, low, high, 0, 0, a, b];
                    self.extensions.push((proto::FRAGMENT, body));
                }
                let mut next: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
                next.push(self.proto);
                let mut extensions = Vec::<u8>::new();
                for (i, (kind, body)) in self.extensions.iter_mut().enumerate() {
                    body[0] = next[i + 1];
                    if *kind != proto::FRAGMENT {
                        body[1] = (body.len() / 8 - 1) as u8;
                    }
                    extensions.extend(&*body);
                }
                let header = Ipv6Header {
                    traffic_class: self.class,
                    flow_label: Default::default(),
                    payload_length: (extensions.len() + self.len) as u16,
                    next_header: IpNumber(next[0]),
                    hop_limit: self.hops,
                    source: src.octets(),
                    destination: dst.octets(),
                };
                let mut bytes = header.to_bytes().to_vec();
                bytes.extend(extensions);
                bytes
            }
            _ => panic!("{} to {}", self.src, self.dst),
        }
    }
}
