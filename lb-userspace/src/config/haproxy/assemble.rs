//! Sections put together: each proxy with what its `defaults` say, and what all of them have in common said once.

use std::collections::BTreeMap;

use super::{
    Options,
    global::{self, Global},
    halves::{leads_somewhere, mode, prepare},
    inherit::{
        complete, complete_tunnels, less, without_idle, without_idle_hash, without_idle_key,
    },
    lines::{self, Line, SECTIONS},
    log,
    order::{OF_DEFAULTS, ordered},
    proxy::{Kind, Proxy},
    resolvers,
    says::Says,
    sections::{http_errors, number, remember_servers, unknown, userlist},
    statistics,
    value::{Map, Value, What},
};
use crate::{
    config::{
        decode::Environment,
        diagnostic::Diagnostic,
        source::{Source, Span},
    },
    rules::suggest,
};

/// What was read.
pub(super) struct Read {
    pub(super) root: Value,
    pub(super) comments: Comments,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Comments by the line of the directive that they are about.
#[derive(Debug, Default)]
pub(super) struct Comments {
    pub(super) above: BTreeMap<usize, Vec<String>>,
    pub(super) beside: BTreeMap<usize, String>,
}

/// A section's first line and the others.
pub(super) struct Section<'l> {
    pub(super) head: &'l Line,
    pub(super) lines: Vec<&'l Line>,
    /// How many of them are those of the `defaults` that these come from.
    above: usize,
}

