//! Keywords of proxies with a language of their own: `balance`, `cookie`, `stick-table`, `stats`, `errorfile`.

use super::{
    acl,
    lines::Line,
    proxy::Proxy,
    says::{Says, duration},
    value::{Map, Value, What},
};
use crate::config::source::Span;

/// Options of `cookie` that are for cookies of the balancer's own.
const OF_INSERT: &[&str] = &[
    "nocache",
    "httponly",
    "secure",
    "same_site",
    "attributes",
    "postonly",
    "domain",
    "maxidle",
    "maxlife",
];

/// `http_req_rate(10000)` → `http_req_rate(10s)`: a period is milliseconds unless it says otherwise.
fn with_unit(data: &str) -> String {
    let period = data
        .split_once('(')
        .and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)));
    if let Some(("gpc_rate", inside)) = period
        && let Some((places, time)) = inside.split_once(',')
        && let Some(time) = duration(time.trim())
    {
        return format!("gpc_rate({},{time})", places.trim());
    }
    match period.and_then(|(name, text)| Some((name, duration(text)?))) {
        Some((name, text)) if name.ends_with("_rate") => format!("{name}({text})"),
        _ => data.to_owned(),
    }
}

impl Proxy {
    /// `capture request|response header NAME len N`, `capture cookie NAME len N`, `declare capture request|response len N`
    pub(super) fn capture(&mut self, line: &Line, says: &mut Says) {
        let words: Vec<&str> = line.words.iter().map(|word| word.text.as_str()).collect();
        let mut map = Map::default();
        let (key, length) = match words.as_slice() {
            [
                "capture",
                side @ ("request" | "response"),
                "header",
                name,
                "len",
                length,
            ] => {
                map.set("header", Value::text(*name, line.span_of(3)));
                (*side, *length)
            }
            [
                "declare",
                "capture",
                side @ ("request" | "response"),
                "len",
                length,
            ] => (*side, *length),
            ["capture", "cookie", name, "len", length] => {
                // HAProxy takes all whose names begin so.
                map.set("prefix", Value::text(*name, line.span_of(2)));
                ("cookie", *length)
            }
            _ => {
                let mend = "write `capture request header NAME len N`, `capture cookie NAME len N` or `declare capture request len N`";
                says.error(line.span(), "this captures nothing", mend);
                return;
            }
        };
        if let Some(number) = says.number(length, line.span_of(words.len() - 1)) {
            map.set("len", number);
        }
        if key == "request" {
            self.place_captures();
        }
        let value = Value::map(map, line.span());
        let captures = self.front.inner("capture", line.span());
        match key {
            "cookie" => captures.set("cookie", value),
            side => captures.push(side, value),
        }
    }

    pub(super) fn errorfile(&mut self, line: &Line, says: &mut Says) {
        let Some(file) = says.need(line, 2, "a status and a file") else {
            return;
        };
        let value = Value::text(file, line.span_of(2));
        self.page(line.text(1), line.span_of(1), line, value);
    }

    /// `errorloc CODE URL`, `errorloc302`, `errorloc303`
    pub(super) fn errorloc(&mut self, line: &Line, says: &mut Says) {
        let Some(url) = says.need(line, 2, "a status and a URL") else {
            return;
        };
        let mut map = Map::default();
        map.set("location", Value::text(url, line.span_of(2)));
        if line.keyword() == "errorloc303" {
            map.set("code", Value::plain("303", line.span_of(0)));
        }
        let value = Value::map(map, line.span());
        self.page(line.text(1), line.span_of(1), line, value);
    }

    /// `errorfiles NAME [CODE …]`: pages of an `http-errors` section.
    pub(super) fn errorfiles(&mut self, line: &Line, says: &mut Says) {
        let Some(name) = says.need(line, 1, "a section's name") else {
            return;
        };
        let Some(pages) = says.bases.pages.get(name).cloned() else {
            let message = format!("there is no `http-errors {name}`");
            says.error(line.span_of(1), message, "add it, or remove this line");
            return;
        };
        let wanted: Vec<&str> = line
            .words
            .iter()
            .skip(2)
            .map(|word| word.text.as_str())
            .collect();
        for page in pages.0 {
            if wanted.is_empty() || wanted.contains(&page.name.as_str()) {
                self.page(&page.name, line.span_of(1), line, page.value);
            }
        }
    }

    /// A page for a status.
    pub(super) fn page(&mut self, status: &str, at: Span, line: &Line, value: Value) {
        let of = if self.kind.has_front() {
            &mut self.front
        } else {
            &mut self.back
        };
        of.inner("errorfiles", line.span())
            .set_at(status, at, value);
    }

