//! The TCP path over loopback: real listeners, real servers, in one process.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    config::model::{self, Balance},
    proxy::{
        Stop,
        fixtures::{Harness, wait_until},
    },
    topology::fixtures,
};

impl Harness {
    /// One frontend and one backend.
    fn tcp(backend: model::Backend, change: impl FnOnce(&mut model::Frontend)) -> Self {
        let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
        change(&mut frontend);
        Self::start(fixtures::config(vec![frontend], vec![backend]), 2)
    }
}

/// The fields after the timers: bytes, termination, counts and queues.
fn tail(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    format!("{} {}", fields[1], fields[3..].join(" "))
}

/// A server that does `serve` with each connection.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Answers with what it got, then ends when the client has.
fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => {
                if stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

fn backend(servers: &[SocketAddr]) -> model::Backend {
    let servers = servers
        .iter()
        .enumerate()
        .map(|(i, address)| fixtures::server(&format!("s{i}"), &address.to_string()))
        .collect();
    fixtures::backend("b", Balance::RoundRobin, servers)
}

/// An address where nobody listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn data_goes_both_ways_and_a_half_closed_client_still_receives() {
    let harness = Harness::tcp(backend(&[server(echo)]), |_| ());
    let mut client = harness.connect();
    client.write_all(b"one").unwrap();
    let mut three = [0; 3];
    client.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"one");
    client.write_all(b"two").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two");
    wait_until("counted", || {
        harness.frontend().counters.bytes_out.value() == 6
    });
    let counters = &harness.backend().servers[0].counters;
    assert_eq!(
        (
            counters.bytes_in.value(),
            counters.bytes_out.value(),
            counters.connections.value()
        ),
        (6, 6, 1)
    );
    let lines = harness.logged();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("f b/s0 "), "{}", lines[0]);
    let fields: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(fields[3..], ["6", "--", "1/1/0/0/0", "0/0"], "{}", lines[0]);
}

