//! Every mode with either family, transport and hook: real clients and servers move 100 MB or 100,000 datagrams through
//! each, and the outcome is one table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::capture::Capture;
use lb_tests::client::Datagrams;
use lb_tests::lab::{Arms, ETH, Family};
use lb_tests::{Daemon, Lab, Netns, bulk, skip, wait};

use crate::kernel::{counter, reasons};
use crate::oracle::{self, Findings};
use crate::services::{Forward, Service, Transport, Userspace};

/// Half of it to the servers, half of it back.
const BYTES: u64 = 100_000_000;
const CONNECTIONS: u16 = 8;
const DATAGRAMS: usize = 100_000;
const FLOWS: usize = 1000;

/// Of how much of this each row moves one part: more than one on machines that are emulated.
const PARTS: &str = "LB_TEST_PARTS";

fn parts() -> u64 {
    let parts = std::env::var(PARTS).ok();
    parts.and_then(|parts| parts.parse().ok()).unwrap_or(1)
}

fn bytes() -> u64 {
    BYTES / parts()
}

fn datagrams_each() -> (usize, usize) {
    let parts = parts() as usize;
    (FLOWS / parts, DATAGRAMS / FLOWS)
}

/// One line of the table.
struct Row {
    service: Service,
    attach: &'static str,
    large: bool,
    took: Duration,
    outcome: Result<String, String>,
}

#[test]
fn every_mode_family_transport_and_hook_moves_everything_whole() {
    if skip::without_lb() {
        return;
    }
    let begin = Instant::now();
    let mut rows = Vec::new();
    for arms in [Arms::Two, Arms::One] {
        let modes: Vec<Forward> = Forward::ALL
            .into_iter()
            .filter(|mode| mode.arms() == arms)
            .collect();
        for large in [false, true] {
            // One lab for both modes: what one needs is no hindrance to the other.
            let mut builder = modes[1].lab();
            if large {
                builder = builder.large_segments();
            }
            let lab = builder.build().unwrap();
            let services = services(&modes, large);
            let hooks: &[&str] = if large { &["tc"] } else { &["xdp", "tc"] };
            for attach in hooks {
                // One daemon for all: to have the program verified takes longer than a row.
                let daemon = Daemon::builder(&lab, &Service::config_of(&services, &lab))
                    .fast_path(&format!("attach: {attach}, max_flows: 20000"))
                    .start()
                    .unwrap();
                for service in &services {
                    let begin = Instant::now();
                    let outcome = cell(&lab, &daemon, *service, attach, large);
                    rows.push(Row {
                        service: *service,
                        attach,
                        large,
                        took: begin.elapsed(),
                        outcome,
                    });
                }
            }
        }
    }
    let table = table(&rows, begin.elapsed());
    // Past libtest's capture, which shows only what failing tests print.
    let _ = write!(std::io::stderr(), "{table}");
    let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
    for Row {
        service,
        attach,
        outcome,
        ..
    } in &rows
    {
        if let Err(why) = outcome {
            println!("{} by {attach}: {why}\n", service.name());
        }
    }
    assert_eq!(failed, 0, "of {} rows failed", rows.len());
}

/// What is tried in one kind of lab, each on a port of its own: everything, and with large segments TCP alone.
fn services(modes: &[Forward], large: bool) -> Vec<Service> {
    let mut services = Vec::new();
    for mode in modes {
        for family in Family::ALL {
            services.push(Service::new(*mode, family, Transport::Tcp));
            if !large {
                services.push(Service::new(*mode, family, Transport::Udp));
            }
        }
        if *mode == Forward::Ipip {
            let transports = if large {
                &[Transport::Tcp][..]
            } else {
                &[Transport::Tcp, Transport::Udp]
            };
            services.extend(transports.iter().map(|transport| Service {
                outer: Family::V6,
                ..Service::new(*mode, Family::V4, *transport)
            }));
        }
    }
    for (port, service) in (5300..).zip(&mut services) {
        service.port = port;
    }
    services
}

