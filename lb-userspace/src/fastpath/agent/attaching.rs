//! Attaching to interfaces as they come and go, and what belongs to that: offloads.

use std::collections::{BTreeMap, BTreeSet};

use super::Agent;
use crate::{
    config::{
        Config,
        model::{self, Attach},
    },
    fastpath::{
        attach::{self, Candidate, Choice},
        error::FastPathError,
        image::{Attached, has_vlans},
        kernel::{Hook, Want},
        net::{
            View,
            features::{self, XdpFeatures},
            model::{LinkKind, Scope},
        },
    },
    observe::path::InterfacePath,
    topology::Topology,
};

impl Agent {
    /// Attaches to interfaces that came and forgets those that went.
    pub(super) fn attach(&mut self) -> Result<(), FastPathError> {
        let view = self.view.borrow().clone();
        let config = std::sync::Arc::clone(&self.config);
        let fast_path = &config.global.fast_path;
        let present: BTreeSet<u32> = self
            .kernel
            .attached()
            .map(|(ifindex, _)| ifindex)
            .chain(self.kernel.pinned())
            .collect();
        if let Some(why) = &self.unpinned {
            for path in self.interfaces.values_mut() {
                path.attach = "none".into();
                path.reason.clone_from(why);
            }
            self.note_attached(&[]);
            return Ok(());
        }
        if self.leaving {
            for ifindex in present {
                match view.link(ifindex) {
                    Some(_) => self.kernel.adopt(ifindex)?,
                    None => self.kernel.detach(ifindex)?,
                }
            }
            self.note_attached(&[]);
            let attached = self.kernel.attached();
            self.interfaces = attached
                .map(|(ifindex, hook)| {
                    let path = InterfacePath {
                        name: name(&view, ifindex),
                        attach: label(hook).into(),
                        reason: "for the flows of an earlier lb".into(),
                    };
                    (ifindex, path)
                })
                .collect();
            return Ok(());
        }
        let idle = attach::is_idle(&config, &present);
        if idle && !self.idle {
            tracing::info!(
                "the kernel path has nothing to do: no interface gets the program until a frontend is for it"
            );
        }
        self.idle = idle;
        let wanted = match idle {
            true => BTreeSet::new(),
            false => attach::wanted(fast_path, &view, &present),
        };
        for ifindex in present.difference(&wanted) {
            self.kernel.detach(*ifindex)?;
        }
        let topology = std::sync::Arc::clone(&self.topology);
        let candidates = candidates(fast_path, &topology, &view, &wanted, &mut |ifindex| {
            self.keep_tags(ifindex)
        });
        let mut interfaces = BTreeMap::new();
        let mut unmet = BTreeMap::new();
        for (ifindex, choice) in attach::choose(fast_path.attach, &candidates) {
            let (hook, reason) = self.try_attach(ifindex, choice);
            if !hook.is_some_and(|hook| attach::satisfies(fast_path.attach, hook)) {
                unmet.insert(ifindex, reason.clone());
            }
            let path = InterfacePath {
                name: name(&view, ifindex),
                attach: hook.map_or("none", label).into(),
                reason,
            };
            interfaces.insert(ifindex, path);
        }
        self.unmet = unmet;
        self.note_attached(&candidates);
        self.note_unreachable(&mut interfaces);
        for (ifindex, path) in &interfaces {
            if self.interfaces.get(ifindex) != Some(path) {
                tracing::info!("interface {}: {} ({})", path.name, path.attach, path.reason);
            }
        }
        if self.interfaces.is_empty() && !idle {
            for missing in attach::missing(fast_path, &view) {
                tracing::warn!(
                    "interface {missing} does not exist yet: it is attached when it appears"
                );
            }
        }
        self.interfaces = interfaces;
        Ok(())
    }

    /// Forgets attachments that somebody else has ended; whether there were any.
    pub(super) fn forget_lost(&mut self) -> Result<bool, FastPathError> {
        let lost = self.kernel.forget_lost()?;
        // Where it cannot be attached again, that has been said.
        for ifindex in lost.iter().filter(|_| self.unpinned.is_none()) {
            if let Some(interface) = self.interfaces.remove(ifindex) {
                tracing::warn!(
                    "interface {}: somebody has detached the kernel program, it is attached again",
                    interface.name
                );
            }
        }
        Ok(!lost.is_empty())
    }

    /// Takes over what an agent before has attached, in whatever way.
    pub(super) fn adopt_all(&mut self) {
        for ifindex in self.kernel.pinned() {
            // Its program goes on by the same maps.
            if let Err(error) = self.kernel.adopt(ifindex) {
                let view = self.view.borrow();
                tracing::warn!(
                    "interface {}: the program stays the one before: {error}",
                    name(&view, ifindex)
                );
            }
        }
    }

