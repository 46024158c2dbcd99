//! `option httpchk` and its siblings, `http-check`, `tcp-check`: `health_check:`.

use super::{
    lines::Line,
    says::Says,
    server::Server,
    value::{Map, Value},
};
use crate::config::source::Span;

/// How the servers of a proxy are checked.
#[derive(Debug, Default, Clone)]
pub(super) struct Check {
    /// Keys of `health_check:`, its type among them.
    keys: Map,
    /// Steps of `tcp-check`.
    steps: Vec<Value>,
    span: Option<Span>,
}

impl Check {
    /// `option httpchk …`; whether it is one of them.
    pub(super) fn option(&mut self, line: &Line, says: &mut Says) -> bool {
        let span = line.span();
        match line.text(1) {
            "httpchk" => {
                let mut keys = Map::default();
                keys.set("type", Value::plain("http", line.span_of(1)));
                let words: Vec<_> = line.words.iter().skip(2).collect();
                let (method, uri, rest) = match words.as_slice() {
                    [] => (None, None, &[][..]),
                    [uri] => (None, Some(*uri), &[][..]),
                    [method, uri, rest @ ..] => (Some(*method), Some(*uri), rest),
                };
                let method = match method {
                    Some(method) => Value::plain(&method.text, method.span),
                    // What HAProxy asks with unless it is told.
                    None => Value::plain("OPTIONS", span),
                };
                keys.set("method", method);
                if let Some(uri) = uri {
                    keys.set("path", Value::text(uri.text.as_str(), uri.span));
                }
                if let Some(version) = rest.first() {
                    // Fields used to be smuggled in behind the version.
                    let mut parts = version.text.split("\r\n");
                    keys.set(
                        "version",
                        Value::plain(parts.next().unwrap_or_default(), version.span),
                    );
                    for field in parts.filter(|field| !field.is_empty()) {
                        let (name, value) = field.split_once(':').unwrap_or((field, ""));
                        self::field(
                            &mut keys,
                            name.trim(),
                            Value::text(value.trim(), version.span),
                        );
                    }
                }
                self.keys = keys;
            }
            "tcp-check" => self.keys.set("type", Value::plain("tcp", line.span_of(1))),
            "ssl-hello-chk" => self.keys.set("type", Value::plain("ssl", line.span_of(1))),
            "redis-check" => {
                self.keys.set("type", Value::plain("tcp", line.span_of(1)));
                self.steps = vec![
                    step("send", "*1\r\n$4\r\nPING\r\n", span),
                    step("expect", "+PONG\r\n", span),
                ];
            }
            "smtpchk" => {
                self.keys.set("type", Value::plain("tcp", line.span_of(1)));
                let hello = match (line.text(2), line.text(3)) {
                    ("", _) => "HELO localhost\r\n".to_owned(),
                    (verb, domain) => format!("{verb} {domain}\r\n"),
                };
                self.steps = vec![
                    step("expect", "220 ", span),
                    step("send", &hello, span),
                    step("expect", "250", span),
                    step("send", "QUIT\r\n", span),
                    step("expect", "221", span),
                ];
            }
            "mysql-check" | "pgsql-check" | "ldap-check" | "spop-check" | "external-check" => {
                says.unsupported(line.span_of(1), &format!("option {}", line.text(1)));
            }
            _ => return false,
        }
        self.span = Some(span);
        true
    }

