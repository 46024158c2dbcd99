//! Where a program is attached to an interface, each kind with its way of outliving the agent.
//!
//! An XDP or TCX link is pinned: nobody holds it but its name, so removing the name detaches. A filter of the clsact
//! qdisc, for kernels before 6.6, stays by itself; the program is pinned beside the links to mark that there is one.

use std::{ffi::CStr, io, path::Path};

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, Link, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
    xdp::XdpLink,
};

use super::{
    super::{error::FastPathError, pins::Pins, sys},
    kept::is_gone,
    programs::Programs,
};

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::fastpath) enum Hook {
    /// XDP, by the driver.
    Xdp,
    /// XDP on the skb hook, which every driver has.
    XdpGeneric,
    /// TC ingress by a link.
    Tcx,
    /// TC ingress by a filter of the clsact qdisc.
    Clsact,
}

/// What is wanted of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fastpath) enum Want {
    /// XDP, by the driver.
    Native,
    /// XDP on the skb hook.
    Generic,
    /// TC ingress, by whatever the kernel has.
    Tc,
}

/// Priority and handle of the filter, so that the next agent finds this one's: "lb" in ASCII.
const PRIORITY: u16 = 0x6c62;
const HANDLE: TcHandle = TcHandle::new(0x6c62, 1);

impl Hook {
    const ALL: [Hook; 4] = [Hook::Xdp, Hook::XdpGeneric, Hook::Tcx, Hook::Clsact];

    /// Its name among the pins.
    pub(in crate::fastpath) fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// The hook with this name among the pins.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// Whether this is what is wanted.
    pub(in crate::fastpath) fn is(self, want: Want) -> bool {
        match want {
            Want::Native => self == Self::Xdp,
            Want::Generic => self == Self::XdpGeneric,
            Want::Tc => self.is_tc(),
        }
    }

    /// Whether the program sees packets as the host's stack does, and may send to any interface.
    pub(in crate::fastpath) fn is_tc(self) -> bool {
        matches!(self, Self::Tcx | Self::Clsact)
    }
}

/// Attaches a program as it is wanted; returns how.
pub(super) fn attach(
    programs: &mut Programs,
    pins: &Pins,
    ifindex: u32,
    want: Want,
) -> Result<Hook, FastPathError> {
    let (hook, mode) = match want {
        Want::Native => (Hook::Xdp, XdpMode::Driver),
        Want::Generic => (Hook::XdpGeneric, XdpMode::Skb),
        Want::Tc => return attach_tc(programs.tc()?, pins, ifindex),
    };
    let xdp = programs.xdp()?;
    let id = xdp.attach_to_if_index(ifindex, mode)?;
    let link = FdLink::try_from(xdp.take_link(id)?)?;
    link.pin(pins.link(hook.name(), ifindex))?;
    Ok(hook)
}

fn attach_tc(tc: &mut SchedClassifier, pins: &Pins, ifindex: u32) -> Result<Hook, FastPathError> {
    let name = name_of(ifindex)?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    // Before 6.6 the kernel knows no such link.
    if let Ok(id) = tc.attach_with_options(&name, TcAttachType::Ingress, order) {
        let link = FdLink::try_from(tc.take_link(id)?)?;
        link.pin(pins.link(Hook::Tcx.name(), ifindex))?;
        return Ok(Hook::Tcx);
    }
    // It may be there already, another's or an earlier agent's.
    let qdisc = qdisc_add_clsact(&name);
    let options = NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    };
    let attached = tc.attach_with_options(
        &name,
        TcAttachType::Ingress,
        TcAttachOptions::Netlink(options),
    );
    match (attached, qdisc) {
        // The filter stays when this handle goes: it is found again by its priority.
        (Ok(id), _) => std::mem::forget(tc.take_link(id)?),
        // Whoever made a filter with our own priority and handle has left it.
        (Err(error), Ok(()) | Err(_)) => replace_filter(tc, &name).map_err(|_| error)?,
    }
    tc.pin(pins.link(Hook::Clsact.name(), ifindex))?;
    Ok(Hook::Clsact)
}

/// Puts a program in the place of the one that a hook has, with no packet in between.
pub(super) fn replace(
    programs: &mut Programs,
    pins: &Pins,
    ifindex: u32,
    hook: Hook,
) -> Result<(), FastPathError> {
    let path = pins.link(hook.name(), ifindex);
    match hook {
        Hook::Xdp | Hook::XdpGeneric => replace_xdp(programs.xdp()?, &path),
        Hook::Tcx => replace_tcx(programs.tc()?, &path),
        Hook::Clsact => {
            let tc = programs.tc()?;
            replace_filter(tc, &name_of(ifindex)?)?;
            pins.remove_link(hook.name(), ifindex)?;
            Ok(tc.pin(path)?)
        }
    }
}

fn replace_xdp(xdp: &mut Xdp, path: &Path) -> Result<(), FastPathError> {
    let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))?;
    let id = xdp.attach_to_link(link)?;
    // Only its pin shall hold it.
    drop(xdp.take_link(id)?);
    Ok(())
}

fn replace_tcx(tc: &mut SchedClassifier, path: &Path) -> Result<(), FastPathError> {
    let link = SchedClassifierLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))?;
    let id = tc.attach_to_link(link)?;
    drop(tc.take_link(id)?);
    Ok(())
}

fn replace_filter(tc: &mut SchedClassifier, name: &str) -> Result<(), FastPathError> {
    let id = tc.attach_to_link(filter(name)?)?;
    std::mem::forget(tc.take_link(id)?);
    Ok(())
}

/// Whether somebody else has detached what is pinned, or removed the pin. A filter, which has no link, is not looked after.
pub(super) fn is_lost(pins: &Pins, ifindex: u32, hook: Hook) -> bool {
    let path = pins.link(hook.name(), ifindex);
    if is_gone(&path) {
        return true;
    }
    match hook {
        Hook::Xdp | Hook::XdpGeneric | Hook::Tcx => {
            // A kernel that cannot be asked has said nothing.
            sys::link(&path).is_ok_and(|link| link.ifindex == 0)
        }
        Hook::Clsact => false,
    }
}

/// Detaches and removes the pin.
pub(super) fn detach(pins: &Pins, ifindex: u32, hook: Hook) -> Result<(), FastPathError> {
    // An interface that is gone took its filters along.
    if hook == Hook::Clsact
        && let Ok(name) = name_of(ifindex)
        && let Err(error) = filter(&name)?.detach()
    {
        tracing::debug!("no filter to remove from {name}: {error}");
    }
    pins.remove_link(hook.name(), ifindex)
}

/// A handle on this program's filter; dropping it would remove the filter.
fn filter(name: &str) -> Result<SchedClassifierLink, FastPathError> {
    Ok(SchedClassifierLink::attached(
        name,
        TcAttachType::Ingress,
        PRIORITY,
        HANDLE,
        None,
    )?)
}

/// An interface's present name.
pub(in crate::fastpath) fn name_of(ifindex: u32) -> io::Result<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that may be written.
    if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: if_indextoname has ended it with a zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}
