//! What shows only over many packets: shares, and who owns a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use lb_common::counter::Reason::UserspaceOwned;
use lb_tests::link::ip;

use crate::fixture::{Fixture, Hook, Outcome, Verdict};
use crate::frame::{End, Frame};
use crate::world::{Family, World, hop, port};

/// The last byte of the server's address in a packet on its way there.
fn server_of(w: &World, bytes: &[u8]) -> u8 {
    bytes[if w.v4() { 33 } else { 53 }]
}

/// How many of so many clients each server gets, each client at another port.
fn shares(f: &Fixture, service: u16, udp: bool, clients: u16) -> [u32; 2] {
    let w = f.world;
    let mut shares = [0; 2];
    for n in 0..clients {
        let client = w.client.at_port(20_000 + n);
        let packet = if udp {
            w.datagram(client, service)
        } else {
            w.syn(client, service)
        };
        let host = server_of(&w, &f.send(&packet).bytes);
        shares[usize::from(host - 11)] += 1;
    }
    shares
}

#[test]
fn servers_get_the_shares_that_their_algorithm_promises() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(Hook::Xdp);
    for family in Family::BOTH {
        for udp in [false, true] {
            fixture.turn_to(family);
            let mut shares = |port| {
                fixture.reset();
                fixture.source_ports(20_000);
                shares(&fixture, port, udp, 30)
            };
            assert_eq!(shares(port::TURN), [15, 15], "in turn");
            assert_eq!(shares(port::LEAST), [10, 20], "by weight");
            let [one, two] = shares(port::SOURCE);
            assert!(
                one == 0 || two == 0,
                "by the client's address: {one} and {two}"
            );
            for port in [port::MAGLEV, port::RANDOM] {
                let [one, two] = shares(port);
                assert!(one >= 5 && two >= 5, "{port}: {one} and {two}");
            }
        }
    }
}

#[test]
fn clients_are_spread_by_their_address_and_keep_their_server() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(Hook::Xdp);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        fixture.source_ports(20_000);
        let w = fixture.world;
        let mut servers = BTreeMap::<u8, u32>::new();
        for host in 0..100 {
            let client = w.client.at_host(100 + host);
            let server_of = |port| {
                let syn = w.syn(client.at_port(port), port::SOURCE);
                server_of(&w, &fixture.send(&syn).bytes)
            };
            let server = server_of(1);
            assert_eq!(server_of(2), server);
            *servers.entry(server).or_default() += 1;
        }
        assert_eq!(servers.keys().copied().collect::<Vec<_>>(), [11, 12]);
        assert!(
            servers.values().all(|clients| (30..=70).contains(clients)),
            "{servers:?}"
        );
    }
}

fn userspace_keeps_its_own(hook: Hook) {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(hook);
    ip(fixture.netns(), &["link set lo up"]).unwrap();
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        let w = fixture.world;
        let (client, service) = (w.client.address, w.service.address);
        let add = |address: IpAddr| match address {
            IpAddr::V4(_) => format!("addr add {address}/32 dev lo"),
            IpAddr::V6(_) => format!("addr add {address}/128 dev lo nodad"),
        };
        ip(fixture.netns(), &[add(client), add(service)]).unwrap();
        let listener = TcpListener::bind((service, port::TURN)).unwrap();
        // A new IPv6 address may be a moment in coming.
        let mut stream: Option<TcpStream> = None;
        lb_tests::wait::until_true("a connection to ourselves", || {
            let address = listener.local_addr().unwrap();
            stream = lb_tests::client::connect(fixture.netns(), address, Some(client)).ok();
            stream.is_some()
        })
        .unwrap();
        let stream = stream.unwrap();
        let _accepted = listener.accept().unwrap();
        let at = |address: SocketAddr| w.client.at_port(address.port());
        let owner = at(stream.local_addr().unwrap());
        let goes_up = |fixture: &Fixture, frame: Frame| {
            let packet = frame.bytes();
            let counted = BTreeMap::from([(UserspaceOwned.name(), 1)]);
            let expected = Outcome {
                verdict: Verdict::Up,
                bytes: packet.clone(),
                counted,
            };
            assert_eq!(fixture.run(&packet), expected, "{frame:?}");
        };
        for flags in [".", "P.", "F.", "R", "S", "S."] {
            goes_up(&fixture, Frame::tcp(owner, w.service, flags));
            let taken_over = Frame::tcp(owner, w.at(port::MAGLEV), flags);
            let outcome = fixture.run(&taken_over.bytes());
            assert_ne!(
                outcome.counted.get(UserspaceOwned.name()),
                Some(&1),
                "another port"
            );
            fixture.reset();
        }
        let socket = UdpSocket::bind((service, port::TURN)).unwrap();
        let peer: End = w.client.at_port(33_333);
        socket.connect((peer.address, peer.port)).unwrap();
        goes_up(&fixture, Frame::udp(peer, w.service));
        assert_eq!((fixture.flows().len(), fixture.half_open()), (0, vec![]));
        // A listener owns nothing, nor does a connected socket what is another's.
        for stranger in [
            Frame::tcp(owner.at_port(owner.port ^ 1), w.service, "S"),
            Frame::udp(peer.at_port(33_334), w.service),
        ] {
            fixture.send(&stranger);
        }
    }
}

