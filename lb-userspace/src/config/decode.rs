//! From the tree to values: the small set of readers that every section is written with.
//!
//! No reader stops at an error: it reports and answers `None`, and the section goes on with the next key.

use std::{
    collections::HashSet,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use super::{
    diagnostic::Diagnostic,
    source::{Span, Spanned},
    suggest,
    tree::{Entry, Kind, Node},
    units::{self, Problem},
    variables,
};

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the readers share.
pub(super) struct Decoder<'a> {
    pub(super) environment: Environment<'a>,
    /// Relative paths begin here.
    pub(super) base: &'a Path,
    /// The file was read to its end, so what is missing is missing.
    pub(super) complete: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A mapping whose keys are taken one by one; what is left at the end is an error.
pub(super) struct Table<'n> {
    /// As in "in frontend `web`".
    place: String,
    /// Where the mapping belongs to, for keys that are missing.
    pub(super) span: Span,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

/// Text with where it came from.
struct Text {
    value: String,
    /// Unquoted, and no variable was in it.
    plain: bool,
}

impl Decoder<'_> {
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.report(Diagnostic::error(span, message).mend(mend));
    }

    pub(super) fn problem(&mut self, span: Span, what: &str, problem: Problem) {
        self.report(
            Diagnostic::error(span, format!("{what}: {}", problem.message))
                .mend_maybe(problem.mend),
        );
    }

    /// A key that has to be there is not.
    pub(super) fn missing(&mut self, table: &Table<'_>, key: &str, mend: impl Into<String>) {
        if self.complete {
            self.report(
                Diagnostic::error(table.span, format!("`{key}` is missing in {}", table.place))
                    .mend(mend),
            );
        }
    }

    /// A mapping; nothing at all is an empty one. `span` is what stands for it in messages.
    pub(super) fn table<'n>(
        &mut self,
        node: &'n Node,
        span: Span,
        place: impl Into<String>,
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
                    "write `key: value` lines, indented, or `{ key: value }`",
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

    /// A list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Rc<Node>] {
        match &node.kind {
            Kind::Sequence(items) => items,
            Kind::Poisoned => &[],
            _ => {
                let mend = if node.is_null() {
                    "write `[…]`, or remove the key"
                } else {
                    "write `- …` lines or `[…, …]`"
                };
                self.error(
                    node.span,
                    format!("{what} must be a list, this is {}", node.kind_name()),
                    mend,
                );
                &[]
            }
        }
    }

    /// A list, or one item that stands for a list of one.
    pub(super) fn one_or_more<'n>(&mut self, node: &'n Rc<Node>) -> &'n [Rc<Node>] {
        match &node.kind {
            Kind::Sequence(items) => items,
            _ => std::slice::from_ref(node),
        }
    }

    /// Text of any form, variables filled in.
    fn scalar(&mut self, node: &Node, what: &str) -> Option<Text> {
        let scalar = match &node.kind {
            Kind::Poisoned => return None,
            Kind::Scalar(scalar) if !node.is_null() => scalar,
            Kind::Scalar(_) => {
                self.error(
                    node.span,
                    format!("{what} has no value"),
                    "write one, or remove the key",
                );
                return None;
            }
            _ => {
                self.error(
                    node.span,
                    format!(
                        "{what} must be a single value, this is {}",
                        node.kind_name()
                    ),
                    "write one value; a text with brackets or braces in it wants quotes",
                );
                return None;
            }
        };
        match variables::expand(&scalar.text, self.environment) {
            Ok(expanded) => Some(Text {
                value: expanded.text,
                plain: scalar.plain && !expanded.changed,
            }),
            Err(problem) => {
                self.problem(node.span, what, problem);
                None
            }
        }
    }

    /// Text that is parsed further, so that it does not matter how YAML would type it.
    pub(super) fn word(&mut self, node: &Node, what: &str) -> Option<String> {
        self.scalar(node, what).map(|text| text.value)
    }

    /// Text that means itself. Unquoted text that YAML readers take for something else is refused.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.scalar(node, what)?;
        if let Some(kind) = Some(&text.value)
            .filter(|_| text.plain)
            .and_then(|value| reads_as(value))
        {
            self.error(
                node.span,
                format!(
                    "{what} must be text, but `{}` without quotes is {kind} to many YAML readers",
                    text.value
                ),
                format!("quote it: `\"{}\"`", text.value),
            );
            return None;
        }
        Some(text.value)
    }

    /// Text that no message may repeat.
    pub(super) fn secret(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.scalar(node, what)?;
        if let Some(kind) = Some(&text.value)
            .filter(|_| text.plain)
            .and_then(|value| reads_as(value))
        {
            let message = format!(
                "{what} must be text, but without quotes it is {kind} to many YAML readers"
            );
            self.error(node.span, message, "quote it");
            return None;
        }
        Some(text.value)
    }

    /// Text that is not empty and has no control characters.
    pub(super) fn line(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.is_empty() {
            self.error(
                node.span,
                format!("{what} is empty"),
                "write a text, or remove the key",
            );
            return None;
        }
        if text.chars().any(char::is_control) {
            self.error(
                node.span,
                format!("{what} has a line break or control character in it"),
                "write it in one line",
            );
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        let text = self.word(node, what)?;
        let mend = match text.to_ascii_lowercase().as_str() {
            "true" if text == "true" => return Some(true),
            "false" if text == "false" => return Some(false),
            "yes" | "on" | "y" | "1" | "true" | "enabled" => "write `true`",
            "no" | "off" | "n" | "0" | "false" | "disabled" => "write `false`",
            _ => "write `true` or `false`",
        };
        self.error(
            node.span,
            format!("{what} must be true or false, not `{text}`"),
            mend,
        );
        None
    }

    /// A whole number in a range.
    pub(super) fn number<T>(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<T>,
    ) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display,
    {
        let text = self.word(node, what)?;
        let number = text.parse::<i64>().ok();
        self.in_range(node, what, &text, number, range)
    }

    /// A whole number in a range, or a word that stands for "none given".
    pub(super) fn number_or<T>(
        &mut self,
        node: &Node,
        what: &str,
        word: &str,
        range: RangeInclusive<T>,
    ) -> Option<Option<T>>
    where
        T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display,
    {
        let text = self.word(node, what)?;
        if text == word {
            return Some(None);
        }
        let number = text.parse::<i64>().ok();
        self.in_range(
            node,
            &format!("{what}, unless `{word}`,"),
            &text,
            number,
            range,
        )
        .map(Some)
    }

    /// A whole number that may end in k, m or g (powers of 1024).
    pub(super) fn size(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let text = self.word(node, what)?;
        let number = units::size(&text).and_then(|size| i64::try_from(size).ok());
        self.in_range(node, what, &text, number, range)
    }

    fn in_range<T>(
        &mut self,
        node: &Node,
        what: &str,
        text: &str,
        number: Option<i64>,
        range: RangeInclusive<T>,
    ) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display,
    {
        match number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
        {
            Some(number) => Some(number),
            None => {
                let message = format!(
                    "{what} must be a whole number from {} to {}, not `{text}`",
                    range.start(),
                    range.end()
                );
                let mend = match number {
                    Some(_) => "write a number in that range",
                    None => "write decimal digits alone",
                };
                self.error(node.span, message, mend);
                None
            }
        }
    }

    /// A duration of at least `least`.
    pub(super) fn duration(
        &mut self,
        node: &Node,
        what: &str,
        least: Duration,
    ) -> Option<Duration> {
        let text = self.word(node, what)?;
        match units::duration(&text) {
            Ok(duration) if duration >= least => Some(duration),
            Ok(_) => {
                let least = least.as_millis();
                self.error(
                    node.span,
                    format!("{what} must be at least {least}ms, not `{text}`"),
                    "write a longer duration",
                );
                None
            }
            Err(problem) => {
                self.problem(node.span, what, problem);
                None
            }
        }
    }

    /// One of a set of words. `unsupported` are words of the format whose work is not built yet.
    pub(super) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        choices: &[(&str, T)],
        unsupported: &[&str],
    ) -> Option<T> {
        let text = self.word(node, what)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let all = one_of(&names);
        if unsupported
            .iter()
            .any(|name| *name == text || text.starts_with(&format!("{name} ")))
        {
            self.error(
                node.span,
                format!("unsupported: {what} `{text}` is not built yet"),
                format!("write {all}"),
            );
            return None;
        }
        let mend = match suggest::nearest(&text, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? It takes {all}"),
            None => format!("write {all}"),
        };
        self.error(node.span, format!("{what} cannot be `{text}`"), mend);
        None
    }

    /// A path; relative ones begin at the file's folder.
    pub(super) fn path(&mut self, node: &Node, what: &str) -> Option<PathBuf> {
        self.line(node, what).map(|text| self.base.join(text))
    }

    /// A value read by one of the pure parsers.
    pub(super) fn parsed<T>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<Spanned<T>> {
        let text = self.word(node, what)?;
        match parse(&text) {
            Ok(value) => Some(Spanned::new(value, node.span)),
            Err(problem) => {
                self.problem(node.span, what, problem);
                None
            }
        }
    }

    /// The name of a frontend, backend or server, in HAProxy's alphabet.
    pub(super) fn name(&mut self, name: &str, span: Span, what: &str) -> bool {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        if name.is_empty() || name.len() > 128 || !name.chars().all(good) {
            self.error(
                span,
                format!("`{name}` cannot be the name of a {what}"),
                "write up to 128 letters, digits, `_`, `-`, `.` or `:`",
            );
            return false;
        }
        if matches!(name, "FRONTEND" | "BACKEND") {
            self.error(
                span,
                format!("`{name}` is what statistics call a whole proxy"),
                "choose another name",
            );
            return false;
        }
        true
    }
}

