//! Addresses of this run's own, and texts without them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use crate::dns::{self, Dns, Does, Says};

/// A number of this run's own for each configuration.
pub(super) fn number() -> u16 {
    static NUMBER: AtomicU16 = AtomicU16::new(1);
    NUMBER.fetch_add(1, Relaxed)
}

/// An address of the loopback network that only this process uses.
pub(super) fn address(number: u16) -> IpAddr {
    let process = std::process::id();
    let [_, _, high, low] = process.to_be_bytes();
    let further = u8::try_from(number / 250).unwrap();
    IpAddr::V4(Ipv4Addr::new(
        127,
        64 + high % 32 + 32 * further,
        low,
        1 + (number % 250) as u8,
    ))
}

/// Ports below 9000 that a file binds at this side's own address: `{ip}:8080`, `{ip}:8080-8082`.
pub(super) fn ports(text: &str) -> impl Iterator<Item = u16> {
    let binds = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("bind {ip}:"));
    binds.flat_map(|rest| {
        let word = rest.split([' ', ',']).next().unwrap_or("");
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        first.parse().unwrap()..=last.parse().unwrap()
    })
}

/// The address that a case's client has.
pub(super) fn source(case: usize) -> IpAddr {
    let case = u16::try_from(case).unwrap();
    IpAddr::V4(Ipv4Addr::new(
        127,
        200,
        (case / 200) as u8,
        1 + (case % 200) as u8,
    ))
}

/// Names a port where it is a number of its own, and no part of another.
pub(super) fn without_port(value: &str, port: u16) -> String {
    let port = port.to_string();
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find(&port) {
        let (before, after) = (&rest[..at], &rest[at + port.len()..]);
        let digit = |c: char| c.is_ascii_digit();
        let part = before.ends_with(digit) || after.starts_with(digit);
        out.push_str(before);
        out.push_str(if part { &port } else { "{port}" });
        rest = after;
    }
    out + rest
}

/// The dates in cookies, which are those of the moment.
pub(super) fn dateless(value: &str) -> String {
    use std::sync::LazyLock;
    static DATE: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"\|[A-Za-z0-9+/_-]{5}(?-u:\b|\B)").unwrap());
    DATE.replace_all(value, "|DATE").into_owned()
}

/// A listening socket that takes no more connections.
pub(super) fn mute(ip: IpAddr) -> (TcpListener, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&SocketAddr::new(ip, 0).into()).unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap().into();
    let waiting = (0..3).map(|_| {
        let waiting = socket();
        waiting.set_nonblocking(true).unwrap();
        let _ = waiting.connect(&address);
        waiting
    });
    let waiting = waiting.collect();
    (listener, waiting)
}

/// A DNS server that knows where the servers are, by the names of `example.test`.
pub(super) fn names(ip: IpAddr, ports: &[u16]) -> Dns {
    let dns = Dns::start_at(ip);
    dns.set("app.example.test", dns::at(&[&ip.to_string()]));
    let service = |port: &u16| Says::Service(256, *port, "app.example.test", Some(ip));
    // The first is where nobody listens.
    dns.set("two.example.test", dns::at(&["127.9.9.9", &ip.to_string()]));
    let unwanted = ports
        .iter()
        .take(1)
        .map(|port| Says::Service(0, *port, "app.example.test", Some(ip)));
    dns.set("_off._tcp.example.test", Does::Say(unwanted.collect()));
    let services = ports.iter().take(2).map(service).collect();
    dns.set("_web._tcp.example.test", Does::Say(services));
    dns
}
