//! Converters that keep what they see in variables, or ask about backends and servers whose names come with requests; and
//! two that join or decipher with what variables have.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::Converter;
use crate::rules::{
    args::Call,
    fetch::link::Asked,
    problem::Problem,
    process::{Only, Var},
    registry::Registry,
    scene::Scene,
    table::{Key, Table},
    value::{Kind, Value},
};

/// A change to a sample, or none but that something is kept of it.
#[derive(Debug, Clone)]
pub enum Stateful {
    /// `set-var`: as it is, and kept on the way; nothing if a condition is against that.
    Set(Var, Only),
    /// `unset-var`: as it is.
    Unset(Var),
    /// `nbsrv`, `srv_queue`: of the backend or server that is called so.
    Ask(Asked),
    /// `add_item`: with a variable and a text behind it, divided by another.
    Join {
        /// What divides.
        by: Vec<u8>,
        /// The variable.
        var: Option<Var>,
        /// What follows.
        end: Vec<u8>,
    },
    /// `aes_gcm_dec`: what was encrypted.
    Decipher {
        /// Bits of the key.
        bits: u16,
        /// The nonce, the key and the tag.
        by: [Secret; 3],
    },
}

/// Bytes in base64.
#[derive(Debug, Clone)]
pub enum Secret {
    /// As they are written.
    Fixed(Vec<u8>),
    /// What the variable has.
    Var(Var),
}

impl Secret {
    fn parse(text: &str, registry: &mut Registry<'_>) -> Result<Self, Problem> {
        // What is in base64 has no dot.
        if text.contains('.') {
            return Ok(Self::Var(registry.var(text)?));
        }
        STANDARD.decode(text).map(Self::Fixed).map_err(|_| {
            let message = format!("`{text}` is not in base64");
            Problem::new(message, "encode it: `base64 -w0`, or name a variable")
        })
    }

    fn get(&self, scene: &Scene<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Fixed(bytes) => Some(bytes.clone()),
            Self::Var(var) => STANDARD.decode(var.get(scene.state)?.into_text()).ok(),
        }
    }
}

/// What is asked of a key's entry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryPart {
    /// `table_expire`: milliseconds until it is forgotten.
    Remaining,
    /// `table_idle`: milliseconds since it was used.
    Idle,
    /// `table_trackers`: how many follow it.
    Followers,
}

impl EntryPart {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "table_expire" => Self::Remaining,
            "table_idle" => Self::Idle,
            "table_trackers" => Self::Followers,
            _ => return None,
        })
    }

    pub(super) fn of(self, table: &Table, key: Value<'_>, now: u64) -> Option<i64> {
        let entry = table.find(&Key::of(key, table.key())?, now)?;
        match self {
            Self::Remaining => Some(table.remaining(&entry, now)),
            Self::Idle => Some(table.idle(&entry, now)),
            // HAProxy counts whoever asks.
            Self::Followers => i64::try_from(entry.followers() + 1).ok(),
        }
    }
}

impl Stateful {
    pub(super) fn apply<'a>(&self, value: Value<'a>, scene: &Scene<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::Set(var, only) => {
                // What is not kept is nothing, as HAProxy has it.
                let old = var.get(scene.state);
                if !only.allows(var, old.as_ref(), Some(&value)) {
                    return None;
                }
                var.write(scene.state, Some(value.borrowed().into_owned()));
                value
            }
            Self::Unset(var) => {
                var.write(scene.state, None);
                value
            }
            Self::Ask(what) => {
                let name = value.into_text();
                let name = std::str::from_utf8(&name).ok()?;
                Value::Int(scene.world.named(*what, name)?)
            }
            Self::Join { by, var, end } => {
                let mut text = value.into_text().into_owned();
                let var = var.as_ref().and_then(|var| var.get(scene.state));
                let var = var.map(Value::into_text).unwrap_or_default();
                if !(text.is_empty() || var.is_empty() && end.is_empty()) {
                    text.extend_from_slice(by);
                }
                text.extend_from_slice(&var);
                text.extend_from_slice(end);
                Value::Str(text.into())
            }
            Self::Decipher { bits, by } => {
                let [nonce, key, tag] = by;
                let algorithm = match bits {
                    128 => &AES_128_GCM,
                    192 => &AES_192_GCM,
                    _ => &AES_256_GCM,
                };
                let key = UnboundKey::new(algorithm, &key.get(scene)?).ok()?;
                let nonce = Nonce::try_assume_unique_for_key(&nonce.get(scene)?).ok()?;
                let mut bytes = value.into_bytes().into_owned();
                bytes.extend_from_slice(&tag.get(scene)?);
                let plain = LessSafeKey::new(key)
                    .open_in_place(nonce, Aad::empty(), &mut bytes)
                    .ok()?
                    .len();
                bytes.truncate(plain);
                Value::Bin(bytes.into())
            }
        })
    }

    pub(super) fn kinds(&self) -> (Option<Kind>, Option<Kind>) {
        match self {
            Self::Set(..) | Self::Unset(_) => (None, None),
            Self::Ask(_) => (Some(Kind::Str), Some(Kind::Int)),
            Self::Join { .. } => (Some(Kind::Str), Some(Kind::Str)),
            Self::Decipher { .. } => (Some(Kind::Bin), Some(Kind::Bin)),
        }
    }

    /// Whether what goes through it stays of its type.
    pub(super) fn keeps_kind(&self) -> bool {
        matches!(self, Self::Set(..) | Self::Unset(_))
    }
}

/// One of them by its name.
pub(super) fn parse(
    call: &Call,
    registry: &mut Registry<'_>,
) -> Result<Option<Converter>, Problem> {
    let text = |index: usize| call.args.get(index).cloned().unwrap_or_default();
    let (found, most) = match call.name.as_str() {
        "set-var" => {
            let var = registry.var(call.need(0, "a variable")?)?;
            let conditions = call.args.get(1..).unwrap_or_default().join(",");
            (Stateful::Set(var, Only::parse(&conditions)?), 5)
        }
        "unset-var" => (
            Stateful::Unset(registry.var(call.need(0, "a variable")?)?),
            1,
        ),
        "nbsrv" => (Stateful::Ask(Asked::UsableServers), 0),
        "srv_queue" => (Stateful::Ask(Asked::ServerQueue), 0),
        "add_item" => {
            if call.args.len() < 2 {
                return Err(Problem::new(
                    "`add_item` needs what divides, and a variable or a text",
                    "write `add_item(\",\",txn.name)` or `add_item(\",\",,text)`",
                ));
            }
            let var = call.optional(1).map(|name| registry.var(name));
            let join = Stateful::Join {
                by: text(0).into_bytes(),
                var: var.transpose()?,
                end: text(2).into_bytes(),
            };
            (join, 3)
        }
        "aes_gcm_dec" => {
            let bits = call.number(0)?.unwrap_or_default();
            let bits = u16::try_from(bits).ok();
            let bits = bits.filter(|bits| matches!(bits, 128 | 192 | 256));
            let bits = bits
                .ok_or_else(|| Problem::new("AES has no such key", "write 128, 192 or 256 bits"))?;
            let what = "bits, and nonce, key and tag in base64";
            let mut secret = |index| Secret::parse(call.need(index, what)?, registry);
            let by = [secret(1)?, secret(2)?, secret(3)?];
            (Stateful::Decipher { bits, by }, 4)
        }
        _ => return Ok(None),
    };
    call.most(most)?;
    Ok(Some(Converter::Stateful(found)))
}