pub(super) fn read(source: &Source, environment: Environment<'_>, options: &Options) -> Read {
    let found = lines::read(source, environment);
    let mut says = Says {
        diagnostics: found.diagnostics,
        ..Says::default()
    };
    let mut global = Global::default();
    // Where the first `global` is.
    let mut begin = None;
    let mut userlists = Map::default();
    let mut resolvers_of = Map::default();
    // Each `defaults` with its name, and the proxies that have it.
    let mut defaults: Vec<(String, Section<'_>, Proxy)> = Vec::new();
    let mut proxies: Vec<(Proxy, Option<usize>)> = Vec::new();
    let sections = sections(&found.lines, &mut says);
    // Wherever they are written: HAProxy looks at them once all has been read.
    for section in sections
        .iter()
        .filter(|section| section.head.keyword() == "http-errors")
    {
        http_errors(section, &mut says);
    }
    for section in sections {
        let head = section.head;
        match head.keyword() {
            "global" => {
                begin.get_or_insert(head.span());
                section
                    .lines
                    .iter()
                    .for_each(|line| global.line(line, &mut says));
            }
            "http-errors" => {}
            "userlist" => userlist(&section, &mut userlists, &mut says),
            "defaults" => {
                let (name, from) = match (head.text(1), head.text(2)) {
                    ("from", _) => ("", 2),
                    (name, "from") => (name, 3),
                    (name, _) => (name, 0),
                };
                let mut proxy = Proxy::new(Kind::Defaults, name, head.span());
                let mut section = section;
                if from > 0 {
                    let above = named(head, from, &defaults, &mut says);
                    let above = above.and_then(|above| defaults.get(above));
                    let mut lines = above.map_or(Vec::new(), |(_, above, _)| above.lines.clone());
                    // What is wrong with these was told when they were read themselves.
                    let mut quiet = Says::default();
                    lines.iter().for_each(|line| proxy.line(line, &mut quiet));
                    proxy.own_lines_follow(&section.lines);
                    section
                        .lines
                        .iter()
                        .for_each(|line| proxy.line(line, &mut says));
                    section.above = lines.len();
                    lines.append(&mut section.lines);
                    section.lines = lines;
                } else {
                    section
                        .lines
                        .iter()
                        .for_each(|line| proxy.line(line, &mut says));
                }
                defaults.push((name.to_owned(), section, proxy));
            }
            "frontend" | "backend" | "listen" => {
                let Some(found) = proxy(&section, &defaults, &mut says) else {
                    continue;
                };
                twice(&found.0, &proxies, &mut says);
                proxies.push(found);
            }
            "resolvers" => resolvers::section(&section, &mut resolvers_of, &mut says),
            _ => unknown(head, &mut says),
        }
    }
    for (proxy, _) in &mut proxies {
        proxy.without_requests(&mut says);
    }
    number(&found.lines, proxies.iter_mut().map(|(proxy, _)| proxy));
    proxies.retain_mut(|(proxy, _)| proxy.is_left(&mut says));
    let logging = proxies.iter_mut().map(|(proxy, _)| proxy);
    log::agree(&mut global, logging);
    let anybody = global.logs || proxies.iter().any(|(proxy, _)| log::has_own(proxy));
    let mut root = Map::default();
    root.set_at(
        "global",
        begin.unwrap_or(Span::at(1, 1, 1)),
        global::value(global.keys.clone(), &found.directives, options, &mut says),
    );
    if !userlists.is_empty() {
        let span = userlists
            .0
            .first()
            .map_or(Span::at(1, 1, 1), |key| key.span);
        root.set("userlists", Value::map(userlists, span));
    }
    if !resolvers_of.is_empty() {
        root.set("resolvers", Value::map(resolvers_of, Span::at(1, 1, 1)));
    }
    let common = common(&defaults, &proxies, &global);
    let mut out = Out::default();
    for (proxy, _) in &proxies {
        let of_defaults = common.as_ref().and_then(|(common, _)| common.get("log"));
        let log = log::of_proxy(proxy, &global, anybody)
            .or_else(|| of_defaults.map(|log| Value::plain("true", log.span)));
        out.add(proxy, common.as_ref(), log.as_ref(), &mut says);
    }
    for name in proxies.iter().flat_map(|(proxy, _)| &proxy.stick_tables) {
        remember_servers(&mut out.frontends, name);
        remember_servers(&mut out.backends, name);
    }
    if let Some((map, span)) = common
        && !map.is_empty()
    {
        root.set("defaults", Value::map(ordered(map), span));
    }
    let is_lonely = out.frontends.is_empty() && out.stats.is_none();
    for (key, map) in [("frontends", out.frontends), ("backends", out.backends)] {
        // Nobody can come, and that was said.
        if !map.is_empty() || is_lonely && key == "frontends" {
            root.set(key, Value::map(map, Span::at(1, 1, 1)));
        }
    }
    if let Some(stats) = out.stats {
        root.set("stats", stats);
    }
    let whole = Span::at(1, 1, 1);
    Read {
        root: Value::map(root, whole),
        comments: Comments {
            above: found.above,
            beside: found.beside,
        },
        diagnostics: says.diagnostics,
    }
}

fn sections<'l>(lines: &'l [Line], says: &mut Says) -> Vec<Section<'l>> {
    let mut found: Vec<Section<'l>> = Vec::new();
    // The lines after it are those of the same section.
    let mut told = false;
    for line in lines {
        if SECTIONS.contains(&line.keyword()) {
            found.push(Section {
                head: line,
                lines: Vec::new(),
                above: 0,
            });
        } else if let Some(section) = found.last_mut() {
            section.lines.push(line);
        } else {
            if told {
                continue;
            }
            told = true;
            let message = format!("`{}` before any section", line.keyword());
            let near = suggest::nearest(line.keyword(), SECTIONS.iter().copied());
            let mend = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "begin with `global`, `defaults`, `frontend`, `backend` or `listen`".to_owned()
                }
            };
            says.error(line.span(), message, mend);
        }
    }
    found
}

