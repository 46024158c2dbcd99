//! Rules of the first bytes of a connection.

use super::*;
use crate::{
    config,
    proxy::fixtures::{is_root, packets_to},
};

/// A proxy with the rules of frontend f, and the backends, of a haproxy.cfg.
fn harness(text: &str, maxconn: Option<u32>) -> Harness {
    let source = config::Source::new("haproxy.cfg", text);
    let options = config::haproxy::Options::default();
    let (yaml, _) = config::haproxy::import(&source, &|_| None, &options);
    let loaded = config::parse("lb.yaml", &yaml, &|_| None);
    let mut config = loaded
        .unwrap_or_else(|found| panic!("{found}\n{yaml}"))
        .config;
    let written = Arc::clone(&config.frontends[0]);
    let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
    frontend.inspect = written.inspect.clone();
    frontend.rules = written.rules.clone();
    frontend.connection_rules = written.connection_rules.clone();
    frontend.timeouts = written.timeouts.clone();
    frontend.maxconn = maxconn;
    config.frontends = vec![Arc::new(frontend)];
    Harness::start(config, 1)
}

/// What rustls says first to a server called `name`.
fn hello(name: &'static str) -> Vec<u8> {
    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs};
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A server that says its name once it has been told something.
fn named(name: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(name.as_bytes());
    })
}

#[test]
fn rules_that_do_not_wait_see_all_that_is_there() {
    let text = format!(
        "frontend f\n bind *:80\n tcp-request content reject if {{ req.len ge 3000 }}\n default_backend b\nbackend b\n server s {}\n",
        server(echo)
    );
    let harness = harness(&text, Some(1));
    let mut first = harness.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    // It is there before anybody looks: the connection waits in the kernel's queue.
    let mut second = harness.connect();
    second.write_all(&[b'x'; 3000]).unwrap();
    drop(first);
    let mut said = Vec::new();
    let _ = second.read_to_end(&mut said);
    assert_eq!(said.len(), 0, "it is rejected");
    let lines = harness.logged();
    assert!(lines[1].contains(" PR "), "{lines:?}");
}

#[test]
fn the_name_is_read_on_for_where_rules_had_decided_before() {
    for delay in ["", "tcp-request inspect-delay 20s"] {
        let text = format!(
            "frontend f\n bind *:80\n {delay}\n tcp-request content accept\n use_backend n if {{ req.ssl_sni some.example }}\n \
             default_backend b\nbackend b\n server s {}\nbackend n\n server s {}\n",
            named("other"),
            named("by name")
        );
        let harness = harness(&text, None);
        let ask = |parts: [&[u8]; 2]| {
            let mut client = harness.connect();
            for part in parts {
                client.write_all(part).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            said
        };
        let (some, else_) = (hello("some.example"), hello("else.example"));
        assert_eq!(ask([&some[..70], &some[70..]]), "by name");
        assert_eq!(ask([&else_[..70], &else_[70..]]), "other");
        assert_eq!(ask([b"GET", b" /"]), "other");
    }
}

#[test]
fn what_was_no_whole_hello_reaches_the_server_all_the_same() {
    let text = format!(
        "frontend f\n bind *:80\n timeout client 300ms\n use_backend n if {{ req.ssl_sni some.example }}\n \
         default_backend b\nbackend b\n server s {}\nbackend n\n server s {}\n",
        server(|mut stream| {
            let mut said = [0; 70];
            let _ = stream.read_exact(&mut said);
            let _ = stream.write_all(&said);
        }),
        named("by name")
    );
    let harness = harness(&text, None);
    let mut client = harness.connect();
    let hello = hello("some.example");
    client.write_all(&hello[..70]).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, hello[..70]);
}

/// A proxy with this rule for what its one server says.
fn of_response(rule: &str, server: SocketAddr) -> Harness {
    let text = format!(
        "frontend f\n bind *:80\n default_backend b\nbackend b\n tcp-response inspect-delay 20s\n tcp-response content {rule}\n \
         server s {server}\n"
    );
    harness(&text, None)
}

#[test]
fn what_a_server_says_before_it_breaks_off_is_judged_and_passed_on() {
    let breaks_off = || {
        server(|mut stream| {
            stream.write_all(b"last words").unwrap();
            // What was not read makes its end a reset.
            stream.read_exact(&mut [0; 1]).unwrap();
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        })
    };
    let passes = of_response("reject if { res.payload(0,11) -m found }", breaks_off());
    let mut client = passes.connect();
    // It is there, and so is the reset, or will be: either way the client gets the words.
    client.write_all(b"x").unwrap();
    let mut said = [0; 10];
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"last words");
    drop(client);
    let lines = passes.logged();
    assert!(lines[0].contains(" 10 S"), "{lines:?}");
}

