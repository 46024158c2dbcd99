//! Changes to a sample, one after the other; HAProxy's names.

mod hash;
mod json;
mod json_query;
pub(in crate::rules) mod jwt;
mod more;
mod names;
mod stateful;
mod text;
mod time;

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use super::{
    map::Map,
    process::Var,
    regex::Regex,
    scene::Scene,
    table::{Data, Handle, Key},
    value::{Kind, Value, masked},
};

pub(super) use hash::unhex;
pub(crate) use hash::{Digest, avalanche};
use json_query::Query;
pub(in crate::rules) use more::More;
pub(super) use names::parse;

/// A number that is written, or a variable's.
#[derive(Debug, Clone)]
pub enum Operand {
    /// As it is written.
    Number(i64),
    /// What the variable is then.
    Var(Var),
}

/// Calculations with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Math {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; by 0 the largest number, as HAProxy has it.
    Div,
    /// Remainder; by 0 none.
    Mod,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
}

/// Changes of one text to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// ASCII letters to lower case.
    Lower,
    /// ASCII letters to upper case.
    Upper,
    /// Percent signs decoded.
    UrlDecode {
        /// Plus signs are blanks.
        form: bool,
    },
    /// All but unreserved characters encoded.
    UrlEncode,
    /// A host without its port.
    HostOnly,
    /// The port of a host, else 0.
    PortOnly,
    /// In quotes, for JSON.
    JsonEscape(json::Input),
}

