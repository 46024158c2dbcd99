//! The algorithms that only userspace has, and how hashes spread.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use super::*;
use crate::{
    config::model::{self, HashType},
    rules::Priority,
    topology::{Topology, fixtures},
};

/// A backend of servers with these weights, at addresses of their own.
fn topology(
    balance: Balance,
    weights: &[u16],
    change: impl FnOnce(&mut model::Backend),
) -> Topology {
    let servers = weights
        .iter()
        .enumerate()
        .map(|(i, &weight)| model::Server {
            weight,
            ..fixtures::server(&format!("s{i}"), &format!("10.0.1.{i}:80"))
        });
    let mut backend = fixtures::backend("b", balance, servers.collect());
    change(&mut backend);
    Topology::new(&fixtures::config(Vec::new(), vec![backend]))
}

fn anyone() -> SocketAddr {
    ([192, 0, 2, 1], 1000).into()
}

/// Who asks with a hash that is `n`'s.
fn asking(n: u32) -> Asking {
    Asking {
        client: Some(anyone()),
        hash: Some((mix(n.into()) >> 32) as u32),
        turn: None,
    }
}

fn down(backend: &Backend, index: usize) {
    backend.set_admin(&backend.servers[index], crate::topology::AdminState::Maint);
}

fn shares(backend: &Backend, asking: impl Fn(u32) -> Asking, rounds: u32) -> Vec<usize> {
    let mut shares = vec![0; backend.servers.len()];
    for n in 0..rounds {
        shares[backend.claim(asking(n), &[]).unwrap().server().index] += 1;
    }
    shares
}

#[test]
fn static_rr_keeps_the_weights_of_the_file() {
    let topology = topology(Balance::StaticRr, &[3, 1], |_| {});
    let backend = &topology.backends[0];
    let turn = |_| Asking::from(anyone());
    assert_eq!(shares(backend, turn, 400), [300, 100]);
    backend.set_weight(&backend.servers[0], 1);
    assert_eq!(shares(backend, turn, 400), [300, 100]);
    backend.set_weight(&backend.servers[0], 0);
    assert_eq!(shares(backend, turn, 400), [0, 400], "0 takes it out");
    backend.set_weight(&backend.servers[0], 3);
    down(backend, 1);
    assert_eq!(shares(backend, turn, 400), [400, 0]);
}

#[test]
fn first_fills_one_server_after_the_other() {
    let topology = topology(Balance::First, &[1, 1, 1], |backend| {
        backend.servers[0].maxconn = Some(2);
        backend.servers[1].maxconn = Some(1);
    });
    let backend = &topology.backends[0];
    let mut held: Vec<_> = (0..5)
        .map(|_| backend.claim(anyone(), &[]).unwrap())
        .collect();
    let order: Vec<usize> = held.iter().map(|slot| slot.server().index).collect();
    assert_eq!(order, [0, 0, 1, 2, 2]);
    held.remove(1);
    assert_eq!(backend.choose(anyone(), &[]).unwrap().index, 0);
    assert_eq!(backend.choose(anyone(), &[0]).unwrap().index, 2);
    down(backend, 0);
    assert_eq!(backend.choose(anyone(), &[]).unwrap().index, 2);
}

#[test]
fn first_waits_when_all_are_full() {
    let topology = topology(Balance::First, &[1], |backend| {
        backend.servers[0].maxconn = Some(1);
    });
    let backend = &topology.backends[0];
    let _held = backend.claim(anyone(), &[]).unwrap();
    assert_eq!(backend.claim(anyone(), &[]).unwrap_err(), Unavailable::Full);
}

#[test]
fn leasttime_prefers_whoever_answers_sooner() {
    let topology = topology(Balance::LeastTime, &[1, 1, 1], |_| {});
    let backend = &topology.backends[0];
    let now = topology.clock.now_ms();
    let answered = |index: usize, ms| {
        let took = Duration::from_millis(ms);
        backend.servers[index].latency.record(took, now);
    };
    for (index, ms) in [35, 10, 80].into_iter().enumerate() {
        answered(index, ms);
    }
    // Idle ones decay alike, so that the order is not a matter of when this runs.
    assert_eq!(backend.choose(anyone(), &[]).unwrap().index, 1);
    let held: Vec<_> = (0..4)
        .map(|_| backend.claim(anyone(), &[]).unwrap())
        .collect();
    let chosen = |index| {
        let of = held.iter().filter(|slot| slot.server().index == index);
        of.count()
    };
    assert_eq!((chosen(1), chosen(0), chosen(2)), (3, 1, 0));
    answered(1, 10_000);
    assert_eq!(backend.choose(anyone(), &[]).unwrap().index, 0);
}