    /// `monitor-uri URI`, `monitor fail if COND`
    pub(super) fn monitor(&mut self, line: &Line, says: &mut Says) {
        if line.keyword() == "monitor-uri" {
            if let Some(uri) = says.need(line, 1, "a path") {
                let value = Value::text(uri, line.span_of(1));
                self.front.inner("monitor", line.span()).set("uri", value);
            }
            return;
        }
        let (Some(at), "fail") = (acl::condition_at(line), line.text(1)) else {
            let mend = "write `monitor fail if CONDITION`";
            says.error(line.span(), "`monitor` without a condition", mend);
            return;
        };
        if let Some(condition) = self.acls.condition(line, at, says) {
            self.fails.push(condition);
        }
    }

    pub(super) fn stick_table(&mut self, line: &Line, says: &mut Says) {
        let mut map = Map::default();
        let mut at = 1;
        while let Some(word) = line.words.get(at) {
            let (argument, span) = (line.text(at + 1), line.span_of(at + 1));
            match word.text.as_str() {
                "type" => map.set(
                    "key",
                    Value::plain(if argument == "ipv6" { "ip" } else { argument }, span),
                ),
                "len" => map.set("length", Value::plain(argument, span)),
                "size" => map.set("size", Value::plain(argument, span)),
                "expire" => {
                    if let Some(time) = says.duration(argument, span) {
                        map.set("expire", time);
                    }
                }
                "store" => {
                    for data in stored(argument) {
                        map.push("store", Value::text(with_unit(data), span));
                    }
                }
                "peers" => says.warn(
                    word.span,
                    "`peers` of a stick table is left out: lb has no peers yet, and each process a table of its own",
                ),
                "nopurge" => {
                    says.unsupported(word.span, "stick-table nopurge");
                    at -= 1;
                }
                other => says.unsupported(word.span, &format!("stick-table … {other}")),
            }
            at += 2;
        }
        // There may be tables of keys alone.
        if map.get("store").is_none() {
            map.set("store", Value::list(Vec::new(), line.span()));
        }
        let of = if self.kind.has_front() {
            &mut self.front
        } else {
            &mut self.back
        };
        of.set("stick_table", Value::map(map, line.span()));
    }

    /// `stick on|match|store-request|store-response EXPR [table NAME] [if COND]`
    pub(super) fn stick(&mut self, line: &Line, says: &mut Says) {
        let key = match line.text(1) {
            "on" => "on",
            "match" => "match",
            "store-request" => "store_request",
            "store-response" => "store_response",
            other => {
                says.unsupported(line.span_of(1), &format!("stick {other}"));
                return;
            }
        };
        let Some(expression) = says.need(line, 2, "an expression") else {
            return;
        };
        let mut map = Map::default();
        // Bytes are those of the side that the rule is about.
        let expression = match (key, expression.split_once('(')) {
            ("store_response", Some((name @ ("payload" | "payload_lv"), rest))) => {
                format!("res.{name}({rest}")
            }
            _ => expression.to_owned(),
        };
        map.set(key, Value::text(expression, line.span_of(2)));
        let at = acl::condition_at(line);
        let rest = &line.words[3..at.unwrap_or(line.words.len()).max(3)];
        let table = match rest {
            [] => self.name.clone(),
            [word, name] if word.text == "table" => {
                map.set("table", Value::text(name.text.as_str(), name.span));
                name.text.clone()
            }
            [word, ..] => {
                says.unsupported(word.span, &format!("stick … {}", word.text));
                return;
            }
        };
        self.stick_tables.push(table);
        if let Some(at) = at {
            let Some(condition) = self.acls.condition(line, at, says) else {
                return;
            };
            map.set("if", condition);
        }
        self.back.push("stick", Value::map(map, line.span()));
    }

