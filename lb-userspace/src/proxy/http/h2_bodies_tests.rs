//! Bodies and frames of clients of HTTP/2 that are none, and how that is logged: as HAProxy 2.6 does.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Mutex, mpsc},
};

use super::{
    h2_raw_tests::{
        DATA, END, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, block, frame,
    },
    tests::*,
};

/// HEADERS of a POST on stream 1.
fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    all.extend(fields);
    frame(HEADERS, END_HEADERS, 1, &block(&all))
}

/// A client that has seen the proxy's first frame.
fn hello(harness: &Harness) -> TcpStream {
    let mut client = harness.connect();
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    client.write_all(&begin).unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    client
}

#[test]
fn what_is_broken_before_it_is_looked_at_asks_no_server() {
    let length = |length| [("content-length", length)];
    let trailers = |fields| frame(HEADERS, END, 1, &block(fields));
    let data = |flags| frame(DATA, flags, 1, b"hello");
    let rows = [
        (
            "too short",
            [post(&length("6")), data(END_STREAM)].concat(),
            "CR",
        ),
        ("too long", [post(&length("4")), data(0)].concat(), "CR"),
        (
            "too long by and by",
            [post(&length("9")), data(0), data(0)].concat(),
            "CR",
        ),
        (
            "taken back",
            [post(&[]), data(0), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat(),
            "CR",
        ),
        (
            "trailers without a body",
            [post(&[]), trailers(&[(":path", "/")])].concat(),
            "CR",
        ),
        (
            "too short before trailers",
            [post(&length("6")), data(0), trailers(&[("x", "y")])].concat(),
            "CD",
        ),
        (
            "a pseudo-field behind it",
            [post(&[]), data(0), trailers(&[(":path", "/")])].concat(),
            "CD",
        ),
        (
            "capitals behind it",
            [post(&[]), data(0), trailers(&[("X", "y")])].concat(),
            "CD",
        ),
    ];
    // A server that is asked counts as a connection of its own.
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    for (_, frames, _) in &rows {
        let mut client = hello(&harness);
        client.write_all(frames).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    let server = &harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.connections.value(), 0);
    let lines = harness.logged();
    assert_eq!(lines.len(), rows.len());
    for (line, (what, _, state)) in lines.iter().zip(&rows) {
        let begins = line.starts_with("f b/<NOSRV> ") && line.contains("/-1/-1/-1/");
        let tells = line.contains(&format!(" -1 0 - - {state}-- "));
        assert!(begins && tells, "{what}: {line}");
    }
}

#[test]
fn what_breaks_later_was_in_its_data() {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let asked = server(move |mut stream| {
        read_head(&mut stream);
        sender.lock().unwrap().send(()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let harness = Harness::new(&[asked], |_, _| ());
    let mut client = hello(&harness);
    client.write_all(&post(&[("content-length", "4")])).unwrap();
    receiver.recv().unwrap();
    client.write_all(&frame(DATA, 0, 1, b"hello")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let line = harness.logged().remove(0);
    assert!(
        line.starts_with("f b/s0 ") && line.contains(" -1 0 - - CD-- "),
        "{line}"
    );
}

#[test]
fn who_takes_back_what_waits_is_logged_where_it_waited() {
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let asked = server(move |mut stream| {
        read_head(&mut stream);
        let _ = receiver.lock().unwrap().recv();
        let _ = stream.write_all(OK.as_bytes());
    });
    let harness = Harness::new(&[asked], |_, backend| {
        backend.servers[0].maxconn = Some(1);
        backend.timeouts.queue = std::time::Duration::from_secs(600);
    });
    let mut client = hello(&harness);
    let get = |id| {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ];
        frame(HEADERS, END, id, &block(&fields))
    };
    client.write_all(&[get(1), get(3)].concat()).unwrap();
    wait_until("one waits", || harness.backend().queue.len() == 1);
    let reset = frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    client.write_all(&reset).unwrap();
    wait_until("none does", || harness.backend().queue.is_empty());
    sender.send(()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let lines = harness.logged();
    let line = lines.iter().find(|line| line.contains(" CQ-- "));
    let line = line.expect("its line");
    let timers = line.split(' ').nth(2).unwrap();
    let timers: Vec<_> = timers.split('/').collect();
    assert!(line.starts_with("f b/<NOSRV> "), "{line}");
    assert!(timers[1] != "-1" && timers[2] == "-1", "{line}");
}

#[test]
fn who_says_no_more_and_has_no_window_is_not_waited_for() {
    let harness = Harness::new(&[answering(OK)], |frontend, _| {
        frontend.timeouts.client = std::time::Duration::from_secs(600);
    });
    let mut client = harness.connect();
    let get = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    // The windows of its streams have no room for a byte.
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let get = frame(HEADERS, END, 1, &block(&get));
    client
        .write_all(&[PREFACE, &no_window, &get].concat())
        .unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    assert!(read.ends_with(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])));
    assert!(tail(&harness.logged()[0]).starts_with("200 CD-- "));
}

#[test]
fn frames_that_end_the_connection_are_a_line_and_an_error_but_no_request() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let rows = [
        frame(SETTINGS, 0, 1, &[]),
        frame(DATA, 0, 1, b"of no stream"),
        frame(DATA, 0, 1, &vec![0; 17_000]),
    ];
    for frames in &rows {
        let mut client = hello(&harness);
        let _ = client.write_all(frames);
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut Vec::new());
    }
    let counters = &harness.shared.topology.frontends[0].counters;
    let (errors, requests) = (&counters.request_errors, &counters.http.requests);
    wait_until("all are counted", || errors.value() == 3);
    assert_eq!(requests.value(), 0);
    let lines = harness.logged();
    assert_eq!(lines.len(), rows.len());
    for line in lines {
        let begins = line.starts_with("f f/<NOSRV> -1/-1/-1/-1/");
        assert!(
            begins && line.contains(" 0 0 - - PR-- ") && line.ends_with("\"<BADREQ>\""),
            "{line}"
        );
    }
}
