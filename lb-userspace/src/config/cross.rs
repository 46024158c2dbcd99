//! What only holds between sections: names, modes, addresses, the needs of the kernel path.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft, FrontendDraft},
    model::{AccessLog, Attach, Bind, Forward, Mode, Overflow},
    resolve::{backend_mode, forward, frontend_mode, users},
    source::Spanned,
    suggest,
};

/// Everything that is wrong between sections. `broken` says that a section had errors, so that what seems to be
/// missing may be there but unreadable.
pub(super) fn check(draft: &Draft, broken: bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    references(draft, &mut found);
    modes(draft, &mut found);
    for frontend in &draft.frontends {
        frontend_keys(frontend, draft, &mut found);
    }
    for backend in &draft.backends {
        backend_keys(backend, draft, broken, &mut found);
        servers(backend, draft, &mut found);
        kernel_path(backend, draft, &mut found);
    }
    binds(draft, &mut found);
    found
}

/// Backends that are named exist; those that exist are named.
fn references(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let names: HashSet<&str> = draft
        .backends
        .iter()
        .map(|b| b.name.value.as_str())
        .collect();
    let mut used = HashSet::new();
    for frontend in &draft.frontends {
        let rules = frontend.rules.iter().map(|rule| &rule.use_backend);
        for name in rules.chain(&frontend.default_backend) {
            used.insert(name.value.as_str());
            if names.contains(name.value.as_str()) {
                continue;
            }
            let mend = match suggest::nearest(&name.value, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "add it below `backends`: `{}: {{ servers: [ … ] }}`",
                    name.value
                ),
            };
            found.push(
                Diagnostic::error(name.span, format!("there is no backend `{}`", name.value))
                    .mend(mend),
            );
        }
        if !frontend.routes {
            found.push(
                Diagnostic::error(
                    frontend.name.span,
                    format!("frontend `{}` leads to no backend", frontend.name.value),
                )
                .mend("write `default_backend: NAME`"),
            );
        }
        if let Some((index, always)) = frontend
            .rules
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.conditions.is_empty())
            && let Some(next) = frontend.rules.get(index + 1)
        {
            found.push(
                Diagnostic::warning(
                    next.span,
                    "no request comes to this rule: one above it always holds",
                )
                .also(always.span, "this one has no `if`")
                .mend("move the rule without `if` to the end, or write `default_backend` instead"),
            );
        }
    }
    for backend in draft
        .backends
        .iter()
        .filter(|b| !used.contains(b.name.value.as_str()))
    {
        found.push(
            Diagnostic::warning(
                backend.name.span,
                format!("no frontend uses the backend `{}`", backend.name.value),
            )
            .mend("name it in a `default_backend` or a rule, or remove it"),
        );
    }
}

/// A backend and its frontends speak of the same layer.
fn modes(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let word = |mode| if mode == Mode::Tcp { "tcp" } else { "http" };
    for backend in &draft.backends {
        let wanted = backend_mode(backend, draft);
        for frontend in users(&backend.name.value, draft) {
            let mode = frontend_mode(frontend, &draft.defaults);
            if mode == wanted {
                continue;
            }
            let (name, other) = (&backend.name.value, &frontend.name.value);
            let at = frontend
                .mode
                .as_ref()
                .map_or(frontend.name.span, |mode| mode.span);
            let diagnostic = match &backend.mode {
                Some(own) => Diagnostic::error(
                    own.span,
                    format!(
                        "backend `{name}` is in mode {}, frontend `{other}` in mode {}",
                        word(wanted),
                        word(mode)
                    ),
                )
                .also(at, "the frontend")
                .mend(format!(
                    "write `mode: {}`, or name another backend there",
                    word(mode)
                )),
                None => Diagnostic::error(
                    backend.name.span,
                    format!("backend `{name}` takes its mode from its frontends, and they differ"),
                )
                .also(
                    at,
                    format!(
                        "`{other}` is in mode {}, another in mode {}",
                        word(mode),
                        word(wanted)
                    ),
                )
                .mend("make it two backends with the same servers, one for each mode"),
            };
            found.push(diagnostic);
        }
    }
}

