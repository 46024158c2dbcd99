//! HTTP/2 as frames: malformed ones and floods of them, and what becomes of the connection and of others.

use std::{
    io::{self, ErrorKind, Read, Write},
    iter,
    net::{Shutdown, TcpStream},
    sync::mpsc,
    time::Duration,
};

use super::tests::*;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const END: u8 = END_STREAM | END_HEADERS;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block: literals that are never indexed, without Huffman's code.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            // Latin-1, so that any byte can be written.
            let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
            assert!(bytes.len() < 127);
            block.push(u8::try_from(bytes.len()).unwrap());
            block.extend(bytes);
        }
    }
    block
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "a"),
];

/// HEADERS of a GET on stream 1 with some pseudo-fields replaced (an empty value removes one) and `more` behind.
fn get(replaced: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields: Vec<(&str, &str)> = GET
        .iter()
        .map(|&(name, value)| {
            let new = replaced.iter().find(|(replaced, _)| *replaced == name);
            (name, new.map_or(value, |(_, new)| new))
        })
        .filter(|(_, value)| !value.is_empty())
        .collect();
    fields.extend(more);
    frame(HEADERS, END, 1, &block(&fields))
}

/// What came of stream 1 or of the connection: `answer`, `refused`, `reset CODE`, `goaway CODE`, `closed`.
fn outcome(stream: &mut TcpStream) -> String {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return "closed".to_owned();
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            return "closed".to_owned();
        }
        let code = |at: usize| payload.get(at + 3).copied().unwrap_or(0);
        match head[3] {
            // The static table has these two.
            HEADERS if payload[0] == 0x88 => return "answer".to_owned(),
            HEADERS => return "refused".to_owned(),
            RST_STREAM => return format!("reset {}", code(0)),
            GOAWAY if code(4) != 0 => return format!("goaway {}", code(4)),
            _ => {}
        }
    }
}

