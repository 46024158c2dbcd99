use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::*;
use crate::{
    config::model::{Balance, OnMarkedDown},
    topology::{CheckStatus, Event, Topology, fixtures},
};

/// Every algorithm.
const ALL: [Balance; 5] = [
    Balance::RoundRobin,
    Balance::LeastConn,
    Balance::Source,
    Balance::Maglev,
    Balance::Random,
];

fn topology(balance: Balance, weights: &[u16]) -> Topology {
    let servers = weights
        .iter()
        .enumerate()
        .map(|(i, &weight)| model::Server {
            weight,
            ..fixtures::server(&format!("s{i}"), "127.0.0.1:1")
        })
        .collect();
    Topology::new(&fixtures::config(
        Vec::new(),
        vec![fixtures::backend("b", balance, servers)],
    ))
}

fn client(n: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + n), 1000).into()
}

fn result(status: CheckStatus) -> CheckResult {
    CheckResult {
        status,
        code: None,
        duration: Duration::from_millis(1),
        info: String::new(),
        at: std::time::Instant::now(),
    }
}

fn down(backend: &Backend, index: usize) {
    backend.record_check(&backend.servers[index], result(CheckStatus::L4Con), |_| 0);
}

fn up(backend: &Backend, index: usize) {
    backend.record_check(&backend.servers[index], result(CheckStatus::L4Ok), |_| 4);
}

fn shares(backend: &Backend, rounds: u32) -> Vec<usize> {
    let mut shares = vec![0; backend.servers.len()];
    for n in 0..rounds {
        shares[backend.claim(client(n), &[]).unwrap().server().index] += 1;
    }
    shares
}

#[test]
fn roundrobin_gives_exact_shares_by_weight_and_never_bursts() {
    let topology = topology(Balance::RoundRobin, &[2, 1, 1]);
    let backend = &topology.backends[0];
    let mut last = [usize::MAX; 2];
    for n in 0..400 {
        let index = backend.choose(client(n), &[]).unwrap().index;
        assert_ne!([index, index], last, "three in a row on one server");
        last = [last[1], index];
    }
    assert_eq!(shares(backend, 400), [200, 100, 100]);
}

#[test]
fn leastconn_fills_the_least_loaded_for_its_weight() {
    let topology = topology(Balance::LeastConn, &[2, 1, 1]);
    let backend = &topology.backends[0];
    let held: Vec<_> = (0..40)
        .map(|n| backend.claim(client(n), &[]).unwrap())
        .collect();
    let active: Vec<u32> = backend.servers.iter().map(|s| s.active()).collect();
    assert_eq!(active, [20, 10, 10]);
    drop(held);
    assert!(
        backend.servers.iter().all(|s| s.active() == 0),
        "every slot is given back"
    );
}

#[test]
fn leastconn_counts_the_kernels_flows() {
    let topology = topology(Balance::LeastConn, &[1, 1]);
    let backend = &topology.backends[0];
    backend.servers[0].counters.kernel.active.set(5);
    let held: Vec<_> = (0..5)
        .map(|n| backend.claim(client(n), &[]).unwrap())
        .collect();
    assert!(held.iter().all(|connection| connection.server().index == 1));
}

#[test]
fn leastconn_ties_go_in_turn() {
    let topology = topology(Balance::LeastConn, &[1, 1, 1]);
    assert_eq!(shares(&topology.backends[0], 300), [100, 100, 100]);
}

#[test]
fn leastconn_ties_go_in_turn_beside_a_busy_server() {
    let topology = topology(Balance::LeastConn, &[1, 1, 1]);
    let backend = &topology.backends[0];
    backend.servers[1].counters.kernel.active.set(5);
    assert_eq!(shares(backend, 300), [150, 0, 150]);
}

#[test]
fn leastconn_asks_idle_servers_in_turn_whatever_their_weight() {
    let topology = topology(Balance::LeastConn, &[20, 10, 1]);
    assert_eq!(shares(&topology.backends[0], 300), [100, 100, 100]);
}

