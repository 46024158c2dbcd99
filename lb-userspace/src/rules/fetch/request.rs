//! Parts of a request that have a form of their own: parameters, cookies, credentials.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, Uri, Version,
    header::{AUTHORIZATION, COOKIE, SET_COOKIE},
    uri::PathAndQuery,
};

use super::Side;
use crate::rules::{cookies::Pairs, scene::Scene, value::Value};

/// A part of a request's line, as the client sent it: no rule changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinePart {
    /// The method.
    Method,
    /// Path and query, also of a target that has more.
    Uri,
    /// `HTTP/1.1`, or `HTTP/1.0`: HAProxy knows of no others there.
    Version,
    /// All of it.
    Whole,
    /// All of the target.
    Target,
    /// The target without its query.
    Beginning,
    /// The path alone.
    Path,
    /// The query with its question mark.
    Query,
    /// `HTTP/2.0` as well.
    Protocol,
}

impl LinePart {
    pub(super) fn sample<'a>(self, scene: &Scene<'a>) -> Option<Value<'a>> {
        let (method, uri, version) = scene.world.request_line()?;
        // The star of OPTIONS is no path.
        let path = || uri.path_and_query().filter(|path| path.as_str() != "*");
        let target = || match uri.path_and_query() {
            Some(path) if uri.authority().is_none() => path.as_str().to_owned(),
            _ => uri.to_string(),
        };
        let protocol = match version {
            Version::HTTP_09 | Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        let text = match self {
            Self::Method => method.as_str().to_owned(),
            Self::Uri => path()?.as_str().to_owned(),
            Self::Version if protocol == "HTTP/1.0" => protocol.to_owned(),
            Self::Version => "HTTP/1.1".to_owned(),
            Self::Whole => format!("{method} {} {protocol}", target()),
            Self::Target => target(),
            Self::Beginning => {
                let mut target = target();
                target.truncate(target.find('?').unwrap_or(target.len()));
                target
            }
            Self::Path => path()?.path().to_owned(),
            Self::Query => uri.query().map(|query| format!("?{query}"))?,
            Self::Protocol => protocol.to_owned(),
        };
        Some(Value::Str(text.into_bytes().into()))
    }
}

/// The value of a query's parameter, as it was sent, and of several the first, where nothing but `&` divides them.
pub fn parameter<'a>(query: &'a str, name: &'a str) -> Option<&'a [u8]> {
    parameters(query.as_bytes(), Some(name), |byte| byte == b'&').next()
}

/// The values of a parameter of what follows the first `delimiter` in path and query, and which it may divide as `&` and `;`
/// do: with a question mark those of the query, with a semicolon those of the path as well.
pub(super) fn parameters_of<'a>(
    uri: &'a Uri,
    name: Option<&'a str>,
    delimiter: u8,
) -> impl Iterator<Item = &'a [u8]> {
    let all = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let begin = all.bytes().position(|byte| byte == delimiter);
    let pairs = begin.and_then(|begin| all.as_bytes().get(begin + 1..));
    let divides = move |byte| byte == delimiter || is_between_parameters(byte);
    pairs
        .into_iter()
        .flat_map(move |pairs| parameters(pairs, name, divides))
}

/// The same as those see it to whom nothing but `&` divides parameters, where that may be another thing: what a condition
/// looks for is found by whatever rules the server goes.
pub(super) fn parameters_of_others<'a>(
    uri: &'a Uri,
    name: Option<&'a str>,
    delimiter: u8,
) -> impl Iterator<Item = &'a [u8]> {
    let query = uri.query().filter(|_| delimiter == b'?');
    query
        .filter(|query| query.contains([';', '?']))
        .into_iter()
        .flat_map(move |query| parameters(query.as_bytes(), name, |byte| byte == b'&'))
}

/// What some servers take to divide parameters, and so does HAProxy: what they would see is seen here.
pub(in crate::rules) fn is_between_parameters(byte: u8) -> bool {
    matches!(byte, b'&' | b';')
}

/// The values of a parameter of pairs, in order; without a name of all.
pub(in crate::rules) fn parameters<'a>(
    pairs: &'a [u8],
    name: Option<&'a str>,
    divides: impl Fn(u8) -> bool,
) -> impl Iterator<Item = &'a [u8]> {
    pairs
        .split(move |&byte| divides(byte))
        .filter_map(move |pair| {
            let (key, value) = match pair.iter().position(|&b| b == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[pair.len()..]),
            };
            name.is_none_or(|name| key == name.as_bytes())
                .then_some(value)
        })
}

/// The values of a cookie, in order.
pub(super) fn cookies<'a>(
    headers: &'a HeaderMap,
    side: Side,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let field = match side {
        Side::Request => COOKIE,
        Side::Response => SET_COOKIE,
    };
    headers.get_all(field).iter().flat_map(move |line| {
        // What follows the first semicolon of a Set-Cookie are its attributes.
        let pairs = match side {
            Side::Request => usize::MAX,
            Side::Response => 1,
        };
        let end = line.as_bytes().as_ptr_range().end;
        Pairs::new(line.as_bytes())
            .take(pairs)
            .filter(move |pair| pair.name == name.as_bytes())
            .filter_map(|pair| pair.value)
            // What has no value at a field's very end is no cookie to HAProxy.
            .filter(move |value| !value.is_empty() || value.as_ptr() != end)
    })
}

/// The user and password of HTTP's basic scheme. Several fields are none: the server might go by another than we do.
pub fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (fields.next()?.as_bytes(), fields.next()) else {
        return None;
    };
    let (scheme, token) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = STANDARD.decode(token.trim_ascii()).ok()?;
    let colon = user.iter().position(|&b| b == b':')?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    Some((user, password))
}

/// RFC 9562, version 4.
pub(super) fn uuid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | (0b10 << 62));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
