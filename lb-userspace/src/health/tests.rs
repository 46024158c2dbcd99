//! Checks over loopback against servers that behave in every way that a check tells apart.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use std::net::SocketAddr;

use super::*;
use crate::{
    config::model::{Balance, Content, HeadField, HealthCheck, Pattern},
    topology::{CheckStatus, EventKind, fixtures},
};
use crate::{
    config::model::{CheckKind, Step},
    topology::CheckResult,
};

fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn answer(text: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(text.as_bytes());
    })
}

fn http_check() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Http {
            method: "GET".into(),
            path: "/healthCheck.html".into(),
            version: "HTTP/1.0".into(),
            secure: false,
            host: None,
            headers: Vec::new(),
            body: None,
            status: vec![200..=399],
            content: Vec::new(),
            terms: Box::default(),
        },
        ..fixtures::tcp_check()
    }
}

fn topology(check: HealthCheck, address: SocketAddr) -> Topology {
    let servers = vec![fixtures::server("s", &address.to_string())];
    let mut backend = fixtures::backend("b", Balance::RoundRobin, servers);
    backend.health_check = Some(check);
    Topology::new(&fixtures::config(Vec::new(), vec![backend]))
}

fn check_once(check: HealthCheck, address: SocketAddr) -> CheckResult {
    let topology = topology(check, address);
    let backend = &topology.backends[0];
    let check = backend.config.health_check.as_ref().unwrap();
    let checker = Checker::new(&backend.config, check, &backend.servers[0]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(checker.check())
}

fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_tcp_check_connects_and_resets() {
    let (seen, told) = mpsc::channel();
    let seen = Mutex::new(seen);
    let address = server(move |mut stream| {
        let got = stream.read(&mut [0; 16]).map_err(|error| error.kind());
        let _ = seen.lock().unwrap().send(got);
    });
    let result = check_once(fixtures::tcp_check(), address);
    assert_eq!(
        (result.status, result.code, result.info.as_str()),
        (CheckStatus::L4Ok, None, "")
    );
    let got = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(got, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn a_closed_port_is_l4con_for_both_kinds() {
    for check in [fixtures::tcp_check(), http_check()] {
        let result = check_once(check, closed_port());
        assert_eq!(
            (result.status, result.info.as_str()),
            (CheckStatus::L4Con, "Connection refused")
        );
    }
}

#[test]
fn http_answers_are_told_apart() {
    let table = [
        ("HTTP/1.0 200 OK\r\n\r\n", CheckStatus::L7Ok, Some(200), ""),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nlocation: /\r\n\r\n",
            CheckStatus::L7Ok,
            Some(302),
            "",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            CheckStatus::L7Sts,
            Some(503),
            "Service Unavailable",
        ),
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            CheckStatus::L7Sts,
            Some(404),
            "Not Found",
        ),
        ("SSH-2.0-OpenSSH\r\n", CheckStatus::L7Rsp, None, ""),
        ("HTTP/1.0 200 OK\r\n", CheckStatus::L7Rsp, None, ""),
        ("", CheckStatus::L7Rsp, None, ""),
    ];
    for (text, status, code, info) in table {
        let result = check_once(http_check(), answer(text));
        assert_eq!(
            (result.status, result.code, result.info.as_str()),
            (status, code, info),
            "{text:?}"
        );
    }
}

#[test]
fn an_endless_head_is_no_answer() {
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n");
        while stream
            .write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
            .is_ok()
        {}
    });
    assert_eq!(check_once(http_check(), address).status, CheckStatus::L7Rsp);
}

