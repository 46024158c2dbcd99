//! WebSocket in streams of HTTP/2.

use std::{io::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Request, Response};

use super::{
    h2_tests::{all, connect, data, run},
    tests::*,
};

/// A server of WebSocket as far as its handshake; sends back what comes.
fn websocket(proves: bool) -> SocketAddr {
    websocket_until(proves, |mut stream| {
        use std::io::Read;

        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"bye");
    })
}

/// The same with what it does after that.
fn websocket_until(proves: bool, then: fn(std::net::TcpStream)) -> SocketAddr {
    server(move |mut stream| {
        let head = read_head(&mut stream);
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        let key = head.split("sec-websocket-key: ").nth(1).unwrap();
        let key = key.split("\r\n").next().unwrap();
        let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
            if proves { text.as_bytes() } else { b"x" },
        );
        use base64::Engine;
        let accept = base64::engine::general_purpose::STANDARD.encode(digest);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: x\r\n\r\nhello"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        then(stream);
    })
}

pub(super) async fn ask_for_websocket(
    address: SocketAddr,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let mut sender = connect(address).await;
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("http://a/chat")
        .header("sec-websocket-protocol", "x")
        // There is no body: a server that is told of one would take the next request for it.
        .header("content-length", "1")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    let (response, stream) = sender.send_request(request, false).unwrap();
    (response.await.unwrap(), stream)
}

#[test]
fn a_stream_may_be_a_websocket() {
    let harness = Harness::new(&[websocket(true)], |_, _| ());
    run(async {
        let (response, mut stream) = ask_for_websocket(harness.address).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().len(), 1, "{:?}", response.headers());
        assert_eq!(response.headers()["sec-websocket-protocol"], "x");
        let mut body = response.into_body();
        assert_eq!(data(&mut body).await.unwrap(), "hello");
        for text in ["one", "two"] {
            stream.send_data(text.into(), false).unwrap();
            assert_eq!(data(&mut body).await.unwrap(), text);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(all(&mut body).await, b"bye");
    });
    let lines = harness.logged();
    assert_eq!(
        tail(&lines[0]),
        "200 ---- 1/1/0/0/0 0/0 \"GET http://a/chat HTTP/2.0\""
    );
}

#[test]
fn a_websocket_in_a_stream_ends_with_its_server() {
    let harness = Harness::new(&[websocket_until(true, drop)], |_, _| ());
    let server = &harness.shared.topology.backends[0].servers[0];
    run(async {
        // The client says nothing, and ends nothing.
        let (response, _stream) = ask_for_websocket(harness.address).await;
        assert_eq!(response.status(), 200);
        assert_eq!(all(&mut response.into_body()).await, b"hello");
        while server.active() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(
        tail(&harness.logged()[0]),
        "200 ---- 1/1/0/0/0 0/0 \"GET http://a/chat HTTP/2.0\""
    );
}

#[test]
fn a_server_of_a_websocket_has_a_time_of_its_own_once_the_client_has_ended() {
    let stays = websocket_until(true, |mut stream| {
        use std::io::Read;

        let _ = stream.read_to_end(&mut Vec::new());
        // It says nothing more, and ends nothing.
        std::mem::forget(stream);
    });
    let harness = Harness::new(&[stays], |_, backend| {
        backend.timeouts.server_fin = Some(Duration::from_millis(50));
    });
    let server = &harness.shared.topology.backends[0].servers[0];
    run(async {
        let (response, mut stream) = ask_for_websocket(harness.address).await;
        stream.send_data(Bytes::new(), true).unwrap();
        let mut body = response.into_body();
        assert_eq!(data(&mut body).await.unwrap(), "hello");
        while server.active() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(
        tail(&harness.logged()[0]),
        "200 sD-- 1/1/0/0/0 0/0 \"GET http://a/chat HTTP/2.0\""
    );
}

#[test]
fn a_websocket_that_the_server_does_not_speak_is_none() {
    for (address, wanted) in [
        (websocket(false), 502),
        // Else it would look as if it was spoken now.
        (answering(OK), 502),
        (
            answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            404,
        ),
    ] {
        let harness = Harness::new(&[address], |_, _| ());
        run(async {
            let (response, _stream) = ask_for_websocket(harness.address).await;
            assert_eq!(response.status(), wanted);
        });
    }
}

/// A server of HTTP/2 that carries WebSocket in streams, or not; sends back what comes.
fn websocket_h2(carries: bool) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        run(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut builder = h2::server::Builder::new();
            if carries {
                builder.enable_connect_protocol();
            }
            let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                tokio::task::spawn_local(async move {
                    let switches = request.method() == "CONNECT";
                    assert_eq!(switches, carries && request.uri().path() != "/plain");
                    assert!(!request.headers().contains_key("sec-websocket-key"));
                    assert!(!request.headers().contains_key("upgrade"));
                    if !switches || request.uri().path() == "/no" {
                        let response = Response::builder().status(404).body(()).unwrap();
                        let _ = respond.send_response(response, true);
                        return;
                    }
                    let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
                    assert_eq!(protocol.as_str(), "websocket");
                    let response = Response::builder().header("sec-websocket-protocol", "x");
                    let mut stream = respond
                        .send_response(response.body(()).unwrap(), false)
                        .unwrap();
                    stream.send_data("hello".into(), false).unwrap();
                    let mut body = request.into_body();
                    while let Some(data) = data(&mut body).await {
                        stream.send_data(data, false).unwrap();
                    }
                    stream.send_data("bye".into(), true).unwrap();
                });
            }
        });
    });
    address
}

