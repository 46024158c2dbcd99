//! Servers that answer before they have all of a request.

use std::sync::{Mutex, mpsc};

use h2::Reason;
use http::Request;

use super::{
    rules::{Rules, cleaned},
    *,
};
use crate::proxy::http::h2_tests::{all, connect, h2 as speaks_h2, h2_server, run};

const POST: &str = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
const EARLY: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";

/// A server that answers a head of a POST at once and then reads the ten bytes after it; what it has read, and of which
/// connection.
fn early() -> (SocketAddr, mpsc::Receiver<(u32, String)>) {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let address = server(move |mut stream| {
        let connection = CONNECTIONS.fetch_add(1, SeqCst);
        let tell = |said| tell.lock().unwrap().send((connection, said)).unwrap();
        loop {
            let head = read_head(&mut stream);
            if head.starts_with("POST") {
                stream.write_all(EARLY.as_bytes()).unwrap();
                let mut body = Vec::new();
                (&mut stream).take(10).read_to_end(&mut body).unwrap();
                tell(String::from_utf8(body).unwrap());
            } else if head.is_empty() {
                return;
            } else {
                tell("next".to_owned());
                stream.write_all(OK.as_bytes()).unwrap();
            }
        }
    });
    (address, told)
}

fn next(told: &mpsc::Receiver<(u32, String)>) -> (u32, String) {
    told.recv_timeout(Duration::from_secs(20)).unwrap()
}

/// The first line as [`tail`] has it, without the counts.
fn first(harness: Harness) -> String {
    tail(&harness.logged()[0])[.."200 ----".len()].to_owned()
}

