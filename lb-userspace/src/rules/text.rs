//! HAProxy's language of texts, as rules and log lines have it: `%%`, `%[EXPRESSION]`, `%VARIABLE`, and options for both.
//!
//! Here a text is taken apart; what its variables are is for whoever uses them: facts of a session in a log line
//! ([`crate::config`]), expressions in a rule ([`super::template`]).

use super::problem::Problem;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token<'a> {
    /// As it is.
    Text(String),
    /// `%NAME`.
    Variable(&'a str, Style),
    /// `%[EXPRESSION]`.
    Expression(&'a str, Style),
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// `Q`: in double quotes.
    pub quote: bool,
    /// `E`: `"`, `\` and `]` get a backslash before them.
    pub escape: bool,
    /// `X`: numbers and addresses in hexadecimal.
    pub hex: bool,
    /// `M`: in a log line what is not there is a `-`, unless it is quoted.
    pub mandatory: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            quote: false,
            escape: false,
            hex: false,
            mandatory: true,
        }
    }
}

impl Style {
    /// The same with `+Q,-E`.
    fn with(mut self, options: &str) -> Result<Self, Problem> {
        for option in options.split(',').map(str::trim) {
            let (on, letter) = match option.split_at_checked(1) {
                Some(("+", letter)) => (true, letter),
                Some(("-", letter)) => (false, letter),
                _ => (true, option),
            };
            match letter {
                "Q" => self.quote = on,
                "E" => self.escape = on,
                "X" => self.hex = on,
                "M" => self.mandatory = on,
                _ => {
                    return Err(Problem::new(
                        format!("`{option}` is no option of a variable"),
                        "write `+Q` (quoted), `+E` (escaped), `+X` (hexadecimal) or `-M` (nothing instead of `-`)",
                    ));
                }
            }
        }
        Ok(self)
    }
}

/// Takes a text apart. `%{OPTIONS}o` is in none of the parts: it changes all that follow. With `one_blank` blanks in a
/// row are one, as in HAProxy's log lines.
///
/// # Errors
/// A percent sign stands alone, or a bracket is not closed.
pub fn tokens(text: &str, one_blank: bool) -> Result<Vec<Token<'_>>, Problem> {
    let (mut tokens, mut literal) = (Vec::new(), String::new());
    let mut style = Style::default();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if next != '%' {
            if !(one_blank && next == ' ' && literal.ends_with(' ')) {
                literal.push(next);
            }
            rest = &rest[next.len_utf8()..];
            continue;
        }
        rest = &rest[1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let mut own = style;
        if let Some(after) = rest.strip_prefix('{') {
            let Some((options, after)) = after.split_once('}') else {
                return Err(Problem::new(
                    "`%{` without `}`",
                    "write `%{+Q}r`, or `%%` for a percent sign",
                ));
            };
            own = own.with(options)?;
            rest = after;
        }
        let token = match rest.strip_prefix('[') {
            Some(inside) => {
                let (inside, after) = bracketed(inside)?;
                rest = after;
                Token::Expression(inside, own)
            }
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                rest = after;
                match word {
                    // Nothing is written, and the blanks on both sides are one.
                    "o" => {
                        style = own;
                        continue;
                    }
                    "" => {
                        return Err(Problem::new(
                            format!("a `%` stands alone in `{text}`"),
                            "write `%[path]` for what a request has, `%%` for a percent sign",
                        ));
                    }
                    word => Token::Variable(word, own),
                }
            }
        };
        if !literal.is_empty() {
            tokens.push(Token::Text(std::mem::take(&mut literal)));
        }
        tokens.push(token);
    }
    if !literal.is_empty() {
        tokens.push(Token::Text(literal));
    }
    Ok(tokens)
}

/// The same text, but that quotes are written around variables alone, and around expressions none: so HAProxy writes fields and
/// answers, unlike log lines. What is no text stays as it is.
pub fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut all) = (text, false);
    while let Some(at) = rest.find('%') {
        let (before, behind) = (&rest[..=at], &rest[at + 1..]);
        out.push_str(before);
        rest = behind;
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (options, after) = match rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            Some((options, after)) => (Some(options), after),
            None => (None, rest),
        };
        let style = Style {
            quote: all,
            ..Style::default()
        };
        let quote = style.with(options.unwrap_or("+M")).is_ok_and(|s| s.quote);
        match after.strip_prefix('[') {
            Some(inside) if quote => {
                let others = options.unwrap_or_default().split(',').map(str::trim);
                let others = others.filter(|option| !matches!(*option, "" | "Q" | "+Q"));
                let mut kept: Vec<&str> = others.collect();
                kept.extend(all.then_some("-Q"));
                if !kept.is_empty() {
                    out.push_str(&format!("{{{}}}", kept.join(",")));
                }
                let end = closing(inside).map_or(inside.len(), |end| end + 1);
                out.push('[');
                out.push_str(&inside[..end]);
                rest = &inside[end..];
            }
            Some(inside) => {
                let end = closing(inside).map_or(inside.len(), |end| end + 1);
                let end = rest.len() - inside.len() + end;
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            None => {
                let name = after.find(|c: char| !c.is_ascii_alphanumeric());
                if &after[..name.unwrap_or(after.len())] == "o" {
                    all = quote;
                }
                out.push_str(&rest[..rest.len() - after.len()]);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The expression that `%[` has opened, and what follows its bracket.
fn bracketed(text: &str) -> Result<(&str, &str), Problem> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_from_expressions_alone() {
        for (text, unquoted_text) in [
            ("a%%{+Q}[b] %[src]", "a%%{+Q}[b] %[src]"),
            ("%{+Q}[src] %{+Q}ci", "%[src] %{+Q}ci"),
            (
                "%{Q,+E}[src,x(\"]\")]%{-E}[src]",
                "%{+E}[src,x(\"]\")]%{-E}[src]",
            ),
            (
                "%{+Q}o %[src]%ci%{+X}[src]",
                "%{+Q}o %{-Q}[src]%ci%{+X,-Q}[src]",
            ),
            (
                "%{+Q}o%{-Q}o %[src,date(%Y)]%[b",
                "%{+Q}o%{-Q}o %[src,date(%Y)]%[b",
            ),
            ("%{+Q", "%{+Q"),
            ("100% %", "100% %"),
        ] {
            assert_eq!(unquoted(text), unquoted_text);
        }
    }

    #[test]
    fn a_text_is_taken_apart() {
        let plain = Style::default();
        let hex = Style { hex: true, ..plain };
        let text = |text: &str| Token::Text(text.to_owned());
        assert_eq!(
            tokens("a  b%%%{+X}o %ci:%[src,field(1,\"]\")]x%{-X}fp", false),
            Ok(vec![
                text("a  b% "),
                Token::Variable("ci", hex),
                text(":"),
                Token::Expression("src,field(1,\"]\")", hex),
                text("x"),
                Token::Variable("fp", plain),
            ])
        );
        assert_eq!(tokens("a  b", true), Ok(vec![text("a b")]));
        assert_eq!(tokens("", true), Ok(Vec::new()));
        for bad in ["%", "% a", "%[src", "%{+Q", "%{+Z}ci", "100%"] {
            assert!(tokens(bad, false).is_err(), "{bad}");
        }
    }
}
