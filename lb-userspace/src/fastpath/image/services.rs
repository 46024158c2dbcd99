//! Services: the addresses of frontends, and how their new flows are balanced.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    abi::TICK_MS,
    flow::{V4, V6},
    service::{Lane, Service, ServiceKey, algorithm, forward},
};

use super::{Balanced, Image, Inputs, OfFamily, TCP, UDP, servers::Protocols};
use crate::{
    config::{
        model::{self, Balance, Bind, Forward, Overflow, Transport},
        path::{kernel_path, reaches},
    },
    fastpath::{
        net::{Family, View},
        registry::{NoRoom, Registry},
    },
    topology::{Backend, Frontend},
};

/// Whether the kernel serves a frontend; else why not, as one clause.
pub(super) fn eligible<'a>(
    frontend: &'a Frontend,
    inputs: &Inputs<'_>,
) -> Result<&'a Arc<Backend>, String> {
    kernel_path(inputs.config, &frontend.config)?;
    if inputs.attached.all.is_empty() {
        return Err("no interface has the program attached".into());
    }
    if !frontend.gate().is_open() {
        return Err("an operator lets nobody in".into());
    }
    Ok(frontend
        .default_backend()
        .ok_or("it has no default backend")?)
}

impl Image {
    pub(super) fn add_frontend(
        &mut self,
        frontend: &Frontend,
        backend: &Backend,
        inputs: &Inputs<'_>,
        registry: &mut Registry,
    ) -> Result<(), NoRoom> {
        let room = inputs.room;
        let block = registry.block(&backend.name, room)?;
        let idle = idle_ticks(frontend, backend);
        let protocols = protocols(&frontend.config.binds);
        let mut ordinals = Vec::new();
        let mut members = Vec::new();
        for server in &backend.servers {
            let index = registry.server(&backend.name, &server.name, room)?;
            let lane = registry.lane(&frontend.name, &backend.name, &server.name, room)?;
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
            // One whose name nobody knows is in no table, and what it had goes on by its old entry.
            if let Some(address) = server.address().inet() {
                let hop = registry.hop(&backend.name, &server.name, address.ip(), room)?;
                self.add_server((index, hop), address, backend, protocols, inputs);
            }
        }
        let table = backend.table();
        self.add_weights(block, backend, &ordinals, &table.servers().collect());
        let slots: Arc<[u16]> = (0..table.len())
            .filter_map(|slot| table.at(slot))
            .map(|i| ordinals[i])
            .collect();
        let members: Arc<[u32]> = members.into();
        let flags = flags(&backend.config);
        let mut entries: Vec<(SocketAddr, u16, u32)> =
            service_addresses(frontend, backend, inputs.view)
                .into_iter()
                .map(|(address, proto)| (address, proto, flags))
                .collect();
        if flags & Service::STATELESS != 0 {
            let marks = everywhere(frontend, backend).into_iter();
            entries.extend(marks.map(|address| (address, TCP, flags | Service::EVERYWHERE)));
        }
        for (address, proto, flags) in entries {
            let service = Service {
                id: registry.turn(&frontend.name, &turn_name(address, proto), room)?,
                slots_len: slots.len() as u32,
                block,
                block_len: members.len() as u16,
                algorithm: algorithm(backend.config.balance),
                forward: way(backend.config.forward),
                flags,
                ..Service::default()
            };
            let balanced = Balanced {
                service,
                slots: Arc::clone(&slots),
                members: Arc::clone(&members),
            };
            self.ports.insert(address.port());
            if address.is_ipv4() {
                self.add_service::<V4>(address, proto, balanced);
            } else {
                self.add_service::<V6>(address, proto, balanced);
            }
        }
        Ok(())
    }

    fn add_service<A: OfFamily>(&mut self, address: SocketAddr, proto: u16, balanced: Balanced) {
        if let Some(addr) = A::from_ip(address.ip()) {
            let port = address.port().to_be();
            let key = ServiceKey { addr, port, proto };
            A::part_mut(self).services.insert(key, balanced);
        }
    }
}

fn protocols(binds: &[Bind]) -> Protocols {
    let any = |transport| binds.iter().any(|bind| bind.transport == transport);
    Protocols {
        tcp: any(Transport::Tcp),
        udp: any(Transport::Udp),
    }
}

