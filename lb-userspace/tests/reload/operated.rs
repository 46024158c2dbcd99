//! Another process takes the daemon's place, and what operators have set holds there as well.

use std::{collections::BTreeSet, net::TcpStream};

use crate::{
    daemon::free,
    upgrade::{Upgraded, whole},
    world::{Server, ask, file, file_of, name, stat, wait_until},
};

#[test]
fn what_operators_have_set_goes_along() {
    let [one, two, three, four] = ["one", "two", "three", "four"].map(Server::start);
    let (at, other, closed) = (free(), free(), free());
    let more = |rest: String| {
        let frontends = format!(
            "  other: {{ bind: '{other}', maxconn: 50, default_backend: app }}\n  \
             closed: {{ bind: '{closed}', default_backend: app }}\n"
        );
        rest.replacen("frontends:\n", &format!("frontends:\n{frontends}"), 1)
    };
    let rest = more(file(at, "", "", &[&one, &two]));
    let lb = Upgraded::start(at, "maxconn: 900", &rest);
    let said =
        lb.0.ask(&format!("add server app/three {} weight 5\n", three.at));
    assert!(said.contains("New server registered"), "{said}");
    for command in [
        "set server app/three state ready".to_owned(),
        // Where the other one listens.
        format!("set server app/two addr 127.0.0.1 port {}", four.at.port()),
        "set maxconn server app/two 7".to_owned(),
        "set server app/two check-addr 192.0.2.9 port 99".to_owned(),
        "set maxconn global 321".to_owned(),
        "set maxconn frontend other 33".to_owned(),
        "disable frontend other".to_owned(),
        "shutdown frontend closed".to_owned(),
        "disable server app/one".to_owned(),
        "del server app/one".to_owned(),
    ] {
        lb.0.ask(&format!("{command}\n"));
    }
    let shown = || {
        let info = lb.0.ask("show info\n");
        let line = info.lines().find(|line| line.starts_with("Maxconn:"));
        let of = |proxy, server, column| stat(&lb.0, proxy, server, column);
        [
            line.unwrap_or_default().to_owned(),
            of("app", "one", "status"),
            of("app", "two", "slim"),
            of("app", "two", "addr"),
            of("app", "three", "status"),
            of("app", "three", "weight"),
            of("other", "FRONTEND", "slim"),
            of("other", "FRONTEND", "status"),
            of("closed", "FRONTEND", "status"),
        ]
    };
    let four_is = four.at.to_string();
    let expected = [
        "Maxconn: 321",
        "",
        "7",
        &four_is,
        "no check",
        "5",
        "33",
        "PAUSED",
        "STOP",
    ];
    assert_eq!(shown(), expected);
    let state = |lb: &Upgraded| {
        let state = lb.0.ask("show servers state app\n");
        let of_two = state.lines().find(|line| line.contains(" two "));
        of_two
            .unwrap()
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = state(&lb);
    for round in 0..2 {
        lb.upgrade();
        assert_eq!(shown(), expected, "after {} upgrades", round + 1);
        for (column, (before, after)) in before.iter().zip(state(&lb)).enumerate() {
            // Its number, and how long it has been so.
            let same = [2, 9].contains(&column) || *before == after;
            assert!(same, "column {column}: {after}");
        }
        let names: BTreeSet<String> = (0..40).map(|_| name(&ask(at, "/")).to_owned()).collect();
        assert_eq!(Vec::from_iter(&names), ["four", "three"]);
        for refused in [other, closed] {
            assert!(
                TcpStream::connect(refused).is_err(),
                "it is not listened on"
            );
        }
        // A reload keeps it as it would have before.
        let (said, good) = lb.0.reload();
        assert!(good, "{said}");
        assert_eq!(shown(), expected, "after a reload");
    }
    lb.0.ask("enable frontend other\n");
    wait_until("it is listened on again", || {
        TcpStream::connect(other).is_ok()
    });
    ask(other, "/");

    // What the file says anew goes before that.
    let again = one.entry(", weight: 3");
    let servers = [again, two.entry(""), three.entry(", weight: 9")];
    lb.0.write(&whole("maxconn: 800", &more(file_of(at, "", "", &servers))));
    lb.upgrade();
    let of = |server, column| stat(&lb.0, "app", server, column);
    assert_eq!(
        (of("one", "weight"), of("three", "weight")),
        ("3".into(), "9".into())
    );
    assert_eq!(of("two", "slim"), "7");
    let info = lb.0.ask("show info\n");
    assert!(info.contains("Maxconn: 800\n"), "{info}");
}

#[test]
fn what_an_operator_has_added_is_refused_rather_than_lost() {
    let one = Server::start("one");
    let at = free();
    let rest = file(at, "", "", &[&one]);
    let lb = Upgraded::start(at, "", &rest);
    lb.0.ask(&format!("add server app/two {} proto h2\n", one.at));
    // HTTP/2 is for mode http alone.
    lb.0.write(&whole(
        "",
        &rest
            .replace("default_backend", "mode: tcp\n    default_backend")
            .replace("  app:\n", "  app:\n    mode: tcp\n"),
    ));
    let (said, good) = lb.run(&["upgrade"]);
    assert!(!good, "{said}");
    for part in ["app/two was added", "del server app/two"] {
        assert!(said.contains(part), "{said}");
    }
    lb.0.ask("del server app/two\n");
    lb.upgrade();
}

#[test]
fn a_paused_frontend_that_has_another_name_by_now_listens() {
    let one = Server::start("one");
    let at = free();
    let rest = file(at, "", "", &[&one]);
    let lb = Upgraded::start(at, "", &rest);
    lb.0.ask("disable frontend web\n");
    wait_until("nobody is let in", || TcpStream::connect(at).is_err());
    lb.0.write(&whole("", &rest.replace("  web:", "  site:")));
    lb.upgrade();
    wait_until("it listens", || TcpStream::connect(at).is_ok());
    assert_eq!(name(&ask(at, "/")), "one");
}