#[test]
fn a_connection_of_userspace_stays_there_on_xdp() {
    userspace_keeps_its_own(Hook::Xdp);
}

#[test]
fn a_connection_of_userspace_stays_there_on_tc() {
    userspace_keeps_its_own(Hook::Tc);
}

#[test]
fn a_flow_is_counted_by_packets_and_bytes_under_its_lane() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(Hook::Xdp);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        let w = fixture.world;
        let before = fixture.lane(0);
        for frame in [
            w.syn(w.client, port::ONE),
            Frame::tcp(w.s1, w.snat, "S."),
            Frame::tcp(w.client, w.at(port::ONE), "."),
            Frame::tcp(w.client, w.at(port::ONE), "P.").data(b"request"),
            Frame::tcp(w.s1, w.snat, "P.").data(b"a response"),
            Frame::tcp(w.client, w.at(port::ONE), "F."),
            Frame::tcp(w.s1, w.snat, "F."),
        ] {
            fixture.send(&frame);
        }
        let after = fixture.lane(0);
        assert_eq!(after.flows - before.flows, 1);
        assert_eq!(after.packets_in - before.packets_in, 4);
        assert_eq!(after.bytes_in - before.bytes_in, 7);
        assert_eq!(after.packets_out - before.packets_out, 3);
        assert_eq!(after.bytes_out - before.bytes_out, 10);
    }
}

#[test]
fn a_packet_of_several_buffers_is_sent_on_whole() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(Hook::Frags);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        let w = fixture.world;
        fixture.hop(hop::S1, |hop| hop.mtu = 9_000);
        for service in [port::TURN, port::NAT] {
            fixture.reset();
            fixture.hop(hop::S1, |hop| hop.mtu = 9_000);
            let client = w.client;
            let (port, seen) = match service {
                port::TURN => (service, w.snat),
                _ => (service, client.at_mac(w.snat.mac)),
            };
            fixture.send(&w.syn(client, port));
            fixture.send(&Frame::tcp(w.s1, seen, "S."));
            fixture.send(&Frame::tcp(client, w.at(port), "."));
            for size in [100, 3_000, 5_000, 8_900] {
                let large = Frame::tcp(client, w.at(port), "P.").data(&vec![0x61; size]);
                let outcome = fixture.run(&large.bytes());
                let expected = large.forwarded(seen, w.s1).bytes();
                assert_eq!(
                    outcome.verdict,
                    Verdict::Out,
                    "{size}: {:?}",
                    outcome.counted
                );
                assert!(outcome.bytes == expected, "{size}");
            }
            // What lies in the first buffer is what the headers announce, or it is cut short.
            let large = Frame::tcp(client, w.at(port), "P.").data(&[0x61; 5_000]);
            let mut short = large.bytes();
            short.truncate(short.len() - 1);
            let outcome = fixture.run(&short);
            assert_eq!(outcome.verdict, Verdict::Up, "{:?}", outcome.counted);
            // Its sender is told of what does not fit, by a packet as short as ever.
            fixture.hop(hop::S1, |hop| hop.mtu = 1_500);
            let outcome = fixture.run(&large.bytes());
            assert_eq!(outcome.verdict, Verdict::Back, "{:?}", outcome.counted);
            let quoted = &large.packet()[..if w.v4() { 28 } else { 48 }];
            let (kind, code) = if w.v4() { (3, 4) } else { (2, 0) };
            let told = Frame::icmp(w.at(port), client, kind, code, [0, 0, 5, 220]);
            let told = told.data(quoted).may_be_fragmented().bytes();
            assert_eq!(outcome.bytes, told);
        }
    }
}