#[test]
fn a_silent_server_is_l7tout_and_the_request_is_haproxys() {
    let (seen, told) = mpsc::channel();
    let seen = Mutex::new(seen);
    let address = server(move |mut stream| {
        let mut text = vec![0; 1024];
        let length = stream.read(&mut text).unwrap_or(0);
        text.truncate(length);
        let _ = seen.lock().unwrap().send(text);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let check = HealthCheck {
        timeout: Some(Duration::from_millis(50)),
        ..http_check()
    };
    let result = check_once(check, address);
    assert_eq!(result.status, CheckStatus::L7Tout);
    let asked = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(asked, b"GET /healthCheck.html HTTP/1.0\r\n\r\n");
}

#[test]
fn an_unanswering_address_is_l4tout() {
    // A listener whose queue is full drops further SYNs.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _holders: Vec<_> = (0..4)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let check = HealthCheck {
        timeout: Some(Duration::from_millis(50)),
        ..fixtures::tcp_check()
    };
    assert_eq!(check_once(check, address).status, CheckStatus::L4Tout);
}

#[test]
fn a_check_may_have_a_port_of_its_own() {
    let good = answer("HTTP/1.0 200 OK\r\n\r\n");
    let check = HealthCheck {
        port: Some(good.port()),
        ..http_check()
    };
    assert_eq!(check_once(check, closed_port()).status, CheckStatus::L7Ok);
}

#[test]
fn a_server_is_taken_out_and_brought_back_by_its_checks() {
    static HEALTHY: AtomicBool = AtomicBool::new(true);
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let status = if HEALTHY.load(Ordering::SeqCst) {
            "200 OK"
        } else {
            "500 Oops"
        };
        let _ = stream.write_all(format!("HTTP/1.0 {status}\r\n\r\n").as_bytes());
    });
    let check = HealthCheck {
        interval: Duration::from_millis(20),
        ..http_check()
    };
    let topology = Arc::new(topology(check, address));
    let (backend, server) = (&topology.backends[0], &topology.backends[0].servers[0]);
    let mut events = topology.events();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let checks = Checks::start(&topology);
        assert_eq!(checks.len(), 1);
        until("the first result", || server.status() == "UP").await;
        HEALTHY.store(false, Ordering::SeqCst);
        until("it is down", || !backend.is_up()).await;
        assert_eq!(server.counters.checks_failed.value(), 3, "fall is 3");
        HEALTHY.store(true, Ordering::SeqCst);
        until("it is up", || backend.is_up()).await;
        assert_eq!(server.status(), "UP");
        backend.set_admin(server, AdminState::Maint);
        HEALTHY.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        backend.set_admin(server, AdminState::Ready);
        until("the first failure after maintenance suffices", || {
            server.status() == "DOWN"
        })
        .await;
    });
    let kinds: Vec<EventKind> = std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        kinds[..3],
        [EventKind::Down, EventKind::NoServer, EventKind::Up]
    );
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An HTTP check that expects this of the answer, whatever its status.
fn expecting(content: Vec<Content>) -> HealthCheck {
    let mut check = http_check();
    if let CheckKind::Http {
        status, content: c, ..
    } = &mut check.kind
    {
        (*status, *c) = (Vec::new(), content);
    }
    check
}

fn text(text: &str) -> Content {
    Content::Text(text.into())
}

#[test]
fn what_an_answer_says_can_be_looked_at() {
    let regex = Content::Regex(Pattern::new("state=(up|warm)$").unwrap());
    let header = || Content::Header(HeadField::simple("X-Ready", "yes"));
    let good = "HTTP/1.1 500 Oops\r\nx-ready: yes\r\ncontent-length: 15\r\n\r\nready, state=up";
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nrea\r\n4\r\ndy!\n\r\n0\r\n\r\n";
    for (content, answered, status) in [
        (text("ready"), good, CheckStatus::L7Ok),
        (text("Ready"), good, CheckStatus::L7Rsp),
        (regex.clone(), good, CheckStatus::L7Ok),
        (regex, chunked, CheckStatus::L7Rsp),
        (text("ready!"), chunked, CheckStatus::L7Ok),
        (header(), good, CheckStatus::L7Ok),
        (header(), chunked, CheckStatus::L7Sts),
        (text("x"), "HTTP/1.0 200 OK\r\n\r\n", CheckStatus::L7Rsp),
    ] {
        let result = check_once(expecting(vec![content.clone()]), answer(answered));
        assert_eq!(
            result.status, status,
            "{content:?} in {answered:?}: {result:?}"
        );
        assert_eq!(result.code.is_none(), status == CheckStatus::L7Rsp);
    }
}

