//! `json_query`: `$.a.b[0]` of a JSON text.
//!
//! Nothing is built of the text: it is read up to what is asked for, and what follows may be anything, as HAProxy has it.

use crate::rules::{problem::Problem, value::Value};

/// How deep values may lie in each other.
const DEPTH: usize = 20;

/// The numbers that a double holds exactly: others are none to HAProxy.
const LARGEST: i64 = (1 << 53) - 1;

/// A path into a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    steps: Vec<Step>,
    number: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Query {
    /// A path that begins with `$`; `number` if numbers are wanted as such.
    pub(super) fn parse(path: &str, number: bool) -> Result<Self, Problem> {
        let bad = || {
            Problem::new(
                format!("`{path}` is no path into JSON"),
                "write it as in `$.users[0].name`",
            )
        };
        let mut rest = path.strip_prefix('$').ok_or_else(bad)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (name, behind) = name(after);
                if name.is_empty() {
                    return Err(bad());
                }
                steps.push(Step::Key(name));
                rest = behind;
            } else {
                let (inside, after) = rest
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once(']'))
                    .ok_or_else(bad)?;
                let name = inside.trim_matches(['\'', '"']);
                steps.push(match inside.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) if name.len() < inside.len() => Step::Key(name.to_owned()),
                    Err(_) => return Err(bad()),
                });
                rest = after;
            }
        }
        Ok(Self { steps, number })
    }

    pub(super) fn apply(&self, text: &[u8]) -> Option<Value<'static>> {
        let mut reader = Reader { text, at: 0 };
        let (kind, found) = reader.value(Some(&self.steps), DEPTH)??;
        match kind {
            Kind::Text => unescaped(found).map(|text| Value::Str(text.into())),
            Kind::Array => Some(Value::Str(found.to_vec().into())),
            Kind::Is(value) => Some(Value::Bool(value)),
            Kind::Number if self.number => whole(found).map(Value::Int),
            Kind::Number => {
                let number = std::str::from_utf8(found).ok()?.parse().ok()?;
                Some(Value::Str(short(number).into_bytes().into()))
            }
            Kind::Null | Kind::Object => None,
        }
    }
}

/// A key of a path, and what is behind it: `\` takes the meaning of a dot and a bracket.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Array,
    Object,
    Is(bool),
    Null,
}

/// What was looked for, as it stands in the text: a string without its quotes.
type Found<'a> = Option<(Kind, &'a [u8])>;

/// Where in the text it is.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        let spaces = rest.iter().take_while(|byte| b" \t\r\n".contains(byte));
        self.at += spaces.count();
        self.text.get(self.at).copied()
    }

    /// Passes a byte that has to be there.
    fn pass(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes a value, or finds what lies in it at the end of these steps; `None` where it is none, or too deep.
    fn value(&mut self, steps: Option<&[Step]>, depth: usize) -> Option<Found<'a>> {
        let first = self.peek()?;
        let begin = self.at;
        let here = steps.is_some_and(<[Step]>::is_empty);
        let kind = match first {
            b'{' | b'[' => {
                let depth = depth.checked_sub(1)?;
                let found = match first {
                    b'{' => self.object(steps, depth)?,
                    _ => self.array(steps, depth)?,
                };
                if found.is_some() {
                    return Some(found);
                }
                match first {
                    b'{' => Kind::Object,
                    _ => Kind::Array,
                }
            }
            b'"' => {
                let text = self.string()?;
                return Some(here.then_some((Kind::Text, text)));
            }
            b't' => self.word(b"true", Kind::Is(true))?,
            b'f' => self.word(b"false", Kind::Is(false))?,
            b'n' => self.word(b"null", Kind::Null)?,
            b'-' | b'0'..=b'9' => self.number(),
            _ => return None,
        };
        Some(here.then(|| (kind, &self.text[begin..self.at])))
    }

    fn object(&mut self, steps: Option<&[Step]>, depth: usize) -> Option<Found<'a>> {
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(None);
        }
        loop {
            if self.peek()? != b'"' {
                return None;
            }
            let key = self.string()?;
            self.pass(b':')?;
            let inner = match steps {
                Some([Step::Key(name), rest @ ..]) if name.as_bytes() == key => Some(rest),
                _ => None,
            };
            if let Some(found) = self.value(inner, depth)? {
                return Some(Some(found));
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(None)
    }

    fn array(&mut self, steps: Option<&[Step]>, depth: usize) -> Option<Found<'a>> {
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(None);
        }
        for n in 0.. {
            let inner = match steps {
                Some([Step::Index(index), rest @ ..]) if *index == n => Some(rest),
                _ => None,
            };
            if let Some(found) = self.value(inner, depth)? {
                return Some(Some(found));
            }
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(None)
    }

    /// What is between quotes, as it is written.
    fn string(&mut self) -> Option<&'a [u8]> {
        let begin = self.at + 1;
        let mut at = begin;
        loop {
            match *self.text.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(&self.text[begin..at])
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Option<Kind> {
        let is = self.text[self.at..].starts_with(word);
        is.then(|| {
            self.at += word.len();
            kind
        })
    }

    fn number(&mut self) -> Kind {
        let rest = self.text[self.at..].iter();
        let of = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        self.at += rest.take_while(of).count();
        Kind::Number
    }
}

