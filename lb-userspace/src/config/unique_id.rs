//! `unique_id`: what requests are called, and connections of mode tcp.

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::FrontendDraft,
    fields::header_name,
    model::{Transport, UniqueId},
    source::Spanned,
    table::Table,
};

/// Reads it.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<UniqueId>> {
    let e = table.take("unique_id")?;
    let mut inner = d.table(&e.value, e.key_span, "`unique_id`")?;
    let format = match inner.take("format") {
        Some(e) => d.template(&e.value, "`format`"),
        None => d.template_of(e.key_span, "%[uuid]"),
    };
    let header = inner.take("header").and_then(|e| {
        let name = d.text(&e.value, "`header`")?;
        header_name(d, &name, e.value.span)
    });
    inner.finish(d, &[], &[]);
    let format = format?;
    Some(Spanned::new(UniqueId { format, header }, e.key_span))
}

/// Says what of it is of no use in mode tcp.
pub(super) fn of_connections(frontend: &FrontendDraft, found: &mut Vec<Diagnostic>) {
    let Some(Spanned { value: id, span }) = &frontend.unique_id else {
        return;
    };
    let mut binds = frontend.binds.iter();
    let message = match &id.header {
        _ if binds.any(|bind| bind.value.transport == Transport::Udp) => {
            "datagrams have no `unique_id`"
        }
        Some(_) => "`header` of `unique_id` has no effect in mode tcp",
        None => return,
    };
    found.push(Diagnostic::error(*span, message).mend("remove it"));
}
