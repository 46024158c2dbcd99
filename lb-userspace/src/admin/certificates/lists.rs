//! `show`, `add` and `del ssl crt-list`: which certificates a bind serves whose certificates are a list's, which is a file or
//! a folder.

use std::{
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
        ("show", ["-n"]) => {
            Err("'show ssl crt-list -n' expects a filename or a directory".to_owned())
        }
        ("show", ["-n", list, ..]) => content(topology, list, true),
        ("show", [list, ..]) => content(topology, list, false),
        ("add", [list, rest @ ..]) => match (payload.map(String::from_utf8_lossy), rest) {
            (Some(line), _) => match line.trim_end_matches('\n') {
                line if line.contains('\n') => Err(
                    "Can't edit the crt-list: only one line of payload is supported!".to_owned(),
                ),
                line => add(state, topology, list, line),
            },
            (None, [file]) => add(state, topology, list, file),
            (None, _) => expects(),
        },
        ("add", _) => expects(),
        ("del", [list, file, ..]) => remove(state, topology, list, file),
        ("del", _) => Err("'del ssl crtlist' expects a filename and a certificate name".to_owned()),
        _ => return None,
    })
}

/// The binds whose certificates are of the list called `list`, with whose they are.
fn of<'a>(topology: &'a Topology, list: &str) -> Vec<(String, &'a Arc<Acceptor>)> {
    let list = Path::new(list);
    let same = |acceptor: &Arc<Acceptor>| acceptor.lists().contains(&list);
    topology
        .acceptors()
        .filter(|(_, acceptor)| same(acceptor))
        .collect()
}

fn names(topology: &Topology) -> String {
    let lists = topology.acceptors().flat_map(|(_, a)| a.lists());
    let mut lists: Vec<&Path> = lists.collect();
    lists.sort();
    lists.dedup();
    let lines = lists.iter().map(|list| format!("{}\n", bare(list)));
    lines.collect()
}

/// Without a slash at its end, as HAProxy calls it.
fn bare(list: &Path) -> String {
    let list = list.display().to_string();
    list.trim_end_matches('/').to_owned()
}

fn content(topology: &Topology, list: &str, numbered: bool) -> Said {
    let binds = of(topology, list);
    let (_, acceptor) = binds.first().ok_or("didn't find the specified filename")?;
    let shown = acceptor.shown(Path::new(list));
    let mut out = format!("# {}\n", bare(Path::new(list)));
    for shown in shown.map_err(|error| error.to_string())? {
        let (file, behind) = (shown.file.display(), &shown.behind);
        // A String takes everything.
        let _ = match numbered {
            true => writeln!(out, "{file}:{}{behind}", shown.number),
            false => writeln!(out, "{file}{behind}"),
        };
    }
    Ok(out)
}

/// Puts a line into a list: a certificate, and in a file what stands behind it there.
fn add(state: &mut State, topology: &Topology, list: &str, line: &str) -> Said {
    let cannot = |why: String| Err(format!("Can't edit the crt-list: {why}"));
    let binds = of(topology, list);
    let Some((_, first)) = binds.first() else {
        return cannot(format!("crt-list '{list}' does not exist!"));
    };
    let is_folder = first.folder() == Some(Path::new(list));
    let named = match first.named_by(Path::new(list), line) {
        Ok(named) => named,
        Err(why) => return cannot(why),
    };
    let bare = bare(Path::new(list));
    let mut words = line.split_ascii_whitespace();
    let file = words.next().unwrap_or_default();
    let path = named.unwrap_or_else(|| PathBuf::from(file));
    if is_folder {
        if path.parent() != Some(Path::new(&bare)) {
            return cannot(format!(
                "'{bare}' is a directory, certificate path '{file}' must contain the directory path"
            ));
        }
        if first.certificate_files().contains(&path) {
            return cannot("file already exists in this directory!".to_owned());
        }
        if words.next().is_some() {
            return cannot(
                "this is a directory, SSL configuration and filters are not allowed".to_owned(),
            );
        }
    }
    let used = || {
        let mut acceptors = topology.acceptors().map(|(_, acceptor)| acceptor);
        acceptors.find(|acceptor| acceptor.certificate_files().contains(&path))
    };
    let pem = match (state.stored.get(&path), used()) {
        (Some(Some(pem)), _) => pem.clone(),
        (Some(None), _) => return cannot(format!("certificate '{file}' is empty!")),
        (None, Some(by)) => match by.bytes(&path) {
            Ok(pem) => pem,
            Err(error) => return cannot(error.to_string()),
        },
        (None, None) => return cannot(format!("certificate '{file}' does not exist!")),
    };
    for (_, acceptor) in &binds {
        // What a bind has already stays as it is there.
        let pem = Some((&*path, &*pem)).filter(|_| !acceptor.certificate_files().contains(&path));
        let added = match (is_folder, pem) {
            (true, Some((path, pem))) => acceptor.list(path, pem),
            (true, None) => acceptor.list(&path, &acceptor.bytes(&path).unwrap_or_default()),
            (false, pem) => acceptor.add_line(Path::new(list), line, pem),
        };
        if let Err(error) = added {
            return cannot(error.to_string());
        }
    }
    state.stored.remove(&path);
    Ok(format!(
        "Inserting certificate '{file}' in crt-list '{bare}'{}\nSuccess!\n",
        ".".repeat(binds.len())
    ))
}

