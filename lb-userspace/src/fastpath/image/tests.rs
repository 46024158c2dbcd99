use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    flow::{mac_key, tag_word},
    service::{algorithm, forward},
};

use super::*;
use crate::{
    config::model::{self, Balance, Forward, Prefix, Transport},
    fastpath::{
        family::words,
        net::{
            Mac, VlanTag,
            model::{
                Address as NetAddress, Event, Hop as RouteHop, Link, LinkKind, Neighbour,
                NeighbourState, Prefix as NetPrefix, Route, RouteKind, Scope, Table,
            },
        },
    },
    topology::fixtures,
};

/// The interface that everything is reached by, and the VLAN 7 on it.
const ETH: u32 = 2;
const VLAN: u32 = 3;
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn link(index: u32, kind: LinkKind, lower: Option<u32>) -> Event {
    Event::Link(Link {
        index,
        name: format!("eth{index}"),
        kind,
        ethernet: true,
        loopback: false,
        mac: Some(MAC),
        mtu: 1500,
        up: true,
        carrier: true,
        master: None,
        lower,
    })
}

/// An address of this host with its network.
fn network(index: u32, ip: &str, prefix_len: u8) -> [Event; 2] {
    let ip: IpAddr = ip.parse().unwrap();
    let address = NetAddress {
        ip,
        prefix_len,
        peer: ip,
        scope: Scope::Global,
        secondary: false,
        deprecated: false,
        tentative: false,
    };
    let route = Route {
        table: Table::Main,
        destination: NetPrefix::new(ip, prefix_len),
        tos: 0,
        metric: 0,
        kind: RouteKind::Unicast,
        scope: Scope::Link,
        prefsrc: None,
        mtu: None,
        hops: vec![RouteHop {
            ifindex: index,
            gateway: None,
            weight: 1,
            encap: false,
        }],
        nexthop: None,
    };
    [
        Event::Address(index, address),
        Event::Route {
            route,
            replace: false,
        },
    ]
}

fn neighbour(index: u32, ip: &str) -> Event {
    let known = Neighbour {
        state: NeighbourState::Permanent,
        mac: Some(SERVER_MAC),
    };
    Event::Neighbour(index, ip.parse().unwrap(), known)
}

fn view() -> View {
    let tag = VlanTag {
        id: 7,
        tpid: 0x8100,
    };
    let mut events = vec![
        link(ETH, LinkKind::Device, None),
        link(VLAN, LinkKind::Vlan(tag), Some(ETH)),
    ];
    events.extend(network(ETH, "192.0.2.1", 24));
    events.extend(network(ETH, "2001:db8::1", 64));
    events.extend(network(VLAN, "198.51.100.1", 24));
    events.extend(["192.0.2.9", "2001:db8::9"].map(|ip| neighbour(ETH, ip)));
    events.push(neighbour(VLAN, "198.51.100.9"));
    View::from_dump(events)
}

struct Wanted {
    frontend: model::Frontend,
    backend: model::Backend,
    deny: DenyList,
    path_mtus: BTreeMap<IpAddr, u32>,
    unreachable: BTreeSet<u32>,
}

fn wanted(bind: &str, server: &str, forward: Forward) -> Wanted {
    let servers = vec![fixtures::server("a", server), fixtures::server("b", server)];
    let mut backend = fixtures::backend("be", Balance::RoundRobin, servers);
    backend.forward = forward;
    Wanted {
        frontend: fixtures::frontend("fe", bind.parse().unwrap(), "be"),
        backend,
        deny: DenyList::default(),
        path_mtus: BTreeMap::new(),
        unreachable: BTreeSet::new(),
    }
}

impl Wanted {
    fn image(self) -> Image {
        let config = fixtures::config(vec![self.frontend], vec![self.backend]);
        let topology = Topology::new(&config);
        let room = Room {
            blocks: 4,
            lanes: 16,
            hops: 16,
            turns: 16,
        };
        let inputs = Inputs {
            config: &config,
            topology: &topology,
            view: &view(),
            attached: &Attached {
                all: [ETH].into(),
                unreachable: self.unreachable,
            },
            listening: &BTreeSet::new(),
            deny: &self.deny,
            path_mtus: &self.path_mtus,
            room: &room,
        };
        Image::build(&inputs, &mut Registry::default())
    }
}

/// The hop of the first server.
fn server_hop(image: &Image) -> Hop {
    image.hops[&u32::from(image.servers[&0].hop)]
}

fn has_port(image: &Image, port: u16, source: bool) -> bool {
    let at = usize::from(source) * 1024 + usize::from(port >> 6);
    image.ports.0[at] & (1 << (port & 63)) != 0
}