#[test]
fn a_bulk_transfer_arrives_whole_through_slow_readers() {
    const SIZE: usize = 32 << 20;
    let harness = Harness::tcp(backend(&[server(echo)]), |_| ());
    let client = harness.connect();
    let mut writing = client.try_clone().unwrap();
    let byte = |i: usize| (i.wrapping_mul(31) >> 3) as u8;
    let sender = thread::spawn(move || {
        let data: Vec<u8> = (0..SIZE).map(byte).collect();
        writing.write_all(&data).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    // The sockets' buffers fill before anything is read.
    thread::sleep(Duration::from_millis(200));
    let mut received = Vec::with_capacity(SIZE);
    (&client).read_to_end(&mut received).unwrap();
    sender.join().unwrap();
    assert_eq!(received.len(), SIZE);
    assert!(
        received.iter().enumerate().all(|(i, &got)| got == byte(i)),
        "bytes arrive in order"
    );
    wait_until("counted", || {
        harness.frontend().counters.bytes_in.value() == SIZE as u64
    });
    let lines = harness.logged();
    assert!(lines[0].contains(&format!(" {SIZE} -- ")), "{lines:?}");
}

/// A client of a backend whose only server is tried for long.
fn while_a_server_is_sought() -> (Harness, TcpStream) {
    let mut backend = backend(&[closed_port()]);
    backend.retries = 100;
    let harness = Harness::tcp(backend, |_| ());
    let client = harness.connect();
    wait_until("a server is sought", || {
        harness.backend().counters.retries.value() > 0
    });
    (harness, client)
}

#[test]
fn a_client_that_leaves_while_a_server_is_sought_is_logged_as_such() {
    for resets in [true, false] {
        let (harness, client) = while_a_server_is_sought();
        if resets {
            let linger = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            linger.unwrap();
        }
        drop(client);
        let lines = harness.logged();
        assert!(
            lines[0].contains("/-1/") && lines[0].contains(" 0 CC "),
            "{lines:?}"
        );
    }
}

#[test]
fn who_ends_what_it_says_while_a_server_is_sought_has_not_left() {
    let (harness, mut client) = while_a_server_is_sought();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let before = harness.backend().counters.retries.value();
    wait_until("it goes on", || {
        harness.backend().counters.retries.value() > before + 1
    });
}

#[test]
fn sessions_that_seek_their_server_end_with_its_others() {
    let (harness, _client) = while_a_server_is_sought();
    let backend = harness.backend();
    backend.shut_down(&backend.servers[0]);
    let lines = harness.logged();
    assert!(
        lines[0].contains("/-1/") && lines[0].contains(" 0 KC "),
        "{lines:?}"
    );
}

#[test]
fn what_a_server_had_sent_before_it_resets_is_the_clients() {
    const SIZE: usize = 400_000;
    let address = server(|mut stream| {
        stream.write_all(&[b'x'; SIZE]).unwrap();
        wait_until("it is at the balancer", || {
            sockopt::unacknowledged(&stream).unwrap() == 0
        });
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let harness = Harness::tcp(backend(&[address]), |_| ());
    let mut client = harness.connect();
    wait_until("it has ended", || {
        harness.frontend().current() == 0 && harness.frontend().counters.bytes_out.value() > 0
    });
    let mut received = Vec::new();
    // Whether it ends well is another matter.
    let _ = client.read_to_end(&mut received);
    assert_eq!(received.len(), SIZE);
    let lines = harness.logged();
    assert!(lines[0].contains(&format!(" {SIZE} SD ")), "{lines:?}");
}

#[test]
fn a_server_that_closes_first_is_no_error() {
    let address = server(|mut stream| stream.write_all(b"bye").unwrap());
    let harness = Harness::tcp(backend(&[address]), |_| ());
    let mut client = harness.connect();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye");
    drop(client);
    let lines = harness.logged();
    assert!(lines[0].contains(" 3 -- "), "{lines:?}");
}

#[test]
fn without_a_server_the_connection_is_accepted_and_closed_with_no_byte() {
    let mut backend = backend(&[closed_port()]);
    backend.servers[0].disabled = true;
    let harness = Harness::tcp(backend, |_| ());
    let mut client = harness.connect();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(harness.backend().counters.connect_errors.value(), 1);
    let lines = harness.logged();
    assert!(
        lines[0].starts_with("f b/<NOSRV> -1/-1/") && lines[0].ends_with(" 0 SC 1/1/0/0/0 0/0"),
        "{lines:?}"
    );
}

#[test]
fn a_refusing_server_is_tried_again_and_then_given_up() {
    let mut backend = backend(&[closed_port()]);
    backend.retries = 2;
    backend.timeouts.connect = Duration::from_millis(20);
    let harness = Harness::tcp(backend, |_| ());
    let mut client = harness.connect();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    let counters = &harness.backend().servers[0].counters;
    assert_eq!(
        (counters.retries.value(), counters.connect_errors.value()),
        (2, 1)
    );
    let lines = harness.logged();
    assert!(lines[0].contains("/-1/"), "{lines:?}");
    assert!(lines[0].ends_with(" 0 SC 1/1/0/0/2 0/0"), "{lines:?}");
}

#[test]
fn redispatch_serves_the_client_elsewhere() {
    let mut backend = backend(&[closed_port(), server(echo)]);
    backend.redispatch = Some(-1);
    let harness = Harness::tcp(backend, |_| ());
    let mut client = harness.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    drop(client);
    assert_eq!(
        harness.backend().servers[0].counters.redispatches.value(),
        1
    );
    let lines = harness.logged();
    assert!(lines[0].starts_with("f b/s1 "), "{lines:?}");
    assert!(lines[0].ends_with(" 1 -- 1/1/0/0/+1 0/0"), "{lines:?}");
}

#[test]
fn an_idle_client_is_ended_with_its_name_on_it() {
    let harness = Harness::tcp(backend(&[server(echo)]), |frontend| {
        frontend.timeouts.client = Duration::from_millis(60);
    });
    let mut client = harness.connect();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    let lines = harness.logged();
    assert!(lines[0].contains(" 0 cD "), "{lines:?}");
}

#[test]
fn a_server_still_answers_a_client_whose_time_is_over() {
    let answering = server(|mut stream| {
        let mut asked = Vec::new();
        let _ = stream.read_to_end(&mut asked);
        let _ = stream.write_all(b"late, ");
        let _ = stream.write_all(&asked);
    });
    let harness = Harness::tcp(backend(&[answering]), |frontend| {
        frontend.timeouts.client = Duration::from_millis(60);
    });
    let mut client = harness.connect();
    client.write_all(b"but here").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "late, but here");
    let lines = harness.logged();
    assert!(lines[0].contains(" 14 cD "), "{lines:?}");
}

#[test]
fn a_client_still_speaks_to_a_server_whose_time_is_over() {
    let (said, heard) = std::sync::mpsc::channel();
    let mut backend = backend(&[server(move |mut stream| {
        let mut all = String::new();
        let _ = stream.read_to_string(&mut all);
        let _ = said.send(all);
    })]);
    backend.timeouts.server = Duration::from_millis(60);
    let harness = Harness::tcp(backend, |_| ());
    let mut client = harness.connect();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    client.write_all(b"more").unwrap();
    drop(client);
    assert_eq!(heard.recv().unwrap(), "more");
    let lines = harness.logged();
    assert!(lines[0].contains(" 0 sD "), "{lines:?}");
}

#[test]
fn where_connections_are_reset_one_sides_time_is_both_sides() {
    let (said, heard) = std::sync::mpsc::channel();
    let mut backend = backend(&[server(move |mut stream| {
        let _ = said.send(stream.read(&mut [0; 16]).is_err());
        // It would not end by itself.
        thread::sleep(Duration::from_secs(20));
    })]);
    for server in &mut backend.servers {
        server.dialling.habits.resets = true;
    }
    let harness = Harness::tcp(backend, |frontend| {
        frontend.timeouts.client = Duration::from_millis(60);
        frontend.habits.resets = true;
    });
    let mut client = harness.connect();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    heard.recv().unwrap();
    let lines = harness.logged();
    assert!(lines[0].contains(" 0 cD "), "{lines:?}");
}

#[test]
fn an_idle_server_is_ended_with_its_name_on_it() {
    let mut backend = backend(&[server(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        thread::sleep(Duration::from_secs(20));
    })]);
    backend.timeouts.server = Duration::from_millis(60);
    let harness = Harness::tcp(backend, |_| ());
    let mut client = harness.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    let lines = harness.logged();
    assert!(lines[0].contains(" 0 sD "), "{lines:?}");
}

#[test]
fn a_server_that_resets_is_seen_as_a_reset_by_the_client() {
    let address = server(|mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let harness = Harness::tcp(backend(&[address]), |_| ());
    let mut client = harness.connect();
    client.write_all(b"x").unwrap();
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    wait_until("counted", || {
        harness.backend().servers[0].counters.server_aborts.value() == 1
    });
    let lines = harness.logged();
    assert!(lines[0].contains(" 0 SD "), "{lines:?}");
}

#[test]
fn a_client_that_resets_is_seen_as_a_reset_by_the_server() {
    let (seen, told) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        let _ = seen.send(
            stream
                .read_to_end(&mut Vec::new())
                .map_err(|error| error.kind()),
        );
    });
    let harness = Harness::tcp(backend(&[address]), |_| ());
    let mut client = harness.connect();
    client.write_all(b"x").unwrap();
    wait_until("the server has it", || {
        harness.backend().servers[0].active() == 1
    });
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let got = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(got, Err(std::io::ErrorKind::ConnectionReset));
    let lines = harness.logged();
    assert!(lines[0].contains(" 0 CD "), "{lines:?}");
}

#[test]
fn at_a_servers_maxconn_the_next_connection_waits_for_its_slot() {
    let mut backend = backend(&[server(echo)]);
    backend.servers[0].maxconn = Some(1);
    let harness = Harness::tcp(backend, |_| ());
    let mut first = harness.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    let mut second = harness.connect();
    second.write_all(b"b").unwrap();
    wait_until("the second waits", || harness.backend().queue.len() == 1);
    drop(first);
    second.read_exact(&mut [0; 1]).unwrap();
    drop(second);
    let lines = harness.logged();
    // Either may be the first to be written down.
    assert!(
        lines.iter().any(|line| line.ends_with("/0 0/1")),
        "one was ahead in the backend's queue: {lines:?}"
    );
}

#[test]
fn who_waits_longer_than_the_queues_timeout_is_closed() {
    let mut backend = backend(&[server(echo)]);
    backend.servers[0].maxconn = Some(1);
    backend.timeouts.queue = Duration::from_millis(30);
    let harness = Harness::tcp(backend, |_| ());
    let mut first = harness.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    let mut second = harness.connect();
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
    drop((first, second));
    let lines = harness.logged();
    let timers = lines[0].strip_prefix("f b/<NOSRV> ").unwrap();
    let waited: u64 = timers.split('/').next().unwrap().parse().unwrap();
    assert!(waited >= 30 && timers.contains("/-1/"), "{lines:?}");
    assert_eq!(tail(&lines[0]).split(' ').nth(2), Some("sQ"), "{lines:?}");
}

#[test]
fn a_client_that_has_spoken_learns_that_there_is_no_server_by_an_end() {
    let mut backend = backend(&[server(echo)]);
    backend.servers[0].maxconn = Some(1);
    let harness = Harness::tcp(backend, |_| ());
    let mut first = harness.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    let mut second = harness.connect();
    second.write_all(b"hello").unwrap();
    let backend = harness.backend();
    backend.set_admin(&backend.servers[0], crate::topology::AdminState::Maint);
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn at_a_frontends_maxconn_connections_wait_in_the_kernels_queue() {
    let harness = Harness::tcp(backend(&[server(echo)]), |frontend| {
        frontend.maxconn = Some(1);
    });
    let mut first = harness.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    let mut second = harness.connect();
    second.write_all(b"b").unwrap();
    second
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(second.read(&mut [0; 1]).is_err(), "nobody serves it yet");
    assert_eq!(harness.frontend().counters.connections.value(), 1);
    drop(first);
    second
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    second.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(harness.frontend().counters.max_current.value(), 1);
}

#[test]
fn connections_of_a_server_that_goes_down_end_where_the_file_asks_for_it() {
    let mut backend = backend(&[server(echo), server(echo)]);
    backend.servers[0].on_marked_down = model::OnMarkedDown::ShutdownSessions;
    let harness = Harness::tcp(backend, |_| ());
    let mut clients = [harness.connect(), harness.connect()];
    for client in &mut clients {
        client.write_all(b"a").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    for server in &harness.backend().servers {
        assert_eq!(server.active(), 1, "one each");
        harness
            .backend()
            .set_admin(server, crate::topology::AdminState::Maint);
    }
    let mut ended = 0;
    wait_until("one of them has ended", || {
        ended = clients
            .iter_mut()
            .filter_map(|client| {
                client.set_nonblocking(true).unwrap();
                let read = client.read(&mut [0; 1]);
                matches!(read, Ok(0)).then_some(())
            })
            .count();
        ended > 0
    });
    assert_eq!(ended, 1, "the other was not asked for");
    assert_eq!(harness.backend().servers[1].active(), 1);
    drop(clients);
    let lines = harness.logged();
    assert!(lines[0].starts_with("f b/s0 "), "{lines:?}");
    assert!(lines[0].contains(" 1 D- "), "{lines:?}");
}

#[test]
fn a_graceful_stop_lets_connections_run_and_takes_no_new_ones() {
    let harness = Harness::tcp(backend(&[server(echo)]), |_| ());
    let mut client = harness.connect();
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let proxy = harness.proxy.as_ref().unwrap();
    proxy.stop(Stop::Graceful);
    wait_until("the listeners are closed", || {
        TcpStream::connect(harness.address).is_err()
    });
    client.write_all(b"b").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    assert!(!proxy.is_finished());
    drop(client);
    wait_until("the workers have ended", || proxy.is_finished());
}

#[test]
fn an_immediate_stop_ends_connections() {
    let harness = Harness::tcp(backend(&[server(echo)]), |_| ());
    let mut client = harness.connect();
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let proxy = harness.proxy.as_ref().unwrap();
    proxy.stop(Stop::Now);
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    wait_until("the workers have ended", || proxy.is_finished());
}

mod ending;
mod inspecting;
mod sticking;
