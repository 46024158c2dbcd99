//! What rules do with header fields.

use http::{HeaderName, header::HOST};

use super::{
    actions::pair,
    decode::Decoder,
    source::Span,
    table::Table,
    tree::{Entry, Kind, Node},
};
use crate::rules::{Edit, FieldNames, Problem, Regex, action::HeaderOp, is_framing};

/// `set_header`, `add_header`, `del_header`, `replace_header`, `replace_value`: those of the message that the mapping is
/// about, and those that say `response`.
pub(super) fn headers(d: &mut Decoder<'_>, table: &mut Table<'_>) -> (Vec<Edit>, Vec<Edit>) {
    let mut found: [Vec<(Span, Edit)>; 2] = [Vec::new(), Vec::new()];
    let entries = [
        table.take("set_header"),
        table.take("add_header"),
        table.take("del_header"),
        table.take("replace_header"),
        table.take("replace_value"),
    ];
    for e in entries.into_iter().flatten() {
        let sides = sides(e);
        match sides {
            Some((request, response)) => {
                for (index, part) in [request, response].into_iter().enumerate() {
                    if let Some(part) = part {
                        found[index].extend(header_edits(d, &e.key, &part.value, e.key_span));
                    }
                }
            }
            None => found[0].extend(header_edits(d, &e.key, &e.value, e.key_span)),
        }
    }
    found
        .iter_mut()
        .for_each(|edits| edits.sort_by_key(|(span, _)| *span));
    let [request, response] = found;
    let bare = |edits: Vec<(Span, Edit)>| edits.into_iter().map(|(_, edit)| edit).collect();
    (bare(request), bare(response))
}

/// The parts of `{ request: …, response: … }`, if it is that.
fn sides(entry: &Entry) -> Option<(Option<&Entry>, Option<&Entry>)> {
    let Kind::Mapping(entries) = &entry.value.kind else {
        return None;
    };
    let is_side = |e: &Entry| {
        matches!(e.key.as_str(), "request" | "response") && !matches!(e.value.kind, Kind::Scalar(_))
            || matches!(e.key.as_str(), "request" | "response") && entry.key == "del_header"
    };
    if entries.is_empty() || !entries.iter().all(is_side) {
        return None;
    }
    let part = |side: &str| entries.iter().find(|e| e.key == side);
    Some((part("request"), part("response")))
}

/// The names that `X-*`, `*-Id`, `*Debug*` and `/REGEX/` stand for; `None` where that is one name alone.
fn several(text: &str) -> Option<Result<FieldNames, Problem>> {
    if let Some(pattern) = text
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
    {
        return Some(Regex::new(pattern, true).map(FieldNames::Like));
    }
    let text = text.to_ascii_lowercase();
    let (front, rest) = match text.strip_prefix('*') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let (back, rest) = match rest.strip_suffix('*') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = Some(rest.to_owned()).filter(|rest| !rest.is_empty())?;
    Some(Ok(match (front, back) {
        (false, false) => return None,
        (false, true) => FieldNames::Beginning(rest),
        (true, false) => FieldNames::Ending(rest),
        (true, true) => FieldNames::With(rest),
    }))
}

fn header_edits(
    d: &mut Decoder<'_>,
    key: &str,
    node: &std::rc::Rc<Node>,
    place: Span,
) -> Vec<(Span, Edit)> {
    let mut found = Vec::new();
    if key == "del_header" {
        for node in d.one_or_more(node) {
            let Some(name) = d.text(node, "`del_header`") else {
                continue;
            };
            match several(&name) {
                Some(Ok(names)) => found.push((node.span, Edit::DeleteHeaders(names))),
                Some(Err(problem)) => d.wrong(node.span, problem),
                None => found.extend(
                    header_name(d, &name, node.span)
                        .map(|name| (node.span, Edit::Header(name, HeaderOp::Delete))),
                ),
            }
        }
        return found;
    }
    let Some(table) = d.table(node, place, format!("`{key}`")) else {
        return found;
    };
    if table.entries().is_empty() {
        d.error(
            place,
            format!("`{key}` names no header field"),
            "write `{ NAME: VALUE }`",
        );
    }
    for e in table.entries() {
        let name = header_name(d, &e.key, e.key_span);
        if key == "add_header" && name == Some(HOST) {
            let message = "a request has one Host";
            d.error(e.key_span, message, "write `set_header`, which replaces it");
        }
        let what = format!("`{}`", e.key);
        let operation = match key {
            "set_header" => d.template(&e.value, &what).map(HeaderOp::Set),
            "add_header" => d.template(&e.value, &what).map(HeaderOp::Add),
            _ => pair(d, &e.value, &what).map(|(regex, by)| HeaderOp::Replace {
                regex,
                by,
                whole: key == "replace_header",
            }),
        };
        found.extend(
            name.zip(operation)
                .map(|(name, op)| (e.key_span, Edit::Header(name, op))),
        );
    }
    found
}

/// A field's name, of those that are not ours alone.
pub(super) fn header_name(d: &mut Decoder<'_>, text: &str, span: Span) -> Option<HeaderName> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if is_framing(&name) => {
            let message =
                format!("`{text}` says where a message ends or what becomes of its connection");
            d.error(span, message, "leave it to the balancer");
            None
        }
        Ok(name) => Some(name),
        Err(_) => {
            let message = format!("`{text}` cannot be a header field's name");
            d.error(span, message, "write letters, digits and `-`");
            None
        }
    }
}
