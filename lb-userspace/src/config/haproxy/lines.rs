//! The lines of haproxy.cfg files that count: words cut, `.if` blocks resolved, comments put aside.

use std::collections::BTreeMap;

use super::{
    predicate, variables,
    words::{self, Word},
};
use crate::config::{
    decode::Environment,
    diagnostic::Diagnostic,
    source::{Source, Span},
};

/// A line with at least one word.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) words: Vec<Word>,
}

impl Line {
    /// Its first word's text.
    pub(super) fn keyword(&self) -> &str {
        self.text(0)
    }

    /// The text of a word, empty if there are not so many.
    pub(super) fn text(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| word.text.as_str())
    }

    /// From its first word to its last.
    pub(super) fn span(&self) -> Span {
        let at = |word: Option<&Word>| word.map(|word| word.span);
        match (at(self.words.first()), at(self.words.last())) {
            (Some(first), Some(last)) => Span {
                start: first.start,
                end: last.end,
            },
            _ => Span::at(1, 1, 1),
        }
    }

    /// The place of a word, or of the line's end.
    pub(super) fn span_of(&self, index: usize) -> Span {
        self.words
            .get(index)
            .map_or_else(|| self.span(), |word| word.span)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    /// Comments on lines of their own, by the line of the directive that follows them.
    pub(super) above: BTreeMap<usize, Vec<String>>,
    /// Comments behind directives, by line.
    pub(super) beside: BTreeMap<usize, String>,
    /// `# lb: …`: keys of ours.
    pub(super) directives: Vec<(String, Span)>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Words that begin sections.
pub(super) const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "resolvers",
    "http-errors",
    "peers",
    "mailers",
    "cache",
    "ring",
    "program",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
];

/// A block of `.if`.
struct Block {
    span: Span,
    /// Whether the lines around it count.
    outer: bool,
    /// Whether one of its branches has counted.
    taken: bool,
    counts: bool,
    last: bool,
}

/// Reads a file's lines.
pub(super) fn read(source: &Source, environment: Environment<'_>) -> Lines {
    let mut found = Lines::default();
    let mut blocks: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut waiting = Vec::new();
    let mut changed = variables::Variables::new(environment);
    for number in 1..=source.line_count() {
        let text = source.line(number).unwrap_or_default();
        let lookup = |name: &str| match name {
            ".FILE" => Some(source.file_of(number).0.to_owned()),
            ".LINE" => Some(source.file_of(number).1.to_string()),
            ".SECTION" => Some(section.clone()),
            name => changed.get(name),
        };
        let counts = blocks.last().is_none_or(|block| block.counts);
        let cut = match words::split(text, number, &lookup) {
            Ok(cut) => cut,
            Err(bad) => {
                if counts {
                    found
                        .diagnostics
                        .push(Diagnostic::error(bad.span, bad.message).mend(bad.mend));
                }
                continue;
            }
        };
        if let Some(span) = cut.cut.filter(|_| counts) {
            let message = "`\\x00` ends the word, in HAProxy as well: what follows it is lost";
            found.diagnostics.push(Diagnostic::warning(span, message));
        }
        let Some(first) = cut.words.first() else {
            if let Some(comment) = cut.comment.filter(|_| counts) {
                let indent = text.chars().take_while(|c| c.is_whitespace()).count();
                match comment.trim_start().strip_prefix("lb:") {
                    Some(ours) => found.directives.push((
                        ours.trim().to_owned(),
                        Span::at(number, indent + 1, text.trim().chars().count()),
                    )),
                    None => waiting.push(remark(&comment)),
                }
            }
            continue;
        };
        if first.text.starts_with('.') && first.text.len() > 1 {
            let line = Line { words: cut.words };
            conditional(&line, &mut blocks, &lookup, &mut found.diagnostics);
            continue;
        }
        if !counts {
            continue;
        }
        let mut line = Line { words: cut.words };
        variables::in_addresses(&mut line, &lookup);
        if SECTIONS.contains(&line.keyword()) {
            let name = line.words.get(1).map_or(line.keyword(), |word| &word.text);
            section = name.to_owned();
        }
        if !waiting.is_empty() {
            found.above.insert(number, std::mem::take(&mut waiting));
        }
        if let Some(comment) = cut.comment {
            found.beside.insert(number, remark(&comment));
        }
        if section_is_global(&found.lines, &line) {
            changed.line(&line);
        }
        found.lines.push(line);
    }
    for block in blocks {
        found.diagnostics.push(
            Diagnostic::error(block.span, "`.if` without its `.endif`")
                .mend("write `.endif` after what it is about"),
        );
    }
    found
}

