//! `stick` of backends: clients stay on their server by what a table remembers of them.

use super::{conditions, decode::Decoder, source::Spanned, table::Table, tree::Entry};
use crate::rules::{Condition, Expr, Remember, Side, Stick};

/// Reads `stick`; `owner` is the backend's name, that of its own table.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    owner: &str,
) -> Vec<Spanned<Stick>> {
    let Some(e) = table.take("stick") else {
        return Vec::new();
    };
    let nodes = d.list(&e.value, "`stick`");
    let mut found = Vec::new();
    for node in nodes {
        let Some(mut inner) = d.table(node, node.span, "a rule of `stick`") else {
            continue;
        };
        let ways = [
            (inner.take("on"), true, Remember::OfRequest),
            (inner.take("match"), true, Remember::Never),
            (inner.take("store_request"), false, Remember::OfRequest),
            (inner.take("store_response"), false, Remember::OfResponse),
        ];
        let name = inner
            .take("table")
            .map_or(Some(owner.to_owned()), |e| d.text(&e.value, "`table`"));
        let condition = inner.take("if").map(|e| {
            // One that is wrong holds never.
            conditions::condition(d, &e.value, e.key_span, Side::Request)
                .unwrap_or_else(|| Condition::Any(Vec::new()))
        });
        inner.finish(d, &[], &[("by", "it is `on`")]);
        let mut ways = ways
            .into_iter()
            .filter_map(|(e, chooses, remembers)| Some((e?, chooses, remembers)));
        let (Some((e, chooses, remembers)), None) = (ways.next(), ways.next()) else {
            let message =
                "a rule of `stick` has one of `on`, `match`, `store_request` and `store_response`";
            d.error(node.span, message, "write `{ on: src }`");
            continue;
        };
        let Some((key, name)) = expression(d, e).zip(name) else {
            continue;
        };
        if remembers != Remember::OfResponse
            && (key.needs_response() || key.payload() == Some(true))
        {
            let message = format!(
                "`{}` sees the request alone, there is no response yet",
                e.key
            );
            d.error(e.value.span, message, "write `store_response`");
        }
        let table = d.registry.table(&name);
        d.note(e.value.span);
        let stick = Stick {
            key,
            table,
            condition,
            chooses,
            remembers,
        };
        found.push(Spanned::new(stick, node.span));
    }
    found
}

fn expression(d: &mut Decoder<'_>, entry: &Entry) -> Option<Expr> {
    let text = d.text(&entry.value, &format!("`{}`", entry.key))?;
    let parsed = Expr::parse(&text, &mut d.registry);
    d.note(entry.value.span);
    match parsed {
        Ok(expr) => Some(expr),
        Err(problem) => {
            d.wrong(entry.value.span, problem);
            None
        }
    }
}
