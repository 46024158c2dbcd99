//! A request on its way to the log thread, which writes its line: what the line says is copied, and that is a fifth of
//! what it takes to write it. There, where many are written one after the other, the code for it stays in the cache.

use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

use super::{
    httplog::{self, REQUEST_LINE_MAX},
    record::{Active, Common, Extra, HttpRecord, RequestLine, ServerField},
    termination::{CookieSeen, CookieSet, Termination},
};
use crate::{
    config::model::{AccessLog, LogOptions},
    topology::Peer,
};

/// Room for the names and the request line of a usual request.
const USUAL: usize = 160;

/// What the line of a request in HAProxy's format says.
#[derive(Debug)]
pub(super) struct Kept {
    words: Words,
    asap: bool,
    client: Peer,
    accepted: SystemTime,
    tls: bool,
    has_backend: bool,
    has_request: bool,
    queued: Option<Duration>,
    connected: Option<Duration>,
    request_received: Option<Duration>,
    responded: Option<Duration>,
    total: Duration,
    bytes_out: u64,
    termination: Termination,
    active: Active,
    retries: u32,
    redispatched: bool,
    server_queue: u32,
    backend_queue: u32,
    status: Option<u16>,
    cookie_seen: CookieSeen,
    cookie_set: CookieSet,
}

/// Texts, one after the other.
#[derive(Debug, Default)]
struct Words {
    bytes: SmallVec<[u8; USUAL]>,
    /// Where each ends: frontend, backend, server, method, target, version.
    ends: [u32; 6],
}

impl Words {
    fn of(words: [&str; 6]) -> Self {
        let mut all = Self::default();
        for (word, end) in words.into_iter().zip(&mut all.ends) {
            all.bytes.extend_from_slice(word.as_bytes());
            // Four names of a configuration and a target that is cut.
            *end = u32::try_from(all.bytes.len()).unwrap_or(u32::MAX);
        }
        all
    }

    /// Each of them.
    fn all(&self) -> [&str; 6] {
        // One look at all of them for what is text already: they are what came in.
        let all = std::str::from_utf8(&self.bytes).unwrap_or_default();
        let mut begin = 0;
        self.ends.map(|end| {
            let word = all.get(begin..end as usize);
            begin = end as usize;
            word.unwrap_or_default()
        })
    }
}

impl Kept {
    /// What `record`'s line says; `None` if it is to be written at once: it has another format, or shows what the frontend
    /// has kept of messages.
    pub(super) fn of(record: &HttpRecord<'_>) -> Option<Box<Self>> {
        let common = &record.common;
        if !matches!(common.format, AccessLog::Http) || common.extra.captured.is_some() {
            return None;
        }
        let line = record.request;
        let [method, target, version] =
            line.map_or([""; 3], |line| [line.method, line.uri, line.version]);
        // What is longer than a whole line is cut, and so is this.
        let target = &target[..target.floor_char_boundary(REQUEST_LINE_MAX + 1)];
        Some(Box::new(Self {
            words: Words::of([
                common.frontend,
                common.backend.unwrap_or_default(),
                common.server.text(),
                method,
                target,
                version,
            ]),
            asap: common.options.asap,
            client: common.client,
            accepted: common.accepted,
            tls: common.tls,
            has_backend: common.backend.is_some(),
            has_request: line.is_some(),
            queued: common.queued,
            connected: common.connected,
            request_received: record.request_received,
            responded: record.responded,
            total: common.total,
            bytes_out: common.bytes_out,
            termination: common.termination,
            active: common.active,
            retries: common.retries,
            redispatched: common.redispatched,
            server_queue: common.server_queue,
            backend_queue: common.backend_queue,
            status: record.status,
            cookie_seen: record.cookie_seen,
            cookie_set: record.cookie_set,
        }))
    }

