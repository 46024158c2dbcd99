//! Header fields: whole lines, and the values that commas divide.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

/// One of several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence(i16);

impl Occurrence {
    /// The last.
    pub const LAST: Self = Self(-1);

    /// Counted from 1 at the beginning or from -1 at the end; not 0, and as far as HAProxy looks back.
    pub fn new(which: i64) -> Option<Self> {
        i16::try_from(which)
            .ok()
            .filter(|which| *which != 0 && *which >= -10)
            .map(Self)
    }
}

/// The values of a field, in order.
pub(super) fn each<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    whole: bool,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().flat_map(move |line| Values {
        rest: Some(line.as_bytes()),
        whole,
    })
}

/// The first of a field's values.
pub fn first_value(field: &[u8]) -> &[u8] {
    let mut values = Values {
        rest: Some(field),
        whole: false,
    };
    values.next().unwrap_or_default()
}

/// One of the values.
pub(super) fn nth<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    whole: bool,
    which: Occurrence,
) -> Option<&'a [u8]> {
    let values = || each(headers, name, whole);
    match which.0 {
        -1 => values().last(),
        n if n > 0 => values().nth(usize::from(n.unsigned_abs()) - 1),
        n => {
            let back = usize::from(n.unsigned_abs());
            let count = values().count();
            values().nth(count.checked_sub(back)?)
        }
    }
}

/// How many values there are.
pub(super) fn count(headers: &HeaderMap, name: Option<&HeaderName>, whole: bool) -> i64 {
    let count = match name {
        Some(name) => each(headers, name, whole).count(),
        None if whole => headers.len(),
        None => headers
            .keys()
            .map(|name| each(headers, name, whole).count())
            .sum(),
    };
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What commas outside of quotes divide, without the blanks around.
struct Values<'a> {
    rest: Option<&'a [u8]>,
    whole: bool,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        if self.whole {
            return Some(rest.trim_ascii());
        }
        match end_of_value(rest) {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                Some(rest[..end].trim_ascii())
            }
            None => Some(rest.trim_ascii()),
        }
    }
}

/// Where the comma after the first value is.
fn end_of_value(field: &[u8]) -> Option<usize> {
    // Most have none, or no quotes before it, which is seen for many bytes at a time.
    let first = memchr::memchr2(b',', b'"', field)?;
    if field[first] == b',' {
        return Some(first);
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = field[first..].iter().position(|&b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })?;
    Some(first + end)
}

/// A Host field's name: in lower case, without port and one trailing dot: `A.b.:80` → `a.b`, `[::1]:80` → `[::1]`.
pub fn host_name(host: &[u8]) -> Cow<'_, [u8]> {
    let name = match host.iter().rposition(|&b| b == b':') {
        // A colon within brackets belongs to an IPv6 address.
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
