//! One configuration after another.

use std::{sync::Arc, time::Instant};

use super::{AdminState, CheckResult, CheckStatus, Server, Topology, fixtures};
use crate::config::{Config, model::Balance};

/// A backend `b` of these servers at these addresses.
fn config(servers: &[(&str, &str)]) -> Config {
    let servers = servers
        .iter()
        .map(|(name, address)| fixtures::server(name, address));
    let backend = fixtures::backend("b", Balance::RoundRobin, servers.collect());
    fixtures::config(Vec::new(), vec![backend])
}

fn after(before: &Topology, servers: &[(&str, &str)]) -> Topology {
    let topology = before.next(&config(servers));
    topology.take_over(before);
    topology
}

fn server<'t>(topology: &'t Topology, name: &str) -> &'t Arc<Server> {
    topology.server("b", name).expect("it is there")
}

fn names(topology: &Topology) -> Vec<String> {
    let backend = &topology.backends[0];
    let table = backend.table();
    let servers = table.servers().map(|index| &backend.servers[index].name);
    servers.map(ToString::to_string).collect()
}

fn failed() -> CheckResult {
    CheckResult {
        status: CheckStatus::L4Con,
        code: None,
        duration: std::time::Duration::ZERO,
        info: String::new(),
        at: Instant::now(),
    }
}

const ONE: (&str, &str) = ("one", "192.0.2.1:80");
const TWO: (&str, &str) = ("two", "192.0.2.2:80");
const THREE: (&str, &str) = ("three", "192.0.2.3:80");

#[test]
fn until_it_takes_over_nothing_changes() {
    let first = Topology::new(&config(&[ONE, TWO]));
    let mut changes = first.changes();
    changes.borrow_and_update();
    let next = first.next(&config(&[THREE]));
    assert_eq!(names(&first), ["one", "two"]);
    assert!(!changes.has_changed().expect("it is there"));
    drop(next);
    let second = after(&first, &[TWO, THREE]);
    assert!(changes.has_changed().expect("it is there"));
    assert_eq!(names(&second), ["two", "three"]);
}

#[test]
fn what_is_found_out_under_an_earlier_file_holds_for_all() {
    let first = Topology::new(&config(&[ONE, TWO]));
    let second = after(&first, &[TWO, ONE]);
    // By who began under the first file.
    let backend = &first.backends[0];
    backend.record_check(server(&first, "one"), failed(), |_| 0);
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["two".into()], vec!["two".into()])
    );
    assert_eq!(server(&second, "one").status(), "DOWN");
    // And by who knows the second.
    second.backends[0].set_admin(server(&second, "two"), AdminState::Maint);
    assert_eq!((names(&first), names(&second)), (vec![], vec![]));
    // A third one goes on from there.
    let third = after(&second, &[ONE, TWO, THREE]);
    assert_eq!(names(&third), ["three"]);
}

#[test]
fn a_server_that_goes_gets_nobody_new_unless_there_is_no_other() {
    let first = Topology::new(&config(&[ONE, TWO]));
    let held = server(&first, "one").claim().expect("a slot");
    let second = after(&first, &[TWO]);
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["two".into()], vec!["two".into()])
    );
    assert_eq!(server(&first, "one").active(), 1);
    drop(held);
    let third = after(&second, &[THREE]);
    assert_eq!(
        names(&second),
        ["two"],
        "who was on the way to it gets there"
    );
    assert_eq!(names(&third), ["three"]);
}

#[test]
fn a_number_is_never_anothers() {
    let first = Topology::new(&config(&[ONE, TWO]));
    let id = |topology: &Topology, name: &str| server(topology, name).id;
    assert_eq!((id(&first, "one"), id(&first, "two")), (1, 2));
    let second = after(&first, &[THREE, TWO]);
    assert_eq!((id(&second, "three"), id(&second, "two")), (3, 2));
    let third = after(&second, &[ONE, TWO]);
    assert_eq!((id(&third, "one"), id(&third, "two")), (4, 2));
    let found = third.backends[0]
        .server_by_id(4)
        .map(|server| &*server.name);
    assert_eq!(found, Some("one"));
    assert!(third.backends[0].server_by_id(3).is_none());
}

