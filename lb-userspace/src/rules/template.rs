//! Texts with expressions in them: `https://%[host]%[path]`.

use super::{expr::Expr, problem::Problem, registry::Registry, scene::Scene, value::Value};

/// A text with expressions in it.
#[derive(Debug, Clone, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Vec<u8>),
    Expr(Expr),
}

impl Template {
    /// A text; `%[…]` is an expression, `%%` a percent sign.
    ///
    /// # Errors
    /// What is in brackets is no expression, or a percent sign stands alone.
    pub fn parse(text: &str, registry: &mut Registry<'_>) -> Result<Self, Problem> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let inside = rest.strip_prefix('[').ok_or_else(|| {
                Problem::new(
                    format!("a `%` stands alone in `{text}`"),
                    "write `%[path]` for what a request has, `%%` for a percent sign",
                )
            })?;
            let (inside, after) = bracketed(inside)?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into_bytes()));
            }
            parts.push(Part::Expr(Expr::parse(inside, registry)?));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into_bytes()));
        }
        Ok(Self { parts })
    }

    /// One expression alone.
    pub fn of(expr: Expr) -> Self {
        Self {
            parts: vec![Part::Expr(expr)],
        }
    }

    /// A text without expressions.
    pub fn literal(text: &str) -> Self {
        Self {
            parts: vec![Part::Text(text.as_bytes().to_vec())],
        }
    }

    /// The text, if there is no expression in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Its expressions.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.parts.iter().filter_map(|part| match part {
            Part::Expr(expr) => Some(expr),
            Part::Text(_) => None,
        })
    }

    /// What comes of it; an expression without a value adds nothing.
    pub fn render(&self, scene: &Scene<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.extend_from_slice(part),
                Part::Expr(expr) => {
                    if let Some(value) = expr.sample(scene) {
                        text.extend_from_slice(&value.into_text());
                    }
                }
            }
        }
        text
    }

    /// The same as a value: of one expression alone with its type, and `None` where it has none.
    pub fn value(&self, scene: &Scene<'_>) -> Option<Value<'static>> {
        match self.parts.as_slice() {
            [Part::Expr(expr)] => expr.sample(scene).map(Value::into_owned),
            _ => Some(Value::Str(self.render(scene).into())),
        }
    }
}

/// The expression that `%[` has opened, and what follows its bracket.
///
/// # Errors
/// It is not closed.
pub fn bracketed(text: &str) -> Result<(&str, &str), Problem> {
    match closing(text) {
        Some(end) => Ok((&text[..end], &text[end + 1..])),
        None => Err(Problem::new(
            "a `%[` is not closed",
            "write `]` after the expression",
        )),
    }
}

/// Where the bracket that ends an expression is: not in quotes, nor in round brackets.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth, mut escaped) = (None, 0_u32, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ']') if depth == 0 => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// A replacement in HAProxy's syntax (`\1`) in that of the regex crate (`${1}`).
pub(super) fn replacement(text: &str) -> Vec<u8> {
    let mut by = Vec::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut push = |c: char| {
        let mut buffer = [0; 4];
        by.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(char::is_ascii_digit) => {
                let digit = chars.next().unwrap_or('0');
                "${".chars().chain([digit, '}']).for_each(&mut push);
            }
            '\\' => push(chars.next().unwrap_or('\\')),
            '$' => "$$".chars().for_each(&mut push),
            c => push(c),
        }
    }
    by
}
