//! `log`, of `global` and of proxies.

use std::net::IpAddr;

use super::{
    global::Global,
    lines::Line,
    lookup,
    proxy::Proxy,
    says::Says,
    value::{Map, Value},
};

/// What a proxy has of `log` lines.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// `log global`
    Global(Value),
    /// Its own target.
    Own(Value),
}

/// `log ADDRESS [len N] [format F] [sample RANGES:SIZE] FACILITY [LEVEL [MINLEVEL]]`
pub(super) fn target(line: &Line, says: &mut Says) -> Option<Value> {
    let address = says.need(line, 1, "an address")?;
    let span = line.span_of(1);
    let mut is_file = false;
    let target = match address {
        "stdout" | "fd@1" => {
            is_file = true;
            "stdout".to_owned()
        }
        "stderr" | "fd@2" => {
            is_file = true;
            "stderr".to_owned()
        }
        path if path.starts_with('/') => format!("unix:{path}"),
        path if path.starts_with("unix@") => path.replacen("unix@", "unix:", 1),
        other if other.starts_with("ring@") => {
            says.unsupported(span, other);
            return None;
        }
        other if other.starts_with("fd@") => {
            is_file = true;
            other.to_owned()
        }
        other => {
            let other = ["udp@", "udp4@", "udp6@", "ipv4@", "ipv6@"]
                .iter()
                .find_map(|prefix| other.strip_prefix(prefix))
                .unwrap_or(other);
            let tcp = ["tcp@", "tcp4@", "tcp6@"]
                .iter()
                .find_map(|prefix| other.strip_prefix(prefix));
            let (scheme, place) = match tcp {
                Some(place) => ("tcp", place),
                None => ("udp", other),
            };
            // An address of IPv6 may go without brackets, and then without a port.
            let (host, port) = match place.rsplit_once(':') {
                Some((host, port)) if place.parse::<IpAddr>().is_err() => (host, Some(port)),
                _ => (place, None),
            };
            let host = match place.parse::<IpAddr>() {
                Ok(_) => place.to_owned(),
                Err(_) => lookup::address(host, span, says)?,
            };
            match port {
                Some(port) => format!("{scheme}://{host}:{port}"),
                None => format!("{scheme}://{host}"),
            }
        }
    };
    let mut map = Map::default();
    map.set("target", Value::text(target, span));
    let mut at = 2;
    while matches!(line.text(at), "len" | "format" | "sample" | "profile") {
        let (key, value, span) = (line.text(at), line.text(at + 1), line.span_of(at + 1));
        match key {
            "len" => map.set("len", Value::plain(value, span)),
            "sample" => map.set("sample", Value::text(value, span)),
            // What lb does by itself.
            "format" if value == "local" && !is_file => {}
            "format" => map.set("format", Value::plain(value, span)),
            _ => says.warn(line.span_of(at), format!("`{key}` of a log is left out")),
        }
        at += 2;
    }
    if is_file && map.get("format").is_none() {
        map.set("format", Value::plain("local", span));
    }
    match line.text(at) {
        "" => {
            let mend = "write one behind the address, such as `local0`";
            says.error(line.span(), "`log` without a facility", mend);
            return None;
        }
        // What goes without saying.
        "local0" => {}
        facility => map.set("facility", Value::plain(facility, line.span_of(at))),
    }
    for (key, at) in [("level", at + 1), ("min_level", at + 2)] {
        if !line.text(at).is_empty() {
            map.set(key, Value::plain(line.text(at), line.span_of(at)));
        }
    }
    Some(Value::map(map, line.span()))
}

impl Proxy {
    /// A line of `log`.
    pub(super) fn log(&mut self, line: &Line, says: &mut Says) {
        let wanted = match (line.text(1), line.words.len()) {
            ("global", 2) => Some(Wanted::Global(Value::plain("global", line.span()))),
            _ => target(line, says).map(Wanted::Own),
        };
        let Some(wanted) = wanted else { return };
        // HAProxy knows each of those of `global` once.
        let is_global = |wanted: &Wanted| matches!(wanted, Wanted::Global(_));
        if !is_global(&wanted) || !self.logs.iter().any(is_global) {
            self.logs.push(wanted);
        }
    }
}

/// Whether it has a target of its own.
pub(super) fn has_own(proxy: &Proxy) -> bool {
    let is_own = |wanted: &Wanted| matches!(wanted, Wanted::Own(_));
    proxy.logs.iter().any(is_own)
}

/// What lb says of where a proxy's lines go: `log:`, and nothing where these are simply the targets of `global`.
pub(super) fn of_proxy(proxy: &Proxy, global: &Global, anybody: bool) -> Option<Value> {
    let own: Vec<Value> = proxy
        .logs
        .iter()
        .filter_map(|wanted| match wanted {
            Wanted::Global(value) => global.logs.then(|| value.clone()),
            Wanted::Own(value) => Some(value.clone()),
        })
        .collect();
    match own.as_slice() {
        // Where nothing is logged at all, lb tells standard error what HAProxy does: the changes of servers' states.
        [] => anybody.then(|| Value::plain("false", proxy.span)),
        [one] if one.as_text() == Some("global") => None,
        [first, ..] => Some(Value::list(own.clone(), first.span)),
    }
}

/// Where `global` has no target, and all proxies that have their own have the same, these are those of `global`.
pub(super) fn agree<'p>(global: &mut Global, proxies: impl Iterator<Item = &'p mut Proxy>) {
    if global.logs {
        return;
    }
    let mut proxies: Vec<&mut Proxy> = proxies.collect();
    let own = |proxy: &Proxy| -> Vec<Value> {
        let own = proxy.logs.iter().filter_map(|wanted| match wanted {
            Wanted::Own(value) => Some(value.clone()),
            Wanted::Global(_) => None,
        });
        own.collect()
    };
    let same = |one: &[Value], other: &[Value]| {
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.is_same(b))
    };
    let all: Vec<Vec<Value>> = proxies.iter().map(|proxy| own(proxy)).collect();
    let mut some = all.iter().filter(|own| !own.is_empty());
    let Some(first) = some.next() else { return };
    if !some.all(|own| same(own, first)) {
        return;
    }
    for (proxy, own) in proxies.iter_mut().zip(&all) {
        let span = first.first().map_or(proxy.span, |target| target.span);
        let global = Wanted::Global(Value::plain("global", span));
        // `log global` is nowhere.
        proxy.logs = match own.is_empty() {
            true => Vec::new(),
            false => vec![global],
        };
    }
    for target in first {
        global.keys.push("log", target.clone());
    }
    global.logs = true;
}

/// What `defaults` say of it to all proxies, if one of them still has targets of its own.
pub(super) fn of_defaults<'p>(
    defaults: &Proxy,
    mut proxies: impl Iterator<Item = &'p Proxy>,
    global: &Global,
) -> Option<Value> {
    let own = proxies.any(has_own) && has_own(defaults);
    own.then(|| of_proxy(defaults, global, true)).flatten()
}
