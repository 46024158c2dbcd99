//! The world of the packet table, as the agent would enter it into the maps: a client behind loopback (a test run's
//! packets come in by interface 1 on XDP, by none on TC), two servers behind a veth, and one source NAT port, so that
//! translations are known beforehand. All of it is there in both versions of IP, on the same ports, over TCP and UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::xdp::DevMapHash;
use aya::maps::{PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::flow::{Hop, tag_word};
use lb_common::load::{ActiveBlock, Weight};
use lb_common::service::{
    Lane, MemberChunk, Server, Service, ServiceKey, SlotChunk, SnatAddress, algorithm, forward,
};

use crate::fixture::{Fixture, Hook};
use crate::frame::{End, Frame, proto};

/// Version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The name of one of the maps that there are two of.
    pub(crate) fn map(self, name: &str) -> String {
        let version = match self {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        format!("{name}{version}")
    }

    pub(crate) fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }

    /// 10.77.`net`.`host` or fd77::`net`:`host`.
    pub(crate) fn address(self, net: u8, host: u8) -> IpAddr {
        match self {
            Family::V4 => IpAddr::from([10, 77, net, host]),
            Family::V6 => {
                let [net, host] = [net, host].map(u16::from);
                Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, net, host).into()
            }
        }
    }
}

/// An address as the maps have it.
pub(crate) fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => {
            let o = address.octets();
            [0, 4, 8, 12].map(|i| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]))
        }
    }
}

/// Who is there, in one version of IP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) hook: Hook,
    pub(crate) family: Family,
    pub(crate) client: End,
    pub(crate) client_2: End,
    /// The balancer towards clients.
    pub(crate) service: End,
    /// The balancer towards servers: the only source NAT address and port.
    pub(crate) snat: End,
    pub(crate) s1: End,
    pub(crate) s2: End,
    /// A router on the clients' side that nobody knows, and one on the servers'.
    pub(crate) router: End,
    pub(crate) inner_router: End,
}

impl World {
    pub(crate) fn new(hook: Hook, family: Family) -> World {
        let end = |net, host, port| End {
            mac: [0x02, 0, 0, 0, net, host],
            address: family.address(net, host),
            port,
        };
        World {
            hook,
            family,
            client: end(1, 2, 40_000),
            client_2: end(1, 3, 40_001),
            service: end(1, 1, 80),
            snat: end(2, 1, SNAT_PORT),
            s1: end(2, 11, 8080),
            s2: end(2, 12, 8081),
            router: end(9, 1, 0),
            inner_router: end(2, 99, 0),
        }
    }

    pub(crate) fn v4(&self) -> bool {
        self.family == Family::V4
    }

    pub(crate) fn xdp(&self) -> bool {
        self.hook == Hook::Xdp
    }

    pub(crate) fn at(&self, port: u16) -> End {
        self.service.at_port(port)
    }

    /// No address.
    pub(crate) fn nowhere(&self, port: u16) -> End {
        let address = match self.family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let service = self.at(port);
        End { address, ..service }
    }

    pub(crate) fn syn(&self, from: End, port: u16) -> Frame {
        Frame::tcp(from, self.at(port), "S")
    }

    /// A datagram to a port of the service.
    pub(crate) fn datagram(&self, from: End, port: u16) -> Frame {
        Frame::udp(from, self.at(port))
    }
}

pub(crate) const SNAT_PORT: u16 = 10_000;

