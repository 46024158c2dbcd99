//! `log_format`: a name, or a line of the user's own in HAProxy's language.

use std::sync::Arc;

use super::{
    decode::Decoder,
    model::{AccessLog, Field, LogLine, Piece, Sample},
    source::Spanned,
    table::Table,
    tree::Kind,
    units::Problem,
};
use crate::rules::{Expr, Registry, Style, Token, suggest, tokens};

/// HAProxy's `option httpslog`.
const HTTPS: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr \
                     %hs %{+Q}r %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed] \
                     %[ssl_fc_sni]/%sslv/%sslc";

/// Reads `log_format`.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<AccessLog>> {
    let e = table.take("log_format")?;
    let choices = [("http", 0), ("tcp", 1), ("json", 2), ("https", 3)];
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
            2 => AccessLog::Json,
            _ => {
                // It is a line of ours that is right.
                let line = parse(HTTPS, &mut d.registry).unwrap_or_default();
                AccessLog::Custom(Arc::new(line))
            }
        },
    };
    Some(Spanned::new(format, e.value.span))
}

/// Reads `error_log_format`: a line.
pub(super) fn of_errors(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<AccessLog>> {
    let line = line(d, table, "error_log_format")?;
    Some(Spanned::new(AccessLog::Custom(line.value), line.span))
}

/// Reads `log_format_sd`: the structured data of lines of RFC 5424.
pub(super) fn structured(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
) -> Option<Spanned<Arc<LogLine>>> {
    line(d, table, "log_format_sd")
}

fn line(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    key: &'static str,
) -> Option<Spanned<Arc<LogLine>>> {
    let e = table.take(key)?;
    let what = format!("`{key}`");
    let text = d.word(&e.value, &what)?;
    let read = parse(&text, &mut d.registry);
    d.note(e.value.span);
    match read {
        Ok(line) => Some(Spanned::new(Arc::new(line), e.value.span)),
        Err(problem) => {
            d.problem(e.value.span, &what, problem);
            None
        }
    }
}

/// Reads a line of HAProxy's language, in which blanks in a row are one.
fn parse(text: &str, registry: &mut Registry<'_>) -> Result<LogLine, Problem> {
    let mut pieces = Vec::new();
    for token in tokens(text, true)? {
        pieces.push(match token {
            Token::Text(text) if pieces.is_empty() => Piece::Text(text.trim_start().to_owned()),
            Token::Text(text) => Piece::Text(text),
            Token::Variable(name, style) => Piece::Field(variable(name)?, style),
            Token::Expression(text, style) => {
                Piece::Sample(Box::new(sample(text, style, registry)?))
            }
        });
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

/// The fact that a variable stands for.
fn variable(word: &str) -> Result<Field, Problem> {
    if let Some((_, field)) = Field::ALL.iter().find(|(name, _)| *name == word) {
        return Ok(*field);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(text: &str) -> Result<LogLine, Problem> {
        parse(text, &mut Registry::new(std::path::Path::new("")))
    }

    #[test]
    fn expressions_are_read_too() {
        let line = line_of("%[src] %{+Q}[var(txn.a),concat(\"]\")]x").unwrap();
        let texts: Vec<&str> = line
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Sample(sample) => sample.text.as_str(),
                Piece::Field(..) => "",
            })
            .collect();
        assert_eq!(texts, ["src", " ", "var(txn.a),concat(\"]\")", "x"]);
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
    fn the_line_of_https_is_one() {
        let line = line_of(HTTPS).unwrap();
        assert_eq!(line.samples().count(), 6);
    }

    #[test]
    fn what_is_no_line_is_explained() {
        let told = |text| line_of(text).unwrap_err().message;
        assert_eq!(told("%cj"), "there is no variable `%cj`");
        assert_eq!(told("100%"), "a `%` stands alone in `100%`");
        assert_eq!(told("%[srk]"), "there is no fetch `srk`");
        assert_eq!(told("%[src"), "a `%[` is not closed");
        assert!(told("%[hdr(host)]").contains("are gone when the line is written"));
        assert_eq!(told("%{+Q"), "`%{` without `}`");
        assert!(told("%{+Z}ci").contains("`+Z`"));
    }
}
