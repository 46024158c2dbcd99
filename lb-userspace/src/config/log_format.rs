//! `log_format`: a name, or a line of the user's own in HAProxy's language.

use std::sync::Arc;

use super::{
    decode::Decoder,
    model::{AccessLog, Field, LATER, LogLine, LogOptions, Piece, Style},
    source::Spanned,
    table::Table,
    tree::Kind,
    units::Problem,
};
use crate::rules::suggest;

/// Reads `log_format`.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<AccessLog>> {
    let e = table.take("log_format")?;
    let choices = [("http", 0), ("tcp", 1), ("json", 2)];
    let format = match &e.value.kind {
        Kind::Scalar(text) if text.text.contains('%') => {
            let read = d.parsed(&e.value, "`log_format`", parse)?;
            AccessLog::Custom(Arc::new(read.value))
        }
        _ => match d.choice(&e.value, "`log_format`", &choices, &[])? {
            0 => AccessLog::Http,
            1 => AccessLog::Tcp,
            _ => AccessLog::Json,
        },
    };
    Some(Spanned::new(format, e.value.span))
}

/// `dontlognull`, `dontlog_normal` and `log_separate_errors`, each where it is said.
pub(super) fn options(d: &mut Decoder<'_>, table: &mut Table<'_>) -> [Option<bool>; 3] {
    [
        table.take("dontlognull"),
        table.take("dontlog_normal"),
        table.take("log_separate_errors"),
    ]
    .map(|e| e.and_then(|e| d.boolean(&e.value, &format!("`{}`", e.key))))
}

/// A frontend's own options, else those of `defaults`.
pub(super) fn resolve(own: [Option<bool>; 3], inherited: [Option<bool>; 3]) -> LogOptions {
    let of = |at: usize| own[at].or(inherited[at]).unwrap_or(false);
    LogOptions {
        no_null: of(0),
        no_normal: of(1),
        separate_errors: of(2),
    }
}

/// Reads a line: text, `%%`, `%VARIABLE`, `%{+Q,-E}VARIABLE`, and `%{+Q}o`, which changes all that follow. Blanks in a
/// row are one, as in HAProxy.
fn parse(text: &str) -> Result<LogLine, Problem> {
    let (mut pieces, mut literal) = (Vec::new(), String::new());
    let mut style = Style::default();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if next != '%' {
            if !(next == ' ' && literal.ends_with(' ')) {
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
            own = styled(own, options)?;
            rest = after;
        }
        if rest.starts_with('[') {
            return Err(Problem::new(
                "unsupported: expressions (`%[…]`) are not built yet",
                "write one of HAProxy's variables, such as `%ci`",
            ));
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word == "o" {
            // Nothing is written, and the blanks on both sides are one.
            style = own;
            rest = after;
            continue;
        }
        let (name, field) = variable(word)?;
        rest = &rest[name..];
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Field(field, own));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    if let Some(Piece::Text(first)) = pieces.first_mut() {
        *first = first.trim_start().to_owned();
    }
    Ok(LogLine { pieces })
}

/// The variable that is the whole word, and how long its name is.
fn variable(word: &str) -> Result<(usize, Field), Problem> {
    if let Some((name, field)) = Field::ALL.iter().find(|(name, _)| *name == word) {
        return Ok((name.len(), *field));
    }
    if LATER.contains(&word) {
        return Err(Problem::new(
            format!("unsupported: the variable `%{word}` is not built yet"),
            "leave it out until it is",
        ));
    }
    let names = || Field::ALL.iter().map(|(name, _)| *name);
    let mend = match suggest::nearest(word, names()) {
        Some(near) => format!("did you mean `%{near}`? A percent sign is `%%`"),
        None => "a percent sign is `%%`; the variables are in the documentation".to_owned(),
    };
    Err(Problem::new(
        format!("there is no variable `%{word}`"),
        mend,
    ))
}

fn styled(mut style: Style, options: &str) -> Result<Style, Problem> {
    for option in options.split(',').map(str::trim) {
        let (on, letter) = match option.split_at_checked(1) {
            Some(("+", letter)) => (true, letter),
            Some(("-", letter)) => (false, letter),
            _ => (true, option),
        };
        match letter {
            "Q" => style.quote = on,
            "E" => style.escape = on,
            "X" => style.hex = on,
            "M" => style.mandatory = on,
            _ => {
                return Err(Problem::new(
                    format!("`{option}` is no option of a variable"),
                    "write `+Q` (quoted), `+E` (escaped), `+X` (hexadecimal) or `-M` (nothing instead of `-`)",
                ));
            }
        }
    }
    Ok(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_into_text_and_facts() {
        let plain = Style::default();
        let quoted = Style {
            quote: true,
            ..plain
        };
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(
            parse("%ci:%cp  [%tr] 100%% %{+Q}r%{+Q}o %HM %{-Q,+X}Ts")
                .unwrap()
                .pieces,
            [
                Piece::Field(Field::ClientIp, plain),
                text(":"),
                Piece::Field(Field::ClientPort, plain),
                text(" ["),
                Piece::Field(Field::RequestDate, plain),
                text("] 100% "),
                Piece::Field(Field::Request, quoted),
                text(" "),
                Piece::Field(Field::Method, quoted),
                text(" "),
                Piece::Field(Field::Timestamp, Style { hex: true, ..plain }),
            ]
        );
        assert_eq!(parse("%{+Q}o %ci").unwrap().pieces.len(), 2);
    }

    #[test]
    fn what_is_no_line_is_explained() {
        let told = |text| parse(text).unwrap_err().message;
        assert_eq!(told("%cj"), "there is no variable `%cj`");
        assert_eq!(told("100%"), "there is no variable `%`");
        assert!(told("%[src]").contains("expressions"));
        assert!(told("%hr").contains("not built yet"));
        assert_eq!(told("%{+Q"), "`%{` without `}`");
        assert!(told("%{+Z}ci").contains("`+Z`"));
    }
}
