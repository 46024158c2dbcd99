//! Addresses and interfaces that come and go while the balancer runs, and that the kernel path follows within the second.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::lab::{CLIENTS, ETH, Family};
use lb_tests::link::{self, End, Mac, ip};
use lb_tests::server::Server;
use lb_tests::{Daemon, Lab, Netns, client, skip, wait};

use crate::kernel::reasons;
use crate::services::{Forward, Service, Transport, Userspace};

/// How long it may take that a new address or interface is served in the kernel: part of the contract.
const FOLLOWS: Duration = Duration::from_secs(1);

/// A service of either family on every address of the balancer, servers of that family; and its path. A bind of `[::]`
/// takes IPv4 clients too, whom userspace brings to IPv6 servers.
fn everywhere(lab: &Lab, family: Family) -> (Service, String, &'static str) {
    let service = Service::new(Forward::Fullnat, family, Transport::Tcp);
    let (bind, path) = match family {
        Family::V4 => (format!("*:{}", service.port), "kernel"),
        Family::V6 => (format!("[::]:{}", service.port), "both"),
    };
    let target = service.target(lab);
    let text = service.config(lab);
    let config = text.replace(&format!("\"{target}\""), &format!("\"{bind}\""));
    assert_ne!(text, config);
    (service, config, path)
}

/// One connection that is answered, and by whom: the kernel's path if no socket of the balancer has seen it.
fn by_kernel(lab: &Lab, from: &Netns, source: Option<IpAddr>, target: SocketAddr) -> bool {
    let before = Userspace::of(lab).segments;
    let Ok(mut stream) = client::connect(from, target, source) else {
        return false;
    };
    client::greeting(&mut stream).is_ok() && Userspace::of(lab).segments == before
}

fn follows_addresses(family: Family) {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let (service, config, path) = everywhere(&lab, family);
    let servers: Vec<Server> = service.echo_servers(&lab);
    let daemon = Daemon::builder(&lab, &config).start().unwrap();
    service.taken_by(&lab, &daemon, path).unwrap();
    let (vip, length): (IpAddr, u8) = match family {
        Family::V4 => ("10.77.1.50".parse().unwrap(), 24),
        Family::V6 => ("fd77:1::50".parse().unwrap(), 64),
    };
    let nodad = if family == Family::V6 { " nodad" } else { "" };
    let target = SocketAddr::new(vip, service.port);
    let change = |what: &str| {
        let tail = if what == "add" { nodad } else { "" };
        let line = format!("addr {what} {vip}/{length} dev {CLIENTS}{tail}");
        ip(lab.balancer(), &[line]).unwrap();
    };
    // A neighbour that is known, so that packets for an address that is gone still reach the balancer.
    let mac = link::show_mac(lab.mac_of(lab.service_addr()));
    ip(
        lab.client(),
        &[format!(
            "neigh add {vip} lladdr {mac} dev {ETH} nud permanent"
        )],
    )
    .unwrap();
    // As often as keepalived may move it.
    for round in 0..3 {
        change("add");
        let served = || by_kernel(&lab, lab.client(), None, target).then_some(());
        wait::until(
            format!("{vip} in the kernel, round {round}"),
            FOLLOWS,
            served,
        )
        .unwrap_or_else(|error| panic!("{error}; {}; {}", reasons(&daemon), daemon.log()));
        for i in 0..20 {
            let source = Some(lab.client_alias_ip(family, i));
            assert!(
                by_kernel(&lab, lab.client(), source, target),
                "{}",
                reasons(&daemon)
            );
        }
        change("del");
        let accepted = || servers.iter().map(Server::accepted).sum::<u64>();
        // The change is seen within the time; from then on nothing is let through.
        let gone = || {
            let before = accepted();
            let refused = quick(lab.client(), target).is_err();
            (refused && accepted() == before).then_some(())
        };
        wait::until(format!("{vip} to be gone"), FOLLOWS + PATIENCE, gone)
            .unwrap_or_else(|error| panic!("{error}; {}", reasons(&daemon)));
        let before = accepted();
        for _ in 0..5 {
            assert!(
                quick(lab.client(), target).is_err(),
                "{vip} is served, and is nobody's"
            );
        }
        assert_eq!(accepted(), before);
    }
    // The address that stayed never noticed.
    service.taken_by(&lab, &daemon, path).unwrap();
}

/// How long a connection attempt goes on that nobody answers.
const PATIENCE: Duration = Duration::from_millis(200);

fn quick(netns: &Netns, target: SocketAddr) -> std::io::Result<()> {
    netns.run(|| std::net::TcpStream::connect_timeout(&target, PATIENCE).map(|_| ()))
}

fn follows_interfaces(family: Family) {
    if skip::without_lb() {
        return;
    }
    const MACS: [Mac; 2] = [[2, 0, 0, 0, 8, 1], [2, 0, 0, 0, 8, 2]];
    let lab = Lab::builder().servers(2).build().unwrap();
    let (service, config, path) = everywhere(&lab, family);
    let _servers = service.echo_servers(&lab);
    let daemon = Daemon::builder(&lab, &config).start().unwrap();
    service.taken_by(&lab, &daemon, path).unwrap();

    let late = Netns::new(&lab.tag().name("late")).unwrap();
    let ends = [(lab.balancer(), "late0", MACS[0]), (&late, ETH, MACS[1])];
    let [near, far] = ends.map(|(netns, name, mac)| End { netns, name, mac });
    link::veth(near, far).unwrap();
    lab.balancer()
        .run(|| link::complete_checksums("late0"))
        .unwrap();
    let _program = link::far_end(&late, ETH).unwrap();
    for (netns, dev, host) in [(lab.balancer(), "late0", 1), (&late, ETH, 2)] {
        let lines = [
            format!("addr add 10.80.0.{host}/24 dev {dev}"),
            format!("addr add fd80::{host}/64 dev {dev} nodad"),
        ];
        ip(netns, &lines).unwrap();
    }
    let attached = || {
        let status = daemon.status().unwrap();
        let interfaces = status["fast_path"]["interfaces"].as_array().cloned()?;
        let found = interfaces
            .into_iter()
            .find(|interface| interface["name"] == "late0")?;
        (found["attach"] == "xdp").then_some(())
    };
    wait::until("late0 to be attached", FOLLOWS, attached)
        .unwrap_or_else(|error| panic!("{error}: {}; {}", daemon.status().unwrap(), daemon.log()));
    let own: IpAddr = match family {
        Family::V4 => "10.80.0.1".parse().unwrap(),
        Family::V6 => "fd80::1".parse().unwrap(),
    };
    let target = SocketAddr::new(own, service.port);
    let served = || by_kernel(&lab, &late, None, target).then_some(());
    wait::until("connections from there in the kernel", FOLLOWS, served)
        .unwrap_or_else(|error| panic!("{error}; {}; {}", reasons(&daemon), daemon.log()));
    for _ in 0..20 {
        assert!(by_kernel(&lab, &late, None, target), "{}", reasons(&daemon));
    }
}

#[test]
fn an_address_that_comes_is_served_in_the_kernel_and_one_that_goes_is_not() {
    follows_addresses(Family::V4);
}

#[test]
fn an_address_that_comes_is_served_in_the_kernel_and_one_that_goes_is_not_ipv6() {
    follows_addresses(Family::V6);
}

#[test]
fn an_interface_that_appears_later_is_attached_and_served() {
    follows_interfaces(Family::V4);
}

#[test]
fn an_interface_that_appears_later_is_attached_and_served_ipv6() {
    follows_interfaces(Family::V6);
}
