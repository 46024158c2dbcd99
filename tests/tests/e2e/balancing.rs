//! The algorithms in the kernel: who gets a new connection, and that what it is decided by is counted right.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use lb_tests::client::{self, Load};
use lb_tests::lab::ETH;
use lb_tests::raw::RawSocket;
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, skip, wait};
use rustix::net::sockopt::set_socket_linger;

use crate::kernel::{active, counts_settle, kernel_takes_over, reasons, recount, settles_at};
use crate::setup::{accepted_in_userspace, held, servers, service, tcp};

/// Opens a connection and learns whose it is.
fn greeted(lab: &Lab) -> (String, TcpStream) {
    let mut stream = client::connect(lab.client(), service(lab), None).unwrap();
    (client::greeting(&mut stream).unwrap(), stream)
}

/// Waits until no connection is left: by a status that is young enough to know of all there have been.
fn all_idle(daemon: &Daemon<'_>, servers: &[Server]) {
    for server in servers {
        counts_settle(daemon, server);
        settles_at(&format!("{} to be idle", server.name()), 0, || {
            active(daemon, server.name())
        });
    }
}

#[test]
fn source_keeps_a_client_on_its_server_and_spreads_clients_by_weight() {
    if skip::without_lb() {
        return;
    }
    const WEIGHTS: [u16; 3] = [2, 1, 1];
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Name);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "source", &WEIGHTS))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);

    let load = Load::to(service(&lab)).connections(1000).parallel(8);
    let one = load.clone().from([lab.client_alias(7)]).run(lab.client());
    assert_eq!(one.failures, Vec::<String>::new());
    assert_eq!(
        one.by_name.values().copied().collect::<Vec<_>>(),
        [1000],
        "{one:?}"
    );

    let clients = (0..1000).map(|i| lab.client_alias(i));
    let load = load.from(clients);
    let spread = load.clone().run(lab.client());
    assert_eq!(spread.failures, Vec::<String>::new());
    for (name, weight) in ["s1", "s2", "s3"].into_iter().zip(WEIGHTS) {
        let share = f64::from(weight) / 4.0;
        // Five standard deviations of as many throws of dice: a fair hash is outside once in a million algorithms.
        let bound = 5.0 * (1000.0 * share * (1.0 - share)).sqrt();
        let got = spread.of(name) as f64;
        assert!((got - 1000.0 * share).abs() <= bound, "{spread:?}");
    }
    assert_eq!(load.run(lab.client()), spread, "the same clients again");
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );
}

#[test]
fn leastconn_fills_the_least_loaded_first() {
    if skip::without_lb() {
        return;
    }
    const WEIGHTS: [(&str, u64); 3] = [("s1", 3), ("s2", 2), ("s3", 1)];
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(
        &lab,
        &tcp(&lab, "leastconn", &WEIGHTS.map(|(_, w)| w as u16)),
    )
    .start()
    .unwrap();
    kernel_takes_over(&lab, &daemon);
    all_idle(&daemon, &servers);
    let userspace = accepted_in_userspace(&lab);

    let mut open = BTreeMap::<String, Vec<TcpStream>>::new();
    let mut one_more = || {
        let (name, stream) = greeted(&lab);
        let count = |name: &str| open.get(name).map_or(0, |streams| streams.len() as u64);
        let weight = |name: &str| WEIGHTS.iter().find(|(n, _)| *n == name).unwrap().1;
        for (other, other_weight) in WEIGHTS {
            assert!(
                (count(&name) + 1) * other_weight <= (count(other) + 1) * weight(&name),
                "{name} rather than {other} while {:?}",
                WEIGHTS.map(|(n, _)| (n, count(n)))
            );
        }
        open.entry(name).or_default().push(stream);
    };
    for _ in 0..60 {
        one_more();
    }
    let counts = |open: &BTreeMap<String, Vec<TcpStream>>| {
        WEIGHTS.map(|(name, _)| open.get(name).map_or(0, Vec::len))
    };
    assert_eq!(counts(&open), [30, 20, 10]);
    for (name, _) in WEIGHTS {
        let held = open[name].len() as u64;
        settles_at("held connections", held, || active(&daemon, name));
    }

    // Whoever becomes idle is filled up first.
    open.remove("s2");
    settles_at("s2 to be idle", 0, || active(&daemon, "s2"));
    let names: Vec<_> = (0..20).map(|_| greeted(&lab)).collect();
    assert!(names.iter().all(|(name, _)| name == "s2"), "{names:?}");
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );
}

