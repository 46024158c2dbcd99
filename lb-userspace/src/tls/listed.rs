//! The certificates of a bind, as lists that operators may change: files of HAProxy's called crt-list, and what HAProxy takes
//! for one of those, a folder.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use serde::{Deserialize, Serialize};

use super::{
    acceptor::Acceptor,
    crt_list::Line,
    error::TlsError,
    files::{Overrides, Reader},
    options::{BindOptions, CertificateFiles, CertificateList, Certificates, TicketKeys},
};

/// What operators have made of lists, as another process is told it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct CarriedList {
    pub(super) added: Vec<PathBuf>,
    pub(super) removed: Vec<PathBuf>,
    /// Lines of files, with their numbers; older versions do not say them.
    #[serde(default)]
    lines: Vec<(PathBuf, usize, String)>,
    #[serde(default)]
    taken: Vec<(PathBuf, usize, String)>,
}

/// What operators have made of lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    added: Vec<CertificateFiles>,
    removed: BTreeSet<PathBuf>,
    /// Lines that a file has not, as they were written, by the file.
    lines: Vec<(PathBuf, usize, String)>,
    /// Lines that a file is to have no more, as long as they name this certificate.
    taken: BTreeSet<(PathBuf, usize, String)>,
}

/// A certificate that is to be served.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) files: CertificateFiles,
    /// The line that names it, and of which list.
    pub(super) line: Option<(CertificateList, Line)>,
}

impl Listed {
    fn bare(files: CertificateFiles) -> Self {
        Self { files, line: None }
    }

    /// How it is served at a bind.
    pub(super) fn options(&self, bind: &BindOptions) -> BindOptions {
        match &self.line {
            Some((_, line)) => line.settings.applied(bind),
            None => bind.clone(),
        }
    }
}

/// An entry of a list, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The certificate.
    pub file: PathBuf,
    /// The number of its line; 0 in a folder, which has none.
    pub number: usize,
    /// Options and names behind it, as HAProxy has them.
    pub behind: String,
    /// It is for those whom no other is for.
    pub default: bool,
}

impl Acceptor {
    /// The lists that its certificates are of: a folder, or files.
    pub fn lists(&self) -> Vec<&Path> {
        let folder = self.folder().into_iter();
        let files = self.options().lists.iter().map(|list| &*list.file);
        folder.chain(files).collect()
    }

    /// The folder that its certificates are of.
    pub fn folder(&self) -> Option<&Path> {
        match &self.options().certificates {
            Certificates::Path(path) if path.is_dir() => Some(path),
            _ => None,
        }
    }

    /// The files of CAs of its clients' certificates.
    pub fn authorities(&self) -> Vec<PathBuf> {
        self.files_of(|options| {
            let all = [&options.client_ca, &options.client_ca_verify];
            all.into_iter().flatten().cloned().collect()
        })
    }

    /// The files of those that are taken no more.
    pub fn revocations(&self) -> Vec<PathBuf> {
        self.files_of(|options| options.client_crl.iter().cloned().collect())
    }

    /// The file of keys of its tickets.
    pub fn ticket_keys(&self) -> Option<&Path> {
        match &self.options().tickets {
            TicketKeys::File(file) => Some(file),
            TicketKeys::Own | TicketKeys::None => None,
        }
    }

    /// Files that it names, or a line of one of its lists.
    fn files_of(&self, of: impl Fn(&BindOptions) -> Vec<PathBuf>) -> Vec<PathBuf> {
        let mut files = of(self.options());
        let listed = self.listed(&mut Reader::default()).unwrap_or_default();
        for listed in listed.iter().filter(|listed| listed.line.is_some()) {
            files.extend(of(&listed.options(self.options())));
        }
        files.sort();
        files.dedup();
        files
    }

