//! From a start's rights to those of running: what is open is given to whom the process becomes, then it becomes it.
//!
//! Comes after everything that takes rights to open, and before the first thread: capabilities and landlock's domain are a
//! thread's own and inherited by those that it makes.

use std::{net::TcpListener, path::Path};

use super::{
    StartError, fast_path,
    privileges::{self, Identity, own_all},
    sandbox::{self, Sandbox},
    upgrade::Predecessor,
};
use crate::{
    admin::socket::AdminSocket,
    config::{
        Config,
        model::{Bind, LogDestination},
    },
    fastpath,
    proxy::Listeners,
};

/// What the start has opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened<'a> {
    pub(super) listeners: &'a [Listeners],
    pub(super) stats: &'a [(Bind, TcpListener)],
    pub(super) admin: &'a [AdminSocket],
}

/// Becomes `identity`, if one is wanted, and gives up what running does not need.
///
/// # Errors
/// Another lb is at work at the pin path, or the system refuses.
pub(super) fn confine(
    config: &Config,
    identity: Option<&Identity>,
    opened: Opened<'_>,
    before: Option<&Predecessor>,
) -> Result<Sandbox, StartError> {
    let has = before.is_some_and(Predecessor::has_kernel_path);
    let kernel_path = fast_path::is_wanted(config, has);
    // The folder of one that is there is locked by it, and prepared.
    if kernel_path && !has {
        fastpath::prepare(config, identity.map(Identity::owner))?;
    }
    if let Some(identity) = identity {
        give(config, identity, opened);
    }
    if before.is_some_and(Predecessor::is_confined) {
        // A domain is inherited by what is executed, and another one upon it could only take more away.
        privileges::settle(identity, kernel_path, config.rules_networks())?;
        return Ok(sandbox::inherited());
    }
    let pins = kernel_path.then_some(config.global.fast_path.pin_path.as_path());
    let folders = sandbox::folders(config, pins);
    let sandbox = sandbox::prepare(&folders, pins);
    privileges::settle(identity, kernel_path, config.rules_networks())?;
    if let Some(identity) = identity {
        let pins = pins.unwrap_or(Path::new(""));
        identity.complain(folders.iter().filter(|folder| folder.as_path() != pins));
    }
    Ok(sandbox.enter())
}

fn give(config: &Config, identity: &Identity, opened: Opened<'_>) {
    let global = &config.global;
    for listeners in opened.listeners {
        own_all(
            identity,
            listeners.sockets.iter().map(|(_, socket, _)| socket),
        );
        own_all(
            identity,
            listeners.datagrams.iter().map(|(_, socket, _)| socket),
        );
    }
    own_all(identity, opened.stats.iter().map(|(_, socket)| socket));
    for (admin, socket) in opened.admin.iter().filter_map(|admin| {
        let mut sockets = global.admin_sockets.iter();
        Some((admin, sockets.find(|socket| admin.is(socket))?))
    }) {
        let Some(path) = socket.address.path() else {
            continue;
        };
        // One that was given to somebody is theirs.
        if socket.permissions.user.is_none() {
            identity.own(path);
        }
        // Others' folders are for others to give away.
        if let Some(folder) = path.parent()
            && (admin.made_its_folder() || folder == Path::new("/run/lb"))
        {
            identity.own(folder);
        }
    }
    if let Some(pidfile) = &global.pidfile {
        identity.own(pidfile);
    }
    for target in config.log_targets() {
        if let LogDestination::File(path) = &target.target {
            identity.own(path);
        }
    }
}