#[test]
fn a_number_that_the_file_says_is_nobody_elses() {
    let numbered = |servers: &[(&str, &str)], said: &[(&str, u32)]| {
        let mut config = config(servers);
        let backend = Arc::make_mut(&mut config.backends[0]);
        for server in &mut backend.servers {
            let said = said.iter().find(|(name, _)| *name == server.name);
            server.id = said.map(|(_, id)| *id);
        }
        config
    };
    let id = |topology: &Topology, name: &str| server(topology, name).id;
    let first = Topology::new(&numbered(&[ONE, TWO], &[("two", 1)]));
    assert_eq!((id(&first, "one"), id(&first, "two")), (2, 1));
    let config = numbered(&[ONE, TWO, THREE], &[("two", 2)]);
    let second = first.next(&config);
    assert_eq!(
        ["one", "two", "three"].map(|name| id(&second, name)),
        [3, 2, 4]
    );
}

#[test]
fn where_a_server_is_stays_as_long_as_the_file_says_the_same_of_it() {
    let first = Topology::new(&config(&[ONE]));
    let to = ([192, 0, 2, 9], 80).into();
    first.backends[0].set_address(server(&first, "one"), Ok(to));
    let second = after(&first, &[ONE]);
    assert_eq!(server(&second, "one").address(), to.into());
    assert!(server(&second, "one").is_reached_like(server(&first, "one")));
    let third = after(&second, &[("one", "192.0.2.7:80")]);
    assert_eq!(server(&third, "one").address().to_string(), "192.0.2.7:80");
    assert_eq!(server(&second, "one").address(), to.into());
    assert!(!server(&third, "one").is_reached_like(server(&second, "one")));
}

#[test]
fn connections_count_for_the_server_whichever_file_they_began_under() {
    let limited = |max| {
        let mut server = fixtures::server(ONE.0, ONE.1);
        server.maxconn = Some(max);
        let backend = fixtures::backend("b", Balance::LeastConn, vec![server]);
        fixtures::config(Vec::new(), vec![backend])
    };
    let first = Topology::new(&limited(2));
    let mut held = vec![server(&first, "one").claim().expect("a slot")];
    let second = first.next(&limited(2));
    second.take_over(&first);
    held.push(server(&second, "one").claim().expect("a slot"));
    assert!(server(&second, "one").claim().is_none() && server(&first, "one").claim().is_none());
    let third = second.next(&limited(3));
    third.take_over(&second);
    held.push(server(&third, "one").claim().expect("a slot"));
    assert!(server(&third, "one").claim().is_none());
    drop(held);
    assert_eq!(server(&third, "one").active(), 0);
}

/// Who waits under one file, as the backend of that file serves them.
mod waiting {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{
        config::model::{self, Mode},
        rules::Priority,
        topology::{Asking, Backend, Connection, Unavailable},
    };

    /// One server is full, and nobody asks for any other.
    fn full(servers: &[(&str, &str)]) -> Config {
        let mut config = config(servers);
        let backend = Arc::make_mut(&mut config.backends[0]);
        let one = backend.servers.iter_mut().find(|one| one.name == ONE.0);
        one.expect("it is there").maxconn = Some(1);
        config
    }

    fn anyone() -> Asking {
        Asking {
            client: None,
            hash: None,
            turn: None,
        }
    }