    /// `http-check …`
    pub(super) fn http(&mut self, line: &Line, says: &mut Says) {
        let words = &line.words;
        match line.text(1) {
            "send" => {
                let mut at = 2;
                while let Some(word) = words.get(at) {
                    let value = |index: usize| {
                        words
                            .get(index)
                            .map(|word| Value::text(word.text.as_str(), word.span))
                    };
                    match word.text.as_str() {
                        "meth" => {
                            let plain = words
                                .get(at + 1)
                                .map(|word| Value::plain(&word.text, word.span));
                            plain
                                .into_iter()
                                .for_each(|value| self.keys.set("method", value));
                        }
                        "uri" => value(at + 1)
                            .into_iter()
                            .for_each(|value| self.keys.set("path", value)),
                        "ver" => {
                            let plain = words
                                .get(at + 1)
                                .map(|word| Value::plain(&word.text, word.span));
                            plain
                                .into_iter()
                                .for_each(|value| self.keys.set("version", value));
                        }
                        "hdr" => {
                            if let (Some(name), Some(value)) = (words.get(at + 1), value(at + 2)) {
                                field(&mut self.keys, &name.text, value);
                            }
                            at += 1;
                        }
                        other => says.unsupported(word.span, &format!("http-check send … {other}")),
                    }
                    at += 2;
                }
            }
            "expect" => {
                let mut at = 2;
                if line.text(at) == "!" {
                    says.unsupported(line.span_of(at), "http-check expect !");
                    return;
                }
                while matches!(
                    line.text(at),
                    "min-recv"
                        | "ok-status"
                        | "error-status"
                        | "tout-status"
                        | "on-success"
                        | "on-error"
                        | "status-code"
                        | "comment"
                ) {
                    at += 2;
                }
                let (kind, pattern) = (line.text(at), line.words.get(at + 1));
                let Some(pattern) = pattern else {
                    says.error(
                        line.span(),
                        "`http-check expect` without a pattern",
                        "write `status 200`, `string ready`, …",
                    );
                    return;
                };
                let known = matches!(kind, "status" | "string" | "rstring");
                if !known {
                    says.unsupported(line.span_of(at), &format!("http-check expect {kind}"));
                    return;
                }
                let expect = self.keys.inner("expect", line.span());
                match kind {
                    "status" => {
                        expect.set("status", Value::text(pattern.text.as_str(), pattern.span));
                    }
                    "string" => {
                        expect.set("body", Value::text(pattern.text.as_str(), pattern.span));
                    }
                    _ => expect.set("regex", Value::text(pattern.text.as_str(), pattern.span)),
                }
            }
            "disable-on-404" | "send-state" | "connect" | "comment" | "set-var" => {
                says.unsupported(line.span_of(1), &format!("http-check {}", line.text(1)));
            }
            other => says.unsupported(line.span_of(1), &format!("http-check {other}")),
        }
    }

    /// `tcp-check …`
    pub(super) fn tcp(&mut self, line: &Line, says: &mut Says) {
        let span = line.span();
        match (line.text(1), line.text(2)) {
            ("connect", "") => {}
            ("send", text) => self.steps.push(step("send", text, span)),
            ("expect", "string") => self.steps.push(step("expect", line.text(3), span)),
            ("expect", "rstring") => {
                let mut inner = Map::default();
                inner.set("regex", Value::text(line.text(3), span));
                let mut map = Map::default();
                map.set("expect", Value::map(inner, span));
                self.steps.push(Value::map(map, span));
            }
            ("comment", _) => {}
            (word, more) => says.unsupported(span, &format!("tcp-check {word} {more}")),
        }
    }

    /// `health_check:` of servers that are checked alike; `None` if none is.
    pub(super) fn value(&self, servers: &[Server], says: &mut Says) -> Option<Value> {
        let mut checked = servers
            .iter()
            .filter(|server| server.checked.is_some_and(|(on, _)| on));
        let first = checked.next()?;
        let span = self.span.or(first.checked.map(|(_, span)| span))?;
        let whole = |server: &Server| {
            let mut keys = self.keys.clone();
            if keys.get("type").is_none() {
                keys.set("type", Value::plain("tcp", span));
            }
            if !self.steps.is_empty() {
                keys.set("steps", Value::list(self.steps.clone(), span));
            }
            if server.check_ssl || server.keys.get("tls").is_some() {
                let kind = match keys.get("type").map(|value| &value.what) {
                    Some(super::value::What::Text { text, .. }) if text == "http" => "https",
                    _ => "ssl",
                };
                keys.set("type", Value::plain(kind, span));
            }
            keys.0.extend(server.check.0.clone());
            Value::map(keys, span)
        };
        let value = whole(first);
        for server in checked {
            if !whole(server).is_same(&value) {
                let span = server.checked.map_or(span, |(_, span)| span);
                says.error(
                    span,
                    "servers of one backend are checked alike in lb",
                    "give all of them the same `inter`, `rise`, `fall`, `port`, … (`default-server` does)",
                );
                break;
            }
        }
        Some(value)
    }

    /// What `defaults` says for backends whose servers say `check` and no more.
    pub(super) fn of_defaults(&self) -> Option<Value> {
        let span = self.span?;
        let mut keys = self.keys.clone();
        if !self.steps.is_empty() {
            keys.set("steps", Value::list(self.steps.clone(), span));
        }
        Some(Value::map(keys, span))
    }
}

/// A field of the request that a check sends.
fn field(keys: &mut Map, name: &str, value: Value) {
    if name.eq_ignore_ascii_case("host") {
        keys.set("host", value);
    } else {
        let span = value.span;
        keys.inner("headers", span).set(name, value);
    }
}

fn step(key: &str, text: &str, span: Span) -> Value {
    let mut map = Map::default();
    map.set(key, Value::text(text, span));
    Value::map(map, span)
}
