//! `frontends:` and their rules.

use std::rc::Rc;

use super::{
    address,
    decode::Decoder,
    draft::{FrontendDraft, RuleDraft},
    introduction, log_format,
    model::{Bind, Condition, Mode, TcpCondition, Transport},
    source::Spanned,
    table::Table,
    timeouts::{self, Owner},
    tls,
    tree::{Entry, Kind, Node},
};

/// Conditions of the format that are not built yet.
const CONDITIONS: &[&str] = &[
    "path",
    "path_suffix",
    "path_regex",
    "method",
    "header",
    "query",
    "cookie",
    "scheme",
    "all",
    "any",
    "not",
];
/// Actions of the format that are not built yet.
const ACTIONS: &[&str] = &[
    "redirect",
    "deny",
    "return",
    "set_header",
    "add_header",
    "del_header",
    "set_path",
    "replace_path",
    "set_query",
    "rate_limit",
    "auth",
    "request",
    "response",
];

/// Reads `frontends:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: Option<&Entry>) -> Vec<FrontendDraft> {
    let Some(table) = entry.and_then(|e| d.table(&e.value, e.key_span, "`frontends`")) else {
        return Vec::new();
    };
    table
        .entries()
        .iter()
        .filter_map(|e| frontend(d, e))
        .collect()
}

fn frontend(d: &mut Decoder<'_>, entry: &Entry) -> Option<FrontendDraft> {
    let name = Spanned::new(entry.key.clone(), entry.key_span);
    d.name(&name.value, name.span, "frontend");
    let mut table = d.table(
        &entry.value,
        entry.key_span,
        format!("frontend `{}`", name.value),
    )?;
    let mode = mode(d, &mut table);
    let binds = binds(d, &mut table, "*:80");
    let maxconn = table
        .take("maxconn")
        .and_then(|e| d.number(&e.value, "`maxconn`", 1..=u32::MAX));
    let rule_nodes = table
        .take("rules")
        .map_or(&[][..], |e| d.list(&e.value, "`rules`"));
    let rules = rule_nodes.iter().filter_map(|node| rule(d, node)).collect();
    let default_backend = table.take("default_backend");
    let routes = default_backend.is_some() || !rule_nodes.is_empty();
    let default_backend = default_backend.and_then(|e| {
        d.text(&e.value, "`default_backend`")
            .map(|text| Spanned::new(text, e.value.span))
    });
    let timeouts = timeouts::decode(d, table.take("timeouts"), Owner::Frontend);
    let forwarded_for = forwarded_for(d, &mut table);
    let log_format = log_format::decode(d, &mut table);
    let log_options = log_format::options(d, &mut table);
    table.finish(
        d,
        &["acls", "errorfiles", "unique_id", "compression"],
        &[
            (
                "use_backend",
                "write it as a rule: `rules: [{ if: …, use_backend: NAME }]`",
            ),
            (
                "acl",
                "write the condition into the rule: `rules: [{ if: …, use_backend: NAME }]`",
            ),
            ("backend", "it is `default_backend`"),
            ("server", "servers belong to a backend"),
            (
                "servers",
                "servers belong to a backend: name it with `default_backend`",
            ),
            ("balance", "`balance` belongs to the backend"),
            (
                "option",
                "HAProxy's options have keys of their own, such as `forwarded_for: true`",
            ),
            ("listen", "it is `bind`"),
            ("forwardfor", "it is `forwarded_for: true`"),
        ],
    );
    Some(FrontendDraft {
        name,
        mode,
        binds,
        maxconn,
        rules,
        default_backend,
        timeouts,
        forwarded_for,
        log_format,
        log_options,
        routes,
    })
}

/// `mode`
pub(super) fn mode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<Mode>> {
    let e = table.take("mode")?;
    let mode = d.choice(
        &e.value,
        "`mode`",
        &[("tcp", Mode::Tcp), ("http", Mode::Http)],
        &[],
    )?;
    Some(Spanned::new(mode, e.value.span))
}