/// A change to a sample.
#[derive(Debug, Clone)]
pub enum Converter {
    /// Of its type.
    Cast(Kind),
    /// One text to another.
    Plain(Plain),
    /// `ltrim`, `rtrim`: without these characters at the beginning or the end.
    Trim {
        /// Which characters.
        of: Vec<u8>,
        /// At the end.
        end: bool,
    },
    /// `regsub`.
    Replace {
        /// What is replaced.
        regex: Regex,
        /// What by, for the regex crate.
        by: Vec<u8>,
        /// All that is found.
        all: bool,
    },
    /// `field`.
    Field {
        /// Which, from 1 or from -1 backwards.
        index: i64,
        /// What divides.
        delimiters: Vec<u8>,
        /// How many; 0 is all.
        count: usize,
        /// Empty ones do not count.
        words: bool,
    },
    /// `bytes`.
    Bytes(usize, Option<usize>),
    /// `length`.
    Length,
    /// `concat`.
    Concat(Vec<u8>, Option<Var>, Vec<u8>),
    /// `map…`.
    Map(Arc<Map>, Option<Value<'static>>),
    /// `iif`.
    Choose(Vec<u8>, Vec<u8>),
    /// `base64`.
    Base64,
    /// `b64dec`.
    Base64Decode,
    /// `ub64enc`.
    Base64Url,
    /// `ub64dec`.
    Base64UrlDecode,
    /// `hex`.
    Hex,
    /// `hex2i`.
    HexNumber,
    /// A hash.
    Digest(Digest),
    /// `add`, `sub`, …
    Math(Math, Operand),
    /// `neg`.
    Negate,
    /// `cpl`.
    Complement,
    /// `not`.
    Not,
    /// `even`, `odd`.
    Parity(bool),
    /// `bool`.
    Truth,
    /// `ipmask`.
    Mask(u8, u8),
    /// `ltime`, `utime`, `http_date`.
    Time {
        /// HAProxy's strftime format.
        format: String,
        /// In the host's zone.
        local: bool,
        /// Seconds to add.
        offset: i64,
    },
    /// `language`: the best that the client accepts.
    Language(Vec<String>, Option<String>),
    /// `json_query`.
    Json(Query),
    /// `strcmp`.
    Compare(Var),
    /// A JSON web token.
    Token(jwt::Token),
    /// One that keeps what it sees, or asks what is going on.
    Stateful(stateful::Stateful),
    /// One of the rarer ones.
    More(More),
    /// `in_table`.
    InTable(Arc<Handle>),
    /// `table_http_req_rate` and the like.
    Table(Arc<Handle>, Data),
    /// `table_expire` and the like: of a key's entry, and what there is without one.
    TableEntry(Arc<Handle>, stateful::EntryPart, Option<i64>),
}

impl Converter {
    /// What it makes of a value; `None` where it cannot.
    pub fn apply<'a>(&'a self, value: Value<'a>, scene: &Scene<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::Cast(kind) => value.cast(*kind)?,
            Self::Plain(plain) => plain.apply(value.into_text())?,
            Self::Trim { of, end } => Value::Str(text::trim(value.into_text(), of, *end)),
            Self::Replace { regex, by, all } => {
                let text = value.into_text();
                Value::Str(match regex.replaced(&text, by, *all) {
                    Some(replaced) => replaced.into(),
                    None => text,
                })
            }
            Self::Field {
                index,
                delimiters,
                count,
                words,
            } => Value::Str(text::field(
                value.into_text(),
                *index,
                delimiters,
                *count,
                *words,
            )?),
            Self::Bytes(offset, length) => {
                let bytes = value.into_bytes();
                let from = (*offset).min(bytes.len());
                let to = length.map_or(bytes.len(), |length| {
                    from.saturating_add(length).min(bytes.len())
                });
                Value::Bin(text::slice(bytes, from..to))
            }
            Self::Length => Value::Int(i64::try_from(value.into_text().len()).ok()?),
            Self::Concat(before, var, after) => {
                let mut text = value.into_text().into_owned();
                text.extend_from_slice(before);
                if let Some(value) = var.as_ref().and_then(|var| var.get(scene.state)) {
                    text.extend_from_slice(&value.borrowed().into_text());
                }
                text.extend_from_slice(after);
                Value::Str(text.into())
            }
            Self::Map(map, default) => match (map.find(&map.key_of(value)?), default) {
                (Some(found), _) => found,
                (None, Some(default)) => default.borrowed(),
                (None, None) => return None,
            },
            Self::Choose(yes, no) => match value.as_bool()? {
                true => Value::Str(Cow::Borrowed(yes)),
                false => Value::Str(Cow::Borrowed(no)),
            },
            Self::Base64 => encoded(STANDARD.encode(value.into_bytes())),
            Self::Base64Url => encoded(URL_SAFE_NO_PAD.encode(value.into_bytes())),
            Self::Base64Decode => Value::Bin(STANDARD.decode(value.into_text()).ok()?.into()),
            Self::Base64UrlDecode => {
                let text = value.into_text();
                let text = text
                    .strip_suffix(b"==")
                    .or(text.strip_suffix(b"="))
                    .unwrap_or(&text);
                Value::Bin(URL_SAFE_NO_PAD.decode(text).ok()?.into())
            }
            Self::Hex => encoded(hash::hex(&value.into_bytes())),
            Self::HexNumber => {
                let text = value.into_text();
                let text = std::str::from_utf8(&text).ok()?.trim();
                Value::Int(u64::from_str_radix(text, 16).ok()?.cast_signed())
            }
            Self::Digest(digest) => digest.apply(&value.into_bytes()),
            Self::Math(math, operand) => {
                let operand = match operand {
                    Operand::Number(number) => *number,
                    Operand::Var(var) => var.get(scene.state)?.as_int()?,
                };
                Value::Int(math.apply(value.as_int()?, operand))
            }
            Self::Negate => Value::Int(value.as_int()?.wrapping_neg()),
            Self::Complement => Value::Int(!value.as_int()?),
            Self::Not => Value::Bool(!value.as_bool()?),
            Self::Parity(odd) => Value::Bool((value.as_int()? & 1 == 1) == *odd),
            Self::Truth => Value::Bool(value.as_bool()?),
            Self::Mask(four, six) => Value::Ip(match value.as_ip()?.to_canonical() {
                address @ IpAddr::V4(_) => masked(address, *four),
                address @ IpAddr::V6(_) => masked(address, *six),
            }),
            Self::Time {
                format,
                local,
                offset,
            } => {
                let at = value.as_int()?.saturating_add(*offset);
                Value::Str(time::format(format, at, *local)?.into_bytes().into())
            }
            Self::Language(known, default) => {
                let best = text::language(&value.into_text(), known);
                Value::text(best.or(default.as_deref())?)
            }
            Self::Json(query) => query.apply(&value.into_text())?,
            Self::Compare(var) => {
                let other = var.get(scene.state)?.into_text();
                Value::Int(value.into_text().cmp(&other) as i64)
            }
            Self::Token(token) => token.apply(value, scene.state)?,
            Self::Stateful(stateful) => stateful.apply(value, scene)?,
            Self::More(more) => more.apply(value, scene)?,
            Self::InTable(handle) => {
                let table = handle.table()?;
                let key = Key::of(value, table.key())?;
                Value::Bool(table.find(&key, scene.world.now_ms()).is_some())
            }
            Self::TableEntry(handle, part, default) => {
                let found = part.of(handle.table()?, value, scene.world.now_ms());
                Value::Int(found.or(*default)?)
            }
            Self::Table(handle, data) => {
                let table = handle.table()?;
                let now = scene.world.now_ms();
                let entry = table.find(&Key::of(value, table.key())?, now);
                Value::Int(entry.map_or(Some(0), |entry| table.get(&entry, *data, now))?)
            }
        })
    }

    /// Whether it looks at nothing but the value.
    pub fn is_pure(&self) -> bool {
        match self {
            Self::More(more) => return more.is_pure(),
            Self::Token(token) => return token.is_pure(),
            _ => {}
        }
        !matches!(
            self,
            Self::InTable(_)
                | Self::Table(..)
                | Self::TableEntry(..)
                | Self::Stateful(_)
                | Self::Compare(_)
                | Self::Concat(_, Some(_), _)
                | Self::Math(_, Operand::Var(_))
        )
    }

    /// Whether what goes through it stays of its type.
    pub fn keeps_kind(&self) -> bool {
        match self {
            Self::More(more) => more.keeps_kind(),
            Self::Stateful(stateful) => stateful.keeps_kind(),
            _ => false,
        }
    }

    /// What it takes and what it makes, each `None` where that depends on what comes.
    pub fn kinds(&self) -> (Option<Kind>, Option<Kind>) {
        use Kind::{Bin, Bool, Int, Ip, Str};
        let (from, to) = match self {
            Self::Cast(kind) => (*kind, *kind),
            Self::Plain(Plain::PortOnly) => (Str, Int),
            Self::Plain(_)
            | Self::Trim { .. }
            | Self::Replace { .. }
            | Self::Field { .. }
            | Self::Concat(..)
            | Self::Language(..) => (Str, Str),
            Self::Json(_) => return (Some(Str), None),
            Self::Bytes(..) => (Bin, Bin),
            Self::Length => (Str, Int),
            Self::Map(map, _) => return (None, Some(map.output().kind())),
            Self::Choose(..) => (Bool, Str),
            Self::Base64 | Self::Base64Url | Self::Hex => (Bin, Str),
            Self::Base64Decode | Self::Base64UrlDecode => (Str, Bin),
            Self::HexNumber | Self::Compare(_) => (Str, Int),
            Self::Digest(digest) => (Bin, digest.kind()),
            Self::Math(..) | Self::Negate | Self::Complement => (Int, Int),
            Self::Not | Self::Truth => (Bool, Bool),
            Self::Parity(_) => (Int, Bool),
            Self::Mask(..) => (Ip, Ip),
            Self::Time { .. } => (Int, Str),
            Self::Token(token) => return (Some(Bin), token.kind()),
            Self::Stateful(stateful) => return stateful.kinds(),
            Self::More(more) => return more.kinds(),
            Self::InTable(_) => return (None, Some(Bool)),
            Self::Table(..) | Self::TableEntry(..) => return (None, Some(Int)),
        };
        (Some(from), Some(to))
    }
}

