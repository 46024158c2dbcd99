//! `option httpchk` and its siblings, `http-check`, `tcp-check`: `health_check:`.

use super::{
    lines::Line,
    rules::literal,
    says::Says,
    server::Server,
    value::{Map, Value, What},
};
use crate::config::source::Span;

mod connections;
mod http;
mod link;
mod protocols;
mod tcp;
mod terms;

use link::Link;

/// Options that say how servers are checked; a later one takes the place of an earlier one.
pub(super) const OPTIONS: &[&str] = &[
    "httpchk",
    "tcp-check",
    "ssl-hello-chk",
    "redis-check",
    "smtpchk",
    "mysql-check",
    "pgsql-check",
    "ldap-check",
    "spop-check",
    "external-check",
];

/// How the servers of a proxy are checked.
#[derive(Debug, Default, Clone)]
pub(super) struct Check {
    /// What `option …` asks for.
    way: Way,
    /// Keys of `health_check:` that `option …` says, its type among them.
    keys: Map,
    /// Steps that `option …` stands for.
    steps: Vec<Value>,
    /// What it tells and learns of a server's state, whatever is asked.
    states: Map,
    /// What `http-check` lines say, and `tcp-check` lines: without their option they have no effect.
    http: Rules,
    tcp: Rules,
    /// All of it is from `defaults`: the section's own first line about checks takes the place of what is there.
    inherited: bool,
    /// Where the section has lines of its own and no request among them, while `defaults` has one.
    unasked: Option<Span>,
    span: Option<Span>,
}

/// What is sent and expected.
#[derive(Debug, Default, Clone)]
struct Rules {
    keys: Map,
    steps: Vec<Value>,
    /// A `connect` has been read.
    connects: bool,
    /// What it says of what comes before the check's own bytes.
    link: Link,
    /// Variables that are set after it was said what is expected: the next connection is the first to know them.
    later: Map,
    /// The first line.
    span: Option<Span>,
    /// Further connections.
    then: Vec<Rules>,
}

/// What kind of check `option …` asks for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To connect.
    #[default]
    Connect,
    /// `option httpchk`
    Http,
    /// `option tcp-check`
    Tcp,
    /// Any other, which has no lines of its own.
    Other,
}

impl Check {
    /// The section's own lines follow.
    pub(super) fn own_lines_follow(&mut self) {
        self.inherited = true;
    }

    /// The section's first line about checks: what `defaults` say of requests and answers is not for it any more.
    fn begin_own(&mut self, line: &Line) {
        if !std::mem::take(&mut self.inherited) {
            return;
        }
        (self.http, self.tcp) = (Rules::default(), Rules::default());
        // So is the request of its `option httpchk`, unless one comes.
        self.unasked =
            (line.keyword() == "http-check" && self.way == Way::Http).then(|| line.span());
    }

    /// Takes back what an option before this one stands for.
    fn ask(&mut self, way: Way, keys: Map, steps: Vec<Value>) {
        (self.way, self.keys, self.steps) = (way, keys, steps);
    }