/// What a string stands for.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'\\') {
        return Some(text.to_vec());
    }
    let quoted = [b"\"", text, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).ok()?;
    Some(text.into_bytes())
}

/// The digits that a number begins with.
fn whole(number: &[u8]) -> Option<i64> {
    let (minus, digits) = match number.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = std::str::from_utf8(&digits[..end.unwrap_or(digits.len())]).ok()?;
    let number: i64 = digits.parse().ok()?;
    let number = if minus { -number } else { number };
    (-LARGEST..=LARGEST).contains(&number).then_some(number)
}

/// A number in six digits, as C's `%g` writes it.
fn short(number: f64) -> String {
    let text = format!("{number:.5e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match usize::try_from(5 - exponent) {
        Ok(places) if exponent >= -4 => trimmed(&format!("{number:.places$}")),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", trimmed(digits), exponent.unsigned_abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, path: &str) -> String {
        let found = Query::parse(path, false).unwrap().apply(text.as_bytes());
        found.map_or("-".to_owned(), |value| {
            String::from_utf8(value.into_text().into_owned()).unwrap()
        })
    }

    #[test]
    fn numbers_have_six_digits() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (-7.25, "-7.25"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (999_999.9, "1e+06"),
            (1_234_567.0, "1.23457e+06"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1.5e120, "1.5e+120"),
            (0.1 + 0.2, "0.3"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn keys_may_have_dots() {
        let text = r#"{"a.b":1,"a":{"b":2},"a[0]":3}"#;
        assert_eq!(of(text, r"$.a\.b"), "1");
        assert_eq!(of(text, "$.a.b"), "2");
        assert_eq!(of(text, "$['a.b']"), "1");
        assert_eq!(of(text, r"$.a\[0]"), "3");
    }

    #[test]
    fn what_is_no_json_up_to_there_has_nothing() {
        for text in [
            "",
            "{",
            "[",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":\"",
            "{\"a\":\"x\\",
            "{\"a\":-",
            "{\"a\":1e",
            "{\"a\":tru",
            "{\"b\":x,\"a\":1}",
            "{\"b\":[1 2],\"a\":1}",
        ] {
            assert_eq!(of(text, "$.a"), "-", "{text}");
        }
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(of(&deep(20), &format!("${}", "[0]".repeat(20))), "1");
        assert_eq!(of(&deep(21), &format!("${}", "[0]".repeat(21))), "-");
        assert_eq!(of(&"[".repeat(100_000), "$[0]"), "-");
    }
}
