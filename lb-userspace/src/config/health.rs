//! `health_check:`

use std::{net::IpAddr, time::Duration};

use super::{
    check_text,
    cookie::is_token,
    decode::Decoder,
    expect, introduction,
    model::{CheckKind, CheckSpread, HealthCheck, Introduced, Setting},
    source::Spanned,
    table::Table,
    tls,
    tree::{Entry, Kind, Node},
    units::Problem,
};
use crate::tls::ServerOptions;

mod request;
mod when;

use request::request;
use when::{States, When, states, when};

/// Shorter intervals load servers more than they tell.
const SHORTEST: Duration = Duration::from_millis(10);

/// `type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Tcp,
    Http,
    Https,
    H2,
    Grpc,
    Ssl,
    Agent,
    None,
}

/// Their names.
const TYPES: &[(&str, Type)] = &[
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("https", Type::Https),
    ("h2", Type::H2),
    ("grpc", Type::Grpc),
    ("ssl", Type::Ssl),
    ("agent", Type::Agent),
    ("none", Type::None),
];

impl Type {
    /// Whether it asks for a path and looks at the answer.
    fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::H2)
    }

    /// Whether the key belongs to it, of those that not every check has.
    fn takes(self, key: &str) -> bool {
        match key {
            "method" | "path" | "path_template" | "body" | "body_template" | "disable_on_404"
            | "send_state" => self.is_http(),
            "version" => matches!(self, Self::Http | Self::Https),
            "host" | "headers" => self.is_http() || self == Self::Grpc,
            "service" => self == Self::Grpc,
            "tls" => self.is_http() || matches!(self, Self::Grpc | Self::Tcp),
            "send_proxy" => !matches!(self, Self::Agent | Self::None),
            "expect" | "set_var" | "unset_var" => self.is_http() || self == Self::Tcp,
            "send" => matches!(self, Self::Tcp | Self::Agent),
            "steps" => self == Self::Tcp,
            _ => true,
        }
    }
}

/// How often an agent is asked: HAProxy's default.
const AGENT_INTERVAL: Duration = Duration::from_secs(2);

/// `health_check` of a server: its own keys, and those of its backend's `check` where it is silent, as far as they belong
/// to the type it has then.
pub(super) fn of_server(
    d: &mut Decoder<'_>,
    own: &Entry,
    check: Option<&Entry>,
) -> Option<Spanned<Option<HealthCheck>>> {
    let (Kind::Mapping(keys), Some(Kind::Mapping(theirs))) =
        (&own.value.kind, check.map(|check| &check.value.kind))
    else {
        return decode(d, own);
    };
    let written = |key: &str| keys.iter().find(|e| e.key == key);
    let kind = written("type").and_then(|e| match &e.value.kind {
        Kind::Scalar(scalar) => TYPES.iter().find(|(name, _)| *name == scalar.text),
        _ => None,
    });
    let fits = |key: &str| kind.is_none_or(|(_, kind)| kind.takes(key));
    let mut all = keys.clone();
    let more = theirs.iter();
    all.extend(
        more.filter(|e| written(&e.key).is_none() && fits(&e.key))
            .cloned(),
    );
    let merged = Entry {
        value: Node::new(own.value.span, Kind::Mapping(all)),
        ..own.clone()
    };
    let before = d.diagnostics.len();
    let found = decode(d, &merged);
    // What is wrong with the backend's keys has been said.
    let said = d.diagnostics.split_off(before);
    for one in said {
        if !d
            .diagnostics
            .iter()
            .any(|other| (other.span, &other.message) == (one.span, &one.message))
        {
            d.report(one);
        }
    }
    found
}

/// `agent_check`: an agent that is asked beside the check.
pub(super) fn agent(d: &mut Decoder<'_>, entry: &Entry) -> Option<HealthCheck> {
    let mut table = d.table(&entry.value, entry.key_span, "`agent_check`")?;
    let port = match table.take("port") {
        Some(e) => d.number(&e.value, "`port`", 1..=u16::MAX),
        None => {
            d.missing(&table, "port", "write `port: PORT`, the agent's");
            None
        }
    };
    let address = table
        .take("address")
        .and_then(|e| d.parsed(&e.value, "`address`", ip));
    let interval = table
        .take("interval")
        .and_then(|e| d.duration(&e.value, "`interval`", SHORTEST));
    let timeout = table
        .take("timeout")
        .and_then(|e| d.duration(&e.value, "`timeout`", Duration::from_millis(1)));
    let send = table
        .take("send")
        .and_then(|e| expect::bytes(d, &e.value, "`send`", "write a text, or `{ hex: 0d0a }`"));
    table.finish(d, &[], &[("inter", "it is `interval`")]);
    Some(HealthCheck {
        kind: CheckKind::Agent {
            send: send.unwrap_or_default(),
        },
        interval: interval.unwrap_or(AGENT_INTERVAL),
        fast_interval: None,
        down_interval: None,
        rise: 1,
        fall: 1,
        timeout,
        address: address.map(|address| address.value),
        port: Some(port?),
        tls: None,
        bare: false,
        introduction: Introduced::default(),
        observe: None,
        disable_on_404: false,
        send_state: false,
        variables: Vec::new(),
        spread: CheckSpread::default(),
        then: Vec::new(),
    })
}