fn encoded(text: String) -> Value<'static> {
    Value::Str(text.into_bytes().into())
}

impl Math {
    fn apply(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Add => a.saturating_add(b),
            Self::Sub => a.saturating_sub(b),
            Self::Mul => a.saturating_mul(b),
            Self::Div if b == 0 => i64::MAX,
            Self::Div => a.saturating_div(b),
            Self::Mod if b == 0 => 0,
            Self::Mod => a.wrapping_rem(b),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

impl Plain {
    fn apply(self, from: Cow<'_, [u8]>) -> Option<Value<'_>> {
        Some(Value::Str(match self {
            Self::Lower if from.iter().any(u8::is_ascii_uppercase) => {
                from.to_ascii_lowercase().into()
            }
            Self::Upper if from.iter().any(u8::is_ascii_lowercase) => {
                from.to_ascii_uppercase().into()
            }
            Self::Lower | Self::Upper => from,
            Self::UrlDecode { form } => text::url_decode(from, form)?,
            Self::UrlEncode => text::url_encode(from),
            Self::HostOnly => {
                let end = text::port_at(&from).unwrap_or(from.len());
                return Self::Lower.apply(text::slice(from, 0..end));
            }
            Self::PortOnly => {
                let port = text::port_at(&from).map_or(&[][..], |at| &from[at + 1..]);
                return Some(Value::Int(
                    std::str::from_utf8(port).ok()?.parse().unwrap_or(0),
                ));
            }
            Self::JsonEscape(input) => json::escape(&from, input)?.into(),
        }))
    }
}