    /// What whoever waits for any server of `backend` does at each chance.
    async fn wait(backend: &Backend) -> Result<Connection, Unavailable> {
        let attempt = |turn| {
            let turn = Some(turn);
            let own = backend.claim(Asking { turn, ..anyone() }, &[]);
            match own.or_else(|reason| backend.claim_added(turn, reason)) {
                Err(Unavailable::Full) => None,
                done => Some(done),
            }
        };
        backend.queue.wait(Priority::default(), attempt).await
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn name(slot: &Result<Connection, Unavailable>) -> &str {
        slot.as_ref().map_or("", |slot| &slot.server().name)
    }

    /// Those who wait when the file is read again, and what each has got by then.
    fn served(first: &Config, second: &Config) -> [String; 2] {
        let first = Topology::new(first);
        let backend = &first.backends[0];
        let _held = server(&first, "one").claim().expect("a slot");
        let mut waiting = [wait(backend), wait(backend)].map(Box::pin);
        for waiting in &mut waiting {
            assert!(poll(waiting.as_mut()).is_pending());
        }
        let second = first.next(second);
        second.take_over(&first);
        let mut slots = Vec::new();
        waiting
            .each_mut()
            .map(|waiting| match poll(waiting.as_mut()) {
                Poll::Ready(slot) => {
                    let name = name(&slot).to_owned();
                    // Or the next would have it.
                    slots.push(slot);
                    name
                }
                Poll::Pending => "waits".to_owned(),
            })
    }

    #[test]
    fn those_who_wait_have_servers_that_come() {
        let before = full(&[ONE]);
        assert_eq!(served(&before, &full(&[ONE, TWO])), ["two", "two"]);
        assert_eq!(served(&before, &full(&[TWO, ONE])), ["two", "two"]);
        assert_eq!(served(&before, &full(&[ONE])), ["waits", "waits"]);
        let second = |amend: &dyn Fn(&mut model::Backend)| {
            let mut config = full(&[TWO, ONE]);
            amend(Arc::make_mut(&mut config.backends[0]));
            served(&before, &config)
        };
        assert_eq!(
            second(&|backend| backend.servers[0].maxconn = Some(1)),
            ["two", "waits"]
        );
        assert_eq!(
            second(&|backend| backend.servers[0].disabled = true),
            ["waits", "waits"]
        );
        assert_eq!(
            second(&|backend| backend.servers[0].backup = true),
            ["waits", "waits"]
        );
        assert_eq!(
            second(&|backend| backend.mode = Mode::Http),
            ["waits", "waits"],
            "they are not understood there"
        );
    }

    #[test]
    fn a_server_that_comes_is_the_last_resort_of_all_earlier_files() {
        let first = Topology::new(&config(&[ONE]));
        let second = first.next(&config(&[TWO]));
        second.take_over(&first);
        let third = after(&second, &[TWO, THREE]);
        third.backends[0].set_admin(server(&third, "two"), AdminState::Maint);
        first.backends[0].set_admin(server(&first, "one"), AdminState::Maint);
        for (earlier, own) in [(&first, "one"), (&second, "two")] {
            let backend = &earlier.backends[0];
            let reason = backend.claim(anyone(), &[]).expect_err("none of its own");
            assert_eq!(reason, Unavailable::NoServer, "{own}");
            let slot = backend.claim_added(None, reason);
            assert_eq!(name(&slot), "three", "{own}");
            let foreign = slot.expect("a slot");
            assert_eq!(backend.place_of(foreign.server()), None);
            assert_eq!(backend.place_of(server(earlier, own)), Some(0));
        }
        let present = &third.backends[0];
        let slot = present.claim_added(None, Unavailable::Full);
        assert_eq!(slot.expect_err("it has its own"), Unavailable::Full);
        // What is gone again is nobody's, and what has come again is another.
        let fourth = after(&third, &[TWO, ONE]);
        let slot = first.backends[0].claim_added(None, Unavailable::NoServer);
        assert_eq!(name(&slot), "one");
        assert!(Arc::ptr_eq(
            slot.expect("a slot").server(),
            server(&fourth, "one")
        ));
        let _fifth = after(&fourth, &[TWO]);
        let slot = second.backends[0].claim_added(None, Unavailable::NoServer);
        assert_eq!(slot.expect_err("none is added"), Unavailable::NoServer);
    }

    /// The holder of its cookie, say.
    #[test]
    fn whoever_comes_for_a_server_that_has_come_is_behind_those_who_may_have_it_alone() {
        let first = Topology::new(&full(&[ONE]));
        let _held = server(&first, "one").claim().expect("a slot");
        let mut waiting = Box::pin(wait(&first.backends[0]));
        assert!(poll(waiting.as_mut()).is_pending());
        let mut config = full(&[TWO, ONE]);
        Arc::make_mut(&mut config.backends[0]).servers[0].maxconn = Some(2);
        let second = first.next(&config);
        second.take_over(&first);
        let (backend, two) = (&second.backends[0], server(&second, "two"));
        for seen_by in [backend, &first.backends[0]] {
            assert!(!seen_by.lets_pass(two, None), "they are about to have it");
        }
        assert_eq!(
            poll(waiting.as_mut()).map(|slot| name(&slot).to_owned()),
            Poll::Ready("two".into())
        );
        for seen_by in [backend, &first.backends[0]] {
            assert!(seen_by.lets_pass(two, None));
        }
        assert!(first.backends[0].queue.is_empty());
    }
}
