//! What becomes of a message's head on its way through: what is refused as ambiguous, what belongs to one hop alone and
//! is taken out, what is added. Pure.
//!
//! The message has been parsed and is written anew (by hyper, and by [`super::h1`] towards servers), so lengths and codings
//! are already free of contradiction, and names are lower-case as HAProxy sends them. RFC 9110 section 7.6.1 is followed where HAProxy forwards a field that
//! belongs to the connection.

use std::net::Ipv6Addr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE,
    },
    request, response,
    uri::{Authority, PathAndQuery},
};

use super::{fields::Fields, forwarded};
use crate::wire::h1::{is_clear, is_coding_known};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Refuses a request that two recipients could understand in two ways, or that a reverse proxy does not serve. Returns
/// the fields that it has.
///
/// # Errors
/// The status of the answer that it gets, after which its connection is closed.
pub fn check(head: &request::Parts) -> Result<Fields, StatusCode> {
    if head.method == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    check_target(&head.uri, &head.method)?;
    check_host(head)?;
    if head.version == Version::HTTP_2 {
        check_length(&head.headers)?;
    }
    let fields = Fields::of(&head.headers);
    if fields.any(Fields::TRANSFER_ENCODING) {
        check_coding(&head.headers)?;
    }
    if fields.any(Fields::LOOK_ALIKE) {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(fields)
}

/// RFC 9112 section 3.2: origin-form, absolute-form, or `*` for OPTIONS; printable ASCII.
fn check_target(uri: &Uri, method: &Method) -> Result<(), StatusCode> {
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let well_formed = match (uri.scheme(), path) {
        (_, "*") => method == Method::OPTIONS,
        (Some(_), _) => true,
        // Without a slash hyper has read an authority, as CONNECT alone has one.
        (None, path) => uri.authority().is_none() && path.starts_with('/'),
    };
    match well_formed && path.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(StatusCode::BAD_REQUEST),
    }
}

/// RFC 9112 section 3.2: one Host field in HTTP/1.1, at most one in 1.0, and no other than the target's.
fn check_host(head: &request::Parts) -> Result<(), StatusCode> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let unambiguous = match (hosts.next(), hosts.next(), head.uri.authority()) {
        (Some(_), Some(_), _) => false,
        (Some(host), None, Some(authority)) => {
            host.as_bytes()
                .eq_ignore_ascii_case(authority.as_str().as_bytes())
                || Some(host.as_bytes()) == without_default_port(authority, head.uri.scheme_str())
        }
        (Some(_), None, None) => true,
        (None, _, Some(_)) if head.version == Version::HTTP_2 => true,
        (None, ..) => head.version == Version::HTTP_10,
    };
    let host = match head.headers.get(HOST) {
        Some(host) => host.as_bytes(),
        None => head
            .uri
            .authority()
            .map_or("", Authority::as_str)
            .as_bytes(),
    };
    if unambiguous && is_host(host) {
        Ok(())
    } else {
        Err(StatusCode::BAD_REQUEST)
    }
}

/// Whether a request still has a Host that all understand alike, or none, once rules have changed it: they may have made
/// one of what the client has sent.
pub fn keeps_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// Whether a Host field is empty, or an authority: a host and perhaps a port, and nothing that could be taken for more.
///
/// No more than [`Authority`] takes, which is what HTTP/2 has instead of the field: a server's connection must be able
/// to carry whatever passes here.
fn is_host(host: &[u8]) -> bool {
    let (is_name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|&b| b == b']') else {
                return false;
            };
            let address = std::str::from_utf8(&rest[..end]).ok();
            let is_address = address.is_some_and(|a| a.parse::<Ipv6Addr>().is_ok());
            (is_address, &rest[end + 1..])
        }
        None => {
            let end = host.iter().position(|&b| b == b':').unwrap_or(host.len());
            let name = &host[..end];
            (
                name.iter().all(|&b| IN_NAMES[usize::from(b)])
                    && name.is_empty() == host.is_empty(),
                &host[end..],
            )
        }
    };
    let is_port = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    is_name && is_port
}

/// Of which bytes the name of a host may consist (RFC 3986 section 3.2.2, without escapes and commas).
const IN_NAMES: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        all[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+;=";
    let mut at = 0;
    while at < others.len() {
        all[others[at] as usize] = true;
        at += 1;
    }
    all
};

/// The authority's host where its port is the scheme's own.
fn without_default_port<'a>(authority: &'a Authority, scheme: Option<&str>) -> Option<&'a [u8]> {
    match (scheme, authority.port_u16()) {
        (Some("http"), Some(80)) | (Some("https"), Some(443)) => Some(authority.host().as_bytes()),
        _ => None,
    }
}

