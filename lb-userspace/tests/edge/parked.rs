//! Connections whose client says nothing for a while are put aside. Nobody is to notice.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::{
    certificates::Authority,
    clients::write,
    daemon::{Daemon, PATIENCE, free},
    server::server,
};

/// Longer than a connection is idle before it is put aside. What is asserted holds either way.
const A_WHILE: Duration = Duration::from_millis(300);

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn connect(at: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Box<dyn Wire> {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match tls {
        None => Box::new(stream),
        Some(config) => {
            let name = "site.example".try_into().unwrap();
            let client = ClientConnection::new(Arc::clone(config), name).unwrap();
            Box::new(StreamOwned::new(client, stream))
        }
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n")
}

fn send(wire: &mut dyn Wire, text: &str) {
    wire.write_all(text.as_bytes()).unwrap();
    wire.flush().unwrap();
}

/// Reads one answer of the server's.
fn hear(wire: &mut dyn Wire) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        let mut byte = [0];
        let n = wire.read(&mut byte).unwrap();
        assert_eq!(n, 1, "after {:?}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(answer.windows(5).filter(|part| part == b"hello").count(), 1);
}

/// What comes until the end, which over TLS has to be said.
fn rest(wire: &mut dyn Wire) -> String {
    let mut text = String::new();
    wire.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_connection_goes_on_after_a_silence_as_if_there_had_been_none() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let ((app, seen), plain, tls, plain_short, tls_short) =
        (server(), free(), free(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  plain: {{ bind: '{plain}', default_backend: app }}
  tls: {{ bind: {{ address: '{tls}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
  plain_short: {{ bind: '{plain_short}', timeouts: {{ http_keep_alive: 500ms, http_request: 600ms }}, default_backend: app }}
  tls_short: {{ bind: {{ address: '{tls_short}', tls: {{ certificates: site.pem }} }},
    timeouts: {{ http_keep_alive: 500ms, http_request: 600ms }}, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        plain,
    );
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut parked = Vec::new();
    for (name, at, short, tls) in [
        ("plain", plain, plain_short, None),
        ("tls~", tls, tls_short, Some(&config)),
    ] {
        let mut wire = connect(at, tls);
        // The first one after the handshake, too.
        thread::sleep(A_WHILE);
        let name_of = |what: &str| format!("/{}/{what}", &name[..3]);
        send(&mut *wire, &get(&name_of("first")));
        hear(&mut *wire);
        thread::sleep(A_WHILE);
        let two = get(&name_of("second")) + &get(&name_of("third"));
        send(&mut *wire, &two);
        hear(&mut *wire);
        hear(&mut *wire);
        thread::sleep(A_WHILE);
        let pieces = get(&name_of("pieces"));
        let (one, other) = pieces.split_at(20);
        send(&mut *wire, one);
        thread::sleep(A_WHILE);
        send(&mut *wire, other);
        hear(&mut *wire);
        // What follows a request in its segment waits with the connection.
        let begun = get(&name_of("begun"));
        let (one, other) = begun.split_at(20);
        send(&mut *wire, &(get(&name_of("whole")) + one));
        hear(&mut *wire);
        thread::sleep(A_WHILE);
        send(&mut *wire, other);
        hear(&mut *wire);
        for what in ["first", "second", "third", "pieces", "whole", "begun"] {
            let line = daemon.logged(&format!("GET {} HTTP/1.1", name_of(what)));
            assert!(line.contains(&format!(" {name} app/s1 ")), "{line}");
            assert!(line.contains(" ---- "), "{line}");
            assert!(
                seen.lock().unwrap().iter().any(|head| {
                    head.starts_with(&format!("GET {} HTTP/1.1\r\n", name_of(what)))
                }),
                "{what}"
            );
        }

        let mut silent = connect(short, tls);
        send(&mut *silent, &get(&name_of("silent")));
        hear(&mut *silent);
        assert_eq!(rest(&mut *silent), "", "between requests nothing is said");
        let mut slow = connect(short, tls);
        send(&mut *slow, &get(&name_of("slow")));
        hear(&mut *slow);
        thread::sleep(A_WHILE);
        send(&mut *slow, "GET / HTTP/1.1\r\nHost:");
        let answer = rest(&mut *slow);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let front = name
            .replace("plain", "plain_short")
            .replace("tls~", "tls_short~");
        let line = daemon.logged(&format!(
            "] {front} {}/<NOSRV> ",
            front.trim_end_matches('~')
        ));
        assert!(line.contains(" 408 ") && line.contains(" cR-- "), "{line}");
        parked.push(wire);
    }
    thread::sleep(A_WHILE);
    daemon.stop();
    for mut wire in parked {
        assert_eq!(rest(&mut *wire), "");
    }
}
