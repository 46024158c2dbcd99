//! `/metrics` of a running daemon, as scrapers and Prometheus' own linter read it.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    beside::Killed,
    clients::{installed, read_all},
    daemon::{Daemon, PATIENCE, free},
    server::server,
};

/// What `at` answers to a scraper; the head, and the body.
fn scrape(at: SocketAddr, target: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.0\r\nAccept: {accept}\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_all(&mut stream)).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The value of a sample.
fn sample(text: &str, series: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .map(str::to_owned)
}

fn requests(at: SocketAddr, number: usize) {
    for _ in 0..number {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = read_all(&mut stream);
        assert!(answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"));
    }
}

/// Prometheus' own tool: that of the machine, or what `cargo xtask setup` keeps.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let kept = cache.or(home).map(|cache| cache.join("lb/bin/promtool"));
    let program = match kept.filter(|kept| kept.is_file()) {
        Some(kept) => kept,
        None if installed("promtool") => "promtool".into(),
        None => return None,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    Some(said)
}

#[test]
fn requests_are_in_the_histograms_and_survive_a_reload() {
    let (one, _) = server();
    let (web, stats) = (free(), free());
    let rest = |more: &str| {
        format!(
            "frontends:\n  web: {{ mode: http, bind: '{web}', default_backend: app }}\n\
             backends:\n  app: {{ mode: http, servers: [{{ name: a, address: '{one}' }}{more}] }}\n\
             stats: {{ bind: '{stats}' }}\n"
        )
    };
    let daemon = Daemon::start(Daemon::folder(), &rest(""), web);
    requests(web, 7);
    let total = "lb_backend_total_time_seconds_count{backend=\"app\",path=\"userspace\"}";
    let counted = |expected: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A request is counted once its answer has been sent.
            let (_, text) = scrape(stats, "/metrics", "*/*");
            if sample(&text, total).as_deref() == Some(expected) {
                return text;
            }
            assert!(
                Instant::now() < deadline,
                "{total} is not {expected}:\n{text}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    };
    let text = counted("7");
    for family in ["queue", "connect", "response"] {
        let count =
            format!("lb_backend_{family}_time_seconds_count{{backend=\"app\",path=\"userspace\"}}");
        assert_eq!(sample(&text, &count).as_deref(), Some("7"), "{family}");
    }
    let frontend =
        "lb_frontend_total_time_seconds_bucket{frontend=\"web\",path=\"userspace\",le=\"+Inf\"}";
    assert_eq!(sample(&text, frontend).as_deref(), Some("7"));
    let sum = "lb_backend_total_time_seconds_sum{backend=\"app\",path=\"userspace\"}";
    assert!(sample(&text, sum).unwrap().parse::<f64>().unwrap() > 0.0);

    daemon.write(&rest(
        ", { name: b, address: '127.0.0.1:1', disabled: true }",
    ));
    assert!(daemon.reload().1);
    requests(web, 3);
    let text = counted("10");
    let result = |result: &str| {
        sample(
            &text,
            &format!("lb_config_reloads_total{{result=\"{result}\"}}"),
        )
        .unwrap()
    };
    assert_eq!([result("success"), result("failure")], ["1", "0"]);
    daemon.write("frontends: 7\n");
    assert!(!daemon.reload().1);
    let text = counted("10");
    assert_eq!(
        sample(&text, "lb_config_last_reload_successful").as_deref(),
        Some("0")
    );
    let narrow = scrape(stats, "/metrics?scope=server&no-maint", "*/*").1;
    assert!(narrow.contains("server=\"a\"") && !narrow.contains("server=\"b\""));
    assert!(!narrow.contains("lb_backend_up"));
}

#[test]
fn prometheus_own_linter_finds_nothing() {
    let (one, _) = server();
    let (web, tcp, stats) = (free(), free(), free());
    let _daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:\n  web: {{ mode: http, bind: '{web}', default_backend: app }}\n  \
             raw: {{ mode: tcp, bind: '{tcp}', default_backend: raw }}\n\
             backends:\n  app: {{ mode: http, servers: [{{ name: a, address: '{one}' }}] }}\n  \
             raw: {{ mode: tcp, health_check: {{ type: tcp }}, servers: [{{ name: a, address: '{one}', maxconn: 3 }}] }}\n\
             stats: {{ bind: '{stats}' }}\n"
        ),
        web,
    );
    requests(web, 2);
    let (head, text) = scrape(stats, "/metrics", "text/plain");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let Some(said) = promtool(&["check", "metrics"], &text) else {
        return;
    };
    assert_eq!(said.trim(), "");
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../conf/prometheus-alerts.yaml"
    );
    let said = promtool(&["check", "rules", rules], "").unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
}