    /// Whether every interface that another configuration means, and not just as this one does, can be attached to as that
    /// one insists.
    pub(super) fn can_follow(
        &self,
        config: &Config,
        topology: &Topology,
    ) -> Result<(), FastPathError> {
        let (is, next) = (&self.config.global.fast_path, &config.global.fast_path);
        if self.leaving {
            return Ok(());
        }
        let view = self.view.borrow().clone();
        let present: BTreeSet<u32> = self.kernel.attached().map(|(ifindex, _)| ifindex).collect();
        if is.interfaces != next.interfaces {
            let goes = &present - &attach::wanted(next, &view, &present);
            self.keeps_ways(&goes, &view)?;
        }
        if matches!(next.attach, Attach::Auto | Attach::Off) {
            return Ok(());
        }
        let mut asked = attach::wanted(next, &view, &present);
        if is.attach == next.attach {
            // What cannot be had any more does not keep the rest from changing.
            let before = attach::wanted(is, &view, &present);
            asked.retain(|ifindex| !before.contains(ifindex));
        }
        // Whether a driver leaves tags alone is known once it was told to.
        let candidates = candidates(next, topology, &view, &asked, &mut |_| true);
        for (ifindex, choice) in attach::choose(next.attach, &candidates) {
            let hook = self.hook(ifindex);
            let has = hook.is_some_and(|hook| attach::satisfies(next.attach, hook));
            if let Choice::Leave(why) = choice
                && !has
            {
                let interface = name(&view, ifindex);
                return Err(FastPathError::Interface { interface, why });
            }
        }
        Ok(())
    }

    /// Whether no server is reached by interfaces that are to be let go: without the program there, what it answers to flows
    /// that there are would miss them.
    fn keeps_ways(&self, goes: &BTreeSet<u32>, view: &View) -> Result<(), FastPathError> {
        let image = self.synced.image();
        for (lane, _, backend, server) in self.kernel.registry.all_lanes() {
            let entry = image.lanes.get(&lane).map(|lane| lane.server);
            let entry = entry.and_then(|server| image.servers.get(&server));
            let hop = entry.and_then(|entry| image.hops.get(&u32::from(entry.hop)));
            if let Some(hop) = hop.filter(|hop| goes.contains(&hop.ifindex)) {
                return Err(FastPathError::WayLost {
                    interface: name(view, hop.ifindex),
                    server: format!("{backend}/{server}"),
                });
            }
        }
        Ok(())
    }

    /// Has a driver leave VLAN tags in the packet, where XDP sees them; whether it does.
    fn keep_tags(&mut self, ifindex: u32) -> bool {
        match features::rx_vlan_offload(ifindex) {
            Ok(true) => {}
            // One that cannot be asked has no such thing.
            Ok(false) | Err(_) => return true,
        }
        match features::set_rx_vlan_offload(ifindex, false) {
            Ok(()) => {
                self.offload_off.insert(ifindex);
                true
            }
            Err(error) => {
                tracing::debug!("{error}");
                false
            }
        }
    }

    /// How an interface is attached after an attempt, and why.
    fn try_attach(&mut self, ifindex: u32, choice: Choice) -> (Option<Hook>, String) {
        let (want, why) = match choice {
            // It was fit once: its other end may come back any moment.
            Choice::Leave(why) => return (self.hook(ifindex), why),
            Choice::Attach(want, why) => (want, why),
        };
        let error = match self.kernel.attach(ifindex, want) {
            Ok(hook) => return (Some(hook), self.reason(ifindex, hook, why)),
            Err(error) => error,
        };
        if want == Want::Native
            && self.may_use_tc()
            && let Ok(hook) = self.kernel.attach(ifindex, Want::Tc)
        {
            return (Some(hook), format!("native XDP failed: {error}"));
        }
        match self.hook(ifindex) {
            Some(hook) => (Some(hook), format!("it stays as it was: {error}")),
            None => (None, error.to_string()),
        }
    }

    fn hook(&self, ifindex: u32) -> Option<Hook> {
        let mut attached = self.kernel.attached();
        attached
            .find(|(at, _)| *at == ifindex)
            .map(|(_, hook)| hook)
    }

    fn may_use_tc(&self) -> bool {
        self.config.global.fast_path.attach == Attach::Auto
    }

