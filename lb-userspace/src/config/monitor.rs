//! `monitor`: a page of the frontend's own that says whether it is well.

use super::{conditions, decode::Decoder, model::Monitor, source::Spanned, table::Table};
use crate::rules::{Condition, Side};

/// Reads `monitor`.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<Monitor>> {
    let e = table.take("monitor")?;
    let mut inner = d.table(&e.value, e.key_span, "`monitor`")?;
    let uri = match inner.take("uri") {
        Some(e) => d.line(&e.value, "`uri`").filter(|uri| {
            let fits = uri.starts_with('/') && uri.bytes().all(|b| b.is_ascii_graphic());
            if !fits {
                let message = format!(
                    "`{uri}` cannot be asked for: a path begins with `/` and has no blanks"
                );
                d.error(e.value.span, message, "write `/alive`");
            }
            fits
        }),
        None => {
            d.missing(&inner, "uri", "write `uri: /alive`");
            None
        }
    };
    // One that is wrong holds never.
    let fail = inner.take("fail_if").map(|e| {
        conditions::condition(d, &e.value, e.key_span, Side::Request)
            .unwrap_or_else(|| Condition::Any(Vec::new()))
    });
    inner.finish(
        d,
        &[],
        &[("path", "it is `uri`"), ("fail", "it is `fail_if`")],
    );
    let monitor = Monitor { uri: uri?, fail };
    Some(Spanned::new(monitor, e.key_span))
}
