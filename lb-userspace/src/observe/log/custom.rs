//! A log line of the user's own, written as HAProxy writes its `log-format`.

use std::{
    fmt::{self, Write},
    net::IpAddr,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    clock::Calendar,
    httplog::escape_byte,
    record::{Common, HttpRecord, RequestLine},
    tcplog::{Retries, accept_date, millis, timer},
};
use crate::config::model::{Field, LogLine, Piece, Style};

/// What a line may be about.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    common: &'a Common<'a>,
    /// The rest, of a request.
    http: Option<&'a HttpRecord<'a>>,
}

impl<'a> Facts<'a> {
    /// Of a request.
    pub fn http(record: &'a HttpRecord<'a>) -> Self {
        Self {
            common: &record.common,
            http: Some(record),
        }
    }

    /// Of a connection.
    pub fn tcp(common: &'a Common<'a>) -> Self {
        Self { common, http: None }
    }
}

static HOSTNAME: LazyLock<String> = LazyLock::new(|| {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
});

/// Writes the line, without a line end.
///
/// # Errors
/// Only those of `out`.
pub fn write(out: &mut impl Write, line: &LogLine, facts: Facts<'_>) -> fmt::Result {
    for piece in &line.pieces {
        match piece {
            Piece::Text(text) => out.write_str(text)?,
            Piece::Field(field, style) => {
                let quote = if style.quote { "\"" } else { "" };
                out.write_str(quote)?;
                value(out, *field, *style, facts)?;
                out.write_str(quote)?;
            }
        }
    }
    Ok(())
}

fn value(out: &mut impl Write, field: Field, style: Style, facts: Facts<'_>) -> fmt::Result {
    let Facts { common, http } = facts;
    let active = &common.active;
    match field {
        Field::ClientIp => match (common.client.ip().to_canonical(), style.hex) {
            (IpAddr::V4(v4), true) => write!(out, "{:08X}", u32::from(v4)),
            (IpAddr::V6(v6), true) => write!(out, "{:032X}", u128::from(v6)),
            (ip, false) => write!(out, "{ip}"),
        },
        Field::ClientPort => number(out, common.client.port().into(), style),
        Field::Frontend => text(out, Some(common.frontend), style),
        Field::FrontendTransport => {
            text(out, Some(common.frontend), style)?;
            out.write_str(if common.tls { "~" } else { "" })
        }
        Field::Backend => text(out, common.backend.or(Some(common.frontend)), style),
        Field::Server => text(out, Some(common.server.text()), style),
        Field::RequestTime => timer(out, http.and_then(|http| http.request_received)),
        Field::QueueTime => timer(out, common.queued),
        Field::ConnectTime => timer(out, common.connected),
        Field::ResponseTime => timer(out, http.and_then(|http| http.responded)),
        Field::DataTime => timer(out, data(common, http)),
        Field::ActiveTime | Field::TotalTime => write!(out, "{}", millis(common.total)),
        Field::Status => match http.and_then(|http| http.status) {
            Some(status) => write!(out, "{status}"),
            None => out.write_str("-1"),
        },
        Field::BytesOut => write!(out, "{}", common.bytes_out),
        Field::BytesIn => write!(out, "{}", common.bytes_in),
        Field::RequestCookie | Field::ResponseCookie => text(out, None, style),
        Field::Termination | Field::TerminationCookies => {
            out.write_char(common.termination.cause.letter())?;
            out.write_char(common.termination.phase.letter())?;
            if field == Field::Termination {
                return Ok(());
            }
            out.write_char(http.map_or('-', |http| http.cookie_seen.letter()))?;
            out.write_char(http.map_or('-', |http| http.cookie_set.letter()))
        }
        Field::ProcessConnections => write!(out, "{}", active.process),
        Field::FrontendConnections => write!(out, "{}", active.frontend),
        Field::BackendConnections => write!(out, "{}", active.backend),
        Field::ServerConnections => write!(out, "{}", active.server),
        Field::Retries => write!(out, "{}", Retries(common)),
        Field::ServerQueue => write!(out, "{}", common.server_queue),
        Field::BackendQueue => write!(out, "{}", common.backend_queue),
        Field::Request
        | Field::Method
        | Field::PathOnly
        | Field::Path
        | Field::Query
        | Field::Uri
        | Field::Version => request(out, field, style, http),
        Field::Date | Field::RequestDate => accept_date(out, common.accepted),
        Field::DateLocal | Field::RequestDateLocal => local(out, common.accepted),
        Field::DateUtc | Field::RequestDateUtc => utc(out, common.accepted),
        Field::Timestamp => number(out, since_epoch(common.accepted).as_secs(), style),
        Field::Milliseconds => {
            let millis = since_epoch(common.accepted).subsec_millis();
            match style.hex {
                true => write!(out, "{millis:02X}"),
                false => write!(out, "{millis:03}"),
            }
        }
        Field::Hostname => text(out, Some(HOSTNAME.as_str()), style),
        Field::Pid => number(out, std::process::id().into(), style),
    }
}

