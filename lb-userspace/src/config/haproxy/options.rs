//! `option` and `timeout` lines.

use super::{
    check,
    lines::Line,
    proxy::{Kind, Proxy},
    says::Says,
    value::{Map, Value, What},
};
use crate::{config::address::first_of, rules::network};

impl Proxy {
    /// `backlog N`, `rate-limit sessions N`
    pub(super) fn accepting(&mut self, line: &Line, says: &mut Says) {
        let (key, at) = match (line.keyword(), line.text(1)) {
            ("backlog", _) => ("backlog", 1),
            (_, "sessions") => ("rate_limit_sessions", 2),
            (_, other) => {
                says.unsupported(line.span_of(1), &format!("rate-limit {other}"));
                return;
            }
        };
        match says.number(line.text(at), line.span_of(at)) {
            // HAProxy's 0 is no limit.
            Some(_) if line.text(at) == "0" => self.front.remove(key),
            Some(number) => self.front.set(key, number),
            None => {}
        }
    }

    pub(super) fn timeout(&mut self, line: &Line, says: &mut Says) {
        let (name, at) = match line.keyword() {
            "clitimeout" => ("client", 1),
            "srvtimeout" => ("server", 1),
            "contimeout" => ("connect", 1),
            _ => (line.text(1), 2),
        };
        let Some(text) = says.need(line, at, "a time") else {
            return;
        };
        let span = line.span_of(at);
        let Some(time) = says.duration(text, span) else {
            return;
        };
        if time.as_text() == Some("0ms") {
            let message =
                format!("`timeout {name} 0` has no end in HAProxy: lb has no such timeout");
            says.error(
                span,
                message,
                "write a long one, such as `24d`, or remove the line",
            );
            return;
        }
        let elsewhere = |says: &mut Says, whose: &str| {
            if !self.inheriting {
                let message =
                    format!("`timeout {name}` has no effect here: it is the {whose}'s in lb");
                says.warn(line.span(), message);
            }
        };
        let key = name.replace('-', "_");
        match name {
            "client" | "http-request" | "http-keep-alive" | "tarpit" => {
                if self.kind.has_front() {
                    self.front.inner("timeouts", line.span()).set(&key, time);
                } else {
                    elsewhere(says, "frontend");
                }
            }
            "connect" | "server" | "queue" | "tunnel" | "check" => {
                if self.kind.has_back() {
                    self.back.inner("timeouts", line.span()).set(&key, time);
                } else {
                    elsewhere(says, "backend");
                }
            }
            "client-fin" | "server-fin" | "client-hs" => {
                says.warn(
                    line.span(),
                    format!("`timeout {name}` is left out: the others stand for it"),
                );
            }
            other => says.unsupported(line.span_of(1), &format!("timeout {other}")),
        }
    }

