//! Answers of ours that rules give: redirects, refusals, whole responses.

use std::{fs, ops::RangeInclusive};

use bytes::Bytes;
use http::StatusCode;

use super::{
    actions::header_name,
    decode::Decoder,
    source::Span,
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

/// `deny: 403`, `deny: { status: 403 }` or `deny: true`.
pub(super) fn status_of(
    d: &mut Decoder<'_>,
    entry: &Entry,
    default: StatusCode,
) -> Option<StatusCode> {
    let what = format!("`{}`", entry.key);
    let node = &entry.value;
    match &node.kind {
        Kind::Scalar(scalar) if scalar.text == "true" => Some(default),
        Kind::Scalar(_) if !node.is_null() => status(d, node, &what, 200..=599),
        _ => {
            let mut table = d.table(node, entry.key_span, what)?;
            let found = match table.take("status") {
                Some(e) => status(d, &e.value, "`status`", 200..=599),
                None => Some(default),
            };
            table.finish(
                d,
                &[],
                &[
                    ("body", "write `return: { status: …, body: … }`"),
                    ("code", "it is `status`"),
                ],
            );
            found
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
    let mut found = Return {
        status: StatusCode::OK,
        headers: Vec::new(),
        body: None,
    };
    if let Kind::Scalar(_) = entry.value.kind
        && !entry.value.is_null()
    {
        found.status = status(d, &entry.value, "`return`", 200..=599)?;
        return Some(End::Return(Box::new(found)));
    }
    let mut table = d.table(&entry.value, entry.key_span, "`return`")?;
    if let Some(e) = table.take("status") {
        found.status = status(d, &e.value, "`status`", 200..=599)?;
    }
    if let Some(e) = table.take("headers")
        && let Some(headers) = d.table(&e.value, e.key_span, "`headers`")
    {
        for e in headers.entries() {
            let name = header_name(d, &e.key, e.key_span);
            let value = d.template(&e.value, &format!("`{}`", e.key));
            found.headers.extend(name.zip(value));
        }
    }
    let content_type = table
        .take("content_type")
        .and_then(|e| d.line(&e.value, "`content_type`"));
    let body = table.take("body");
    let file = table.take("file");
    if let Some(e) = body {
        let template = d.template(&e.value, "`body`");
        let kind = content_type.clone().unwrap_or_else(|| "text/plain".into());
        found.body = template.map(|template| match template.as_literal() {
            Some(text) => (Body::Fixed(Bytes::from(text.to_owned())), kind),
            None => (Body::Template(template), kind),
        });
    }
    if let Some(e) = file {
        if body.is_some() {
            d.error(
                e.key_span,
                "`file` and `body` exclude one another",
                "write one of them",
            );
        }
        if let Some(path) = d.path(&e.value, "`file`") {
            let kind = content_type.unwrap_or_else(|| type_of(&path).into());
            found.body = read(d, &path, e.value.span).map(|bytes| (Body::Fixed(bytes), kind));
        }
    }
    table.finish(
        d,
        &[],
        &[("code", "it is `status`"), ("string", "it is `body`")],
    );
    Some(End::Return(Box::new(found)))
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
