//! What the host's network looks like now: a value, changed by [`View::apply`] alone.
//!
//! Cloning is cheap (each part is shared until it changes), so that every change can be published whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::model::{Address, Event, Family, Link, LinkKind, Neighbour, Route, Rule, Scope};
use super::routes::{Removal, Routes};

/// Links, addresses, routes, neighbours and policy rules of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct View {
    links: Arc<BTreeMap<u32, Link>>,
    addresses: Arc<BTreeMap<u32, Vec<Address>>>,
    routes: Arc<Routes>,
    neighbours: Arc<HashMap<(u32, IpAddr), Neighbour>>,
    rules: Arc<BTreeSet<Rule>>,
    epoch: u64,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Something that [`View::resolve`] or [`View::local_addresses`] depends on.
    pub forwarding: bool,
    /// A neighbour's state alone: its address, if it was usable, still is.
    pub neighbour_state: bool,
    /// The kernel has dropped routes without saying which: read them again.
    pub stale_routes: bool,
}

impl Changed {
    const NOTHING: Self = Self {
        forwarding: false,
        neighbour_state: false,
        stale_routes: false,
    };
    const FORWARDING: Self = Self {
        forwarding: true,
        ..Self::NOTHING
    };

    /// Whether anything changed.
    #[must_use]
    pub fn any(self) -> bool {
        self.forwarding || self.neighbour_state || self.stale_routes
    }

    /// Both together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            forwarding: self.forwarding || other.forwarding,
            neighbour_state: self.neighbour_state || other.neighbour_state,
            stale_routes: self.stale_routes || other.stale_routes,
        }
    }
}

/// An address of this host that the outside can reach, as `*:PORT` binds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    /// The address.
    pub ip: IpAddr,
    /// The interface that holds it; loopback may (a service address under BGP does).
    pub ifindex: u32,
    /// Whether it means something on that link alone (169.254.0.0/16, `fe80::/10`).
    pub link_local: bool,
}

impl View {
    /// The view that a full dump gives.
    #[must_use]
    pub fn from_dump(events: impl IntoIterator<Item = Event>) -> Self {
        let mut view = Self::default();
        for event in events {
            view.apply(event);
        }
        view
    }

    /// Counts the changes of what forwarding depends on; equal numbers of one process mean equal resolutions.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Puts a new full dump in the place of everything.
    pub fn replace(&mut self, dump: Self) -> Changed {
        let mut changed = Changed {
            forwarding: self.links != dump.links
                || self.addresses != dump.addresses
                || self.routes != dump.routes
                || self.rules != dump.rules,
            ..Changed::NOTHING
        };
        if self.neighbours != dump.neighbours {
            let usable = |neighbours: &HashMap<_, Neighbour>| {
                let known = neighbours
                    .iter()
                    .filter_map(|(key, neighbour)| Some((*key, neighbour.usable()?)));
                known.collect::<HashMap<_, _>>()
            };
            changed.neighbour_state = true;
            changed.forwarding |= usable(&self.neighbours) != usable(&dump.neighbours);
        }
        *self = Self {
            epoch: self.epoch,
            ..dump
        };
        self.count(changed)
    }

    /// Puts the routes of a new dump in the place of the old ones.
    pub fn replace_routes(&mut self, dump: impl IntoIterator<Item = Event>) -> Changed {
        let mut routes = Routes::default();
        for event in dump {
            if let Event::Route { route, .. } = event {
                routes.insert(route, false);
            }
        }
        let changed = Changed {
            forwarding: *self.routes != routes,
            ..Changed::NOTHING
        };
        self.routes = Arc::new(routes);
        self.count(changed)
    }

    /// Brings the view up to date by one event. Events that were queued before a dump may be applied after it: the last
    /// one about a thing decides.
    pub fn apply(&mut self, event: Event) -> Changed {
        let changed = match event {
            Event::Link(link) => self.apply_link(link),
            Event::LinkGone(index) => self.remove_link(index),
            Event::Address(index, address) => self.apply_address(index, address),
            Event::AddressGone(index, address) => self.remove_address(index, &address),
            Event::Route { route, replace } => self.apply_route(route, replace),
            Event::RouteGone(route) => self.remove_route(&route),
            Event::Neighbour(index, ip, neighbour) => {
                self.apply_neighbour((index, ip), Some(neighbour))
            }
            Event::NeighbourGone(index, ip) => self.apply_neighbour((index, ip), None),
            Event::Rule(rule) => Changed {
                forwarding: !self.rules.contains(&rule)
                    && Arc::make_mut(&mut self.rules).insert(rule),
                ..Changed::NOTHING
            },
            Event::RuleGone(rule) => Changed {
                forwarding: self.rules.contains(&rule)
                    && Arc::make_mut(&mut self.rules).remove(&rule),
                ..Changed::NOTHING
            },
        };
        self.count(changed)
    }

    fn count(&mut self, changed: Changed) -> Changed {
        self.epoch += u64::from(changed.forwarding);
        changed
    }

    fn apply_link(&mut self, link: Link) -> Changed {
        let old = self.links.get(&link.index);
        if old == Some(&link) {
            return Changed::NOTHING;
        }
        // `fib_flush` drops the IPv4 routes of a link that goes down without a word.
        let stale_routes =
            old.is_some_and(|old| (old.up && !link.up) || (old.carrier && !link.carrier));
        Arc::make_mut(&mut self.links).insert(link.index, link);
        Changed {
            stale_routes,
            ..Changed::FORWARDING
        }
    }

