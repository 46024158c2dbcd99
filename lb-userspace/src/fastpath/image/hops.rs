//! Ways to servers: the frame's addresses and tags, and the outer header of what is encapsulated.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::flow::Hop;

use super::{Attached, sides};
use crate::{
    config::model::Forward,
    fastpath::{
        family::{from_words, words},
        net::Resolution,
    },
};

/// Bytes of an outer header.
const OUTER4: u32 = 20;
const OUTER6: u32 = 40;

/// The hop of a resolved way to `server`, if the kernel can send by it. `path_mtus` are sizes that routers on the way to
/// an address have said fit.
pub(super) fn to_server(
    way: &Resolution,
    server: IpAddr,
    forward: Forward,
    attached: &Attached,
    path_mtus: &BTreeMap<IpAddr, u32>,
) -> Option<Hop> {
    // By an interface without the program, replies would miss it.
    if !attached.all.contains(&way.device) || attached.unreachable.contains(&way.device) {
        return None;
    }
    let (src_mac_low, src_mac_high) = Hop::mac_words(way.source_mac.0);
    let (dst_mac_low, dst_mac_high) = Hop::mac_words(way.mac?.0);
    let hop = Hop {
        ifindex: way.device,
        dst_mac_low,
        dst_mac_high,
        src_mac_low,
        src_mac_high,
        tags: sides::words(way.vlans),
        mtu: u16::try_from(way.mtu).unwrap_or(u16::MAX),
        flags: Hop::USABLE,
        ..Hop::default()
    };
    if forward != Forward::Ipip {
        return Some(hop);
    }
    let mtu = path_mtus
        .get(&server.to_canonical())
        .map_or(way.mtu, |told| way.mtu.min(*told));
    let (flag, overhead) = if server.to_canonical().is_ipv4() {
        (Hop::OUTER4, OUTER4)
    } else {
        (Hop::OUTER6, OUTER6)
    };
    Some(Hop {
        mtu: u16::try_from(mtu.saturating_sub(overhead)).unwrap_or(u16::MAX),
        flags: hop.flags | flag,
        outer_src: words(way.source),
        outer_dst: words(server),
        ..hop
    })
}

/// Where the packets of a hop are tunnelled to.
pub(super) fn outer_destination(hop: &Hop) -> Option<IpAddr> {
    match hop.flags & (Hop::OUTER4 | Hop::OUTER6) {
        0 => None,
        Hop::OUTER4 => Some(from_words(hop.outer_dst, 4)),
        _ => Some(from_words(hop.outer_dst, 6)),
    }
}
