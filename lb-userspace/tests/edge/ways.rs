//! The ways to servers: TLS, PROXY headers, and TLS that passes through.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
};

use crate::{
    certificates::Authority,
    clients::{curl, installed, read_all, resolve, write},
    daemon::{Daemon, free},
    server::{BIG, server},
};

#[test]
fn servers_are_reached_over_tls_and_verified_and_checked_over_it() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "ca.pem", &ca.pem());
    write(&folder, "stranger.pem", &Authority::new().pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let (app, seen) = server();
    let (tls, good, host, bad, raw) = (free(), free(), free(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "defaults: {{ retries: 0 }}
frontends:
  tls: {{ bind: {{ address: '{tls}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
  good: {{ bind: '{good}', default_backend: good }}
  host: {{ bind: '{host}', default_backend: host }}
  bad: {{ bind: '{bad}', default_backend: bad }}
  raw: {{ mode: tcp, bind: '{raw}', default_backend: raw }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  good:
    health_check: {{ type: http, path: /check, interval: 100ms }}
    servers: [{{ name: s1, address: '{tls}', tls: {{ ca: ca.pem, sni: site.example }} }}]
  host: {{ servers: [{{ name: s1, address: '{tls}', tls: {{ ca: ca.pem, sni: '%[host]' }} }}] }}
  bad: {{ servers: [{{ name: s1, address: '{tls}', tls: {{ ca: stranger.pem, sni: site.example }} }}] }}
  raw: {{ mode: tcp, servers: [{{ name: s1, address: '{tls}', tls: {{ verify: none }} }}] }}
"
        ),
        good,
    );
    let ask = |at: SocketAddr, host: &str, path: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        String::from_utf8(read_all(&mut stream)).unwrap()
    };
    for (at, host, path) in [
        (good, "x.example", "/good"),
        (host, "site.example:80", "/host"),
        (raw, "r", "/raw"),
    ] {
        let answer = ask(at, host, path);
        assert!(answer.ends_with("hello"), "{path}: {answer}");
        assert!(
            seen.lock()
                .unwrap()
                .iter()
                .any(|head| head.starts_with(&format!("GET {path} ")))
        );
    }
    for (at, host) in [(bad, "site.example"), (host, "other.example")] {
        let answer = ask(at, host, "/never");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    assert!(
        !seen
            .lock()
            .unwrap()
            .iter()
            .any(|head| head.starts_with("GET /never "))
    );
    let line = daemon.logged("] bad bad/s1 ");
    assert!(line.contains(" 503 ") && line.contains(" SC-- "), "{line}");
    // No check tells why, so the log does.
    daemon.logged("server bad/s1 cannot be reached over TLS: invalid peer certificate: ");
    // The check has come by the same way: by TLS to a frontend that takes nothing else.
    let line = daemon.logged("GET /check HTTP/1.0");
    assert!(line.contains("] tls~ app/s1 "), "{line}");
}

#[test]
fn proxy_headers_come_in_and_go_out() {
    let folder = Daemon::folder();
    let (app, seen) = server();
    let (web, some, raw) = (free(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web: {{ bind: {{ address: '{web}', accept_proxy: true }}, forwarded_for: true, default_backend: app, timeouts: {{ client: 300ms }} }}
  some: {{ bind: {{ address: '{some}', accept_proxy: {{ from: [192.0.2.0/24] }} }}, default_backend: app }}
  raw: {{ mode: tcp, bind: {{ address: '{raw}', accept_proxy: true }}, default_backend: raw }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}', send_proxy: v1 }}] }}
  raw: {{ servers: [{{ name: s1, address: '{app}', send_proxy: v2 }}] }}
"
        ),
        web,
    );
    let ask = |at: SocketAddr, header: &[u8], path: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        // In pieces: a header may come in several segments.
        for part in header.chunks(7) {
            let _ = stream.write_all(part);
        }
        let _ = stream.write_all(
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        let _ = stream.shutdown(std::net::Shutdown::Write);
        String::from_utf8(read_all(&mut stream)).unwrap()
    };
    let head = |path: &str| {
        let seen = seen.lock().unwrap();
        seen.iter()
            .find(|head| head.contains(&format!("GET {path} ")))
            .cloned()
            .unwrap()
    };
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x01\x04\xd2\0\x50";
    assert!(ask(web, v1, "/v1").ends_with("hello"));
    let got = head("/v1");
    assert!(
        got.starts_with("PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n"),
        "{got}"
    );
    assert!(got.contains("x-forwarded-for: 192.0.2.7\r\n"), "{got}");
    let line = daemon.logged("GET /v1 ");
    assert!(line.contains(" 192.0.2.7:1234 ["), "{line}");
    assert!(ask(web, v2, "/v2").ends_with("hello"));
    assert!(head("/v2").contains("x-forwarded-for: 192.0.2.8\r\n"));
    assert!(ask(web, b"PROXY UNKNOWN\r\n", "/unknown").ends_with("hello"));
    assert!(head("/unknown").starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "));
    // Nobody from 192.0.2.0/24 is here: no header is looked for, and what looks like one is no request.
    assert!(ask(some, b"", "/some").ends_with("hello"));
    assert!(ask(some, v1, "/header").starts_with("HTTP/1.1 400 "));
    // In mode tcp, with the other version towards the server.
    assert!(ask(raw, v2, "/raw").ends_with("hello"));
    let got = head("/raw");
    assert!(
        got.starts_with("\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c"),
        "{got:?}"
    );
    let line = daemon.logged("] raw raw/s1 ");
    assert!(line.contains(" 192.0.2.8:1234 ["), "{line}");

    assert_eq!(ask(web, b"", "/none"), "");
    daemon.logged("] web/1: Received something which does not look like a PROXY protocol header");
    assert_eq!(ask(web, b"PROXY TCP4 1.2.3.4\r\n", "/bad"), "");
    daemon.logged("] web/1: Received an invalid PROXY protocol header");
    drop(TcpStream::connect(web).unwrap());
    daemon.logged("] web/1: Connection closed while waiting for PROXY protocol header");
    let mut slow = TcpStream::connect(web).unwrap();
    slow.write_all(b"PROXY TCP4 ").unwrap();
    assert_eq!(read_all(&mut slow), b"");
    daemon.logged("] web/1: Timeout while waiting for PROXY protocol header");
}

#[test]
fn tls_that_passes_through_is_routed_by_the_name_that_it_asks_for() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "a.pem", &ca.issue(&["a.example"]).both());
    write(&folder, "b.pem", &ca.issue(&["x.b.example"]).both());
    let ((app, _), (plain, seen)) = (server(), server());
    let (front, a, b, introduced) = (free(), free(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  front:
    mode: tcp
    bind: '{front}'
    rules:
      - {{ if: {{ sni: A.example }}, use_backend: a }}
      - {{ if: {{ sni: '*.b.example', source: 127.0.0.0/8 }}, use_backend: b }}
    default_backend: plain
  introduced:
    mode: tcp
    bind: {{ address: '{introduced}', accept_proxy: true }}
    rules:
      - {{ if: {{ source: 192.0.2.7, dst_port: [80, 81] }}, use_backend: plain }}
    default_backend: none
  a: {{ bind: {{ address: '{a}', tls: {{ certificates: a.pem }} }}, default_backend: app }}
  b: {{ bind: {{ address: '{b}', tls: {{ certificates: b.pem }} }}, default_backend: app }}
backends:
  a: {{ mode: tcp, servers: [{{ name: s1, address: '{a}' }}] }}
  b: {{ mode: tcp, servers: [{{ name: s1, address: '{b}' }}] }}
  plain: {{ mode: tcp, servers: [{{ name: s1, address: '{plain}' }}] }}
  none: {{ mode: tcp, servers: [{{ name: s1, address: '{plain}', disabled: true }}] }}
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        front,
    );
    for name in ["a.example", "x.b.example"] {
        let url = format!("https://{name}:{}/big", front.port());
        let resolve = resolve(name, front);
        let (body, code) = curl(&["--cacert", &ca_file, "--resolve", &resolve, &url]);
        assert_eq!((body.len(), code), (BIG, Some(0)), "{name}");
    }
    daemon.logged("] front a/s1 ");
    daemon.logged("] front b/s1 ");
    // What is no TLS, and TLS for nobody known, goes to the default.
    let (body, code) = curl(&[&format!("http://{front}/plain")]);
    assert_eq!((body.as_str(), code), ("hello", Some(0)));
    assert!(seen.lock().unwrap()[0].starts_with("GET /plain "));
    let ask = |header: &str| {
        let mut stream = TcpStream::connect(introduced).unwrap();
        let request = format!("{header}GET / HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        String::from_utf8(read_all(&mut stream)).unwrap()
    };
    assert!(ask("PROXY TCP4 192.0.2.7 198.51.100.1 1234 81\r\n").ends_with("hello"));
    assert_eq!(ask("PROXY TCP4 192.0.2.7 198.51.100.1 1234 82\r\n"), "");
    assert_eq!(ask("PROXY TCP4 192.0.2.8 198.51.100.1 1234 80\r\n"), "");
}
