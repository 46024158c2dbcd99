//! How connections are taken, where those to servers come from, and how those on backup servers end.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    clients::installed,
    daemon::{Daemon, PATIENCE, free},
};

/// A server that tells each connection where it comes from, and holds it until its other end is gone.
fn teller(at: &str) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // Nowhere, if it is gone already.
                let Ok(from) = stream.peer_addr() else { return };
                let _ = writeln!(stream, "{}", from.ip());
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

/// Connects; what the server says first.
fn told(at: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|n| n == 1) && byte[0] != b'\n' {
        text.push(char::from(byte[0]));
    }
    (stream, text)
}

#[test]
fn connections_and_checks_come_from_where_they_are_told_to() {
    let server = teller("127.0.0.1:0");
    let (checked, checks) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((_, from)) = listener.accept() {
            let _ = checked.send(from.ip().to_string());
        }
    });
    let (one, two, web) = (free(), free(), free());
    let _daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  one: {{ mode: tcp, bind: '{one}', default_backend: one }}
  two: {{ mode: tcp, bind: '{two}', default_backend: two }}
  web: {{ bind: '{web}', default_backend: web }}
backends:
  one: {{ source: 127.0.0.7, servers: [{{ name: s, address: '{server}' }}] }}
  two: {{ source: 127.0.0.7, servers: [{{ name: s, address: '{server}', source: 127.0.0.8 }}] }}
  web: {{ health_check: {{ type: tcp, interval: 50ms }}, servers: [{{ name: s, address: '{check}', source: 127.0.0.9 }}] }}
"
        ),
        one,
    );
    assert_eq!(told(one).1, "127.0.0.7");
    assert_eq!(told(two).1, "127.0.0.8");
    assert_eq!(checks.recv_timeout(PATIENCE).unwrap(), "127.0.0.9");
}

#[test]
fn a_second_has_so_many_connections_and_no_more() {
    let (server, web) = (teller("127.0.0.1:0"), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends: {{ f: {{ mode: tcp, bind: '{web}', rate_limit_sessions: 2, default_backend: b }} }}
backends: {{ b: {{ servers: [{{ name: s, address: '{server}' }}] }} }}
"
        ),
        web,
    );
    let begun = Instant::now();
    let held: Vec<_> = (0..5).map(|_| told(web)).collect();
    assert!(held.iter().all(|(_, text)| text == "127.0.0.1"));
    // The first two at once, with the one that saw that it accepts; then two a second.
    let least = Duration::from_millis(1400);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    let stat = daemon.ask("show stat\n");
    let limits = stat
        .lines()
        .find(|line| line.starts_with("f,FRONTEND,"))
        .unwrap();
    assert_eq!(limits.split(',').nth(34), Some("2"), "{limits}");
}

#[test]
fn the_kernel_keeps_as_many_as_it_is_told_to() {
    if !installed("ss") {
        return;
    }
    let (few, many) = (free(), free());
    let _daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "defaults: {{ backlog: 77 }}
frontends:
  few: {{ bind: '{few}', backlog: 7, default_backend: b }}
  many: {{ bind: '{many}', default_backend: b }}
backends: {{ b: {{ servers: [{{ name: s, address: '127.0.0.1:1' }}] }} }}
"
        ),
        many,
    );
    let shown = Command::new("ss").args(["-Hltn"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let backlog = |at: SocketAddr| {
        let line = shown.lines().find(|line| line.contains(&format!("{at} ")));
        line.unwrap()
            .split_ascii_whitespace()
            .nth(2)
            .unwrap()
            .to_owned()
    };
    assert_eq!((backlog(few).as_str(), backlog(many).as_str()), ("7", "77"));
}

#[test]
fn a_server_that_is_back_has_its_clients_back() {
    let (spare, main, tcp) = (teller("127.0.0.1:0"), free(), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends: {{ f: {{ mode: tcp, bind: '{tcp}', default_backend: b }} }}
backends:
  b:
    health_check: {{ type: tcp, interval: 50ms, rise: 1, fall: 1 }}
    servers:
      - {{ name: main, address: '{main}', on_marked_up: shutdown-backup-sessions }}
      - {{ name: spare, address: '{spare}', backup: true }}
"
        ),
        tcp,
    );
    daemon.logged("Server b/main is DOWN");
    let (mut stream, text) = told(tcp);
    assert_eq!(text, "127.0.0.1");
    teller(&main.to_string());
    let end = stream.read(&mut [0]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    daemon.logged_with(&[" f b/spare ", " U- "]);
    assert_eq!(told(tcp).1, "127.0.0.1");
}