    /// `option httpchk …`; whether it is one of them.
    pub(super) fn option(&mut self, line: &Line, says: &mut Says) -> bool {
        let span = line.span();
        if !OPTIONS.contains(&line.text(1)) {
            return false;
        }
        self.begin_own(line);
        self.unasked = None;
        let of_type = |name: &str| {
            let mut keys = Map::default();
            keys.set("type", Value::plain(name, line.span_of(1)));
            keys
        };
        match line.text(1) {
            "httpchk" => {
                let mut keys = of_type("http");
                let words: Vec<_> = line.words.iter().skip(2).collect();
                let (method, uri, rest) = match words.as_slice() {
                    [] => (None, None, &[][..]),
                    [uri] => (None, Some(*uri), &[][..]),
                    [method, uri, rest @ ..] => (Some(*method), Some(*uri), rest),
                };
                let method = match method {
                    Some(method) => Value::plain(&method.text, method.span),
                    // What HAProxy asks with unless it is told.
                    None => Value::plain("OPTIONS", span),
                };
                keys.set("method", method);
                if let Some(uri) = uri {
                    keys.set("path", Value::text(uri.text.as_str(), uri.span));
                }
                if let Some(version) = rest.first() {
                    // Fields used to be smuggled in behind the version.
                    let mut parts = version.text.split("\r\n");
                    keys.set(
                        "version",
                        Value::plain(parts.next().unwrap_or_default(), version.span),
                    );
                    for field in parts.filter(|field| !field.is_empty()) {
                        let (name, value) = field.split_once(':').unwrap_or((field, ""));
                        self::field(
                            &mut keys,
                            name.trim(),
                            Value::text(literal(value.trim()), version.span),
                            says,
                        );
                    }
                }
                self.ask(Way::Http, keys, Vec::new());
            }
            "tcp-check" => self.ask(Way::Tcp, of_type("tcp"), Vec::new()),
            "ssl-hello-chk" => self.ask(Way::Other, of_type("ssl"), Vec::new()),
            "redis-check" => {
                let steps = vec![
                    step("send", "*1\r\n$4\r\nPING\r\n", span),
                    step("expect", "+PONG\r\n", span),
                ];
                self.ask(Way::Other, of_type("tcp"), steps);
            }
            "smtpchk" => {
                let hello = match (line.text(2), line.text(3)) {
                    ("", _) => "HELO localhost\r\n".to_owned(),
                    (verb, domain) => format!("{verb} {domain}\r\n"),
                };
                let steps = vec![
                    step("expect", "220 ", span),
                    step("send", &hello, span),
                    step("expect", "250", span),
                    step("send", "QUIT\r\n", span),
                    step("expect", "221", span),
                ];
                self.ask(Way::Other, of_type("tcp"), steps);
            }
            "mysql-check" | "pgsql-check" | "ldap-check" => {
                let user = match (line.text(2), line.text(3)) {
                    ("user", "") => {
                        let message = format!("`option {}` without a user's name", line.text(1));
                        says.error(line.span_of(2), message, "write `user NAME`");
                        return true;
                    }
                    ("user", user) => Some(user),
                    _ => None,
                };
                if line.text(4) == "pre-41" {
                    says.unsupported(line.span_of(4), "mysql-check … pre-41");
                }
                let steps = match line.text(1) {
                    "mysql-check" => protocols::mysql(user, span),
                    "pgsql-check" => protocols::postgresql(user.unwrap_or_default(), span),
                    _ => protocols::ldap(span),
                };
                self.ask(Way::Other, of_type("tcp"), steps);
            }
            // Of the options that are known these are all.
            _ => says.unsupported(line.span_of(1), &format!("option {}", line.text(1))),
        }
        self.span = Some(span);
        true
    }

    /// `http-check …`
    pub(super) fn http(&mut self, line: &Line, says: &mut Says) {
        let span = line.span();
        if let state @ ("disable-on-404" | "send-state") = line.text(1) {
            let key = state.replace('-', "_");
            self.states.set(&key, Value::plain("true", span));
            return;
        }
        self.begin_own(line);
        if line.text(1) == "send" {
            self.unasked = None;
        }
        self.http.span.get_or_insert(span);
        self.http.http(line, says);
    }

    /// `tcp-check …`
    pub(super) fn tcp(&mut self, line: &Line, says: &mut Says) {
        self.begin_own(line);
        self.tcp.span.get_or_insert(line.span());
        self.tcp.tcp(line, says);
    }

    /// `health_check:` of a backend: what its servers have in common; `None` if none is checked.
    pub(super) fn value(&self, servers: &[Server]) -> Option<Value> {
        let mut checked = servers
            .iter()
            .filter(|server| server.checked.is_some_and(|(on, _)| on));
        let first = checked.next()?;
        let span = self.span.or(first.checked.map(|(_, span)| span))?;
        let mut common = self.whole(first, span);
        for server in checked {
            let other = self.whole(server, span);
            common.0.retain(|key| {
                // Each is of some type; whose is another says so.
                key.name == "type" || is_in(&other, &key.name, &key.value)
            });
        }
        Some(Value::map(common, span))
    }

    /// `health_check:` of a server that is not checked as its backend's `common` one says.
    pub(super) fn of_server(&self, server: &Server, common: Option<&Value>) -> Option<Value> {
        let (true, span) = server.checked? else {
            return None;
        };
        let What::Map(common) = &common?.what else {
            return None;
        };
        let mut own = self.whole(server, span);
        own.0.retain(|key| !is_in(common, &key.name, &key.value));
        (!own.is_empty()).then(|| Value::map(own, span))
    }

