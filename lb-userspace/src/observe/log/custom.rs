//! A log line of the user's own, written as HAProxy writes its `log-format`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    clock::Calendar,
    httplog::{captured_field, captured_fields, request_text, text_of},
    record::{Common, HttpRecord, RequestLine, Structured},
    tcplog::retries,
    text::{accept_date, elapsed, formatted, ip as push_ip, number as decimal, timer},
};
use crate::{
    config::model::{Field, LogLine, Piece},
    rules::{Side, Style, Value},
    topology::Peer,
};

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

/// Appends the line, without a line end.
pub fn write(out: &mut String, line: &LogLine, facts: Facts<'_>) {
    write_with(out, line, facts.common.extra.samples, facts);
}

/// Appends the structured data, if there is any.
pub fn structured(out: &mut String, facts: Facts<'_>) {
    if let Some(Structured { line, samples }) = facts.common.extra.structured {
        write_with(out, line, samples, facts);
    }
}

fn write_with(
    out: &mut String,
    line: &LogLine,
    samples: &[Option<Value<'static>>],
    facts: Facts<'_>,
) {
    let mut samples = samples.iter();
    // Blanks on both sides of what writes nothing are one, and the line begins with none.
    let mut divided = true;
    for piece in &line.pieces {
        match piece {
            Piece::Text(text) => {
                let text = match divided {
                    true => text.strip_prefix(' ').unwrap_or(text),
                    false => text,
                };
                out.push_str(text);
                if !text.is_empty() {
                    divided = text.ends_with(' ');
                }
            }
            Piece::Field(field, style) => match kept(*field) {
                Some((side, list)) => {
                    let captured = facts.common.extra.captured;
                    let all = captured
                        .map(|captured| captured.all(side))
                        .unwrap_or_default();
                    if !all.is_empty() {
                        captures(out, &all, list, *style);
                        divided = false;
                    }
                }
                None => {
                    quoted(out, *style, |out| value(out, *field, *style, facts));
                    divided = false;
                }
            },
            Piece::Sample(sample) => {
                let value = samples.next().and_then(Option::as_ref);
                quoted(out, sample.style, |out| {
                    let value = value.map(|value| value.borrowed().into_text());
                    bytes(out, value.as_deref(), sample.style);
                });
                divided = false;
            }
        }
    }
}

fn quoted(out: &mut String, style: Style, inner: impl FnOnce(&mut String)) {
    let quote = if style.quote { "\"" } else { "" };
    out.push_str(quote);
    inner(out);
    out.push_str(quote);
}

/// Whose captures a field stands for, and whether as a list.
fn kept(field: Field) -> Option<(Side, bool)> {
    match field {
        Field::RequestCaptures => Some((Side::Request, false)),
        Field::RequestCaptureList => Some((Side::Request, true)),
        Field::ResponseCaptures => Some((Side::Response, false)),
        Field::ResponseCaptureList => Some((Side::Response, true)),
        _ => None,
    }
}

/// `{a|b}`, or as a list `a b`, in which each is quoted by itself.
fn captures(out: &mut String, all: &[Option<Box<[u8]>>], list: bool, style: Style) {
    if !list {
        return quoted(out, style, |out| captured_fields(out, all, style.escape));
    }
    for (at, text) in all.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        quoted(out, style, |out| match text {
            Some(text) => captured_field(out, text, style.escape),
            None if style.quote => {}
            None => out.push('-'),
        });
    }
}

