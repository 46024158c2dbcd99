//! `bind` and `server` lines.

use super::{
    family::{self, Family},
    lines::Line,
    lookup,
    options_of::Options,
    resolvers,
    says::{Says, below},
    secured, sockets, source,
    value::{Map, Value},
    versions::versions,
    vocabulary,
    words::Word,
};
use crate::config::source::Span;

/// Options that there is nothing for, which have a value behind them.
const WITH_VALUE: &[&str] = &[
    "accept-netscaler-cip",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "ca-sign-file",
    "ca-sign-pass",
    "namespace",
    "redir",
    "socks4",
];

/// An address of a `bind` line as ours; a port range or several addresses are several.
fn addresses(word: &Word, says: &mut Says) -> Vec<String> {
    let mut found = Vec::new();
    for part in word.text.split(',') {
        let part = part.trim();
        // An address of `udp:` is one of a connection as well, as far as its text goes.
        let bare = ["udp4@", "udp6@"]
            .iter()
            .find_map(|prefix| part.strip_prefix(prefix));
        let (family, part) = family::of(bare.unwrap_or(part));
        if family == Family::Unix {
            found.push(format!("unix:{part}"));
            continue;
        }
        if family::is_other(part, word.span, says) {
            continue;
        }
        let (host, Some(ports)) = family::parted(part) else {
            says.error(
                word.span,
                format!("`{part}` has no port"),
                "write ADDRESS:PORT",
            );
            continue;
        };
        if family::is_none(part, host, family, word.span, says) {
            continue;
        }
        let host = match host {
            "" | "*" if family == Family::V6 => "[::]".to_owned(),
            "" | "*" | "0.0.0.0" => "*".to_owned(),
            host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            host => match lookup::address(host, word.span, says) {
                Some(address) => address,
                None => continue,
            },
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last && first > 0 => {
                found.extend((first..=last).map(|port| format!("{host}:{port}")));
            }
            _ => says.error(
                word.span,
                format!("`{ports}` is no port"),
                "write a number from 1 to 65535",
            ),
        }
    }
    found
}

/// `bind ADDRESS [OPTIONS]`: values of `bind:`.
pub(super) fn bind(line: &Line, says: &mut Says) -> Vec<Value> {
    if says.need(line, 1, "an address").is_none() {
        return Vec::new();
    }
    let word = &line.words[1];
    let addresses = addresses(word, says);
    let mut options = Map::default();
    let mut tls = Map::default();
    let (mut ssl, mut v6only) = (None, None);
    let mut words = Options {
        words: &line.words[2..],
        at: 0,
    };
    while let Some(option) = words.next() {
        let span = option.span;
        match option.text.as_str() {
            _ if versions(option, &mut words, &mut tls, says) => {}
            _ if secured::bind(option, &mut words, &mut tls, says) => {}
            "ssl" => ssl = Some(span),
            _ if sockets::of_bind(option, &mut words, &mut options, says) => {}
            "id" => {
                if let Some(id) = words.argument(option, says)
                    && let Some(id) = says.number(&id.text, id.span)
                {
                    options.set("id", id);
                }
            }
            "sigalgs" | "process" | "thread" | "shards" | "level" | "proto" => {
                if words.argument(option, says).is_none() {
                    continue;
                }
                if !matches!(
                    option.text.as_str(),
                    "process" | "thread" | "shards" | "proto"
                ) {
                    says.warn(
                        span,
                        format!("`{}` is left out: lb chooses by itself", option.text),
                    );
                }
            }
            "name" => {
                if let Some(name) = words.argument(option, says) {
                    options.set("name", Value::text(name.text.as_str(), name.span));
                }
            }
            "accept-proxy" => options.set("accept_proxy", Value::plain("true", span)),
            "mode" | "user" | "group" | "uid" | "gid" => {
                let Some(value) = words.argument(option, says) else {
                    continue;
                };
                let key = match option.text.as_str() {
                    "uid" => "user",
                    "gid" => "group",
                    key => key,
                };
                options.set(key, Value::text(value.text.as_str(), value.span));
            }
            "v6only" => v6only = Some(span),
            "severity-output" | "expose-fd" => {
                let _ = words.argument(option, says);
                let message = format!(
                    "`{}` is left out: it is of `stats socket`, as in HAProxy",
                    option.text
                );
                says.warn(span, message);
            }
            "namespace" => {
                let _ = words.argument(option, says);
                says.error(
                    span,
                    "unsupported: `bind … namespace`: lb listens in the network namespace that it runs in alone",
                    "run an lb of its own in that namespace: `ip netns exec NAME lb run`",
                );
            }
            other => {
                says.unsupported(span, &format!("bind … {other}"));
                words.at += usize::from(WITH_VALUE.contains(&other));
            }
        }
    }
    match ssl {
        Some(span) => {
            secured::finish(&mut tls, says);
            options.set_at("tls", span, Value::map(tls, span));
        }
        None if !tls.is_empty() => says.warn(
            line.span(),
            "no TLS is spoken here: options of TLS have no effect without `ssl`, as in HAProxy",
        ),
        None => {}
    }
    let value = |address: String| {
        let mut options = options.clone();
        let mut address = address;
        if let Some(path) = address.strip_prefix("unix:") {
            for key in &says.bases.unix.0 {
                if options.get(&key.name).is_none() {
                    options.set(&key.name, key.value.clone());
                }
            }
            address = format!("unix:{}{path}", says.bases.unix_prefix);
        }
        // Of an address of IPv4 it says nothing.
        if let Some(span) = v6only.filter(|_| address.starts_with('[')) {
            options.set("v6only", Value::plain("true", span));
        }
        let address = Value::text(address, word.span);
        if options.is_empty() {
            return address;
        }
        let mut map = Map::default();
        map.set("address", address);
        map.0.extend(options.0);
        Value::map(map, line.span())
    };
    addresses.into_iter().map(value).collect()
}

