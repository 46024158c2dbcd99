//! Whatever comes: every packet gets one outcome and one counter, and disturbs no flow that is not its own.

use std::collections::BTreeMap;

use lb_common::counter::{Outcome as Fate, Reason};

use crate::fixture::{Fixture, Outcome, Verdict};
use crate::frame::Segment;
use crate::world::{CLIENT, CLIENT_2, S1, SERVICE, SNAT, port};

/// Checks what holds of every packet: an outcome that its one counter agrees with, and no byte changed unless it is sent.
#[track_caller]
fn assert_sane(packet: &[u8], outcome: &Outcome) {
    let fates: Vec<Fate> = Reason::ALL
        .iter()
        .filter(|reason| outcome.counted.contains_key(reason.name()))
        .map(|reason| reason.outcome())
        .filter(|fate| *fate != Fate::Noted)
        .collect();
    let fate = match outcome.verdict {
        Verdict::Drop => Fate::Dropped,
        Verdict::Pass => Fate::PassedUp,
        Verdict::Tx | Verdict::Redirect => Fate::Forwarded,
        Verdict::Other(verdict) => panic!("verdict {verdict} for {packet:02x?}"),
    };
    assert_eq!(fates, [fate], "{:?} for {packet:02x?}", outcome.counted);
    if fate != Fate::Forwarded {
        assert_eq!(outcome.bytes, packet, "passed up or dropped as it came");
    }
}

#[test]
fn a_packet_cut_short_anywhere_disturbs_no_flow() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.connect(CLIENT, port::TURN);
    let flows = fixture.flows();
    let active = fixture.active();
    let options = [1u8; 40];
    let whole = [
        Segment::new(CLIENT, SERVICE, "P."),
        Segment::new(CLIENT, SERVICE, "R"),
        Segment::new(S1, SNAT, "F.")
            .ip_options(&options)
            .tcp_options(&options),
        Segment::new(CLIENT_2, SERVICE, "S").tcp_options(&options),
        Segment::new(CLIENT, SERVICE, "P.")
            .ip_options(&options)
            .fragment(true, 0),
    ];
    for segment in whole {
        let whole = segment.data(b"some data").bytes();
        // The kernel's test run refuses less than an Ethernet header, and no device delivers it.
        for length in 14..whole.len() {
            let packet = &whole[..length];
            let outcome = fixture.run(packet);
            assert_sane(packet, &outcome);
            assert!(
                matches!(outcome.verdict, Verdict::Pass | Verdict::Drop),
                "{length}: {outcome:?}"
            );
            assert_eq!(fixture.flows(), flows, "at {length} of {}", whole.len());
        }
    }
    assert_eq!(fixture.active(), active);
}

#[test]
fn of_all_ethertypes_and_protocols_one_is_taken() {
    if crate::skipped() {
        return;
    }
    let fixture = Fixture::new();
    fixture.connect(CLIENT, port::TURN);
    let mut packet = Segment::new(CLIENT, SERVICE, "P.").data(b"data").bytes();
    for ether_type in 0..=u16::MAX {
        packet[12..14].copy_from_slice(&ether_type.to_be_bytes());
        let taken = fixture.run_uncounted(&packet).0 == Verdict::Redirect;
        assert_eq!(taken, ether_type == 0x0800, "{ether_type:#06x}");
    }
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    for protocol in 0..=u8::MAX {
        packet[23] = protocol;
        let outcome = fixture.run(&packet);
        assert_sane(&packet, &outcome);
        assert_eq!(
            outcome.verdict == Verdict::Redirect,
            protocol == 6,
            "{protocol}"
        );
    }
}

#[test]
fn packets_with_bytes_changed_at_random_disturb_no_other_flow() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.source_ports(20_000);
    fixture.connect(CLIENT_2, port::TURN);
    let bystander = fixture.flows();
    let templates = [
        Segment::new(CLIENT, SERVICE, "S").tcp_options(&[2, 4, 5, 180]),
        Segment::new(CLIENT, SERVICE, "P.")
            .data(b"data")
            .ip_options(&[1, 1, 1, 0]),
        Segment::new(S1, SNAT, "F."),
    ];
    let mut random = Random(0x5eed);
    let mut verdicts = BTreeMap::<String, u32>::new();
    for round in 0..10_000 {
        let mut packet = templates[round % templates.len()].bytes();
        for _ in 0..=random.below(3) {
            let at = random.below(packet.len());
            packet[at] = random.below(256) as u8;
        }
        packet.truncate(packet.len() - random.below(2) * random.below(packet.len() - 13));
        // The bystander's own address is the only thing that leads to its flow.
        if packet.get(26..30) == Some(&CLIENT_2.address) {
            continue;
        }
        let outcome = fixture.run(&packet);
        assert_sane(&packet, &outcome);
        *verdicts
            .entry(format!("{:?}", outcome.verdict))
            .or_default() += 1;
    }
    let flows = fixture.flows();
    for (key, flow) in bystander {
        assert_eq!(flows.get(&key), Some(&flow), "{key}");
    }
    assert!(
        ["Pass", "Drop", "Redirect"]
            .iter()
            .all(|v| verdicts.contains_key(*v)),
        "{verdicts:?}"
    );
}

/// Marsaglia's xorshift, seeded: the same packets each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}
