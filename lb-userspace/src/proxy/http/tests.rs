//! Mode http over loopback: real listeners, clients and servers in one process.

mod authenticated;
mod choosing;
mod dropping;
mod early;
mod ending;
mod h2_clients;
mod h2_servers;
mod interim;
mod last_rule;
mod packets;
mod queueing;
mod renamed;
mod repeated;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{
    config::Config,
    config::model::{self, AccessLog, Balance, Mode},
    proxy::Stop,
    topology::fixtures,
};

pub(super) use crate::proxy::fixtures::{Folder, Harness, wait_until};

mod rules;

impl Harness {
    /// One frontend and one backend, in mode http.
    pub(super) fn new(
        servers: &[SocketAddr],
        change: impl FnOnce(&mut model::Frontend, &mut model::Backend),
    ) -> Self {
        let servers = servers
            .iter()
            .enumerate()
            .map(|(i, at)| fixtures::server(&format!("s{i}"), &at.to_string()));
        let mut backend = fixtures::backend("b", Balance::RoundRobin, servers.collect());
        let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
        (frontend.mode, frontend.log_format) = (Mode::Http, AccessLog::Http);
        backend.mode = Mode::Http;
        change(&mut frontend, &mut backend);
        Self::of(fixtures::config(vec![frontend], vec![backend]))
    }

    /// Sends `request` and reads until the connection ends.
    pub(super) fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_all(&mut stream)
    }
}

pub(super) fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads up to and with `end`.
pub(super) fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "after {:?}",
            String::from_utf8_lossy(&text)
        );
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// A server that does `serve` with each connection.
pub(super) fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
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

/// A server that answers each head with `answer` and keeps the connection.
pub(super) fn answering(answer: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let mut seen = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|n| n == 1) {
            seen.push(byte[0]);
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    })
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
pub(super) const SHORT: Duration = Duration::from_millis(80);

/// The fields from the status on without the byte count: status, termination, queues and request.
pub(super) fn tail(line: &str) -> String {
    let fields: Vec<&str> = line.splitn(8, ' ').collect();
    format!("{} {}", fields[3], fields[7])
}

#[test]
fn a_good_and_a_bad_request_in_one_segment_are_both_answered() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let answer = harness.ask(&format!("{GET}no request\r\n\r\n"));
    let (first, second) = answer
        .split_once("\r\n\r\nok")
        .expect("the first answer is whole");
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        second.starts_with("HTTP/1.1 400 Bad request\r\n"),
        "{answer}"
    );
    assert!(
        second.ends_with("invalid request.\n</body></html>\n"),
        "{answer}"
    );
    let lines = harness.logged();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(tail(&lines[0]), "200 ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"");
    assert!(
        lines[1].ends_with(" 400 0 - - PR-- 1/1/0/0/0 0/0 \"<BADREQ>\""),
        "{lines:?}"
    );
}

