//! What rules do, key by key.

use std::{sync::Arc, time::Duration};

use super::{
    answers::status,
    capture,
    decode::Decoder,
    fields::header_name,
    logging, patience, sockets,
    source::{Span, Spanned},
    table::Table,
    tree::{Entry, Kind, Node},
    units::{self, Problem},
};
use crate::rules::{Change, Data, Edit, Normalizer, Only, Regex, Side, TRACKED, Template};

/// Most places of an array of counters: HAProxy's.
pub(super) const MOST_PLACES: u8 = 100;

/// Changes that go on with the list, but for those of fields; in the order of the file.
pub(super) fn edits(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    side: Side,
    owner: &str,
) -> Vec<Edit> {
    let mut found = remembered(d, table, owner);
    logged(d, table, side, &mut found);
    match side {
        Side::Request => {
            target(d, table, &mut found);
            client(d, table, &mut found);
            for (entry, force) in [
                (table.take("force_persist"), true),
                (table.take("ignore_persist"), false),
            ] {
                let Some(e) = entry else { continue };
                match d.boolean(&e.value, &format!("`{}`", e.key)) {
                    Some(true) => found.push((e.key_span, Edit::Persist(force))),
                    Some(false) => {
                        let message = format!("`{}: false` has no effect", e.key);
                        d.error(e.key_span, message, "remove it");
                    }
                    None => {}
                }
            }
            patience::decode(d, table, &mut found);
            patience::priority(d, table, &mut found);
            if let Some(e) = table.take("disable_l7_retry") {
                match d.boolean(&e.value, "`disable_l7_retry`") {
                    Some(true) => found.push((e.key_span, Edit::SendOnce)),
                    Some(false) => d.error(
                        e.key_span,
                        "`disable_l7_retry: false` has no effect",
                        "remove it",
                    ),
                    None => {}
                }
            }
        }
        Side::Response => {
            if let Some(e) = table.take("set_status") {
                found.extend(set_status(d, e).map(|edit| (e.key_span, edit)));
            }
            if let Some(e) = table.take("close") {
                match d.boolean(&e.value, "`close`") {
                    Some(true) => found.push((e.key_span, Edit::CloseServer)),
                    Some(false) => {
                        d.error(e.key_span, "`close: false` has no effect", "remove it");
                    }
                    None => {}
                }
            }
        }
    }
    in_order(found)
}

fn in_order(mut found: Vec<(Span, Edit)>) -> Vec<Edit> {
    found.sort_by_key(|(span, _)| *span);
    found.into_iter().map(|(_, edit)| edit).collect()
}

/// What is remembered, in the order of the file: all that a rule of connections can do besides letting them in or not.
pub(super) fn remembering(d: &mut Decoder<'_>, table: &mut Table<'_>, owner: &str) -> Vec<Edit> {
    let mut found = remembered(d, table, owner);
    names(d, table, &mut found);
    in_order(found)
}

/// The same of rules of a connection's bytes, which also know what is logged of it.
pub(super) fn of_bytes(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    side: Side,
    owner: &str,
) -> Vec<Edit> {
    let mut found = remembered(d, table, owner);
    logged(d, table, side, &mut found);
    if side == Side::Request {
        names(d, table, &mut found);
        patience::priority(d, table, &mut found);
    }
    in_order(found)
}

/// What the log gets, or whether it gets anything.
fn logged(d: &mut Decoder<'_>, table: &mut Table<'_>, side: Side, found: &mut Vec<(Span, Edit)>) {
    if let Some(e) = table.take("capture") {
        let edit = capture::action(d, e, side);
        found.extend(edit.map(|edit| (e.key_span, edit)));
    }
    if let Some(e) = table.take("set_log_level") {
        let level = logging::level(d, e);
        found.extend(level.map(|level| (e.key_span, Edit::LogLevel(level))));
    }
}