#[test]
fn a_status_that_does_not_pass_is_told_before_the_body() {
    let mut check = expecting(vec![text("ready")]);
    if let CheckKind::Http { status, .. } = &mut check.kind {
        *status = vec![200..=299];
    }
    let result = check_once(check, answer("HTTP/1.0 503 Busy\r\n\r\nready"));
    assert_eq!(
        (result.status, result.code, result.info.as_str()),
        (CheckStatus::L7Sts, Some(503), "Busy")
    );
}

fn script(steps: Vec<Step>) -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Script(steps),
        timeout: Some(Duration::from_secs(5)),
        ..fixtures::tcp_check()
    }
}

#[test]
fn a_conversation_is_held_step_by_step() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"220 hel");
        let _ = stream.write_all(b"lo\r\n");
        let mut line = [0; 64];
        let length = stream.read(&mut line).unwrap_or(0);
        let good = &line[..length] == b"NOOP\r\n";
        let _ = stream.write_all(if good { b"250 OK\r\n" } else { b"500 no\r\n" });
    });
    let talk = |word: &str| {
        let steps = vec![
            Step::Expect(text("220 hello"), Box::default()),
            Step::Send(word.into()),
            Step::Expect(text("250 "), Box::default()),
        ];
        let result = check_once(script(steps), address);
        (result.status, result.info)
    };
    assert_eq!(talk("NOOP\r\n"), (CheckStatus::L7Ok, String::new()));
    assert_eq!(
        talk("WHAT\r\n"),
        (
            CheckStatus::L7Rsp,
            "TCPCHK did not match content '250 ' at step 3".into()
        )
    );
}

#[test]
fn a_silent_server_keeps_no_conversation() {
    let address = server(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let check = HealthCheck {
        timeout: Some(Duration::from_millis(50)),
        ..script(vec![
            Step::Send(b"PING\r\n".into()),
            Step::Expect(text("+PONG"), Box::default()),
        ])
    };
    let result = check_once(check, address);
    assert_eq!(
        (result.status, result.info.as_str()),
        (
            CheckStatus::L7Tout,
            " at step 2 of tcp-check (expect string '+PONG')"
        )
    );
    let check = HealthCheck {
        kind: CheckKind::Ssl,
        timeout: Some(Duration::from_millis(50)),
        ..fixtures::tcp_check()
    };
    assert_eq!(check_once(check, address).status, CheckStatus::L6Tout);
}

#[test]
fn any_answer_of_tls_is_good_enough_for_a_hello() {
    for (said, status) in [
        (&b"\x16\x03\x03\0\x02"[..], CheckStatus::L6Ok),
        (b"\x15\x03\x03\0\x02\x02\x28", CheckStatus::L6Ok),
        (b"HTTP/1.1 400 Bad Request\r\n", CheckStatus::L6Rsp),
        (b"", CheckStatus::L6Rsp),
    ] {
        let address = server(move |mut stream| {
            let mut hello = [0; 5];
            if stream.read_exact(&mut hello).is_ok() && hello[0] == 22 {
                let _ = stream.write_all(said);
            }
        });
        let check = HealthCheck {
            kind: CheckKind::Ssl,
            ..fixtures::tcp_check()
        };
        assert_eq!(check_once(check, address).status, status, "{said:?}");
    }
}

/// A real TLS server answers the hello with one of its own, not with an alert.
#[test]
fn openssl_understands_the_hello() {
    let folder = std::env::temp_dir().join(format!("lb-hello-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let openssl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        command.args(arguments).current_dir(&folder);
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        command.spawn()
    };
    let made = openssl(&[
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days",
        "2", "-subj", "/CN=x",
    ]);
    let Ok(mut made) = made else {
        eprintln!("skipped: there is no openssl");
        return;
    };
    assert!(made.wait().unwrap().success());
    // Of the two, the port is free and nobody else takes it in between.
    let port = closed_port().port();
    let accept = format!("127.0.0.1:{port}");
    let mut tls = openssl(&[
        "s_server", "-accept", &accept, "-cert", "cert", "-key", "key",
    ])
    .unwrap();
    let check = || HealthCheck {
        kind: CheckKind::Ssl,
        ..fixtures::tcp_check()
    };
    let address = ([127, 0, 0, 1], port).into();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut status = check_once(check(), address).status;
    while status == CheckStatus::L4Con && std::time::Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        status = check_once(check(), address).status;
    }
    let _ = tls.kill();
    let _ = tls.wait();
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(status, CheckStatus::L6Ok);
}

#[test]
fn an_agent_sets_weight_and_state() {
    static SAYS: Mutex<&str> = Mutex::new("up 50%\n");
    let address = server(|mut stream| {
        let mut asked = [0; 5];
        if stream.read_exact(&mut asked).is_ok() && &asked == b"how?\n" {
            let _ = stream.write_all(SAYS.lock().unwrap().as_bytes());
        }
    });
    let check = HealthCheck {
        kind: CheckKind::Agent {
            send: b"how?\n".into(),
        },
        interval: Duration::from_millis(20),
        timeout: Some(Duration::from_secs(5)),
        port: Some(address.port()),
        ..fixtures::tcp_check()
    };
    let mut model = fixtures::backend(
        "b",
        Balance::RoundRobin,
        vec![fixtures::server("s", &address.to_string())],
    );
    model.servers[0].weight = 100;
    model.health_check = Some(check);
    let topology = Arc::new(Topology::new(&fixtures::config(Vec::new(), vec![model])));
    let (backend, server) = (&topology.backends[0], &topology.backends[0].servers[0]);
    let says = |text| *SAYS.lock().unwrap() = text;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let checks = Checks::start(&topology);
        until("half of its weight", || server.weight() == 50).await;
        says("drain\n");
        until("it drains", || server.admin() == AdminState::Drain).await;
        says("maint\n");
        until("it is in maintenance", || server.status() == "MAINT").await;
        // As after a reload that changes the check.
        drop(checks);
        let _checks = Checks::start(&topology);
        says("ready 100%\n");
        until("it is back", || {
            server.status() == "UP" && server.weight() == 100
        })
        .await;
        says("down # disk full\n");
        until("it is down", || !backend.is_up()).await;
        assert_eq!(
            server.last_check().unwrap().info,
            "via agent : down (disk full)"
        );
        says("up\n");
        until("it is up", || backend.is_up()).await;
    });
}

