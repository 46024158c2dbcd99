//! What a check asks by HTTP: the keys of its request.

use super::{
    super::{
        check_text,
        cookie::is_token,
        decode::Decoder,
        diagnostic,
        model::{CheckText, HTTP_2},
        tree::Entry,
    },
    Type, header_value, headers,
};

/// What is asked for.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: CheckText,
    pub(super) version: String,
    pub(super) host: Option<CheckText>,
    pub(super) headers: Vec<(String, CheckText)>,
    pub(super) body: Option<CheckText>,
}

/// The keys of a request; `take` knows which of them the check has.
pub(super) fn request<'a>(
    d: &mut Decoder<'_>,
    take: &mut impl FnMut(&mut Decoder<'_>, &'static str) -> Option<&'a Entry>,
    kind: Option<Type>,
) -> Request {
    let method = take(d, "method").and_then(|e| {
        let method = d.line(&e.value, "`method`")?;
        if is_token(&method) && method != "CONNECT" {
            return Some(method);
        }
        d.error(
            e.value.span,
            format!("`{method}` is no method of a check"),
            "write `GET`, `HEAD` or `OPTIONS`",
        );
        None
    });
    let path = take(d, "path").and_then(|e| {
        let path = d.line(&e.value, "`path`")?;
        let star = path == "*" && method.as_deref() == Some("OPTIONS");
        if (path.starts_with('/') || star) && path.bytes().all(|b| b.is_ascii_graphic()) {
            return Some(path);
        }
        d.error(
            e.value.span,
            format!("`{path}` cannot be asked for: a path begins with `/` and has no blanks"),
            format!(
                "write `/{}`",
                path.trim_start_matches('/').replace(' ', "%20")
            ),
        );
        None
    });
    let version = take(d, "version").and_then(|e| {
        if d.word(&e.value, "`version`")
            .is_some_and(|text| text.starts_with("HTTP/2"))
        {
            d.error(
                e.value.span,
                "`version` is one of HTTP/1",
                "write `type: h2`",
            );
            return None;
        }
        let versions = [("HTTP/1.0", "HTTP/1.0"), ("HTTP/1.1", "HTTP/1.1")];
        d.choice(&e.value, "`version`", &versions, &["HTTP/3"])
            .map(|text| (text, e))
    });
    let host = take(d, "host").and_then(|e| {
        let host = d.line(&e.value, "`host`")?;
        let host = header_value(d, &e.value, "`host`", host)?;
        check_text::said(d, e.value.span, &host)
    });
    let headers = take(d, "headers").map_or_else(Vec::new, |e| said(d, e));
    let body = body(d, take);
    let computed = take(d, "path_template");
    if let (Some(_), Some(e)) = (&path, computed) {
        let message = "`path` stands beside `path_template`";
        d.error(e.key_span, message, "keep one of them");
    }
    let computed = computed.and_then(|e| check_text::text(d, &e.value, "`path_template`"));
    let named = |name: &str| {
        headers
            .iter()
            .any(|(header, _)| header.eq_ignore_ascii_case(name))
    };
    if let Some(("HTTP/1.1", e)) = version
        && host.is_none()
        && !named("host")
    {
        d.report(
            diagnostic::Diagnostic::warning(
                e.value.span,
                "HTTP/1.1 without `host`: most servers answer 400",
            )
            .mend("add `host: www.example.org`, or use HTTP/1.0"),
        );
    }
    let version = match kind {
        Some(Type::H2) => HTTP_2,
        _ => version.map_or("HTTP/1.0", |(text, _)| text),
    };
    Request {
        method: method.unwrap_or_else(|| "GET".to_owned()),
        path: computed.unwrap_or_else(|| path.unwrap_or_else(|| "/".to_owned()).into()),
        version: version.to_owned(),
        host,
        headers,
        body,
    }
}

/// `body`, as it is, or `body_template`, with what comes of its expressions.
fn body<'a>(
    d: &mut Decoder<'_>,
    take: &mut impl FnMut(&mut Decoder<'_>, &'static str) -> Option<&'a Entry>,
) -> Option<CheckText> {
    match (take(d, "body"), take(d, "body_template")) {
        (Some(_), Some(e)) => {
            let message = "`body` stands beside `body_template`";
            d.error(e.key_span, message, "keep one of them");
            None
        }
        (Some(e), None) => d.text(&e.value, "`body`").map(CheckText::from),
        (None, Some(e)) => check_text::text(d, &e.value, "`body_template`"),
        (None, None) => None,
    }
}

/// The fields of a request, whose values may have expressions in them.
fn said(d: &mut Decoder<'_>, entry: &Entry) -> Vec<(String, CheckText)> {
    let found = headers(d, entry).into_iter();
    let found =
        found.map(|(name, value)| Some((name, check_text::said(d, entry.key_span, &value)?)));
    found.collect::<Vec<_>>().into_iter().flatten().collect()
}