/// Ports of the service and what is behind them.
pub(crate) mod port {
    /// Both servers in turn, full NAT.
    pub(crate) const TURN: u16 = 80;
    /// Both in turn, by their MAC address alone; what cannot be taken is dropped.
    pub(crate) const DSR: u16 = 81;
    /// No server takes new flows.
    pub(crate) const EMPTY: u16 = 82;
    /// Nor here, and what cannot be taken is dropped.
    pub(crate) const EMPTY_DROP: u16 = 83;
    /// The only server's neighbour is not known.
    pub(crate) const NO_HOP: u16 = 84;
    /// The least loaded, the second server counting double.
    pub(crate) const LEAST: u16 = 85;
    /// By the client's address; another node may know the flow.
    pub(crate) const SOURCE: u16 = 86;
    /// The first server alone.
    pub(crate) const ONE: u16 = 87;
    /// No service has it, though the balancer's bitmap says some might.
    pub(crate) const NONE: u16 = 88;
    /// The first server alone, the client's address kept.
    pub(crate) const NAT: u16 = 89;
    /// The first server, in a packet of the same version of IP.
    pub(crate) const IPIP: u16 = 90;
    /// In one of the other version.
    pub(crate) const IPIP_OTHER: u16 = 91;
    /// By the client's address and port; another node may know the flow.
    pub(crate) const MAGLEV: u16 = 92;
    /// The less loaded of two at random.
    pub(crate) const RANDOM: u16 = 93;
    /// The first server, behind one tag and behind two.
    pub(crate) const TAG: u16 = 94;
    pub(crate) const TAGS: u16 = 95;
    /// As [`MAGLEV`], by MAC address alone.
    pub(crate) const DSR_MAGLEV: u16 = 96;
    /// The least loaded by MAC address alone.
    pub(crate) const DSR_ONE: u16 = 97;
    /// In a packet of the same version of IP, behind two tags.
    pub(crate) const IPIP_TAGS: u16 = 98;
    /// A service that names a lane which there is not.
    pub(crate) const NO_LANE: u16 = 99;
    /// At every address, also such as are yet to come; at present there is none.
    pub(crate) const EVERYWHERE: u16 = 100;
    /// How many there are from [`TURN`] on.
    pub(crate) const COUNT: u16 = 21;
}

/// Indices of hops.
pub(crate) mod hop {
    pub(crate) const CLIENTS: u32 = 1;
    /// The servers', by the index of the server, less one.
    pub(crate) const S1: u32 = 2;
    pub(crate) const S2: u32 = 3;
    pub(crate) const LOST: u32 = 4;
    pub(crate) const IPIP: u32 = 5;
    pub(crate) const IPIP_OTHER: u32 = 6;
    pub(crate) const TAG: u32 = 7;
    pub(crate) const TAGS: u32 = 8;
    pub(crate) const IPIP_TAGS: u32 = 9;
    /// Clients behind one tag, and behind two.
    pub(crate) const CLIENTS_TAG: u32 = 10;
    pub(crate) const CLIENTS_TAGS: u32 = 11;
}

/// Tags of the clients' side, and of the servers'.
pub(crate) const C_TAG: (u16, u16) = (0x8100, 100);
pub(crate) const C_TAGS: [(u16, u16); 2] = [(0x88a8, 200), (0x8100, 100)];
pub(crate) const S_TAG: (u16, u16) = (0x8100, 300);
pub(crate) const S_TAGS: [(u16, u16); 2] = [(0x88a8, 400), (0x8100, 300)];

/// What stands for a server's idle time in its lane, ticks.
pub(crate) const IDLE: u32 = 3_000;
/// What the coarse clock says at first.
pub(crate) const TICK: u32 = 100_000;

