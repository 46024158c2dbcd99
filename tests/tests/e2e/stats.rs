//! What the operator does and what he is told: `lb server`, `lb status` and the stats endpoint, about traffic that no
//! process of his host has seen.

use lb_tests::client::{self, Load, Response};
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, skip};
use serde_json::Value;

use crate::kernel::{
    FOLLOWS, counts_settle, kernel_connections, kernel_takes_over, reasons, server_status,
    settles_at,
};
use crate::setup::{accepted_in_userspace, assert_alive, held, servers, service, tcp};

/// Carries out `lb server …`, and waits as long as the kernel may take to follow.
#[track_caller]
fn operate(daemon: &Daemon<'_>, arguments: &[&str]) {
    let output = daemon.lb(&[&["server"], arguments].concat()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    std::thread::sleep(FOLLOWS);
}

#[test]
fn the_operator_moves_kernel_traffic_at_once() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);
    let mut open = held(&lab, 6);
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let shares = |weights: [u64; 3]| {
        let sum: u64 = weights.iter().sum();
        let load = Load::to(service(&lab))
            .connections(60 * sum as usize)
            .parallel(4);
        let tally = load.run(lab.client());
        assert_eq!(tally.failures, Vec::<String>::new(), "{}", reasons(&daemon));
        for (server, weight) in servers.iter().zip(weights) {
            let got = tally.of(server.name());
            assert!(
                got.abs_diff(60 * weight) <= weight * cpus,
                "{weights:?}: {tally:?}"
            );
        }
    };
    shares([1, 1, 1]);
    operate(&daemon, &["weight", "web/s1", "3"]);
    shares([3, 1, 1]);
    operate(&daemon, &["drain", "web/s2"]);
    shares([3, 0, 1]);
    operate(&daemon, &["ready", "web/s2"]);
    operate(&daemon, &["weight", "web/s1", "100%"]);
    operate(&daemon, &["maint", "web/s3"]);
    shares([1, 1, 0]);
    operate(&daemon, &["weight", "web/s2", "0"]);
    shares([1, 0, 0]);
    operate(&daemon, &["weight", "web/s2", "1"]);
    operate(&daemon, &["ready", "web/s3"]);
    shares([1, 1, 1]);
    for stream in &mut open {
        client::echo(stream, b"none of my business").unwrap();
    }
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );
    let refused = daemon.lb(&["server", "drain", "web/s9"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(1) && said.contains("No such server"),
        "{said}"
    );
}

