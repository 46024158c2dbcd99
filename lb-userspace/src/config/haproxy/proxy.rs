//! `defaults`, `frontend`, `backend` and `listen`: line by line to the keys of our frontends and backends.

use super::{
    acl::Acls,
    check::Check,
    lines::Line,
    log,
    rules::{self, Side},
    says::Says,
    sections,
    server::{self, Server},
    source,
    tcp::{self, Bytes},
    template,
    value::{Map, Value, What},
};
use crate::config::source::Span;

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Defaults,
    Frontend,
    Backend,
    Listen,
}

impl Kind {
    pub(super) fn has_front(self) -> bool {
        self != Kind::Backend
    }

    pub(super) fn has_back(self) -> bool {
        self != Kind::Frontend
    }
}

/// A section as far as it was read.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Its first line.
    pub(super) span: Span,
    /// Its number, where that is said or asked for.
    pub(super) id: Option<Value>,
    /// Lines are being read that its defaults say.
    pub(super) inheriting: bool,
    /// Keys of the frontend.
    pub(super) front: Map,
    /// Keys of the backend.
    pub(super) back: Map,
    pub(super) acls: Acls,
    pub(super) request: Vec<Value>,
    pub(super) redirects: Vec<Value>,
    pub(super) routes: Vec<Value>,
    pub(super) response: Vec<Value>,
    /// Tables in which it remembers servers.
    pub(super) stick_tables: Vec<String>,
    /// Conditions of `monitor fail`.
    pub(super) fails: Vec<Value>,
    /// `option http-buffer-request`.
    pub(super) buffered: Option<Span>,
    /// What `option originalto` amounts to.
    pub(super) original: Option<Value>,
    pub(super) after: Vec<Value>,
    use_servers: Vec<Value>,
    pub(super) connections: Vec<Value>,
    pub(super) sessions: Vec<Value>,
    pub(super) contents: Vec<Value>,
    /// `tcp-request content` and `tcp-response content` of mode tcp.
    pub(super) bytes: Bytes,
    /// Who has to send a PROXY header, by `tcp-request connection`.
    pub(super) expected: Option<Value>,
    /// When `tcp-request content` has ended already.
    pub(super) accepted: Vec<Value>,
    /// `tcp-response content` of mode http, and when these have ended.
    pub(super) answers: Vec<Value>,
    pub(super) answered: Vec<Value>,
    pub(super) default_server: Server,
    pub(super) servers: Vec<Server>,
    /// Where everybody goes without one.
    pub(super) dispatch: Option<Server>,
    pub(super) check: Check,
    /// `stats` keywords.
    pub(super) stats: Map,
    pub(super) is_tcp: bool,
    /// `disabled`: it takes nothing, and nothing is sent by it.
    pub(super) disabled: Option<Span>,
    /// `log` lines.
    pub(super) logs: Vec<log::Wanted>,
}

impl Proxy {
    pub(super) fn new(kind: Kind, name: &str, span: Span) -> Proxy {
        Proxy {
            kind,
            name: name.to_owned(),
            span,
            id: None,
            inheriting: false,
            front: Map::default(),
            back: Map::default(),
            acls: Acls::default(),
            request: Vec::new(),
            redirects: Vec::new(),
            routes: Vec::new(),
            response: Vec::new(),
            stick_tables: Vec::new(),
            fails: Vec::new(),
            buffered: None,
            original: None,
            after: Vec::new(),
            use_servers: Vec::new(),
            connections: Vec::new(),
            sessions: Vec::new(),
            contents: Vec::new(),
            bytes: Bytes::default(),
            expected: None,
            accepted: Vec::new(),
            answers: Vec::new(),
            answered: Vec::new(),
            default_server: Server::default(),
            servers: Vec::new(),
            dispatch: None,
            check: Check::default(),
            stats: Map::default(),
            // HAProxy's own default.
            is_tcp: true,
            disabled: None,
            logs: Vec::new(),
        }
    }