#[test]
fn a_check_may_have_an_address_of_its_own() {
    let good = answer("HTTP/1.0 200 OK\r\n\r\n");
    let check = HealthCheck {
        address: Some(good.ip()),
        port: Some(good.port()),
        ..http_check()
    };
    let nowhere = "192.0.2.1:9".parse().unwrap();
    assert_eq!(check_once(check, nowhere).status, CheckStatus::L7Ok);
}

#[test]
fn traffic_that_fails_brings_the_next_check_early() {
    let address = answer("HTTP/1.0 503 Busy\r\n\r\n");
    let check = HealthCheck {
        interval: Duration::from_secs(3600),
        fast_interval: Some(Duration::from_millis(10)),
        timeout: Some(Duration::from_secs(5)),
        observe: Some(model::Observe {
            layer: model::Layer::Seven,
            error_limit: 2,
            on_error: model::OnError::FastInter,
        }),
        ..http_check()
    };
    // A neighbour that is checked first, so that this one's check is half an hour away.
    let mut model = fixtures::backend(
        "b",
        Balance::RoundRobin,
        vec![
            fixtures::server("first", &closed_port().to_string()),
            fixtures::server("s", &address.to_string()),
        ],
    );
    model.health_check = Some(check);
    let topology = Arc::new(Topology::new(&fixtures::config(Vec::new(), vec![model])));
    let (backend, server) = (&topology.backends[0], &topology.backends[0].servers[1]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let _checks = Checks::start(&topology);
        for _ in 0..2 {
            assert!(server.last_check().is_none());
            backend.observe(server, crate::topology::Observation::Status(500));
        }
        until("the check that traffic asked for", || {
            server.status() == "DOWN"
        })
        .await;
    });
}

mod answers;
mod own;
mod words;
