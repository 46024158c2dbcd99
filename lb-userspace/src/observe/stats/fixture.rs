//! A snapshot for the tests of its forms.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Process, Snapshot, Sources};
use crate::{
    config::model::{Balance, Cookie, Mode},
    observe::{
        log::Sink,
        path::{
            CounterKind, FrontendPath, InterfacePath, KernelCounter, PathKind, PathStatus,
            SharedPathStatus,
        },
    },
    topology::{AdminState, CheckResult, CheckStatus, Topology, fixtures},
};

/// A TCP frontend whose connections the kernel carries, and an HTTP one with a server of each state.
pub(crate) fn sources() -> Sources {
    balanced(Balance::RoundRobin)
}

/// The same with servers of HTTP that this algorithm chooses among.
pub(crate) fn balanced(balance: Balance) -> Sources {
    let tcp = fixtures::frontend("tcp-in", ([127, 0, 0, 1], 9002).into(), "tcp_servers");
    let mut http = fixtures::frontend("http-in", ([127, 0, 0, 1], 9001).into(), "web");
    http.mode = Mode::Http;
    let tcp_servers = fixtures::backend(
        "tcp_servers",
        Balance::LeastConn,
        vec![
            fixtures::server("s1", "192.0.2.1:80"),
            fixtures::server("s2", "192.0.2.2:80"),
        ],
    );
    let mut web = fixtures::backend(
        "web",
        balance,
        (1..=5)
            .map(|n| fixtures::server(&format!("w{n}"), &format!("192.0.2.1{n}:8080")))
            .collect(),
    );
    web.mode = Mode::Http;
    web.cookie = Some(Cookie {
        name: "HA".into(),
        indirect: true,
        nocache: true,
        ..Cookie::default()
    });
    web.servers[0].cookie = Some("w1".into());
    web.servers[3].check = false;
    web.servers[4].backup = true;
    let topology = Arc::new(Topology::new(&fixtures::config(
        vec![tcp, http],
        vec![tcp_servers, web],
    )));
    states(&topology);
    traffic(&topology);
    let path = SharedPathStatus::default();
    path.store(kernel());
    let (log, _) = Sink::start(&[]).expect("standard error is always there");
    Sources::new(topology, Arc::new(Process::new(2, Some(30_000))), path, log)
}

/// The same as a snapshot.
pub(crate) fn snapshot() -> Snapshot {
    sources().snapshot()
}

fn states(topology: &Topology) {
    let web = topology.backend("web").expect("it is there");
    let result = |status, code| CheckResult {
        status,
        code,
        duration: Duration::from_millis(4),
        info: "said, so".into(),
        at: Instant::now(),
    };
    web.record_check(&web.servers[0], result(CheckStatus::L7Ok, Some(200)), |_| 4);
    web.record_check(&web.servers[1], result(CheckStatus::L4Con, None), |_| 0);
    web.set_admin(&web.servers[2], AdminState::Drain);
}

fn traffic(topology: &Topology) {
    let tcp = topology.frontend("tcp-in").expect("it is there");
    tcp.counters.connections.inc();
    tcp.counters.bytes_in.add(100);
    tcp.counters.kernel.connections.set(900);
    tcp.counters.kernel.active.set(20);
    tcp.counters.kernel.bytes_in.set(9_000_000);
    tcp.counters.kernel.bytes_out.set(90_000_000);
    let s1 = topology.server("tcp_servers", "s1").expect("it is there");
    s1.counters.kernel.connections.set(900);
    s1.counters.kernel.active.set(20);
}

fn kernel() -> PathStatus {
    let counter = |name: &str, kind, value| KernelCounter {
        name: name.into(),
        help: "What it means.".into(),
        kind,
        value,
    };
    PathStatus {
        lost: None,
        memory: 300 << 20,
        drift: 0,
        limits: Vec::new(),
        program: Some("0.1.0 3f2a".into()),
        frontends: vec![FrontendPath {
            frontend: "tcp-in".into(),
            path: PathKind::Kernel,
            reason: "native XDP on eth0".into(),
        }],
        idle: false,
        interfaces: vec![InterfacePath {
            name: "eth0".into(),
            attach: "xdp".into(),
            reason: "the driver supports native XDP".into(),
        }],
        flows: 20,
        max_flows: 1_000_000,
        counters: vec![
            counter("forwarded", CounterKind::Forwarded, 12_345),
            counter("no_neighbour", CounterKind::Dropped, 7),
            counter("not_a_service", CounterKind::PassedUp, 4_321),
            counter("ttl_exceeded", CounterKind::Dropped, 0),
        ],
    }
}