    /// What is in one of its lists.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn shown(&self, list: &Path) -> Result<Vec<Shown>, TlsError> {
        let all = self.listed(&mut Reader::default())?;
        let is_folder = self.folder() == Some(list);
        let shown = all.into_iter().enumerate().filter_map(|(at, listed)| {
            let (number, behind) = match &listed.line {
                None if is_folder => (0, String::new()),
                Some((of, line)) if of.file == list => {
                    let options = line.settings.written.as_ref();
                    let options = options.map(|text| format!(" [{text}]"));
                    let names = line.filters.iter().map(|name| format!(" {name}"));
                    let behind = options.into_iter().chain(names).collect();
                    (line.number, behind)
                }
                _ => return None,
            };
            Some(Shown {
                file: listed.files.cert,
                number,
                behind,
                default: at == 0 && !self.options().strict_sni,
            })
        });
        Ok(shown.collect())
    }

    /// What there is to be loaded: what the file says, and what operators have made of it.
    pub(super) fn listed(&self, reader: &mut Reader<'_>) -> Result<Vec<Listed>, TlsError> {
        let changes = self.changes().clone();
        let mut files = reader.certificates(&self.options().certificates)?;
        files.retain(|files| !changes.removed.contains(&files.cert));
        for added in changes.added {
            if !files.iter().any(|files| files.cert == added.cert) {
                files.push(added);
            }
        }
        let mut listed: Vec<Listed> = files.into_iter().map(Listed::bare).collect();
        for list in &self.options().lists {
            let mut lines = list.read(reader)?;
            let is_taken = |line: &Line| {
                let mut taken = changes.taken.iter();
                taken.any(|(of, number, certificate)| {
                    *of == list.file && *number == line.number && *certificate == line.certificate
                })
            };
            let added = changes.lines.iter().filter(|(of, ..)| *of == list.file);
            // They were read when they were added.
            lines.extend(added.filter_map(|(_, at, text)| list.parse(text, *at).ok()?));
            lines.retain(|line| !is_taken(line));
            for line in lines {
                let all = reader.bare(&list.certificate(&line.certificate));
                listed.extend(all.into_iter().map(|files| Listed {
                    files,
                    line: Some((list.clone(), line.clone())),
                }));
            }
        }
        match listed.is_empty() {
            true => Err(TlsError::NoneListed),
            false => Ok(listed),
        }
    }

    /// What operators have made of the lists, for another process: what was added, and what was taken out.
    pub(super) fn listed_otherwise(&self) -> CarriedList {
        let changes = self.changes();
        let added = changes.added.iter().map(|files| files.cert.clone());
        CarriedList {
            added: added.collect(),
            removed: changes.removed.iter().cloned().collect(),
            lines: changes.lines.clone(),
            taken: changes.taken.iter().cloned().collect(),
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
        let is_ours = |file: &PathBuf| self.options().lists.iter().any(|list| list.file == *file);
        let lines = list.lines.iter().filter(|(file, ..)| is_ours(file));
        let now = Changes {
            added: added.collect(),
            removed: list.removed.iter().cloned().collect(),
            lines: lines.cloned().collect(),
            taken: list.taken.iter().cloned().collect(),
        };
        self.change(files, || *self.changes() = now)
    }

    /// Serves another certificate of the folder, which is `pem`, from now on.
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

    /// Serves one of the folder no longer.
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

    /// The certificate that a line of `list` names.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn named_by(&self, list: &Path, text: &str) -> Result<Option<PathBuf>, String> {
        let mut lists = self.options().lists.iter();
        let list = lists.find(|known| known.file == list);
        let Some(list) = list else {
            return Ok(None);
        };
        let line = list.parse(text, 1)?;
        Ok(line.map(|line| list.certificate(&line.certificate)))
    }

    /// Has another line in a list, behind the others. The certificate that it names is `pem`, if that is said.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn add_line(
        &self,
        list: &Path,
        text: &str,
        pem: Option<(&Path, &[u8])>,
    ) -> Result<(), TlsError> {
        let of = self.options().lists.iter().find(|l| l.file == list);
        let mut reader = Reader::default();
        let in_file = match of {
            Some(of) => reader
                .read(&of.file)?
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
            None => 0,
        };
        let pem = pem.map(|(file, pem)| (file.to_owned(), pem.to_vec()));
        let files: Overrides = pem.into_iter().collect();
        self.change(&files, || {
            let mut changes = self.changes();
            let numbers = changes.lines.iter().filter(|(of, ..)| of == list);
            let last = numbers.map(|(_, number, _)| *number).max();
            let number = last.unwrap_or(0).max(in_file) + 1;
            changes
                .lines
                .push((list.to_owned(), number, text.to_owned()));
        })
    }

    /// Has a line of a list no longer.
    ///
    /// # Errors
    /// It cannot be done without; nothing has changed then.
    pub fn take_line(&self, list: &Path, number: usize) -> Result<(), TlsError> {
        let all = self.listed(&mut Reader::default())?;
        let of_list = all.into_iter().filter_map(|listed| listed.line);
        let mut lines = of_list.filter(|(of, line)| of.file == list && line.number == number);
        let Some((_, line)) = lines.next() else {
            return Ok(());
        };
        self.change(&Overrides::new(), || {
            let mut changes = self.changes();
            let taken = (list.to_owned(), number, line.certificate);
            changes.taken.insert(taken);
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
