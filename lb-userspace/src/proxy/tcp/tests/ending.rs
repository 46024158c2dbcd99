//! What is written down of sessions that end otherwise than well.

use std::time::Duration;

use super::*;

/// With one place at its server.
fn narrow(server: SocketAddr, queue: Duration) -> model::Backend {
    let mut backend = backend(&[server]);
    backend.servers[0].maxconn = Some(1);
    backend.timeouts.queue = queue;
    backend
}

#[test]
fn who_has_said_something_is_logged_though_nobody_has_read_it() {
    for said in ["", "hello"] {
        let backend = narrow(server(echo), Duration::from_millis(50));
        let harness = Harness::tcp(backend, |frontend| frontend.log_options.no_null = true);
        let holder = harness.connect();
        let at_server = || harness.backend().servers[0].active() == 1;
        wait_until("the slot is taken", at_server);
        let mut client = harness.connect();
        client.write_all(said.as_bytes()).unwrap();
        // It may be reset.
        let _ = client.read_to_end(&mut Vec::new());
        drop(holder);
        let lines = harness.logged();
        let logged = usize::from(!said.is_empty());
        assert_eq!(lines.len(), logged, "{said}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains(" sQ ")), "{lines:?}");
    }
}

#[test]
fn a_server_that_resets_is_counted_for_its_answer_and_for_leaving() {
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0]);
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    });
    let harness = Harness::tcp(backend(&[address]), |_| ());
    let mut client = harness.connect();
    client.write_all(b"a").unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    drop(client);
    wait_until("it has ended", || harness.frontend().current() == 0);
    let of_server = &harness.backend().servers[0].counters;
    let of_backend = &harness.backend().counters;
    for counted in [
        (&of_server.response_errors, &of_server.server_aborts),
        (&of_backend.response_errors, &of_backend.server_aborts),
    ] {
        assert_eq!((counted.0.value(), counted.1.value()), (1, 1));
    }
    assert!(harness.logged()[0].contains(" SD "));
}

#[test]
fn an_immediate_stop_says_what_became_of_each_session() {
    let backend = narrow(server(echo), Duration::from_secs(20));
    let frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
    // Another worker could give the place away that one has freed.
    let harness = Harness::start(fixtures::config(vec![frontend], vec![backend]), 1);
    let mut client = harness.connect();
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let _queued = harness.connect();
    wait_until("it waits", || harness.backend().queue.len() == 1);
    harness.proxy.as_ref().unwrap().stop(Stop::Now);
    let mut lines = harness.logged();
    lines.sort();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(" KQ "), "{lines:?}");
    assert!(lines[1].contains(" 1 K- "), "{lines:?}");
}