impl Fixture {
    /// Enters all of it, over whatever was there.
    pub(crate) fn fill(&mut self) {
        self.settings(|_| {});
        self.set("CLOCK", 0, TICK);
        for word in SNAT_PORT >> 6..=(SNAT_PORT + self.ports) >> 6 {
            self.set::<u64>("PORTS", u32::from(word), 0);
        }
        self.ports = 0;
        self.set::<u64>("PORTS", u32::from(SNAT_PORT >> 6), 1 << (SNAT_PORT & 63));
        // The services' ports, all of them in two words.
        let services = (1u128 << port::COUNT) - 1;
        let services = services << (port::TURN & 63);
        for (i, bits) in [services as u64, (services >> 64) as u64]
            .into_iter()
            .enumerate()
        {
            let word = u32::from(port::TURN >> 6) + i as u32;
            self.set::<u64>("PORTS", word, bits);
        }
        // The servers' ports, 8080 and 8081, as sources.
        self.set::<u64>("PORTS", 1024 + (8080 >> 6), 3 << (8080 & 63));
        for (chunk, ordinals) in [&[0, 1][..], &[2], &[0], &[3], &[4], &[5], &[6], &[7], &[9]]
            .into_iter()
            .enumerate()
        {
            let mut slots = SlotChunk::default();
            slots.0[..ordinals.len()].copy_from_slice(ordinals);
            self.set("SLOTS", chunk as u32, slots);
        }
        let mut members = MemberChunk::default();
        for (i, lane) in members.0.iter_mut().enumerate() {
            *lane = i as u32;
        }
        members.0[9] = 9_999;
        self.set("MEMBERS", 0, members);
        self.set("MEMBERS", 1, {
            let mut members = members;
            for lane in &mut members.0[..8] {
                *lane += 8;
            }
            members
        });
        self.set("ACTIVE", 0, ActiveBlock::default());
        self.set("ACTIVE", 1, ActiveBlock::default());
        self.limit(Weight::UNBOUNDED);
        self.side(&[], hop::CLIENTS);
        self.side(&[C_TAG], hop::CLIENTS_TAG);
        self.side(&C_TAGS, hop::CLIENTS_TAGS);
        for (index, tags) in [
            (hop::CLIENTS, &[][..]),
            (hop::CLIENTS_TAG, &[C_TAG]),
            (hop::CLIENTS_TAGS, &C_TAGS),
        ] {
            // Each flow has its own destination there.
            let clients = tagged(plain_hop(1, [0; 6], self.world.service.mac), tags);
            self.set("HOPS", index, clients);
        }
        for family in Family::BOTH {
            self.fill_family(World::new(self.world.hook, family));
        }
        let turns = vec![0u32; nr_cpus().unwrap()];
        let mut map: PerCpuArray<_, u32> = self.ebpf.map_mut("TURNS").unwrap().try_into().unwrap();
        for i in 0..64 {
            map.set(i, PerCpuValues::try_from(turns.clone()).unwrap(), 0)
                .unwrap();
        }
        let mut tx: DevMapHash<_> = self.ebpf.map_mut("TX").unwrap().try_into().unwrap();
        tx.insert(self.out, self.out, None, 0).unwrap();
        self.set("FLOW_COUNT", 0, 0u64);
        self.set("FLOW_COUNT", 1, 0u64);
        self.set("BUCKETS", 0, 0u64);
    }

    /// Servers of IPv4 are in block 0, those of IPv6 in block 1; lanes and hops of the second likewise come after the
    /// first's.
    fn fill_family(&mut self, w: World) {
        let second = u32::from(w.family == Family::V6);
        let hops = [
            hop::S1,
            hop::S2,
            hop::LOST,
            hop::IPIP,
            hop::IPIP_OTHER,
            hop::TAG,
            hop::TAGS,
            hop::IPIP_TAGS,
        ];
        for (i, hop) in hops.into_iter().enumerate() {
            let i = i as u32;
            let end = if i == 1 { w.s2 } else { w.s1 };
            let index = second << 8 | i;
            let lane = Lane {
                server: index,
                idle: IDLE,
            };
            self.set("LANES", second * 8 + i, lane);
            let server = Server {
                addr: words(end.address),
                snat_base: second,
                snat_len: 1,
                port: end.port.to_be(),
                hop: (hop + second * HOPS_A_FAMILY) as u16,
                spare: [0; 3],
            };
            self.set("SERVERS", index, server);
            let mut value = plain_hop(self.out, end.mac, w.snat.mac);
            let outer = |family: Family| {
                let flag = match family {
                    Family::V4 => Hop::OUTER4,
                    Family::V6 => Hop::OUTER6,
                };
                let size = if family == Family::V4 { 20 } else { 40 };
                let (src, dst) = tunnel(family);
                (flag, 1500 - size, words(src), words(dst))
            };
            match hop {
                hop::LOST => value.flags = 0,
                hop::IPIP | hop::IPIP_OTHER | hop::IPIP_TAGS => {
                    let family = if hop == hop::IPIP_OTHER {
                        w.family.other()
                    } else {
                        w.family
                    };
                    let (flag, mtu, src, dst) = outer(family);
                    value.flags |= flag;
                    value.mtu = mtu;
                    (value.outer_src, value.outer_dst) = (src, dst);
                }
                _ => {}
            }
            match hop {
                hop::TAG => value = tagged(value, &[S_TAG]),
                hop::TAGS | hop::IPIP_TAGS => value = tagged(value, &S_TAGS),
                _ => {}
            }
            self.set("HOPS", hop + second * HOPS_A_FAMILY, value);
        }
        self.set("SNATS", second, SnatAddress(words(w.snat.address)));
        for proto in [proto::TCP, proto::UDP] {
            for end in [w.s1, w.s2] {
                self.put_by_end("REALS", end, proto, 1u32);
            }
            self.services(w, proto);
        }
    }

