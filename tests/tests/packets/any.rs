//! Whatever comes: every packet gets one outcome and one counter, and disturbs no flow that is not its own.

use std::collections::BTreeMap;

use lb_common::counter::{Outcome as Fate, Reason};

use crate::fixture::{Fixture, Hook, Outcome, Verdict};
use crate::frame::{Frame, proto};
use crate::tuple::Tuple;
use crate::world::{C_TAG, C_TAGS, Family, World, port};

/// Checks what holds of every packet: an outcome that its one counter agrees with, and no byte changed unless it is sent.
#[track_caller]
pub(crate) fn assert_sane(packet: &[u8], outcome: &Outcome) {
    let fates: Vec<Fate> = Reason::ALL
        .iter()
        .filter_map(|reason| Some((reason.outcome(), *outcome.counted.get(reason.name())?)))
        .filter(|(fate, _)| *fate != Fate::Noted)
        .flat_map(|(fate, n)| std::iter::repeat_n(fate, n as usize))
        .collect();
    let what = || format!("{outcome:02x?} for {packet:02x?}");
    let agrees = match (outcome.verdict, &fates[..]) {
        (Verdict::Drop, [Fate::Dropped]) => outcome.bytes == packet,
        (Verdict::Up, [Fate::PassedUp]) => outcome.bytes == packet,
        (Verdict::Back | Verdict::Out | Verdict::Sent, [Fate::Forwarded | Fate::Answered]) => true,
        _ => false,
    };
    assert!(agrees, "{}", what());
}

/// Whether the kernel's test run takes a packet: for TC, an IP header that is announced must be there
/// (`bpf_prog_test_run_skb`). No device delivers less than an Ethernet header.
fn can_be_run(hook: Hook, packet: &[u8]) -> bool {
    let least = match (hook, packet.get(12..14)) {
        (_, None) => return false,
        (Hook::Tc, Some([0x08, 0x00])) => 14 + 20,
        (Hook::Tc, Some([0x86, 0xdd])) => 14 + 40,
        (Hook::Tc, _) => 15,
        _ => 14,
    };
    packet.len() >= least
}

/// A connection and a conversation of the client's, beside which the packets of a test come.
fn open(f: &Fixture) {
    let w = f.world;
    for frame in [
        w.syn(w.client, port::TURN),
        Frame::tcp(w.s1, w.snat, "S."),
        Frame::tcp(w.client, w.service, "."),
        w.datagram(w.client, port::ONE),
        Frame::udp(w.s1, w.snat),
    ] {
        f.send(&frame);
    }
    assert_eq!(f.flows().len(), 4);
}

/// Frames of all kinds.
fn frames(w: &World) -> Vec<Frame> {
    let options = [1u8; 40];
    let error = |from, to, quoted: Frame| {
        let (kind, code) = if w.v4() { (3, 4) } else { (2, 0) };
        Frame::icmp(from, to, kind, code, [0, 0, 5, 0]).data(&quoted.packet())
    };
    let tcp = |from, to, flags| Frame::tcp(from, to, flags).data(b"some data");
    let mut frames = vec![
        tcp(w.client, w.service, "P."),
        tcp(w.client, w.service, "R"),
        tcp(w.client, w.service, "P.").tagged(&[C_TAG]),
        tcp(w.client, w.service, "P.").tagged(&C_TAGS),
        tcp(w.s1, w.snat, "F.").tcp_options(&options),
        tcp(w.client_2, w.service, "S").tcp_options(&options),
        tcp(w.client, w.service, "P.").part(7, true, 0),
        Frame::other(w.client, w.service, proto::TCP).part(7, true, 4),
        w.datagram(w.client, port::ONE),
        w.datagram(w.client_2, port::MAGLEV),
        Frame::udp(w.s1, w.snat),
        error(w.router, w.service, tcp(w.service, w.client, "P.")),
        error(w.inner_router, w.snat, tcp(w.snat, w.s1, "P.")),
        error(w.inner_router, w.snat, Frame::udp(w.snat, w.s1)),
    ];
    if w.v4() {
        frames.push(tcp(w.client, w.service, "P.").ip_options(&options));
    } else {
        let pad = [0, 0, 1, 4, 0, 0, 0, 0];
        let extended = [proto::HOP_BY_HOP, proto::ROUTING, proto::DESTINATION]
            .into_iter()
            .fold(tcp(w.client, w.service, "P."), |frame, kind| {
                frame.extension(kind, &pad)
            });
        frames.push(extended.clone());
        frames.push(extended.part(7, true, 0));
    }
    frames
}

