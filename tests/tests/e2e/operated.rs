//! Servers that come, go, drain and weigh otherwise by the runtime socket, while the kernel forwards.

use lb_tests::client::{self, Load, Tally};
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, skip, wait};

use crate::kernel::{active, kernel_connections, kernel_takes_over, reasons, settles_at};
use crate::setup::{BACKEND, accepted_in_userspace, servers, service, tcp};

#[track_caller]
fn done(daemon: &Daemon<'_>, line: &str) {
    assert_eq!(daemon.ask(line).unwrap(), "", "{line}");
}

/// Connections of their own, none of which fails.
fn reached(lab: &Lab, connections: usize) -> Tally {
    let tally = Load::to(service(lab))
        .connections(connections)
        .run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new());
    tally
}

/// How many of so many connections each server gets, all by the kernel.
#[track_caller]
fn by_kernel(lab: &Lab, daemon: &Daemon<'_>, expected: [u64; 3]) {
    let mut last = (Vec::new(), 0);
    let connections = expected.iter().sum::<u64>();
    // The first ones may find tables of a moment ago, and servers whose neighbour entry is still asked for.
    let found = wait::until_true("the kernel to share connections so", || {
        let before = accepted_in_userspace(lab);
        let tally = reached(lab, connections as usize);
        let shares = ["s1", "s2", "s3"].map(|name| tally.of(name));
        last = (shares.to_vec(), accepted_in_userspace(lab) - before);
        last == (expected.to_vec(), 0)
    });
    found
        .unwrap_or_else(|error| panic!("{error}: {expected:?}, but {last:?}; {}", reasons(daemon)));
}

#[test]
fn servers_come_and_go_by_the_socket_while_the_kernel_forwards() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(3).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let of = |i: usize| format!("{}:{BACKEND}", lab.server_addr(i));
    let body = format!(
        "frontends:\n  web: {{ mode: tcp, bind: \"{}\", default_backend: web }}\n\
         backends:\n  web: {{ mode: tcp, servers: [{{ name: s1, address: \"{}\" }}, {{ name: s2, address: \"{}\" }}] }}\n",
        service(&lab),
        of(0),
        of(1)
    );
    let daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let load = Load::to(service(&lab))
        .connections(usize::MAX)
        .parallel(2)
        .start(lab.client());
    let more = || {
        let target = load.done() + 50;
        wait::until_true("connections all the while", || load.done() >= target).unwrap();
    };

    // One more, which gets nothing before it is enabled.
    let added = daemon.ask(&format!("add server web/s3 {}", of(2))).unwrap();
    assert_eq!(added, "New server registered.");
    more();
    assert_eq!(kernel_connections(&daemon, "s3"), 0);
    done(&daemon, "enable server web/s3");
    wait::until_true("the new one to get the kernel's connections", || {
        kernel_connections(&daemon, "s3") > 10
    })
    .unwrap();
    let tally = load.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    by_kernel(&lab, &daemon, [20, 20, 20]);

    // Weights, whose sum is one turn.
    done(&daemon, "set server web/s1 weight 3");
    done(&daemon, "set server web/s3 weight 2");
    by_kernel(&lab, &daemon, [30, 10, 20]);

    // Drained, it keeps what it has.
    let mut held: Vec<_> = std::iter::repeat_with(|| {
        let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
        let name = client::greeting(&mut stream).unwrap();
        (name, stream)
    })
    .take(12)
    .collect();
    let on_third = held.iter().filter(|(name, _)| name == "s3").count() as u64;
    assert!(on_third > 0);
    done(&daemon, "set server web/s3 state drain");
    by_kernel(&lab, &daemon, [30, 10, 0]);
    for (_, stream) in &mut held {
        client::echo(stream, b"still there?").unwrap();
    }
    settles_at("the flows held by s3", on_third, || active(&daemon, "s3"));

    // It is deleted once its flows have ended, and no sooner.
    done(&daemon, "disable server web/s3");
    assert_eq!(
        daemon.ask("del server web/s3").unwrap(),
        "Server still has connections attached to it, cannot remove it."
    );
    held.retain(|(name, _)| name != "s3");
    wait::until_true("it to be deleted", || {
        daemon.ask("del server web/s3").unwrap() == "Server deleted."
    })
    .unwrap();
    by_kernel(&lab, &daemon, [30, 10, 0]);

    // One of the file's goes, and comes back under its name at another place.
    done(&daemon, "disable server web/s2");
    by_kernel(&lab, &daemon, [40, 0, 0]);
    held.retain(|(name, _)| name != "s2");
    wait::until_true("it to be deleted", || {
        daemon.ask("del server web/s2").unwrap() == "Server deleted."
    })
    .unwrap();
    let added = daemon
        .ask(&format!("add server web/s2 {} weight 3", of(2)))
        .unwrap();
    assert_eq!(added, "New server registered.");
    done(&daemon, "enable server web/s2");
    // Servers say their own names: what is called s2 now is s3.
    by_kernel(&lab, &daemon, [20, 0, 20]);
    for (_, stream) in &mut held {
        client::echo(stream, b"still there?").unwrap();
    }
    let reload = daemon.lb(&["reload"]).unwrap();
    assert!(reload.status.success(), "{}", daemon.log());
    by_kernel(&lab, &daemon, [20, 0, 20]);
}

#[test]
fn a_server_with_a_flow_of_just_now_is_not_deleted() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    // Again and again, as the figures of the kernel are read now and then.
    for turn in 0..20 {
        settles_at("no flow", 0, || active(&daemon, "s1"));
        let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
        let said = daemon
            .ask("disable server web/s1; del server web/s1")
            .unwrap();
        assert_eq!(
            said.trim(),
            "Server still has connections attached to it, cannot remove it.",
            "turn {turn}"
        );
        client::greeting(&mut stream).unwrap();
        client::echo(&mut stream, b"still there?").unwrap();
        done(&daemon, "enable server web/s1");
    }
    done(&daemon, "disable server web/s1");
    wait::until_true("it to be deleted", || {
        daemon.ask("del server web/s1").unwrap() == "Server deleted."
    })
    .unwrap();
}
