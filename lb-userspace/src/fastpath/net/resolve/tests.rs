use super::super::model::{Event, Family, Neighbour, NeighbourState, Rule};
use super::*;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (ip, len) = text.split_once('/').unwrap();
    Prefix::new(addr(ip), len.parse().unwrap())
}

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind,
        ethernet: true,
        loopback: false,
        mac: Mac::new(&[2, 0, 0, 0, 0, u8::try_from(index).unwrap()]),
        mtu: 1500,
        up: true,
        carrier: true,
        master: None,
        lower: None,
    }
}

fn held(ifindex: u32, cidr: &str) -> Event {
    let (ip, len) = cidr.split_once('/').unwrap();
    let scope = if ip.starts_with("127.") || ip == "::1" {
        Scope::Host
    } else {
        Scope::Global
    };
    let address = Address {
        ip: addr(ip),
        prefix_len: len.parse().unwrap(),
        peer: addr(ip),
        scope,
        secondary: false,
        deprecated: false,
        tentative: false,
    };
    Event::Address(ifindex, address)
}

fn to(destination: &str, hops: &[(u32, Option<&str>)]) -> Route {
    Route {
        table: Table::Main,
        destination: prefix(destination),
        tos: 0,
        metric: 0,
        kind: RouteKind::Unicast,
        scope: if hops.iter().any(|(_, gateway)| gateway.is_some()) {
            Scope::Global
        } else {
            Scope::Link
        },
        prefsrc: None,
        mtu: None,
        hops: hops
            .iter()
            .map(|(ifindex, gateway)| Hop {
                ifindex: *ifindex,
                gateway: gateway.map(addr),
                weight: 1,
                encap: false,
            })
            .collect(),
        nexthop: None,
    }
}

fn add(route: Route) -> Event {
    Event::Route {
        route,
        replace: false,
    }
}

fn known(ifindex: u32, ip: &str, state: NeighbourState) -> Event {
    let neighbour = Neighbour {
        state,
        mac: Some(Mac([6, 0, 0, 0, 0, 9])),
    };
    Event::Neighbour(ifindex, addr(ip), neighbour)
}

