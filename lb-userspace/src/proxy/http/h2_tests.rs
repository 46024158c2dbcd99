//! HTTP/2 on either side, with the h2 crate as client and server, and with curl.

use std::{
    future::{Future, poll_fn},
    io::Write,
    net::SocketAddr,
    process::Command,
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client, server};
use http::{HeaderMap, Request, Response};

use super::tests::*;
use crate::config::model::Protocol;

/// A runtime for what a test does as client or server.
pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let set = tokio::task::LocalSet::new();
            let work = set.run_until(work);
            tokio::time::timeout(Duration::from_secs(20), work)
                .await
                .expect("in time")
        })
}

/// A connection of the h2 crate.
pub(super) async fn connect(address: SocketAddr) -> client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender.ready().await.unwrap()
}

pub(super) async fn data(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.ok()?;
    let _ = body.flow_control().release_capacity(data.len());
    Some(data)
}

pub(super) async fn all(body: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = data(body).await {
        all.extend_from_slice(&data);
    }
    all
}

/// An HTTP/2 server that does `serve` with each request.
pub(super) fn h2_server<F>(
    serve: impl Fn(Request<RecvStream>, server::SendResponse<Bytes>) -> F + Copy + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let set = tokio::task::LocalSet::new();
        set.block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let Ok(mut connection) = server::handshake(stream).await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::task::spawn_local(serve(request, respond));
                    }
                });
            }
        });
    });
    address
}

/// Sends back what comes, and says at the end how much it was.
async fn echo(request: Request<RecvStream>, mut respond: server::SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let response = Response::builder()
        .header("x-authority", head.uri.authority().unwrap().as_str())
        .header("x-target", head.uri.path_and_query().unwrap().as_str())
        .header("x-method", head.method.as_str())
        .header("x-fields", head.headers.len())
        .body(())
        .unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    let mut count = 0;
    while let Some(data) = data(&mut body).await {
        count += data.len();
        if write(&mut stream, data).await.is_none() {
            return;
        }
    }
    let mut trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    trailers.insert("x-count", count.into());
    let _ = stream.send_trailers(trailers);
}

/// Sends all of `data` as the window allows.
async fn write(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    stream.reserve_capacity(data.len());
    while !data.is_empty() {
        let n = match stream.capacity() {
            0 => poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?,
            n => n,
        };
        let part = data.split_to(n.min(data.len()));
        stream.send_data(part, false).ok()?;
    }
    Some(())
}

pub(super) fn h2(
    frontend: &mut crate::config::model::Frontend,
    backend: &mut crate::config::model::Backend,
) {
    let _ = frontend;
    for server in &mut backend.servers {
        server.protocol = Protocol::H2;
    }
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

#[test]
fn a_client_of_http_2_and_a_server_of_http_1() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        for _ in 0..3 {
            let (response, _) = sender.send_request(get("http://a/x?y"), true).unwrap();
            let (head, mut body) = response.await.unwrap().into_parts();
            assert_eq!(head.status, 200);
            assert_eq!(head.headers.len(), 1, "{:?}", head.headers);
            assert_eq!(head.headers["content-length"], "2");
            assert_eq!(all(&mut body).await, b"ok");
        }
    });
    let lines = harness.logged();
    assert_eq!(lines.len(), 3, "{lines:?}");
    // Bytes as HTTP/1 would have had them.
    let bytes = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".len();
    assert!(
        lines[0].ends_with(&format!(
            " 200 {bytes} - - ---- 1/1/0/0/0 0/0 \"GET http://a/x?y HTTP/2.0\""
        )),
        "{lines:?}"
    );
}

#[test]
fn a_client_of_http_1_and_a_server_of_http_2() {
    let harness = Harness::new(&[h2_server(echo)], h2);
    let mut client = harness.connect();
    for _ in 0..2 {
        client
            .write_all(b"POST /x?y HTTP/1.1\r\nHost: a:81\r\nTE: trailers\r\nConnection: te\r\nContent-Length: 3\r\n\r\nabc")
            .unwrap();
        let answer = read_to(&mut client, "0\r\n\r\n");
        for field in [
            "x-authority: a:81\r\n",
            "x-target: /x?y\r\n",
            "x-method: POST\r\n",
            // content-length and te
            "x-fields: 2\r\n",
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            assert!(answer.contains(field), "{field}: {answer}");
        }
    }
    client.write_all(GET_AND_CLOSE.as_bytes()).unwrap();
    let answer = read_all(&mut client);
    assert!(answer.contains("x-fields: 0\r\n"), "{answer}");
    drop(client);
    let lines = harness.logged();
    assert_eq!(
        tail(&lines[0]),
        "200 ---- 1/1/0/0/0 0/0 \"POST /x?y HTTP/1.1\""
    );
}