    fn services(&mut self, w: World, proto: u8) {
        let second = u32::from(w.family == Family::V6);
        let plain = Service {
            slots_len: 2,
            block_len: 2,
            block: second,
            members_base: second,
            ..Service::default()
        };
        let one = |chunk| Service {
            slots_base: chunk,
            slots_len: 1,
            ..plain
        };
        let drop = Service::DROP_OVERFLOW;
        for (port, service) in [
            (port::TURN, plain),
            (
                port::DSR,
                Service {
                    forward: forward::DSR,
                    flags: drop,
                    ..plain
                },
            ),
            (
                port::EMPTY,
                Service {
                    slots_len: 0,
                    ..plain
                },
            ),
            (
                port::EMPTY_DROP,
                Service {
                    slots_len: 0,
                    flags: drop,
                    ..plain
                },
            ),
            (port::NO_HOP, one(1)),
            (
                port::LEAST,
                Service {
                    algorithm: algorithm::LEAST_CONN,
                    ..plain
                },
            ),
            (
                port::SOURCE,
                Service {
                    algorithm: algorithm::SOURCE,
                    flags: Service::STATELESS,
                    ..plain
                },
            ),
            (port::ONE, one(2)),
            (
                port::NAT,
                Service {
                    forward: forward::NAT,
                    ..one(2)
                },
            ),
            (
                port::IPIP,
                Service {
                    forward: forward::IPIP,
                    ..one(3)
                },
            ),
            (
                port::IPIP_OTHER,
                Service {
                    forward: forward::IPIP,
                    ..one(4)
                },
            ),
            (
                port::MAGLEV,
                Service {
                    algorithm: algorithm::MAGLEV,
                    flags: Service::STATELESS,
                    ..plain
                },
            ),
            (
                port::RANDOM,
                Service {
                    algorithm: algorithm::RANDOM,
                    ..plain
                },
            ),
            (port::TAG, one(5)),
            (port::TAGS, one(6)),
            (
                port::DSR_MAGLEV,
                Service {
                    algorithm: algorithm::MAGLEV,
                    forward: forward::DSR,
                    flags: Service::STATELESS,
                    ..one(2)
                },
            ),
            (
                port::DSR_ONE,
                Service {
                    forward: forward::DSR,
                    ..one(2)
                },
            ),
            (
                port::IPIP_TAGS,
                Service {
                    forward: forward::IPIP,
                    ..one(7)
                },
            ),
            (port::NO_LANE, one(8)),
        ] {
            let id = u32::from(port - port::TURN) + second * 32;
            self.put_by_end("SERVICES", w.at(port), proto, Service { id, ..service });
        }
        let everywhere = Service {
            flags: Service::STATELESS | Service::EVERYWHERE,
            id: u32::from(port::EVERYWHERE - port::TURN) + second * 32,
            ..plain
        };
        let nowhere = w.nowhere(port::EVERYWHERE);
        self.put_by_end("SERVICES", nowhere, proto, everywhere);
    }

    /// Enters what is keyed by an address, a port and a protocol.
    pub(crate) fn put_by_end<V: aya::Pod>(&mut self, name: &str, end: End, proto: u8, value: V) {
        let (port, proto) = (end.port.to_be(), u16::from(proto));
        let addr = words(end.address);
        if end.address.is_ipv4() {
            let addr = addr[0];
            let key = ServiceKey { addr, port, proto };
            self.put(&format!("{name}4"), key, value);
        } else {
            let key = ServiceKey { addr, port, proto };
            self.put(&format!("{name}6"), key, value);
        }
    }
}

pub(crate) const HOPS_A_FAMILY: u32 = 20;

/// Addresses of an outer header.
pub(crate) fn tunnel(family: Family) -> (IpAddr, IpAddr) {
    (family.address(2, 1), family.address(3, 1))
}

fn plain_hop(ifindex: u32, dst_mac: [u8; 6], src_mac: [u8; 6]) -> Hop {
    let ((dst_mac_low, dst_mac_high), (src_mac_low, src_mac_high)) =
        (Hop::mac_words(dst_mac), Hop::mac_words(src_mac));
    Hop {
        ifindex,
        dst_mac_low,
        src_mac_low,
        dst_mac_high,
        src_mac_high,
        mtu: 1500,
        flags: Hop::USABLE,
        ..Hop::default()
    }
}

fn tagged(mut hop: Hop, tags: &[(u16, u16)]) -> Hop {
    for (word, (kind, id)) in hop.tags.iter_mut().zip(tags) {
        *word = tag_word(*kind, *id);
    }
    hop
}
