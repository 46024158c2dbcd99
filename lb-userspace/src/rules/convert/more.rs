//! Converters that are rarer.

use std::{borrow::Cow, net::SocketAddr};

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Converter, hash};
use crate::rules::{
    args::Call,
    fetch::Side,
    problem::Problem,
    process::Var,
    registry::Registry,
    scene::Scene,
    value::{Kind, Value},
};

/// A change to a sample.
#[derive(Debug, Clone)]
pub enum More {
    /// `be2dec`, `be2hex`: numbers of so many bytes, divided.
    BigEndian {
        /// In hexadecimal.
        hex: bool,
        /// What divides.
        separator: Vec<u8>,
        /// Bytes of each; 0 is all.
        chunk: usize,
        /// What is left over at the end is left out.
        truncate: bool,
    },
    /// `htonl`.
    Network,
    /// `hmac`.
    Hmac(hmac::Algorithm, Secret),
    /// `secure_memcmp`.
    Same(Var),
    /// `capture-req(N)`, `capture-res(N)`: as it is, and kept for the log on the way.
    Keep(Side, usize),
    /// `base32+src`, `url32+src`: four bytes of a number, and those of the client's address.
    BesideSource,
    /// `cut_crlf`.
    CutLine,
    /// What `hdr_val` and its like make of a text: the number that it begins with, or 0.
    Leading,
    /// What `hdr_ip` makes of a text: an address, which may have a port behind it as some proxies write it.
    Address,
    /// `debug`: as it is, and told on the way.
    Tell(String),
}

/// A key.
#[derive(Debug, Clone)]
pub enum Secret {
    /// As it is written.
    Fixed(Vec<u8>),
    /// What the variable has, in base64.
    Var(Var),
}

impl More {
    pub(super) fn apply<'a>(&self, value: Value<'a>, scene: &Scene<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::BigEndian {
                hex,
                separator,
                chunk,
                truncate,
            } => {
                let bytes = value.into_bytes();
                let size = if *chunk == 0 {
                    bytes.len().max(1)
                } else {
                    *chunk
                };
                let parts = bytes.chunks(size);
                let whole = parts.filter(|part| !*truncate || part.len() == size);
                let texts: Vec<Vec<u8>> = whole
                    .map(|part| match hex {
                        true => hash::hex(part).into_bytes(),
                        false => part
                            .iter()
                            .fold(0_u64, |number, b| number << 8 | u64::from(*b))
                            .to_string()
                            .into_bytes(),
                    })
                    .collect();
                Value::Str(texts.join(&separator[..]).into())
            }
            Self::BesideSource => {
                let number = value.as_int()?.cast_unsigned() as u32;
                let source = Value::Ip(scene.world.source()?.ip().to_canonical());
                let mut bytes = number.to_be_bytes().to_vec();
                bytes.extend_from_slice(&source.into_bytes());
                Value::Bin(bytes.into())
            }
            Self::Network => {
                let number = value.as_int()?.cast_unsigned() as u32;
                Value::Bin(Cow::Owned(number.to_be_bytes().to_vec()))
            }
            Self::Hmac(algorithm, secret) => {
                let key = match secret {
                    Secret::Fixed(key) => hmac::Key::new(*algorithm, key),
                    Secret::Var(var) => {
                        let text = var.get(scene.state)?.into_text();
                        hmac::Key::new(*algorithm, &STANDARD.decode(text).ok()?)
                    }
                };
                let tag = hmac::sign(&key, &value.into_bytes());
                Value::Bin(tag.as_ref().to_vec().into())
            }
            Self::Same(var) => {
                let other = var.get(scene.state)?.into_bytes();
                let bytes = value.into_bytes();
                let same = constant_time::verify_slices_are_equal(&bytes, &other);
                Value::Bool(same.is_ok())
            }
            Self::Keep(side, place) => {
                let text = value.borrowed().into_text();
                if !scene.state.captured()?.note(*side, *place, &text) {
                    return None;
                }
                Value::Str(text.into_owned().into())
            }
            Self::Tell(prefix) => {
                let text = value.borrowed().into_text();
                tracing::debug!("{prefix}: {}", text.escape_ascii());
                value
            }
            Self::Leading => Value::Int(value.as_int().unwrap_or_default()),
            Self::Address => Value::Ip(match value.as_ip() {
                Some(address) => address,
                None => {
                    let text = value.into_text();
                    let text = str::from_utf8(&text).ok()?.trim();
                    text.parse::<SocketAddr>().ok()?.ip()
                }
            }),
            Self::CutLine => {
                let text = value.into_text();
                let end = text.iter().position(|b| matches!(b, b'\r' | b'\n'));
                let end = end.unwrap_or(text.len());
                Value::Str(super::text::slice(text, 0..end))
            }
        })
    }

    pub(super) fn is_pure(&self) -> bool {
        !matches!(
            self,
            Self::Same(_) | Self::Hmac(_, Secret::Var(_)) | Self::Keep(..) | Self::BesideSource
        )
    }

    pub(super) fn keeps_kind(&self) -> bool {
        matches!(self, Self::Tell(_))
    }

    pub(super) fn kinds(&self) -> (Option<Kind>, Option<Kind>) {
        let (takes, makes) = match self {
            Self::Tell(_) => return (None, None),
            Self::BigEndian { .. } => (Kind::Bin, Kind::Str),
            Self::Network | Self::BesideSource => (Kind::Int, Kind::Bin),
            Self::Hmac(..) => (Kind::Bin, Kind::Bin),
            Self::Same(_) => (Kind::Bin, Kind::Bool),
            Self::CutLine | Self::Keep(..) => (Kind::Str, Kind::Str),
            Self::Leading => (Kind::Str, Kind::Int),
            Self::Address => (Kind::Str, Kind::Ip),
        };
        (Some(takes), Some(makes))
    }
}

