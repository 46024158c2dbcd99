//! What the kernel sends, as far as it cannot be had from every kernel (VLANs, bonds, bridges are modules), or only by chance.

use rtnetlink::packet_core::{Emitable, NLM_F_REPLACE, ParseableParametrized};
use rtnetlink::packet_route::link::VlanProtocol;
use rtnetlink::packet_route::route::{RouteLwEnCapType, RouteNextHop};

use super::*;

/// The event of a message that went over the wire.
fn decoded(message: &RouteNetlinkMessage) -> Option<Event> {
    let message_type = rtnetlink::packet_core::NetlinkSerializable::message_type(message);
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    let parsed = RouteNetlinkMessage::parse_with_param(&bytes[..], message_type).unwrap();
    event(&parsed, 0)
}

fn link_message(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = attributes;
    message
}

fn named(more: Vec<LinkAttribute>) -> LinkMessage {
    link_message([vec![LinkAttribute::IfName("x".to_owned())], more].concat())
}

fn link_of(message: LinkMessage) -> Link {
    match decoded(&RouteNetlinkMessage::NewLink(message)) {
        Some(Event::Link(link)) => link,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_vlan_link_has_its_tag_and_its_device_if_that_is_in_this_namespace() {
    let vlan = || {
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![
                InfoVlan::Id(100),
                InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
            ])),
        ])
    };
    let here = link_of(named(vec![LinkAttribute::Link(3), vlan()]));
    assert_eq!(
        here.kind,
        LinkKind::Vlan(VlanTag {
            id: 100,
            tpid: 0x88a8
        })
    );
    assert_eq!(
        (here.lower, here.up, here.carrier, here.ethernet),
        (Some(3), true, true, true)
    );
    let elsewhere = link_of(named(vec![
        LinkAttribute::Link(3),
        LinkAttribute::LinkNetNsId(0),
        vlan(),
    ]));
    assert_eq!(elsewhere.lower, None);
}

#[test]
fn a_bond_has_its_active_port_and_its_ports_name_it() {
    let bond = |data| {
        let info = vec![
            LinkInfo::Kind(InfoKind::Bond),
            LinkInfo::Data(InfoData::Bond(data)),
        ];
        link_of(named(vec![LinkAttribute::LinkInfo(info)])).kind
    };
    let active_backup = vec![
        InfoBond::Mode(BondMode::ActiveBackup),
        InfoBond::ActivePort(4),
    ];
    assert_eq!(
        bond(active_backup),
        LinkKind::Bond {
            active: Some(4),
            active_backup: true
        }
    );
    assert_eq!(
        bond(vec![InfoBond::Mode(BondMode::Ieee8023Ad)]),
        LinkKind::Bond {
            active: None,
            active_backup: false
        }
    );
    assert_eq!(
        link_of(named(vec![LinkAttribute::Controller(7)])).master,
        Some(7)
    );
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_a_link_that_goes() {
    let mut message = named(vec![]);
    message.header.interface_family = AddressFamily::Bridge;
    assert_eq!(
        decoded(&RouteNetlinkMessage::DelLink(message.clone())),
        None
    );
    assert_eq!(decoded(&RouteNetlinkMessage::NewLink(message)), None);
    assert_eq!(
        decoded(&RouteNetlinkMessage::DelLink(named(vec![]))),
        Some(Event::LinkGone(7))
    );
    // Wireless events name nothing.
    assert_eq!(
        decoded(&RouteNetlinkMessage::NewLink(link_message(vec![]))),
        None
    );
}

#[test]
fn routes_of_other_tables_and_cached_ones_are_of_no_concern() {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    assert!(decoded(&RouteNetlinkMessage::NewRoute(message.clone())).is_some());
    let mut other = message.clone();
    other.attributes.push(RouteAttribute::Table(1000));
    assert_eq!(decoded(&RouteNetlinkMessage::NewRoute(other)), None);
    let mut cached = message.clone();
    cached.header.flags = RouteFlags::Cloned;
    assert_eq!(decoded(&RouteNetlinkMessage::NewRoute(cached)), None);
    message.header.address_family = AddressFamily::Mpls;
    assert_eq!(decoded(&RouteNetlinkMessage::NewRoute(message)), None);
}

#[test]
fn a_multipath_route_has_its_hops_with_weights_and_gateways_of_either_family() {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.destination_prefix_length = 24;
    let hop = |index, hops, attribute| {
        let mut hop = RouteNextHop::default();
        (hop.interface_index, hop.hops) = (index, hops);
        hop.attributes.push(attribute);
        hop
    };
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet([192, 0, 2, 0].into())),
        RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]),
        RouteAttribute::MultiPath(vec![
            hop(
                2,
                0,
                RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 0, 1].into())),
            ),
            hop(
                3,
                9,
                RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap())),
            ),
            hop(4, 0, RouteAttribute::EncapType(RouteLwEnCapType::Mpls)),
        ]),
    ];
    let replaced = event(
        &RouteNetlinkMessage::NewRoute(message.clone()),
        NLM_F_REPLACE,
    );
    assert!(matches!(replaced, Some(Event::Route { replace: true, .. })));
    let Some(Event::Route {
        route,
        replace: false,
    }) = decoded(&RouteNetlinkMessage::NewRoute(message))
    else {
        panic!("no route");
    };
    let hops: Vec<_> = route
        .hops
        .iter()
        .map(|hop| (hop.ifindex, hop.gateway, hop.weight, hop.encap))
        .collect();
    let expected = [
        (2, Some("10.0.0.1".parse().unwrap()), 1, false),
        (3, Some("fe80::1".parse().unwrap()), 10, false),
        (4, None, 1, true),
    ];
    assert_eq!(hops, expected);
    assert_eq!(
        (route.destination.to_string(), route.mtu),
        ("192.0.2.0/24".to_owned(), Some(1400))
    );
}

#[test]
fn the_rules_that_every_namespace_has_are_left_out() {
    let rule = |priority: Option<u32>, table: u8| {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.table = table;
        message
            .attributes
            .extend(priority.map(RuleAttribute::Priority));
        decoded(&RouteNetlinkMessage::NewRule(message))
    };
    assert_eq!(
        [
            rule(None, 255),
            rule(Some(32766), 254),
            rule(Some(32767), 253)
        ],
        [None, None, None]
    );
    let own = Rule {
        family: Family::V4,
        priority: 100,
        table: 254,
    };
    assert_eq!(rule(Some(100), 254), Some(Event::Rule(own)));
}

#[test]
fn proxy_entries_and_those_of_bridges_are_no_neighbours() {
    let message = |family, flags| {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        message.header.flags = flags;
        message.header.state = Nud::Reachable;
        message
            .attributes
            .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(
                [10, 0, 0, 9].into(),
            )));
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 9]));
        decoded(&RouteNetlinkMessage::NewNeighbour(message))
    };
    let known = Neighbour {
        state: NeighbourState::Reachable,
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
    };
    let seen = Event::Neighbour(0, [10, 0, 0, 9].into(), known);
    assert_eq!(
        message(AddressFamily::Inet, NeighbourFlags::empty()),
        Some(seen)
    );
    assert_eq!(message(AddressFamily::Inet, NeighbourFlags::Proxy), None);
    assert_eq!(
        message(AddressFamily::Bridge, NeighbourFlags::empty()),
        None
    );
}
