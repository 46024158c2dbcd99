//! `resolvers:`, and `resolve` and `init_addr` of servers: how names become addresses.

use std::{sync::Arc, time::Duration};

use super::{
    address,
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    model::{Address, InitAddr, Nameserver, Resolve, Resolvers},
    resolve::default_server,
    source::Spanned,
    table::Table,
    tree::{Entry, Kind, Node},
    units::Problem,
};
use crate::rules::{action::Lookup, suggest};

/// The port of DNS.
const PORT: u16 = 53;

/// Reads `resolvers:`.
pub(super) fn decode(d: &mut Decoder<'_>, root: &mut Table<'_>) {
    if let Some(e) = root.take("resolvers")
        && let Some(table) = d.table(&e.value, e.key_span, "`resolvers`")
    {
        for entry in table.entries() {
            let resolvers = one(d, entry);
            d.resolvers.push(Arc::new(resolvers));
        }
    }
    if d.resolvers.iter().all(|r| r.name != Resolvers::DEFAULT) {
        d.resolvers.push(Arc::new(Resolvers::system()));
    }
}

fn one(d: &mut Decoder<'_>, entry: &Entry) -> Resolvers {
    let mut resolvers = Resolvers::new(&entry.key);
    d.name(&entry.key, entry.key_span, "resolvers");
    let place = format!("resolvers `{}`", entry.key);
    let Some(mut table) = d.table(&entry.value, entry.key_span, place) else {
        return resolvers;
    };
    if let Some(e) = table.take("nameservers") {
        for node in d.one_or_more(&e.value) {
            if let Some(found) = d.parsed(node, "`nameservers`", nameserver) {
                resolvers.nameservers.push(found.value);
            }
        }
    }
    let written = table.take("parse_resolv_conf");
    resolvers.system = written
        .and_then(|e| d.boolean(&e.value, "`parse_resolv_conf`"))
        .unwrap_or(false);
    if resolvers.nameservers.is_empty() && written.is_none() {
        d.missing(
            &table,
            "nameservers",
            "write `nameservers: [\"192.0.2.53\"]`, or `parse_resolv_conf: true` for the system's",
        );
    }
    if let Some(e) = table.take("resolve_retries")
        && let Some(retries) = d.number(&e.value, "`resolve_retries`", 1..=100)
    {
        resolvers.retries = retries;
    }
    if let Some(e) = table.take("accepted_payload_size")
        && let Some(size) = d.number(&e.value, "`accepted_payload_size`", 512..=65_535)
    {
        resolvers.payload = size;
    }
    let least = Duration::from_millis(1);
    let time = |d: &mut Decoder<'_>,
                table: &mut Table<'_>,
                key: &'static str,
                to: &mut Duration,
                least| {
        if let Some(e) = table.take(key)
            && let Some(found) = d.duration(&e.value, &format!("`{key}`"), least)
        {
            *to = found;
        }
    };
    if let Some(e) = table.take("timeouts")
        && let Some(mut inner) = d.table(&e.value, e.key_span, "`timeouts` of resolvers")
    {
        time(d, &mut inner, "resolve", &mut resolvers.interval, least);
        time(d, &mut inner, "retry", &mut resolvers.retry, least);
        inner.finish(d, &[], &[]);
    }
    if let Some(e) = table.take("hold")
        && let Some(mut inner) = d.table(&e.value, e.key_span, "`hold`")
    {
        let hold = &mut resolvers.hold;
        time(d, &mut inner, "valid", &mut hold.valid, Duration::ZERO);
        time(d, &mut inner, "nx", &mut hold.nx, Duration::ZERO);
        time(d, &mut inner, "refused", &mut hold.refused, Duration::ZERO);
        time(d, &mut inner, "timeout", &mut hold.timeout, Duration::ZERO);
        time(d, &mut inner, "other", &mut hold.other, Duration::ZERO);
        time(
            d,
            &mut inner,
            "obsolete",
            &mut hold.obsolete,
            Duration::ZERO,
        );
        inner.finish(d, &[], &[]);
    }
    table.finish(
        d,
        &[],
        &[("nameserver", "it is `nameservers: [ADDRESS, …]`")],
    );
    resolvers
}

