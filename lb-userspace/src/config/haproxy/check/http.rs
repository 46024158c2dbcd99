//! `http-check …`

use super::{
    super::{
        lines::Line,
        rules::format,
        says::Says,
        value::{Map, Value, What},
    },
    Rules, field, protocols,
    terms::{before, variable},
};

impl Rules {
    /// One such line, of those that ask and expect.
    pub(super) fn http(&mut self, line: &Line, says: &mut Says) {
        let span = line.span();
        if let Some(settings) = variable(line, says) {
            if let Some(settings) = settings {
                self.remember(settings);
            }
            return;
        }
        match line.text(1) {
            "send" => {
                let later = std::mem::take(&mut self.later);
                let rules = self.last(true, span);
                merge(&mut rules.keys, later);
                request(&mut rules.keys, line, says);
            }
            "expect" => expect(&mut self.last(false, span).keys, line, says),
            "connect" => self.connect(line, says),
            "comment" => {}
            other => says.unsupported(line.span_of(1), &format!("http-check {other}")),
        }
    }

    /// Variables of the connection that is being described, or, once it was said what is expected of it, of the next.
    fn remember(&mut self, settings: Map) {
        let asked = self
            .then
            .last()
            .unwrap_or(self)
            .keys
            .get("expect")
            .is_some();
        match asked {
            true => merge(&mut self.later, settings),
            false => {
                let last = self.then.last_mut();
                match last {
                    Some(last) => merge(&mut last.keys, settings),
                    None => merge(&mut self.keys, settings),
                }
            }
        }
    }
}

/// Adds variables to those that are set and forgotten already.
pub(super) fn merge(keys: &mut Map, settings: Map) {
    for key in settings.0 {
        match (key.name.as_str(), key.value.what) {
            ("set_var", What::Map(vars)) => {
                let inner = keys.inner("set_var", key.span);
                for var in vars.0 {
                    inner.set_at(&var.name, var.span, var.value);
                }
            }
            (name, What::List(all)) => all.into_iter().for_each(|one| keys.another(name, one)),
            (name, what) => keys.another(
                name,
                Value {
                    span: key.span,
                    what,
                },
            ),
        }
    }
}

/// `http-check send …`
fn request(keys: &mut Map, line: &Line, says: &mut Says) {
    let words = &line.words;
    let mut at = 2;
    while let Some(word) = words.get(at) {
        let value = words.get(at + 1);
        let plain = || value.map(|word| Value::plain(&word.text, word.span));
        let text = || value.map(|word| Value::text(word.text.as_str(), word.span));
        let filled =
            |value: &super::super::words::Word| Value::text(format(&value.text), value.span);
        let mut set = |key: &str, other: &str, value: Option<Value>| {
            if let Some(value) = value {
                keys.remove(other);
                keys.set(key, value);
            }
        };
        match word.text.as_str() {
            "meth" => set("method", "", plain()),
            "ver" => set("version", "", plain()),
            "uri" => set("path", "path_template", text()),
            "uri-lf" => set("path_template", "path", value.map(filled)),
            "body" => set("body", "body_template", text()),
            "body-lf" => set("body_template", "body", value.map(filled)),
            "hdr" => {
                if let (Some(name), Some(value)) = (value, words.get(at + 2)) {
                    field(keys, &name.text, filled(value), says);
                }
                at += 1;
            }
            "comment" => {}
            other => says.unsupported(word.span, &format!("http-check send … {other}")),
        }
        at += 2;
    }
}

