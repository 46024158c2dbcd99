//! The maps' contents for one service, as the agent would enter them. All that the benchmark knows of their layout is
//! here: flows are opened by running the program, never written.

use aya::Pod;
use lb_common::abi::{Settings, VERSION};
use lb_common::flow::{Hop, SideKey};
use lb_common::load::{ActiveBlock, Weight, WeightBlock, reciprocal};
use lb_common::service::{
    Lane, MEMBERS_PER_CHUNK, MemberChunk, SLOTS_PER_CHUNK, Server, Service, ServiceKey, SlotChunk,
    SnatAddress, algorithm, forward, sockets,
};
use lb_tests::Result;

use crate::rig::Maps;
use crate::shape::{Family, Mode, Protocol, Shape};

/// One end: the address's last word (all of it, in IPv4) and the port, host order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) mac: [u8; 6],
    pub(crate) address: u32,
    pub(crate) port: u16,
}

/// The balancer: everything comes and goes by one interface.
pub(crate) const SERVICE: End = End {
    mac: [0x02, 0, 0, 0, 1, 1],
    address: 0x0a4d_0101,
    port: 80,
};
pub(crate) const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 2];
/// The first server; others follow by address.
pub(crate) const SERVER: End = End {
    mac: [0x02, 0, 0, 0, 2, 1],
    address: 0x0a4d_0301,
    port: 8080,
};
/// A port that shares its word of the bitmap with the service's and belongs to nobody.
pub(crate) const NEIGHBOUR_PORT: u16 = 81;
/// A port of which the bitmap knows that it is nobody's.
pub(crate) const STRANGE_PORT: u16 = 22;

const SNAT: u32 = 0x0a4d_0201;
/// So many that the eight tries for a free port succeed with 700,000 flows open.
const SNATS: u32 = 64;
const SNAT_FIRST: u16 = 10_000;
const SNAT_COUNT: u16 = 22_768;
/// Of a test run's packets.
const LOOPBACK: u32 = 1;
const HOP_CLIENTS: u32 = 1;
const HOP_SERVERS: u32 = 2;

/// Room for a million flows, as `max_flows` by default.
pub(crate) const MAX_FLOWS: u32 = 1_000_000;

/// Sets of half-open flows, of four each.
const HALF_SETS: u32 = 1 << 17;