#[test]
fn requests_of_one_connection_share_the_servers_connection() {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    let address = server(|mut stream| {
        CONNECTIONS.fetch_add(1, SeqCst);
        while !read_head(&mut stream).is_empty() {
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    for _ in 0..5 {
        client.write_all(GET.as_bytes()).unwrap();
        assert!(read_to(&mut client, "ok").starts_with("HTTP/1.1 200 OK\r\n"));
    }
    drop(client);
    assert_eq!(CONNECTIONS.load(SeqCst), 1);
    assert_eq!(harness.logged().len(), 5);
}

/// Reads a head byte by byte; empty at the end of the stream.
pub(super) fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_server_that_closed_an_idle_connection_costs_no_request() {
    let address = server(|mut stream| {
        read_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    for _ in 0..20 {
        client.write_all(GET.as_bytes()).unwrap();
        assert!(read_to(&mut client, "ok").starts_with("HTTP/1.1 200 OK\r\n"));
        // What the server's close does to the idle connection is known once it has arrived.
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connection_closed_while_a_request_is_written_is_not_the_clients_trouble() {
    // Each connection serves one request, reads the next and closes without a word.
    let address = server(|mut stream| {
        read_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        read_head(&mut stream);
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    for _ in 0..4 {
        client.write_all(GET.as_bytes()).unwrap();
        assert!(read_to(&mut client, "ok").starts_with("HTTP/1.1 200 OK\r\n"));
    }
    // What may have been done already is not asked for twice.
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    client.write_all(post.as_bytes()).unwrap();
    assert!(read_all(&mut client).starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    let lines = harness.logged();
    assert_eq!(tail(&lines[0]), "200 ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"");
    assert_eq!(tail(&lines[1]), "200 ---- 1/1/0/0/1 0/0 \"GET / HTTP/1.1\"");
    assert_eq!(
        tail(&lines[4]),
        "502 SH-- 1/1/0/0/0 0/0 \"POST / HTTP/1.1\""
    );
}

#[test]
fn an_unfinished_head_is_answered_in_time() {
    let harness = Harness::new(&[answering(OK)], |frontend, _| {
        frontend.timeouts.http_request = SHORT;
    });
    let answer = harness.ask("GET / HTTP/1.1\r\nHo");
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Time-out\r\n"),
        "{answer}"
    );
    let lines = harness.logged();
    assert!(
        lines[0].starts_with("f f/<NOSRV> -1/-1/-1/-1/"),
        "{lines:?}"
    );
    assert!(
        lines[0].ends_with(" 408 0 - - cR-- 1/1/0/0/0 0/0 \"<BADREQ>\""),
        "{lines:?}"
    );
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let harness = Harness::new(&[answering(OK)], |frontend, _| {
        frontend.timeouts.http_keep_alive = SHORT;
    });
    let answer = harness.ask(GET);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    assert_eq!(harness.logged().len(), 1);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let harness = Harness::new(&[answering("")], |_, backend| {
        backend.timeouts.server = SHORT;
    });
    let answer = harness.ask(GET_AND_CLOSE);
    assert!(
        answer.starts_with("HTTP/1.1 504 Gateway Time-out\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("The server didn't respond in time.\n</body></html>\n"),
        "{answer}"
    );
    let lines = harness.logged();
    assert_eq!(tail(&lines[0]), "504 sH-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"");
}

#[test]
fn requests_of_a_server_that_goes_down_end_where_the_file_asks_for_it() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    for (sent, wanted, logged) in [
        ("", "HTTP/1.1 502 Bad Gateway\r\n", "502 DH--"),
        (part, "HTTP/1.1 200 OK\r\n", "200 DD--"),
    ] {
        let (asked, has_asked) = mpsc::channel();
        let address = server(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(sent.as_bytes());
            asked.send(()).unwrap();
            let _ = stream.read(&mut [0; 1]);
        });
        let harness = Harness::new(&[address], |_, backend| {
            backend.servers[0].on_marked_down = model::OnMarkedDown::ShutdownSessions;
        });
        let mut client = harness.connect();
        client.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
        if !sent.is_empty() {
            read_to(&mut client, "abc");
        }
        let (backend, server) = {
            let backend = &harness.shared.topology.backends[0];
            (backend, &backend.servers[0])
        };
        has_asked.recv().unwrap();
        backend.set_admin(server, crate::topology::AdminState::Maint);
        let rest = read_all(&mut client);
        assert!(sent == part || rest.starts_with(wanted), "{rest}");
        let lines = harness.logged();
        assert!(tail(&lines[0]).starts_with(logged), "{lines:?}");
    }
}

#[test]
fn a_server_that_stops_in_the_middle_is_given_up_after_what_it_sent() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let harness = Harness::new(&[answering(part)], |_, backend| {
        backend.timeouts.server = SHORT;
    });
    let answer = harness.ask(GET);
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    assert_eq!(
        tail(&harness.logged()[0]),
        "200 sD-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\""
    );
}

#[test]
fn responses_that_end_early_or_are_none() {
    for (sent, status, ends, flags) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            200,
            "\r\n\r\nabc",
            "SD--",
        ),
        ("", 502, "</body></html>\n", "SH--"),
        (
            "HTTP/1.1 200 OK\r\nContent-Le",
            502,
            "</body></html>\n",
            "SH--",
        ),
        ("garbage\r\n\r\n", 502, "</body></html>\n", "PH--"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            502,
            "</body></html>\n",
            "PH--",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            502,
            "</body></html>\n",
            "PH--",
        ),
    ] {
        let address = server(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(sent.as_bytes());
        });
        let harness = Harness::new(&[address], |_, _| ());
        let answer = harness.ask(GET_AND_CLOSE);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(ends),
            "{sent:?}: {answer}"
        );
        let want = format!("{status} {flags} 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"");
        assert_eq!(tail(&harness.logged()[0]), want, "{sent:?}");
    }
}

#[test]
fn a_refusing_server_is_tried_again_and_then_given_up() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let harness = Harness::new(&[closed], |_, backend| {
        (backend.retries, backend.timeouts.connect) = (2, Duration::from_millis(20));
    });
    let answer = harness.ask(GET_AND_CLOSE);
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{answer}"
    );
    assert_eq!(
        tail(&harness.logged()[0]),
        "503 SC-- 1/1/0/0/2 0/0 \"GET / HTTP/1.1\""
    );
}

#[test]
fn without_a_server_the_answer_comes_at_once_and_the_connection_goes_on() {
    let harness = Harness::new(&[answering(OK)], |_, backend| {
        backend.servers[0].disabled = true;
    });
    let answer = harness.ask(&format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello{GET_AND_CLOSE}"
    ));
    assert_eq!(
        answer
            .matches("HTTP/1.1 503 Service Unavailable\r\n")
            .count(),
        2,
        "{answer}"
    );
    let lines = harness.logged();
    assert!(lines[0].starts_with("f b/<NOSRV> 0/-1/-1/-1/"), "{lines:?}");
    assert_eq!(
        tail(&lines[0]),
        "503 SC-- 1/1/0/0/0 0/0 \"POST / HTTP/1.1\""
    );
}

#[test]
fn who_finds_no_slot_waits_for_one_or_is_told() {
    let address = server(|mut stream| {
        while !read_head(&mut stream).is_empty() {
            thread::sleep(Duration::from_millis(150));
            if stream.write_all(OK.as_bytes()).is_err() {
                return;
            }
        }
    });
    for (patience, second) in [
        (Duration::from_secs(20), "200 OK"),
        (Duration::from_millis(30), "503 Service"),
    ] {
        let harness = Harness::new(&[address], |_, backend| {
            (backend.servers[0].maxconn, backend.timeouts.queue) = (Some(1), patience);
        });
        let mut first = harness.connect();
        first.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
        wait_until("the slot is taken", || {
            harness.shared.topology.backends[0].servers[0].active() == 1
        });
        assert!(
            harness
                .ask(GET_AND_CLOSE)
                .starts_with(&format!("HTTP/1.1 {second}")),
            "{patience:?}"
        );
        assert!(read_all(&mut first).starts_with("HTTP/1.1 200 OK"));
        let lines = harness.logged();
        let waited: Vec<&String> = lines.iter().filter(|line| line.contains(" 0/1 ")).collect();
        assert_eq!(waited.len(), 1, "{lines:?}");
        assert_eq!(
            waited[0].contains(" sQ-- "),
            second.starts_with("503"),
            "{lines:?}"
        );
    }
}

#[test]
fn a_client_that_shuts_its_side_down_still_gets_its_answer() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let mut client = harness.connect();
    client.write_all(GET.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut client).ends_with("\r\n\r\nok"));
}

#[test]
fn a_broken_chunk_is_the_clients_fault() {
    let harness = Harness::new(&[answering("")], |_, _| ());
    let answer = harness
        .ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad request\r\n"),
        "{answer}"
    );
    let line = &harness.logged()[0];
    assert_eq!(tail(line), "400 PH-- 1/1/0/0/0 0/0 \"POST / HTTP/1.1\"");
    let whole = format!(" 400 {} - - PH-- ", answer.len());
    assert!(line.contains(&whole), "{line}");
}

