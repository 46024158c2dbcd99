//! `health_check:`

use std::{ops::RangeInclusive, time::Duration};

use super::{
    cookie::is_token,
    decode::Decoder,
    model::{CheckKind, HealthCheck},
    source::Spanned,
    table::Table,
    tree::{Entry, Kind, Node},
    units::Problem,
};

/// HAProxy's default.
const INTERVAL: Duration = Duration::from_secs(2);
/// HAProxy's default.
const RISE: u32 = 2;
/// HAProxy's default.
const FALL: u32 = 3;
/// Shorter intervals load servers more than they tell.
const SHORTEST: Duration = Duration::from_millis(10);

/// `type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Tcp,
    Http,
    None,
}

/// Reads `health_check:`; the inner `None` is `type: none`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Option<HealthCheck>>> {
    let mut table = d.table(&entry.value, entry.key_span, "`health_check`")?;
    let kind = match table.take("type") {
        Some(e) => d.choice(
            &e.value,
            "`type`",
            &[
                ("tcp", Type::Tcp),
                ("http", Type::Http),
                ("none", Type::None),
            ],
            &["https", "grpc", "ssl", "agent"],
        ),
        None => {
            d.missing(
                &table,
                "type",
                "write `type: tcp`, `type: http` or `type: none`",
            );
            None
        }
    };
    let interval = table
        .take("interval")
        .and_then(|e| d.duration(&e.value, "`interval`", SHORTEST));
    let rise = table
        .take("rise")
        .and_then(|e| d.number(&e.value, "`rise`", 1..=1000));
    let fall = table
        .take("fall")
        .and_then(|e| d.number(&e.value, "`fall`", 1..=1000));
    let timeout = table
        .take("timeout")
        .and_then(|e| d.duration(&e.value, "`timeout`", Duration::from_millis(1)));
    let port = table
        .take("port")
        .and_then(|e| d.number(&e.value, "`port`", 1..=u16::MAX));
    let request = request(d, &mut table, kind);
    table.finish(
        d,
        &[
            "fast_interval",
            "down_interval",
            "address",
            "send",
            "send_proxy",
            "observe",
            "error_limit",
            "on_error",
        ],
        &[
            (
                "slowstart",
                "it is a server's, or `default_server: { slowstart: … }`",
            ),
            ("uri", "it is `path`"),
            ("inter", "it is `interval`"),
            ("httpchk", "it is `type: http`"),
        ],
    );
    let kind = match kind? {
        Type::None => return Some(Spanned::new(None, entry.key_span)),
        Type::Tcp => CheckKind::Tcp,
        Type::Http => request,
    };
    let check = HealthCheck {
        kind,
        interval: interval.unwrap_or(INTERVAL),
        rise: rise.unwrap_or(RISE),
        fall: fall.unwrap_or(FALL),
        timeout,
        port,
    };
    Some(Spanned::new(Some(check), entry.key_span))
}

/// The keys of `type: http`.
fn request(d: &mut Decoder<'_>, table: &mut Table<'_>, kind: Option<Type>) -> CheckKind {
    let mut take = |d: &mut Decoder<'_>, key: &'static str| {
        let e = table.take(key)?;
        match kind {
            Some(Type::Http) | None => Some(e),
            Some(_) => {
                d.error(
                    e.key_span,
                    format!("`{key}` has no effect in this check"),
                    "write `type: http`, or remove it",
                );
                None
            }
        }
    };
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
        let versions = [("HTTP/1.0", "HTTP/1.0"), ("HTTP/1.1", "HTTP/1.1")];
        d.choice(
            &e.value,
            "`version`",
            &versions,
            &["HTTP/2", "HTTP/2.0", "HTTP/3"],
        )
        .map(|text| (text, e))
    });
    let host = take(d, "host").and_then(|e| {
        let host = d.line(&e.value, "`host`")?;
        header_value(d, &e.value, "`host`", host)
    });
    let headers = take(d, "headers").map_or_else(Vec::new, |e| headers(d, e));
    let status = take(d, "expect").and_then(|e| expect(d, e));
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
            super::diagnostic::Diagnostic::warning(
                e.value.span,
                "HTTP/1.1 without `host`: most servers answer 400",
            )
            .mend("add `host: www.example.org`, or use HTTP/1.0"),
        );
    }
    CheckKind::Http {
        method: method.unwrap_or_else(|| "GET".to_owned()),
        path: path.unwrap_or_else(|| "/".to_owned()),
        version: version.map_or("HTTP/1.0", |(text, _)| text).to_owned(),
        host,
        headers,
        // HAProxy: "responses 2xx and 3xx are valid".
        status: status.unwrap_or_else(|| vec![200..=399]),
    }
}

