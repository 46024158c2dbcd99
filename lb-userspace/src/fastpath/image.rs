//! What the kernel maps should hold: computed whole from the running model and the network, pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lb_common::{
    abi::Settings,
    flow::{Hop, SideKey, V4, V6},
    load::WeightBlock,
    service::{Lane, Server as ServerEntry, Service, ServiceKey, SnatAddress},
};

use super::{
    capacity::Capacity,
    deny::DenyList,
    family::Address,
    net::View,
    registry::{Registry, Room},
};
use crate::{
    config::{
        Config,
        path::{self, Remark},
    },
    topology::Topology,
};

mod hops;
mod servers;
mod services;
mod sides;
#[cfg(test)]
mod tests;
mod weights;

pub(super) use sides::has_vlans;
use sides::macs;

/// IP protocol numbers.
pub(super) const TCP: u16 = 6;
pub(super) const UDP: u16 = 17;

/// The wanted content of the maps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Image {
    /// IPv4's own.
    pub v4: FamilyImage<V4>,
    /// IPv6's own.
    pub v6: FamilyImage<V6>,
    /// Servers by index.
    pub servers: BTreeMap<u32, ServerEntry>,
    /// Lanes by index.
    pub lanes: BTreeMap<u32, Lane>,
    /// Weights by block.
    pub weights: BTreeMap<u32, WeightBlock>,
    /// Hops by index.
    pub hops: BTreeMap<u32, Hop>,
    /// Hops of clients' sides.
    pub sides: BTreeMap<SideKey, u32>,
    /// MAC addresses of this host.
    pub macs: BTreeMap<u64, u32>,
    /// Source NAT addresses, in the order of their arena.
    pub snats: Vec<SnatAddress>,
    /// Ports of services, of source NAT, and of servers that see the client's address.
    pub ports: PortBits,
    /// Interfaces that may be redirected to.
    pub tx: BTreeSet<u32>,
    /// Neighbours to keep resolved: interface and address.
    pub neighbours: BTreeSet<(u32, IpAddr)>,
    /// Frontends that the kernel serves, with a remark perhaps, and why the others are not.
    pub frontends: BTreeMap<String, Result<Option<Remark>, String>>,
}

/// What stands in the maps of one family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FamilyImage<A> {
    /// Services, their tables not yet placed.
    pub services: BTreeMap<ServiceKey<A>, Balanced>,
    /// Servers that source NAT talks to.
    pub reals: BTreeSet<ServiceKey<A>>,
    /// Denied prefixes.
    pub deny: BTreeSet<(A, u8)>,
}

impl<A> Default for FamilyImage<A> {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            reals: BTreeSet::new(),
            deny: BTreeSet::new(),
        }
    }
}

/// The family of an address type in an image.
pub(super) trait OfFamily: Address {
    /// Its part.
    fn part(image: &Image) -> &FamilyImage<Self>;
    /// Its part, to be changed.
    fn part_mut(image: &mut Image) -> &mut FamilyImage<Self>;
}

impl OfFamily for V4 {
    fn part(image: &Image) -> &FamilyImage<Self> {
        &image.v4
    }

    fn part_mut(image: &mut Image) -> &mut FamilyImage<Self> {
        &mut image.v4
    }
}

impl OfFamily for V6 {
    fn part(image: &Image) -> &FamilyImage<Self> {
        &image.v6
    }

    fn part_mut(image: &mut Image) -> &mut FamilyImage<Self> {
        &mut image.v6
    }
}

/// A service before its tables have a place in the arenas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Balanced {
    /// The record, but for `slots_base`, `members_base` and `generation`.
    pub service: Service,
    /// Ordinals by slot. Equal tables share a place.
    pub slots: Arc<[u16]>,
    /// Lanes by ordinal.
    pub members: Arc<[u32]>,
}

/// A bit for each of 65,536 destination ports, then one for each source port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortBits(pub Box<[u64; 2048]>);

impl Default for PortBits {
    fn default() -> Self {
        Self(Box::new([0; 2048]))
    }
}

impl PortBits {
    const SOURCES: usize = 1024;

    /// Adds a destination port, host order.
    pub(super) fn insert(&mut self, port: u16) {
        self.0[usize::from(port >> 6)] |= 1 << (port & 63);
    }

    /// Adds a source port, host order: of a server whose replies have the client's own address.
    pub(super) fn insert_source(&mut self, port: u16) {
        self.0[Self::SOURCES + usize::from(port >> 6)] |= 1 << (port & 63);
    }
}

