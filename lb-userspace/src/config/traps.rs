//! What people mean when they write something that is not YAML.
//!
//! The scanner's own words ("mapping values are not allowed in this context") help nobody who came to forward a port.
//! Each error is explained in the terms of the line, and where it is plain which characters were meant as a value,
//! the reader can step over them and look at the rest of the file.

use std::ops::Range;

use saphyr_parser::ScanError;

use super::{
    diagnostic::Diagnostic,
    source::{Position, Source, Span},
    tree::position,
};

/// Most lines that one mistake is reported in.
const MAX_LINES: usize = 20;

/// A syntax error in plain words.
pub(super) struct Explained {
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Characters of the text to take as a value that is known to be wrong; reading can go on after them.
    pub(super) repair: Option<Range<usize>>,
}

impl From<Diagnostic> for Explained {
    fn from(diagnostic: Diagnostic) -> Self {
        Explained {
            diagnostics: vec![diagnostic],
            repair: None,
        }
    }
}

/// Characters that no text file has: the scanner takes some of them for the end of the file.
pub(super) fn control_characters(source: &Source) -> Vec<Diagnostic> {
    let forbidden = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let mut found = Vec::new();
    for number in 1..=source.line_count() {
        let line = source.line(number).unwrap_or_default();
        if let Some((at, c)) = line.chars().enumerate().find(|(_, c)| forbidden(c)) {
            found.push(
                Diagnostic::error(
                    Span::at(number, at + 1, 1),
                    format!("control character U+{:04X}", u32::from(c)),
                )
                .mend("remove it; if the whole file looks like this, save it as UTF-8 text"),
            );
        }
        if found.len() == MAX_LINES {
            break;
        }
    }
    found
}

/// Says what is wrong. `open` is the place of the innermost collection that is not closed.
pub(super) fn explain(
    source: &Source,
    text: &[char],
    error: &ScanError,
    open: Option<(usize, Position)>,
) -> Explained {
    let at = error.marker().index().min(text.len());
    let place = position(*error.marker());
    let info = error.info();
    if info.contains("unknown anchor") {
        return alias(text, at, place);
    }
    if let Some(explained) = brackets(text, at, place).or_else(|| variable(text, at, place, open)) {
        return explained;
    }
    if info.contains("tab") {
        let lines = tabs(source);
        if !lines.is_empty() {
            return Explained {
                diagnostics: lines,
                repair: None,
            };
        }
    }
    if info.starts_with("unexpected character") {
        return reserved(text, at, place);
    }
    if info.contains("mapping values are not allowed") || info.contains("simple key") {
        return colon(source, place).into();
    }
    if info.contains("quoted scalar") {
        return quote(info, place).into();
    }
    collection(source, text, info, place, open).into()
}

/// `*:9001` and `*.example.com` without quotes are aliases.
fn alias(text: &[char], at: usize, place: Position) -> Explained {
    let end = end_of(text, at, |c| {
        c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}')
    });
    let written: String = text[at..end].iter().collect();
    let name = written.trim_start_matches('*');
    let span = Span::at(place.line, place.column, end - at);
    let diagnostic = if name.starts_with([':', '.']) {
        Diagnostic::error(span, format!("`{written}` without quotes is a YAML alias"))
            .mend(format!("quote it: `\"{written}\"`"))
    } else {
        Diagnostic::error(
            span,
            format!("`{written}` is an alias, but nothing above is marked `&{name}`"),
        )
        .mend(format!(
            "mark the value meant with `&{name}`, or quote `\"{written}\"` if it is text"
        ))
    };
    Explained {
        diagnostics: vec![diagnostic],
        repair: Some(at..end.max(at + 1).min(text.len())),
    }
}

/// `[::]:80` without quotes is a list with something after it.
fn brackets(text: &[char], at: usize, place: Position) -> Option<Explained> {
    if at == 0 || text.get(at - 1) != Some(&']') || text.get(at) != Some(&':') {
        return None;
    }
    let inside = text[..at - 1]
        .iter()
        .rev()
        .take_while(|c| matches!(c, ':' | '.' | '%') || c.is_ascii_hexdigit());
    let start = (at - 1).checked_sub(inside.count())?.checked_sub(1)?;
    if text[start] != '[' {
        return None;
    }
    let end = end_of(text, at, |c| {
        c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}')
    });
    let written: String = text[start..end].iter().collect();
    let span = Span::at(
        place.line,
        place.column.checked_sub(at - start)?,
        end - start,
    );
    let diagnostic = Diagnostic::error(
        span,
        format!("`{written}` without quotes begins a YAML list"),
    )
    .mend(format!("quote it: `\"{written}\"`"));
    Some(Explained {
        diagnostics: vec![diagnostic],
        repair: Some(start..end),
    })
}

