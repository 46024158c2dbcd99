//! Names followed with a DNS server of the test's own.

use std::{sync::Arc, time::Duration};

use super::{
    fixtures::{Dns, Does, Says, at},
    *,
};
use crate::{
    config::model::{self, Balance, Nameserver},
    topology::fixtures,
};

/// A backend of `count` servers that have `name`, followed quickly.
fn topology(dns: &Dns, name: &str, port: Option<u16>, count: usize) -> Topology {
    let mut resolvers = Resolvers::new("r");
    resolvers.nameservers.push(Nameserver {
        address: dns.address,
        tcp: false,
    });
    let short = Duration::from_millis(5);
    (resolvers.interval, resolvers.hold.valid) = (short, short);
    resolvers.retries = 0;
    resolvers.hold.nx = Duration::ZERO;
    let resolve = Resolve {
        resolvers: Arc::new(resolvers),
        prefers_v4: true,
        networks: Vec::new(),
        duplicates: false,
        ignores_weight: false,
    };
    let servers = (0..count).map(|i| model::Server {
        address: Address::Name(name.into(), port),
        resolve: Some(resolve.clone()),
        ..fixtures::server(&format!("s{i}"), "127.0.0.1:1")
    });
    let backend = fixtures::backend("b", Balance::RoundRobin, servers.collect());
    Topology::new(&fixtures::config(Vec::new(), vec![backend]))
}

/// Waits until all servers are where they should be.
async fn until(topology: &Topology, expected: &[&str]) {
    let shown = || -> Vec<String> {
        let servers = topology.backends[0].servers.iter();
        servers.map(|server| server.address().to_string()).collect()
    };
    let mut changes = topology.changes();
    let patience = Duration::from_secs(30);
    let reached = async {
        while shown() != expected {
            changes.changed().await.unwrap();
        }
    };
    let reached = tokio::time::timeout(patience, reached).await;
    assert!(reached.is_ok(), "{:?} instead of {expected:?}", shown());
}

