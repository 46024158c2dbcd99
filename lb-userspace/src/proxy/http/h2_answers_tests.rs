//! Servers of HTTP/2 as frames: answers that are none, and what becomes of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Barrier, Mutex, mpsc},
    time::Duration,
};

use super::{
    h2_raw_tests::{
        DATA, END, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, block,
        frame,
    },
    h2_tests::h2,
    tests::*,
};
use crate::proxy::Stop;

/// Reads frames until one of `kind` with `flags` has come; its payload. `None` at the end of the connection.
fn read_until(stream: &mut TcpStream, kind: u8, flags: u8) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).ok()?;
        if head[3] == kind && head[4] & flags == flags {
            return Some(payload);
        }
    }
}

/// HEADERS of stream 1 that begin with `status`.
fn headers(flags: u8, status: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![(":status", status)];
    fields.extend(more);
    frame(HEADERS, flags, 1, &block(&fields))
}

fn ok(fields: &[(&str, &str)]) -> Vec<u8> {
    let body = frame(DATA, END_STREAM, 1, b"ok");
    [headers(END_HEADERS, "200", fields), body].concat()
}

#[test]
fn what_is_no_answer_is_502_and_the_proxys_word() {
    let answers = Mutex::new(Vec::<Vec<u8>>::new());
    let answers: &'static _ = Box::leak(Box::new(answers));
    let server = server(move |mut stream| {
        let mut preface = [0; PREFACE.len()];
        let _ = stream.read_exact(&mut preface);
        let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[]));
        if read_until(&mut stream, HEADERS, END_STREAM).is_some() {
            // More often than it is meant to be asked nobody is answered.
            let answer = answers.lock().unwrap().pop().unwrap_or_default();
            let _ = stream.write_all(&answer);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let go_away = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]);
    let rows = [
        ("a good one", ok(&[("x", "y")]), "200 ----"),
        ("a length", ok(&[("content-length", "2")]), "200 ----"),
        (
            "a field of connections",
            ok(&[("connection", "close")]),
            "502 PH--",
        ),
        (
            "a coding",
            ok(&[("transfer-encoding", "chunked")]),
            "502 PH--",
        ),
        (
            "a length with a sign",
            ok(&[("content-length", "+2")]),
            "502 PH--",
        ),
        (
            "two lengths",
            ok(&[("content-length", "2"), ("content-length", "3")]),
            "502 PH--",
        ),
        ("a large letter", ok(&[("X", "y")]), "502 PH--"),
        (
            "an end of line in a value",
            ok(&[("x", "y\r\nz: 1")]),
            "502 PH--",
        ),
        (
            "an end of line in a name",
            ok(&[("x: y\r\nz", "1")]),
            "502 PH--",
        ),
        (
            "no status",
            frame(HEADERS, END, 1, &block(&[("x", "y")])),
            "502 PH--",
        ),
        (
            "a status of two digits",
            headers(END, "99", &[]),
            "502 PH--",
        ),
        (
            "a length and no body",
            headers(END, "200", &[("content-length", "2")]),
            "502 PH--",
        ),
        // The client would take what follows for another protocol.
        (
            "101 before the answer",
            [headers(END_HEADERS, "101", &[]), ok(&[])].concat(),
            "502 PH--",
        ),
        ("101 at the end", headers(END, "101", &[]), "502 PH--"),
        (
            "103 before the answer",
            [headers(END_HEADERS, "103", &[("link", "</a>")]), ok(&[])].concat(),
            "200 ----",
        ),
        // Here the server ends it, and so it says.
        (
            "a reset",
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]),
            "502 SH--",
        ),
        ("a word of farewell", go_away, "502 SH--"),
        (
            "a body that is too long",
            [
                headers(END_HEADERS, "200", &[("content-length", "1")]),
                frame(DATA, END_STREAM, 1, b"ok"),
            ]
            .concat(),
            "200 SD--",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, answer, wanted) in rows {
        answers.lock().unwrap().push(answer);
        let harness = Harness::new(&[server], h2);
        let said = harness.ask(GET_AND_CLOSE);
        let switches = said.contains(" 101 ");
        let logged = tail(&harness.logged()[0]);
        if !logged.starts_with(&format!("{wanted} ")) || switches || said.contains("\r\nz: 1") {
            wrong.push(format!("{what}: {logged}, not {wanted}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_follows_a_body_has_no_fields_of_connections() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = server(move |mut stream| {
        let mut preface = [0; PREFACE.len()];
        let _ = stream.read_exact(&mut preface);
        let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[]));
        read_until(&mut stream, HEADERS, 0).unwrap();
        let trailers = read_until(&mut stream, HEADERS, END_STREAM).unwrap();
        let _ = stream.write_all(&ok(&[]));
        tell.lock().unwrap().send(trailers).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let harness = Harness::new(&[server], h2);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-a\r\n\r\n";
    let trailers = "connection: x\r\ncontent-length: 9\r\nhost: b\r\nx-a: 1\r\nte: gzip\r\nupgrade: y\r\nkeep-alive: z\r\n";
    let answer = harness.ask(&format!("{request}2\r\nok\r\n0\r\n{trailers}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // One field, whose name and value are as short as these: a byte that says what it is, and two lengths.
    let seen = told.recv().unwrap();
    assert!((1..=3 + "x-a1".len()).contains(&seen.len()), "{seen:?}");
}

/// SETTINGS that let so many requests be under way.
fn at_most(streams: u8) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, streams])
}

