//! The world of the packet table, as the agent would enter it into the maps: a client behind loopback (a test run's
//! packets come in by interface 1), two servers behind a veth, and one source NAT port, so that translations are known
//! beforehand.

use aya::maps::xdp::DevMapHash;
use aya::maps::{PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::flow::{Hop, SideKey, V4};
use lb_common::load::{ActiveBlock, Weight, WeightBlock, reciprocal};
use lb_common::service::{
    Lane, MemberChunk, Server, Service, ServiceKey, SlotChunk, SnatAddress, algorithm, forward,
};

use crate::fixture::Fixture;
use crate::frame::End;

pub(crate) const CLIENT: End = End {
    mac: [0x02, 0, 0, 0, 1, 2],
    address: [10, 77, 1, 2],
    port: 40_000,
};
pub(crate) const CLIENT_2: End = End {
    mac: [0x02, 0, 0, 0, 1, 3],
    address: [10, 77, 1, 3],
    port: 40_001,
};
/// The balancer towards clients.
pub(crate) const SERVICE: End = End {
    mac: [0x02, 0, 0, 0, 1, 1],
    address: [10, 77, 1, 1],
    port: 80,
};
/// The balancer towards servers: the only source NAT address and port.
pub(crate) const SNAT: End = End {
    mac: [0x02, 0, 0, 0, 2, 1],
    address: [10, 77, 2, 1],
    port: 10_000,
};
pub(crate) const S1: End = End {
    mac: [0x02, 0, 0, 0, 2, 11],
    address: [10, 77, 2, 11],
    port: 8080,
};
pub(crate) const S2: End = End {
    mac: [0x02, 0, 0, 0, 2, 12],
    address: [10, 77, 2, 12],
    port: 8081,
};

/// Ports of [`SERVICE`] and what is behind them.
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
    /// By the client's address.
    pub(crate) const SOURCE: u16 = 86;
    /// The first server alone.
    pub(crate) const ONE: u16 = 87;
    /// No service has it, though the balancer's bitmap says some might.
    pub(crate) const NONE: u16 = 88;
}

/// Index of the client side's hop, of the servers', and of one without a neighbour.
const HOP_CLIENTS: u32 = 1;
pub(crate) const HOP_S1: u32 = 2;
const HOP_S2: u32 = 3;
const HOP_LOST: u32 = 4;

impl Fixture {
    /// Enters all of it, over whatever was there.
    pub(crate) fn fill(&mut self) {
        self.settings(|_| {});
        self.set("CLOCK", 0, 100u32);
        // The services' ports share a word.
        self.set::<u64>(
            "PORTS",
            u32::from(port::TURN >> 6),
            0x1ff << (port::TURN & 63),
        );
        self.set::<u64>("PORTS", u32::from(SNAT.port >> 6), 1 << (SNAT.port & 63));
        self.set("SLOTS", 0, slots(&[0, 1]));
        self.set("SLOTS", 1, slots(&[2]));
        self.set("SLOTS", 2, slots(&[0]));
        let mut members = MemberChunk::default();
        members.0[..3].copy_from_slice(&[0, 1, 2]);
        self.set("MEMBERS", 0, members);
        for (i, (end, hop)) in [(S1, HOP_S1), (S2, HOP_S2), (S1, HOP_LOST)]
            .into_iter()
            .enumerate()
        {
            let i = i as u32;
            self.set(
                "LANES",
                i,
                Lane {
                    server: i,
                    idle: 100,
                },
            );
            let server = Server {
                addr: [u32::from_ne_bytes(end.address), 0, 0, 0],
                snat_base: 0,
                snat_len: 1,
                port: end.port.to_be(),
                hop: hop as u16,
                spare: [0; 3],
            };
            self.set("SERVERS", i, server);
        }
        self.set(
            "SNATS",
            0,
            SnatAddress([u32::from_ne_bytes(SNAT.address), 0, 0, 0]),
        );
        self.set("ACTIVE", 0, ActiveBlock::default());
        self.limit(Weight::UNBOUNDED);
        // Each flow has its own destination there.
        let clients = hop(1, [0; 6], SERVICE.mac, true);
        self.set("HOPS", HOP_CLIENTS, clients);
        for (index, end, usable) in [
            (HOP_S1, S1, true),
            (HOP_S2, S2, true),
            (HOP_LOST, S1, false),
        ] {
            let hop = hop(self.out, end.mac, SNAT.mac, usable);
            self.set("HOPS", index, hop);
        }
        self.put(
            "SIDES",
            SideKey {
                ifindex: 1,
                ..SideKey::default()
            },
            HOP_CLIENTS,
        );
        for end in [S1, S2] {
            self.put("REALS4", service_key(end), 1u32);
        }
        self.services();
        let turns = PerCpuValues::try_from(vec![0u32; nr_cpus().unwrap()]).unwrap();
        let mut map: PerCpuArray<_, u32> = self.ebpf.map_mut("TURNS").unwrap().try_into().unwrap();
        for i in 0..16 {
            map.set(i, PerCpuValues::try_from(turns.to_vec()).unwrap(), 0)
                .unwrap();
        }
        let mut tx: DevMapHash<_> = self.ebpf.map_mut("TX").unwrap().try_into().unwrap();
        tx.insert(self.out, self.out, None, 0).unwrap();
        self.set("FLOW_COUNT", 0, 0u64);
    }

    /// Lets each server have this many connections.
    pub(crate) fn limit(&mut self, max: u32) {
        let mut weights = WeightBlock::default();
        for (weight, value) in weights.0.iter_mut().zip([1, 2, 1]) {
            *weight = Weight {
                recip: reciprocal(value),
                max,
                ..Weight::default()
            };
        }
        self.set("WEIGHTS", 0, weights);
    }

    fn services(&mut self) {
        let plain = Service {
            slots_len: 2,
            block_len: 2,
            ..Service::default()
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
            (
                port::NO_HOP,
                Service {
                    slots_base: 1,
                    slots_len: 1,
                    ..plain
                },
            ),
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
                    ..plain
                },
            ),
            (
                port::ONE,
                Service {
                    slots_base: 2,
                    slots_len: 1,
                    ..plain
                },
            ),
        ] {
            let service = Service {
                id: u32::from(port - port::TURN),
                ..service
            };
            self.put("SERVICES4", service_key(SERVICE.at_port(port)), service);
        }
    }
}

fn slots(ordinals: &[u16]) -> SlotChunk {
    let mut chunk = SlotChunk::default();
    chunk.0[..ordinals.len()].copy_from_slice(ordinals);
    chunk
}

fn service_key(end: End) -> ServiceKey<V4> {
    ServiceKey {
        addr: u32::from_ne_bytes(end.address),
        port: end.port.to_be(),
        proto: 6,
    }
}

pub(crate) fn hop(ifindex: u32, dst_mac: [u8; 6], src_mac: [u8; 6], usable: bool) -> Hop {
    let ((dst_mac_low, dst_mac_high), (src_mac_low, src_mac_high)) =
        (Hop::mac_words(dst_mac), Hop::mac_words(src_mac));
    Hop {
        ifindex,
        dst_mac_low,
        src_mac_low,
        dst_mac_high,
        src_mac_high,
        mtu: 1500,
        flags: if usable { Hop::USABLE } else { 0 },
        ..Hop::default()
    }
}