#[test]
fn source_keeps_a_client_on_its_server_and_spreads_clients_by_weight() {
    let topology = topology(Balance::Source, &[2, 1, 1]);
    let backend = &topology.backends[0];
    let first = backend.choose(client(7), &[]).unwrap().index;
    assert!((0..1000).all(|_| backend.choose(client(7), &[]).unwrap().index == first));
    let shares = shares(backend, 4000);
    assert!((1850..2150).contains(&shares[0]), "{shares:?}");
    assert!((850..1150).contains(&shares[1]), "{shares:?}");
    let mapped: SocketAddr = "[::ffff:10.0.0.7]:7".parse().unwrap();
    assert_eq!(
        backend.choose(mapped, &[]).unwrap().index,
        first,
        "a mapped address is the same client"
    );
}

#[test]
fn maglev_keeps_a_connection_on_its_server_and_moves_few_when_one_goes() {
    let servers: Vec<_> = (0..10)
        .map(|i| fixtures::server(&format!("s{i}"), &format!("10.0.1.{i}:80")))
        .collect();
    let config = fixtures::config(
        Vec::new(),
        vec![fixtures::backend("b", Balance::Maglev, servers)],
    );
    let topology = Topology::new(&config);
    let backend = &topology.backends[0];
    let client = |n: u16| SocketAddr::from((Ipv4Addr::new(10, 0, 0, (n % 250) as u8), n));
    let choose = || -> Vec<usize> {
        (0..5000)
            .map(|n| backend.choose(client(n), &[]).unwrap().index)
            .collect()
    };
    let before = choose();
    assert_eq!(before, choose(), "the same client goes to the same server");
    let share = before.iter().filter(|index| **index == 3).count();
    assert!((400..600).contains(&share), "{share} of 5000 on one of ten");
    down(backend, 3);
    let after = choose();
    let others = before
        .iter()
        .zip(&after)
        .filter(|(b, a)| b != a && **b != 3);
    let others = others.count();
    assert!(others < 200, "{others} of 4500 others have moved");
    assert!(!after.contains(&3));
    up(backend, 3);
    assert_eq!(choose(), before, "all are back where they were");
}

#[test]
fn random_spreads_by_weight_and_prefers_the_less_loaded() {
    let topology = topology(Balance::Random, &[2, 1, 1]);
    let backend = &topology.backends[0];
    let held: Vec<_> = (0..400)
        .map(|n| backend.claim(client(n), &[]).unwrap())
        .collect();
    let active: Vec<u32> = backend.servers.iter().map(|s| s.active()).collect();
    // Two draws keep the loads far closer together than the square root that one draw strays by.
    assert!((180..=220).contains(&active[0]), "{active:?}");
    assert!((85..=115).contains(&active[1]), "{active:?}");
    drop(held);
}

#[test]
fn excluded_servers_are_left_out_by_every_algorithm() {
    for balance in ALL {
        let topology = topology(balance, &[1, 1, 1]);
        let backend = &topology.backends[0];
        for n in 0..30 {
            assert_eq!(
                backend.claim(client(n), &[0, 2]).unwrap().server().index,
                1,
                "{balance:?}"
            );
        }
        assert_eq!(
            backend.claim(client(0), &[0, 1, 2]).unwrap_err(),
            Unavailable::NoServer,
            "{balance:?}"
        );
    }
}

#[test]
fn a_server_that_is_down_gets_nothing_until_it_is_up() {
    let topology = topology(Balance::RoundRobin, &[1, 1]);
    let backend = &topology.backends[0];
    down(backend, 0);
    assert_eq!(shares(backend, 10), [0, 10]);
    assert_eq!(backend.servers[0].status(), "DOWN");
    up(backend, 0);
    assert_eq!(shares(backend, 10), [5, 5]);
    assert_eq!(backend.servers[0].status(), "UP");
    assert_eq!(backend.servers[0].counters.times_down.value(), 1);
    assert_eq!(backend.servers[0].counters.checks_failed.value(), 1);
}

