//! Addresses as people write them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use super::{
    model::{Address, Asked, AskedPort, Bind, LONGEST_PATH, Permissions, Prefix, Transport},
    units::Problem,
};

/// `"ADDR:PORT"`, `"*:PORT"`, `"[::]:PORT"`, each perhaps after `udp:`.
pub(super) fn bind(text: &str) -> Result<Bind, Problem> {
    if text.starts_with("quic:") {
        return Err(Problem::new(
            "unsupported: HTTP/3 frontends are not built yet",
            "write a TCP address such as `\"*:80\"`",
        ));
    }
    let written = text;
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Bind {
            address: unix(path)?,
            permissions: Permissions::default(),
            both_families: false,
            transport: Transport::Tcp,
            text: written.to_owned(),
            tls: None,
            accept_proxy: None,
            sockets: Default::default(),
            label: Default::default(),
        });
    }
    let (transport, text) = match (text.strip_prefix("tcp:"), text.strip_prefix("udp:")) {
        (Some(rest), _) => (Transport::Tcp, rest),
        (None, Some(rest)) => (Transport::Udp, rest),
        (None, None) => (Transport::Tcp, text),
    };
    let (host, port) = split(text, "\"*:80\"")?;
    let port = self::port(port)?;
    let (address, both_families) = match host {
        "*" => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), false),
        "" => {
            return Err(Problem::new(
                format!("`{text}` has no address"),
                format!("write `\"*:{port}\"` for all of them"),
            ));
        }
        _ => {
            let address = ip(host).ok_or_else(|| {
                Problem::new(
                    format!("`{host}` is no IP address"),
                    format!("write an address of this host, or `\"*:{port}\"` for all of them"),
                )
            })?;
            (address, address == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        }
    };
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Problem::new(
            format!("`{host}` is a group address, nothing can listen on it"),
            "write a unicast address",
        ));
    }
    let address = SocketAddr::new(address, port);
    Ok(Bind {
        address: address.into(),
        permissions: Permissions::default(),
        both_families,
        transport,
        text: match transport {
            Transport::Tcp => text,
            Transport::Udp => written,
        }
        .to_owned(),
        tls: None,
        accept_proxy: None,
        sockets: Default::default(),
        label: Default::default(),
    })
}

/// The path of a unix socket, behind `unix:`.
fn unix(path: &str) -> Result<Address, Problem> {
    let mend = "write a path such as `unix:/run/app.sock`";
    if path.is_empty() || path.ends_with('/') {
        return Err(Problem::new(format!("`unix:{path}` names no socket"), mend));
    }
    if path.starts_with('@') {
        return Err(Problem::new(
            "unsupported: abstract unix sockets are not built yet",
            mend,
        ));
    }
    if path.contains('\0') {
        return Err(Problem::new("a path has no NUL in it", mend));
    }
    Ok(Address::Unix(Path::new(path).into()))
}

/// A bind or a server of a unix socket with a relative path has it below `base`; the system's limit holds for the whole.
pub(super) fn below(base: &Path, address: Address) -> Result<Address, Problem> {
    let Address::Unix(path) = address else {
        return Ok(address);
    };
    let path = base.join(path);
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        return Err(Problem::new(
            format!(
                "`{}` has {length} bytes: a unix socket's path has {LONGEST_PATH} at most",
                path.display()
            ),
            "choose a shorter one",
        ));
    }
    Ok(Address::Unix(path.into()))
}

/// `198.51.100.0/24`, `2001:db8::/32`; an address alone is itself and no other.
pub(super) fn prefix(text: &str) -> Result<Prefix, Problem> {
    let example = "write a prefix such as `198.51.100.0/24` or `2001:db8::/32`";
    let (host, length) = match text.split_once('/') {
        Some((host, length)) => (host, Some(length)),
        None => (text, None),
    };
    let address =
        ip(host).ok_or_else(|| Problem::new(format!("`{host}` is no IP address"), example))?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let length = match length {
        None => most,
        Some(length) => length
            .parse()
            .ok()
            .filter(|n| *n <= most && digits(length))
            .ok_or_else(|| {
                Problem::new(
                    format!("`/{length}` is no length of a prefix of {most} bits"),
                    format!("write a number from 0 to {most}: `{host}/{most}` is one address"),
                )
            })?,
    };
    if let IpAddr::V6(six) = address
        && let Some(four) = six.to_ipv4_mapped()
    {
        return Err(Problem::new(
            format!("`{text}` is an IPv4 address written as IPv6"),
            format!("write `{four}/{}`", length.saturating_sub(96)),
        ));
    }
    let first = first_of(address, length);
    if first != address {
        return Err(Problem::new(
            format!("`{text}` has bits set beyond its length"),
            format!("write `{first}/{length}`, or `{address}/{most}` for the one address"),
        ));
    }
    Ok(Prefix { address, length })
}

