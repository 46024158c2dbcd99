//! From the tree to values: the small set of readers that every section is written with.
//!
//! No reader stops at an error: it reports and answers `None`, and the section goes on with the next key.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{
    diagnostic::Diagnostic,
    elsewhere::Hints,
    logging::LogFiles,
    model::Resolvers,
    plain::reads_as,
    source::{Span, Spanned},
    tls::Wanted,
    tree::{Entry, Kind, Node},
    units::{self, Problem},
    variables,
};
use crate::rules::{Captures, Fact, Live, Place, Registry, suggest};

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the readers share.
pub(super) struct Decoder<'a> {
    pub(super) environment: Environment<'a>,
    /// Relative paths begin here.
    pub(super) base: &'a Path,
    /// The file was read to its end, so what is missing is missing.
    pub(super) complete: bool,
    /// What expressions refer to by name.
    pub(super) registry: Registry<'a>,
    /// Where each of the registry's tables was first named.
    pub(super) named_tables: Vec<Span>,
    /// Files that rules change what was read of, and where they say so.
    pub(super) live: Vec<Spanned<Arc<Live>>>,
    /// What the frontend that is being read keeps of messages; `None` elsewhere.
    pub(super) captures: Option<Captures>,
    /// Proxies and servers that expressions name.
    pub(super) facts: Vec<Spanned<Fact>>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// TLS settings whose files are to be looked at.
    pub(super) tls: Vec<Wanted>,
    /// Whom servers' names can be asked of.
    pub(super) resolvers: Vec<Arc<Resolvers>>,
    /// `defaults.health_check`, which servers may change parts of.
    pub(super) default_check: Option<Entry>,
    /// Files that log lines go to.
    pub(super) log_files: LogFiles,
    /// The files that are being read, each with the line at which it begins among all of them.
    pub(super) files: Vec<(usize, Arc<str>)>,
}

/// Text with where it came from.
struct Text {
    value: String,
    /// Unquoted, and no variable was in it.
    plain: bool,
}

impl Decoder<'_> {
    /// Where something begins, as whoever wrote it knows the place.
    pub(super) fn place(&self, span: Span) -> Place {
        let line = span.start.line;
        let file = self.files.iter().rev().find(|(first, _)| *first <= line);
        let (first, file) = match file {
            Some((first, file)) => (*first, Arc::clone(file)),
            None => (1, Arc::from("")),
        };
        let line = u32::try_from(line - first + 1).unwrap_or(u32::MAX);
        Place::new(&file, line)
    }

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
        // What is not built yet is not the value's fault.
        let message = match problem.message.starts_with("unsupported: ") {
            true => problem.message,
            false => format!("{what}: {}", problem.message),
        };
        self.report(Diagnostic::error(span, message).mend_maybe(problem.mend));
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
        #[cfg(test)]
        super::record::value(node, super::record::Read::Boolean);
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
        #[cfg(test)]
        {
            let end = |number: &T| number.to_string().parse().unwrap_or(i64::MAX);
            let read = super::record::Read::Number(end(range.start()), end(range.end()));
            super::record::value(node, read);
        }
        let text = self.word(node, what)?;
        let number = text.parse::<i64>().ok();
        let meant = units::meant_number(&text);
        self.in_range(
            node,
            &format!("{what} must be"),
            (&text, number),
            meant,
            range,
        )
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
        let what = format!("{what} must be `{word}` or");
        let meant = units::meant_number(&text);
        self.in_range(node, &what, (&text, number), meant, range)
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
        let meant = units::meant_size(&text);
        self.in_range(
            node,
            &format!("{what} must be"),
            (&text, number),
            meant,
            range,
        )
    }

    /// The number that a text is, if it is one of `range`; `meant` is what is written instead of a text that is none.
    fn in_range<T>(
        &mut self,
        node: &Node,
        what: &str,
        (text, number): (&str, Option<i64>),
        meant: Option<String>,
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
                    "{what} a whole number from {} to {}, not `{text}`",
                    range.start(),
                    range.end()
                );
                let mend = match (number, meant) {
                    (Some(_), _) => "write a number in that range".to_owned(),
                    (None, Some(meant)) => format!("write `{meant}`"),
                    (None, None) => "write decimal digits alone".to_owned(),
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
        self.any_choice(node, what, choices, unsupported, &[])
    }

    /// The same, and what to write for words of other balancers, in lower case and with `_`.
    pub(super) fn hinted_choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        choices: &[(&str, T)],
        hints: Hints,
    ) -> Option<T> {
        self.any_choice(node, what, choices, &[], hints)
    }

    fn any_choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        choices: &[(&str, T)],
        unsupported: &[&str],
        hints: Hints,
    ) -> Option<T> {
        #[cfg(test)]
        {
            let names = choices.iter().map(|(name, _)| (*name).to_owned());
            super::record::value(node, super::record::Read::Choice(names.collect()));
        }
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
        let plain = text.to_ascii_lowercase().replace(['-', ' '], "_");
        let word = plain.split('_').next().unwrap_or_default();
        let hint = |word: &str| hints.iter().find(|(known, _)| *known == word);
        if let Some((_, hint)) = hint(&plain).or_else(|| hint(word)) {
            self.error(node.span, format!("{what} cannot be `{text}`"), *hint);
            return None;
        }
        let mend = match suggest::nearest(&text, names.iter().copied()) {
            Some(near) if choices.len() > 8 => format!("did you mean `{near}`?"),
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

/// `` `a`, `b` or `c` ``
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}
