//! `json`: a text as one of JSON.

use crate::rules::problem::Problem;

/// What the text is in, and what becomes of what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Each byte is a character.
    Ascii,
    /// UTF-8.
    Utf8(Invalid),
}

/// What becomes of bytes that are no UTF-8, and of what 16 bits do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// There is no text.
    Refused,
    /// They are left out.
    LeftOut,
    /// Each stands for itself.
    Taken,
}

impl Input {
    /// By HAProxy's names.
    pub(super) fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "" | "ascii" => Self::Ascii,
            "utf8" => Self::Utf8(Invalid::Refused),
            "utf8s" | "utf8ps" => Self::Utf8(Invalid::LeftOut),
            "utf8p" => Self::Utf8(Invalid::Taken),
            other => {
                return Err(Problem::new(
                    format!("`{other}` is no way to read text"),
                    "write `ascii`, `utf8`, `utf8s`, `utf8p` or `utf8ps`",
                ));
            }
        })
    }
}

/// Text as JSON has it between quotes, in HAProxy's spelling.
pub(super) fn escape(from: &[u8], input: Input) -> Option<Vec<u8>> {
    let mut out = String::with_capacity(from.len() + 8);
    let Input::Utf8(invalid) = input else {
        from.iter()
            .for_each(|&byte| push(&mut out, char::from(byte)));
        return Some(out.into_bytes());
    };
    for chunk in from.utf8_chunks() {
        for c in chunk.valid().chars() {
            match invalid {
                _ if u32::from(c) <= 0xffff => push(&mut out, c),
                Invalid::Refused => return None,
                Invalid::LeftOut => {}
                Invalid::Taken => push(&mut out, c),
            }
        }
        for &byte in chunk.invalid() {
            match invalid {
                Invalid::Refused => return None,
                Invalid::LeftOut => {}
                Invalid::Taken => push(&mut out, char::from(byte)),
            }
        }
    }
    Some(out.into_bytes())
}

fn push(out: &mut String, c: char) {
    let short = match c {
        '"' | '\\' | '/' => c,
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\n' => 'n',
        '\t' => 't',
        ' '..='~' => return out.push(c),
        _ => {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6 wrote them.
    #[test]
    fn texts_are_escaped_as_haproxy_does_it() {
        let of = |text: &[u8], input: &str| {
            let escaped = escape(text, Input::named(input).unwrap());
            escaped.map_or("-".to_owned(), |text| String::from_utf8(text).unwrap())
        };
        assert_eq!(of(b"\"\\/\x08\x0c\r\n\t", "ascii"), r#"\"\\\/\b\f\r\n\t"#);
        assert_eq!(of(b"\x01\x1f\x7f'~", ""), r"\u0001\u001f\u007f'~");
        let text = "\u{e9}\u{20ac}".as_bytes();
        assert_eq!(of(text, "ascii"), r"\u00c3\u00a9\u00e2\u0082\u00ac");
        assert_eq!(of(text, "utf8"), r"\u00e9\u20ac");
        assert_eq!(of("a\u{1f600}".as_bytes(), "utf8"), "-");
        assert_eq!(of("a\u{1f600}".as_bytes(), "utf8s"), "a");
        assert_eq!(of(b"a\xff", "utf8"), "-");
        assert_eq!(of(b"a\xff", "utf8ps"), "a");
        assert_eq!(of(b"a\xff", "utf8p"), r"a\u00ff");
        assert!(Input::named("latin1").is_err());
    }
}
