//! Clients of mode tcp that stay on their server.

use super::*;
use crate::{config, rules::Data, topology::AdminState};

/// A server that says its name.
fn named(name: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let _ = stream.write_all(name.as_bytes());
    })
}

fn ask(harness: &Harness) -> String {
    let mut said = String::new();
    harness.connect().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_client_stays_on_its_server_until_that_is_down() {
    let text = format!(
        "frontend f\n bind 127.0.0.1:80\n default_backend b\nbackend b\n balance roundrobin\n stick-table type ip size 10 expire \
         30m\n stick on src\n server one {}\n server two {}\n",
        named("one"),
        named("two")
    );
    let source = config::Source::new("haproxy.cfg", &text);
    let options = config::haproxy::Options::default();
    let (yaml, _) = config::haproxy::import(&source, &|_| None, &options);
    let loaded = config::parse("lb.yaml", &yaml, &|_| None);
    let mut config = loaded
        .unwrap_or_else(|found| panic!("{found}\n{yaml}"))
        .config;
    let frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
    config.frontends = vec![Arc::new(frontend)];
    let harness = Harness::start(config, 1);

    let first = ask(&harness);
    assert!(
        (0..4).all(|_| ask(&harness) == first),
        "it stays on {first}"
    );
    let backend = Arc::clone(&harness.shared.topology.backends[0]);
    let theirs = Arc::clone(backend.server(&first).unwrap());
    backend.set_admin(&theirs, AdminState::Maint);
    let other = ask(&harness);
    assert_ne!(other, first, "its server is away");
    backend.set_admin(&theirs, AdminState::Ready);
    assert!(
        (0..4).all(|_| ask(&harness) == other),
        "it stays on {other}"
    );
    let topology = &harness.shared.topology;
    let (table, now) = (topology.tables[0].table().unwrap(), topology.clock.now_ms());
    let entry = table.entries(now).next().unwrap();
    let number = backend.server(&other).unwrap().index as u64 + 1;
    let shown: Vec<_> = table.stored(&entry, now).collect();
    assert_eq!(shown, [(Data::ServerId, 0, number)]);
}

#[test]
fn what_mode_tcp_cannot_tell_is_refused() {
    let said = |key: &str, bind: &str, store: &str| {
        let text = format!(
            "frontends: {{ f: {{ mode: tcp, bind: '{bind}', default_backend: b }} }}\nbackends:\n  b:\n    stick_table: {{ store: \
             [{store}] }}\n    stick: [{{ {key} }}]\n    servers: [{{ name: s, address: '192.0.2.1:80' }}]\n"
        );
        match config::parse("lb.yaml", &text, &|_| None) {
            Ok(_) => String::new(),
            Err(found) => found.to_string(),
        }
    };
    assert_eq!(said("on: src", "*:80", "server_id"), "");
    assert!(said("on: path", "*:80", "server_id").contains("there are no requests"));
    assert!(
        said("store_response: 'res.hdr(a)'", "*:80", "server_id").contains("there are no requests")
    );
    assert_eq!(
        said("store_response: 'res.payload(0,1)'", "*:80", "server_id"),
        ""
    );
    assert!(said("on: 'res.payload(0,1)'", "*:80", "server_id").contains("no response yet"));
    assert!(said("on: src", "udp:*:80", "server_id").contains("of datagrams"));
    assert!(said("on: src", "*:80", "gpc0").contains("remembers no servers"));
    assert!(said("on: src, match: src", "*:80", "server_id").contains("has one of"));
}
