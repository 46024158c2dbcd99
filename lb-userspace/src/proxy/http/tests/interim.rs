//! What a server says before its answer, in every combination of protocols.

use std::{
    future::poll_fn,
    sync::{Barrier, Mutex, OnceLock, mpsc},
};

use http::{Request, Response};

use super::*;
use crate::{
    config::model::{Backend, Protocol},
    proxy::http::h2_tests::{all, connect, data, h2_server, run},
};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nlink: </b.js>\r\n\r\n";

/// A server of HTTP/1 that answers only once its hints have been read.
fn hinting(then: &'static Barrier) -> SocketAddr {
    server(move |mut stream| {
        while !read_head(&mut stream).is_empty() {
            let hints = "HTTP/1.1 102 Processing\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n\
                         Link: </a.css>\r\nLink: </b.js>\r\n\r\n";
            let (first, second) = hints.split_at(30);
            stream.write_all(first.as_bytes()).unwrap();
            stream.write_all(second.as_bytes()).unwrap();
            then.wait();
            if stream.write_all(OK.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// The same of HTTP/2.
fn hinting_h2(then: &'static Barrier) -> SocketAddr {
    h2_server(async move |_, mut respond| {
        for (status, links) in [(102, &[][..]), (103, &["</a.css>", "</b.js>"])] {
            let mut hints = Response::builder().status(status);
            for link in links {
                hints = hints.header("link", *link);
            }
            respond.send_informational(hints.body(()).unwrap()).unwrap();
        }
        // What waits is to be written first.
        tokio::task::spawn_blocking(|| then.wait()).await.unwrap();
        let answer = Response::builder().header("content-length", 2);
        let mut stream = respond
            .send_response(answer.body(()).unwrap(), false)
            .unwrap();
        stream.send_data("ok".into(), true).unwrap();
    })
}

fn speak_h2(backend: &mut Backend) {
    backend.servers[0].protocol = Protocol::H2;
}

#[test]
fn a_client_of_http_1_gets_them_before_the_answer() {
    let read: &Barrier = Box::leak(Box::new(Barrier::new(2)));
    for (address, h2) in [(hinting(read), false), (hinting_h2(read), true)] {
        let harness = Harness::new(&[address], |_, backend| {
            if h2 {
                speak_h2(backend);
            }
        });
        let mut client = harness.connect();
        for _ in 0..2 {
            client.write_all(GET.as_bytes()).unwrap();
            let early = format!("HTTP/1.1 102 Processing\r\n\r\n{HINTS}");
            assert_eq!(read_to(&mut client, "b.js>\r\n\r\n"), early);
            read.wait();
            let answer = read_to(&mut client, "ok");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
}

#[test]
fn a_client_of_http_2_gets_them_before_the_answer() {
    let read: &Barrier = Box::leak(Box::new(Barrier::new(2)));
    for (address, h2) in [(hinting(read), false), (hinting_h2(read), true)] {
        let harness = Harness::new(&[address], |_, backend| {
            if h2 {
                speak_h2(backend);
            }
        });
        run(async {
            let mut sender = connect(harness.address).await;
            let request = Request::get("http://a/").body(()).unwrap();
            let (mut response, _) = sender.send_request(request, true).unwrap();
            let mut statuses = Vec::new();
            while statuses.len() < 2 {
                let interim = poll_fn(|cx| response.poll_informational(cx)).await;
                let head = interim.expect("an interim answer").unwrap();
                let links = head.headers().get_all("link").iter().count();
                statuses.push((head.status().as_u16(), head.headers().len(), links));
            }
            assert_eq!(statuses, [(102, 0, 0), (103, 2, 2)]);
            tokio::task::spawn_blocking(|| read.wait());
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(all(&mut response.into_body()).await, b"ok");
        });
    }
}

#[test]
fn a_client_of_http_1_0_gets_none() {
    let address = answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let harness = Harness::new(&[address], |_, _| ());
    let answer = harness.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[test]
fn they_come_in_order_where_requests_do_not_wait() {
    let address = answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let harness = Harness::new(&[address], |_, _| ());
    let answer = harness.ask(&format!("{GET}{GET}{GET_AND_CLOSE}"));
    let statuses: Vec<&str> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, begin)| &answer[at + begin.len()..][..3])
        .filter(|&status| status != "103")
        .collect();
    assert_eq!(statuses, ["200"; 3], "{answer}");
    assert!(
        answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{answer}"
    );
    assert!(
        !answer.contains("ok\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
}

#[test]
fn a_server_of_http_2_may_be_waited_for_before_the_body_is_sent() {
    let (asked, told) = mpsc::channel::<()>();
    static ASKED: OnceLock<Mutex<mpsc::Sender<()>>> = OnceLock::new();
    let _ = ASKED.set(Mutex::new(asked));
    let address = h2_server(async |request, mut respond| {
        assert_eq!(request.headers()["expect"], "100-continue");
        let go_on = Response::builder().status(100).body(()).unwrap();
        respond.send_informational(go_on).unwrap();
        let _ = ASKED.get().unwrap().lock().unwrap().send(());
        let mut body = request.into_body();
        let got = data(&mut body).await.unwrap();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(got, true).unwrap();
    });
    let harness = Harness::new(&[address], |_, backend| speak_h2(backend));
    let mut client = harness.connect();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    told.recv().unwrap();
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(read_to(&mut client, "\r\n\r\n"), go_on);
    client.write_all(b"abc").unwrap();
    assert!(read_all(&mut client).ends_with("abc\r\n0\r\n\r\n"));
}

#[test]
fn a_body_that_rules_have_waited_for_is_taken_before_the_request_is_refused() {
    let at = server(|mut stream| {
        read_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
    });
    let rules = rules::Rules::new(
        &[at],
        r#"    rules:
      - { if: { path: /some }, wait_for_body: { time: 20s, at_least: 4 } }
      - { if: { path: /some }, deny: true }
"#,
        "",
    );
    let mut client = rules.harness.connect();
    let head =
        "POST /some HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(
        read_to(&mut client, "\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"evil bytes").unwrap();
    let refused = read_to(&mut client, "</html>\n");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(!refused.contains("connection: close"), "{refused}");
    // So the connection can go on.
    let head = "GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    assert!(read_to(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 200"));
    drop(client);
    rules::cleaned(rules);
}
