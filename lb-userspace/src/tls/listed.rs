//! The certificates of a bind, as a list that operators may change: a folder is what HAProxy calls a crt-list.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use serde::{Deserialize, Serialize};

use super::{
    acceptor::Acceptor,
    error::TlsError,
    files::{Overrides, Reader},
    options::{CertificateFiles, Certificates},
};

/// What operators have made of a folder, as another process is told it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct CarriedList {
    pub(super) added: Vec<PathBuf>,
    pub(super) removed: Vec<PathBuf>,
}

/// What operators have made of a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    added: Vec<CertificateFiles>,
    removed: BTreeSet<PathBuf>,
}

impl Acceptor {
    /// The folder that its certificates are of.
    pub fn folder(&self) -> Option<&Path> {
        match &self.options().certificates {
            Certificates::Path(path) if path.is_dir() => Some(path),
            _ => None,
        }
    }

    /// The CAs of its clients' certificates.
    pub fn client_ca(&self) -> Option<&Path> {
        self.options().client_ca.as_deref()
    }

    /// What there is to be loaded: what the file says, and what operators have made of it.
    pub(super) fn listed(
        &self,
        reader: &mut Reader<'_>,
    ) -> Result<Vec<CertificateFiles>, TlsError> {
        let changes = self.changes().clone();
        let mut files = reader.certificates(&self.options().certificates)?;
        files.retain(|files| !changes.removed.contains(&files.cert));
        for added in changes.added {
            if !files.iter().any(|files| files.cert == added.cert) {
                files.push(added);
            }
        }
        Ok(files)
    }

    /// What operators have made of the list, for another process: what was added, and what was taken out.
    pub(super) fn listed_otherwise(&self) -> CarriedList {
        let changes = self.changes();
        let added = changes.added.iter().map(|files| files.cert.clone());
        CarriedList {
            added: added.collect(),
            removed: changes.removed.iter().cloned().collect(),
        }
    }

    /// Lists what another process has listed, where `files` are what stands for files.
    ///
    /// # Errors
    /// It cannot be loaded; nothing has changed then.
    pub(super) fn list_as(&self, list: &CarriedList, files: &Overrides) -> Result<(), TlsError> {
        let here = |path: &&PathBuf| self.folder().is_some_and(|f| path.parent() == Some(f));
        let added = list.added.iter().filter(here);
        let added = added.filter(|path| files.contains_key(*path));
        let added = added.map(|path| CertificateFiles {
            cert: path.clone(),
            key: None,
            ocsp: None,
        });
        let now = Changes {
            added: added.collect(),
            removed: list.removed.iter().cloned().collect(),
        };
        self.change(files, || *self.changes() = now)
    }

    /// Serves another certificate, which is `pem`, from now on.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn list(&self, file: &Path, pem: &[u8]) -> Result<(), TlsError> {
        self.change(&Overrides::from([(file.to_owned(), pem.to_vec())]), || {
            let mut changes = self.changes();
            changes.removed.remove(file);
            changes.added.push(CertificateFiles {
                cert: file.to_owned(),
                key: None,
                ocsp: None,
            });
        })
    }

    /// Serves one no longer.
    ///
    /// # Errors
    /// It cannot be done without; nothing has changed then.
    pub fn unlist(&self, file: &Path) -> Result<(), TlsError> {
        self.change(&Overrides::new(), || {
            let mut changes = self.changes();
            changes.added.retain(|files| files.cert != file);
            changes.removed.insert(file.to_owned());
        })
    }

    fn change(&self, files: &Overrides, change: impl FnOnce()) -> Result<(), TlsError> {
        let before = self.changes().clone();
        change();
        let replaced = self.replace(files);
        if replaced.is_err() {
            *self.changes() = before;
        }
        replaced
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, Changes> {
        // It is changed in single steps.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