fn to_h2(server: SocketAddr) -> Harness {
    Harness::new(&[server], |_, backend| {
        backend.servers[0].protocol = crate::config::model::Protocol::H2;
    })
}

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

#[test]
fn an_upgrade_is_a_stream_of_a_server_of_http_2() {
    let harness = to_h2(websocket_h2(true));
    let mut client = harness.connect();
    // What a client sends before it knows is the tunnel's, too.
    client
        .write_all(format!("{}early", upgrade("/chat")).as_bytes())
        .unwrap();
    let answer = read_to(&mut client, "early");
    assert!(
        answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{answer}"
    );
    for field in [
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-protocol: x",
        // RFC 6455's own example.
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ] {
        assert!(answer.contains(&format!("\r\n{field}\r\n")), "{answer}");
    }
    assert!(answer.ends_with("\r\n\r\nhelloearly"), "{answer}");
    client.write_all(b"later").unwrap();
    assert_eq!(read_to(&mut client, "later"), "later");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "bye", "half of it goes on");
    let mut client = harness.connect();
    client.write_all(upgrade("/no").as_bytes()).unwrap();
    let answer = read_to(&mut client, "\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    drop(client);
    let lines = harness.logged();
    assert_eq!(
        tail(&lines[0]),
        "101 ---- 1/1/0/0/0 0/0 \"GET /chat HTTP/1.1\""
    );
    assert_eq!(
        tail(&lines[1]),
        "404 ---- 1/1/0/0/0 0/0 \"GET /no HTTP/1.1\""
    );
}

#[test]
fn a_stream_of_http_2_may_lead_to_one() {
    let harness = to_h2(websocket_h2(true));
    run(async {
        let (response, mut stream) = ask_for_websocket(harness.address).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().len(), 1, "{:?}", response.headers());
        let mut body = response.into_body();
        assert_eq!(data(&mut body).await.unwrap(), "hello");
        // More than a window.
        let much = Bytes::from(vec![b'x'; 200_000]);
        stream.reserve_capacity(much.len());
        stream.send_data(much, false).unwrap();
        let mut got = 0;
        while got < 200_000 {
            got += data(&mut body).await.unwrap().len();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(all(&mut body).await, b"bye");
    });
    assert_eq!(
        tail(&harness.logged()[0]),
        "200 ---- 1/1/0/0/0 0/0 \"GET http://a/chat HTTP/2.0\""
    );
}

#[test]
fn a_server_of_http_2_that_carries_no_other_protocol_is_not_asked() {
    let harness = to_h2(websocket_h2(false));
    let mut client = harness.connect();
    client.write_all(upgrade("/chat").as_bytes()).unwrap();
    let answer = read_to(&mut client, "\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let server = &harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.response_errors.value(), 0);
    drop(client);
    assert_eq!(
        tail(&harness.logged()[0]),
        "502 SH-- 1/1/0/0/0 0/0 \"GET /chat HTTP/1.1\""
    );
}
