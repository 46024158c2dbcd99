//! Answers in full, of `return`, `deny` and `tarpit`.

use super::{
    rules::{Action, Side, format, literal},
    says::Says,
    value::{Map, Value},
};

/// `return [status N] …`
pub(super) fn returned(action: &Action<'_>, says: &mut Says) -> Option<Value> {
    let mut map = answer(action, "200", says)?;
    if map.get("status").is_none() {
        map.set("status", Value::plain(200, action.span));
    }
    Some(Value::map(map, action.span))
}

/// `deny [deny_status N] …`, `tarpit …`: what the key has for its value.
pub(super) fn refusal(action: &Action<'_>, side: Side, says: &mut Says) -> Option<Value> {
    let usual = match (action.text(0), side) {
        ("tarpit", _) => "500",
        (_, Side::Response) => "502",
        _ => "403",
    };
    let map = answer(action, usual, says)?;
    Some(match (map.get("status"), map.0.len()) {
        (None, 0) => Value::plain("true", action.span),
        (Some(status), 1) => status.clone(),
        _ => Value::map(map, action.span),
    })
}

/// `[status N] [content-type T] [default-errorfiles|errorfile X|errorfiles S|string X|lf-string X|file X|lf-file X]
/// [hdr NAME VALUE]…`, of the status `usual` unless it says another.
fn answer(action: &Action<'_>, usual: &str, says: &mut Says) -> Option<Map> {
    let mut inner = Map::default();
    let mut fields: Option<(Map, crate::config::source::Span)> = None;
    let mut section = None;
    let mut at = 1;
    while let Some(word) = action.words.get(at) {
        at += 1;
        if word.text == "default-errorfiles" {
            inner.set("page", Value::plain("true", word.span));
            continue;
        }
        let argument = action.need(at, &format!("a value of `{}`", word.text), says)?;
        at += 1;
        let (text, span) = (argument.text.as_str(), argument.span);
        match word.text.as_str() {
            "status" | "deny_status" => inner.set("status", says.number(text, span)?),
            "content-type" => inner.set("content_type", Value::text(text, span)),
            "string" => inner.set("body", Value::text(literal(text), span)),
            "lf-string" => inner.set("body", Value::text(format(text), span)),
            "file" => inner.set("file", Value::text(text, span)),
            "lf-file" => inner.set("template_file", Value::text(text, span)),
            "errorfile" => inner.set("page", Value::text(text, span)),
            "errorfiles" => section = Some(argument),
            "hdr" => {
                let value = action.need(at, "a field's value", says)?;
                at += 1;
                let (fields, _) = fields.get_or_insert_with(|| (Map::default(), word.span));
                let value = Value::text(format(&value.text), value.span);
                let before = fields
                    .0
                    .iter()
                    .find(|key| key.name.eq_ignore_ascii_case(text))
                    .map(|key| key.name.clone());
                match before {
                    Some(name) => fields.another(&name, value),
                    None => fields.set_at(text, span, value),
                }
            }
            other => {
                let what = format!("{} … {other}", action.text(0));
                says.unsupported(word.span, &what);
                return None;
            }
        }
    }
    if let Some(name) = section {
        let status = inner.get("status").and_then(Value::as_text);
        let status = status.unwrap_or(usual);
        let pages = says.bases.pages.get(&name.text);
        let page = pages.and_then(|pages| pages.get(status)).cloned();
        if page.is_none() && matches!(action.text(0), "deny" | "tarpit") {
            // The usual one then.
            return Some(inner);
        }
        let Some(page) = page else {
            let message = format!(
                "there is no page for {status} in `http-errors {}`",
                name.text
            );
            says.error(name.span, message, "add it there, or write another status");
            return None;
        };
        inner.set("page", page);
    }
    match fields {
        Some((_, span)) if inner.get("page").is_some() => {
            let message = "`hdr` has no effect beside an error's page, as in HAProxy";
            says.warn(span, message);
        }
        Some((fields, span)) => inner.set("headers", Value::map(fields, span)),
        None => {}
    }
    let bodies = ["body", "file", "template_file"];
    if let Some(kind) = inner.get("content_type")
        && bodies.iter().all(|key| inner.get(key).is_none())
    {
        let span = kind.span;
        let message = "`content-type` has no effect without a text or a file, as in HAProxy";
        says.warn(span, message);
        inner.remove("content_type");
        // It makes an answer of its own of it all the same, which is empty.
        if inner.get("page").is_none() && inner.get("headers").is_none() {
            inner.set("headers", Value::map(Map::default(), span));
        }
    }
    Some(inner)
}
