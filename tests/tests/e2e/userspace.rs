//! Without a kernel path: the same configuration served by userspace alone.

use std::time::Duration;

use lb_tests::client::{self, Load};
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, skip, wait};
use rustix::process::Signal;

use crate::setup::{accepted_in_userspace, assert_alive, held, servers, service, tcp};

fn start<'a>(lab: &'a Lab, body: &str) -> Daemon<'a> {
    Daemon::builder(lab, body)
        .fast_path("attach: off")
        .start()
        .unwrap()
}

#[test]
fn connections_are_shared_by_weight() {
    if skip::without_lb() {
        return;
    }
    const WEIGHTS: [u16; 3] = [2, 1, 1];
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Http);
    let daemon = start(&lab, &tcp(&lab, "roundrobin", &WEIGHTS));
    let before = accepted_in_userspace(&lab);
    let load = Load::to(service(&lab))
        .connections(2000)
        .parallel(16)
        .get("/");
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new());
    let threads = std::thread::available_parallelism().unwrap().get() as u64;
    for (server, weight) in servers.iter().zip(WEIGHTS.map(u64::from)) {
        let got = tally.of(server.name());
        assert!(
            got.abs_diff(500 * weight) <= weight * threads,
            "{}: {got}",
            server.name()
        );
        assert_eq!(server.served(), got);
    }
    // All of them. The host counts one twice whose handshake's last segment and first request two processors take at the
    // same moment: each makes a socket, of which one is thrown away (`tcp_create_openreq_child`, `inet_ehash_nolisten`).
    assert!(accepted_in_userspace(&lab) - before >= 2000);
    let status = daemon.status().unwrap();
    assert_eq!(
        status["fast_path"]["frontends"][0]["path"], "userspace",
        "{status}"
    );
    assert_eq!(status["frontends"][0]["row"]["stot"], 2000, "{status}");
}

#[test]
fn a_server_that_refuses_costs_nobody_else_anything() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let mut servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]).replace(
        "    servers:",
        "    retries: 1\n    redispatch: true\n    servers:",
    );
    let _daemon = start(&lab, &body);
    let mut streams = held(&lab, 4);
    servers[0].refuse();
    assert_alive(&mut streams);
    let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
    assert_eq!(client::greeting(&mut stream).unwrap(), "s2");
}

#[test]
fn a_graceful_stop_lets_connections_end() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = start(&lab, &tcp(&lab, "roundrobin", &[]));
    let mut streams = held(&lab, 3);
    daemon.signal(Signal::TERM).unwrap();
    wait::until_true("new connections are refused", || {
        client::connect(lab.client(), service(&lab), None).is_err()
    })
    .unwrap();
    assert_alive(&mut streams);
    drop(streams);
    let status = daemon.wait(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(!daemon.socket().exists(), "the admin socket is gone");
}