#[test]
fn the_rest_of_a_request_still_comes_to_the_server() {
    let (server, told) = early();
    let harness = Harness::new(&[server], |_, _| ());
    let mut client = harness.connect();
    client.write_all(POST.as_bytes()).unwrap();
    let answer = read_to(&mut client, "big");
    assert!(!answer.to_lowercase().contains("connection"), "{answer}");
    assert_eq!(harness.backend().servers[0].active(), 1);
    // With it comes the next request, for which the same connections do.
    client
        .write_all(format!("world{GET_AND_CLOSE}").as_bytes())
        .unwrap();
    assert!(read_all(&mut client).ends_with("\r\n\r\nok"));
    let (connection, body) = next(&told);
    assert_eq!(body, "helloworld");
    assert_eq!(next(&told), (connection, "next".to_owned()));
    let lines = harness.logged();
    assert!(
        tail(&lines[0]).starts_with("413 ---- 1/1/0/0/0 "),
        "{lines:?}"
    );
    assert!(
        tail(&lines[1]).starts_with("200 ---- 1/1/0/0/0 "),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn it_comes_though_the_connection_ends_with_the_request() {
    let (server, told) = early();
    let harness = Harness::new(&[server], |_, _| ());
    let mut client = harness.connect();
    let request = POST.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    client.write_all(request.as_bytes()).unwrap();
    read_to(&mut client, "big");
    client.write_all(b"world").unwrap();
    assert_eq!(read_all(&mut client), "");
    assert_eq!(next(&told).1, "helloworld");
    assert_eq!(first(harness), "413 ----");
}

#[test]
fn half_an_answer_ends_with_half_a_request_and_that_is_no_fault_of_the_server() {
    let of = |then: &dyn Fn(&mut TcpStream)| {
        let address = server(move |mut stream| {
            read_head(&mut stream);
            stream
                .write_all(&EARLY.as_bytes()[..EARLY.len() - 1])
                .unwrap();
            // Until the proxy ends it.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let harness = Harness::new(&[address], |_, _| ());
        let mut client = harness.connect();
        let head = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        client.write_all(head.as_bytes()).unwrap();
        read_to(&mut client, "bi");
        then(&mut client);
        assert_eq!(read_all(&mut client), "");
        let aborts = &harness.backend().servers[0].counters.server_aborts;
        assert_eq!(aborts.value(), 0);
        first(harness)
    };
    let shut_down = |client: &mut TcpStream| client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(of(&shut_down), "413 CD--");
    assert_eq!(
        of(&|client| client.write_all(b"zz\r\n").unwrap()),
        "413 PD--"
    );
}

#[test]
fn a_rest_that_does_not_come_ends_the_exchange_as_haproxy_says() {
    let of = |then: &dyn Fn(&mut TcpStream)| {
        let (server, _told) = early();
        let harness = Harness::new(&[server], |frontend, _| frontend.timeouts.client = SHORT);
        let mut client = harness.connect();
        let head = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        client.write_all(head.as_bytes()).unwrap();
        read_to(&mut client, "big");
        then(&mut client);
        assert_eq!(read_all(&mut client), "");
        first(harness)
    };
    assert_eq!(of(&|_| ()), "413 cD--");
    let shut_down = |client: &mut TcpStream| client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(of(&shut_down), "413 CD--");
    let nonsense = |client: &mut TcpStream| client.write_all(b"zz\r\n").unwrap();
    assert_eq!(of(&nonsense), "413 PD--");
}

#[test]
fn an_answer_is_not_lost_to_what_the_client_is_still_sending() {
    // Each side has more to write than sockets take, which may be 36 MiB, and nobody reads it: if all of it were with the
    // server's socket when the server goes, nothing would have failed.
    let all_of = vec![b'x'; 64 << 20];
    let upload = |harness: &Harness, path: &str| {
        let mut client = harness.connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            all_of.len()
        );
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&all_of).unwrap();
        read_all(&mut client)
    };
    let closing = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
    // Whether it reads on before it goes, and what is said of it.
    for (answer, reads, wanted) in [
        (closing, true, Some("413 ----")),
        // Whether it is seen that the server goes too early is a matter of chance.
        (closing, false, None),
        // It goes without having said that it would.
        (EARLY, false, Some("413 SD--")),
    ] {
        let server = server(move |mut stream| {
            read_head(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            if reads {
                stream.shutdown(Shutdown::Write).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let harness = Harness::new(&[server], |_, _| ());
        let answer = upload(&harness, "/");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nbig"), "{answer}");
        let logged = first(harness);
        assert_eq!(logged, wanted.unwrap_or(&logged));
    }
    let rules = Rules::new(
        &[answering(OK)],
        "    rules: [{ if: { path: /no }, deny: true }]\n",
        "",
    );
    let answer = upload(&rules.harness, "/no");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.ends_with("</html>\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    cleaned(rules);
}

#[test]
fn over_http_2_it_still_comes_as_well() {
    let (server, told) = early();
    let harness = Harness::new(&[server], |_, _| ());
    run(async {
        let mut sender = connect(harness.address).await;
        let mut upload = async || {
            let request = Request::post("http://a/up").header("content-length", 10);
            let request = request.body(()).unwrap();
            let (response, mut stream) = sender.send_request(request, false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 413);
            assert_eq!(all(&mut response.into_body()).await, b"big");
            stream
        };
        // The client's connection moves on only while this waits.
        let said = async || {
            loop {
                match told.try_recv() {
                    Ok((_, said)) => return said,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        upload().await.send_data("world".into(), true).unwrap();
        assert_eq!(said().await, "helloworld");
        upload().await.send_reset(Reason::CANCEL);
        assert_eq!(said().await, "hello");
    });
    let lines = harness.logged();
    assert!(tail(&lines[0]).starts_with("413 ---- "), "{lines:?}");
    assert!(tail(&lines[1]).starts_with("413 CD-- "), "{lines:?}");
}

#[test]
fn a_server_of_http_2_gets_the_rest_or_says_that_it_does_not_want_it() {
    let server = h2_server(async |request, mut respond| {
        let wants = request.uri().path() == "/all";
        let head = http::Response::builder().status(413).body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data("big".into(), true).unwrap();
        let mut body = request.into_body();
        // What is not read it says that it does not want.
        if wants {
            let read = all(&mut body).await;
            assert_eq!(read, b"helloworld");
        }
    });
    let harness = Harness::new(&[server], speaks_h2);
    let mut client = harness.connect();
    client
        .write_all(POST.replace("/up", "/all").as_bytes())
        .unwrap();
    read_to(&mut client, "big\r\n0\r\n\r\n");
    client.write_all(format!("world{POST}").as_bytes()).unwrap();
    read_to(&mut client, "big\r\n0\r\n\r\n");
    // Whether the word has come or not, the client is not kept waiting for more.
    let _ = client.write_all(b"world");
    let _ = client.shutdown(Shutdown::Write);
    assert_eq!(read_all(&mut client), "");
    let lines = harness.logged();
    assert!(tail(&lines[0]).starts_with("413 ---- "), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}