#[test]
fn fullnat_knows_its_servers_and_its_own_address_in_both_families() {
    let four = wanted("192.0.2.1:80", "192.0.2.9:8080", Forward::FullNat).image();
    let (key, balanced) = four.v4.services.first_key_value().unwrap();
    assert_eq!((key.port, key.proto), (80u16.to_be(), TCP));
    assert_eq!(balanced.service.forward, forward::FULL_NAT);
    assert_eq!(*balanced.slots, [0, 1]);
    assert_eq!(
        four.snats,
        [SnatAddress(words("192.0.2.1".parse().unwrap()))]
    );
    assert_eq!(four.v4.reals.len(), 1);
    assert!(has_port(&four, 80, false) && has_port(&four, 10_000, false));
    assert!(!has_port(&four, 8080, true));
    let hop = server_hop(&four);
    assert_eq!((hop.ifindex, hop.flags, hop.mtu), (ETH, Hop::USABLE, 1500));
    assert_eq!(hop.tags, [0; 2]);

    let six = wanted("[2001:db8::1]:80", "[2001:db8::9]:80", Forward::FullNat).image();
    assert!(six.v4.services.is_empty() && six.v4.reals.is_empty());
    assert_eq!((six.v6.services.len(), six.v6.reals.len()), (1, 1));
    assert_eq!(
        six.snats,
        [SnatAddress(words("2001:db8::1".parse().unwrap()))]
    );
    assert_eq!(six.servers[&0].addr, words("2001:db8::9".parse().unwrap()));
}

#[test]
fn nat_knows_replies_by_the_servers_port() {
    let image = wanted("192.0.2.1:80", "192.0.2.9:8080", Forward::Nat).image();
    let balanced = image.v4.services.first_key_value().unwrap().1;
    assert_eq!(balanced.service.forward, forward::NAT);
    assert!(has_port(&image, 8080, true));
    assert!(image.v4.reals.is_empty() && image.snats.is_empty());
    assert_eq!(image.servers[&0].snat_len, 0);
}

#[test]
fn ipip_wraps_either_family_and_says_what_fits() {
    let same = wanted("192.0.2.1:80", "192.0.2.9:80", Forward::Ipip).image();
    let hop = server_hop(&same);
    assert_eq!((hop.flags, hop.mtu), (Hop::USABLE | Hop::OUTER4, 1480));
    assert_eq!(hop.outer_dst, words("192.0.2.9".parse().unwrap()));
    assert_eq!(hop.outer_src, words("192.0.2.1".parse().unwrap()));

    let mixed = wanted("192.0.2.1:80", "[2001:db8::9]:80", Forward::Ipip).image();
    assert_eq!(mixed.v4.services.len(), 1);
    let hop = server_hop(&mixed);
    assert_eq!((hop.flags, hop.mtu), (Hop::USABLE | Hop::OUTER6, 1460));
    assert_eq!(
        mixed.servers[&0].addr,
        words("2001:db8::9".parse().unwrap())
    );
    let end: IpAddr = "2001:db8::9".parse().unwrap();
    assert_eq!(mixed.tunnel_ends(), BTreeSet::from([end]));

    let mut narrow = wanted("192.0.2.1:80", "[2001:db8::9]:80", Forward::Ipip);
    narrow.path_mtus.insert(end, 1280);
    assert_eq!(server_hop(&narrow.image()).mtu, 1240);
}

#[test]
fn ipv6_never_goes_in_ipv4_nor_to_servers_of_the_other_family() {
    for forward in [Forward::FullNat, Forward::Nat, Forward::Dsr, Forward::Ipip] {
        let image = wanted("[2001:db8::1]:80", "192.0.2.9:80", forward).image();
        assert!(image.v6.services.is_empty(), "{forward:?}");
        assert!(image.frontends["fe"].is_err(), "{forward:?}");
    }
}

#[test]
fn udp_and_tcp_are_services_of_their_own() {
    let mut both = wanted("192.0.2.1:53", "192.0.2.9:53", Forward::FullNat);
    let mut udp = both.frontend.binds[0].clone();
    udp.transport = Transport::Udp;
    both.frontend.binds.push(udp);
    let image = both.image();
    let protocols: Vec<u16> = image.v4.services.keys().map(|key| key.proto).collect();
    assert_eq!(protocols, [TCP, UDP]);
    let ids: BTreeSet<u32> = image.v4.services.values().map(|b| b.service.id).collect();
    assert_eq!(ids.len(), 2, "each takes its own turns");
    assert_eq!(image.v4.reals.len(), 2);
}

