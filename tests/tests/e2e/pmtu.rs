//! A hop of 1400 bytes behind the balancer: TCP finds out by ICMP that the balancer passes on, in both directions and
//! both families, and everything arrives.

use lb_tests::capture::Capture;
use lb_tests::lab::{Arms, ETH, Family};
use lb_tests::link::{self, End, Mac};
use lb_tests::{Daemon, Lab, Netns, bulk, skip};

use crate::oracle::{self, Findings};
use crate::services::{Forward, Service, Transport, Userspace};

const HOP: u32 = 1400;
const BYTES: u64 = 2_000_000;

/// Transfers beyond a hop: what each end sends is too big at first.
fn recovers(forward: Forward, family: Family) {
    if skip::without_lb() {
        return;
    }
    let service = Service::new(forward, family, Transport::Tcp);
    let lab = forward.lab().hop(HOP).build().unwrap();
    let _servers = service.servers(&lab);
    let daemon = Daemon::builder(&lab, &service.config(&lab))
        .start()
        .unwrap();
    service.taken_by_kernel(&lab, &daemon).unwrap();
    let userspace = Userspace::of(&lab);
    let near = Capture::start(lab.client(), ETH).unwrap();
    let ports: Vec<String> = (0..lab.servers()).map(|i| lab.port(i)).collect();
    let far: Vec<Capture> = ports
        .iter()
        .map(|port| Capture::start(lab.switch(), port).unwrap())
        .collect();

    // More than one a server; what a client learns it remembers for the service's address.
    for i in 0..4 {
        let source = lab.client_alias_ip(family, i);
        bulk::transfer(lab.client(), service.target(&lab), Some(source), BYTES).unwrap();
    }

    let near = near.stop().unwrap();
    let sent: Vec<_> = near.iter().filter(|c| c.frame.outgoing).cloned().collect();
    let told: Vec<_> = near.into_iter().filter(|c| !c.frame.outgoing).collect();
    let (sent, told) = (oracle::look(&sent), oracle::look(&told));
    assert_eq!(sent.largest, 1500, "the client tried its own MTU first");
    assert!(told.icmp >= 1, "and was told: {told:?}");
    assert_eq!(told.wrong, Vec::<String>::new());
    for capture in far {
        // Towards the server.
        let captured = capture.stop().unwrap();
        let arrived: Vec<_> = captured.into_iter().filter(|c| c.frame.outgoing).collect();
        let arrived = oracle::look(&arrived);
        assert_eq!(arrived.wrong, Vec::<String>::new());
        assert!(arrived.largest <= HOP as usize, "{arrived:?}");
        assert!(
            arrived.largest >= HOP as usize - 8,
            "it is made use of: {arrived:?}"
        );
    }
    assert_eq!(Userspace::of(&lab), userspace);
}

#[test]
fn a_smaller_hop_behind_the_balancer_is_found_by_icmp_fullnat() {
    recovers(Forward::Fullnat, Family::V4);
}

#[test]
fn a_smaller_hop_behind_the_balancer_is_found_by_icmp_fullnat_ipv6() {
    recovers(Forward::Fullnat, Family::V6);
}

#[test]
fn a_smaller_hop_behind_the_balancer_is_found_by_icmp_nat() {
    recovers(Forward::Nat, Family::V4);
}

#[test]
fn a_smaller_hop_behind_the_balancer_is_found_by_icmp_nat_ipv6() {
    recovers(Forward::Nat, Family::V6);
}

#[test]
fn a_smaller_hop_behind_the_balancer_is_found_by_icmp_ipip() {
    recovers(Forward::Ipip, Family::V4);
}

#[test]
fn a_smaller_hop_behind_the_balancer_is_found_by_icmp_ipip_ipv6() {
    recovers(Forward::Ipip, Family::V6);
}