    /// A line of the section, or of the `defaults` that it has.
    pub(super) fn line(&mut self, line: &Line, says: &mut Says) {
        let span = line.span();
        match line.keyword() {
            "mode" => self.mode(line, says),
            "bind" if self.fits(line, true, says) => {
                for value in server::bind(line, says) {
                    self.front.push("bind", value);
                }
                self.tell_expected();
            }
            "maxconn" if self.fits(line, true, says) => {
                if line.text(1) == "0" {
                    // No limit, which is no key.
                    if self.front.get("maxconn").is_some() {
                        says.unsupported(span, "maxconn 0 where `defaults` has a limit");
                    }
                } else if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                    self.front.set("maxconn", number);
                }
            }
            "default_backend" if self.fits(line, true, says) => {
                if let Some(name) = says.need(line, 1, "a backend's name") {
                    self.front
                        .set("default_backend", Value::text(name, line.span_of(1)));
                }
            }
            "acl" => self.acls.add(line, says),
            "use_backend" if self.fits(line, true, says) => {
                self.routes
                    .extend(rules::use_backend(line, &self.acls, says));
            }
            "redirect" => self
                .redirects
                .extend(rules::redirect_line(line, &self.acls, says)),
            "http-request" => {
                self.request
                    .extend(rules::http(line, Side::Request, &self.acls, says));
            }
            "http-response" => {
                self.response
                    .extend(rules::http(line, Side::Response, &self.acls, says));
            }
            "use-server" if self.fits(line, false, says) => {
                self.use_servers
                    .extend(rules::use_server(line, &self.acls, says));
            }
            "use-server" => {}
            "force-persist" | "ignore-persist" if self.fits(line, false, says) => {
                self.use_servers
                    .extend(rules::persistence(line, &self.acls, says));
            }
            "force-persist" | "ignore-persist" => {}
            kind @ ("compression" | "email-alert") => sections::read_over(line, kind, says),
            "filter" => sections::filter(line, says),
            "dispatch" | "transparent" if self.fits(line, false, says) => self.dispatch(line, says),
            "dispatch" | "transparent" => {}
            "tcp-request" => self.tcp_request(line, says),
            "tcp-response" if self.fits(line, false, says) => self.tcp_response(line, says),
            "http-after-response" => {
                self.after
                    .extend(rules::http(line, Side::After, &self.acls, says));
            }
            "timeout" | "clitimeout" | "srvtimeout" | "contimeout" => self.timeout(line, says),
            "option" => self.option(line, true, says),
            "no" if line.text(1) == "option" => {
                let line = Line {
                    words: line.words[1..].to_vec(),
                };
                self.option(&line, false, says);
            }
            "no" if line.text(1) == "log" => {
                self.logs.clear();
            }
            "log" => self.log(line, says),
            "log-tag" => {
                if let Some(tag) = says.need(line, 1, "a tag") {
                    let tag = Value::text(tag, line.span_of(1));
                    self.front.set("log_tag", tag.clone());
                    self.back.set("log_tag", tag);
                }
            }
            "log-format" if self.fits(line, true, says) => {
                if let Some(format) = says.need(line, 1, "a format") {
                    self.front
                        .set("log_format", Value::text(format, line.span_of(1)));
                }
            }
            key @ ("error-log-format" | "log-format-sd") if self.fits(line, true, says) => {
                if let Some(format) = says.need(line, 1, "a format") {
                    let format = Value::text(format, line.span_of(1));
                    self.front.set(&key.replace('-', "_"), format);
                }
            }
            "error-log-format" | "log-format-sd" => {}
            "capture" | "declare" if self.fits(line, true, says) => self.capture(line, says),
            "errorfile" => self.errorfile(line, says),
            "http-error" => self.http_error(line, says),
            "errorfiles" => self.errorfiles(line, says),
            "errorloc" | "errorloc302" | "errorloc303" => self.errorloc(line, says),
            "monitor-uri" | "monitor" if self.fits(line, true, says) => self.monitor(line, says),
            "http-reuse" if self.fits(line, false, says) => match line.text(1) {
                how @ ("never" | "safe") => self
                    .back
                    .set("http_reuse", Value::plain(how, line.span_of(1))),
                "aggressive" => {
                    let span = line.span_of(1);
                    self.back.set("http_reuse", Value::plain("safe", span));
                    says.warn(
                        span,
                        "`aggressive` is `safe` in lb: also a connection that has been used twice is not for a client's first \
                         request if that could not be sent once more",
                    );
                }
                "always" => {
                    if self.back.get("http_reuse").is_some() {
                        self.back
                            .set("http_reuse", Value::plain("always", line.span_of(1)));
                    }
                }
                other => says.error(
                    line.span_of(1),
                    format!("`{other}` is no way of reuse"),
                    "write `never`, `safe`, `aggressive` or `always`",
                ),
            },
            "server-template" if self.fits(line, false, says) => {
                for line in template::servers(line, says) {
                    self.servers.extend(self.default_server.read(&line, says));
                }
            }
            "unique-id-format" | "unique-id-header" if self.fits(line, true, says) => {
                let key = line.keyword().trim_start_matches("unique-id-").to_owned();
                if let Some(text) = says.need(line, 1, "a value") {
                    let value = Value::text(text, line.span_of(1));
                    self.front.inner("unique_id", span).set(&key, value);
                }
            }
            "stick-table" => self.stick_table(line, says),
            "stick" if self.fits(line, false, says) => self.stick(line, says),
            "balance" if self.fits(line, false, says) => self.balance(line, says),
            "hash-type" if self.fits(line, false, says) => {
                let words = line.words.iter().skip(1).map(|word| word.text.as_str());
                let method = words.collect::<Vec<_>>().join(" ");
                self.back
                    .set("hash_type", Value::plain(method, line.span_of(1)));
            }
            "hash-balance-factor" if self.fits(line, false, says) => {
                if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                    self.back.set("hash_balance_factor", number);
                }
            }
            "persist" if self.fits(line, false, says) => self.persist(line, says),
            "cookie" if self.fits(line, false, says) => self.cookie(line, says),
            "dynamic-cookie-key" if self.fits(line, false, says) => {
                if let Some(key) = says.need(line, 1, "a key") {
                    self.back
                        .inner("cookie", span)
                        .set("dynamic_cookie_key", Value::text(key, line.span_of(1)));
                }
            }
            "retries" if self.fits(line, false, says) => {
                if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                    self.back.set("retries", number);
                }
            }
            "retry-on" if self.fits(line, false, says) => {
                let words = line.words.iter().skip(1);
                let list = words
                    .map(|word| Value::text(word.text.as_str(), word.span))
                    .collect();
                self.back.set("retry_on", Value::list(list, span));
            }
            "default-server" if self.fits(line, false, says) => {
                self.default_server.options(&line.words[1..], says);
            }
            "server" if self.fits(line, false, says) => {
                self.servers.extend(self.default_server.read(line, says));
            }
            "http-check" => self.check.http(line, says),
            "tcp-check" => self.check.tcp(line, says),
            "stats" => self.stats(line, says),
            "fullconn" if self.fits(line, false, says) => {
                if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                    self.back.set("fullconn", number);
                }
            }
            "source" if self.fits(line, false, says) => source::line(line, &mut self.back, says),
            "http-send-name-header" if self.fits(line, false, says) => {
                if let Some(name) = says.need(line, 1, "a field's name") {
                    let name = Value::text(name, line.span_of(1));
                    self.back.set("send_name_header", name);
                }
            }
            "backlog" | "rate-limit" if self.fits(line, true, says) => self.accepting(line, says),
            "fullconn" | "source" | "http-send-name-header" | "backlog" | "rate-limit" => {}
            "disabled" => self.disabled = Some(span),
            "enabled" => self.disabled = None,
            "id" => {
                if let Some(id) = says.number(line.text(1), line.span_of(1)) {
                    self.id = Some(id);
                }
            }
            "description" | "guid" | "max-keep-alive-queue" => {}
            keyword if keyword.starts_with("clitcpka-") && self.fits(line, true, says) => {
                self.keepalive(line, says);
            }
            keyword if keyword.starts_with("srvtcpka-") && self.fits(line, false, says) => {
                self.keepalive(line, says);
            }
            keyword if keyword.starts_with("clitcpka-") || keyword.starts_with("srvtcpka-") => {}
            "grace"
            | "load-server-state-from-file"
            | "server-state-file-name"
            | "max-session-srv-conns"
            | "monitor-net"
            | "bind-process" => match line.keyword() {
                other @ "monitor-net" => says.unsupported(span, other),
                _ => says.warn(
                    span,
                    format!("`{}` is left out: lb does without", line.keyword()),
                ),
            },
            "capture"
            | "declare"
            | "bind"
            | "maxconn"
            | "default_backend"
            | "use_backend"
            | "log-format"
            | "unique-id-format"
            | "unique-id-header"
            | "balance"
            | "hash-type"
            | "hash-balance-factor"
            | "cookie"
            | "persist"
            | "dynamic-cookie-key"
            | "retries"
            | "retry-on"
            | "default-server"
            | "http-reuse"
            | "monitor"
            | "monitor-uri"
            | "server-template"
            | "stick"
            | "tcp-response"
            | "server" => {
                // Where it does not belong: told by `fits`.
            }
            other => says.unsupported(line.span_of(0), other),
        }
    }

    /// The section's own lines follow those of its defaults. Its mode holds for all of them, wherever it stands.
    pub(super) fn own_lines_follow(&mut self, lines: &[&Line]) {
        self.check.own_lines_follow();
        let mode = lines.iter().rfind(|line| line.keyword() == "mode");
        if let Some(line) = mode {
            self.is_tcp = line.text(1) == "tcp";
        }
    }

    /// Whether a keyword of frontends (or of backends) belongs here; HAProxy warns and reads on.
    pub(super) fn fits(&self, line: &Line, front: bool, says: &mut Says) -> bool {
        let fits = if front {
            self.kind.has_front()
        } else {
            self.kind.has_back()
        };
        if !fits && !self.inheriting {
            let (this, other) = if front {
                ("backend", "frontend")
            } else {
                ("frontend", "backend")
            };
            let message = format!(
                "`{}` has no effect in a {this}: it is a {other}'s",
                line.keyword()
            );
            says.warn(line.span(), message);
        }
        fits
    }

    fn mode(&mut self, line: &Line, says: &mut Says) {
        match line.text(1) {
            "http" | "tcp" => {
                self.is_tcp = line.text(1) == "tcp";
                let value = Value::plain(line.text(1), line.span_of(1));
                self.front.set("mode", value.clone());
                self.back.set("mode", value);
            }
            other => says.error(
                line.span(),
                format!("lb has no mode `{other}`"),
                "write `mode http` or `mode tcp`",
            ),
        }
    }

    /// The rules that name servers, and those of what servers say first, of a `listen`, whose others are its frontend's.
    pub(super) fn server_rules(&self) -> Option<Value> {
        let all: Vec<Value> = self
            .answers
            .iter()
            .chain(&self.use_servers)
            .cloned()
            .collect();
        (!all.is_empty()).then(|| Value::list(all, self.span))
    }

    /// `inspect`, or `inspect_response`, in mode tcp.
    pub(super) fn inspect(&self, response: bool) -> Option<Value> {
        self.bytes
            .value(response, self.span)
            .filter(|_| self.is_tcp)
    }

    /// The rules of the frontend's connections.
    pub(super) fn connection_rules(&self) -> Option<Value> {
        let mut all = match self.sessions.is_empty() {
            true => self.connections.clone(),
            false => tcp::without_accept(&self.connections),
        };
        all.extend(self.sessions.iter().cloned());
        (!all.is_empty()).then(|| Value::list(all, self.span))
    }

    /// The rules of the frontend, or of the backend, in the order in which HAProxy asks them.
    pub(super) fn rules(&self) -> Option<Value> {
        let original: Vec<Value> = self.original.iter().cloned().collect();
        let routes = self.routes();
        let all = [
            &self.contents,
            &self.request,
            &self.redirects,
            &original,
            &self.response,
            &self.after,
            &routes,
        ];
        let buffered = self.buffered.filter(|_| !self.is_tcp).map(|span| {
            let mut map = Map::default();
            map.set("wait_for_body", Value::plain("true", span));
            Value::map(map, span)
        });
        let mut all: Vec<Value> = buffered
            .into_iter()
            .chain(all.into_iter().flatten().cloned())
            .collect();
        if self.kind == Kind::Backend {
            all.splice(0..0, self.answers.iter().cloned());
            all.extend(self.use_servers.iter().cloned());
        }
        (!all.is_empty()).then(|| Value::list(all, self.span))
    }

    /// HAProxy asks `tcp-request connection` rules as soon as a connection is there, lb once it knows who has come.
    pub(super) fn tell_late(&self, says: &mut Says) {
        let Some(span) = self.connections.first().map(|rule| rule.span) else {
            return;
        };
        let binds = match self.front.get("bind").map(|binds| &binds.what) {
            Some(What::List(binds)) => binds.as_slice(),
            _ => &[],
        };
        let some = |key: &str| {
            binds
                .iter()
                .any(|bind| matches!(&bind.what, What::Map(bind) if bind.get(key).is_some()))
        };
        if some("accept_proxy") {
            says.error(
                span,
                "`tcp-request connection` looks at whoever sends the PROXY header, which lb cannot: it asks for the client \
                 that the header names",
                "write `tcp-request session`, and have a firewall say who may send the header",
            );
        } else if some("tls") {
            let message =
                "lb asks `tcp-request connection` rules once TLS has begun, HAProxy before it";
            says.warn(span, message);
        }
    }

    /// `use_backend` lines. One whose name is computed is the last that is asked, also if there is no such backend.
    fn routes(&self) -> Vec<Value> {
        let mut routes = Vec::new();
        for (index, rule) in self.routes.iter().enumerate() {
            routes.push(rule.clone());
            let What::Map(map) = &rule.what else { continue };
            let name = map.get("use_backend").and_then(Value::as_text);
            if index + 1 == self.routes.len() || !name.is_some_and(|name| name.contains("%[")) {
                continue;
            }
            let mut otherwise = Map::default();
            if let Some(condition) = map.get("if") {
                otherwise.set("if", condition.clone());
            }
            match self.front.get("default_backend") {
                Some(name) => otherwise.set("use_backend", name.clone()),
                None if self.kind == Kind::Listen => {
                    otherwise.set("use_backend", Value::text(self.name.as_str(), rule.span));
                }
                None => otherwise.set("deny", Value::plain("503", rule.span)),
            }
            routes.push(Value::map(otherwise, rule.span));
        }
        routes
    }

    /// Gives captures of rules that stand before a `capture` line their places, which are in the order of the lines.
    pub(super) fn place_captures(&mut self) {
        let rules = self.contents.iter_mut().chain(&mut self.request);
        for rule in rules {
            let What::Map(map) = &mut rule.what else {
                continue;
            };
            let capture = map.0.iter_mut().find(|key| key.name == "capture");
            let Some(What::Map(capture)) = capture.map(|key| &mut key.value.what) else {
                continue;
            };
            let Some(length) = capture.get("len").cloned() else {
                continue;
            };
            let span = length.span;
            let mut place = Map::default();
            place.set("len", length);
            let places = self.front.inner("capture", span);
            let id = match places.get("request").map(|places| &places.what) {
                Some(What::List(places)) => places.len(),
                _ => 0,
            };
            places.push("request", Value::map(place, span));
            capture.remove("len");
            capture.set("id", Value::plain(id, span));
        }
    }

    /// `health_check:` of its servers.
    pub(super) fn health_check(&self) -> Option<Value> {
        self.check.value(&self.servers)
    }

    /// `health_check:` of its `defaults`.
    pub(super) fn default_check(&self) -> Option<Value> {
        self.check.of_defaults()
    }
}
