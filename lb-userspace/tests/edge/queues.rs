//! Who waits while the file is read again, and while operators add servers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::daemon::{Daemon, PATIENCE, free};

/// A server that says that it has been asked, and answers `one` once it is told to: where it listens.
fn held() -> (SocketAddr, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (ask, asked) = mpsc::channel();
    let (answer, told) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if stream.read(&mut [0; 4096]).is_err() || ask.send(()).is_err() {
                return;
            }
            let _ = told.recv();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\none");
        }
    });
    (address, asked, answer)
}

/// One that answers `two` at once.
fn quick() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\ntwo",
                );
            }
        }
    });
    address
}

/// A client that has asked, with these lines in its head, as soon as somebody accepts it.
fn client(at: SocketAddr, lines: &str) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(at) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(
        read.is_ok(),
        "{read:?}: {}",
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8(answer).unwrap()
}

/// Waits until so many wait in the queue of the backend `app`.
fn wait(daemon: &Daemon, many: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stat = daemon.ask("show stat\n");
        let row = stat.lines().find(|line| line.starts_with("app,BACKEND,"));
        if row.and_then(|row| row.split(',').nth(2)) == Some(many) {
            return;
        }
        assert!(Instant::now() < deadline, "{stat}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A frontend `web` and its backend, and one that speaks HTTP/2 with clients, to `two`. What waits longer than
/// [`PATIENCE`] waits in vain.
fn rest(
    mode: &str,
    (web, inner): (SocketAddr, SocketAddr),
    servers: &str,
    two: SocketAddr,
) -> String {
    let (cookie, servers) = match mode {
        "http" => ("cookie: { name: S, mode: insert }, ", servers.to_owned()),
        // Where there is no cookie, no server has a part of it.
        _ => (
            "",
            servers
                .replace(", cookie: one", "")
                .replace(", cookie: two", ""),
        ),
    };
    format!(
        "defaults: {{ timeouts: {{ queue: 10m, server: 10m, client: 10m }} }}
frontends:
  web: {{ mode: {mode}, bind: '{web}', default_backend: app }}
  inner: {{ mode: http, bind: '{inner}', default_backend: inner }}
backends:
  app: {{ mode: {mode}, {cookie}servers: [{servers}] }}
  inner: {{ mode: http, servers: [{{ name: two, address: '{two}' }}] }}
"
    )
}

#[test]
fn who_waits_has_a_server_that_comes_and_holds_up_nobody_who_comes_later() {
    for (mode, how) in [
        ("http", ""),
        ("http", ", maxconn: 1"),
        ("http", ", protocol: h2"),
        ("tcp", ""),
    ] {
        let (one, asked, tell) = held();
        let (two, binds) = (quick(), (free(), free()));
        let (web, inner) = binds;
        let file = |servers: &str| rest(mode, binds, servers, two);
        let old = format!("{{ name: one, address: '{one}', maxconn: 1, cookie: one }}");
        let daemon = Daemon::start(Daemon::folder(), &file(&old), inner);
        let first = client(web, "");
        asked.recv_timeout(PATIENCE).unwrap();
        let waiting: Vec<_> = (0..3).map(|_| client(web, "")).collect();
        wait(&daemon, "3");
        let to = if how.contains("h2") { inner } else { two };
        // It has the place that the other had.
        let new = format!("{{ name: two, address: '{to}', cookie: two{how} }}, {old}");
        daemon.write(&file(&new));
        let (said, done) = daemon.reload();
        assert!(done, "{said}");
        // Whom its holder is not behind.
        let holder = answer(client(web, "Cookie: S=two\r\n"));
        assert!(holder.ends_with("two"), "{mode}{how}: {holder}");
        for waiting in waiting {
            let answer = answer(waiting);
            assert!(answer.ends_with("two"), "{mode}{how}: {answer}");
            let bound = answer.to_lowercase().contains("set-cookie: s=two;");
            assert_eq!(bound, mode == "http", "{mode}{how}: {answer}");
        }
        wait(&daemon, "0");
        tell.send(()).unwrap();
        assert!(answer(first).ends_with("one"), "{mode}{how}");
    }
}

#[test]
fn who_waits_has_a_server_that_an_operator_adds() {
    let (one, asked, tell) = held();
    let (two, binds) = (quick(), (free(), free()));
    let servers = format!("{{ name: one, address: '{one}', maxconn: 1 }}");
    let daemon = Daemon::start(
        Daemon::folder(),
        &rest("http", binds, &servers, two),
        binds.1,
    );
    let first = client(binds.0, "");
    asked.recv_timeout(PATIENCE).unwrap();
    let waiting = client(binds.0, "");
    wait(&daemon, "1");
    let said = daemon.ask(&format!("add server app/two {two}\n"));
    assert!(said.contains("New server registered"), "{said}");
    assert_eq!(daemon.ask("enable server app/two\n").trim(), "");
    assert!(answer(waiting).ends_with("two"));
    tell.send(()).unwrap();
    assert!(answer(first).ends_with("one"));
}
