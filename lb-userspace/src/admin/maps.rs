//! HAProxy's runtime commands about maps and files of patterns. What they change holds until the file changes.

use std::{fmt::Write, sync::Arc};

use super::versions;
use crate::{
    rules::{How, Line, Map, Output, Problem, Value, Which},
    topology::Topology,
};

/// A map, or a file of patterns, which HAProxy calls an acl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Map,
    Acl,
}

impl Sort {
    fn is(self, map: &Map) -> bool {
        (map.output() == Output::Nothing) == (self == Self::Acl)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Acl => "acl",
        }
    }

    /// What is said where nobody says which.
    pub(super) fn missing(self) -> String {
        match self {
            Self::Map => "Missing map identifier.",
            Self::Acl => "Missing ACL identifier.",
        }
        .to_owned()
    }

    fn unknown(self) -> String {
        let what = match self {
            Self::Map => "map",
            Self::Acl => "ACL",
        };
        format!("Unknown {what} identifier. Please use #<id> or <file>.")
    }
}

/// The answer to a command about maps; `None` if it is none.
pub(super) fn answer(
    topology: &Topology,
    words: &[&str],
    payload: Option<&[u8]>,
) -> Option<Result<String, String>> {
    let (verb, sort, rest) = about(words)?;
    Some(match (verb, sort) {
        ("show", _) => show(topology, sort, rest),
        ("get", _) => get(topology, sort, rest),
        ("add", _) => add(topology, sort, rest, payload),
        ("set", Sort::Map) => set(topology, rest),
        ("del", _) => del(topology, sort, rest),
        ("clear", _) => clear(topology, sort, rest),
        _ => return None,
    })
}

/// The verb, of what, and what follows; `None` if it is about neither.
pub(super) fn about<'a>(words: &'a [&'a str]) -> Option<(&'a str, Sort, &'a [&'a str])> {
    match *words {
        [verb, "map", ref rest @ ..] => Some((verb, Sort::Map, rest)),
        [verb, "acl", ref rest @ ..] => Some((verb, Sort::Acl, rest)),
        _ => None,
    }
}

/// All of a sort, with the versions of each.
pub(super) fn list(
    topology: &Topology,
    sort: Sort,
    versions: impl Fn(&Map) -> (u32, u32),
) -> String {
    let mut out = String::from("# id (file) description\n");
    let all = topology.maps.iter().enumerate();
    for (id, map) in all.filter(|(_, map)| sort.is(map)) {
        let (path, used, count) = (map.path().display(), sort.name(), map.len());
        let (current, next) = versions(map);
        // A String takes everything.
        let _ = writeln!(
            out,
            "{id} ({path}) pattern loaded from file '{path}' used by {used}. \
             curr_ver={current} next_ver={next} entry_cnt={count}"
        );
    }
    out
}

/// `#0`, or the file.
pub(super) fn find<'a>(
    topology: &'a Topology,
    sort: Sort,
    name: &str,
) -> Result<&'a Arc<Map>, String> {
    let found = match name.strip_prefix('#') {
        Some(id) => {
            let id = id.parse::<usize>().ok();
            id.and_then(|id| topology.maps.get(id))
                .filter(|map| sort.is(map))
        }
        None => {
            let mut maps = topology.maps.iter().filter(|map| sort.is(map));
            maps.find(|map| map.path().as_os_str() == name)
        }
    };
    found.ok_or_else(|| sort.unknown())
}

fn show(topology: &Topology, sort: Sort, words: &[&str]) -> Result<String, String> {
    let mut out = String::new();
    let Some(name) = words.first() else {
        return Ok(list(topology, sort, |_| (0, 0)));
    };
    for line in find(topology, sort, name)?.lines() {
        let Line { id, key, text, .. } = &*line;
        let _ = match sort {
            Sort::Map => writeln!(out, "{id:#x} {key} {text}"),
            Sort::Acl => writeln!(out, "{id:#x} {key}"),
        };
    }
    Ok(out)
}