/// Reads `health_check:`; the inner `None` is `type: none`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Option<HealthCheck>>> {
    let mend = match &entry.value.kind {
        Kind::Scalar(text) if text.text.starts_with('/') => {
            format!(
                "write `health_check: {{ type: http, path: {} }}`",
                text.text
            )
        }
        Kind::Scalar(text) if TYPES.iter().any(|(name, _)| *name == text.text) => {
            format!("write `health_check: {{ type: {} }}`", text.text)
        }
        Kind::Scalar(text) if matches!(text.text.as_str(), "false" | "no" | "off") => {
            "write `health_check: { type: none }`".to_owned()
        }
        _ => "write `health_check: { type: tcp }`, or `{ type: http, path: /… }`".to_owned(),
    };
    let mut table = d.table_or(&entry.value, entry.key_span, "`health_check`", mend)?;
    let kind = kind(d, &mut table);
    let when = when(d, &mut table);
    let then = then(d, table.take("then"));
    let asked = asked(d, &mut table, kind);
    let states = states(d, &mut table, |key| {
        // Any of its connections may be the one that asks by HTTP.
        let mut kinds = then.iter().map(|(kind, _)| *kind);
        kind.is_none_or(|kind| kind.takes(key)) || kinds.any(|kind| kind.takes(key))
    });
    table.finish(d, &[], WORDS);
    if kind? == Type::None {
        return Some(Spanned::new(None, entry.key_span));
    }
    let check = HealthCheck {
        then: then
            .into_iter()
            .map(|(_, asked)| asked.at(&when, states, Vec::new()))
            .collect(),
        ..asked?.at(&when, states, Vec::new())
    };
    Some(Spanned::new(Some(check), entry.key_span))
}

