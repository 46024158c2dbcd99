//! `defaults:`, and the keys that it shares with backends.

use super::{
    accepting, backend, balance, connections, cookie,
    decode::Decoder,
    draft::{DefaultsDraft, ProxyDraft},
    errorfiles, forwarding, frontend, health, http_options, log_format, logging,
    model::{Forward, Overflow},
    retry_on,
    source::Spanned,
    table::Table,
    timeouts::{self, Owner},
    tree::Entry,
};

/// Most retries: with a second between them, already over a minute and a half.
const MAX_RETRIES: u32 = 100;

/// Reads `defaults:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: Option<&Entry>) -> DefaultsDraft {
    let Some(mut table) = entry.and_then(|e| d.table(&e.value, e.key_span, "`defaults`")) else {
        return DefaultsDraft::default();
    };
    let draft = DefaultsDraft {
        mode: frontend::mode(d, &mut table),
        maxconn: table
            .take("maxconn")
            .and_then(|e| d.number(&e.value, "`maxconn`", 1..=u32::MAX)),
        accepting: accepting::decode(d, &mut table),
        log_format: log_format::decode(d, &mut table),
        error_log_format: log_format::of_errors(d, &mut table),
        log_format_sd: log_format::structured(d, &mut table),
        log_options: logging::of_sessions(d, &mut table),
        forwarding: forwarding::decode(d, &mut table),
        trust: forwarding::trust(d, &mut table),
        timeouts: timeouts::decode(d, table.take("timeouts"), Owner::Defaults),
        errorfiles: errorfiles::decode(d, &mut table),
        proxy: proxy(d, &mut table, Owner::Defaults),
    };
    d.default_check = table.take("health_check").cloned();
    table.finish(
        d,
        &["retry_on", "compression"],
        &[
            (
                "option",
                "HAProxy's options have keys of their own, such as `forwarded_for: true`",
            ),
            ("forwardfor", "it is `forwarded_for: true`"),
            ("httpchk", "it is `health_check: { type: http, path: /… }`"),
        ],
    );
    draft
}

/// Keys that a backend has and that `defaults` may give.
pub(super) fn proxy(d: &mut Decoder<'_>, table: &mut Table<'_>, owner: Owner) -> ProxyDraft {
    let (cookie, health_check) = (table.take("cookie"), table.take("health_check"));
    ProxyDraft {
        cookie_written: cookie.is_some(),
        check_written: health_check.is_some(),
        balance: table.take("balance").and_then(|e| balance::decode(d, e)),
        hash_type: balance::hash_type(d, table),
        hash_balance_factor: balance::hash_balance_factor(d, table),
        forward: table.take("forward").and_then(|e| {
            let modes = [
                Forward::FullNat,
                Forward::Nat,
                Forward::Dsr,
                Forward::Ipip,
                Forward::Proxy,
            ];
            let choices = modes.map(|forward| (forward.name(), forward));
            let forward = d.choice(&e.value, "`forward`", &choices, &[])?;
            Some(Spanned::new(forward, e.key_span))
        }),
        overflow: table.take("overflow").and_then(|e| {
            let choices = [("proxy", Overflow::Proxy), ("drop", Overflow::Drop)];
            d.choice(&e.value, "`overflow`", &choices, &[])
                .map(|overflow| Spanned::new(overflow, e.key_span))
        }),
        cookie: cookie.and_then(|e| cookie::decode(d, e)),
        health_check: health_check.and_then(|e| health::decode(d, e)),
        retries: table
            .take("retries")
            .and_then(|e| d.number(&e.value, "`retries`", 0..=MAX_RETRIES)),
        redispatch: table.take("redispatch").and_then(|e| redispatch(d, e)),
        retry_on: table.take("retry_on").and_then(|e| retry_on::decode(d, e)),
        on_marked_down: backend::on_marked_down(d, table),
        connection_mode: connections::mode(d, table),
        connections: connections::decode(d, table),
        http: http_options::decode(d, table, owner),
        default_server: table
            .take("default_server")
            .map_or_else(Default::default, |e| backend::default_server(d, e)),
    }
}

/// `false`, `true` (the last retry alone, which HAProxy counts as -1) or every N-th retry; a negative N counts from
/// the last one backwards.
fn redispatch(d: &mut Decoder<'_>, entry: &Entry) -> Option<Option<i32>> {
    let text = d.word(&entry.value, "`redispatch`")?;
    match text.as_str() {
        "false" => return Some(None),
        "true" => return Some(Some(-1)),
        _ => {}
    }
    let most = MAX_RETRIES as i32;
    match text.parse::<i32>() {
        Ok(0) => Some(None),
        Ok(every) if (-most..=most).contains(&every) => Some(Some(every)),
        _ => {
            d.error(
                entry.value.span,
                format!("`redispatch` cannot be `{text}`"),
                format!("write `true`, `false` or a number from -{most} to {most}: every which retry goes to another server"),
            );
            None
        }
    }
}
