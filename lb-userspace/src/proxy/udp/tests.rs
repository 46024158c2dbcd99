//! The UDP path over loopback: real sockets, real servers, in one process.

use std::{net::UdpSocket as StdSocket, sync::Arc, thread, time::Duration};

use super::*;
use crate::{
    config::model::{self, Balance, OnMarkedDown, Transport},
    proxy::{
        Stop,
        fixtures::{Harness, PATIENCE, wait_until},
    },
    topology::{AdminState, fixtures},
};

/// An idle time that tests can wait for, and so too short to rely on anything in between.
const SHORT: Duration = Duration::from_millis(200);

impl Harness {
    /// One frontend and one backend.
    fn udp(backend: model::Backend) -> Self {
        Self::udp_at("127.0.0.1:0", backend, |_| ())
    }

    fn udp_at(
        bind: &str,
        backend: model::Backend,
        change: impl FnOnce(&mut model::Config),
    ) -> Self {
        let mut frontend = fixtures::frontend("f", bind.parse().unwrap(), "b");
        frontend.binds[0].transport = Transport::Udp;
        frontend.binds[0].both_families = bind.starts_with("[::]");
        let mut config = fixtures::config(vec![frontend], vec![backend]);
        change(&mut config);
        Self::start(config, 2)
    }

    /// A client of its own port, which takes answers from the service's address alone.
    fn client(&self) -> StdSocket {
        client(self.address)
    }

    /// Ends every flow now, by taking its server down for a moment.
    fn end_flows(&self) {
        for server in &self.backend().servers {
            self.backend().set_admin(server, AdminState::Maint);
        }
        wait_until("all flows have ended", || self.frontend().current() == 0);
        for server in &self.backend().servers {
            self.backend().set_admin(server, AdminState::Ready);
        }
    }
}

fn client(service: SocketAddr) -> StdSocket {
    let any = if service.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = StdSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(service).unwrap();
    socket
}

fn ask(client: &StdSocket, question: &[u8]) -> Vec<u8> {
    client.send(question).unwrap();
    read(client)
}

