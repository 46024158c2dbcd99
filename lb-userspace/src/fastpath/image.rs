//! What the kernel maps should hold: computed whole from the running model and the network, pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    abi::{Settings, TICK_MS},
    flow::{Hop, SideKey, V4},
    load::{Weight, WeightBlock, reciprocal},
    service::{Lane, Server as ServerEntry, Service, ServiceKey, SnatAddress, algorithm, forward},
};

use super::{
    net::{Family, Resolution, View},
    registry::{NoRoom, Registry, Room},
};
use crate::{
    config::{
        Config,
        model::{Balance, Forward, Overflow, SnatAddresses, Transport},
        path::{in_program, kernel_path},
    },
    topology::{Backend, Frontend, Server, Topology},
};

/// IP protocol number of TCP.
const TCP: u16 = 6;

/// The wanted content of the maps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Image {
    /// Services, their tables not yet placed.
    pub services: BTreeMap<ServiceKey<V4>, Balanced>,
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
    /// Source NAT addresses, in the order of their arena.
    pub snats: Vec<SnatAddress>,
    /// Servers that source NAT talks to.
    pub reals: BTreeSet<ServiceKey<V4>>,
    /// Ports of services and of source NAT: one bit each, network order aside.
    pub ports: PortBits,
    /// Interfaces that may be redirected to.
    pub tx: BTreeSet<u32>,
    /// Neighbours to keep resolved: interface and address.
    pub neighbours: BTreeSet<(u32, IpAddr)>,
    /// Frontends that the kernel serves, and why the others are not.
    pub frontends: BTreeMap<String, Result<(), String>>,
}

/// A service before its tables have a place in the arenas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Balanced {
    /// The record, but for `slots_base`, `members_base` and `generation`.
    pub service: Service,
    /// Ordinals by slot.
    pub slots: Arc<[u16]>,
    /// Lanes by ordinal.
    pub members: Arc<[u32]>,
}

/// A bit for each of 65,536 ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortBits(pub Box<[u64; 1024]>);

impl Default for PortBits {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl PortBits {
    /// Adds a port, host order.
    pub(super) fn insert(&mut self, port: u16) {
        self.0[usize::from(port >> 6)] |= 1 << (port & 63);
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
    pub attached: &'a BTreeSet<u32>,
    /// Ports of the source NAT range that something listens on.
    pub listening: &'a BTreeSet<u16>,
    /// Sizes of the maps.
    pub room: &'a Room,
}

impl Image {
    /// What the maps should hold. What does not fit is left to userspace and says so.
    pub(super) fn build(inputs: &Inputs<'_>, registry: &mut Registry) -> Self {
        let mut image = Image::default();
        image.add_sides(inputs, registry);
        for frontend in &inputs.topology.frontends {
            let result = eligible(frontend, inputs).and_then(|backend| {
                image
                    .add_frontend(frontend, backend, inputs, registry)
                    .map_err(|e| e.to_string())
            });
            image.frontends.insert(frontend.name.to_string(), result);
        }
        let range = inputs.config.global.fast_path.snat_ports.clone();
        for port in range.filter(|port| !inputs.listening.contains(port)) {
            image.ports.insert(port);
        }
        image
    }

    /// The settings; `max_entries` is the flow table's size in entries, `draining` whether new flows are refused.
    pub(super) fn settings(config: &Config, max_entries: u32, draining: bool) -> Settings {
        let ports = &config.global.fast_path.snat_ports;
        Settings {
            abi: lb_common::abi::VERSION,
            flags: if draining { Settings::DRAINING } else { 0 },
            // Two entries a flow at most; 5 % stay free for those that a hash table cannot place evenly.
            admit_below: (u64::from(max_entries / 2) * 95 / 100) as u32,
            snat_first: *ports.start(),
            snat_count: (ports.end() - ports.start()).saturating_add(1),
        }
    }

    /// The sides that clients may come by: each attached interface, untagged.
    fn add_sides(&mut self, inputs: &Inputs<'_>, registry: &mut Registry) {
        for ifindex in inputs.attached {
            let Some(link) = inputs.view.link(*ifindex) else {
                continue;
            };
            let Some(mac) = link.mac else { continue };
            let key = SideKey {
                ifindex: *ifindex,
                outer_tag: 0,
                inner_tag: 0,
            };
            let Ok(index) = registry.side(key, inputs.room) else {
                continue;
            };
            let (src_mac_low, src_mac_high) = Hop::mac_words(mac.0);
            let hop = Hop {
                ifindex: *ifindex,
                src_mac_low,
                src_mac_high,
                mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
                flags: Hop::USABLE,
                ..Hop::default()
            };
            self.hops.insert(u32::from(index), hop);
            self.sides.insert(key, u32::from(index));
            self.tx.insert(*ifindex);
        }
    }

