//! The packet table: what goes in, what comes of it, and a sentence that says why.

mod established;
mod opening;
mod strange;

use lb_common::counter::Reason;

use crate::fixture::{Fixture, Outcome, Verdict};
use crate::frame::{End, Segment};
use crate::world::{CLIENT, S1, SERVICE, SNAT, port};

/// A row: after `given`, `packet` gets this verdict, leaves as `out` and moves these counters by one each.
struct Row {
    says: &'static str,
    given: fn(&mut Fixture),
    packet: Vec<u8>,
    verdict: Verdict,
    out: Vec<u8>,
    counts: Vec<Reason>,
}

/// A row whose packet leaves as it came.
fn row(
    says: &'static str,
    given: fn(&mut Fixture),
    packet: impl Into<Vec<u8>>,
    verdict: Verdict,
    counts: &[Reason],
) -> Row {
    let packet = packet.into();
    Row {
        says,
        given,
        out: packet.clone(),
        packet,
        verdict,
        counts: counts.to_vec(),
    }
}

impl Row {
    /// What leaves instead.
    fn out(self, out: impl Into<Vec<u8>>) -> Row {
        Row {
            out: out.into(),
            ..self
        }
    }
}

impl From<Segment> for Vec<u8> {
    fn from(segment: Segment) -> Vec<u8> {
        segment.bytes()
    }
}

fn syn(from: End, port: u16) -> Segment {
    Segment::new(from, SERVICE.at_port(port), "S")
}

fn ack(from: End, to: End) -> Segment {
    Segment::new(from, to, ".")
}

fn nothing(_: &mut Fixture) {}

/// The client has a connection to the first server.
fn connected(fixture: &mut Fixture) {
    assert_eq!(fixture.connect(CLIENT, port::TURN), (S1, SNAT));
}

/// It has ended, first the client and then the server.
fn finished(fixture: &mut Fixture) {
    connected(fixture);
    for (from, to, flags) in [
        (CLIENT, SERVICE, "F."),
        (S1, SNAT, "F."),
        (CLIENT, SERVICE, "."),
    ] {
        fixture.run(&Segment::new(from, to, flags).bytes());
    }
}

/// Replaces bytes of a frame.
fn patched(segment: Segment, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = segment.bytes();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn every_packet_gets_its_verdict_bytes_and_counter() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    let mut wrong = Vec::new();
    let rows = [
        established::rows(),
        opening::rows(),
        strange::without_a_flow(),
        strange::not_ours(),
    ];
    for row in rows.into_iter().flatten() {
        fixture.reset();
        (row.given)(&mut fixture);
        let expected = Outcome {
            verdict: row.verdict,
            bytes: row.out,
            counted: row.counts.iter().map(|reason| (reason.name(), 1)).collect(),
        };
        let outcome = fixture.run(&row.packet);
        if outcome != expected {
            wrong.push(format!(
                "{}\n   in {:02x?}\nwant {expected:02x?}\n got {outcome:02x?}\n",
                row.says, row.packet
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
