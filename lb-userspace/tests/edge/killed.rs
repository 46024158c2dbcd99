//! What an operator ends of all that goes on at a server, and what not.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::{
    beside::until,
    daemon::{Daemon, PATIENCE, free},
};

/// Reads up to and with `end`, or as far as it goes.
fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end.as_bytes()) && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A server that answers with its name: a path with `hold` in it once it is let, one with `ws` by becoming a tunnel.
struct Server {
    address: SocketAddr,
    lets: Arc<AtomicBool>,
    /// Requests that have come and were not answered.
    holds: Arc<AtomicUsize>,
}

impl Server {
    fn new(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            lets: Arc::default(),
            holds: Arc::default(),
        };
        let (lets, holds) = (Arc::clone(&server.lets), Arc::clone(&server.holds));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (lets, holds) = (Arc::clone(&lets), Arc::clone(&holds));
                thread::spawn(move || {
                    loop {
                        let head = read_to(&mut stream, "\r\n\r\n");
                        let path = head.split(' ').nth(1).unwrap_or_default();
                        if path.is_empty() {
                            return;
                        }
                        if path.contains("hold") {
                            holds.fetch_add(1, SeqCst);
                            while !lets.load(SeqCst) {
                                thread::sleep(Duration::from_millis(2));
                            }
                        }
                        let answer = match path.contains("ws") {
                            true => format!(
                                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n{name}"
                            ),
                            false => format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{name}"),
                        };
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        server
    }
}

/// A client that asks for `path`.
fn ask(at: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    request(&mut stream, path);
    stream
}

fn request(stream: &mut TcpStream, path: &str) {
    let upgrade = match path.contains("ws") {
        true => "Connection: Upgrade\r\nUpgrade: x\r\n",
        false => "",
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, id: u8, payload: &[u8]) -> Vec<u8> {
    let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, id];
    [&head, payload].concat()
}

/// The frame that asks for `path` by the stream of this number.
fn asks(id: u8, path: &str) -> Vec<u8> {
    // `:method: GET`, `:scheme: http`, `:authority: a`, `:path`.
    let mut block = vec![0x82, 0x86, 0x41, 1, b'a', 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    frame(1, 5, id, &block)
}

/// The data of the next answer, and its stream.
fn answer(stream: &mut TcpStream) -> (u8, String) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == 0 && !payload.is_empty() {
            return (head[8], String::from_utf8_lossy(&payload).into_owned());
        }
    }
}

#[test]
fn what_is_at_a_server_ends_and_nothing_else() {
    let (one, two, at) = (Server::new("one"), Server::new("two"), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  f: {{ bind: '{at}', rules: [{{ if: {{ path_prefix: /2 }}, use_backend: b2 }}], default_backend: b1 }}
backends:
  b1: {{ servers: [{{ name: s1, address: '{}' }}] }}
  b2: {{ servers: [{{ name: s2, address: '{}' }}] }}
",
            one.address, two.address
        ),
        at,
    );
    let mut idle = ask(at, "/1");
    assert!(read_to(&mut idle, "one").starts_with("HTTP/1.1 200 "));
    let mut tunnel = ask(at, "/1/ws");
    assert!(read_to(&mut tunnel, "one").starts_with("HTTP/1.1 101 "));
    let mut waits = ask(at, "/1/hold");
    let mut elsewhere = ask(at, "/2/hold");
    let mut streams = TcpStream::connect(at).unwrap();
    streams.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, &[]),
        &asks(1, "/2/hold"),
        &asks(3, "/1/hold"),
        &asks(5, "/2/hold"),
    ];
    streams.write_all(&hello.concat()).unwrap();
    until("all are asked", || {
        (one.holds.load(SeqCst), two.holds.load(SeqCst)) == (2, 3)
    });
    let shown = |client: &TcpStream| {
        let source = format!(" src={} ", client.local_addr().unwrap());
        let all = daemon.ask("show sess\n");
        let line = all.lines().find(|line| line.contains(&source));
        line.unwrap_or_default().to_owned()
    };
    for (client, server) in [
        (&idle, "be=<NONE> srv=<none>"),
        (&tunnel, "be=b1 srv=s1"),
        (&waits, "be=b1 srv=s1"),
        (&elsewhere, "be=b2 srv=s2"),
    ] {
        let line = shown(client);
        assert!(line.contains(server), "{server}: {line}");
    }

    assert_eq!(daemon.ask("shutdown sessions server b1/s1\n"), "\n");
    assert!(read_to(&mut waits, "</html>\n").starts_with("HTTP/1.1 502 "));
    assert_eq!(read_to(&mut tunnel, "never"), "");
    let (stream, page) = answer(&mut streams);
    assert!(stream == 3 && page.contains("502 Bad Gateway"), "{page}");

    // Nobody else has noticed.
    two.lets.store(true, SeqCst);
    assert!(read_to(&mut elsewhere, "two").starts_with("HTTP/1.1 200 "));
    let mut others = [answer(&mut streams), answer(&mut streams)];
    others.sort();
    assert_eq!(others, [(1, "two".to_owned()), (5, "two".to_owned())]);
    for (client, path, name) in [(&mut idle, "/1", "one"), (&mut waits, "/1/again", "one")] {
        request(client, path);
        assert!(read_to(client, name).starts_with("HTTP/1.1 200 "), "{path}");
    }
    for texts in [
        [" KD-- ", "GET /1/ws HTTP/1.1"],
        [" KH-- ", "GET /1/hold HTTP/1.1"],
        [" KH-- ", "GET http://a/1/hold HTTP/2.0"],
    ] {
        daemon.logged_with(&texts);
    }
}

#[test]
fn what_is_sent_ends_however_its_client_reads() {
    let (listener, at) = (TcpListener::bind("127.0.0.1:0").unwrap(), free());
    let address = listener.local_addr().unwrap();
    let (sent, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&sent), Arc::clone(&ended));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (sent, ended) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
            thread::spawn(move || {
                read_to(&mut stream, "\r\n\r\n");
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
                while let Ok(n @ 1..) = stream.write(&[b'x'; 1 << 14]) {
                    sent.fetch_add(n, SeqCst);
                }
                ended.fetch_add(1, SeqCst);
            });
        }
    });
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends: {{ f: {{ bind: '{at}', default_backend: b }} }}
backends: {{ b: {{ servers: [{{ name: s, address: '{address}' }}] }} }}
"
        ),
        at,
    );
    // Two that do not read, by HTTP/1 and by HTTP/2, and one that reads all there is.
    let _stuck = ask(at, "/stuck");
    let mut streams = TcpStream::connect(at).unwrap();
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, &[]),
        &asks(1, "/stuck"),
    ];
    streams.write_all(&hello.concat()).unwrap();
    let mut before = 0;
    until("nobody takes more", || {
        thread::sleep(Duration::from_millis(100));
        let now = sent.load(SeqCst);
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    let mut reads = ask(at, "/reads");
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(1..) = reads.read(&mut buffer) {}
    });
    until("the third is served", || {
        sent.load(SeqCst) > before + (1 << 20)
    });
    assert_eq!(daemon.ask("shutdown sessions server b/s\n"), "\n");
    until("none is served any more", || ended.load(SeqCst) == 3);
    reading.join().unwrap();
    for path in [
        "GET /stuck HTTP/1.1",
        "GET /reads HTTP/1.1",
        "GET http://a/stuck HTTP/2.0",
    ] {
        daemon.logged_with(&[" KD-- ", path]);
    }
}
