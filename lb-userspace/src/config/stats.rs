//! `stats:`

use std::{sync::Arc, time::Duration};

use super::{
    address, conditions,
    decode::Decoder,
    draft::StatsDraft,
    elsewhere, frontend,
    model::{Label, Metrics, Shows, Stats, StatsAdmin, Transport},
    rules,
    source::Spanned,
    table::Table,
    tree::{Entry, Kind},
    users::users,
};
use crate::rules::{End, RuleSet, Side};

/// What the statistics are served over.
const HTTP_1: &str = "http/1.1";

/// Reads `stats:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<StatsDraft> {
    let mut table = d.table(&entry.value, entry.key_span, "`stats`")?;
    let mut binds = frontend::binds(d, &mut table, "*:1080");
    for bind in binds
        .iter()
        .filter(|bind| bind.value.transport == Transport::Udp)
    {
        let mend = format!("write `\"{}\"`", bind.value.text.replacen("udp:", "", 1));
        d.error(bind.span, "statistics are read by TCP", mend);
    }
    for bind in binds.iter().filter(|bind| bind.value.address.is_unix()) {
        d.error(
            bind.span,
            "unsupported: a unix socket for the statistics is not built yet",
            "write an address such as `\"127.0.0.1:1080\"`, or ask `global.admin_socket`",
        );
    }
    for bind in &mut binds {
        if bind.value.accept_proxy.is_some() {
            d.error(
                bind.span,
                "unsupported: `accept_proxy` of the statistics is not built yet",
                "bind to `127.0.0.1` and let a frontend in mode http bring clients there",
            );
        }
        if bind.value.label != Label::default() {
            let mend = "remove `id` and `name`";
            d.error(
                bind.span,
                "nobody asks what a bind of the statistics is called",
                mend,
            );
        }
        let Some(tls) = &mut bind.value.tls else {
            continue;
        };
        if let Some(other) = tls.alpn.iter().find(|name| *name != HTTP_1) {
            let message = format!("statistics are not served over `{other}`");
            d.error(bind.span, message, "remove `alpn`: it is http/1.1");
        }
        tls.alpn = vec![HTTP_1.to_owned()];
    }
    let Page {
        uri,
        refresh,
        realm,
        shows,
    } = page(d, &mut table);
    let admin = admin(d, &mut table, false);
    let written = table.take("auth");
    let auth = written.and_then(|e| users(d, e)).map(Arc::new);
    let metrics = metrics(d, &mut table, written.is_some());
    table.finish(d, &[], elsewhere::STATS);
    Some(StatsDraft {
        binds,
        uri,
        refresh,
        realm,
        auth,
        metrics,
        admin,
        shows,
    })
}

/// Reads `metrics`. `has_users` is whether there is anybody with a password.
fn metrics(d: &mut Decoder<'_>, table: &mut Table<'_>, has_users: bool) -> Metrics {
    let mut read = Metrics::default();
    let Some(e) = table.take("metrics") else {
        return read;
    };
    let Some(mut metrics) = d.table(&e.value, e.key_span, "`metrics`") else {
        return read;
    };
    if let Some(e) = metrics.take("auth") {
        read.auth = d.boolean(&e.value, "`auth`") == Some(true);
        if read.auth && !has_users {
            d.error(
                e.key_span,
                "`metrics.auth` needs users",
                "write `auth: { USER: PASSWORD }` below `stats`",
            );
        }
    }
    if let Some(e) = metrics.take("servers") {
        read.servers = d.boolean(&e.value, "`servers`") != Some(false);
    }
    metrics.finish(d, &[], &[]);
    read
}

/// What any page of statistics has.
struct Page {
    uri: String,
    refresh: Option<Duration>,
    realm: String,
    shows: Shows,
}

fn page(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Page {
    let uri = table.take("uri").and_then(|e| {
        let uri = d.line(&e.value, "`uri`")?;
        if uri.starts_with('/')
            && uri
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b';'))
        {
            if matches!(uri.as_str(), "/metrics" | "/healthz") {
                d.error(
                    e.value.span,
                    format!("`{uri}` is taken by another page"),
                    "write `/stats`",
                );
            }
            return Some(uri);
        }
        d.error(
            e.value.span,
            format!("`{uri}` is no path: it begins with `/` and has no blanks, `#` or `;`"),
            "write `/stats`",
        );
        None
    });
    let refresh = table
        .take("refresh")
        .and_then(|e| d.duration(&e.value, "`refresh`", Duration::from_secs(1)));
    let realm = table.take("realm").and_then(|e| {
        let realm = d.line(&e.value, "`realm`")?;
        if realm.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Some(realm);
        }
        d.error(
            e.value.span,
            "`realm` has characters that no header can carry",
            "write printable ASCII",
        );
        None
    });
    Page {
        uri: uri.unwrap_or_else(|| "/stats".to_owned()),
        refresh,
        realm: realm.unwrap_or_else(|| "LB Statistics".to_owned()),
        shows: shows(d, table),
    }
}