fn headers(d: &mut Decoder<'_>, entry: &Entry) -> Vec<(String, String)> {
    let Some(table) = d.table(&entry.value, entry.key_span, "`headers`") else {
        return Vec::new();
    };
    let mut found = Vec::<(String, String)>::new();
    for e in table.entries() {
        if !is_token(&e.key) {
            d.error(
                e.key_span,
                format!("`{}` cannot be the name of a header", e.key),
                "write a name such as `X-Check`",
            );
        } else if ["content-length", "transfer-encoding", "connection"]
            .contains(&e.key.to_ascii_lowercase().as_str())
        {
            d.error(
                e.key_span,
                format!("`{}` is set by the check itself", e.key),
                "remove it",
            );
        } else if found
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(&e.key))
        {
            d.error(
                e.key_span,
                format!("the header `{}` is given twice", e.key),
                "keep one",
            );
        } else if let Some(value) = d.text(&e.value, &format!("`{}`", e.key))
            && let Some(value) = header_value(d, &e.value, &format!("`{}`", e.key), value)
        {
            found.push((e.key.clone(), value));
        }
    }
    found
}

/// Visible characters and blanks (RFC 9110 §5.5).
fn header_value(d: &mut Decoder<'_>, node: &Node, what: &str, value: String) -> Option<String> {
    if value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Some(value);
    }
    d.error(
        node.span,
        format!("{what} has characters that no header can carry"),
        "write printable ASCII",
    );
    None
}

/// `expect: {status: …}`
fn expect(d: &mut Decoder<'_>, entry: &Entry) -> Option<Vec<RangeInclusive<u16>>> {
    let mut table = d.table(&entry.value, entry.key_span, "`expect`")?;
    let status = match table.take("status") {
        Some(e) => {
            let nodes = match &e.value.kind {
                Kind::Sequence(_) => d.list(&e.value, "`status`"),
                _ => std::slice::from_ref(&e.value),
            };
            let read: Vec<_> = nodes
                .iter()
                .map(|node| d.parsed(node, "`status`", statuses))
                .collect();
            if nodes.is_empty() {
                d.error(
                    e.value.span,
                    "`status` is an empty list, which no answer passes",
                    "write `\"2xx,3xx\"`",
                );
            }
            let read: Option<Vec<_>> = read.into_iter().collect();
            read.map(|lists| lists.into_iter().flat_map(|list| list.value).collect())
        }
        None => {
            if !table
                .entries()
                .iter()
                .any(|e| matches!(e.key.as_str(), "body" | "regex"))
            {
                d.missing(&table, "status", "write `expect: { status: \"2xx,3xx\" }`");
            }
            None
        }
    };
    table.finish(d, &["body", "regex"], &[]);
    status
}

/// `2xx,3xx`, `200`, `200-204`
fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, Problem> {
    let bad = |part: &str| {
        Problem::new(
            format!("`{part}` is no status"),
            "write `200`, `2xx` or `200-399`, divided by commas",
        )
    };
    let number = |part: &str| match part.parse::<u16>() {
        Ok(status @ 100..=599) if part.len() == 3 => Some(status),
        _ => None,
    };
    text.split(',')
        .map(str::trim)
        .map(|part| {
            if let Some(class) = part.strip_suffix("xx").or_else(|| part.strip_suffix("XX")) {
                let class = class
                    .parse::<u16>()
                    .ok()
                    .filter(|class| (1..=5).contains(class));
                return class
                    .map(|class| class * 100..=class * 100 + 99)
                    .ok_or_else(|| bad(part));
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first.trim()), number(last.trim())) {
                (Some(first), Some(last)) if first <= last => Ok(first..=last),
                _ => Err(bad(part)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_statuses() {
        assert_eq!(statuses("2xx,3xx"), Ok(vec![200..=299, 300..=399]));
        assert_eq!(statuses("200, 204-206"), Ok(vec![200..=200, 204..=206]));
        for bad in [
            "", "2x", "6xx", "99", "0200", "299-200", "200,,201", "+20", "xx",
        ] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }
}
