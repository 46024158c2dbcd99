//! Answers of ours that rules give: redirects, refusals, whole responses.

use std::{fs, ops::RangeInclusive};

use bytes::Bytes;
use http::StatusCode;

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    errorfiles,
    fields::header_name,
    source::Span,
    table::Table,
    tree::{Entry, Kind, Node},
};
use crate::rules::{
    End, Template,
    action::{Body, Location, Redirect, Return},
};

/// Largest file of a `return`, bytes.
const MAX_BODY: usize = 1 << 20;

/// A status in a range.
pub(super) fn status(
    d: &mut Decoder<'_>,
    node: &Node,
    what: &str,
    range: RangeInclusive<u16>,
) -> Option<StatusCode> {
    d.number(node, what, range)
        .and_then(|status| StatusCode::from_u16(status).ok())
}

/// `deny: 403`, `deny: true`, or `deny: { status: 403 }` with what `return` takes: the status, and another answer than the
/// status's own.
pub(super) fn refusal(
    d: &mut Decoder<'_>,
    entry: &Entry,
    default: StatusCode,
) -> Option<(StatusCode, Option<Box<Return>>)> {
    let what = format!("`{}`", entry.key);
    let node = &entry.value;
    match &node.kind {
        Kind::Scalar(scalar) if scalar.text == "true" => Some((default, None)),
        Kind::Scalar(_) if !node.is_null() => Some((status(d, node, &what, 200..=599)?, None)),
        _ => {
            let table = d.table(node, entry.key_span, what)?;
            let plain = table.entries().iter().all(|e| e.key == "status");
            let (meant, answer) = answer(d, table, default)?;
            Some((meant, (!plain).then(|| Box::new(answer))))
        }
    }
}

