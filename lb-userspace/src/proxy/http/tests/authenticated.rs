//! Clients that authenticate connections to servers, by schemes that servers apply to all that comes by them.

use super::*;
use crate::config::model::Protocol;

/// A server that is `name`: by each connection, whoever has said `NAME` by `scheme` is who the rest comes from.
fn guarded(name: &'static str, status: &'static str, challenge: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let mut user = None;
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let said = head.split("authorization: ").nth(1);
            let said = said.and_then(|said| said.lines().next()?.split(' ').nth(1));
            user = said.map(ToOwned::to_owned).or(user);
            let answer = match &user {
                Some(user) => {
                    let body = format!("{user} at {name}\n");
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                }
                None => format!("HTTP/1.1 {status}\r\n{challenge}\r\nContent-Length: 2\r\n\r\n?\n"),
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// What a client is told: who it is, and by which server.
fn ask(client: &mut TcpStream, said: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{said}\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let head = read_to(client, "\r\n\r\n");
    let body = read_to(client, "\n");
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    body.trim_end().to_owned()
}

const UNKNOWN: &str = "?";

#[test]
fn a_connection_that_a_client_has_authenticated_serves_nobody_else() {
    for (status, challenge, said) in [
        ("401 Who", "WWW-Authenticate: NTLM", "Authorization: NTLM"),
        (
            "401 Who",
            "WWW-Authenticate: Basic realm=\"a\", negotiate",
            "Authorization: Negotiate",
        ),
        (
            "407 Who",
            "Proxy-Authenticate: Basic realm=\"a\"\r\nProxy-Authenticate: Nego2 abc=",
            "Authorization: Nego2",
        ),
    ] {
        let servers = ["one", "two"].map(|name| guarded(name, status, challenge));
        let harness = Harness::new(&servers, |_, _| ());
        let mut client = harness.connect();
        assert_eq!(ask(&mut client, ""), UNKNOWN, "{challenge}");
        let known = ask(&mut client, &format!("{said} alice\r\n"));
        assert!(known.starts_with("alice at "), "{challenge}: {known}");
        for _ in 0..3 {
            // The next one in turn is another.
            assert_eq!(ask(&mut client, ""), known, "{challenge}");
            let mut other = harness.connect();
            for _ in 0..2 {
                assert_eq!(ask(&mut other, ""), UNKNOWN, "{challenge}");
            }
        }
        drop(client);
        for _ in 0..4 {
            assert_eq!(ask(&mut harness.connect(), ""), UNKNOWN, "{challenge}");
        }
    }
}

#[test]
fn a_connection_that_authenticates_nobody_is_for_all() {
    for (status, challenge) in [
        ("401 Who", "WWW-Authenticate: Basic realm=\"a\""),
        ("401 Who", "Proxy-Authenticate: NTLM"),
        ("200 OK", "WWW-Authenticate: NTLM"),
    ] {
        let harness = Harness::new(&[guarded("one", status, challenge)], |_, _| ());
        for _ in 0..4 {
            assert_eq!(ask(&mut harness.connect(), ""), UNKNOWN, "{challenge}");
        }
        let server = &harness.shared.topology.backends[0].servers[0];
        assert_eq!(server.counters.connects.value(), 1, "{challenge}");
    }
}

#[test]
fn a_connection_of_a_clients_own_lasts_as_long_as_the_client() {
    let (ended, ends) = mpsc::channel();
    let server = server(move |mut stream| {
        let mut known = false;
        while let head = read_head(&mut stream)
            && !head.is_empty()
        {
            known |= head.contains("authorization: ");
            let answer = match known {
                true => "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalice\n",
                false => {
                    "HTTP/1.1 401 Who\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\n?\n"
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
        let _ = ended.send(known);
    });
    let harness = Harness::new(&[server], |_, _| ());
    let mut client = harness.connect();
    assert_eq!(ask(&mut client, ""), UNKNOWN);
    assert_eq!(ask(&mut client, "Authorization: NTLM alice\r\n"), "alice");
    // Longer than those for all are kept.
    thread::sleep(Duration::from_millis(7000));
    assert_eq!(ask(&mut client, ""), "alice");
    drop(client);
    let known = ends.recv_timeout(Duration::from_secs(30));
    assert_eq!(known, Ok(true), "it ends with the client");
}

/// A server of HTTP/2 by each of whose connections whoever has said `NAME` is who the rest comes from.
fn guarded_http_2() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else {
                        return;
                    };
                    let mut user = None;
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let said = request.headers().get("authorization");
                        let said = said.and_then(|said| said.to_str().ok()?.split(' ').nth(1));
                        user = said.map(ToOwned::to_owned).or(user);
                        let answer = http::Response::builder();
                        let (answer, body) = match &user {
                            Some(user) => (answer, format!("{user}\n")),
                            None => (
                                answer.status(401).header("www-authenticate", "Negotiate"),
                                "?\n".to_owned(),
                            ),
                        };
                        let answer = answer.header("content-length", body.len());
                        if let Ok(mut stream) =
                            respond.send_response(answer.body(()).unwrap(), false)
                        {
                            let _ = stream.send_data(body.into(), true);
                        }
                    }
                });
            }
        });
    });
    address
}

#[test]
fn nor_does_one_of_http_2() {
    let harness = Harness::new(&[guarded_http_2()], |_, backend| {
        backend.servers[0].protocol = Protocol::H2;
    });
    let mut others = [harness.connect(), harness.connect()];
    let mut client = harness.connect();
    for other in &mut others {
        assert_eq!(ask(other, ""), UNKNOWN);
    }
    assert_eq!(ask(&mut client, ""), UNKNOWN);
    assert_eq!(
        ask(&mut client, "Authorization: Negotiate alice\r\n"),
        "alice"
    );
    for _ in 0..3 {
        for other in others.iter_mut().chain([&mut harness.connect()]) {
            assert_eq!(ask(other, ""), UNKNOWN);
        }
        assert_eq!(ask(&mut client, ""), "alice");
    }
}
