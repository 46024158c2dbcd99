//! A configuration as YAML that a person would have written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    assemble::Comments,
    value::{Key, Map, Value, What},
};
use crate::config::{diagnostic::Diagnostic, plain::reads_as, source::Source};

/// Longest line, characters.
const WIDTH: usize = 110;

/// Writes a configuration; what was lost is told above it, with its place in `names`.
pub(super) fn write(
    root: &Value,
    comments: &Comments,
    lost: &[&Diagnostic],
    names: &Source,
) -> String {
    let mut writer = Writer {
        out: String::new(),
        above: comments.above.clone(),
        beside: comments.beside.clone(),
    };
    for diagnostic in lost {
        let place = diagnostic.span.map_or(String::new(), |span| {
            format!(
                "{}:{}: ",
                names.file_of(span.start.line).0,
                names.file_of(span.start.line).1
            )
        });
        let _ = writeln!(
            writer.out,
            "# {place}{}: {}",
            diagnostic.severity.as_str(),
            one_line(&diagnostic.message)
        );
    }
    if !lost.is_empty() {
        writer.out.push('\n');
    }
    let What::Map(map) = &root.what else {
        return writer.out;
    };
    for (index, key) in map.0.iter().enumerate() {
        if index > 0 {
            writer.out.push('\n');
        }
        writer.key(key, 0, depth_of(&key.name));
    }
    writer.rest();
    writer.out
}

/// How many levels below a section are blocks, whatever would fit on a line.
fn depth_of(section: &str) -> usize {
    match section {
        "frontends" | "backends" => 2,
        _ => 1,
    }
}

struct Writer {
    out: String,
    above: BTreeMap<usize, Vec<String>>,
    beside: BTreeMap<usize, String>,
}

impl Writer {
    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n("  ", depth));
    }

    /// The comments of lines that a value comes from, above it.
    fn comments(&mut self, lines: &BTreeSet<usize>, depth: usize) {
        let mut all = Vec::new();
        for line in lines {
            all.extend(self.above.remove(line).into_iter().flatten());
            all.extend(self.beside.remove(line));
        }
        for comment in all {
            self.indent(depth);
            let _ = writeln!(self.out, "# {comment}");
        }
    }

    /// What stands on one line, with the comments of the lines that it comes from: behind it if it is one.
    fn line(&mut self, text: &str, lines: &BTreeSet<usize>, depth: usize) {
        let beside = match lines.len() {
            1 => lines.first().and_then(|line| self.beside.remove(line)),
            _ => None,
        };
        self.comments(lines, depth);
        self.indent(depth);
        let _ = match beside {
            Some(comment) => writeln!(self.out, "{text}  # {comment}"),
            None => writeln!(self.out, "{text}"),
        };
    }

    /// `key: value`, blocks for `deep` levels at least.
    fn key(&mut self, key: &Key, depth: usize, deep: usize) {
        let head = format!("{}:", scalar(&key.name, true));
        // A list of names, whose values people compare.
        let is_named = key.name == "acls";
        let is_block =
            (deep > 0 || is_named) && matches!(&key.value.what, What::Map(map) if !map.is_empty());
        let flow = flow(&key.value);
        let fits = 2 * depth + head.chars().count() + 1 + flow.chars().count() <= WIDTH;
        let is_list_of_maps = matches!(&key.value.what, What::List(items) if items.iter().any(|item| matches!(item.what, What::Map(_))));
        let mut lines = BTreeSet::from([key.span.start.line]);
        if !is_block && !is_list_of_maps && (fits || matches!(key.value.what, What::Text { .. })) {
            places(&key.value, &mut lines);
            self.line(&format!("{head} {flow}"), &lines, depth);
            return;
        }
        self.comments(&lines, depth);
        self.indent(depth);
        let _ = writeln!(self.out, "{head}");
        match &key.value.what {
            What::Map(map) => {
                for (index, key) in map.0.iter().enumerate() {
                    if deep == 2 && index > 0 {
                        self.out.push('\n');
                    }
                    self.key(key, depth + 1, deep.saturating_sub(1));
                }
            }
            What::List(items) => items.iter().for_each(|item| self.item(item, depth + 1)),
            What::Text { .. } => {}
        }
    }

    /// `- value`
    fn item(&mut self, item: &Value, depth: usize) {
        let flow = flow(item);
        let mut lines = BTreeSet::new();
        let fits = 2 * depth + 2 + flow.chars().count() <= WIDTH;
        if fits || !matches!(item.what, What::Map(_)) {
            places(item, &mut lines);
            self.line(&format!("- {flow}"), &lines, depth);
            return;
        }
        lines.insert(item.span.start.line);
        self.comments(&lines, depth);
        if let What::Map(Map(keys)) = &item.what {
            for (index, key) in keys.iter().enumerate() {
                let from = self.out.len();
                self.key(key, depth + 1, 0);
                if index == 0 {
                    // The dash stands in the indentation of the first key, behind comments that came with it.
                    let begin = self.out[from..].lines().scan(from, |at, line| {
                        let here = *at;
                        *at += line.len() + 1;
                        Some((here, line))
                    });
                    let first = begin
                        .filter(|(_, line)| !line.trim_start().starts_with('#'))
                        .map(|(at, _)| at)
                        .next();
                    if let Some(at) = first {
                        let dash = at + 2 * depth;
                        self.out.replace_range(dash..dash + 2, "- ");
                    }
                }
            }
        }
    }

    /// Comments that no key came from.
    fn rest(&mut self) {
        let lines: BTreeSet<usize> = self
            .above
            .keys()
            .chain(self.beside.keys())
            .copied()
            .collect();
        if !lines.is_empty() {
            self.out.push('\n');
        }
        self.comments(&lines, 0);
    }
}