fn remembered(d: &mut Decoder<'_>, table: &mut Table<'_>, owner: &str) -> Vec<(Span, Edit)> {
    let mut found: Vec<(Span, Edit)> = Vec::new();
    if let Some(e) = table.take("track") {
        for node in d.one_or_more(&e.value) {
            found.extend(track(d, node, owner).map(|edit| (e.key_span, edit)));
        }
    }
    if let Some(e) = table.take("set_var")
        && let Some(vars) = d.table(&e.value, e.key_span, "`set_var`")
    {
        for var in vars.entries() {
            let value = d.template(&var.value, "the variable");
            let (name, conditions) = match var.key.split_once(',') {
                Some((name, conditions)) => (name, conditions),
                None => (var.key.as_str(), ""),
            };
            let id = variable(d, name, var.key_span);
            let only = match Only::parse(conditions) {
                Ok(only) => only,
                Err(problem) => {
                    d.wrong(var.key_span, problem);
                    continue;
                }
            };
            found.extend(
                id.zip(value)
                    .map(|(id, value)| (var.key_span, Edit::SetVar(id, only, value))),
            );
        }
    }
    if let Some(e) = table.take("unset_var") {
        for node in d.one_or_more(&e.value) {
            let id = d
                .text(node, "`unset_var`")
                .and_then(|name| variable(d, &name, node.span));
            found.extend(id.map(|id| (e.key_span, Edit::UnsetVar(id))));
        }
    }
    for (entry, data) in [
        (table.take("inc_gpc0"), Data::Gpc0),
        (table.take("inc_gpc1"), Data::Gpc1),
    ] {
        let Some(e) = entry else { continue };
        let sc = d.number(&e.value, &format!("`{}`", e.key), 0..=TRACKED as u8 - 1);
        found.extend(sc.map(|sc| (e.key_span, Edit::Count(sc, data))));
    }
    for entry in [table.take("inc_gpc"), table.take("set_gpt")] {
        found.extend(entry.and_then(|e| Some((e.key_span, of_array(d, e)?))));
    }
    for (entry, change) in [
        (table.take("set_map"), Change::Set),
        (table.take("del_map"), Change::Remove),
        (table.take("add_acl"), Change::Add),
        (table.take("del_acl"), Change::Remove),
    ] {
        let Some(e) = entry else { continue };
        for node in d.one_or_more(&e.value) {
            found.extend(live(d, node, &e.key, change).map(|edit| (e.key_span, edit)));
        }
    }
    sockets::packets(d, table, &mut found);
    if let Some(e) = table.take("set_gpt0")
        && let Some(mut inner) = d.table(&e.value, e.key_span, "`set_gpt0`")
    {
        let sc = counter(d, &mut inner);
        let value = inner
            .take("value")
            .and_then(|e| d.template(&e.value, "`value`"));
        if value.is_none() {
            d.missing(&inner, "value", "write `{ counter: 0, value: 1 }`");
        }
        inner.finish(d, &[], &[]);
        found.extend(value.map(|value| (e.key_span, Edit::SetNumber(sc, Data::Gpt0, value))));
    }
    found
}

/// `{ file: hosts.map, key: "%[src]", value: a }` of `set_map` and its kin.
fn live(d: &mut Decoder<'_>, node: &Node, key: &str, change: Change) -> Option<Edit> {
    let mut inner = d.table(node, node.span, format!("`{key}`"))?;
    let example = match change {
        Change::Set => "write `{ file: hosts.map, key: \"%[src]\", value: \"%[path]\" }`",
        Change::Remove | Change::Add => "write `{ file: blocked.txt, key: \"%[src]\" }`",
    };
    let file = inner.take("file");
    let path = file.and_then(|e| d.text(&e.value, "`file`"));
    let written = inner.take("key");
    let of = written.and_then(|e| d.template(&e.value, "`key`"));
    for (missing, name) in [(file.is_none(), "file"), (written.is_none(), "key")] {
        if missing {
            d.missing(&inner, name, example);
        }
    }
    let value = match change {
        Change::Set => match inner.take("value") {
            Some(e) => d.template(&e.value, "`value`"),
            None => {
                d.missing(&inner, "value", example);
                None
            }
        },
        Change::Remove | Change::Add => Some(Template::literal("")),
    };
    inner.finish(d, &[], &[]);
    let (path, of, value) = (path?, of?, value?);
    let file = d.registry.live(&path);
    d.live.push(Spanned::new(Arc::clone(&file), node.span));
    Some(Edit::Live {
        file,
        change,
        key: of,
        value,
    })
}