/// Maps that are made larger than the object says, with the number of their entries.
pub(crate) const fn sizes(family: Family) -> [(&'static str, u32); 3] {
    let flows = MAX_FLOWS * 2;
    match family {
        Family::V4 => [("FLOWS4", flows), ("HALF4", HALF_SETS), ("HOPS", 128)],
        Family::V6 => [("FLOWS6", flows), ("HALF6", HALF_SETS), ("HOPS", 128)],
    }
}

/// Enters the service and all that it stands on.
pub(crate) fn fill(maps: &mut Maps<'_>, shape: Shape) -> Result<()> {
    maps.set(
        "SETTINGS",
        0,
        Settings {
            seed: 0x5eed_5eed_5eed_5eed,
            abi: VERSION,
            flags: 0,
            admit_below: [MAX_FLOWS / 20 * 19; 2],
            half_mask4: HALF_SETS - 1,
            half_mask6: HALF_SETS - 1,
            bucket_mask: 0,
            new_flows_per_source: 0,
            snat_first: SNAT_FIRST,
            snat_count: SNAT_COUNT,
            spare: 0,
        },
    )?;
    maps.set("CLOCK", 0, 100u32)?;
    // As the daemon has it for a service of which no packet was passed up for a while.
    maps.set("SOCKETS", 0, sockets::NONE)?;
    ports(maps)?;
    servers(maps, shape)?;
    // Each flow has its own destination there.
    maps.set("HOPS", HOP_CLIENTS, hop([0; 6]))?;
    for i in 0..u32::from(shape.servers) {
        let hop = Hop {
            outer_src: words(shape.family, SNAT),
            outer_dst: words(shape.family, SERVER.address + i),
            ..hop(SERVER.mac)
        };
        let ipip = match (shape.mode, shape.family) {
            (Mode::Ipip, Family::V4) => Hop {
                flags: hop.flags | Hop::OUTER4,
                mtu: hop.mtu - 20,
                ..hop
            },
            (Mode::Ipip, Family::V6) => Hop {
                flags: hop.flags | Hop::OUTER6,
                mtu: hop.mtu - 40,
                ..hop
            },
            _ => hop,
        };
        maps.set("HOPS", HOP_SERVERS + i, ipip)?;
    }
    let side = SideKey {
        ifindex: LOOPBACK,
        ..SideKey::default()
    };
    maps.put("SIDES", side, HOP_CLIENTS)?;
    for i in 0..SNATS {
        maps.set("SNATS", i, SnatAddress(words(shape.family, SNAT + i)))?;
    }
    let service = Service {
        slots_len: u32::from(shape.servers),
        block_len: shape.servers,
        algorithm: if shape.least_conn {
            algorithm::LEAST_CONN
        } else {
            algorithm::ROUND_ROBIN
        },
        forward: match shape.mode {
            Mode::Dsr => forward::DSR,
            Mode::Ipip => forward::IPIP,
            Mode::FullNat => forward::FULL_NAT,
            Mode::Nat => forward::NAT,
        },
        ..Service::default()
    };
    put(maps, ["SERVICES4", "SERVICES6"], shape, SERVICE, service)
}

/// Words of the bitmap of destination ports; that of source ports follows.
const PORT_WORDS: u32 = 1024;

/// The service's port, its neighbour's, those of source NAT, and the servers', whose replies may come for `nat`.
fn ports(maps: &mut Maps<'_>) -> Result<()> {
    maps.set(
        "PORTS",
        PORT_WORDS + u32::from(SERVER.port >> 6),
        1u64 << (SERVER.port & 63),
    )?;
    maps.set(
        "PORTS",
        u32::from(SERVICE.port >> 6),
        3u64 << (SERVICE.port & 63),
    )?;
    for word in SNAT_FIRST >> 6..=(SNAT_FIRST + SNAT_COUNT) >> 6 {
        maps.set("PORTS", u32::from(word), u64::MAX)?;
    }
    Ok(())
}

fn servers(maps: &mut Maps<'_>, shape: Shape) -> Result<()> {
    let mut slots = [SlotChunk::default(); 256 / SLOTS_PER_CHUNK as usize];
    let mut members = [MemberChunk::default(); 256 / MEMBERS_PER_CHUNK as usize];
    let mut weights = WeightBlock::default();
    for ordinal in 0..shape.servers {
        let (i, at) = (u32::from(ordinal), usize::from(ordinal));
        slots[at / SLOTS_PER_CHUNK as usize].0[at % SLOTS_PER_CHUNK as usize] = ordinal;
        members[at / MEMBERS_PER_CHUNK as usize].0[at % MEMBERS_PER_CHUNK as usize] = i;
        weights.0[at] = Weight {
            recip: reciprocal(1),
            max: Weight::UNBOUNDED,
            ..Weight::default()
        };
        maps.set(
            "LANES",
            i,
            Lane {
                server: i,
                idle: 36_000,
            },
        )?;
        let address = SERVER.address + i;
        maps.set(
            "SERVERS",
            i,
            Server {
                addr: words(shape.family, address),
                snat_base: 0,
                snat_len: SNATS as u16,
                port: SERVER.port.to_be(),
                hop: HOP_SERVERS as u16 + ordinal,
                spare: [0; 3],
            },
        )?;
        let server = End { address, ..SERVER };
        put(maps, ["REALS4", "REALS6"], shape, server, 1u32)?;
    }
    for (i, chunk) in slots.into_iter().enumerate() {
        maps.set("SLOTS", i as u32, chunk)?;
    }
    for (i, chunk) in members.into_iter().enumerate() {
        maps.set("MEMBERS", i as u32, chunk)?;
    }
    maps.set("WEIGHTS", 0, weights)?;
    maps.set("ACTIVE", 0, ActiveBlock::default())
}

/// Enters what is keyed by an address and a port, into the map of this family.
fn put<V: Pod>(
    maps: &mut Maps<'_>,
    [v4, v6]: [&str; 2],
    shape: Shape,
    end: End,
    value: V,
) -> Result<()> {
    let port = end.port.to_be();
    let proto = match shape.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let words = words(shape.family, end.address);
    match shape.family {
        Family::V4 => {
            let [addr, ..] = words;
            maps.put(v4, ServiceKey { addr, port, proto }, value)
        }
        Family::V6 => {
            let addr = words;
            maps.put(v6, ServiceKey { addr, port, proto }, value)
        }
    }
}

/// An address as the maps have it.
fn words(family: Family, address: u32) -> [u32; 4] {
    match family {
        Family::V4 => [address.to_be(), 0, 0, 0],
        Family::V6 => [PREFIX.to_be(), 0, 0, address.to_be()],
    }
}

/// First word of every IPv6 address; the two after it are zero.
pub(crate) const PREFIX: u32 = 0xfd77_0000;

fn hop(mac: [u8; 6]) -> Hop {
    let ((dst_mac_low, dst_mac_high), (src_mac_low, src_mac_high)) =
        (Hop::mac_words(mac), Hop::mac_words(SERVICE.mac));
    Hop {
        ifindex: LOOPBACK,
        dst_mac_low,
        src_mac_low,
        dst_mac_high,
        src_mac_high,
        mtu: 1500,
        flags: Hop::USABLE,
        ..Hop::default()
    }
}