fn value(out: &mut String, field: Field, style: Style, facts: Facts<'_>) {
    let Facts { common, http } = facts;
    let (active, extra) = (&common.active, &common.extra);
    let whole = extra.handshake + extra.idle + common.total;
    let so_far = common.so_far();
    match field {
        Field::ClientIp => peer(out, Some(common.client), Part::Ip, style),
        Field::ClientPort => peer(out, Some(common.client), Part::Port, style),
        Field::FrontendIp => peer(out, extra.destination, Part::Ip, style),
        Field::FrontendPort => peer(out, extra.destination, Part::Port, style),
        Field::BackendIp => peer(out, ours(common), Part::Ip, style),
        Field::BackendPort => peer(out, ours(common), Part::Port, style),
        Field::ServerIp => peer(out, extra.server, Part::Ip, style),
        Field::ServerPort => peer(out, extra.server, Part::Port, style),
        Field::Frontend => text(out, Some(common.frontend), style),
        Field::FrontendTransport => {
            text(out, Some(common.frontend), style);
            out.push_str(if common.tls { "~" } else { "" });
        }
        Field::Backend => text(out, common.backend.or(Some(common.frontend)), style),
        Field::Server => text(out, Some(common.server.text()), style),
        Field::RequestTime => timer(out, http.and_then(|http| http.request_received)),
        Field::QueueTime => timer(out, common.queued),
        Field::ConnectTime => timer(out, common.connected),
        Field::ResponseTime => timer(out, http.and_then(|http| http.responded)),
        Field::DataTime => timer(out, data(common, http)),
        Field::ActiveTime => {
            out.push_str(so_far);
            elapsed(out, common.total);
        }
        Field::TotalTime => {
            out.push_str(so_far);
            elapsed(out, whole);
        }
        Field::UserTime => {
            out.push_str(so_far);
            elapsed(out, whole - extra.idle);
        }
        Field::HandshakeTime => elapsed(out, extra.handshake),
        Field::IdleTime => elapsed(out, extra.idle),
        Field::HeadTime => timer(
            out,
            http.and_then(|http| http.request_received)
                .map(|head| extra.handshake + extra.idle + head),
        ),
        Field::Status => match http.and_then(|http| http.status) {
            Some(status) => decimal(out, status),
            None => out.push_str("-1"),
        },
        Field::BytesOut => {
            out.push_str(so_far);
            decimal(out, common.bytes_out);
        }
        Field::BytesIn => decimal(out, common.bytes_in),
        Field::RequestCookie | Field::ResponseCookie => {
            let side = match field {
                Field::RequestCookie => Side::Request,
                _ => Side::Response,
            };
            let captured = extra.captured.and_then(|captured| captured.cookie(side));
            bytes(out, captured, style);
        }
        // These are written without a value: see `captures`.
        Field::RequestCaptures
        | Field::RequestCaptureList
        | Field::ResponseCaptures
        | Field::ResponseCaptureList => {}
        Field::UniqueId => bytes(out, extra.id, style),
        Field::LogCounter => number(out, extra.lines, style),
        Field::RequestCounter => number(out, extra.number, style),
        Field::TlsCipher => text(out, extra.tls.map(|(_, cipher)| cipher), style),
        Field::TlsVersion => text(out, extra.tls.map(|(version, _)| version), style),
        Field::Termination | Field::TerminationCookies => {
            out.push(common.termination.cause.letter());
            out.push(common.termination.phase.letter());
            if field == Field::Termination {
                return;
            }
            out.push(http.map_or('-', |http| http.cookie_seen.letter()));
            out.push(http.map_or('-', |http| http.cookie_set.letter()));
        }
        Field::ProcessConnections => decimal(out, active.process),
        Field::FrontendConnections => decimal(out, active.frontend),
        Field::BackendConnections => decimal(out, active.backend),
        Field::ServerConnections => decimal(out, active.server),
        Field::Retries => retries(out, common),
        Field::ServerQueue => decimal(out, common.server_queue),
        Field::BackendQueue => decimal(out, common.backend_queue),
        Field::Request
        | Field::Method
        | Field::PathOnly
        | Field::Path
        | Field::Query
        | Field::Uri
        | Field::Version => request(out, field, style, http),
        Field::Date => accept_date(out, begun(common)),
        Field::RequestDate => accept_date(out, common.accepted),
        Field::DateLocal => local(out, begun(common)),
        Field::RequestDateLocal => local(out, common.accepted),
        Field::DateUtc => utc(out, begun(common)),
        Field::RequestDateUtc => utc(out, common.accepted),
        Field::Timestamp => number(out, since_epoch(begun(common)).as_secs(), style),
        Field::Milliseconds => {
            let millis = since_epoch(begun(common)).subsec_millis();
            match style.hex {
                true => formatted(out, format_args!("{millis:02X}")),
                false => formatted(out, format_args!("{millis:03}")),
            }
        }
        Field::Hostname => text(out, Some(HOSTNAME.as_str()), style),
        Field::Pid => number(out, std::process::id().into(), style),
    }
}