#[test]
fn what_a_server_may_not_say_is_counted_at_all_who_were_to_pass_it_on() {
    for (action, ends) in [("reject", true), ("silent-drop", false)] {
        let address = server(|mut stream| {
            let _ = stream.write_all(b"BAD");
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let harness = of_response(
            &format!("{action} if {{ res.payload(0,3) -m str BAD }}"),
            address,
        );
        let mut client = harness.connect();
        client
            .set_read_timeout(Some(Duration::from_millis(if ends { 20_000 } else { 300 })))
            .unwrap();
        let read = client.read(&mut [0; 16]);
        match ends {
            true => assert_eq!(read.unwrap(), 0),
            // A reset tells those who may not use TCP_REPAIR, or nothing does.
            false => assert!(read.is_err()),
        }
        wait_until("counted", || {
            harness.frontend().counters.denied_responses.value() == 1
        });
        assert_eq!(harness.backend().counters.denied_responses.value(), 1);
        let server = &harness.backend().servers[0];
        assert_eq!(server.counters.denied_responses.value(), 1);
        let lines = harness.logged();
        assert!(lines[0].contains(" 3 PD "), "{lines:?}");
    }
}

#[test]
fn rules_say_what_packets_are_like() {
    if !is_root() {
        return;
    }
    let text = |rules: &str, of_responses: &str| {
        format!(
            "frontend f\n bind *:80\n{rules} default_backend b\nbackend b\n{of_responses} server s {}\n",
            server(echo)
        )
    };
    let ask = |harness: &Harness| {
        let mut client = harness.connect();
        client.write_all(b"abcd").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        packets_to(&client)
    };
    let connection = " tcp-request connection set-mark 7\n tcp-request connection set-tos 8\n";
    let content =
        " tcp-request inspect-delay 20s\n tcp-request content set-mark 9 if { req.len ge 4 }\n";
    let response =
        " tcp-response inspect-delay 20s\n tcp-response content set-tos 0x20 if { res.len ge 4 }\n";
    for (rules, of_responses, wanted) in [
        (connection.to_owned(), "", (7, 8)),
        (format!("{connection}{content}"), "", (9, 8)),
        (format!("{connection}{content}"), response, (9, 0x20)),
        (String::new(), response, (0, 0x20)),
    ] {
        let harness = harness(&text(&rules, of_responses), None);
        assert_eq!(ask(&harness), wanted, "{rules}{of_responses}");
    }
}

#[test]
fn each_rule_counts_once_in_whichever_round_it_holds() {
    let text = format!(
        "frontend f\n bind *:80\n tcp-request inspect-delay 20s\n tcp-request content track-sc0 src table t\n tcp-request content \
         sc-inc-gpc0(0) if {{ var(sess.seen) -m found }}\n tcp-request content set-var(sess.seen) int(1)\n tcp-request content \
         sc-inc-gpc1(0)\n tcp-request content accept if {{ req.len ge 4 }}\n default_backend b\nbackend b\n server s {}\nbackend t\n \
         stick-table type ip size 10 store gpc0,gpc1\n",
        server(echo)
    );
    let harness = harness(&text, None);
    let topology = &harness.shared.topology;
    let counted = || {
        let (table, now) = (topology.tables[0].table().unwrap(), topology.clock.now_ms());
        let entry = table.entries(now).next()?;
        let of = |data| table.get(&entry, data, now);
        Some((of(Data::Gpc0)?, of(Data::Gpc1)?))
    };
    let mut client = harness.connect();
    client.write_all(b"ab").unwrap();
    wait_until("a round is over", || {
        counted().is_some_and(|(_, second)| second == 1)
    });
    client.write_all(b"cd").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(counted(), Some((1, 1)));
}

#[test]
fn rdp_clients_go_where_their_cookie_says() {
    let servers = [named("one"), named("two")];
    let text = format!(
        "frontend f\n bind *:80\n tcp-request inspect-delay 20s\n tcp-request content accept if RDP_COOKIE\n \
         default_backend b\nbackend b\n balance rdp-cookie(user)\n persist rdp-cookie\n server s {}\n server t {}\n",
        servers[0], servers[1]
    );
    let harness = harness(&text, None);
    let ask = |cookie: &str| {
        let mut client = harness.connect();
        let text = format!("01234567890Cookie: {cookie}\r\n");
        client.write_all(text.as_bytes()).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        said
    };
    for (server, name) in servers.iter().zip(["one", "two"]) {
        let port = server.port().swap_bytes();
        for _ in 0..3 {
            assert_eq!(ask(&format!("msts=16777343.{port}.0000")), name);
        }
    }
    // By a hash everybody stays, and not all in one place.
    let users: Vec<String> = (0..16).map(|n| ask(&format!("user=u{n}"))).collect();
    let again: Vec<String> = (0..16).map(|n| ask(&format!("user=u{n}"))).collect();
    assert_eq!(users, again);
    assert!(
        ["one", "two"]
            .iter()
            .all(|one| users.iter().any(|user| user == one))
    );
    // Who says nothing of the kind is balanced in turn.
    assert_ne!(ask("other=1"), ask("other=1"));
}