/// The name of a service's turn counter in the registry.
fn turn_name(address: SocketAddr, proto: u16) -> String {
    if proto == UDP {
        format!("udp:{address}")
    } else {
        address.to_string()
    }
}

fn algorithm(balance: Balance) -> u8 {
    match balance {
        Balance::RoundRobin => algorithm::ROUND_ROBIN,
        Balance::LeastConn => algorithm::LEAST_CONN,
        Balance::Source => algorithm::SOURCE,
        Balance::Maglev => algorithm::MAGLEV,
        Balance::Random => algorithm::RANDOM,
        // Not eligible (`config::path`).
        Balance::StaticRr
        | Balance::LeastTime
        | Balance::First
        | Balance::Uri
        | Balance::UrlParam
        | Balance::Hdr
        | Balance::RdpCookie => algorithm::ROUND_ROBIN,
    }
}

fn way(forward: Forward) -> u8 {
    match forward {
        // `proxy` is not eligible.
        Forward::FullNat | Forward::Proxy => forward::FULL_NAT,
        Forward::Nat => forward::NAT,
        Forward::Dsr => forward::DSR,
        Forward::Ipip => forward::IPIP,
    }
}

fn flags(backend: &model::Backend) -> u32 {
    let mut flags = 0;
    if backend.overflow == Overflow::Drop {
        flags |= Service::DROP_OVERFLOW;
    }
    // Every node computes the same server from the packet alone.
    if matches!(backend.balance, Balance::Source | Balance::Maglev) {
        flags |= Service::STATELESS;
    }
    flags
}

/// The addresses, ports and protocols that a frontend's kernel path is reached at, `*` being every address of this host
/// but loopback's.
fn service_addresses(
    frontend: &Frontend,
    backend: &Backend,
    view: &View,
) -> BTreeSet<(SocketAddr, u16)> {
    let mut found = BTreeSet::new();
    for bind in &frontend.config.binds {
        let Some(address) = bind.address.inet() else {
            continue;
        };
        let proto = match bind.transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        };
        let ips = bound_addresses(address.ip(), bind.both_families, view).into_iter();
        let ips = ips.filter(|ip| !ip.is_loopback() && serves(backend, *ip));
        found.extend(ips.map(|ip| (SocketAddr::new(ip, address.port()), proto)));
    }
    found
}

/// Whether the kernel path leads from an address to all servers of a backend.
fn serves(backend: &Backend, address: IpAddr) -> bool {
    let mut servers = backend.servers.iter().filter_map(|s| s.address().ip());
    servers.all(|server| reaches(backend.config.forward, address, server))
}

/// What stands for the addresses that are yet to come, of each family that has a bind to all of them.
fn everywhere(frontend: &Frontend, backend: &Backend) -> BTreeSet<SocketAddr> {
    let mut found = BTreeSet::new();
    for bind in &frontend.config.binds {
        let Some(address) = bind.address.inet() else {
            continue;
        };
        if bind.transport != Transport::Tcp || !address.ip().is_unspecified() {
            continue;
        }
        let both = bind.both_families.then_some(Ipv4Addr::UNSPECIFIED.into());
        let families = [Some(address.ip()), both].into_iter().flatten();
        let families = families.filter(|family| serves(backend, *family));
        found.extend(families.map(|family| SocketAddr::new(family, address.port())));
    }
    found
}

/// The addresses that a bind has on this host now.
fn bound_addresses(ip: IpAddr, both_families: bool, view: &View) -> Vec<IpAddr> {
    if !ip.is_unspecified() {
        return vec![ip.to_canonical()];
    }
    let local = |family| {
        let addresses = view.local_addresses(family).into_iter();
        addresses.map(|address| address.ip)
    };
    let mut ips = Vec::new();
    if ip.is_ipv4() || both_families {
        ips.extend(local(Family::V4));
    }
    if ip.is_ipv6() {
        ips.extend(local(Family::V6));
    }
    ips
}

/// Idle time of an established flow. A file that sets `timeouts.tunnel` means it for these.
fn idle_ticks(frontend: &Frontend, backend: &Backend) -> u32 {
    let idle = model::Timeouts::kernel_idle(&frontend.config.timeouts, &backend.config.timeouts);
    u32::try_from(idle.as_millis() / u128::from(TICK_MS))
        .unwrap_or(u32::MAX)
        .max(1)
}