/// RFC 9110 section 8.6: one length. In HTTP/1 hyper has seen to it.
fn check_length(headers: &HeaderMap) -> Result<(), StatusCode> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None)
            if length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit) =>
        {
            Err(StatusCode::BAD_REQUEST)
        }
        (_, Some(_)) => Err(StatusCode::BAD_REQUEST),
        _ => Ok(()),
    }
}

/// Turns a checked request of HTTP/2 into HTTP/1's form, in which all else is decided: a Host, one Cookie (RFC 9113
/// section 8.2.3), and a coding for a body without a length. `ended`: there is no body.
pub fn to_http_1(head: &mut request::Parts, fields: Fields, ended: bool) {
    if head.version != Version::HTTP_2 {
        return;
    }
    head.version = Version::HTTP_11;
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    if fields.any(Fields::COOKIE) && head.headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = head
            .headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            head.headers.insert(COOKIE, cookie);
        }
    }
    if !ended && !fields.any(Fields::CONTENT_LENGTH) {
        head.headers
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// The one transfer coding that is understood is chunked, once.
fn check_coding(headers: &HeaderMap) -> Result<(), StatusCode> {
    match is_coding_known(headers) {
        true => Ok(()),
        false => Err(StatusCode::NOT_IMPLEMENTED),
    }
}

/// Takes out of a checked request what belongs to the client's connection. Returns whether the client asks for another
/// protocol (RFC 9110 section 7.8), which is passed on. `fields` are those that it has.
///
/// Before any rule sees it: a field that the client names in Connection would otherwise be looked at by rules and not come
/// to the server, and one that a rule has set for the server could be named away.
pub fn leave_connection(head: &mut request::Parts, fields: Fields) -> bool {
    let upgrade = fields.any(Fields::UPGRADE) && asks_upgrade(head);
    remove_connection_fields(&mut head.headers, fields);
    if upgrade {
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    } else if fields.any(Fields::UPGRADE) {
        head.headers.remove(UPGRADE);
    }
    upgrade
}

/// Makes such a request's head the one that the server gets, but for the sticky cookie. `fields` are those that it has.
pub fn request(head: &mut request::Parts, fields: Fields) {
    if fields.any(Fields::TE)
        && let Some(te) = head.headers.get(TE)
    {
        // The other values are codings, and only the sender of TE knows which of its hops reads them.
        let trailers = te
            .as_bytes()
            .split(|&b| b == b',')
            .any(|v| v.trim_ascii().eq_ignore_ascii_case(b"trailers"));
        match trailers {
            true => drop(
                head.headers
                    .insert(TE, HeaderValue::from_static("trailers")),
            ),
            false => drop(head.headers.remove(TE)),
        }
    }
    if fields.any(Fields::TRANSFER_ENCODING) {
        // As everybody writes it: not every server reads it without regard to case.
        head.headers
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if head.uri.authority().is_some() {
        head.uri = origin_form(&head.uri);
    }
    if head.version == Version::HTTP_10 {
        // Else a server that speaks 1.0 to us would close after each request.
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    head.extensions.clear();
}

/// Whether a request asks for another protocol.
///
/// Never for another HTTP (`h2c`, `HTTP/…`): the requests in it would come to the server past all that is decided here. A
/// server may always answer as if it had not been asked.
fn asks_upgrade(head: &request::Parts) -> bool {
    head.version == Version::HTTP_11
        && tokens(&head.headers).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
        && head
            .headers
            .get_all(UPGRADE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&b| b == b','))
            .map(<[u8]>::trim_ascii)
            .all(|protocol| {
                !protocol.eq_ignore_ascii_case(b"h2c")
                    && !protocol
                        .get(..4)
                        .is_some_and(|name| name.eq_ignore_ascii_case(b"http"))
            })
}

/// Makes a server's answer that it has switched protocols the client's. Returns whether it may be passed on.
pub fn switching(head: &mut response::Parts) -> bool {
    let fields = Fields::of(&head.headers);
    if !fields.any(Fields::UPGRADE)
        || fields.any(Fields::TRANSFER_ENCODING | Fields::CONTENT_LENGTH)
    {
        return false;
    }
    remove_connection_fields(&mut head.headers, fields);
    true
}

/// The same once rules have seen it: they do not undo what the server has done.
pub fn switched(head: &mut response::Parts) {
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.version = Version::HTTP_11;
    head.extensions.clear();
}

/// The path and query of `uri` alone.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}

/// Makes the head of an interim answer one that a client may get.
pub(super) fn interim(head: &mut response::Parts) {
    let fields = Fields::of(&head.headers);
    remove_connection_fields(&mut head.headers, fields);
    for name in [UPGRADE, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER] {
        head.headers.remove(name);
    }
}

/// Makes the fields after a body ones that may go with it.
pub fn trailers(fields: &mut HeaderMap) {
    for name in [
        HOST,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        CONNECTION,
        UPGRADE,
        TE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        fields.remove(name);
    }
}

/// What became of a response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// The length that the head declares though no body follows (304, HEAD).
    pub declared: Option<u64>,
}

/// Makes a server's response head, which has `fields`, the one that the client gets, but for the sticky cookie. The client
/// speaks this version, and may have asked for the connection to be kept.
/// `None` for one whose length can be read in two ways, or that switches to a protocol nobody asked for.
pub fn response(
    head: &mut response::Parts,
    fields: Fields,
    (client, keep_alive): (Version, bool),
) -> Option<Length> {
    if head.status.is_informational() {
        return None;
    }
    if !is_clear(&head.headers, fields) {
        return None;
    }
    remove_connection_fields(&mut head.headers, fields);
    if fields.any(Fields::CONTENT_LENGTH) && head.headers.len() != head.headers.keys_len() {
        // All are alike where a body follows (`wire::h1`); of HEAD and 304 they need not be.
        let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
        let length = lengths.next()?.clone();
        if lengths.any(|other| other != length) {
            return None;
        }
        head.headers.insert(CONTENT_LENGTH, length);
    }
    if fields.any(Fields::UPGRADE) {
        // RFC 9110 section 15.5.22: what the client is to ask for. In 1.0 nobody may, and in HTTP/2 it is no field.
        match head.status == StatusCode::UPGRADE_REQUIRED && client == Version::HTTP_11 {
            true => drop(
                head.headers
                    .insert(CONNECTION, HeaderValue::from_static("Upgrade")),
            ),
            false => drop(head.headers.remove(UPGRADE)),
        }
    }
    if fields.any(Fields::TRANSFER_ENCODING) {
        head.headers
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut declared = None;
    match head.status.as_u16() {
        // RFC 9110 section 8.6: a 204 has no length.
        204 => {
            head.headers.remove(CONTENT_LENGTH);
        }
        304 => {
            let length = head.headers.get(CONTENT_LENGTH);
            declared = length.and_then(|v| v.to_str().ok()?.parse().ok());
        }
        _ => {}
    }
    head.version = Version::HTTP_11;
    if client == Version::HTTP_10 {
        say_whether_kept(&mut head.headers, keep_alive);
    }
    Some(Length { declared })
}

/// Keeps a response whole whose status a rule may have changed from `before`: where only one of both goes with a body, or
/// neither may say how long one is, what the head says of its length does not hold. Returns what it declares now, and
/// `declared` before.
pub fn restated(
    head: &mut response::Parts,
    before: StatusCode,
    declared: Option<u64>,
) -> Option<u64> {
    if head.status == before || (!is_bodyless(head.status) && !is_bodyless(before)) {
        return declared;
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    None
}

/// Whether a response of this status has no body, whatever is asked (RFC 9110 section 6.4.1).
pub fn is_bodyless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Tells a client that speaks HTTP/1.0 whether the connection is kept; in 1.1 hyper says when it is not.
pub fn say_whether_kept(headers: &mut HeaderMap, kept: bool) {
    let value = if kept { "keep-alive" } else { "close" };
    headers.insert(CONNECTION, HeaderValue::from_static(value));
}

/// Whether a client that speaks HTTP/1.0 asked for the connection to be kept.
pub fn asks_keep_alive(headers: &HeaderMap) -> bool {
    tokens(headers).any(|token| token.eq_ignore_ascii_case(b"keep-alive"))
        && !tokens(headers).any(|token| token.eq_ignore_ascii_case(b"close"))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|v| v.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
}

/// Removes Connection and the fields that it names (RFC 9110 section 7.6.1). Those that the message needs, or that are
/// ours to say, cannot be named away: a client would otherwise decide what the server is told.
fn remove_connection_fields(headers: &mut HeaderMap, fields: Fields) {
    if fields.any(Fields::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers)
            .filter(|token| {
                !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive")
            })
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| {
                ![
                    HOST,
                    CONTENT_LENGTH,
                    TRANSFER_ENCODING,
                    TRAILER,
                    TE,
                    UPGRADE,
                    SET_COOKIE,
                ]
                .contains(name)
                    && !forwarded::FIELDS.contains(name)
            })
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    if fields.any(Fields::HOP) {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    }
}

#[cfg(test)]
mod tests;