/// Keys of a frontend that its mode gives no meaning.
fn frontend_keys(frontend: &FrontendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    if frontend_mode(frontend, &draft.defaults) == Mode::Http {
        return;
    }
    let name = &frontend.name.value;
    let mend = "write `mode: http`, or remove it";
    if let Some(rule) = frontend
        .rules
        .iter()
        .find(|rule| !rule.conditions.is_empty())
    {
        found.push(
            Diagnostic::error(
                rule.span,
                format!("`path_prefix` and `host` need mode http, `{name}` is in mode tcp"),
            )
            .mend(mend),
        );
    }
    if let Some(on) = frontend.forwarded_for.as_ref().filter(|on| on.value) {
        found.push(
            Diagnostic::error(on.span, "`forwarded_for` has no effect in mode tcp").mend(mend),
        );
    }
    if let Some(format) = frontend
        .log_format
        .as_ref()
        .filter(|format| format.value == AccessLog::Http)
    {
        found.push(
            Diagnostic::error(format.span, "there are no requests to log in mode tcp")
                .mend("write `log_format: tcp`"),
        );
    }
    for (set, key) in [
        (frontend.timeouts.http_request, "http_request"),
        (frontend.timeouts.http_keep_alive, "http_keep_alive"),
    ] {
        if set.is_some() {
            let message = format!("the timeout `{key}` has no effect in mode tcp");
            found.push(Diagnostic::error(frontend.name.span, message).mend("remove it"));
        }
    }
}

/// Keys of a backend that its mode or other keys give no meaning.
fn backend_keys(backend: &BackendDraft, draft: &Draft, broken: bool, found: &mut Vec<Diagnostic>) {
    let mode = backend_mode(backend, draft);
    let name = &backend.name.value;
    let own = &backend.proxy;
    if mode == Mode::Tcp {
        if let Some(cookie) = &own.cookie {
            found.push(
                Diagnostic::error(
                    cookie.span,
                    format!("`cookie` needs mode http, `{name}` is in mode tcp"),
                )
                .mend("remove it; `balance: source` keeps a client on its server in mode tcp"),
            );
        }
        if let Some(on) = backend.forwarded_for.as_ref().filter(|on| on.value) {
            found.push(
                Diagnostic::error(on.span, "`forwarded_for` has no effect in mode tcp")
                    .mend("remove it"),
            );
        }
    } else {
        for (span, key) in [
            (own.forward.as_ref().map(|f| f.span), "forward"),
            (own.overflow.as_ref().map(|o| o.span), "overflow"),
        ] {
            if let Some(span) = span {
                let message = format!("`{key}` belongs to mode tcp, `{name}` is in mode http");
                found.push(Diagnostic::error(span, message).mend("remove it"));
            }
        }
    }
    if mode == Mode::Tcp
        && let Some(overflow) = &own.overflow
        && forward(backend, mode, &draft.defaults) == Forward::Proxy
    {
        let message =
            "`overflow` has no effect with `forward: proxy`: userspace takes every connection";
        found.push(Diagnostic::error(overflow.span, message).mend("remove it"));
    }
    let unreadable = broken && backend.servers_span.is_some();
    if backend.servers.is_empty() && !unreadable {
        found.push(
            Diagnostic::warning(
                backend.servers_span.unwrap_or(backend.name.span),
                format!("backend `{name}` has no servers: whatever comes to it is refused"),
            )
            .mend("write `servers: [{ name: s1, address: \"192.0.2.10:80\" }]`"),
        );
    }
    if !backend.servers.is_empty()
        && backend
            .servers
            .iter()
            .all(|server| server.weight == Some(0))
    {
        found.push(
            Diagnostic::warning(
                backend.servers_span.unwrap_or(backend.name.span),
                format!("every server of `{name}` has weight 0: nothing new is sent to any"),
            )
            .mend("give at least one a weight above 0"),
        );
    }
}