    fn remove_link(&mut self, index: u32) -> Changed {
        if !self.links.contains_key(&index) {
            return Changed::NOTHING;
        }
        Arc::make_mut(&mut self.links).remove(&index);
        Arc::make_mut(&mut self.addresses).remove(&index);
        Arc::make_mut(&mut self.neighbours).retain(|(on, _), _| *on != index);
        Changed {
            stale_routes: true,
            ..Changed::FORWARDING
        }
    }

    fn apply_address(&mut self, index: u32, address: Address) -> Changed {
        let known = self.addresses.get(&index);
        if known.is_some_and(|known| known.contains(&address)) {
            return Changed::NOTHING;
        }
        let held = Arc::make_mut(&mut self.addresses).entry(index).or_default();
        match held.iter_mut().find(|old| same_address(old, &address)) {
            Some(old) => *old = address,
            None => held.push(address),
        }
        Changed::FORWARDING
    }

    fn remove_address(&mut self, index: u32, address: &Address) -> Changed {
        let known = self.addresses.get(&index);
        if !known.is_some_and(|known| known.iter().any(|old| same_address(old, address))) {
            return Changed::NOTHING;
        }
        let addresses = Arc::make_mut(&mut self.addresses);
        if let Some(held) = addresses.get_mut(&index) {
            held.retain(|old| !same_address(old, address));
            if held.is_empty() {
                addresses.remove(&index);
            }
        }
        // `fib_sync_down_addr` drops the routes that prefer this source, silently too.
        Changed {
            stale_routes: true,
            ..Changed::FORWARDING
        }
    }

    fn apply_route(&mut self, route: Route, replace: bool) -> Changed {
        Changed {
            forwarding: Arc::make_mut(&mut self.routes).insert(route, replace),
            ..Changed::NOTHING
        }
    }

    fn remove_route(&mut self, route: &Route) -> Changed {
        match Arc::make_mut(&mut self.routes).remove(route) {
            Removal::Done => Changed::FORWARDING,
            Removal::Absent => Changed::NOTHING,
            Removal::Unclear => Changed {
                stale_routes: true,
                ..Changed::NOTHING
            },
        }
    }

    fn apply_neighbour(&mut self, key: (u32, IpAddr), neighbour: Option<Neighbour>) -> Changed {
        let old = self.neighbours.get(&key).copied();
        if old == neighbour {
            return Changed::NOTHING;
        }
        let neighbours = Arc::make_mut(&mut self.neighbours);
        match neighbour {
            Some(neighbour) => neighbours.insert(key, neighbour),
            None => neighbours.remove(&key),
        };
        let usable =
            |neighbour: Option<Neighbour>| neighbour.and_then(|neighbour| neighbour.usable());
        Changed {
            forwarding: usable(old) != usable(neighbour),
            neighbour_state: true,
            stale_routes: false,
        }
    }

    /// The link with this index.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The link with this name.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// All links, by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The addresses of an interface, in the kernel's order.
    #[must_use]
    pub fn addresses(&self, ifindex: u32) -> &[Address] {
        self.addresses.get(&ifindex).map_or(&[], Vec::as_slice)
    }

    /// Every address with its interface.
    pub fn all_addresses(&self) -> impl Iterator<Item = (u32, &Address)> {
        self.addresses
            .iter()
            .flat_map(|(index, held)| held.iter().map(|address| (*index, address)))
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What is known of a neighbour on an interface.
    #[must_use]
    pub fn neighbour(&self, ifindex: u32, ip: IpAddr) -> Option<Neighbour> {
        self.neighbours.get(&(ifindex, ip)).copied()
    }

    /// The policy rules that somebody has added: [`View::resolve`] does not follow them, so whoever uses it warns.
    #[must_use]
    pub fn policy_rules(&self) -> &BTreeSet<Rule> {
        &self.rules
    }

    /// Every usable address of `family` that is not of host scope (127.0.0.0/8, `::1`), sorted.
    ///
    /// Linux takes packets for any of its addresses on any interface, so which one holds it matters for link-local
    /// addresses alone.
    #[must_use]
    pub fn local_addresses(&self, family: Family) -> Vec<LocalAddress> {
        let reachable = self.all_addresses().filter(|(_, address)| {
            Family::of(address.ip) == family
                && address.scope > Scope::Host
                && !address.ip.is_loopback()
                && !address.tentative
        });
        let mut addresses: Vec<LocalAddress> = reachable
            .map(|(ifindex, address)| LocalAddress {
                ip: address.ip,
                ifindex,
                link_local: address.scope == Scope::Link,
            })
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// The devices that frames of `ifindex` come in by: its own, or those under a VLAN, bond or bridge, all the way down.
    #[must_use]
    pub fn devices_under(&self, ifindex: u32) -> BTreeSet<u32> {
        let mut devices = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![ifindex];
        while let Some(index) = todo.pop() {
            let Some(link) = self.link(index).filter(|_| seen.insert(index)) else {
                continue;
            };
            match &link.kind {
                LinkKind::Vlan(_) if link.lower.is_some() => todo.extend(link.lower),
                LinkKind::Bond { .. } | LinkKind::Bridge => {
                    todo.extend(self.ports_of(index).map(|port| port.index));
                }
                _ => {
                    devices.insert(index);
                }
            }
        }
        devices
    }

    /// The ports of a bond or bridge, by index.
    pub fn ports_of(&self, master: u32) -> impl Iterator<Item = &Link> {
        self.links
            .values()
            .filter(move |link| link.master == Some(master))
    }
}

/// Whether two are one address to the kernel, which keeps (address, prefix length, peer) apart per interface.
fn same_address(a: &Address, b: &Address) -> bool {
    a.ip == b.ip && a.prefix_len == b.prefix_len && a.peer == b.peer
}

#[cfg(test)]
mod tests;
