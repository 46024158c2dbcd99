//! Texts with expressions in them: `https://%[host]%[path]`.

use std::{borrow::Cow, net::IpAddr};

use http::HeaderValue;

use super::{
    edit::field_value,
    expr::Expr,
    fetch::{Fetch, LinePart, LogPart, Side},
    problem::Problem,
    registry::Registry,
    scene::Scene,
    text::{self, Style, Token},
    value::Value,
};
use crate::percent;

/// A text with expressions in it.
#[derive(Debug, Clone, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Vec<u8>),
    Expr(Expr),
    /// What HAProxy has a name of its own for, written in a style of its own.
    Variable(Expr, Style),
}

/// HAProxy's variables that a request has an expression for.
const VARIABLES: &[(&str, &str)] = &[
    ("ci", "src"),
    ("cp", "src_port"),
    ("fi", "dst"),
    ("fp", "dst_port"),
    ("f", "fe_name"),
    ("b", "be_name"),
    ("HM", "capture.req.method"),
    ("ST", "status"),
    ("ID", "unique-id"),
    ("Ts", "date"),
    ("T", "date,utime(\"%d/%b/%Y:%H:%M:%S +0000\")"),
    ("trg", "date,utime(\"%d/%b/%Y:%H:%M:%S +0000\")"),
    ("Tl", "date,ltime(\"%d/%b/%Y:%H:%M:%S %z\")"),
    ("trl", "date,ltime(\"%d/%b/%Y:%H:%M:%S %z\")"),
    ("fc", "fe_conn"),
    ("bc", "be_conn"),
    ("pid", "pid"),
    ("H", "hostname"),
    ("sslv", "ssl_fc_protocol"),
    ("sslc", "ssl_fc_cipher"),
];

impl Template {
    /// A text; `%[…]` is an expression, `%ci` one of HAProxy's variables, `%%` a percent sign.
    ///
    /// # Errors
    /// What is in brackets is no expression, there is no such variable, or a percent sign stands alone.
    pub fn parse(text: &str, registry: &mut Registry<'_>) -> Result<Self, Problem> {
        let tokens = text::tokens(text, false)?;
        let parts = tokens.into_iter().map(|token| {
            Ok(match token {
                Token::Text(text) => Part::Text(text.into_bytes()),
                Token::Expression(text, style) => {
                    let expr = Expr::parse(text, registry)?;
                    match style.quote || style.escape {
                        // What is in hexadecimal is for the expression to say.
                        true => Part::Variable(
                            expr,
                            Style {
                                hex: false,
                                ..style
                            },
                        ),
                        false => Part::Expr(expr),
                    }
                }
                Token::Variable(name, style) => Part::Variable(variable(name, registry)?, style),
            })
        });
        Ok(Self {
            parts: parts.collect::<Result<_, Problem>>()?,
        })
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
            Part::Expr(expr) | Part::Variable(expr, _) => Some(expr),
            Part::Text(_) => None,
        })
    }

    /// What comes of it; an expression without a value adds nothing. Control characters of values are percent-encoded
    /// ([`percent::controls_encoded`]), as HAProxy has it in all that becomes a part of a message: left out or as they are,
    /// the text would be another than what a rule before has seen.
    pub fn render(&self, scene: &Scene<'_>) -> Vec<u8> {
        self.rendered(scene, percent::controls_encoded)
    }

    /// The same with values as they are, for what does not become a part of a message.
    pub fn raw(&self, scene: &Scene<'_>) -> Vec<u8> {
        self.rendered(scene, |value| value)
    }

    fn rendered(
        &self,
        scene: &Scene<'_>,
        written: impl Fn(Cow<'_, [u8]>) -> Cow<'_, [u8]>,
    ) -> Vec<u8> {
        let mut text = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.extend_from_slice(part),
                Part::Expr(expr) => {
                    if let Some(value) = expr.sample(scene) {
                        text.extend_from_slice(&written(value.into_text()));
                    }
                }
                Part::Variable(expr, style) => {
                    let mut value = Vec::new();
                    styled(&mut value, expr.sample(scene), *style);
                    text.extend_from_slice(&written(value.into()));
                }
            }
        }
        text
    }

    /// The same as a field's value.
    pub(super) fn field(&self, scene: &Scene<'_>) -> HeaderValue {
        match self.parts.as_slice() {
            [Part::Text(text)] => field_value(text),
            [Part::Expr(expr)] => {
                let value = expr.sample(scene).map(Value::into_text);
                field_value(&value.unwrap_or_default())
            }
            _ => field_value(&self.render(scene)),
        }
    }

    /// The same as a value: of one expression alone with its type, and `None` where it has none.
    pub fn value(&self, scene: &Scene<'_>) -> Option<Value<'static>> {
        match self.parts.as_slice() {
            [Part::Expr(expr)] => expr.sample(scene).map(Value::into_owned),
            _ => Some(Value::Str(self.raw(scene).into())),
        }
    }
}

