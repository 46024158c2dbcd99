use super::super::model::{Hop, LinkKind, Mac, NeighbourState, Prefix, RouteKind, Table};
use super::*;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32) -> Link {
    Link {
        index,
        name: format!("eth{index}"),
        kind: LinkKind::Device,
        ethernet: true,
        loopback: false,
        mac: Mac::new(&[2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        up: true,
        carrier: true,
        master: None,
        lower: None,
    }
}

fn address(text: &str) -> Address {
    Address {
        ip: addr(text),
        prefix_len: 24,
        peer: addr(text),
        scope: Scope::Global,
        secondary: false,
        deprecated: false,
        tentative: false,
    }
}

fn route(destination: &str, len: u8, metric: u32, gateways: &[&str]) -> Route {
    Route {
        table: Table::Main,
        destination: Prefix::new(addr(destination), len),
        tos: 0,
        metric,
        kind: RouteKind::Unicast,
        scope: Scope::Global,
        prefsrc: None,
        mtu: None,
        hops: gateways
            .iter()
            .map(|gateway| Hop {
                ifindex: 2,
                gateway: Some(addr(gateway)),
                weight: 1,
                encap: false,
            })
            .collect(),
        nexthop: None,
    }
}

fn neighbour(state: NeighbourState, last: u8) -> Event {
    let neighbour = Neighbour {
        state,
        mac: Mac::new(&[6, 0, 0, 0, 0, last]),
    };
    Event::Neighbour(2, addr("10.0.0.9"), neighbour)
}

const FORWARDING: Changed = Changed {
    forwarding: true,
    neighbour_state: false,
    stale_routes: false,
};
const NOTHING: Changed = Changed {
    forwarding: false,
    neighbour_state: false,
    stale_routes: false,
};

#[test]
fn each_event_says_what_it_changed_and_a_repetition_changes_nothing() {
    let mut view = View::default();
    let stale_routes = Changed {
        stale_routes: true,
        ..FORWARDING
    };
    let usable = Changed {
        neighbour_state: true,
        ..FORWARDING
    };
    let state_only = Changed {
        neighbour_state: true,
        ..NOTHING
    };
    let to = || route("192.0.2.0", 24, 0, &["10.0.0.254"]);
    let steps = [
        ("a link", Event::Link(link(2)), FORWARDING),
        (
            "an address",
            Event::Address(2, address("10.0.0.1")),
            FORWARDING,
        ),
        (
            "its flags",
            Event::Address(
                2,
                Address {
                    deprecated: true,
                    ..address("10.0.0.1")
                },
            ),
            FORWARDING,
        ),
        (
            "a route",
            Event::Route {
                route: to(),
                replace: false,
            },
            FORWARDING,
        ),
        (
            "a neighbour",
            neighbour(NeighbourState::Reachable, 1),
            usable,
        ),
        (
            "the same, stale",
            neighbour(NeighbourState::Stale, 1),
            state_only,
        ),
        (
            "its new MAC",
            neighbour(NeighbourState::Reachable, 2),
            usable,
        ),
        ("no answer", neighbour(NeighbourState::Failed, 2), usable),
        (
            "forgotten",
            Event::NeighbourGone(2, addr("10.0.0.9")),
            state_only,
        ),
        ("no route", Event::RouteGone(to()), FORWARDING),
        (
            "no address",
            Event::AddressGone(2, address("10.0.0.1")),
            stale_routes,
        ),
        (
            "no cable",
            Event::Link(Link {
                carrier: false,
                ..link(2)
            }),
            stale_routes,
        ),
        ("cable", Event::Link(link(2)), FORWARDING),
        ("no link", Event::LinkGone(2), stale_routes),
    ];
    for (what, event, expected) in steps {
        let epoch = view.epoch();
        assert_eq!(view.apply(event.clone()), expected, "{what}");
        assert_eq!(
            view.epoch() - epoch,
            u64::from(expected.forwarding),
            "{what}"
        );
        assert_eq!(view.apply(event), NOTHING, "{what}, again");
    }
}

#[test]
fn a_link_that_goes_takes_its_addresses_and_neighbours_along() {
    let mut view = View::from_dump([
        Event::Link(link(2)),
        Event::Address(2, address("10.0.0.1")),
        neighbour(NeighbourState::Stale, 1),
    ]);
    view.apply(Event::LinkGone(2));
    assert_eq!(view.addresses(2), []);
    assert_eq!(view.neighbour(2, addr("10.0.0.9")), None);
}

#[test]
fn an_older_view_stays_as_it_was() {
    let mut view = View::from_dump([
        Event::Link(link(2)),
        neighbour(NeighbourState::Reachable, 1),
    ]);
    let before = view.clone();
    view.apply(neighbour(NeighbourState::Reachable, 2));
    view.apply(Event::LinkGone(2));
    let mac = before
        .neighbour(2, addr("10.0.0.9"))
        .and_then(|known| known.usable());
    assert_eq!(
        (mac, before.link(2).is_some()),
        (Mac::new(&[6, 0, 0, 0, 0, 1]), true)
    );
}

#[test]
fn routes_are_added_replaced_and_removed_as_the_kernel_tells() {
    let gateways = |view: &View, to: &str| -> Vec<Vec<IpAddr>> {
        let hops = |route: &Route| route.hops.iter().filter_map(|hop| hop.gateway).collect();
        view.routes()
            .matching(Table::Main, addr(to))
            .map(hops)
            .collect()
    };
    let new = |route, replace| Event::Route { route, replace };

    let mut v4 = View::default();
    v4.apply(new(route("192.0.2.0", 24, 9, &["10.0.0.3"]), false));
    v4.apply(new(route("192.0.2.0", 24, 0, &["10.0.0.1"]), false));
    v4.apply(new(route("192.0.0.0", 16, 0, &["10.0.0.4"]), false));
    let first = [[addr("10.0.0.1")], [addr("10.0.0.3")], [addr("10.0.0.4")]];
    assert_eq!(
        gateways(&v4, "192.0.2.7"),
        first,
        "longest prefix, then metric"
    );
    v4.apply(new(route("192.0.2.0", 24, 0, &["10.0.0.2"]), true));
    assert_eq!(
        gateways(&v4, "192.0.2.7")[0],
        [addr("10.0.0.2")],
        "replaced"
    );
    let removed = v4.apply(Event::RouteGone(route("192.0.2.0", 24, 0, &["10.0.0.2"])));
    assert_eq!(removed, FORWARDING);
    assert_eq!(gateways(&v4, "192.0.2.7").len(), 2);

    // IPv6 tells of a hop that joins a multipath route by the whole route, of one that leaves by that hop.
    let mut v6 = View::default();
    v6.apply(new(route("2001:db8::", 32, 1024, &["fe80::1"]), false));
    v6.apply(new(
        route("2001:db8::", 32, 1024, &["fe80::1", "fe80::2"]),
        false,
    ));
    assert_eq!(
        gateways(&v6, "2001:db8::9"),
        [[addr("fe80::1"), addr("fe80::2")]]
    );
    let unclear = v6.apply(Event::RouteGone(route(
        "2001:db8::",
        32,
        1024,
        &["fe80::1"],
    )));
    assert_eq!(
        unclear,
        Changed {
            stale_routes: true,
            ..NOTHING
        }
    );
    let dump = [new(route("2001:db8::", 32, 1024, &["fe80::2"]), false)];
    assert_eq!(v6.replace_routes(dump.clone()), FORWARDING);
    assert_eq!(v6.replace_routes(dump), NOTHING);
    assert_eq!(gateways(&v6, "2001:db8::9"), [[addr("fe80::2")]]);
}

#[test]
fn a_new_dump_replaces_everything_and_says_whether_it_mattered() {
    let dump = || {
        View::from_dump([
            Event::Link(link(2)),
            neighbour(NeighbourState::Reachable, 1),
        ])
    };
    let mut view = dump();
    let epoch = view.epoch();
    assert_eq!(view.replace(dump()), NOTHING);
    let stale = View::from_dump([Event::Link(link(2)), neighbour(NeighbourState::Stale, 1)]);
    assert_eq!(
        view.replace(stale),
        Changed {
            neighbour_state: true,
            ..NOTHING
        }
    );
    assert_eq!(view.epoch(), epoch);
    let other = View::from_dump([Event::Link(link(2)), neighbour(NeighbourState::Stale, 2)]);
    assert_eq!(
        view.replace(other),
        Changed {
            neighbour_state: true,
            ..FORWARDING
        }
    );
    assert_eq!(view.epoch(), epoch + 1);
}

#[test]
fn local_addresses_are_those_that_the_outside_can_reach() {
    let held = |index, address| Event::Address(index, address);
    let view = View::from_dump([
        held(
            1,
            Address {
                scope: Scope::Host,
                ..address("127.0.0.1")
            },
        ),
        held(1, address("203.0.113.1")),
        held(2, address("10.0.0.1")),
        held(
            2,
            Address {
                scope: Scope::Link,
                ..address("169.254.0.1")
            },
        ),
        held(
            2,
            Address {
                tentative: true,
                ..address("2001:db8::2")
            },
        ),
        held(3, address("2001:db8::1")),
    ]);
    let of = |family| -> Vec<(String, u32, bool)> {
        let addresses = view.local_addresses(family).into_iter();
        addresses
            .map(|local| (local.ip.to_string(), local.ifindex, local.link_local))
            .collect()
    };
    let v4 = [
        ("10.0.0.1", 2, false),
        ("169.254.0.1", 2, true),
        ("203.0.113.1", 1, false),
    ];
    assert_eq!(
        of(Family::V4),
        v4.map(|(ip, index, link_local)| (ip.to_owned(), index, link_local))
    );
    assert_eq!(of(Family::V6), [("2001:db8::1".to_owned(), 3, false)]);
}

#[test]
fn devices_under_a_stack_are_found_and_a_circle_does_no_harm() {
    let tag = super::super::model::VlanTag {
        id: 5,
        tpid: 0x8100,
    };
    let view = View::from_dump([
        Event::Link(Link {
            master: Some(4),
            ..link(2)
        }),
        Event::Link(Link {
            master: Some(4),
            ..link(3)
        }),
        Event::Link(Link {
            kind: LinkKind::Bridge,
            ..link(4)
        }),
        Event::Link(Link {
            kind: LinkKind::Vlan(tag),
            lower: Some(4),
            ..link(5)
        }),
        Event::Link(Link {
            kind: LinkKind::Vlan(tag),
            lower: Some(7),
            ..link(6)
        }),
        Event::Link(Link {
            kind: LinkKind::Vlan(tag),
            lower: Some(6),
            ..link(7)
        }),
    ]);
    assert_eq!(view.devices_under(5), BTreeSet::from([2, 3]));
    assert_eq!(view.devices_under(3), BTreeSet::from([3]));
    assert_eq!(view.devices_under(6), BTreeSet::new());
    assert_eq!(view.devices_under(99), BTreeSet::new());
}
