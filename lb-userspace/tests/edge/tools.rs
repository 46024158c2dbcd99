//! Programs that speak to HAProxy drive lb, unmodified.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    beside::Killed,
    clients::installed,
    daemon::{Daemon, PATIENCE, free},
    python::python,
};

const CONFIG: &str = "
frontends:
  f: { bind: 'ADDRESS', mode: http, default_backend: b }
stats: { bind: 'STATS', uri: /stats }
backends:
  b: { mode: http, servers: [{ name: s1, address: '127.0.0.1:9', weight: 10 }] }
";

/// A daemon, and where its statistics are.
fn start() -> (Daemon, std::net::SocketAddr) {
    let (at, stats) = (free(), free());
    let config = CONFIG
        .replace("ADDRESS", &at.to_string())
        .replace("STATS", &stats.to_string());
    (Daemon::start(Daemon::folder(), &config, at), stats)
}

/// Runs a script of `tests/edge/python`; `false` if it says that what it needs is not there.
fn script(python: &Path, name: &str, daemon: &Daemon) -> bool {
    let path = format!("{}/tests/edge/python/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(path)
        .arg(daemon.folder.join("admin.sock"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || output.status.code() == Some(77),
        "{said}"
    );
    output.status.success()
}

#[test]
fn haproxyadmin_sees_and_changes_what_runs() {
    let Some(python) = python() else {
        return;
    };
    let (daemon, _) = start();
    if !script(&python, "drive_haproxyadmin.py", &daemon) {
        eprintln!("skipped: haproxyadmin is not installed (pip install haproxyadmin)");
    }
}

#[test]
fn haproxyctl_lists_weighs_and_disables() {
    let Some(python) = python() else {
        return;
    };
    let at = free();
    // It does not see names of one letter.
    let config = CONFIG
        .replace(" f: ", " front: ")
        .replace("default_backend: b ", "default_backend: back ")
        .replace(" b: ", " back: ")
        .replace("ADDRESS", &at.to_string())
        .replace("STATS", &free().to_string());
    let daemon = Daemon::start(Daemon::folder(), &config, at);
    if !script(&python, "drive_haproxyctl.py", &daemon) {
        eprintln!("skipped: neither Python 2 nor 2to3 is there for haproxyctl");
    }
}

#[test]
fn hatop_disables_and_enables_a_server() {
    if !installed("python3") || !installed("hatop") {
        return;
    }
    let (daemon, _) = start();
    assert!(script("python3".as_ref(), "drive_hatop.py", &daemon));
}

#[test]
fn nagios_is_told_of_a_server_that_is_down() {
    const CHECK: &str = "/usr/lib/nagios/plugins/check_haproxy_stats";
    if !Path::new(CHECK).exists() {
        eprintln!("skipped: {CHECK} is not installed (apt install monitoring-plugins-contrib)");
        return;
    }
    let (daemon, _) = start();
    let judged = |options: &[&str]| {
        let mut check = Command::new(CHECK);
        check.args(options).arg("--socket");
        let output = check
            .arg(daemon.folder.join("admin.sock"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    assert_eq!(daemon.ask("show cli level\n"), "admin\n\n");
    let (code, said) = judged(&[]);
    assert!(
        code == Some(0) && said.contains("OK - checked"),
        "{code:?} {said}"
    );
    assert_eq!(daemon.ask("disable server b/s1\n"), "\n");
    let (code, said) = judged(&[]);
    assert!(
        code == Some(2) && said.contains("b:s1 is MAINT"),
        "{code:?} {said}"
    );
    assert_eq!(daemon.ask("enable server b/s1\n"), "\n");
    let (code, said) = judged(&["--proxy", "b"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_exporter_for_haproxy_scrapes_by_socket_and_by_http() {
    if !installed("prometheus-haproxy-exporter") {
        return;
    }
    let (daemon, stats) = start();
    let socket = daemon.folder.join("admin.sock");
    for source in [
        format!("unix:{}", socket.display()),
        format!("http://{stats}/stats;csv"),
    ] {
        let at = free();
        let mut exporter = Command::new("prometheus-haproxy-exporter");
        exporter
            .arg(format!("--haproxy.scrape-uri={source}"))
            .arg(format!("--web.listen-address={at}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _exporter = Killed(exporter.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            match TcpStream::connect(at) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).unwrap();
        for line in [
            "haproxy_up 1",
            "haproxy_exporter_csv_parse_failures_total 0",
            "haproxy_server_weight{backend=\"b\",server=\"s1\"} 10",
        ] {
            assert!(metrics.contains(line), "{source}: {line}\n{metrics}");
        }
    }
}