fn cut_short(hook: Hook) {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(hook);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        open(&fixture);
        let (flows, active) = (fixture.flows(), fixture.active());
        for frame in frames(&fixture.world) {
            let whole = frame.bytes();
            for length in 0..whole.len() {
                let packet = &whole[..length];
                if !can_be_run(hook, packet) {
                    continue;
                }
                let outcome = fixture.run(packet);
                assert_sane(packet, &outcome);
                // An error need not quote all of a packet, and what its last bytes are the translation does not mind.
                let may_be_sent =
                    frame.payload.len() > 28 && outcome.counted.contains_key("icmp_forwarded");
                assert!(
                    may_be_sent || matches!(outcome.verdict, Verdict::Up | Verdict::Drop),
                    "{length}: {outcome:?}"
                );
            }
            assert_eq!(fixture.flows(), flows, "{frame:?}");
        }
        assert_eq!((fixture.active(), fixture.half_open()), (active, vec![]));
    }
}

#[test]
fn a_packet_cut_short_anywhere_disturbs_no_flow_on_xdp() {
    cut_short(Hook::Xdp);
}

#[test]
fn a_packet_cut_short_anywhere_disturbs_no_flow_on_tc() {
    cut_short(Hook::Tc);
}

fn types_and_protocols(hook: Hook) {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(hook);
    for family in Family::BOTH {
        fixture.turn_to(family);
        open(&fixture);
        let w = fixture.world;
        let mut packet = Frame::tcp(w.client, w.service, "P.").data(b"data").bytes();
        let (own, proto_at) = if w.v4() { (0x0800, 23) } else { (0x86dd, 20) };
        for ether_type in 0..=u16::MAX {
            packet[12..14].copy_from_slice(&ether_type.to_be_bytes());
            let (verdict, _) = fixture.run_uncounted(&packet, None);
            let taken = !matches!(verdict, Verdict::Up | Verdict::Drop);
            assert_eq!(taken, ether_type == own, "{ether_type:#06x}");
        }
        packet[12..14].copy_from_slice(&own.to_be_bytes());
        for protocol in 0..=u8::MAX {
            packet[proto_at] = protocol;
            let outcome = fixture.run(&packet);
            assert_sane(&packet, &outcome);
            let taken = !matches!(outcome.verdict, Verdict::Up | Verdict::Drop);
            assert_eq!(
                taken,
                [proto::TCP, proto::UDP].contains(&protocol),
                "{protocol}"
            );
        }
    }
}

#[test]
fn of_all_types_and_protocols_two_are_taken_on_xdp() {
    types_and_protocols(Hook::Xdp);
}

#[test]
fn of_all_types_and_protocols_two_are_taken_on_tc() {
    types_and_protocols(Hook::Tc);
}

fn changed_at_random(hook: Hook) {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(hook);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        fixture.source_ports(20_000);
        let w = fixture.world;
        // Nobody else has its addresses, which alone lead to its flow.
        let bystander = w.client.at_host(200);
        let opened = fixture.send(&w.syn(bystander, port::TURN)).bytes;
        let at = if w.v4() { 34 } else { 54 };
        let seen = w
            .snat
            .at_port(u16::from_be_bytes([opened[at], opened[at + 1]]));
        fixture.send(&Frame::tcp(w.s1, seen, "S."));
        fixture.send(&Frame::tcp(bystander, w.service, "."));
        let before = fixture.flows();
        let templates = frames(&w);
        let mut random = Random(0x5eed);
        let mut verdicts = BTreeMap::<String, u32>::new();
        for round in 0..10_000 {
            let mut packet = templates[round % templates.len()].bytes();
            for _ in 0..=random.below(3) {
                let at = random.below(packet.len());
                packet[at] = random.below(256) as u8;
            }
            let cut = random.below(2) * random.below(packet.len() - 13);
            packet.truncate(packet.len() - cut);
            if !can_be_run(hook, &packet) {
                continue;
            }
            let outcome = fixture.run(&packet);
            assert_sane(&packet, &outcome);
            *verdicts
                .entry(format!("{:?}", outcome.verdict))
                .or_default() += 1;
        }
        let flows = fixture.flows();
        for (key, flow) in before {
            assert_eq!(flows.get(&key), Some(&flow), "{key:?}");
        }
        assert!(flows.contains_key(&Tuple::new(bystander, w.service, proto::TCP)));
        assert!(
            verdicts.len() >= 3 && verdicts.values().all(|n| *n > 10),
            "{verdicts:?}"
        );
    }
}

#[test]
fn packets_with_bytes_changed_at_random_disturb_no_other_flow_on_xdp() {
    changed_at_random(Hook::Xdp);
}

#[test]
fn packets_with_bytes_changed_at_random_disturb_no_other_flow_on_tc() {
    changed_at_random(Hook::Tc);
}

/// Marsaglia's xorshift, seeded: the same packets each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}
