//! `capture:` of a frontend: what of messages is kept for the log; and the rules that keep more.

use super::{
    decode::Decoder,
    fields::header_name,
    source::Spanned,
    table::Table,
    tree::{Entry, Node},
};
use crate::rules::{Captures, CookieSlot, Edit, Side, Slot};

/// Most bytes of one text: a line with many of them is longer than most syslogs take.
const MOST: usize = 8192;

/// Reads `capture`. What rules add to it is added while they are read.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<Captures>> {
    let e = table.take("capture")?;
    let mut inner = d.table(&e.value, e.key_span, "`capture`")?;
    let lists = [inner.take("request"), inner.take("response")];
    let [request, response] = lists.map(|list| match list {
        None => Vec::new(),
        Some(e) => {
            let nodes = d.one_or_more(&e.value).iter();
            nodes.filter_map(|node| slot(d, node)).collect()
        }
    });
    let cookie = inner.take("cookie").and_then(|e| cookie(d, e));
    let hint = "what is kept says whose it is: `request: [{ header: User-Agent, len: 64 }]`";
    inner.finish(d, &[], &[("header", hint), ("headers", hint)]);
    let captures = Captures {
        request,
        response,
        cookie,
    };
    Some(Spanned::new(captures, e.key_span))
}

/// `{ header: NAME, len: N }`, or `{ len: N }` for a rule to fill.
fn slot(d: &mut Decoder<'_>, node: &Node) -> Option<Slot> {
    let mut table = d.table(node, node.span, "a capture")?;
    let header = table.take("header").map(|e| {
        let text = d.text(&e.value, "`header`")?;
        // Unlike in rules any will do: nothing is changed.
        match text.parse() {
            Ok(name) => Some(name),
            Err(_) => header_name(d, &text, e.value.span),
        }
    });
    let len = len(d, &mut table);
    table.finish(
        d,
        &[],
        &[("name", "it is `header`"), ("length", "it is `len`")],
    );
    let len = len?;
    match header {
        Some(None) => None,
        header => Some(Slot {
            header: header.flatten(),
            len,
        }),
    }
}

fn len(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<usize> {
    match table.take("len") {
        Some(e) => d.number(&e.value, "`len`", 1..=MOST),
        None => {
            d.missing(
                table,
                "len",
                "say how many bytes are kept at most: `len: 64`",
            );
            None
        }
    }
}

fn cookie(d: &mut Decoder<'_>, entry: &Entry) -> Option<CookieSlot> {
    let mut table = d.table(&entry.value, entry.key_span, "`cookie`")?;
    let name = table.take("name");
    let prefix = table.take("prefix");
    let begins = match (name, prefix) {
        (Some(_), Some(prefix)) => {
            d.error(
                prefix.key_span,
                "a cookie is kept by its `name` or by a `prefix` of it",
                "remove one of them",
            );
            None
        }
        (Some(e), None) => d.line(&e.value, "`name`").map(|name| format!("{name}=")),
        (None, Some(e)) => d.line(&e.value, "`prefix`"),
        (None, None) => {
            d.missing(&table, "name", "write `cookie: { name: NAME, len: 32 }`");
            None
        }
    };
    let len = len(d, &mut table);
    table.finish(d, &[], &[("length", "it is `len`")]);
    Some(CookieSlot {
        begins: begins?,
        len: len?,
    })
}

/// The action `capture`: `{ value: …, len: N }` makes a place and fills it, `{ value: …, id: N }` fills one that is there.
pub(super) fn action(d: &mut Decoder<'_>, entry: &Entry, side: Side) -> Option<Edit> {
    let mut table = d.table(&entry.value, entry.key_span, "`capture`")?;
    let value = match table.take("value") {
        Some(e) => d.template(&e.value, "`value`"),
        None => {
            d.missing(
                &table,
                "value",
                "write `capture: { value: \"%[path]\", len: 64 }`",
            );
            None
        }
    };
    let written = table.take("id");
    let id = written.and_then(|e| d.number(&e.value, "`id`", 0..=999_usize));
    let new = match (written, table.take("len")) {
        (None, None) => {
            d.missing(
                &table,
                "len",
                "say how many bytes are kept at most: `len: 64`; or in which place with `id`",
            );
            None
        }
        (Some(id), Some(_)) => {
            d.error(
                id.key_span,
                "`id` names a place that has its length",
                "remove `id` or `len`",
            );
            None
        }
        (_, Some(e)) => d.number(&e.value, "`len`", 1..=MOST),
        (Some(_), None) => None,
    };
    table.finish(
        d,
        &[],
        &[
            ("expr", "it is `value`"),
            ("header", "it is `value: \"%[req.hdr(NAME)]\"`"),
        ],
    );
    let mut slots = d.captures.as_mut().map(|captures| match side {
        Side::Request => &mut captures.request,
        Side::Response => &mut captures.response,
    });
    let place = match (id, new, &mut slots) {
        (Some(id), _, Some(slots)) if id >= slots.len() => {
            let count = slots.len();
            d.error(
                written.map_or(entry.key_span, |e| e.value.span),
                format!("there is no place {id}: places are counted from 0, so far there is room for {count}"),
                "write one more below the frontend's `capture`: `{ len: 64 }`",
            );
            return None;
        }
        (Some(id), ..) => id,
        (None, Some(len), Some(slots)) => {
            slots.push(Slot { header: None, len });
            slots.len() - 1
        }
        (None, Some(_), None) => {
            d.error(
                entry.key_span,
                "a backend has no places of its own: the log is the frontend's",
                "write `id` instead of `len`, and the place below the frontend's `capture`: `{ len: 64 }`",
            );
            return None;
        }
        (None, None, _) => return None,
    };
    Some(Edit::Capture {
        side,
        place,
        value: value?,
    })
}
