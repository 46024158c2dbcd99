//! Giving up what only a start needs: root by `global.user` and `global.group`, every capability that running does not need,
//! and for good (`no_new_privs`); [`sandbox`](super::sandbox) does the file system.
//!
//! Capabilities are a thread's own, so all of this comes before the first thread is made.
//!
//! What is kept, of what there is: CAP_NET_BIND_SERVICE, for low ports of another configuration and of UDP flows; with a kernel
//! path what it lives on; and CAP_NET_ADMIN and CAP_NET_RAW where sockets are to have addresses of others, marks or interfaces. They are ambient too, so that an lb that this one starts as its successor has them.

use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::chown,
    },
    path::{Path, PathBuf},
    ptr,
};

use rustix::{
    fs::{Access, AtFlags, CWD, Gid, Uid, accessat, fchown},
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
        set_capabilities, set_keep_capabilities, set_no_new_privs,
    },
};

use crate::{
    accounts::{group, user},
    capabilities::{Capability, set},
    config::model::Global,
    fastpath::Owner,
};

/// Why the user cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// Not root.
    #[error(
        "only root can become user {0}: start as root, or remove `global.user` and `global.group`"
    )]
    NotRoot(String),
    /// No such user.
    #[error("there is no user {0}: add it (`useradd --system {0}`) or name another in global.user")]
    NoUser(String),
    /// No such group.
    #[error(
        "there is no group {0}: add it (`groupadd --system {0}`) or name another in global.group"
    )]
    NoGroup(String),
    /// The system refused.
    #[error(
        "cannot become user {user}: {source}; root needs CAP_SETUID and CAP_SETGID for that, which containers may take away"
    )]
    Refused {
        /// The user.
        user: String,
        /// The system's words.
        source: io::Error,
    },
    /// The system refused to take something away.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(io::Error),
}

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    name: String,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

/// Finds out whom to become, and whether that can be done; `None` if the process stays who it is.
///
/// # Errors
/// See [`PrivilegesError`].
pub(super) fn plan(global: &Global) -> Result<Option<Identity>, PrivilegesError> {
    // SAFETY: these calls take nothing and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let wanted = wanted(global, uid)?.filter(|wanted| (wanted.uid, wanted.gid) != (uid, gid));
    match wanted {
        None => Ok(None),
        Some(wanted) if uid != 0 => Err(PrivilegesError::NotRoot(wanted.name)),
        Some(wanted) => Ok(Some(wanted)),
    }
}

/// The identity that the file asks for; what it leaves out stays.
fn wanted(global: &Global, uid: libc::uid_t) -> Result<Option<Identity>, PrivilegesError> {
    let group = global
        .group
        .as_deref()
        .map(|name| group(name).ok_or_else(|| PrivilegesError::NoGroup(name.to_owned())))
        .transpose()?;
    match (global.user.as_deref(), group) {
        (Some(name), group) => {
            let (uid, own_group) =
                user(name).ok_or_else(|| PrivilegesError::NoUser(name.to_owned()))?;
            Ok(Some(Identity {
                name: name.to_owned(),
                uid,
                gid: group.unwrap_or(own_group),
            }))
        }
        (None, Some(group)) => {
            let name = global.group.clone().unwrap_or_default();
            Ok(Some(Identity {
                name,
                uid,
                gid: group,
            }))
        }
        (None, None) => Ok(None),
    }
}

impl Identity {
    /// As the owner of pins.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            gid: self.gid,
        }
    }

    /// Gives it a file, so that it can replace or remove it later.
    pub(super) fn own(&self, path: &Path) {
        if let Err(error) = chown(path, Some(self.uid), Some(self.gid)) {
            tracing::debug!("{} stays root's: {error}", path.display());
        }
    }

    /// Gives it a socket. Sockets share a port (SO_REUSEPORT) only if they are one user's: those that it opens later, for
    /// another configuration or for a UDP flow, could not join one that is root's.
    pub(super) fn own_socket(&self, socket: BorrowedFd<'_>) {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        if let Err(error) = fchown(socket, Some(uid), Some(gid)) {
            tracing::debug!("a listening socket stays root's: {error}");
        }
    }

    /// Says which of these folders, in which files are made and replaced, it may not write.
    pub(super) fn complain<'a>(&self, folders: impl Iterator<Item = &'a PathBuf>) {
        for folder in folders {
            let allowed = accessat(CWD, folder, Access::WRITE_OK, AtFlags::EACCESS);
            if matches!(allowed, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS)) {
                let (folder, name) = (folder.display(), &self.name);
                tracing::warn!(
                    "{name} may not write {folder}, where lb makes and replaces files: `chown {name} {folder}`, or name \
                     a folder of lb's own"
                );
            }
        }
    }

    /// Says which of these files, which were read before, it may not read.
    pub(super) fn complain_of_files(&self, files: &BTreeSet<PathBuf>) {
        for file in files {
            let allowed = accessat(CWD, file, Access::READ_OK, AtFlags::EACCESS);
            if matches!(allowed, Err(Errno::ACCESS | Errno::PERM)) {
                let (file, name) = (file.display(), &self.name);
                tracing::warn!(
                    "{name} may not read {file}, which the start has read: it stays in use as it is, and is not exchanged when it \
                     changes, until lb is started again; let {name} read it: `chgrp {name} {file}; chmod g+r {file}`, and its \
                     folders `chmod g+x`"
                );
            }
        }
    }

    /// Becomes it, for good and in every thread (the C library sees to that).
    fn assume(&self) -> Result<(), PrivilegesError> {
        let check = |result: libc::c_int| match result {
            0 => Ok(()),
            _ => Err(PrivilegesError::Refused {
                user: self.name.clone(),
                source: io::Error::last_os_error(),
            }),
        };
        // Groups first: afterwards the right to change them is gone.
        // SAFETY: a count of 0 makes setgroups read nothing through the pointer.
        check(unsafe { libc::setgroups(0, ptr::null()) })?;
        // SAFETY: plain numbers.
        check(unsafe { libc::setresgid(self.gid, self.gid, self.gid) })?;
        // SAFETY: plain numbers.
        check(unsafe { libc::setresuid(self.uid, self.uid, self.uid) })
    }
}

