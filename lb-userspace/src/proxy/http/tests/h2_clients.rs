//! Clients of HTTP/2 get what those of HTTP/1 get.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{Request, Response};

use super::{
    rules::{Rules, cleaned},
    *,
};
use crate::proxy::http::{
    h2_tests::{all, connect, run},
    h2_websocket_tests::ask_for_websocket,
};

/// The answer to a request without a body.
async fn ask(sender: &mut SendRequest<Bytes>, request: Request<()>) -> (Response<()>, Vec<u8>) {
    let (response, _) = sender.send_request(request, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    (Response::from_parts(head, ()), all(&mut body).await)
}

#[test]
fn pages_of_ones_own_stand_for_refusals_in_http_2() {
    let folder = std::env::temp_dir().join(format!("lb-h2-pages-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("400.json"), "{}").unwrap();
    std::fs::write(
        folder.join("502.http"),
        "HTTP/1.0 599 Oops\nContent-Type: text/plain\nX-Page: 1\n\nno tunnel",
    )
    .unwrap();
    let rules = Rules::within(
        folder,
        &[answering(OK)],
        "    errorfiles: { 400: 400.json, 502: 502.http }\n",
        "",
    );
    let address = rules.harness.address;
    run(async {
        let mut sender = connect(address).await;
        for (method, page) in [("GET", &b"{}"[..]), ("HEAD", b"")] {
            let request = Request::builder()
                .method(method)
                .uri("http://a/")
                .header("host", "b");
            let (head, body) = ask(&mut sender, request.body(()).unwrap()).await;
            assert_eq!(head.status(), 400);
            assert_eq!(head.headers()["content-type"], "application/json");
            assert_eq!(head.headers()["content-length"], "2");
            assert_eq!(body, page, "{method}");
        }
        // The server answers as if no other protocol had been asked for.
        let (response, _stream) = ask_for_websocket(address).await;
        assert_eq!(response.status(), 599);
        assert_eq!(response.headers()["x-page"], "1");
        assert_eq!(all(&mut response.into_body()).await, b"no tunnel");
    });
    cleaned(rules);
}

/// Says what the connection remembers, and lets it remember the path.
const REMEMBERING: &str = r#"    rules:
      - set_header: { X-Last: "%[var(sess.last)]" }
      - set_var: { sess.last: "%[path]", txn.own: "%[path]" }
      - { response: { set_header: { X-Own: "%[var(txn.own)]" } } }
"#;

/// A server that tells what was remembered.
fn telling() -> SocketAddr {
    server(|mut stream| {
        loop {
            let head = read_head(&mut stream);
            let Some(last) = head.split("x-last: ").nth(1) else {
                return;
            };
            let last = last.split("\r\n").next().unwrap();
            let answer =
                format!("HTTP/1.1 200 OK\r\nX-Last: {last}\r\nContent-Length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    })
}

#[test]
fn a_connection_remembers_what_its_streams_set() {
    let rules = Rules::new(&[telling()], REMEMBERING, "");
    run(async {
        for _ in 0..2 {
            let mut sender = connect(rules.harness.address).await;
            for (path, last) in [("/a", ""), ("/b", "/a"), ("/c", "/b")] {
                let request = Request::get(format!("http://a{path}")).body(()).unwrap();
                let (head, _) = ask(&mut sender, request).await;
                assert_eq!(head.headers()["x-last"], last, "{path}");
                assert_eq!(head.headers()["x-own"], path);
            }
        }
    });
    cleaned(rules);
}

#[test]
fn a_connection_that_was_parked_remembers_what_its_requests_set() {
    let rules = Rules::new(&[telling()], REMEMBERING, "");
    let mut client = rules.harness.connect();
    for (path, last) in [("/a", ""), ("/b", "/a"), ("/c", "/b")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let answer = read_to(&mut client, "ok");
        assert!(
            answer.contains(&format!("\r\nx-last: {last}\r\n")),
            "{answer}"
        );
        // Long enough to be parked.
        thread::sleep(crate::proxy::http::park::AFTER * 2);
    }
    drop(client);
    cleaned(rules);
}

#[test]
fn rules_apply_to_an_answer_that_switches_protocols() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nX-Secret: 1\r\n\r\nhello";
    let rules = Rules::new(
        &[answering(switching)],
        "    rules:\n      - { response: { set_header: { X-Seen: \"%[status]\" }, del_header: X-Secret } }\n      - { response: { set_status: 200 } }\n",
        "    rules: [{ if: { path: /deny }, response: { deny: true } }]\n",
    );
    let ask = |path: &str| {
        let mut client = rules.harness.connect();
        let request = "HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
        client
            .write_all(format!("GET {path} {request}").as_bytes())
            .unwrap();
        client
    };
    assert_eq!(
        read_to(&mut ask("/"), "hello"),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nx-seen: 101\r\nconnection: Upgrade\r\n\r\nhello"
    );
    let denied = read_to(&mut ask("/deny"), "</html>\n");
    assert!(denied.starts_with("HTTP/1.1 502 "), "{denied}");
    let server = &rules.harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.denied_responses.value(), 1);
    assert_eq!(server.counters.response_errors.value(), 0);
    cleaned(rules);
}

#[test]
fn a_request_that_has_yet_to_end_is_not_reset_once_it_is_answered() {
    let harness = Harness::new(&[reading_three()], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        let request = Request::put("http://a/").header("content-length", 3);
        let (response, mut stream) = sender
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        // All of it, but for the word that this was all.
        stream.send_data("abc".into(), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(all(&mut response.into_body()).await, b"ok");
        // Whatever would have been sent of the first has come before the answer to a second.
        let request = Request::put("http://a/").header("content-length", 3);
        let (response, mut second) = sender
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        second.send_data("abc".into(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        let reset = poll_fn(|cx| Poll::Ready(stream.poll_reset(cx))).await;
        assert!(reset.is_pending(), "{reset:?}");
        stream.send_data(Bytes::new(), true).unwrap();
    });
}

#[test]
fn a_request_that_goes_on_after_its_answer_is_stopped() {
    // Nobody takes the rest.
    let closing = server(|mut stream| {
        read_head(&mut stream);
        let answer = OK.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let harness = Harness::new(&[closing], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        let request = Request::put("http://a/").body(()).unwrap();
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        stream.send_data("more".into(), false).unwrap();
        let reset = poll_fn(|cx| stream.poll_reset(cx)).await;
        assert_eq!(reset.unwrap(), Reason::NO_ERROR);
    });
}

/// A server that reads a body of three bytes.
fn reading_three() -> SocketAddr {
    server(|mut stream| {
        while !read_head(&mut stream).is_empty() {
            let mut body = [0; 3];
            stream.read_exact(&mut body).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    })
}
