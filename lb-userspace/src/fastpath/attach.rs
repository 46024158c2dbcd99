//! Which interfaces get the program, and how; what they cannot have, with the mend.

use std::collections::BTreeSet;

use super::net::{
    View,
    features::{self, XdpFeatures},
    model::{Link, LinkKind},
};
use crate::config::model::{Attach, FastPath};

/// What is to be done with one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Attach natively.
    Native,
    /// Attach to the skb hook, since the file asks for it.
    Generic,
    /// Leave it, for this reason.
    Leave(String),
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

/// How to attach to `ifindex`, as the file wants and the driver can.
pub(super) fn choose(attach: Attach, ifindex: u32) -> Choice {
    match attach {
        Attach::XdpGeneric => Choice::Generic,
        Attach::Off | Attach::Tc => Choice::Leave("fast_path.attach does not ask for XDP".into()),
        Attach::Auto | Attach::Xdp => {
            native(features::xdp(ifindex).unwrap_or(XdpFeatures::Unknown))
        }
    }
}

fn native(features: XdpFeatures) -> Choice {
    match features {
        XdpFeatures::Known { basic: false, .. } => {
            Choice::Leave("its driver has no native XDP (fast_path.attach: xdp-generic works with any)".into())
        }
        // Redirected frames would vanish: on a veth, until the other end runs an XDP program.
        XdpFeatures::Known { ndo_xmit: false, .. } => Choice::Leave(
            "it does not take redirected frames; a veth does once its other end has an XDP program of its own \
             (one that passes everything is enough)"
                .into(),
        ),
        // Older kernels do not tell.
        XdpFeatures::Known { .. } | XdpFeatures::Unknown => Choice::Native,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_without_redirect_is_left_with_the_mend() {
        let known = |basic, ndo_xmit| XdpFeatures::Known {
            basic,
            redirect: true,
            ndo_xmit,
            fragments: false,
        };
        assert_eq!(native(known(true, true)), Choice::Native);
        assert_eq!(native(XdpFeatures::Unknown), Choice::Native);
        assert!(
            matches!(native(known(false, true)), Choice::Leave(why) if why.contains("xdp-generic"))
        );
        assert!(
            matches!(native(known(true, false)), Choice::Leave(why) if why.contains("other end"))
        );
    }
}