/// The lines that a value comes from.
fn places(value: &Value, lines: &mut BTreeSet<usize>) {
    lines.insert(value.span.start.line);
    match &value.what {
        What::Text { .. } => {}
        What::List(items) => items.iter().for_each(|item| places(item, lines)),
        What::Map(map) => map.0.iter().for_each(|key| places(&key.value, lines)),
    }
}

/// On one line.
fn flow(value: &Value) -> String {
    match &value.what {
        // A number or the like; words of the language and what else stood there may need quotes.
        What::Text { text, plain: true } if reads_as(text).is_some() => text.clone(),
        What::Text { text, .. } => scalar(text, false),
        What::List(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        What::Map(map) if map.is_empty() => "{}".to_owned(),
        What::Map(map) => {
            let keys = map
                .0
                .iter()
                .map(|key| format!("{}: {}", scalar(&key.name, true), flow(&key.value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text, in quotes if it would mean something else without.
fn scalar(text: &str, key: bool) -> String {
    let text = if key {
        text.to_owned()
    } else {
        text.replace("${", "$${")
    };
    let safe = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                '_' | '-'
                    | '.'
                    | '/'
                    | ' '
                    | '+'
                    | '='
                    | '~'
                    | '^'
                    | '$'
                    | '('
                    | ')'
                    | ';'
                    | '<'
                    | '\\'
            )
    };
    let begins = text.starts_with(|c: char| {
        c.is_ascii_alphanumeric() || c == '/' || c == '_' || c == '^' || c == '.'
    });
    let plain = begins
        && !text.ends_with(' ')
        && text.chars().all(safe)
        && reads_as(&text).is_none()
        && !text.eq_ignore_ascii_case("null");
    if plain {
        return text;
    }
    let controls = text.chars().any(char::is_control);
    if !controls && (text.contains('"') || text.contains('\\')) && !text.contains('\'') {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Nothing of a message may begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars()
        // A byte order mark must not stand inside a document either.
        .map(|c| {
            if c.is_control() || c == '\u{feff}' {
                ' '
            } else {
                c
            }
        })
        .collect()
}
