//! Frames by their facts, checksums worked out by etherparse: what is put in, and what is expected to come out.

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder, TcpHeader};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) mac: [u8; 6],
    pub(crate) address: [u8; 4],
    pub(crate) port: u16,
}

impl End {
    pub(crate) fn at_port(self, port: u16) -> End {
        End { port, ..self }
    }

    pub(crate) fn at_mac(self, mac: [u8; 6]) -> End {
        End { mac, ..self }
    }
}

/// Initial sequence number of either end.
const ISN: u32 = 0x0102_0304;

/// A TCP segment in IPv4 in Ethernet.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) flags: &'static str,
    pub(crate) ttl: u8,
    pub(crate) payload: Vec<u8>,
    /// A multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) tcp_options: Vec<u8>,
    /// More fragments, and the offset in units of eight bytes.
    pub(crate) fragment: (bool, u16),
}

impl Segment {
    /// A segment with these flags, letters as in tcpdump: `S`, `.` for ACK, `F`, `R`, `P`.
    pub(crate) fn new(from: End, to: End, flags: &'static str) -> Segment {
        Segment {
            from,
            to,
            flags,
            ttl: 64,
            payload: Vec::new(),
            ip_options: Vec::new(),
            tcp_options: Vec::new(),
            fragment: (false, 0),
        }
    }

    pub(crate) fn data(mut self, payload: &[u8]) -> Segment {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Segment {
        self.ttl = ttl;
        self
    }

    pub(crate) fn ip_options(mut self, options: &[u8]) -> Segment {
        self.ip_options = options.to_vec();
        self
    }

    pub(crate) fn tcp_options(mut self, options: &[u8]) -> Segment {
        self.tcp_options = options.to_vec();
        self
    }

    pub(crate) fn fragment(mut self, more: bool, offset: u16) -> Segment {
        self.fragment = (more, offset);
        self
    }

    /// The same between other ends, one hop further.
    pub(crate) fn forwarded(mut self, from: End, to: End) -> Segment {
        self.from = from;
        self.to = to;
        self.ttl -= 1;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut ip = Ipv4Header {
            time_to_live: self.ttl,
            protocol: IpNumber::TCP,
            source: self.from.address,
            destination: self.to.address,
            identification: 0x1234,
            more_fragments: self.fragment.0,
            fragment_offset: self.fragment.1.try_into().unwrap(),
            ..Ipv4Header::default()
        };
        ip.options = Ipv4Options::try_from(self.ip_options.as_slice()).unwrap();
        let has = |flag| self.flags.contains(flag);
        let mut tcp = TcpHeader {
            source_port: self.from.port,
            destination_port: self.to.port,
            sequence_number: if has('S') { ISN } else { ISN + 1 },
            acknowledgment_number: if has('.') { ISN + 1 } else { 0 },
            window_size: 0xf000,
            syn: has('S'),
            ack: has('.'),
            fin: has('F'),
            rst: has('R'),
            psh: has('P'),
            ..TcpHeader::default()
        };
        tcp.set_options_raw(&self.tcp_options).unwrap();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(self.from.mac, self.to.mac)
            .ip(IpHeaders::Ipv4(ip, Default::default()))
            .tcp_header(tcp)
            .write(&mut bytes, &self.payload)
            .unwrap();
        bytes
    }
}