/// A router with a bit of everything.
fn host() -> View {
    let loopback = Link {
        loopback: true,
        mac: None,
        ethernet: false,
        mtu: 65536,
        ..link(1, "lo", LinkKind::Device)
    };
    let tag = |id| LinkKind::Vlan(VlanTag { id, tpid: 0x8100 });
    let bond = |active_backup, active| LinkKind::Bond {
        active,
        active_backup,
    };
    View::from_dump([
        Event::Link(loopback),
        Event::Link(link(2, "eth0", LinkKind::Device)),
        Event::Link(Link {
            mtu: 9000,
            ..link(3, "eth1", LinkKind::Veth)
        }),
        Event::Link(Link {
            up: false,
            carrier: false,
            ..link(4, "down", LinkKind::Device)
        }),
        Event::Link(Link {
            carrier: false,
            ..link(5, "unplugged", LinkKind::Device)
        }),
        Event::Link(Link {
            ethernet: false,
            mac: None,
            ..link(6, "tun0", LinkKind::Other("tun".to_owned()))
        }),
        Event::Link(Link {
            lower: Some(2),
            ..link(10, "vlan10", tag(10))
        }),
        Event::Link(Link {
            lower: Some(10),
            mtu: 1496,
            ..link(11, "qinq", tag(11))
        }),
        Event::Link(Link {
            lower: Some(11),
            ..link(12, "three", tag(12))
        }),
        Event::Link(Link {
            lower: None,
            ..link(13, "foreign", tag(13))
        }),
        Event::Link(link(20, "bond0", bond(true, Some(22)))),
        Event::Link(Link {
            master: Some(20),
            ..link(21, "port1", LinkKind::Device)
        }),
        Event::Link(Link {
            master: Some(20),
            ..link(22, "port2", LinkKind::Device)
        }),
        Event::Link(link(25, "bond1", bond(false, None))),
        Event::Link(Link {
            master: Some(25),
            ..link(26, "port3", LinkKind::Device)
        }),
        Event::Link(Link {
            master: Some(25),
            carrier: false,
            ..link(27, "port4", LinkKind::Device)
        }),
        Event::Link(link(30, "br0", LinkKind::Bridge)),
        Event::Link(Link {
            lower: Some(20),
            ..link(31, "vlan_on_bond", tag(31))
        }),
        held(1, "127.0.0.1/8"),
        held(2, "10.0.0.1/24"),
        held(2, "10.0.9.1/24"),
        held(2, "2001:db8::1/64"),
        held(2, "fd00::1/64"),
        held(3, "10.1.0.1/24"),
        add(Route {
            table: Table::Local,
            kind: RouteKind::Local,
            ..to("10.0.0.1/32", &[(2, None)])
        }),
        add(Route {
            table: Table::Local,
            kind: RouteKind::Local,
            ..to("127.0.0.0/8", &[(1, None)])
        }),
        add(Route {
            table: Table::Local,
            kind: RouteKind::Broadcast,
            ..to("10.0.0.255/32", &[(2, None)])
        }),
        add(Route {
            prefsrc: Some(addr("10.0.0.1")),
            ..to("10.0.0.0/24", &[(2, None)])
        }),
        add(to("10.1.0.0/24", &[(3, None)])),
        add(to("0.0.0.0/0", &[(2, Some("10.0.0.254"))])),
        add(to("192.0.2.0/24", &[(2, Some("10.0.9.254"))])),
        add(Route {
            metric: 5,
            ..to("198.51.100.0/24", &[(2, Some("10.0.0.5"))])
        }),
        add(Route {
            metric: 2,
            mtu: Some(1280),
            ..to("198.51.100.0/24", &[(3, Some("10.1.0.5"))])
        }),
        add(Route {
            kind: RouteKind::Blackhole,
            ..to("203.0.113.0/25", &[])
        }),
        add(Route {
            kind: RouteKind::Prohibit,
            ..to("203.0.113.128/25", &[])
        }),
        add(Route {
            kind: RouteKind::Throw,
            ..to("172.31.0.0/24", &[])
        }),
        add(to("172.16.4.0/24", &[(4, None)])),
        add(to("172.16.5.0/24", &[(5, None)])),
        add(to("172.16.6.0/24", &[(6, None)])),
        add(to("172.16.10.0/24", &[(10, None)])),
        add(to("172.16.11.0/24", &[(11, None)])),
        add(to("172.16.12.0/24", &[(12, None)])),
        add(to("172.16.13.0/24", &[(13, None)])),
        add(to("172.16.20.0/24", &[(20, None)])),
        add(to("172.16.25.0/24", &[(25, None)])),
        add(to("172.16.30.0/24", &[(30, None)])),
        add(to("172.16.31.0/24", &[(31, None)])),
        add(Route {
            nexthop: Some(7),
            ..to("172.17.0.0/24", &[])
        }),
        add(Route {
            hops: vec![Hop {
                ifindex: 2,
                gateway: None,
                weight: 1,
                encap: true,
            }],
            ..to("172.17.1.0/24", &[])
        }),
        add(Route {
            tos: 16,
            ..to("10.1.0.7/32", &[(2, None)])
        }),
        add(to("172.18.0.0/24", &[(2, Some("fe80::1"))])),
        add(to("2001:db8::/64", &[(2, None)])),
        add(to("2001:db8:1::/48", &[(2, Some("fe80::1"))])),
        add(to("fd00:1::/32", &[(2, Some("fe80::1"))])),
        known(2, "10.0.0.254", NeighbourState::Stale),
        known(2, "10.0.0.9", NeighbourState::Failed),
        known(2, "10.0.0.8", NeighbourState::Permanent),
        known(2, "fe80::1", NeighbourState::Reachable),
    ])
}

/// The way in a line: `source > neighbour@egress [mac] via device tags mtu`.
fn way(view: &View, destination: &str) -> String {
    let name = |index| view.link(index).unwrap().name.clone();
    match view.resolve(addr(destination)) {
        Err(error) => error.to_string(),
        Ok(r) => {
            let router = if r.gateway { "router " } else { "" };
            let mac = if r.mac.is_some() { "known" } else { "to probe" };
            let tags: Vec<String> = r
                .vlans
                .iter()
                .flatten()
                .map(|tag| format!(" tag {}", tag.id))
                .collect();
            format!(
                "{} > {router}{}@{} {mac}, out {}{} mtu {}",
                r.source,
                r.neighbour,
                name(r.egress),
                name(r.device),
                tags.concat(),
                r.mtu
            )
        }
    }
}

