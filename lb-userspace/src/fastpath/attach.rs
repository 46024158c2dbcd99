//! Which interfaces get the program, and how; what they cannot have, with the mend.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    kernel::{Hook, Want},
    net::{
        View,
        features::XdpFeatures,
        model::{Link, LinkKind},
    },
};
use crate::config::{
    model::{Attach, Config, FastPath},
    path::kernel_path,
};

/// What is to be done with one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Attach, for this reason.
    Attach(Want, String),
    /// Leave it, for this reason.
    Leave(String),
}

/// What is known of an interface that the program is wanted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its index.
    pub ifindex: u32,
    /// What its driver can do.
    pub features: XdpFeatures,
    /// A virtual one, which may keep tags beside the packet.
    pub veth: bool,
    /// VLANs that are stacked on it.
    pub vlans: bool,
    /// Its driver takes tags off before XDP sees them, and will not have that changed.
    pub takes_tags: bool,
    /// The file names it, it holds an address, or the way to a server leads by it: the others have to reach it.
    pub needed: bool,
}

/// Whether the program is to stay away from all interfaces: `auto` leaves them alone where it would forward nothing. One
/// that has it keeps it, for the flows that there may be.
pub(super) fn is_idle(config: &Config, attached: &BTreeSet<u32>) -> bool {
    let mut frontends = config.frontends.iter();
    config.global.fast_path.attach == Attach::Auto
        && attached.is_empty()
        && !frontends.any(|frontend| kernel_path(config, frontend).is_ok())
}

/// The interfaces that the configuration means, by index. Named ones that do not exist are awaited, and those that are
/// down: but one that has the program keeps it, or the first packets after it comes up would meet the host's RST.
pub(super) fn wanted(config: &FastPath, view: &View, attached: &BTreeSet<u32>) -> BTreeSet<u32> {
    if config.interfaces.is_empty() {
        return view
            .links()
            .filter(|link| is_default(link) && (link.up || attached.contains(&link.index)))
            .map(|link| link.index)
            .collect();
    }
    let named = config
        .interfaces
        .iter()
        .filter_map(|name| view.link_named(name));
    named
        .flat_map(|link| {
            let devices = view.devices_under(link.index).into_iter();
            devices.filter(|device| link.up || attached.contains(device))
        })
        .collect()
}

/// Named interfaces that do not exist.
pub(super) fn missing<'a>(config: &'a FastPath, view: &'a View) -> impl Iterator<Item = &'a str> {
    config
        .interfaces
        .iter()
        .map(String::as_str)
        .filter(|name| view.link_named(name).is_none())
}

/// Every Ethernet-like interface, but those that others lie under: packets come by what is underneath.
fn is_default(link: &Link) -> bool {
    let stacked = matches!(
        link.kind,
        LinkKind::Vlan(_) | LinkKind::Bond { .. } | LinkKind::Bridge
    );
    link.ethernet && !link.loopback && !stacked
}

/// How to attach to each interface, as the file wants and the drivers can.
///
/// What an XDP program sends to another interface, that one's driver has to take; a TC program may send to any. So where
/// `auto` finds an interface that has to be reached and cannot be, all get TC.
pub(super) fn choose(attach: Attach, candidates: &[Candidate]) -> BTreeMap<u32, Choice> {
    let tc = |why: &str| Choice::Attach(Want::Tc, why.into());
    let unreachable = candidates
        .iter()
        .any(|candidate| candidate.needed && !takes_redirected(candidate.features));
    let one = |candidate: &Candidate| match attach {
        Attach::Off => Choice::Leave("fast_path.attach is off".into()),
        Attach::XdpGeneric => Choice::Attach(Want::Generic, "fast_path.attach asks for it".into()),
        Attach::Tc => tc("fast_path.attach asks for it"),
        Attach::Xdp => match native(candidate) {
            Ok(why) => Choice::Attach(Want::Native, why.into()),
            Err(why) => Choice::Leave(format!("{why} (fast_path.attach: tc works with any)")),
        },
        Attach::Auto => match native(candidate) {
            Err(why) => tc(why),
            Ok(_) if candidate.veth && candidate.features == XdpFeatures::Unknown => {
                tc("this kernel does not tell whether it takes redirected frames")
            }
            Ok(_) if unreachable => {
                tc("it has native XDP, but another interface does not take redirected frames")
            }
            Ok(_) if candidate.veth && candidate.vlans => {
                tc("tags of its VLANs may come beside the packet, where XDP does not see them")
            }
            Ok(why) => Choice::Attach(Want::Native, why.into()),
        },
    };
    candidates
        .iter()
        .map(|candidate| (candidate.ifindex, one(candidate)))
        .collect()
}

/// Whether an interface with this hook is attached as the file insists.
pub(super) fn satisfies(attach: Attach, hook: Hook) -> bool {
    match attach {
        Attach::Auto | Attach::Off => true,
        Attach::Xdp => hook.is(Want::Native),
        Attach::XdpGeneric => hook.is(Want::Generic),
        Attach::Tc => hook.is(Want::Tc),
    }
}