/// What a `server` or `default-server` line says.
#[derive(Debug, Default, Clone)]
pub(super) struct Server {
    /// Keys of `servers:`.
    pub(super) keys: Map,
    /// Keys of `health_check:`.
    pub(super) check: Map,
    /// Whether it is checked.
    pub(super) checked: Option<(bool, Span)>,
    /// Whether its check goes over TLS.
    pub(super) check_ssl: bool,
    /// Keys of that which are not the traffic's.
    pub(super) check_tls: Map,
    /// `check-proto`
    pub(super) check_proto: Option<String>,
    /// An agent is asked for its state.
    pub(super) agent: Option<Span>,
    /// Keys of `agent_check:`.
    pub(super) agent_keys: Map,
    /// Keys of `tls:`, which count once `ssl` stands there, before them or behind.
    pub(super) tls: Map,
    /// `verifyhost`
    pub(super) verify_host: Option<Value>,
    ssl: Option<Span>,
}

impl Server {
    /// `server NAME ADDRESS [OPTIONS]`, on top of what `default-server` says.
    pub(super) fn read(&self, line: &Line, says: &mut Says) -> Option<Server> {
        let name = says.need(line, 1, "a name")?;
        let address = says.need(line, 2, "an address")?;
        let mut keys = Map::default();
        keys.set("name", Value::text(name, line.span_of(1)));
        let address = resolvers::server_address(address, line.span_of(2), says)?;
        keys.set("address", Value::text(address, line.span_of(2)));
        keys.0.extend(self.keys.0.clone());
        let mut server = Server {
            keys,
            ..self.clone()
        };
        server.options(&line.words[3..], says);
        resolvers::finish(&mut server.keys);
        source::finish(&mut server.keys);
        if !resolvers::is_name(line.text(2)) {
            // What `default-server` says of names is not for it.
            server.keys.remove("resolve");
            server.keys.remove("init_addr");
        }
        if server.ssl.is_some() || !server.tls.is_empty() {
            let span = server.ssl.unwrap_or(line.span());
            if says.bases.trusts_servers && server.tls.get("verify").is_none() {
                server.tls.set("verify", Value::plain("none", span));
            }
            let host = server.verify_host.as_ref();
            secured::name_server(&mut server.tls, host, span, says);
        }
        if let Some(span) = server.ssl {
            secured::finish_server(&mut server.tls, says);
            server.keys.set("tls", Value::map(server.tls.clone(), span));
        }
        Some(server)
    }

    /// What a PROXY header is to tell besides.
    fn tell(&mut self, what: &str, span: Span) {
        let known = self.keys.list_mut("proxy_v2_options");
        if !known.iter().any(|other| other.as_text() == Some(what)) {
            self.keys.push("proxy_v2_options", Value::plain(what, span));
        }
    }