impl<'n> Table<'n> {
    /// The entry of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key)
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

/// `` `a`, `b` or `c` ``
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// What readers of YAML 1.1 or 1.2 make of unquoted text, where they do not agree that it is the same text.
fn reads_as(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    ) {
        return Some("a boolean");
    }
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    let digits = |text: &str, radix: u32| {
        !text.is_empty() && text.chars().all(|c| c.is_digit(radix) || c == '_')
    };
    if unsigned == ".inf" || lower == ".nan" {
        return Some("a number");
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| digits(rest, radix))
        {
            return Some("a number in another base");
        }
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if digits(unsigned, 10) {
        // Plain decimal digits are the same text to everyone.
        let same = unsigned == text
            && !unsigned.contains('_')
            && (unsigned == "0" || !unsigned.starts_with('0'));
        return (!same).then_some("a number");
    }
    if unsigned.contains(':')
        && unsigned
            .split(':')
            .all(|part| digits(part, 10) && part.len() <= 2)
    {
        return Some("a number in base 60");
    }
    let date = unsigned.split('-').collect::<Vec<_>>();
    if let [year, month, day] = date[..]
        && year.len() == 4
        && [year, month, day].iter().all(|part| digits(part, 10))
    {
        return Some("a date");
    }
    unsigned.parse::<f64>().is_ok().then_some("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_text_is_recognised() {
        for text in [
            "yes",
            "No",
            "on",
            "OFF",
            "true",
            "y",
            "0x1f",
            "0o17",
            "0b1",
            "017",
            "1_000",
            "22:30",
            "1:2:3",
            "1e3",
            "1.5",
            ".5",
            ".inf",
            "-.INF",
            ".NaN",
            "+1",
            "-0x10",
            "2026-11-23",
            "1.",
        ] {
            assert!(reads_as(text).is_some(), "{text}");
        }
        for text in [
            "a",
            "1",
            "0",
            "300",
            "ms1.srv1",
            "1.2.3.4",
            "1.2.3.4:80",
            "2026-11",
            "abc:1",
            "0xzz",
            "",
            "-",
            "22:abc",
        ] {
            assert_eq!(reads_as(text), None, "{text}");
        }
    }
}