fn number(out: &mut impl Write, n: u64, style: Style) -> fmt::Result {
    match style.hex {
        true => write!(out, "{n:04X}"),
        false => write!(out, "{n}"),
    }
}

/// The time after everything that has a timer of its own; `None` where no data was reached.
fn data(common: &Common<'_>, http: Option<&HttpRecord<'_>>) -> Option<Duration> {
    let before = match http {
        Some(http) => {
            http.request_received? + common.queued? + common.connected? + http.responded?
        }
        None => common.queued? + common.connected?,
    };
    Some(common.total.saturating_sub(before))
}

/// The parts of the request line, with what would break a line as `#` and two digits.
fn request(
    out: &mut impl Write,
    field: Field,
    style: Style,
    http: Option<&HttpRecord<'_>>,
) -> fmt::Result {
    let Some(http) = http else {
        return text(out, None, style);
    };
    let Some(RequestLine {
        method,
        uri,
        version,
    }) = http.request
    else {
        return out.write_str("<BADREQ>");
    };
    let query = uri.find('?').unwrap_or(uri.len());
    let parts: &[&str] = match field {
        Field::Request => &[method, " ", uri, " ", version],
        Field::Method => &[method],
        Field::PathOnly | Field::Path => &[&uri[..query]],
        Field::Query => &[&uri[query..]],
        Field::Uri => &[uri],
        _ => &[version],
    };
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        match byte {
            _ if style.escape => escaped(out, byte)?,
            b' ' if field == Field::Request => out.write_char(' ')?,
            _ => escape_byte(out, byte)?,
        }
    }
    Ok(())
}

fn text(out: &mut impl Write, text: Option<&str>, style: Style) -> fmt::Result {
    match text {
        None if style.mandatory && !style.quote => out.write_char('-'),
        None => Ok(()),
        Some(text) if style.escape => text.bytes().try_for_each(|byte| escaped(out, byte)),
        Some(text) => out.write_str(text),
    }
}

