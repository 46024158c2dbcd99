//! Clients whom a rule renames: servers are told of whom it says that it is.

use super::{rules::Rules, *};

/// A server that answers with the PROXY header that its connection has begun with.
fn introduced() -> SocketAddr {
    server(|mut stream| {
        let header = read_to(&mut stream, "\r\n");
        while !read_head(&mut stream).is_empty() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{header}",
                header.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    })
}

#[test]
fn servers_are_introduced_to_whom_a_rule_says_it_is_and_to_nobody_else() {
    let rules = Rules::new(
        &[introduced()],
        "    rules: [{ if: { header: { name: x-src, present: true } }, set_src: \"%[req.hdr(x-src)]\" }]\n",
        "    default_server: { send_proxy: v1 }\n",
    );
    let harness = &rules.harness;
    let mut client = harness.connect();
    let (ip, port) = (
        client.local_addr().unwrap().ip().to_string(),
        client.local_addr().unwrap().port(),
    );
    // Its connections are kept, each for the name that it was made in.
    for (field, source) in [
        ("X-Src: 198.51.100.7\r\n", "198.51.100.7"),
        ("", ip.as_str()),
        ("X-Src: 198.51.100.8\r\n", "198.51.100.8"),
        ("X-Src: 198.51.100.7\r\n", "198.51.100.7"),
        ("", ip.as_str()),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n");
        client.write_all(request.as_bytes()).unwrap();
        read_to(&mut client, "\r\n\r\n");
        let header = read_to(&mut client, "\r\n");
        let begins = format!("PROXY TCP4 {source} ");
        let ends = format!(" {port} {}\r\n", harness.address.port());
        assert!(
            header.starts_with(&begins) && header.ends_with(&ends),
            "{header:?} of {source}"
        );
    }
    let server = &harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.connects.value(), 3);
}
