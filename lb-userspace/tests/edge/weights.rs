//! Weights that operators change while requests come.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
};

use crate::daemon::{Daemon, PATIENCE, free};

/// A server that answers each request with its name.
fn named(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while read_head(&mut stream).is_some() {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{name}");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A client that goes on asking on one connection.
struct Asking {
    stream: TcpStream,
    backend: &'static str,
    number: usize,
}

impl Asking {
    fn new(at: SocketAddr, backend: &'static str) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            backend,
            number: 0,
        }
    }

    /// Which server answers.
    fn ask(&mut self) -> String {
        self.number += 1;
        let (backend, number) = (self.backend, self.number);
        let request = format!("GET /{backend} HTTP/1.1\r\nhost: a\r\nx-key: {number}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut self.stream).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{backend}: {head}");
        let mut body = [0; 2];
        self.stream.read_exact(&mut body).unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }

    /// How many of so many requests the first server answers.
    fn share(&mut self, requests: usize) -> usize {
        (0..requests).filter(|_| self.ask() == "s1").count()
    }
}

#[test]
fn a_weight_holds_from_the_next_request_on_and_no_request_fails_by_it() {
    const ALL: [&str; 5] = ["turn", "least", "table", "map", "fixed"];
    let servers: Vec<SocketAddr> = ["s1", "s2", "s3"].map(named).to_vec();
    let servers: Vec<String> = (1..)
        .zip(&servers)
        .map(|(n, at)| format!("{{ name: s{n}, address: '{at}', weight: 100 }}"))
        .collect();
    let web = free();
    let rules: String = ALL
        .iter()
        .map(|name| format!("      - {{ if: {{ path: /{name} }}, use_backend: {name} }}\n"))
        .collect();
    let backends: String = ALL
        .iter()
        .zip([
            "roundrobin",
            "leastconn",
            "{ algorithm: hdr, name: x-key }, hash_type: consistent",
            "{ algorithm: hdr, name: x-key }",
            "static-rr",
        ])
        .map(|(name, balance)| {
            let servers = servers.join(", ");
            format!("  {name}: {{ balance: {balance}, servers: [{servers}] }}\n")
        })
        .collect();
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:\n  web:\n    bind: '{web}'\n    rules:\n{rules}    default_backend: turn\nbackends:\n{backends}"
        ),
        web,
    );
    let set = |backend: &str, weight: &str| {
        daemon.ask(&format!("set server {backend}/s1 weight {weight}\n"))
    };
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for backend in ALL {
            let (over, asked) = (&over, &asked);
            scope.spawn(move || {
                let mut others = Asking::new(web, backend);
                while !over.load(SeqCst) {
                    others.ask();
                    asked.fetch_add(1, SeqCst);
                }
            });
        }
        for backend in ALL {
            let mut asking = Asking::new(web, backend);
            for _ in 0..3 {
                assert_eq!(set(backend, "0"), "\n");
                assert_eq!(asking.share(30), 0, "{backend}");
                assert_eq!(set(backend, "100%"), "\n");
                let share = asking.share(60);
                assert!((5..=40).contains(&share), "{backend}: {share} of 60");
            }
        }
        over.store(true, SeqCst);
    });
    assert!(asked.load(SeqCst) > 0);

    // Half as much as the others have is a fifth of all.
    assert_eq!(set("turn", "50"), "\n");
    let share = Asking::new(web, "turn").share(100);
    assert!((19..=21).contains(&share), "{share} of 100");
    // What would have no effect is not taken.
    let refused =
        "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n\n";
    assert_eq!(set("fixed", "50"), refused);
    assert_eq!(daemon.ask("get weight fixed/s1\n"), "100 (initial 100)\n\n");
}
