//! An agent that is gone while connections go on: the kernel path alone opens, forwards, ends and forgets them, several
//! times as many as its table holds.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use lb_tests::client::{self, Load};
use lb_tests::lab::Family;
use lb_tests::server::Server;
use lb_tests::{Daemon, Lab, skip, wait};

use crate::kernel::{counter, reasons, recount, settles_at};
use crate::services::{Forward, Service, Transport, Userspace};
use crate::setup::assert_alive;

/// A shortened ten minutes.
#[derive(Clone, Copy)]
struct Absence {
    time: Duration,
    /// New connections a second.
    rate: u32,
    max_flows: u32,
}

/// Many connections, and a table that holds them all.
const BUSY: Absence = Absence {
    time: Duration::from_secs(12),
    rate: 1000,
    max_flows: 100_000,
};

/// Longer than the minute that an ended flow is remembered, with room for hardly more than those of a minute: it is
/// only by freeing them that there is room for the last ones.
const LONG: Absence = Absence {
    time: Duration::from_secs(75),
    rate: 200,
    max_flows: 13_500,
};

/// Ten minutes, of as many connections as a busy host has: by hand, `cargo test --test e2e -- --ignored ten_minutes`.
const WHOLE: Absence = Absence {
    time: Duration::from_secs(600),
    rate: 2000,
    max_flows: 200_000,
};

/// Connections that say nothing all the while, for longer than flows may be idle, in seconds.
const SILENT: usize = 20;
const IDLE: u32 = 10;

fn silent(lab: &Lab, service: Service) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = client::connect(lab.client(), service.target(lab), None).unwrap();
        client::greeting(&mut stream).unwrap();
        stream
    };
    (0..SILENT).map(connect).collect()
}

fn the_kernel_path_goes_on_alone(forward: Forward, family: Family, absence: Absence) {
    if skip::without_lb() {
        return;
    }
    let service = Service::new(forward, family, Transport::Tcp);
    let lab = forward.lab().servers(4).build().unwrap();
    let servers: Vec<Server> = service.echo_servers(&lab);
    let config = service.config(&lab)
        + &format!("defaults: {{ timeouts: {{ client: {IDLE}s, server: {IDLE}s }} }}\n");
    let mut daemon = Daemon::builder(&lab, &config)
        .fast_path(&format!("attach: xdp, max_flows: {}", absence.max_flows))
        .start()
        .unwrap();
    service.taken_by_kernel(&lab, &daemon).unwrap();
    settles_at("probes to be gone", 0, || service.active(&daemon));
    let mut held = silent(&lab, service);
    let (expired, userspace) = (counter(&daemon, "flow_expired"), Userspace::of(&lab));
    let accepted = || servers.iter().map(Server::accepted).sum::<u64>();
    let before = accepted();

    daemon.kill();
    let sources = (0..50).map(|i| lab.client_alias_ip(family, i));
    let load = Load::to(service.target(&lab))
        .connections(usize::MAX)
        .parallel(16)
        .rate(absence.rate)
        .from(sources)
        .start(lab.client());
    thread::sleep(absence.time);
    // He is back while they still come.
    daemon.start().unwrap();
    let done = load.done();
    let more = wait::until_true(
        "another second's connections with the agent there again",
        || load.done() > done + absence.rate as usize,
    );
    let tally = load.stop();
    println!(
        "{} connections in {:?} without the agent, {} failed; {}",
        tally.answered(),
        absence.time,
        tally.failures.len(),
        reasons(&daemon)
    );

    assert_eq!(
        tally.failures.first(),
        None,
        "of {} connections {} failed",
        tally.answered(),
        tally.failures.len()
    );
    more.unwrap();
    assert_eq!(accepted() - before, tally.answered());
    let all = u64::from(absence.rate) * absence.time.as_secs();
    assert!(
        tally.answered() > all * 95 / 100,
        "a machine too slow for the rate: {} of {all}",
        tally.answered()
    );
    // Nobody listened in the meantime: had one come up, it would have failed.
    assert_eq!(
        Userspace::of(&lab).segments,
        userspace.segments,
        "{}",
        reasons(&daemon)
    );
    settles_at("those that are held alone", SILENT as u64, || {
        service.active(&daemon)
    });
    // The table itself says the same, address by address.
    if family == Family::V4 && forward == Forward::Fullnat {
        let found = (0..lab.servers()).map(|i| recount(&daemon, service.listens(&lab, i)));
        let found = found.fold((0, 0), |sum, found| (sum.0 + found.0, sum.1 + found.1));
        assert_eq!(found, (SILENT as u64, 0));
    }
    // The time in which nobody looked is no idle time.
    assert_eq!(
        counter(&daemon, "flow_expired"),
        expired,
        "{}",
        reasons(&daemon)
    );
    assert_alive(&mut held);
    drop(held);
    settles_at("no active flow", 0, || service.active(&daemon));
    service.taken_by_kernel(&lab, &daemon).unwrap();
}

/// Both at once: nearly all of it is waiting.
#[test]
fn connections_go_on_while_the_agent_is_gone_for_longer_than_ended_flows_linger() {
    thread::scope(|scope| {
        for forward in [Forward::Fullnat, Forward::Dsr] {
            scope.spawn(move || the_kernel_path_goes_on_alone(forward, Family::V4, LONG));
        }
    });
}

#[test]
#[ignore = "takes ten minutes"]
fn connections_go_on_while_the_agent_is_gone_for_ten_minutes() {
    the_kernel_path_goes_on_alone(Forward::Fullnat, Family::V4, WHOLE);
}

#[test]
fn connections_go_on_while_the_agent_is_gone_fullnat() {
    the_kernel_path_goes_on_alone(Forward::Fullnat, Family::V4, BUSY);
}

#[test]
fn connections_go_on_while_the_agent_is_gone_fullnat_ipv6() {
    the_kernel_path_goes_on_alone(Forward::Fullnat, Family::V6, BUSY);
}

#[test]
fn connections_go_on_while_the_agent_is_gone_nat() {
    the_kernel_path_goes_on_alone(Forward::Nat, Family::V4, BUSY);
}

#[test]
fn connections_go_on_while_the_agent_is_gone_dsr() {
    the_kernel_path_goes_on_alone(Forward::Dsr, Family::V4, BUSY);
}

#[test]
fn connections_go_on_while_the_agent_is_gone_ipip_ipv6() {
    the_kernel_path_goes_on_alone(Forward::Ipip, Family::V6, BUSY);
}