/// `forwarded_for`
pub(super) fn forwarded_for(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<bool>> {
    let e = table.take("forwarded_for")?;
    d.boolean(&e.value, "`forwarded_for`")
        .map(|on| Spanned::new(on, e.key_span))
}

/// `bind`: an address, or a list of addresses and objects.
pub(super) fn binds(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    example: &str,
) -> Vec<Spanned<Bind>> {
    let Some(e) = table.take("bind") else {
        d.missing(
            table,
            "bind",
            format!("say where to listen: `bind: \"{example}\"`"),
        );
        return Vec::new();
    };
    let nodes = d.one_or_more(&e.value);
    if nodes.is_empty() {
        d.error(
            e.value.span,
            "`bind` is an empty list",
            format!("say where to listen: `bind: \"{example}\"`"),
        );
    }
    nodes.iter().filter_map(|node| bind(d, node)).collect()
}

fn bind(d: &mut Decoder<'_>, node: &Rc<Node>) -> Option<Spanned<Bind>> {
    if !matches!(node.kind, Kind::Mapping(_)) {
        return d.parsed(node, "`bind`", address::bind);
    }
    let mut table = d.table(node, node.span, "a bind")?;
    let mut bind = match table.take("address") {
        Some(e) => d.parsed(&e.value, "`address`", address::bind),
        None => {
            d.missing(&table, "address", "write `{ address: \"*:80\" }`");
            None
        }
    };
    if let Some(bind) = &mut bind {
        bind.value.tls = table.take("tls").and_then(|e| tls::bind(d, e));
        bind.value.accept_proxy = table
            .take("accept_proxy")
            .and_then(|e| introduction::accept_proxy(d, e));
    }
    table.finish(d, &["interface", "transparent"], &[]);
    if let Some(bind) = bind
        .as_ref()
        .filter(|bind| bind.value.transport == Transport::Udp && bind.value.has_preamble())
    {
        d.error(
            bind.span,
            "neither TLS nor a PROXY header comes before datagrams",
            "remove `tls` and `accept_proxy`, or listen on TCP",
        );
    }
    bind
}

fn rule(d: &mut Decoder<'_>, node: &Node) -> Option<RuleDraft> {
    let mut table = d.table(node, node.span, "a rule")?;
    let conditions = match table.take("if") {
        Some(e) => conditions(d, e),
        None => Some((Vec::new(), Vec::new())),
    };
    let use_backend = match table.take("use_backend") {
        Some(e) => d
            .text(&e.value, "`use_backend`")
            .map(|text| Spanned::new(text, e.value.span)),
        None => {
            if !table
                .entries()
                .iter()
                .any(|e| ACTIONS.contains(&e.key.as_str()))
            {
                d.missing(
                    &table,
                    "use_backend",
                    "write `{ if: …, use_backend: NAME }`",
                );
            }
            None
        }
    };
    let hints = CONDITIONS
        .iter()
        .chain(&["path_prefix", "host", "ignore_case"]);
    let hints: Vec<(&str, &str)> = hints
        .map(|key| {
            (
                *key,
                "conditions go below `if`: `{ if: { … }, use_backend: NAME }`",
            )
        })
        .collect();
    table.finish(d, ACTIONS, &hints);
    let (conditions, transport) = conditions?;
    Some(RuleDraft {
        span: node.span,
        conditions,
        transport,
        use_backend: use_backend?,
    })
}

/// `if:`; its keys are ANDed.
fn conditions(d: &mut Decoder<'_>, entry: &Entry) -> Option<(Vec<Condition>, Vec<TcpCondition>)> {
    let node = &entry.value;
    if matches!(node.kind, Kind::Scalar(_)) && !node.is_null() {
        d.error(
            node.span,
            "unsupported: conditions by name (`acls`) are not built yet",
            "write `{ path_prefix: /… }`",
        );
        return None;
    }
    let mut table = d.table(node, entry.key_span, "`if`")?;
    if table.entries().is_empty() {
        d.error(
            entry.key_span,
            "`if` without a condition",
            "remove it: a rule without `if` always holds",
        );
        return None;
    }
    let ignore_case = table.take("ignore_case");
    let on = match ignore_case {
        Some(e) => d.boolean(&e.value, "`ignore_case`"),
        None => Some(false),
    };
    let mut found = Vec::new();
    let mut good = on.is_some();
    if let Some(e) = table.take("path_prefix") {
        let values = values(d, e, |d, text, node| {
            if text.starts_with('/') {
                return Some(text);
            }
            d.error(
                node.span,
                format!("no path begins with `{text}`: they begin with `/`"),
                format!("write `/{text}`"),
            );
            None
        });
        good &= values.is_some();
        found.extend(values.map(|values| Condition::PathPrefix {
            values,
            ignore_case: on == Some(true),
        }));
    } else if let Some(e) = ignore_case {
        d.error(
            e.key_span,
            "`ignore_case` has no text to compare here",
            "remove it: hosts are compared without case",
        );
    }
    if let Some(e) = table.take("host") {
        let values = values(d, e, host);
        good &= values.is_some();
        found.extend(values.map(|values| Condition::Host { values }));
    }
    let transport = transport(d, &mut table);
    good &= transport.is_some();
    let before = d.diagnostics.len();
    table.finish(
        d,
        CONDITIONS,
        &[
            ("path_beg", "it is `path_prefix`"),
            ("hdr", "it is `header`, or `host` for the host"),
        ],
    );
    (good && d.diagnostics.len() == before).then_some((found, transport?))
}

/// Conditions of mode tcp.
fn transport(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Vec<TcpCondition>> {
    let mut found = Vec::new();
    let before = d.diagnostics.len();
    if let Some(e) = table.take("source") {
        let prefixes = d.one_or_more(&e.value).iter();
        let prefixes = prefixes.filter_map(|node| d.parsed(node, "`source`", address::prefix));
        let prefixes: Vec<_> = prefixes.map(|prefix| prefix.value).collect();
        found.push(TcpCondition::Source(prefixes));
        never(d, e);
    }
    if let Some(e) = table.take("dst_port") {
        let ports = d.one_or_more(&e.value).iter();
        let ports = ports.filter_map(|node| d.number(node, "`dst_port`", 1..=u16::MAX));
        found.push(TcpCondition::DstPort(ports.collect()));
        never(d, e);
    }
    if let Some(e) = table.take("sni") {
        found.extend(values(d, e, host).map(TcpCondition::Sni));
    }
    (d.diagnostics.len() == before).then_some(found)
}

/// Says so if a list has nothing to compare with.
fn never(d: &mut Decoder<'_>, entry: &Entry) {
    if d.one_or_more(&entry.value).is_empty() {
        d.error(
            entry.value.span,
            format!("`{}` is an empty list, which never holds", entry.key),
            "write at least one value",
        );
    }
}

/// A text or a list of them, each checked.
fn values(
    d: &mut Decoder<'_>,
    entry: &Entry,
    check: impl Fn(&mut Decoder<'_>, String, &Node) -> Option<String>,
) -> Option<Vec<String>> {
    let what = format!("`{}`", entry.key);
    let nodes = d.one_or_more(&entry.value);
    if nodes.is_empty() {
        d.error(
            entry.value.span,
            format!("{what} is an empty list, which never holds"),
            "write at least one value",
        );
        return None;
    }
    let read: Vec<Option<String>> = nodes
        .iter()
        .map(|node| d.line(node, &what).and_then(|text| check(d, text, node)))
        .collect();
    read.into_iter().collect()
}

fn host(d: &mut Decoder<'_>, text: String, node: &Node) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase();
    if let Some((bare, port)) = name.rsplit_once(':')
        && !bare.contains(':')
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        d.error(
            node.span,
            format!("`{text}` has a port: hosts are compared without"),
            format!("write `{bare}`"),
        );
        return None;
    }
    let body = name.strip_prefix("*.").unwrap_or(&name);
    if body.contains('*') {
        d.error(
            node.span,
            format!("`{text}`: a `*` stands for the first labels only"),
            "write `\"*.example.org\"`",
        );
        return None;
    }
    if body.is_empty() || body.contains(['/', ' ', '@', '?', '#']) {
        d.error(
            node.span,
            format!("`{text}` is no host name"),
            "write the name alone, as in `www.example.org`",
        );
        return None;
    }
    Some(name)
}
