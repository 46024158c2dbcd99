//! Real requests through the demo, each compared with what should come.

use std::time::{Duration, Instant};

use lb_tests::client::{self, Load};

use super::{Demo, counter, server_totals};

/// Connections through each algorithm.
const CONNECTIONS: usize = 400;

/// Drives the demo and prints what was seen; whether all was as it should be.
pub(crate) fn smoke(demo: &mut Demo) -> bool {
    let mut table = Table::default();
    layer4(demo, &mut table);
    layer7(demo, &mut table);
    death(demo, &mut table);
    figures(demo, &mut table);
    println!(
        "\n{}",
        if table.failed == 0 {
            "All as it should be."
        } else {
            "Not all is as it should be; lb said:"
        }
    );
    if table.failed > 0 {
        println!("{}", demo.log());
    }
    table.failed == 0
}

/// What was looked at so far.
#[derive(Default)]
struct Table {
    failed: usize,
}

impl Table {
    fn row(&mut self, what: &str, saw: &str, ok: bool) {
        self.failed += usize::from(!ok);
        println!("  {:<6} {what:<34} {saw}", if ok { "ok" } else { "FAILED" });
    }
}

fn layer4(demo: &Demo, table: &mut Table) {
    println!("Layer 4, {CONNECTIONS} connections each, a request in each:");
    let run = |port| {
        Load::to(demo.address(port))
            .connections(CONNECTIONS)
            .parallel(8)
            .get("/")
            .run(demo.client())
    };
    let shares = |tally: &client::Tally| ["s1", "s2", "s3"].map(|name| tally.of(name));
    let show = |tally: &client::Tally| {
        let [a, b, c] = shares(tally);
        format!("s1 {a}, s2 {b}, s3 {c}, failed {}", tally.failures.len())
    };

    let tally = run(9002);
    let [a, b, c] = shares(&tally);
    // Each processor takes turns of its own, each userspace worker as well.
    let round = 2 * std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let (half, quarter) = (CONNECTIONS as u64 / 2, CONNECTIONS as u64 / 4);
    let near = |n: u64, wanted: u64| n.abs_diff(wanted) <= round;
    let fair = near(a, half) && near(b, quarter) && near(c, quarter);
    table.row(
        "roundrobin, weights 2:1:1",
        &show(&tally),
        fair && tally.failures.is_empty(),
    );

    let tally = run(9003);
    let all = shares(&tally).iter().all(|n| *n > 0);
    table.row(
        "leastconn, all three busy",
        &show(&tally),
        all && tally.failures.is_empty(),
    );

    let tally = run(9004);
    let one = shares(&tally).iter().filter(|n| **n > 0).count() == 1;
    table.row(
        "source, one client, one server",
        &show(&tally),
        one && tally.failures.is_empty(),
    );
}

/// A request on a connection of its own: the server's name, status and Set-Cookie.
fn get(demo: &Demo, path: &str, cookie: Option<&str>) -> Option<(u16, String, Option<String>)> {
    let mut stream = client::connect(demo.client(), demo.address(9001), None).ok()?;
    let cookie = cookie
        .map(|c| format!("cookie: {c}\r\n"))
        .unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: demo\r\n{cookie}connection: close\r\n\r\n");
    let response = client::exchange(&mut stream, request.as_bytes()).ok()?;
    let set = response
        .header("set-cookie")
        .first()
        .map(|value| (*value).to_owned());
    Some((response.status, response.server(), set))
}

fn layer7(demo: &Demo, table: &mut Table) {
    println!("Layer 7:");
    for (path, port) in [("/ms1/a", 8080), ("/MS2/a", 8081), ("/else", 8083)] {
        let before = requests(demo, port);
        let answer = get(demo, path, None);
        let went = requests(demo, port) == before + 1;
        let status = answer.map_or(0, |a| a.0);
        table.row(
            &format!("{path} to its backend"),
            &format!("{status}, servers at port {port}"),
            status == 200 && went,
        );
    }
    let first = get(demo, "/ms1/a", None);
    let (server, cookie) = match &first {
        Some((_, server, Some(set))) => (
            server.clone(),
            set.split(';').next().unwrap_or_default().to_owned(),
        ),
        _ => Default::default(),
    };
    table.row("a cookie is set", &cookie, !cookie.is_empty());
    let again: Vec<_> = (0..20)
        .filter_map(|_| get(demo, "/ms1/a", Some(&cookie)))
        .collect();
    let sticks = again.len() == 20
        && again
            .iter()
            .all(|(_, s, set)| *s == server && set.is_none());
    table.row(
        "20 requests with it",
        &format!("all to {server}, none set anew"),
        sticks,
    );
}

/// Requests that the servers of a port answered, health checks aside.
fn requests(demo: &Demo, port: u16) -> u64 {
    demo.servers
        .iter()
        .filter(|s| s.address().port() == port)
        .map(lb_tests::server::Server::served)
        .sum()
}

