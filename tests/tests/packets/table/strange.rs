//! Packets of no flow, and packets that are no business of any service or broken.

use lb_common::abi::Settings;
use lb_common::counter::Reason::{self, *};

use super::{Row, ack, connected, nothing, patched, row, syn};
use crate::fixture::Verdict;
use crate::frame::Segment;
use crate::world::{CLIENT, S1, SERVICE, SNAT, port};

pub(super) fn without_a_flow() -> Vec<Row> {
    use Verdict::{Drop, Pass};
    let mut rows: Vec<Row> = [".", "P.", "F.", "R", "R.", "S.", "SF", "SR", ""]
        .into_iter()
        .map(|flags| {
            let says = "a segment of no flow that is no SYN goes up, for the host to answer";
            row(
                says,
                nothing,
                Segment::new(CLIENT, SERVICE, flags),
                Pass,
                &[NoFlow],
            )
        })
        .collect();
    rows.extend([
        row(
            "while settling it is dropped instead, for the client to send again",
            |fixture| fixture.settings(|settings| settings.flags = Settings::SETTLING),
            ack(CLIENT, SERVICE),
            Drop,
            &[Settling],
        ),
        row(
            "a reply of one of our servers to a source port of ours without a flow is dropped",
            nothing,
            ack(S1, SNAT),
            Drop,
            &[StrayReply],
        ),
        row(
            "the same from a stranger is the host's",
            nothing,
            ack(CLIENT, SNAT),
            Pass,
            &[NotForUs],
        ),
        row(
            "a port that might be ours at an address that has no such service",
            nothing,
            syn(CLIENT, port::NONE),
            Pass,
            &[NotForUs],
        ),
        row(
            "a port of ours at an address that is not",
            nothing,
            Segment::new(CLIENT, SNAT.at_port(80), "S"),
            Pass,
            &[NotForUs],
        ),
        row(
            "a port that is nobody's",
            nothing,
            syn(CLIENT, 22),
            Pass,
            &[NotForUs],
        ),
    ]);
    rows
}

pub(super) fn not_ours() -> Vec<Row> {
    use Verdict::{Drop, Pass, Redirect};
    let packet = || Segment::new(CLIENT, SERVICE, "P.").data(b"0123456789abcdef");
    let strange = |says, at, bytes: &[u8], counts: &[Reason]| {
        row(says, connected, patched(packet(), at, bytes), Pass, counts)
    };
    let source_routed = |kind| packet().ip_options(&[1, kind, 7, 4, 10, 77, 9, 9]);
    vec![
        strange("to everyone on the link", 0, &[0xff; 6], &[NotForUs]),
        strange("to a group", 0, &[0x01, 0, 0x5e, 0, 0, 1], &[NotForUs]),
        strange("ARP", 12, &[0x08, 0x06], &[NotForUs]),
        strange("UDP to a port of ours", 23, &[17], &[NotForUs]),
        strange("ICMP", 23, &[1], &[NotForUs]),
        strange(
            "an IP version that does not match",
            14,
            &[0x55],
            &[NotForUs],
        ),
        strange(
            "an IP header shorter than one can be",
            14,
            &[0x44],
            &[Malformed],
        ),
        strange(
            "a TCP header shorter than one can be",
            46,
            &[0x40],
            &[Malformed],
        ),
        strange(
            "a length that does not hold the headers",
            16,
            &[0, 39],
            &[Malformed],
        ),
        strange("a length beyond the frame", 16, &[0, 57], &[Malformed]),
        strange("TCP options beyond the packet", 46, &[0xf0], &[Malformed]),
        row(
            "loose source routing",
            connected,
            source_routed(131),
            Drop,
            &[SourceRoute],
        ),
        row(
            "strict source routing",
            connected,
            source_routed(137),
            Drop,
            &[SourceRoute],
        ),
        row(
            "a first fragment of a flow goes on like a whole packet",
            connected,
            packet().fragment(true, 0),
            Redirect,
            &[ForwardedIn],
        )
        .out(packet().fragment(true, 0).forwarded(SNAT, S1)),
        row(
            "of no flow it is the host's",
            nothing,
            packet().fragment(true, 0),
            Pass,
            &[Fragment],
        ),
        row(
            "a later fragment has no ports to tell",
            nothing,
            packet().fragment(true, 5),
            Pass,
            &[Fragment],
        ),
        row(
            "nor has the last",
            nothing,
            packet().fragment(false, 185),
            Pass,
            &[Fragment],
        ),
    ]
}
