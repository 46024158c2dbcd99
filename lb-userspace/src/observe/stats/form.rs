//! `application/x-www-form-urlencoded`: what forms send and queries hold.

use crate::percent::{self, Plus};

/// The names and values of `text`, in their order.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    text.split(|&b| b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut parts = pair.splitn(2, |&b| b == b'=');
            let mut next = || plain(parts.next().unwrap_or_default());
            (next(), next())
        })
}

fn plain(text: &[u8]) -> String {
    String::from_utf8_lossy(&percent::decoded_as_far(text, Plus::Blank)).into_owned()
}

/// `text` as a value that both a path and a query can hold.
pub(super) fn escaped(text: &str) -> String {
    let escaped = percent::encoded(text.as_bytes(), percent::is_unreserved);
    String::from_utf8_lossy(&escaped).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_read_as_browsers_write_them() {
        let read: Vec<_> = pairs(b"s=a+b&s=%C3%a9%3D&b=&x&&y=1=2&z=%4").collect();
        let expected = [
            ("s", "a b"),
            ("s", "é="),
            ("b", ""),
            ("x", ""),
            ("y", "1=2"),
            ("z", "%4"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_escaped_reads_back() {
        let text = "a b;c&d=é%/?#+";
        let escaped = escaped(text);
        let (_, read) = pairs(format!("x={escaped}").as_bytes())
            .next()
            .expect("one");
        assert_eq!(read, text);
    }
}