/// Becomes `identity`, if one is wanted, and gives up every capability that running does not need. Root that stays root
/// keeps what it has. Before any thread is made.
///
/// # Errors
/// The system refuses.
pub(super) fn settle(
    identity: Option<&Identity>,
    kernel_path: bool,
    networks: bool,
) -> Result<(), PrivilegesError> {
    let refused = |error: Errno| PrivilegesError::Capabilities(error.into());
    if let Some(identity) = identity {
        set_keep_capabilities(true).map_err(refused)?;
        identity.assume()?;
        set_keep_capabilities(false).map_err(refused)?;
    }
    if !rustix::process::geteuid().is_root() {
        let held = capabilities(None).map_err(refused)?.permitted;
        keep(kept(held, kernel_path, networks)).map_err(refused)?;
    }
    set_no_new_privs(true).map_err(refused)
}

/// What is kept of `held`.
fn kept(held: CapabilitySet, kernel_path: bool, networks: bool) -> CapabilitySet {
    let wanted = match (kernel_path, networks) {
        (true, _) => set(&Capability::ALL),
        (false, true) => set(&[
            Capability::NetBindService,
            Capability::NetAdmin,
            Capability::NetRaw,
        ]),
        (false, false) => set(&[Capability::NetBindService]),
    };
    held & wanted
}

fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )?;
    for one in kept.iter() {
        // A kernel or container without ambient ones does without a successor that has them.
        let _ = configure_capability_in_ambient_set(one, true);
    }
    Ok(())
}

/// Descriptors of sockets that others of the same port are to join.
pub(super) fn own_all<'a, S: AsFd + 'a>(
    identity: &Identity,
    sockets: impl IntoIterator<Item = &'a S>,
) {
    for socket in sockets {
        identity.own_socket(socket.as_fd());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures;

    fn global(user: Option<&str>, group: Option<&str>) -> Global {
        Global {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
            ..fixtures::config(Vec::new(), Vec::new()).global
        }
    }

    #[test]
    fn without_user_and_group_nothing_changes() {
        assert_eq!(plan(&global(None, None)).unwrap(), None);
    }

    #[test]
    fn root_is_known_by_name() {
        let root = wanted(&global(Some("root"), None), 7).unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        let group = wanted(&global(None, Some("root")), 7).unwrap().unwrap();
        assert_eq!(
            (group.uid, group.gid),
            (7, 0),
            "a group alone leaves the user"
        );
    }

    #[test]
    fn unknown_names_are_named() {
        let name = "no-such-user-of-lb";
        let error = wanted(&global(Some(name), None), 0).unwrap_err();
        assert!(
            matches!(&error, PrivilegesError::NoUser(n) if n == name),
            "{error}"
        );
        let error = wanted(&global(Some("root"), Some(name)), 0).unwrap_err();
        assert!(
            matches!(&error, PrivilegesError::NoGroup(n) if n == name),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_kept_that_was_not_there_or_is_not_needed() {
        let all = CapabilitySet::all();
        assert_eq!(kept(all, true, false), set(&Capability::ALL));
        assert_eq!(kept(all, false, false), CapabilitySet::NET_BIND_SERVICE);
        let networks = kept(all, false, true);
        assert!(networks.contains(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW));
        assert!(!networks.contains(CapabilitySet::BPF));
        let some = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
        assert_eq!(kept(some, true, true), CapabilitySet::BPF);
        assert_eq!(kept(some, false, false), CapabilitySet::empty());
    }
}
