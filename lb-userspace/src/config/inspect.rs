//! `inspect` and `inspect_response`: what is done with the first bytes of connections of mode tcp.

use std::time::Duration;

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::{BackendDraft, FrontendDraft},
    model::{Inspect, Transport},
    sieve::{self, Stage},
    source::Spanned,
    tree::Entry,
};
use crate::rules::{RuleSet, Side};

/// Reads one of them.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    entry: Option<&Entry>,
    owner: &str,
) -> Option<Spanned<Inspect>> {
    let e = entry?;
    let mut table = d.table(&e.value, e.key_span, format!("`{}`", e.key))?;
    let delay = table
        .take("delay")
        .and_then(|e| d.duration(&e.value, "`delay`", Duration::ZERO));
    let stage = match e.key.as_str() {
        "inspect" => Stage::Bytes(Side::Request),
        _ => Stage::Bytes(Side::Response),
    };
    let rules = match table.take("rules") {
        Some(e) => {
            let nodes = d.list(&e.value, "`rules`").iter();
            nodes
                .filter_map(|node| sieve::sieve(d, node, owner, stage))
                .collect()
        }
        None => {
            d.missing(
                &table,
                "rules",
                "say what is done: `rules: [{ if: …, reject: true }]`",
            );
            Vec::new()
        }
    };
    table.finish(d, &[], &[("timeout", "it is `delay`")]);
    let inspect = Inspect {
        delay: delay.unwrap_or_default(),
        rules: RuleSet::new(rules),
    };
    Some(Spanned::new(inspect, e.key_span))
}

/// What there are no bytes for in mode http.
pub(super) fn without_bytes<'d>(
    inspect: impl IntoIterator<Item = &'d Option<Spanned<Inspect>>>,
    found: &mut Vec<Diagnostic>,
) {
    for inspect in inspect.into_iter().flatten() {
        let message = "in mode http there are requests to look at, and no bytes";
        let mend = "write the rules below `rules`, or `mode: tcp`";
        found.push(Diagnostic::error(inspect.span, message).mend(mend));
    }
}

/// Rules of bytes, where datagrams come.
pub(super) fn datagrams(
    frontend: &FrontendDraft,
    backend: Option<&BackendDraft>,
    found: &mut Vec<Diagnostic>,
) {
    let mut binds = frontend.binds.iter();
    let Some(bind) = binds.find(|bind| bind.value.transport == Transport::Udp) else {
        return;
    };
    let inspects = match backend {
        None => vec![&frontend.inspect],
        Some(backend) => backend.inspect.iter().collect(),
    };
    for inspect in inspects.into_iter().flatten() {
        let message = format!(
            "rules of a connection's bytes see no datagrams, and `{}` takes them",
            bind.value.text
        );
        let diagnostic = Diagnostic::error(inspect.span, message);
        found.push(diagnostic.mend("give that bind a frontend of its own"));
    }
}
