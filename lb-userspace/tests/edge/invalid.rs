//! Messages that are none, as an operator finds them with `show errors`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use crate::daemon::{Daemon, free};

fn ask(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A server that answers every request with this.
fn answers(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(text.as_bytes());
        }
    });
    address
}

#[test]
fn the_last_of_each_proxy_is_kept_byte_for_byte() {
    let odd = answers("HTTP/1.0 200 OK\r\nheader/bizarre:blah\r\n\r\n");
    let both = answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello");
    let fine = answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let (web, two) = (free(), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  web:
    bind: '{web}'
    rules:
      - {{ if: {{ path: /odd }}, use_backend: odd }}
      - {{ if: {{ path: /both }}, use_backend: both }}
    default_backend: fine
  two: {{ bind: '{two}', default_backend: fine }}
backends:
  odd: {{ servers: [{{ name: s1, address: '{odd}' }}] }}
  both: {{ servers: [{{ name: s1, address: '{both}' }}] }}
  fine: {{ servers: [{{ name: s1, address: '{fine}' }}] }}
"
        ),
        web,
    );
    let show = |of: &str| daemon.ask(&format!("show errors {of}\n"));
    // The probes that waited for it have sent nothing, which is no request either; HAProxy keeps none of these.
    assert!(show("").ends_with("] : 0\n\n"), "{}", show(""));

    let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (request, wrong, position) in [
        // What hyper does not read on.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nBad/Name: x\r\n\r\n",
            "  00025  Bad/Name: x\\r\\n\n",
            28,
        ),
        // What it has read whole and refuses: lengths that differ.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "  00045  Content-Length: 2\\r\\n\n",
            61,
        ),
        // What we refuse ourselves.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "  00025  Host: b\\r\\n\n",
            31,
        ),
        // A body that is none.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "  00056  zz\\r\\n",
            56,
        ),
    ] {
        for before in ["", good] {
            let answer = ask(web, &format!("{before}{request}"));
            assert!(answer.contains("HTTP/1.1 400 "), "{request}: {answer}");
            let shown = show("web request");
            assert!(
                shown.contains(" frontend web (#2): invalid request\n"),
                "{shown}"
            );
            assert!(
                shown.contains(&format!(
                    "  len {}, error at position {position}\n",
                    request.len()
                )),
                "{shown}"
            );
            assert!(shown.contains(wrong), "{shown}");
            assert_eq!(shown.matches("invalid request").count(), 1, "{shown}");
        }
    }
    // In pieces, and of the other frontend.
    let mut stream = TcpStream::connect(two).unwrap();
    for part in [
        "GET / HTTP/1.1\r\nHo",
        "st: a\r\nCaf\\",
        "\u{e9}: x\r\n\r\n",
    ] {
        let _ = stream.write_all(part.as_bytes());
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let shown = show("two");
    assert!(
        shown.contains(" frontend two (#3): invalid request\n"),
        "{shown}"
    );
    assert!(shown.contains("error at position 28\n"), "{shown}");

    for path in ["/odd", "/both"] {
        let answer = ask(
            web,
            &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
        );
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
    let shown = show("odd response");
    for part in [
        " backend odd (#4): invalid response\n  frontend web (#2), server s1 (#1), event #",
        "error at position 23\n  H1 msg state MSG_HDR_NAME(17) :\n",
        "  00017  header/bizarre:blah\\r\\n\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = show("both");
    assert!(
        shown.contains(" backend both (#5): invalid response\n"),
        "{shown}"
    );
    assert_eq!(show("none"), "No such proxy.\n\n");
}
