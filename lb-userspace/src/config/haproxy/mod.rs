//! haproxy.cfg, read as it is.
//!
//! A file becomes what it amounts to in our own language ([`value`]), each key with the place in the .cfg that it comes
//! from, and goes through the same readers and checks as a YAML file from there on. `lb import haproxy` writes that down
//! ([`yaml`]), so what is imported is what is run.
//!
//! `words` cuts lines, `lines` resolves `.if`, `proxy` with `server`, `acl`, `rules` and `check` reads sections line by line,
//! `assemble` makes the whole of them, `defaults` included; `inherit` knows what goes without saying in HAProxy and not here.

mod acl;
mod answers;
mod assemble;
mod check;
mod dotted;
mod expected;
mod family;
mod global;
mod halves;
mod http_error;
mod inherit;
mod keywords;
mod lines;
mod log;
mod lookup;
mod more;
mod numbers;
mod one;
mod operators;
mod options;
mod options_of;
mod order;
mod predicate;
mod proxy;
mod resolvers;
mod rules;
mod says;
mod sections;
mod secured;
mod server;
mod sockets;
mod source;
mod statistics;
mod tcp;
mod template;
mod value;
mod variables;
mod versions;
mod vocabulary;
mod words;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::{
    decode::Environment,
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Source,
    tree::Parsed,
};

/// What decides how a .cfg is read, beside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `fast_path.attach`, which no .cfg says: `off` if it is not given.
    pub fast_path: Option<String>,
}

pub use one::{OneServer, one_server};

/// Whether a file is read as HAProxy's: by its name; a folder is one of such files.
pub fn is_haproxy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cfg") || path.is_dir()
}

/// The text of a file, or of a folder's `.cfg` files in the order of their names, as HAProxy's `-f` takes them.
///
/// # Errors
/// What could not be read.
pub fn read(path: &Path) -> Result<Source, Diagnostics> {
    if !path.is_dir() {
        return super::read(path);
    }
    let refused = |message: String| {
        let diagnostic =
            Diagnostic::unplaced(Severity::Error, message).mend("name a folder with `.cfg` files");
        Diagnostics::new(
            Source::new(&path.display().to_string(), ""),
            vec![diagnostic],
        )
    };
    let entries =
        std::fs::read_dir(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| !file.is_dir() && is_haproxy(file) && !is_hidden(file))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(refused("there is no `.cfg` file in it".to_owned()));
    }
    let sources: Vec<Source> = files
        .iter()
        .map(|file| super::read(file))
        .collect::<Result<_, _>>()?;
    Ok(Source::joined(&sources))
}

fn is_hidden(file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The tree that a file amounts to.
pub(super) fn parse(source: &Source, environment: Environment<'_>, options: &Options) -> Parsed {
    let read = assemble::read(source, environment, options);
    Parsed {
        root: Some(read.root.node()),
        diagnostics: read.diagnostics,
        complete: true,
    }
}

/// A file as YAML, comments kept, and what could not be carried over.
pub fn import(
    source: &Source,
    environment: Environment<'_>,
    options: &Options,
) -> (String, Diagnostics) {
    let read = assemble::read(source, environment, options);
    let lost: Vec<&Diagnostic> = read.diagnostics.iter().collect();
    let text = yaml::write(&read.root, &read.comments, &lost, source);
    (text, Diagnostics::new(source.clone(), read.diagnostics))
}
