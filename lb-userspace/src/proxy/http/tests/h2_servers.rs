//! Servers of HTTP/2 that do not answer as they should, or are not to blame that they do not answer.

use std::sync::{Mutex, mpsc};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response};

use super::{
    rules::{Rules, cleaned},
    *,
};
use crate::{config::model::Protocol, proxy::http::h2_tests::h2_server};

const H2: &str = "    default_server: { protocol: h2 }\n";

/// Answers with what it was asked for.
async fn repeat(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let response = Response::builder()
        .header("x-uri", request.uri().to_string())
        .body(())
        .unwrap();
    let _ = respond.send_response(response, true);
}

#[test]
fn a_request_that_cannot_be_sent_is_not_the_servers_fault() {
    let rules = Rules::new(
        &[h2_server(repeat)],
        "    rules: [{ if: { path: /broken }, set_header: { Host: \"a b\" } }]\n",
        H2,
    );
    let asks = [
        ("GET / HTTP/1.1\r\nHost: a:b:c\r\n", "400"),
        ("GET /broken HTTP/1.1\r\nHost: a\r\n", "500"),
        ("GET / HTTP/1.1\r\nHost: a:81\r\n", "200"),
        // Without a host there is no authority.
        ("GET / HTTP/1.1\r\nHost: \r\n", "200"),
        ("GET / HTTP/1.0\r\n", "200"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", "200"),
    ];
    for (request, status) in asks {
        let answer = rules
            .harness
            .ask(&format!("{request}Connection: close\r\n\r\n"));
        assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer}");
    }
    let server = &rules.harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.response_errors.value(), 0);
    let lines = cleaned(rules);
    assert_eq!(lines[0], "f/<NOSRV> 400 PR-- <BADREQ>");
    assert_eq!(lines[1], "b/<NOSRV> 500 IR-- GET /broken HTTP/1.1");
}

#[test]
fn a_connection_is_used_again_as_often_as_it_may_be() {
    for (most, wanted) in [(None, 1), (Some(1), 2), (Some(0), 4)] {
        let harness = Harness::new(&[h2_server(repeat)], |_, backend| {
            backend.servers[0].protocol = Protocol::H2;
            backend.servers[0].max_reuse = most;
        });
        let again = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
        let answer = harness.ask(&format!("{again}{GET_AND_CLOSE}"));
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 4, "{answer}");
        let server = &harness.shared.topology.backends[0].servers[0];
        assert_eq!(server.counters.connects.value(), wanted, "{most:?}");
    }
}

#[test]
fn a_request_that_the_server_does_not_take_is_sent_once_more() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let address = h2_server(async |request, mut respond| {
        let refuses = match request.uri().path() {
            "/first" => false,
            "/once" => ASKED.fetch_add(1, SeqCst) == 0,
            _ => ASKED.fetch_add(1, SeqCst) < 1000,
        };
        match refuses {
            true => respond.send_reset(Reason::REFUSED_STREAM),
            false => drop(respond.send_response(Response::new(()), true)),
        }
    });
    for (path, status, logged) in [
        ("/once", "200", "200 ---- 1/1/0/0/1 0/0"),
        ("/never", "502", "502 SH-- 1/1/0/0/1 0/0"),
    ] {
        ASKED.store(0, SeqCst);
        let harness = Harness::new(&[address], |_, backend| {
            backend.servers[0].protocol = Protocol::H2;
        });
        // The connection is there when the request in question comes.
        let answer = harness.ask(&format!(
            "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        let last = answer.rsplit("HTTP/1.1 ").next().unwrap();
        assert!(last.starts_with(status), "{path}: {answer}");
        assert_eq!(ASKED.load(SeqCst), 2, "{path}");
        let server = &harness.shared.topology.backends[0].servers[0];
        assert_eq!(server.counters.retries.value(), 1, "{path}");
        assert!(tail(&harness.logged()[1]).starts_with(logged), "{path}");
    }
}

#[test]
fn a_connection_that_cannot_be_made_is_tried_once_for_all_that_wait() {
    const CLIENTS: u32 = 6;
    static ACCEPTED: AtomicU32 = AtomicU32::new(0);
    let (all_wait, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    // It ends its first connection once it is told to, and any other at once.
    let address = server(move |_stream| {
        if ACCEPTED.fetch_add(1, SeqCst) == 0 {
            let _ = told.lock().unwrap().recv();
        }
    });
    let rules = Rules::new(
        &[address],
        "",
        "    default_server: { protocol: h2, tls: { verify: none } }\n    retries: 0\n    timeouts: { connect: 20s }\n",
    );
    let harness = &rules.harness;
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| harness.connect()).collect();
    for client in &mut clients {
        client.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
    }
    let requests = &harness.shared.topology.frontends[0].counters.http.requests;
    wait_until("all have come", || requests.value() == u64::from(CLIENTS));
    // They are counted before they wait. Who is served after that has seen the worker done with them.
    let answer = harness.ask("?\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    all_wait.send(()).unwrap();
    for client in &mut clients {
        let answer = read_all(client);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    // The kernel has let it in by now, the server may not have got to it.
    wait_until("it was tried", || ACCEPTED.load(SeqCst) > 0);
    assert_eq!(ACCEPTED.load(SeqCst), 1);
    drop(clients);
    let mut logged = cleaned(rules);
    logged.retain(|line| !line.ends_with("<BADREQ>"));
    assert_eq!(logged, ["b/s0 503 SC-- GET / HTTP/1.1"; 6]);
}
