use super::*;
use crate::{
    observe::log::{CookieSeen, CookieSet, ServerField, fixture::common},
    rules::Style,
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
    LogLine::new(pieces.collect())
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
    write(&mut out, &line(pieces), Facts::http(record));
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
    write(&mut out, &line(&pieces), Facts::tcp(&common));
    assert_eq!(out, "<NOSRV> - -1 ---- -1");
}
