//! The laboratory itself, in both families and with what the fast path's modes need of it, without a balancer: what a
//! test of `lb` shall not have to doubt.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use etherparse::{IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep};
use lb_tests::bpf::Program;
use lb_tests::bulk::{self, Bulk};
use lb_tests::capture::Capture;
use lb_tests::client::{self, Datagrams, Load, Steady};
use lb_tests::flood::{Aim, Flood};
use lb_tests::lab::{ETH, Family, Lab};
use lb_tests::link::{self, End, Mac, ip};
use lb_tests::raw::RawSocket;
use lb_tests::server::{Protocol, Server, UdpServer};
use lb_tests::{Netns, skip, wait};

use crate::oracle;

/// The balancer as a router of both families, and each side a route to the other: what comes in goes out as it is.
fn route_through(lab: &Lab) {
    let balancer = lab.balancer();
    balancer.sysctl("net/ipv4/ip_forward", "1").unwrap();
    balancer
        .sysctl("net/ipv6/conf/all/forwarding", "1")
        .unwrap();
    let to = [
        format!("route add 10.77.0.0/16 via {}", lab.service_addr()),
        format!("route add fd77::/16 via {}", lab.service_addr6()),
    ];
    ip(lab.client(), &to).unwrap();
}

#[test]
fn datagrams_and_bulk_reach_servers_of_both_families_whole() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).route_back().build().unwrap();
    route_through(&lab);
    for family in Family::ALL {
        let address = SocketAddr::new(lab.server_ip(family, 0), 7000);
        let _udp = UdpServer::start(lab.server(0), "s1", address).unwrap();
        let bulk = Bulk::start(lab.server(0), "s1", address).unwrap();
        let port = lab.port(0);
        let wire = Capture::start(lab.switch(), &port).unwrap();
        let account = Datagrams::to(address)
            .flows(100)
            .each(20)
            .from([lab.client_ip(family), lab.client_alias_ip(family, 300)])
            .run(lab.client());
        assert!(account.is_clean(), "{account:?}");
        assert_eq!((account.sent, account.by_name["s1"]), (2000, 100));
        let name = bulk::transfer(lab.client(), address, None, 5_000_000).unwrap();
        assert_eq!(name, "s1");
        wait::until_true("the transfer to be counted", || bulk.served() == 1).unwrap();
        let findings = oracle::look(&wire.stop().unwrap());
        assert_eq!(findings.wrong, Vec::<String>::new());
        assert!(findings.udp >= 4000, "{findings:?}");
        assert!(findings.tcp >= 2 * 5_000_000 / 1460, "{findings:?}");
        assert!(findings.largest <= 1500, "{findings:?}");
    }
}

#[test]
fn lost_and_refused_datagrams_are_reported() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).route_back().build().unwrap();
    route_through(&lab);
    let address = SocketAddr::new(lab.server_ip(Family::V4, 0), 7000);
    // Nobody is there: an answer by ICMP.
    let account = Datagrams::to(address).flows(2).run(lab.client());
    assert_eq!((account.lost, account.back), (2, 0), "{account:?}");
    assert!(account.failures[0].contains("refused"), "{account:?}");
    ip(lab.server(0), &["link set eth0 down"]).unwrap();
    let account = Datagrams::to(address).flows(2).run(lab.client());
    assert_eq!(
        (account.lost, account.is_clean()),
        (2, false),
        "{account:?}"
    );
}

#[test]
fn a_hop_tells_senders_of_its_mtu_both_ways() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).hop(1400).build().unwrap();
    route_through(&lab);
    for family in Family::ALL {
        let address = SocketAddr::new(lab.server_ip(family, 0), 7000);
        let _bulk = Bulk::start(lab.server(0), "s1", address).unwrap();
        let port = lab.port(0);
        let (near, behind) = (
            Capture::start(lab.client(), ETH).unwrap(),
            Capture::start(lab.switch(), &port).unwrap(),
        );
        bulk::transfer(lab.client(), address, None, 1_000_000).unwrap();
        let (near, behind) = (near.stop().unwrap(), behind.stop().unwrap());
        let arrived: Vec<_> = behind.into_iter().filter(|c| c.frame.outgoing).collect();
        let (near, arrived) = (oracle::look(&near), oracle::look(&arrived));
        assert_eq!((near.largest, arrived.largest), (1500, 1400), "{family:?}");
        assert!(near.icmp >= 1, "{near:?}");
    }
}

#[test]
fn with_one_arm_the_balancer_alone_is_found_under_the_service_address() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().one_armed().servers(2).build().unwrap();
    let service = SocketAddr::from((lab.service_addr6(), 80));
    let start = |netns, name| Server::start(netns, name, Protocol::Name, service).unwrap();
    let on_loopback = [0, 1].map(|i| start(lab.server(i), "loopback"));
    let _edge = start(lab.balancer(), "edge");
    let tally = Load::to(service)
        .connections(20)
        .from([lab.client_addr6(), lab.client_alias6(7)])
        .run(lab.client());
    assert_eq!((tally.of("edge"), tally.failures), (20, vec![]));
    assert!(on_loopback.iter().all(|server| server.accepted() == 0));
}

