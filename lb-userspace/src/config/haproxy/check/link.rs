//! What comes before the bytes of a check: TLS and the PROXY header, of its `connect` or of the server.

use super::super::{
    server::Server,
    value::{Map, Value},
};
use crate::config::source::Span;

/// What a `connect` says of it.
#[derive(Debug, Default, Clone)]
pub(super) struct Link {
    /// There is a `connect` without `default`: nothing is as the server has it, unless it says so.
    pub(super) own: bool,
    /// `ssl`
    pub(super) secure: bool,
    /// `send-proxy`
    pub(super) introduced: bool,
    /// `sni`, `alpn`: they make nothing TLS.
    pub(super) tls: Map,
}

impl Link {
    /// Completes the keys of a check of `server` by it.
    pub(super) fn apply(&self, keys: &mut Map, server: &Server, span: Span) {
        let goes_elsewhere = |keys: &Map| {
            ["port", "address"]
                .iter()
                .any(|key| keys.get(key).is_some())
        };
        let elsewhere = goes_elsewhere(keys);
        let said = goes_elsewhere(&server.check);
        self.introduce(keys, server, span, (elsewhere, said));
        let traffic = server.keys.get("tls");
        // HAProxy's checks of a port of their own are no TLS, unless `check-ssl` is there.
        let as_server = server.check_ssl || (traffic.is_some() && !said);
        let secure = self.secure || (as_server && !self.own);
        let converses = keys.get("steps").is_some();
        let of_check = if self.own {
            &Map::default()
        } else {
            &server.check_tls
        };
        match keys.get("type").and_then(Value::as_text) {
            Some("ssl") => return,
            Some("http") if secure => keys.set("type", Value::plain("https", span)),
            // Nothing but a handshake.
            Some("tcp") if secure && !converses && !self.own && of_check.is_empty() => {
                keys.set("type", Value::plain("ssl", span));
                return;
            }
            _ => {}
        }
        let speaks_h2 = server.check_proto.as_deref() == Some("h2") && !self.own;
        let is_http = !converses
            && matches!(
                keys.get("type").and_then(Value::as_text),
                Some("http" | "https")
            );
        if speaks_h2 && is_http {
            keys.set("type", Value::plain("h2", span));
        }
        if !secure {
            if traffic.is_some() && !elsewhere {
                keys.set("tls", Value::plain("false", span));
            }
            return;
        }
        let is_http = !converses && keys.get("type").and_then(Value::as_text) == Some("https");
        let by_itself = match traffic {
            Some(_) => is_http || !elsewhere,
            None => is_http && server.tls.is_empty(),
        };
        let nameless = self.is_nameless(server, of_check);
        if !by_itself || self.own || !self.tls.is_empty() || !of_check.is_empty() || nameless {
            keys.set("tls", self.options(server, of_check, span));
        }
    }

    /// Whether traffic is verified by a name that a check does not have, for it depends on the request, and nothing says one
    /// for checks.
    fn is_nameless(&self, server: &Server, of_check: &Map) -> bool {
        let text = |key| server.tls.get(key).and_then(Value::as_text);
        let said = of_check.get("sni").is_some() || self.tls.get("sni").is_some();
        let depends = text("sni").is_some_and(|name| name.contains("%["));
        depends && !said && text("verify") != Some("none")
    }

    /// The TLS that is neither the server's nor a usual one.
    fn options(&self, server: &Server, of_check: &Map, span: Span) -> Value {
        let mut tls = server.tls.clone();
        if self.is_nameless(server, of_check) {
            // As HAProxy: by the name of `verifyhost`, else by none.
            tls.remove("sni");
            match &server.verify_host {
                Some(host) => tls.set("sni", host.clone()),
                None => tls.set("verify", Value::plain("chain", span)),
            }
        }
        if self.own {
            tls.remove("alpn");
            // No name is sent; what is verified is verified by it.
            if tls.get("verify").and_then(Value::as_text) == Some("none") {
                tls.remove("sni");
            }
        }
        for key in of_check.0.iter().chain(&self.tls.0) {
            tls.set_at(&key.name, key.span, key.value.clone());
            let verify = tls.get("verify").and_then(Value::as_text);
            if key.name == "sni" && verify == Some("chain") {
                tls.set("verify", Value::plain("required", key.span));
            }
        }
        match tls.is_empty() {
            true => Value::plain("true", span),
            false => Value::map(tls, span),
        }
    }

    /// The PROXY header.
    fn introduce(&self, keys: &mut Map, server: &Server, span: Span, at: (bool, bool)) {
        let (elsewhere, said) = at;
        let traffic = server.keys.get("send_proxy").is_some();
        if self.own {
            keys.remove("send_proxy");
            if traffic && !elsewhere && !self.introduced {
                keys.set("send_proxy", Value::plain("false", span));
            }
        }
        if self.introduced || (!self.own && traffic && elsewhere && !said) {
            keys.set("send_proxy", Value::plain("true", span));
        }
    }
}
