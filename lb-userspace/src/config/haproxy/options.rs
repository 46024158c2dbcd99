//! `option` and `timeout` lines.

use super::{
    lines::Line,
    proxy::{Kind, Proxy},
    says::Says,
    value::{Map, Value},
};

impl Proxy {
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
        let key = name.replace('-', "_");
        match name {
            "client" | "http-request" | "http-keep-alive" | "tarpit" => {
                if self.kind.has_front() {
                    self.front.inner("timeouts", line.span()).set(&key, time);
                } else if name == "tarpit" && !self.inheriting {
                    says.warn(line.span(), "`timeout tarpit` is the frontend's in lb");
                }
            }
            "connect" | "server" | "queue" | "tunnel" | "check" => {
                if self.kind.has_back() {
                    self.back.inner("timeouts", line.span()).set(&key, time);
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
            "tcplog" if on => self.front.set("log_format", Value::plain("tcp", span)),
            "dontlognull" => self.front.set("dontlognull", flag()),
            "dontlog-normal" => self.front.set("dontlog_normal", flag()),
            "log-separate-errors" => self.front.set("log_separate_errors", flag()),
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
            // What lb does, or what makes no difference to anybody.
            "http-keep-alive"
            | "http-buffer-request"
            | "tcp-smart-accept"
            | "tcp-smart-connect"
            | "splice-auto"
            | "splice-request"
            | "splice-response"
            | "clitcpka"
            | "srvtcpka"
            | "tcpka"
            | "socket-stats"
            | "logasap"
            | "contstats"
            | "log-health-checks"
            | "accept-invalid-http-request"
            | "accept-invalid-http-response"
            | "nolinger"
            | "http-no-delay"
            | "httpslog"
            | "idle-close-on-response"
            | "prefer-last-server"
            | "http-ignore-probes"
            | "http-use-proxy-header"
            | "h1-case-adjust-bogus-client"
            | "h1-case-adjust-bogus-server"
            | "independent-streams"
            | "use-small-buffers" => match line.text(1) {
                "http-keep-alive" | "socket-stats" | "tcp-smart-accept" | "tcp-smart-connect"
                | "http-ignore-probes" | "prefer-last-server" | "splice-auto"
                | "splice-request" | "splice-response" | "contstats" | "log-health-checks"
                | "http-no-delay" => {}
                other if on => says.warn(
                    span,
                    format!("`option {other}` is left out: lb does without"),
                ),
                _ => {}
            },
            "abortonclose"
            | "allbackups"
            | "http-server-close"
            | "httpclose"
            | "forceclose"
            | "persist"
            | "http_proxy"
            | "transparent"
            | "originalto"
            | "nginx"
            | "http-pretend-keepalive"
            | "http-restrict-req-hdr-names"
            | "checkcache"
            | "disable-h2-upgrade"
            | "srvtcpka-cnt" => {
                if on {
                    says.unsupported(line.span_of(1), &format!("option {}", line.text(1)));
                }
            }
            other => {
                if !self.check.option(line, says) && on {
                    says.unsupported(line.span_of(1), &format!("option {other}"));
                }
            }
        }
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
                    Value::text(line.text(at + 1), line.span_of(at + 1)),
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
