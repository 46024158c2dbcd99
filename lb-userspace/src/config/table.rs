//! Mappings whose keys are taken one by one, so that what nobody takes is known.

use std::collections::HashSet;

use super::{
    decode::{Decoder, one_of},
    diagnostic::Diagnostic,
    source::Span,
    tree::{Entry, Kind, Node},
};
use crate::rules::suggest;

/// A mapping whose keys are taken one by one; what is left at the end is an error.
pub(super) struct Table<'n> {
    /// As in "in frontend `web`".
    place: String,
    /// Where the mapping belongs to, for keys that are missing.
    pub(super) span: Span,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl Decoder<'_> {
    /// A key that has to be there is not.
    pub(super) fn missing(&mut self, table: &Table<'_>, key: &str, mend: impl Into<String>) {
        if self.complete {
            self.report(
                Diagnostic::error(table.span, format!("`{key}` is missing in {}", table.place))
                    .mend(mend),
            );
        }
    }

    /// A mapping says none of what it may say.
    pub(super) fn says_nothing(&mut self, table: &Table<'_>, mend: impl Into<String>) {
        if self.complete {
            let message = format!("{} does not say what", table.place);
            self.report(Diagnostic::error(table.span, message).mend(mend));
        }
    }

    /// A mapping; nothing at all is an empty one. `span` is what stands for it in messages.
    pub(super) fn table<'n>(
        &mut self,
        node: &'n Node,
        span: Span,
        place: impl Into<String>,
    ) -> Option<Table<'n>> {
        let mend = "write `key: value` lines, indented, or `{ key: value }`";
        self.table_or(node, span, place, mend)
    }

    /// The same, and what to write instead of a single value.
    pub(super) fn table_or<'n>(
        &mut self,
        node: &'n Node,
        span: Span,
        place: impl Into<String>,
        mend: impl Into<String>,
    ) -> Option<Table<'n>> {
        let place = place.into();
        let entries: &[Entry] = match &node.kind {
            Kind::Mapping(entries) => entries,
            Kind::Poisoned => return None,
            _ if node.is_null() => &[],
            _ => {
                self.error(
                    node.span,
                    format!(
                        "{place} must be a mapping of keys and values, this is {}",
                        node.kind_name()
                    ),
                    mend,
                );
                return None;
            }
        };
        Some(Table {
            place,
            span,
            entries,
            known: Vec::new(),
        })
    }
}

impl<'n> Table<'n> {
    /// The entry of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The keys that were asked for.
    pub(super) fn keys(&self) -> &[&'static str] {
        &self.known
    }

    /// All entries, for mappings whose keys are names.
    pub(super) fn entries(&self) -> &'n [Entry] {
        self.entries
    }

    /// Reports every key that was not asked for. `unsupported` are keys of the format whose work is not built yet;
    /// `hints` say what to write for words of other balancers.
    pub(super) fn finish(
        self,
        d: &mut Decoder<'_>,
        unsupported: &[&'static str],
        hints: &[(&str, &str)],
    ) {
        #[cfg(test)]
        super::record::table(self.entries, &self.known);
        let known: HashSet<&str> = self.known.iter().copied().collect();
        for entry in self
            .entries
            .iter()
            .filter(|entry| !known.contains(entry.key.as_str()))
        {
            let key = &entry.key;
            if unsupported.contains(&key.as_str()) {
                d.error(
                    entry.key_span,
                    format!("unsupported: `{key}` in {} is not built yet", self.place),
                    "remove it until it is",
                );
                continue;
            }
            let every = || self.known.iter().chain(unsupported).copied();
            let mend = match hints.iter().find(|(word, _)| word == key) {
                Some((_, hint)) => (*hint).to_owned(),
                None => match suggest::nearest(key, every()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it takes {}", one_of(&self.known)),
                },
            };
            d.error(
                entry.key_span,
                format!("unknown key `{key}` in {}", self.place),
                mend,
            );
        }
    }
}