#[test]
fn a_frontend_that_is_bound_everywhere_says_so_where_servers_can_be_computed() {
    let marks = |image: &Image| {
        let four = image.v4.services.iter().map(|(key, b)| (key.addr.ip(), b));
        let six = image.v6.services.iter().map(|(key, b)| (key.addr.ip(), b));
        let marked = four
            .chain(six)
            .filter(|(_, balanced)| balanced.service.flags & Service::EVERYWHERE != 0);
        marked.map(|(ip, _)| ip).collect::<Vec<IpAddr>>()
    };
    let bound = |address: &str, balance| {
        let mut wanted = wanted(address, "192.0.2.9:80", Forward::FullNat);
        wanted.frontend.binds[0].both_families = address.starts_with("[::]");
        wanted.backend.balance = balance;
        wanted.image()
    };
    assert!(marks(&bound("[::]:80", Balance::RoundRobin)).is_empty());
    assert!(marks(&bound("192.0.2.1:80", Balance::Maglev)).is_empty());
    let image = bound("[::]:80", Balance::Maglev);
    // The family that its servers cannot be reached from is left to userspace.
    assert_eq!(marks(&image), [IpAddr::from([0, 0, 0, 0])]);
    assert!(
        image
            .service_addresses()
            .iter()
            .all(|ip| !ip.is_unspecified())
    );
}

#[test]
fn any_means_the_addresses_of_both_families() {
    let mut any = wanted("[::]:80", "192.0.2.9:80", Forward::FullNat);
    any.frontend.binds[0].both_families = true;
    let image = any.image();
    let addresses: Vec<IpAddr> = image.service_addresses().into_iter().collect();
    let four: [IpAddr; 2] = ["192.0.2.1", "198.51.100.1"].map(|ip| ip.parse().unwrap());
    assert_eq!(addresses, four);
    let remark = image.frontends["fe"].clone().unwrap();
    assert!(remark.is_some_and(|remark| remark.text.contains("IPv6 clients")));
}

#[test]
fn algorithms_that_every_node_computes_alike_need_no_flow() {
    let of = |balance| {
        let mut wanted = wanted("192.0.2.1:80", "192.0.2.9:80", Forward::Dsr);
        wanted.backend.balance = balance;
        wanted.backend.table_size = 251;
        let image = wanted.image();
        image.v4.services.first_key_value().unwrap().1.clone()
    };
    let maglev = of(Balance::Maglev);
    assert_eq!(maglev.service.algorithm, algorithm::MAGLEV);
    assert_eq!(
        maglev.service.flags,
        Service::STATELESS | Service::DROP_OVERFLOW & maglev.service.flags
    );
    assert_eq!(maglev.slots.len(), 251);
    assert_eq!(
        of(Balance::Source).service.flags & Service::STATELESS,
        Service::STATELESS
    );
    let random = of(Balance::Random);
    assert_eq!(random.service.algorithm, algorithm::RANDOM);
    assert_eq!(random.service.flags & Service::STATELESS, 0);
    assert_eq!(*random.slots, [0, 1]);
}

#[test]
fn a_vlan_is_a_side_of_its_own_and_its_servers_get_the_tag() {
    let image = wanted("198.51.100.1:80", "198.51.100.9:80", Forward::Dsr).image();
    let tag = tag_word(0x8100, 7);
    let sides: Vec<(u32, [u32; 2])> = image.sides.keys().map(|k| (k.ifindex, k.tags)).collect();
    assert_eq!(sides, [(ETH, [0, 0]), (ETH, [tag, 0])]);
    let hop = server_hop(&image);
    assert_eq!((hop.ifindex, hop.tags), (ETH, [tag, 0]));
    assert!(has_vlans(&view(), ETH) && !has_vlans(&view(), VLAN));
}

#[test]
fn what_cannot_be_sent_to_has_no_side_and_no_hop() {
    let mut wanted = wanted("192.0.2.1:80", "192.0.2.9:80", Forward::FullNat);
    wanted.unreachable.insert(ETH);
    let image = wanted.image();
    assert!(image.sides.is_empty() && image.tx.is_empty());
    assert_eq!(server_hop(&image), Hop::default());
}

#[test]
fn frames_for_any_interface_of_this_host_are_its_own() {
    let image = wanted("192.0.2.1:80", "192.0.2.9:80", Forward::FullNat).image();
    let (low, high) = Hop::mac_words(MAC.0);
    assert_eq!(image.macs, [(mac_key(low, high), 1)].into());
}

#[test]
fn denied_prefixes_set_their_familys_flag() {
    let mut wanted = wanted("192.0.2.1:80", "192.0.2.9:80", Forward::FullNat);
    wanted.deny.add(Prefix {
        address: "198.51.100.0".parse().unwrap(),
        length: 24,
    });
    let image = wanted.image();
    assert_eq!(image.v4.deny.len(), 1);
    let config = fixtures::config(Vec::new(), Vec::new());
    let capacity = Capacity::of(&Topology::new(&config), 1000, 1);
    let fixed = Settings {
        seed: 5,
        half_mask4: 255,
        ..Settings::default()
    };
    let settings = image.settings(&config, &capacity, &fixed, Settings::DRAINING);
    assert_eq!(settings.flags, Settings::DENY4 | Settings::DRAINING);
    assert_eq!((settings.seed, settings.half_mask4), (5, 255));
    assert_eq!((settings.snat_first, settings.snat_count), (10_000, 22_768));
}
