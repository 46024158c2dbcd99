//! `global.user` and `global.group`: giving up root once sockets and files are open.

use std::{io, ptr};

use crate::{
    accounts::{group, user},
    config::model::{Attach, Global},
};

/// Why the user cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// The kernel path works with root's rights until the end.
    #[error(
        "global.user {0} cannot be combined with the kernel path yet: remove `user`, or set `global.fast_path.attach: off`"
    )]
    FastPath(String),
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
    #[error("cannot become user {user}: {source}")]
    Refused {
        /// The user.
        user: String,
        /// The system's words.
        source: io::Error,
    },
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
        Some(wanted) if global.fast_path.attach != Attach::Off => {
            Err(PrivilegesError::FastPath(wanted.name))
        }
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
    /// Becomes it, for good and in every thread (the C library sees to that).
    ///
    /// # Errors
    /// The system's.
    pub(super) fn assume(&self) -> Result<(), PrivilegesError> {
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
}
