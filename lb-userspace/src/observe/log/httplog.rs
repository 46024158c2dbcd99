//! HAProxy's `option httplog` line.

use super::{
    record::{Common, HttpRecord},
    tcplog::counts,
    text::{accept_date, elapsed, escaped, hex, number, peer, timer},
};

use crate::rules::Side;

/// HAProxy keeps this much of a request line (its REQURI_LEN, less the final NUL).
pub(super) const REQUEST_LINE_MAX: usize = 1023;

/// Appends `record` to `out` as HAProxy writes it, without a line end.
pub fn write(out: &mut String, record: &HttpRecord<'_>) {
    let common = &record.common;
    write_head(out, common);
    for took in [
        record.request_received,
        common.queued,
        common.connected,
        record.responded,
    ] {
        timer(out, took);
        out.push('/');
    }
    out.push_str(common.so_far());
    elapsed(out, common.total);
    out.push(' ');
    match record.status {
        Some(status) => number(out, status),
        None => out.push_str("-1"),
    }
    out.push(' ');
    out.push_str(common.so_far());
    number(out, common.bytes_out);
    out.push(' ');
    let captured = common.extra.captured;
    for side in [Side::Request, Side::Response] {
        match captured.and_then(|captured| captured.cookie(side)) {
            Some(cookie) => text_of(out, cookie, false),
            None => out.push('-'),
        }
        out.push(' ');
    }
    for letter in [
        common.termination.cause.letter(),
        common.termination.phase.letter(),
        record.cookie_seen.letter(),
        record.cookie_set.letter(),
    ] {
        out.push(letter);
    }
    out.push(' ');
    counts(out, common);
    out.push(' ');
    for side in [Side::Request, Side::Response] {
        if let Some(kept) = captured
            .map(|captured| captured.all(side))
            .filter(|kept| !kept.is_empty())
        {
            captured_fields(out, &kept, false);
            out.push(' ');
        }
    }
    out.push('"');
    match record.request {
        Some(line) => {
            let parts = [line.method, " ", line.uri, " ", line.version];
            let mut left = REQUEST_LINE_MAX;
            if parts.iter().map(|part| part.len()).sum::<usize>() <= left {
                parts.iter().for_each(|part| request_text(out, part));
            } else {
                for part in parts {
                    // A character that would be cut goes whole, and nothing follows it.
                    request_text(out, &part[..part.floor_char_boundary(left)]);
                    left = left.saturating_sub(part.len());
                }
            }
        }
        None => out.push_str("<BADREQ>"),
    }
    out.push('"');
}

/// `CLIENT:PORT [DATE] FRONTEND BACKEND/SERVER `, with which both formats begin.
pub(super) fn write_head(out: &mut String, common: &Common<'_>) {
    peer(out, common.client);
    out.push_str(" [");
    accept_date(out, common.accepted);
    out.push_str("] ");
    out.push_str(common.frontend);
    if common.tls {
        out.push('~');
    }
    out.push(' ');
    out.push_str(common.backend.unwrap_or(common.frontend));
    out.push('/');
    out.push_str(common.server.text());
    out.push(' ');
}

