//! PROXY headers: who sends them to us, and to whom we do.

use super::{
    address,
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::{Draft, ServerKeys},
    model::{AcceptProxy, Introduced, ProxyOptions, ProxyVersion},
    resolve::default_server,
    source::Spanned,
    tree::{Entry, Kind},
};

/// `accept_proxy`: `true`, `false`, or whom the header is taken from.
pub(super) fn accept_proxy(d: &mut Decoder<'_>, entry: &Entry) -> Option<AcceptProxy> {
    if let Kind::Scalar(_) = &entry.value.kind
        && !entry.value.is_null()
    {
        let on = d.boolean(&entry.value, "`accept_proxy`")?;
        return on.then_some(AcceptProxy::Everyone);
    }
    let mut table = d.table(&entry.value, entry.key_span, "`accept_proxy`")?;
    let from = match table.take("from") {
        Some(e) => {
            let nodes = d.one_or_more(&e.value);
            if nodes.is_empty() {
                d.error(
                    e.value.span,
                    "`from` is an empty list: nobody would send a header",
                    "write `accept_proxy: true`, or name the senders",
                );
            }
            nodes
                .iter()
                .filter_map(|node| d.parsed(node, "`from`", address::prefix))
                .map(|prefix| prefix.value)
                .collect()
        }
        None => {
            d.missing(
                &table,
                "from",
                "write `accept_proxy: true`, or `{ from: [192.0.2.0/24] }`",
            );
            Vec::new()
        }
    };
    table.finish(d, &[], &[]);
    Some(AcceptProxy::From(from))
}

/// `send_proxy`
pub(super) fn send_proxy(
    d: &mut Decoder<'_>,
    entry: &Entry,
) -> Option<Spanned<Option<ProxyVersion>>> {
    let choices = [
        ("v1", Some(ProxyVersion::V1)),
        ("v2", Some(ProxyVersion::V2)),
        ("false", None),
    ];
    d.choice(&entry.value, "`send_proxy`", &choices, &[])
        .map(|version| Spanned::new(version, entry.key_span))
}

/// Says of `proxy_v2_options` that there is no header to tell it.
pub(super) fn check(draft: &Draft, found: &mut Vec<Diagnostic>) {
    for backend in &draft.backends {
        let own = &backend.proxy;
        let default = default_server(
            own.default_server.clone(),
            own.on_marked_down,
            &draft.defaults,
        );
        let tells = |keys: &ServerKeys| {
            let version = keys.send_proxy.or(default.send_proxy);
            version.is_some_and(|version| version.value == Some(ProxyVersion::V2))
        };
        let all = || backend.servers.iter().map(|server| &server.keys);
        let idle = all().filter(|keys| !tells(keys));
        let of_all = [&own.default_server].into_iter();
        let idle = idle.chain(of_all.filter(|_| !all().any(tells)));
        let options = idle.filter_map(|keys| keys.proxy_options);
        for options in options.filter(|options| options.value != ProxyOptions::default()) {
            let message = "`proxy_v2_options` has no effect without `send_proxy: v2`";
            let mend = "write that beside it, or remove it";
            found.push(Diagnostic::error(options.span, message).mend(mend));
        }
    }
}

/// `proxy_v2_options`: what a header of version 2 tells besides the ends.
pub(super) fn options(d: &mut Decoder<'_>, entry: &Entry) -> Spanned<ProxyOptions> {
    type Option = fn(&mut ProxyOptions) -> &mut bool;
    let choices: [(&str, Option); 8] = [
        ("ssl", |of| &mut of.ssl),
        ("cert-cn", |of| &mut of.cert_cn),
        ("ssl-cipher", |of| &mut of.ssl_cipher),
        ("cert-key", |of| &mut of.cert_key),
        ("cert-sig", |of| &mut of.cert_sig),
        ("authority", |of| &mut of.authority),
        ("crc32c", |of| &mut of.crc32c),
        ("unique-id", |of| &mut of.unique_id),
    ];
    let mut options = ProxyOptions::default();
    for node in d.one_or_more(&entry.value) {
        if let Some(option) = d.choice(node, "`proxy_v2_options`", &choices, &[]) {
            *option(&mut options) = true;
        }
    }
    // The others are told of TLS.
    options.ssl |= options.cert_cn || options.ssl_cipher || options.cert_key || options.cert_sig;
    Spanned::new(options, entry.key_span)
}

/// `send_proxy` of a check.
pub(super) fn of_check(d: &mut Decoder<'_>, entry: &Entry) -> Option<Introduced> {
    let choices = [
        ("true", Introduced::Always(None)),
        ("v1", Introduced::Always(Some(ProxyVersion::V1))),
        ("v2", Introduced::Always(Some(ProxyVersion::V2))),
        ("false", Introduced::Never),
    ];
    d.choice(&entry.value, "`send_proxy`", &choices, &[])
}