#[test]
fn malformed_messages_and_frames() {
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let address = server(move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            sender.lock().unwrap().send(head).unwrap();
            if stream.write_all(OK.as_bytes()).is_err() {
                return;
            }
        }
    });
    let harness = Harness::new(&[address], |frontend, _| {
        frontend.timeouts.http_keep_alive = Duration::from_millis(200);
    });
    let ping = |stream, length: usize| frame(PING, 0, stream, &vec![0; length]);
    let post = [(":method", "POST")];
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a request", get(&[], &[]), "answer"),
        (
            "no authority but a host",
            get(&[(":authority", "")], &[("host", "a")]),
            "answer",
        ),
        ("neither", get(&[(":authority", "")], &[]), "refused"),
        ("another host", get(&[], &[("host", "b")]), "refused"),
        (
            "two hosts",
            get(&[], &[("host", "a"), ("host", "b")]),
            "refused",
        ),
        ("a user", get(&[(":authority", "u@a")], &[]), "refused"),
        ("no method", get(&[(":method", "")], &[]), "reset 1"),
        ("no scheme", get(&[(":scheme", "")], &[]), "reset 1"),
        ("no path", get(&[(":path", "")], &[]), "reset 1"),
        (
            "a path without slash",
            get(&[(":path", "x")], &[]),
            "reset 1",
        ),
        ("a star for GET", get(&[(":path", "*")], &[]), "refused"),
        (
            "a blank in the path",
            get(&[(":path", "/ HTTP/1.1\r\nx: y")], &[]),
            "reset 1",
        ),
        (
            "raw bytes in the path",
            get(&[(":path", "/\u{e9}")], &[]),
            "reset 1",
        ),
        ("NUL in the path", get(&[(":path", "/\0")], &[]), "reset 1"),
        (
            "a line in the method",
            get(&[(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET")], &[]),
            "reset 1",
        ),
        (
            "a line in the authority",
            get(&[(":authority", "a\r\nx: y")], &[]),
            "reset 1",
        ),
        (
            "a blank in the authority",
            get(&[(":authority", "a b")], &[]),
            "reset 1",
        ),
        (
            "an unknown pseudo-field",
            get(&[], &[(":foo", "x")]),
            "reset 1",
        ),
        ("one of answers", get(&[], &[(":status", "200")]), "reset 1"),
        (
            "a pseudo-field twice",
            get(&[], &[(":path", "/x")]),
            "reset 1",
        ),
        (
            "a pseudo-field after others",
            get(&[(":path", "")], &[("x", "y"), (":path", "/")]),
            "reset 1",
        ),
        ("capitals", get(&[], &[("X-Y", "z")]), "reset 1"),
        ("an empty name", get(&[], &[("", "z")]), "reset 1"),
        ("a colon in a name", get(&[], &[("x:y", "z")]), "reset 1"),
        ("a blank in a name", get(&[], &[("x y", "z")]), "reset 1"),
        ("a line in a name", get(&[], &[("x\r\ny", "z")]), "reset 1"),
        (
            "a line in a value",
            get(&[], &[("x", "y\r\nz: 1")]),
            "reset 1",
        ),
        (
            "a line feed in a value",
            get(&[], &[("x", "y\nz: 1")]),
            "reset 1",
        ),
        ("NUL in a value", get(&[], &[("x", "y\0z")]), "reset 1"),
        (
            "connection",
            get(&[], &[("connection", "close")]),
            "reset 1",
        ),
        ("keep-alive", get(&[], &[("keep-alive", "5")]), "reset 1"),
        (
            "proxy-connection",
            get(&[], &[("proxy-connection", "x")]),
            "reset 1",
        ),
        (
            "transfer-encoding",
            get(&[], &[("transfer-encoding", "chunked")]),
            "reset 1",
        ),
        ("upgrade", get(&[], &[("upgrade", "websocket")]), "reset 1"),
        ("te: gzip", get(&[], &[("te", "gzip")]), "reset 1"),
        ("te: trailers", get(&[], &[("te", "trailers")]), "answer"),
        (
            "a look-alike",
            get(&[], &[("content_length", "1")]),
            "refused",
        ),
        (
            "another look-alike",
            get(&[], &[("transfer_encoding", "chunked")]),
            "refused",
        ),
        (
            "a length and no body",
            get(&post, &[("content-length", "5")]),
            "reset 1",
        ),
        (
            "no number",
            get(&post, &[("content-length", "x")]),
            "reset 1",
        ),
        ("a sign", get(&post, &[("content-length", "+0")]), "reset 1"),
        (
            "a list of lengths",
            get(&post, &[("content-length", "0, 0")]),
            "reset 1",
        ),
        (
            "two lengths",
            get(&post, &[("content-length", "0"), ("content-length", "0")]),
            "refused",
        ),
        (
            "CONNECT",
            get(
                &[(":method", "CONNECT"), (":scheme", ""), (":path", "")],
                &[],
            ),
            "refused",
        ),
        (
            "CONNECT with a path",
            get(&[(":method", "CONNECT")], &[]),
            "reset 1",
        ),
        (
            "a protocol",
            get(&[(":method", "CONNECT")], &[(":protocol", "websocket")]),
            "refused",
        ),
        ("data on no stream", frame(DATA, 0, 0, b"x"), "goaway 1"),
        (
            "data on an idle stream",
            frame(DATA, 0, 1, b"x"),
            "goaway 1",
        ),
        (
            "a head on stream 0",
            frame(HEADERS, END, 0, &block(&GET)),
            "goaway 1",
        ),
        (
            "a head on an even stream",
            frame(HEADERS, END, 2, &block(&GET)),
            "goaway 1",
        ),
        (
            "a broken head",
            frame(HEADERS, END, 1, &[0xff; 20]),
            "goaway 9",
        ),
        (
            "a stream of itself",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
            "goaway 1",
        ),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            "goaway 1",
        ),
        (
            "a short reset",
            frame(RST_STREAM, 0, 1, &[0; 3]),
            "goaway 6",
        ),
        (
            "settings on a stream",
            frame(SETTINGS, 0, 1, &[]),
            "goaway 1",
        ),
        (
            "crooked settings",
            frame(SETTINGS, 0, 0, &[0; 5]),
            "goaway 6",
        ),
        (
            "an agreement with something",
            frame(SETTINGS, 1, 0, &[0; 6]),
            "goaway 6",
        ),
        (
            "a promise",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 4]),
            "goaway 1",
        ),
        ("a ping on a stream", ping(1, 8), "goaway 1"),
        ("a short ping", ping(0, 7), "goaway 6"),
        (
            "a window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            "goaway 1",
        ),
        (
            "a window beyond all",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            "goaway 3",
        ),
        (
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &block(&GET)),
            "goaway 1",
        ),
        (
            "a head that another frame interrupts",
            [frame(HEADERS, END_STREAM, 1, &block(&GET)), ping(0, 8)].concat(),
            "goaway 1",
        ),
        (
            "a frame of unknown kind",
            [frame(0x55, 0, 0, b"x"), get(&[], &[])].concat(),
            "answer",
        ),
        (
            "a frame that is too large",
            frame(DATA, 0, 1, &vec![0; 17_000]),
            "goaway 6",
        ),
        (
            "padding beyond its frame",
            frame(DATA, 8, 1, &[9]),
            "goaway 1",
        ),
    ];
    let mut wrong = Vec::new();
    let count = rows.len();
    for (what, frames, wanted) in rows {
        let mut client = harness.connect();
        let settings = frame(SETTINGS, 0, 0, &[]);
        let _ = client.write_all(&[PREFACE, &settings, &frames].concat());
        let got = outcome(&mut client);
        let seen = receiver.try_iter().collect::<Vec<_>>();
        // A server may be asked whether it speaks another protocol.
        let asked = wanted == "answer" || what == "a protocol";
        if got != wanted || seen.len() != usize::from(asked) {
            wrong.push(format!(
                "{what}: {got}, not {wanted}; the server saw {seen:?}"
            ));
        }
        for head in seen {
            if !head.starts_with("GET / HTTP/1.1\r\n") || !head.contains("\r\nhost: a\r\n") {
                wrong.push(format!("{what}: {head:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "of {count}:\n{}", wrong.join("\n"));
}

#[test]
fn each_malformed_request_is_one_line_and_one_error() {
    const MOST: usize = 2000;
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let head = |id: usize, more: &[(&str, &str)]| {
        let fields = [&GET[..], more].concat();
        frame(HEADERS, END, u32::try_from(id).unwrap(), &block(&fields))
    };
    let ask = |frames: Vec<u8>| {
        let mut client = harness.connect();
        let begins = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        // Who says too much of this is not heard to its end.
        let _ = client.write_all(&[begins, frames].concat());
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut Vec::new());
    };
    let large = "x".repeat(100);
    let bad = [
        head(3, &[("Upper", "x")]),
        head(5, &[("connection", "close")]),
        head(7, &[(":path", "/")]),
        head(9, &[("x", &large[..])].repeat(130)),
    ];
    ask([head(1, &[]), bad.concat(), head(11, &[])].concat());
    // What cannot be read at all ends the connection.
    ask(frame(HEADERS, END, 1, &[0, 5, b'x']));
    // And so does an endless row of them.
    let counters = &harness.shared.topology.frontends[0].counters;
    let before = counters.request_errors.value();
    assert_eq!(before, 5);
    let row = |n| head(2 * n + 1, &[("te", "gzip")]);
    ask((0..MOST).flat_map(row).collect());
    let row = counters.request_errors.value() - before;
    assert!((1..=1025).contains(&row), "{row} of {MOST}");
    assert_eq!(counters.http.requests.value(), 7 + row);

    // A good one's line is written once it is answered.
    let mut lines = harness.logged();
    lines.retain(|line| !line.ends_with("\"GET http://a/ HTTP/2.0\""));
    for (line, status) in lines
        .iter()
        .zip([0, 0, 0, 431].into_iter().chain(iter::repeat(0)))
    {
        let begins = line.starts_with("f f/<NOSRV> -1/-1/-1/-1/");
        let tells = line.contains(&format!(" {status} 0 - - PR-- "));
        assert!(begins && tells && line.ends_with("\"<BADREQ>\""), "{line}");
    }
    assert!(lines.len() > 5);
}

/// Writes `frames` again and again until nobody takes more of them, or `most` bytes; returns how many went.
fn flood(client: &mut TcpStream, frames: &[u8], most: usize) -> usize {
    client
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let many = frames.repeat(64 * 1024 / frames.len());
    let mut sent = 0;
    while sent < most {
        match client.write(&many) {
            Ok(n) => sent += n,
            Err(error) if is_patience(&error) => break,
            Err(_) => break,
        }
    }
    sent
}

fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn who_floods_is_not_read_any_more_and_others_are_served() {
    const MOST: usize = 128 << 20;
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let long = block(&[("x", &"y".repeat(100)[..])]).repeat(100);
    for (what, first, frames) in [
        ("pings", vec![], frame(PING, 0, 0, &[0; 8])),
        (
            "settings",
            vec![],
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        ),
        (
            "continuations",
            frame(HEADERS, END_STREAM, 1, &block(&GET)),
            frame(CONTINUATION, 0, 1, &long),
        ),
        (
            "empty continuations",
            frame(HEADERS, END_STREAM, 1, &block(&GET)),
            frame(CONTINUATION, 0, 1, &[]),
        ),
        (
            "empty data",
            frame(HEADERS, END_HEADERS, 1, &block(&GET)),
            frame(DATA, 0, 1, &[]),
        ),
        (
            "heads without end",
            vec![],
            frame(HEADERS, END_HEADERS, 1, &block(&GET)),
        ),
    ] {
        let mut client = harness.connect();
        client
            .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &first].concat())
            .unwrap();
        let flooding = std::thread::spawn(move || {
            let sent = flood(&mut client, &frames, MOST);
            (sent, client)
        });
        // One worker serves them both.
        for _ in 0..20 {
            let answer = harness.ask(GET_AND_CLOSE);
            assert!(answer.ends_with("\r\n\r\nok"), "{what}: {answer}");
        }
        let (sent, _client) = flooding.join().unwrap();
        assert!(sent < MOST, "{what}: all of it was read");
    }
}

/// HEADERS of a GET on stream 1, and what has to be before them, with windows that hold up nothing.
fn hello() -> Vec<u8> {
    [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[0, 4, 0x40, 0, 0, 0]),
        &frame(WINDOW_UPDATE, 0, 0, &[0x40, 0, 0, 0]),
        &get(&[], &[]),
    ]
    .concat()
}

