//! What `lb check` says: errors and warnings with their place, and how they are written for people and for tools.

use std::fmt::{self, Write as _};

use serde_json::json;

use super::source::{Source, Span};

/// Longest stretch of a source line that is shown, in characters.
const SHOWN: usize = 120;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted.
    Warning,
}

impl Severity {
    /// As it is written: `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None` when it is about no place in the text.
    pub span: Option<Span>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub mend: Option<String>,
    /// Another place that has to do with it, and what it is.
    pub related: Option<(Span, String)>,
}

impl Diagnostic {
    pub(super) fn error(span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            span: Some(span),
            message: message.into(),
            mend: None,
            related: None,
        }
    }

    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(span, message)
        }
    }

    /// About the file as a whole or about the host.
    pub(super) fn unplaced(severity: Severity, message: impl Into<String>) -> Self {
        Diagnostic {
            severity,
            span: None,
            message: message.into(),
            mend: None,
            related: None,
        }
    }

    pub(super) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// Whether the file cannot be run for it.
    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(super) fn mend_maybe(mut self, mend: Option<String>) -> Self {
        self.mend = mend;
        self
    }

    pub(super) fn also(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related = Some((span, what.into()));
        self
    }
}

/// All that was found in one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorted by place, each thing once; what has no place comes last.
    pub fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        for span in list.iter_mut().flat_map(|d| {
            d.span
                .iter_mut()
                .chain(d.related.iter_mut().map(|(span, _)| span))
        }) {
            *span = source.clamp(*span);
        }
        list.sort_by(|a, b| {
            let key =
                |d: &Diagnostic| (d.span.is_none(), d.span.map(|span| span.start), d.severity);
            key(a).cmp(&key(b))
        });
        list.dedup();
        Diagnostics { source, list }
    }

    /// The file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count()
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds what further checks found.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Diagnostic>) {
        let list = std::mem::take(&mut self.list)
            .into_iter()
            .chain(more)
            .collect();
        *self = Diagnostics::new(self.source.clone(), list);
    }

    /// For people: a paragraph each, coloured when `colour` is set.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.list {
            // Writing to a String cannot fail.
            let _ = self.render_one(
                &mut out,
                diagnostic,
                &Palette::new(colour, diagnostic.severity),
            );
        }
        out
    }

    /// For tools: an array of objects with `file`, `line`, `column`, `end_line`, `end_column`, `severity`, `message`,
    /// `mend`, `source` and `related`; places are null where there is none.
    pub fn to_json(&self) -> serde_json::Value {
        self.list
            .iter()
            .map(|d| {
                let line = |line: usize| self.source.file_of(line).1;
                let file = d.span.map(|s| self.source.file_of(s.start.line).0);
                json!({
                    "file": file.unwrap_or(self.source.name()),
                    "line": d.span.map(|s| line(s.start.line)),
                    "column": d.span.map(|s| s.start.column),
                    "end_line": d.span.map(|s| line(s.end.line)),
                    "end_column": d.span.map(|s| s.end.column),
                    "severity": d.severity.as_str(),
                    "message": d.message,
                    "mend": d.mend,
                    "source": d.span.and_then(|s| self.source.line(s.start.line)),
                    "related": d.related.as_ref().map(|(span, what)| json!({
                        "line": line(span.start.line), "column": span.start.column, "message": what,
                    })),
                })
            })
            .collect()
    }

    fn render_one(
        &self,
        out: &mut String,
        diagnostic: &Diagnostic,
        paint: &Palette,
    ) -> fmt::Result {
        let place = |span: Span| {
            let (name, line) = self.source.file_of(span.start.line);
            format!("{name}:{line}:{}", span.start.column)
        };
        write!(out, "{}", paint.bold)?;
        match diagnostic.span {
            Some(span) => write!(out, "{}: ", place(span))?,
            None => write!(out, "{}: ", self.source.name())?,
        }
        let severity = diagnostic.severity.as_str();
        let message = printable(&diagnostic.message);
        writeln!(
            out,
            "{}{severity}:{} {}{message}{}",
            paint.severity, paint.off, paint.bold, paint.off
        )?;
        if let Some(span) = diagnostic.span {
            self.render_line(out, span, paint)?;
        }
        if let Some((span, what)) = &diagnostic.related {
            writeln!(out, "{}: {}", place(*span), printable(what))?;
            self.render_line(
                out,
                *span,
                &Palette {
                    severity: paint.dim,
                    ..*paint
                },
            )?;
        }
        if let Some(mend) = &diagnostic.mend {
            writeln!(out, "  {}={} {}", paint.mend, paint.off, printable(mend))?;
        }
        Ok(())
    }

    /// The source line, and carets under the span.
    fn render_line(&self, out: &mut String, span: Span, paint: &Palette) -> fmt::Result {
        let Some(line) = self
            .source
            .line(span.start.line)
            .filter(|line| !line.trim().is_empty())
        else {
            return Ok(());
        };
        let characters: Vec<char> = line.chars().collect();
        let first = (span.start.column - 1).min(characters.len());
        let last = match span.end.line == span.start.line {
            true => (span.end.column - 1).clamp(first, characters.len()),
            false => characters.len(),
        };
        // A line too long for a terminal is cut around the place.
        let from = match characters.len() > SHOWN && first > SHOWN / 2 {
            true => first - SHOWN / 2,
            false => 0,
        };
        let to = characters.len().min(from + SHOWN);
        let (head, tail) = (
            if from > 0 { "…" } else { "" },
            if to < characters.len() { "…" } else { "" },
        );
        let shown = printable_line(&characters[from..to]);
        let pad: String = characters[from..first]
            .iter()
            .map(|c| if *c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(last.min(to).saturating_sub(first).max(1));
        writeln!(out, "    {head}{shown}{tail}")?;
        writeln!(
            out,
            "    {}{pad}{}{carets}{}",
            " ".repeat(head.chars().count()),
            paint.severity,
            paint.off
        )
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

/// Escape sequences of ECMA-48 (SGR), or nothing.
#[derive(Clone, Copy)]
struct Palette {
    severity: &'static str,
    bold: &'static str,
    dim: &'static str,
    mend: &'static str,
    off: &'static str,
}

impl Palette {
    fn new(colour: bool, severity: Severity) -> Palette {
        if !colour {
            return Palette {
                severity: "",
                bold: "",
                dim: "",
                mend: "",
                off: "",
            };
        }
        let severity = match severity {
            Severity::Error => "\x1b[1;31m",
            Severity::Warning => "\x1b[1;33m",
        };
        Palette {
            severity,
            bold: "\x1b[1m",
            dim: "\x1b[2m",
            mend: "\x1b[1;32m",
            off: "\x1b[0m",
        }
    }
}

/// A file's text must not be able to steer the terminal it is shown on.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn printable_line(characters: &[char]) -> String {
    characters
        .iter()
        .map(|c| {
            if c.is_control() && *c != '\t' {
                '\u{fffd}'
            } else {
                *c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics::new(Source::new("lb.yaml", text), vec![diagnostic])
    }

    #[test]
    fn shows_place_line_caret_and_mend() {
        let found = one(
            "a: 1\n\tbc: ä\n",
            Diagnostic::error(Span::at(2, 2, 2), "what").mend("do"),
        );
        assert_eq!(
            found.to_string(),
            "lb.yaml:2:2: error: what\n    \tbc: ä\n    \t^^\n  = do"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}HERE{}", "x".repeat(500), "y".repeat(500));
        let shown = one(&text, Diagnostic::error(Span::at(1, 501, 4), "w")).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[1]
            .find("HERE")
            .map(|byte| lines[1][..byte].chars().count());
        assert_eq!(at, lines[2].find('^'));
        assert!(lines[1].chars().count() < 140, "{}", lines[1]);
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let shown = one(
            "a\u{1b}[2Jb",
            Diagnostic::error(Span::at(1, 1, 9), "x\u{1b}y"),
        )
        .to_string();
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn json_has_every_fact() {
        let found = one(
            "a: 1",
            Diagnostic::warning(Span::at(1, 4, 1), "w").also(Span::at(1, 1, 1), "first"),
        );
        let json = found.to_json();
        assert_eq!(json[0]["line"], 1);
        assert_eq!(json[0]["column"], 4);
        assert_eq!(json[0]["severity"], "warning");
        assert_eq!(json[0]["related"]["column"], 1);
        assert_eq!(json[0]["source"], "a: 1");
    }
}
