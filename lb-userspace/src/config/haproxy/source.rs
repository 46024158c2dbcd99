//! `source` of backends and servers, and limits as HAProxy fills them in.

use super::{
    lines::Line,
    options_of::Options,
    says::Says,
    value::{Map, Value},
};
use crate::config::source::Span;

/// What stands behind `source`: an address of ours, whose it looks like instead (`usesrc`), and the `interface` to leave by.
pub(super) fn of(words: &mut Options<'_>, span: Span, says: &mut Says) -> Option<Value> {
    let Some(address) = words.next() else {
        says.error(span, "`source` without an address", "write it behind");
        return None;
    };
    let mut map = Map::default();
    if let Some(address) = plain(&address.text, address.span, says)? {
        map.set("address", address);
    }
    while let Some(word @ ("usesrc" | "interface")) = words.peek() {
        words.next();
        let Some(argument) = words.next() else {
            let message = format!("`{word}` without a value");
            says.error(span, message, "write it behind");
            return None;
        };
        match word {
            "interface" => map.set(
                "interface",
                Value::text(argument.text.as_str(), argument.span),
            ),
            _ => {
                if let Some(spoof) = usesrc(&argument.text, argument.span, says)? {
                    map.set("as", spoof);
                }
            }
        }
    }
    match map.0.as_slice() {
        // Any address is what the system chooses anyway.
        [] => None,
        [only] if only.name == "address" => Some(only.value.clone()),
        _ => Some(Value::map(map, span)),
    }
}

/// An address, and perhaps a port; the inner `None` is any.
fn plain(text: &str, span: Span, says: &mut Says) -> Option<Option<Value>> {
    let text = ["ipv4@", "ipv6@"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    let bare = text.trim_end_matches(':');
    let (text, every) = match bare.rsplit_once(':') {
        _ if bare.parse::<std::net::Ipv6Addr>().is_ok() => (bare, bare == "::"),
        Some((host, "0")) => (host, matches!(host, "0.0.0.0" | "*" | "")),
        Some((_, port)) if port.contains('-') => {
            says.unsupported(span, "source … with a range of ports");
            return None;
        }
        _ => (bare, matches!(bare, "0.0.0.0" | "*" | "0")),
    };
    Some((!every).then(|| Value::text(text, span)))
}

/// What follows `usesrc`.
fn usesrc(text: &str, span: Span, says: &mut Says) -> Option<Option<Value>> {
    let inner = text
        .strip_prefix("hdr_ip(")
        .and_then(|rest| rest.strip_suffix(')'));
    Some(Some(match (text, inner) {
        ("client", _) => Value::plain("client", span),
        ("clientip", _) => Value::plain("client-address", span),
        (_, Some(inner)) => {
            let (name, which) = inner.split_once(',').unwrap_or((inner, "-1"));
            // HAProxy's 0 is that nobody is looked for.
            if which.trim() == "0" {
                return Some(None);
            }
            let mut map = Map::default();
            map.set("header", Value::text(name.trim(), span));
            if which.trim() != "-1" {
                map.set("occurrence", says.number(which.trim(), span)?);
            }
            Value::map(map, span)
        }
        (text, None) => return plain(text, span, says),
    }))
}

/// `source ADDRESS …` of a backend.
pub(super) fn line(line: &Line, back: &mut Map, says: &mut Says) {
    let mut words = Options::of(&line.words[1..]);
    match of(&mut words, line.span(), says) {
        Some(source) => back.set("source", source),
        None => back.remove("source"),
    }
}

/// HAProxy makes `maxconn` of `minconn` where that is larger, and then nothing moves.
pub(super) fn finish(keys: &mut Map) {
    let number = |keys: &Map, key: &str| -> Option<u64> {
        keys.get(key).and_then(Value::as_text)?.parse().ok()
    };
    let Some(least) = number(keys, "minconn") else {
        return;
    };
    if number(keys, "maxconn").is_none_or(|most| most <= least) {
        if let Some(value) = keys.get("minconn").cloned() {
            keys.set("maxconn", value);
        }
        keys.remove("minconn");
    }
}
