//! Checksums of captured frames, both families, TCP, UDP, ICMP and what tunnels carry, computed by etherparse: an oracle
//! that shares no code with what is tested.

use std::fmt;
use std::net::IpAddr;

use etherparse::{Icmpv4Slice, Icmpv6Slice, IpNumber, NetSlice, SlicedPacket, TransportSlice};
use lb_tests::capture::Captured;

/// What was found in a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// TCP segments.
    pub(crate) tcp: u64,
    /// UDP datagrams.
    pub(crate) udp: u64,
    /// ICMP and ICMPv6 messages.
    pub(crate) icmp: u64,
    /// Packets that carried another packet, which is counted too.
    pub(crate) tunnelled: u64,
    /// The largest IP packet, in bytes.
    pub(crate) largest: usize,
    /// A sentence for each checksum that is wrong.
    pub(crate) wrong: Vec<String>,
}

/// Looks at every IP packet among the frames.
///
/// Panics at one that claims to be IP and is malformed.
pub(crate) fn look(captured: &[Captured]) -> Findings {
    let mut findings = Findings::default();
    for Captured { frame, .. } in captured {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).expect("a well-formed frame");
        findings.packet(&packet);
    }
    findings
}

impl Findings {
    /// All of TCP, UDP and ICMP.
    pub(crate) fn seen(&self) -> u64 {
        self.tcp + self.udp + self.icmp
    }

    /// Adds what was found elsewhere.
    pub(crate) fn add(&mut self, other: Findings) {
        self.tcp += other.tcp;
        self.udp += other.udp;
        self.icmp += other.icmp;
        self.tunnelled += other.tunnelled;
        self.largest = self.largest.max(other.largest);
        self.wrong.extend(other.wrong);
    }

    fn packet(&mut self, packet: &SlicedPacket<'_>) {
        let (inner, pseudo, whole) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                let own = header.calc_header_checksum();
                self.compare(own, header.header_checksum, "IPv4 header", &header);
                let payload = ip.payload();
                let inner = (!payload.fragmented).then_some((payload.ip_number, payload.payload));
                let pseudo = Pseudo(
                    ip.header().source_addr().into(),
                    ip.header().destination_addr().into(),
                );
                (inner, pseudo, usize::from(header.total_len))
            }
            Some(NetSlice::Ipv6(ip)) => {
                let payload = ip.payload();
                let inner = (!payload.fragmented).then_some((payload.ip_number, payload.payload));
                let header = ip.header();
                let pseudo = Pseudo(
                    header.source_addr().into(),
                    header.destination_addr().into(),
                );
                (inner, pseudo, 40 + usize::from(header.payload_length()))
            }
            _ => return,
        };
        self.largest = self.largest.max(whole);
        match (&packet.transport, inner) {
            (_, Some((IpNumber::IPV4 | IpNumber::IPV6, bytes))) => {
                self.tunnelled += 1;
                self.packet(&SlicedPacket::from_ip(bytes).expect("a packet within the packet"));
            }
            (Some(TransportSlice::Tcp(tcp)), Some(_)) => {
                self.tcp += 1;
                let header = tcp.to_header();
                let sum = match pseudo {
                    Pseudo(IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), tcp.payload())
                    }
                    Pseudo(IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), tcp.payload())
                    }
                    _ => return,
                };
                self.compare(
                    sum.expect("its length is in order"),
                    tcp.checksum(),
                    "TCP",
                    &pseudo,
                );
            }
            (Some(TransportSlice::Udp(udp)), Some(_)) => {
                self.udp += 1;
                let header = udp.to_header();
                let sum = match pseudo {
                    // None was computed, which IPv4 allows (RFC 768); nobody here sends so.
                    Pseudo(IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), udp.payload())
                    }
                    Pseudo(IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload())
                    }
                    _ => return,
                };
                if udp.checksum() == 0 {
                    self.wrong.push(format!("UDP without a checksum, {pseudo}"));
                } else {
                    self.compare(
                        sum.expect("its length is in order"),
                        udp.checksum(),
                        "UDP",
                        &pseudo,
                    );
                }
            }
            (Some(TransportSlice::Icmpv4(icmp)), Some(_)) => {
                self.icmp += 1;
                self.icmp4(icmp, &pseudo);
            }
            (Some(TransportSlice::Icmpv6(icmp)), Some(_)) => {
                self.icmp += 1;
                self.icmp6(icmp, &pseudo);
            }
            _ => {}
        }
    }

    fn icmp4(&mut self, icmp: &Icmpv4Slice<'_>, pseudo: &Pseudo) {
        let sum = icmp.icmp_type().calc_checksum(icmp.payload());
        self.compare(sum, icmp.checksum(), "ICMP", pseudo);
    }

    fn icmp6(&mut self, icmp: &Icmpv6Slice<'_>, pseudo: &Pseudo) {
        let Pseudo(IpAddr::V6(from), IpAddr::V6(to)) = pseudo else {
            return;
        };
        let sum = icmp
            .icmp_type()
            .calc_checksum(from.octets(), to.octets(), icmp.payload())
            .expect("its length is in order");
        self.compare(sum, icmp.checksum(), "ICMPv6", pseudo);
    }

    fn compare(&mut self, computed: u16, carried: u16, what: &str, of: &dyn fmt::Debug) {
        // Ones' complement numbers know two zeroes (RFC 1071 §2); Linux writes 0xffff where it computes 0 in software.
        let same =
            computed == carried || computed ^ carried == 0xffff && (computed == 0 || carried == 0);
        if !same {
            let text = format!("{what} checksum {carried:#06x} instead of {computed:#06x}, {of:?}");
            self.wrong.push(text);
        }
    }
}

/// Source and destination.
#[derive(Clone, Copy, Debug)]
struct Pseudo(IpAddr, IpAddr);

impl fmt::Display for Pseudo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} to {}", self.0, self.1)
    }
}
