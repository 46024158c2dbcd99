//! Netlink messages to [`Event`]s. What is of no concern (other families, tables, link-layer kinds) is no event.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    BondMode, InfoBond, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, VlanProtocol,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::model::{
    Address, Event, Family, Hop, Link, LinkKind, Mac, Neighbour, NeighbourState, Prefix, Route,
    RouteKind, Rule, Scope, Table, VlanTag,
};

/// `RT_TABLE_LOCAL` (`linux/rtnetlink.h`).
const TABLE_LOCAL: u32 = 255;
/// `RT_TABLE_MAIN`.
const TABLE_MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;
/// `RT_TABLE_DEFAULT`.
const TABLE_DEFAULT: u32 = 253;
/// The priorities and tables of the rules that every namespace is born with (`fib_default_rules_init`).
const OWN_RULES: [(u32, u32); 3] = [
    (0, TABLE_LOCAL),
    (32766, TABLE_MAIN),
    (32767, TABLE_DEFAULT),
];

/// The event that `message` tells, if it is one. `flags` are those of its netlink header.
#[must_use]
pub(super) fn event(message: &RouteNetlinkMessage, flags: u16) -> Option<Event> {
    Some(match message {
        RouteNetlinkMessage::NewLink(m) => Event::Link(link(m)?),
        // A port that leaves a bridge is told as DELLINK of family AF_BRIDGE; the link itself stays.
        RouteNetlinkMessage::DelLink(m) if m.header.interface_family == AddressFamily::Unspec => {
            Event::LinkGone(m.header.index)
        }
        RouteNetlinkMessage::NewAddress(m) => Event::Address(m.header.index, address(m)?),
        RouteNetlinkMessage::DelAddress(m) => Event::AddressGone(m.header.index, address(m)?),
        RouteNetlinkMessage::NewRoute(m) => Event::Route {
            route: route(m)?,
            replace: flags & rtnetlink::packet_core::NLM_F_REPLACE != 0,
        },
        RouteNetlinkMessage::DelRoute(m) => Event::RouteGone(route(m)?),
        RouteNetlinkMessage::NewNeighbour(m) => {
            let (ip, neighbour) = neighbour(m)?;
            Event::Neighbour(m.header.ifindex, ip, neighbour)
        }
        RouteNetlinkMessage::DelNeighbour(m) => {
            Event::NeighbourGone(m.header.ifindex, neighbour(m)?.0)
        }
        RouteNetlinkMessage::NewRule(m) => Event::Rule(rule(m)?),
        RouteNetlinkMessage::DelRule(m) => Event::RuleGone(rule(m)?),
        _ => return None,
    })
}

fn link(message: &LinkMessage) -> Option<Link> {
    // Bridges tell of their ports with family AF_BRIDGE, and with few of the attributes.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Device,
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        loopback: flags.contains(LinkFlags::Loopback),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        master: None,
        lower: None,
    };
    let mut lower_elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = Mac::new(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.lower = (*index != 0).then_some(*index),
            LinkAttribute::LinkNetNsId(_) => lower_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => link.kind = link_kind(infos),
            _ => {}
        }
    }
    if lower_elsewhere {
        link.lower = None;
    }
    // Wireless extensions send RTM_NEWLINK with their own attribute alone.
    (!link.name.is_empty()).then_some(link)
}

fn link_kind(infos: &[LinkInfo]) -> LinkKind {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match (kind, data) {
        (None, _) => LinkKind::Device,
        (Some(InfoKind::Veth), _) => LinkKind::Veth,
        (Some(InfoKind::Bridge), _) => LinkKind::Bridge,
        (Some(InfoKind::Vlan), Some(InfoData::Vlan(attributes))) => {
            LinkKind::Vlan(vlan_tag(attributes))
        }
        (Some(InfoKind::Bond), Some(InfoData::Bond(attributes))) => LinkKind::Bond {
            active: attributes.iter().find_map(|attribute| match attribute {
                InfoBond::ActivePort(index) => Some(*index).filter(|index| *index != 0),
                _ => None,
            }),
            active_backup: attributes.contains(&InfoBond::Mode(BondMode::ActiveBackup)),
        },
        (Some(other), _) => LinkKind::Other(other.to_string()),
    }
}

