//! HAProxy's `option httplog` line.

use std::fmt::{self, Write};

use super::{
    record::{Common, HttpRecord},
    tcplog::{Retries, accept_date, millis, timer},
};

use crate::rules::Side;

/// HAProxy keeps this much of a request line (its REQURI_LEN, less the final NUL).
const REQUEST_LINE_MAX: usize = 1023;

/// Writes `record` as HAProxy does, without a line end.
///
/// # Errors
/// Only those of `out`.
pub fn write(out: &mut impl Write, record: &HttpRecord<'_>) -> fmt::Result {
    let common = &record.common;
    write_head(out, common)?;
    timer(out, record.request_received)?;
    out.write_char('/')?;
    timer(out, common.queued)?;
    out.write_char('/')?;
    timer(out, common.connected)?;
    out.write_char('/')?;
    timer(out, record.responded)?;
    write!(out, "/{}{} ", common.so_far(), millis(common.total))?;
    match record.status {
        Some(status) => write!(out, "{status} ")?,
        None => out.write_str("-1 ")?,
    }
    let captured = common.extra.captured;
    write!(out, "{}{} ", common.so_far(), common.bytes_out)?;
    for side in [Side::Request, Side::Response] {
        match captured.and_then(|captured| captured.cookie(side)) {
            Some(cookie) => text_of(out, cookie, false)?,
            None => out.write_char('-')?,
        }
        out.write_char(' ')?;
    }
    write!(
        out,
        "{}{}{}{} {}/{}/{}/{}/{} {}/{} ",
        common.termination.cause.letter(),
        common.termination.phase.letter(),
        record.cookie_seen.letter(),
        record.cookie_set.letter(),
        common.active.process,
        common.active.frontend,
        common.active.backend,
        common.active.server,
        Retries(common),
        common.server_queue,
        common.backend_queue,
    )?;
    for side in [Side::Request, Side::Response] {
        if let Some(kept) = captured
            .map(|captured| captured.all(side))
            .filter(|kept| !kept.is_empty())
        {
            captured_fields(out, &kept, false)?;
            out.write_char(' ')?;
        }
    }
    out.write_char('"')?;
    match record.request {
        Some(line) => {
            let mut left = REQUEST_LINE_MAX;
            for part in [line.method, " ", line.uri, " ", line.version] {
                escape(out, part, &mut left)?;
            }
        }
        None => out.write_str("<BADREQ>")?,
    }
    out.write_char('"')
}

/// `CLIENT:PORT [DATE] FRONTEND BACKEND/SERVER `, with which both formats begin.
pub(super) fn write_head(out: &mut impl Write, common: &Common<'_>) -> fmt::Result {
    write!(out, "{} [", common.client)?;
    accept_date(out, common.accepted)?;
    write!(
        out,
        "] {}{} {}/{} ",
        common.frontend,
        if common.tls { "~" } else { "" },
        common.backend.unwrap_or(common.frontend),
        common.server.text(),
    )
}

/// Writes at most `left` bytes of `part`, with what would break the quoting or is no printable ASCII as `#` and two
/// digits (HAProxy's `url_encode_map`).
fn escape(out: &mut impl Write, part: &str, left: &mut usize) -> fmt::Result {
    for byte in part.bytes().take(*left) {
        escape_byte(out, byte)?;
    }
    *left = left.saturating_sub(part.len());
    Ok(())
}

/// `{first|second}`: what was kept of a message's fields. `escape` is `+E`.
pub(super) fn captured_fields(
    out: &mut impl Write,
    kept: &[Option<Box<[u8]>>],
    escape: bool,
) -> fmt::Result {
    for (at, text) in kept.iter().enumerate() {
        out.write_char(if at == 0 { '{' } else { '|' })?;
        captured_field(out, text.as_deref().unwrap_or_default(), escape)?;
    }
    out.write_char('}')
}

/// One of them, with what divides them escaped as HAProxy's `hdr_encode_map` has it.
pub(super) fn captured_field(out: &mut impl Write, text: &[u8], escape: bool) -> fmt::Result {
    for &byte in text {
        match byte {
            b'"' | b'#' | b'{' | b'|' | b'}' | ..b' ' | 0x7f.. => write!(out, "#{byte:02X}")?,
            b'\\' | b']' if escape => write!(out, "\\{}", char::from(byte))?,
            _ => out.write_char(char::from(byte))?,
        }
    }
    Ok(())
}

/// A text that is written as it is, but for what would end the line. `escape` is `+E`.
pub(super) fn text_of(out: &mut impl Write, text: &[u8], escape: bool) -> fmt::Result {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    for &byte in c.encode_utf8(&mut bytes).as_bytes() {
                        write!(out, "#{byte:02X}")?;
                    }
                }
                '"' | '\\' | ']' if escape => write!(out, "\\{c}")?,
                c => out.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "#{byte:02X}")?;
        }
    }
    Ok(())
}

/// A byte of a request line.
pub(super) fn escape_byte(out: &mut impl Write, byte: u8) -> fmt::Result {
    match byte {
        b'"' | b'#' | ..b' ' | 0x7f.. => write!(out, "#{byte:02X}"),
        _ => out.write_char(char::from(byte)),
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
        write(&mut out, record).expect("a String takes everything");
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