    /// Appends the line, as [`httplog::write`] does.
    pub(super) fn write(&self, out: &mut String) {
        let [frontend, backend, server, method, uri, version] = self.words.all();
        httplog::write(
            out,
            &HttpRecord {
                common: Common {
                    format: &AccessLog::Http,
                    options: LogOptions {
                        asap: self.asap,
                        ..LogOptions::default()
                    },
                    client: self.client,
                    accepted: self.accepted,
                    frontend,
                    tls: self.tls,
                    backend: self.has_backend.then_some(backend),
                    server: ServerField::Name(server),
                    queued: self.queued,
                    connected: self.connected,
                    total: self.total,
                    // The line does not say it.
                    bytes_in: 0,
                    bytes_out: self.bytes_out,
                    termination: self.termination,
                    active: self.active,
                    retries: self.retries,
                    redispatched: self.redispatched,
                    server_queue: self.server_queue,
                    backend_queue: self.backend_queue,
                    extra: Extra::default(),
                },
                request_received: self.request_received,
                responded: self.responded,
                status: self.status,
                request: self.has_request.then_some(RequestLine {
                    method,
                    uri,
                    version,
                }),
                cookie_seen: self.cookie_seen,
                cookie_set: self.cookie_set,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fixture::common,
            termination::{Cause, Phase},
        },
        *,
    };
    use std::sync::Arc;

    use http::HeaderMap;

    use crate::rules::Captured;

    fn record<'a>(common: Common<'a>, request: Option<RequestLine<'a>>) -> HttpRecord<'a> {
        HttpRecord {
            common,
            request_received: Some(Duration::from_millis(1)),
            responded: Some(Duration::from_millis(2)),
            status: Some(200),
            request,
            cookie_seen: CookieSeen::None,
            cookie_set: CookieSet::Inserted,
        }
    }

    fn request(uri: &str) -> Option<RequestLine<'_>> {
        Some(RequestLine {
            method: "GET",
            uri,
            version: "HTTP/1.1",
        })
    }

    /// The same line, written at once and later.
    fn both(record: &HttpRecord<'_>) -> (String, String) {
        let (mut at_once, mut later) = (String::new(), String::new());
        httplog::write(&mut at_once, record);
        let kept = Kept::of(record).expect("it has no more to say");
        kept.write(&mut later);
        (at_once, later)
    }

    #[test]
    fn the_line_is_the_same_later() {
        let all = Common {
            tls: true,
            backend: None,
            server: ServerField::Stats,
            queued: None,
            connected: Some(Duration::from_millis(3)),
            total: Duration::from_millis(70_001),
            bytes_out: 1 << 40,
            termination: Termination::new(Cause::ServerTimeout, Phase::Data),
            active: Active {
                process: 9,
                frontend: 8,
                backend: 7,
                server: 6,
            },
            retries: 5,
            redispatched: true,
            server_queue: 4,
            backend_queue: 3,
            ..common()
        };
        let asap = LogOptions {
            asap: true,
            ..LogOptions::default()
        };
        let long = format!("/{}é{}", "x".repeat(REQUEST_LINE_MAX - 2), "y".repeat(5000));
        for record in [
            record(common(), request("/a?b#\"é\u{1}")),
            record(all, request(&long)),
            record(
                Common {
                    options: asap,
                    ..common()
                },
                None,
            ),
            HttpRecord {
                status: None,
                ..record(common(), request(""))
            },
        ] {
            let (at_once, later) = both(&record);
            assert_eq!(at_once, later);
        }
    }

    #[test]
    fn what_says_more_is_written_at_once() {
        let captured = Captured::of_request(&Arc::default(), &HeaderMap::new());
        let extra = Extra {
            captured: Some(&captured),
            ..Extra::default()
        };
        assert!(Kept::of(&record(Common { extra, ..common() }, None)).is_none());
        let format = &AccessLog::Json;
        assert!(Kept::of(&record(Common { format, ..common() }, None)).is_none());
    }
}
