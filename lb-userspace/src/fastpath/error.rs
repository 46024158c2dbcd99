//! What can keep the kernel path from being had.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
};

use super::{net::NetError, others::Common};
use crate::capabilities::{Capability, explain};

/// Why the fast path cannot be used; each says what would help.
#[derive(Debug, thiserror::Error)]
pub enum FastPathError {
    /// The binary holds no kernel program.
    #[error("this lb was built without the kernel program: build it with `cargo xtask build`")]
    NoObject,
    /// Capabilities are missing.
    #[error(
        "this process lacks {}: start lb as root, or with it (AmbientCapabilities= of a systemd unit, `setpriv \
         --ambient-caps`)",
        explain(.0)
    )]
    Lacking(Vec<Capability>),
    /// Not permitted although none is missing.
    #[error(
        "the kernel does not permit BPF programs although no capability is missing: a container with users of its own has \
         none that count there, and a security module or lockdown may forbid them"
    )]
    NotPermitted,
    /// Pinned by another user.
    #[error(
        "what is pinned at {path} is user {owner}'s: as root, `chown -R {us} {path}`, or end the lb that made it with \
         `on_stop: detach`",
        us = rustix::process::geteuid().as_raw()
    )]
    OtherUser {
        /// The pin path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// bpffs cannot be had.
    #[error(
        "{path} is not on a BPF file system and none could be mounted ({source}): mount -t bpf bpf /sys/fs/bpf"
    )]
    NoBpfFs {
        /// The pin path.
        path: PathBuf,
        /// What mounting it said.
        source: io::Error,
    },
    /// bpffs reserves dots.
    #[error(
        "global.fast_path.pin_path {path} holds a dot, which names on a BPF file system must not: choose another"
    )]
    DotInPinPath {
        /// The pin path.
        path: PathBuf,
    },
    /// A file or folder below the pin path.
    #[error("cannot {action} {path}: {source}{mend}", mend = mend(source))]
    Pin {
        /// Make, open or remove.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Pinned maps were made by something else.
    #[error(
        "the maps pinned at {path} are of layout {found}, this lb's is {expected}: stop the lb that made them, \
             with `on_stop: detach`, or remove that folder, which ends its flows"
    )]
    Abi {
        /// The folder.
        path: PathBuf,
        /// What the settings map says.
        found: u32,
        /// What this binary wants.
        expected: u32,
    },
    /// Another version's program is attached.
    #[error(
        "an lb of another version has its kernel path at {path}, attached to interfaces: stop that lb with \
             `on_stop: detach`, or remove that folder (rm -r), which ends its flows"
    )]
    OtherVersion {
        /// The folder.
        path: PathBuf,
    },
    /// Another agent is at work on the same pins.
    #[error(
        "another lb{} is running with pin_path {path}: stop it first, or give this one its own \
             global.fast_path.pin_path",
        .holder.map_or_else(String::new, |pid| format!(" (pid {pid})"))
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other process, if it can be told.
        holder: Option<u32>,
    },
    /// Another kernel path would be in this one's way.
    #[error("{}", met(.common, .interface, .path, *.at_work, *.holder))]
    Other {
        /// Where they meet.
        common: Common,
        /// The interface that both have.
        interface: String,
        /// Its pin path.
        path: PathBuf,
        /// Whether an lb looks after it.
        at_work: bool,
        /// That lb's process, if it can be told.
        holder: Option<u32>,
    },
    /// A map is missing from the object, or of another type than expected.
    #[error("the kernel program has no usable map {0}: program and agent are of different builds")]
    NoMap(&'static str),
    /// A program is missing from the object.
    #[error("the kernel program has no program {0}: program and agent are of different builds")]
    NoProgram(&'static str),
    /// The kernel refused the object.
    #[error("the kernel refused the program: {}", cause(.0))]
    Load(#[from] EbpfError),
    /// The verifier.
    #[error("the kernel refused the program {name}: {why}")]
    Refused {
        /// Which.
        name: &'static str,
        /// Its words.
        why: String,
    },
    /// The attachment.
    #[error("{}", cause(.0))]
    Program(#[from] ProgramError),
    /// A map operation.
    #[error("kernel map: {}", cause(.0))]
    Map(#[from] MapError),
    /// The map of interfaces.
    #[error("kernel map TX: {}", cause(.0))]
    XdpMap(#[from] aya::maps::xdp::XdpMapError),
    /// An arena is full.
    #[error(
        "the kernel maps have no room for more {0}: a stop with `on_stop: detach` and a new start make larger ones"
    )]
    Full(&'static str),
    /// Pinning.
    #[error("{}", cause(.0))]
    Pinning(#[from] PinError),
    /// A link.
    #[error("{}", cause(.0))]
    Link(#[from] LinkError),
    /// Netlink.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The registry cannot be written.
    #[error(
        "the kernel maps have no room for the names of all servers: a stop with `on_stop: detach` and a new start make larger ones"
    )]
    RegistryFull,
    /// An interface that `attach: xdp` insists on.
    #[error("cannot attach to {interface}: {why}")]
    Interface {
        /// Its name.
        interface: String,
        /// Why, and the mend.
        why: String,
    },
    /// An interface that is to be let go, and that servers are reached by.
    #[error(
        "fast_path.interfaces leaves out {interface}, by which server {server} is reached, so that its flows would be lost: \
         name that interface as well"
    )]
    WayLost {
        /// Its name.
        interface: String,
        /// The server, with its backend.
        server: String,
    },
    /// A thread or a runtime.
    #[error("cannot start the fast path's thread: {0}")]
    System(#[from] io::Error),
}

/// What other kernel path is in the way, and what helps.
fn met(
    common: &Common,
    interface: &str,
    path: &Path,
    at_work: bool,
    holder: Option<u32>,
) -> String {
    let path = path.display();
    if !at_work {
        let what = match common {
            Common::Service(service) => format!("takes what comes for {service}"),
            Common::Ports(server, ports) => format!(
                "drops what server {server} answers to ports {}-{}",
                ports.start(),
                ports.end()
            ),
        };
        return format!(
            "an lb that is gone has left its kernel path pinned at {path}: attached to {interface}, it still {what}. With \
             `pin_path: {path}` as before, in global.fast_path, the start takes it over with its connections; `rm -r {path}` \
             ends them"
        );
    }
    let pid = holder.map_or_else(String::new, |pid| format!("pid {pid}, "));
    let other =
        format!("another lb ({pid}pin_path {path}), which is attached to {interface} as well,");
    match common {
        Common::Service(service) => format!(
            "{other} forwards what comes for {service} already: stop it first, or leave that address to one of the two"
        ),
        Common::Ports(server, ports) => format!(
            "{other} has source ports {}-{} too, and server {server}: each would drop what is answered to the other; give \
             this one a global.fast_path.snat_ports of its own",
            ports.start(),
            ports.end()
        ),
    }
}

/// What helps against a folder that is not this user's.
fn mend(source: &io::Error) -> String {
    if source.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    let us = rustix::process::geteuid().as_raw();
    format!(
        ": the pin path has to be user {us}'s, and the folders above it have to let that user through: as root, make it \
         and `chown {us}` it, or start lb as root with `global.user`"
    )
}

/// An error with everything behind it, since aya's say little by themselves.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