/// `ADDRESS[:PORT]`, perhaps behind `tcp:`.
fn nameserver(text: &str) -> Result<Nameserver, Problem> {
    let (text, tcp) = match text.strip_prefix("tcp:") {
        Some(rest) => (rest, true),
        None => (text.strip_prefix("udp:").unwrap_or(text), false),
    };
    let address = match address::ip(text) {
        Some(ip) => (ip, PORT).into(),
        None => match address::server(text)? {
            Address::Inet(address) => address,
            _ => {
                return Err(Problem::new(
                    format!("`{text}` is no IP address"),
                    "write the DNS server's own address: `\"192.0.2.53:53\"`",
                ));
            }
        },
    };
    Ok(Nameserver { address, tcp })
}

/// `resolve` of a server: `true`, the name of resolvers, or a mapping; the inner `None` is `false`.
pub(super) fn resolve(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
) -> Option<Spanned<Option<Resolve>>> {
    let e = table.take("resolve")?;
    let spanned = |resolve| Some(Spanned::new(resolve, e.key_span));
    if let Kind::Scalar(scalar) = &e.value.kind {
        return match (scalar.plain, scalar.text.as_str()) {
            (true, "true") => spanned(Some(plain(named(d, &e.value, Resolvers::DEFAULT)?))),
            (true, "false") => spanned(None),
            _ => {
                let name = d.text(&e.value, "`resolve`")?;
                spanned(Some(plain(named(d, &e.value, &name)?)))
            }
        };
    }
    let mut inner = d.table(&e.value, e.key_span, "`resolve`")?;
    let resolvers = match inner.take("resolvers") {
        Some(e) => {
            let name = d.text(&e.value, "`resolvers`");
            name.and_then(|name| named(d, &e.value, &name))
        }
        None => named(d, &e.value, Resolvers::DEFAULT),
    };
    let mut flag = |d: &mut Decoder<'_>, key: &'static str| {
        let e = inner.take(key)?;
        d.boolean(&e.value, &format!("`{key}`"))
    };
    let duplicates = flag(d, "allow_duplicates").unwrap_or(false);
    let ignores_weight = flag(d, "ignore_weight").unwrap_or(false);
    let prefers_v4 = inner.take("prefer").and_then(|e| {
        d.choice(
            &e.value,
            "`prefer`",
            &[("ipv4", true), ("ipv6", false)],
            &[],
        )
    });
    let mut networks = Vec::new();
    if let Some(e) = inner.take("networks") {
        for node in d.one_or_more(&e.value) {
            networks.extend(
                d.parsed(node, "`networks`", address::prefix)
                    .map(|net| net.value),
            );
        }
    }
    inner.finish(d, &[], &[]);
    spanned(Some(Resolve {
        resolvers: resolvers?,
        prefers_v4: prefers_v4.unwrap_or(false),
        networks,
        duplicates,
        ignores_weight,
    }))
}

fn plain(resolvers: Arc<Resolvers>) -> Resolve {
    Resolve {
        resolvers,
        prefers_v4: false,
        networks: Vec::new(),
        duplicates: false,
        ignores_weight: false,
    }
}

fn named(d: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Arc<Resolvers>> {
    let found = d.resolvers.iter().find(|r| r.name == name).cloned();
    if found.is_none() {
        let names = d.resolvers.iter().map(|r| r.name.as_str());
        let mend = match suggest::nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it: `resolvers: {{ {name}: {{ nameservers: [ … ] }} }}`"),
        };
        d.error(node.span, format!("there are no resolvers `{name}`"), mend);
    }
    found
}

