//! The PROXY protocol's headers, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

use super::heard::{self, Heard};
use crate::config::model::ProxyVersion;

/// What a version 2 header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of a version 2 header without addresses.
const FIXED: usize = 16;
/// Longest version 1 header, its line end included.
const LONGEST_LINE: usize = 107;
/// Longest version 2 header that is taken: HAProxy's buffer. Addresses are 36 bytes at most; the rest is what else it tells.
pub const LONGEST: usize = 16 * 1024;

/// The two ends of the connection that a header tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header that has this many bytes at least.
    Partial(usize),
    /// A whole header of this length; without ends the connection stands for itself.
    Complete(usize, Option<Ends>),
}

/// Why they are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They begin otherwise.
    #[error("Received something which does not look like a PROXY protocol header")]
    Other,
    /// They begin like one.
    #[error("Received an invalid PROXY protocol header")]
    Invalid,
    /// The header tells of something else than TCP.
    #[error("Received an unhandled protocol in the PROXY protocol header")]
    Protocol,
}

/// Reads a header at the start of `bytes`.
///
/// # Errors
/// They are none, however they go on.
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if begins_alike(bytes, SIGNATURE) {
        binary(bytes)
    } else if begins_alike(bytes, b"PROXY ") {
        text(bytes)
    } else {
        Err(HeaderError::Other)
    }
}

fn begins_alike(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

fn text(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let seen = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        return match seen.len() {
            LONGEST_LINE => Err(HeaderError::Invalid),
            n => Ok(Parsed::Partial(n + 1)),
        };
    };
    let line = seen[..end]
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(HeaderError::Invalid)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    let v6 = match family {
        // Whatever follows is not to be looked at.
        Some("UNKNOWN") => return Ok(Parsed::Complete(end + 1, None)),
        Some("TCP4") => false,
        Some("TCP6") => true,
        _ => return Err(HeaderError::Protocol),
    };
    let address = |word: Option<&str>| -> Option<IpAddr> {
        match v6 {
            false => word?.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            true => word?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        }
    };
    let port = |word: Option<&str>| -> Option<u16> {
        let word = word?;
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| word.parse().ok()).flatten()
    };
    let mut read = || -> Option<Ends> {
        let (from, to) = (address(words.next())?, address(words.next())?);
        let (from_port, to_port) = (port(words.next())?, port(words.next())?);
        words.next().is_none().then(|| Ends {
            source: canonical(from, from_port),
            destination: canonical(to, to_port),
        })
    };
    let ends = read().ok_or(HeaderError::Invalid)?;
    Ok(Parsed::Complete(end + 1, Some(ends)))
}

fn binary(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(Parsed::Partial(FIXED));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let whole = FIXED + length;
    let local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        0x22..=0x2f => return Err(HeaderError::Invalid),
        _ => return Err(HeaderError::Other),
    };
    if whole > LONGEST {
        return Err(HeaderError::Invalid);
    }
    let Some(body) = rest.get(..length) else {
        return Ok(Parsed::Partial(whole));
    };
    if local {
        return Ok(Parsed::Complete(whole, None));
    }
    let (ends, length) = match fixed[13] {
        0x11 => {
            let body: &[u8; 12] = body.first_chunk().ok_or(HeaderError::Invalid)?;
            let address = |at: usize| {
                IpAddr::V4(Ipv4Addr::new(
                    body[at],
                    body[at + 1],
                    body[at + 2],
                    body[at + 3],
                ))
            };
            let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            let ends = Ends {
                source: canonical(address(0), port(8)),
                destination: canonical(address(4), port(10)),
            };
            (ends, body.len())
        }
        0x21 => {
            let body: &[u8; 36] = body.first_chunk().ok_or(HeaderError::Invalid)?;
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[at..at + 16]);
                IpAddr::V6(octets.into())
            };
            let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            let ends = Ends {
                source: canonical(address(0), port(32)),
                destination: canonical(address(16), port(34)),
            };
            (ends, body.len())
        }
        // Unspecified, datagrams, unix sockets, and what there is not: whose connection it is remains unsaid.
        _ => return Err(HeaderError::Invalid),
    };
    let header = bytes.get(..whole).unwrap_or_default();
    heard::read(header, FIXED + length)?;
    Ok(Parsed::Complete(whole, Some(ends)))
}

/// What a whole header tells besides the ends.
pub fn heard(header: &[u8]) -> Heard {
    let told = match header.get(..FIXED) {
        Some(fixed) if fixed.starts_with(SIGNATURE) && fixed[12] == 0x21 => match fixed[13] {
            0x11 => FIXED + 12,
            0x21 => FIXED + 36,
            _ => return Heard::default(),
        },
        _ => return Heard::default(),
    };
    heard::read(header, told).unwrap_or_default()
}

fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// What a header is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction<'a> {
    /// How.
    pub version: ProxyVersion,
    /// Of whom.
    pub whom: Whom,
    /// What version 2 tells besides the ends, as [`super::told::told`] makes it.
    pub told: &'a [u8],
}

/// Whom a header introduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// A client.
    Client(Ends),
    /// A client that has no address, for it came by a unix socket.
    Unnamed,
    /// Nobody: the connection is our own.
    Ourselves,
}

