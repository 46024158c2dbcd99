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
                    match host {
                        "any" | "all" => format!("write `\"*:{port}\"`"),
                        "localhost" => format!("write `\"127.0.0.1:{port}\"`, or `\"*:{port}\"` for all addresses"),
                        _ if is_link(host) => format!(
                            "write an address of this host, or `{{ address: \"*:{port}\", interface: {host} }}` for one interface"
                        ),
                        _ => format!("write an address of this host, or `\"*:{port}\"` for all of them"),
                    },
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

/// Whether a text that is no address reads as the name of a network interface, by the beginnings that Linux gives them.
fn is_link(text: &str) -> bool {
    let known = ["eth", "en", "wl", "bond", "br", "vlan", "veth"];
    text.ends_with(|c: char| c.is_ascii_digit())
        && known.iter().any(|start| text.starts_with(start))
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
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
    if text.contains(',') && !text.starts_with("unix:") {
        return Err(Problem::new(
            format!("`{text}` is more than one address"),
            "write a server for each: `- { name: …, address: … }`",
        ));
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
    let (first, rest) = text.split_at(text.find([' ', '/']).unwrap_or(text.len()));
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ if !rest.is_empty() && port(first).is_ok() => Err(Problem::new(
            format!("`{text}` is no port"),
            match (rest, rest.starts_with(' ')) {
                ("/tcp", _) => format!("write `{first}`"),
                ("/udp", _) => format!("write `udp:` before the address, and `{first}`"),
                (_, false) => format!("write `{first}`: an address has no path"),
                (_, true) => format!(
                    "write `{first}`: what else is said of an address has keys of its own beside `address`"
                ),
            },
        )),
        _ if matches!(text, "http" | "https") => Err(Problem::new(
            format!("`{text}` is no port"),
            format!(
                "write the number: `{}`",
                if text == "http" { 80 } else { 443 }
            ),
        )),
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
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(Problem::new(
            format!("`{text}` is a URL"),
            format!("write address and port alone, {}", without(scheme, rest)),
        ));
    }
    // What is left of `udp://…`, as targets of logs are written.
    if let Some(rest) = text.strip_prefix("//").filter(|rest| !rest.contains('/')) {
        return Err(Problem::new(
            format!("`{text}` begins like a URL"),
            format!("write `\"udp:{rest}\"`"),
        ));
    }
    if let Some(path) = text
        .strip_prefix("unix@")
        .or_else(|| text.starts_with('/').then_some(text))
    {
        return Err(Problem::new(
            format!("`{text}` has no port"),
            format!("write `unix:{path}` if it is a unix socket"),
        ));
    }
    if let Some((family, rest)) = text.split_once('@')
        && let Some(prefix) = match family {
            "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" => Some(""),
            "udp" | "udp4" | "udp6" => Some("udp:"),
            _ => None,
        }
    {
        let star = if rest.starts_with(':') { "*" } else { "" };
        return Err(Problem::new(
            format!("`{family}@` is no part of an address here"),
            format!("write `\"{prefix}{star}{rest}\"`"),
        ));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let or = match text.rsplit_once(':') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() && self::port(port).is_ok() => {
                format!(", or `\"[{host}]:{port}\"` if {port} is the port")
            }
            _ => String::new(),
        };
        return Err(Problem::new(
            format!("`{text}` has no port"),
            format!("write `\"[{text}]:PORT\"`{or}"),
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
        None if text.parse::<Ipv4Addr>().is_ok() => {
            let port = example.trim_end_matches('"').rsplit(':').next();
            Err(Problem::new(
                format!("`{text}` has no port"),
                format!(
                    "write it after the address, such as `\"{text}:{}\"`",
                    port.unwrap_or_default()
                ),
            ))
        }
        None => Err(Problem::new(
            format!("`{text}` has no port"),
            format!("write address and port, such as `{example}`"),
        )),
    }
}

/// What is left of a URL that was written for an address: `` without `http://`: `"192.0.2.10:80"` ``.
fn without(scheme: &str, rest: &str) -> String {
    let address = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = address.strip_prefix('[').map_or(address, |inner| {
        inner.split_once(']').map_or(inner, |(_, after)| after)
    });
    let port = match (scheme, bare.contains(':') || address.is_empty()) {
        (_, true) => "",
        ("http" | "ws" | "h2c", _) => ":80",
        ("https" | "wss", _) => ":443",
        _ => "",
    };
    match address.is_empty() {
        true => format!("without `{scheme}://`"),
        false => format!("without `{scheme}://`: `\"{address}{port}\"`"),
    }
}

#[cfg(test)]
mod tests;
