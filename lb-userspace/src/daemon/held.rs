//! The host as a daemon sees it that has given up its rights: it may have in use what it could not read now.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use crate::{
    accounts,
    config::host::{Host, ThisHost},
    tls::{BindOptions, Checked, Remark, ServerOptions},
    topology::Topology,
};

/// This host, and the files of the TLS that runs on it.
pub(super) struct Held(BTreeSet<PathBuf>);

impl Held {
    /// What `running` has in use.
    pub(super) fn of(running: &Topology) -> Self {
        Self(running.tls_files())
    }

    /// Of what may not be read any more, what was read before is in use, unless it is to be served in another way: then it
    /// is found out when it is loaded.
    fn kept(&self, checked: Checked) -> Checked {
        let Checked {
            mut remarks,
            errors,
        } = checked;
        let (held, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(|error| {
            let file = error.denied();
            file.is_some_and(|file| self.0.contains(file))
        });
        remarks.extend(held.iter().map(|error| Remark {
            message: format!(
                "{error} for the user `{}`: what was read before stays in use",
                accounts::own_name()
            ),
            mend: error.mend(),
        }));
        Checked { remarks, errors }
    }
}

impl Host for Held {
    fn has_user(&self, name: &str) -> bool {
        ThisHost.has_user(name)
    }

    fn has_group(&self, name: &str) -> bool {
        ThisHost.has_group(name)
    }

    fn has_interface(&self, name: &str) -> bool {
        ThisHost.has_interface(name)
    }

    fn has_folder(&self, path: &Path) -> bool {
        ThisHost.has_folder(path)
    }

    fn is_root(&self) -> bool {
        ThisHost.is_root()
    }

    fn capabilities(&self) -> Option<u64> {
        ThisHost.capabilities()
    }

    fn ephemeral_ports(&self) -> Option<RangeInclusive<u16>> {
        ThisHost.ephemeral_ports()
    }

    fn reserved_ports(&self) -> Vec<RangeInclusive<u16>> {
        ThisHost.reserved_ports()
    }

    fn listening_ports(&self) -> Vec<u16> {
        ThisHost.listening_ports()
    }

    fn memory(&self) -> Option<u64> {
        ThisHost.memory()
    }

    fn bind_tls(&self, options: &BindOptions) -> Checked {
        self.kept(ThisHost.bind_tls(options))
    }

    fn server_tls(&self, options: &ServerOptions) -> Checked {
        self.kept(ThisHost.server_tls(options))
    }
}
