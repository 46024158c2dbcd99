//! The body of an answer to a check, as far as it has come. Pure.

use std::borrow::Cow;

use crate::config::model::{Content, HeadField, Like, Parts};

/// No more of a body is looked at than this.
pub(super) const MOST: usize = 64 * 1024;

/// A body, and how it ends (RFC 9112, section 6.3).
#[derive(Debug)]
pub(super) struct Body {
    raw: Vec<u8>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Length(usize),
    Chunked,
    Close,
}

impl Body {
    /// The body after `head`, of which `raw` is here already.
    pub(super) fn new(head: &[u8], code: u16, raw: Vec<u8>) -> Self {
        let chunked = fields(head, "transfer-encoding").any(|value| ends_with(value, b"chunked"));
        let length = fields(head, "content-length")
            .next()
            .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let end = match length {
            _ if matches!(code, 204 | 304) => End::Length(0),
            _ if chunked => End::Chunked,
            Some(length) => End::Length(length),
            None => End::Close,
        };
        Self { raw, end }
    }

    /// Where more of it is to be put.
    pub(super) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Whether all of it is here, or as much as is looked at.
    pub(super) fn is_complete(&self) -> bool {
        self.raw.len() >= MOST
            || match self.end {
                End::Length(length) => self.raw.len() >= length,
                End::Chunked => chunks(&self.raw).1,
                End::Close => false,
            }
    }

    /// What it says.
    pub(super) fn text(&self) -> Cow<'_, [u8]> {
        match self.end {
            End::Length(length) => Cow::Borrowed(&self.raw[..self.raw.len().min(length)]),
            End::Chunked => Cow::Owned(chunks(&self.raw).0),
            End::Close => Cow::Borrowed(&self.raw),
        }
    }
}

/// The data of the chunks that are here, and whether there will be no more: they have ended, or are none.
fn chunks(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    loop {
        let Some(end) = raw.iter().position(|&byte| byte == b'\n') else {
            return (data, false);
        };
        let line = raw[..end].split(|&byte| byte == b';').next();
        let size = line
            .and_then(|line| std::str::from_utf8(line.trim_ascii()).ok())
            .and_then(|text| usize::from_str_radix(text, 16).ok());
        raw = &raw[end + 1..];
        match size {
            None | Some(0) => return (data, true),
            Some(size) if raw.len() < size => {
                data.extend_from_slice(raw);
                return (data, false);
            }
            Some(size) => {
                data.extend_from_slice(&raw[..size]);
                let rest = &raw[size..];
                let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
                raw = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
        }
    }
}

/// Whether what is expected of a body is there.
pub(super) fn contains(text: &[u8], content: &Content) -> bool {
    match content {
        Content::Text(wanted) => {
            wanted.is_empty() || text.windows(wanted.len()).any(|part| part == wanted)
        }
        Content::Regex(pattern) => pattern.0.is_match(text),
        // Of the head as well.
        Content::Not(content) if matches!(**content, Content::Header(_)) => true,
        Content::Not(content) => !contains(text, content),
        Content::Nothing => false,
        // Of the head, which has been looked at; and what was filled in before.
        Content::Header(_) | Content::Filled(_) | Content::FilledHex(_) => true,
    }
}

/// Whether what is expected of a head is there; of all but fields it is.
pub(super) fn head_has(head: &[u8], content: &Content) -> bool {
    match content {
        Content::Header(field) => has_field(head, field),
        Content::Not(unwanted) => match &**unwanted {
            Content::Header(field) => !has_field(head, field),
            _ => true,
        },
        _ => true,
    }
}

fn has_field(head: &[u8], field: &HeadField) -> bool {
    let is_like = |value: &[u8]| match &field.like {
        Like::There => true,
        Like::Is(text) => value == text,
        Like::Begins(text) => value.starts_with(text),
        Like::Ends(text) => value.ends_with(text),
        Like::Contains(text) => {
            text.is_empty() || value.windows(text.len()).any(|part| part == text)
        }
        Like::Matches(pattern) => pattern.0.is_match(value),
        // It was filled in before.
        Like::Filled(_) => false,
    };
    let parts = |value: &[u8]| {
        let mut parts = value.split(|&byte| byte == b',');
        parts.any(|part| is_like(part.trim_ascii()))
    };
    fields(head, &field.name).any(|value| match field.parts {
        Parts::Whole => is_like(value),
        Parts::Each => parts(value),
        Parts::Either => is_like(value) || parts(value),
    })
}

/// The values of the fields called `name`.
fn fields<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.split(|&byte| byte == b'\n')
        .skip(1)
        .filter_map(move |line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (field, value) = line.split_at(colon);
            field
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value[1..].trim_ascii())
        })
}