#[test]
fn backups_serve_only_when_no_other_is_up_and_then_the_first_alone() {
    let mut servers: Vec<_> = (0..4)
        .map(|i| fixtures::server(&format!("s{i}"), "127.0.0.1:1"))
        .collect();
    servers[2].backup = true;
    servers[3].backup = true;
    let config = fixtures::config(
        Vec::new(),
        vec![fixtures::backend("b", Balance::RoundRobin, servers)],
    );
    let topology = Topology::new(&config);
    let backend = &topology.backends[0];
    assert_eq!(shares(backend, 10), [5, 5, 0, 0]);
    down(backend, 0);
    down(backend, 1);
    assert_eq!(shares(backend, 10), [0, 0, 10, 0]);
    down(backend, 2);
    assert_eq!(shares(backend, 10), [0, 0, 0, 10]);
    up(backend, 1);
    assert_eq!(shares(backend, 10), [0, 10, 0, 0]);
}

#[test]
fn maxconn_is_never_overshot_between_threads() {
    for balance in ALL {
        let servers = (0..2)
            .map(|i| model::Server {
                maxconn: Some(5),
                ..fixtures::server(&format!("s{i}"), "127.0.0.1:1")
            })
            .collect();
        let config = fixtures::config(Vec::new(), vec![fixtures::backend("b", balance, servers)]);
        let topology = Topology::new(&config);
        let backend = &topology.backends[0];
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..2000 {
                        let held = backend.claim(client(thread * 10_000 + n), &[]);
                        assert!(backend.servers.iter().all(|s| s.active() <= 5));
                        drop(held);
                    }
                });
            }
        });
        let held: Vec<_> = (0..100)
            .map_while(|n| backend.servers[n % 2].claim())
            .collect();
        assert_eq!(held.len(), 10);
        assert_eq!(
            backend.claim(client(0), &[]).unwrap_err(),
            Unavailable::Full
        );
    }
}

#[test]
fn drain_keeps_cookie_holders_and_maint_does_not() {
    let topology = topology(Balance::RoundRobin, &[1, 1]);
    let backend = &topology.backends[0];
    let server = &backend.servers[0];
    up(backend, 0);
    backend.set_admin(server, AdminState::Drain);
    assert_eq!(server.status(), "DRAIN");
    assert!(!server.is_eligible() && server.is_usable_by_cookie());
    backend.set_admin(server, AdminState::Maint);
    assert_eq!(server.status(), "MAINT");
    assert!(!server.is_eligible() && !server.is_usable_by_cookie());
    backend.set_admin(server, AdminState::Ready);
    assert_eq!(
        server.status(),
        "UP 1/3",
        "one failure suffices after maintenance"
    );
    backend.set_weight(server, 0);
    assert_eq!(
        server.status(),
        "UP 1/3",
        "a weight of 0 drains, but HAProxy does not call it so"
    );
    assert!(!server.is_eligible());
    assert!(server.is_usable_by_cookie());
}

/// Two servers, the first of which starts slowly.
fn slow(balance: Balance) -> Topology {
    let mut servers: Vec<_> = (0..2)
        .map(|i| fixtures::server(&format!("s{i}"), &format!("10.0.1.{i}:80")))
        .collect();
    servers[0].slowstart = Some(Duration::from_secs(3600));
    Topology::new(&fixtures::config(
        Vec::new(),
        vec![fixtures::backend("b", balance, servers)],
    ))
}

