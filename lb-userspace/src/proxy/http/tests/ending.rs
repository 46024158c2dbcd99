//! What is written down of requests that end otherwise than well.

use super::*;
use crate::proxy::http::h2_raw_tests::{END, HEADERS, PREFACE, SETTINGS, block, frame};

/// A head of HTTP/2 with this path.
fn head(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    frame(HEADERS, END, 1, &block(&fields))
}

fn http_2(frames: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat()
}

#[test]
fn what_is_refused_is_no_null_connection() {
    for (said, logged) in [
        (http_2(&head("/a b")), true),
        (http_2(&frame(0, 0, 0, b"x")), true),
        (b"GET / nonsense\r\n\r\n".to_vec(), true),
        (http_2(&[]), false),
        (Vec::new(), false),
    ] {
        let harness = Harness::new(&[answering(OK)], |frontend, _| {
            frontend.log_options.no_null = true;
        });
        let mut client = harness.connect();
        client.write_all(&said).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
        drop(client);
        let lines = harness.logged();
        let refused = lines.iter().filter(|line| line.contains(" PR-- "));
        assert_eq!(refused.count(), usize::from(logged), "{said:?}: {lines:?}");
        assert_eq!(lines.len(), usize::from(logged), "{said:?}: {lines:?}");
    }
}

#[test]
fn a_servers_bytes_count_however_the_request_ends() {
    const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    const GARBAGE: &str = "garbage\r\n\r\n";
    for (answer, stays) in [(OK, false), (PART, true), (PART, false), (GARBAGE, false)] {
        let address = server(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
            if stays {
                let _ = stream.read(&mut [0]);
            }
        });
        let harness = Harness::new(&[address], |_, backend| backend.timeouts.server = SHORT);
        let mut client = harness.connect();
        client.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
        // It may be reset.
        let _ = client.read_to_end(&mut Vec::new());
        drop(client);
        let counters = &harness.shared.topology.backends[0].servers[0].counters;
        wait_until("it has ended", || harness.frontend().current() == 0);
        assert_eq!(counters.bytes_out.value(), answer.len() as u64, "{answer}");
        assert!(counters.bytes_in.value() > 0, "{answer}");
    }
}

#[test]
fn an_immediate_stop_says_what_became_of_each_request() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let address = server(move |mut stream| {
        if read_head(&mut stream).contains("/part") {
            let _ = stream.write_all(part.as_bytes());
        }
        let _ = stream.read(&mut [0]);
    });
    let harness = Harness::new(&[address], |_, backend| {
        backend.servers[0].maxconn = Some(3);
        backend.timeouts.queue = Duration::from_secs(20);
    });
    let get = |path: &str| {
        let mut client = harness.connect();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client
    };
    let (_waits, mut begun) = (get("/waits"), get("/part"));
    read_to(&mut begun, "abc");
    let mut http_2 = harness.connect();
    http_2.write_all(&self::http_2(&head("/stream"))).unwrap();
    let backend = &harness.shared.topology.backends[0];
    wait_until("they are with the server", || {
        backend.servers[0].active() == 3
    });
    let _queued = get("/queued");
    wait_until("it waits", || backend.queue.len() == 1);
    let _idle = harness.connect();
    wait_until("all are there", || harness.frontend().current() == 5);
    harness.proxy.as_ref().unwrap().stop(Stop::Now);
    let lines = harness.logged();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (path, termination) in [
        ("/waits", " KH-- "),
        ("/part", " KD-- "),
        ("/queued", " KQ-- "),
        ("/stream", " KH-- "),
    ] {
        let line = lines.iter().find(|line| line.contains(path));
        let line = line.unwrap_or_else(|| panic!("{path}: {lines:?}"));
        assert!(line.contains(termination), "{line}");
    }
}

#[test]
fn what_a_tunnel_has_carried_counts_when_it_is_cut() {
    let address = server(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        );
        let mut said = [0; 4];
        while stream.read_exact(&mut said).is_ok() {
            let _ = stream.write_all(&said);
        }
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        .unwrap();
    read_to(&mut client, "\r\n\r\n");
    let counters = &harness.shared.topology.backends[0].servers[0].counters;
    client.write_all(b"ping").unwrap();
    read_to(&mut client, "ping");
    harness.proxy.as_ref().unwrap().stop(Stop::Now);
    wait_until("it has ended", || harness.frontend().current() == 0);
    let heads = (
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".len(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".len(),
    );
    let counted = (counters.bytes_in.value(), counters.bytes_out.value());
    assert_eq!(counted, (heads.0 as u64 + 4, heads.1 as u64 + 4));
    assert!(harness.logged()[0].contains("101 "));
}

#[test]
fn a_stream_is_counted_where_its_connection_was_until_it_has_ended() {
    let (tell, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let address = server(move |mut stream| {
        read_head(&mut stream);
        let _ = told.lock().unwrap().recv();
        let _ = stream.write_all(OK.as_bytes());
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    client.write_all(&http_2(&head("/stream"))).unwrap();
    let backend = &harness.shared.topology.backends[0];
    wait_until("it is with the server", || backend.servers[0].active() == 1);
    drop(client);
    // Whether it is noticed that the client is gone before the answer or after it.
    drop(tell);
    let lines = harness.logged();
    assert!(lines[0].contains(" 1/1/0/0/0 "), "{lines:?}");
}

#[test]
fn who_waits_outlasts_the_last_server() {
    let (tell, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let address = server(move |mut stream| {
        read_head(&mut stream);
        let _ = told.lock().unwrap().recv();
        let _ = stream.write_all(OK.as_bytes());
    });
    let harness = Harness::new(&[address], |_, backend| {
        backend.servers[0].maxconn = Some(1);
        backend.timeouts.queue = Duration::from_secs(20);
    });
    let backend = &harness.shared.topology.backends[0];
    let server = &backend.servers[0];
    let ask = || {
        let mut client = harness.connect();
        client.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
        client
    };
    let mut first = ask();
    wait_until("the slot is taken", || server.active() == 1);
    let mut second = ask();
    wait_until("it waits", || backend.queue.len() == 1);
    backend.set_admin(server, crate::topology::AdminState::Maint);
    // Who comes now is told at once.
    assert!(harness.ask(GET_AND_CLOSE).starts_with("HTTP/1.1 503 "));
    tell.send(()).unwrap();
    assert!(read_all(&mut first).ends_with("\r\n\r\nok"));
    assert_eq!(backend.queue.len(), 1, "it waits still");
    backend.set_admin(server, crate::topology::AdminState::Ready);
    tell.send(()).unwrap();
    assert!(read_all(&mut second).ends_with("\r\n\r\nok"));
}