fn read(client: &StdSocket) -> Vec<u8> {
    let mut answer = vec![0; socket::LARGEST];
    let length = client.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

/// A server that answers each datagram with `name` and what it got.
fn server(name: &'static str) -> SocketAddr {
    let socket = StdSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; socket::LARGEST];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = [name.as_bytes(), &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

/// A server that answers nothing.
fn silent() -> StdSocket {
    let socket = StdSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An address where nobody listens.
fn closed_port() -> SocketAddr {
    silent().local_addr().unwrap()
}

/// A backend whose flows end soon after their last datagram.
fn backend(servers: &[SocketAddr]) -> model::Backend {
    let servers = servers
        .iter()
        .enumerate()
        .map(|(i, address)| fixtures::server(&format!("s{i}"), &address.to_string()))
        .collect();
    let mut backend = fixtures::backend("b", Balance::RoundRobin, servers);
    backend.timeouts.tunnel = Some(SHORT);
    backend
}

/// [`backend`] whose flows outlast any test, unless their server goes down.
fn lasting(servers: &[SocketAddr]) -> model::Backend {
    let mut backend = backend(servers);
    backend.timeouts = fixtures::timeouts();
    for server in &mut backend.servers {
        server.on_marked_down = OnMarkedDown::ShutdownSessions;
    }
    backend
}

#[test]
fn datagrams_go_both_ways_and_the_flow_is_counted_and_logged() {
    let harness = Harness::udp(lasting(&[server("a"), server("b")]));
    let (one, two) = (harness.client(), harness.client());
    let first = ask(&one, b"1");
    let other = ask(&two, b"2");
    assert_ne!(first[0], other[0], "flows take turns");
    assert_eq!(ask(&one, b"3")[0], first[0], "a flow stays");
    assert_eq!(harness.frontend().current(), 2);
    harness.proxy.as_ref().unwrap().stop(Stop::Graceful);
    wait_until("both are idle", || harness.frontend().current() == 0);
    let counters = &harness.frontend().counters;
    assert_eq!(
        (
            counters.connections.value(),
            counters.bytes_in.value(),
            counters.bytes_out.value()
        ),
        (2, 3, 6)
    );
    let of_servers: u64 = harness
        .backend()
        .servers
        .iter()
        .map(|s| s.counters.bytes_out.value())
        .sum();
    assert_eq!(of_servers, 6);
    assert_eq!(harness.shared.sessions.current(), 0);
    let lines = harness.logged();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(line.starts_with("f b/s"), "{line}");
        assert!(line.contains(" -- "), "{line}");
    }
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let harness = Harness::udp_at("0.0.0.0:0", lasting(&[server("a")]), |_| ());
    let port = harness.address.port();
    for service in ["127.0.0.1", "127.0.0.2"] {
        let client = client(SocketAddr::new(service.parse().unwrap(), port));
        assert_eq!(ask(&client, b"x"), b"ax", "{service}");
        assert_eq!(ask(&client, b"y"), b"ay", "{service}");
    }
    assert_eq!(harness.frontend().current(), 2);
}

#[test]
fn one_bind_takes_both_families() {
    for attach in [Attach::Off, Attach::Auto] {
        let harness = Harness::udp_at("[::]:0", lasting(&[server("a")]), |config| {
            config.global.fast_path.attach = attach;
        });
        let port = harness.address.port();
        for service in ["127.0.0.2", "::1"] {
            let client = client(SocketAddr::new(service.parse().unwrap(), port));
            assert_eq!(ask(&client, b"x"), b"ax", "{service}, {attach:?}");
            assert_eq!(ask(&client, b"y"), b"ay", "{service}, {attach:?}");
        }
        assert_eq!(harness.frontend().current(), 2);
    }
}

#[test]
fn where_the_kernel_path_may_be_each_flow_has_a_socket_that_can_be_found() {
    let harness = Harness::udp_at("127.0.0.1:0", lasting(&[server("a")]), |config| {
        config.global.fast_path.attach = Attach::Auto;
    });
    let clients: Vec<_> = (0..5).map(|_| harness.client()).collect();
    for client in &clients {
        assert_eq!(ask(client, b"x"), b"ax");
    }
    let connected = |client: &StdSocket| {
        let ends = [harness.address, client.local_addr().unwrap()]
            .map(|end| format!("0100007F:{:04X}", end.port()))
            .join(" ");
        // 01 is TCP_ESTABLISHED, which stands for a socket with a peer.
        let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
        table.contains(&format!("{ends} 01"))
    };
    assert!(clients.iter().all(connected));
    for client in &clients {
        assert_eq!(ask(client, b"y"), b"ay", "by the flow's own socket");
    }
    harness.end_flows();
    assert!(!clients.iter().any(connected), "nothing stays behind");
    assert_eq!(
        ask(&clients[0], b"z"),
        b"az",
        "a new flow of the same client"
    );
    assert_eq!(harness.frontend().counters.connections.value(), 6);
}

#[test]
fn the_largest_datagram_passes_whole() {
    let harness = Harness::udp(lasting(&[server("")]));
    let question: Vec<u8> = (0..65_507u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(ask(&harness.client(), &question), question);
    assert_eq!(ask(&harness.client(), b""), b"", "and so does the smallest");
}

#[test]
fn a_server_that_refuses_the_first_datagram_is_left_for_another() {
    let harness = Harness::udp(backend(&[closed_port(), closed_port(), server("c")]));
    assert_eq!(ask(&harness.client(), b"x"), b"cx");
    wait_until("it is idle", || harness.frontend().current() == 0);
    let backend = harness.backend();
    assert_eq!(backend.counters.redispatches.value(), 2);
    assert!(backend.servers.iter().all(|server| server.active() == 0));
    let lines = harness.logged();
    assert!(lines[0].starts_with("f b/s2 "), "{lines:?}");
    assert!(
        lines[0].contains(" -- ") && lines[0].contains("/+2 "),
        "{lines:?}"
    );
}

#[test]
fn where_all_refuse_the_flow_ends_after_its_retries() {
    let harness = Harness::udp(lasting(&[closed_port()]));
    harness.client().send(b"x").unwrap();
    wait_until("it was logged", || {
        harness.backend().counters.connect_errors.value() == 1
    });
    let lines = harness.logged();
    assert!(lines[0].starts_with("f b/s0 "), "{lines:?}");
    assert!(
        lines[0].contains(" SC ") && lines[0].contains("/3 "),
        "{lines:?}"
    );
}

#[test]
fn a_flow_ends_with_a_server_that_had_answered() {
    let server = silent();
    let harness = Harness::udp(lasting(&[server.local_addr().unwrap()]));
    let client = harness.client();
    client.send(b"x").unwrap();
    let (_, from) = server.recv_from(&mut [0; 9]).unwrap();
    server.send_to(b"y", from).unwrap();
    assert_eq!(read(&client), b"y");
    drop(server);
    wait_until("the server's end is noticed", || {
        client.send(b"z").unwrap();
        harness.backend().counters.server_aborts.value() > 0
    });
}

#[test]
fn without_a_server_the_flow_is_over_at_once() {
    let harness = Harness::udp(lasting(&[]));
    harness.client().send(b"x").unwrap();
    wait_until("it was counted", || {
        harness.backend().counters.connect_errors.value() == 1
    });
    let lines = harness.logged();
    assert!(lines[0].starts_with("f b/<NOSRV> -1/-1/"), "{lines:?}");
    assert!(lines[0].contains(" SC "), "{lines:?}");
}

#[test]
fn what_has_no_place_is_dropped_and_counted() {
    let harness = Harness::udp_at("127.0.0.1:0", lasting(&[server("a")]), |config| {
        let mut frontend = (*config.frontends[0]).clone();
        frontend.maxconn = Some(1);
        config.frontends[0] = Arc::new(frontend);
    });
    let (first, second) = (harness.client(), harness.client());
    assert_eq!(ask(&first, b"1"), b"a1");
    second.send(b"2").unwrap();
    wait_until("it was counted", || {
        harness.frontend().counters.request_errors.value() == 1
    });
    harness.end_flows();
    assert_eq!(ask(&second, b"3"), b"a3");
    assert_eq!(harness.frontend().counters.max_current.value(), 1);
}

#[test]
fn flows_without_an_answer_make_room_and_those_with_one_stay() {
    let mute = silent();
    // By turns: the first flow is answered, the second is not.
    let backend = lasting(&[server("a"), mute.local_addr().unwrap()]);
    let harness = Harness::udp_at("127.0.0.1:0", backend, |config| {
        let mut frontend = (*config.frontends[0]).clone();
        frontend.maxconn = Some(2);
        config.frontends[0] = Arc::new(frontend);
    });
    let (answered, unanswered) = (harness.client(), harness.client());
    assert_eq!(ask(&answered, b"1"), b"a1");
    unanswered.send(b"2").unwrap();
    mute.recv(&mut [0; 9]).unwrap();
    wait_until("clients of either worker have pushed it out", || {
        harness.client().send(b"3").unwrap();
        harness.frontend().counters.connections.value() > 2
    });
    assert_eq!(ask(&answered, b"4"), b"a4");
    let connections = harness.frontend().counters.connections.value();
    assert_eq!(ask(&answered, b"5"), b"a5");
    assert_eq!(
        harness.frontend().counters.connections.value(),
        connections,
        "it is still the same flow"
    );
    harness.end_flows();
    let lines = harness.logged();
    let evicted = lines.iter().filter(|line| line.contains(" RD "));
    assert!(evicted.count() > 0, "{lines:?}");
}

#[test]
fn a_flow_waits_for_a_full_servers_slot_with_its_datagrams() {
    let mut backend = backend(&[server("a")]);
    backend.servers[0].maxconn = Some(1);
    let harness = Harness::udp(backend);
    let (first, second) = (harness.client(), harness.client());
    assert_eq!(ask(&first, b"1"), b"a1");
    second.send(b"2").unwrap();
    second.send(b"3").unwrap();
    while harness.backend().queue.max() == 0 {
        // Not idle before the second has come to wait.
        assert_eq!(ask(&first, b"4"), b"a4");
    }
    assert_eq!(
        (read(&second), read(&second)),
        (b"a2".to_vec(), b"a3".to_vec())
    );
    assert_eq!(harness.backend().servers[0].counters.max_current.value(), 1);
}

#[test]
fn flows_of_a_server_that_goes_down_end_where_the_file_asks_for_it() {
    let harness = Harness::udp(lasting(&[server("a"), server("b")]));
    let client = harness.client();
    let before = ask(&client, b"x")[0];
    let server = &harness.backend().servers[usize::from(before - b'a')];
    harness.backend().set_admin(server, AdminState::Maint);
    wait_until("it has ended", || server.active() == 0);
    assert_ne!(ask(&client, b"y")[0], before, "balanced anew");
    harness.proxy.as_ref().unwrap().stop(Stop::Graceful);
    let lines = harness.logged();
    assert!(lines[0].contains(" D- "), "{lines:?}");
}

#[test]
fn a_flow_ends_when_nothing_has_moved_for_its_idle_time() {
    let harness = Harness::udp(backend(&[server("a")]));
    let client = harness.client();
    assert_eq!(ask(&client, b"x"), b"ax");
    wait_until("it is idle", || harness.frontend().current() == 0);
    assert_eq!(ask(&client, b"y"), b"ay", "the next datagram opens another");
    let lines = harness.logged();
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn a_stop_lets_flows_go_on_while_they_move_and_takes_no_new_ones() {
    let harness = Harness::udp(lasting(&[server("a")]));
    let client = harness.client();
    assert_eq!(ask(&client, b"x"), b"ax");
    let proxy = harness.proxy.as_ref().unwrap();
    proxy.stop(Stop::Graceful);
    assert_eq!(ask(&client, b"y"), b"ay");
    harness.client().send(b"new").unwrap();
    wait_until("the workers have ended", || proxy.is_finished());
    assert_eq!(harness.frontend().counters.connections.value(), 1);
}

#[test]
fn maglev_and_source_choose_by_what_they_say() {
    let servers: Vec<_> = ["a", "b", "c", "d"].map(server).to_vec();
    for (balance, same) in [(Balance::Source, true), (Balance::Maglev, false)] {
        let harness = Harness::udp(model::Backend {
            balance,
            ..lasting(&servers)
        });
        let mut seen: Vec<u8> = (0..60).map(|_| ask(&harness.client(), b"x")[0]).collect();
        seen.sort_unstable();
        seen.dedup();
        let wanted = if same { 1 } else { 4 };
        assert_eq!(seen.len(), wanted, "{balance:?} over {seen:?}");
    }
}
