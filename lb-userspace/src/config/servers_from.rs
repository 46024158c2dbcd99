//! `servers_from` of a backend: a file of servers that other tools write.
//!
//! Its servers are put behind those of `servers` before the tree is read, and its text behind that of the configuration,
//! so that whoever reads servers, compares two configurations or points at a mistake knows nothing of it.

use std::{path::PathBuf, rc::Rc, sync::Arc};

use super::{
    Span,
    decode::Decoder,
    diagnostic::Diagnostic,
    model::ServerFiles,
    read,
    source::Source,
    tree::{self, Entry, Kind, Node},
};
use crate::watched::Stamp;

/// The key.
pub(super) const KEY: &str = "servers_from";
/// Where servers stand.
const SERVERS: &str = "servers";
/// Most servers of a file that says nothing of it.
const LIMIT: usize = 1_000;
/// Most that it may say.
const MOST: usize = 100_000;

/// The tree with the servers of all files in it, the text that its places are in, and the files.
pub(super) fn graft(
    d: &mut Decoder<'_>,
    root: Option<Rc<Node>>,
    source: Source,
) -> (Option<Rc<Node>>, Source, ServerFiles) {
    let mut grafts = Grafts {
        sources: vec![source],
        files: Vec::new(),
    };
    let root = root.map(|root| grafts.root(d, root));
    let Grafts { sources, files } = grafts;
    let [main] = &sources[..] else {
        let main = sources.first().cloned().map(Arc::new);
        let joined = Source::joined(&sources);
        return (root, joined, ServerFiles { files, main });
    };
    let main = main.clone();
    (
        root,
        main.clone(),
        ServerFiles {
            main: (!files.is_empty()).then(|| Arc::new(main)),
            files,
        },
    )
}

struct Grafts {
    sources: Vec<Source>,
    files: Vec<(PathBuf, Stamp)>,
}

/// What a backend says of its file.
struct Wanted {
    path: PathBuf,
    limit: usize,
    at: Span,
}

impl Grafts {
    fn root(&mut self, d: &mut Decoder<'_>, root: Rc<Node>) -> Rc<Node> {
        changed(&root, "backends", |backends| {
            let Kind::Mapping(entries) = &backends.kind else {
                return None;
            };
            let grafted: Vec<Entry> = entries
                .iter()
                .map(|entry| self.backend(d, entry).unwrap_or_else(|| entry.clone()))
                .collect();
            Some(Node::new(backends.span, Kind::Mapping(grafted)))
        })
    }

    fn backend(&mut self, d: &mut Decoder<'_>, backend: &Entry) -> Option<Entry> {
        let Kind::Mapping(entries) = &backend.value.kind else {
            return None;
        };
        let key = entries.iter().find(|entry| entry.key == KEY)?;
        let Wanted { path, limit, at } = wanted(d, key)?;
        let more = self.servers(d, path, limit, at);
        let own = entries.iter().find(|entry| entry.key == SERVERS);
        let mut all = match own.map(|own| &own.value.kind) {
            Some(Kind::Sequence(own)) => own.clone(),
            // Whoever reads it says what is wrong with it.
            Some(_) => return None,
            None => Vec::new(),
        };
        all.extend(more);
        let (key_span, span) = own.map_or((key.key_span, key.value.span), |own| {
            (own.key_span, own.value.span)
        });
        let mut entries: Vec<Entry> = entries.clone();
        entries.retain(|entry| entry.key != SERVERS);
        entries.push(Entry {
            key: SERVERS.to_owned(),
            key_span,
            value: Node::new(span, Kind::Sequence(all)),
        });
        Some(Entry {
            value: Node::new(backend.value.span, Kind::Mapping(entries)),
            ..backend.clone()
        })
    }

    /// The servers in a file; what is wrong with it is reported.
    fn servers(
        &mut self,
        d: &mut Decoder<'_>,
        path: PathBuf,
        limit: usize,
        at: Span,
    ) -> Vec<Rc<Node>> {
        let stamp = Stamp::of(&path);
        let name = path.display().to_string();
        let text = read(&path);
        self.files.push((path, stamp));
        let text = match text {
            Ok(text) => text,
            Err(found) => {
                let why = found.iter().next().map(|found| found.message.clone());
                let message = format!("`{name}` {}", why.unwrap_or_default());
                d.error(at, message, "have it written first; `[]` is no server");
                return Vec::new();
            }
        };
        // Its lines come after all that were read before, and so have places of their own.
        let before = Source::joined(&self.sources).line_count();
        let shifted = "\n".repeat(before - 1) + text.text();
        let parsed = tree::parse(&Source::new(&name, &shifted));
        // A line at least, so that no two files begin at the same.
        self.sources.push(match text.text().is_empty() {
            true => Source::new(&name, "\n"),
            false => text,
        });
        d.diagnostics.extend(parsed.diagnostics);
        let begin = Span::at(before, 1, 1);
        let Some(root) = parsed.root.filter(|root| !root.is_null()) else {
            let message = "the file of servers is empty";
            d.report(Diagnostic::error(begin, message).mend("write `[]` for no server"));
            return Vec::new();
        };
        let list = match &root.kind {
            Kind::Mapping(_) => {
                let Some(mut table) = d.table(&root, begin, "a file of servers") else {
                    return Vec::new();
                };
                let list = table.take(SERVERS);
                if list.is_none() {
                    d.missing(
                        &table,
                        SERVERS,
                        "write a list of servers, or `servers:` with one",
                    );
                }
                table.finish(d, &[], &[]);
                list.map(|list| Rc::clone(&list.value))
            }
            _ => Some(Rc::clone(&root)),
        };
        let list = list.map_or_else(Vec::new, |list| d.list(&list, "the servers").to_vec());
        if list.len() > limit {
            let message = format!("{} servers are more than the limit of {limit}", list.len());
            d.report(Diagnostic::error(begin, message).mend("raise `limit` of `servers_from`"));
            return Vec::new();
        }
        list
    }
}

/// Reads the key.
fn wanted(d: &mut Decoder<'_>, entry: &Entry) -> Option<Wanted> {
    let mut table = d.table(&entry.value, entry.key_span, format!("`{KEY}`"))?;
    let file = table.take("file");
    if file.is_none() {
        d.missing(&table, "file", "write `{ file: /etc/lb/servers/web.yaml }`");
    }
    let limit = table
        .take("limit")
        .and_then(|e| d.number(&e.value, "`limit`", 1..=MOST as u32));
    table.finish(
        d,
        &[],
        &[("path", "it is `file`"), ("max", "it is `limit`")],
    );
    let file = file?;
    Some(Wanted {
        path: d.path(&file.value, "`file`")?,
        limit: limit.map_or(LIMIT, |limit| limit as usize),
        at: file.value.span,
    })
}

/// A mapping with another value for a key, if that is there and `make` has one.
fn changed(
    node: &Rc<Node>,
    key: &str,
    make: impl FnOnce(&Rc<Node>) -> Option<Rc<Node>>,
) -> Rc<Node> {
    let Kind::Mapping(entries) = &node.kind else {
        return Rc::clone(node);
    };
    let Some(at) = entries.iter().position(|entry| entry.key == key) else {
        return Rc::clone(node);
    };
    let Some(value) = make(&entries[at].value) else {
        return Rc::clone(node);
    };
    let mut entries = entries.clone();
    entries[at].value = value;
    Node::new(node.span, Kind::Mapping(entries))
}
