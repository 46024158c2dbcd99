//! Addresses, and what is said of texts that are none.

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