    pub(super) fn option(&mut self, line: &Line, on: bool, says: &mut Says) {
        let span = line.span();
        let flag = || Value::plain(on, span);
        match line.text(1) {
            "httplog" if on => {
                if line.text(2) == "clf" {
                    says.unsupported(line.span_of(2), "option httplog clf");
                }
                self.front.set("log_format", Value::plain("http", span));
            }
            "httpslog" if on => self.front.set("log_format", Value::plain("https", span)),
            "tcplog" if on => self.front.set("log_format", Value::plain("tcp", span)),
            "dontlognull" => self.front.set("dontlognull", flag()),
            "dontlog-normal" => self.front.set("dontlog_normal", flag()),
            "log-separate-errors" => self.front.set("log_separate_errors", flag()),
            "logasap" => self.front.set("log_asap", flag()),
            "http-ignore-probes" => self.front.set("ignore_probes", flag()),
            "http-pretend-keepalive" => self.back.set("pretend_keep_alive", flag()),
            "http-restrict-req-hdr-names" => {
                if let Some(how) = says.need(line, 2, "`preserve`, `delete` or `reject`") {
                    let how = Value::plain(how, line.span_of(2));
                    if self.kind.has_front() {
                        self.front.set("restrict_header_names", how.clone());
                    }
                    if self.kind.has_back() {
                        self.back.set("restrict_header_names", how);
                    }
                }
            }
            "forwardfor" => {
                let value = forwarded_for(line, on, says);
                if self.kind.has_front() {
                    self.front.set("forwarded_for", value.clone());
                }
                if self.kind == Kind::Backend {
                    self.back.set("forwarded_for", value);
                }
            }
            "forwarded" => {
                let value = forwarded(line, on, says);
                if self.kind.has_front() {
                    self.front.set("forwarded", value);
                } else {
                    self.back.set("forwarded", value);
                }
            }
            "redispatch" => {
                let value = match (on, line.text(2)) {
                    (true, "") => flag(),
                    (true, every) => Value::plain(every, line.span_of(2)),
                    (false, _) => flag(),
                };
                if self.kind.has_back() {
                    self.back.set("redispatch", value);
                }
            }
            mode @ ("http-keep-alive" | "http-server-close" | "httpclose" | "forceclose") => {
                self.connection_mode(mode, on, line);
            }
            "allbackups" | "persist" | "abortonclose" => {
                let key = match line.text(1) {
                    "persist" => "persist",
                    "abortonclose" => "abort_on_close",
                    _ => "all_backups",
                };
                if self.kind.has_back() && (on || self.back.get(key).is_some()) {
                    self.back.set(key, flag());
                }
            }
            "originalto" => self.originalto(line, on, says),
            // What lb does, or what makes no difference to anybody.
            "http-buffer-request" => self.buffered = on.then(|| line.span()),
            "tcp-smart-accept"
            | "tcp-smart-connect"
            | "splice-auto"
            | "splice-request"
            | "splice-response"
            | "clitcpka"
            | "srvtcpka"
            | "tcpka"
            | "socket-stats"
            | "contstats"
            | "log-health-checks"
            | "accept-invalid-http-request"
            | "accept-invalid-http-response"
            | "nolinger"
            | "http-no-delay"
            | "idle-close-on-response"
            | "prefer-last-server"
            | "http-use-proxy-header"
            | "h1-case-adjust-bogus-client"
            | "h1-case-adjust-bogus-server"
            | "independent-streams"
            | "use-small-buffers" => match line.text(1) {
                "socket-stats" | "tcp-smart-accept" | "tcp-smart-connect" | "splice-auto"
                | "splice-request" | "splice-response" | "contstats" | "log-health-checks"
                | "http-no-delay" => {}
                other if on => says.warn(
                    span,
                    format!("`option {other}` is left out: lb does without"),
                ),
                _ => {}
            },
            "http_proxy" | "transparent" | "nginx" | "checkcache" | "disable-h2-upgrade"
            | "srvtcpka-cnt" => {
                if on {
                    says.unsupported(line.span_of(1), &format!("option {}", line.text(1)));
                }
            }
            other if check::OPTIONS.contains(&other) && !on => {
                let message = format!("`no option {other}` is nothing, as in HAProxy");
                let mend =
                    "write another way of checking instead: `option tcp-check` only connects";
                says.error(span, message, mend);
            }
            other => {
                if !self.check.option(line, says) && on {
                    says.unsupported(line.span_of(1), &format!("option {other}"));
                }
            }
        }
    }
}

impl Proxy {
    /// Timeouts that are not there: HAProxy waits for ever then.
    pub(super) fn tell_endless(&self, says: &mut Says) {
        let is_there =
            |map: &Map, key: &str| match map.get("timeouts").map(|timeouts| &timeouts.what) {
                Some(What::Map(timeouts)) => timeouts.get(key).is_some(),
                _ => false,
            };
        let missing = [
            (
                "client",
                "50 seconds",
                self.kind.has_front() && !is_there(&self.front, "client"),
            ),
            (
                "connect",
                "5 seconds",
                !self.servers.is_empty() && !is_there(&self.back, "connect"),
            ),
            (
                "server",
                "50 seconds",
                !self.servers.is_empty() && !is_there(&self.back, "server"),
            ),
        ];
        for (name, time, is_missing) in missing {
            if is_missing {
                let message =
                    format!("HAProxy waits for ever without `timeout {name}`: lb waits {time}");
                says.warn(self.span, message);
            }
        }
    }