#[test]
fn a_large_body_goes_both_ways_whole() {
    const SIZE: usize = 8 << 20;
    let address = server(|mut stream| {
        read_head(&mut stream);
        let mut body = vec![0; SIZE];
        stream.read_exact(&mut body).unwrap();
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .unwrap();
        stream.write_all(&body).unwrap();
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    let body: Vec<u8> = (0..SIZE).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&body).unwrap();
    read_to(&mut client, "\r\n\r\n");
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == body, "{} bytes came back", back.len());
}

#[test]
fn a_graceful_stop_ends_idle_connections_and_lets_requests_finish() {
    let address = server(|mut stream| {
        read_head(&mut stream);
        thread::sleep(Duration::from_millis(150));
        stream.write_all(OK.as_bytes()).unwrap();
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut busy = harness.connect();
    busy.write_all(GET.as_bytes()).unwrap();
    wait_until("the request is with the server", || {
        harness.shared.topology.backends[0].servers[0].active() == 1
    });
    let mut idle = harness.connect();
    wait_until("both are accepted", || {
        harness.shared.topology.frontends[0].current() == 2
    });
    harness.proxy.as_ref().unwrap().stop(Stop::Graceful);
    assert_eq!(read_all(&mut idle), "");
    assert!(read_all(&mut busy).ends_with("\r\n\r\nok"));
}

#[test]
fn everybody_who_waits_to_be_accepted_is_served() {
    const CLIENTS: usize = 160;
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    // More than are accepted at a time, and more come meanwhile.
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = harness.connect();
                client
                    .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    .unwrap();
                assert!(read_all(&mut client).ends_with("\r\n\r\nok"));
            });
        }
    });
    let accepted = harness.frontend().counters.connections.value();
    assert_eq!(accepted, CLIENTS as u64);
}