/// The way of a gRPC call whose messages go back and forth.
async fn call(sender: &mut client::SendRequest<Bytes>) {
    let request = Request::post("http://a/pkg.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    stream.send_data("one".into(), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(data(&mut body).await.unwrap(), "one");
    // Each is sent only once the last has come back.
    for message in ["two", "three"] {
        stream.send_data(message.into(), false).unwrap();
        assert_eq!(data(&mut body).await.unwrap(), message);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    assert!(data(&mut body).await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["x-count"], "11");
    assert_eq!(trailers["x-sum"], "1");
}

#[test]
fn streams_go_both_ways_with_trailers_at_their_ends() {
    let harness = Harness::new(&[h2_server(echo)], h2);
    run(async {
        let mut sender = connect(harness.address).await;
        let mut calls = Vec::new();
        for _ in 0..30 {
            let mut sender = sender.clone();
            calls.push(tokio::task::spawn_local(async move {
                call(&mut sender).await;
            }));
        }
        for call in calls {
            call.await.unwrap();
        }
        call(&mut sender).await;
    });
    assert_eq!(harness.logged().len(), 31);
}

#[test]
fn large_bodies_pass_both_ways_as_the_windows_allow() {
    const SIZE: usize = 4 << 20;
    let harness = Harness::new(&[h2_server(echo)], h2);
    run(async {
        let mut sender = connect(harness.address).await;
        let request = Request::post("http://a/").body(()).unwrap();
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        let sent: Vec<u8> = (0..SIZE).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
        let body = Bytes::from(sent.clone());
        tokio::task::spawn_local(async move {
            write(&mut stream, body).await.unwrap();
            stream.send_data(Bytes::new(), true).unwrap();
        });
        let mut body = response.await.unwrap().into_body();
        assert!(all(&mut body).await == sent);
    });
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_else() {
    let harness = Harness::new(
        &[h2_server(async |_, mut respond| {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let _ = write(&mut stream, vec![0; 1 << 20].into()).await;
            let _ = stream.send_data(Bytes::new(), true);
        })],
        h2,
    );
    run(async {
        let mut sender = connect(harness.address).await;
        let mut unread = Vec::new();
        for _ in 0..20 {
            let (response, _) = sender.send_request(get("http://a/"), true).unwrap();
            unread.push(response.await.unwrap().into_body());
        }
        // Of another connection: the window of this one is the client's own affair.
        let mut other = connect(harness.address).await;
        let (response, _) = other.send_request(get("http://a/"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(all(&mut body).await.len(), 1 << 20);
    });
}

#[test]
fn a_request_that_is_taken_back_is_taken_back_from_the_server() {
    let (sender, receiver) = mpsc::channel();
    let address = server(move |mut stream| {
        read_head(&mut stream);
        sender.send("asked").unwrap();
        assert_eq!(read_all(&mut stream), "");
        sender.send("closed").unwrap();
    });
    let harness = Harness::new(&[address], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        let (response, mut stream) = sender
            .send_request(Request::post("http://a/").body(()).unwrap(), false)
            .unwrap();
        // Off the runtime's thread: the request has to leave first.
        let asked = tokio::task::spawn_blocking(move || {
            assert_eq!(receiver.recv().unwrap(), "asked");
            receiver
        });
        let receiver = asked.await.unwrap();
        stream.send_reset(Reason::CANCEL);
        drop(response);
        let closed = tokio::task::spawn_blocking(move || receiver.recv().unwrap());
        assert_eq!(closed.await.unwrap(), "closed");
    });
    assert!(tail(&harness.logged()[0]).starts_with("-1 CD-- "));
}

#[test]
fn a_stream_that_the_server_resets_is_reset_for_the_client() {
    let harness = Harness::new(
        &[h2_server(async |_, mut respond| {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data("part".into(), false).unwrap();
            // What is sent goes out before the reset, which would overtake it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        })],
        h2,
    );
    run(async {
        let mut sender = connect(harness.address).await;
        let (response, _) = sender.send_request(get("http://a/"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(data(&mut body).await.unwrap(), "part");
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    });
    assert!(tail(&harness.logged()[0]).starts_with("200 SD-- "));
}

#[test]
fn ambiguous_requests_are_refused() {
    let harness = Harness::new(&[answering(OK)], |_, _| ());
    let build = |method: &str, uri: &str, fields: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    };
    let rows: Vec<(Request<()>, u16)> = vec![
        (build("GET", "http://a/", &[("host", "a")]), 200),
        (build("GET", "http://a/", &[("host", "A")]), 200),
        (build("GET", "http://a/", &[("host", "b")]), 400),
        (build("GET", "http://a/", &[("host", "a:81")]), 400),
        (
            build("GET", "http://a/", &[("host", "a"), ("host", "a")]),
            400,
        ),
        (build("GET", "http://u@a/", &[]), 400),
        (build("GET", "http://a,b/", &[]), 400),
        (build("GET", "http://a/", &[("content_length", "1")]), 400),
        (
            build("GET", "http://a/", &[("transfer_encoding", "chunked")]),
            400,
        ),
        (build("GET", "http://a/\u{e9}", &[]), 400),
        (build("CONNECT", "a:80", &[]), 405),
        (build("OPTIONS", "http://a/", &[]), 200),
        (build("PURGE", "http://a/", &[]), 200),
    ];
    run(async {
        for (request, wanted) in rows {
            let shown = format!("{request:?}");
            let mut sender = connect(harness.address).await;
            let end = request.method() != http::Method::CONNECT;
            let (response, _stream) = sender.send_request(request, end).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), wanted, "{shown}");
        }
    });
}

#[test]
fn crumbs_of_a_cookie_are_put_together() {
    let (sender, receiver) = mpsc::channel();
    let address = server(move |mut stream| {
        sender.send(read_head(&mut stream)).unwrap();
        stream.write_all(OK.as_bytes()).unwrap();
    });
    let harness = Harness::new(&[address], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        let request = Request::get("http://a/")
            .header("cookie", "x=1")
            .header("cookie", "y=2")
            .body(())
            .unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        response.await.unwrap();
    });
    let head = receiver.recv().unwrap();
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\ncookie: x=1; y=2\r\nhost: a\r\n\r\n"
    );
}

#[test]
fn a_body_without_a_length_comes_to_http_1_in_chunks_whatever_the_method() {
    for method in ["GET", "POST", "DELETE"] {
        let (sender, receiver) = mpsc::channel();
        let address = server(move |mut stream| {
            sender.send(read_head(&mut stream)).unwrap();
            sender.send(read_to(&mut stream, "0\r\n\r\n")).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        });
        let harness = Harness::new(&[address], |_, _| ());
        run(async {
            let mut sender = connect(harness.address).await;
            let request = Request::builder().method(method).uri("http://a/");
            let (response, mut stream) = sender
                .send_request(request.body(()).unwrap(), false)
                .unwrap();
            stream.send_data("abc".into(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        });
        assert!(receiver.recv().unwrap().contains("chunked"));
        assert_eq!(receiver.recv().unwrap(), "3\r\nabc\r\n0\r\n\r\n");
    }
}

#[test]
fn who_takes_back_too_many_requests_is_sent_away() {
    let harness = Harness::new(&[answering("")], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        for _ in 0..2000 {
            match poll_fn(|cx| sender.poll_ready(cx)).await {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error}");
                    return;
                }
            }
            let Ok((response, mut stream)) = sender.send_request(get("http://a/"), false) else {
                continue;
            };
            // One at a time, so that each is seen before it is taken back.
            tokio::time::sleep(Duration::from_millis(2)).await;
            stream.send_reset(Reason::CANCEL);
            drop(response);
        }
        panic!("it was served all the time");
    });
}

#[test]
fn no_server_no_answer_and_idle_ends_are_as_in_http_1() {
    let harness = Harness::new(&[answering("")], |frontend, backend| {
        backend.timeouts.server = SHORT;
        frontend.timeouts.http_keep_alive = SHORT;
    });
    run(async {
        let mut sender = connect(harness.address).await;
        let (response, _) = sender.send_request(get("http://a/"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 504);
        let body = all(&mut response.into_body()).await;
        assert!(body.starts_with(b"<html><body><h1>504 Gateway Time-out</h1>"));
        // Nothing more is asked, so that the connection ends.
        let error = loop {
            match poll_fn(|cx| sender.poll_ready(cx)).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        };
        assert_ne!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error}");
    });
    assert!(tail(&harness.logged()[0]).starts_with("504 sH-- "));
}

#[test]
fn curl_speaks_http_2_in_all_combinations() {
    if Command::new("curl").arg("--version").output().is_err() {
        return eprintln!("skipped: no curl");
    }
    for (address, h2) in [(answering(OK), false), (h2_server(echo), true)] {
        for version in ["--http1.1", "--http2-prior-knowledge", "--http1.0"] {
            let harness = Harness::new(&[address], |_, backend| {
                backend.servers[0].protocol = if h2 { Protocol::H2 } else { Protocol::H1 };
            });
            let url = format!("http://{}/x", harness.address);
            let mut curl = Command::new("curl");
            curl.args([
                "-s",
                "-m",
                "20",
                version,
                "-w",
                "%{http_version} %{http_code}",
            ]);
            if h2 {
                curl.args(["-d", "body"]);
            }
            let out = curl.arg(url).output().unwrap();
            let out = String::from_utf8_lossy(&out.stdout).into_owned();
            let body = if h2 { "body" } else { "ok" };
            let spoken = match version {
                "--http2-prior-knowledge" => "2",
                "--http1.0" => "1",
                _ => "1.1",
            };
            assert_eq!(out, format!("{body}{spoken} 200"), "{version} h2: {h2}");
        }
    }
}