/// The first address of a prefix.
pub(super) fn first_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// Where a server listens: `ADDR:PORT` or `unix:PATH`.
pub(super) fn server(text: &str) -> Result<Address, Problem> {
    match text.strip_prefix("unix:") {
        Some(path) => unix(path),
        None => endpoint(text).map(Address::Inet),
    }
}

/// The same, or `NAME:PORT`, or the name of SRV records.
pub(super) fn server_or_name(text: &str) -> Result<Address, Problem> {
    if text.starts_with('_') && !text.contains(':') {
        return match is_host(text) {
            true => Ok(Address::Name(text.into(), None)),
            false => Err(Problem::new(
                format!("`{text}` is no name of SRV records"),
                "write one such as `_http._tcp.example.org`",
            )),
        };
    }
    if let Some(asked) = asked(text) {
        return asked.map(Address::Asked);
    }
    if let Ok((host, port)) = split(text, "\"192.0.2.10:80\"")
        && ip(host).is_none()
        && host.contains(|c: char| c.is_ascii_alphabetic())
        && !host.contains('/')
        && !text.starts_with("unix:")
    {
        let port = self::port(port)?;
        return match is_host(host) {
            true => Ok(Address::Name(host.into(), Some(port))),
            false => Err(Problem::new(
                format!("`{host}` is no host name"),
                "write letters, digits, `-` and `_` between single dots, at most 63 of them in a row",
            )),
        };
    }
    server(text)
}

/// `*`, `*:80`, `*:+1000`, `192.0.2.10:+0`: where the client asked to go, as far as nothing else is said.
fn asked(text: &str) -> Option<Result<Asked, Problem>> {
    let (host, port) = match text {
        "*" => ("*", None),
        _ => {
            let (host, port) = text.rsplit_once(':')?;
            (host, Some(port))
        }
    };
    let moves = |port: &str| port.starts_with(['+', '-']);
    if host != "*" && !port.is_some_and(moves) {
        return None;
    }
    let ip = match host {
        "*" => None,
        host => Some(ip(host)?),
    };
    let port = match port {
        None => AskedPort::Moved(0),
        Some(by) if moves(by) => match by.parse::<i32>() {
            Ok(by) if (-65_535..=65_535).contains(&by) => AskedPort::Moved(by),
            _ => {
                return Some(Err(Problem::new(
                    format!("`{by}` moves no port"),
                    "write a number from -65535 to +65535",
                )));
            }
        },
        Some(port) => match self::port(port) {
            Ok(port) => AskedPort::Is(port),
            Err(problem) => return Some(Err(problem)),
        },
    };
    Some(Ok(Asked { ip, port }))
}

/// Whether a text can be a name in the DNS.
pub(crate) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let mut bytes = label.bytes();
        (1..=63).contains(&label.len())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

/// `ADDR:PORT` of something that is reached.
pub(super) fn endpoint(text: &str) -> Result<SocketAddr, Problem> {
    let (host, port) = split(text, "\"192.0.2.10:80\"")?;
    let port = self::port(port)?;
    let address = ip(host).ok_or_else(|| match host {
        "*" | "" => Problem::new(
            format!("`{text}` names no server"),
            format!("write its address: `\"192.0.2.10:{port}\"`"),
        ),
        _ if host.contains(|c: char| c.is_ascii_alphabetic()) => Problem::new(
            format!("`{host}` is a host name, which is looked up for servers alone"),
            match host {
                "localhost" => format!("write `\"127.0.0.1:{port}\"`"),
                _ => "write its IP address".to_owned(),
            },
        ),
        _ => Problem::new(
            format!("`{host}` is no IP address"),
            "write four numbers from 0 to 255, or `[IPv6]`",
        ),
    })?;
    if address.is_unspecified()
        || address.is_multicast()
        || address == IpAddr::V4(Ipv4Addr::BROADCAST)
    {
        return Err(Problem::new(
            format!("`{host}` is the address of no server"),
            "write the server's own address",
        ));
    }
    Ok(SocketAddr::new(address, port))
}