/// When the connection was accepted, or the answer before was complete.
fn begun(common: &Common<'_>) -> SystemTime {
    let before = common.extra.handshake + common.extra.idle;
    common
        .accepted
        .checked_sub(before)
        .unwrap_or(common.accepted)
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Ip,
    Port,
}

/// Our end of the connection to it.
fn ours(common: &Common<'_>) -> Option<Peer> {
    match common.extra.server {
        Some(Peer::Unix(none)) => common.connected.map(|_| Peer::Unix(none)),
        _ => common.extra.local.map(Peer::Inet),
    }
}

/// `unix` and the number of the bind, as HAProxy has it, for who came by a unix socket.
fn peer(out: &mut String, peer: Option<Peer>, part: Part, style: Style) {
    match (peer, part) {
        (Some(Peer::Unix(_)), Part::Ip) => text(out, Some("unix"), style),
        (Some(Peer::Unix(bind)), Part::Port) => number(out, bind.into(), style),
        (_, Part::Ip) => address(out, peer.and_then(Peer::inet), style),
        (_, Part::Port) => port(out, peer.and_then(Peer::inet), style),
    }
}

fn address(out: &mut String, address: Option<SocketAddr>, style: Style) {
    match (
        address.map(|address| address.ip().to_canonical()),
        style.hex,
    ) {
        (None, _) => text(out, None, style),
        (Some(IpAddr::V4(v4)), true) => formatted(out, format_args!("{:08X}", u32::from(v4))),
        (Some(IpAddr::V6(v6)), true) => formatted(out, format_args!("{:032X}", u128::from(v6))),
        (Some(ip), false) => push_ip(out, ip),
    }
}

fn port(out: &mut String, address: Option<SocketAddr>, style: Style) {
    match address {
        None => text(out, None, style),
        Some(address) => number(out, address.port().into(), style),
    }
}

fn number(out: &mut String, n: u64, style: Style) {
    match style.hex {
        true => formatted(out, format_args!("{n:04X}")),
        false => decimal(out, n),
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
fn request(out: &mut String, field: Field, style: Style, http: Option<&HttpRecord<'_>>) {
    let Some(http) = http else {
        return text(out, None, style);
    };
    let Some(RequestLine {
        method,
        uri,
        version,
    }) = http.request
    else {
        return out.push_str("<BADREQ>");
    };
    let query = uri.find('?').unwrap_or(uri.len());
    let parts: &[&str] = match field {
        Field::Request => &[method, " ", uri, " ", version],
        Field::Method => &[method],
        Field::PathOnly => &[path_only(&uri[..query])],
        Field::Path => &[&uri[..query]],
        Field::Query => &[&uri[query..]],
        Field::Uri => &[uri],
        _ => &[version],
    };
    for part in parts {
        if !style.escape {
            request_text(out, part);
            continue;
        }
        for piece in part.split_inclusive(['\\', ']']) {
            let end = piece
                .strip_suffix(['\\', ']'])
                .map_or(piece.len(), str::len);
            let (plain, end) = piece.split_at(end);
            request_text(out, plain);
            if !end.is_empty() {
                out.push('\\');
                out.push_str(end);
            }
        }
    }
}

/// The path of a target without its query, also of one in absolute form; the star of OPTIONS has none.
fn path_only(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let (_scheme, rest) = target.split_once("://").unwrap_or_default();
    rest.find('/').map_or("", |at| &rest[at..])
}

fn text(out: &mut String, text: Option<&str>, style: Style) {
    bytes(out, text.map(str::as_bytes), style);
}

/// A text, or a dash where there is none: quoted, nothing says as much.
fn bytes(out: &mut String, bytes: Option<&[u8]>, style: Style) {
    match bytes.filter(|bytes| !bytes.is_empty()) {
        None if style.mandatory && !style.quote => out.push('-'),
        None => {}
        Some(bytes) => text_of(out, bytes, style.escape),
    }
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// `23/Nov/2026:02:30:20 +0100`
fn local(out: &mut String, at: SystemTime) {
    let at = Calendar::local(at);
    formatted(out, format_args!("{} {}", at.clf(), at.zone("")));
}

/// `23/Nov/2026:01:30:20 +0000`
fn utc(out: &mut String, at: SystemTime) {
    formatted(out, format_args!("{} +0000", Calendar::utc(at).clf()));
}

#[cfg(test)]
mod tests;