fn shows(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Shows {
    let scope = table.take("scope").map(|e| {
        let nodes = d.one_or_more(&e.value).iter();
        nodes
            .filter_map(|node| d.text(node, "a proxy's name"))
            .collect()
    });
    let hide_version = table
        .take("hide_version")
        .and_then(|e| d.boolean(&e.value, "`hide_version`"));
    Shows {
        scope,
        hide_version: hide_version.unwrap_or_default(),
        node: table.take("node").and_then(|e| d.line(&e.value, "`node`")),
        description: table
            .take("description")
            .and_then(|e| d.line(&e.value, "`description`")),
    }
}

/// Reads `stats` of a frontend or a backend: the page among its traffic.
pub(super) fn of_proxy(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    owner: &str,
) -> Option<Spanned<Stats>> {
    let e = table.take("stats")?;
    let mut inner = d.table(&e.value, e.key_span, "`stats`")?;
    let Page {
        uri,
        refresh,
        realm,
        shows,
    } = page(d, &mut inner);
    let admin = admin(d, &mut inner, true);
    let auth = inner.take("auth").and_then(|e| users(d, e)).map(Arc::new);
    let rules = guards(d, &mut inner, owner, auth.is_some());
    inner.finish(
        d,
        &[],
        &[("bind", "it is served where the frontend listens")],
    );
    let stats = Stats {
        binds: Vec::new(),
        uri,
        refresh,
        realm,
        auth,
        metrics: Metrics::default(),
        admin,
        shows,
        rules,
    };
    Some(Spanned::new(stats, e.key_span))
}

/// `rules`: who may look, beside or instead of those with a password.
fn guards(d: &mut Decoder<'_>, table: &mut Table<'_>, owner: &str, has_users: bool) -> RuleSet {
    let rules = rules::decode(d, table, owner, false);
    if let Some(rule) = rules.first().filter(|_| has_users) {
        d.error(
            rule.span,
            "`rules` beside `auth`: both say who may look",
            "ask for the password by a rule: `{ auth: { userlist: NAME } }`",
        );
    }
    for draft in &rules {
        let rule = &draft.rule;
        let only_judges = rule.edits.is_empty()
            && rule.response.is_none()
            && rule.after.is_none()
            && matches!(
                rule.end,
                None | Some(End::Allow | End::Deny { .. } | End::Return(_))
            );
        if !only_judges {
            d.error(
                draft.span,
                "a rule of `stats` that does more than say who may look",
                "write `allow`, `deny`, `auth` or `return` there, and all else among the rules of the frontend or the backend",
            );
        }
    }
    RuleSet::new(rules.into_iter().map(|rule| rule.rule).collect())
}

/// `admin`: `true`, `false`, the addresses that may change servers, or `conditional`ly a condition.
fn admin(d: &mut Decoder<'_>, table: &mut Table<'_>, conditional: bool) -> StatsAdmin {
    let Some(e) = table.take("admin") else {
        return StatsAdmin::Nobody;
    };
    if let Kind::Scalar(_) = &e.value.kind
        && !e.value.is_null()
    {
        return match d.boolean(&e.value, "`admin`") {
            Some(true) => StatsAdmin::Everybody,
            _ => StatsAdmin::Nobody,
        };
    }
    let Some(mut inner) = d.table(&e.value, e.key_span, "`admin`") else {
        return StatsAdmin::Nobody;
    };
    if conditional && let Some(e) = inner.take("if") {
        let condition = conditions::condition(d, &e.value, e.key_span, Side::Request);
        inner.finish(d, &[], &[("from", "write `source` below `if`")]);
        return match condition {
            Some(condition) => StatsAdmin::If(Box::new(condition)),
            None => StatsAdmin::Nobody,
        };
    }
    let mend = "write `admin: true`, or `{ from: [192.0.2.0/24] }`";
    let from = match inner.take("from") {
        Some(from) => {
            let nodes = d.one_or_more(&from.value);
            if nodes.is_empty() {
                d.error(
                    from.value.span,
                    "`from` is an empty list: nobody could change servers",
                    mend,
                );
            }
            let prefixes = nodes
                .iter()
                .filter_map(|node| d.parsed(node, "`from`", address::prefix));
            prefixes.map(|prefix| prefix.value).collect()
        }
        None => {
            d.missing(&inner, "from", mend);
            Vec::new()
        }
    };
    inner.finish(d, &[], &[]);
    StatsAdmin::From(from)
}
