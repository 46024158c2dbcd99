//! Stickiness by cookie, as HAProxy's `cookie NAME insert|rewrite|prefix …` does it. Pure.

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, COOKIE, PRAGMA, SET_COOKIE},
};

use super::fields::Fields;
use crate::rules::cookies::{Pair, Pairs};

pub mod dates;

/// What a request's sticky cookie says about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sticky<T> {
    /// There is none.
    None,
    /// It names no server.
    Invalid,
    /// It names a server that cannot be used now.
    Down,
    /// It was not used for too long.
    Expired,
    /// It was set too long ago.
    Old,
    /// It names this server.
    Valid(T),
}

/// What `lookup` knows of a cookie's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<T> {
    /// No server has it.
    Nobody,
    /// One that is down or in maintenance has it.
    Down,
    /// It was not used for too long.
    Expired,
    /// It was set too long ago.
    Old,
    /// This one has it.
    Server(T),
}

/// Reads the cookie called `name` from all Cookie fields. Of several the first that names a usable server counts.
pub fn read<T>(
    headers: &HeaderMap,
    name: &str,
    mut lookup: impl FnMut(&[u8]) -> Named<T>,
) -> Sticky<T> {
    let mut found = Sticky::None;
    for field in headers.get_all(COOKIE) {
        for pair in Pairs::new(field.as_bytes()).filter(|pair| pair.name == name.as_bytes()) {
            let Some(value) = pair.value else { continue };
            match (lookup(value), &found) {
                (Named::Server(server), _) => return Sticky::Valid(server),
                (Named::Down, Sticky::None | Sticky::Invalid) => found = Sticky::Down,
                (Named::Expired, Sticky::None | Sticky::Invalid) => found = Sticky::Expired,
                (Named::Old, Sticky::None | Sticky::Invalid) => found = Sticky::Old,
                (Named::Nobody, Sticky::None) => found = Sticky::Invalid,
                _ => {}
            }
        }
    }
    found
}

/// Removes the cookie called `name`, and with it the `$Path` and the like that belong to it, from all Cookie fields.
/// A field that nothing is left of goes too; the others stay as they were sent.
pub fn remove(headers: &mut HeaderMap, name: &str) {
    let has = |field: &HeaderValue| {
        Pairs::new(field.as_bytes())
            .any(|pair| pair.name == name.as_bytes() && pair.value.is_some())
    };
    if !headers.get_all(COOKIE).iter().any(has) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|field| match has(field) {
            // What is cut out of a valid field value leaves a valid one.
            true => without(field.as_bytes(), name.as_bytes())
                .and_then(|left| HeaderValue::from_bytes(&left).ok()),
            false => Some(field.clone()),
        })
        .collect();
    headers.remove(COOKIE);
    for field in kept {
        headers.append(COOKIE, field);
    }
}

/// `field` without the cookie `name`; `None` if no other cookie is left.
fn without(field: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut left = Vec::with_capacity(field.len());
    // Where the last kept pair ended, and whether attributes belong to a removed cookie.
    let (mut cut, mut removing, mut cookies) = (false, false, false);
    for pair in Pairs::new(field) {
        let attribute = pair.name.first() == Some(&b'$');
        removing = match attribute {
            true => removing,
            false => pair.name == name && pair.value.is_some(),
        };
        if removing {
            cut = true;
            continue;
        }
        cookies |= !attribute && !pair.text.trim_ascii().is_empty();
        if left.is_empty() && pair.start == 0 {
            left.extend_from_slice(pair.text);
        } else if cut {
            // HAProxy writes the separator anew where something was cut out.
            if !left.is_empty() {
                left.extend_from_slice(b"; ");
            }
            left.extend_from_slice(pair.text.trim_ascii_start());
        } else {
            left.push(pair.separator);
            left.extend_from_slice(pair.text);
        }
        cut = false;
    }
    cookies.then_some(left)
}

/// What stands in mode `prefix` between a server's name and the value that the server itself has set.
const PREFIX_END: u8 = b'~';

/// The server's name in a value of mode `prefix`.
pub fn prefix(value: &[u8]) -> &[u8] {
    value
        .split(|&byte| byte == PREFIX_END)
        .next()
        .unwrap_or_default()
}

