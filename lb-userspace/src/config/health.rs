//! `health_check:`

use std::{net::IpAddr, time::Duration};

use super::{
    cookie::is_token,
    decode::Decoder,
    expect,
    model::{CheckKind, HealthCheck},
    observe,
    source::Spanned,
    table::Table,
    tree::{Entry, Node},
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
    Ssl,
    Agent,
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
                ("ssl", Type::Ssl),
                ("agent", Type::Agent),
                ("none", Type::None),
            ],
            &["https", "grpc"],
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
    let other = |d: &mut Decoder<'_>, e: Option<&Entry>| {
        let e = e?;
        d.duration(&e.value, &format!("`{}`", e.key), SHORTEST)
    };
    let fast_interval = other(d, table.take("fast_interval"));
    let down_interval = other(d, table.take("down_interval"));
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
    let address = table
        .take("address")
        .and_then(|e| d.parsed(&e.value, "`address`", ip));
    let observe = observe::decode(d, &mut table);
    let script = match kind {
        Some(Type::Tcp) => expect::script(d, &mut table),
        _ => Vec::new(),
    };
    let send = match kind {
        Some(Type::Agent) => table
            .take("send")
            .and_then(|e| expect::bytes(d, &e.value, "`send`")),
        _ => None,
    };
    let request = request(d, &mut table, kind);
    // What was not taken by a check that it belongs to.
    if kind.is_some() {
        for e in [
            table.take("send"),
            table.take("expect"),
            table.take("steps"),
        ] {
            let theirs = matches!(
                (kind, e.map(|e| e.key.as_str())),
                (Some(Type::Tcp), _)
                    | (Some(Type::Agent), Some("send"))
                    | (Some(Type::Http), Some("expect"))
            );
            if let Some(e) = e.filter(|_| !theirs) {
                no_effect(d, e);
            }
        }
    }
    table.finish(
        d,
        &["send_proxy"],
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
        Type::Tcp if script.is_empty() => CheckKind::Tcp,
        Type::Tcp => CheckKind::Script(script),
        Type::Ssl => CheckKind::Ssl,
        Type::Agent => CheckKind::Agent {
            send: send.unwrap_or_default(),
        },
        Type::Http => request,
    };
    let check = HealthCheck {
        kind,
        interval: interval.unwrap_or(INTERVAL),
        fast_interval,
        down_interval,
        rise: rise.unwrap_or(RISE),
        fall: fall.unwrap_or(FALL),
        timeout,
        address: address.map(|address| address.value),
        port,
        observe,
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
                no_effect(d, e);
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
    // Others have an `expect` of their own.
    let expected = match kind {
        Some(Type::Http) | None => take(d, "expect").and_then(|e| expect::http(d, e)),
        Some(_) => None,
    };
    let expected = expected.unwrap_or_default();
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
        status: match expected.status {
            Some(status) => status,
            // HAProxy: "responses 2xx and 3xx are valid", unless something else is expected.
            None if expected.content.is_empty() => vec![200..=399],
            None => Vec::new(),
        },
        content: expected.content,
    }
}

fn no_effect(d: &mut Decoder<'_>, e: &Entry) {
    d.error(
        e.key_span,
        format!("`{}` has no effect in this check", e.key),
        match e.key.as_str() {
            "send" | "steps" => "write `type: tcp`, or remove it",
            _ => "write `type: http`, or remove it",
        },
    );
}

/// An address without a port.
fn ip(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            format!("`{text}` is no IP address"),
            "write one such as `192.0.2.1`; the port is `port`",
        )
    })
}

pub(super) fn headers(d: &mut Decoder<'_>, entry: &Entry) -> Vec<(String, String)> {
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
