//! Suites, curves, sessions and what is sent along with certificates: keys of `tls:`, of binds and of servers.

use std::path::PathBuf;

use super::{decode::Decoder, table::Table, tree::Entry};
use crate::tls::{Policy, TicketKeys, names_of_suites};

/// Takes `ciphers`, `ciphersuites` and `curves`.
pub(super) fn policy(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Policy {
    Policy {
        ciphers: table.take("ciphers").and_then(|e| names(d, e)),
        suites: table.take("ciphersuites").and_then(|e| names(d, e)),
        curves: table.take("curves").and_then(|e| names(d, e)),
    }
}

/// A list, or one text as OpenSSL has it.
fn names(d: &mut Decoder<'_>, entry: &Entry) -> Option<Vec<String>> {
    let what = format!("`{}`", entry.key);
    let mut names = Vec::new();
    for node in d.one_or_more(&entry.value) {
        let text = d.line(node, &what)?;
        names.extend(names_of_suites(&text).map(str::to_owned));
    }
    if names.is_empty() {
        d.error(
            entry.value.span,
            format!("{what} is empty"),
            "name some, or remove the key",
        );
    }
    Some(names)
}

/// Takes `tickets` and `ticket_keys` of a bind.
pub(super) fn tickets(d: &mut Decoder<'_>, table: &mut Table<'_>) -> TicketKeys {
    let wanted = table.take("tickets").and_then(|e| {
        let wanted = d.boolean(&e.value, "`tickets`")?;
        Some((wanted, e.key_span))
    });
    let file: Option<PathBuf> = table
        .take("ticket_keys")
        .and_then(|e| d.path(&e.value, "`ticket_keys`"));
    match (wanted, file) {
        (Some((false, span)), Some(_)) => {
            d.error(
                span,
                "`ticket_keys` has no effect: `tickets` is false",
                "remove one of them",
            );
            TicketKeys::None
        }
        (Some((false, _)), None) => TicketKeys::None,
        (_, Some(file)) => TicketKeys::File(file),
        (_, None) => TicketKeys::Own,
    }
}

/// Takes `issuers` and `skip_self_issued` of a bind.
pub(super) fn issuers(d: &mut Decoder<'_>, table: &mut Table<'_>) -> (Option<PathBuf>, bool) {
    let folder = table.take("issuers");
    let folder = folder.and_then(|e| d.path(&e.value, "`issuers`"));
    let skip = table.take("skip_self_issued");
    let skip = skip.and_then(|e| d.boolean(&e.value, "`skip_self_issued`"));
    (folder, skip.unwrap_or(false))
}