fn get(topology: &Topology, sort: Sort, words: &[&str]) -> Result<String, String> {
    let what = match sort {
        Sort::Map => "map",
        Sort::Acl => "ACL",
    };
    let [name, text, ..] = *words else {
        return Err(format!("Missing {what} identifier and/or key."));
    };
    let map = find(topology, sort, name)?;
    let (kind, index) = match map.how() {
        How::Exact => ("str", "tree"),
        How::Prefix => ("beg", "tree"),
        How::Address => ("ip", "tree"),
        How::Suffix => ("end", "list"),
        How::Contains => ("sub", "list"),
        How::Directory => ("dir", "list"),
        How::DomainPart | How::Host => ("dom", "list"),
        How::Regex => ("reg", "list"),
        How::Number => ("int", "list"),
        How::Length => ("len", "list"),
        How::Found => ("found", "list"),
        How::True => ("bool", "list"),
    };
    let found = map
        .key_of(Value::text(text))
        .and_then(|value| map.line(&value));
    let case = match map.ignores_case() {
        false => "sensitive",
        true => "insensitive",
    };
    let (word, is) = match (sort, &found) {
        (Sort::Map, Some(_)) => ("found", "yes"),
        (Sort::Map, None) => ("found", "no"),
        (Sort::Acl, Some(_)) => ("match", "yes"),
        (Sort::Acl, None) => ("match", "no"),
    };
    let mut out = format!("type={kind}, case={case}, {word}={is}");
    if let Some(line) = found {
        let Line { key, text, .. } = &*line;
        let _ = match sort {
            Sort::Map => {
                let leads_to = match map.output() {
                    Output::Number => "sint",
                    Output::Address if text.contains(':') => "ipv6",
                    Output::Address => "ipv4",
                    Output::Text | Output::Nothing => "str",
                };
                write!(
                    out,
                    ", idx={index}, key=\"{key}\", value=\"{text}\", type=\"{leads_to}\""
                )
            }
            Sort::Acl => write!(out, ", idx={index}, pattern=\"{key}\""),
        };
    }
    out.push('\n');
    Ok(out)
}

fn add(
    topology: &Topology,
    sort: Sort,
    words: &[&str],
    payload: Option<&[u8]>,
) -> Result<String, String> {
    let payload = payload.map(String::from_utf8_lossy);
    let lines = lines(sort, words, payload.as_deref())?;
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|(key, text)| (key.as_str(), text.as_str()))
        .collect();
    let map = find(topology, sort, words.first().copied().unwrap_or_default())?;
    let added = map.append(lines.iter().copied());
    added.map_err(|problem| match *lines {
        [(key, _)] => complaint(map, key, &problem),
        // Which of them it is the message says.
        _ => problem.message,
    })?;
    Ok(String::new())
}

/// The lines that a command or its payload has.
pub(super) fn lines(
    sort: Sort,
    words: &[&str],
    payload: Option<&str>,
) -> Result<Vec<(String, String)>, String> {
    match (sort, words, payload) {
        (Sort::Map, [_], Some(payload)) => Ok(versions::of_payload(payload)),
        (Sort::Map, [_, key, value, ..], _) => Ok(vec![((*key).to_owned(), (*value).to_owned())]),
        (Sort::Map, ..) => {
            Err("'add map' expects three parameters (map identifier, key and value) or one parameter (map identifier) and a payload".to_owned())
        }
        (Sort::Acl, [_, pattern, ..], _) => Ok(vec![((*pattern).to_owned(), String::new())]),
        (Sort::Acl, ..) => {
            Err("'add acl' expects two parameters: ACL identifier and pattern.".to_owned())
        }
    }
}

/// Why a line could not be added; HAProxy's words where it has some for it.
fn complaint(map: &Map, key: &str, problem: &Problem) -> String {
    match map.how() {
        How::Address if problem.message.contains("no address and no network") => {
            format!("'{key}' is not a valid IPv4 or IPv6 address.")
        }
        _ => problem.message.clone(),
    }
}

/// A key, or `#0x2a` as `show map` names a line.
fn which(text: &str) -> Which<'_> {
    let id = text
        .strip_prefix("#0x")
        .and_then(|id| u64::from_str_radix(id, 16).ok());
    id.map_or(Which::Key(text), Which::Id)
}

fn set(topology: &Topology, words: &[&str]) -> Result<String, String> {
    let [name, key, value, ..] = *words else {
        return Err(
            "'set map' expects three parameters: map identifier, key and value.".to_owned(),
        );
    };
    let map = find(topology, Sort::Map, name)?;
    match map.replace(which(key), value) {
        Ok(true) => Ok(String::new()),
        Ok(false) => Err("entry not found.".to_owned()),
        Err(problem) => Err(problem.message),
    }
}

fn del(topology: &Topology, sort: Sort, words: &[&str]) -> Result<String, String> {
    let [name, key, ..] = *words else {
        let what = match sort {
            Sort::Map => "map",
            Sort::Acl => "ACL",
        };
        return Err(format!(
            "This command expects two parameters: {what} identifier and key."
        ));
    };
    match find(topology, sort, name)?.remove(which(key)) {
        true => Ok(String::new()),
        false => Err("Key not found.".to_owned()),
    }
}

fn clear(topology: &Topology, sort: Sort, words: &[&str]) -> Result<String, String> {
    let name = words.first().ok_or_else(|| sort.missing())?;
    find(topology, sort, name)?.clear();
    Ok(String::new())
}
