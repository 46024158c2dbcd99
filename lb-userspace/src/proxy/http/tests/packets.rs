//! What rules say of the packets that clients get, and as whom servers are reached.

use super::{rules::Rules, *};
use crate::proxy::fixtures::{is_root, packets_to};

#[test]
fn rules_say_what_packets_are_like() {
    if !is_root() {
        return;
    }
    let server = server(|mut stream| {
        while !read_head(&mut stream).is_empty() {
            let _ = stream.write_all(OK.as_bytes());
        }
    });
    let rules = Rules::new(
        &[server],
        "    connection_rules: [{ set_mark: 7, set_tos: 0x10 }]\n    rules:\n      - { if: { path: /marked }, set_mark: 0x2a }\n      - { if: { path: /asked }, set_tos: 8 }\n      - { response: { always: false, set_tos: 0x20 } }\n      - { if: { path: /refused }, deny: true }\n",
        "",
    );
    for (path, wanted) in [
        ("/", (7, 0x20)),
        ("/marked", (0x2a, 0x20)),
        // The answer is no server's, so that what is said of those is not asked.
        ("/refused", (7, 0x10)),
    ] {
        let mut client = rules.harness.connect();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        read_to(&mut client, "\r\n\r\n");
        assert_eq!(packets_to(&client), wanted, "{path}");
    }
}

#[test]
fn servers_are_reached_as_somebody_else() {
    if !is_root() {
        return;
    }
    // Answers with whom it sees.
    let server = server(|mut stream| {
        let peer = stream.peer_addr().unwrap();
        while !read_head(&mut stream).is_empty() {
            let body = peer.ip().to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    for (source, field, wanted) in [
        ("{ as: 127.7.7.7 }", "", "127.7.7.7"),
        ("{ address: 127.6.6.6 }", "", "127.6.6.6"),
        ("{ as: client-address }", "", "127.0.0.1"),
        (
            "{ as: { header: X-Forwarded-For } }",
            "X-Forwarded-For: 127.1.1.1, 127.2.2.2\r\n",
            "127.2.2.2",
        ),
        (
            "{ as: { header: X-Forwarded-For, occurrence: 1 } }",
            "X-Forwarded-For: 127.1.1.1\r\nX-Forwarded-For: 127.2.2.2\r\n",
            "127.1.1.1",
        ),
        // Who is not told of comes from wherever the system says.
        ("{ as: { header: X-Forwarded-For } }", "", "127.0.0.1"),
    ] {
        let rules = Rules::new(&[server], "", &format!("    source: {source}\n"));
        let answer = rules.ask("GET /", field);
        assert!(
            answer.ends_with(&format!("\r\n\r\n{wanted}")),
            "{source}: {answer}"
        );
    }
}
