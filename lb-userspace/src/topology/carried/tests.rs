use std::time::Instant;

use super::*;
use crate::{
    config::model::Balance,
    topology::{Clock, fixtures},
};

fn config(weight: u16, disabled: bool) -> crate::config::Config {
    let mut servers = vec![
        fixtures::server("a", "127.0.0.1:1"),
        fixtures::server("b", "127.0.0.1:2"),
    ];
    servers[0].weight = weight;
    servers[0].disabled = disabled;
    let backend = fixtures::backend("be", Balance::RoundRobin, servers);
    fixtures::config(
        vec![fixtures::frontend("fe", ([127, 0, 0, 1], 0).into(), "be")],
        vec![backend],
    )
}

/// As it comes out of the other process.
fn through<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

fn moved(before: &Topology, config: &crate::config::Config) -> Topology {
    let after = Topology::begun(config, before.clock);
    let servers: Vec<_> = before.server_states().collect();
    let backends: Vec<_> = before.backend_states().collect();
    after
        .take_states(&through(&servers), &through(&backends))
        .unwrap();
    after
}

#[test]
fn what_an_operator_has_set_goes_along_unless_the_file_says_something_else_by_now() {
    let before = Topology::begun(&config(1, false), Clock::new(Instant::now()));
    let backend = before.backend("be").unwrap();
    let [a, b] = [&backend.servers[0], &backend.servers[1]];
    backend.set_weight(a, 7);
    backend.set_admin(b, AdminState::Maint);
    let after = moved(&before, &config(1, false));
    let backend = after.backend("be").unwrap();
    assert_eq!(backend.servers[0].weight(), 7);
    assert_eq!(backend.servers[1].admin(), AdminState::Maint);
    assert_eq!(backend.servers_up(), (1, 0), "the table follows");
    assert_eq!(
        backend.servers[1].last_change_ms(),
        b.last_change_ms(),
        "one clock"
    );

    let after = moved(&before, &config(3, true));
    let backend = after.backend("be").unwrap();
    assert_eq!(backend.servers[0].weight(), 3, "the file's word");
    assert_eq!(backend.servers[0].admin(), AdminState::Maint);
}

#[test]
fn an_unknown_word_of_an_operator_is_refused() {
    let topology = Topology::new(&config(1, false));
    let mut states: Vec<_> = topology.server_states().collect();
    states[0].admin = "asleep".into();
    let error = topology.take_states(&states, &[]).unwrap_err();
    assert!(error.contains("`asleep`"), "{error}");
}

#[test]
fn figures_are_told_once_and_add_up() {
    let (before, after) = (
        Topology::new(&config(1, false)),
        Topology::new(&config(1, false)),
    );
    let counters = &before.frontends[0].counters;
    counters.connections.add(5);
    counters.max_current.raise(3);
    counters.http.response(204);
    before.backends[0].servers[0].counters.times.total.add(20);
    counters.total.record(Duration::from_millis(3));
    counters.total.record(Duration::from_secs(7));
    let mut sent = Sent::default();
    for _ in 0..2 {
        let spreads = sent.next_spreads(&before);
        add_spreads(&after, &through(&spreads));
    }
    let [was, is] = [&before, &after].map(|t| t.frontends[0].counters.total.distribution());
    assert_eq!(was, is);
    add(&after, &through(&sent.next(&before)));
    add(&after, &sent.next(&before));
    counters.connections.inc();
    after.frontends[0].counters.connections.inc();
    add(&after, &sent.next(&before));
    let counters = &after.frontends[0].counters;
    assert_eq!(counters.connections.value(), 7);
    assert_eq!(counters.max_current.value(), 3);
    assert_eq!(counters.http.responses()[1], 1);
    let total = &after.backends[0].servers[0].counters.times.total;
    assert_eq!((total.mean(), total.max()), (20, 20));
}

