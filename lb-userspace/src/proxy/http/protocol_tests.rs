//! HTTP/1's protocol beyond a request and its answer: upgrades, expectations, trailers, HEAD, HTTP/1.0.

use super::tests::*;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::mpsc,
    time::Duration,
};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x-hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n\
                       Sec-WebSocket-Key: k\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";

/// A server that switches protocols and says hello, then sends back what comes in capitals, until `bye`.
fn shouting() -> SocketAddr {
    server(|mut stream| {
        let head = read_head(&mut stream);
        assert!(head.contains("\r\nconnection: Upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(!head.contains("x-hop"), "{head}");
        stream
            .write_all(format!("{SWITCHING}hello").as_bytes())
            .unwrap();
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if buffer.starts_with(b"bye") {
                return;
            }
            let shouted = buffer[..n].to_ascii_uppercase();
            if stream.write_all(&shouted).is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"!");
    })
}

#[test]
fn an_upgraded_connection_is_a_tunnel() {
    let harness = Harness::new(&[shouting()], |_, _| ());
    // What a client sends before it knows is the tunnel's, too.
    let mut client = harness.connect();
    client
        .write_all(format!("{UPGRADE}early").as_bytes())
        .unwrap();
    assert_eq!(
        read_to(&mut client, "helloEARLY"),
        format!("{SWITCHING}helloEARLY")
    );
    client.write_all(b"later").unwrap();
    assert_eq!(read_to(&mut client, "LATER"), "LATER");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "!", "half of it goes on");
    let mut client = harness.connect();
    client.write_all(UPGRADE.as_bytes()).unwrap();
    read_to(&mut client, "hello");
    client.write_all(b"bye").unwrap();
    assert_eq!(read_all(&mut client), "", "the server closed");
    drop(client);
    let lines = harness.logged();
    let bytes = SWITCHING.len() + "helloEARLYLATER!".len();
    assert!(
        lines[0].contains(&format!(" 101 {bytes} - - ---- 1/1/0/0/0 0/0 ")),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(" \"GET /ws HTTP/1.1\""), "{lines:?}");
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends() {
    let harness = Harness::new(&[shouting()], |_, backend| {
        backend.timeouts.upgraded = Some(Duration::from_millis(80));
    });
    let mut client = harness.connect();
    client.write_all(UPGRADE.as_bytes()).unwrap();
    assert_eq!(read_all(&mut client), format!("{SWITCHING}hello"));
    assert_eq!(
        tail(&harness.logged()[0]),
        "101 cD-- 1/1/0/0/0 0/0 \"GET /ws HTTP/1.1\""
    );
}

#[test]
fn a_tunnel_without_a_time_of_its_own_has_the_clients_and_the_servers() {
    for (client, server) in [(SHORT, 3600 * SHORT), (3600 * SHORT, SHORT)] {
        let harness = Harness::new(&[shouting()], |frontend, backend| {
            frontend.timeouts.client = client;
            (backend.timeouts.server, backend.timeouts.upgraded) = (server, None);
        });
        let mut client = harness.connect();
        client.write_all(UPGRADE.as_bytes()).unwrap();
        // The server learns that the client is taken to have ended, and has the last word.
        let answer = read_all(&mut client);
        assert!(answer.starts_with(&format!("{SWITCHING}hello")), "{answer}");
        let line = tail(&harness.logged()[0]);
        assert!(line.contains(" cD-- ") || line.contains(" sD-- "), "{line}");
    }
}

#[test]
fn a_tunnel_ends_with_its_server_whatever_the_client_does() {
    let leaves = server(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(format!("{SWITCHING}bye").as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        // It does not even close until it has to.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let harness = Harness::new(&[leaves], |_, backend| {
        backend.servers[0].maxconn = Some(1);
    });
    let backend = &harness.shared.topology.backends[0];
    let mut stays = harness.connect();
    stays.write_all(UPGRADE.as_bytes()).unwrap();
    assert_eq!(read_all(&mut stays), format!("{SWITCHING}bye"));
    wait_until("the slot is free", || backend.servers[0].active() == 0);
    assert_eq!(
        tail(&harness.logged()[0]),
        "101 ---- 1/1/0/0/0 0/0 \"GET /ws HTTP/1.1\""
    );
    drop(stays);
}

#[test]
fn an_upgrade_that_the_server_declines_is_a_request_like_any_other() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let mut client = harness.connect();
    for _ in 0..2 {
        client.write_all(UPGRADE.as_bytes()).unwrap();
        assert!(read_to(&mut client, "ok").starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn a_client_that_is_to_ask_for_another_protocol_learns_for_which() {
    let answer = "Upgrade: x/2\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok";
    for (status, told) in [("426 Upgrade Required", true), ("403 Forbidden", false)] {
        let answer: &'static str = format!("HTTP/1.1 {status}\r\n{answer}").leak();
        let harness = Harness::new(&[answering(answer)], |_, _| ());
        let mut client = harness.connect();
        // The connection goes on.
        for _ in 0..2 {
            client.write_all(GET.as_bytes()).unwrap();
            let answer = read_to(&mut client, "ok");
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{answer}"
            );
            for field in ["upgrade: x/2", "connection: Upgrade"] {
                let line = format!("\r\n{field}\r\n");
                assert_eq!(answer.contains(&line), told, "{answer}");
            }
        }
        // In 1.0 there is no other protocol.
        let answer = harness.ask("GET / HTTP/1.0\r\n\r\n");
        assert!(!answer.contains("upgrade: "), "{answer}");
    }
}

#[test]
fn http_1_0_is_not_told_that_a_connection_goes_on_whose_end_is_that_of_the_answer() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let harness = Harness::new(&[answering(chunked)], |_, _| ());
    let answer = harness.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[test]
fn no_upgrade_leads_to_another_http() {
    for offer in ["h2c", "websocket, H2C", "HTTP/2.0", "TLS/1.2, HTTP/1.1"] {
        let (heads, seen) = recorder(OK);
        let harness = Harness::new(&[seen], |_, _| ());
        harness.ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade, http2-settings\r\nUpgrade: {offer}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        let head = heads.recv().unwrap();
        assert!(
            !head.contains("upgrade") && !head.contains("http2"),
            "{head}"
        );
    }
}

/// A server that tells what it got, head and body, once it has answered with `answer`.
fn recorder(answer: &'static str) -> (mpsc::Receiver<String>, SocketAddr) {
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let address = server(move |mut stream| {
        loop {
            let mut got = read_head(&mut stream);
            if got.is_empty() {
                return;
            }
            if got.contains("transfer-encoding: chunked\r\n") {
                got += &read_to(&mut stream, "0\r\n");
                got += &read_to(&mut stream, "\r\n");
                while !got.ends_with("\r\n\r\n") {
                    got += &read_to(&mut stream, "\r\n");
                }
            } else if let Some(length) = got
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
            {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                got += &String::from_utf8_lossy(&body);
            }
            let _ = stream.write_all(answer.as_bytes());
            let _ = sender.lock().unwrap().send(got);
        }
    });
    (receiver, address)
}

#[test]
fn a_body_waits_for_the_servers_word() {
    let address = server(|mut stream| {
        let head = read_head(&mut stream);
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 3];
        stream.read_exact(&mut body).unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            String::from_utf8_lossy(&body)
        );
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(
        read_to(&mut client, "\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"abc").unwrap();
    let answer = read_all(&mut client);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("abc"),
        "{answer}"
    );
}

#[test]
fn a_body_that_the_server_says_nothing_about_is_sent_after_a_second() {
    let (got, address) = recorder(OK);
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(
        read_to(&mut client, "\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"abc").unwrap();
    assert!(read_all(&mut client).ends_with("\r\n\r\nok"));
    assert!(got.recv().unwrap().ends_with("\r\n\r\nabc"));
}

#[test]
fn a_final_answer_makes_the_body_unneeded() {
    let harness = Harness::new(
        &[answering(
            "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
        )],
        |_, _| (),
    );
    let answer = harness
        .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 417 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[test]
fn trailers_pass_where_they_are_announced() {
    let chunked = "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n";
    let (got, address) = recorder(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 3\r\nX-Other: 4\r\n\r\n",
    );
    let harness = Harness::new(&[address], |_, _| ());
    let ask = |fields: &str| {
        harness.ask(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, te\r\nTransfer-Encoding: chunked\r\n{fields}\r\n{chunked}"
        ))
    };
    let answer = ask("Trailer: X-Sum\r\nTE: trailers\r\n");
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-sum: 3\r\n\r\n"),
        "{answer}"
    );
    let seen = got.recv().unwrap();
    assert!(
        seen.ends_with("5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{seen}"
    );
    // What the client says it would take makes no difference.
    let answer = ask("");
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-sum: 3\r\n\r\n"),
        "{answer}"
    );
    let seen = got.recv().unwrap();
    assert!(seen.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{seen}");
    // Nothing in HTTP/1.0 could be followed by them.
    let answer = harness.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[test]
fn a_connection_goes_on_after_trailers() {
    let with = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                2\r\nok\r\n0\r\nX-Sum: 3\r\n\r\n";
    let harness = Harness::new(&[answering(with)], |_, _| ());
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = harness.connect();
    // One after the other, and both at once.
    for requests in [get.to_owned(), get.to_owned(), get.repeat(2)] {
        client.write_all(requests.as_bytes()).unwrap();
        for _ in 0..requests.len() / get.len() {
            let got = read_to(&mut client, "0\r\nx-sum: 3\r\n\r\n");
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
            assert_eq!(got.matches("x-sum: 3").count(), 1, "{got}");
            assert_eq!(got.matches("2\r\nok\r\n").count(), 1, "{got}");
        }
    }
    // To HEAD there are none.
    client
        .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let got = read_all(&mut client);
    assert!(
        got.ends_with("\r\n\r\n") && !got.contains("x-sum: 3"),
        "{got}"
    );
}

#[test]
fn the_answer_to_head_has_the_length_and_no_body() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let harness = Harness::new(&[answering(answer)], |_, _| ());
        let mut client = harness.connect();
        for _ in 0..2 {
            client
                .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let got = read_to(&mut client, "\r\n\r\n");
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
            assert_eq!(
                got.contains("content-length: 5\r\n"),
                answer.contains("Content-Length"),
                "{got}"
            );
        }
    }
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n";
    let harness = Harness::new(&[answering(chunked)], |_, _| ());
    // Without a length the end of the connection is the end of the body.
    let answer = harness.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok!"), "{answer}");
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let mut client = harness.connect();
    for _ in 0..2 {
        client
            .write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let answer = read_to(&mut client, "ok");
        assert!(
            answer.contains("\r\nconnection: keep-alive\r\n"),
            "{answer}"
        );
    }
    assert!(
        harness
            .ask("GET / HTTP/1.0\r\n\r\n")
            .contains("connection: close")
    );
}

#[test]
fn http_1_0_servers_lose_no_body_of_a_later_request() {
    let (got, address) =
        recorder("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    for _ in 0..2 {
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .unwrap();
        let answer = read_to(&mut client, "ok");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(got.recv().unwrap().ends_with("3\r\nabc\r\n0\r\n\r\n"));
    }
}

#[test]
fn connect_is_not_served() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let answer = harness.ask("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{answer}"
    );
}

#[test]
fn events_pass_as_they_come() {
    let (sender, receiver) = mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(receiver);
    let address = server(move |mut stream| {
        read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            .unwrap();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            stream.write_all(event.as_bytes()).unwrap();
            receiver.lock().unwrap().recv().unwrap();
        }
    });
    let harness = Harness::new(&[address], |_, _| ());
    let mut client = harness.connect();
    client.write_all(GET.as_bytes()).unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        // The server sends the next only once this one is here.
        read_to(&mut client, event);
        sender.send(()).unwrap();
    }
}