/// An address, in brackets or not; no zone.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    match text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A port from 1 to 65535.
pub(super) fn port(text: &str) -> Result<u16, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ if text.contains('-') && text.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
            Err(Problem::new(
                format!("unsupported: a range of ports (`{text}`) is not built yet"),
                "write a list with one entry a port",
            ))
        }
        _ => Err(Problem::new(
            format!("`{text}` is no port"),
            "write a number from 1 to 65535",
        )),
    }
}

fn split<'a>(text: &'a str, example: &str) -> Result<(&'a str, &'a str), Problem> {
    if text.contains(',') {
        return Err(Problem::new(
            format!("`{text}` is more than one address"),
            "write a list: `[\"ADDR:PORT\", \"ADDR:PORT\"]`",
        ));
    }
    if let Some(scheme) = text.find("://") {
        return Err(Problem::new(
            format!("`{text}` is a URL"),
            format!(
                "write address and port alone, without `{}`",
                &text[..scheme + 3]
            ),
        ));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Problem::new(
            format!("`{text}` has no port"),
            format!("write `\"[{text}]:PORT\"`"),
        ));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') || !host.contains(':') => {
            if host.starts_with('[') && !host.ends_with(']') {
                return Err(Problem::new(
                    format!("`{text}` has no port"),
                    format!("write `\"{text}:PORT\"`"),
                ));
            }
            Ok((host, port))
        }
        Some((host, port)) => Err(Problem::new(
            format!("`{text}` is ambiguous"),
            format!("write IPv6 in brackets: `\"[{host}]:{port}\"`"),
        )),
        None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Err(Problem::new(
            format!("`{text}` is a port without an address"),
            format!(
                "write `\"{}:{text}\"`",
                &example[1..].split(':').next().unwrap_or_default()
            ),
        )),
        None => Err(Problem::new(
            format!("`{text}` has no port"),
            format!("write address and port, such as `{example}`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds() {
        let ok = |text: &str| {
            bind(text)
                .map(|b| (b.address.to_string(), b.both_families))
                .map_err(|p| p.message)
        };
        assert_eq!(ok("*:9001"), Ok(("0.0.0.0:9001".into(), false)));
        assert_eq!(ok("[::]:80"), Ok(("[::]:80".into(), true)));
        assert_eq!(
            ok("[2001:db8::1]:80"),
            Ok(("[2001:db8::1]:80".into(), false))
        );
        assert_eq!(ok("192.0.2.1:65535"), Ok(("192.0.2.1:65535".into(), false)));
        for (bad, message) in [
            ("*:0", "`0` is no port"),
            ("*:65536", "`65536` is no port"),
            ("*:+80", "`+80` is no port"),
            (
                "*:80-89",
                "unsupported: a range of ports (`80-89`) is not built yet",
            ),
            (":80", "`:80` has no address"),
            ("80", "`80` is a port without an address"),
            ("*", "`*` has no port"),
            ("", "`` has no port"),
            ("::1", "`::1` has no port"),
            ("::1:80:x", "`::1:80:x` is ambiguous"),
            ("[::1]", "`[::1]` has no port"),
            ("localhost:80", "`localhost` is no IP address"),
            ("256.1.1.1:80", "`256.1.1.1` is no IP address"),
            (
                "224.0.0.1:80",
                "`224.0.0.1` is a group address, nothing can listen on it",
            ),
            ("*:80,*:81", "`*:80,*:81` is more than one address"),
            ("http://*:80", "`http://*:80` is a URL"),
        ] {
            assert_eq!(ok(bad), Err(message.to_owned()), "{bad}");
        }
        assert_eq!(
            bind("80").err().and_then(|p| p.mend).as_deref(),
            Some("write `\"*:80\"`")
        );
        assert_eq!(
            bind("::1:80:x").err().and_then(|p| p.mend).as_deref(),
            Some("write IPv6 in brackets: `\"[::1:80]:x\"`")
        );
    }

    #[test]
    fn udp_binds() {
        let bind = bind("udp:[::]:53").unwrap();
        assert_eq!(bind.transport, Transport::Udp);
        assert!(bind.both_families);
        assert_eq!(bind.text, "udp:[::]:53");
        assert_eq!(super::bind("tcp:*:53").unwrap().text, "*:53");
        for bad in ["udp:53", "udp:", "udp:*", "udp:udp:*:53", "udp://*:53"] {
            assert!(super::bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes() {
        let ok = |text: &str| prefix(text).map(|p| p.to_string()).map_err(|p| p.message);
        assert_eq!(ok("198.51.100.0/24"), Ok("198.51.100.0/24".into()));
        assert_eq!(ok("192.0.2.1"), Ok("192.0.2.1/32".into()));
        assert_eq!(ok("0.0.0.0/0"), Ok("0.0.0.0/0".into()));
        assert_eq!(ok("::/0"), Ok("::/0".into()));
        assert_eq!(ok("2001:db8::/32"), Ok("2001:db8::/32".into()));
        assert_eq!(ok("[2001:db8::1]"), Ok("2001:db8::1/128".into()));
        for (bad, message) in [
            (
                "198.51.100.7/24",
                "`198.51.100.7/24` has bits set beyond its length",
            ),
            (
                "2001:db8::1/64",
                "`2001:db8::1/64` has bits set beyond its length",
            ),
            (
                "198.51.100.0/33",
                "`/33` is no length of a prefix of 32 bits",
            ),
            (
                "198.51.100.0/+8",
                "`/+8` is no length of a prefix of 32 bits",
            ),
            ("198.51.100.0/", "`/` is no length of a prefix of 32 bits"),
            (
                "198.51.100.0/255.255.255.0",
                "`/255.255.255.0` is no length of a prefix of 32 bits",
            ),
            ("198.51.100/24", "`198.51.100` is no IP address"),
            (
                "::ffff:192.0.2.0/120",
                "`::ffff:192.0.2.0/120` is an IPv4 address written as IPv6",
            ),
            ("", "`` is no IP address"),
        ] {
            assert_eq!(ok(bad), Err(message.to_owned()), "{bad}");
        }
        let mend = |text: &str| prefix(text).err().and_then(|p| p.mend).unwrap_or_default();
        assert_eq!(
            mend("198.51.100.7/24"),
            "write `198.51.100.0/24`, or `198.51.100.7/32` for the one address"
        );
        assert_eq!(mend("::ffff:192.0.2.0/120"), "write `192.0.2.0/24`");
    }

    #[test]
    fn servers() {
        assert_eq!(
            server("192.168.8.111:8080").map(|a| a.to_string()),
            Ok("192.168.8.111:8080".into())
        );
        assert_eq!(
            server("[2001:db8::1]:80").map(|a| a.to_string()),
            Ok("[2001:db8::1]:80".into())
        );
        for bad in [
            "*:80",
            "0.0.0.0:80",
            "[::]:80",
            "ms1:80",
            "1.2.3:80",
            "1.2.3.4",
            "[1.2.3.4]:80",
            "255.255.255.255:1",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
        assert_eq!(
            server("localhost:80").err().and_then(|p| p.mend).as_deref(),
            Some("write `\"127.0.0.1:80\"`")
        );
    }

    #[test]
    fn ports_are_moved_as_far_as_there_are_any() {
        let moved = |text: &str| server_or_name(text).map_err(|p| p.message);
        let to = |by| {
            let port = AskedPort::Moved(by);
            Ok(Address::Asked(Asked { ip: None, port }))
        };
        assert_eq!(moved("*:-65535"), to(-65_535));
        assert_eq!(moved("*:+65535"), to(65_535));
        for by in ["-65536", "+65536", "-2147483648", "-"] {
            let said = Err(format!("`{by}` moves no port"));
            assert_eq!(moved(&format!("*:{by}")), said);
        }
    }
}
