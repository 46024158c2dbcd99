//! Log lines as one JSON object each: the facts of HAProxy's lines under long names.

use std::{borrow::Cow, time::SystemTime};

use serde::Serialize;

use super::{
    clock::Calendar,
    level::Level,
    record::{Common, HttpRecord, Path, TcpRecord},
    text::millis,
};
use crate::rules::Side;

/// An HTTP request as JSON.
pub fn http(record: &HttpRecord<'_>) -> String {
    encode(&Access {
        method: record.request.map(|line| line.method),
        uri: record.request.map(|line| line.uri),
        version: record.request.map(|line| line.version),
        status: record.status,
        request_ms: record.request_received.map(millis),
        response_ms: record.responded.map(millis),
        sticky_cookie: Some(
            [record.cookie_seen.letter(), record.cookie_set.letter()]
                .iter()
                .collect(),
        ),
        ..Access::common("http", &record.common)
    })
}

/// A TCP connection as JSON.
pub fn tcp(record: &TcpRecord<'_>) -> String {
    encode(&Access {
        path: Some(match record.path {
            Path::Kernel => "kernel",
            Path::Userspace => "userspace",
        }),
        ..Access::common("tcp", &record.common)
    })
}

/// A message of the daemon as JSON.
pub fn event(level: Level, at: SystemTime, message: &str) -> String {
    #[derive(Serialize)]
    struct Event<'a> {
        time: String,
        level: &'static str,
        message: &'a str,
    }
    encode(&Event {
        time: rfc3339(at),
        level: level.name(),
        message,
    })
}

/// The long names. What a protocol does not have or a session did not reach is left out.
#[derive(Serialize)]
struct Access<'a> {
    time: String,
    r#type: &'static str,
    /// `unix` for who came by a unix socket.
    client_address: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_port: Option<u16>,
    accepted: String,
    frontend: &'a str,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_ms: Option<u64>,
    total_ms: u64,
    bytes_in: u64,
    bytes_out: u64,
    termination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky_cookie: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    captured_request_headers: Vec<Option<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    captured_response_headers: Vec<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured_request_cookie: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured_response_cookie: Option<Cow<'a, str>>,
    active_process: u32,
    active_frontend: u32,
    active_backend: u32,
    active_server: u32,
    retries: u32,
    redispatched: bool,
    server_queue: u32,
    backend_queue: u32,
}

impl<'a> Access<'a> {
    fn common(kind: &'static str, common: &Common<'a>) -> Self {
        Self {
            time: rfc3339(common.accepted + common.total),
            r#type: kind,
            client_address: match common.client.ip() {
                Some(ip) => ip.to_canonical().to_string().into(),
                None => "unix".into(),
            },
            client_port: common.client.inet().map(|client| client.port()),
            accepted: rfc3339(common.accepted),
            frontend: common.frontend,
            tls: common.tls,
            backend: common.backend,
            server: match common.server {
                super::ServerField::Name(name) => Some(name),
                super::ServerField::None
                | super::ServerField::Metrics
                | super::ServerField::Stats => None,
            },
            path: None,
            method: None,
            uri: None,
            version: None,
            status: None,
            request_ms: None,
            queue_ms: common.queued.map(millis),
            connect_ms: common.connected.map(millis),
            response_ms: None,
            total_ms: millis(common.total),
            bytes_in: common.bytes_in,
            bytes_out: common.bytes_out,
            termination: [
                common.termination.cause.letter(),
                common.termination.phase.letter(),
            ]
            .iter()
            .collect(),
            sticky_cookie: None,
            captured_request_headers: captured_fields(common, Side::Request),
            captured_response_headers: captured_fields(common, Side::Response),
            captured_request_cookie: captured_cookie(common, Side::Request),
            captured_response_cookie: captured_cookie(common, Side::Response),
            active_process: common.active.process,
            active_frontend: common.active.frontend,
            active_backend: common.active.backend,
            active_server: common.active.server,
            retries: common.retries,
            redispatched: common.redispatched,
            server_queue: common.server_queue,
            backend_queue: common.backend_queue,
        }
    }
}

fn captured_fields(common: &Common<'_>, side: Side) -> Vec<Option<String>> {
    let Some(captured) = common.extra.captured else {
        return Vec::new();
    };
    let text = |kept: &[u8]| String::from_utf8_lossy(kept).into_owned();
    let all = captured.all(side);
    all.iter().map(|kept| kept.as_deref().map(text)).collect()
}

fn captured_cookie<'a>(common: &Common<'a>, side: Side) -> Option<Cow<'a, str>> {
    let captured = common.extra.captured?;
    captured.cookie(side).map(String::from_utf8_lossy)
}

/// `2026-11-23T02:30:20.251+01:00` (RFC 3339), local time.
fn rfc3339(at: SystemTime) -> String {
    let at = Calendar::local(at);
    format!(
        "{}T{}.{:03}{}",
        at.date(),
        at.time(),
        at.millisecond,
        at.zone(":")
    )
}

/// Strings, numbers and options always encode, so that an error cannot arise; it would leave an empty line.
fn encode(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::log::{CookieSeen, CookieSet, RequestLine, fixture::common};

    #[test]
    fn a_request_carries_the_facts_of_the_text_line() {
        let line = http(&HttpRecord {
            common: common(),
            request_received: Some(Duration::from_millis(2)),
            responded: None,
            status: Some(200),
            request: Some(RequestLine {
                method: "GET",
                uri: "/\"x",
                version: "HTTP/1.1",
            }),
            cookie_seen: CookieSeen::Valid,
            cookie_set: CookieSet::None,
        });
        let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(value["type"], "http");
        assert_eq!(value["client_address"], "127.0.0.1");
        assert_eq!(value["client_port"], 50166);
        assert_eq!(value["uri"], "/\"x");
        assert_eq!(value["request_ms"], 2);
        assert_eq!(value["sticky_cookie"], "VN");
        assert_eq!(value["termination"], "--");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_message_is_an_object_too() {
        let line = event(Level::Alert, SystemTime::UNIX_EPOCH, "Server a/b is DOWN");
        let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(value["level"], "alert");
        assert_eq!(value["message"], "Server a/b is DOWN");
    }
}
