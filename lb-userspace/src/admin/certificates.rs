//! HAProxy's runtime commands that exchange certificates: `set`, `commit`, `abort` and `show ssl cert`. What is set is
//! tried at once and used at the commit; there is one such transaction at a time.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    tls::{Acceptor, Overrides},
    topology::Topology,
};

/// What was set and not committed yet.
#[derive(Debug, Default)]
pub(super) struct Transactions(Mutex<Option<Transaction>>);

#[derive(Debug)]
struct Transaction {
    /// As the operator wrote it.
    name: String,
    file: PathBuf,
    /// What stands for which file, for each bind that uses it.
    staged: Vec<(Arc<Acceptor>, Overrides)>,
}

impl Transactions {
    /// Answers `words` if they are one of these commands; the error is the complaint without its line end.
    pub(super) fn answer(
        &self,
        topology: &Topology,
        words: &[&str],
        payload: Option<&[u8]>,
    ) -> Option<Result<String, String>> {
        Some(match *words {
            ["set", "ssl", "cert", name] => match payload {
                Some(payload) => self.set(topology, name, payload),
                None => Err(EXPECTS.to_owned()),
            },
            ["set", "ssl", "cert", ..] => Err(EXPECTS.to_owned()),
            ["commit", "ssl", "cert", name] => self.commit(name),
            ["abort", "ssl", "cert", name] => self.abort(name),
            ["commit" | "abort", "ssl", "cert", ..] => {
                Err(format!("'{} ssl cert' expects a filename", words[0]))
            }
            ["show", "ssl", "cert"] => Ok(self.list(topology)),
            _ => return None,
        })
    }

    fn set(&self, topology: &Topology, name: &str, payload: &[u8]) -> Result<String, String> {
        let mut ongoing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = find(topology, name)?;
        if let Some(other) = ongoing.as_ref().filter(|other| other.file != file) {
            return Err(format!(
                "The ongoing transaction is about '{}' but you are trying to set '{name}'\nCan't update {name}!",
                other.name
            ));
        }
        let mut staged = Vec::new();
        for acceptor in acceptors(topology).filter(|acceptor| acceptor.uses(&file)) {
            let files = acceptor.stage(&file, payload);
            acceptor.try_out(&files).map_err(|error| {
                format!("{error}\nCan't load the payload\nCan't update {name}!")
            })?;
            staged.push((Arc::clone(acceptor), files));
        }
        let verb = if ongoing.is_some() {
            "updated"
        } else {
            "created"
        };
        *ongoing = Some(Transaction {
            name: name.to_owned(),
            file,
            staged,
        });
        Ok(format!("Transaction {verb} for certificate {name}!\n"))
    }

    fn commit(&self, name: &str) -> Result<String, String> {
        let mut ongoing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(transaction) = ongoing.as_ref() else {
            return Err(format!("No ongoing transaction! !\nCan't commit {name}!"));
        };
        if !is_called(&transaction.file, name) {
            return Err(format!(
                "The ongoing transaction is about '{}' but you are trying to commit '{name}'\nCan't commit {name}!",
                transaction.name
            ));
        }
        let mut out = format!("Committing {name}");
        for (acceptor, files) in &transaction.staged {
            acceptor
                .replace(files)
                .map_err(|error| format!("{error}\nCan't commit {name}!"))?;
            out.push('.');
        }
        *ongoing = None;
        out.push_str("\nSuccess!\n");
        Ok(out)
    }

    fn abort(&self, name: &str) -> Result<String, String> {
        let mut ongoing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ongoing.as_ref() {
            None => Err("No ongoing transaction!".to_owned()),
            Some(transaction) if !is_called(&transaction.file, name) => Err(format!(
                "The ongoing transaction is about '{}' but you are trying to abort a transaction for '{name}'",
                transaction.name
            )),
            Some(_) => {
                *ongoing = None;
                Ok(format!("Transaction aborted for certificate '{name}'!\n"))
            }
        }
    }

    fn list(&self, topology: &Topology) -> String {
        let mut out = String::new();
        if let Some(transaction) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "# transaction\n*{}", transaction.name);
        }
        out.push_str("# filename\n");
        for file in files(topology) {
            // A String takes everything.
            let _ = writeln!(out, "{}", file.display());
        }
        out
    }
}

const EXPECTS: &str = "'set ssl cert expects a filename and a certificate as a payload";

fn acceptors(topology: &Topology) -> impl Iterator<Item = &Arc<Acceptor>> {
    topology.acceptors().map(|(_, acceptor)| acceptor)
}

fn files(topology: &Topology) -> BTreeSet<PathBuf> {
    acceptors(topology)
        .flat_map(|acceptor| acceptor.certificate_files())
        .collect()
}

/// The one certificate that `name` means: its whole path, or the end of it.
fn find(topology: &Topology, name: &str) -> Result<PathBuf, String> {
    let mut found = files(topology)
        .into_iter()
        .filter(|file| is_called(file, name));
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

fn is_called(file: &Path, name: &str) -> bool {
    file.ends_with(name)
}