/// One service: what was counted, or what went wrong.
fn cell(
    lab: &Lab,
    daemon: &Daemon<'_>,
    service: Service,
    attach: &str,
    large: bool,
) -> Result<String, String> {
    let _servers = service.servers(lab);
    service.taken_by_kernel(lab, daemon)?;
    attached(lab, daemon, attach)?;

    let sample = if large {
        "not looked at".to_owned()
    } else {
        sampled(lab, service)?
    };
    let before = Seen::of(lab, daemon);
    let connections = service.kernel_connections(daemon);
    let flows = match service.transport {
        Transport::Tcp => transfers(lab, service, bytes() / 2 / u64::from(CONNECTIONS))?,
        Transport::Udp => {
            let (flows, each) = datagrams_each();
            datagrams(lab, service, flows, each, 10_000)?
        }
    };
    let least = match service.transport {
        // Segments of up to 64 KiB.
        Transport::Tcp if large => bytes() / 2 / 65536,
        Transport::Tcp => bytes() / 2 / 1460,
        Transport::Udp => DATAGRAMS as u64 / parts(),
    };
    let packets = || counter(daemon, "forwarded_in") - before.forwarded;
    let counted = || service.kernel_connections(daemon) - connections;
    wait::until_true("the kernel's counters", || {
        packets() >= least && counted() >= flows
    })
    .map_err(|error| {
        format!(
            "{error}: {} packets, {} flows; {}",
            packets(),
            counted(),
            reasons(daemon)
        )
    })?;
    let after = Seen::of(lab, daemon);
    if after.userspace != before.userspace {
        return Err(format!(
            "userspace took part: {:?}, then {:?}; {}",
            before.userspace,
            after.userspace,
            reasons(daemon)
        ));
    }
    if large && parts() == 1 && packets() >= bytes() / 2 / 1460 {
        return Err(format!(
            "{} packets: large segments were not forwarded whole",
            packets()
        ));
    }
    if after.wrong_sums != before.wrong_sums {
        return Err(format!(
            "{} wrong checksums",
            after.wrong_sums - before.wrong_sums
        ));
    }
    Ok(format!(
        "{} packets in the kernel, {flows} flows; sample: {sample}",
        packets()
    ))
}

