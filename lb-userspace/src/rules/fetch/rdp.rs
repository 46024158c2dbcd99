//! The cookie that clients of the Remote Desktop Protocol begin with: `Cookie: mstshash=user` behind eleven bytes of TPKT
//! and X.224.

/// Bytes before it.
const BEFORE: usize = 11;
const LABEL: &[u8] = b"Cookie:";

/// What became of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie<'a> {
    /// Its value.
    Is(&'a [u8]),
    /// There is none.
    Never,
    /// More bytes may bring it.
    NotYet,
}

/// Looks in the first bytes of a connection for the cookie of this name, or for any where the name is empty.
pub fn cookie<'a>(all: &'a [u8], name: &[u8]) -> Cookie<'a> {
    let both = all
        .get(BEFORE..)
        .and_then(|rest| rest.split_at_checked(LABEL.len()));
    let Some((label, mut rest @ [_, ..])) = both else {
        return Cookie::NotYet;
    };
    if !label.eq_ignore_ascii_case(LABEL) {
        return Cookie::Never;
    }
    while let Some(after) = rest.strip_prefix(b" ") {
        rest = after;
    }
    let value = match name.len() {
        0 => match rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\r' | b'\n'))
        {
            None => return Cookie::NotYet,
            Some(at) if rest[at] != b'=' => return Cookie::Never,
            Some(at) => &rest[at + 1..],
        },
        length => match rest.split_at_checked(length) {
            Some((own, [b'=', value @ ..])) if own.eq_ignore_ascii_case(name) => value,
            Some((_, [_, ..])) => return Cookie::Never,
            _ => return Cookie::NotYet,
        },
    };
    match value.iter().position(|byte| *byte == b'\r') {
        None => Cookie::NotYet,
        Some(end) => match value.get(end + 1) {
            None => Cookie::NotYet,
            Some(b'\n') => Cookie::Is(&value[..end]),
            Some(_) => Cookie::Never,
        },
    }
}

/// The value, if it is there.
pub fn value<'a>(all: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match cookie(all, name) {
        Cookie::Is(value) if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// The server that a value names as RDP brokers write it, `16777343.15629.0000`: address and port, each as the number that
/// its bytes make on a little-endian machine.
pub fn server(value: &[u8]) -> Option<std::net::SocketAddrV4> {
    let mut parts = str::from_utf8(value).ok()?.splitn(3, '.');
    let address: u32 = parts.next()?.parse().ok()?;
    let port: u16 = parts.next()?.parse().ok()?;
    // Something has to follow, mostly zeros.
    parts.next()?;
    Some(std::net::SocketAddrV4::new(
        address.to_le_bytes().into(),
        port.swap_bytes(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(text: &'a [u8], name: &str) -> Cookie<'a> {
        cookie(text, name.as_bytes())
    }

    #[test]
    fn a_cookie_is_found_once_it_is_there() {
        let all = b"\x03\0\0\x2a\x25\xe0\0\0\0\0\0Cookie: mstshash=ann\r\n\x01\0";
        assert_eq!(asked(all, "mstshash"), Cookie::Is(b"ann"));
        assert_eq!(asked(all, "MSTShash"), Cookie::Is(b"ann"));
        assert_eq!(asked(all, ""), Cookie::Is(b"ann"));
        assert_eq!(asked(all, "msts"), Cookie::Never);
        for end in 0..all.len() - 3 {
            let want = Cookie::NotYet;
            assert_eq!(asked(&all[..end], "mstshash"), want, "{end}");
        }
        assert_eq!(asked(b"GET / HTTP/1.1\r\nHost: a\r\n", ""), Cookie::Never);
        assert_eq!(asked(b"01234567890Cookie: none\r\n", ""), Cookie::Never);
        assert_eq!(asked(b"01234567890Cookie: a=b\rc", ""), Cookie::Never);
        assert_eq!(value(b"01234567890Cookie: a=\r\n", b"a"), None);
    }

    #[test]
    fn a_broker_names_a_server() {
        let read = |text: &str| server(text.as_bytes()).map(|server| server.to_string());
        let at = Some("127.0.0.1:3389".to_owned());
        assert_eq!(read("16777343.15629.0000"), at);
        for bad in [
            "",
            "16777343",
            "16777343.15629",
            "x.15629.0000",
            "1.99999.0",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