/// Interfaces that swallow what an XDP program sends there.
pub(super) fn unreachable(candidates: &[Candidate]) -> impl Iterator<Item = u32> {
    candidates
        .iter()
        .filter(|candidate| !takes_redirected(candidate.features))
        .map(|candidate| candidate.ifindex)
}

/// Whether native XDP is right for an interface, and why or why not.
fn native(candidate: &Candidate) -> Result<&'static str, &'static str> {
    match candidate.features {
        XdpFeatures::Known { basic: false, .. } => Err("its driver has no native XDP"),
        // Redirected frames would vanish: on a veth, until the other end runs an XDP program.
        XdpFeatures::Known {
            ndo_xmit: false, ..
        } if candidate.veth => Err(
            "it does not take redirected frames; a veth does once its other end has an XDP program of its own, \
             one that passes everything is enough",
        ),
        XdpFeatures::Known {
            ndo_xmit: false, ..
        } => Err("its driver does not take redirected frames"),
        _ if candidate.vlans && candidate.takes_tags => {
            Err("its driver takes off VLAN tags before XDP sees them")
        }
        XdpFeatures::Known { .. } => Ok("its driver has native XDP"),
        // Older kernels do not tell.
        XdpFeatures::Unknown => Ok("this kernel does not tell what its driver can"),
    }
}

fn takes_redirected(features: XdpFeatures) -> bool {
    !matches!(
        features,
        XdpFeatures::Known {
            ndo_xmit: false,
            ..
        } | XdpFeatures::Known { basic: false, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(ifindex: u32, basic: bool, ndo_xmit: bool) -> Candidate {
        Candidate {
            ifindex,
            features: XdpFeatures::Known {
                basic,
                redirect: true,
                ndo_xmit,
                fragments: false,
            },
            veth: false,
            vlans: false,
            takes_tags: false,
            needed: true,
        }
    }

    fn wants(attach: Attach, candidates: &[Candidate]) -> Vec<Option<Want>> {
        let chosen = choose(attach, candidates).into_values();
        chosen
            .map(|choice| match choice {
                Choice::Attach(want, _) => Some(want),
                Choice::Leave(_) => None,
            })
            .collect()
    }

    #[test]
    fn auto_takes_native_xdp_else_tc() {
        let fit = candidate(1, true, true);
        assert_eq!(wants(Attach::Auto, &[fit]), [Some(Want::Native)]);
        assert_eq!(
            wants(Attach::Auto, &[candidate(1, false, false)]),
            [Some(Want::Tc)]
        );
        let unknown = Candidate {
            features: XdpFeatures::Unknown,
            ..fit
        };
        assert_eq!(wants(Attach::Auto, &[unknown]), [Some(Want::Native)]);
        let virtual_one = Candidate {
            veth: true,
            ..unknown
        };
        assert_eq!(wants(Attach::Auto, &[virtual_one]), [Some(Want::Tc)]);
        assert_eq!(wants(Attach::Xdp, &[virtual_one]), [Some(Want::Native)]);
        assert_eq!(wants(Attach::Tc, &[fit]), [Some(Want::Tc)]);
        assert_eq!(wants(Attach::XdpGeneric, &[fit]), [Some(Want::Generic)]);
    }

    #[test]
    fn xdp_alone_leaves_an_interface_with_the_mend() {
        let mut bare = candidate(1, true, false);
        bare.veth = true;
        let chosen = choose(Attach::Xdp, &[bare]).remove(&1).unwrap();
        assert!(
            matches!(&chosen, Choice::Leave(why) if why.contains("other end") && why.contains("tc")),
            "{chosen:?}"
        );
    }

    #[test]
    fn an_interface_that_must_be_reached_and_cannot_makes_all_use_tc() {
        let (fit, bare) = (candidate(1, true, true), candidate(2, true, false));
        assert_eq!(
            wants(Attach::Auto, &[fit, bare]),
            [Some(Want::Tc), Some(Want::Tc)]
        );
        let stranger = Candidate {
            needed: false,
            ..bare
        };
        assert_eq!(
            wants(Attach::Auto, &[fit, stranger]),
            [Some(Want::Native), Some(Want::Tc)]
        );
        assert_eq!(unreachable(&[fit, stranger]).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn tags_that_xdp_would_not_see_are_left_to_tc() {
        let mut tagged = candidate(1, true, true);
        tagged.vlans = true;
        assert_eq!(wants(Attach::Auto, &[tagged]), [Some(Want::Native)]);
        tagged.takes_tags = true;
        assert_eq!(wants(Attach::Auto, &[tagged]), [Some(Want::Tc)]);
        assert_eq!(wants(Attach::Xdp, &[tagged]), [None]);
        (tagged.takes_tags, tagged.veth) = (false, true);
        assert_eq!(wants(Attach::Auto, &[tagged]), [Some(Want::Tc)]);
        assert_eq!(wants(Attach::Xdp, &[tagged]), [Some(Want::Native)]);
    }
}
