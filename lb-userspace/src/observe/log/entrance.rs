//! The line of a connection that never came to a request or a server: HAProxy's error log format.

use std::{fmt::Display, time::SystemTime};

use super::text::accept_date;
use crate::topology::Peer;

/// `192.0.2.7:1234 [23/Nov/2026:02:30:20.251] web/1: SSL handshake failure`: the client, when it was accepted, the
/// frontend with the number of its bind, and why it was not let in.
pub fn entrance_failed(
    client: Peer,
    accepted: SystemTime,
    frontend: &str,
    bind: usize,
    why: impl Display,
) -> String {
    let mut line = format!("{client} [");
    accept_date(&mut line, accepted);
    line.push_str(&format!("] {frontend}/{bind}: {why}"));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_haproxys() {
        let line = entrance_failed(
            Peer::Inet(([192, 0, 2, 7], 1234).into()),
            SystemTime::now(),
            "web",
            1,
            "SSL handshake failure",
        );
        let (head, tail) = line.split_once(" [").unwrap();
        assert_eq!(head, "192.0.2.7:1234");
        assert_eq!(
            tail.split_once("] ").unwrap().1,
            "web/1: SSL handshake failure"
        );
    }
}
