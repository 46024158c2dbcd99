//! `tcp-check …`

use super::{
    super::{
        lines::Line,
        rules::format,
        says::Says,
        value::{Map, Value, What},
    },
    Rules, hex_step, step,
    terms::{before, variable},
};

impl Rules {
    /// One such line.
    pub(super) fn tcp(&mut self, line: &Line, says: &mut Says) {
        let span = line.span();
        if let Some(settings) = variable(line, says) {
            let settings = settings.map(|map| Value::map(map, span));
            self.last(false, span).steps.extend(settings);
            return;
        }
        let text = line.text(2);
        let computed = |key: &str| {
            let mut inner = Map::default();
            inner.set(key, Value::text(format(text), line.span_of(2)));
            let mut map = Map::default();
            map.set("send", Value::map(inner, span));
            Value::map(map, span)
        };
        let step = match line.text(1) {
            "connect" => return self.connect(line, says),
            "comment" => return,
            "send" => step("send", text, span),
            "send-binary" => hex_step("send", text, span),
            "send-lf" => computed("template"),
            "send-binary-lf" => computed("hex_template"),
            "expect" => match expected(line, says) {
                Some(step) => step,
                None => return,
            },
            word => return says.unsupported(line.span_of(1), &format!("tcp-check {word}")),
        };
        self.last(false, span).steps.push(step);
    }
}

/// A step that expects.
fn expected(line: &Line, says: &mut Says) -> Option<Value> {
    let span = line.span();
    let (terms, mut at) = before(line, says)?;
    let negated = line.text(at) == "!";
    at += usize::from(negated);
    let (kind, pattern) = (line.text(at), line.text(at + 1));
    let key = match kind {
        "string" => "text",
        "rstring" => "regex",
        "binary" => "hex",
        "string-lf" => "template",
        "binary-lf" => "hex_template",
        other => {
            let not = if negated { "! " } else { "" };
            says.unsupported(line.span_of(at), &format!("tcp-check expect {not}{other}"));
            return None;
        }
    };
    let text = match key {
        "template" | "hex_template" => Value::text(format(pattern), span),
        _ => Value::text(pattern, span),
    };
    let mut found = Map::default();
    found.set(key, text.clone());
    // A text alone needs no key.
    let alone = match key {
        "text" if negated || terms.is_empty() => text,
        _ => Value::map(found, span),
    };
    let mut expect = match negated {
        false => alone,
        true => {
            let mut not = Map::default();
            not.set("not", alone);
            Value::map(not, span)
        }
    };
    if let What::Map(map) = &mut expect.what {
        map.0.extend(terms.0);
    }
    let mut map = Map::default();
    map.set("expect", expect);
    Some(Value::map(map, span))
}