/// Which `defaults` a section's line names in word `at`.
fn named(
    head: &Line,
    at: usize,
    defaults: &[(String, Section<'_>, Proxy)],
    says: &mut Says,
) -> Option<usize> {
    let wanted = head.text(at);
    let found = defaults.iter().rposition(|(name, ..)| name == wanted);
    if found.is_none() {
        let message = format!("there is no `defaults {wanted}` above");
        says.error(head.span_of(at), message, "write it before its first use");
    }
    found
}

/// A proxy with what its `defaults` say, and which these are.
fn proxy(
    section: &Section<'_>,
    defaults: &[(String, Section<'_>, Proxy)],
    says: &mut Says,
) -> Option<(Proxy, Option<usize>)> {
    let head = section.head;
    let name = says.need(head, 1, "a name")?;
    let kind = match head.keyword() {
        "frontend" => Kind::Frontend,
        "backend" => Kind::Backend,
        _ => Kind::Listen,
    };
    let from = match head.text(2) {
        "from" => named(head, 3, defaults, says),
        _ => defaults.len().checked_sub(1),
    };
    let mut proxy = Proxy::new(kind, name, head.span_of(1));
    if let Some((_, section, _)) = from.and_then(|from| defaults.get(from)) {
        proxy.inheriting = true;
        // What is wrong with them was told when they were read themselves.
        let mut quiet = Says {
            bases: says.bases.clone(),
            ..Says::default()
        };
        let (above, own) = section.lines.split_at(section.above);
        above.iter().for_each(|line| proxy.line(line, &mut quiet));
        if section.above > 0 {
            proxy.own_lines_follow(own);
        }
        own.iter().for_each(|line| proxy.line(line, &mut quiet));
        proxy.inheriting = false;
    }
    proxy.own_lines_follow(&section.lines);
    section.lines.iter().for_each(|line| proxy.line(line, says));
    Some((proxy, from))
}

/// Says of a proxy that there is one of its name that is the same thing.
fn twice(proxy: &Proxy, before: &[(Proxy, Option<usize>)], says: &mut Says) {
    let is_same = |other: &&(Proxy, Option<usize>)| {
        let other = &other.0;
        other.name == proxy.name
            && (other.kind.has_front() && proxy.kind.has_front()
                || other.kind.has_back() && proxy.kind.has_back())
    };
    if let Some((other, _)) = before.iter().find(is_same) {
        let message = format!("a second proxy is called `{}`", proxy.name);
        let diagnostic = Diagnostic::error(proxy.span, message)
            .also(other.span, "the first one is here")
            .mend("give each a name of its own");
        says.diagnostics.push(diagnostic);
    }
}

/// Whether requests may become tunnels to a server there.
fn may_tunnel(proxy: &Proxy) -> bool {
    let serves = !proxy.servers.is_empty() || proxy.dispatch.is_some();
    proxy.kind.has_back() && !proxy.is_tcp && serves
}

/// What all proxies have from one `defaults`, if they have one and the same.
fn common(
    defaults: &[(String, Section<'_>, Proxy)],
    proxies: &[(Proxy, Option<usize>)],
    global: &Global,
) -> Option<(Map, Span)> {
    let (_, first) = proxies.first()?;
    let from = (*first)?;
    if proxies.iter().any(|(_, other)| *other != Some(from)) {
        return None;
    }
    let (_, _, proxy) = defaults.get(from)?;
    let mut map = Map::default();
    for key in proxy.front.0.iter().chain(&proxy.back.0) {
        if !OF_DEFAULTS.contains(&key.name.as_str()) {
            continue;
        }
        match (&key.value.what, key.name.as_str()) {
            (What::Map(inner), "timeouts" | "errorfiles") => {
                let whole = map.inner(&key.name, key.span);
                inner
                    .0
                    .iter()
                    .for_each(|key| whole.set_at(&key.name, key.span, key.value.clone()));
            }
            _ => map.set_at(&key.name, key.span, key.value.clone()),
        }
    }
    if map.get("mode").is_none() {
        map.set("mode", mode(proxy));
    }
    let kept = Value::plain("keep-alive", proxy.span);
    let keeps = map.get("connection_mode");
    if keeps.is_some_and(|mode| mode.is_same(&kept)) {
        map.remove("connection_mode");
    }
    without_idle_hash(&mut map);
    without_idle_key(&mut map);
    if !proxy.is_tcp {
        complete(&mut map, None);
        if proxies.iter().any(|(proxy, _)| may_tunnel(proxy)) {
            complete_tunnels(&mut map, None, proxy.span);
        }
    }
    let all = proxies.iter().map(|(proxy, _)| proxy);
    if let Some(log) = log::of_defaults(proxy, all, global) {
        map.set("log", log);
    }
    if let Some(check) = proxy.default_check() {
        map.set("health_check", check);
    }
    Some((map, proxy.span))
}

/// What is written.
#[derive(Default)]
struct Out {
    frontends: Map,
    backends: Map,
    /// Our own endpoint.
    stats: Option<Value>,
}

impl Out {
    fn add(
        &mut self,
        proxy: &Proxy,
        common: Option<&(Map, Span)>,
        log: Option<&Value>,
        says: &mut Says,
    ) {
        let silent = log.is_some_and(|log| log.as_text() == Some("false"));
        let asks_for_stats = proxy.stats.get("uri").is_some()
            || proxy.stats.get("enable").is_some()
            || proxy.stats.get("auth").is_some();
        let routes = proxy.front.get("default_backend").is_some() || proxy.rules().is_some();
        proxy.tell_endless(says);
        proxy.tell_late(says);
        proxy.tell_hasty(says);
        if asks_for_stats
            && proxy.kind.has_front()
            && proxy.servers.is_empty()
            && !routes
            && self.stats.is_none()
            && statistics::is_endpoint(proxy)
        {
            self.stats = Some(statistics::endpoint(proxy, says));
            return;
        }
        let bare = asks_for_stats && proxy.servers.is_empty() && !routes;
        if proxy.kind.has_front() {
            if !proxy.logs.is_empty() && !silent && proxy.front.get("log_format").is_none() {
                let option = if proxy.is_tcp { "tcplog" } else { "httplog" };
                let message = format!(
                    "HAProxy's lines tell who connected and no more without `option {option}`: lb's are as with it"
                );
                says.warn(proxy.span, message);
            }
            self.frontend(proxy, common, log, asks_for_stats, says);
        }
        if proxy.kind.has_back() && !(bare && proxy.kind == Kind::Listen) {
            let shows_stats = asks_for_stats && proxy.kind == Kind::Backend;
            self.backend(proxy, common, log, shows_stats, says);
        }
    }

    fn frontend(
        &mut self,
        proxy: &Proxy,
        common: Option<&(Map, Span)>,
        log: Option<&Value>,
        shows_stats: bool,
        says: &mut Says,
    ) {
        let mut map = proxy.front.clone();
        proxy.id.iter().for_each(|id| map.set("id", id.clone()));
        if shows_stats {
            map.set("stats", Value::map(statistics::page(proxy), proxy.span));
        }
        if let Some(log) = log {
            map.set("log", log.clone());
            // HAProxy would write nothing of it, while others are logged.
            if log.as_text() == Some("false") {
                map.remove("log_format");
                map.remove("log_format_sd");
            }
        }
        let monitored = map.get("monitor").map(|monitor| monitor.span);
        if let (Some(span), Some(first)) = (monitored, proxy.fails.first()) {
            let fails = match proxy.fails.as_slice() {
                [one] => one.clone(),
                many => {
                    let mut any = Map::default();
                    any.set("any", Value::list(many.to_vec(), first.span));
                    Value::map(any, first.span)
                }
            };
            map.inner("monitor", span).set("fail_if", fails);
        }
        if !proxy.is_tcp {
            complete(&mut map, common.map(|(common, _)| common));
        }
        prepare(&mut map, proxy);
        // One without servers too: who comes so far is told that there is none.
        let bare = shows_stats && proxy.servers.is_empty() && proxy.rules().is_none();
        if proxy.kind == Kind::Listen && map.get("default_backend").is_none() && !bare {
            map.set(
                "default_backend",
                Value::text(proxy.name.as_str(), proxy.span),
            );
        }
        if let Some(acls) = proxy.acls.value(proxy.span) {
            map.set("acls", acls);
        }
        if let Some(rules) = proxy.connection_rules() {
            map.set("connection_rules", rules);
        }
        if let Some(inspect) = proxy.inspect(false) {
            map.set("inspect", inspect);
        }
        match proxy.rules() {
            Some(rules) => map.set("rules", rules),
            None if !leads_somewhere(&map) => {
                let message = format!(
                    "`{}` leads to no backend: whoever comes is told that there is no server",
                    proxy.name
                );
                says.warn(proxy.span, message);
                map.set("rules", Value::list(Vec::new(), proxy.span));
            }
            None => {}
        }
        less(&mut map, common);
        self.frontends
            .set(&proxy.name, Value::map(ordered(map), proxy.span));
    }

    fn backend(
        &mut self,
        proxy: &Proxy,
        common: Option<&(Map, Span)>,
        log: Option<&Value>,
        shows_stats: bool,
        says: &mut Says,
    ) {
        let mut map = proxy.back.clone();
        proxy.id.iter().for_each(|id| map.set("id", id.clone()));
        if shows_stats {
            map.set("stats", Value::map(statistics::page(proxy), proxy.span));
        }
        if let Some(log) = log {
            map.set("log", log.clone());
        }
        prepare(&mut map, proxy);
        if may_tunnel(proxy) {
            complete_tunnels(&mut map, common.map(|(common, _)| common), proxy.span);
        }
        without_idle_hash(&mut map);
        // That of `defaults` is meant for others.
        let own = |key: &Span| key.start.line > proxy.span.start.line;
        if let Some(span) = without_idle_key(&mut map).filter(own) {
            let message =
                "`dynamic-cookie-key` has no effect without `cookie … dynamic`, as in HAProxy";
            says.warn(span, message);
        }
        // Those of a `listen` are its frontend's, but for the ones that choose a server.
        let rules = match proxy.kind {
            Kind::Backend => proxy.rules(),
            _ => proxy.server_rules(),
        };
        if (proxy.kind == Kind::Backend || rules.is_some())
            && let Some(acls) = proxy.acls.value(proxy.span)
        {
            map.set("acls", acls);
        }
        rules.into_iter().for_each(|rules| map.set("rules", rules));
        // What a `listen` asks of clients its frontend does.
        let inspect = (proxy.kind == Kind::Backend)
            .then(|| proxy.inspect(false))
            .flatten();
        let responses = proxy.inspect(true);
        if (inspect.is_some() || responses.is_some())
            && let Some(acls) = proxy.acls.value(proxy.span)
        {
            map.set("acls", acls);
        }
        for (key, value) in [("inspect", inspect), ("inspect_response", responses)] {
            value.into_iter().for_each(|value| map.set(key, value));
        }
        let checks = proxy.health_check();
        let in_common = common.is_some_and(|(common, _)| common.get("health_check").is_some());
        match &checks {
            Some(check) => map.set("health_check", check.clone()),
            None if in_common => {
                let mut none = Map::default();
                none.set("type", Value::plain("none", proxy.span));
                map.set("health_check", Value::map(none, proxy.span));
            }
            None => {}
        }
        if checks.is_some() {
            proxy.check.tell_lost(says);
        }
        let common_cookie = common.is_some_and(|(common, _)| common.get("cookie").is_some());
        let has_cookie = map.get("cookie").is_some() || common_cookie;
        for server in &proxy.servers {
            let mut keys = server.keys.clone();
            without_idle(&mut keys, &map, has_cookie, says);
            let follows = keys.get("track").is_some();
            if follows && let Some((true, span)) = server.checked {
                let mend = "remove one of both: its state is either its own or the other's";
                says.error(span, "`check` of a server that has `track`", mend);
            }
            if checks.is_some() && !follows && !server.checked.is_some_and(|(on, _)| on) {
                keys.set("check", Value::plain("false", proxy.span));
            }
            let own = proxy.check.of_server(server, checks.as_ref());
            if let Some(own) = own.filter(|_| !follows) {
                keys.set("health_check", own);
            }
            match (server.agent, server.agent_keys.get("port")) {
                (Some(span), Some(_)) => {
                    keys.set("agent_check", Value::map(server.agent_keys.clone(), span));
                }
                (Some(span), None) => {
                    let mend = "write `agent-port PORT` beside it";
                    says.error(span, "`agent-check` without `agent-port`", mend);
                }
                (None, _) => {}
            }
            let span = keys.0.first().map_or(proxy.span, |key| key.span);
            map.push("servers", Value::map(keys, span));
        }
        if proxy.servers.is_empty() {
            map.set("servers", Value::list(Vec::new(), proxy.span));
        }
        less(&mut map, common);
        self.backends
            .set(&proxy.name, Value::map(ordered(map), proxy.span));
    }
}