/// `{ counter: 0, index: 2, value: 1 }` of `inc_gpc` or `set_gpt`.
fn of_array(d: &mut Decoder<'_>, entry: &Entry) -> Option<Edit> {
    let mut inner = d.table(&entry.value, entry.key_span, format!("`{}`", entry.key))?;
    let sc = counter(d, &mut inner);
    let index = match inner.take("index") {
        Some(e) => d.number(&e.value, "`index`", 0..=MOST_PLACES - 1),
        None => {
            d.missing(&inner, "index", "say which of the array: `index: 0`");
            None
        }
    };
    let value = inner.take("value");
    let written = value.is_some();
    let value = value.and_then(|e| d.template(&e.value, "`value`"));
    if entry.key == "set_gpt" && !written {
        let mend = "write `{ counter: 0, index: 0, value: 1 }`";
        d.missing(&inner, "value", mend);
    }
    inner.finish(d, &[], &[]);
    let index = index?;
    match (entry.key.as_str(), value) {
        ("set_gpt", value) => Some(Edit::SetNumber(sc, Data::Gpt(index), value?)),
        (_, None) if written => None,
        (_, None) => Some(Edit::Count(sc, Data::Gpc(index))),
        (_, Some(value)) => Some(Edit::CountBy(sc, Data::Gpc(index), value)),
    }
}

/// What changes a request's line.
fn target(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(Span, Edit)>) {
    type Make = fn(Template) -> Edit;
    let whole: [(Option<&Entry>, Make); 5] = [
        (table.take("set_method"), Edit::SetMethod),
        (table.take("set_path"), Edit::SetPath),
        (table.take("set_query"), Edit::SetQuery),
        (table.take("set_uri"), Edit::SetUri),
        (table.take("set_pathq"), Edit::SetPathQuery),
    ];
    for (entry, make) in whole {
        let Some(e) = entry else { continue };
        let what = format!("`{}`", e.key);
        let Some(template) = d.template(&e.value, &what) else {
            continue;
        };
        if matches!(e.key.as_str(), "set_path" | "set_uri" | "set_pathq")
            && template
                .as_literal()
                .is_some_and(|text| !text.starts_with('/'))
        {
            let message = format!("{what} has to begin with `/`");
            d.error(e.value.span, message, "write a path as in `/app%[path]`");
            continue;
        }
        found.push((e.key_span, make(template)));
    }
    type Replace = fn(Regex, Template) -> Edit;
    let replaced: [(Option<&Entry>, Replace); 3] = [
        (table.take("replace_path"), Edit::ReplacePath),
        (table.take("replace_pathq"), Edit::ReplacePathQuery),
        (table.take("replace_uri"), Edit::ReplaceUri),
    ];
    for (entry, make) in replaced {
        let Some(e) = entry else { continue };
        for node in d.one_or_more(&e.value) {
            let pair = pair(d, node, &format!("`{}`", e.key));
            found.extend(pair.map(|(regex, by)| (e.key_span, make(regex, by))));
        }
    }
    if let Some(e) = table.take("normalize_uri") {
        for node in d.one_or_more(&e.value) {
            let step = d.choice(node, "`normalize_uri`", Normalizer::ALL, &[]);
            found.extend(step.map(|step| (e.key_span, Edit::Normalize(step))));
        }
    }
}

/// Who the client is, and where it goes.
fn names(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(Span, Edit)>) {
    type Make = fn(Template) -> Edit;
    let whole: [(Option<&Entry>, Make); 4] = [
        (table.take("set_src"), Edit::SetSource),
        (table.take("set_src_port"), Edit::SetSourcePort),
        (table.take("set_dst"), Edit::SetDestination),
        (table.take("set_dst_port"), Edit::SetDestinationPort),
    ];
    for (entry, make) in whole {
        let Some(e) = entry else { continue };
        let template = d.template(&e.value, &format!("`{}`", e.key));
        found.extend(template.map(|template| (e.key_span, make(template))));
    }
}

/// What is said of the client, or to it before the answer.
fn client(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(Span, Edit)>) {
    names(d, table, found);
    if let Some(e) = table.take("early_hint")
        && let Some(hints) = d.table(&e.value, e.key_span, "`early_hint`")
    {
        for hint in hints.entries() {
            let name = header_name(d, &hint.key, hint.key_span);
            let value = d.template(&hint.value, &format!("`{}`", hint.key));
            let edit = name
                .zip(value)
                .map(|(name, value)| Edit::EarlyHint(name, value));
            found.extend(edit.map(|edit| (hint.key_span, edit)));
        }
    }
}

/// `503`, or `{ status: 503, reason: Later }`
fn set_status(d: &mut Decoder<'_>, entry: &Entry) -> Option<Edit> {
    if let Kind::Scalar(_) = entry.value.kind {
        let status = status(d, &entry.value, "`set_status`", 200..=599)?;
        return Some(Edit::SetStatus(status, None));
    }
    let mut table = d.table(&entry.value, entry.key_span, "`set_status`")?;
    let found = match table.take("status") {
        Some(e) => status(d, &e.value, "`status`", 200..=599),
        None => {
            d.missing(&table, "status", "write `{ status: 503, reason: Later }`");
            None
        }
    };
    let reason = table.take("reason").and_then(|e| {
        let reason = d.line(&e.value, "`reason`")?;
        if hyper::ext::ReasonPhrase::try_from(reason.as_bytes()).is_err() {
            let message = "a reason has a character that none may have";
            d.error(e.value.span, message, "write letters and blanks");
        }
        Some(reason.into_bytes().into())
    });
    table.finish(d, &[], &[]);
    Some(Edit::SetStatus(found?, reason))
}

