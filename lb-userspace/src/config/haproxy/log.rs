//! `log`, of `global` and of proxies.

use std::collections::BTreeSet;

use super::{
    global::Global,
    lines::Line,
    proxy::Proxy,
    says::Says,
    value::{Map, Value},
};

/// `log ADDRESS [len N] [format F] FACILITY [LEVEL [MINLEVEL]]`
pub(super) fn target(line: &Line, says: &mut Says) -> Option<Value> {
    let address = says.need(line, 1, "an address")?;
    let span = line.span_of(1);
    let target = match address {
        "stdout" | "stderr" | "fd@1" | "fd@2" => "stderr".to_owned(),
        path if path.starts_with('/') => format!("unix:{path}"),
        path if path.starts_with("unix@") => path.replacen("unix@", "unix:", 1),
        other if other.starts_with("ring@") || other.starts_with("fd@") => {
            says.unsupported(span, other);
            return None;
        }
        other => {
            let other = ["udp@", "udp4@", "udp6@", "ipv4@", "ipv6@"]
                .iter()
                .find_map(|prefix| other.strip_prefix(prefix))
                .unwrap_or(other);
            match other.strip_prefix("tcp@") {
                Some(address) => format!("tcp://{address}"),
                None => format!("udp://{other}"),
            }
        }
    };
    let mut at = 2;
    while matches!(line.text(at), "len" | "format" | "sample" | "profile") {
        if line.text(at) != "format"
            || !matches!(
                line.text(at + 1),
                "rfc3164" | "raw" | "local" | "short" | "timed"
            )
        {
            says.warn(
                line.span_of(at),
                format!("`{}` of a log is left out", line.text(at)),
            );
        }
        at += 2;
    }
    let mut map = Map::default();
    map.set("target", Value::text(target, span));
    if !line.text(at).is_empty() {
        map.set("facility", Value::plain(line.text(at), line.span_of(at)));
    }
    if !line.text(at + 1).is_empty() {
        map.set(
            "level",
            Value::plain(line.text(at + 1), line.span_of(at + 1)),
        );
    }
    if !line.text(at + 2).is_empty() {
        let message = "the least level of a log is left out: lb sends levels as they are";
        says.warn(line.span_of(at + 2), message);
    }
    Some(Value::map(map, line.span()))
}

/// lb sends all lines to the same targets. Where `global` has none, and all proxies that have their own have the same, these
/// are them; what is said otherwise is told.
pub(super) fn of_proxies<'p>(
    global: &mut Global,
    proxies: impl Iterator<Item = &'p mut Proxy>,
    says: &mut Says,
) {
    let mut proxies: Vec<&mut Proxy> = proxies.collect();
    let same = |one: &[Value], other: &[Value]| {
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.is_same(b))
    };
    let mut own = proxies.iter().map(|proxy| proxy.own_logs.as_slice());
    let first = own.find(|logs| !logs.is_empty()).map(<[Value]>::to_vec);
    let agreed =
        first.filter(|first| !global.logs && own.all(|logs| logs.is_empty() || same(first, logs)));
    if let Some(agreed) = agreed {
        for target in agreed {
            global.keys.push("log", target);
        }
        global.logs = true;
        for proxy in &mut proxies {
            // `log global` is nowhere.
            proxy.logs = !proxy.own_logs.is_empty();
        }
        return;
    }
    let known: Vec<Value> = global.keys.list_mut("log").to_vec();
    let mut told = BTreeSet::new();
    for log in proxies.iter().flat_map(|proxy| &proxy.own_logs) {
        let start = (log.span.start.line, log.span.start.column);
        // Proxies have lines of `defaults` in common.
        if known.iter().all(|other| !other.is_same(log)) && told.insert(start) {
            let message =
                "a proxy's own `log` is left out: its lines go where `global` sends all of them";
            says.warn(log.span, message);
        }
    }
}