/// `redirect`
pub(super) fn redirect(d: &mut Decoder<'_>, entry: &Entry) -> Option<End> {
    let mut found = Redirect {
        to: Location::Whole(Template::default()),
        code: StatusCode::FOUND,
        drop_query: false,
        append_slash: false,
        ignore_empty: false,
        cookie: None,
    };
    if let Kind::Scalar(_) = entry.value.kind
        && !entry.value.is_null()
    {
        found.to = Location::Whole(d.template(&entry.value, "`redirect`")?);
        return Some(End::Redirect(Box::new(found)));
    }
    let mut table = d.table(&entry.value, entry.key_span, "`redirect`")?;
    let location = table.take("location");
    let prefix = table.take("prefix");
    let scheme = table.take("scheme");
    let to: Vec<Location> = [
        location
            .and_then(|e| d.template(&e.value, "`location`"))
            .map(Location::Whole),
        prefix
            .and_then(|e| d.template(&e.value, "`prefix`"))
            .map(Location::Prefix),
        scheme
            .and_then(|e| d.template(&e.value, "`scheme`"))
            .map(Location::Scheme),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(e) = table.take("code") {
        let choices: [(&str, StatusCode); 5] = [
            ("301", StatusCode::MOVED_PERMANENTLY),
            ("302", StatusCode::FOUND),
            ("303", StatusCode::SEE_OTHER),
            ("307", StatusCode::TEMPORARY_REDIRECT),
            ("308", StatusCode::PERMANENT_REDIRECT),
        ];
        found.code = d.choice(&e.value, "`code`", &choices, &[])?;
    }
    let whole = table.take("drop_query").or(table.take("append_slash"));
    for (word, entry) in [
        ("drop_query", table.take("drop_query")),
        ("append_slash", table.take("append_slash")),
    ] {
        let Some(e) = entry else { continue };
        let on = d.boolean(&e.value, &format!("`{word}`")) == Some(true);
        match word {
            "drop_query" => found.drop_query = on,
            _ => found.append_slash = on,
        }
    }
    if let Some(e) = whole
        && location.is_some()
    {
        let message = format!("`{}` has no effect with `location`", e.key);
        d.error(
            e.key_span,
            message,
            "remove it: a location is taken as it is",
        );
    }
    if let Some(e) = table.take("ignore_empty") {
        found.ignore_empty = d.boolean(&e.value, "`ignore_empty`") == Some(true);
        if location.is_none() {
            let message = "`ignore_empty` has no effect without `location`";
            d.error(e.key_span, message, "remove it");
        }
    }
    let set = table.take("set_cookie");
    let clear = table.take("clear_cookie");
    for (e, tail) in [(set, "; path=/;"), (clear, "; path=/; Max-Age=0;")] {
        let Some(e) = e else { continue };
        if let Some(text) = d.line(&e.value, &format!("`{}`", e.key)) {
            if text.contains("%[") {
                let message = format!("`{}` is taken as it is, `%[` too", e.key);
                let mend = "write `return: { status: 302, headers: { Location: …, Set-Cookie: … } }`, which computes both";
                d.report(Diagnostic::warning(e.value.span, message).mend(mend));
            }
            found.cookie = Some(format!("{text}{tail}"));
        }
    }
    if location.is_none() && prefix.is_none() && scheme.is_none() {
        d.missing(&table, "location", "write `location`, `prefix` or `scheme`");
    }
    table.finish(
        d,
        &[],
        &[("status", "it is `code`"), ("to", "it is `location`")],
    );
    let mut to = to.into_iter();
    found.to = to.next()?;
    if to.next().is_some() {
        let message = "`location`, `prefix` and `scheme` exclude one another";
        d.error(entry.key_span, message, "write one of them");
    }
    Some(End::Redirect(Box::new(found)))
}

/// `return`
pub(super) fn returned(d: &mut Decoder<'_>, entry: &Entry) -> Option<End> {
    if let Kind::Scalar(_) = entry.value.kind
        && !entry.value.is_null()
    {
        let found = Return {
            status: status(d, &entry.value, "`return`", 200..=599)?,
            reason: None,
            headers: Vec::new(),
            body: None,
        };
        return Some(End::Return(Box::new(found)));
    }
    let table = d.table(&entry.value, entry.key_span, "`return`")?;
    let (_, found) = answer(d, table, StatusCode::OK)?;
    Some(End::Return(Box::new(found)))
}

/// The keys of an answer in full; with the status that it stands for, whatever its page's own is.
fn answer(
    d: &mut Decoder<'_>,
    mut table: Table<'_>,
    default: StatusCode,
) -> Option<(StatusCode, Return)> {
    let mut found = Return {
        status: default,
        reason: None,
        headers: Vec::new(),
        body: None,
    };
    if let Some(e) = table.take("status") {
        found.status = status(d, &e.value, "`status`", 200..=599)?;
    }
    let meant = found.status;
    let fields = table.take("headers");
    if let Some(e) = fields
        && let Some(headers) = d.table(&e.value, e.key_span, "`headers`")
    {
        for e in headers.entries() {
            let Some(name) = header_name(d, &e.key, e.key_span) else {
                continue;
            };
            for node in d.one_or_more(&e.value) {
                let value = d.template(node, &format!("`{}`", e.key));
                found
                    .headers
                    .extend(value.map(|value| (name.clone(), value)));
            }
        }
    }
    let content_type = table.take("content_type");
    let bodies: Vec<&Entry> = ["body", "file", "template_file", "page"]
        .iter()
        .filter_map(|key| table.take(key))
        .collect();
    if let [first, second, ..] = bodies.as_slice() {
        let (first, other) = (&first.key, &second.key);
        let message = format!("`{first}` and `{other}` exclude one another");
        d.error(second.key_span, message, "write one of them");
    }
    if let (Some(fields), Some(page)) = (fields, bodies.iter().find(|e| e.key == "page")) {
        let message = "`headers` have no effect beside `page`, which has its own";
        d.error(
            fields.key_span,
            message,
            format!("remove them, or `{}`", page.key),
        );
    }
    if let Some(kind) = content_type {
        let page = bodies.iter().any(|e| e.key == "page");
        let (why, mend) = match page {
            true => ("beside `page`, which has its own", "remove it, or `page`"),
            false => (
                "without a body",
                "add `body`, `file` or `template_file`, or remove it",
            ),
        };
        if page || bodies.is_empty() {
            let message = format!("`content_type` has no effect {why}");
            d.error(kind.key_span, message, mend);
        }
    }
    let content_type = content_type.and_then(|e| d.line(&e.value, "`content_type`"));
    for e in bodies {
        let kind = content_type.clone();
        match e.key.as_str() {
            "body" => {
                let template = d.template(&e.value, "`body`");
                found.body = template.map(|template| body(template, kind, "text/plain"));
            }
            "page" if matches!(&e.value.kind, Kind::Scalar(s) if s.text == "true") => {
                found.body = Some((Body::Page, String::new()));
            }
            "page" if matches!(&e.value.kind, Kind::Scalar(s) if s.plain && s.text == "false") => {
                let message = "`page: false` has no effect: there is no page unless it says so";
                d.error(
                    e.key_span,
                    message,
                    "remove it, or write `true` or a file's name",
                );
            }
            "page" => {
                let page = errorfiles::file(d, found.status.as_u16(), &e.value, "`page`")?;
                found.status = page.status;
                found.reason = page.reason;
                found.headers = page
                    .headers
                    .iter()
                    .map(|(name, value)| {
                        (
                            name.clone(),
                            Template::literal(&String::from_utf8_lossy(value.as_bytes())),
                        )
                    })
                    .collect();
                found.body = Some((Body::Fixed(page.body), String::new()));
            }
            key => {
                let Some(path) = d.path(&e.value, &format!("`{key}`")) else {
                    continue;
                };
                let Some(bytes) = read(d, &path, e.value.span) else {
                    continue;
                };
                let usual = type_of(&path);
                if key == "file" {
                    let kind = kind.unwrap_or_else(|| usual.into());
                    found.body = Some((Body::Fixed(bytes), kind));
                    continue;
                }
                let text = String::from_utf8_lossy(&bytes);
                let template = d.template_of(e.value.span, &text);
                found.body = template.map(|template| body(template, kind, usual));
            }
        }
    }
    table.finish(
        d,
        &[],
        &[("code", "it is `status`"), ("string", "it is `body`")],
    );
    Some((meant, found))
}

/// A body of a text, and its type.
fn body(template: Template, kind: Option<String>, usual: &str) -> (Body, String) {
    let kind = kind.unwrap_or_else(|| usual.to_owned());
    match template.as_literal() {
        Some(text) => (Body::Fixed(Bytes::from(text.to_owned())), kind),
        None => (Body::Template(template), kind),
    }
}

/// A file's bytes.
pub(super) fn read(d: &mut Decoder<'_>, path: &std::path::Path, span: Span) -> Option<Bytes> {
    match fs::read(path) {
        Ok(bytes) if bytes.len() > MAX_BODY => {
            d.error(
                span,
                format!("{} is larger than {} KiB", path.display(), MAX_BODY >> 10),
                "name a smaller file",
            );
            None
        }
        Ok(bytes) => Some(bytes.into()),
        Err(error) => {
            d.error(
                span,
                format!("{} cannot be read: {error}", path.display()),
                "name a readable file",
            );
            None
        }
    }
}

/// A file's type by its name.
pub(super) fn type_of(path: &std::path::Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm" | "http") => "text/html",
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("xml") => "application/xml",
        _ => "application/octet-stream",
    }
}