#[test]
fn leasttime_asks_a_server_once_before_it_knows_it() {
    let topology = topology(Balance::LeastTime, &[1, 1], |_| {});
    let backend = &topology.backends[0];
    backend.servers[0]
        .latency
        .record(Duration::from_millis(20), topology.clock.now_ms());
    let held: Vec<_> = (0..10)
        .map(|_| backend.claim(anyone(), &[]).unwrap())
        .collect();
    let new = held.iter().filter(|slot| slot.server().index == 1).count();
    assert_eq!(new, 1, "a crowd would come before its first answer");
}

#[test]
fn random_draws_as_many_as_it_is_told() {
    let one = topology(Balance::Random, &[3, 1], |backend| {
        backend.balance_arguments.draws = 1;
    });
    let shares = shares(&one.backends[0], |_| anyone().into(), 4000);
    assert!((2850..3150).contains(&shares[0]), "{shares:?}");

    let many = topology(Balance::Random, &[1, 1, 1, 1], |backend| {
        backend.balance_arguments.draws = 64;
    });
    let backend = &many.backends[0];
    let held: Vec<_> = (0..400)
        .map(|_| backend.claim(anyone(), &[]).unwrap())
        .collect();
    let active: Vec<u32> = backend.servers.iter().map(|s| s.active()).collect();
    assert_eq!(active, [100; 4], "so many draws see all of them");
    drop(held);
}

#[test]
fn random_draws_idle_servers_by_weight_alone() {
    for draws in [1, 2, 3] {
        let topology = topology(Balance::Random, &[4, 1], |backend| {
            backend.balance_arguments.draws = draws;
        });
        let shares = shares(&topology.backends[0], |_| anyone().into(), 4000);
        assert!((650..950).contains(&shares[1]), "{draws}: {shares:?}");
    }
}

#[test]
fn hashes_spread_by_weight_and_are_kept() {
    for hash_type in [HashType::MapBased, HashType::Consistent] {
        for balance in [Balance::Uri, Balance::UrlParam, Balance::Hdr] {
            let topology = topology(balance, &[2, 1, 1], |b| b.hash_type = hash_type);
            let backend = &topology.backends[0];
            let shares = shares(backend, asking, 8000);
            assert!((3800..4200).contains(&shares[0]), "{shares:?}");
            assert!((1850..2150).contains(&shares[1]), "{shares:?}");
            let first = backend.choose(asking(5), &[]).unwrap().index;
            assert!((0..100).all(|_| backend.choose(asking(5), &[]).unwrap().index == first));
        }
    }
}

#[test]
fn who_has_nothing_to_hash_goes_in_turn() {
    let topology = topology(Balance::Hdr, &[2, 1, 1], |_| {});
    let shares = shares(&topology.backends[0], |_| anyone().into(), 400);
    assert_eq!(shares, [200, 100, 100]);
}

/// How many of 10,000 keys change their server when one of ten goes, its own left out.
fn moved(balance: Balance, hash_type: HashType, asking: impl Fn(u32) -> Asking) -> (usize, usize) {
    let topology = topology(balance, &[1; 10], |b| b.hash_type = hash_type);
    let backend = &topology.backends[0];
    let choose = || -> Vec<usize> {
        (0..10_000)
            .map(|n| backend.choose(asking(n), &[]).unwrap().index)
            .collect()
    };
    let before = choose();
    down(backend, 4);
    let after = choose();
    assert!(after.iter().all(|index| *index != 4));
    let own = before.iter().filter(|index| **index == 4).count();
    let others = before.iter().zip(&after);
    let others = others.filter(|(before, after)| **before != 4 && before != after);
    (own, others.count())
}

#[test]
fn a_consistent_hash_moves_few_and_a_map_many() {
    let source = |n: u32| Asking::from(SocketAddr::from((n.to_be_bytes(), 7)));
    for (own, others) in [
        moved(Balance::Uri, HashType::Consistent, asking),
        moved(Balance::Source, HashType::Consistent, source),
    ] {
        assert!((850..1150).contains(&own), "{own}");
        assert!(others < 500, "{others}");
    }
    let (_, others) = moved(Balance::Uri, HashType::MapBased, asking);
    assert!(others > 1000, "{others}");
}

#[test]
fn a_bounded_hash_passes_on_what_is_too_much_for_one() {
    let topology = topology(Balance::Uri, &[1, 1, 2], |backend| {
        backend.hash_type = HashType::Consistent;
        backend.hash_balance_factor = Some(125);
    });
    let backend = &topology.backends[0];
    let favourite = backend.choose(asking(9), &[]).unwrap().index;
    let mut held = Vec::new();
    for n in 1..=400_u32 {
        held.push(backend.claim(asking(9), &[]).unwrap());
        for server in &backend.servers {
            let weight = u32::from(server.weight());
            let bound = (n * 125).div_ceil(100) * weight;
            assert!(
                server.active() <= bound.div_ceil(4),
                "{} of {n} on {server:?}",
                server.active()
            );
        }
    }
    drop(held);
    assert_eq!(backend.choose(asking(9), &[]).unwrap().index, favourite);
    // Whoever is passed on goes on to the same server each time, too.
    let chain = |backend: &Backend| -> Vec<usize> {
        let held: Vec<_> = (0..20)
            .map(|_| backend.claim(asking(9), &[]).unwrap())
            .collect();
        held.iter().map(|slot| slot.server().index).collect()
    };
    assert_eq!(chain(backend), chain(backend));
}

