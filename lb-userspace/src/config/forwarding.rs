//! `forwarded_for` and its kin: what servers are told of clients, and whom we believe ourselves.

use http::HeaderName;

use super::{
    address,
    decode::Decoder,
    diagnostic::Diagnostic,
    fields::header_name,
    model::{Forwarded, ForwardedFor, Forwarding, Mode, Prefix, Trust},
    source::{Span, Spanned},
    table::Table,
    tree::{Entry, Kind},
};

/// HAProxy's field.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a section says of what servers are told. The inner `None`s are `false`.
#[derive(Debug, Clone, Default)]
pub(super) struct ForwardingDraft {
    forwarded_for: Option<Spanned<Option<ForwardedFor>>>,
    proto: Option<Spanned<bool>>,
    port: Option<Spanned<bool>>,
    host: Option<Spanned<bool>>,
    forwarded: Option<Spanned<Option<Forwarded>>>,
}

/// What a section says of whom we believe.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustDraft {
    proxies: Option<Spanned<Vec<Prefix>>>,
    client_ip_from: Option<Spanned<HeaderName>>,
}

/// Reads what servers are told.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> ForwardingDraft {
    ForwardingDraft {
        forwarded_for: table
            .take("forwarded_for")
            .and_then(|e| forwarded_for(d, e)),
        proto: flag(d, table.take("forwarded_proto")),
        port: flag(d, table.take("forwarded_port")),
        host: flag(d, table.take("forwarded_host")),
        forwarded: table.take("forwarded").and_then(|e| forwarded(d, e)),
    }
}

/// Reads whom we believe.
pub(super) fn trust(d: &mut Decoder<'_>, table: &mut Table<'_>) -> TrustDraft {
    let proxies = table.take("trusted_proxies").map(|e| {
        let nodes = d.one_or_more(&e.value);
        let prefixes = nodes
            .iter()
            .filter_map(|node| d.parsed(node, "`trusted_proxies`", address::prefix));
        Spanned::new(prefixes.map(|prefix| prefix.value).collect(), e.key_span)
    });
    let client_ip_from = table.take("client_ip_from").and_then(|e| {
        let text = d.text(&e.value, "`client_ip_from`")?;
        let name = header_name(d, &text, e.value.span)?;
        Some(Spanned::new(name, e.key_span))
    });
    TrustDraft {
        proxies,
        client_ip_from,
    }
}

fn flag(d: &mut Decoder<'_>, entry: Option<&Entry>) -> Option<Spanned<bool>> {
    let e = entry?;
    d.boolean(&e.value, &format!("`{}`", e.key))
        .map(|on| Spanned::new(on, e.key_span))
}

/// Whether an entry is `true` or `false` rather than a mapping.
fn is_flag(entry: &Entry) -> bool {
    matches!(&entry.value.kind, Kind::Scalar(_)) && !entry.value.is_null()
}

fn forwarded_for(d: &mut Decoder<'_>, e: &Entry) -> Option<Spanned<Option<ForwardedFor>>> {
    let mut told = ForwardedFor {
        header: X_FORWARDED_FOR,
        except: Vec::new(),
        if_none: false,
    };
    if is_flag(e) {
        let on = d.boolean(&e.value, "`forwarded_for`")?;
        return Some(Spanned::new(on.then_some(told), e.key_span));
    }
    let mut table = d.table(&e.value, e.key_span, "`forwarded_for`")?;
    if let Some(e) = table.take("header")
        && let Some(text) = d.text(&e.value, "`header`")
        && let Some(name) = header_name(d, &text, e.value.span)
    {
        told.header = name;
    }
    if let Some(e) = table.take("except") {
        told.except = d
            .one_or_more(&e.value)
            .iter()
            .filter_map(|node| d.parsed(node, "`except`", address::prefix))
            .map(|prefix| prefix.value)
            .collect();
    }
    if let Some(e) = table.take("if_none") {
        told.if_none = d.boolean(&e.value, "`if_none`").unwrap_or(false);
    }
    let hint = "whose word is taken is said by `trusted_proxies`, beside `forwarded_for`";
    table.finish(d, &[], &[("trusted", hint), ("trusted_proxies", hint)]);
    Some(Spanned::new(Some(told), e.key_span))
}

