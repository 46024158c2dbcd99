//! `observe`, `error_limit` and `on_error` of `health_check:`.

use super::{
    decode::Decoder,
    model::{Layer, Observe, OnError},
    table::Table,
};

/// HAProxy's default.
const ERROR_LIMIT: u32 = 10;

/// Reads them; the last two have no effect without the first.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Observe> {
    let layer = table.take("observe");
    let (limit, on_error) = (table.take("error_limit"), table.take("on_error"));
    let Some(layer) = layer else {
        for e in [limit, on_error].into_iter().flatten() {
            d.error(
                e.key_span,
                format!("`{}` has no effect without `observe`", e.key),
                "add `observe: layer7`, or remove it",
            );
        }
        return None;
    };
    let layers = [("layer4", Layer::Four), ("layer7", Layer::Seven)];
    let layer = d.choice(&layer.value, "`observe`", &layers, &[]);
    let error_limit = match limit {
        Some(e) => d.number(&e.value, "`error_limit`", 1..=u32::MAX)?,
        None => ERROR_LIMIT,
    };
    let reactions = [
        ("fastinter", OnError::FastInter),
        ("fail-check", OnError::FailCheck),
        ("sudden-death", OnError::SuddenDeath),
        ("mark-down", OnError::MarkDown),
    ];
    let on_error = match on_error {
        Some(e) => d.choice(&e.value, "`on_error`", &reactions, &[])?,
        None => OnError::FailCheck,
    };
    Some(Observe {
        layer: layer?,
        error_limit,
        on_error,
    })
}
