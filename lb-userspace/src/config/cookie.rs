//! `cookie:` of a backend, and the values that servers have in it.

use super::{decode::Decoder, model::Cookie, source::Spanned, tree::Entry};

/// Reads `cookie:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Cookie>> {
    let mut table = d.table(&entry.value, entry.key_span, "`cookie`")?;
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
    if let Some(e) = table.take("mode") {
        d.choice(
            &e.value,
            "`mode`",
            &[("insert", ())],
            &["rewrite", "prefix"],
        );
    }
    let indirect = table
        .take("indirect")
        .and_then(|e| d.boolean(&e.value, "`indirect`"))
        .unwrap_or(false);
    let nocache = table
        .take("nocache")
        .and_then(|e| d.boolean(&e.value, "`nocache`"))
        .unwrap_or(false);
    table.finish(
        d,
        &[
            "preserve",
            "httponly",
            "secure",
            "same_site",
            "domain",
            "maxidle",
            "maxlife",
        ],
        &[("insert", "it is `mode: insert`")],
    );
    Some(Spanned::new(
        Cookie {
            name: name?,
            indirect,
            nocache,
        },
        entry.key_span,
    ))
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