#[test]
fn destinations_resolve_as_the_kernel_would_send_to_them() {
    let view = host();
    let table = [
        (
            "10.0.0.8",
            "10.0.0.1 > 10.0.0.8@eth0 known, out eth0 mtu 1500",
        ),
        (
            "10.0.0.9",
            "10.0.0.1 > 10.0.0.9@eth0 to probe, out eth0 mtu 1500",
        ),
        (
            "::ffff:10.0.0.8",
            "10.0.0.1 > 10.0.0.8@eth0 known, out eth0 mtu 1500",
        ),
        (
            "10.1.0.7",
            "10.1.0.1 > 10.1.0.7@eth1 to probe, out eth1 mtu 9000",
        ),
        (
            "8.8.8.8",
            "10.0.0.1 > router 10.0.0.254@eth0 known, out eth0 mtu 1500",
        ),
        // The address in the router's network is sent from.
        (
            "192.0.2.1",
            "10.0.9.1 > router 10.0.9.254@eth0 to probe, out eth0 mtu 1500",
        ),
        // The smaller metric, with its own MTU.
        (
            "198.51.100.1",
            "10.1.0.1 > router 10.1.0.5@eth1 to probe, out eth1 mtu 1280",
        ),
        // An interface that is down takes its route with it; the default route remains.
        (
            "172.16.4.1",
            "10.0.0.1 > router 10.0.0.254@eth0 known, out eth0 mtu 1500",
        ),
        (
            "172.16.5.1",
            "interface unplugged on the way to 172.16.5.1 has no carrier",
        ),
        (
            "172.16.6.1",
            "interface tun0 on the way to 172.16.6.1 has no Ethernet headers",
        ),
        // No address on the VLAN device: another interface's.
        (
            "172.16.10.1",
            "10.0.0.1 > 172.16.10.1@vlan10 to probe, out eth0 tag 10 mtu 1500",
        ),
        (
            "172.16.11.1",
            "10.0.0.1 > 172.16.11.1@qinq to probe, out eth0 tag 10 tag 11 mtu 1496",
        ),
        (
            "172.16.12.1",
            "interface vlan10 (vlan) on the way to 172.16.12.1 cannot be resolved to the device underneath: \
             more than two tags",
        ),
        (
            "172.16.13.1",
            "interface foreign (vlan) on the way to 172.16.13.1 cannot be resolved to the device underneath: \
             its device is in another network namespace",
        ),
        (
            "172.16.20.1",
            "10.0.0.1 > 172.16.20.1@bond0 to probe, out port2 mtu 1500",
        ),
        (
            "172.16.25.1",
            "10.0.0.1 > 172.16.25.1@bond1 to probe, out port3 mtu 1500",
        ),
        (
            "172.16.31.1",
            "10.0.0.1 > 172.16.31.1@vlan_on_bond to probe, out port2 tag 31 mtu 1500",
        ),
        (
            "172.16.30.1",
            "interface br0 (bridge) on the way to 172.16.30.1 cannot be resolved to the device underneath: \
             the port behind which a neighbour is may change",
        ),
        (
            "172.17.0.1",
            "the route 172.17.0.0/24 uses nexthop object 7 alone: set net.ipv4.nexthop_compat_mode=1",
        ),
        (
            "172.17.1.1",
            "the route 172.17.1.0/24 encapsulates packets (mpls, seg6, ip …), which the fast path cannot",
        ),
        (
            "172.18.0.1",
            "10.0.0.1 > router fe80::1@eth0 known, out eth0 mtu 1500",
        ),
        (
            "172.31.0.1",
            "no route to 172.31.0.1: add one, or bring its interface up",
        ),
        (
            "10.0.0.1",
            "10.0.0.1 is an address of this host: such connections are served in userspace",
        ),
        (
            "127.9.9.9",
            "127.9.9.9 is an address of this host: such connections are served in userspace",
        ),
        (
            "::1",
            "::1 is an address of this host: such connections are served in userspace",
        ),
        (
            "10.0.0.255",
            "10.0.0.255 is a broadcast, multicast or unspecified address",
        ),
        (
            "224.0.0.1",
            "224.0.0.1 is a broadcast, multicast or unspecified address",
        ),
        (
            "0.0.0.0",
            "0.0.0.0 is a broadcast, multicast or unspecified address",
        ),
        (
            "203.0.113.1",
            "the route 203.0.113.0/25 for 203.0.113.1 refuses packets (Blackhole)",
        ),
        (
            "203.0.113.200",
            "the route 203.0.113.128/25 for 203.0.113.200 refuses packets (Prohibit)",
        ),
        (
            "2001:db8::9",
            "2001:db8::1 > 2001:db8::9@eth0 to probe, out eth0 mtu 1500",
        ),
        (
            "2001:db8:1::9",
            "2001:db8::1 > router fe80::1@eth0 known, out eth0 mtu 1500",
        ),
        (
            "fd00:1::9",
            "fd00::1 > router fe80::1@eth0 known, out eth0 mtu 1500",
        ),
        (
            "2001:db9::1",
            "no route to 2001:db9::1: add one, or bring its interface up",
        ),
        (
            "fe80::9",
            "fe80::9 is link-local: give the server a routable address",
        ),
    ];
    for (destination, expected) in table {
        assert_eq!(way(&view, destination), expected, "{destination}");
    }
}