/// What a variable stands for.
fn variable(name: &str, registry: &mut Registry<'_>) -> Result<Expr, Problem> {
    if name == "rt" {
        return Ok(Expr::new(Fetch::RequestNumber));
    }
    let of = match name {
        "r" => Some(Fetch::Line(LinePart::Whole)),
        "HU" => Some(Fetch::Line(LinePart::Target)),
        "HP" => Some(Fetch::Line(LinePart::Beginning)),
        "HPO" => Some(Fetch::Line(LinePart::Path)),
        "HQ" => Some(Fetch::Line(LinePart::Query)),
        "HV" => Some(Fetch::Line(LinePart::Protocol)),
        "s" => Some(Fetch::Log(LogPart::Server)),
        "ft" => Some(Fetch::Log(LogPart::Transport)),
        "hr" => Some(Fetch::Log(LogPart::Captures(Side::Request, false))),
        "hrl" => Some(Fetch::Log(LogPart::Captures(Side::Request, true))),
        "hs" => Some(Fetch::Log(LogPart::Captures(Side::Response, false))),
        "hsl" => Some(Fetch::Log(LogPart::Captures(Side::Response, true))),
        _ => None,
    };
    if let Some(fetch) = of {
        return Ok(Expr::new(fetch));
    }
    match VARIABLES.iter().find(|(known, _)| *known == name) {
        Some((_, expression)) => Expr::parse(expression, registry),
        None => Err(Problem::new(
            format!("there is no variable `%{name}` here"),
            "write an expression, `%[path]`; a percent sign is `%%`",
        )),
    }
}

/// Writes a variable's value; nothing where it has none.
fn styled(text: &mut Vec<u8>, value: Option<Value<'_>>, style: Style) {
    let value = match value {
        None => Cow::Borrowed(&b""[..]),
        Some(Value::Int(n)) if style.hex => format!("{n:04X}").into_bytes().into(),
        Some(Value::Ip(ip)) if style.hex => match ip.to_canonical() {
            IpAddr::V4(ip) => format!("{:08X}", u32::from(ip)).into_bytes().into(),
            IpAddr::V6(ip) => format!("{:032X}", u128::from(ip)).into_bytes().into(),
        },
        Some(value) => value.into_text(),
    };
    let quote = |text: &mut Vec<u8>| text.extend(style.quote.then_some(b'"'));
    quote(text);
    for &byte in &*value {
        if style.escape && matches!(byte, b'"' | b'\\' | b']') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    quote(text);
}

/// A replacement in HAProxy's syntax (`\1`) in that of the regex crate (`${1}`).
pub(super) fn replacement(text: &[u8]) -> Vec<u8> {
    let mut by = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(digit) if digit.is_ascii_digit() => by.extend([b'$', b'{', digit, b'}']),
                other => by.push(other.unwrap_or(b'\\')),
            },
            b'$' => by.extend(b"$$"),
            byte => by.push(byte),
        }
    }
    by
}