fn vlan_tag(attributes: &[InfoVlan]) -> VlanTag {
    let mut tag = VlanTag {
        id: 0,
        tpid: VlanProtocol::Ieee8021Q.into(),
    };
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(id) => tag.id = *id,
            InfoVlan::Protocol(protocol) => tag.tpid = (*protocol).into(),
            _ => {}
        }
    }
    tag
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut peer = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(wide) => flags = *wide,
            _ => {}
        }
    }
    let ip = local.or(peer)?;
    Some(Address {
        ip,
        prefix_len: message.header.prefix_len,
        peer: peer.unwrap_or(ip),
        scope: match message.header.scope {
            AddressScope::Host | AddressScope::Nowhere => Scope::Host,
            AddressScope::Link => Scope::Link,
            _ => Scope::Global,
        },
        secondary: flags.contains(AddressFlags::Secondary),
        deprecated: flags.contains(AddressFlags::Deprecated),
        // An optimistic address (RFC 4429) is in use while it is still tentative.
        tentative: flags.contains(AddressFlags::Dadfailed)
            || (flags.contains(AddressFlags::Tentative)
                && !flags.contains(AddressFlags::Optimistic)),
    })
}

fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    // Cached exceptions, and routes for some sources alone (IPV6_SUBTREES), are not followed.
    if header.flags.contains(RouteFlags::Cloned) || header.source_prefix_length != 0 {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut destination = unspecified;
    let mut hop = None::<u32>;
    let mut gateway = None;
    let mut encap = false;
    let mut nexthop = None;
    let mut route = Route {
        table: Table::Main,
        destination: Prefix::new(unspecified, 0),
        tos: header.tos,
        metric: 0,
        kind: route_kind(header.kind)?,
        scope: match header.scope {
            RouteScope::Host | RouteScope::NoWhere => Scope::Host,
            RouteScope::Link => Scope::Link,
            _ => Scope::Global,
        },
        prefsrc: None,
        mtu: None,
        hops: Vec::new(),
        nexthop: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(wide) => table = *wide,
            RouteAttribute::Destination(to) => destination = route_ip(to)?,
            RouteAttribute::Oif(index) => hop = Some(*index),
            RouteAttribute::Gateway(to) => gateway = route_ip(to),
            RouteAttribute::Via(to) => gateway = via_ip(to),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => encap = true,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(from) => route.prefsrc = route_ip(from),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu).filter(|mtu| *mtu != 0),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => route.hops.extend(hops.iter().map(multipath_hop)),
            RouteAttribute::NhId(id) => nexthop = Some(*id),
            _ => {}
        }
    }
    route.table = match table {
        TABLE_LOCAL => Table::Local,
        TABLE_MAIN => Table::Main,
        _ => return None,
    };
    route.destination = Prefix::new(destination, header.destination_prefix_length);
    if let Some(ifindex) = hop.filter(|_| route.hops.is_empty()) {
        route.hops.push(Hop {
            ifindex,
            gateway,
            weight: 1,
            encap,
        });
    }
    // With net.ipv4.nexthop_compat_mode=1 (the default) the object's hops are spelt out too.
    route.nexthop = nexthop.filter(|_| route.hops.is_empty() && route.kind == RouteKind::Unicast);
    Some(route)
}

fn route_kind(kind: RouteType) -> Option<RouteKind> {
    Some(match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        _ => return None,
    })
}

fn multipath_hop(hop: &RouteNextHop) -> Hop {
    let mut gateway = None;
    let mut encap = false;
    for attribute in &hop.attributes {
        match attribute {
            RouteAttribute::Gateway(to) => gateway = route_ip(to),
            RouteAttribute::Via(to) => gateway = via_ip(to),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => encap = true,
            _ => {}
        }
    }
    Hop {
        ifindex: hop.interface_index,
        gateway,
        // `rtnh_hops` is the weight less one.
        weight: u16::from(hop.hops) + 1,
        encap,
    }
}

fn route_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn via_ip(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(ip) => Some((*ip).into()),
        RouteVia::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Neighbour)> {
    // Proxy entries say for whom this host answers; forwarding entries of bridges have family AF_BRIDGE.
    if message.header.flags.contains(NeighbourFlags::Proxy)
        || !matches!(
            message.header.family,
            AddressFamily::Inet | AddressFamily::Inet6
        )
    {
        return None;
    }
    let mut ip = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                ip = Some(IpAddr::from(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                ip = Some(IpAddr::from(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::new(bytes),
            _ => {}
        }
    }
    let state = match message.header.state {
        Nud::Incomplete => NeighbourState::Incomplete,
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale => NeighbourState::Stale,
        Nud::Delay => NeighbourState::Delay,
        Nud::Probe => NeighbourState::Probe,
        Nud::Failed => NeighbourState::Failed,
        Nud::Noarp | Nud::Permanent => NeighbourState::Permanent,
        _ => NeighbourState::None,
    };
    Some((ip?, Neighbour { state, mac }))
}

/// A rule that the kernel did not make itself.
fn rule(message: &RuleMessage) -> Option<Rule> {
    let family = match message.header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut priority = 0;
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            _ => {}
        }
    }
    (!OWN_RULES.contains(&(priority, table))).then_some(Rule {
        family,
        priority,
        table,
    })
}

#[cfg(test)]
mod tests;
