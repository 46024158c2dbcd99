//! `application/x-www-form-urlencoded`: what forms send and queries hold.

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
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (digit(at), digit(at + 1)) {
                // Two digits of four bits fit.
                (Some(high), Some(low)) => {
                    out.push((high << 4 | low) as u8);
                    at += 2;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `text` as a value that both a path and a query can hold.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
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