    pub(super) fn balance(&mut self, line: &Line, says: &mut Says) {
        let Some(algorithm) = says.need(line, 1, "an algorithm") else {
            return;
        };
        let span = line.span_of(1);
        let argument = |name: &str| -> Option<&str> {
            let rest = algorithm.strip_prefix(name)?;
            rest.strip_prefix('(')?.strip_suffix(')')
        };
        let text = if let Some(name) = argument("hdr") {
            let rest = line.words.iter().skip(2);
            let words: Vec<&str> = rest.map(|word| word.text.as_str()).collect();
            format!("hdr {name} {}", words.join(" "))
                .trim_end()
                .to_owned()
        } else if let Some(name) = argument("rdp-cookie") {
            format!("rdp-cookie {name}")
        } else if let Some(draws) = argument("random") {
            format!("random {draws}")
        } else {
            let words: Vec<&str> = line
                .words
                .iter()
                .skip(1)
                .map(|word| word.text.as_str())
                .collect();
            match words.as_slice() {
                // How long it may take to come is the business of the time for requests.
                ["url_param", name, "check_post", ..] => format!("url_param {name} check_post"),
                ["log-hash" | "hash" | "sticky" | "log-sticky", ..] => {
                    says.unsupported(span, &format!("balance {algorithm}"));
                    return;
                }
                // Schemes and hosts are none of what lb looks at.
                words => {
                    let words = words.iter().filter(|word| **word != "path-only");
                    words.copied().collect::<Vec<_>>().join(" ")
                }
            }
        };
        self.back.set("balance", Value::plain(text, span));
    }

    /// `persist rdp-cookie[(NAME)]`
    pub(super) fn persist(&mut self, line: &Line, says: &mut Says) {
        let word = line.text(1);
        let name = match word.strip_prefix("rdp-cookie") {
            Some("") => Some("msts"),
            Some(rest) => rest
                .strip_prefix('(')
                .and_then(|rest| rest.strip_suffix(')')),
            None => None,
        };
        match name.filter(|name| !name.is_empty()) {
            Some(name) => {
                let value = Value::text(name, line.span_of(1));
                self.back.set("persist_rdp_cookie", value);
            }
            None => says.error(
                line.span(),
                format!("`persist` keeps nobody by `{word}`"),
                "write `persist rdp-cookie`, or `option persist`",
            ),
        }
    }

    pub(super) fn cookie(&mut self, line: &Line, says: &mut Says) {
        let Some(name) = says.need(line, 1, "a name") else {
            return;
        };
        let span = line.span();
        let mut map = Map::default();
        map.set("name", Value::text(name, line.span_of(1)));
        let mut at = 2;
        while let Some(word) = line.words.get(at) {
            let place = word.span;
            match word.text.as_str() {
                "insert" | "rewrite" | "prefix" => map.set("mode", Value::plain(&word.text, place)),
                "indirect" | "nocache" | "preserve" | "httponly" | "secure" | "dynamic"
                | "postonly" => {
                    map.set(&word.text, Value::plain("true", place));
                }
                "domain" => {
                    map.push(
                        "domain",
                        Value::text(line.text(at + 1), line.span_of(at + 1)),
                    );
                    at += 1;
                }
                "maxidle" | "maxlife" => {
                    let text = line.text(at + 1);
                    // These are seconds unless a unit is there.
                    let text = match text.parse::<u64>() {
                        Ok(seconds) => format!("{seconds}s"),
                        Err(_) => text.to_owned(),
                    };
                    if let Some(time) = says.duration(&text, line.span_of(at + 1)) {
                        map.set(&word.text, time);
                    }
                    at += 1;
                }
                "attr" => {
                    let attribute = line.text(at + 1);
                    match attribute.split_once('=') {
                        Some((key, value)) if key.eq_ignore_ascii_case("samesite") => {
                            map.set(
                                "same_site",
                                Value::plain(value.to_ascii_lowercase(), line.span_of(at + 1)),
                            );
                        }
                        _ => {
                            let text = Value::text(attribute, line.span_of(at + 1));
                            map.push("attributes", text);
                        }
                    }
                    at += 1;
                }
                other => says.unsupported(place, &format!("cookie … {other}")),
            }
            at += 1;
        }
        if map.get("mode").is_none() {
            map.set("mode", Value::plain("passive", span));
        }
        let mode = map.get("mode").and_then(Value::as_text);
        if mode.is_some_and(|mode| mode != "insert") {
            let without = |key: &&str| map.get(key).is_some();
            let lost: Vec<&str> = OF_INSERT.iter().copied().filter(without).collect();
            for key in lost {
                map.remove(key);
                let message = format!("`{key}` has no effect without `insert`, as in HAProxy");
                says.warn(span, message);
            }
        }
        // The key may have a line of its own above.
        if let Some(What::Map(before)) = self.back.get("cookie").map(|value| &value.what)
            && let Some(key) = before.get("dynamic_cookie_key")
        {
            map.set("dynamic_cookie_key", key.clone());
        }
        self.back.set("cookie", Value::map(map, span));
    }
}

/// The parts of `store gpc(4),gpc_rate(4,10s)`: commas within brackets divide nothing.
fn stored(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.filter(|part| !part.is_empty()).collect()
}
