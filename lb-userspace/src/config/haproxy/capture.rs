//! `capture` and `declare capture` of a frontend.

use super::{
    lines::Line,
    says::Says,
    value::{Map, Value},
};

/// `capture request header NAME len N`, `capture response header …`, `capture cookie NAME len N`, and
/// `declare capture request len N`.
pub(super) fn declared(front: &mut Map, line: &Line, says: &mut Says) {
    let span = line.span();
    let text = |at: usize| Value::text(line.text(at), line.span_of(at));
    let mut slot = Map::default();
    let (side, len) = match (line.keyword(), line.text(1), line.text(2)) {
        ("capture", side @ ("request" | "response"), "header") => {
            slot.set("header", text(3));
            (side, 4)
        }
        ("capture", "cookie", name) => {
            // It may be the beginning of a name there, and of a value.
            match name.strip_suffix('=').filter(|name| !name.contains('=')) {
                Some(name) => slot.set("name", Value::text(name, line.span_of(2))),
                None => slot.set("prefix", text(2)),
            }
            ("cookie", 3)
        }
        ("declare", "capture", side @ ("request" | "response")) => (side, 3),
        (keyword, what, _) => {
            return says.unsupported(line.span_of(1), &format!("{keyword} {what}"));
        }
    };
    if !matches!(line.text(len), "len" | "length") {
        let message = format!("`{}` without a length", line.keyword());
        return says.error(span, message, "write `len 64` behind it");
    }
    let Some(number) = says.number(line.text(len + 1), line.span_of(len + 1)) else {
        return;
    };
    slot.set("len", number);
    let captures = front.inner("capture", span);
    let slot = Value::map(slot, span);
    match side {
        "cookie" => captures.set(side, slot),
        side => captures.push(side, slot),
    }
}
