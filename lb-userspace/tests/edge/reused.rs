//! Connections to servers: how many there are, and whose.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use crate::daemon::{Daemon, PATIENCE, free};

/// Reads a head; whether there was one.
fn head(stream: &mut TcpStream) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            return true;
        }
    }
    false
}

/// A server that keeps connections alive, and serves one after the other until it ends: where it listens, and how many it
/// has begun to serve.
fn one_by_one() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, SeqCst);
            while head(&mut stream) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            }
        }
    });
    (address, served)
}

/// A client that keeps its connection.
fn client(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status that a request gets.
fn ask(stream: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: site\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"hi") {
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ => break,
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Shorter than idle connections are kept, so that waiting for the end of one is a failure.
fn rest(web: SocketAddr, server: SocketAddr) -> String {
    format!(
        "defaults: {{ timeouts: {{ queue: 30s, server: 4s }} }}\n\
         frontends:\n  web: {{ mode: http, bind: '{web}', default_backend: app }}\n\
         backends:\n  app: {{ mode: http, servers: [{{ name: one, address: '{server}', maxconn: 1 }}] }}\n"
    )
}

#[test]
fn idle_connections_of_other_workers_make_room_at_a_server_that_serves_one_at_a_time() {
    let (server, served) = one_by_one();
    let web = free();
    let daemon = Daemon::start(Daemon::folder(), &rest(web, server), web);
    let clients = (0..8).map(|_| {
        thread::spawn(move || {
            let mut stream = client(web);
            (0..8).map(|_| ask(&mut stream)).collect::<Vec<_>>()
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), ["200"; 8]);
    }
    assert!(served.load(SeqCst) > 0);
    drop(daemon);
}

#[test]
fn clients_that_stay_when_the_file_is_read_again_use_the_connections_that_there_are() {
    let (server, served) = one_by_one();
    let web = free();
    let daemon = Daemon::start(Daemon::folder(), &rest(web, server), web);
    let mut stream = client(web);
    assert_eq!(ask(&mut stream), "200");
    for _ in 0..3 {
        let (said, done) = daemon.reload();
        assert!(done, "{said}");
        assert_eq!(ask(&mut stream), "200");
    }
    assert_eq!(served.load(SeqCst), 1, "the first is still used");
}
