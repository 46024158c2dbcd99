//! The agent comes and goes: crashes, restarts and stops, with traffic running.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::client::{self, Load, Steady};
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, process, skip, wait};
use rustix::process::Signal;

use crate::kernel::{counter, kernel_takes_over};
use crate::setup::{accepted_in_userspace, assert_alive, held, servers, service, tcp};

/// Programs on the balancer's interfaces, as `ip` shows them.
fn attached(lab: &Lab) -> usize {
    let output = process::run(lab.balancer().command("ip").args(["-details", "link"])).unwrap();
    String::from_utf8_lossy(&output.stdout)
        .matches("prog/xdp")
        .count()
}

#[test]
fn traffic_outlives_a_crash_and_the_next_start_takes_it_over() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 20);
    let load = Load::to(service(&lab))
        .connections(usize::MAX)
        .parallel(8)
        .start(lab.client());
    let more = |what: &str| {
        let target = load.done() + 1000;
        wait::until_true(format!("a thousand connections {what}"), || {
            load.done() >= target
        })
        .unwrap();
    };
    more("before the crash");
    let counted = |daemon: &Daemon<'_>, flows: u64| {
        wait::until_true(format!("{flows} flows counted"), || {
            counter(daemon, "flow_opened") >= flows
        })
        .unwrap();
    };
    counted(&daemon, 1000);
    let opened = counter(&daemon, "flow_opened");
    daemon.kill();
    more("without an agent");
    assert_alive(&mut held);
    daemon.start().unwrap();
    more("after the restart");
    let tally = load.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert!(tally.answered() >= 3000);
    assert_alive(&mut held);
    kernel_takes_over(&lab, &daemon);
    let status = daemon.status().unwrap();
    assert!(
        status["fast_path"]["flows"].as_u64() >= Some(20),
        "{status}"
    );
    counted(&daemon, opened + 2000);
}

/// Kills the agent again and again, each time a little later in its start or life, under new and lasting connections.
fn killed_again_and_again(duration: Duration) {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "leastconn", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let steady = Steady::start(held(&lab, 50), Duration::from_millis(5));
    let load = Load::to(service(&lab))
        .connections(usize::MAX)
        .parallel(8)
        .start(lab.client());
    let begin = Instant::now();
    let mut kills = 0u64;
    while begin.elapsed() < duration || kills < 3 {
        daemon.kill();
        kills += 1;
        let (done, rounds) = (load.done(), steady.rounds());
        wait::until_true("traffic without an agent", || {
            load.done() > done + 20 && steady.rounds() > rounds + 4
        })
        .unwrap();
        daemon.start().unwrap();
        // While it still loads, has just taken over, or has run for a while.
        thread::sleep(Duration::from_millis(kills * 173 % 1500));
    }
    wait::until_true("the last agent to have the kernel path", || {
        daemon.status().unwrap()["fast_path"]["frontends"][0]["path"] == "kernel"
    })
    .unwrap_or_else(|error| panic!("{error}; {}", daemon.log()));
    let (tally, experience) = (load.stop(), steady.stop());
    println!(
        "{kills} kills in {:?}: {} new connections, {} failed; {} exchanges on 50 that lasted, {} failed, the longest {:?}",
        begin.elapsed(),
        tally.answered(),
        tally.failures.len(),
        experience.exchanges,
        experience.failures.len(),
        experience.longest,
    );
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(experience.failures, Vec::<String>::new());
}

#[test]
fn nothing_fails_when_the_agent_is_killed_again_and_again() {
    killed_again_and_again(Duration::from_secs(4));
}

#[test]
#[ignore = "a minute"]
fn nothing_fails_when_the_agent_is_killed_for_a_minute() {
    killed_again_and_again(Duration::from_secs(60));
}

#[test]
fn a_connection_of_userspace_outlives_the_attachment() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    // The listener is there some time before the program is; whoever is quick is served by userspace.
    for _ in 0..10 {
        let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
            .prepare()
            .unwrap();
        let before = accepted_in_userspace(&lab);
        let mut early = daemon
            .start_with(|_| client::connect(lab.client(), service(&lab), None).ok())
            .unwrap();
        client::greeting(&mut early).unwrap();
        if accepted_in_userspace(&lab) == before {
            continue;
        }
        kernel_takes_over(&lab, &daemon);
        for _ in 0..10 {
            client::echo(&mut early, &[0x55; 10_000]).unwrap();
        }
        return;
    }
    panic!("the program was always there before the first connection");
}

#[test]
fn a_graceful_stop_lets_connections_end_and_leaves_nothing() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    lab.balancer()
        .sysctl("net/ipv4/ip_local_reserved_ports", "4000-4001")
        .unwrap();
    let reserved = || {
        let ports = lab
            .balancer()
            .read("/proc/sys/net/ipv4/ip_local_reserved_ports")
            .unwrap();
        ports.trim().to_owned()
    };
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    assert_eq!(attached(&lab), 2);
    assert!(daemon.pin_path().is_dir());
    assert_ne!(reserved(), "4000-4001");

    let mut held = held(&lab, 3);
    daemon.signal(Signal::TERM).unwrap();
    wait::until_true("new connections are refused", || {
        client::connect(lab.client(), service(&lab), None).is_err()
    })
    .unwrap();
    assert_alive(&mut held);
    drop(held);
    let status = daemon.wait(wait::PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert_eq!(attached(&lab), 0);
    assert!(
        !daemon.pin_path().exists() || fs::read_dir(daemon.pin_path()).unwrap().next().is_none()
    );
    assert_eq!(reserved(), "4000-4001");
}

#[test]
fn a_second_signal_stops_at_once() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 1);
    daemon.signal(Signal::TERM).unwrap();
    wait::until_true("new connections are refused", || {
        client::connect(lab.client(), service(&lab), None).is_err()
    })
    .unwrap();
    assert_alive(&mut held);
    daemon.signal(Signal::TERM).unwrap();
    // Well below the grace of thirty seconds.
    daemon.wait(Duration::from_secs(10)).unwrap();
    assert_eq!(attached(&lab), 0);
}