/// A host behind the client, who is its router and lets nothing larger than [`HOP`] through to it.
fn remote(lab: &Lab) -> Netns {
    const MACS: [Mac; 2] = [[2, 0, 0, 0, 9, 1], [2, 0, 0, 0, 9, 2]];
    let (client, remote) = (lab.client(), Netns::new(&lab.tag().name("remote")).unwrap());
    let ends = [(client, "remote0", MACS[0]), (&remote, ETH, MACS[1])];
    let [near, far] = ends.map(|(netns, name, mac)| End { netns, name, mac });
    link::veth(near, far).unwrap();
    for End { netns, name, .. } in [near, far] {
        netns.run(|| link::real_frames(name)).unwrap();
    }
    client.sysctl("net/ipv4/ip_forward", "1").unwrap();
    client.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
    let near = [
        "addr add 10.79.0.1/24 dev remote0".to_owned(),
        "addr add fd79::1/64 dev remote0 nodad".to_owned(),
        format!("route replace 10.79.0.0/24 dev remote0 src 10.79.0.1 mtu {HOP}"),
        format!("route add fd79::/64 dev remote0 metric 1 mtu {HOP}"),
    ];
    link::ip(client, &near).unwrap();
    let far = [
        "addr add 10.79.0.2/24 dev eth0",
        "addr add fd79::2/64 dev eth0 nodad",
        "route add default via 10.79.0.1",
        "route add default via fd79::1",
    ];
    link::ip(&remote, &far).unwrap();
    let back = [
        format!("route add 10.79.0.0/24 via {}", lab.client_addr()),
        format!("route add fd79::/64 via {}", lab.client_addr6()),
    ];
    link::ip(lab.balancer(), &back).unwrap();
    if lab.arms() == Arms::One {
        for i in 0..lab.servers() {
            link::ip(lab.server(i), &back).unwrap();
        }
    }
    remote
}

/// The other direction: a client's own router tells the service that its answers are too big, and the server that sent
/// them must learn of it.
fn servers_learn(forward: Forward, family: Family) {
    if skip::without_lb() {
        return;
    }
    let service = Service::new(forward, family, Transport::Tcp);
    let lab = forward.lab().build().unwrap();
    let remote = remote(&lab);
    let _servers = service.servers(&lab);
    let daemon = Daemon::builder(&lab, &service.config(&lab))
        .start()
        .unwrap();
    service.taken_by_kernel(&lab, &daemon).unwrap();
    let userspace = Userspace::of(&lab);
    let near = Capture::start(&remote, ETH).unwrap();
    let far: Vec<Capture> = (0..lab.servers())
        .map(|i| Capture::start(lab.server(i), ETH).unwrap())
        .collect();

    for _ in 0..4 {
        bulk::transfer(&remote, service.target(&lab), None, BYTES).unwrap();
    }

    let arrived = near.stop().unwrap();
    let arrived: Vec<_> = arrived.into_iter().filter(|c| !c.frame.outgoing).collect();
    let arrived = oracle::look(&arrived);
    assert_eq!((arrived.largest, arrived.wrong), (HOP as usize, Vec::new()));
    let mut told = Findings::default();
    for capture in far {
        let captured = capture.stop().unwrap();
        let received = captured.into_iter().filter(|c| !c.frame.outgoing);
        told.add(oracle::look(&received.collect::<Vec<_>>()));
    }
    assert!(told.icmp >= 1, "some server was told: {told:?}");
    assert_eq!(told.wrong, Vec::<String>::new());
    assert_eq!(Userspace::of(&lab), userspace);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_fullnat() {
    servers_learn(Forward::Fullnat, Family::V4);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_fullnat_ipv6() {
    servers_learn(Forward::Fullnat, Family::V6);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_nat() {
    servers_learn(Forward::Nat, Family::V4);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_nat_ipv6() {
    servers_learn(Forward::Nat, Family::V6);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_dsr() {
    servers_learn(Forward::Dsr, Family::V4);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_dsr_ipv6() {
    servers_learn(Forward::Dsr, Family::V6);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_ipip() {
    servers_learn(Forward::Ipip, Family::V4);
}

#[test]
fn servers_learn_of_a_smaller_hop_before_the_client_ipip_ipv6() {
    servers_learn(Forward::Ipip, Family::V6);
}
