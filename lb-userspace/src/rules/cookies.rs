//! What stands in Cookie and Set-Cookie fields, read as HAProxy reads them: by sticky cookies and by rules alike.

/// One `name=value` of a Cookie field, or what stands between two separators in its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Where it begins in the field.
    pub start: usize,
    /// What separated it from the one before it.
    pub separator: u8,
    /// All of it, spaces included.
    pub text: &'a [u8],
    /// The name, spaces trimmed.
    pub name: &'a [u8],
    /// The value with its quotes, spaces trimmed; `None` where there is no `=`.
    pub value: Option<&'a [u8]>,
}

impl Pair<'_> {
    /// Where the value begins in the field.
    pub fn value_at(&self) -> Option<usize> {
        let equals = self.text.iter().position(|&byte| byte == b'=')?;
        let after = &self.text[equals + 1..];
        let blanks = after.len() - after.trim_ascii_start().len();
        Some(self.start + equals + 1 + blanks)
    }
}

/// Splits a Cookie field at `;` and `,` outside of quotes.
#[derive(Debug)]
pub struct Pairs<'a> {
    field: &'a [u8],
    at: usize,
    separator: u8,
    done: bool,
}

impl<'a> Pairs<'a> {
    /// The pairs of a field.
    pub fn new(field: &'a [u8]) -> Self {
        Self {
            field,
            at: 0,
            separator: b';',
            done: false,
        }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let rest = self.field.get(self.at..)?;
        let (mut quoted, mut escaped, mut equals) = (false, false, None);
        let end = rest.iter().enumerate().position(|(i, &byte)| {
            if quoted {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => quoted = false,
                    _ => {}
                }
                return false;
            }
            match byte {
                b'"' if equals.is_some() => quoted = true,
                b'=' => equals = equals.or(Some(i)),
                _ => {}
            }
            matches!(byte, b';' | b',')
        });
        let text = &rest[..end.unwrap_or(rest.len())];
        let (name, value) = match equals {
            Some(i) => (&text[..i], Some(text[i + 1..].trim_ascii())),
            None => (text, None),
        };
        let pair = Pair {
            start: self.at,
            separator: self.separator,
            text,
            name: name.trim_ascii(),
            value,
        };
        match end {
            Some(end) => {
                self.separator = rest[end];
                self.at += end + 1;
            }
            None => self.done = true,
        }
        Some(pair)
    }
}