/// Names, cookies and checks of a backend's servers.
fn servers(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let cookie = backend
        .proxy
        .cookie
        .as_ref()
        .or(draft.defaults.proxy.cookie.as_ref());
    let cookie = cookie.filter(|_| backend_mode(backend, draft) == Mode::Http);
    let check = backend
        .proxy
        .health_check
        .as_ref()
        .or(draft.defaults.proxy.health_check.as_ref());
    let checked = check.is_some_and(|check| check.value.is_some());
    let (mut names, mut values) = (HashMap::new(), HashMap::new());
    for server in &backend.servers {
        let name = &server.name.value;
        if let Some(first) = names.insert(name.as_str(), server.name.span) {
            found.push(
                Diagnostic::error(
                    server.name.span,
                    format!(
                        "a second server `{name}` in backend `{}`",
                        backend.name.value
                    ),
                )
                .also(first, "the first one is here")
                .mend("give each server a name of its own"),
            );
        }
        match (&server.cookie, cookie) {
            (Some(value), Some(_)) => {
                if let Some(first) = values.insert(value.value.as_str(), value.span) {
                    found.push(
                        Diagnostic::warning(value.span, format!("two servers have the cookie value `{}`", value.value))
                            .also(first, "the first one is here")
                            .mend("give each server a value of its own: clients of both stay on the first"),
                    );
                }
            }
            (Some(value), None) => found.push(
                Diagnostic::error(value.span, format!("backend `{}` has no `cookie`, so this value has no effect", backend.name.value))
                    .mend("give the backend `cookie: { name: SERVERID, indirect: true, nocache: true }` in mode http, or remove it"),
            ),
            (None, Some(cookie)) => found.push(
                Diagnostic::warning(server.name.span, format!("server `{name}` has no `cookie`: its clients do not stay on it"))
                    .also(cookie.span, "the cookie is set here")
                    .mend(format!("write `cookie: {name}`")),
            ),
            (None, None) => {}
        }
        if let Some(on) = server.check.as_ref().filter(|on| on.value && !checked) {
            found.push(
                Diagnostic::error(
                    on.span,
                    format!(
                        "backend `{}` has no `health_check`, so nothing is checked",
                        backend.name.value
                    ),
                )
                .mend("give it `health_check: { type: tcp }`, or remove `check`"),
            );
        }
    }
}

/// What `forward` needs of addresses and ports.
fn kernel_path(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mode = backend_mode(backend, draft);
    let forward = forward(backend, mode, &draft.defaults);
    let off = draft.global.fast_path.attach == Attach::Off;
    let written = backend
        .proxy
        .forward
        .as_ref()
        .or(draft.defaults.proxy.forward.as_ref());
    let at = written.map_or(backend.name.span, |forward| forward.span);
    let binds = || users(&backend.name.value, draft).flat_map(|frontend| &frontend.binds);
    match forward {
        Forward::Dsr => {
            let overflow = backend.proxy.overflow.as_ref().or(draft
                .defaults
                .proxy
                .overflow
                .as_ref());
            let drops = overflow.is_none_or(|overflow| overflow.value == Overflow::Drop);
            if off && drops {
                found.push(
                    Diagnostic::error(at, "`forward: dsr` needs the kernel, but `fast_path.attach` is off: nothing would be served")
                        .mend("write `forward: proxy`, or `overflow: proxy`, or let the fast path attach"),
                );
            } else if !drops {
                found.push(
                    Diagnostic::warning(at, "connections that userspace serves reach the servers from this host's address")
                        .mend("write `overflow: drop` if the servers must see the clients' addresses"),
                );
            }
            for bind in binds() {
                dsr(backend, bind, found);
            }
        }
        Forward::FullNat if !off => {
            for bind in binds() {
                let mixed = backend.servers.iter().find(|server| {
                    bind.value.address.is_ipv6() && server.address.value.is_ipv4()
                        || bind.value.address.is_ipv4() && server.address.value.is_ipv6()
                });
                if let Some(server) = mixed {
                    let family = if bind.value.both_families || bind.value.address.is_ipv6() {
                        "IPv6"
                    } else {
                        "IPv4"
                    };
                    let other = if server.address.value.is_ipv6() {
                        "IPv6"
                    } else {
                        "IPv4"
                    };
                    found.push(
                        Diagnostic::warning(
                            bind.span,
                            format!("{family} clients of `{}` take the userspace path to {other} servers", bind.value.text),
                        )
                        .also(server.address.span, format!("an {other} server"))
                        .mend("nothing, or give frontend and servers addresses of one family"),
                    );
                }
            }
        }
        Forward::FullNat | Forward::Proxy => {}
    }
}