/// Connections that end with RST from the client, some at a time.
fn reset_by_the_client(lab: &Lab, count: usize) {
    const PARALLEL: usize = 4;
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                for _ in 0..count / PARALLEL {
                    let (_, stream) = greeted(lab);
                    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                }
            });
        }
    });
}

/// SYNs from addresses that nobody has: the server answers, and nobody answers him.
fn half_open(lab: &Lab, count: u16) {
    let wire = RawSocket::open(lab.client(), ETH).unwrap();
    let (target, port) = (lab.service_addr(), service(lab).port());
    for i in 0..count {
        let [high, low] = i.to_be_bytes();
        let builder = PacketBuilder::ethernet2(lab.mac_of(lab.client_addr()), lab.mac_of(target))
            .ipv4([10, 79, high, low], target.octets(), 64)
            .tcp(1025 + i, port, 1000, 64_000)
            .syn();
        let mut frame = Vec::with_capacity(builder.size(0));
        builder.write(&mut frame, &[]).unwrap();
        wire.send(&frame).unwrap();
    }
}

#[test]
fn active_counts_equal_a_recount_after_ten_thousand_ends_of_every_kind() {
    if skip::without_lb() {
        return;
    }
    const HALF_OPEN: u16 = 500;
    let lab = Lab::builder().build().unwrap();
    let mut servers = servers(&lab, Protocol::Echo);
    // What keeps silent this long is forgotten, closing or not, but for who has not completed his handshake: that may
    // take a minute.
    let body = tcp(&lab, "leastconn", &[]) + "defaults: { timeouts: { client: 3s, server: 3s } }\n";
    let daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);

    let finished = Load::to(service(&lab)).connections(6000).parallel(8);
    assert_eq!(finished.run(lab.client()).failures, Vec::<String>::new());
    reset_by_the_client(&lab, 2600);
    half_open(&lab, HALF_OPEN);
    let reset_by_servers = held(&lab, 500);
    servers.iter_mut().for_each(Server::reset_connections);
    drop(reset_by_servers);
    let silent = held(&lab, 400);
    let mut talking: Vec<_> = (0..45).map(|_| greeted(&lab)).collect();

    let talks = |name: &str, talking: &[(String, TcpStream)]| {
        talking.iter().filter(|(of, _)| of == name).count() as u64
    };
    let address = |i: usize| SocketAddr::from((lab.server_addr(i), crate::setup::BACKEND));
    let mut figures = Vec::new();
    let equal = wait::until_true("counts, recounts and what there is", || {
        for (_, stream) in &mut talking {
            client::echo(stream, b"still there").unwrap();
        }
        figures = (0..lab.servers())
            .map(|i| {
                let name = servers[i].name();
                (
                    active(&daemon, name),
                    recount(&daemon, address(i)),
                    talks(name, &talking),
                )
            })
            .collect();
        let equal = |(active, (established, half_open), talk): &(u64, (u64, u64), u64)| {
            *active == established + half_open && established == talk
        };
        let half_open: u64 = figures.iter().map(|(_, (_, half_open), _)| half_open).sum();
        figures.iter().all(equal) && half_open == u64::from(HALF_OPEN)
    });
    equal.unwrap_or_else(|error| panic!("{error}: {figures:?}; {}", reasons(&daemon)));
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );
    drop(silent);
}
