//! `resolvers` sections, and what of `server` lines has to do with names and addresses.

use std::net::IpAddr;

use super::{
    assemble::Section,
    family::{self, Family},
    lines::Line,
    says::Says,
    value::{Map, Value},
    words::Word,
};
use crate::config::source::Span;

/// `resolvers NAME`
pub(super) fn section(section: &Section<'_>, all: &mut Map, says: &mut Says) {
    let Some(name) = says.need(section.head, 1, "a name") else {
        return;
    };
    let mut keys = Map::default();
    for line in &section.lines {
        line_of(line, &mut keys, says);
    }
    if keys.get("nameservers").is_none() && keys.get("parse_resolv_conf").is_none() {
        let span = section.head.span();
        says.warn(
            span,
            format!("resolvers `{name}` have no `nameserver`: nothing is asked"),
        );
        keys.set("nameservers", Value::list(Vec::new(), span));
    }
    all.set(name, Value::map(keys, section.head.span_of(1)));
}

fn line_of(line: &Line, keys: &mut Map, says: &mut Says) {
    let (keyword, span) = (line.keyword(), line.span());
    match keyword {
        "nameserver" => {
            let Some(address) = says.need(line, 2, "a name and an address") else {
                return;
            };
            let (tcp, address) = match address.split_once('@') {
                Some(("tcp" | "tcp4" | "tcp6", rest)) => ("tcp:", rest),
                Some(("udp" | "udp4" | "udp6" | "ipv4" | "ipv6", rest)) => ("", rest),
                Some(_) => {
                    says.unsupported(line.span_of(2), address);
                    return;
                }
                None => ("", address),
            };
            let text = Value::text(format!("{tcp}{address}"), line.span_of(2));
            keys.push("nameservers", text);
        }
        "parse-resolv-conf" => keys.set("parse_resolv_conf", Value::plain("true", span)),
        "resolve_retries" | "accepted_payload_size" => {
            if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                keys.set(keyword, number);
            }
        }
        "timeout" | "hold" => {
            let key = if keyword == "hold" {
                "hold"
            } else {
                "timeouts"
            };
            if let Some(time) = says.duration(line.text(2), line.span_of(2)) {
                keys.inner(key, span)
                    .set_at(line.text(1), line.span_of(1), time);
            }
        }
        other => says.unsupported(line.span_of(0), &format!("{other} in resolvers")),
    }
}

/// An option of a `server` line that has to do with its name; whether it is one.
pub(super) fn option(
    keyword: &str,
    argument: Option<&Word>,
    span: Span,
    keys: &mut Map,
    says: &mut Says,
) -> bool {
    if !matches!(
        keyword,
        "resolvers" | "resolve-prefer" | "resolve-net" | "resolve-opts" | "init-addr"
    ) {
        return false;
    }
    let Some(word) = argument else {
        says.error(
            span,
            format!("`{keyword}` without a value"),
            "write it behind",
        );
        return true;
    };
    let (text, at) = (word.text.as_str(), word.span);
    let list = || {
        let parts = text.split(',').filter(|part| !part.is_empty());
        Value::list(parts.map(|part| Value::text(part, at)).collect(), at)
    };
    match keyword {
        "init-addr" => keys.set("init_addr", list()),
        "resolvers" => keys
            .inner("resolve", span)
            .set("resolvers", Value::text(text, at)),
        "resolve-prefer" => keys
            .inner("resolve", span)
            .set("prefer", Value::plain(text, at)),
        "resolve-net" => keys.inner("resolve", span).set("networks", list()),
        _ => {
            for option in text.split(',') {
                let (key, on) = match option {
                    "allow-dup-ip" => ("allow_duplicates", true),
                    "prevent-dup-ip" => ("allow_duplicates", false),
                    "ignore-weight" => ("ignore_weight", true),
                    other => {
                        says.unsupported(at, &format!("server … resolve-opts {other}"));
                        continue;
                    }
                };
                keys.inner("resolve", span).set(key, Value::plain(on, at));
            }
        }
    }
    true
}

/// What `resolve-prefer` and its like say means nothing where nobody is asked.
pub(super) fn finish(keys: &mut Map) {
    let asks = match keys.get("resolve").map(|value| &value.what) {
        Some(super::value::What::Map(map)) => map.get("resolvers").is_some(),
        _ => true,
    };
    if !asks {
        keys.remove("resolve");
    }
}

/// Whether a server's address is a name.
pub(super) fn is_name(text: &str) -> bool {
    let (family, text) = family::of(text);
    let (host, _) = family::parted(text);
    family != Family::Unix
        && !text.contains('@')
        && !matches!(host, "" | "*" | "0")
        && family::ip(host).is_none()
}

/// An address of a server that is as a whole or in part where the client asked to go: `0.0.0.0`, `*:80`, `192.0.2.1`,
/// `192.0.2.1:+1000`.
fn asked(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let (host, port) = family::parted(text);
    let port = port.unwrap_or("0");
    let any = matches!(host, "" | "*" | "0" | "0.0.0.0" | "::" | "[::]");
    let host = match (any, family::ip(host)) {
        (true, _) => "*".to_owned(),
        (false, Some(IpAddr::V4(ip))) => ip.to_string(),
        (false, Some(IpAddr::V6(ip))) => format!("[{ip}]"),
        (false, None) => return None,
    };
    let moves = port.starts_with(['+', '-']);
    match (any, moves, port) {
        (true, false, "0" | "") => Some("*".to_owned()),
        (false, false, "0" | "") => Some(format!("{host}:+0")),
        (_, true, port) | (true, false, port) => Some(format!("{host}:{port}")),
        (false, false, _) => None,
    }
}

/// A server's address as ours.
pub(super) fn server_address(text: &str, span: Span, says: &mut Says) -> Option<String> {
    let (family, text) = family::of(text);
    if family == Family::Unix {
        return Some(format!("unix:{text}"));
    }
    let (host, _) = family::parted(text);
    if family::is_other(text, span, says) || family::is_none(text, host, family, span, says) {
        return None;
    }
    if let Some(asked) = asked(text) {
        return Some(asked);
    }
    let (host, port) = family::parted(text);
    let number = port.and_then(|port| port.parse::<u16>().ok());
    match (number, port) {
        (Some(port), _) if port > 0 => Some(match host {
            host if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
            host => format!("{host}:{port}"),
        }),
        (_, None) if text.starts_with('_') => Some(text.to_owned()),
        (_, Some(port)) if !port.is_empty() => {
            let message = match port.contains('-') {
                true => format!("`{port}` are several ports: a server has one"),
                false => format!("`{port}` is no port"),
            };
            says.error(span, message, "write a number from 1 to 65535");
            None
        }
        _ => {
            says.error(
                span,
                format!("`{text}` has no port: HAProxy then takes the one the client connected to, lb does not"),
                format!("write it: `{}:PORT`", text.trim_end_matches(':')),
            );
            None
        }
    }
}
