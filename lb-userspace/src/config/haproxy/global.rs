//! `global`

use super::{
    Options,
    lines::Line,
    log,
    says::Says,
    secured,
    value::{Map, Value},
    versions::tls_options,
};
use crate::config::source::Span;

/// Words that change nothing a user would see, or what lb does by itself: read over in silence.
const SILENT: &[&str] = &[
    "strict-limits",
    "node",
    "expose-experimental-directives",
    "quiet",
    "zero-warning",
    "presetenv-note",
    "limited-quic",
    "busy-polling",
    "set-dumpable",
    "no-memory-trimming",
    "noepoll",
    "nopoll",
    "nosplice",
    "nogetaddrinfo",
    "noreuseport",
    "numa-cpu-mapping",
    "no",
];

/// Words that are told to have no counterpart, harmlessly.
const LEFT_OUT: &[(&str, &str)] = &[
    ("chroot", "lb needs its files: it drops privileges instead"),
    ("nbproc", "lb is one process with a worker a core"),
    ("cpu-map", "workers are placed by the kernel"),
    ("master-worker", "lb is one process"),
    ("ulimit-n", "the limit follows `maxconn`"),
    ("maxpipes", "pipes are made as they are needed"),
    ("maxsslconn", "`maxconn` counts all connections"),
    ("maxconnrate", "lb has no such limit"),
    ("maxsessrate", "lb has no such limit"),
    ("maxsslrate", "lb has no such limit"),
    ("ssl-dh-param-file", "there is no DHE in rustls"),
    ("ssl-engine", "rustls is used"),
    ("ssl-mode-async", "rustls is used"),
    ("hard-stop-after", "it is `global.grace`"),
    ("lua-load", "there is no Lua in lb"),
    ("lua-load-per-thread", "there is no Lua in lb"),
    ("lua-prepend-path", "there is no Lua in lb"),
    ("mworker-max-reloads", "lb is one process, reloads included"),
    ("close-spread-time", "a reload closes no connections"),
    ("profiling.tasks", "lb has no such measure"),
    ("insecure-fork-wanted", "lb starts no programs"),
    ("insecure-setuid-wanted", "lb starts no programs"),
    ("thread-groups", "lb has a worker a core"),
    ("thread-group", "lb has a worker a core"),
    (
        "httpclient.resolvers.id",
        "lb asks nobody over HTTP but servers",
    ),
    (
        "httpclient.resolvers.prefer",
        "lb asks nobody over HTTP but servers",
    ),
    (
        "httpclient.ssl.ca-file",
        "lb asks nobody over HTTP but servers",
    ),
    (
        "httpclient.ssl.verify",
        "lb asks nobody over HTTP but servers",
    ),
    ("ssl-provider", "rustls is used"),
    ("ssl-provider-path", "rustls is used"),
    ("ssl-propquery", "rustls is used"),
    ("server-state-file", "lb keeps no such file yet"),
    ("server-state-base", "lb keeps no such file yet"),
    ("localpeer", "lb has no peers yet"),
    ("unix-bind", "write `mode`, `user` and `group` on each bind"),
];

/// What `global` sets for the reading of the rest.
#[derive(Debug, Default)]
pub(super) struct Global {
    pub(super) keys: Map,
    /// Where there is a log for `log global` to mean.
    pub(super) logs: bool,
}

