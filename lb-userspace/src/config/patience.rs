//! `set_timeout` and `set_priority` of a rule.

use std::time::Duration;

use super::{decode::Decoder, source::Span, table::Table, tree::Kind};
use crate::rules::{Awaited, Edit, Patience, PriorityPart};

/// Reads it: times, or expressions that come to milliseconds.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(Span, Edit)>) {
    let Some(e) = table.take("set_timeout") else {
        return;
    };
    let Some(mut inner) = d.table(&e.value, e.key_span, "`set_timeout`") else {
        return;
    };
    for (entry, of) in [
        (inner.take("server"), Awaited::Server),
        (inner.take("tunnel"), Awaited::Tunnel),
    ] {
        let Some(e) = entry else { continue };
        let name = format!("`{}`", e.key);
        let patience = match matches!(&e.value.kind, Kind::Scalar(one) if one.text.contains("%[")) {
            true => d.template(&e.value, &name).map(Patience::Asked),
            false => d
                .duration(&e.value, &name, Duration::from_millis(1))
                .map(Patience::Is),
        };
        found.extend(patience.map(|patience| (e.key_span, Edit::SetTimeout(of, patience))));
    }
    if inner.entries().is_empty() {
        let message = "`set_timeout` says of nothing how long it waits";
        d.error(e.key_span, message, "write `server` or `tunnel` and a time");
    }
    inner.finish(d, &[], &[]);
}

/// `{ class: "%[int(5)]", offset: 100 }`
pub(super) fn priority(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(Span, Edit)>) {
    let Some(e) = table.take("set_priority") else {
        return;
    };
    let Some(mut inner) = d.table(&e.value, e.key_span, "`set_priority`") else {
        return;
    };
    let parts = [
        (inner.take("class"), PriorityPart::Class),
        (inner.take("offset"), PriorityPart::Offset),
    ];
    if parts.iter().all(|(entry, _)| entry.is_none()) {
        d.missing(
            &inner,
            "class",
            "write `class`, `offset` or both: `{ class: 5 }`",
        );
    }
    for (entry, part) in parts {
        let Some(e) = entry else { continue };
        let value = d.template(&e.value, &format!("`{}`", e.key));
        found.extend(value.map(|value| (e.key_span, Edit::SetPriority(part, value))));
    }
    inner.finish(d, &[], &[]);
}
