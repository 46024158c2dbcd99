//! `cookie:` of a backend, and the values that servers have in it.

use std::time::Duration;

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    model::{Cookie, CookieMode, SameSite},
    source::Spanned,
    tree::{Entry, Kind, Node},
};

/// Dates in cookies are in units of four seconds.
const SHORTEST: Duration = Duration::from_secs(4);

/// Reads `cookie:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Cookie>> {
    let name = match &entry.value.kind {
        Kind::Scalar(text) if is_token(&text.text) => &text.text,
        _ => "SERVERID",
    };
    let mend =
        format!("write `cookie: {{ name: {name}, mode: insert, indirect: true, nocache: true }}`");
    let mut table = d.table_or(&entry.value, entry.key_span, "`cookie`", mend)?;
    let name = match table.take("name") {
        Some(e) => d.line(&e.value, "`name`").filter(|name| {
            let good = is_token(name);
            if !good {
                d.error(
                    e.value.span,
                    format!("`{name}` cannot be the name of a cookie"),
                    "write letters, digits, `_`, `-` or `.`",
                );
            }
            good
        }),
        None => {
            d.missing(
                &table,
                "name",
                "write `{ name: SERVERID, mode: insert, indirect: true, nocache: true }`",
            );
            None
        }
    };
    let mode = table.take("mode").map_or(Some(CookieMode::Insert), |e| {
        let modes = [
            ("insert", CookieMode::Insert),
            ("rewrite", CookieMode::Rewrite),
            ("prefix", CookieMode::Prefix),
            ("passive", CookieMode::Passive),
        ];
        d.choice(&e.value, "`mode`", &modes, &[])
    });
    let mut cookie = Cookie {
        indirect: flag(d, table.take("indirect"), mode, true),
        nocache: flag(d, table.take("nocache"), mode, false),
        preserve: flag(d, table.take("preserve"), mode, true),
        httponly: flag(d, table.take("httponly"), mode, false),
        secure: flag(d, table.take("secure"), mode, false),
        postonly: flag(d, table.take("postonly"), mode, false),
        ..Cookie::default()
    };
    if let Some(e) = table.take("same_site") {
        inserted(d, e, mode);
        let choices = [
            ("none", SameSite::None),
            ("lax", SameSite::Lax),
            ("strict", SameSite::Strict),
        ];
        cookie.same_site = d.choice(&e.value, "`same_site`", &choices, &[]);
        if cookie.same_site == Some(SameSite::None) && !cookie.secure {
            let message = "browsers drop a cookie with `same_site: none` that is not `secure`";
            d.report(Diagnostic::warning(e.key_span, message).mend("add `secure: true`"));
        }
    }
    if let Some(e) = table.take("attributes") {
        inserted(d, e, mode);
        for node in d.one_or_more(&e.value) {
            cookie.attributes.extend(attribute(d, node));
        }
    }
    if let Some(e) = table.take("domain") {
        inserted(d, e, mode);
        for node in d.one_or_more(&e.value) {
            cookie.domains.extend(domain(d, node));
        }
    }
    cookie.maxidle = limit(d, table.take("maxidle"), mode);
    cookie.maxlife = limit(d, table.take("maxlife"), mode);
    let key = table.take("dynamic_cookie_key");
    match table.take("dynamic") {
        Some(e) => match (d.boolean(&e.value, "`dynamic`"), key) {
            (Some(true), Some(key)) => {
                cookie.dynamic_key = d.secret(&key.value, "`dynamic_cookie_key`");
            }
            (Some(true), None) => d.error(
                e.key_span,
                "`dynamic` needs a key that the values are computed of",
                "add `dynamic_cookie_key: \"${COOKIE_KEY}\"`, the same on every node",
            ),
            (Some(false), Some(key)) => d.error(
                key.key_span,
                "`dynamic_cookie_key` has no effect with `dynamic: false`",
                "remove it",
            ),
            _ => {}
        },
        None => {
            if let Some(key) = key {
                d.error(
                    key.key_span,
                    "`dynamic_cookie_key` has no effect without `dynamic: true`",
                    "add it, or remove this",
                );
            }
        }
    }
    table.finish(
        d,
        &[],
        &[
            ("insert", "it is `mode: insert`"),
            ("rewrite", "it is `mode: rewrite`"),
            ("prefix", "it is `mode: prefix`"),
            ("attr", "it is `same_site`, or one of `attributes`"),
        ],
    );
    cookie.name = name?;
    cookie.mode = mode?;
    Some(Spanned::new(cookie, entry.key_span))
}

/// A flag; one that suits other modes `too` than insert still does not suit `rewrite`.
fn flag(d: &mut Decoder<'_>, e: Option<&Entry>, mode: Option<CookieMode>, too: bool) -> bool {
    let Some(e) = e else {
        return false;
    };
    let on = d
        .boolean(&e.value, &format!("`{}`", e.key))
        .unwrap_or(false);
    if on && (!too || matches!(mode, Some(CookieMode::Rewrite | CookieMode::Passive))) {
        inserted(d, e, mode);
    }
    on
}

/// How old a cookie may be.
fn limit(d: &mut Decoder<'_>, e: Option<&Entry>, mode: Option<CookieMode>) -> Option<Duration> {
    let e = e?;
    inserted(d, e, mode);
    d.duration(&e.value, &format!("`{}`", e.key), SHORTEST)
}

/// What has a meaning only where the balancer sets the cookie.
fn inserted(d: &mut Decoder<'_>, e: &Entry, mode: Option<CookieMode>) {
    if mode.is_some_and(|mode| mode != CookieMode::Insert) {
        d.error(
            e.key_span,
            format!("`{}` has no effect without `mode: insert`", e.key),
            "remove it",
        );
    }
}

/// Another attribute: anything that does not end it.
fn attribute(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let text = d.line(node, "`attributes`")?;
    if text.is_empty() || text.contains([';', ',']) || text.contains(char::is_control) {
        d.error(
            node.span,
            format!("`{text}` is no attribute of a cookie"),
            "write one such as `Partitioned` or `Priority=High`, each an entry of its own",
        );
        return None;
    }
    Some(text)
}

/// A domain that a browser may know: anything without blanks and what divides attributes.
fn domain(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let text = d.line(node, "`domain`")?;
    let good = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if !good {
        d.error(
            node.span,
            format!("`{text}` is no domain of a cookie"),
            "write a name such as `.example.org`",
        );
    }
    good.then_some(text)
}

/// Whether a server's value can stand in a Cookie header (RFC 6265 §4.1.1, cookie-octet); `|` and `~` divide the value
/// from dates and prefixes in HAProxy's other modes.
pub(super) fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\' | b'|' | b'~'))
}

/// A token of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