#[test]
fn multipath_spreads_destinations_by_weight_and_keeps_each_on_its_way() {
    let mut view = host();
    let mut route = to(
        "100.64.0.0/10",
        &[(2, Some("10.0.0.5")), (3, Some("10.1.0.5"))],
    );
    route.hops[1].weight = 3;
    view.apply(add(route));
    let destinations: Vec<IpAddr> = (0..1000u32)
        .map(|n| IpAddr::from((0x6440_0000 + n).to_be_bytes()))
        .collect();
    let ways = |view: &View| -> Vec<u32> {
        destinations
            .iter()
            .map(|d| view.resolve(*d).unwrap().egress)
            .collect()
    };
    let first = ways(&view);
    assert_eq!(first, ways(&view));
    let heavy = first.iter().filter(|egress| **egress == 3).count();
    assert!(
        (650..850).contains(&heavy),
        "{heavy} of 1000 over the hop of weight 3 of 4"
    );

    let unplugged = Link {
        carrier: false,
        mtu: 9000,
        ..link(3, "eth1", LinkKind::Veth)
    };
    view.apply(Event::Link(unplugged));
    assert!(
        ways(&view).iter().all(|egress| *egress == 2),
        "a hop without carrier is avoided"
    );
}

#[test]
fn deprecated_temporary_and_tentative_addresses_are_not_sent_from() {
    let mut view = host();
    let own = |ip: &str| Address {
        ip: addr(ip),
        prefix_len: 64,
        peer: addr(ip),
        scope: Scope::Global,
        secondary: false,
        deprecated: false,
        tentative: false,
    };
    for address in [
        Address {
            deprecated: true,
            ..own("2001:db8:1::1")
        },
        Address {
            secondary: true,
            ..own("2001:db8:1::2")
        },
        Address {
            tentative: true,
            ..own("2001:db8:1::3")
        },
    ] {
        view.apply(Event::Address(2, address));
    }
    assert_eq!(
        view.resolve(addr("2001:db8:1::9")).unwrap().source,
        addr("2001:db8::1")
    );
    view.apply(Event::Address(2, own("2001:db8:1::4")));
    assert_eq!(
        view.resolve(addr("2001:db8:1::9")).unwrap().source,
        addr("2001:db8:1::4")
    );
}

#[test]
fn policy_rules_do_not_change_a_resolution_but_are_there_to_warn_of() {
    let mut view = host();
    let rule = Rule {
        family: Family::V4,
        priority: 100,
        table: 5,
    };
    view.apply(Event::Rule(rule));
    assert_eq!(view.policy_rules().iter().collect::<Vec<_>>(), [&rule]);
    assert!(view.resolve(addr("10.0.0.8")).is_ok());
}