fn remove(state: &mut State, topology: &Topology, list: &str, file: &str) -> Said {
    let cannot = |why: String| Err(format!("Can't delete the entry: {why}"));
    let (name, line) = match file.split_once(':') {
        None => (file, 0),
        Some((name, line)) => match line.parse::<usize>() {
            Ok(line) => (name, line),
            Err(_) => return cannot(format!("wrong line number after colons in '{file}'!")),
        },
    };
    let binds = of(topology, list);
    let Some((_, first)) = binds.first() else {
        return cannot(format!("crt-list '{list}' does not exist!"));
    };
    let bare = bare(Path::new(list));
    let named = first.named_by(Path::new(list), name).ok().flatten();
    let path = named.unwrap_or_else(|| PathBuf::from(name));
    let shown = match first.shown(Path::new(list)) {
        Ok(shown) => shown,
        Err(error) => return cannot(error.to_string()),
    };
    let entries: Vec<_> = shown.iter().filter(|shown| shown.file == path).collect();
    if entries.is_empty() {
        if !state.files(topology).contains(&path) {
            return cannot(format!("certificate '{name}' does not exist!"));
        }
        if matches!(state.stored.get(&path), Some(None)) {
            return cannot(format!("certificate '{name}' is empty!"));
        }
        return cannot(format!(
            "certificate '{name}' can't be found in crt-list '{bare}'!"
        ));
    }
    let lines: Vec<String> = entries.iter().map(|e| e.number.to_string()).collect();
    let lines = lines.join(", ");
    let mut found = entries.iter().filter(|e| line == 0 || e.number == line);
    let entry = match (found.next(), found.next()) {
        (Some(entry), None) => *entry,
        (None, _) => {
            return cannot(format!(
                "found a certificate '{name}' but the line number is incorrect, please specify a correct line number preceded by colons ({lines})!"
            ));
        }
        (Some(_), Some(_)) => {
            return cannot(format!(
                "found the certificate '{name}' in several entries, please specify a line number preceded by colons ({lines})!"
            ));
        }
    };
    let is_default = |acceptor: &Acceptor| {
        let shown = acceptor.shown(Path::new(list)).unwrap_or_default();
        shown
            .iter()
            .any(|other| other.default && other.number == entry.number && other.file == path)
    };
    let by_default = binds.iter().filter(|(_, acceptor)| is_default(acceptor));
    let by_default: String = by_default
        .map(|(whose, _)| format!("\t- {whose}\n"))
        .collect();
    if !by_default.is_empty() {
        return cannot(format!(
            "certificate '{name}' cannot be deleted, it is used as default certificate by the following frontends:\n{by_default}"
        ));
    }
    let pem = first.bytes(&path).ok();
    for (_, acceptor) in &binds {
        let taken = match acceptor.folder() == Some(Path::new(list)) {
            true => acceptor.unlist(&path),
            false => acceptor.take_line(Path::new(list), entry.number),
        };
        if let Err(error) = taken {
            return cannot(error.to_string());
        }
    }
    if !state.files(topology).contains(&path) {
        state.stored.insert(path, pem);
    }
    Ok(format!("Entry '{name}' deleted in crtlist '{bare}'!\n"))
}