/// `{ regex: …, with: … }`
pub(super) fn pair(d: &mut Decoder<'_>, node: &Node, what: &str) -> Option<(Regex, Template)> {
    let mut table = d.table(node, node.span, what)?;
    let pattern = match table.take("regex") {
        Some(e) => d
            .line(&e.value, "`regex`")
            .and_then(|text| match Regex::new(&text, false) {
                Ok(regex) => Some(regex),
                Err(problem) => {
                    d.wrong(e.value.span, problem);
                    None
                }
            }),
        None => {
            d.missing(
                &table,
                "regex",
                "write `{ regex: \"^/old/(.*)\", with: '/new/\\1' }`",
            );
            None
        }
    };
    let by = match table.take("with") {
        Some(e) => d.template(&e.value, "`with`"),
        None => {
            d.missing(
                &table,
                "with",
                "write `{ regex: \"^/old/(.*)\", with: '/new/\\1' }`",
            );
            None
        }
    };
    table.finish(
        d,
        &[],
        &[("match", "it is `regex`"), ("replace", "it is `with`")],
    );
    pattern.zip(by)
}

fn variable(d: &mut Decoder<'_>, name: &str, span: Span) -> Option<crate::rules::Var> {
    match d.registry.var(name) {
        Ok(id) => Some(id),
        Err(problem) => {
            d.wrong(span, problem);
            None
        }
    }
}

/// `counter`, 0 unless it is written.
fn counter(d: &mut Decoder<'_>, table: &mut Table<'_>) -> u8 {
    let e = table.take("counter");
    e.and_then(|e| d.number(&e.value, "`counter`", 0..=TRACKED as u8 - 1))
        .unwrap_or(0)
}

/// `{ counter: 0, key: "%[src]", table: NAME }`, or `source`.
fn track(d: &mut Decoder<'_>, node: &Node, owner: &str) -> Option<Edit> {
    let source = |d: &mut Decoder<'_>| d.template_of(node.span, "%[src]");
    if let Kind::Scalar(_) = node.kind {
        let text = d.word(node, "`track`")?;
        let key = match text.as_str() {
            "source" => source(d)?,
            _ if text.contains("%[") => d.template_of(node.span, &text)?,
            _ => {
                d.error(
                    node.span,
                    format!("`{text}` is no key to track by"),
                    "write `source` or `%[…]`",
                );
                return None;
            }
        };
        let table = d.registry.table(owner);
        d.note(node.span);
        return Some(Edit::Track { sc: 0, key, table });
    }
    let mut table = d.table(node, node.span, "`track`")?;
    let sc = counter(d, &mut table);
    let key = match table.take("key") {
        None => source(d),
        Some(e) => match d.word(&e.value, "`key`")?.as_str() {
            "source" => source(d),
            text => d.template_of(e.value.span, text),
        },
    };
    let name = table
        .take("table")
        .and_then(|e| d.text(&e.value, "`table`"));
    table.finish(d, &[], &[]);
    let handle = d.registry.table(name.as_deref().unwrap_or(owner));
    d.note(node.span);
    Some(Edit::Track {
        sc,
        key: key?,
        table: handle,
    })
}

/// `100/1s`, `100/s`: requests, and the period in milliseconds.
pub(super) fn rate(text: &str) -> Result<(u32, u64), Problem> {
    let bad = || {
        Problem::new(
            format!("`{text}` is no rate"),
            "write requests and a time: `\"100/1s\"`, `\"5/1m\"`",
        )
    };
    let (requests, period) = text.split_once('/').ok_or_else(bad)?;
    let requests: u32 = requests.trim().parse().map_err(|_| bad())?;
    let period = period.trim();
    let period = match period.starts_with(|c: char| c.is_ascii_digit()) {
        true => units::duration(period)?,
        false => units::duration(&format!("1{period}")).map_err(|_| bad())?,
    };
    if requests == 0 || period == Duration::ZERO {
        return Err(bad());
    }
    Ok((
        requests,
        u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
    ))
}