/// `do_resolve` of a rule.
pub(super) fn lookup(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Box<Lookup>> {
    let e = table.take("do_resolve")?;
    let mut inner = d.table(&e.value, e.key_span, "`do_resolve`")?;
    let example = "write `{ name: \"%[req.hdr(host),host_only]\", var: txn.address }`";
    let (name, var) = (inner.take("name"), inner.take("var"));
    for (missing, key) in [(name.is_none(), "name"), (var.is_none(), "var")] {
        if missing {
            d.missing(&inner, key, example);
        }
    }
    let name = name.and_then(|e| d.template(&e.value, "`name`"));
    let var = var.and_then(|e| {
        let text = d.text(&e.value, "`var`")?;
        match d.registry.var(&text) {
            Ok(var) => Some(var),
            Err(problem) => {
                d.wrong(e.value.span, problem);
                None
            }
        }
    });
    let resolvers = match inner.take("resolvers") {
        Some(e) => {
            let name = d.text(&e.value, "`resolvers`");
            name.and_then(|name| named(d, &e.value, &name))
        }
        None => named(d, &e.value, Resolvers::DEFAULT),
    };
    let families = [("ipv4", true), ("ipv6", false)];
    let prefers_v4 = inner
        .take("prefer")
        .and_then(|e| d.choice(&e.value, "`prefer`", &families, &[]));
    inner.finish(d, &[], &[]);
    Some(Box::new(Lookup {
        name: name?,
        var: var?,
        resolvers: resolvers?.name.as_str().into(),
        prefers_v4: prefers_v4.unwrap_or(false),
    }))
}

/// `init_addr` of a server: ways, tried one after the other.
pub(super) fn init_addr(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
) -> Option<Spanned<Vec<InitAddr>>> {
    let e = table.take("init_addr")?;
    let mut ways = Vec::new();
    for node in d.one_or_more(&e.value) {
        let way = d.parsed(node, "`init_addr`", |text| match text {
            "last" => Ok(InitAddr::Last),
            "libc" => Ok(InitAddr::Libc),
            "none" => Ok(InitAddr::None),
            _ => address::ip(text).map(InitAddr::Address).ok_or_else(|| {
                Problem::new(
                    format!("`{text}` is no way to an address"),
                    "write `last`, `libc`, `none`, or an IP address",
                )
            }),
        });
        ways.extend(way.map(|way| way.value));
    }
    Some(Spanned::new(ways, e.key_span))
}

/// What says how names become addresses where there is none, and names that nothing can be found out of.
pub(super) fn check(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let proxy = &backend.proxy;
    let defaults = default_server(
        proxy.default_server.clone(),
        proxy.on_marked_down,
        &draft.defaults,
    );
    for server in &backend.servers {
        let name = &server.name.value;
        let Address::Name(host, port) = &server.address.value else {
            // What a default says is for those that have a name.
            let own = &server.keys;
            let spans = [
                own.resolve.as_ref().map(|r| r.span),
                own.init_addr.as_ref().map(|i| i.span),
            ];
            let what = ["resolve", "init_addr"];
            for (span, what) in spans
                .into_iter()
                .zip(what)
                .filter_map(|(s, w)| Some((s?, w)))
            {
                let message =
                    format!("`{what}` has no effect on `{name}`, whose address is no host name");
                found.push(Diagnostic::warning(span, message).mend("remove it"));
            }
            continue;
        };
        let cookie = proxy
            .cookie
            .as_ref()
            .or(draft.defaults.proxy.cookie.as_ref());
        let dynamic = cookie.is_some_and(|cookie| cookie.value.dynamic_key.is_some());
        if dynamic && server.cookie.is_none() {
            let message = format!(
                "unsupported: the dynamic cookie of `{name}`, whose address is a name, is not built yet"
            );
            found.push(
                Diagnostic::error(server.address.span, message)
                    .mend("give it a `cookie` of its own, or write its address"),
            );
        }
        let keys = server.keys.clone().or(&defaults);
        let follows = keys
            .resolve
            .as_ref()
            .is_some_and(|resolve| resolve.value.is_some());
        if port.is_none() && !follows {
            let message = format!("`{host}` names SRV records, and `{name}` has no `resolve`");
            found.push(
                Diagnostic::error(server.address.span, message)
                    .mend("write `resolve: true`, or a host name with a port"),
            );
        }
    }
}
