//! `stats` of proxies: a page among their traffic, or our own endpoint where a `listen` has nothing else.

use super::{
    lines::Line,
    operators,
    proxy::Proxy,
    rules::{self, Side},
    says::Says,
    value::{Map, Value, What},
};

impl Proxy {
    /// A line of `stats`.
    pub(super) fn stats(&mut self, line: &Line, says: &mut Says) {
        let span = line.span_of(1);
        let rest = |at: usize| line.text(at).to_owned();
        match line.text(1) {
            "enable" => self.stats.set("enable", Value::plain("true", span)),
            "uri" => self.stats.set("uri", Value::text(rest(2), line.span_of(2))),
            "refresh" => {
                // Seconds unless a unit is there.
                let text = rest(2);
                let text = if text.parse::<u64>().is_ok() {
                    format!("{text}s")
                } else {
                    text
                };
                if let Some(time) = says.duration(&text, line.span_of(2)) {
                    self.stats.set("refresh", time);
                }
            }
            "realm" => self
                .stats
                .set("realm", Value::text(rest(2), line.span_of(2))),
            "auth" => match line.text(2).split_once(':') {
                Some((user, password)) if !user.is_empty() => {
                    let value = Value::text(password, line.span_of(2));
                    self.stats.inner("auth", span).set(user, value);
                }
                _ => says.error(
                    line.span(),
                    "`stats auth` without a user and a password",
                    "write `stats auth USER:PASSWORD`",
                ),
            },
            "admin" => {
                if let Some(admin) = operators::admin(line, &self.acls, says) {
                    self.stats.set("admin", admin);
                }
            }
            "show-legends" | "show-modules" => {}
            "hide-version" => self.stats.set("hide_version", Value::plain("true", span)),
            // The host's own name is shown without.
            "show-node" if line.text(2).is_empty() => {}
            "show-node" => self
                .stats
                .set("node", Value::text(rest(2), line.span_of(2))),
            "show-desc" => {
                let words: Vec<&str> = line.words.iter().skip(2).map(|w| &*w.text).collect();
                let text = match words.is_empty() {
                    true => says.bases.description.clone(),
                    false => Some(words.join(" ")),
                };
                if let Some(text) = text {
                    self.stats.set("description", Value::text(text, span));
                }
            }
            "scope" => {
                if let Some(name) = says.need(line, 2, "a proxy's name") {
                    // The own one, whose name `defaults` do not know.
                    let name = match name {
                        "." => self.name.as_str(),
                        name => name,
                    };
                    self.stats.push("scope", Value::text(name, line.span_of(2)));
                }
            }
            "http-request" => {
                let line = Line {
                    words: line.words[1..].to_vec(),
                };
                if !matches!(line.text(1), "allow" | "deny" | "auth") {
                    let what = format!("stats http-request {}", line.text(1));
                    says.unsupported(span, &what);
                } else if let Some(rule) = rules::http(&line, Side::Request, &self.acls, says) {
                    self.stats.push("rules", rule);
                }
            }
            other => says.unsupported(span, &format!("stats {other}")),
        }
    }
}

/// A `listen` that shows statistics and nothing else.
pub(super) fn endpoint(proxy: &Proxy, says: &mut Says) -> Value {
    let mut map = Map::default();
    let binds = match proxy.front.get("bind").map(|value| &value.what) {
        Some(What::List(items)) => items.as_slice(),
        _ => &[],
    };
    // There are no rules that would ask what they are called.
    let nameless = |bind: &Value| match &bind.what {
        What::Map(named) => {
            let mut named = named.clone();
            named.remove("id");
            named.remove("name");
            match (named.0.len(), named.get("address")) {
                (1, Some(address)) => address.clone(),
                _ => Value::map(named, bind.span),
            }
        }
        _ => bind.clone(),
    };
    let binds: Vec<Value> = binds.iter().map(nameless).collect();
    match binds.as_slice() {
        [one] => map.set("bind", one.clone()),
        [] => says.error(
            proxy.span,
            "statistics without a `bind`",
            "write `bind *:1080`",
        ),
        all => map.set("bind", Value::list(all.to_vec(), proxy.span)),
    }
    map.0.extend(page(proxy).0);
    Value::map(map, proxy.span)
}

/// Whether the page can be our own endpoint's: all that it asks for is known without a request's rules.
pub(super) fn is_endpoint(proxy: &Proxy) -> bool {
    let conditional = match proxy.stats.get("admin").map(|admin| &admin.what) {
        Some(What::Map(admin)) => admin.get("if").is_some(),
        _ => false,
    };
    let special = |bind: &Value| match &bind.what {
        What::Map(bind) => bind.get("accept_proxy").is_some(),
        _ => bind.as_text().is_some_and(|text| text.starts_with("unix:")),
    };
    let special = match proxy.front.get("bind").map(|binds| &binds.what) {
        Some(What::List(binds)) => binds.iter().any(special),
        _ => false,
    };
    !conditional && !special && proxy.stats.get("rules").is_none() && !proxy.is_tcp
}

/// What `stats` says of the page.
pub(super) fn page(proxy: &Proxy) -> Map {
    let keys = proxy.stats.0.iter().filter(|key| key.name != "enable");
    let mut map = Map(keys.cloned().collect());
    if map.get("uri").is_none() {
        // `stats uri` unless it is said: `STATS_DEFAULT_URI`.
        map.set("uri", Value::text("/haproxy?stats", proxy.span));
    }
    if map.get("auth").is_some() && map.get("realm").is_none() {
        // `STATS_DEFAULT_REALM`, by which browsers know passwords.
        map.set("realm", Value::text("HAProxy Statistics", proxy.span));
    }
    map
}
