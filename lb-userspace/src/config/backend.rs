//! `backends:` and their servers.

use std::time::Duration;

use super::{
    address, conditions, cookie,
    decode::Decoder,
    defaults,
    draft::{BackendDraft, ProxyDraft, ServerDraft, ServerKeys, TimeoutsDraft},
    elsewhere, errorfiles,
    forwarding::{self, ForwardingDraft},
    frontend, health, identity, inspect, introduction,
    logging::{self, LogDraft},
    model::{Habits, OnMarkedDown, Protocol},
    resolvers, rules, sockets,
    source::Spanned,
    stats, stick, stick_table,
    table::Table,
    timeouts::{self, Owner},
    tls,
    tree::{Entry, Kind, Node},
};

/// HAProxy's range.
const MAX_WEIGHT: u16 = 256;

/// Reads `backends:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: Option<&Entry>) -> Vec<BackendDraft> {
    let Some(table) = entry.and_then(|e| d.table(&e.value, e.key_span, "`backends`")) else {
        return Vec::new();
    };
    table.entries().iter().map(|e| backend(d, e)).collect()
}

fn backend(d: &mut Decoder<'_>, entry: &Entry) -> BackendDraft {
    let name = Spanned::new(entry.key.clone(), entry.key_span);
    d.name(&name.value, name.span, "backend");
    d.registry.set_owner(&name.value);
    let Some(mut table) = d.table(
        &entry.value,
        entry.key_span,
        format!("backend `{}`", name.value),
    ) else {
        // Its name is known all the same, so that nobody is told that there is no such backend.
        return BackendDraft {
            name,
            id: None,
            mode: None,
            log: LogDraft::default(),
            forwarding: ForwardingDraft::default(),
            timeouts: TimeoutsDraft::default(),
            proxy: ProxyDraft::default(),
            rules: Vec::new(),
            sticks: Vec::new(),
            stats: None,
            habits: Habits::default(),
            inspect: [None, None],
            errorfiles: None,
            servers: Vec::new(),
            servers_span: Some(entry.key_span),
            from_file: false,
        };
    };
    let id = identity::decode(d, &mut table);
    let mode = frontend::mode(d, &mut table);
    let log = logging::of_proxy(d, &mut table);
    let forwarding = forwarding::decode(d, &mut table);
    let timeouts = timeouts::decode(d, table.take("timeouts"), Owner::Backend);
    let proxy = defaults::proxy(d, &mut table, Owner::Backend);
    stick_table::decode(d, &mut table, &name.value);
    conditions::acls(d, &mut table);
    let sticks = stick::decode(d, &mut table, &name.value);
    let inspect = [table.take("inspect"), table.take("inspect_response")]
        .map(|entry| inspect::decode(d, entry, &name.value));
    let rules = rules::decode(d, &mut table, &name.value, false);
    let stats = stats::of_proxy(d, &mut table, &name.value);
    let errorfiles = errorfiles::decode(d, &mut table);
    let habits = sockets::habits(d, &mut table);
    // What is in the file is among `servers` by now.
    let from_file = table.take("servers_from").is_some();
    let servers = table.take("servers");
    let servers_span = servers.map(|e| e.key_span);
    let servers = servers.map_or(&[][..], |e| d.list(&e.value, "`servers`"));
    let check = table.take("health_check").cloned();
    let check = check.or_else(|| d.default_check.clone());
    let servers = servers
        .iter()
        .filter_map(|node| server(d, node, check.as_ref()))
        .collect();
    table.finish(
        d,
        &["compression"],
        &[
            ("bind", "`bind` belongs to a frontend"),
            ("maxconn", "it is a server's or a frontend's"),
            ("forwardfor", "it is `forwarded_for: true`"),
            ("default_backend", "`default_backend` belongs to a frontend"),
            ("httpchk", "it is `health_check: { type: http, path: /… }`"),
            (
                "option",
                "HAProxy's options have keys of their own, such as `health_check`",
            ),
            ("algorithm", "it is `balance`"),
            (
                "table_size",
                "it is an argument: `balance: { algorithm: maglev, table_size: … }`",
            ),
            (
                "slowstart",
                "it is a server's, or `default_server: { slowstart: … }`",
            ),
        ],
    );
    BackendDraft {
        name,
        id,
        mode,
        log,
        forwarding,
        timeouts,
        proxy,
        rules,
        sticks,
        stats,
        habits,
        inspect,
        errorfiles,
        servers,
        servers_span,
        from_file,
    }
}

