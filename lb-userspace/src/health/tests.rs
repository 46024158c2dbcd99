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
    config::model::{Balance, HealthCheck},
    topology::{CheckStatus, EventKind, fixtures},
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
            host: None,
            headers: Vec::new(),
            status: vec![200..=399],
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
    let topology = topology(check, address);
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