/// `http-check expect …`
fn expect(keys: &mut Map, line: &Line, says: &mut Says) {
    let Some((terms, mut at)) = before(line, says) else {
        return;
    };
    let negated = line.text(at) == "!";
    at += usize::from(negated);
    let (kind, pattern) = (line.text(at), line.words.get(at + 1));
    let Some(pattern) = pattern else {
        says.error(
            line.span(),
            "`http-check expect` without a pattern",
            "write `status 200`, `string ready`, …",
        );
        return;
    };
    if let "hdr" | "fhdr" = kind {
        if let Some(found) = head_field(line, at, negated, says) {
            let expect = keys.inner("expect", line.span());
            agree(expect, terms, says);
            expect.push("headers", found);
        }
        return;
    }
    if let ("string-lf", false) = (kind, negated) {
        let value = Value::text(format(&pattern.text), pattern.span);
        let expect = keys.inner("expect", line.span());
        agree(expect, terms, says);
        expect.set("template", value);
        return;
    }
    let known = matches!(kind, "status" | "rstatus" | "string" | "rstring");
    if !known {
        says.unsupported(line.span_of(at), &format!("http-check expect {kind}"));
        return;
    }
    let value = Value::text(pattern.text.as_str(), pattern.span);
    let expect = keys.inner("expect", line.span());
    agree(expect, terms, says);
    let taken = |map: &Map| {
        map.get(if kind == "string" { "body" } else { "regex" })
            .is_some()
    };
    let twice = match (kind, negated) {
        ("status" | "rstatus", _) => expect.get("status").is_some(),
        (_, false) => taken(expect),
        (_, true) => {
            matches!(expect.get("not").map(|not| &not.what), Some(What::Map(not)) if taken(not))
        }
    };
    if twice {
        let what = format!("a second expect of {kind} in http-check");
        says.unsupported(line.span_of(at), &what);
        return;
    }
    match (kind, negated) {
        ("status", false) => expect.set("status", value),
        ("status" | "rstatus", _) => {
            match protocols::statuses(&pattern.text, kind == "rstatus", negated) {
                Some(list) if !list.is_empty() => {
                    expect.set("status", Value::text(list, pattern.span));
                }
                _ => says.error(
                    pattern.span,
                    format!("no status fits `{}`", pattern.text),
                    "write `status 200`, `rstatus ^[23]`, …",
                ),
            }
        }
        ("string", false) => expect.set("body", value),
        ("rstring", false) => expect.set("regex", value),
        ("string", true) => expect.inner("not", pattern.span).set("body", value),
        ("rstring", true) => expect.inner("not", pattern.span).set("regex", value),
        // Of the kinds that are known these are all.
        _ => {}
    }
}

/// `hdr` or `fhdr`, at word `at`, and what it says of a field.
fn head_field(line: &Line, at: usize, negated: bool, says: &mut Says) -> Option<Value> {
    let kind = line.text(at);
    let mut words = line.words.iter().skip(at + 1);
    // `name WORD` or `value WORD`, with a way of matching before the word.
    let mut pattern = |wanted: &str| {
        let key = words.next()?;
        let mut word = words.next()?;
        let mut how = "str";
        if word.text == "-m" {
            how = words.next()?.text.as_str();
            word = words.next()?;
        }
        let is_format = key.text.strip_suffix("-lf") == Some(wanted);
        (is_format || key.text == wanted).then_some((word, how, is_format))
    };
    let Some((name, "str", false)) = pattern("name") else {
        says.unsupported(
            line.span_of(at),
            &format!("http-check expect {kind} … with a pattern for the name"),
        );
        return None;
    };
    let mut map = Map::default();
    map.set("name", Value::text(name.text.as_str(), name.span));
    let has_value = line.words.last().is_some_and(|last| last.span != name.span);
    if has_value {
        let said = pattern("value");
        let key = match said {
            Some((_, "str", true)) => "template",
            Some((_, "str", false)) => "value",
            Some((_, "beg", false)) => "prefix",
            Some((_, "end", false)) => "suffix",
            Some((_, "sub", false)) => "contains",
            Some((_, "reg", false)) => "regex",
            _ => {
                says.unsupported(
                    line.span_of(at),
                    &format!("http-check expect {kind} … with such a pattern for the value"),
                );
                return None;
            }
        };
        let (value, ..) = said?;
        let text = match key {
            "template" => format(&value.text),
            _ => value.text.clone(),
        };
        map.set(key, Value::text(text, value.span));
    }
    for (key, on) in [("whole", kind == "fhdr"), ("not", negated)] {
        if on {
            map.set(key, Value::plain("true", line.span_of(at)));
        }
    }
    Some(Value::map(map, line.span_of(at)))
}

/// Adds terms; those of one check are one.
fn agree(expect: &mut Map, terms: Map, says: &mut Says) {
    for term in terms.0 {
        let other = expect.get(&term.name);
        if other.is_some_and(|other| !other.is_same(&term.value)) {
            let what = format!(
                "another `{}` in http-check expect",
                term.name.replace('_', "-")
            );
            says.unsupported(term.span, &what);
            continue;
        }
        expect.set_at(&term.name, term.span, term.value);
    }
}