    /// Options of either line.
    pub(super) fn options(&mut self, words: &[Word], says: &mut Says) {
        let mut words = Options { words, at: 0 };
        while let Some(option) = words.next() {
            let span = option.span;
            match option.text.as_str() {
                _ if sockets::of_server(option, &mut words, &mut self.keys, says) => {}
                "track" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.keys
                        .set("track", Value::text(value.text.as_str(), value.span));
                }
                "check" => self.checked = Some((true, span)),
                "no-check" => self.checked = Some((false, span)),
                "backup" | "disabled" => self.keys.set(&option.text, Value::plain("true", span)),
                "no-backup" => self.keys.remove("backup"),
                "enabled" => self.keys.remove("disabled"),
                "weight" | "maxconn" | "minconn" | "maxqueue" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    let key = match option.text.as_str() {
                        "maxqueue" => "max_queue",
                        key => key,
                    };
                    // HAProxy's 0 is no limit, which is no key here.
                    if option.text != "weight" && value.text == "0" {
                        self.keys.remove(key);
                    } else if let Some(number) = says.number(&value.text, value.span) {
                        self.keys.set_at(key, span, number);
                    }
                }
                "cookie" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.keys
                        .set("cookie", Value::text(value.text.as_str(), value.span));
                }
                "slowstart" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    if let Some(time) = says.duration(&value.text, value.span) {
                        self.keys.set("slowstart", time);
                    }
                }
                "source" => {
                    let source = source::of(&mut words, span, says);
                    if let Some(source) = source {
                        self.keys.set("source", source);
                    }
                }
                "on-marked-down" | "on-marked-up" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.keys.set(
                        &option.text.replace('-', "_"),
                        Value::plain(&value.text, value.span),
                    );
                }
                "inter" | "fastinter" | "downinter" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    let key = match option.text.as_str() {
                        "inter" => "interval",
                        "fastinter" => "fast_interval",
                        _ => "down_interval",
                    };
                    if let Some(time) = says.duration(&value.text, value.span) {
                        self.check.set(key, time);
                    }
                }
                "rise" | "fall" | "port" | "error-limit" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    if let Some(number) = says.number(&value.text, value.span) {
                        self.check.set(&option.text.replace('-', "_"), number);
                    }
                }
                "addr" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.check
                        .set("address", Value::text(value.text.as_str(), value.span));
                }
                "observe" | "on-error" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.check.set(
                        &option.text.replace('-', "_"),
                        Value::plain(&value.text, value.span),
                    );
                }
                "check-ssl" => self.check_ssl = true,
                "no-check-ssl" => self.check_ssl = false,
                "check-send-proxy" => self.check.set("send_proxy", Value::plain("true", span)),
                "no-send-proxy"
                | "no-send-proxy-v2"
                | "no-send-proxy-v2-ssl"
                | "no-send-proxy-v2-ssl-cn" => self.keys.remove("send_proxy"),
                "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                    self.keys.set("send_proxy", Value::plain("v2", span));
                    self.tell("ssl", span);
                    if option.text.ends_with("-cn") {
                        self.tell("cert-cn", span);
                    }
                }
                "proxy-v2-options" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    for name in value.text.split(',') {
                        self.tell(name, value.span);
                    }
                }
                "no-check-send-proxy" => self.check.remove("send_proxy"),
                "send-proxy" => self.keys.set("send_proxy", Value::plain("v1", span)),
                "send-proxy-v2" => self.keys.set("send_proxy", Value::plain("v2", span)),
                "ssl" => self.ssl = Some(span),
                "no-ssl" => self.ssl = None,
                "verify" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.tls.set(
                        "verify",
                        Value::plain(
                            if value.text == "none" {
                                "none"
                            } else {
                                "required"
                            },
                            value.span,
                        ),
                    );
                }
                "ca-file" | "crl-file" | "crt" | "verifyhost" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    match option.text.as_str() {
                        // Whom the system trusts is who is trusted where no file is named.
                        "ca-file" if value.text == "@system-ca" => self.tls.remove("ca"),
                        "ca-file" => {
                            let path = below(says.bases.authorities.as_ref(), &value.text);
                            self.tls.set("ca", Value::text(path, value.span));
                        }
                        "crl-file" => {
                            let path = below(says.bases.authorities.as_ref(), &value.text);
                            self.tls.set("crl", Value::text(path, value.span));
                        }
                        "crt" => {
                            let mut pair = Map::default();
                            let path = below(says.bases.certificates.as_ref(), &value.text);
                            pair.set("cert", Value::text(path.as_str(), value.span));
                            pair.set("key", Value::text(path, value.span));
                            self.tls.set("client_cert", Value::map(pair, value.span));
                        }
                        _ => {
                            let name = Value::text(value.text.as_str(), value.span);
                            self.verify_host = Some(name);
                        }
                    }
                }
                "sni" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    let name = value
                        .text
                        .strip_prefix("str(")
                        .and_then(|rest| rest.strip_suffix(')'));
                    match (name, value.text.as_str()) {
                        (Some(name), _) => self.tls.set("sni", Value::text(name, value.span)),
                        (
                            None,
                            "hdr(host)"
                            | "req.hdr(host)"
                            | "req.hdr(Host)"
                            | "req.hdr(host),field(1,:)"
                            | "req.hdr(host),host_only"
                            | "req.ssl_sni",
                        ) => {
                            self.tls.set("sni", Value::text("%[host]", value.span));
                        }
                        (None, expression) => {
                            let name = format!("%[{expression}]");
                            self.tls.set("sni", Value::text(name, value.span));
                        }
                    }
                }
                "alpn" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    secured::protocols(&value.text, value.span, &mut self.tls, says);
                }
                "proto" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    self.keys
                        .set("protocol", Value::plain(&value.text, value.span));
                }
                "agent-check" => self.agent = Some(span),
                "no-agent-check" => self.agent = None,
                "agent-port" | "agent-inter" | "agent-addr" | "agent-send" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    let (key, value) = match option.text.as_str() {
                        "agent-port" => ("port", says.number(&value.text, value.span)),
                        "agent-inter" => ("interval", says.duration(&value.text, value.span)),
                        "agent-addr" => (
                            "address",
                            Some(Value::text(value.text.as_str(), value.span)),
                        ),
                        _ => ("send", Some(Value::text(value.text.as_str(), value.span))),
                    };
                    if let Some(value) = value {
                        self.agent_keys.set(key, value);
                    }
                }
                "ciphers" | "ciphersuites" | "curves" => {
                    let Some(list) = words.argument(option, says) else {
                        continue;
                    };
                    if let Some((key, list)) = secured::suites(option, list, says) {
                        self.tls.set(key, list);
                    }
                }
                "check-sni" | "check-alpn" | "check-proto" => {
                    let Some(value) = words.argument(option, says) else {
                        continue;
                    };
                    let text = || Value::text(value.text.as_str(), value.span);
                    match option.text.as_str() {
                        "check-sni" => self.check_tls.set("sni", text()),
                        "check-proto" => self.check_proto = Some(value.text.clone()),
                        _ => {
                            let names = value.text.split(',');
                            let names = names.map(|name| Value::text(name, value.span));
                            let list = Value::list(names.collect(), value.span);
                            self.check_tls.set("alpn", list);
                        }
                    }
                }
                "no-ssl-reuse" => self.tls.set("resume", Value::plain("false", span)),
                "ssl-reuse" => self.tls.remove("resume"),
                "no-tls-tickets" => self.tls.set("tickets", Value::plain("false", span)),
                "tls-tickets" => self.tls.remove("tickets"),
                "id" => {
                    if let Some(id) = words.argument(option, says)
                        && let Some(id) = says.number(&id.text, id.span)
                    {
                        self.keys.set("id", id);
                    }
                }
                "pool-max-conn" | "pool-low-conn" | "pool-purge-delay" | "shard" | "log-proto"
                | "ws" => {
                    let _ = words.argument(option, says);
                    says.warn(
                        span,
                        format!("`{}` is left out: lb chooses by itself", option.text),
                    );
                }
                "no-sslv3" | "no-tlsv10" | "no-tlsv11" => {}
                "resolvers" | "resolve-prefer" | "resolve-net" | "resolve-opts" | "init-addr" => {
                    let argument = words.next();
                    resolvers::option(&option.text, argument, span, &mut self.keys, says);
                }
                _ if versions(option, &mut words, &mut self.tls, says) => {}
                other => {
                    says.unsupported(span, &format!("server … {other}"));
                    // The value of what is misspelt is no word.
                    let next = words.words.get(words.at).map(|word| word.text.as_str());
                    let is_known =
                        |word: &str| vocabulary::meant(&format!("server … {word}")).is_none();
                    if !is_known(other) && next.is_some_and(|next| !is_known(next)) {
                        words.at += 1;
                    }
                    words.at += usize::from(WITH_VALUE.contains(&other));
                }
            }
        }
    }
}
