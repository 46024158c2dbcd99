//! What the file has no longer: servers drain, frontends close gracefully.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    daemon::{Daemon, PATIENCE, free},
    world::{Client, Server, ask, file, name, stat, take, wait_until, web},
};

/// A file with a frontend `old` beside `web`.
fn with_old(
    web: std::net::SocketAddr,
    old: std::net::SocketAddr,
    mode: &str,
    server: &Server,
) -> String {
    format!(
        "frontends:
  web: {{ bind: '{web}', default_backend: app }}
  old: {{ mode: {mode}, bind: '{old}', default_backend: {mode} }}
backends:
  app: {{ servers: [{0}] }}
  {mode}: {{ mode: {mode}, servers: [{0}] }}
",
        server.entry("")
    )
}

#[test]
fn connections_of_a_frontend_that_goes_end_after_their_request() {
    let one = Server::start("one");
    let (at, old) = (free(), free());
    let daemon = Daemon::start(Daemon::folder(), &with_old(at, old, "http", &one), at);
    let mut busy = Client::connect(old);
    busy.send("/wait", "");
    let mut idle = Client::connect(old);
    idle.get("/");
    let mut parked = Client::connect(old);
    parked.get("/");
    wait_until("the server has it", || one.waiting() == 1);
    let said = take(&daemon, &file(at, "", "", &[&one]));
    assert_eq!(said, "frontend old removed\nbackend http removed\n");
    wait_until("nobody new is taken", || TcpStream::connect(old).is_err());
    assert_eq!(idle.byte(), None, "it ends without a word");
    assert_eq!(parked.byte(), None);
    one.release();
    let answer = busy.answer().unwrap();
    assert_eq!(name(&answer), "one");
    assert!(
        answer.to_ascii_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert_eq!(busy.answer(), None);
    assert_eq!(name(&ask(at, "/")), "one");
}

#[test]
fn clients_over_http_2_are_told_to_go_away() {
    let one = Server::start("one");
    let (at, old) = (free(), free());
    let daemon = Daemon::start(Daemon::folder(), &with_old(at, old, "http", &one), at);
    let mut stream = TcpStream::connect(old).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(hello).unwrap();
    let frame = |stream: &mut TcpStream| {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).unwrap();
        Some((head[3], body))
    };
    // SETTINGS, and perhaps a WINDOW_UPDATE.
    assert_eq!(frame(&mut stream).unwrap().0, 4);
    take(&daemon, &file(at, "", "", &[&one]));
    let went = loop {
        match frame(&mut stream) {
            Some((7, body)) => break body,
            Some(_) => {}
            None => panic!("it has ended without a GOAWAY"),
        }
    };
    // Streams up to here, NO_ERROR.
    assert_eq!(went[4..8], [0; 4]);
}

#[test]
fn a_frontend_of_another_mode_is_another_one() {
    let one = Server::start("one");
    let (at, old) = (free(), free());
    let daemon = Daemon::start(Daemon::folder(), &with_old(at, old, "http", &one), at);
    let mut kept = Client::connect(old);
    kept.get("/");
    take(&daemon, &with_old(at, old, "tcp", &one));
    assert_eq!(kept.byte(), None);
    assert_eq!(name(&ask(old, "/")), "one");
    assert_eq!(stat(&daemon, "tcp", "one", "stot"), "1");
}

#[test]
fn a_server_that_goes_keeps_what_it_has_and_gets_nobody_new() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one, &two]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(at)).collect();
    for client in &mut clients {
        client.send("/wait", "");
    }
    wait_until("both have two", || one.waiting() == 2 && two.waiting() == 2);
    take(&daemon, &file(at, "", "", &[&two]));
    let had = one.connections();
    two.release();
    for _ in 0..6 {
        assert_eq!(name(&ask(at, "/")), "two");
    }
    one.release();
    let mut names: Vec<String> = clients
        .iter_mut()
        .map(|client| name(&client.answer().unwrap()).to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["one", "one", "two", "two"]);
    assert_eq!(one.connections(), had);
    assert!(!daemon.ask("show stat\n").contains("\napp,one,"));
    // It comes back as a stranger.
    take(&daemon, &file(at, "", "", &[&two, &one]));
    assert_eq!(stat(&daemon, "app", "one", "stot"), "0");
}

#[test]
fn whoever_has_just_come_is_answered_by_a_daemon_that_stops() {
    let one = Server::start("one");
    // A request is waited for a second at most, which a busy machine may take for itself.
    let answered = (0..10).any(|_| {
        let (mut daemon, at) = web(&[&one]);
        let mut kept = Client::connect(at);
        kept.get("/");
        let mut fresh = Client::connect(at);
        daemon.stop();
        wait_until("nobody new is let in", || TcpStream::connect(at).is_err());
        assert!(kept.byte().is_none(), "one that was served ends at once");
        let mut head = [0; 12];
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let asked = fresh.stream.write_all(request);
        let answered = asked
            .and_then(|()| fresh.stream.read_exact(&mut head))
            .is_ok()
            && &head == b"HTTP/1.1 200";
        drop(fresh);
        // Who says nothing is not waited for.
        daemon.ended();
        answered
    });
    assert!(answered);
    let (mut daemon, at) = web(&[&one]);
    let mut silent = Client::connect(at);
    daemon.stop();
    assert!(silent.byte().is_none());
    daemon.ended();
}
