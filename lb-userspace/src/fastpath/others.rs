//! Kernel paths of other lbs on the same interfaces, which would be in this one's way: one that is at work beside it, or that
//! one has left behind which had another pin path.
//!
//! Packets go from program to program. Two that serve the same address both take its connections, and each drops answers of
//! the other's servers if those are its own as well and the ports for source NAT overlap. On interfaces of their own, or with
//! nothing in common, they do not meet.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{
    error::FastPathError,
    kernel::{Ends, Theirs, attached, name_of},
    pins::{self, Pins},
};
use crate::config::{
    model::{Config, Forward, Transport},
    path::kernel_path,
};

/// How far below a BPF file system's root, and how many folders, are looked at.
const DEPTH: u32 = 6;
const FOLDERS: usize = 4096;

/// Looks for such a one. What this process may not look at is none.
///
/// # Errors
/// There is one; what it is and the mend.
pub(super) fn refuse(config: &Config) -> Result<(), FastPathError> {
    let ours = Ours::of(config);
    if ours.services.is_empty() {
        return Ok(());
    }
    let named = &config.global.fast_path.interfaces;
    let own = fs::canonicalize(&config.global.fast_path.pin_path).ok();
    for pin_path in found(&config.global.fast_path.pin_path) {
        if Some(&pin_path) == own.as_ref() {
            continue;
        }
        let pins = Pins::at(&pin_path);
        let mut interfaces = attached(&pins).filter_map(|ifindex| name_of(ifindex).ok());
        let Some(interface) = interfaces.find(|name| named.is_empty() || named.contains(name))
        else {
            continue;
        };
        let Ok(Some(common)) = Theirs::of(&pins).map(|theirs| ours.common(&theirs)) else {
            continue;
        };
        return Err(FastPathError::Other {
            common,
            interface,
            at_work: pins.is_in_use(),
            holder: pins.holder(),
            path: pin_path,
        });
    }
    Ok(())
}

/// What two kernel paths have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Common {
    /// They serve the same address.
    Service(SocketAddr),
    /// They have a server and ports for source NAT in common.
    Ports(SocketAddr, RangeInclusive<u16>),
}

/// What this lb is to have, as far as the file says.
struct Ours {
    services: Ends,
    /// Servers of source NAT.
    servers: Vec<SocketAddr>,
    ports: RangeInclusive<u16>,
}

impl Ours {
    fn of(config: &Config) -> Self {
        let (mut services, mut servers) = (Vec::new(), Vec::new());
        for frontend in &config.frontends {
            let Ok(backend) = kernel_path(config, frontend) else {
                continue;
            };
            for bind in &frontend.binds {
                let proto = match bind.transport {
                    Transport::Tcp => libc::IPPROTO_TCP,
                    Transport::Udp => libc::IPPROTO_UDP,
                };
                let Some(address) = bind.address.inet() else {
                    continue;
                };
                services.push((address, proto as u16));
                if bind.both_families {
                    let v4 = IpAddr::from([0; 4]);
                    services.push(((v4, address.port()).into(), proto as u16));
                }
            }
            if backend.forward == Forward::FullNat {
                let addresses = backend.servers.iter();
                servers.extend(addresses.filter_map(|s| s.address.inet().or(s.initial)));
            }
        }
        Self {
            services,
            servers,
            ports: config.global.fast_path.snat_ports.clone(),
        }
    }

    fn common(&self, theirs: &Theirs) -> Option<Common> {
        let mut services = theirs.services.iter();
        let same = services.find(|(theirs, proto)| {
            let mut ours = self.services.iter();
            ours.any(|(ours, of)| of == proto && covers(*ours, *theirs))
        });
        if let Some((service, _)) = same {
            return Some(Common::Service(*service));
        }
        let first = *self.ports.start().max(theirs.ports.start());
        let last = *self.ports.end().min(theirs.ports.end());
        let mut servers = theirs.servers.iter().map(|(server, _)| *server);
        let server = servers.find(|server| self.servers.contains(server))?;
        (first <= last).then_some(Common::Ports(server, first..=last))
    }
}

/// Whether who listens on `bind` gets what comes to `service`.
fn covers(bind: SocketAddr, service: SocketAddr) -> bool {
    let (all, one) = (bind.ip().to_canonical(), service.ip().to_canonical());
    bind.port() == service.port()
        && (all == one || all.is_unspecified() && all.is_ipv4() == one.is_ipv4() && is_own(one))
}

/// Whether this host has an address: then it is the one that it would be spoken to from.
fn is_own(address: IpAddr) -> bool {
    let from = match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let source = UdpSocket::bind((from, 0)).and_then(|socket| {
        // Nothing is sent.
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Pin paths on the BPF file system of this one, and on the usual one, at which an lb of this layout has its maps.
fn found(pin_path: &Path) -> Vec<PathBuf> {
    let usual = Path::new("/sys/fs/bpf");
    let mut roots = Vec::new();
    for path in [pin_path, usual] {
        let ancestors = path.ancestors().filter(|path| path.exists());
        let root = ancestors.take_while(|path| pins::on_bpffs(path)).last();
        roots.extend(root.and_then(|root| fs::canonicalize(root).ok()));
    }
    roots.dedup();
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut folders: Vec<(PathBuf, u32)> = roots.into_iter().map(|root| (root, 0)).collect();
    while let Some((folder, depth)) = folders.pop() {
        looked += 1;
        if Pins::at(&folder).has_maps() {
            found.push(folder.clone());
        }
        if depth == DEPTH || looked == FOLDERS {
            continue;
        }
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        let below = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| (entry.path(), depth + 1)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(texts: &[&str]) -> Ends {
        texts
            .iter()
            .map(|text| (text.parse().unwrap(), 6))
            .collect()
    }

    fn common(
        services: [&str; 2],
        servers: [&str; 2],
        ports: [RangeInclusive<u16>; 2],
    ) -> Option<Common> {
        let ([ours, theirs], [our_servers, their_servers], [our_ports, their_ports]) =
            (services, servers, ports);
        let ours = Ours {
            services: ends(&[ours]),
            servers: vec![our_servers.parse().unwrap()],
            ports: our_ports,
        };
        ours.common(&Theirs {
            services: ends(&[theirs]),
            servers: ends(&[their_servers]),
            ports: their_ports,
        })
    }

    #[test]
    fn two_meet_at_a_service_or_at_a_server_by_the_same_ports() {
        let (here, there) = ("192.0.2.1:80", "192.0.2.2:80");
        let (one, other) = ("198.51.100.1:80", "198.51.100.2:80");
        let service = Common::Service(here.parse().unwrap());
        assert_eq!(
            common([here, here], [one, other], [1..=2, 3..=4]),
            Some(service)
        );
        let ports = Common::Ports(one.parse().unwrap(), 2..=3);
        assert_eq!(
            common([here, there], [one, one], [1..=3, 2..=4]),
            Some(ports)
        );
        assert_eq!(
            common([here, there], [one, one], [1..=2, 3..=4]),
            None,
            "other ports"
        );
        assert_eq!(
            common([here, there], [one, other], [1..=3, 2..=4]),
            None,
            "other servers"
        );
    }

    #[test]
    fn every_address_is_each_that_this_host_has() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let all = address("0.0.0.0:80");
        assert!(covers(all, address("127.0.0.1:80")));
        assert!(!covers(all, address("127.0.0.1:81")));
        assert!(!covers(all, address("192.0.2.1:80")), "another host's");
        assert!(covers(address("192.0.2.1:80"), address("192.0.2.1:80")));
        assert!(!covers(all, address("[::1]:80")));
    }
}
