//! What a proxy's mode says of its keys.

use super::{
    proxy::{Kind, Proxy},
    says::Says,
    sockets,
    value::{Map, Value, What},
};

/// Keys that mean nothing in mode tcp, which HAProxy reads over there.
const OF_HTTP: &[&str] = &[
    "forwarded_for",
    "errorfiles",
    "cookie",
    "capture",
    "forwarded",
    "connection_mode",
    "http_reuse",
    "ignore_probes",
    "pretend_keep_alive",
    "restrict_header_names",
    "persist",
    "abort_on_close",
    "prefer_last_server",
    "h2_upgrade",
    "send_name_header",
    "monitor",
    "stats",
];

impl Proxy {
    /// Leaves of it what `disabled` does, and says whether that is anything: nothing listens there, and who is sent there
    /// finds no server.
    pub(super) fn is_left(&mut self, says: &mut Says) -> bool {
        self.settle_dispatch();
        let Some(span) = self.disabled else {
            return self.is_reached(says);
        };
        if self.kind.has_front() {
            let message = format!("nothing listens for `{}`: it is disabled", self.name);
            says.warn(span, message);
        }
        if self.kind == Kind::Frontend || self.kind == Kind::Listen && self.servers.is_empty() {
            return false;
        }
        self.kind = Kind::Backend;
        self.front = Map::default();
        self.routes.clear();
        for server in &mut self.servers {
            let disabled = Value::plain("true", span);
            server.keys.set("disabled", disabled);
        }
        true
    }
}

impl Proxy {
    /// Leaves of one that nobody can connect to what others send to it, and says whether that is anything.
    fn is_reached(&mut self, says: &mut Says) -> bool {
        if !self.kind.has_front() || self.front.get("bind").is_some() {
            return true;
        }
        let is_backend = self.kind == Kind::Listen && !self.servers.is_empty();
        if !is_backend {
            let message = format!("nobody comes to `{}`: it has no `bind`", self.name);
            says.warn(self.span, message);
        }
        self.kind = Kind::Backend;
        self.front = Map::default();
        self.routes.clear();
        is_backend
    }

    /// Leaves rules of requests out in mode tcp, where HAProxy asks none of them.
    pub(super) fn without_requests(&mut self, says: &mut Says) {
        if !self.is_tcp {
            return;
        }
        let of_requests = [
            &mut self.request,
            &mut self.redirects,
            &mut self.response,
            &mut self.after,
        ];
        for rules in of_requests {
            for rule in rules.drain(..) {
                let message = format!("this rule is left out: `{}` is in mode tcp", self.name);
                says.warn(rule.span, message);
            }
        }
        self.original = None;
    }
}

/// Whether somebody answers who comes to a frontend.
pub(super) fn leads_somewhere(front: &Map) -> bool {
    let ways = ["default_backend", "rules", "stats", "monitor"];
    ways.iter().any(|way| front.get(way).is_some())
}

/// Its mode.
pub(super) fn mode(proxy: &Proxy) -> Value {
    Value::plain(if proxy.is_tcp { "tcp" } else { "http" }, proxy.span)
}

/// What holds for either half of a proxy.
pub(super) fn prepare(map: &mut Map, proxy: &Proxy) {
    map.set("mode", mode(proxy));
    sockets::finish(map);
    if !proxy.is_tcp {
        // HAProxy reads it over in mode http.
        map.remove("persist_rdp_cookie");
        return;
    }
    OF_HTTP.iter().for_each(|key| map.remove(key));
    if let Some(span) = map.get("unique_id").map(|value| value.span) {
        let inner = map.inner("unique_id", span);
        inner.remove("header");
        if inner.is_empty() {
            map.remove("unique_id");
        }
    }
    if let Some(Value {
        what: What::Text { text, .. },
        span,
    }) = map.get("log_format")
        && matches!(text.as_str(), "http" | "https")
    {
        // `option httplog` in mode tcp: HAProxy falls back to tcplog.
        let value = Value::plain("tcp", *span);
        map.set("log_format", value);
    }
    let timeouts = map.get("timeouts").map(|value| value.span);
    if let Some(span) = timeouts {
        let inner = map.inner("timeouts", span);
        ["http_request", "http_keep_alive", "tarpit"]
            .iter()
            .for_each(|key| inner.remove(key));
        if inner.is_empty() {
            map.remove("timeouts");
        }
    }
}
