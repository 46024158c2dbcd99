//! What only HAProxy's variables of log lines stand for, where rules write them.

use std::borrow::Cow;

use super::Side;
use crate::rules::{scene::Scene, tls_fact::TlsFact, value::Value};

/// A part of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPart {
    /// `%s`: the server's name, or that there is none.
    Server,
    /// `%ft`: the frontend's name, with `~` behind it for TLS.
    Transport,
    /// `%hr`, `%hs`, and with true `%hrl`, `%hsl`: what was kept of a message.
    Captures(Side, bool),
}

impl LogPart {
    pub(super) fn sample<'a>(self, scene: &Scene<'a>) -> Option<Value<'a>> {
        Some(Value::Str(match self {
            Self::Server => match scene.world.server() {
                Some(name) => name,
                None => Cow::Borrowed(b"<NOSRV>"),
            },
            Self::Transport => {
                let tls = matches!(scene.world.tls(TlsFact::Used), Some(Value::Bool(true)));
                let name = scene.world.frontend();
                match tls {
                    true => Cow::Owned(format!("{name}~").into_bytes()),
                    false => Cow::Borrowed(name.as_bytes()),
                }
            }
            Self::Captures(side, list) => {
                let all = scene.state.captured()?.all(side);
                if all.is_empty() {
                    return None;
                }
                let texts = all.iter().map(|kept| match kept {
                    Some(text) => encoded(text),
                    None if list => b"-".to_vec(),
                    None => Vec::new(),
                });
                let texts: Vec<Vec<u8>> = texts.collect();
                Cow::Owned(match list {
                    true => texts.join(&b' '),
                    false => [b"{", &texts.join(&b'|')[..], b"}"].concat(),
                })
            }
        }))
    }
}

/// With all written as `#XX` that would make another text of it.
fn encoded(text: &[u8]) -> Vec<u8> {
    let mut safe = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'"' | b'#' | b'{' | b'|' | b'}' | ..=0x1f | 0x7f.. => {
                safe.extend(format!("#{byte:02X}").bytes());
            }
            byte => safe.push(byte),
        }
    }
    safe
}
