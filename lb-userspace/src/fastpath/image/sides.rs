//! The sides that clients may come by: each attached interface, and each VLAN on one.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::flow::{Hop, SideKey, mac_key, tag_word};

use super::{Image, Inputs};
use crate::fastpath::{
    kernel::MACS,
    net::{
        View, VlanTag,
        model::{Link, LinkKind},
    },
    registry::Registry,
};

/// The tags of a VLAN device, outermost first, as far as there may be.
type Tags = [Option<VlanTag>; 2];

impl Image {
    pub(super) fn add_sides(&mut self, inputs: &Inputs<'_>, registry: &mut Registry) {
        let attached = &inputs.attached.all;
        for ifindex in attached {
            let Some(link) = inputs.view.link(*ifindex) else {
                continue;
            };
            self.tx.insert(*ifindex);
            self.add_side(*ifindex, [None; 2], link, inputs, registry);
        }
        self.tx = &self.tx - &inputs.attached.unreachable;
        for link in inputs.view.links() {
            if let Some((devices, tags)) = under_vlan(inputs.view, link) {
                for device in devices.intersection(attached) {
                    self.add_side(*device, tags, link, inputs, registry);
                }
            }
        }
    }

    /// `link` is what holds the side's addresses: the device itself, or a VLAN on it.
    fn add_side(
        &mut self,
        device: u32,
        tags: Tags,
        link: &Link,
        inputs: &Inputs<'_>,
        registry: &mut Registry,
    ) {
        // Replies could not be sent there: without a side, new flows go to userspace.
        if inputs.attached.unreachable.contains(&device) {
            return;
        }
        let Some(mac) = link.mac else { return };
        let tags = words(tags);
        let key = SideKey {
            ifindex: device,
            tags,
            spare: 0,
        };
        let Ok(index) = registry.side(key, inputs.room) else {
            return;
        };
        let (src_mac_low, src_mac_high) = Hop::mac_words(mac.0);
        let hop = Hop {
            ifindex: device,
            src_mac_low,
            src_mac_high,
            tags,
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            flags: Hop::USABLE,
            ..Hop::default()
        };
        self.hops.insert(u32::from(index), hop);
        self.sides.insert(key, u32::from(index));
    }
}

/// This host's MAC addresses, as many as there is room for.
pub(super) fn macs(view: &View) -> BTreeMap<u64, u32> {
    let macs = view.links().filter_map(|link| link.mac);
    let keys = macs.map(|mac| {
        let (low, high) = Hop::mac_words(mac.0);
        (mac_key(low, high), 1)
    });
    keys.take(MACS as usize).collect()
}

/// Tags as the words of a frame.
pub(super) fn words(tags: Tags) -> [u32; 2] {
    tags.map(|tag| tag.map_or(0, |tag| tag_word(tag.tpid, tag.id)))
}

/// The devices whose frames with certain tags belong to `link`, if it is a VLAN; `None` where that cannot be told.
fn under_vlan(view: &View, link: &Link) -> Option<(BTreeSet<u32>, Tags)> {
    let mut tags: Tags = [None; 2];
    let mut below = link;
    while let LinkKind::Vlan(tag) = &below.kind {
        if tags[1].is_some() {
            return None;
        }
        tags = [Some(*tag), tags[0]];
        below = view.link(below.lower?)?;
    }
    // What a bridge does with tags is its own business.
    let plain = tags[0].is_some() && !matches!(below.kind, LinkKind::Bridge);
    plain.then(|| (view.devices_under(below.index), tags))
}

/// Whether VLAN devices are stacked on a device, so that its frames may have tags that matter.
pub(in crate::fastpath) fn has_vlans(view: &View, device: u32) -> bool {
    view.links()
        .any(|link| under_vlan(view, link).is_some_and(|(devices, _)| devices.contains(&device)))
}
