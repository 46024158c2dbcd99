//! `frontends:` and their rules.

use std::rc::Rc;

use super::{
    accepting, address, capture, conditions, connections,
    decode::Decoder,
    draft::FrontendDraft,
    elsewhere, errorfiles, forwarding, http_options, identity, inspect, introduction, log_format,
    logging,
    model::{Bind, Label, Mode, Transport},
    monitor, rules, sieve, sockets,
    source::Spanned,
    stats, stick_table,
    table::Table,
    timeouts::{self, Owner},
    tls,
    tree::{Entry, Kind, Node},
    unique_id, unix,
};

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
    d.registry.set_owner(&name.value);
    let mut table = d.table(
        &entry.value,
        entry.key_span,
        format!("frontend `{}`", name.value),
    )?;
    let id = identity::decode(d, &mut table);
    let mode = mode(d, &mut table);
    let binds = binds(d, &mut table, "*:80");
    same_ids(d, &binds);
    let maxconn = table
        .take("maxconn")
        .and_then(|e| d.number(&e.value, "`maxconn`", 1..=u32::MAX));
    stick_table::decode(d, &mut table, &name.value);
    conditions::acls(d, &mut table);
    let captures = capture::decode(d, &mut table);
    let captures_span = captures.as_ref().map(|captures| captures.span);
    d.captures = Some(captures.map_or_else(Default::default, |captures| captures.value));
    let connection_rules = sieve::connections(d, &mut table, &name.value);
    let inspect = inspect::decode(d, table.take("inspect"), &name.value);
    let rules = rules::decode(d, &mut table, &name.value, true);
    let captures = d.captures.take().unwrap_or_default();
    let rules_written = table.entries().iter().any(|e| e.key == "rules");
    let default_backend = table.take("default_backend");
    let routes = default_backend.is_some() || rules_written;
    let default_backend = default_backend.and_then(|e| {
        d.text(&e.value, "`default_backend`")
            .map(|text| Spanned::new(text, e.value.span))
    });
    let accepting = accepting::decode(d, &mut table);
    let timeouts = timeouts::decode(d, table.take("timeouts"), Owner::Frontend);
    let forwarding = forwarding::decode(d, &mut table);
    let trust = forwarding::trust(d, &mut table);
    let log_format = log_format::decode(d, &mut table);
    let error_log_format = log_format::of_errors(d, &mut table);
    let log_format_sd = log_format::structured(d, &mut table);
    let log_options = logging::of_sessions(d, &mut table);
    let errorfiles = errorfiles::decode(d, &mut table);
    let unique_id = unique_id::decode(d, &mut table);
    let connection_mode = connections::mode(d, &mut table);
    let http = http_options::decode(d, &mut table, Owner::Frontend);
    let monitor = monitor::decode(d, &mut table);
    let habits = sockets::habits(d, &mut table);
    let h2_upgrade = table.take("h2_upgrade").and_then(|e| {
        let on = d.boolean(&e.value, "`h2_upgrade`")?;
        Some(Spanned::new(on, e.key_span))
    });
    // Whoever monitors is answered.
    let routes = routes || monitor.is_some();
    let stats = stats::of_proxy(d, &mut table, &name.value);
    table.finish(d, &["compression"], elsewhere::FRONTEND);
    Some(FrontendDraft {
        name,
        id,
        mode,
        binds,
        maxconn,
        accepting,
        captures,
        captures_span,
        rules,
        connection_rules,
        inspect,
        default_backend,
        timeouts,
        forwarding,
        trust,
        log_format,
        error_log_format,
        log_format_sd,
        log_options,
        errorfiles,
        unique_id,
        connection_mode,
        habits,
        h2_upgrade,
        http,
        monitor,
        stats,
        routes,
    })
}

/// `mode`
pub(super) fn mode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<Mode>> {
    let e = table.take("mode")?;
    let modes = [("tcp", Mode::Tcp), ("http", Mode::Http)];
    let mode = d.hinted_choice(&e.value, "`mode`", &modes, elsewhere::MODES)?;
    Some(Spanned::new(mode, e.value.span))
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
    let base = d.base;
    let read = |text: &str| {
        let bind = address::bind(text)?;
        Ok(Bind {
            address: address::below(base, bind.address)?,
            ..bind
        })
    };
    if !matches!(node.kind, Kind::Mapping(_)) {
        return d.parsed(node, "`bind`", read);
    }
    let mut table = d.table(node, node.span, "a bind")?;
    let mut bind = match table.take("address") {
        Some(e) => d.parsed(&e.value, "`address`", read),
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
        unix::permissions(d, &mut table, &mut bind.value);
        sockets::of_bind(d, &mut table, &mut bind.value);
        bind.value.label = label(d, &mut table);
        if let Some(e) = table.take("v6only")
            && d.boolean(&e.value, "`v6only`") == Some(true)
        {
            if !bind.value.address.is_ipv6() {
                let mend = "remove it, or listen on `[::]:PORT`";
                d.error(
                    e.key_span,
                    "`v6only` has no effect: the address is none of IPv6",
                    mend,
                );
            }
            bind.value.both_families = false;
        }
    }
    table.finish(d, &[], elsewhere::BIND);
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

/// `id` and `name` of a bind.
fn label(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Label {
    Label {
        id: table
            .take("id")
            .and_then(|e| d.number(&e.value, "`id`", 1..=i32::MAX as u32)),
        name: table.take("name").and_then(|e| d.text(&e.value, "`name`")),
    }
}

/// No two binds of a frontend have the same number.
fn same_ids(d: &mut Decoder<'_>, binds: &[Spanned<Bind>]) {
    for (at, bind) in binds.iter().enumerate() {
        let id = bind.value.label.id;
        if let Some(id) = id.filter(|_| binds[..at].iter().any(|other| other.value.label.id == id))
        {
            let message = format!("another bind of this frontend has the `id` {id} as well");
            d.error(bind.span, message, "give each a number of its own");
        }
    }
}

/// A host's name, perhaps with a `*` for its first labels.
pub(super) fn host(d: &mut Decoder<'_>, text: String, node: &Node) -> Option<String> {
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
