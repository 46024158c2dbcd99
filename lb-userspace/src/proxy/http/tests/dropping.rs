//! Requests that have no answer.

use std::io::ErrorKind;

use super::{rules::Rules, *};

#[test]
fn a_connection_ends_with_or_without_a_word() {
    let rules = "    rules:\n      - { if: { path: /reject }, reject: true }\n      - { if: { path: /drop }, silent_drop: true }";
    let rules = Rules::new(&[([127, 0, 0, 1], 1).into()], rules, "");
    for (path, learns) in [("/reject", true), ("/drop", false)] {
        let mut client = rules.harness.connect();
        let timeout = Duration::from_millis(if learns { 10_000 } else { 300 });
        client.set_read_timeout(Some(timeout)).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        match client.read(&mut [0; 16]) {
            Ok(n) => assert!(learns && n == 0, "{path}: {n}"),
            Err(error) => {
                // A system that does not let us forget a connection ends it by a reset.
                let silent = matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset
                );
                assert!(!learns && silent, "{path}: {error}");
            }
        }
    }
}
