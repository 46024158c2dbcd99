//! HAProxy's runtime commands about certificates: `new`, `set`, `commit`, `abort`, `del` and `show ssl cert`. What is set is
//! tried at once and used at the commit; there is one such transaction at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    tls::{self, Acceptor, Overrides, Part, Parts, TlsError},
    topology::Topology,
};

mod lists;
mod trust;

/// What was set and not committed yet, and certificates that nothing uses.
#[derive(Debug, Default)]
pub(super) struct Transactions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ongoing: Option<Transaction>,
    /// Certificates that operators have made, or taken out of lists, until a list has them; `None` as long as they are empty.
    stored: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

#[derive(Debug)]
struct Transaction {
    /// As the operator wrote it.
    name: String,
    file: PathBuf,
    parts: Parts,
}

impl Transactions {
    /// Answers `words` if they are one of these commands; the error is the complaint without its line end.
    pub(super) fn answer(
        &self,
        topology: &Topology,
        words: &[&str],
        payload: Option<&[u8]>,
    ) -> Option<Result<String, String>> {
        let state = || self.state();
        Some(match *words {
            ["set", "ssl", "cert", name] => match payload {
                Some(payload) => state().set(topology, name, payload),
                None => Err(EXPECTS.to_owned()),
            },
            ["set", "ssl", "cert", ..] => Err(EXPECTS.to_owned()),
            ["commit", "ssl", "cert", name] => state().commit(topology, name),
            ["abort", "ssl", "cert", name] => state().abort(name),
            [verb @ ("commit" | "abort" | "new"), "ssl", "cert", ..] if words.len() < 4 => {
                Err(format!("'{verb} ssl cert' expects a filename"))
            }
            ["new", "ssl", "cert", name, ..] => state().create(topology, name),
            ["del", "ssl", "cert", ref rest @ ..] => match rest.first() {
                Some(name) => state().delete(topology, name),
                None => Err("'del ssl cert' expects a certificate name".to_owned()),
            },
            ["show", "ssl", "cert"] => Ok(state().list(topology)),
            ["show", "ssl", "cert", name, ..] => state().describe(topology, name),
            [verb, "ssl", "crt-list", ref rest @ ..] => {
                return lists::answer(&mut state(), topology, (verb, rest), payload);
            }
            _ => return trust::answer(topology, words),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is changed in single steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, topology: &Topology, name: &str, payload: &[u8]) -> Result<String, String> {
        let (called, file, part) = self.meant(topology, name)?;
        if let Some(other) = self.ongoing.as_ref().filter(|other| other.file != file) {
            return Err(format!(
                "The ongoing transaction is about '{}' but you are trying to set '{name}'\nCan't update {name}!",
                other.name
            ));
        }
        let refused = |error| format!("{error}\nCan't load the payload\nCan't update {name}!");
        let (verb, mut parts) = match &self.ongoing {
            Some(ongoing) => ("updated", ongoing.parts.clone()),
            None => ("created", Parts::default()),
        };
        parts.set(part, &file, payload).map_err(refused)?;
        let tried = match staged(topology, &file, &parts) {
            Ok(staged) if staged.is_empty() => match part {
                Part::Ocsp => {
                    return Err(format!(
                        "No bind uses '{called}': add it to a crt-list first.\nCan't update {name}!"
                    ));
                }
                _ => tls::try_pem(&file, &parts.whole(self.bytes(&file))),
            },
            staged => staged.map(drop),
        };
        match tried {
            // What it takes may come yet, which the commit sees, as HAProxy's does.
            Ok(()) | Err(TlsError::Mismatch { .. } | TlsError::NoKey(_)) => {}
            Err(error) => return Err(refused(error)),
        }
        let said = format!("Transaction {verb} for certificate {called}!\n");
        self.ongoing = Some(Transaction {
            name: called,
            file,
            parts,
        });
        Ok(said)
    }

    /// What a certificate that nothing uses has been set to.
    fn bytes(&self, file: &Path) -> Option<&[u8]> {
        self.stored.get(file)?.as_deref()
    }

    /// The certificate that `name` means, what that is called, and what of it: behind its own name may stand `.key` or
    /// `.ocsp`.
    fn meant(&self, topology: &Topology, name: &str) -> Result<(String, PathBuf, Part), String> {
        for (end, part) in [(".key", Part::Key), (".ocsp", Part::Ocsp)] {
            let Some(of) = name.strip_suffix(end) else {
                continue;
            };
            // The second is HAProxy's `ssl-load-extra-del-ext`.
            for called in [of.to_owned(), format!("{of}.crt")] {
                if let Ok(file) = self.find(topology, &called) {
                    return Ok((called, file, part));
                }
            }
        }
        let file = self.find(topology, name)?;
        Ok((name.to_owned(), file, Part::Certificate))
    }

    fn commit(&mut self, topology: &Topology, name: &str) -> Result<String, String> {
        let Some(transaction) = self.ongoing.as_ref() else {
            return Err(format!("No ongoing transaction! !\nCan't commit {name}!"));
        };
        if !is_called(&transaction.file, name) {
            return Err(format!(
                "The ongoing transaction is about '{}' but you are trying to commit '{name}'\nCan't commit {name}!",
                transaction.name
            ));
        }
        let refused = |error| format!("{error}\nCan't commit {name}!");
        let mut out = format!("Committing {name}");
        // There may have been a reload since, and binds are others: all of them take it, or none.
        let Transaction { file, parts, .. } = transaction;
        let staged = staged(topology, file, parts).map_err(refused)?;
        for (acceptor, files) in &staged {
            acceptor.try_response(file, parts, files).map_err(refused)?;
        }
        let stored = self.stored.contains_key(file);
        let stored = stored.then(|| parts.whole(self.bytes(file)));
        if let Some(pem) = stored.as_ref().filter(|_| staged.is_empty()) {
            tls::try_pem(file, pem).map_err(refused)?;
        }
        for (acceptor, files) in staged {
            acceptor.replace(&files).map_err(refused)?;
            out.push('.');
        }
        if stored.is_some() {
            let file = file.clone();
            self.stored.insert(file, stored);
        }
        self.ongoing = None;
        out.push_str("\nSuccess!\n");
        Ok(out)
    }

    fn abort(&mut self, name: &str) -> Result<String, String> {
        match self.ongoing.as_ref() {
            None => Err("No ongoing transaction!".to_owned()),
            Some(transaction) if !is_called(&transaction.file, name) => Err(format!(
                "The ongoing transaction is about '{}' but you are trying to abort a transaction for '{name}'",
                transaction.name
            )),
            Some(_) => {
                self.ongoing = None;
                Ok(format!("Transaction aborted for certificate '{name}'!\n"))
            }
        }
    }

    fn create(&mut self, topology: &Topology, name: &str) -> Result<String, String> {
        if self.files(topology).contains(Path::new(name)) {
            return Err(format!("Certificate '{name}' already exists!"));
        }
        if self.stored.len() >= MOST_STORED {
            return Err(format!(
                "Can't create '{name}': there are {MOST_STORED} certificates that nothing uses; delete some."
            ));
        }
        self.stored.insert(name.into(), None);
        Ok(format!("New empty certificate store '{name}'!\n"))
    }

    fn delete(&mut self, topology: &Topology, name: &str) -> Result<String, String> {
        let cannot = |why: &str| {
            Err(format!(
                "Can't remove the certificate: certificate '{name}' {why}!\n"
            ))
        };
        if used(topology).iter().any(|file| is_called(file, name)) {
            return cannot("in use, can't be deleted");
        }
        match self.stored.remove(Path::new(name)) {
            Some(_) => {
                let about = |transaction: &mut Transaction| transaction.file == Path::new(name);
                drop(self.ongoing.take_if(about));
                Ok(format!("Certificate '{name}' deleted!\n"))
            }
            None => cannot("doesn't exist"),
        }
    }

    fn list(&self, topology: &Topology) -> String {
        let mut out = String::new();
        if let Some(transaction) = &self.ongoing {
            // A String takes everything, here and below.
            let _ = writeln!(out, "# transaction\n*{}", transaction.name);
        }
        out.push_str("# filename\n");
        for file in self.files(topology) {
            let _ = writeln!(out, "{}", file.display());
        }
        out
    }

    fn describe(&self, topology: &Topology, name: &str) -> Result<String, String> {
        let unknown = || {
            "Can't display the certificate: Not found or the certificate is a bundle!".to_owned()
        };
        let staged = name.strip_prefix('*');
        let file = match (staged, &self.ongoing) {
            (None, _) => {
                let files = self.files(topology).into_iter();
                let mut files = files.filter(|file| is_called(file, name));
                files.next().ok_or_else(unknown)?
            }
            (Some(name), Some(ongoing)) if is_called(&ongoing.file, name) => ongoing.file.clone(),
            _ => return Err(unknown()),
        };
        let by = acceptors(topology).find(|acceptor| acceptor.certificate_files().contains(&file));
        let pem = match (&self.ongoing, by) {
            (Some(ongoing), by) if staged.is_some() => {
                let before = by.and_then(|by| by.bytes(&file).ok());
                let before = before.as_deref().or(self.bytes(&file));
                Some(ongoing.parts.whole(before))
            }
            (_, Some(by)) => by.bytes(&file).ok(),
            (_, None) => self.stored.get(&file).cloned().flatten(),
        };
        let status = match (by, &pem) {
            (_, None) => "Empty",
            (Some(_), _) if staged.is_none() => "Used",
            _ => "Unused",
        };
        let mut out = format!("Filename: {name}\nStatus: {status}\n");
        if let Some(pem) = pem {
            let lines = tls::describe(&file, &pem);
            out.push_str(&lines.map_err(|error| error.to_string())?);
        }
        out.push_str("OCSP Response Key: \n");
        Ok(out)
    }

    /// All certificates that there are.
    fn files(&self, topology: &Topology) -> BTreeSet<PathBuf> {
        let mut files = used(topology);
        files.extend(self.stored.keys().cloned());
        files
    }

    /// The one certificate that `name` means: its whole path, or the end of it.
    fn find(&self, topology: &Topology, name: &str) -> Result<PathBuf, String> {
        let files = self.files(topology);
        if let Some(file) = files.get(Path::new(name)) {
            return Ok(file.clone());
        }
        let mut found = files.into_iter().filter(|file| is_called(file, name));
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(file),
            (None, _) => Err(format!(
                "Can't replace a certificate which is not referenced by the configuration!\nCan't update {name}!"
            )),
            (Some(_), Some(_)) => Err(format!(
                "Several certificates end in '{name}': write the whole path.\nCan't update {name}!"
            )),
        }
    }
}

const EXPECTS: &str = "'set ssl cert expects a filename and a certificate as a payload";
/// Most certificates that are kept for nobody.
const MOST_STORED: usize = 10_000;

fn acceptors(topology: &Topology) -> impl Iterator<Item = &Arc<Acceptor>> {
    topology.acceptors().map(|(_, acceptor)| acceptor)
}

/// What stands for which file if `parts` are to stand for `file`, for each bind that uses that; each could.
fn staged<'a>(
    topology: &'a Topology,
    file: &Path,
    parts: &Parts,
) -> Result<Vec<(&'a Arc<Acceptor>, Overrides)>, TlsError> {
    let using = acceptors(topology).filter(|acceptor| acceptor.uses(file));
    let staged = using.map(|acceptor| {
        let files = acceptor.stage(file, parts);
        acceptor.try_out(&files).map(|()| (acceptor, files))
    });
    staged.collect()
}

/// Those that binds use.
fn used(topology: &Topology) -> BTreeSet<PathBuf> {
    acceptors(topology)
        .flat_map(|acceptor| acceptor.certificate_files())
        .collect()
}

fn is_called(file: &Path, name: &str) -> bool {
    file.ends_with(name)
}
