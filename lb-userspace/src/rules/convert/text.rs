//! Changes of text.

use std::{borrow::Cow, ops::Range};

use crate::percent::{self, Plus};

/// A part, borrowed where the whole is.
pub(super) fn slice(text: Cow<'_, [u8]>, range: Range<usize>) -> Cow<'_, [u8]> {
    if range == (0..text.len()) {
        return text;
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_vec()),
    }
}

pub(super) fn trim<'a>(text: Cow<'a, [u8]>, of: &[u8], end: bool) -> Cow<'a, [u8]> {
    let stays = |b: &u8| !of.contains(b);
    let range = match end {
        false => text.iter().position(stays).unwrap_or(text.len())..text.len(),
        true => 0..text.iter().rposition(stays).map_or(0, |at| at + 1),
    };
    slice(text, range)
}

/// HAProxy's `field` and, where empty ones do not count, `word`.
pub(super) fn field<'a>(
    text: Cow<'a, [u8]>,
    index: i64,
    delimiters: &[u8],
    count: usize,
    words: bool,
) -> Option<Cow<'a, [u8]>> {
    let mut fields = Vec::new();
    let mut from = 0;
    for at in 0..=text.len() {
        if text.get(at).is_none_or(|b| delimiters.contains(b)) {
            if !words || at > from {
                fields.push(from..at);
            }
            from = at + 1;
        }
    }
    let at = usize::try_from(index.unsigned_abs()).ok()?.checked_sub(1)?;
    // Counted backwards, more of them lie before.
    let (first, last) = match index > 0 {
        true => {
            let last = match count {
                0 => fields.len().checked_sub(1)?,
                n => at.saturating_add(n - 1).min(fields.len().saturating_sub(1)),
            };
            (at, last)
        }
        false => {
            let last = fields.len().checked_sub(at + 1)?;
            let first = match count {
                0 => 0,
                n => (last + 1).saturating_sub(n),
            };
            (first, last)
        }
    };
    let range = fields.get(first)?.start..fields.get(last)?.end;
    Some(slice(text, range))
}

pub(super) fn url_decode(text: Cow<'_, [u8]>, form: bool) -> Option<Cow<'_, [u8]>> {
    let changes = |b: &u8| *b == b'%' || form && *b == b'+';
    if !text.iter().any(changes) {
        return Some(text);
    }
    let plus = match form {
        true => Plus::Blank,
        false => Plus::Itself,
    };
    percent::decoded(&text, plus).map(Cow::Owned)
}

/// RFC 3986 section 2.3: unreserved characters stay.
pub(super) fn url_encode(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if text.iter().all(|&b| percent::is_unreserved(b)) {
        return text;
    }
    Cow::Owned(percent::encoded(&text, percent::is_unreserved))
}

/// Where the colon before a host's port is.
pub(super) fn port_at(host: &[u8]) -> Option<usize> {
    let colon = host.iter().rposition(|&b| b == b':')?;
    let is_port = host[colon + 1..].iter().all(u8::is_ascii_digit);
    // Several colons without brackets are an IPv6 address.
    let alone = host.starts_with(b"[") || !host[..colon].contains(&b':');
    (is_port && alone).then_some(colon)
}

/// Of the languages that are `known`, the one that an Accept-Language field likes best; the first of equals.
pub(super) fn language<'k>(accepted: &[u8], known: &'k [String]) -> Option<&'k str> {
    let mut best: Option<(u32, &'k str)> = None;
    for part in accepted.split(|&b| b == b',') {
        let part = std::str::from_utf8(part).ok()?.trim();
        let (tag, quality) = match part.split_once(';') {
            Some((tag, parameter)) => {
                let quality = parameter.trim().strip_prefix("q=");
                let quality = quality.and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
                (tag.trim(), (quality.clamp(0.0, 1.0) * 1000.0) as u32)
            }
            None => (part, 1000),
        };
        let primary = tag.split('-').next().unwrap_or(tag);
        let found = known
            .iter()
            .find(|known| known.eq_ignore_ascii_case(tag))
            .or_else(|| {
                known
                    .iter()
                    .find(|known| known.eq_ignore_ascii_case(primary))
            });
        if let Some(found) = found
            && quality > 0
            && best.is_none_or(|(before, _)| quality > before)
        {
            best = Some((quality, found));
        }
    }
    best.map(|(_, tag)| tag)
}
