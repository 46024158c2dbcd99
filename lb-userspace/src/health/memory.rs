//! What the expressions of a check see, and what it remembers from one of its steps to the next.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use super::{
    Target,
    finding::{Finding, MOST_INFO},
};
use crate::{
    config::model::{CheckText, Content, HeadField, Like, Setting, Terms},
    rules::{Asked, Fact, Link, ResponseView, Scene, Seen, Side, State, TlsFact, Value, World},
    topology::CheckStatus,
};

/// Of one check.
pub(super) struct Memory<'a> {
    state: State,
    of: Option<&'a Target>,
}

/// What has come of an answer.
#[derive(Default, Clone, Copy)]
pub(super) struct Heard<'a> {
    /// The bytes of a conversation over TCP, as far as they are not done with.
    pub(super) bytes: Option<&'a [u8]>,
    /// Status and head of an answer of HTTP.
    pub(super) head: Option<(u16, &'a [u8])>,
}

impl<'a> Memory<'a> {
    /// Of a check of the server `of`.
    pub(super) fn new(of: Option<&'a Target>) -> Self {
        Self {
            state: State::default(),
            of,
        }
    }

    /// The server that is checked.
    pub(super) fn target(&self) -> Option<&'a Target> {
        self.of
    }

    /// What comes of a text.
    pub(super) fn fill(&self, text: &CheckText, heard: Heard<'_>) -> Vec<u8> {
        let fields = heard.head.map(|(_, head)| fields(head));
        let status = heard
            .head
            .and_then(|(code, _)| StatusCode::from_u16(code).ok());
        text.fill(&Scene {
            request: None,
            response: status
                .zip(fields.as_ref())
                .map(|(status, headers)| ResponseView {
                    status,
                    version: Version::HTTP_11,
                    headers,
                }),
            state: &self.state,
            world: &self.around(heard),
        })
    }

    /// The same as a line: without what would end it.
    pub(super) fn line(&self, text: &CheckText) -> String {
        if let Some(text) = text.as_literal() {
            return text.to_owned();
        }
        let filled = self.fill(text, Heard::default());
        let filled = String::from_utf8_lossy(&filled);
        filled.chars().filter(|c| !c.is_control()).collect()
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, setting: &Setting, heard: Heard<'_>) {
        let around = Around { of: self.of, heard };
        setting.apply(&mut self.state, &around);
    }

    /// What has to be there, once its expressions are asked.
    pub(super) fn wanted<'c>(&self, content: &'c Content) -> Cow<'c, Content> {
        match content {
            Content::Filled(text) => Cow::Owned(Content::Text(self.fill(text, Heard::default()))),
            Content::FilledHex(text) => {
                let bytes = unhex(&self.fill(text, Heard::default()));
                Cow::Owned(bytes.map_or(Content::Nothing, Content::Text))
            }
            Content::Header(HeadField {
                name,
                parts,
                like: Like::Filled(text),
            }) => Cow::Owned(Content::Header(HeadField {
                name: name.clone(),
                parts: *parts,
                like: Like::Is(self.fill(text, Heard::default())),
            })),
            Content::Not(unwanted) => match self.wanted(unwanted) {
                Cow::Borrowed(_) => Cow::Borrowed(content),
                Cow::Owned(Content::Nothing) => Cow::Owned(Content::Nothing),
                Cow::Owned(unwanted) => Cow::Owned(Content::Not(Box::new(unwanted))),
            },
            _ => Cow::Borrowed(content),
        }
    }

    /// A result as the terms have it.
    pub(super) fn told(&self, mut found: Finding, terms: &Terms, heard: Heard<'_>) -> Finding {
        let (name, text) = match found.status {
            CheckStatus::L7Ok => (terms.passed, &terms.on_success),
            status if status.passed() => (None, &terms.on_success),
            CheckStatus::L7Tout => (terms.late, &None),
            _ => (terms.failed, &terms.on_error),
        };
        if let Some(text) = text {
            found.info = shown(&self.fill(text, heard));
        }
        if let Some(code) = terms
            .code
            .as_ref()
            .filter(|_| found.status != CheckStatus::L7Tout)
        {
            let code = self.fill(code, heard);
            let code = std::str::from_utf8(&code).ok();
            found.code = code.and_then(|code| code.trim().parse().ok());
        }
        let known = CheckStatus::ALL.into_iter();
        let status = name.and_then(|name| known.into_iter().find(|one| one.name() == name));
        found.status = status.unwrap_or(found.status);
        found
    }

    fn around<'h>(&self, heard: Heard<'h>) -> Around<'h>
    where
        'a: 'h,
    {
        Around { of: self.of, heard }
    }
}

/// What a log and the statistics may have of a text that a server has had a say in: no more than HAProxy has, and what is not
/// to be printed in its digits.
pub(super) fn shown(text: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_control() {
                true => shown.push_str(&format!("<{:02X}>", u32::from(c))),
                false => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("<{byte:02X}>"));
        }
        if shown.len() > MOST_INFO {
            shown.truncate(shown.floor_char_boundary(MOST_INFO));
            break;
        }
    }
    shown
}

/// The bytes of hexadecimal digits.
pub(super) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// The fields of a head.
fn fields(head: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    fields
}

/// What there is around a check.
struct Around<'a> {
    of: Option<&'a Target>,
    heard: Heard<'a>,
}

impl World for Around<'_> {
    fn source(&self) -> Option<SocketAddr> {
        None
    }

    fn destination(&self) -> Option<SocketAddr> {
        self.of?.server.address().inet()
    }

    fn frontend(&self) -> &str {
        ""
    }

    fn backend(&self) -> Option<&str> {
        Some(&self.of?.backend.name)
    }

    fn server(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(self.of?.server.name.as_bytes()))
    }

    fn fact(&self, fact: &Fact) -> Option<i64> {
        let Target {
            topology, backend, ..
        } = self.of?;
        topology.fact(fact, None, Some(backend), self.now_ms())
    }

    fn named(&self, what: Asked, name: &str) -> Option<i64> {
        let Target {
            topology, backend, ..
        } = self.of?;
        topology.named(what, name, Some(backend))
    }

    fn link(&self, what: Link) -> Option<Value<'_>> {
        let of = self.of?;
        Some(match what {
            Link::BackendId => Value::Int(of.backend.config.id.into()),
            Link::ServerId => Value::Int(of.server.id.into()),
            Link::ServerTimeout => millis(of.backend.config.timeouts.server),
            // HAProxy's 0 is none.
            Link::TunnelTimeout => millis(of.backend.config.timeouts.tunnel.unwrap_or_default()),
            _ => return None,
        })
    }

    fn tls(&self, _fact: TlsFact) -> Option<Value<'_>> {
        None
    }

    fn seen(&self, side: Side) -> Option<Seen<'_>> {
        let bytes = self.heard.bytes.filter(|_| side == Side::Response)?;
        Some(Seen {
            bytes,
            is_final: true,
        })
    }

    fn now_ms(&self) -> u64 {
        self.of.map_or(0, |of| of.topology.clock.now_ms())
    }
}

fn millis(time: Duration) -> Value<'static> {
    Value::Int(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_shown_in_letters_and_not_at_length() {
        assert_eq!(
            shown(b"a\x1b]0;b\x07 \xff\xc3\xa4\r\n"),
            "a<1B>]0;b<07> <FF>\u{e4}<0D><0A>"
        );
        assert_eq!(shown(&[b'x'; 13_000]).len(), MOST_INFO);
        assert!(shown("\u{e4}".repeat(1000).as_bytes()).len() <= MOST_INFO);
    }
}