/// Takes the prefixes off the values of the cookie called `name`: its server sees what it has set.
pub fn remove_prefix(headers: &mut HeaderMap, name: &str) {
    let is_ours =
        |pair: &Pair<'_>| pair.name == name.as_bytes() && pair.value.is_some_and(has_prefix);
    for field in headers
        .iter_mut()
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, field)| field)
    {
        let bytes = field.as_bytes();
        if !Pairs::new(bytes).any(|pair| is_ours(&pair)) {
            continue;
        }
        let (mut left, mut at) = (Vec::with_capacity(bytes.len()), 0);
        for pair in Pairs::new(bytes).filter(is_ours) {
            let Some(value) = pair.value_at() else {
                continue;
            };
            left.extend_from_slice(&bytes[at..value]);
            at = value + prefix(&bytes[value..]).len() + 1;
        }
        left.extend_from_slice(&bytes[at..]);
        // What is cut out of a valid field value leaves a valid one.
        if let Ok(left) = HeaderValue::from_bytes(&left) {
            *field = left;
        }
    }
}

fn has_prefix(value: &[u8]) -> bool {
    value.contains(&PREFIX_END)
}

/// Whether the server sets the cookie called `name` itself.
pub fn is_set(headers: &HeaderMap, name: &str) -> bool {
    headers
        .get_all(SET_COOKIE)
        .iter()
        .any(|field| sets(field, name).is_some())
}

/// The cookie at the beginning of a Set-Cookie field, if it is called `name`.
fn sets<'a>(field: &'a HeaderValue, name: &str) -> Option<Pair<'a>> {
    Pairs::new(field.as_bytes())
        .next()
        .filter(|pair| pair.name == name.as_bytes() && pair.value.is_some())
}

/// Removes Set-Cookie fields for the cookie called `name`: a server's own would fight with ours.
pub fn remove_set(headers: &mut HeaderMap, name: &str) {
    let kept: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter(|field| sets(field, name).is_none())
        .cloned()
        .collect();
    headers.remove(SET_COOKIE);
    for field in kept {
        headers.append(SET_COOKIE, field);
    }
}

/// Puts `value` in the place of what the server sets the cookie called `name` to, or, if that is to be kept, before it
/// with a `~` between them.
pub fn rewrite_set(headers: &mut HeaderMap, name: &str, value: &str, keep: bool) {
    for (_, field) in headers.iter_mut().filter(|(name, _)| *name == SET_COOKIE) {
        let Some((at, length)) = sets(field, name).and_then(|pair| {
            let value = pair.value?;
            Some((pair.value_at()?, value.len()))
        }) else {
            continue;
        };
        let bytes = field.as_bytes();
        let mut set = bytes[..at].to_vec();
        set.extend_from_slice(value.as_bytes());
        if keep {
            set.push(PREFIX_END);
        }
        set.extend_from_slice(&bytes[if keep { at } else { at + length }..]);
        if let Ok(set) = HeaderValue::from_bytes(&set) {
            *field = set;
        }
    }
}

/// The Set-Cookie that binds a client to the server whose cookie value is `value`, dates included; without one, the
/// Set-Cookie that removes what the client has. `None` if they cannot stand in a header field.
pub fn set_cookie(name: &str, value: Option<&str>, attributes: &str) -> Option<HeaderValue> {
    let text = match value {
        Some(value) => format!("{name}={value}; path=/{attributes}"),
        None => {
            format!("{name}=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/{attributes}")
        }
    };
    HeaderValue::try_from(text).ok()
}

/// Whether a cache might keep this response, by HAProxy's rules: the method and the status allow it or `public` does,
/// nothing after that forbids it, and it says how fresh it is or carries a validator. `nocache` then adds
/// `cache-control: private`. `fields` are those that it has.
pub fn is_cacheable(
    method: &Method,
    status: StatusCode,
    fields: Fields,
    headers: &HeaderMap,
) -> bool {
    if !fields.any(Fields::CACHE_CONTROL | Fields::VALIDATOR) {
        return false;
    }
    if fields.any(Fields::PRAGMA)
        && headers
            .get_all(PRAGMA)
            .iter()
            .any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache"))
    {
        return false;
    }
    let mut allowed = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        // Those that RFC 9110, section 15.1 calls heuristically cacheable, as HAProxy lists them.
        && matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 404 | 405 | 410 | 414 | 501);
    let mut fresh = false;
    let controls = fields
        .any(Fields::CACHE_CONTROL)
        .then(|| headers.get_all(CACHE_CONTROL));
    for directive in controls
        .into_iter()
        .flatten()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
    {
        let directive = directive.trim_ascii();
        let is = |text: &[u8]| directive.eq_ignore_ascii_case(text);
        let begins = |text: &[u8]| {
            directive
                .get(..text.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(text))
        };
        if is(b"private")
            || is(b"no-cache")
            || is(b"no-store")
            || is(b"max-age=0")
            || is(b"s-maxage=0")
        {
            allowed = false;
        } else if is(b"public") {
            allowed = true;
        } else if begins(b"max-age") || begins(b"s-maxage") {
            fresh = true;
        }
    }
    allowed && (fresh || fields.any(Fields::VALIDATOR))
}

#[cfg(test)]
mod tests;
