//! From a destination to the frame that goes there: route, next hop, source address, Ethernet addresses, tags and the
//! device underneath. Pure, and with no surprise where the kernel would do otherwise: what cannot be followed is an
//! error that says so, and such traffic stays with the host's own stack.

use std::net::IpAddr;

use super::model::{
    Address, Hop, Link, LinkKind, Mac, Prefix, Route, RouteKind, Scope, Table, VlanTag,
};
use super::view::View;

/// How many virtual devices may be stacked on the one underneath.
const MAX_STACK: usize = 4;

/// The way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The interface that the route names.
    pub egress: u32,
    /// The neighbour that gets the frame: the destination itself, or the router.
    pub neighbour: IpAddr,
    /// Whether [`Resolution::neighbour`] is a router.
    pub gateway: bool,
    /// The address that this host would send from.
    pub source: IpAddr,
    /// The neighbour's Ethernet address; if none is known the neighbour has to be probed.
    pub mac: Option<Mac>,
    /// The Ethernet address to send from.
    pub source_mac: Mac,
    /// The device that the frame leaves by: `egress`, or the one under that VLAN or bond.
    pub device: u32,
    /// The tags that it gets, outermost first.
    pub vlans: [Option<VlanTag>; 2],
    /// Largest packet that fits, bytes without the Ethernet header.
    pub mtu: u32,
}

impl Resolution {
    /// The interface and address to ask for the Ethernet address.
    #[must_use]
    pub fn probe(&self) -> (u32, IpAddr) {
        (self.egress, self.neighbour)
    }
}

/// Why a destination cannot be reached by the fast path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No route holds the destination.
    #[error("no route to {0}: add one, or bring its interface up")]
    NoRoute(IpAddr),
    /// The destination is this host.
    #[error("{0} is an address of this host: such connections are served in userspace")]
    Local(IpAddr),
    /// The destination is no single host.
    #[error("{0} is a broadcast, multicast or unspecified address")]
    NotUnicast(IpAddr),
    /// `fe80::/10` says nothing without an interface.
    #[error("{0} is link-local: give the server a routable address")]
    LinkLocal(IpAddr),
    /// The route is there to refuse.
    #[error("the route {route} for {destination} refuses packets ({kind:?})")]
    Refused {
        /// Where to.
        destination: IpAddr,
        /// Which route.
        route: Prefix,
        /// Blackhole, unreachable or prohibit.
        kind: RouteKind,
    },
    /// The route names a nexthop object that the kernel does not spell out.
    #[error("the route {route} uses nexthop object {id} alone: set net.ipv4.nexthop_compat_mode=1")]
    NexthopObject {
        /// Which route.
        route: Prefix,
        /// The object's number.
        id: u32,
    },
    /// The route encapsulates.
    #[error("the route {0} encapsulates packets (mpls, seg6, ip …), which the fast path cannot")]
    Encapsulated(Prefix),
    /// The way out leads nowhere just now.
    #[error("interface {0} on the way to {1} has no carrier")]
    NoCarrier(String, IpAddr),
    /// The way out is no Ethernet device.
    #[error("interface {0} on the way to {1} has no Ethernet headers")]
    NotEthernet(String, IpAddr),
    /// What is underneath cannot be told.
    #[error(
        "interface {name} ({kind}) on the way to {destination} cannot be resolved to the device underneath: {why}"
    )]
    Stacked {
        /// The interface.
        name: String,
        /// What it is.
        kind: String,
        /// Where to.
        destination: IpAddr,
        /// What is missing.
        why: &'static str,
    },
    /// There is no address to send from.
    #[error("no usable {1} address on this host to reach {0} from")]
    NoSource(IpAddr, &'static str),
}

impl View {
    /// The way to `destination`, as this host's own packets to it would go.
    ///
    /// # Errors
    ///
    /// [`Unresolved`] says what is in the way; it may be gone at the next [`View::epoch`].
    pub fn resolve(&self, destination: IpAddr) -> Result<Resolution, Unresolved> {
        let destination = destination.to_canonical();
        check_unicast(destination)?;
        let route = self.lookup(destination)?;
        let hop = self.choose_hop(route, destination)?;
        let egress = self
            .link(hop.ifindex)
            .ok_or(Unresolved::NoRoute(destination))?;
        let Some(source_mac) = egress.mac.filter(|_| egress.ethernet && !egress.loopback) else {
            return Err(Unresolved::NotEthernet(egress.name.clone(), destination));
        };
        if !egress.carrier {
            return Err(Unresolved::NoCarrier(egress.name.clone(), destination));
        }
        let (device, vlans) = self.lower_device(egress, destination)?;
        let neighbour = hop.gateway.unwrap_or(destination);
        Ok(Resolution {
            egress: egress.index,
            neighbour,
            gateway: hop.gateway.is_some(),
            source: self.source(route, hop, destination)?,
            mac: self
                .neighbour(egress.index, neighbour)
                .and_then(|known| known.usable()),
            source_mac,
            device,
            vlans,
            mtu: route.mtu.unwrap_or(u32::MAX).min(egress.mtu),
        })
    }

