//! What an operator asks of the kernel path while it runs: who is forwarded, what is decided and why, and who is no longer
//! let in.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::thread;

use lb_tests::lab::Family;
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, client, skip};

use crate::kernel::{counter, kernel_takes_over};
use crate::services::{Forward, Service, Transport};
use crate::setup::{held, servers, service, tcp};

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Connects from an address of the client's, and greets.
fn from(lab: &Lab, source: Ipv4Addr) -> std::io::Result<std::net::TcpStream> {
    let mut stream = client::connect(lab.client(), service(lab), Some(source.into()))
        .map_err(std::io::Error::other)?;
    client::greeting(&mut stream)?;
    Ok(stream)
}

#[test]
fn flows_are_listed_by_client_and_server() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mine = held(&lab, 4);
    let other = lab.client_alias(1);
    let theirs = from(&lab, other).unwrap();

    let port = theirs.local_addr().unwrap().port();
    let of_other = text(
        &daemon
            .lb(&["flows", "--client", &other.to_string()])
            .unwrap(),
    );
    let line = of_other
        .lines()
        .find(|line| line.contains(&format!("{other}:{port}")))
        .unwrap_or_else(|| panic!("{of_other}"));
    assert!(line.contains("web/s"), "{line}");
    for stream in &mine {
        let address = stream.local_addr().unwrap();
        assert!(!of_other.contains(&address.to_string()), "{of_other}");
    }
    // By server: each of mine is in exactly one list.
    let lists: Vec<String> = (1..=lab.servers())
        .map(|n| {
            text(
                &daemon
                    .lb(&["flows", "--server", &format!("web/s{n}"), "--json"])
                    .unwrap(),
            )
        })
        .collect();
    for stream in &mine {
        let port = stream.local_addr().unwrap().port().to_string();
        let of_it = lists
            .iter()
            .filter(|list| list.lines().any(|line| line.contains(&port)));
        assert_eq!(of_it.count(), 1, "{lists:?}");
    }
    let none = daemon.lb(&["flows", "--backend", "nothing"]).unwrap();
    assert!(!String::from_utf8_lossy(&none.stdout).contains(&service(&lab).to_string()));
}

#[test]
fn a_denied_prefix_ends_what_runs_and_lets_nobody_in_until_it_is_taken_off() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let (good, bad) = (lab.client_alias(1), lab.client_alias(2));
    let mut victim = from(&lab, bad).unwrap();
    let mut bystander = from(&lab, good).unwrap();

    let prefix = format!("{bad}/32");
    text(&daemon.lb(&["deny", "add", &prefix]).unwrap());
    assert!(text(&daemon.lb(&["deny", "list"]).unwrap()).contains(&prefix));
    // Reset, from either of its ends' point of view: a read fails or ends.
    let mut byte = [0];
    let end = victim.read(&mut byte);
    assert!(!matches!(end, Ok(n) if n > 0), "{end:?}");
    assert!(from(&lab, bad).is_err(), "a new connection was let in");
    assert!(counter(&daemon, "denied") >= 1);
    from(&lab, good).unwrap();
    bystander.set_nonblocking(true).unwrap();
    let kind = bystander.read(&mut byte).map_err(|error| error.kind());
    assert_eq!(
        kind,
        Err(std::io::ErrorKind::WouldBlock),
        "not its business"
    );

    text(&daemon.lb(&["deny", "del", &prefix]).unwrap());
    assert!(!text(&daemon.lb(&["deny", "list"]).unwrap()).contains(&prefix));
    from(&lab, bad).unwrap();
    let wrong = daemon.lb(&["deny", "add", "10.0.0.300/8"]).unwrap();
    assert!(!wrong.status.success());
}

#[test]
fn each_source_opens_no_more_flows_a_second_than_it_may() {
    if skip::without_lb() {
        return;
    }
    const RATE: usize = 20;
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .fast_path(&format!("new_flows_per_source: {RATE}"))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let (greedy, modest) = (lab.client_alias(3), lab.client_alias(4));
    // What is dropped is sent again a second later: so many at once take several seconds to get in.
    let begin = std::time::Instant::now();
    thread::scope(|scope| {
        for _ in 0..3 * RATE {
            scope.spawn(|| from(&lab, greedy).unwrap());
        }
        from(&lab, modest).unwrap();
    });
    let seconds = begin.elapsed().as_secs() as usize + 1;
    let limited = counter(&daemon, "rate_limited") as usize;
    assert!(
        limited >= (3 * RATE).saturating_sub(RATE * (seconds + 1)).max(1),
        "{limited} dropped in {seconds} s"
    );
}

#[test]
fn a_trace_tells_of_one_clients_packets_and_why() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let (traced, other) = (lab.client_alias(5), lab.client_alias(6));
    let client = traced.to_string();
    let said = thread::scope(|scope| {
        let trace = scope.spawn(|| {
            daemon
                .lb(&[
                    "trace",
                    "--client",
                    &client,
                    "--count",
                    "12",
                    "--seconds",
                    "20",
                ])
                .unwrap()
        });
        // Until the tracing program is in place nothing is told: go on until it has told enough.
        while !trace.is_finished() {
            drop(from(&lab, traced).unwrap());
            drop(from(&lab, other).unwrap());
        }
        text(&trace.join().unwrap())
    });
    assert!(said.contains(&client), "{said}");
    assert!(!said.contains(&other.to_string()), "{said}");
    assert!(said.contains("web/s"), "where it went: {said}");
    assert!(
        said.contains(" SA "),
        "what the server answers first: {said}"
    );
    assert!(said.lines().count() >= 12, "{said}");
    // The ordinary program is back and forwards.
    kernel_takes_over(&lab, &daemon);
}

#[test]
fn connections_of_a_server_that_goes_down_are_reset_if_that_is_asked_for() {
    if skip::without_lb() {
        return;
    }
    for forward in [Forward::Fullnat, Forward::Dsr] {
        let lab = forward.lab().build().unwrap();
        let service = Service::new(forward, Family::V4, Transport::Tcp);
        let servers = service.echo_servers(&lab);
        let config = service.config(&lab).replace(
            "    servers:\n",
            "    default_server: { on_marked_down: shutdown-sessions }\n    servers:\n",
        );
        let daemon = Daemon::builder(&lab, &config).start().unwrap();
        service.taken_by_kernel(&lab, &daemon).unwrap();
        let target: SocketAddr = service.target(&lab);
        let mut streams: Vec<_> = (0..8)
            .map(|_| {
                let mut stream = client::connect(lab.client(), target, None).unwrap();
                let name = client::greeting(&mut stream).unwrap();
                client::echo(&mut stream, b"here").unwrap();
                (name, stream)
            })
            .collect();
        let name = service.name();
        // As a check would find it.
        let down = daemon
            .lb(&["server", "maint", &format!("{name}/s1")])
            .unwrap();
        text(&down);
        for (server, stream) in &mut streams {
            if server == "s1" {
                let mut byte = [0];
                let end = stream.read(&mut byte);
                assert!(
                    end.is_err() || end.is_ok_and(|n| n == 0),
                    "{name}: still open"
                );
            } else {
                client::echo(stream, b"still here").unwrap();
            }
        }
        assert!(streams.iter().any(|(server, _)| server == "s1"));
        drop(servers);
    }
}
