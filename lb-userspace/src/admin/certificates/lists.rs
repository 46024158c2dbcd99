//! `show`, `add` and `del ssl crt-list`: which certificates a bind serves whose certificates are a folder's. Also
//! `show ssl ca-file`.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::State;
use crate::{tls::Acceptor, topology::Topology};

type Said = Result<String, String>;

/// The answer to a command about lists of certificates; `None` if it is none.
pub(super) fn answer(
    state: &mut State,
    topology: &Topology,
    (verb, words): (&str, &[&str]),
    payload: Option<&[u8]>,
) -> Option<Said> {
    let expects = || Err("'add ssl crtlist' expects a filename and a certificate name".to_owned());
    Some(match (verb, words) {
        ("show", []) => Ok(names(topology)),
        ("show", ["-n", list, ..]) => content(topology, list, true),
        ("show", [list, ..]) => content(topology, list, false),
        ("add", [list, file]) => add(state, topology, list, file),
        ("add", [list]) => match payload.map(String::from_utf8_lossy) {
            // Its line may say more than a name, which a folder has no place for.
            Some(line) => add(state, topology, list, line.trim()),
            None => expects(),
        },
        ("add", _) => expects(),
        ("del", [list, file, ..]) => remove(state, topology, list, file),
        ("del", _) => Err("'del ssl crtlist' expects a filename and a certificate name".to_owned()),
        _ => return None,
    })
}

/// The binds whose certificates are of the folder called `list`, with whose they are.
fn of<'a>(topology: &'a Topology, list: &str) -> Vec<(String, &'a Arc<Acceptor>)> {
    let list = Path::new(list);
    let same = |acceptor: &Arc<Acceptor>| acceptor.folder() == Some(list);
    topology
        .acceptors()
        .filter(|(_, acceptor)| same(acceptor))
        .collect()
}

fn names(topology: &Topology) -> String {
    let folders = topology.acceptors().filter_map(|(_, a)| a.folder());
    let mut folders: Vec<&Path> = folders.collect();
    folders.sort();
    folders.dedup();
    let lines = folders.iter().map(|folder| format!("{}\n", bare(folder)));
    lines.collect()
}

/// Without a slash at its end, as HAProxy calls it.
fn bare(folder: &Path) -> String {
    let folder = folder.display().to_string();
    folder.trim_end_matches('/').to_owned()
}

fn content(topology: &Topology, list: &str, numbered: bool) -> Said {
    let binds = of(topology, list);
    let (_, acceptor) = binds.first().ok_or("didn't find the specified filename")?;
    let mut out = format!("# {}\n", bare(Path::new(list)));
    for file in acceptor.certificate_files() {
        // In a folder there are no lines. A String takes everything.
        let _ = match numbered {
            true => writeln!(out, "{}:0", file.display()),
            false => writeln!(out, "{}", file.display()),
        };
    }
    Ok(out)
}

fn add(state: &mut State, topology: &Topology, list: &str, file: &str) -> Said {
    let cannot = |why: String| Err(format!("Can't edit the crt-list: {why}"));
    let (binds, path) = (of(topology, list), Path::new(file));
    let Some((_, first)) = binds.first() else {
        return cannot(format!("crt-list '{list}' does not exist!"));
    };
    let list = bare(Path::new(list));
    if path.parent() != Some(Path::new(&list)) {
        return cannot(format!(
            "'{list}' is a directory, certificate path '{file}' must contain the directory path"
        ));
    }
    if first.certificate_files().iter().any(|known| known == path) {
        return cannot("file already exists in this directory!".to_owned());
    }
    let pem = match state.stored.get(path) {
        Some(Some(pem)) => pem.clone(),
        Some(None) => return cannot(format!("certificate '{file}' is empty!")),
        None => return cannot(format!("certificate '{file}' does not exist!")),
    };
    for (_, acceptor) in &binds {
        if let Err(error) = acceptor.list(path, &pem) {
            return cannot(error.to_string());
        }
    }
    state.stored.remove(path);
    Ok(format!(
        "Inserting certificate '{file}' in crt-list '{list}'.\nSuccess!\n"
    ))
}

fn remove(state: &mut State, topology: &Topology, list: &str, file: &str) -> Said {
    let cannot = |why: String| Err(format!("Can't delete the entry: {why}"));
    let binds = of(topology, list);
    let Some((_, first)) = binds.first() else {
        return cannot(format!("crt-list '{list}' does not exist!"));
    };
    let list = bare(Path::new(list));
    // `FILE:LINE`, where a folder has no lines.
    let (name, line) = file.rsplit_once(':').unwrap_or((file, ""));
    let file = if line.bytes().all(|b| b.is_ascii_digit()) {
        name
    } else {
        file
    };
    let path = Path::new(file);
    let known = first.certificate_files();
    match known.iter().position(|known| known == path) {
        None if !state.files(topology).contains(path) => {
            return cannot(format!("certificate '{file}' does not exist!"));
        }
        None if matches!(state.stored.get(path), Some(None)) => {
            return cannot(format!("certificate '{file}' is empty!"));
        }
        None => {
            return cannot(format!(
                "certificate '{file}' can't be found in crt-list '{list}'!"
            ));
        }
        Some(0) => {
            let binds = binds.iter().map(|(whose, _)| format!("\t- {whose}\n"));
            return cannot(format!(
                "certificate '{file}' cannot be deleted, it is used as default certificate by the following frontends:\n{}",
                binds.collect::<String>()
            ));
        }
        Some(_) => {}
    }
    let pem = first.bytes(path).ok();
    for (_, acceptor) in &binds {
        if let Err(error) = acceptor.unlist(path) {
            return cannot(error.to_string());
        }
    }
    state.stored.insert(path.to_owned(), pem);
    Ok(format!("Entry '{file}' deleted in crtlist '{list}'!\n"))
}

/// `show ssl ca-file`: files of CAs, and how many are in each.
pub(super) fn authorities(topology: &Topology) -> String {
    let mut files: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let binds = topology.acceptors().filter_map(|(_, a)| a.client_ca());
    let servers = topology
        .backends
        .iter()
        .flat_map(|backend| &backend.servers);
    let connectors: Vec<_> = servers.flat_map(|server| server.connectors()).collect();
    let servers = connectors.iter().filter_map(|c| c.options().ca.as_deref());
    for file in binds.chain(servers) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let begin = "-----BEGIN CERTIFICATE-----";
        files.insert(file.to_owned(), text.matches(begin).count());
    }
    let mut out = String::from("# filename\n");
    for (file, count) in files {
        // A String takes everything.
        let _ = writeln!(out, "{} - {count} certificate(s)", file.display());
    }
    out
}