    fn add_frontend(
        &mut self,
        frontend: &Frontend,
        backend: &Backend,
        inputs: &Inputs<'_>,
        registry: &mut Registry,
    ) -> Result<(), NoRoom> {
        let block = registry.block(&backend.name, inputs.room)?;
        let idle = frontend_idle_ticks(frontend, backend);
        let mut ordinals = Vec::new();
        let mut members = Vec::new();
        for server in &backend.servers {
            let index = registry.server(&backend.name, &server.name, inputs.room)?;
            let lane = registry.lane(&frontend.name, &backend.name, &server.name, inputs.room)?;
            let hop = registry.hop(
                &backend.name,
                &server.name,
                server.address.ip(),
                inputs.room,
            )?;
            let ordinal = (index & 0xff) as usize;
            if members.len() <= ordinal {
                members.resize(ordinal + 1, 0);
            }
            members[ordinal] = lane;
            ordinals.push(ordinal as u16);
            self.lanes.insert(
                lane,
                Lane {
                    server: index,
                    idle,
                },
            );
            self.add_server(index, hop, server, backend, inputs);
        }
        let table = backend.table();
        self.add_weights(block, backend, &ordinals, &table.servers().collect());
        let slots: Arc<[u16]> = (0..table.len())
            .filter_map(|slot| table.at(slot))
            .map(|i| ordinals[i])
            .collect();
        let members: Arc<[u32]> = members.into();
        for address in service_addresses(frontend, inputs.view) {
            let (IpAddr::V4(ip), port) = (address.ip(), address.port()) else {
                continue;
            };
            let key = ServiceKey {
                addr: u32::from_ne_bytes(ip.octets()),
                port: port.to_be(),
                proto: TCP,
            };
            let service = Service {
                id: registry.turn(&frontend.name, &address.to_string(), inputs.room)?,
                slots_len: slots.len() as u32,
                block,
                block_len: members.len() as u16,
                algorithm: match backend.config.balance {
                    Balance::RoundRobin => algorithm::ROUND_ROBIN,
                    Balance::LeastConn => algorithm::LEAST_CONN,
                    // `eligible` leaves the others to userspace.
                    Balance::Source | Balance::Maglev | Balance::Random => algorithm::SOURCE,
                },
                forward: if backend.config.forward == Forward::Dsr {
                    forward::DSR
                } else {
                    forward::FULL_NAT
                },
                flags: if backend.config.overflow == Overflow::Drop {
                    Service::DROP_OVERFLOW
                } else {
                    0
                },
                ..Service::default()
            };
            self.ports.insert(port);
            let balanced = Balanced {
                service,
                slots: Arc::clone(&slots),
                members: Arc::clone(&members),
            };
            self.services.insert(key, balanced);
        }
        Ok(())
    }

    fn add_server(
        &mut self,
        index: u32,
        hop: u16,
        server: &Server,
        backend: &Backend,
        inputs: &Inputs<'_>,
    ) {
        let IpAddr::V4(ip) = server.address.ip() else {
            return;
        };
        let addr = u32::from_ne_bytes(ip.octets());
        let port = server.address.port().to_be();
        let mut entry = ServerEntry {
            addr: [addr, 0, 0, 0],
            port,
            hop,
            ..ServerEntry::default()
        };
        if let Ok(way) = inputs.view.resolve(server.address.ip()) {
            self.neighbours.insert(way.probe());
            if let Some(hop_entry) = hop_to(&way, inputs.attached) {
                self.hops.insert(u32::from(hop), hop_entry);
            }
            let sources = match &inputs.config.global.fast_path.snat_addresses {
                SnatAddresses::Auto => ipv4(way.source).into_iter().collect(),
                SnatAddresses::Service => Vec::new(),
                SnatAddresses::List(list) => {
                    list.iter().copied().filter_map(ipv4).collect::<Vec<_>>()
                }
            };
            entry.snat_len = sources.len() as u16;
            entry.snat_base = self.snat_block(&sources);
        }
        self.hops.entry(u32::from(hop)).or_default();
        if backend.config.forward == Forward::FullNat {
            self.reals.insert(ServiceKey {
                addr,
                port,
                proto: TCP,
            });
        }
        self.servers.insert(index, entry);
    }

    /// Where a run of source NAT addresses stands in the arena; added at its end if it is not there yet.
    fn snat_block(&mut self, sources: &[SnatAddress]) -> u32 {
        let found = self
            .snats
            .windows(sources.len().max(1))
            .position(|run| run == sources);
        found.unwrap_or_else(|| {
            self.snats.extend(sources);
            self.snats.len() - sources.len()
        }) as u32
    }