#[test]
fn every_algorithm_leaves_to_a_backup_only_what_nobody_else_takes() {
    for balance in Balance::ALL {
        let topology = topology(balance, &[1, 1, 1], |backend| {
            backend.servers[1].backup = true;
        });
        let backend = &topology.backends[0];
        let before = shares(backend, asking, 200);
        assert_eq!(before[1], 0, "{balance:?} {before:?}");
        down(backend, 0);
        down(backend, 2);
        assert_eq!(shares(backend, asking, 200), [0, 200, 0], "{balance:?}");
        down(backend, 1);
        assert_eq!(
            backend.claim(asking(0), &[]).unwrap_err(),
            Unavailable::NoServer,
            "{balance:?}"
        );
    }
}

#[test]
fn a_server_with_few_slots_is_found_when_all_others_are_full() {
    for balance in [Balance::RoundRobin, Balance::Random, Balance::Uri] {
        let topology = topology(balance, &[256, 1, 256], |backend| {
            backend.servers[0].maxconn = Some(1);
            backend.servers[2].maxconn = Some(1);
            if balance == Balance::Uri {
                backend.hash_type = HashType::Consistent;
                backend.hash_balance_factor = Some(110);
            }
        });
        let backend = &topology.backends[0];
        for n in 0..20 {
            let held: Vec<_> = (0..3)
                .map(|_| backend.claim(asking(n), &[]).unwrap())
                .collect();
            let mut order: Vec<usize> = held.iter().map(|slot| slot.server().index).collect();
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2], "{balance:?}");
            drop(held);
            let others = backend.claim(asking(n), &[0, 2]).unwrap();
            assert_eq!(others.server().index, 1, "{balance:?}");
        }
    }
}

#[test]
fn leastconn_sends_to_short_queues_where_there_are_any() {
    let topology = topology(Balance::LeastConn, &[1, 1], |backend| {
        backend.servers[0].maxconn = Some(1);
        backend.servers[0].max_queue = Some(1);
        backend.servers[1].maxconn = Some(3);
    });
    let backend = &topology.backends[0];
    let bound = || backend.bound_to(anyone().into(), &[]).map(|s| s.index);
    let mut held: Vec<_> = (0..2)
        .map(|_| backend.claim(anyone(), &[]).unwrap())
        .collect();
    assert!(backend.servers[0].is_full(), "one each");
    held.push(backend.servers[1].claim().unwrap());
    assert_eq!(bound(), Some(0), "its queue is the least loaded place");
    let queue = &backend.servers[0].queue;
    let mut waiting = std::pin::pin!(queue.wait(Default::default(), |_| None::<()>));
    let mut unwoken = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut unwoken).is_pending());
    assert_eq!(bound(), None, "and takes no second one");
    held.push(backend.claim(anyone(), &[]).unwrap());
    assert_eq!(held[3].server().index, 1);
    assert_eq!(backend.claim(anyone(), &[]).unwrap_err(), Unavailable::Full);
}

/// The task of whoever waits is not always the next to run once a slot is free.
#[test]
fn who_has_just_come_is_behind_those_who_wait_for_one_server() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConn,
        Balance::LeastTime,
        Balance::First,
        Balance::Random,
        Balance::Source,
        Balance::Uri,
    ] {
        let topology = topology(balance, &[1], |backend| {
            backend.servers[0].maxconn = Some(1);
        });
        let backend = &topology.backends[0];
        let server = &backend.servers[0];
        let held = server.claim().unwrap();
        let mut waiting =
            std::pin::pin!(server.queue.wait(Priority::default(), |_| server.claim()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(held);
        let refused = backend.claim(asking(1), &[]).unwrap_err();
        assert_eq!(refused, Unavailable::Full, "{balance:?}");
        let of_class = |class, turn: &Cell<Option<Turn>>| {
            let priority = Priority { class, offset: 0 };
            let ask = |at| {
                turn.set(Some(at));
                let turn = Some(at);
                backend.claim(Asking { turn, ..asking(1) }, &[]).ok()
            };
            let waiting = std::pin::pin!(backend.queue.wait(priority, ask));
            waiting.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        };
        let turn = Cell::new(None);
        assert!(
            of_class(1, &turn).is_pending(),
            "{balance:?}: a later class"
        );
        assert!(turn.take().is_some(), "{balance:?}: it has tried");
        let before = of_class(-1, &turn);
        assert!(before.is_ready(), "{balance:?}: a class that is before");
        drop(before);
        assert!(waiting.as_mut().poll(&mut cx).is_ready(), "{balance:?}");
        assert!(backend.claim(asking(1), &[]).is_ok(), "{balance:?}");
    }
}
