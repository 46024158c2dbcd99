//! What comes before and around a connection's own bytes, as clients and servers meet it: TLS and PROXY headers, with
//! curl and openssl beside our own sockets, against the binary.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::Path,
};

mod certificates;
mod clients;
mod daemon;
mod h2;
mod server;

use certificates::{Authority, Made};
use clients::{curl, installed, read_all, resolve, s_client, write};
use daemon::{Daemon, free};
use server::{BIG, server};

#[test]
fn curl_is_served_over_tls_in_both_modes_and_the_log_says_so() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let ((app, seen), web, raw) = (server(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web: {{ bind: {{ address: '{web}', tls: {{ certificates: site.pem }} }}, forwarded_for: true, default_backend: app }}
  raw: {{ mode: tcp, bind: {{ address: '{raw}', tls: {{ certificates: site.pem }} }}, default_backend: rawapp }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  rawapp: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        web,
    );
    for (at, tls) in [
        (web, "--tlsv1.3"),
        (web, "--tls-max"),
        (raw, "--tlsv1.3"),
        (raw, "--tls-max"),
    ] {
        let version = if tls == "--tls-max" {
            vec![tls, "1.2"]
        } else {
            vec![tls]
        };
        let url = format!("https://site.example:{}/{tls}", at.port());
        let resolve = resolve("site.example", at);
        let mut arguments = vec!["--cacert", &ca_file, "--resolve", &resolve, &url];
        arguments.extend(version);
        assert_eq!(
            curl(&arguments),
            ("hello".to_owned(), Some(0)),
            "{tls} {at}"
        );
    }
    let line = daemon.logged("/--tlsv1.3 HTTP/2.0");
    assert!(line.contains("] web~ app/s1 "), "{line}");
    let line = daemon.logged("] raw~ rawapp/s1 ");
    assert!(line.contains(" -- "), "{line}");
    assert!(seen.lock().unwrap()[0].contains("x-forwarded-for: 127.0.0.1\r\n"));
    // A name that nobody has gets the first certificate, which is not for it.
    let url = format!("https://other.example:{}/", web.port());
    let resolve = resolve("other.example", web);
    let (_, code) = curl(&["--cacert", &ca_file, "--resolve", &resolve, &url]);
    assert_eq!(code, Some(60));
}

#[test]
fn openssl_sees_versions_kinds_of_keys_staples_and_resumption() {
    if !installed("openssl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "ca.pem", &ca.pem());
    write(&folder, "ec.pem", &ca.issue(&["site.example"]).both());
    write(&folder, "rsa.pem", &ca.issue_rsa(&["site.example"]).both());
    // An OCSP response that says "try later" (RFC 6960, section 4.2.1): it goes out as it is.
    fs::write(folder.join("ec.ocsp"), [0x30, 0x03, 0x0a, 0x01, 0x03]).unwrap();
    let (both, new) = (free(), free());
    let _daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web:
    bind:
      - {{ address: '{both}', tls: {{ certificates: [{{ cert: ec.pem, ocsp: ec.ocsp }}, rsa.pem] }} }}
      - {{ address: '{new}', tls: {{ certificates: ec.pem, min_version: 1.3 }} }}
    default_backend: app
backends:
  app: {{ servers: [{{ name: s1, address: '{}' }}] }}
",
            server().0
        ),
        both,
    );
    let said = s_client(
        both,
        &[
            "-servername",
            "site.example",
            "-status",
            "-alpn",
            "h2,http/1.1",
        ],
    );
    assert!(said.contains("TLSv1.3"), "{said}");
    assert!(
        said.contains("ALPN protocol: http/1.1") || said.contains("ALPN protocol: h2"),
        "{said}"
    );
    assert!(said.contains("OCSP Response Status: trylater"), "{said}");
    assert!(said.contains("Peer signature type: ECDSA"), "{said}");
    let rsa = ["-servername", "site.example", "-sigalgs", "RSA-PSS+SHA256"];
    let said = s_client(both, &rsa);
    assert!(said.contains("Peer signature type: RSA-PSS"), "{said}");
    let said = s_client(both, &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]);
    assert!(
        said.contains("Cipher is ECDHE-RSA-AES128-GCM-SHA256"),
        "{said}"
    );
    let said = s_client(
        both,
        &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-RSA-AES128-SHA"],
    );
    assert!(
        said.contains("alert handshake failure"),
        "no CBC, no RSA key exchange: {said}"
    );
    let said = s_client(new, &["-tls1_2"]);
    assert!(said.contains("alert protocol version"), "{said}");
    let said = s_client(new, &["-tls1_3"]);
    assert!(said.contains("TLSv1.3"), "{said}");
    // Each connection may come to another worker; the tickets are of all.
    let said = s_client(both, &["-tls1_2", "-reconnect"]);
    assert_eq!(said.matches("Reused, TLSv1.2").count(), 5, "{said}");
}