/// Nanoseconds of processor time that the process's threads have used, those that serve clients left out and by themselves.
fn used(pid: u32) -> (u64, u64) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let (mut rest, mut serving) = (0, 0);
    for task in tasks {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let ran = read("schedstat");
        let ran = ran
            .split(' ')
            .next()
            .and_then(|text| text.parse::<u64>().ok());
        match read("comm").starts_with("lb-worker") {
            true => serving += ran.unwrap_or(0),
            false => rest += ran.unwrap_or(0),
        }
    }
    (rest, serving)
}

/// Asks for `target` over a connection that stays.
fn once(stream: &mut TcpStream, target: &str) -> Vec<u8> {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    body
}

/// As many requests as one core of clients makes.
fn load(at: SocketAddr) -> Option<Killed> {
    if !installed("wrk") {
        return None;
    }
    let child = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c64", "-d600s"])
        .arg(format!("http://{at}/"))
        .stdout(Stdio::null())
        .spawn();
    Some(Killed(child.unwrap()))
}

/// Prints what a scrape a second of 100 backends of 10 servers costs the daemon, idle and while it serves all it can.
#[test]
#[ignore = "prints times, which are this machine's"]
fn what_scraping_costs() {
    const SECONDS: u32 = 10;
    let (web, stats) = (free(), free());
    let mut rest = format!(
        "frontends:\n  web: {{ mode: http, bind: '{web}', default_backend: b0, rules: [{{ return: {{ status: 200, body: ok }} }}] }}\nbackends:\n"
    );
    for backend in 0..100 {
        write!(rest, "  b{backend}: {{ mode: http, servers: [").unwrap();
        for server in 0..10 {
            write!(
                rest,
                "{{ name: s{server}, address: '192.0.2.{server}:80' }},"
            )
            .unwrap();
        }
        rest.push_str("] }\n");
    }
    writeln!(rest, "stats: {{ bind: '{stats}' }}").unwrap();
    let binary = std::env::var_os("LB_BIN");
    let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_lb").into());
    let daemon = Daemon::start_binary(binary.as_ref(), Daemon::folder(), &rest, web);
    let mut stream = TcpStream::connect(stats).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Of a core, in a second: what serves clients, and all else.
    let mut shares = |target: Option<&str>| {
        let before = used(daemon.pid());
        let begun = Instant::now();
        for second in 1..=SECONDS {
            // Not to be closed for silence.
            let target = target.unwrap_or("/healthz");
            once(&mut stream, target);
            let next = Duration::from_secs(second.into());
            thread::sleep(next.saturating_sub(begun.elapsed()));
        }
        let (after, took) = (used(daemon.pid()), begun.elapsed().as_nanos() as f64);
        [
            (after.0 - before.0) as f64 / took * 100.0,
            (after.1 - before.1) as f64 / took * 100.0,
        ]
    };
    for loaded in [false, true] {
        let _load = match loaded {
            true => load(web),
            false => None,
        };
        if loaded && _load.is_none() {
            return;
        }
        let [alone, _] = shares(None);
        for target in [
            "/metrics",
            "/metrics?scope=global&scope=frontend&scope=backend",
            "/stats;csv",
        ] {
            let [with, serving] = shares(Some(target));
            println!(
                "{target} each second, while clients take {serving:.0} % of a core: {:.2} % of a core",
                with - alone
            );
        }
    }
}