#[test]
fn whatever_a_check_finds_has_a_name_that_leads_back() {
    // Who adds one is told here to add it to `ALL` as well.
    let place = |status| match status {
        CheckStatus::SockErr => 0,
        CheckStatus::L4Ok => 1,
        CheckStatus::L4Tout => 2,
        CheckStatus::L4Con => 3,
        CheckStatus::L6Ok => 4,
        CheckStatus::L6Tout => 5,
        CheckStatus::L6Rsp => 6,
        CheckStatus::Hana => 7,
        CheckStatus::Checked => 8,
        CheckStatus::L7Ok => 9,
        CheckStatus::L7Okc => 10,
        CheckStatus::L7Tout => 11,
        CheckStatus::L7Rsp => 12,
        CheckStatus::L7Sts => 13,
    };
    let places: Vec<usize> = CheckStatus::ALL.into_iter().map(place).collect();
    assert_eq!(places, (0..=13).collect::<Vec<_>>());
    for status in CheckStatus::ALL {
        assert_eq!(CheckStatus::named(status.name()), Some(status));
    }
}

#[test]
fn orders_and_a_wish_to_stop_go_along() {
    let checked = |maxconn, address: &str| {
        let mut server = fixtures::server("a", address);
        server.maxconn = maxconn;
        let backend = fixtures::backend("be", Balance::RoundRobin, vec![server]);
        fixtures::config(
            vec![fixtures::frontend("fe", ([127, 0, 0, 1], 0).into(), "be")],
            vec![backend],
        )
    };
    let before = Topology::begun(&checked(Some(9), "127.0.0.1:1"), Clock::new(Instant::now()));
    let backend = before.backend("be").unwrap();
    let a = &backend.servers[0];
    backend.set_maxconn(a, Some(3));
    backend.move_server(a, ([127, 0, 0, 2], 7).into());
    a.set_stopping(true);
    backend.set_admin_by_agent(a, AdminState::Maint);
    a.enable_checks(false);
    a.enable_agent(false);
    a.set_check_elsewhere(|to| to.port = Some(99));
    a.set_agent_elsewhere(|to| to.send = Some(b"hm\n".to_vec()));

    let after = moved(&before, &checked(Some(9), "127.0.0.1:1"));
    let b = &after.backend("be").unwrap().servers[0];
    assert_eq!((b.maxconn(), b.address()), (Some(3), a.address()));
    assert!(b.is_stopping() && !b.checks_enabled() && !b.agent_enabled());
    assert!(b.is_kept_by_agent(), "and the agent is asked on");
    assert_eq!(b.check_elsewhere(), a.check_elsewhere());
    assert_eq!(b.agent_elsewhere(), a.agent_elsewhere());

    let after = moved(&before, &checked(None, "127.0.0.3:1"));
    let b = &after.backend("be").unwrap().servers[0];
    let file = SocketAddr::from(([127, 0, 0, 3], 1));
    assert_eq!((b.maxconn(), b.address().inet()), (None, Some(file)));
    assert!(!b.is_stopping(), "another server");
}

#[test]
fn an_unknown_order_is_refused() {
    let before = Topology::new(&config(1, false));
    let state = before.server_states().next().unwrap();
    let text = serde_json::to_string(&state).unwrap();
    let text = text.replacen("\"by_file\"", "\"mood\":1,\"by_file\"", 1);
    let error = serde_json::from_str::<ServerState>(&text).unwrap_err();
    assert!(error.to_string().contains("mood"), "{error}");
}

#[test]
fn means_do_not_rise_while_the_other_process_serves_its_last() {
    let [before, after] = [0, 1].map(|_| Topology::new(&config(1, false)));
    let of = |topology: &Topology| Arc::clone(&topology.backends[0].servers[0].counters);
    let mut sent = Sent::default();
    for _ in 0..2000 {
        of(&before).times.total.add(100);
    }
    add(&after, &through(&sent.next(&before)));
    let mean = of(&before).times.total.mean();
    assert_eq!(of(&after).times.total.mean(), mean);
    for _ in 0..50 {
        // One long request, then many short ones: the sum rises and falls.
        of(&before).times.total.add(10_000);
        add(&after, &through(&sent.next(&before)));
        for _ in 0..600 {
            of(&before).times.total.add(1);
        }
        add(&after, &through(&sent.next(&before)));
    }
    assert_eq!(of(&after).times.total.mean(), mean);
    assert_eq!(of(&after).times.total.max(), 10_000);
}
