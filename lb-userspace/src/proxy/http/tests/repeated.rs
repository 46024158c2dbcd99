//! Requests that are sent once more to a server that has not answered, and those that are not.

use std::sync::Mutex;

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response};

use super::{rules::Rules, *};
use crate::{
    config::model::{Protocol, RetryOn, Reuse},
    proxy::http::h2_tests::h2_server,
};

/// A server that answers the first request of each connection, and reads the next one and closes; and how many it has read.
fn closing() -> (SocketAddr, Arc<AtomicU32>) {
    let read = Arc::<AtomicU32>::default();
    let count = Arc::clone(&read);
    let address = server(move |mut stream| {
        for answers in [true, false] {
            if read_head(&mut stream).is_empty() {
                return;
            }
            count.fetch_add(1, SeqCst);
            if answers {
                let _ = stream.write_all(OK.as_bytes());
            }
        }
    });
    (address, read)
}

/// The status that a request gets that comes by a connection to the server that has carried one before.
fn second(harness: &Harness, method: &str) -> String {
    let mut client = harness.connect();
    client.write_all(GET.as_bytes()).unwrap();
    read_to(&mut client, "ok");
    let last = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(last.as_bytes()).unwrap();
    read_all(&mut client)[9..12].to_owned()
}

#[test]
fn a_request_that_may_have_been_read_is_sent_once_where_the_file_says_so() {
    let some = |empty| RetryOn {
        connection: false,
        empty,
        ..RetryOn::NONE
    };
    for (retries, retry_on, status, sent) in [
        (3, RetryOn::default(), "200", 3),
        (1, RetryOn::default(), "200", 3),
        (0, RetryOn::default(), "502", 2),
        (3, RetryOn::NONE, "502", 2),
        // What it says is tried again is.
        (3, some(true), "200", 3),
        (0, some(true), "502", 2),
    ] {
        for method in ["GET", "DELETE"] {
            let (address, read) = closing();
            let harness = Harness::new(&[address], |_, backend| {
                backend.retries = retries;
                backend.retry_on = retry_on;
            });
            let what = format!("{method}, {retries} of {retry_on:?}");
            assert_eq!(second(&harness, method), status, "{what}");
            assert_eq!(read.load(SeqCst), sent, "{what}");
        }
    }
}

#[test]
fn a_request_that_a_rule_has_sent_once_is_sent_once() {
    let (address, read) = closing();
    let rules = "    rules: [{ disable_l7_retry: true }]\n";
    let rules = Rules::new(&[address], rules, "    balance: first\n");
    assert_eq!(second(&rules.harness, "GET"), "502");
    assert_eq!(read.load(SeqCst), 2);
}

#[test]
fn what_may_not_be_done_twice_is_not_asked_for_twice() {
    for method in ["POST", "PATCH", "LOCK"] {
        let (address, read) = closing();
        let harness = Harness::new(&[address], |_, _| ());
        assert_eq!(second(&harness, method), "502", "{method}");
        assert_eq!(read.load(SeqCst), 2, "{method}");
    }
}

#[test]
fn a_request_whose_server_has_ended_goes_to_another() {
    // It answers one request, and takes the next one with it when it ends.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ending = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        let _ = stream.write_all(OK.as_bytes());
        read_head(&mut stream);
    });
    let harness = Harness::new(&[ending, answering(OK)], |_, backend| {
        backend.redispatch = Some(-1);
        backend.balance = Balance::First;
    });
    assert_eq!(second(&harness, "GET"), "200");
    let lines = harness.logged();
    assert!(lines[1].starts_with("f b/s1 "), "{lines:?}");
}

#[test]
fn a_small_body_is_sent_once_more_to_a_server_that_has_not_looked_at_it() {
    static TAKES: AtomicU32 = AtomicU32::new(0);
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    async fn serve(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if request.method() != "GET" {
            let mut body = Vec::new();
            while let Some(Ok(data)) = request.body_mut().data().await {
                body.extend_from_slice(&data);
            }
            let body = String::from_utf8(body).unwrap();
            SEEN.lock().unwrap().push(body);
            if TAKES.fetch_add(1, SeqCst) == 0 {
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
        }
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        let _ = body.send_data(Bytes::from_static(b"ok"), true);
    }
    let address = h2_server(serve);
    for (retries, status, seen) in [(3, "200", ["abc", "abc"].as_slice()), (0, "502", &["abc"])] {
        TAKES.store(0, SeqCst);
        SEEN.lock().unwrap().clear();
        let harness = Harness::new(&[address], |_, backend| {
            backend.servers[0].protocol = Protocol::H2;
            backend.retries = retries;
        });
        let method =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        let mut client = harness.connect();
        client.write_all(GET.as_bytes()).unwrap();
        read_to(&mut client, "ok\r\n0\r\n\r\n");
        client.write_all(method.as_bytes()).unwrap();
        assert_eq!(&read_all(&mut client)[9..12], status);
        assert_eq!(*SEEN.lock().unwrap(), seen, "{retries}");
    }
}

#[test]
fn a_first_request_that_could_not_be_repeated_has_a_connection_of_its_own_if_that_is_to_be_safe() {
    for (reuse, request, retries, made) in [
        (Reuse::Always, "POST / HTTP/1.1", 3, 1),
        (Reuse::Safe, "POST / HTTP/1.1", 3, 3),
        (Reuse::Safe, "GET / HTTP/1.1", 3, 1),
        // Nothing is tried again.
        (Reuse::Safe, "GET / HTTP/1.1", 0, 3),
    ] {
        let harness = Harness::new(&[answering(OK)], |_, backend| {
            backend.connections.reuse = reuse;
            backend.retries = retries;
        });
        let request = format!("{request}\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        for _ in 0..3 {
            let mut client = harness.connect();
            for _ in 0..2 {
                client.write_all(request.as_bytes()).unwrap();
                read_to(&mut client, "ok");
            }
        }
        let server = &harness.shared.topology.backends[0].servers[0];
        let connects = server.counters.connects.value();
        assert_eq!(connects, made, "{reuse:?}, {retries}: {request}");
    }
}
