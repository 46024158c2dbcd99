//! What lines say of sockets: of a bind's, of a proxy's clients and of its servers.

use super::{
    lines::Line,
    options_of::Options,
    proxy::Proxy,
    says::Says,
    value::{Map, Value, What},
    words::Word,
};

/// An option of a `bind` line that is about its sockets; whether it is one.
pub(super) fn of_bind(
    option: &Word,
    words: &mut Options<'_>,
    keys: &mut Map,
    says: &mut Says,
) -> bool {
    let span = option.span;
    match option.text.as_str() {
        "maxconn" | "backlog" => {
            let Some(value) = words.argument(option, says) else {
                return true;
            };
            // HAProxy's 0 is what the frontend says.
            if value.text != "0"
                && let Some(number) = says.number(&value.text, value.span)
            {
                keys.set_at(&option.text, span, number);
            }
        }
        "mss" => {
            let Some(value) = words.argument(option, says) else {
                return true;
            };
            if let Some(number) = says.number(&value.text, value.span) {
                keys.set_at("mss", span, number);
            }
        }
        "tcp-ut" => user_timeout(option, words, keys, says),
        // Their `defer-accept` and `tfo` have no value.
        "defer-accept" => keys.set("defer_accept", Value::plain("true", span)),
        "tfo" => keys.set("fast_open", Value::plain("true", span)),
        "interface" => {
            if let Some(name) = words.argument(option, says) {
                keys.set("interface", Value::text(name.text.as_str(), name.span));
            }
        }
        "transparent" => keys.set("transparent", Value::plain("true", span)),
        "nice" => {
            let _ = words.argument(option, says);
            let message = "`nice` is left out: each worker serves whoever is ready in turn";
            says.warn(span, message);
        }
        _ => return false,
    }
    true
}

/// An option of a `server` line that is about its connections; whether it is one.
pub(super) fn of_server(
    option: &Word,
    words: &mut Options<'_>,
    keys: &mut Map,
    says: &mut Says,
) -> bool {
    let span = option.span;
    match option.text.as_str() {
        "tcp-ut" => user_timeout(option, words, keys, says),
        "tfo" => keys.set("fast_open", Value::plain("true", span)),
        "no-tfo" => keys.remove("fast_open"),
        "non-stick" => keys.set("stick", Value::plain("false", span)),
        "max-reuse" => {
            let Some(value) = words.argument(option, says) else {
                return true;
            };
            match value.text.as_str() {
                "-1" => keys.remove("max_reuse"),
                text => {
                    if let Some(number) = says.number(text, value.span) {
                        keys.set_at("max_reuse", span, number);
                    }
                }
            }
        }
        _ => return false,
    }
    true
}

/// `tcp-ut TIME`
fn user_timeout(option: &Word, words: &mut Options<'_>, keys: &mut Map, says: &mut Says) {
    let Some(value) = words.argument(option, says) else {
        return;
    };
    let time = says.duration(&value.text, value.span);
    match time {
        // The system's own.
        Some(time) if time.as_text() == Some("0ms") => keys.remove("user_timeout"),
        Some(time) => keys.set_at("user_timeout", option.span, time),
        None => {}
    }
}

impl Proxy {
    /// `option clitcpka`, `option nolinger` and the like; whether it is one of these.
    pub(super) fn habit(&mut self, line: &Line, on: bool) -> bool {
        let span = line.span();
        let (key, client, server) = match line.text(1) {
            "tcpka" => ("keepalive", true, true),
            "clitcpka" => ("keepalive", true, false),
            "srvtcpka" => ("keepalive", false, true),
            "nolinger" => ("reset_on_close", true, true),
            "independent-streams" | "independant-streams" => ("independent_streams", true, true),
            _ => return false,
        };
        let halves = [
            (client && self.kind.has_front(), &mut self.front),
            (server && self.kind.has_back(), &mut self.back),
        ];
        for (_, map) in halves.into_iter().filter(|(has, _)| *has) {
            let habits = map.inner("sockets", span);
            match on {
                true => habits.set(key, Value::plain("true", span)),
                false => habits.remove(key),
            }
        }
        true
    }

    /// `dispatch ADDRESS:PORT`, `transparent`, `option transparent`: a server that has no name there.
    pub(super) fn dispatch(&mut self, line: &Line, says: &mut Says) {
        let word = |text: &str| Word {
            text: text.to_owned(),
            ..line.words[0].clone()
        };
        let mut words = vec![line.words[0].clone()];
        if line.keyword() == "dispatch" {
            if says.need(line, 1, "an address and a port").is_none() {
                return;
            }
            words.extend([word("dispatch"), line.words[1].clone()]);
        } else {
            words.extend([word("transparent"), word("*")]);
        }
        self.dispatch = self.default_server.read(&Line { words }, says);
    }

    /// Sends everybody there whom no cookie sends to a server.
    pub(super) fn settle_dispatch(&mut self) {
        let Some(dispatch) = self.dispatch.take() else {
            return;
        };
        for server in &mut self.servers {
            // They keep who has their cookie, and take nobody new.
            let span = server.keys.0.first().map_or(self.span, |key| key.span);
            server.keys.set("weight", Value::plain(0, span));
        }
        self.servers.push(dispatch);
    }

    /// `clitcpka-idle TIME`, `clitcpka-intvl TIME`, `clitcpka-cnt N` and the same of servers.
    pub(super) fn keepalive(&mut self, line: &Line, says: &mut Says) {
        let (whose, what) = match line.keyword().split_once('-') {
            Some(("clitcpka", what)) => (&mut self.front, what),
            Some((_, what)) => (&mut self.back, what),
            None => return,
        };
        let Some(text) = says.need(line, 1, "a value") else {
            return;
        };
        let span = line.span_of(1);
        let (key, value) = match what {
            "cnt" => ("count", says.number(text, span)),
            what => {
                let key = if what == "idle" { "idle" } else { "interval" };
                // Seconds unless it says otherwise, unlike other times.
                let bare = text.bytes().all(|byte| byte.is_ascii_digit());
                let text = if bare {
                    format!("{text}s")
                } else {
                    text.to_owned()
                };
                (key, says.duration(&text, span))
            }
        };
        if let Some(value) = value {
            whose
                .inner("sockets", line.span())
                .inner("times", line.span())
                .set(key, value);
        }
    }
}

/// Makes `sockets` what it is in the end: times without a keepalive are for nothing, and no habit at all is no key.
pub(super) fn finish(map: &mut Map) {
    let Some(span) = map.get("sockets").map(|habits| habits.span) else {
        return;
    };
    let habits = map.inner("sockets", span);
    let times = habits.get("times").cloned();
    habits.remove("times");
    if let Some(times) = times
        && matches!(&times.what, What::Map(times) if !times.is_empty())
        && habits.get("keepalive").is_some()
    {
        habits.set("keepalive", times);
    }
    if habits.is_empty() {
        map.remove("sockets");
    }
}