impl Introduction<'_> {
    /// The header for a connection to a server. One of our own is what HAProxy makes of its checks: the LOCAL command,
    /// and in version 1, which has none, the connection itself, if that has addresses.
    pub(super) fn bytes(self, stream: &TcpStream) -> Vec<u8> {
        let own = || {
            Some(Ends {
                source: stream.local_addr().ok()?,
                destination: stream.peer_addr().ok()?,
            })
        };
        let ends = match self.whom {
            Whom::Client(ends) => Some(ends),
            Whom::Ourselves if self.version == ProxyVersion::V1 => own(),
            Whom::Ourselves | Whom::Unnamed => None,
        };
        let mut header = match (ends, self.version) {
            (Some(ends), version) => write(version, ends),
            (None, ProxyVersion::V2) => [SIGNATURE.as_slice(), b"\x20\0\0\0"].concat(),
            (None, ProxyVersion::V1) => b"PROXY UNKNOWN\r\n".to_vec(),
        };
        if self.version == ProxyVersion::V2 {
            super::told::complete(&mut header, FIXED, self.told);
        }
        header
    }
}

/// The header that tells of `ends`.
pub fn write(version: ProxyVersion, ends: Ends) -> Vec<u8> {
    let Ends {
        source,
        destination,
    } = ends;
    let both = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok((from, to)),
        (from, to) => Err((mapped(from), mapped(to))),
    };
    match version {
        ProxyVersion::V1 => {
            let (family, from, to) = match both {
                Ok((from, to)) => ("TCP4", from.to_string(), to.to_string()),
                Err((from, to)) => ("TCP6", from.to_string(), to.to_string()),
            };
            let (from_port, to_port) = (source.port(), destination.port());
            format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
        }
        ProxyVersion::V2 => {
            let mut header = Vec::with_capacity(FIXED + 36);
            header.extend_from_slice(SIGNATURE);
            match both {
                Ok((from, to)) => {
                    header.extend_from_slice(&[0x21, 0x11, 0, 12]);
                    header.extend_from_slice(&from.octets());
                    header.extend_from_slice(&to.octets());
                }
                Err((from, to)) => {
                    header.extend_from_slice(&[0x21, 0x21, 0, 36]);
                    header.extend_from_slice(&from.octets());
                    header.extend_from_slice(&to.octets());
                }
            }
            header.extend_from_slice(&source.port().to_be_bytes());
            header.extend_from_slice(&destination.port().to_be_bytes());
            header
        }
    }
}

/// A header has one family for both ends.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_every_part_of_it_wants_more() {
        for ends in [
            ends("192.0.2.7:1234", "198.51.100.1:80"),
            ends("[2001:db8::1]:65535", "[2001:db8::2]:1"),
        ] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let header = write(version, ends);
                let mut followed = header.clone();
                followed.extend_from_slice(b"GET / HTTP/1.1\r\n");
                let whole = Ok(Parsed::Complete(header.len(), Some(ends)));
                assert_eq!(parse(&followed), whole, "{version:?}");
                for length in 0..header.len() {
                    match parse(&header[..length]) {
                        Ok(Parsed::Partial(least)) => {
                            assert!(length < least && least <= header.len(), "{length} {least}");
                        }
                        other => panic!("{length} bytes of {version:?}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_header_of_two_families_is_ipv6() {
        let mixed = ends("192.0.2.7:1234", "[2001:db8::2]:80");
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let header = write(version, mixed);
            assert_eq!(
                parse(&header),
                Ok(Parsed::Complete(header.len(), Some(mixed)))
            );
        }
        assert!(write(ProxyVersion::V1, mixed).starts_with(b"PROXY TCP6 ::ffff:192.0.2.7 "));
    }

    #[test]
    fn headers_without_ends_leave_the_connection_what_it_is() {
        for (header, length) in [
            (&b"PROXY UNKNOWN\r\nx"[..], 15),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", 35),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0rest", 16),
            // LOCAL with addresses all the same.
            (
                b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02",
                28,
            ),
        ] {
            assert_eq!(
                parse(header),
                Ok(Parsed::Complete(length, None)),
                "{header:?}"
            );
        }
    }

    #[test]
    fn what_follows_the_addresses_is_skipped() {
        let mut header = write(ProxyVersion::V2, ends("192.0.2.7:1234", "198.51.100.1:80"));
        header[15] = 12 + 5;
        header.extend_from_slice(b"\xe0\0\x02ab");
        assert_eq!(heard(&header).authority, None);
        assert_eq!(
            parse(&header),
            Ok(Parsed::Complete(
                33,
                Some(ends("192.0.2.7:1234", "198.51.100.1:80"))
            ))
        );
    }

    #[test]
    fn what_is_none_is_told_at_once() {
        for (bytes, error) in [
            (&b"GET / HTTP/1.0\r\n"[..], HeaderError::Other),
            (b"\x16\x03\x01", HeaderError::Other),
            (b"PROXIED", HeaderError::Other),
            (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", HeaderError::Protocol),
            (b"PROXY TCP4 1.2.3.4\r\n", HeaderError::Invalid),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
                HeaderError::Invalid,
            ),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", HeaderError::Invalid),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
                HeaderError::Invalid,
            ),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", HeaderError::Invalid),
            (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", HeaderError::Invalid),
            (b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c", HeaderError::Other),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
                HeaderError::Invalid,
            ),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
                HeaderError::Invalid,
            ),
            // Unspecified, datagrams, and a family that there is not.
            (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", HeaderError::Invalid),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02",
                HeaderError::Invalid,
            ),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x41\0\0", HeaderError::Invalid),
            // What follows the addresses does not add up.
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02\x02\0\x01",
                HeaderError::Invalid,
            ),
        ] {
            assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(
            parse(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()),
            Err(HeaderError::Invalid)
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), signed: bool) {
            let bytes = match signed {
                true => [SIGNATURE.as_slice(), &bytes].concat(),
                false => [b"PROXY TCP4 ".as_slice(), &bytes].concat(),
            };
            if let Ok(Parsed::Complete(length, _)) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
