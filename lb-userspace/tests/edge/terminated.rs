//! TLS that ends here.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use crate::{
    certificates::Authority,
    clients::{curl, installed, read_all, resolve, s_client, write},
    daemon::{Daemon, PATIENCE, free},
    server::{BIG, server},
};

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
    for at in [web, raw] {
        let url = format!("https://site.example:{}/big", at.port());
        let resolve = resolve("site.example", at);
        let (body, code) = curl(&["--cacert", &ca_file, "--resolve", &resolve, &url]);
        assert_eq!((body.len(), code), (BIG, Some(0)), "{at}");
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
    let key = rcgen::KeyPair::generate().unwrap();
    let made = ca.issue_with(&["site.example"], key, |params| {
        params.serial_number = Some(7.into());
    });
    write(&folder, "ec.pem", &made.both());
    write(&folder, "rsa.pem", &ca.issue_rsa(&["site.example"]).both());
    let answer = ca.answer(7, Some("20401231000000Z"));
    fs::write(folder.join("ec.ocsp"), answer).unwrap();
    // One that says "try later" (RFC 6960, section 4.2.1) is of no use to anybody.
    fs::write(folder.join("rsa.pem.ocsp"), [0x30, 0x03, 0x0a, 0x01, 0x03]).unwrap();
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
    assert!(said.contains("OCSP Response Status: successful"), "{said}");
    assert!(said.contains("Peer signature type: ECDSA"), "{said}");
    let said12 = s_client(both, &["-tls1_2", "-servername", "site.example", "-status"]);
    assert!(said12.contains("TLSv1.2"), "{said12}");
    assert!(
        said12.contains("OCSP Response Status: successful"),
        "{said12}"
    );
    let rsa = [
        "-servername",
        "site.example",
        "-sigalgs",
        "RSA-PSS+SHA256",
        "-status",
    ];
    let said = s_client(both, &rsa);
    assert!(said.contains("Peer signature type: RSA-PSS"), "{said}");
    assert!(said.contains("OCSP response: no response sent"), "{said}");
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
  web: {{ bind: ['{other}', {{ address: '{web}', tls: {{ certificates: site.pem }} }}], default_backend: app }}
  quick: {{ mode: tcp, bind: {{ address: '{quick}', tls: {{ certificates: site.pem }} }}, default_backend: rawapp, timeouts: {{ client: 50ms }} }}
  ready: {{ bind: '{ready}', default_backend: app }}
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
    let said = daemon.ask("show stat\n");
    let mut lines = said.lines();
    let header = lines.next().unwrap();
    assert!(
        header.ends_with("agg_check_status,-,ssl_sess,ssl_reused_sess,ssl_failed_handshake,"),
        "{header}"
    );
    let counted = |name: &str| {
        let row = said.lines().find(|line| line.starts_with(name)).unwrap();
        row.rsplit(',').nth(1).unwrap().to_owned()
    };
    let all = [
        "web,FRONTEND",
        "quick,FRONTEND",
        "ready,FRONTEND",
        "app,BACKEND",
    ]
    .map(counted);
    assert_eq!(all, ["2", "1", "0", ""], "{said}");
}

#[test]
fn a_client_that_says_goodbye_first_still_gets_the_rest() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    // Answers when it has heard everything.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let app = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let heard = read_all(&mut stream).len();
            let _ = stream.write_all(format!("heard {heard}").as_bytes());
        }
    });
    let raw = free();
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  raw: {{ mode: tcp, bind: {{ address: '{raw}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        raw,
    );
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "site.example".try_into().unwrap();
    let client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let stream = TcpStream::connect(raw).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::StreamOwned::new(client, stream);
    // More than any buffer on the way holds at once.
    stream.write_all(&vec![b'x'; 3_000_000]).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut answer = String::new();
    // An end without TLS's own goodbye would be an error.
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "heard 3000000");
    let line = daemon.logged("] raw~ app/s1 ");
    assert!(line.contains(" 13 -- "), "{line}");
}