/// What an image is made from beside the registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The running model.
    pub topology: &'a Topology,
    /// The network.
    pub view: &'a View,
    /// Interfaces that the program is attached to.
    pub attached: &'a Attached,
    /// Ports of the source NAT range that something listens on.
    pub listening: &'a BTreeSet<u16>,
    /// Denied prefixes.
    pub deny: &'a DenyList,
    /// Sizes of packets that routers on the way to these addresses have said fit.
    pub path_mtus: &'a BTreeMap<IpAddr, u32>,
    /// Sizes of the maps.
    pub room: &'a Room,
}

/// Interfaces that the program is attached to, and what that means for sending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attached {
    /// All of them.
    pub all: BTreeSet<u32>,
    /// Those that swallow what an XDP program redirects to them, while there are XDP programs.
    pub unreachable: BTreeSet<u32>,
}

impl Image {
    /// Protocol and port (host order) of each service, by the index of its turn counters.
    pub(super) fn service_ports(&self) -> impl Iterator<Item = (u32, (u16, u16))> {
        fn of<A>(part: &FamilyImage<A>) -> impl Iterator<Item = (u32, (u16, u16))> {
            let entries = part.services.iter();
            entries.map(|(key, service)| (service.service.id, (key.proto, u16::from_be(key.port))))
        }
        of(&self.v4).chain(of(&self.v6))
    }

    /// What the maps should hold. What does not fit is left to userspace and says so.
    pub(super) fn build(inputs: &Inputs<'_>, registry: &mut Registry) -> Self {
        let mut image = Image::default();
        image.add_sides(inputs, registry);
        image.macs = macs(inputs.view);
        for frontend in &inputs.topology.frontends {
            let result = services::eligible(frontend, inputs).and_then(|backend| {
                image
                    .add_frontend(frontend, backend, inputs, registry)
                    .map_err(|e| e.to_string())?;
                Ok(path::remark(&frontend.config, &backend.config))
            });
            image.frontends.insert(frontend.name.to_string(), result);
        }
        let range = inputs.config.global.fast_path.snat_ports.clone();
        for port in range.filter(|port| !inputs.listening.contains(port)) {
            image.ports.insert(port);
        }
        for prefix in inputs.deny.effective() {
            if let Some(address) = V4::from_ip(prefix.address) {
                image.v4.deny.insert((address, prefix.length));
            } else if let Some(address) = V6::from_ip(prefix.address) {
                image.v6.deny.insert((address, prefix.length));
            }
        }
        image
    }

    /// The settings that go with it. `fixed` are those that the maps were made with, `flags` what holds just now.
    pub(super) fn settings(
        &self,
        config: &Config,
        capacity: &Capacity,
        fixed: &Settings,
        flags: u32,
    ) -> Settings {
        let fast_path = &config.global.fast_path;
        let ports = &fast_path.snat_ports;
        let deny4 = if self.v4.deny.is_empty() {
            0
        } else {
            Settings::DENY4
        };
        let deny6 = if self.v6.deny.is_empty() {
            0
        } else {
            Settings::DENY6
        };
        let everywhere = if self.is_anything_everywhere() {
            Settings::EVERYWHERE
        } else {
            0
        };
        Settings {
            abi: lb_common::abi::VERSION,
            flags: flags | deny4 | deny6 | everywhere,
            admit_below: [capacity.v4.admitted(), capacity.v6.admitted()],
            new_flows_per_source: fast_path.new_flows_per_source,
            snat_first: *ports.start(),
            snat_count: (ports.end() - ports.start()).saturating_add(1),
            spare: 0,
            ..*fixed
        }
    }

    fn is_anything_everywhere(&self) -> bool {
        let v4 = self.v4.services.values();
        let mut all = v4.chain(self.v6.services.values());
        all.any(|balanced| balanced.service.flags & Service::EVERYWHERE != 0)
    }

    /// Services' addresses, of both families; not what stands for those that are yet to come.
    pub(super) fn service_addresses(&self) -> BTreeSet<IpAddr> {
        let v4 = self.v4.services.keys().map(|key| key.addr.ip());
        let v6 = self.v6.services.keys().map(|key| key.addr.ip());
        v4.chain(v6).filter(|ip| !ip.is_unspecified()).collect()
    }

    /// Outer addresses of servers that packets are encapsulated for.
    pub(super) fn tunnel_ends(&self) -> BTreeSet<IpAddr> {
        let hops = self.hops.values();
        hops.filter_map(hops::outer_destination).collect()
    }
}
