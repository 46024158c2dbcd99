//! What only holds between sections: names, modes, and keys that others give a meaning.

use std::collections::HashMap;

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft, FrontendDraft, RuleDraft, ServerDraft},
    forwarding::{self, TrustDraft},
    identity, inspect, limits, listening,
    model::{
        AccessLog, Balance, Bind, Forward, HashType, HealthCheck, Layer, Mode, Transport,
        has_fixed_weights,
    },
    references,
    resolve::{backend_mode, forward, frontend_mode, users},
    resolvers,
    source::Spanned,
    tls, udp, unique_id,
};
use crate::rules::{Edit, Expr, Remember, TlsFact};

/// Everything that is wrong between sections. `broken` says that a section had errors, so that what seems to be
/// missing may be there but unreadable.
pub(super) fn check(draft: &Draft, broken: bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    references::check(draft, broken, &mut found);
    identity::check(draft, &mut found);
    modes(draft, &mut found);
    for frontend in &draft.frontends {
        frontend_keys(frontend, draft, &mut found);
    }
    for backend in &draft.backends {
        backend_keys(backend, draft, broken, &mut found);
        servers(backend, draft, &mut found);
        balancing(backend, draft, &mut found);
        limits::check(backend, draft, &mut found);
        resolvers::check(backend, draft, &mut found);
        udp::check(backend, draft, broken, &mut found);
        listening::kernel_path(backend, draft, &mut found);
    }
    listening::binds(draft, &mut found);
    tls::check(draft, &mut found);
    found
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
    if let Some(rules) = &frontend.connection_rules
        && let Some(bind) = frontend
            .binds
            .iter()
            .find(|bind| bind.value.transport == Transport::Udp)
    {
        let message = format!(
            "`connection_rules` see no packets, and `{}` takes them",
            bind.value.text
        );
        found.push(
            Diagnostic::error(rules.span, message).mend("give that bind a frontend of its own"),
        );
    }
    if frontend_mode(frontend, &draft.defaults) == Mode::Http {
        let udp = |bind: &&Spanned<Bind>| bind.value.transport == Transport::Udp;
        for bind in frontend.binds.iter().filter(udp) {
            let message = format!("`{}` needs mode tcp", bind.value.text);
            found.push(Diagnostic::error(bind.span, message).mend("write `mode: tcp`"));
        }
        forwarding::believes_nobody(&frontend.trust, &draft.defaults.trust, found);
        inspect::without_bytes([&frontend.inspect], found);
        bytes_of_requests(&frontend.rules, found);
        return;
    }
    inspect::datagrams(frontend, None, found);
    let name = &frontend.name.value;
    let mend = "write `mode: http`, or remove it";
    if let Some(rule) = frontend
        .rules
        .iter()
        .find(|rule| !rule.rule.routes_connections())
    {
        found.push(
            Diagnostic::error(
                rule.span,
                format!("rules of mode tcp are `use_backend` by what a connection is and brings, and `{name}` is in mode tcp"),
            )
            .mend(mend),
        );
    }
    forwarding::without_requests(&frontend.forwarding, &frontend.trust, mend, found);
    unique_id::of_connections(frontend, found);
    let captures = &frontend.captures;
    let of_fields = captures.cookie.is_some()
        || (captures.request.iter().chain(&captures.response)).any(|slot| slot.header.is_some());
    let captures_span = frontend.captures_span.filter(|_| of_fields);
    let http = frontend.http.places().map(|(span, key)| (Some(span), key));
    for (span, key) in [
        (frontend.errorfiles.as_ref().map(|f| f.span), "errorfiles"),
        (captures_span, "capture"),
        (
            frontend.connection_mode.map(|mode| mode.span),
            "connection_mode",
        ),
        (frontend.monitor.as_ref().map(|m| m.span), "monitor"),
        (frontend.stats.as_ref().map(|s| s.span), "stats"),
    ]
    .into_iter()
    .chain(http)
    {
        if let Some(span) = span {
            let message = format!("`{key}` has no effect in mode tcp");
            found.push(Diagnostic::error(span, message).mend(mend));
        }
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
    let of_session = match &frontend.log_format {
        Some(Spanned {
            value: AccessLog::Custom(line),
            span,
        }) => Some(("log_format", line, span)),
        _ => None,
    };
    let structured = frontend.log_format_sd.as_ref();
    let structured = structured.map(|line| ("log_format_sd", &line.value, &line.span));
    let lines = of_session.into_iter().chain(structured);
    for (key, line, span) in lines.filter(|(_, line, _)| line.wants.samples) {
        let udp = |bind: &Spanned<Bind>| bind.value.transport == Transport::Udp;
        let message = if frontend.binds.iter().any(udp) {
            format!("expressions in `{key}` are not asked of datagrams")
        } else if line
            .samples()
            .any(|expr| expr.needs_request() || expr.needs_response())
        {
            format!("`{key}` asks for requests, and there are none in mode tcp")
        } else {
            continue;
        };
        let mend = "write HAProxy's variables alone, such as `%ci` and `%fp`";
        found.push(Diagnostic::error(*span, message).mend(mend));
    }
    for (set, key) in [
        (frontend.timeouts.http_request, "http_request"),
        (frontend.timeouts.http_keep_alive, "http_keep_alive"),
        (frontend.timeouts.tarpit, "tarpit"),
    ] {
        if set.is_some() {
            let message = format!("the timeout `{key}` has no effect in mode tcp");
            found.push(Diagnostic::error(frontend.name.span, message).mend("remove it"));
        }
    }
}

/// Rules of mode http that ask for bytes.
fn bytes_of_requests(rules: &[RuleDraft], found: &mut Vec<Diagnostic>) {
    for rule in rules {
        let mut asks = false;
        rule.rule
            .each_expr(&mut |expr| asks |= expr.payload().is_some());
        if asks {
            let message =
                "a rule of requests asks for a connection's bytes, which mode tcp looks at";
            let mend = "ask for the request, as in `path` or `req.hdr(NAME)`";
            found.push(Diagnostic::error(rule.span, message).mend(mend));
        }
    }
}

/// Clients of mode http that are to stay by bytes.
fn bytes_of_sticks(backend: &BackendDraft, found: &mut Vec<Diagnostic>) {
    for stick in &backend.sticks {
        let mut asks = stick.value.key.payload().is_some();
        if let Some(condition) = &stick.value.condition {
            condition.each_expr(&mut |expr| asks |= expr.payload().is_some());
        }
        if asks {
            let message = "`stick` asks for a connection's bytes, which mode tcp looks at";
            let mend = "ask for the request, as in `req.hdr(NAME)`";
            found.push(Diagnostic::error(stick.span, message).mend(mend));
        }
    }
}

/// Keys of a backend that its mode or other keys give no meaning.
fn backend_keys(backend: &BackendDraft, draft: &Draft, broken: bool, found: &mut Vec<Diagnostic>) {
    let mode = backend_mode(backend, draft);
    let name = &backend.name.value;
    let own = &backend.proxy;
    if mode == Mode::Http {
        bytes_of_sticks(backend, found);
        if let Some(span) = own.connections.of_rdp() {
            let message = "`persist_rdp_cookie` looks at bytes, which mode tcp alone does";
            found.push(Diagnostic::error(span, message).mend("remove it, or write `mode: tcp`"));
        }
    }
    if mode == Mode::Tcp {
        if let Some(stats) = &backend.stats {
            let message = format!("`stats` needs mode http, `{name}` is in mode tcp");
            let mend = "remove it; `stats` of the whole file has a port of its own";
            found.push(Diagnostic::error(stats.span, message).mend(mend));
        }
        if let Some(cookie) = &own.cookie {
            found.push(
                Diagnostic::error(
                    cookie.span,
                    format!("`cookie` needs mode http, `{name}` is in mode tcp"),
                )
                .mend("remove it; `balance: source` keeps a client on its server in mode tcp"),
            );
        }
        let retry_on = own
            .retry_on
            .filter(|retry_on| retry_on.value.keeps_requests());
        if let Some(retry_on) = retry_on {
            found.push(
                Diagnostic::error(
                    retry_on.span,
                    format!("`retry_on` knows answers in mode http alone, `{name}` is in mode tcp"),
                )
                .mend("write `conn-failure` or `none`"),
            );
        }
        let trust = TrustDraft::default();
        forwarding::without_requests(&backend.forwarding, &trust, "remove it", found);
        for stick in &backend.sticks {
            let of_answer = stick.value.remembers == Remember::OfResponse;
            let of_connection = |expr: &Expr| {
                let bytes = expr.is_of_stream() || (of_answer && expr.payload() == Some(true));
                bytes && !expr.asks(TlsFact::Sni)
            };
            let mut fits = of_connection(&stick.value.key);
            if let Some(condition) = &stick.value.condition {
                condition.each_expr(&mut |expr| fits &= of_connection(expr));
            }
            let udp = |bind: &Spanned<Bind>| bind.value.transport == Transport::Udp;
            if users(name, draft).any(|frontend| frontend.binds.iter().any(udp)) {
                let message = "unsupported: `stick` of datagrams is not built yet";
                let mend = "write `balance: source`, which keeps a client on its server";
                found.push(Diagnostic::error(stick.span, message).mend(mend));
            } else if !fits {
                let message = "in mode tcp clients stay by their connections and the bytes in them, there are no requests";
                found.push(Diagnostic::error(stick.span, message).mend("write `on: src`"));
            }
        }
        for frontend in users(name, draft) {
            inspect::datagrams(frontend, Some(backend), found);
        }
        if let Some(rule) = backend.rules.iter().find(|rule| !rule.rule.names_servers()) {
            let message = format!(
                "rules of a backend in mode tcp are `use_server` by what a connection is and brings, and `{name}` is in mode tcp"
            );
            let mend = "write `mode: http`, or remove it";
            found.push(Diagnostic::error(rule.span, message).mend(mend));
        }
        let mode = own
            .connection_mode
            .map(|mode| (mode.span, "connection_mode"));
        let http = own.http.places();
        for (span, key) in own.connections.of_requests().chain(mode).chain(http) {
            let message = format!("`{key}` has no effect in mode tcp");
            found.push(Diagnostic::error(span, message).mend("remove it"));
        }
        if let Some(files) = &backend.errorfiles {
            found.push(
                Diagnostic::error(files.span, "`errorfiles` has no effect in mode tcp")
                    .mend("remove it"),
            );
        }
        let of_servers = backend.servers.iter().map(|server| &server.keys);
        let written = of_servers
            .chain([&own.default_server])
            .filter_map(|keys| keys.protocol);
        for protocol in written {
            found.push(
                Diagnostic::error(protocol.span, "`protocol` has no effect in mode tcp")
                    .mend("remove it"),
            );
        }
    } else {
        inspect::without_bytes(&backend.inspect, found);
        bytes_of_requests(&backend.rules, found);
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
    for rule in backend.rules.iter().filter(|_| !broken) {
        for edit in &rule.rule.edits {
            if let Edit::UseServer(server) = edit
                && let Some(server) = server.as_literal()
                && !backend.servers.iter().any(|s| s.name.value == server)
            {
                let message = format!("backend `{name}` has no server `{server}`");
                found.push(Diagnostic::error(rule.span, message).mend("name one of its servers"));
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
    if backend.servers.is_empty() && !unreadable && !backend.from_file {
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
            .all(|server| own_weight(server, backend, draft) == Some(0))
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

/// The weight that a server or a `default_server` gives it.
fn own_weight(server: &ServerDraft, backend: &BackendDraft, draft: &Draft) -> Option<u16> {
    let inherited = &draft.defaults.proxy.default_server;
    let default = backend.proxy.default_server.weight.or(inherited.weight);
    server.keys.weight.or(default)
}

/// What an algorithm asks of the servers.
fn balancing(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let inherited = &draft.defaults.proxy;
    let own = backend.proxy.balance.as_ref();
    let balance = own.or(inherited.balance.as_ref());
    let algorithm = balance.map_or(Balance::RoundRobin, |balance| balance.algorithm);
    let hash_type = hash_type(backend, draft, algorithm, found);
    let name = &backend.name.value;
    if let Some(balance) = balance
        && algorithm.needs_request()
        && backend_mode(backend, draft) == Mode::Tcp
    {
        let algorithm = algorithm.name();
        found.push(
            Diagnostic::error(
                balance.span,
                format!("`balance: {algorithm}` needs mode http, `{name}` is in mode tcp"),
            )
            .mend("write `balance: source`, or another that looks at no request"),
        );
    }
    if let Some(balance) = balance
        && algorithm == Balance::RdpCookie
        && backend_mode(backend, draft) == Mode::Http
    {
        let message = format!("`balance: rdp-cookie` needs mode tcp, `{name}` is in mode http");
        let mend = "write `balance: hdr NAME`, or another that looks at requests";
        found.push(Diagnostic::error(balance.span, message).mend(mend));
    }
    if let Some(size) = balance.and_then(|balance| balance.table_size.as_ref()) {
        let servers = backend.servers.len();
        let slots = size.value as usize;
        if slots < servers {
            found.push(
                Diagnostic::error(
                    size.span,
                    format!("`table_size` {slots} is less than the {servers} servers of `{name}`: some would never be chosen"),
                )
                .mend("remove it, so that it is 65537"),
            );
        } else if slots < servers * 100 {
            found.push(
                Diagnostic::warning(
                    size.span,
                    format!("`table_size` {slots} is small for the {servers} servers of `{name}`: shares differ from the weights by more than a hundredth"),
                )
                .mend("remove it, so that it is 65537, or write a prime of a hundred times as many slots as servers"),
            );
        }
    }
    if has_fixed_weights(algorithm, hash_type) {
        let of_servers = backend.servers.iter().map(|server| &server.keys);
        let written = of_servers
            .chain([&backend.proxy.default_server])
            .filter_map(|keys| keys.slowstart);
        for slowstart in written.filter(|time| !time.value.is_zero()) {
            found.push(
                Diagnostic::error(
                    slowstart.span,
                    match algorithm.has_hash_type() {
                        true => format!(
                            "`slowstart` has no effect with `balance: {}`: each step would move clients to other servers",
                            algorithm.name()
                        ),
                        false => format!("`slowstart` has no effect with `balance: {}`", algorithm.name()),
                    },
                )
                .mend(match algorithm.has_hash_type() {
                    true => "remove it, or write `hash_type: consistent`",
                    false => "remove it, or write `balance: roundrobin`",
                }),
            );
        }
    }
}

/// The backend's `hash_type`, and whether it and what belongs to it have an effect.
fn hash_type(
    backend: &BackendDraft,
    draft: &Draft,
    algorithm: Balance,
    found: &mut Vec<Diagnostic>,
) -> HashType {
    let own = backend.proxy.hash_type.as_ref();
    let hash_type = own
        .or(draft.defaults.proxy.hash_type.as_ref())
        .map_or(HashType::MapBased, |hash_type| hash_type.value.0);
    if let Some(own) = own.filter(|_| !algorithm.has_hash_type()) {
        let message = format!(
            "`hash_type` has no effect with `balance: {}`",
            algorithm.name()
        );
        found.push(
            Diagnostic::error(own.span, message)
                .mend("remove it, or balance by `source`, `uri`, `url_param` or `hdr`"),
        );
    } else if let Some(factor) = &backend.proxy.hash_balance_factor
        && factor.value.is_some()
        && hash_type == HashType::MapBased
    {
        found.push(
            Diagnostic::error(
                factor.span,
                "`hash_balance_factor` has no effect without `hash_type: consistent`",
            )
            .mend("add it, or remove this"),
        );
    }
    hash_type
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
    let observes = |check: &HealthCheck| {
        let observe = check.observe;
        observe.is_some_and(|observe| observe.layer == Layer::Seven)
    };
    let of_servers = backend.servers.iter();
    let written = of_servers.filter_map(|server| server.health_check.as_ref());
    for own in written.chain(&backend.proxy.health_check) {
        if !own.value.as_ref().is_some_and(observes) || backend_mode(backend, draft) == Mode::Http {
            continue;
        }
        let message = format!(
            "`observe: layer7` needs mode http, `{}` is in mode tcp",
            backend.name.value
        );
        found.push(Diagnostic::error(own.span, message).mend("write `observe: layer4`"));
    }
    let written = backend.proxy.check_written || draft.defaults.proxy.check_written;
    let checked = check.map_or(written, |check| check.value.is_some());
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
            (Some(_), None) if backend.proxy.cookie_written || draft.defaults.proxy.cookie_written => {}
            (Some(value), None) => found.push(
                Diagnostic::error(value.span, format!("backend `{}` has no `cookie`, so this value has no effect", backend.name.value))
                    .mend("give the backend `cookie: { name: SERVERID, indirect: true, nocache: true }` in mode http, or remove it"),
            ),
            (None, Some(cookie)) if cookie.value.dynamic_key.is_none() => found.push(
                Diagnostic::warning(server.name.span, format!("server `{name}` has no `cookie`: its clients do not stay on it"))
                    .also(cookie.span, "the cookie is set here")
                    .mend(format!("write `cookie: {name}`")),
            ),
            (None, _) => {}
        }
        let checked = checked || server.health_check.is_some();
        if let Some(on) = server.keys.check.as_ref().filter(|on| on.value && !checked) {
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