fn forwarded(d: &mut Decoder<'_>, e: &Entry) -> Option<Spanned<Option<Forwarded>>> {
    let usual = Forwarded {
        proto: true,
        host: false,
        by: false,
        by_port: false,
        for_: true,
        for_port: false,
    };
    if is_flag(e) {
        let on = d.boolean(&e.value, "`forwarded`")?;
        return Some(Spanned::new(on.then_some(usual), e.key_span));
    }
    let mut table = d.table(&e.value, e.key_span, "`forwarded`")?;
    let parameters = [
        table.take("proto"),
        table.take("host"),
        table.take("by"),
        table.take("by_port"),
        table.take("for"),
        table.take("for_port"),
    ]
    .map(|parameter| flag(d, parameter));
    table.finish(d, &[], &[]);
    let [proto, host, by, by_port, for_, for_port] =
        parameters.map(|on| on.is_some_and(|on| on.value));
    for (port, address, index, name) in [(by_port, by, 3, "by"), (for_port, for_, 5, "for")] {
        if port && !address {
            let span = parameters[index].as_ref().map_or(e.key_span, |on| on.span);
            d.error(
                span,
                format!("a port alone says nothing: `{name}_port` needs `{name}`"),
                format!("add `{name}: true`"),
            );
        }
    }
    if ![proto, host, by, for_].contains(&true) {
        d.error(
            e.key_span,
            "`forwarded` with nothing to tell",
            "write `forwarded: true` for `proto` and `for`, or name what is to be told",
        );
        return None;
    }
    let told = Forwarded {
        proto,
        host,
        by,
        by_port,
        for_,
        for_port,
    };
    Some(Spanned::new(Some(told), e.key_span))
}

/// Keys that mode tcp has no use for: there are no requests.
pub(super) fn without_requests(
    told: &ForwardingDraft,
    trust: &TrustDraft,
    mend: &str,
    found: &mut Vec<Diagnostic>,
) {
    let on = |flag: &Option<Spanned<bool>>| flag.as_ref().filter(|on| on.value).map(|on| on.span);
    let keys: [(Option<Span>, &str); 7] = [
        (
            told.forwarded_for
                .as_ref()
                .filter(|told| told.value.is_some())
                .map(|told| told.span),
            "forwarded_for",
        ),
        (on(&told.proto), "forwarded_proto"),
        (on(&told.port), "forwarded_port"),
        (on(&told.host), "forwarded_host"),
        (
            told.forwarded
                .as_ref()
                .filter(|told| told.value.is_some())
                .map(|told| told.span),
            "forwarded",
        ),
        (
            trust.proxies.as_ref().map(|proxies| proxies.span),
            "trusted_proxies",
        ),
        (
            trust.client_ip_from.as_ref().map(|field| field.span),
            "client_ip_from",
        ),
    ];
    for (span, key) in keys {
        if let Some(span) = span {
            let message = format!("`{key}` has no effect in mode tcp");
            found.push(Diagnostic::error(span, message).mend(mend));
        }
    }
}

/// A frontend that asks a field who the client is has to say whom it believes.
pub(super) fn believes_nobody(
    own: &TrustDraft,
    defaults: &TrustDraft,
    found: &mut Vec<Diagnostic>,
) {
    let proxies = own.proxies.as_ref().or(defaults.proxies.as_ref());
    let field = match (&own.client_ip_from, &defaults.client_ip_from) {
        (Some(field), _) if proxies.is_none_or(|proxies| proxies.value.is_empty()) => field,
        // An empty list is how a frontend takes back what `defaults` says.
        (None, Some(field)) if proxies.is_none() => field,
        _ => return,
    };
    let message = "`client_ip_from` would let every client choose its own address";
    found.push(
        Diagnostic::error(field.span, message)
            .mend("add `trusted_proxies: [192.0.2.0/24]`: those whose word is taken"),
    );
}

/// What servers are told: a section's own, and where it is silent that of `defaults`.
pub(super) fn resolve(
    own: &ForwardingDraft,
    defaults: Option<&ForwardingDraft>,
    mode: Mode,
) -> Forwarding {
    fn of<'a, T: Clone>(
        own: &'a Option<Spanned<T>>,
        inherited: Option<&'a Option<Spanned<T>>>,
    ) -> Option<T> {
        let inherited = inherited.and_then(Option::as_ref);
        own.as_ref().or(inherited).map(|said| said.value.clone())
    }
    if mode == Mode::Tcp {
        return Forwarding::default();
    }
    Forwarding {
        forwarded_for: of(&own.forwarded_for, defaults.map(|d| &d.forwarded_for)).flatten(),
        proto: of(&own.proto, defaults.map(|d| &d.proto)).unwrap_or(false),
        port: of(&own.port, defaults.map(|d| &d.port)).unwrap_or(false),
        host: of(&own.host, defaults.map(|d| &d.host)).unwrap_or(false),
        forwarded: of(&own.forwarded, defaults.map(|d| &d.forwarded)).flatten(),
    }
}

/// Whom a frontend believes; `None`: what clients say is passed on as HAProxy does.
pub(super) fn resolve_trust(own: TrustDraft, defaults: &TrustDraft, mode: Mode) -> Option<Trust> {
    let proxies = own.proxies.or_else(|| defaults.proxies.clone());
    let field = own
        .client_ip_from
        .or_else(|| defaults.client_ip_from.clone());
    proxies.filter(|_| mode == Mode::Http).map(|proxies| Trust {
        proxies: proxies.value,
        client_ip_from: field.map(|field| field.value),
    })
}
