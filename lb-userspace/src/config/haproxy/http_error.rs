//! `http-error`: an error's page that stands in the file, with its header fields.

use super::{
    lines::Line,
    proxy::Proxy,
    rules::format,
    says::Says,
    value::{Key, Map, Value},
};

impl Proxy {
    /// `http-error status N [content-type T] [default-errorfiles|errorfile F|errorfiles S|file F|lf-file F|string X|lf-string X]
    /// [hdr NAME VALUE]…`
    pub(super) fn http_error(&mut self, line: &Line, says: &mut Says) {
        let span = line.span();
        let (mut status, mut kept, mut section) = (None, None, None);
        let (mut map, mut fields) = (Map::default(), Map::default());
        let mut at = 1;
        while let Some(word) = line.words.get(at) {
            at += 1;
            if word.text == "default-errorfiles" {
                kept = Some(Value::plain("false", word.span));
                continue;
            }
            let what = format!("a value of `{}`", word.text);
            if says.need(line, at, &what).is_none() {
                return;
            }
            let argument = &line.words[at];
            at += 1;
            let text = argument.text.as_str();
            let value = Value::text(text, argument.span);
            match word.text.as_str() {
                "status" => status = Some(argument),
                "content-type" => map.set("content_type", value),
                "string" => map.set("body", value),
                "file" => map.set("file", value),
                "lf-string" => map.set("template", Value::text(format(text), argument.span)),
                "lf-file" => map.set("template_file", value),
                "errorfile" => kept = Some(value),
                "errorfiles" => section = Some(argument),
                "hdr" => {
                    if says.need(line, at, "a field's value").is_none() {
                        return;
                    }
                    let value = &line.words[at];
                    at += 1;
                    let value = Value::text(format(&value.text), value.span);
                    let same = |key: &&Key| key.name.eq_ignore_ascii_case(text);
                    let before = fields.0.iter().find(same).map(|key| key.name.clone());
                    match before {
                        Some(name) => fields.another(&name, value),
                        None => fields.set_at(text, argument.span, value),
                    }
                }
                other => {
                    says.unsupported(word.span, &format!("http-error … {other}"));
                    return;
                }
            }
        }
        let Some(status) = status else {
            let message = "`http-error` does not say of which status";
            says.error(span, message, "write `status N`");
            return;
        };
        if let Some(name) = section {
            let pages = says.bases.pages.get(&name.text);
            kept = pages.and_then(|pages| pages.get(&status.text)).cloned();
            if kept.is_none() {
                let message = format!(
                    "there is no page for {} in `http-errors {}`",
                    status.text, name.text
                );
                says.error(name.span, message, "add it there, or remove this line");
                return;
            }
        }
        let value = match kept {
            Some(page) => {
                if !fields.is_empty() || !map.is_empty() {
                    let message = "beside an error's page `hdr` and `content-type` have no effect, as in HAProxy";
                    says.warn(span, message);
                }
                page
            }
            None => {
                let bodies = ["body", "file", "template", "template_file"];
                let has_text = bodies.iter().any(|key| map.get(key).is_some());
                if has_text && map.get("content_type").is_none() {
                    let message = "`http-error` with a text and without its kind";
                    says.error(span, message, "write `content-type text/html` before it");
                    return;
                }
                if !has_text {
                    map.remove("content_type");
                    map.set("body", Value::text("", span));
                }
                if !fields.is_empty() {
                    map.set("headers", Value::map(fields, span));
                }
                Value::map(map, span)
            }
        };
        self.page(&status.text, status.span, line, value);
    }
}
