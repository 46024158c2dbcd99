//! Servers: where they are and what their replies look like.

use std::net::{IpAddr, SocketAddr};

use lb_common::service::{Server as ServerEntry, ServiceKey, SnatAddress};

use super::{Image, Inputs, OfFamily, TCP, UDP, hops};
use crate::{
    config::model::{Forward, SnatAddresses},
    fastpath::{family::words, net::Family},
    topology::Backend,
};

/// Protocols that a frontend's binds speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocols {
    pub tcp: bool,
    pub udp: bool,
}

impl Protocols {
    fn numbers(self) -> impl Iterator<Item = u16> {
        let tcp = self.tcp.then_some(TCP);
        tcp.into_iter().chain(self.udp.then_some(UDP))
    }
}

impl Image {
    pub(super) fn add_server(
        &mut self,
        (index, hop): (u32, u16),
        address: SocketAddr,
        backend: &Backend,
        protocols: Protocols,
        inputs: &Inputs<'_>,
    ) {
        let ip = address.ip().to_canonical();
        let port = address.port();
        let forward = backend.config.forward;
        let mut entry = ServerEntry {
            addr: words(ip),
            port: port.to_be(),
            hop,
            ..ServerEntry::default()
        };
        if let Ok(way) = inputs.view.resolve(ip) {
            self.neighbours.insert(way.probe());
            let way_out = hops::to_server(&way, ip, forward, inputs.attached, inputs.path_mtus);
            if let Some(way_out) = way_out {
                self.hops.insert(u32::from(hop), way_out);
            }
            if forward == Forward::FullNat {
                let sources = sources(inputs, ip, way.source);
                entry.snat_len = u16::try_from(sources.len()).unwrap_or(u16::MAX);
                entry.snat_base = self.snat_block(&sources);
            }
        }
        self.hops.entry(u32::from(hop)).or_default();
        match forward {
            Forward::FullNat if ip.is_ipv4() => {
                self.add_real::<lb_common::flow::V4>(ip, port, protocols);
            }
            Forward::FullNat => self.add_real::<lb_common::flow::V6>(ip, port, protocols),
            // Its replies go to the client's own address and port: they are known by where they come from.
            Forward::Nat => self.ports.insert_source(port),
            Forward::Dsr | Forward::Ipip | Forward::Proxy => {}
        }
        self.servers.insert(index, entry);
    }

    fn add_real<A: OfFamily>(&mut self, ip: IpAddr, port: u16, protocols: Protocols) {
        let Some(addr) = A::from_ip(ip) else { return };
        let keys = protocols.numbers().map(|proto| ServiceKey {
            addr,
            port: port.to_be(),
            proto,
        });
        A::part_mut(self).reals.extend(keys);
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
}

/// The addresses that source NAT takes towards `server`; none means the service's own.
fn sources(inputs: &Inputs<'_>, server: IpAddr, own: IpAddr) -> Vec<SnatAddress> {
    let usable = |ip: &IpAddr| Family::of(*ip) == Family::of(server) && !ip.is_unspecified();
    let listed: Vec<IpAddr> = match &inputs.config.global.fast_path.snat_addresses {
        SnatAddresses::Auto => vec![own],
        SnatAddresses::Service => Vec::new(),
        SnatAddresses::List(list) => list.iter().map(|ip| ip.to_canonical()).collect(),
    };
    let usable = listed.into_iter().filter(usable);
    usable.map(|ip| SnatAddress(words(ip))).collect()
}
