//! Reloads and upgrades under load of every kind at once: keep-alive and new connections of HTTP/1, streams of HTTP/2, WebSockets,
//! flows and a stream of bulk data in the kernel. Nothing may fail.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::client::{self, Load, Steady};
use lb_tests::process::Process;
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, Netns, skip, tools, wait};

use crate::kernel::{kernel_takes_over, reasons};
use crate::reload::take;
use crate::setup::{accepted_in_userspace, held, service};

const HTTP: u16 = 8081;
const ECHO: u16 = 8080;
const SOCKETS: u16 = 8082;
const BULK: u16 = 5201;

/// Where clients of mode http go.
const WEB: u16 = 8000;
/// Where iperf3 goes.
const IPERF: u16 = 5201;

/// The file of each turn: they differ in all that may change.
fn config(lab: &Lab, turn: usize) -> String {
    let at = lab.service_addr();
    let server = |i: usize, port: u16, more: &str| {
        format!(
            "{{ name: s{}, address: \"{}:{port}\"{more} }}",
            i + 1,
            lab.server_addr(i)
        )
    };
    let list = |which: &[usize], port: u16, more: &str| {
        let entries: Vec<String> = which.iter().map(|i| server(*i, port, more)).collect();
        entries.join(", ")
    };
    // Servers go, come and change their places; one stays, so that there is always one.
    let which: &[usize] = [&[0, 1, 2][..], &[2, 1, 0], &[1, 0], &[1]][turn % 4];
    let weight = format!(", weight: {}", 1 + turn % 3);
    let balance = ["roundrobin", "leastconn", "maglev"][turn % 3];
    let extra = match turn % 2 {
        0 => String::new(),
        _ => format!(
            "  extra: {{ bind: \"{at}:8001\", default_backend: app }}\n  \
             more: {{ mode: tcp, bind: \"{at}:82\", default_backend: echo }}\n"
        ),
    };
    let rules = match turn % 3 {
        0 => "",
        1 => ", rules: [{ set_header: { request: { x-turn: \"1\" } } }]",
        _ => ", rules: [{ if: { path: /none }, deny: { status: 403 } }], maxconn: 5000",
    };
    let check = match turn % 2 {
        0 => "health_check: { type: tcp, interval: 500ms }, ",
        _ => "",
    };
    format!(
        "defaults: {{ timeouts: {{ connect: 5s, client: 60s, server: 60s, tunnel: 1h }} }}
frontends:
  web: {{ mode: tcp, bind: \"{}\", default_backend: echo }}
  http: {{ mode: http, bind: \"{at}:{WEB}\", default_backend: app{rules} }}
  bulk: {{ mode: tcp, bind: \"{at}:{IPERF}\", default_backend: bulk }}
{extra}backends:
  echo: {{ mode: tcp, balance: {balance}, {check}servers: [{}] }}
  app: {{ mode: http, {check}servers: [{}] }}
  sockets: {{ mode: http, servers: [{}] }}
  bulk: {{ mode: tcp, servers: [{}] }}
",
        service(lab),
        list(which, ECHO, &weight),
        list(which, HTTP, &weight),
        server(0, SOCKETS, ""),
        server(0, BULK, ""),
    )
    .replace(
        "default_backend: app, rules: [",
        "default_backend: app, rules: [{ if: { path: /socket }, use_backend: sockets }, ",
    )
    .replace(
        "default_backend: app }\n  bulk",
        "default_backend: app, rules: [{ if: { path: /socket }, use_backend: sockets }] }\n  bulk",
    )
}

/// A server that switches protocols and sends back what it is sent.
fn socket_server(netns: &Netns, at: SocketAddr) {
    let listener = netns.run(|| TcpListener::bind(at)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || switch(stream));
        }
    });
}

fn switch(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )?;
    let mut writer = stream.try_clone()?;
    io::copy(&mut stream, &mut writer).map(drop)
}

/// A connection that has been switched.
fn switched(lab: &Lab) -> TcpStream {
    let at = SocketAddr::from((lab.service_addr(), WEB));
    let mut stream = client::connect(lab.client(), at, None).unwrap();
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// A program that sends requests until it is done.
fn started(lab: &Lab, program: &str, arguments: &[&str]) -> Process {
    let mut command = lab.client().command(program);
    command.args(arguments);
    Process::start(command).unwrap()
}

/// What h2load says of its requests: done, and those that failed in any way.
fn h2load(text: &str) -> (u64, u64) {
    let number = |what: &str| {
        let line = text.lines().find(|line| line.starts_with("requests: "));
        let parts = line
            .unwrap_or("")
            .trim_start_matches("requests: ")
            .split(", ");
        let found = parts.map(|part| part.split_once(' ').unwrap_or(("0", "")));
        let found = found.filter(|(_, name)| *name == what);
        found
            .map(|(n, _)| n.parse::<u64>().unwrap_or(0))
            .sum::<u64>()
    };
    // Errors and timeouts are among those that failed.
    let failed = number("failed").max(number("errored") + number("timeout"));
    let statuses = text.lines().find(|line| line.starts_with("status codes: "));
    let good = statuses.is_some_and(|line| line.ends_with(" 0 3xx, 0 4xx, 0 5xx"));
    (number("done"), failed + u64::from(!good))
}

/// So many changes in so long, under load; prints what all of it came to. `change` says what the turn's has told.
fn under_load(what: &str, times: usize, over: Duration, change: impl Fn(&Lab, &Daemon<'_>, usize)) {
    if skip::without_lb()
        || ["wrk", "h2load", "iperf3"]
            .iter()
            .any(|tool| skip::without_tool(tool))
    {
        return;
    }
    let lab = Lab::builder().servers(3).build().unwrap();
    let start = |i: usize, protocol, port: u16| {
        let at = SocketAddr::from((lab.server_addr(i), port));
        Server::start(lab.server(i), &format!("s{}", i + 1), protocol, at).unwrap()
    };
    let _echo: Vec<Server> = (0..3).map(|i| start(i, Protocol::Echo, ECHO)).collect();
    let _http: Vec<Server> = (0..3).map(|i| start(i, Protocol::Http, HTTP)).collect();
    socket_server(lab.server(0), (lab.server_addr(0), SOCKETS).into());
    let _bulk = tools::iperf3_server(lab.server(0), (lab.server_addr(0), BULK).into()).unwrap();
    let daemon = Daemon::builder(&lab, &config(&lab, 0))
        .global("threads", "2")
        // WebSockets stay with the process that they began in for so long.
        .global("grace", "5m")
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);

    let sockets = Steady::start(
        (0..20).map(|_| switched(&lab)).collect(),
        Duration::from_millis(50),
    );
    let flows = Steady::start(held(&lab, 50), Duration::from_millis(50));
    let seconds = (over.as_secs() + 2).to_string();
    let url = format!("http://{}:{WEB}/", lab.service_addr());
    let mut wrk = started(
        &lab,
        "wrk",
        &["-t", "1", "-c", "32", "-d", &format!("{seconds}s"), &url],
    );
    let mut fresh = started(
        &lab,
        "wrk",
        &[
            "-t",
            "1",
            "-c",
            "4",
            "-d",
            &format!("{seconds}s"),
            "-H",
            "Connection: close",
            &url,
        ],
    );
    let mut h2 = started(
        &lab,
        "h2load",
        &["-t", "1", "-c", "4", "-m", "8", "-D", &seconds, &url],
    );
    let mut bulk = started(
        &lab,
        "iperf3",
        &[
            "--json",
            "--client",
            &lab.service_addr().to_string(),
            "--port",
            &IPERF.to_string(),
            "--time",
            &seconds,
            "--bitrate",
            "100M",
        ],
    );
    let new = Load::to(service(&lab))
        .connections(usize::MAX)
        .parallel(4)
        .rate(300)
        .start(lab.client());
    wait::until_true("load on the kernel path", || new.done() > 50).unwrap();
    let userspace = accepted_in_userspace(&lab);

    let begin = Instant::now();
    let mut took = Vec::new();
    for turn in 1..=times {
        let since = Instant::now();
        change(&lab, &daemon, turn);
        took.push(since.elapsed());
        let due = over.mul_f64(turn as f64 / times as f64);
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    let all = begin.elapsed();
    took.sort();

    let patience = over + Duration::from_secs(60);
    for process in [&mut wrk, &mut fresh, &mut h2, &mut bulk] {
        process.wait(patience).unwrap();
    }
    let (sockets, flows, new) = (sockets.stop(), flows.stop(), new.stop());
    let reports = [&wrk, &fresh].map(|process| tools::wrk_report(&process.stdout()).unwrap());
    let streams = h2load(&h2.stdout());
    let iperf = tools::iperf3_report(&bulk.stdout());
    println!(
        "{times} {what} in {:.1} s, each took {} ms in the middle, {} ms at most",
        all.as_secs_f64(),
        took[took.len() / 2].as_millis(),
        took[took.len() - 1].as_millis()
    );
    for (what, report) in ["keep-alive", "a connection each"].iter().zip(&reports) {
        println!(
            "HTTP/1, {what}: {} requests, {} socket errors, {} bad statuses",
            report.requests, report.socket_errors, report.bad_statuses
        );
    }
    println!("HTTP/2: {} requests, {} failed", streams.0, streams.1);
    for (what, experience) in [("WebSocket", &sockets), ("kernel flows", &flows)] {
        println!(
            "{what}: {} connections, {} exchanges, longest {} ms, {} failed",
            experience.streams.len(),
            experience.exchanges,
            experience.longest.as_millis(),
            experience.failures.len()
        );
    }
    println!(
        "kernel, a connection each: {} connections, {} failed; {} accepted by userspace meanwhile are HTTP's",
        new.answered(),
        new.failures.len(),
        accepted_in_userspace(&lab) - userspace
    );
    match &iperf {
        Some(report) => println!(
            "kernel, bulk: {} MB of {} MB sent, {} retransmitted segments",
            report.received >> 20,
            report.sent >> 20,
            report.retransmits
        ),
        None => println!("kernel, bulk: {} {}", bulk.stdout(), bulk.stderr()),
    }
    println!("kernel program: {}", reasons(&daemon));

    for report in &reports {
        assert_eq!((report.socket_errors, report.bad_statuses), (0, 0));
        assert!(report.requests > 0);
    }
    // Told to leave a connection h2load begins no other, and counts what it had ready for that one as failed.
    let left = if what == "upgrades" { 4 * 8 } else { 0 };
    assert!(streams.1 <= left, "{}", h2.stdout());
    assert!(streams.0 > 0);
    assert_eq!(sockets.failures, Vec::<String>::new());
    assert_eq!((sockets.streams.len(), flows.streams.len()), (20, 50));
    assert_eq!(flows.failures, Vec::<String>::new());
    assert_eq!(new.failures, Vec::<String>::new());
    assert!(iperf.is_some(), "{} {}", bulk.stdout(), bulk.stderr());
}

fn reloads_under_load(times: usize, over: Duration) {
    under_load("reloads", times, over, |lab, daemon, turn| {
        let said = take(daemon, &config(lab, turn));
        assert!(!said.contains("nothing has changed"));
    });
}

fn upgrades_under_load(times: usize, over: Duration) {
    under_load("upgrades", times, over, |lab, daemon, _| {
        // A client of HTTP/2 that is told to go does not come back: here is one for each turn.
        let url = format!("http://{}:{WEB}/", lab.service_addr());
        let arguments = ["-t", "1", "-c", "2", "-m", "4", "-D", "2", &url];
        let mut h2 = started(lab, "h2load", &arguments);
        daemon.upgrade().unwrap();
        h2.wait(wait::PATIENCE).unwrap();
        let (done, failed) = h2load(&h2.stdout());
        assert!(done > 100 && failed <= 2 * 4, "{}", h2.stdout());
    });
}

#[test]
fn nothing_fails_over_ten_reloads() {
    reloads_under_load(10, Duration::from_secs(6));
}

#[test]
fn nothing_fails_over_three_upgrades() {
    upgrades_under_load(3, Duration::from_secs(6));
}

/// The figure that others are compared by.
#[test]
#[ignore = "takes a minute and more"]
fn nothing_fails_over_a_hundred_reloads_in_a_minute() {
    reloads_under_load(100, Duration::from_secs(60));
}

/// The same for upgrades.
#[test]
#[ignore = "takes a minute and more"]
fn nothing_fails_over_twenty_upgrades() {
    upgrades_under_load(20, Duration::from_secs(60));
}