/// A byte for `+E`.
fn escaped(out: &mut impl Write, byte: u8) -> fmt::Result {
    match byte {
        b'"' | b'\\' | b']' => {
            out.write_char('\\')?;
            out.write_char(char::from(byte))
        }
        b' '..=b'~' => out.write_char(char::from(byte)),
        _ => escape_byte(out, byte),
    }
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// `23/Nov/2026:02:30:20 +0100`
fn local(out: &mut impl Write, at: SystemTime) -> fmt::Result {
    let at = Calendar::local(at);
    let minutes = at.offset.abs() / 60;
    let sign = if at.offset < 0 { '-' } else { '+' };
    seconds(out, &at)?;
    write!(out, " {sign}{:02}{:02}", minutes / 60, minutes % 60)
}

/// `23/Nov/2026:01:30:20 +0000`
fn utc(out: &mut impl Write, at: SystemTime) -> fmt::Result {
    seconds(out, &Calendar::utc(at))?;
    out.write_str(" +0000")
}

fn seconds(out: &mut impl Write, at: &Calendar) -> fmt::Result {
    write!(
        out,
        "{:02}/{}/{:04}:{:02}:{:02}:{:02}",
        at.day,
        at.month_name(),
        at.year,
        at.hour,
        at.minute,
        at.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::model::Style,
        observe::log::{CookieSeen, CookieSet, ServerField, fixture::common},
    };

    fn line(pieces: &[(&str, Field, &str)]) -> LogLine {
        let pieces = pieces.iter().flat_map(|(text, field, style)| {
            let style = Style {
                quote: style.contains('Q'),
                escape: style.contains('E'),
                hex: style.contains('X'),
                mandatory: !style.contains('m'),
            };
            [Piece::Text((*text).to_owned()), Piece::Field(*field, style)]
        });
        LogLine {
            pieces: pieces.collect(),
        }
    }

    fn record(uri: Option<&'static str>) -> HttpRecord<'static> {
        HttpRecord {
            common: Common {
                accepted: UNIX_EPOCH + Duration::from_millis(1_795_739_494_199),
                total: Duration::from_millis(4),
                bytes_out: 49,
                ..common()
            },
            request_received: Some(Duration::ZERO),
            responded: Some(Duration::from_millis(1)),
            status: Some(200),
            request: uri.map(|uri| RequestLine {
                method: "GET",
                uri,
                version: "HTTP/1.1",
            }),
            cookie_seen: CookieSeen::Valid,
            cookie_set: CookieSet::None,
        }
    }

    fn written(record: &HttpRecord<'_>, pieces: &[(&str, Field, &str)]) -> String {
        let mut out = String::new();
        write(&mut out, &line(pieces), Facts::http(record)).expect("a String takes everything");
        out
    }

    // What is expected was logged by HAProxy 2.6, addresses and names aside.

    #[test]
    fn facts_of_a_request() {
        use Field as F;
        assert_eq!(
            written(
                &record(Some("/a]b?c=d%20e")),
                &[
                    ("", F::ClientIp, ""),
                    (":", F::ClientPort, ""),
                    (" ", F::FrontendTransport, ""),
                    (" ", F::Backend, ""),
                    ("/", F::Server, ""),
                    (" ", F::RequestTime, ""),
                    ("/", F::QueueTime, ""),
                    ("/", F::ConnectTime, ""),
                    ("/", F::ResponseTime, ""),
                    ("/", F::DataTime, ""),
                    ("/", F::ActiveTime, ""),
                    (" ", F::Status, "X"),
                    (" ", F::BytesOut, "X"),
                    (" ", F::BytesIn, ""),
                    (" ", F::RequestCookie, ""),
                    (" ", F::ResponseCookie, "m"),
                    (" ", F::RequestCookie, "Q"),
                    (" ", F::TerminationCookies, ""),
                    (" ", F::Termination, ""),
                    (" ", F::ProcessConnections, ""),
                    ("/", F::Retries, ""),
                ]
            ),
            "127.0.0.1:50166 http-in def/s1 0/0/0/1/3/4 200 49 80 -  \"\" --VN -- 1/0"
        );
    }

    #[test]
    fn parts_of_the_request_line() {
        use Field as F;
        let all = [
            ("", F::Method, ""),
            (" ", F::Path, ""),
            (" ", F::Query, ""),
            (" ", F::Uri, ""),
            (" ", F::Version, ""),
            (" ", F::Request, "Q"),
            (" ", F::Request, "E"),
        ];
        assert_eq!(
            written(&record(Some("/a]b?c=d%20e")), &all),
            "GET /a]b ?c=d%20e /a]b?c=d%20e HTTP/1.1 \"GET /a]b?c=d%20e HTTP/1.1\" GET /a\\]b?c=d%20e HTTP/1.1"
        );
        let mut bad = record(None);
        bad.status = None;
        assert_eq!(
            written(&bad, &all),
            "<BADREQ> <BADREQ> <BADREQ> <BADREQ> <BADREQ> \"<BADREQ>\" <BADREQ>"
        );
        assert_eq!(written(&bad, &[("", F::Status, "")]), "-1");
        assert_eq!(
            written(
                &record(Some("/")),
                &[("|", F::Query, ""), ("|", F::Query, "Q")]
            ),
            "||\"\""
        );
        // Nothing that a client sends ends a line or a quoted part.
        assert_eq!(
            written(&record(Some("/\"\n\u{e4}")), &[("", F::Uri, "Q")]),
            "\"/#22#0A#C3#A4\""
        );
    }

    #[test]
    fn dates_and_hexadecimal() {
        use Field as F;
        let record = record(Some("/"));
        assert_eq!(
            written(
                &record,
                &[
                    ("", F::DateUtc, ""),
                    (" ", F::Timestamp, ""),
                    (" ", F::Milliseconds, ""),
                    (" ", F::Timestamp, "X"),
                    (" ", F::Milliseconds, "X"),
                    (" ", F::ClientIp, "X"),
                ]
            ),
            "27/Nov/2026:00:31:34 +0000 1795739494 199 6B08CF66 C7 7F000001"
        );
        let local = written(&record, &[("", F::DateLocal, "")]);
        assert_eq!(local.len(), "27/Nov/2026:00:31:34 +0000".len(), "{local}");
    }

    #[test]
    fn a_connection_has_no_request() {
        use Field as F;
        let common = Common {
            server: ServerField::None,
            ..common()
        };
        let mut out = String::new();
        let pieces = [
            ("", F::Server, ""),
            (" ", F::Request, ""),
            (" ", F::Status, ""),
            (" ", F::TerminationCookies, ""),
            (" ", F::RequestTime, ""),
        ];
        write(&mut out, &line(&pieces), Facts::tcp(&common)).expect("a String takes everything");
        assert_eq!(out, "<NOSRV> - -1 ---- -1");
    }
}
