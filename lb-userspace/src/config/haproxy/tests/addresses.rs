//! Addresses of binds and servers.

use super::imported;

#[test]
fn addresses_end_with_their_port() {
    let server = |address: &str| {
        let text = format!("backend b\n server s {address}\n");
        let (yaml, said) = imported(&text);
        let errors: Vec<String> = said
            .into_iter()
            .filter(|line| line.contains(" error: "))
            .collect();
        match errors.as_slice() {
            [] => {
                let (_, found) = yaml.split_once("address: ").expect("it has one");
                let end = found.find([',', '}']).unwrap_or(found.len());
                found[..end].trim().trim_matches('"').to_owned()
            }
            [one] => one.split_once("error: ").unwrap().1.to_owned(),
            several => panic!("{several:?}"),
        }
    };
    for (address, wanted) in [
        ("ipv6@::1:80", "[::1]:80"),
        ("ipv6@[::1]:80", "[::1]:80"),
        ("2001:db8::5:80", "[2001:db8::5]:80"),
        ("1:2:3:4:5:6:7:8:80", "[1:2:3:4:5:6:7:8]:80"),
        ("stream+tcp4@192.0.2.1:80", "192.0.2.1:80"),
        ("ip@name.example:80", "name.example:80"),
        ("uxst@/run/s", "unix:/run/s"),
        ("192.0.2.1", "192.0.2.1:+0"),
        ("[::1]", "[::1]:+0"),
        (
            "ipv6@2001:db8::5",
            "`2001:db8::5` is the port 5 of `2001:db8:`, which is no address: HAProxy takes what follows the last colon for \
             the port",
        ),
        ("ipv4@::1:80", "`::1` is no address of IPv4"),
        ("ipv6@192.0.2.1:80", "`192.0.2.1` is no address of IPv6"),
        ("::1:http", "`http` is no port"),
        (
            "192.0.2.1:80-90",
            "`80-90` are several ports: a server has one",
        ),
        (
            "abns@s",
            "unsupported: `abns@` has no counterpart in lb yet",
        ),
        (
            "udp@192.0.2.1:80",
            "`udp@` is no kind of address for connections, as in HAProxy",
        ),
        ("foo@192.0.2.1:80", "`foo@` is no kind of address"),
    ] {
        assert_eq!(server(address), wanted, "{address}");
    }
    for (bind, wanted) in [
        ("ipv6@:80", "bind: [\"[::]:80\"]"),
        ("ipv6@::1:80", "bind: [\"[::1]:80\"]"),
        ("tcp@:80", "bind: [\"*:80\"]"),
    ] {
        let (yaml, _) = imported(&format!("frontend f\n bind {bind}\n"));
        assert!(yaml.contains(wanted), "{bind}\n{yaml}");
    }
}
