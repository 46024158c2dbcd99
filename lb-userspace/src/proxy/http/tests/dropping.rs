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

#[test]
fn who_is_not_let_in_is_not_served() {
    let server = [server(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(OK.as_bytes());
    })];
    let shut = "{ if: { source: 127.0.0.0/8 }, reject: true }";
    let open = "{ if: { source: 127.0.0.0/8 }, accept: true }, { reject: true }";
    for (list, served) in [(shut, false), (open, true)] {
        let rules = Rules::new(&server, &format!("    connection_rules: [{list}]"), "");
        let Ok(mut client) = TcpStream::connect(rules.harness.address) else {
            assert!(!served);
            continue;
        };
        let _ = client.write_all(GET.as_bytes());
        let mut answer = [0; 8];
        // Who is not is told by a reset, or just finds nobody.
        let read = client.read(&mut answer).unwrap_or(0);
        assert_eq!(read > 0, served, "{list}");
    }
}
