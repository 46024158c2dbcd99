//! `source` of backends and servers, and limits as HAProxy fills them in.

use super::{
    lines::Line,
    options_of::Options,
    says::Says,
    value::{Map, Value},
};
use crate::config::source::Span;

/// What stands behind `source`: an address of ours, nothing that is the client's.
pub(super) fn of(words: &mut Options<'_>, span: Span, says: &mut Says) -> Option<Value> {
    let Some(address) = words.next() else {
        says.error(span, "`source` without an address", "write it behind");
        return None;
    };
    let mut refused = false;
    while let Some(word @ ("usesrc" | "interface")) = words.peek() {
        says.unsupported(span, &format!("source … {word}"));
        refused = true;
        words.next();
        words.next();
    }
    let text = address.text.trim_end_matches(':');
    let (text, every) = match text.rsplit_once(':') {
        Some((host, "0")) => (host, host == "0.0.0.0" || host == "*"),
        Some((_, port)) if port.contains('-') => {
            says.unsupported(address.span, "source … with a range of ports");
            return None;
        }
        _ => (text, matches!(text, "0.0.0.0" | "*" | "::")),
    };
    // Any address is what the system chooses anyway.
    (!refused && !every).then(|| Value::text(text, address.span))
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