#[tokio::test(flavor = "current_thread")]
async fn servers_are_where_their_name_is() {
    let dns = Dns::start();
    dns.set("app.example", at(&["10.0.0.1", "10.0.0.2"]));
    let topology = topology(&dns, "app.example", Some(80), 3);
    let backend = &topology.backends[0];
    assert!(!backend.is_up(), "nobody knows where they are");
    assert_eq!(backend.servers[0].status(), "MAINT (resolution)");
    let _names = Names::start(&topology);
    until(&topology, &["10.0.0.1:80", "10.0.0.2:80", "app.example:80"]).await;
    assert_eq!(backend.servers_up(), (2, 0));
    dns.set("app.example", at(&["10.0.0.2", "10.0.0.3", "10.0.0.4"]));
    until(&topology, &["10.0.0.3:80", "10.0.0.2:80", "10.0.0.4:80"]).await;
    assert_eq!(backend.servers_up(), (3, 0));
    dns.set("app.example", Does::Fail(3));
    until(&topology, &["app.example:80"; 3]).await;
    assert!(!backend.is_up());
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_known_outlives_a_server_that_says_nothing_of_use() {
    let dns = Dns::start();
    dns.set("app.example", at(&["10.0.0.1"]));
    let topology = topology(&dns, "app.example", Some(80), 1);
    let _names = Names::start(&topology);
    until(&topology, &["10.0.0.1:80"]).await;
    dns.set("app.example", Does::Fail(2));
    // The third question after that: two have come to nothing.
    let asked = dns.asked("app.example", 1) + 3;
    while dns.asked("app.example", 1) < asked {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(topology.backends[0].is_up(), "held for 30 s");
}

#[tokio::test(flavor = "current_thread")]
async fn who_says_nothing_is_not_waited_for_where_another_answers() {
    let (dns, mute) = (Dns::start(), Dns::start());
    mute.set("app.example", Does::Nothing);
    dns.set("app.example", at(&["10.0.0.1"]));
    let mut topology = topology(&dns, "app.example", Some(80), 1);
    let mut config = model::Backend::clone(&topology.backends[0].config);
    let resolve = config.servers[0].resolve.as_mut().unwrap();
    let mut resolvers = Resolvers::clone(&resolve.resolvers);
    resolvers.nameservers.insert(
        0,
        Nameserver {
            address: mute.address,
            tcp: false,
        },
    );
    resolve.resolvers = Arc::new(resolvers);
    topology = Topology::new(&fixtures::config(Vec::new(), vec![config]));
    let _names = Names::start(&topology);
    until(&topology, &["10.0.0.1:80"]).await;
    assert!(mute.asked("app.example", 1) > 0);
}

#[tokio::test(flavor = "current_thread")]
async fn the_other_family_is_asked_for_where_there_is_none_of_the_preferred() {
    let dns = Dns::start();
    dns.set("app.example", at(&["2001:db8::1"]));
    let topology = topology(&dns, "app.example", Some(80), 1);
    let _names = Names::start(&topology);
    until(&topology, &["[2001:db8::1]:80"]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn services_say_where_servers_are_and_how_much_they_take() {
    let dns = Dns::start();
    let ip = |text: &str| Some(text.parse().unwrap());
    dns.set(
        "_web._tcp.example",
        Does::Say(vec![
            Says::Service(256, 8001, "one.example", ip("10.0.0.1")),
            Says::Service(512, 8002, "two.example", None),
        ]),
    );
    dns.set("two.example", at(&["10.0.0.2"]));
    let topology = topology(&dns, "_web._tcp.example", None, 3);
    let servers = &topology.backends[0].servers;
    let _names = Names::start(&topology);
    until(
        &topology,
        &["10.0.0.1:8001", "10.0.0.2:8002", "_web._tcp.example"],
    )
    .await;
    assert_eq!((servers[0].weight(), servers[1].weight()), (1, 2));
    dns.set(
        "_web._tcp.example",
        Does::Say(vec![
            Says::Service(256, 8003, "two.example", None),
            Says::Service(512, 8002, "two.example", None),
        ]),
    );
    until(
        &topology,
        &["10.0.0.2:8003", "10.0.0.2:8002", "_web._tcp.example"],
    )
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_that_is_too_large_is_asked_for_by_tcp() {
    let dns = Dns::start();
    let address = Says::Address("10.0.0.9".parse().unwrap());
    dns.set("app.example", Does::Overflow(vec![address]));
    let topology = topology(&dns, "app.example", Some(80), 1);
    let _names = Names::start(&topology);
    until(&topology, &["10.0.0.9:80"]).await;
}

/// The same configuration read again.
fn reloaded(before: &Topology) -> Topology {
    let config = fixtures::config(
        Vec::new(),
        vec![model::Backend::clone(&before.backends[0].config)],
    );
    let topology = before.next(&config);
    topology.take_over(before);
    topology
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_that_is_held_is_held_after_a_reload_too() {
    let dns = Dns::start();
    dns.set("app.example", at(&["10.0.0.1", "10.0.0.2"]));
    let mut first = topology(&dns, "app.example", Some(80), 3);
    let mut config = model::Backend::clone(&first.backends[0].config);
    for server in &mut config.servers {
        let resolve = server.resolve.as_mut().unwrap();
        let mut resolvers = Resolvers::clone(&resolve.resolvers);
        resolvers.hold.obsolete = Duration::from_secs(1000);
        resolve.resolvers = Arc::new(resolvers);
    }
    first = Topology::new(&fixtures::config(Vec::new(), vec![config]));
    let names = Names::start(&first);
    until(&first, &["10.0.0.1:80", "10.0.0.2:80", "app.example:80"]).await;
    drop(names);
    dns.set("app.example", at(&["10.0.0.2", "10.0.0.3"]));
    let second = reloaded(&first);
    let _names = Names::start(&second);
    until(&second, &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn services_keep_their_servers_through_a_reload() {
    let dns = Dns::start();
    let ip = |text: &str| Some(text.parse().unwrap());
    let one = Says::Service(256, 8001, "one.example", ip("10.0.0.1"));
    let two = Says::Service(512, 8002, "two.example", ip("10.0.0.2"));
    let three = Says::Service(256, 8003, "three.example", ip("10.0.0.3"));
    dns.set(
        "_web._tcp.example",
        Does::Say(vec![one.clone(), two.clone()]),
    );
    let first = topology(&dns, "_web._tcp.example", None, 3);
    let names = Names::start(&first);
    let name = "_web._tcp.example";
    until(&first, &["10.0.0.1:8001", "10.0.0.2:8002", name]).await;
    drop(names);
    dns.set("_web._tcp.example", Does::Say(vec![two, one, three]));
    let second = reloaded(&first);
    let _names = Names::start(&second);
    until(
        &second,
        &["10.0.0.1:8001", "10.0.0.2:8002", "10.0.0.3:8003"],
    )
    .await;
    let moves = second.backends[0].servers.iter().map(|s| s.moves());
    assert_eq!(moves.collect::<Vec<_>>(), [1, 1, 1], "nobody moved twice");
    assert_eq!(second.backends[0].servers[1].weight(), 2);
}
