//! What the kernel path of another lb has, which is pinned elsewhere.

use std::{net::SocketAddr, ops::RangeInclusive};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData},
};
use lb_common::{
    abi::{Settings, VERSION},
    flow::{V4, V6},
    service::{Service, ServiceKey},
};

use super::{
    super::{error::FastPathError, family::Address, net::features, pins::Pins, sys},
    hooks::Hook,
};

/// Addresses and protocols of services, or servers.
pub(in crate::fastpath) type Ends = Vec<(SocketAddr, u16)>;

/// What another has.
pub(in crate::fastpath) struct Theirs {
    /// Its services.
    pub services: Ends,
    /// Its servers of source NAT.
    pub servers: Ends,
    /// Its ports for that.
    pub ports: RangeInclusive<u16>,
}

impl Theirs {
    /// Reads its maps.
    pub(in crate::fastpath) fn of(pins: &Pins) -> Result<Self, FastPathError> {
        let data = MapData::from_pin(pins.map("SETTINGS"))?;
        let settings: Array<MapData, Settings> = Map::Array(data).try_into()?;
        let settings = settings.get(&0, 0)?;
        let (mut services, mut servers) = (Ends::new(), Ends::new());
        if settings.abi == VERSION {
            services.extend(ends::<V4, Service>(pins, "SERVICES4")?);
            services.extend(ends::<V6, Service>(pins, "SERVICES6")?);
            servers.extend(ends::<V4, u32>(pins, "REALS4")?);
            servers.extend(ends::<V6, u32>(pins, "REALS6")?);
        }
        let last = settings.snat_first.saturating_add(settings.snat_count);
        Ok(Self {
            services,
            servers,
            ports: settings.snat_first..=last.saturating_sub(1),
        })
    }
}

/// The keys of a map of services, or of servers.
fn ends<A: Address, V: Pod>(pins: &Pins, name: &str) -> Result<Ends, FastPathError>
where
    ServiceKey<A>: Pod,
{
    let data = MapData::from_pin(pins.map(name))?;
    let map: HashMap<MapData, ServiceKey<A>, V> = Map::HashMap(data).try_into()?;
    let keys = map.keys().filter_map(Result::ok);
    let ends = keys.map(|key| {
        let address = SocketAddr::from((key.addr.ip(), u16::from_be(key.port)));
        (address, key.proto)
    });
    Ok(ends.collect())
}

/// Interfaces of this network namespace that what is pinned is attached to. Its pins may be another's, where an interface has
/// the same index, so it is the interface that is asked. A filter of clsact is none: there is one, and whoever comes has it.
pub(in crate::fastpath) fn attached(pins: &Pins) -> impl Iterator<Item = u32> {
    let links = pins.pinned_links().into_iter();
    links.filter_map(|(name, ifindex)| {
        let hook = Hook::named(&name)?;
        let link = sys::link(&pins.link(hook.name(), ifindex)).ok()?;
        let there = match hook {
            Hook::Xdp | Hook::XdpGeneric => features::xdp_programs(ifindex)
                .ok()?
                .contains(&link.program),
            Hook::Tcx => sys::tcx_links(ifindex).ok()?.contains(&link.id),
            Hook::Clsact => false,
        };
        there.then_some(ifindex)
    })
}