/// `${NAME}` inside an inline mapping or list: its brace opens a mapping.
fn variable(
    text: &[char],
    at: usize,
    place: Position,
    open: Option<(usize, Position)>,
) -> Option<Explained> {
    let (opened, _) = open?;
    let start = if text.get(at) == Some(&'{') && at > 0 && text[at - 1] == '$' {
        at - 1
    } else {
        return None;
    };
    let close = start
        + text[start..]
            .iter()
            .take_while(|c| **c != '\n')
            .position(|c| *c == '}')?;
    let blank =
        |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '"' | '\'');
    let end = end_of(text, close + 1, blank);
    let before = text[opened..start]
        .iter()
        .rev()
        .take_while(|c| !blank(**c))
        .count();
    let start_of_value = start - before;
    let written: String = text[start_of_value..end].iter().collect();
    let span = Span::at(
        place.line,
        place.column.checked_sub(at - start_of_value)?,
        end - start_of_value,
    );
    let diagnostic = Diagnostic::error(span, "a variable inside `{ … }` or `[ … ]` needs quotes")
        .mend(format!("quote it: `\"{written}\"`"));
    Some(Explained {
        diagnostics: vec![diagnostic],
        repair: Some(start_of_value..end),
    })
}

/// Lines that tabs indent.
fn tabs(source: &Source) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for number in 1..=source.line_count() {
        let line = source.line(number).unwrap_or_default();
        let rest = line.trim_start_matches([' ', '\t']);
        let indent: Vec<char> = line[..line.len() - rest.len()].chars().collect();
        if let Some(first) = indent
            .iter()
            .position(|c| *c == '\t')
            .filter(|_| !rest.is_empty())
        {
            found.push(
                Diagnostic::error(
                    Span::at(number, first + 1, indent.len() - first),
                    "a tab in the indentation",
                )
                .mend("YAML indents with spaces only: write two spaces a level"),
            );
        }
        if found.len() == MAX_LINES {
            break;
        }
    }
    found
}

/// `@`, `` ` `` and `%` begin no plain value (YAML 1.2 §5.3).
fn reserved(text: &[char], at: usize, place: Position) -> Explained {
    let end = end_of(text, at, |c| c.is_whitespace() || matches!(c, ',' | '}'));
    let written: String = text[at..end].iter().collect();
    let first = text.get(at).copied().unwrap_or(' ');
    let diagnostic = Diagnostic::error(
        Span::at(place.line, place.column, end - at),
        format!("a value cannot begin with `{first}`"),
    )
    .mend(format!("quote it: `\"{written}\"`"));
    Explained {
        diagnostics: vec![diagnostic],
        repair: (end > at).then_some(at..end),
    }
}

/// A `:` where none can be.
fn colon(source: &Source, place: Position) -> Diagnostic {
    let line = source.line(place.line).unwrap_or_default();
    let before: String = line.chars().take(place.column - 1).collect();
    if let Some((_, value)) = before.split_once(": ") {
        let from = place.column - value.chars().count();
        return Diagnostic::error(
            Span::at(place.line, from, line.chars().count() + 1 - from),
            "a value that has `: ` in it needs quotes",
        )
        .mend(format!(
            "write `\"{}\"`",
            line.chars().skip(from - 1).collect::<String>().trim_end()
        ));
    }
    let indent = |line: &str| line.chars().take_while(|c| *c == ' ').count();
    let above = (1..place.line).rev().find_map(|number| {
        let line = source.line(number)?;
        let code = line.trim_start();
        (!code.is_empty() && !code.starts_with('#')).then_some((number, line))
    });
    if let Some((number, above)) = above {
        let code = above.trim_start().trim_start_matches("- ");
        let from = above.chars().count() - code.chars().count() + 1;
        let span = Span::at(number, from, code.chars().count());
        let mut words = code.splitn(2, ':');
        let (key, value) = (words.next().unwrap_or_default(), words.next());
        let named = !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        return match value {
            Some(value) if named && !value.is_empty() && !value.starts_with([' ', '\t']) => {
                Diagnostic::error(span, "a space is missing after the colon")
                    .mend(format!("write `{key}: {value}`"))
            }
            None => Diagnostic::error(span, "this is neither `key: value` nor a list item").mend(
                match code.split_once(' ') {
                    Some((key, value)) => format!("write `{key}: {}`", value.trim()),
                    None => format!("write `{code}:`"),
                },
            ),
            Some(_) => {
                let deep = indent(line);
                let span = Span::at(
                    place.line,
                    deep + 1,
                    line.chars().count().saturating_sub(deep),
                );
                Diagnostic::error(
                    span,
                    format!(
                        "this line is indented deeper than line {number}, which has a value already"
                    ),
                )
                .also(
                    Span::at(number, from, code.chars().count()),
                    "the line above",
                )
                .mend(format!(
                    "indent it by {} spaces like line {number}",
                    indent(above)
                ))
            }
        };
    }
    Diagnostic::error(
        Span::at(place.line, place.column, 1),
        "a `:` is not expected here",
    )
    .mend("quote the value if the colon belongs to it")
}