#[test]
fn a_server_that_has_come_up_gets_its_weight_little_by_little() {
    let topology = slow(Balance::RoundRobin);
    let (backend, server) = (&topology.backends[0], &topology.backends[0].servers[0]);
    up(backend, 0);
    assert_eq!(
        (server.throttle(), shares(backend, 10)),
        (None, vec![5, 5]),
        "at the start of the daemon nothing is slow"
    );
    down(backend, 0);
    assert_eq!(server.throttle(), None);
    up(backend, 0);
    let mut changes = topology.changes();
    assert_eq!((server.throttle(), server.effective_weight()), (Some(5), 1));
    assert_eq!(
        shares(backend, 170),
        [10, 160],
        "a sixteenth of a weight of 1"
    );
    let came_up = server.last_change_ms();
    backend.step_slow_starts(came_up + 1000);
    assert!(!changes.has_changed().unwrap(), "too little to tell");
    backend.step_slow_starts(came_up + 1_800_000);
    assert_eq!(server.throttle(), Some(50));
    assert!(changes.has_changed().unwrap(), "the kernel has to follow");
    assert_eq!(shares(backend, 30), [10, 20]);
    backend.step_slow_starts(came_up + 3_600_000);
    assert_eq!((server.throttle(), shares(backend, 10)), (None, vec![5, 5]));
    changes.mark_unchanged();
    backend.step_slow_starts(came_up + 7_200_000);
    assert!(!changes.has_changed().unwrap(), "it is over");
}