/// Those that have another name for one of the others, and these.
pub(super) fn parse(
    call: &Call,
    registry: &mut Registry<'_>,
) -> Result<Option<Converter>, Problem> {
    let (more, most) = match call.name.as_str() {
        "be2dec" | "be2hex" => {
            let hex = call.name == "be2hex";
            let chunk = call.number(1)?.unwrap_or_default();
            let chunk = usize::try_from(chunk)
                .ok()
                .filter(|n| hex || (1..=8).contains(n));
            let chunk = chunk.ok_or_else(|| {
                Problem::new(
                    format!("`{}` has no such number of bytes", call.name),
                    "write 1 to 8: `be2dec(:,2)`",
                )
            })?;
            let separator = call.args.first().cloned().unwrap_or_default().into_bytes();
            let truncate = call.number(2)?.is_some_and(|n| n != 0);
            let more = More::BigEndian {
                hex,
                separator,
                chunk,
                truncate,
            };
            (more, 3)
        }
        "htonl" => (More::Network, 0),
        "cut_crlf" => (More::CutLine, 0),
        "capture-req" | "capture-res" => {
            let side = match call.name.as_str() {
                "capture-req" => Side::Request,
                _ => Side::Response,
            };
            let place = usize::try_from(call.number(0)?.unwrap_or(-1));
            let place = place.map_err(|_| {
                let message = format!("`{}` without a place", call.name);
                Problem::new(message, format!("write `{}(0)`", call.name))
            })?;
            (More::Keep(side, place), 1)
        }
        "debug" => {
            let prefix = call.optional(0).unwrap_or("debug").to_owned();
            (More::Tell(prefix), 2)
        }
        "secure_memcmp" => {
            let var = registry.var(call.need(0, "a variable")?)?;
            (More::Same(var), 1)
        }
        "hmac" => {
            let name = call.need(0, "an algorithm")?.to_ascii_lowercase();
            let algorithm = match name.as_str() {
                "sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                "sha224" => hmac::HMAC_SHA224,
                "sha256" => hmac::HMAC_SHA256,
                "sha384" => hmac::HMAC_SHA384,
                "sha512" => hmac::HMAC_SHA512,
                _ => return Err(unknown(&name)),
            };
            let key = call.need(1, "a key in base64, or a variable that has one")?;
            // What is in base64 has no dot.
            let secret = match key.contains('.') {
                true => Secret::Var(registry.var(key)?),
                false => Secret::Fixed(STANDARD.decode(key).map_err(|_| {
                    Problem::new(
                        "the key of `hmac` is not in base64",
                        "encode it: `base64 -w0`",
                    )
                })?),
            };
            (More::Hmac(algorithm, secret), 2)
        }
        "digest" => {
            call.most(1)?;
            let name = call.need(0, "an algorithm")?.to_ascii_lowercase();
            let digest = match name.as_str() {
                "sha1" => hash::Digest::Sha1,
                "sha224" => hash::Digest::Sha2(224),
                "sha256" => hash::Digest::Sha2(256),
                "sha384" => hash::Digest::Sha2(384),
                "sha512" => hash::Digest::Sha2(512),
                _ => return Err(unknown(&name)),
            };
            return Ok(Some(Converter::Digest(digest)));
        }
        "wt6" => {
            call.most(1)?;
            let again = call.number(0)?.is_some_and(|n| n != 0);
            return Ok(Some(Converter::Digest(hash::Digest::Wt6(again))));
        }
        _ => return Ok(None),
    };
    call.most(most)?;
    Ok(Some(Converter::More(more)))
}

fn unknown(algorithm: &str) -> Problem {
    Problem::new(
        format!("there is no algorithm `{algorithm}`"),
        "write sha1, sha224, sha256, sha384 or sha512",
    )
}