    /// The weights with what userspace serves of each server at this moment.
    pub(super) fn weights_now(
        &self,
        topology: &Topology,
        registry: &mut Registry,
        room: &Room,
    ) -> BTreeMap<u32, WeightBlock> {
        let mut weights = self.weights.clone();
        for server in topology
            .backends
            .iter()
            .flat_map(|backend| &backend.servers)
        {
            // Only blocks of backends that the kernel serves are there.
            let Ok(index) = registry.server(&server.backend, &server.name, room) else {
                continue;
            };
            if let Some(block) = weights.get_mut(&(index >> 8)) {
                let weight = &mut block.0[(index & 0xff) as usize];
                let refuses = weight.external & Weight::REFUSES;
                weight.external = server.userspace_active().min(Weight::REFUSES - 1) | refuses;
                weight.max = kernel_max(server, weight.external);
            }
        }
        weights
    }

    fn add_weights(
        &mut self,
        block: u32,
        backend: &Backend,
        ordinals: &[u16],
        eligible: &BTreeSet<usize>,
    ) {
        let weights = self.weights.entry(block).or_insert_with(|| {
            let refuses = Weight {
                external: Weight::REFUSES,
                ..Weight::default()
            };
            WeightBlock([refuses; lb_common::load::BLOCK])
        });
        for (server, ordinal) in backend.servers.iter().zip(ordinals) {
            let refuses = if eligible.contains(&server.index) {
                0
            } else {
                Weight::REFUSES
            };
            let external = server.userspace_active().min(Weight::REFUSES - 1) | refuses;
            weights.0[usize::from(*ordinal)] = Weight {
                recip: reciprocal(server.balance_weight().max(1)),
                max: kernel_max(server, external),
                external,
                spare: 0,
            };
        }
    }
}

/// Whether the kernel serves a frontend; else why not, as one clause.
fn eligible<'a>(frontend: &'a Frontend, inputs: &Inputs<'_>) -> Result<&'a Arc<Backend>, String> {
    let backend = kernel_path(inputs.config, &frontend.config)?;
    in_program(&frontend.config, backend)?;
    if inputs.attached.is_empty() {
        return Err("no interface has the program attached".into());
    }
    Ok(frontend
        .default_backend()
        .ok_or("it has no default backend")?)
}

/// The IPv4 addresses and ports that a frontend is reached at, `*` being every address of this host but loopback's.
fn service_addresses(frontend: &Frontend, view: &View) -> BTreeSet<SocketAddr> {
    let binds = frontend
        .config
        .binds
        .iter()
        .filter(|bind| bind.transport == Transport::Tcp)
        .filter(|bind| bind.address.is_ipv4() || bind.both_families);
    binds
        .flat_map(|bind| {
            let port = bind.address.port();
            let all = bind.address.ip().is_unspecified();
            let local = if all {
                view.local_addresses(Family::V4)
            } else {
                Vec::new()
            };
            let one = (!all).then_some(bind.address);
            local
                .into_iter()
                .map(move |a| SocketAddr::new(a.ip, port))
                .chain(one)
        })
        .filter(|address| !address.ip().is_loopback())
        .collect()
}

/// [`Weight::max`] for the kernel's part of a server's `maxconn`: the program adds `external` to its own count.
fn kernel_max(server: &Server, external: u32) -> u32 {
    match server.config.maxconn {
        Some(_) => server.slots().kernel + (external & !Weight::REFUSES),
        None => Weight::UNBOUNDED,
    }
}

/// Idle time of an established flow. A file that sets `timeouts.tunnel` means it for these.
fn frontend_idle_ticks(frontend: &Frontend, backend: &Backend) -> u32 {
    let idle = crate::config::model::Timeouts::kernel_idle(
        &frontend.config.timeouts,
        &backend.config.timeouts,
    );
    u32::try_from(idle.as_millis() / u128::from(TICK_MS))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// The hop of a resolved way, if the kernel can send by it.
fn hop_to(way: &Resolution, attached: &BTreeSet<u32>) -> Option<Hop> {
    // Tags are not pushed yet, and an interface without the program may swallow what is redirected to it.
    if way.vlans.iter().any(Option::is_some) || !attached.contains(&way.device) {
        return None;
    }
    let (src_mac_low, src_mac_high) = Hop::mac_words(way.source_mac.0);
    let (dst_mac_low, dst_mac_high) = Hop::mac_words(way.mac?.0);
    Some(Hop {
        ifindex: way.device,
        dst_mac_low,
        dst_mac_high,
        src_mac_low,
        src_mac_high,
        mtu: u16::try_from(way.mtu).unwrap_or(u16::MAX),
        flags: Hop::USABLE,
        ..Hop::default()
    })
}

fn ipv4(ip: IpAddr) -> Option<SnatAddress> {
    let octets = match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => return None,
    };
    (octets != Ipv4Addr::UNSPECIFIED)
        .then(|| SnatAddress([u32::from_ne_bytes(octets.octets()), 0, 0, 0]))
}
