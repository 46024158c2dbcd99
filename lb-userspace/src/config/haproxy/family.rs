//! `ipv6@`, `stream+tcp4@`, `unix@`: what may stand before an address of a socket to say of which kind it is
//! (section 11 of HAProxy's manual), and where its port begins.

use std::net::IpAddr;

use super::says::Says;
use crate::config::source::Span;

/// Of which kind an address is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
    Unix,
}

/// What stands before addresses of stream sockets; the empty one is last.
const KINDS: &[(&str, Family)] = &[
    ("ipv4@", Family::V4),
    ("tcp4@", Family::V4),
    ("ipv6@", Family::V6),
    ("tcp6@", Family::V6),
    ("ip@", Family::Any),
    ("tcp@", Family::Any),
    ("unix@", Family::Unix),
    ("uxst@", Family::Unix),
];

/// The kind of an address, and the address without the words for it.
pub(super) fn of(text: &str) -> (Family, &str) {
    let bare = text.strip_prefix("stream+").unwrap_or(text);
    let found = KINDS
        .iter()
        .find_map(|(prefix, family)| Some((*family, bare.strip_prefix(prefix)?)));
    match found {
        Some(found) => found,
        None if text.starts_with('/') => (Family::Unix, text),
        None => (Family::Any, text),
    }
}

/// Says that an address is of a kind that there is nothing for, if it is.
pub(super) fn is_other(text: &str, span: Span, says: &mut Says) -> bool {
    let Some((kind, _)) = text.split_once('@') else {
        return false;
    };
    let mend = "write ADDRESS:PORT, `ipv4@…`, `ipv6@…`, or a path, which may follow `unix@`";
    let message = match kind {
        "abns" | "fd" | "sockpair" | "quic4" | "quic6" | "rhttp" | "rev" => {
            format!("unsupported: `{kind}@` has no counterpart in lb yet")
        }
        "udp" | "udp4" | "udp6" | "uxdg" => {
            format!("`{kind}@` is no kind of address for connections, as in HAProxy")
        }
        _ => format!("`{kind}@` is no kind of address"),
    };
    says.error(span, message, mend);
    true
}

/// An address's host and what follows its last colon, if that is not within brackets: IPv6 may stand without these, and
/// the port is still what comes last.
pub(super) fn parted(text: &str) -> (&str, Option<&str>) {
    match text.rfind([':', ']']) {
        Some(at) if text[at..].starts_with(':') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

/// An IP address, in brackets or not.
pub(super) fn ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// Says what is wrong with a host whose colons make it no name but which is no address of its kind either; whether there
/// was something. `whole` is the address with its port.
pub(super) fn is_none(
    whole: &str,
    host: &str,
    family: Family,
    span: Span,
    says: &mut Says,
) -> bool {
    let found = ip(host);
    let (message, mend) = match (found, family) {
        (Some(IpAddr::V4(_)), Family::V6) => (
            format!("`{host}` is no address of IPv6"),
            "write `ipv4@`, or nothing, before it".to_owned(),
        ),
        (Some(IpAddr::V6(_)), Family::V4) => (
            format!("`{host}` is no address of IPv4"),
            "write `ipv6@`, or nothing, before it".to_owned(),
        ),
        (Some(_), _) => return false,
        (None, _) if !host.contains(':') => return false,
        // Whoever wrote it meant an address alone.
        (None, _) if whole.parse::<IpAddr>().is_ok() => (
            format!(
                "`{whole}` is the port {} of `{host}`, which is no address: HAProxy takes what follows the last colon for \
                 the port",
                parted(whole).1.unwrap_or_default()
            ),
            format!("write `[{whole}]:PORT`"),
        ),
        (None, _) => (
            format!("`{host}` is no IP address"),
            "write four numbers from 0 to 255, or `[IPv6]`".to_owned(),
        ),
    };
    says.error(span, message, mend);
    true
}

#[cfg(test)]
mod tests {
    use super::{Family, of, parted};

    #[test]
    fn kinds_and_ports_are_told_apart() {
        for (text, family, host, port) in [
            ("ipv6@::1:80", Family::V6, "::1", Some("80")),
            ("ipv6@[::1]:80", Family::V6, "[::1]", Some("80")),
            ("[::1]", Family::Any, "[::1]", None),
            ("::1", Family::Any, ":", Some("1")),
            (
                "stream+tcp4@192.0.2.1:80",
                Family::V4,
                "192.0.2.1",
                Some("80"),
            ),
            ("tcp@:80", Family::Any, "", Some("80")),
            ("192.0.2.1", Family::Any, "192.0.2.1", None),
            ("uxst@/run/x", Family::Unix, "/run/x", None),
            ("/run/x", Family::Unix, "/run/x", None),
        ] {
            let (found, rest) = of(text);
            assert_eq!((found, parted(rest)), (family, (host, port)), "{text}");
        }
    }
}