    /// `option http-server-close` and the like: the last one of a section counts.
    fn connection_mode(&mut self, option: &str, on: bool, line: &Line) {
        let mode = match option {
            "http-keep-alive" => "keep-alive",
            "http-server-close" => "server-close",
            _ => "close",
        };
        let span = line.span();
        let halves = [
            (self.kind.has_front(), &mut self.front),
            (self.kind.has_back(), &mut self.back),
        ];
        for (_, map) in halves.into_iter().filter(|(has, _)| *has) {
            let value = Value::plain(mode, span);
            match map.get("connection_mode").map(|now| now.is_same(&value)) {
                _ if on => map.set("connection_mode", value),
                Some(true) => map.set("connection_mode", Value::plain("keep-alive", span)),
                _ => {}
            }
        }
    }

    /// `option originalto [except NET] [header NAME]`: a rule that adds the field.
    fn originalto(&mut self, line: &Line, on: bool, says: &mut Says) {
        let span = line.span();
        self.original = None;
        if !on {
            return;
        }
        let (mut name, mut except) = ("X-Original-To", None);
        let mut words = line.words.iter().skip(2);
        while let Some(word) = words.next() {
            let value = words.next();
            match (word.text.as_str(), value) {
                ("header", Some(value)) => name = &value.text,
                ("except", Some(value)) => except = Some(value),
                (other, _) => says.unsupported(word.span, &format!("option originalto {other}")),
            }
        }
        let mut rule = Map::default();
        if let Some(except) = except {
            let mut test = Map::default();
            test.set("of", Value::text("dst", except.span));
            test.set("value", Value::text(net(&except.text), except.span));
            let mut inner = Map::default();
            inner.set("expr", Value::map(test, except.span));
            let mut not = Map::default();
            not.set("not", Value::map(inner, except.span));
            rule.set("if", Value::map(not, except.span));
        }
        let mut field = Map::default();
        field.set(name, Value::text("%[dst]", span));
        rule.set("add_header", Value::map(field, span));
        self.original = Some(Value::map(rule, span));
    }
}

/// A network without what is set beyond its length, which HAProxy reads over.
fn net(text: &str) -> String {
    match network(text) {
        Ok((address, length)) => format!("{}/{length}", first_of(address, length)),
        Err(_) => text.to_owned(),
    }
}

/// `option forwardfor [except NET] [header NAME] [if-none]`
fn forwarded_for(line: &Line, on: bool, says: &mut Says) -> Value {
    let span = line.span();
    let mut map = Map::default();
    let mut at = 2;
    while let Some(word) = line.words.get(at) {
        match word.text.as_str() {
            "except" => {
                map.push(
                    "except",
                    Value::text(net(line.text(at + 1)), line.span_of(at + 1)),
                );
                at += 1;
            }
            "header" => {
                map.set(
                    "header",
                    Value::text(line.text(at + 1), line.span_of(at + 1)),
                );
                at += 1;
            }
            "if-none" => map.set("if_none", Value::plain("true", word.span)),
            other => says.unsupported(word.span, &format!("option forwardfor {other}")),
        }
        at += 1;
    }
    match on && !map.is_empty() {
        true => Value::map(map, span),
        false => Value::plain(on, span),
    }
}

/// `option forwarded [proto] [host] [by] [by_port] [for] [for_port]`
fn forwarded(line: &Line, on: bool, says: &mut Says) -> Value {
    let span = line.span();
    let mut map = Map::default();
    for word in line.words.iter().skip(2) {
        match word.text.as_str() {
            "proto" | "host" | "by" | "by_port" | "for" | "for_port" => {
                map.set(&word.text, Value::plain("true", word.span));
            }
            other => {
                says.unsupported(word.span, &format!("option forwarded {other}"));
                break;
            }
        }
    }
    match on && !map.is_empty() {
        true => Value::map(map, span),
        false => Value::plain(on, span),
    }
}