impl Global {
    /// A line of the section.
    pub(super) fn line(&mut self, line: &Line, says: &mut Says) {
        let keyword = line.keyword();
        match keyword {
            "maxconn" => {
                if says.need(line, 1, "a number").is_some()
                    && let Some(number) = says.number(line.text(1), line.span_of(1))
                {
                    self.keys.set("maxconn", number);
                }
            }
            "spread-checks" => {
                if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                    self.keys.set("spread_checks", number);
                }
            }
            // Whatever their interval is, unless it is said.
            "max-spread-checks" => {
                if let Some(time) = says.duration(line.text(1), line.span_of(1)) {
                    self.keys.set("max_spread_checks", time);
                }
            }
            "nbthread" => {
                if let Some(number) = says.number(line.text(1), line.span_of(1)) {
                    self.keys.set("threads", number);
                }
            }
            "user" | "group" | "pidfile" => {
                if let Some(text) = says.need(line, 1, "a value") {
                    self.keys.set(keyword, Value::text(text, line.span_of(1)));
                }
            }
            "uid" | "gid" => {
                let key = if keyword == "uid" { "user" } else { "group" };
                if says.need(line, 1, "a number").is_some()
                    && let Some(number) = says.number(line.text(1), line.span_of(1))
                {
                    self.keys.set(key, number);
                }
            }
            "ssl-server-verify" => {
                let none = line.text(1) == "none";
                says.bases.trusts_servers = none;
            }
            "daemon" => says.warn(
                line.span(),
                "lb stays in the foreground unless it is started with `--daemon`",
            ),
            "hard-stop-after" => {
                if let Some(time) = says.duration(line.text(1), line.span_of(1)) {
                    self.keys.set("grace", time);
                }
            }
            "crt-base" => says.bases.certificates = Some(line.text(1).to_owned()),
            "ca-base" => says.bases.authorities = Some(line.text(1).to_owned()),
            "ssl-default-bind-options" | "ssl-default-server-options" => {
                let options = tls_options(line, says);
                let of_binds = keyword == "ssl-default-bind-options";
                for key in options.0 {
                    match of_binds {
                        true => says.bases.tls.set_at(&key.name, key.span, key.value),
                        false => says.bases.server_tls.set_at(&key.name, key.span, key.value),
                    }
                }
            }
            "ssl-default-bind-ciphers"
            | "ssl-default-bind-ciphersuites"
            | "ssl-default-bind-curves"
            | "ssl-default-server-ciphers"
            | "ssl-default-server-ciphersuites" => {
                if says.need(line, 1, "a list").is_some()
                    && let Some((key, list)) = secured::suites(&line.words[0], &line.words[1], says)
                {
                    match keyword.contains("-bind-") {
                        true => says.bases.tls.set(key, list),
                        false => says.bases.server_tls.set(key, list),
                    }
                }
            }
            "issuers-chain-path" => {
                if let Some(path) = says.need(line, 1, "a folder") {
                    let folder = Value::text(path, line.span_of(1));
                    says.bases.tls.set("issuers", folder);
                }
            }
            "ssl-skip-self-issued-ca" => {
                let yes = Value::plain("true", line.span());
                says.bases.tls.set("skip_self_issued", yes);
            }
            // Keys and OCSP responses are found beside a certificate, with its extension or without, and certificates of each
            // kind in its place; timestamps (`sctl`) are of versions before 1.3.
            "ssl-load-extra-files" => {
                if line.words.iter().any(|word| word.text == "sctl") {
                    says.warn(
                        line.span(),
                        "`sctl` is left out: rustls sends no such timestamps",
                    );
                }
            }
            "ssl-load-extra-del-ext" => {}
            // Relative paths begin at the file's folder here.
            "default-path" if line.text(1) == "config" => {}
            "log" => {
                if let Some(target) = log::target(line, says) {
                    self.keys.push("log", target);
                    self.logs = true;
                }
            }
            "log-tag" => {
                if let Some(tag) = says.need(line, 1, "a tag") {
                    self.keys.set("log_tag", Value::text(tag, line.span_of(1)));
                }
            }
            "log-send-hostname" => {
                let name = match line.text(1) {
                    "" => Value::plain("true", line.span()),
                    name => Value::text(name, line.span_of(1)),
                };
                self.keys.set("log_send_hostname", name);
            }
            "description" => {
                let words: Vec<&str> = line.words.iter().skip(1).map(|w| &*w.text).collect();
                says.bases.description = Some(words.join(" "));
            }
            "stats" => self.stats(line, says),
            "set-var" | "set-var-fmt" => self.set_var(line, says),
            // What is read below sees it already.
            "setenv" | "presetenv" | "unsetenv" | "resetenv" => {}
            _ if SILENT.contains(&keyword) => {}
            _ if keyword.starts_with("tune.") => {
                says.warn(
                    line.span(),
                    format!("`{keyword}` is left out: lb sizes its buffers by itself"),
                );
            }
            _ => match LEFT_OUT.iter().find(|(known, _)| *known == keyword) {
                Some((_, why)) => says.warn(line.span(), format!("`{keyword}` is left out: {why}")),
                None => says.unsupported(line.span(), keyword),
            },
        }
    }

    /// `set-var proc.NAME EXPRESSION`, `set-var-fmt proc.NAME FORMAT`
    fn set_var(&mut self, line: &Line, says: &mut Says) {
        let Some(value) = says.need(line, 2, "a variable and a value") else {
            return;
        };
        let text = match line.keyword() {
            "set-var" => format!("%[{value}]"),
            _ => value.to_owned(),
        };
        self.keys.inner("set_var", line.span()).set_at(
            line.text(1),
            line.span_of(1),
            Value::text(text, line.span_of(2)),
        );
    }

    /// `stats socket PATH …`, `stats timeout …`
    fn stats(&mut self, line: &Line, says: &mut Says) {
        match line.text(1) {
            "socket" => self.socket(line, says),
            "timeout" | "maxconn" | "bind-process" => {}
            other => says.unsupported(line.span_of(1), &format!("stats {other}")),
        }
    }

    /// `stats socket ADDRESS [level LEVEL] [mode MODE] [user USER] [group GROUP]`. Of the words of a bind that say who gets in
    /// none is passed over: a socket without them would be open to more than it was.
    fn socket(&mut self, line: &Line, says: &mut Says) {
        let address = line.text(2);
        let path = address.strip_prefix("unix@").unwrap_or(address);
        let bind = match path.starts_with('/') {
            true => format!("unix:{path}"),
            false => {
                let address = ["ipv4@", "ipv6@"]
                    .iter()
                    .find_map(|family| address.strip_prefix(family))
                    .unwrap_or(address);
                if address.contains('@') || !address.contains(':') {
                    says.unsupported(line.span_of(2), &format!("stats socket {address}"));
                    return;
                }
                match address.strip_prefix(':') {
                    Some(port) if !port.contains(':') => format!("*:{port}"),
                    _ => address.to_owned(),
                }
            }
        };
        let mut map = Map::default();
        map.set("bind", Value::text(bind, line.span_of(2)));
        let mut level = "operator".to_owned();
        let mut at = 3;
        while at < line.words.len() {
            let (name, value) = (line.text(at), line.text(at + 1));
            at += 1;
            match name {
                "level" => level = value.to_owned(),
                "mode" => map.set(name, Value::plain(value, line.span_of(at))),
                "user" | "group" | "uid" | "gid" => {
                    let name = match name {
                        "uid" => "user",
                        "gid" => "group",
                        name => name,
                    };
                    map.set(name, Value::text(value, line.span_of(at)));
                }
                // `expose-fd listeners` is for HAProxy's way to reload; the others change nothing of what is answered.
                "expose-fd" if value == "listeners" => {}
                "name" | "severity-output" | "backlog" | "maxconn" | "process" | "thread" => {}
                other => {
                    let what = format!("stats socket … {other}");
                    says.unsupported(line.span_of(at - 1), &what);
                    return;
                }
            }
            at += 1;
        }
        map.set("level", Value::plain(level, line.span()));
        self.keys.push("admin_socket", Value::map(map, line.span()));
    }
}

/// `global:`, with the keys of ours that comments set.
pub(super) fn value(
    mut keys: Map,
    directives: &[(String, Span)],
    options: &Options,
    says: &mut Says,
) -> Value {
    let span = keys.0.first().map_or(Span::at(1, 1, 1), |key| key.span);
    let attach = options.fast_path.as_deref().unwrap_or("off");
    keys.inner("fast_path", span)
        .set("attach", Value::plain(attach, span));
    for (text, span) in directives {
        match text.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
            ["fast_path", "attach", _] if options.fast_path.is_some() => {}
            ["fast_path", key, value] => {
                keys.inner("fast_path", *span)
                    .set(key, Value::plain(value, *span));
            }
            _ => says.error(
                *span,
                format!("`lb: {text}` says nothing"),
                "write `# lb: fast_path KEY VALUE`",
            ),
        }
    }
    Value::map(keys, span)
}
