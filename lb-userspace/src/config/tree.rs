//! YAML text to a tree whose every key and value knows its place.
//!
//! saphyr-parser's events, not a serde reader, because a configuration needs what those lose: the place of each key,
//! both places of a key written twice, and what can still be checked when one line is not YAML at all.

use std::{collections::BTreeSet, rc::Rc};

use saphyr_parser::{Marker, Parser};

use super::{
    build::{Builder, Failure},
    diagnostic::Diagnostic,
    source::{Position, Source, Span},
    traps,
};

/// Most syntax errors that are stepped over; each one reads the file again.
const MAX_REPAIRS: usize = 32;

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: Kind,
    /// Nodes in it, itself included, aliases followed.
    pub(super) weight: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
    /// Reported already; whoever reads it says nothing more.
    Poisoned,
}

/// Text, a number, a boolean: which one is for the reader to say.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Without quotes.
    pub(super) plain: bool,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Rc<Node>,
}

impl Node {
    pub(super) fn new(span: Span, kind: Kind) -> Rc<Node> {
        let weight = match &kind {
            Kind::Scalar(_) | Kind::Poisoned => 1,
            Kind::Sequence(items) => items
                .iter()
                .fold(1, |sum: usize, n| sum.saturating_add(n.weight)),
            Kind::Mapping(entries) => entries
                .iter()
                .fold(1, |sum: usize, e| sum.saturating_add(e.value.weight)),
        };
        Rc::new(Node { span, kind, weight })
    }

    /// `key:` with nothing after it, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(s) if s.plain && matches!(s.text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Poisoned => "an invalid value",
        }
    }
}

/// What became of a text.
pub(super) struct Parsed {
    /// `None` if there is no value at all.
    pub(super) root: Option<Rc<Node>>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Whether the file was read to its end; if not, what is missing from the tree may still be in the file.
    pub(super) complete: bool,
}

/// Reads the text, stepping over the syntax errors whose meaning is plain.
pub(super) fn parse(source: &Source) -> Parsed {
    let unreadable = traps::control_characters(source);
    if !unreadable.is_empty() {
        return Parsed {
            root: None,
            diagnostics: unreadable,
            complete: false,
        };
    }
    let mut text: Vec<char> = source.text().chars().collect();
    let mut diagnostics = Vec::new();
    let mut poisoned = BTreeSet::new();
    for _ in 0..=MAX_REPAIRS {
        let mut builder = Builder::new(&text, &poisoned);
        let outcome = builder.read(Parser::new_from_iter(text.iter().copied()));
        let Err(failure) = outcome else {
            diagnostics.append(&mut builder.diagnostics);
            return Parsed {
                root: builder.root,
                diagnostics,
                complete: true,
            };
        };
        let explained = match failure {
            Failure::Scan(error) => traps::explain(source, &text, &error, builder.open_bracket()),
            Failure::Own(diagnostic) => traps::Explained {
                diagnostics: vec![*diagnostic],
                repair: None,
            },
        };
        diagnostics.extend(explained.diagnostics);
        match explained.repair {
            Some(range) => {
                // As many characters as before, so that places stay what they are in the file.
                poisoned.extend(range.clone());
                text[range].fill('x');
            }
            None => {
                diagnostics.append(&mut builder.diagnostics);
                builder.poison_doubtful();
                builder.close_all();
                return Parsed {
                    root: builder.root,
                    diagnostics,
                    complete: false,
                };
            }
        }
    }
    Parsed {
        root: None,
        diagnostics,
        complete: false,
    }
}

pub(super) fn position(marker: Marker) -> Position {
    Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}
