//! `show ssl ca-file`, `show ssl crl-file` and `show tls-keys`: what else TLS has of files.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{tls, topology::Topology};

type Said = Result<String, String>;

/// What is in files, as it is read now.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The answer to a command about them; `None` if it is none.
pub(super) fn answer(topology: &Topology, words: &[&str]) -> Option<Said> {
    Some(match *words {
        ["show", "ssl", "ca-file"] => Ok(authorities(topology)),
        ["show", "ssl", "ca-file", name, ..] => authority(topology, name),
        ["show", "ssl", "crl-file"] => Ok(revocations(topology)),
        ["show", "ssl", "crl-file", name, ..] => revocation(topology, name),
        ["show", "tls-keys"] => Ok(keys(topology)),
        ["show", "tls-keys", which, ..] => secrets(topology, which),
        _ => return None,
    })
}

/// Files of CAs, of binds and servers.
fn of_authorities(topology: &Topology) -> Files {
    let mut files = Files::new();
    for (_, acceptor) in topology.acceptors() {
        for file in acceptor.authorities() {
            let bytes = acceptor.bytes(&file).unwrap_or_default();
            files.insert(file, bytes);
        }
    }
    of_servers(topology, &mut files, |options| options.ca.as_deref());
    files
}

/// Files of lists of revoked certificates, likewise.
fn of_revocations(topology: &Topology) -> Files {
    let mut files = Files::new();
    for (_, acceptor) in topology.acceptors() {
        for file in acceptor.revocations() {
            let bytes = acceptor.bytes(&file).unwrap_or_default();
            files.insert(file, bytes);
        }
    }
    of_servers(topology, &mut files, |options| options.crl.as_deref());
    files
}

fn of_servers(
    topology: &Topology,
    files: &mut Files,
    of: impl Fn(&tls::ServerOptions) -> Option<&Path>,
) {
    let backends = topology.backends.iter();
    for server in backends.flat_map(|backend| &backend.servers) {
        for connector in server.connectors() {
            if let Some(file) = of(connector.options()) {
                let read = || connector.bytes(file).unwrap_or_default();
                files.entry(file.to_owned()).or_insert_with(read);
            }
        }
    }
}

/// Files, and how many are in each.
fn authorities(topology: &Topology) -> String {
    let mut out = String::from("# filename\n");
    for (file, pem) in of_authorities(topology) {
        let text = String::from_utf8_lossy(&pem);
        let count = text.matches("-----BEGIN CERTIFICATE-----").count();
        // A String takes everything, here and below.
        let _ = writeln!(out, "{} - {count} certificate(s)", file.display());
    }
    out
}

fn authority(topology: &Topology, name: &str) -> Said {
    let files = of_authorities(topology);
    let Some(pem) = files.get(Path::new(name)) else {
        return Err("Can't display the CA file : Not found!".to_owned());
    };
    let each = tls::describe_each(Path::new(name), pem);
    let mut out = format!("Filename: {name}\nStatus: Used\n");
    for (at, text) in each.map_err(|error| error.to_string())?.iter().enumerate() {
        let _ = write!(out, " \nCertificate #{}:\n{text}", at + 1);
    }
    Ok(out)
}

fn revocations(topology: &Topology) -> String {
    let files = of_revocations(topology).into_keys();
    let lines = files.map(|file| format!("{}\n", file.display()));
    format!("# filename\n{}", lines.collect::<String>())
}

fn revocation(topology: &Topology, name: &str) -> Said {
    let files = of_revocations(topology);
    let Some(pem) = files.get(Path::new(name)) else {
        return Err("Can't display the CRL file : Not found!".to_owned());
    };
    let each = tls::describe_revoked(Path::new(name), pem);
    let mut out = format!("Filename: {name}\nStatus: Used\n");
    for (at, text) in each.map_err(|error| error.to_string())?.iter().enumerate() {
        let _ = write!(out, " \nCertificate Revocation List #{}:\n{text}", at + 1);
    }
    Ok(out)
}

/// Files of keys of tickets, in the order of the configuration.
fn of_keys(topology: &Topology) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (_, acceptor) in topology.acceptors() {
        let Some(file) = acceptor.ticket_keys() else {
            continue;
        };
        if files.iter().all(|(known, _)| known != file) {
            let bytes = acceptor.bytes(file).unwrap_or_default();
            files.push((file.to_owned(), bytes));
        }
    }
    files
}

fn keys(topology: &Topology) -> String {
    let mut out = String::from("# id (file)\n");
    for (id, (file, _)) in of_keys(topology).iter().enumerate() {
        let _ = writeln!(out, "{id} ({})", file.display());
    }
    out
}

/// The keys themselves: of all files, of one by its number, or by its name.
fn secrets(topology: &Topology, which: &str) -> Said {
    let number: Option<usize> = which.strip_prefix('#').and_then(|id| id.parse().ok());
    let mut out = String::from("# id secret\n");
    let mut found = which == "*";
    for (id, (file, text)) in of_keys(topology).into_iter().enumerate() {
        if which != "*" && number != Some(id) && file != Path::new(which) {
            continue;
        }
        found = true;
        let _ = writeln!(out, "# {id} ({})", file.display());
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let last = lines.len().saturating_sub(3);
        for (at, line) in lines[last..].iter().enumerate() {
            let bytes = BASE64.decode(line).unwrap_or_default();
            let _ = writeln!(out, "{id}.{at} {}", BASE64.encode(bytes));
        }
    }
    match found {
        true => Ok(out),
        false => Err("'show tls-keys' unable to locate referenced filename".to_owned()),
    }
}
