//! HTTP/1 as bytes: what clients send, what they are answered, and exactly what the server gets to see.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{raw_table::rows, tests::*};

/// What a client sends, what it is answered, and what the server sees of it.
///
/// All three are bytes, written as characters of Latin-1.
pub(super) struct Row {
    pub(super) sent: String,
    /// The statuses, in their order, separated by spaces.
    pub(super) answered: &'static str,
    pub(super) seen: String,
}

/// A server that records each message as it comes and answers it.
///
/// A connection that ends in the middle of a message leaves what has come of it.
fn recorder() -> (Arc<Mutex<String>>, SocketAddr) {
    let seen = Arc::<Mutex<String>>::default();
    let record = Arc::clone(&seen);
    let address = server(move |mut stream| {
        loop {
            let message = message(&mut stream);
            if message.is_empty() {
                return;
            }
            let head = message.starts_with("HEAD ");
            record.lock().unwrap().push_str(&message);
            let answer = if head {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
            } else {
                OK
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (seen, address)
}

/// Reads one message, strictly: whatever follows it is another one.
fn message(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (String::new(), [0]);
    let mut read_until = |text: &mut String, done: &dyn Fn(&str) -> bool| {
        while !done(text) {
            match stream.read(&mut byte) {
                Ok(1) => text.push(char::from(byte[0])),
                _ => return false,
            }
        }
        true
    };
    if !read_until(&mut text, &|text| text.ends_with("\r\n\r\n")) {
        return text;
    }
    let head = text.len();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        read_until(&mut text, &|text| {
            text[head..].starts_with("0\r\n\r\n") || text[head..].ends_with("\r\n0\r\n\r\n")
        });
    } else if let Some(length) = text
        .split("\r\ncontent-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok())
    {
        read_until(&mut text, &|text| text[head..].chars().count() == length);
    }
    text
}

fn bytes(latin: &str) -> Vec<u8> {
    latin
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("Latin-1"))
        .collect()
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// The statuses of the answers in `text`, in their order.
fn statuses(text: &str) -> String {
    let found: Vec<&str> = text
        .split("HTTP/1.")
        .skip(1)
        .filter_map(|answer| answer.get(2..5))
        .collect();
    found.join(" ")
}

#[test]
fn malformed_and_ambiguous_messages() {
    let (seen, address) = recorder();
    let harness = Harness::new(&[address], |frontend, _| {
        frontend.timeouts.http_request = Duration::from_secs(20);
    });
    let rows = rows();
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let mut client = harness.connect();
        let _ = client.write_all(&bytes(&row.sent));
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let read = client.read_to_end(&mut answer);
        let answer = latin(&answer);
        // What the server has seen when it has seen what comes after is all of it.
        let marker = format!("GET /{number} HTTP/1.1\r\nHost: marker\r\nConnection: close\r\n\r\n");
        let marked = format!("GET /{number} HTTP/1.1\r\nhost: marker\r\n\r\n");
        let after = harness.ask(&marker);
        assert!(after.starts_with("HTTP/1.1 200 "), "{number}: {after}");
        if !row.seen.is_empty() {
            let whole = format!("{}{marked}", row.seen).len();
            for _ in 0..100 {
                if seen.lock().unwrap().len() >= whole {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap()).replace(&marked, "");
        let answered = statuses(&answer);
        if read.is_err() || answered != row.answered || seen != row.seen {
            wrong.push(format!(
                "{:?}\n  answered {answered:?}, not {:?} ({read:?})\n  seen {seen:?}\n  not  {:?}",
                row.sent.get(..200).unwrap_or(&row.sent),
                row.answered,
                row.seen
            ));
        }
        for (refused, name) in [("400", "Bad request"), ("408", "Request Time-out")] {
            if answered.ends_with(refused) {
                let body = format!("<html><body><h1>{refused} {name}</h1>");
                assert!(answer.contains(&body), "{answer}");
                assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            }
        }
        assert!(!answer.contains("\r\ndate:"), "{answer}");
    }
    assert!(rows.len() >= 200, "{} rows", rows.len());
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

/// A server's answer, the status that the client gets, and the log's first two letters of its end.
const RESPONSES: &[(&str, &str, &str)] = &[
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "200",
        "--",
    ),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "200", "--"),
    ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "200", "--"),
    ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "200", "--"),
    ("HTTP/1.1 299 Own\r\nContent-Length: 0\r\n\r\n", "299", "--"),
    ("HTTP/1.1 999 Own\r\nContent-Length: 0\r\n\r\n", "999", "--"),
    ("HTTP/1.0 200 OK\r\n\r\nok", "200", "--"),
    ("HTTP/1.1 200 OK\r\n\r\nok", "200", "--"),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "204",
        "--",
    ),
    (
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "304",
        "--",
    ),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "200",
        "--",
    ),
    (
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "103 200",
        "--",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "200",
        "--",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
        "200",
        "--",
    ),
    (
        "HTTP/1.1 200 OK\r\nX: \u{e9}\r\nContent-Length: 0\r\n\r\n",
        "200",
        "--",
    ),
    // Two lengths are none.
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "502",
        "PH",
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", "502", "PH"),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent_Length: 2\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        "502",
        "PH",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "502",
        "PH",
    ),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "502",
        "PH",
    ),
    // What is no HTTP/1.
    ("HTTP/1.1 20 OK\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 2000 OK\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 099 OK\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 abc OK\r\n\r\n", "502", "PH"),
    ("HTTP/2.0 200 OK\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 200 O\0K\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "502", "PH"),
    ("HTTP/1.1 200 OK\r\n: a\r\n\r\n", "502", "PH"),
    ("ok\r\n\r\n", "502", "PH"),
    ("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{46}", "502", "PH"),
    (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "502",
        "PH",
    ),
    // What ends too early.
    ("", "502", "SH"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "502", "SH"),
    ("HTTP/1.1 100 Continue\r\n\r\n", "502", "SH"),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        "200",
        "SD",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        "200",
        "SD",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "200",
        "SD",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nz\r\n",
        "200",
        "SD",
    ),
];

#[test]
fn malformed_and_ambiguous_answers() {
    let address = server(|mut stream| {
        let head = read_head(&mut stream);
        let number = head.split(['/', ' ']).nth(2).and_then(|n| n.parse().ok());
        let answer = number.and_then(|n: usize| RESPONSES.get(n)).expect("a row");
        let _ = stream.write_all(&bytes(answer.0));
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut wrong = Vec::new();
    for (number, (answer, wanted, _)) in RESPONSES.iter().enumerate() {
        let got = harness.ask(&format!(
            "GET /{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        if statuses(&got) != *wanted {
            wrong.push(format!("{answer:?}: {got:?}, not {wanted}"));
        }
    }
    for ((answer, status, end), line) in RESPONSES.iter().zip(harness.logged()) {
        // The last is the answer.
        let status = status.rsplit(' ').next().unwrap_or_default();
        if !tail(&line).starts_with(&format!("{status} {end}-- ")) {
            wrong.push(format!("{answer:?}: {line:?}, not {end}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
