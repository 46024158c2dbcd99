//! What a sample is compared with: texts of the configuration, or those of a file.

use super::{
    decode::Decoder,
    source::Span,
    tree::{Entry, Kind, Node},
};
use crate::rules::{Condition, Expr, How, Matcher, Test};

/// What a sample may be, and where it is written.
pub(super) type Value = (Given, Span);

/// What a sample may be.
pub(super) enum Given {
    /// This.
    Text(String),
    /// What a line of this file says.
    File(String),
}

/// The condition that a sample is one of these.
pub(super) fn test(
    d: &mut Decoder<'_>,
    expr: Expr,
    how: How,
    fold: bool,
    values: Option<Vec<Value>>,
) -> Option<Condition> {
    let values = values?;
    if let (Some(kind), Some(wanted)) = (expr.kind(), how.kind())
        && !kind.casts_to(wanted)
        && let Some((_, span)) = values.first()
    {
        let message = format!(
            "the expression is {}, which cannot be compared so",
            kind.name()
        );
        d.error(
            *span,
            message,
            "write `value`, or add a converter to the expression",
        );
        return None;
    }
    let (mut texts, mut places) = (Vec::new(), Vec::new());
    let mut matchers = Vec::new();
    let none = values.is_empty();
    for (given, span) in values {
        match given {
            Given::Text(text) => {
                texts.push(text);
                places.push(span);
            }
            Given::File(_) if matches!(how, How::Found | How::True) => {
                d.error(span, "this is not compared with anything", "remove `file`");
                return None;
            }
            Given::File(path) => match d.registry.list(&path, how, fold) {
                Ok(list) => matchers.push(Matcher::File(list)),
                Err(problem) => {
                    d.wrong(span, problem);
                    return None;
                }
            },
        }
    }
    if none || !texts.is_empty() {
        match Matcher::new(how, fold, &texts) {
            Ok(matcher) => matchers.insert(0, matcher),
            Err((index, problem)) => {
                if let Some(span) = places.get(index) {
                    d.wrong(*span, problem);
                }
                return None;
            }
        }
    }
    let test = |matcher| {
        let expr = expr.clone();
        Condition::Test(Test { expr, how, matcher })
    };
    let mut tests: Vec<Condition> = matchers.into_iter().map(test).collect();
    match tests.len() {
        1 => tests.pop(),
        _ => Some(Condition::Any(tests)),
    }
}

/// A text or a list of them, each checked.
pub(super) fn values(
    d: &mut Decoder<'_>,
    entry: &Entry,
    check: impl Fn(&mut Decoder<'_>, String, &Node) -> Option<String>,
) -> Option<Vec<Value>> {
    let what = format!("`{}`", entry.key);
    let nodes = d.one_or_more(&entry.value);
    if nodes.is_empty() {
        d.error(
            entry.value.span,
            format!("{what} is an empty list, which never holds"),
            "write at least one value",
        );
        return None;
    }
    let read: Vec<Option<Value>> = nodes
        .iter()
        .map(|node| {
            if let Kind::Mapping(_) = node.kind {
                return file(d, node, &what).map(|path| (Given::File(path), node.span));
            }
            let text = match node.kind {
                // Numbers and the like mean their text.
                Kind::Scalar(_) if what == "`value`" => d.word(node, &what),
                Kind::Scalar(_)
                    if matches!(what.as_str(), "`dst_port`" | "`status`" | "`length`") =>
                {
                    d.word(node, &what)
                }
                _ => d.line(node, &what),
            };
            text.and_then(|text| check(d, text, node))
                .map(|text| (Given::Text(text), node.span))
        })
        .collect();
    read.into_iter().collect()
}

/// `{ file: … }`: a pattern a line.
fn file(d: &mut Decoder<'_>, node: &Node, what: &str) -> Option<String> {
    let mut table = d.table(node, node.span, what)?;
    let path = match table.take("file") {
        Some(e) => d.line(&e.value, "`file`"),
        None => {
            d.missing(
                &table,
                "file",
                "write a text, or `{ file: … }` with one a line",
            );
            None
        }
    };
    table.finish(d, &[], &[]);
    path
}