/// Gets a path of the stats endpoint.
fn get(lab: &Lab, path: &str, password: bool) -> Response {
    let target = (lab.service_addr(), 1080);
    let mut stream = client::connect(lab.client(), target.into(), None).unwrap();
    // admin:secret
    let authorization = if password {
        "Authorization: Basic YWRtaW46c2VjcmV0\r\n"
    } else {
        ""
    };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: lb\r\n{authorization}Connection: close\r\n\r\n");
    client::exchange(&mut stream, request.as_bytes()).unwrap()
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// A column of a row of the CSV.
fn csv(table: &str, proxy: &str, name: &str, column: &str) -> u64 {
    let columns: Vec<&str> = table
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let at = columns.iter().position(|c| *c == column).unwrap();
    let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let row = rows.find(|row| row[0] == proxy && row[1] == name);
    row.unwrap_or_else(|| panic!("no {proxy}/{name}: {table}"))[at]
        .parse()
        .unwrap()
}

#[test]
fn every_figure_agrees_with_what_was_sent() {
    if skip::without_lb() {
        return;
    }
    const CONNECTIONS: usize = 300;
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Http);
    let stats = format!(
        "stats: {{ bind: \"{}:1080\", uri: /stats, auth: {{ admin: secret }} }}\n",
        lab.service_addr()
    );
    let body = tcp(&lab, "roundrobin", &[2, 1, 1]) + &stats;
    let daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let load = Load::to(service(&lab))
        .connections(CONNECTIONS)
        .parallel(4)
        .get("/");
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new());
    let open = 5;
    let _open: Vec<_> = (0..open)
        .map(|_| {
            let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
            let answer = client::exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(answer.unwrap().status, 200);
            stream
        })
        .collect();
    servers
        .iter()
        .for_each(|server| counts_settle(&daemon, server));
    settles_at("open connections", open, || {
        let active =
            |server: &Server| server_status(&daemon, server.name())["row"]["scur"].as_u64();
        servers.iter().filter_map(active).sum()
    });

    let total: u64 = servers.iter().map(Server::accepted).sum();
    let received: u64 = servers.iter().map(Server::received).sum();
    let status = daemon.status().unwrap();
    let number = |value: &Value| {
        value
            .as_u64()
            .unwrap_or_else(|| panic!("{value} of {status}"))
    };
    let frontend = &status["frontends"][0];
    assert_eq!(frontend["path"], "kernel");
    assert_eq!(number(&frontend["row"]["stot"]), total);
    assert_eq!(number(&frontend["row"]["scur"]), open);
    let bytes_in = number(&frontend["kernel"]["bytes_in"]);
    // Payload, as userspace counts it; a retransmission would count twice.
    assert!(
        (received..=received + received / 100).contains(&bytes_in),
        "{bytes_in} counted, {received} received"
    );

    let table = text(&get(&lab, "/stats;csv", true));
    assert_eq!(csv(&table, "web", "FRONTEND", "stot"), total);
    assert_eq!(csv(&table, "web", "BACKEND", "stot"), total);
    assert_eq!(
        csv(&table, "web", "FRONTEND", "bin"),
        number(&frontend["row"]["bin"])
    );
    let metrics = text(&get(&lab, "/metrics", false));
    for server in &servers {
        let name = server.name();
        assert_eq!(csv(&table, "web", name, "stot"), server.accepted());
        assert_eq!(
            number(&server_status(&daemon, name)["row"]["stot"]),
            server.accepted()
        );
        let by_kernel = kernel_connections(&daemon, name);
        assert!(by_kernel >= tally.of(name));
        let series = [
            "lb_server_connections_total{",
            &format!("\"{name}\""),
            "path=\"kernel\"",
        ];
        let line = metrics
            .lines()
            .find(|line| series.iter().all(|part| line.contains(part)));
        assert!(
            line.is_some_and(|line| line.ends_with(&format!("}} {by_kernel}"))),
            "{by_kernel}: {line:?}"
        );
    }
    // What has ended is in the histograms of times.
    let by_kernel: u64 = servers
        .iter()
        .map(|server| kernel_connections(&daemon, server.name()))
        .sum();
    settles_at("flows whose times are known", by_kernel - open, || {
        let metrics = text(&get(&lab, "/metrics", false));
        let count = "lb_backend_total_time_seconds_count{backend=\"web\",path=\"kernel\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(count));
        count.unwrap().parse().unwrap()
    });
    let page = get(&lab, "/stats", true);
    assert_eq!(page.status, 200);
    assert!(
        text(&page).contains(&total.to_string()),
        "the page says {total}"
    );
    let table = String::from_utf8(daemon.lb(&["status"]).unwrap().stdout).unwrap();
    let line = table
        .lines()
        .find(|line| line.contains("kernel") && line.contains("web"));
    assert!(
        line.is_some_and(|line| line.contains(&total.to_string())),
        "{table}"
    );
    assert_eq!(get(&lab, "/stats", false).status, 401);
    assert_eq!(get(&lab, "/healthz", false).status, 200);
}

#[test]
fn cleared_counters_begin_at_nothing_for_the_kernel_too() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Echo);
    let stats = format!("stats: {{ bind: \"{}:1080\" }}\n", lab.service_addr());
    let body = tcp(&lab, "roundrobin", &[]) + &stats;
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut open = held(&lab, 3);
    servers
        .iter()
        .for_each(|server| counts_settle(&daemon, server));
    let figure = |daemon: &Daemon<'_>, name: &str, column: &str| {
        csv(&daemon.ask("show stat").unwrap(), "web", name, column)
    };
    let rows = ["FRONTEND", "BACKEND", "s1", "s2", "s3"];
    assert!(rows.iter().all(|row| figure(&daemon, row, "stot") > 0));

    // Maxima alone, and then everything; what there is now is no counter.
    assert_eq!(daemon.ask("clear counters").unwrap(), "");
    assert!(figure(&daemon, "FRONTEND", "stot") > 0);
    assert_eq!(daemon.ask("clear counters all").unwrap(), "");
    for row in rows {
        for column in ["stot", "bin", "bout"] {
            assert_eq!(figure(&daemon, row, column), 0, "{row} {column}");
        }
    }
    assert_eq!(figure(&daemon, "FRONTEND", "scur"), 3);
    let metrics = text(&get(&lab, "/metrics", false));
    let mut series = metrics
        .lines()
        .filter(|line| line.starts_with("lb_server_connections_total{"));
    assert!(series.all(|line| line.ends_with("} 0")), "{metrics}");

    // They count on from there, and the next start knows.
    open.extend(held(&lab, 6));
    settles_at("connections since", 6, || {
        figure(&daemon, "FRONTEND", "stot")
    });
    let of_servers = ["s1", "s2", "s3"].map(|row| figure(&daemon, row, "stot"));
    assert_eq!(of_servers.iter().sum::<u64>(), 6, "{of_servers:?}");
    daemon.kill();
    daemon.start().unwrap();
    settles_at("the connections that there are", 9, || {
        figure(&daemon, "FRONTEND", "scur")
    });
    assert_eq!(figure(&daemon, "FRONTEND", "stot"), 6);
    assert_eq!(figure(&daemon, "BACKEND", "stot"), 6);
    assert_alive(&mut open);
}