#[test]
fn a_slow_start_ends_with_the_server_and_begins_anew_after_maintenance() {
    let topology = slow(Balance::LeastConn);
    let (backend, server) = (&topology.backends[0], &topology.backends[0].servers[0]);
    backend.set_admin(server, AdminState::Maint);
    backend.set_admin(server, AdminState::Ready);
    assert_eq!(server.throttle(), Some(5));
    let held: Vec<_> = (0..17)
        .map(|n| backend.claim(client(n), &[]).unwrap())
        .collect();
    assert_eq!(server.active(), 1, "one of seventeen");
    drop(held);
    down(backend, 0);
    assert_eq!((server.throttle(), server.effective_weight()), (None, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn sessions_of_a_server_that_goes_down_end_where_the_file_asks_for_it() {
    let mut servers: Vec<_> = (0..2)
        .map(|i| fixtures::server(&format!("s{i}"), "127.0.0.1:1"))
        .collect();
    servers[0].on_marked_down = OnMarkedDown::ShutdownSessions;
    let config = fixtures::config(
        Vec::new(),
        vec![fixtures::backend("b", Balance::RoundRobin, servers)],
    );
    let topology = Topology::new(&config);
    let backend = &topology.backends[0];
    let ended = |index: usize| {
        let session = backend.servers[index].claim().unwrap();
        let end = session.shut_down().unwrap();
        tokio::spawn(async move {
            end.await;
            drop(session);
        })
    };
    assert!(
        backend.servers[1].claim().unwrap().shut_down().is_none(),
        "nothing was asked for there"
    );
    let first = ended(0);
    down(backend, 0);
    down(backend, 1);
    first.await.unwrap();
    assert_eq!(backend.servers[0].shutdown_sessions(), 1);
    assert_eq!(backend.servers[1].shutdown_sessions(), 0);
    up(backend, 0);
    let later = ended(0);
    tokio::task::yield_now().await;
    assert!(!later.is_finished(), "what began afterwards goes on");
    backend.set_admin(&backend.servers[0], AdminState::Maint);
    later.await.unwrap();
}

#[test]
fn a_result_that_comes_during_maintenance_is_not_taken() {
    let topology = topology(Balance::RoundRobin, &[1]);
    let backend = &topology.backends[0];
    backend.set_admin(&backend.servers[0], AdminState::Maint);
    down(backend, 0);
    backend.set_admin(&backend.servers[0], AdminState::Ready);
    assert!(backend.servers[0].is_eligible());
}

#[test]
fn a_server_whose_health_is_to_be_stopping_wants_nobody_new_until_it_is_up_again() {
    let topology = topology(Balance::RoundRobin, &[1, 1]);
    let backend = &topology.backends[0];
    let server = &backend.servers[0];
    let mut events = topology.events();
    let mut kinds = || -> Vec<_> {
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|event| event.kind)
            .collect()
    };
    backend.set_health(server, Willed::Stopping);
    assert!(server.status().starts_with("NOLB") && server.is_usable_by_cookie());
    assert_eq!(server.admin(), AdminState::Ready);
    assert_eq!(shares(backend, 4), [0, 4]);
    assert_eq!(kinds(), [EventKind::Stopping]);
    backend.set_health(server, Willed::Up);
    assert_eq!(shares(backend, 4), [2, 2]);
    assert_eq!(kinds(), [EventKind::Up]);
    // Maintenance is the end of it.
    backend.set_health(server, Willed::Stopping);
    backend.set_admin(server, AdminState::Maint);
    backend.set_health(server, Willed::Up);
    assert_eq!(server.status(), "MAINT");
    backend.set_admin(server, AdminState::Ready);
    assert!(!server.is_stopping());
}

#[test]
fn statuses_are_haproxys() {
    let topology = topology(Balance::RoundRobin, &[1]);
    let (backend, server) = (&topology.backends[0], &topology.backends[0].servers[0]);
    assert_eq!(server.status(), "UP 1/3", "before the first result");
    for (level, text) in [
        (4, "UP"),
        (3, "UP 2/3"),
        (2, "UP 1/3"),
        (1, "DOWN 1/2"),
        (0, "DOWN"),
    ] {
        backend.record_check(server, result(CheckStatus::L4Ok), |_| level);
        assert_eq!(server.status(), text);
    }
    let mut unchecked = fixtures::backend(
        "u",
        Balance::RoundRobin,
        vec![fixtures::server("s", "127.0.0.1:1")],
    );
    unchecked.health_check = None;
    let topology = Topology::new(&fixtures::config(Vec::new(), vec![unchecked]));
    assert_eq!(topology.backends[0].servers[0].status(), "no check");
    assert!(topology.backends[0].servers[0].is_eligible());
}

#[test]
fn subscribers_learn_of_what_matters_to_them_and_of_nothing_else() {
    let topology = topology(Balance::RoundRobin, &[1, 1]);
    let backend = &topology.backends[0];
    let (mut changes, mut events) = (topology.changes(), topology.events());
    up(backend, 0);
    assert!(
        !changes.has_changed().unwrap(),
        "a passed check of a server that is up moves nothing"
    );
    down(backend, 0);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    down(backend, 1);
    assert!(changes.has_changed().unwrap());
    let mut next = || -> Option<Event> { events.try_recv().ok() };
    let first = next().unwrap();
    assert_eq!(
        (first.kind, first.active_servers, first.backup_servers),
        (EventKind::Down, 1, 0)
    );
    assert_eq!(next().unwrap().kind, EventKind::Down);
    let last = next().unwrap();
    assert_eq!(last.kind, EventKind::NoServer);
    assert_eq!(&*last.backend, "b");
    assert!(last.server.is_none());
    assert!(next().is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn who_waits_for_a_full_server_gets_the_next_slot() {
    let servers = vec![model::Server {
        maxconn: Some(1),
        ..fixtures::server("s", "127.0.0.1:1")
    }];
    let config = fixtures::config(
        Vec::new(),
        vec![fixtures::backend("b", Balance::RoundRobin, servers)],
    );
    let topology = Topology::new(&config);
    let backend = &topology.backends[0];
    let held = backend.claim(client(0), &[]).unwrap();
    let waiter = backend.queue.wait(Default::default(), |_| {
        match backend.claim(client(1), &[]) {
            Err(Unavailable::Full) => None,
            done => Some(done),
        }
    });
    let (got, ()) = tokio::join!(waiter, async {
        tokio::task::yield_now().await;
        assert_eq!(backend.queue.len(), 1);
        drop(held);
    });
    assert!(got.is_ok());
    assert_eq!(backend.servers[0].active(), 1);
}