#[test]
fn a_client_certificate_is_asked_for_and_a_stranger_is_refused() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let joe = write(&folder, "joe.pem", &ca.issue(&["joe"]).both());
    let stranger = write(&folder, "eve.pem", &Authority::new().issue(&["joe"]).both());
    let web = free();
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web:
    bind: {{ address: '{web}', tls: {{ certificates: site.pem, client_auth: required, client_ca: ca.pem }} }}
    default_backend: app
backends:
  app: {{ servers: [{{ name: s1, address: '{}' }}] }}
",
            server().0
        ),
        web,
    );
    let resolve = resolve("site.example", web);
    let url = format!("https://site.example:{}/", web.port());
    let ask = |more: &[&str]| {
        let mut arguments = vec!["--cacert", &ca_file, "--resolve", &resolve, &url];
        arguments.extend(more);
        curl(&arguments)
    };
    assert_eq!(ask(&["--cert", &joe]), ("hello".to_owned(), Some(0)));
    for refused in [ask(&[]), ask(&["--cert", &stranger])] {
        assert_ne!(refused.1, Some(0));
    }
    daemon.logged("] web/1: SSL handshake failure");
}

#[test]
fn what_is_no_handshake_ends_in_haproxys_lines() {
    let folder = Daemon::folder();
    write(
        &folder,
        "site.pem",
        &Authority::new().issue(&["site.example"]).both(),
    );
    let (ready, other, web, quick) = (free(), free(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  ready: {{ bind: '{ready}', default_backend: app }}
  web: {{ bind: ['{other}', {{ address: '{web}', tls: {{ certificates: site.pem }} }}], default_backend: app }}
  quick: {{ mode: tcp, bind: {{ address: '{quick}', tls: {{ certificates: site.pem }} }}, default_backend: rawapp, timeouts: {{ client: 50ms }} }}
backends:
  app: {{ servers: [{{ name: s1, address: '{0}' }}] }}
  rawapp: {{ servers: [{{ name: s1, address: '{0}' }}] }}
",
            server().0
        ),
        ready,
    );
    let mut plain = TcpStream::connect(web).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    // TLS's own word for it: an alert record, and nothing in clear.
    let answer = read_all(&mut plain);
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    let line = daemon.logged("] web/2: SSL handshake failure");
    assert!(
        line.contains(&format!("{} [", plain.local_addr().unwrap())),
        "{line}"
    );
    drop(TcpStream::connect(web).unwrap());
    daemon.logged("] web/2: Connection closed during SSL handshake");
    let mut silent = TcpStream::connect(quick).unwrap();
    assert_eq!(read_all(&mut silent), b"");
    daemon.logged("] quick/1: Timeout during SSL handshake");
}

#[test]
fn certificates_are_exchanged_while_it_runs_and_a_bad_one_is_not_taken() {
    if !installed("openssl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let put = |folder: &Path, made: &Made| write(folder, "site.pem", &made.both());
    put(&folder, &ca.issue(&["one.example"]));
    let web = free();
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:\n  web: {{ bind: {{ address: '{web}', tls: {{ certificates: site.pem }} }}, default_backend: app }}\n\
             backends:\n  app: {{ servers: [{{ name: s1, address: '{}' }}] }}\n",
            server().0
        ),
        web,
    );
    let serves = || s_client(web, &[]);
    assert!(serves().contains("CN = one.example"), "{}", serves());
    put(&daemon.folder, &ca.issue(&["two.example"]));
    daemon.logged(&format!(
        "frontend web: {web}: the changed certificates are in use"
    ));
    assert!(serves().contains("CN = two.example"));
    write(
        &daemon.folder,
        "site.pem",
        &ca.issue(&["three.example"]).cert,
    );
    let line = daemon.logged("the changed certificates are not used, the old ones stay");
    assert!(
        line.contains("site.pem` has no private key in it"),
        "{line}"
    );
    assert!(serves().contains("CN = two.example"));
}

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