/// A comment as YAML can have it.
fn remark(comment: &str) -> String {
    let text = comment.chars().filter(|c| *c == '\t' || !c.is_control());
    text.collect::<String>().trim().to_owned()
}

/// Whether a line is one of `global`.
fn section_is_global(above: &[Line], line: &Line) -> bool {
    if !variables::KEYWORDS.contains(&line.keyword()) {
        return false;
    }
    let mut heads = above.iter().rev().map(Line::keyword);
    heads.find(|keyword| SECTIONS.contains(keyword)) == Some("global")
}

/// `.if` and its siblings.
fn conditional(
    line: &Line,
    blocks: &mut Vec<Block>,
    lookup: words::Lookup<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let span = line.span();
    let rest: Vec<&str> = line
        .words
        .iter()
        .skip(1)
        .map(|word| word.text.as_str())
        .collect();
    let rest = rest.join(" ");
    let counts = blocks.last().is_none_or(|block| block.counts);
    let mut evaluate = || match predicate::holds(&rest, lookup) {
        Ok(value) => value,
        Err(message) => {
            let mend = "see HAProxy's manual on conditional blocks: `defined(NAME)`, `streq(a,b)`, `version_atleast(2.4)`";
            diagnostics.push(Diagnostic::error(span, message).mend(mend));
            false
        }
    };
    match line.keyword() {
        ".if" => {
            let value = counts && evaluate();
            blocks.push(Block {
                span,
                outer: counts,
                taken: value,
                counts: value,
                last: false,
            });
        }
        ".elif" | ".else" => {
            let Some(block) = blocks.last_mut().filter(|block| !block.last) else {
                let message = format!("`{}` without its `.if`", line.keyword());
                diagnostics.push(Diagnostic::error(span, message).mend("remove it"));
                return;
            };
            let is_else = line.keyword() == ".else";
            block.last = is_else;
            block.counts = block.outer && !block.taken && (is_else || evaluate());
            block.taken |= block.counts;
        }
        ".endif" => {
            if blocks.pop().is_none() {
                diagnostics
                    .push(Diagnostic::error(span, "`.endif` without its `.if`").mend("remove it"));
            }
        }
        _ if !counts => {}
        ".alert" => diagnostics.push(Diagnostic::error(span, rest)),
        ".warning" | ".notice" => diagnostics.push(Diagnostic::warning(span, rest)),
        ".diag" => {}
        other => {
            let message = format!("there is no directive `{other}`");
            diagnostics.push(
                Diagnostic::error(span, message).mend("write `.if`, `.elif`, `.else` or `.endif`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> (Vec<String>, Vec<String>) {
        let environment = |name: &str| (name == "SET").then(|| "1".to_owned());
        let found = read(&Source::new("h.cfg", text), &environment);
        let lines = found.lines.iter().map(|line| {
            let words: Vec<_> = line.words.iter().map(|w| w.text.as_str()).collect();
            words.join(" ")
        });
        let said = found.diagnostics.iter().map(|d| d.message.clone());
        (lines.collect(), said.collect())
    }

    #[test]
    fn blocks_are_kept_or_left_out() {
        let (lines, said) = kept(
            "a\n.if defined(SET)\nb\n.if 0\nc\n.elif 1\nd\n.else\ne\n.endif\n.else\nf '\n.alert no\n.endif\ng\n",
        );
        assert_eq!(
            (lines, said),
            (["a", "b", "d", "g"].map(str::to_owned).to_vec(), vec![])
        );
    }

    #[test]
    fn unfinished_blocks_are_told() {
        let (_, said) = kept(".if 1\n.else\n.else\n");
        assert_eq!(
            said,
            ["`.else` without its `.if`", "`.if` without its `.endif`"]
        );
        let (_, said) = kept(".endif\n.if foo\n.endif\n.foo\n.alert stop here\n");
        assert_eq!(
            said,
            [
                "`.endif` without its `.if`",
                "there is no predicate `foo`",
                "there is no directive `.foo`",
                "stop here"
            ]
        );
    }

    #[test]
    fn pseudo_variables_know_the_place() {
        let (lines, _) = kept("frontend web\n  x \"$.SECTION:$.LINE\" \"$.FILE\"\n");
        assert_eq!(lines[1], "x web:2 h.cfg");
    }

    #[test]
    fn comments_belong_to_what_follows_or_precedes_them() {
        let found = read(
            &Source::new(
                "h",
                "# one\n#two\nglobal # three\n# lb: fast_path attach auto\n",
            ),
            &|_| None,
        );
        assert_eq!(found.above[&3], ["one", "two"]);
        assert_eq!(found.beside[&3], "three");
        assert_eq!(found.directives[0].0, "fast_path attach auto");
    }
}