fn ends_with(value: &[u8], coding: &[u8]) -> bool {
    let last = value.rsplit(|&byte| byte == b',').next();
    last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(coding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_wherever_they_are_cut() {
        let raw = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(chunks(raw), (b"abc0123456789".to_vec(), true));
        let mut last = 0;
        for length in 0..raw.len() {
            let (data, _) = chunks(&raw[..length]);
            assert!(data.len() >= last && b"abc0123456789".starts_with(&data));
            last = data.len();
        }
        assert!(chunks(b"xyz\r\n").1, "no chunk: nothing more will come");
        assert!(!chunks(b"ffffffffffffffff\r\nab").1);
    }

    #[test]
    fn a_body_ends_as_its_head_says() {
        let body = |head: &str, raw: &str| {
            let body = Body::new(head.as_bytes(), 200, raw.into());
            (
                String::from_utf8(body.text().into_owned()).unwrap(),
                body.is_complete(),
            )
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(body(head, "ab"), ("ab".into(), false));
        assert_eq!(body(head, "abcd"), ("abc".into(), true));
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n";
        assert_eq!(body(head, "1\r\na\r\n0\r\n"), ("a".into(), true));
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\n", "ab"), ("ab".into(), false));
        let long = "x".repeat(MOST);
        assert!(body("HTTP/1.0 200 OK\r\n\r\n", &long).1);
        assert!(Body::new(b"HTTP/1.1 204 x\r\n\r\n", 204, Vec::new()).is_complete());
    }

    #[test]
    fn headers_are_found_by_name_and_value() {
        let head = b"HTTP/1.1 200 OK\r\nX-Ready: yes\r\nx-list: a, b\r\n\r\n";
        let has = |name: &str, value: &str| has_field(head, &HeadField::simple(name, value));
        assert!(has("x-ready", "yes"));
        assert!(has("X-List", "b") && has("X-List", "a, b"));
        assert!(!has("x-ready", "no") && !has("ready", "yes"));
    }

    #[test]
    fn a_field_is_looked_at_as_a_whole_or_by_its_parts() {
        let head = b"HTTP/1.1 200 OK\r\nx-list: a, bc\r\nX-List: d\r\n\r\n";
        let has = |parts, like| {
            let field = HeadField {
                name: "X-List".into(),
                parts,
                like,
            };
            let header = Content::Header(field.clone());
            let not = Content::Not(Box::new(header.clone()));
            assert_ne!(head_has(head, &header), head_has(head, &not));
            has_field(head, &field)
        };
        for (like, each, whole) in [
            (Like::There, true, true),
            (Like::Is("a, bc".into()), false, true),
            (Like::Is("bc".into()), true, false),
            (Like::Is("d".into()), true, true),
            (Like::Begins("b".into()), true, false),
            (Like::Begins("a,".into()), false, true),
            (Like::Ends("a".into()), true, false),
            (Like::Contains(", ".into()), false, true),
            (Like::Is("e".into()), false, false),
        ] {
            assert_eq!(has(Parts::Each, like.clone()), each, "{like:?}");
            assert_eq!(has(Parts::Whole, like.clone()), whole, "{like:?}");
            assert_eq!(has(Parts::Either, like.clone()), each || whole, "{like:?}");
        }
    }
}