/// dsr leaves the packet as it is: no other port, no other family.
fn dsr(backend: &BackendDraft, bind: &Spanned<Bind>, found: &mut Vec<Diagnostic>) {
    if bind.value.address.is_ipv6() {
        let all_ipv4 = backend
            .servers
            .iter()
            .any(|server| server.address.value.is_ipv4());
        let diagnostic = match all_ipv4 {
            true => Diagnostic::error(
                bind.span,
                "`forward: dsr` cannot bring IPv6 clients to IPv4 servers",
            )
            .mend(format!(
                "write `\"*:{}\"` to listen on IPv4 alone",
                bind.value.address.port()
            )),
            false => Diagnostic::error(
                bind.span,
                "unsupported: `forward: dsr` with IPv6 is not built yet",
            )
            .mend("write `forward: proxy`"),
        };
        found.push(diagnostic);
        return;
    }
    for server in &backend.servers {
        let address = server.address.value;
        if address.is_ipv6() {
            found.push(
                Diagnostic::error(
                    server.address.span,
                    "`forward: dsr` cannot bring IPv4 clients to an IPv6 server",
                )
                .also(bind.span, "the frontend listens on IPv4 here")
                .mend("give the server's IPv4 address"),
            );
        } else if address.port() != bind.value.address.port() {
            found.push(
                Diagnostic::error(
                    server.address.span,
                    format!(
                        "`forward: dsr` cannot change the port: the frontend's is {}, the server's {}",
                        bind.value.address.port(),
                        address.port()
                    ),
                )
                .also(bind.span, "the frontend listens here")
                .mend(format!("write `\"{}:{}\"`, or use `forward: fullnat`", address.ip(), bind.value.address.port())),
            );
        }
    }
}

/// Every listening address once, and none among the ports that full NAT takes.
fn binds(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let frontends = draft.frontends.iter().flat_map(|f| &f.binds);
    let all: Vec<&Spanned<Bind>> = frontends
        .chain(draft.stats.iter().flat_map(|s| &s.binds))
        .collect();
    let mut by_port: HashMap<_, Vec<&Spanned<Bind>>> = HashMap::new();
    let fullnat = draft.backends.iter().any(|b| {
        let mode = backend_mode(b, draft);
        mode == Mode::Tcp && forward(b, mode, &draft.defaults) == Forward::FullNat
    });
    let taken = &draft.global.fast_path.snat_ports;
    let snat = fullnat && draft.global.fast_path.attach != Attach::Off;
    for bind in all {
        let port = bind.value.address.port();
        let same_port = by_port.entry((port, bind.value.transport)).or_default();
        if let Some(first) = same_port
            .iter()
            .find(|other| conflict(&other.value, &bind.value))
        {
            let message = match first.value.address == bind.value.address {
                true => format!("`{}` is bound twice", bind.value.text),
                false => format!(
                    "`{}` and `{}` take the same IPv4 port",
                    first.value.text, bind.value.text
                ),
            };
            found.push(
                Diagnostic::error(bind.span, message)
                    .also(first.span, "the first one is here")
                    .mend("choose another port or address, or remove one"),
            );
        }
        same_port.push(bind);
        if snat && taken.contains(&port) {
            let (first, last) = (taken.start(), taken.end());
            let mut diagnostic = Diagnostic::error(
                bind.span,
                format!(
                    "port {port} is among the ports {first}-{last} that full NAT takes for itself"
                ),
            )
            .mend("choose a port outside, or another range with `global.fast_path.snat_ports`");
            if let Some(span) = draft.places.snat_ports {
                diagnostic = diagnostic.also(span, "the range is set here");
            }
            found.push(diagnostic);
        }
    }
}

/// `*:80` beside `192.0.2.1:80` is fine: the kernel prefers the exact address.
fn conflict(a: &Bind, b: &Bind) -> bool {
    let every_ipv4 = |bind: &Bind| match bind.address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(_) => bind.both_families,
    };
    a.address == b.address || (every_ipv4(a) && every_ipv4(b))
}

#[cfg(test)]
mod tests {
    use super::super::address;
    use super::*;

    #[test]
    fn wildcards_conflict_with_each_other_only() {
        let bind = |text: &str| address::bind(text).unwrap();
        assert!(conflict(&bind("*:80"), &bind("0.0.0.0:80")));
        assert!(conflict(&bind("*:80"), &bind("[::]:80")));
        assert!(!conflict(&bind("*:80"), &bind("192.0.2.1:80")));
        assert!(!conflict(&bind("[::]:80"), &bind("[::1]:80")));
        assert!(conflict(&bind("[::1]:80"), &bind("[::1]:80")));
    }
}