/// `check` is that of the backend.
fn server(d: &mut Decoder<'_>, node: &Node, check: Option<&Entry>) -> Option<ServerDraft> {
    if let Kind::Scalar(text) = &node.kind
        && !node.is_null()
    {
        let example = format!("write `{{ name: s1, address: \"{}\" }}`", text.text);
        d.error(
            node.span,
            "a server must be a mapping, this is a single value",
            example,
        );
        return None;
    }
    let mut table = d.table(node, node.span, "a server")?;
    let name = match table.take("name") {
        Some(e) => d.text(&e.value, "`name`").map(|text| {
            d.name(&text, e.value.span, "server");
            Spanned::new(text, e.value.span)
        }),
        None => {
            d.missing(
                &table,
                "name",
                "write `{ name: s1, address: \"192.0.2.10:80\" }`",
            );
            None
        }
    };
    let address = match table.take("address") {
        Some(e) => {
            let base = d.base;
            d.parsed(&e.value, "`address`", |text| {
                address::below(base, address::server_or_name(text)?)
            })
        }
        None => {
            d.missing(
                &table,
                "address",
                "write `{ name: s1, address: \"192.0.2.10:80\" }`",
            );
            None
        }
    };
    let id = identity::decode(d, &mut table);
    let keys = server_keys(d, &mut table);
    let cookie = table.take("cookie").and_then(|e| {
        let value = d.text(&e.value, "`cookie`")?;
        if !cookie::is_value(&value) {
            d.error(
                e.value.span,
                format!("`{value}` cannot be the value of a cookie"),
                "write printable ASCII without blanks, quotes, `,`, `;`, `\\`, `|` and `~`",
            );
        }
        Some(Spanned::new(value, e.value.span))
    });
    let health_check = table
        .take("health_check")
        .and_then(|own| health::of_server(d, own, check));
    let track = table.take("track").and_then(|e| {
        let text = d.text(&e.value, "`track`")?;
        Some(Spanned::new(text, e.value.span))
    });
    table.finish(d, &[], elsewhere::SERVER);
    Some(ServerDraft {
        name: name?,
        id,
        address: address?,
        cookie,
        health_check,
        track,
        keys,
    })
}

/// `default_server`
pub(super) fn default_server(d: &mut Decoder<'_>, entry: &Entry) -> ServerKeys {
    let Some(mut table) = d.table(&entry.value, entry.key_span, "`default_server`") else {
        return ServerKeys::default();
    };
    let keys = server_keys(d, &mut table);
    let own = "each server has its own";
    table.finish(
        d,
        &[],
        &[
            ("name", own),
            ("address", own),
            ("cookie", own),
            ("id", own),
        ],
    );
    keys
}

/// Keys that a server has and that `default_server` may give.
fn server_keys(d: &mut Decoder<'_>, table: &mut Table<'_>) -> ServerKeys {
    let tls = table.take("tls");
    ServerKeys {
        weight: table
            .take("weight")
            .and_then(|e| d.number(&e.value, "`weight`", 0..=MAX_WEIGHT)),
        maxconn: table
            .take("maxconn")
            .and_then(|e| d.number(&e.value, "`maxconn`", 1..=u32::MAX)),
        max_queue: table.take("max_queue").and_then(|e| {
            d.number(&e.value, "`max_queue`", 1..=u32::MAX)
                .map(|most| Spanned::new(most, e.key_span))
        }),
        minconn: table.take("minconn").and_then(|e| {
            d.number(&e.value, "`minconn`", 1..=u32::MAX)
                .map(|least| Spanned::new(least, e.key_span))
        }),
        source: sockets::source(d, table),
        user_timeout: table
            .take("user_timeout")
            .and_then(|e| d.duration(&e.value, "`user_timeout`", Duration::from_millis(1))),
        fast_open: table
            .take("fast_open")
            .and_then(|e| d.boolean(&e.value, "`fast_open`")),
        sticks: table
            .take("stick")
            .and_then(|e| d.boolean(&e.value, "`stick`")),
        max_reuse: table
            .take("max_reuse")
            .and_then(|e| d.number(&e.value, "`max_reuse`", 0..=u32::MAX)),
        on_marked_up: table.take("on_marked_up").and_then(|e| {
            let choices = [("shutdown-backup-sessions", true), ("none", false)];
            d.choice(&e.value, "`on_marked_up`", &choices, &[])
        }),
        backup: table
            .take("backup")
            .and_then(|e| d.boolean(&e.value, "`backup`")),
        disabled: table
            .take("disabled")
            .and_then(|e| d.boolean(&e.value, "`disabled`")),
        check: table.take("check").and_then(|e| {
            d.boolean(&e.value, "`check`")
                .map(|on| Spanned::new(on, e.key_span))
        }),
        slowstart: table.take("slowstart").and_then(|e| {
            d.duration(&e.value, "`slowstart`", Duration::ZERO)
                .map(|time| Spanned::new(time, e.key_span))
        }),
        protocol: table.take("protocol").and_then(|e| {
            let choices = [
                ("h1", Protocol::H1),
                ("h2", Protocol::H2),
                ("auto", Protocol::Auto),
            ];
            d.choice(&e.value, "`protocol`", &choices, &[])
                .map(|protocol| Spanned::new(protocol, e.key_span))
        }),
        on_marked_down: on_marked_down(d, table),
        server_name: tls.map(|e| tls::server_name_of_client(d, e)),
        tls: tls.and_then(|e| tls::server(d, e)),
        send_proxy: table
            .take("send_proxy")
            .and_then(|e| introduction::send_proxy(d, e)),
        proxy_options: table
            .take("proxy_v2_options")
            .map(|e| introduction::options(d, e)),
        resolve: resolvers::resolve(d, table),
        init_addr: resolvers::init_addr(d, table),
        agent_check: table.take("agent_check").and_then(|e| health::agent(d, e)),
    }
}

/// `on_marked_down`
pub(super) fn on_marked_down(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<OnMarkedDown> {
    let e = table.take("on_marked_down")?;
    let choices = [
        ("shutdown-sessions", OnMarkedDown::ShutdownSessions),
        ("none", OnMarkedDown::Nothing),
    ];
    d.choice(&e.value, "`on_marked_down`", &choices, &[])
}