#[test]
fn who_says_no_more_is_answered_all_the_same() {
    let late = server(|mut stream| {
        read_head(&mut stream);
        std::thread::sleep(Duration::from_millis(100));
        let _ = stream.write_all(OK.as_bytes());
    });
    let harness = Harness::new(&[late], |_, _| ());
    let mut client = harness.connect();
    client.write_all(&hello()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(outcome(&mut client), "answer");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&frame(DATA, END_STREAM, 1, b"ok")));
    assert!(tail(&harness.logged()[0]).starts_with("200 ---- "));
    // Unless that is to be taken for leaving, for which no answer may come before it is noticed.
    let silent = server(|mut stream| {
        read_head(&mut stream);
        let _ = stream.read(&mut [0]);
    });
    let harness = Harness::new(&[silent], |_, backend| {
        backend.connections.abort_on_close = true;
    });
    let mut client = harness.connect();
    client.write_all(&hello()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // While it was connected to the server, which is still answered, or after.
    let end = outcome(&mut client);
    assert!(matches!(&*end, "refused" | "reset 8"), "{end}");
    let line = harness.logged().remove(0);
    assert!(line.contains(" CC-- ") || line.contains(" CH-- "), "{line}");
}

#[test]
fn who_reads_slowly_gets_the_end_of_its_answer() {
    const LENGTH: usize = 8 << 20;
    let large = server(|mut stream| {
        read_head(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![0; LENGTH]);
    });
    let harness = Harness::new(&[large], |frontend, _| {
        frontend.timeouts.http_keep_alive = Duration::from_millis(10);
    });
    let mut client = harness.connect();
    client.write_all(&hello()).unwrap();
    let mut got = 0;
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        client.read_exact(&mut vec![0; length]).unwrap();
        if head[3] != DATA {
            continue;
        }
        let before = got;
        got += length;
        // Once all is in buffers it is idle as far as requests go.
        if before < LENGTH - (1 << 20) && got >= LENGTH - (1 << 20) {
            std::thread::sleep(Duration::from_millis(1500));
        }
        let _ = client.write_all(&frame(PING, 0, 0, &[0; 8]));
        if head[4] & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(got, LENGTH);
}
