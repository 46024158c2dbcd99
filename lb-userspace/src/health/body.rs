//! What is expected of an answer to a check, and whether it is there as far as it has come. Pure.

use crate::config::model::{Content, HeadField, Like, Parts};

/// No more of a body is looked at than this.
pub(super) const MOST: usize = 64 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

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