    /// What is said of checks whoever is checked.
    fn said(&self, span: Span) -> Map {
        let mut keys = self.keys.clone();
        let rules = match self.way {
            Way::Http => Some(&self.http),
            Way::Tcp => Some(&self.tcp),
            Way::Connect | Way::Other => None,
        };
        let own = rules.into_iter().flat_map(|rules| &rules.keys.0);
        for key in own {
            keys.set_at(&key.name, key.span, key.value.clone());
        }
        let steps = rules.map_or(&self.steps, |rules| &rules.steps);
        if !steps.is_empty() {
            keys.set("steps", Value::list(steps.clone(), span));
        }
        if self.way == Way::Http {
            for key in &self.states.0 {
                keys.set_at(&key.name, key.span, key.value.clone());
            }
        }
        for further in rules.into_iter().flat_map(|rules| &rules.then) {
            keys.push("then", further.further(self.way, span));
        }
        keys
    }

    /// What HAProxy does otherwise, and lines that have no effect, as in HAProxy, since their option is not there.
    pub(super) fn tell_lost(&self, says: &mut Says) {
        if let Some(span) = self.unasked {
            says.warn(
                span,
                "HAProxy sends no request here, since `http-check` lines take the place of the `option httpchk` of `defaults` too; \
                 lb sends that one: repeat `option httpchk` here to have both do so",
            );
        }
        if let Some(key) = self.http.later.0.first() {
            says.warn(
                key.span,
                "what is set after the last `http-check expect` is left out: nothing is asked after it",
            );
        }
        for (rules, way, what, option) in [
            (&self.http, Way::Http, "http-check", "httpchk"),
            (&self.tcp, Way::Tcp, "tcp-check", "tcp-check"),
        ] {
            if let Some(span) = rules.span.filter(|_| self.way != way && !self.inherited) {
                let message =
                    format!("`{what}` has no effect without `option {option}`, as in HAProxy");
                says.warn(span, message);
            }
        }
    }

    /// All keys of a server's check.
    fn whole(&self, server: &Server, span: Span) -> Map {
        let mut keys = self.said(span);
        if keys.get("type").is_none() {
            keys.set("type", Value::plain("tcp", span));
        }
        for key in &server.check.0 {
            // Where a `connect` goes it has the last word on.
            if matches!(key.name.as_str(), "port" | "address") && keys.get(&key.name).is_some() {
                continue;
            }
            keys.set_at(&key.name, key.span, key.value.clone());
        }
        let rules = match self.way {
            Way::Http => Some(&self.http),
            Way::Tcp => Some(&self.tcp),
            Way::Connect | Way::Other => None,
        };
        let link = rules.map_or_else(Link::default, |rules| rules.link.clone());
        link.apply(&mut keys, server, span);
        let further = rules.into_iter().flat_map(|rules| &rules.then);
        for (rules, value) in further.zip(keys.list_mut("then")) {
            let What::Map(keys) = &mut value.what else {
                continue;
            };
            for name in ["port", "address", "send_proxy"] {
                if let (None, Some(value)) = (keys.get(name), server.check.get(name)) {
                    keys.set(name, value.clone());
                }
            }
            rules.link.apply(keys, server, span);
        }
        keys
    }

    /// What `defaults` says for backends whose servers say `check` and no more.
    pub(super) fn of_defaults(&self) -> Option<Value> {
        let span = self.span?;
        Some(Value::map(self.said(span), span))
    }
}

/// Whether a mapping has a key with this value.
fn is_in(map: &Map, name: &str, value: &Value) -> bool {
    map.get(name).is_some_and(|other| other.is_same(value))
}

/// A field of the request that a check sends.
fn field(keys: &mut Map, name: &str, value: Value, says: &mut Says) {
    // HAProxy passes over them without a word.
    if ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
        let message = format!(
            "`{name}` is left out, as in HAProxy: the check itself says how long what it sends is"
        );
        return says.warn(value.span, message);
    }
    if name.eq_ignore_ascii_case("host") {
        keys.set("host", value);
    } else {
        let span = value.span;
        keys.inner("headers", span).set(name, value);
    }
}

/// A step of bytes that are no text.
fn hex_step(key: &str, digits: &str, span: Span) -> Value {
    let mut inner = Map::default();
    inner.set("hex", Value::text(digits, span));
    let mut map = Map::default();
    map.set(key, Value::map(inner, span));
    Value::map(map, span)
}

/// A step that waits for what matches.
fn regex_step(pattern: &str, span: Span) -> Value {
    let mut inner = Map::default();
    inner.set("regex", Value::text(pattern, span));
    let mut map = Map::default();
    map.set("expect", Value::map(inner, span));
    Value::map(map, span)
}

fn step(key: &str, text: &str, span: Span) -> Value {
    let mut map = Map::default();
    map.set(key, Value::text(text, span));
    Value::map(map, span)
}