fn death(demo: &mut Demo, table: &mut Table) {
    println!("A server's death and return (s2 of every backend):");
    let of_s2 = |demo: &Demo| -> Vec<usize> {
        (0..demo.servers.len())
            .filter(|i| demo.servers[*i].name() == "s2")
            .collect()
    };
    for i in of_s2(demo) {
        demo.servers[i].stop();
    }
    let down = settles(|| state(demo, "s2").iter().all(|s| s.starts_with("DOWN")));
    table.row(
        "checks see it",
        if down {
            "DOWN everywhere"
        } else {
            "not down everywhere"
        },
        down,
    );
    let tally = Load::to(demo.address(9002))
        .connections(60)
        .parallel(4)
        .get("/")
        .run(demo.client());
    let saw = format!(
        "s1 {}, s2 {}, s3 {}, failed {}",
        tally.of("s1"),
        tally.of("s2"),
        tally.of("s3"),
        tally.failures.len()
    );
    table.row(
        "60 connections without it",
        &saw,
        tally.of("s2") == 0 && tally.failures.is_empty(),
    );
    let others = (0..10)
        .filter_map(|_| get(demo, "/ms1/a", None))
        .filter(|(s, name, _)| *s == 200 && name != "s2");
    let answered = others.count();
    table.row(
        "10 requests without it",
        &format!("{answered} answered by others"),
        answered == 10,
    );
    for i in of_s2(demo) {
        let back = demo.servers[i].restart();
        if let Err(error) = back {
            table.row("s2 starts again", &error.to_string(), false);
        }
    }
    let up = settles(|| state(demo, "s2").iter().all(|s| s.starts_with("UP")));
    table.row(
        "checks see it back",
        if up {
            "UP everywhere"
        } else {
            "not up everywhere"
        },
        up,
    );
    let tally = Load::to(demo.address(9002))
        .connections(60)
        .parallel(4)
        .get("/")
        .run(demo.client());
    table.row(
        "60 connections with it",
        &format!("s2 {}", tally.of("s2")),
        tally.of("s2") > 0,
    );
}

/// The state of a server in every backend.
fn state(demo: &Demo, server: &str) -> Vec<String> {
    let Some(status) = demo.status() else {
        return vec![String::new()];
    };
    let backends = status["backends"].as_array().cloned().unwrap_or_default();
    let servers = backends
        .iter()
        .flat_map(|b| b["servers"].as_array().cloned().unwrap_or_default());
    let found = servers.filter(|s| s["row"]["svname"] == server);
    found
        .map(|s| s["row"]["status"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn figures(demo: &Demo, table: &mut Table) {
    println!("Figures:");
    // Health checks and what comes after them have ended; the connections that the servers saw of us have not changed.
    let sent = (CONNECTIONS + 120) as u64;
    let counted = |demo: &Demo| {
        let status = demo.status()?;
        Some(
            server_totals(&status, "tcp_roundrobin")
                .iter()
                .map(|(_, n)| n)
                .sum::<u64>(),
        )
    };
    let agree = settles(|| counted(demo) == Some(sent));
    table.row(
        "lb status: roundrobin connections",
        &format!("{} of {sent} sent", counted(demo).unwrap_or(0)),
        agree,
    );
    let csv = stats(demo);
    let total = csv
        .lines()
        .find(|l| l.starts_with("tcp_roundrobin,BACKEND,"))
        .and_then(|l| l.split(',').nth(7)?.parse().ok());
    table.row(
        "stats;csv agrees",
        &format!("{}", total.unwrap_or(0)),
        total == Some(sent),
    );
    if demo.has_kernel_path() {
        let status = demo.status().unwrap_or_default();
        let opened = counter(&status, "flow_opened");
        let wanted = (3 * CONNECTIONS + 120) as u64;
        table.row(
            "kernel: flows opened",
            &format!("{opened} of {wanted} layer 4 connections"),
            opened == wanted,
        );
        let (inward, outward) = (
            counter(&status, "forwarded_in"),
            counter(&status, "forwarded_out"),
        );
        table.row(
            "kernel: packets",
            &format!("{inward} to servers, {outward} back"),
            inward > wanted && outward > wanted,
        );
    }
}

/// The CSV, as text; empty if it cannot be had.
fn stats(demo: &Demo) -> String {
    let fetch = || {
        let mut stream = client::connect(demo.client(), demo.address(1080), None).ok()?;
        // admin:admin
        let request = b"GET /stats;csv HTTP/1.1\r\nhost: demo\r\nauthorization: Basic YWRtaW46YWRtaW4=\r\nconnection: close\r\n\r\n";
        let response = client::exchange(&mut stream, request).ok()?;
        Some(String::from_utf8_lossy(&response.body).into_owned())
    };
    fetch().unwrap_or_default()
}

/// Waits until `ok`, ten seconds at most.
fn settles(ok: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    ok()
}