    /// The route of the local table, else of the main table.
    fn lookup(&self, destination: IpAddr) -> Result<&Route, Unresolved> {
        for table in [Table::Local, Table::Main] {
            let mut routes = self
                .routes()
                .matching(table, destination)
                .filter(|route| route.tos == 0);
            let Some(route) = routes
                .find(|route| route.hops.is_empty() || self.live_hops(route).next().is_some())
            else {
                continue;
            };
            match route.kind {
                RouteKind::Local => return Err(Unresolved::Local(destination)),
                RouteKind::Broadcast | RouteKind::Multicast => {
                    return Err(Unresolved::NotUnicast(destination));
                }
                kind @ (RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit) => {
                    return Err(Unresolved::Refused {
                        destination,
                        route: route.destination,
                        kind,
                    });
                }
                RouteKind::Throw => {}
                RouteKind::Unicast => return Ok(route),
            }
        }
        Err(Unresolved::NoRoute(destination))
    }

    /// Ways out whose interface is up. (The kernel drops an IPv4 route with none in silence, so that here it may still
    /// be listed for an instant.)
    fn live_hops<'v>(&'v self, route: &'v Route) -> impl Iterator<Item = (&'v Hop, &'v Link)> {
        route
            .hops
            .iter()
            .filter_map(|hop| Some((hop, self.link(hop.ifindex).filter(|link| link.up)?)))
    }

    /// One way out of a multipath route, the same one for a destination as long as the ways stay the same.
    fn choose_hop<'v>(
        &'v self,
        route: &'v Route,
        destination: IpAddr,
    ) -> Result<&'v Hop, Unresolved> {
        if let Some(id) = route.nexthop {
            return Err(Unresolved::NexthopObject {
                route: route.destination,
                id,
            });
        }
        let mut hops: Vec<&Hop> = self
            .live_hops(route)
            .filter(|(_, link)| link.carrier)
            .map(|(hop, _)| hop)
            .collect();
        if hops.is_empty() {
            hops = self.live_hops(route).map(|(hop, _)| hop).collect();
        }
        let total: u64 = hops.iter().map(|hop| u64::from(hop.weight)).sum();
        let mut at = stable_hash(destination)
            .checked_rem(total)
            .ok_or(Unresolved::NoRoute(destination))?;
        let chosen = hops
            .into_iter()
            .find(|hop| match at.checked_sub(u64::from(hop.weight)) {
                Some(rest) => {
                    at = rest;
                    false
                }
                None => true,
            });
        let hop = chosen.ok_or(Unresolved::NoRoute(destination))?;
        if hop.encap {
            Err(Unresolved::Encapsulated(route.destination))
        } else {
            Ok(hop)
        }
    }

    /// The device under `egress` and the tags that frames get on the way down.
    fn lower_device(
        &self,
        egress: &Link,
        destination: IpAddr,
    ) -> Result<(u32, [Option<VlanTag>; 2]), Unresolved> {
        let mut vlans = [None; 2];
        let mut link = egress;
        for _ in 0..MAX_STACK {
            let stacked = |kind: &str, why| Unresolved::Stacked {
                name: link.name.clone(),
                kind: kind.to_owned(),
                destination,
                why,
            };
            let next = match &link.kind {
                LinkKind::Vlan(tag) => {
                    if vlans[1].is_some() {
                        return Err(stacked("vlan", "more than two tags"));
                    }
                    vlans = [Some(*tag), vlans[0]];
                    link.lower.ok_or_else(|| {
                        stacked("vlan", "its device is in another network namespace")
                    })?
                }
                LinkKind::Bond {
                    active,
                    active_backup,
                } => self
                    .bond_port(link, *active, *active_backup, destination)
                    .ok_or_else(|| stacked("bond", "no port of it is up"))?,
                LinkKind::Bridge => {
                    return Err(stacked(
                        "bridge",
                        "the port behind which a neighbour is may change",
                    ));
                }
                LinkKind::Other(kind) if kind == "team" || kind == "vrf" => {
                    return Err(stacked(kind, "this kind is not followed"));
                }
                LinkKind::Device | LinkKind::Veth | LinkKind::Other(_) => {
                    return Ok((link.index, vlans));
                }
            };
            link = self
                .link(next)
                .ok_or_else(|| stacked("vlan or bond", "the device underneath is gone"))?;
        }
        Err(Unresolved::Stacked {
            name: egress.name.clone(),
            kind: "stack".to_owned(),
            destination,
            why: "too many devices on top of each other",
        })
    }

    fn bond_port(
        &self,
        bond: &Link,
        active: Option<u32>,
        active_backup: bool,
        destination: IpAddr,
    ) -> Option<u32> {
        if active_backup {
            return active;
        }
        // The other modes may send by any port; one per destination keeps a flow's packets in order.
        let ports: Vec<u32> = self
            .ports_of(bond.index)
            .filter(|port| port.up && port.carrier)
            .map(|port| port.index)
            .collect();
        let at = stable_hash(destination).checked_rem(ports.len() as u64)?;
        usize::try_from(at)
            .ok()
            .and_then(|at| ports.get(at).copied())
    }

    /// The source address: the route's own, else as `inet_select_addr` and RFC 6724 choose it.
    fn source(&self, route: &Route, hop: &Hop, destination: IpAddr) -> Result<IpAddr, Unresolved> {
        if let Some(prefsrc) = route.prefsrc {
            return Ok(prefsrc);
        }
        match destination {
            IpAddr::V4(_) => self
                .source_v4(route, hop)
                .ok_or(Unresolved::NoSource(destination, "IPv4")),
            IpAddr::V6(_) => self
                .source_v6(hop, destination)
                .ok_or(Unresolved::NoSource(destination, "IPv6")),
        }
    }

    fn source_v4(&self, route: &Route, hop: &Hop) -> Option<IpAddr> {
        let eligible = |address: &Address, scope: Scope| {
            address.ip.is_ipv4() && !address.secondary && address.scope >= scope
        };
        let own = || {
            self.addresses(hop.ifindex)
                .iter()
                .filter(|address| eligible(address, route.scope))
        };
        let shares_prefix = hop.gateway.and_then(|gateway| {
            own().find(|address| Prefix::new(address.peer, address.prefix_len).contains(gateway))
        });
        let elsewhere = || {
            self.all_addresses()
                .map(|(_, address)| address)
                .find(|address| eligible(address, Scope::Global))
        };
        shares_prefix
            .or_else(|| own().next())
            .or_else(elsewhere)
            .map(|address| address.ip)
    }

    fn source_v6(&self, hop: &Hop, destination: IpAddr) -> Option<IpAddr> {
        let usable = |address: &Address| {
            address.ip.is_ipv6() && !address.tentative && address.scope == Scope::Global
        };
        let candidates: Vec<_> = self
            .all_addresses()
            .filter(|(_, address)| usable(address))
            .collect();
        // RFC 6724 §5, rules 3, 5, 6, 7 (public addresses preferred, as a server should) and 8; of equals the first.
        let best = candidates.into_iter().rev().max_by_key(|(index, address)| {
            (
                !address.deprecated,
                *index == hop.ifindex,
                is_unique_local(address.ip) == is_unique_local(destination),
                !address.secondary,
                common_prefix(address.ip, destination).min(u32::from(address.prefix_len)),
            )
        });
        best.map(|(_, address)| address.ip)
    }
}

fn check_unicast(destination: IpAddr) -> Result<(), Unresolved> {
    let (broadcast, link_local) = match destination {
        IpAddr::V4(v4) => (v4.is_broadcast(), false),
        IpAddr::V6(v6) => (false, v6.is_unicast_link_local()),
    };
    if destination.is_loopback() {
        return Err(Unresolved::Local(destination));
    }
    if broadcast || destination.is_multicast() || destination.is_unspecified() {
        return Err(Unresolved::NotUnicast(destination));
    }
    if link_local {
        return Err(Unresolved::LinkLocal(destination));
    }
    Ok(())
}

/// `fc00::/7` (RFC 4193), the one label of RFC 6724's table that matters beside the default.
fn is_unique_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unique_local())
}

/// How many leading bits two IPv6 addresses share.
fn common_prefix(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// FNV-1a, 64 bits: the same for an address on every node and in every version.
fn stable_hash(ip: IpAddr) -> u64 {
    let fold = |octets: &[u8]| {
        octets
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
                (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
            })
    };
    // FNV's low bits are its weak ones.
    let hash = match ip {
        IpAddr::V4(v4) => fold(&v4.octets()),
        IpAddr::V6(v6) => fold(&v6.octets()),
    };
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests;
