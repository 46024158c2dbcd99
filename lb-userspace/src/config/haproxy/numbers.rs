//! Operators before numbers, as in `{ req.hdr_cnt(x) ge 2 }`. HAProxy knows them where samples are compared as numbers and
//! nowhere else: in `{ path eq /a }` both words are paths.

use super::{says::Says, words::Word};
use crate::{
    config::source::Span,
    rules::{Expr, How},
};

/// How the samples of a criterion are compared, which its name says unless `-m` does; `None` if that is not known.
pub(super) fn way(criterion: &str, method: Option<&str>) -> Option<How> {
    match method {
        None => Expr::way_of(criterion),
        Some("int") => Some(How::Number),
        Some("len") => Some(How::Length),
        Some("bool") => Some(How::True),
        Some("found") => Some(How::Found),
        // All others are about texts.
        Some(_) => Some(How::Exact),
    }
}

/// Patterns as words have them.
pub(super) fn as_written(words: &[Word]) -> Vec<(String, Span)> {
    words
        .iter()
        .map(|word| (word.text.clone(), word.span))
        .collect()
}

/// Patterns that are numbers, each with the operator that holds for it: the last before it, however far away.
pub(super) fn with_operators(words: &[Word], says: &mut Says) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    let mut operator: Option<&Word> = None;
    let mut is_new = false;
    for word in words {
        let text = word.text.as_str();
        if matches!(text, "eq" | "ne" | "lt" | "le" | "gt" | "ge") {
            if text == "ne" {
                says.warn(
                    word.span,
                    "HAProxy takes `ne` for `eq`, and so does lb: write `!` before the acl or the `{` for what is not equal",
                );
            }
            operator = Some(word);
            is_new = true;
            continue;
        }
        let place = operator.filter(|_| is_new).map_or(word.span, |op| op.span);
        let shown = match operator.map(|op| op.text.as_str()) {
            // A range stands for itself, and a minus makes one.
            _ if text.contains([':', '-']) => match text.strip_prefix('-') {
                Some(most) if !most.is_empty() => {
                    says.warn(
                        word.span,
                        format!("`{text}` are all numbers up to {most}, as in HAProxy"),
                    );
                    format!(":{most}")
                }
                _ => text.to_owned(),
            },
            Some(op @ ("lt" | "le" | "gt" | "ge")) => format!("{op} {text}"),
            Some("eq") if is_new => format!("eq {text}"),
            _ => text.to_owned(),
        };
        found.push((shown, place));
        is_new = false;
    }
    if let Some(last) = operator.filter(|_| is_new) {
        says.warn(
            last.span,
            format!("no number follows `{}`: it does nothing", last.text),
        );
    }
    found
}