fn kind(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Type> {
    match table.take("type") {
        Some(e) => d.choice(&e.value, "`type`", TYPES, &[]),
        None => {
            d.missing(
                table,
                "type",
                "write `type: tcp`, `type: http` or `type: none`",
            );
            None
        }
    }
}

/// What is asked over one connection.
struct Asked {
    kind: CheckKind,
    address: Option<IpAddr>,
    port: Option<u16>,
    tls: Option<ServerOptions>,
    bare: bool,
    introduction: Introduced,
    variables: Vec<Setting>,
}

impl Asked {
    fn at(self, when: &When, states: States, then: Vec<HealthCheck>) -> HealthCheck {
        HealthCheck {
            kind: self.kind,
            interval: when.interval,
            fast_interval: when.fast_interval,
            down_interval: when.down_interval,
            rise: when.rise,
            fall: when.fall,
            timeout: when.timeout,
            address: self.address,
            port: self.port,
            tls: self.tls,
            bare: self.bare,
            introduction: self.introduction,
            observe: when.observe,
            disable_on_404: states.disable_on_404,
            send_state: states.send_state,
            variables: self.variables,
            spread: CheckSpread::default(),
            then,
        }
    }
}

fn asked(d: &mut Decoder<'_>, table: &mut Table<'_>, kind: Option<Type>) -> Option<Asked> {
    let port = table
        .take("port")
        .and_then(|e| d.number(&e.value, "`port`", 1..=u16::MAX));
    let address = table
        .take("address")
        .and_then(|e| d.parsed(&e.value, "`address`", ip));
    // What does not belong to the check is told of and not looked at.
    let mut take = |d: &mut Decoder<'_>, key: &'static str| {
        let e = table.take(key)?;
        if kind.is_none_or(|kind| kind.takes(key)) {
            return Some(e);
        }
        no_effect(d, e);
        None
    };
    let tls = take(d, "tls").and_then(|e| tls::server(d, e));
    let send_proxy = take(d, "send_proxy").and_then(|e| introduction::of_check(d, e));
    let service = take(d, "service").and_then(|e| {
        let name = d.line(&e.value, "`service`")?;
        header_value(d, &e.value, "`service`", name)
    });
    let (set, unset) = (take(d, "set_var"), take(d, "unset_var"));
    let variables = check_text::variables(d, set, unset);
    let request = request(d, &mut take, kind);
    let (send, expect, steps) = (take(d, "send"), take(d, "expect"), take(d, "steps"));
    let script = match kind {
        Some(Type::Tcp) => expect::script(d, send, expect, steps),
        _ => Vec::new(),
    };
    let send = match kind {
        Some(Type::Agent) => send
            .and_then(|e| expect::bytes(d, &e.value, "`send`", "write a text, or `{ hex: 0d0a }`")),
        _ => None,
    };
    let expected = expect.filter(|_| kind.is_none_or(Type::is_http));
    let expected = expected
        .and_then(|e| expect::http(d, e))
        .unwrap_or_default();
    let kind = kind?;
    let kind = match kind {
        // What it says is not looked at.
        Type::None => CheckKind::Tcp,
        Type::Tcp if script.is_empty() => CheckKind::Tcp,
        Type::Tcp => CheckKind::Script(script),
        Type::Ssl => CheckKind::Ssl,
        Type::Agent => CheckKind::Agent {
            send: send.unwrap_or_default(),
        },
        Type::Grpc => CheckKind::Grpc {
            service: service.unwrap_or_default(),
            host: request.host,
            headers: request.headers,
        },
        Type::Http | Type::Https | Type::H2 => CheckKind::Http {
            method: request.method,
            path: request.path,
            version: request.version,
            secure: kind == Type::Https,
            host: request.host,
            headers: request.headers,
            body: request.body,
            status: match expected.status {
                Some(status) => status,
                // HAProxy: "responses 2xx and 3xx are valid", unless something else is expected.
                None if expected.content.is_empty() => vec![200..=399],
                None => Vec::new(),
            },
            content: expected.content,
            terms: expected.terms,
        },
    };
    let bare = tls.as_ref().is_some_and(|tls| tls.value.is_none());
    let tls = tls.and_then(|tls| {
        let Some(options) = tls.value else {
            if port.is_some() || address.is_some() {
                let message = "`tls: false` has no effect beside a `port` or an `address`: there is no TLS there";
                d.error(tls.span, message, "remove it");
            } else if let CheckKind::Http { secure: true, .. } = kind {
                let mend = "write `type: http`, or remove it";
                d.error(
                    tls.span,
                    "`type: https` and `tls: false` exclude one another",
                    mend,
                );
            }
            return None;
        };
        let other = options
            .alpn
            .iter()
            .find(|name| !tls::HTTP.contains(&name.as_str()));
        if let Some(name) = other.filter(|_| !matches!(kind, CheckKind::Tcp | CheckKind::Script(_)))
        {
            let message = format!("this check cannot speak `{name}`");
            d.error(
                tls.span,
                message,
                "write `alpn: [h2, http/1.1]`, or leave `alpn` out",
            );
        }
        Some(options)
    });
    Some(Asked {
        kind,
        address: address.map(|address| address.value),
        port,
        tls,
        bare,
        introduction: send_proxy.unwrap_or_default(),
        variables,
    })
}

/// `then`: what comes after, each with the keys of what is asked and none of when.
fn then(d: &mut Decoder<'_>, entry: Option<&Entry>) -> Vec<(Type, Asked)> {
    let Some(entry) = entry else {
        return Vec::new();
    };
    // What the check takes beside those.
    let nothing = Node::new(entry.value.span, Kind::Mapping(Vec::new()));
    let Some(mut of_all) = d.table(&nothing, entry.key_span, "`then`") else {
        return Vec::new();
    };
    when(d, &mut of_all);
    states(d, &mut of_all, |_| true);
    of_all.take("then");
    let mut all = Vec::new();
    for node in d.one_or_more(&entry.value) {
        let Some(mut table) = d.table(node, node.span, "a check of `then`") else {
            continue;
        };
        let kind = kind(d, &mut table);
        let asked = asked(d, &mut table, kind);
        let beside = "write it beside `then`: it holds for all of them";
        let hints: Vec<_> = of_all.keys().iter().map(|key| (*key, beside)).collect();
        table.finish(d, &[], &[hints.as_slice(), WORDS].concat());
        match (kind, asked) {
            (Some(Type::None), _) => {
                let message = "`type: none` below `then` asks nothing";
                d.error(node.span, message, "remove it");
            }
            (Some(kind), Some(asked)) => all.push((kind, asked)),
            _ => {}
        }
    }
    all
}

/// What is written here for words of others.
const WORDS: &[(&str, &str)] = &[
    (
        "slowstart",
        "it is a server's, or `default_server: { slowstart: … }`",
    ),
    ("uri", "it is `path`"),
    ("inter", "it is `interval`"),
    ("httpchk", "it is `type: http`"),
    ("check_ssl", "it is `type: https`, or `tls`"),
    ("sni", "it is `tls: { sni: NAME }`"),
];

fn no_effect(d: &mut Decoder<'_>, e: &Entry) {
    d.error(
        e.key_span,
        format!("`{}` has no effect in this check", e.key),
        match e.key.as_str() {
            "send" | "steps" => "write `type: tcp`, or remove it",
            "service" => "write `type: grpc`, or remove it",
            "tls" | "send_proxy" => "remove it",
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
        } else if ["content-length", "transfer-encoding"]
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