/// The program is where it was asked for.
fn attached(lab: &Lab, daemon: &Daemon<'_>, attach: &str) -> Result<(), String> {
    let status = daemon.status().map_err(|error| error.to_string())?;
    let interfaces = status["fast_path"]["interfaces"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for name in [lab.client_side(), lab.server_side()] {
        let found = interfaces
            .iter()
            .find(|interface| interface["name"] == name);
        if found.is_none_or(|interface| interface["attach"] != attach) {
            return Err(format!(
                "{name} is not attached by {attach}: {interfaces:?}"
            ));
        }
    }
    Ok(())
}

/// A little traffic under the eyes of an independent oracle, on the client's link and on each server's.
fn sampled(lab: &Lab, service: Service) -> Result<String, String> {
    let capture = |netns: &Netns, interface: &str| {
        Capture::start(netns, interface).map_err(|error| error.to_string())
    };
    let near = capture(lab.client(), ETH)?;
    let far = (0..lab.servers())
        .map(|i| capture(lab.switch(), &lab.port(i)))
        .collect::<Result<Vec<_>, _>>()?;
    match service.transport {
        Transport::Tcp => transfers(lab, service, 100_000)?,
        Transport::Udp => datagrams(lab, service, 50, 5, 9_000)?,
    };
    let looked = |capture: Capture| {
        capture
            .stop()
            .map(|c| oracle::look(&c))
            .map_err(|error| error.to_string())
    };
    let near = looked(near)?;
    let mut behind = Findings::default();
    for capture in far {
        behind.add(looked(capture)?);
    }
    let wrong: Vec<&String> = near.wrong.iter().chain(&behind.wrong).collect();
    if let Some(first) = wrong.first() {
        return Err(format!(
            "{} wrong checksums, the first: {first}",
            wrong.len()
        ));
    }
    for (place, findings) in [("at the client", &near), ("at the servers", &behind)] {
        let seen = match service.transport {
            Transport::Tcp => findings.tcp,
            Transport::Udp => findings.udp,
        };
        if seen < 500 {
            return Err(format!("only {seen} packets were seen {place}"));
        }
    }
    if (behind.tunnelled > 0) != (service.forward == Forward::Ipip) {
        return Err(format!("{} packets in tunnels", behind.tunnelled));
    }
    Ok(format!("{} and {} packets", near.seen(), behind.seen()))
}

/// Bytes there and back on each of some connections at once: how many connections.
fn transfers(lab: &Lab, service: Service, each: u64) -> Result<u64, String> {
    let target: SocketAddr = service.target(lab);
    let results: Vec<_> = thread::scope(|scope| {
        let one = |i| {
            let source = lab.client_alias_ip(service.family, i);
            scope.spawn(move || bulk::transfer(lab.client(), target, Some(source), each))
        };
        let running: Vec<_> = (0..CONNECTIONS).map(one).collect();
        running
            .into_iter()
            .map(|transfer| transfer.join().unwrap())
            .collect()
    });
    for result in results {
        result.map_err(|error| error.to_string())?;
    }
    Ok(u64::from(CONNECTIONS))
}

/// Datagrams there and back, from ports from `first` on: how many flows.
fn datagrams(
    lab: &Lab,
    service: Service,
    flows: usize,
    each: usize,
    first: u16,
) -> Result<u64, String> {
    let sources = (0..16).map(|i| lab.client_alias_ip(service.family, i));
    let account = Datagrams::to(service.target(lab))
        .flows(flows)
        .each(each)
        .size(512)
        .from(sources)
        .ports(first)
        .run(lab.client());
    if !account.is_clean() {
        let failures = account.failures.iter().take(3).collect::<Vec<_>>();
        return Err(format!(
            "{} of {} datagrams lost, {} failures: {failures:?}",
            account.lost,
            account.sent,
            account.failures.len()
        ));
    }
    if account.by_name.len() < lab.servers() {
        return Err(format!(
            "not every server had its share: {:?}",
            account.by_name
        ));
    }
    Ok(flows as u64)
}

/// What is looked at before and after.
struct Seen {
    forwarded: u64,
    userspace: Userspace,
    /// What clients and servers threw away for a wrong checksum.
    wrong_sums: u64,
}

impl Seen {
    fn of(lab: &Lab, daemon: &Daemon<'_>) -> Seen {
        let ends = (0..lab.servers())
            .map(|i| lab.server(i))
            .chain([lab.client()]);
        let wrong = ends.flat_map(|netns| {
            [
                netns.snmp("Tcp", "InCsumErrors"),
                netns.snmp("Udp", "InCsumErrors"),
                netns.snmp6("Udp6InCsumErrors"),
                netns.snmp("Ip", "InHdrErrors"),
            ]
        });
        Seen {
            forwarded: counter(daemon, "forwarded_in"),
            userspace: Userspace::of(lab),
            wrong_sums: wrong.map(Result::unwrap).sum(),
        }
    }
}

fn table(rows: &[Row], took: Duration) -> String {
    let mut text = String::from(
        "\n| forward | family | transport | hook | outcome | s | |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let Service {
            forward,
            family,
            outer,
            transport,
            ..
        } = row.service;
        let family = if family == outer {
            family.name().to_owned()
        } else {
            format!("{} in {}", family.name(), outer.name())
        };
        let (word, more) = match &row.outcome {
            Ok(more) => ("ok", more.as_str()),
            Err(why) => ("FAILED", gist(why)),
        };
        let _ = writeln!(
            text,
            "| {} | {family} | {} | {}{} | {word} | {:.1} | {} |",
            forward.name(),
            transport.name(),
            row.attach,
            if row.large { ", large segments" } else { "" },
            row.took.as_secs_f64(),
            more
        );
    }
    let _ = writeln!(text, "{} rows in {:.0} s", rows.len(), took.as_secs_f64());
    text
}

/// The line of a complaint that says most: the first error of a configuration, else the first line.
fn gist(why: &str) -> &str {
    let error = why.lines().find_map(|line| line.split_once(" error: "));
    match error {
        Some((_, error)) => error,
        None => why.lines().next().unwrap_or_default(),
    }
}
