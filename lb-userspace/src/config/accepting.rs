//! `backlog` and `rate_limit_sessions` of frontends and `defaults`.

use super::{decode::Decoder, model::Accepting, table::Table};

/// Most that listen(2) takes.
const MOST_BACKLOG: u32 = i32::MAX as u32;

/// Reads them; what is not written is silence.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Accepting {
    Accepting {
        backlog: table
            .take("backlog")
            .and_then(|e| d.number(&e.value, "`backlog`", 1..=MOST_BACKLOG)),
        rate: table
            .take("rate_limit_sessions")
            .and_then(|e| d.number(&e.value, "`rate_limit_sessions`", 1..=1_000_000)),
    }
}

/// A frontend's own, else those of `defaults`.
pub(super) fn resolve(own: Accepting, defaults: Accepting) -> Accepting {
    Accepting {
        backlog: own.backlog.or(defaults.backlog),
        rate: own.rate.or(defaults.rate),
    }
}
