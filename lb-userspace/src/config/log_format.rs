//! `log_format`: a name, or a line of the user's own in HAProxy's language.

use std::sync::Arc;

use super::{
    decode::Decoder,
    model::{AccessLog, Field, LogLine, LogOptions, Piece, Sample, Style},
    source::Spanned,
    suggest,
    table::Table,
    tree::Kind,
    units::Problem,
};
use crate::rules::{Expr, Registry, bracketed};

/// Reads `log_format`.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<AccessLog>> {
    let e = table.take("log_format")?;
    let choices = [("http", 0), ("tcp", 1), ("json", 2)];
    let format = match &e.value.kind {
        Kind::Scalar(text) if text.text.contains('%') => {
            let text = d.word(&e.value, "`log_format`")?;
            let read = parse(&text, &mut d.registry);
            d.note(e.value.span);
            match read {
                Ok(line) => AccessLog::Custom(Arc::new(line)),
                Err(problem) => {
                    d.problem(e.value.span, "`log_format`", problem);
                    return None;
                }
            }
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

/// Reads a line: text, `%%`, `%VARIABLE`, `%{+Q,-E}VARIABLE`, `%[EXPRESSION]`, `%{+Q}[EXPRESSION]`, and `%{+Q}o`, which
/// changes all that follow. Blanks in a row are one, as in HAProxy.
fn parse(text: &str, registry: &mut Registry<'_>) -> Result<LogLine, Problem> {
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
        if let Some(inside) = rest.strip_prefix('[') {
            let (inside, after) = bracketed(inside)?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Sample(Box::new(sample(inside, own, registry)?)));
            rest = after;
            continue;
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
    Ok(LogLine::new(pieces))
}

/// An expression that can still be asked when the line is written.
fn sample(text: &str, style: Style, registry: &mut Registry<'_>) -> Result<Sample, Problem> {
    let expr = Expr::parse(text, registry)?;
    if expr.needs_fields() {
        return Err(Problem::new(
            format!("header fields are gone when the line is written, and `{text}` asks for them"),
            "keep what you need below `capture` and write `%hr` or `%[capture.req.hdr(0)]`, or in a variable: \
             `set_var: { txn.name: … }` and `%[var(txn.name)]`",
        ));
    }
    Ok(Sample {
        text: text.to_owned(),
        expr,
        style,
    })
}

/// The variable that is the whole word, and how long its name is.
fn variable(word: &str) -> Result<(usize, Field), Problem> {
    if let Some((name, field)) = Field::ALL.iter().find(|(name, _)| *name == word) {
        return Ok((name.len(), *field));
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

    fn line_of(text: &str) -> Result<LogLine, Problem> {
        parse(text, &mut Registry::new(std::path::Path::new("")))
    }

    #[test]
    fn expressions_are_read_too() {
        let line = line_of("%[src] %{+Q}[var(txn.a),json(\"]\")]x").unwrap();
        let texts: Vec<&str> = line
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Sample(sample) => sample.text.as_str(),
                Piece::Field(..) => "",
            })
            .collect();
        assert_eq!(texts, ["src", " ", "var(txn.a),json(\"]\")", "x"]);
        assert!(line.wants.samples && line.wants.destination && !line.wants.local);
        assert!(line_of("%bi %rt").unwrap().wants.local);
        assert_eq!(line_of("%ci").unwrap().wants, Default::default());
    }

    #[test]
    fn a_line_is_read_into_text_and_facts() {
        let plain = Style::default();
        let quoted = Style {
            quote: true,
            ..plain
        };
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(
            line_of("%ci:%cp  [%tr] 100%% %{+Q}r%{+Q}o %HM %{-Q,+X}Ts")
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
        assert_eq!(line_of("%{+Q}o %ci").unwrap().pieces.len(), 2);
    }

    #[test]
    fn what_is_no_line_is_explained() {
        let told = |text| line_of(text).unwrap_err().message;
        assert_eq!(told("%cj"), "there is no variable `%cj`");
        assert_eq!(told("100%"), "there is no variable `%`");
        assert_eq!(told("%[srk]"), "there is no fetch `srk`");
        assert_eq!(told("%[src"), "a `%[` is not closed");
        assert!(told("%[hdr(host)]").contains("are gone when the line is written"));
        assert_eq!(told("%{+Q"), "`%{` without `}`");
        assert!(told("%{+Z}ci").contains("`+Z`"));
    }
}