fn quote(info: &str, place: Position) -> Diagnostic {
    let span = Span::at(place.line, place.column, 1);
    if info.contains("trailing content") {
        return Diagnostic::error(span, "there is text after the closing quote")
            .mend("quote the whole value; inside '…' an apostrophe is written twice ('it''s')");
    }
    if info.contains("escape") || info.contains("hexadecimal") {
        return Diagnostic::error(
            span,
            "inside double quotes a backslash begins an escape, and this one is unknown",
        )
        .mend(
            r"write `\\` for a backslash, or use single quotes, where it is an ordinary character",
        );
    }
    if info.contains("tab") {
        return Diagnostic::error(span, "a tab indents the text inside these quotes")
            .mend("indent with spaces");
    }
    Diagnostic::error(span, "this quote is not closed before the next key")
        .mend("write the closing quote")
}

/// Brackets, list items and indentation.
fn collection(
    source: &Source,
    text: &[char],
    info: &str,
    place: Position,
    open: Option<(usize, Position)>,
) -> Diagnostic {
    let span = Span::at(place.line, place.column, 1);
    let line = source.line(place.line).unwrap_or_default();
    let first_in_line = line.chars().take(place.column - 1).all(|c| c == ' ');
    let bracket = open.and_then(|(at, opened)| match text.get(at) {
        Some('{') => Some(('{', '}', opened)),
        Some('[') => Some(('[', ']', opened)),
        _ => None,
    });
    if info.contains("misplaced bracket") {
        return Diagnostic::error(span, "this bracket closes nothing")
            .mend("remove it, or quote the value it is part of");
    }
    if let Some((opening, closing, opened)) = bracket {
        return Diagnostic::error(
            Span::at(opened.line, opened.column, 1),
            format!("this `{opening}` is not closed before line {}, or a comma is missing in it", place.line),
        )
        .also(span, format!("`,` or `{closing}` was expected here"))
        .mend(format!("write the missing `{closing}` or `,`; a text that has brackets or commas in it wants quotes"));
    }
    if info.contains("block sequence entries") || info.contains("only valid inside a block") {
        return Diagnostic::error(span, "a list item cannot begin here").mend(
            "put `- …` on a line of its own below the key, or write the list inline: `[a, b]`",
        );
    }
    if info.contains("expected '-' indicator") && first_in_line {
        return Diagnostic::error(span, "a list item is expected here")
            .mend("begin the line with `- `, or indent it like the key that the list belongs to");
    }
    if first_in_line && (info.contains("expected key") || info.contains("indentation")) {
        let deep = place.column - 1;
        return Diagnostic::error(
            span,
            format!("the indentation of {deep} spaces is that of no line above"),
        )
        .mend("line it up with the keys that it belongs beside");
    }
    if info.contains("expected key") || info.contains("indicator") {
        return Diagnostic::error(span, "there is text after the end of the value")
            .mend("quote the whole value, or begin a new line");
    }
    Diagnostic::error(span, format!("not YAML: {info}"))
        .mend("see https://yaml.org/spec/1.2.2/ for the syntax")
}

/// First index from `at` on where `stop` holds, or the end of the text.
fn end_of(text: &[char], at: usize, stop: impl Fn(char) -> bool) -> usize {
    text[at.min(text.len())..]
        .iter()
        .position(|c| stop(*c))
        .map_or(text.len(), |more| at + more)
}