#[test]
fn servers_take_packets_out_of_tunnels_and_answer_the_client() {
    if skip::without_bpf() {
        return;
    }
    let builder = Lab::builder().one_armed().servers(1).decapsulate();
    let lab = builder.clone().build().unwrap();
    takes_out_of_tunnels(&lab, lab.mac_of(lab.server_addr(0)));
    // Behind a router, through which the answers go too.
    let lab = builder.hop(1400).build().unwrap();
    takes_out_of_tunnels(&lab, lab.mac_of(Ipv4Addr::new(10, 77, 1, 254)));
}

/// Sends datagrams to the service in tunnels to the server, and expects its answers at the client.
fn takes_out_of_tunnels(lab: &Lab, next_hop: Mac) {
    let balancer = RawSocket::open(lab.balancer(), ETH).unwrap();
    let client = RawSocket::open(lab.client(), ETH).unwrap();
    let own = lab.mac_of(lab.balancer_addr());
    let payload = b"from within";
    for (port, outer, inner) in [
        (7001, Family::V4, Family::V4),
        (7002, Family::V6, Family::V6),
        (7003, Family::V6, Family::V4),
    ] {
        let service = SocketAddr::new(lab.service_ip(inner), port);
        let _server = UdpServer::start(lab.server(0), "s1", service).unwrap();
        let mut datagram = Vec::new();
        ip_header(lab.client_ip(inner), service.ip())
            .udp(5000, port)
            .write(&mut datagram, payload)
            .unwrap();
        let number = IpNumber(if inner == Family::V4 { 4 } else { 41 });
        let balancer_ip = match outer {
            Family::V4 => lab.balancer_addr().into(),
            Family::V6 => lab.balancer_addr6().into(),
        };
        let mut frame = [next_hop, own].concat();
        frame.extend(if outer == Family::V4 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        });
        ip_header(balancer_ip, lab.server_ip(outer, 0))
            .write(&mut frame, number, &datagram)
            .unwrap();
        balancer.send(&frame).unwrap();
        let expected = [b"\x02s1".as_slice(), payload].concat();
        let answer = client
            .receive_matching(wait::PATIENCE, |bytes| {
                bytes.ends_with(&expected).then_some(())
            })
            .unwrap();
        assert!(answer.is_some(), "{inner:?} in {outer:?}");
    }
}

fn ip_header(from: IpAddr, to: IpAddr) -> PacketBuilderStep<IpHeaders> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => panic!("{from} and {to} are of two families"),
    }
}

#[test]
fn steady_connections_tell_of_stalls_and_ends() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let address = SocketAddr::from((lab.server_addr6(0), 80));
    let mut server = Server::start(lab.server(0), "s1", Protocol::Echo, address).unwrap();
    let connect = |_| {
        let mut stream = client::connect(lab.balancer(), address, None).unwrap();
        client::greeting(&mut stream).unwrap();
        stream
    };
    let steady = Steady::start((0..20).map(connect).collect(), Duration::from_millis(10));
    wait::until_true("rounds", || steady.rounds() > 10).unwrap();
    let experience = steady.stop();
    assert_eq!(
        (experience.failures.len(), experience.streams.len()),
        (0, 20)
    );
    assert!(experience.exchanges >= 100);
    let steady = Steady::start(experience.streams, Duration::from_millis(10));
    server.reset_connections();
    wait::until_true("rounds", || steady.rounds() > 10).unwrap();
    assert_eq!(steady.stop().failures.len(), 20);
}

#[test]
fn a_flood_goes_out_at_the_rate_asked_for() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let flooder = Netns::new(&lab.tag().name("flooder")).unwrap();
    let (to_mac, from_mac) = ([2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]);
    let (near, far) = (
        End {
            netns: lab.balancer(),
            name: "flood0",
            mac: to_mac,
        },
        End {
            netns: &flooder,
            name: ETH,
            mac: from_mac,
        },
    );
    link::veth(near, far).unwrap();
    let _far = link::far_end(&flooder, ETH).unwrap();
    let pass = || Program::xdp_pass()?.attach(link::ifindex("flood0")?);
    let _near = lab.balancer().run(pass).unwrap();
    let aim = Aim {
        to_mac,
        from_mac,
        service: (lab.service_addr(), 80),
        sources: lab.client_alias(0),
    };
    let flood = Flood::new(&flooder, ETH, 0, &aim).unwrap();
    let wire = Capture::start(lab.balancer(), "flood0").unwrap();
    let sent = flood
        .start(20_000.0, Duration::from_millis(500))
        .unwrap()
        .finish()
        .unwrap();
    assert!((1_000..=12_000).contains(&sent), "{sent}");
    let captured = wire.stop().unwrap();
    let findings = oracle::look(&captured);
    assert_eq!(findings.wrong, Vec::<String>::new());
    assert_eq!(findings.tcp, sent, "all arrive at this rate");
    let full = flood.measure(100_000).unwrap();
    println!("{full} a second");
    assert!(full > 20_000.0, "{full}");
}
