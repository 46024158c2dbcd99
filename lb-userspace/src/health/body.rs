//! The body of an answer to a check, as far as it has come. Pure.

use std::borrow::Cow;

use crate::config::model::Content;

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
        Content::Not(content) => !contains(text, content),
        // Of the head, which has been looked at; and what was filled in before.
        Content::Header(..) | Content::Filled(_) => true,
    }
}

/// Whether a head has a field of this name with this value, alone or among others.
pub(super) fn has_header(head: &[u8], name: &str, value: &str) -> bool {
    fields(head, name).any(|found| {
        found == value.as_bytes()
            || found
                .split(|&byte| byte == b',')
                .any(|part| part.trim_ascii() == value.as_bytes())
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
        assert!(has_header(head, "x-ready", "yes"));
        assert!(has_header(head, "X-List", "b") && has_header(head, "X-List", "a, b"));
        assert!(!has_header(head, "x-ready", "no") && !has_header(head, "ready", "yes"));
    }
}