    fn reason(&self, ifindex: u32, hook: Hook, mut why: String) -> String {
        match hook {
            Hook::Clsact => why.push_str(", by a filter of the clsact qdisc"),
            Hook::Tcx => {}
            Hook::Xdp | Hook::XdpGeneric if self.offload_off.contains(&ifindex) => {
                why.push_str(", receive VLAN offload turned off");
            }
            Hook::Xdp | Hook::XdpGeneric => {}
        }
        why
    }

    /// Notes what the program is attached to, and what XDP programs cannot send to.
    fn note_attached(&mut self, candidates: &[Candidate]) {
        let hooks: BTreeMap<u32, Hook> = self.kernel.attached().collect();
        let native = hooks.values().any(|hook| *hook == Hook::Xdp);
        let unreachable = attach::unreachable(candidates)
            .filter(|ifindex| native && hooks.get(ifindex).is_some_and(|hook| hook.is_tc()));
        self.attached = Attached {
            unreachable: unreachable.collect(),
            all: hooks.into_keys().collect(),
        };
    }

    fn note_unreachable(&self, interfaces: &mut BTreeMap<u32, InterfacePath>) {
        for ifindex in &self.attached.unreachable {
            if let Some(path) = interfaces.get_mut(ifindex) {
                path.attach = "none".into();
                path.reason.push_str(
                    "; others have XDP, which cannot send to it, so its clients are served in userspace \
                     (fast_path.attach: tc changes that)",
                );
            }
        }
    }

    /// Unless the file says `attach: auto`, a start wants every interface, and a reload all that could be had `before`. One
    /// that comes later and cannot be had does not end what runs.
    pub(super) fn insist(&self, before: &BTreeMap<u32, String>) -> Result<(), FastPathError> {
        let new = self.unmet.iter().find(|(at, _)| !before.contains_key(at));
        match new {
            Some((ifindex, why)) if self.config.global.fast_path.attach != Attach::Auto => {
                Err(FastPathError::Interface {
                    interface: name(&self.view.borrow(), *ifindex),
                    why: why.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn has_left_interfaces(&self) -> bool {
        self.interfaces
            .values()
            .any(|interface| interface.attach == "none")
    }

    /// Gives interfaces back the offload that they had.
    pub(super) fn restore_offloads(&mut self) {
        for ifindex in std::mem::take(&mut self.offload_off) {
            if let Err(error) = features::set_rx_vlan_offload(ifindex, true) {
                tracing::debug!("{error}");
            }
        }
    }
}

/// What an interface is called.
fn name(view: &View, ifindex: u32) -> String {
    let link = view.link(ifindex);
    link.map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
}

/// What is known of each interface that the program is wanted on. `keep_tags` has a driver leave VLAN tags in the packet, and
/// says whether it does.
fn candidates(
    config: &model::FastPath,
    topology: &Topology,
    view: &View,
    wanted: &BTreeSet<u32>,
    keep_tags: &mut dyn FnMut(u32) -> bool,
) -> Vec<Candidate> {
    let (named, mode) = (!config.interfaces.is_empty(), config.attach);
    let mut needed = with_addresses(view);
    let servers = topology
        .backends
        .iter()
        .flat_map(|backend| &backend.servers)
        .filter_map(|server| view.resolve(server.address().ip()?).ok())
        .map(|way| way.device);
    needed.extend(servers);
    wanted
        .iter()
        .map(|&ifindex| {
            let veth = features::is_veth(ifindex).unwrap_or(false);
            let vlans = has_vlans(view, ifindex);
            let xdp = match mode {
                Attach::Xdp | Attach::XdpGeneric => true,
                Attach::Auto => !veth,
                Attach::Tc | Attach::Off => false,
            };
            Candidate {
                ifindex,
                features: features::xdp(ifindex).unwrap_or(XdpFeatures::Unknown),
                veth,
                vlans,
                takes_tags: vlans && xdp && !keep_tags(ifindex),
                needed: named || needed.contains(&ifindex),
            }
        })
        .collect()
}

/// Devices that hold an address by which others than their neighbour may come, or that lie under a VLAN or bond which
/// does. A container's end of a bridge does not.
fn with_addresses(view: &View) -> BTreeSet<u32> {
    let holders = view
        .all_addresses()
        .filter(|(_, address)| address.scope == Scope::Global);
    let holders = holders.filter(|(ifindex, _)| {
        let link = view.link(*ifindex);
        link.is_some_and(|link| !matches!(link.kind, LinkKind::Bridge))
    });
    holders
        .flat_map(|(ifindex, _)| view.devices_under(ifindex))
        .collect()
}

/// What the status calls a hook.
fn label(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "xdp",
        Hook::XdpGeneric => "xdp-generic",
        Hook::Tcx | Hook::Clsact => "tc",
    }
}
