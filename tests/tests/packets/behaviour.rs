//! What shows only over several packets: counts, shares, and who owns a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, TcpStream};

use lb_common::counter::Reason::UserspaceOwned;
use lb_tests::link::ip;

use crate::fixture::{Fixture, Outcome, Verdict};
use crate::frame::{End, Segment};
use crate::world::{CLIENT, S1, S2, SERVICE, SNAT, port};

/// The first segment of a connection to a port of the service.
fn syn(from: End, port: u16) -> Segment {
    Segment::new(from, SERVICE.at_port(port), "S")
}

#[test]
fn a_wrong_checksum_is_not_put_right() {
    if crate::skipped() {
        return;
    }
    let fixture = Fixture::new();
    fixture.connect(CLIENT, port::TURN);
    let right = Segment::new(CLIENT, SERVICE, "P.").data(b"data");
    let mut broken = right.bytes();
    *broken.last_mut().unwrap() ^= 0x20;
    let mut expected = right.forwarded(SNAT, S1).bytes();
    *expected.last_mut().unwrap() ^= 0x20;
    assert_eq!(
        fixture.run(&broken).bytes,
        expected,
        "the receiver is to find it wrong"
    );
}

#[test]
fn active_flows_follow_each_connection_to_its_end() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.connect(CLIENT, port::TURN);
    assert_eq!(fixture.active(), [1, 0]);
    let forged = Segment::new(CLIENT, SERVICE, "R");
    fixture.run(&forged.bytes());
    assert_eq!(fixture.active(), [0, 0], "a reset ends it");
    fixture.run(&Segment::new(CLIENT, SERVICE, ".").bytes());
    assert_eq!(
        fixture.active(),
        [1, 0],
        "an ordinary segment shows that it was forged"
    );
    fixture.run(&Segment::new(CLIENT, SERVICE, "F.").bytes());
    assert_eq!(fixture.active(), [1, 0], "a connection half closed is open");
    fixture.run(&Segment::new(S1, SNAT, "F.").bytes());
    assert_eq!(fixture.active(), [0, 0]);
    fixture.run(&syn(CLIENT, port::TURN).bytes());
    assert_eq!(fixture.active(), [0, 1], "balanced anew");
    fixture.run(&Segment::new(S2, SNAT, "R.").bytes());
    assert_eq!(fixture.active(), [0, 0], "refused");
}

#[test]
fn least_connections_fill_by_weight() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.source_ports(20_000);
    for n in 1..=30 {
        let client = CLIENT.at_port(30_000 + n);
        assert_eq!(
            fixture.run(&syn(client, port::LEAST).bytes()).verdict,
            Verdict::Redirect
        );
    }
    assert_eq!(fixture.active(), [10, 20]);
}

#[test]
fn a_client_address_keeps_its_server() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.source_ports(20_000);
    let mut servers = BTreeMap::<u8, u32>::new();
    for host in 0..100 {
        let client = End {
            address: [10, 78, 0, host],
            ..CLIENT
        };
        let server_of = |port| {
            fixture
                .run(&syn(client.at_port(port), port::SOURCE).bytes())
                .bytes[33]
        };
        let server = server_of(1);
        assert_eq!(server_of(2), server);
        *servers.entry(server).or_default() += 1;
    }
    assert_eq!(
        servers.keys().copied().collect::<Vec<_>>(),
        [S1.address[3], S2.address[3]]
    );
    assert!(
        servers.values().all(|clients| (30..=70).contains(clients)),
        "{servers:?}"
    );
}

#[test]
fn a_connection_of_userspace_stays_there() {
    if crate::skipped() {
        return;
    }
    let fixture = Fixture::new();
    let (client, service) = (CLIENT.address, SERVICE.address);
    let addresses =
        [client, service].map(|[a, b, c, d]| format!("addr add {a}.{b}.{c}.{d}/32 dev lo"));
    ip(fixture.netns(), &addresses).unwrap();
    let listener = TcpListener::bind((IpAddr::from(service), port::TURN)).unwrap();
    let stream = lb_tests::client::connect(
        fixture.netns(),
        listener.local_addr().unwrap(),
        Some(client.into()),
    );
    let stream: TcpStream = stream.unwrap();
    let _accepted = listener.accept().unwrap();
    let owner = CLIENT.at_port(stream.local_addr().unwrap().port());
    for flags in [".", "P.", "F.", "R", "S"] {
        let packet = Segment::new(owner, SERVICE, flags).bytes();
        let outcome = fixture.run(&packet);
        let counted = BTreeMap::from([(UserspaceOwned.name(), 1)]);
        assert_eq!(
            outcome,
            Outcome {
                verdict: Verdict::Pass,
                bytes: packet,
                counted
            },
            "{flags}"
        );
    }
    assert!(fixture.flows().is_empty());
    let stranger = Segment::new(CLIENT.at_port(owner.port ^ 1), SERVICE, "S");
    assert_eq!(
        fixture.run(&stranger.bytes()).verdict,
        Verdict::Redirect,
        "a listener owns nothing"
    );
}
