//! What captured frames say, read by etherparse: an oracle that shares no code with what is tested.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_tests::capture::Captured;

/// The facts of one TCP segment over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source: ([u8; 4], u16),
    pub(crate) destination: ([u8; 4], u16),
    pub(crate) ttl: u8,
    pub(crate) payload: usize,
    pub(crate) syn: bool,
    pub(crate) outgoing: bool,
    pub(crate) checksums_right: bool,
}

/// The TCP segments among captured frames.
///
/// Panics at a frame that claims to be IPv4 and is malformed.
pub(crate) fn segments(captured: &[Captured]) -> Vec<Segment> {
    captured
        .iter()
        .filter_map(|c| segment(&c.frame.bytes, c.frame.outgoing))
        .collect()
}

fn segment(frame: &[u8], outgoing: bool) -> Option<Segment> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a well-formed frame");
    let Some(NetSlice::Ipv4(ip)) = packet.net else {
        return None;
    };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return None;
    };
    let header = ip.header();
    let (tcp_header, payload) = (tcp.to_header(), tcp.payload());
    let sum = tcp_header.calc_checksum_ipv4_raw(header.source(), header.destination(), payload);
    let ip_header = header.to_header();
    Some(Segment {
        source: (header.source(), tcp.source_port()),
        destination: (header.destination(), tcp.destination_port()),
        ttl: header.ttl(),
        payload: payload.len(),
        syn: tcp.syn(),
        outgoing,
        checksums_right: sum.is_ok_and(|sum| is_same(sum, tcp.checksum()))
            && is_same(ip_header.calc_header_checksum(), ip_header.header_checksum),
    })
}

/// Equality of ones' complement numbers, which know two zeroes (RFC 1071 §2): every receiver takes either. Linux writes
/// 0xffff where it computes 0 in software (`skb_checksum_help`), one segment in 65,536.
fn is_same(computed: u16, carried: u16) -> bool {
    computed == carried || computed ^ carried == 0xffff && (computed == 0 || carried == 0)
}

/// Fails naming the first segment with a wrong checksum, and when there is no segment to look at.
#[track_caller]
pub(crate) fn assert_checksums(segments: &[Segment]) {
    assert!(!segments.is_empty(), "no TCP segment was captured");
    let wrong = segments
        .iter()
        .filter(|segment| !segment.checksums_right)
        .count();
    let first = segments.iter().find(|segment| !segment.checksums_right);
    assert_eq!(
        wrong,
        0,
        "of {} segments have a wrong checksum, the first: {first:?}",
        segments.len()
    );
}
