//! `Forwarded` (RFC 7239): its elements, read and written.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
};

/// What one proxy says.
pub(super) struct Element<'a> {
    pub(super) proto: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    /// An address, and whether its port is told; a unix socket has none.
    pub(super) by: Option<(Option<SocketAddr>, bool)>,
    pub(super) for_: Option<(Option<SocketAddr>, bool)>,
}

impl Element<'_> {
    /// Writes it in HAProxy's order and quoting: a host always, an address with a port, and one of IPv6.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let next = |out: &mut Vec<u8>, name: &str| {
            if out.len() > start {
                out.push(b';');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
        };
        if let Some(proto) = self.proto {
            next(out, "proto");
            out.extend_from_slice(proto.as_bytes());
        }
        if let Some(host) = self.host {
            next(out, "host");
            out.push(b'"');
            for byte in host.bytes() {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
        for (name, node) in [("by", self.by), ("for", self.for_)] {
            let Some((address, with_port)) = node else {
                continue;
            };
            next(out, name);
            let Some(address) = address else {
                out.extend_from_slice(b"unknown");
                continue;
            };
            let port = address.port();
            // A Vec takes everything.
            let _ = match (address.ip().to_canonical(), with_port) {
                (IpAddr::V4(ip), false) => write!(out, "{ip}"),
                (IpAddr::V4(ip), true) => write!(out, "\"{ip}:{port}\""),
                (IpAddr::V6(ip), false) => write!(out, "\"[{ip}]\""),
                (IpAddr::V6(ip), true) => write!(out, "\"[{ip}]:{port}\""),
            };
        }
    }
}

/// The `for` of each element of a line; `None` if the line does not follow the grammar.
pub(super) fn elements(line: &[u8]) -> Option<Vec<Option<String>>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let (node, after) = element(rest)?;
        let text = &rest[..rest.len() - after.len()];
        // One with nothing in it is none (RFC 9110, section 5.6.1.2).
        if !text.trim_ascii().is_empty() {
            found.push(node);
        }
        match after.split_first() {
            None => return Some(found),
            // `element` stops at a comma or the end alone.
            Some((_, after)) => rest = after,
        }
    }
}

/// `[ pair ] *( ";" [ pair ] )`, and what follows it.
fn element(mut rest: &[u8]) -> Option<(Option<String>, &[u8])> {
    let mut node = None;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b";") {
            rest = after;
            continue;
        }
        if rest.is_empty() || rest.starts_with(b",") {
            return Some((node, rest));
        }
        let name_end = rest.iter().position(|&byte| !is_token(byte))?;
        let (name, after) = rest.split_at(name_end);
        let (value, after) = value(after.strip_prefix(b"=")?)?;
        if name.is_empty() {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") {
            // Each parameter stands once in an element.
            if node.replace(value).is_some() {
                return None;
            }
        }
        rest = after.trim_ascii_start();
        if !(rest.is_empty() || rest.starts_with(b";") || rest.starts_with(b",")) {
            return None;
        }
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &[u8]) -> Option<(String, &[u8])> {
    let Some(inner) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|&byte| !is_token(byte));
        let (token, after) = text.split_at(end.unwrap_or(text.len()));
        let token = String::from_utf8(token.to_vec()).ok()?;
        return (!token.is_empty()).then_some((token, after));
    };
    let mut unquoted = Vec::new();
    let mut bytes = inner.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((String::from_utf8(unquoted).ok()?, &inner[at + 1..])),
            b'\\' => unquoted.push(*bytes.next()?.1),
            byte => unquoted.push(byte),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