/// A part of a request line, with what would break the quoting or is no printable ASCII as `#` and two digits (HAProxy's
/// `url_encode_map`). A blank, of which a target has none, divides the parts.
pub(super) fn request_text(out: &mut String, part: &str) {
    escaped(out, part, |byte| {
        (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'#'
    });
}

/// `{first|second}`: what was kept of a message's fields. `escape` is `+E`.
pub(super) fn captured_fields(out: &mut String, kept: &[Option<Box<[u8]>>], escape: bool) {
    for (at, text) in kept.iter().enumerate() {
        out.push(if at == 0 { '{' } else { '|' });
        captured_field(out, text.as_deref().unwrap_or_default(), escape);
    }
    out.push('}');
}

/// One of them, with what divides them escaped as HAProxy's `hdr_encode_map` has it.
pub(super) fn captured_field(out: &mut String, text: &[u8], escape: bool) {
    for &byte in text {
        match byte {
            b'"' | b'#' | b'{' | b'|' | b'}' | ..b' ' | 0x7f.. => hex(out, byte),
            _ => {
                if escape && matches!(byte, b'\\' | b']') {
                    out.push('\\');
                }
                out.push(char::from(byte));
            }
        }
    }
}

/// A text that is written as it is, but for what would end the line. `escape` is `+E`.
pub(super) fn text_of(out: &mut String, text: &[u8], escape: bool) {
    let is_plain = |c: char| !(c.is_control() || escape && matches!(c, '"' | '\\' | ']'));
    for chunk in text.utf8_chunks() {
        for run in chunk.valid().split_inclusive(|c| !is_plain(c)) {
            let Some(last) = run.chars().next_back().filter(|&c| !is_plain(c)) else {
                out.push_str(run);
                continue;
            };
            let (plain, end) = run.split_at(run.len() - last.len_utf8());
            out.push_str(plain);
            if last.is_control() {
                end.bytes().for_each(|byte| hex(out, byte));
            } else {
                out.push('\\');
                out.push_str(end);
            }
        }
        for &byte in chunk.invalid() {
            hex(out, byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::record::*, *};
    use crate::observe::log::{
        CookieSeen, CookieSet,
        fixture::{common, strip_date},
        termination::{Cause, Phase, Termination},
    };

    fn record(common: Common<'static>) -> HttpRecord<'static> {
        HttpRecord {
            common,
            request_received: Some(Duration::ZERO),
            responded: Some(Duration::from_micros(1_900)),
            status: Some(200),
            request: Some(RequestLine {
                method: "GET",
                uri: "/",
                version: "HTTP/1.1",
            }),
            cookie_seen: CookieSeen::None,
            cookie_set: CookieSet::Inserted,
        }
    }

    fn line(record: &HttpRecord<'_>) -> String {
        let mut out = String::new();
        write(&mut out, record);
        strip_date(&out)
    }

    // The expected lines were logged by HAProxy 2.6, addresses and date aside.

    #[test]
    fn an_answered_request() {
        let record = record(Common {
            total: Duration::from_millis(1),
            bytes_out: 641,
            ..common()
        });
        assert_eq!(
            line(&record),
            "127.0.0.1:50166 [] http-in def/s1 0/0/0/1/1 200 641 - - --NI 1/1/0/0/0 0/0 \"GET / HTTP/1.1\""
        );
    }

    #[test]
    fn no_server_available() {
        let mut record = record(Common {
            backend: Some("bad"),
            server: ServerField::None,
            queued: None,
            connected: None,
            bytes_out: 217,
            termination: Termination::new(Cause::Server, Phase::Connect),
            ..common()
        });
        record.responded = None;
        record.status = Some(503);
        record.cookie_seen = CookieSeen::NotApplicable;
        record.cookie_set = CookieSet::NotApplicable;
        record.request = Some(RequestLine {
            method: "GET",
            uri: "/bad",
            version: "HTTP/1.1",
        });
        assert_eq!(
            line(&record),
            "127.0.0.1:50166 [] http-in bad/<NOSRV> 0/-1/-1/-1/0 503 217 - - SC-- 1/1/0/0/0 0/0 \"GET /bad HTTP/1.1\""
        );
    }

    #[test]
    fn a_bad_request() {
        let mut record = record(Common {
            backend: None,
            server: ServerField::None,
            queued: None,
            connected: None,
            termination: Termination::new(Cause::Proxy, Phase::Request),
            ..common()
        });
        record.request_received = None;
        record.responded = None;
        record.status = Some(400);
        record.request = None;
        record.cookie_seen = CookieSeen::NotApplicable;
        record.cookie_set = CookieSet::NotApplicable;
        assert_eq!(
            line(&record),
            "127.0.0.1:50166 [] http-in http-in/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 \"<BADREQ>\""
        );
    }

    #[test]
    fn a_redispatched_request_of_a_tls_client() {
        let record = record(Common {
            tls: true,
            retries: 3,
            redispatched: true,
            ..common()
        });
        let line = line(&record);
        assert!(line.contains(" http-in~ def/s1 "), "{line}");
        assert!(line.contains(" 1/1/0/0/+3 "), "{line}");
    }

    #[test]
    fn quotes_hashes_controls_and_non_ascii_are_escaped() {
        let mut record = record(common());
        record.request = Some(RequestLine {
            method: "GET",
            uri: "/a\"b#c|d{é}\u{1}",
            version: "HTTP/1.1",
        });
        assert!(line(&record).ends_with("\"GET /a#22b#23c|d{#C3#A9}#01 HTTP/1.1\""));
    }

    #[test]
    fn a_request_line_is_cut_where_haproxy_cuts_it() {
        let uri = format!("/{}", "x".repeat(4000));
        let mut record = record(common());
        record.request = Some(RequestLine {
            method: "GET",
            uri: &uri,
            version: "HTTP/1.1",
        });
        let line = line(&record);
        let quoted = line.split('"').nth(1).expect("it is quoted");
        assert_eq!(quoted.len(), REQUEST_LINE_MAX);
    }
}