#[test]
fn a_connection_carries_no_more_at_a_time_than_the_server_says() {
    const CLIENTS: usize = 3;
    let together: &'static _ = Box::leak(Box::new(Barrier::new(CLIENTS)));
    // Nobody is answered before all are asked, and how many it takes it says only once it has been.
    let address = server(move |mut stream| {
        let _ = stream.read_exact(&mut [0; PREFACE.len()]);
        if read_until(&mut stream, HEADERS, END_STREAM).is_some() {
            let _ = stream.write_all(&at_most(1));
            together.wait();
            let _ = stream.write_all(&ok(&[]));
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let harness = Harness::new(&[address], h2);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| harness.connect()).collect();
    for client in &mut clients {
        client.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
    }
    for client in &mut clients {
        let answer = read_all(client);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let server = &harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.connects.value(), CLIENTS as u64);
}

#[test]
fn a_connection_that_takes_no_more_requests_gets_none() {
    let address = server(move |mut stream| {
        let _ = stream.read_exact(&mut [0; PREFACE.len()]);
        let _ = stream.write_all(&at_most(100));
        if read_until(&mut stream, HEADERS, END_STREAM).is_some() {
            let _ = stream.write_all(&[at_most(0), ok(&[])].concat());
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let harness = Harness::new(&[address], h2);
    for asked in 1..=3 {
        let answer = harness.ask(GET_AND_CLOSE);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let server = &harness.shared.topology.backends[0].servers[0];
        assert_eq!(server.counters.connects.value(), asked);
    }
}

#[test]
fn whoever_has_just_come_is_told_that_all_stops() {
    for asks in [false, true] {
        let harness = Harness::new(&[answering(OK)], |frontend, _| {
            // Nothing else ends it.
            let long = Duration::from_secs(1000);
            let timeouts = &mut frontend.timeouts;
            (timeouts.client, timeouts.http_request) = (long, long);
            timeouts.http_keep_alive = long;
        });
        let mut client = harness.connect();
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        client.write_all(&begin).unwrap();
        read_until(&mut client, SETTINGS, 0).unwrap();
        if asks {
            let get = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ];
            let get = frame(HEADERS, END, 1, &block(&get));
            client.write_all(&get).unwrap();
            read_until(&mut client, DATA, END_STREAM).unwrap();
        }
        harness.proxy.as_ref().unwrap().stop(Stop::Graceful);
        let told = read_until(&mut client, GOAWAY, 0);
        assert_eq!(told.map(|frame| frame[4..8].to_vec()), Some(vec![0; 4]));
    }
}
