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
    use std::io::Read;

    server(move |mut stream| {
        let head = read_head(&mut stream);
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
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
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"bye");
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
