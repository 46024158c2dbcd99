//! What stands before the pattern of an `expect` line, and `set-var` and its like.

use super::super::{
    lines::Line,
    rules::format,
    says::Says,
    value::{Map, Value},
};

/// The terms before a pattern, as keys of `expect`, and the place of the word behind them.
pub(super) fn before(line: &Line, says: &mut Says) -> Option<(Map, usize)> {
    let mut terms = Map::default();
    let mut at = 2;
    loop {
        let (key, is_plain) = match line.text(at) {
            "min-recv" => ("min_recv", true),
            "ok-status" => ("ok_status", true),
            "error-status" => ("error_status", true),
            "tout-status" => ("timeout_status", true),
            "on-success" => ("on_success", false),
            "on-error" => ("on_error", false),
            "status-code" => ("status_code", false),
            "comment" => ("", false),
            _ => return Some((terms, at)),
        };
        let Some(value) = line.words.get(at + 1) else {
            let message = format!("`{}` without a value", line.text(at));
            says.error(line.span_of(at), message, "write it behind");
            return None;
        };
        let (text, span) = (value.text.as_str(), value.span);
        let value = match key {
            "status_code" => Value::text(format!("%[{text}]"), span),
            _ if is_plain => Value::plain(text, span),
            _ => Value::text(format(text), span),
        };
        // HAProxy waits for anything else as long as it may.
        let waits = !(key == "min_recv" && text.starts_with('-'));
        if !key.is_empty() && waits {
            terms.set_at(key, line.span_of(at), value);
        }
        at += 2;
    }
}

/// `set-var(NAME) EXPRESSION`, `set-var-fmt(NAME) TEXT` and `unset-var(NAME)` as keys of a check or a step; `None` if the line is
/// none of them.
pub(super) fn variable(line: &Line, says: &mut Says) -> Option<Option<Map>> {
    let word = line.words.get(1)?;
    let (action, name) = word.text.split_once('(')?;
    let name = name.strip_suffix(')').unwrap_or(name);
    let mut map = Map::default();
    match action {
        "unset-var" => map.set("unset_var", Value::text(name, word.span)),
        "set-var" | "set-var-fmt" => {
            let value = match action {
                "set-var" => {
                    let words = line.words.iter().skip(2).map(|word| word.text.as_str());
                    let text = words.collect::<Vec<_>>().join(" ");
                    (!text.is_empty()).then(|| format!("%[{text}]"))
                }
                _ => line.words.get(2).map(|word| word.text.clone()),
            };
            let Some(value) = value else {
                says.error(
                    line.span_of(2),
                    format!("`{action}` without a value"),
                    "write it behind",
                );
                return Some(None);
            };
            let value = Value::text(value, line.span_of(2));
            map.inner("set_var", word.span)
                .set_at(name, word.span, value);
        }
        _ => return None,
    }
    Some(Some(map))
}
