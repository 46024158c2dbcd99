//! Health checks of servers that speak TLS, HTTP/2 and gRPC, and what comes before a check's own bytes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    certificates::Authority,
    clients::{python_with, write},
    daemon::{Daemon, PATIENCE, free},
    server::server,
};

/// Waits for the first check of a server; its status, its code and what it says.
fn checked(daemon: &Daemon, backend: &str) -> (String, String, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let csv = daemon.ask("show stat\n");
        let mut lines = csv.lines();
        let head: Vec<&str> = lines
            .next()
            .unwrap()
            .trim_start_matches("# ")
            .split(',')
            .collect();
        let at = |name: &str| head.iter().position(|column| *column == name).unwrap();
        let row = lines.find(|line| line.starts_with(&format!("{backend},s,")));
        let row: Vec<&str> = row
            .unwrap_or_else(|| panic!("no {backend}: {csv}"))
            .split(',')
            .collect();
        let field = |name: &str| row[at(name)].trim_matches('"').to_owned();
        let status = field("check_status");
        if !["", "INI", "* INI"].contains(&status.as_str()) {
            return (status, field("check_code"), field("last_chk"));
        }
        assert!(
            Instant::now() < deadline,
            "{backend} was never checked: {csv}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn checks_speak_tls_and_http_2_by_their_own_settings_or_the_servers() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let ((app, _), secure, plain, old, strict) = (server(), free(), free(), free(), free());
    let tls = "{ ca: ca.pem, sni: site.example }";
    let daemon = Daemon::start(
        folder,
        &format!(
            "defaults: {{ log_format: '%ci %HM %HP %HV %ft' }}
frontends:
  secure: {{ bind: {{ address: '{secure}', tls: {{ certificates: site.pem }} }}, default_backend: app,
    rules: [{{ if: {{ path: /missing }}, deny: 404 }}] }}
  plain: {{ bind: '{plain}', default_backend: app }}
  strict: {{ bind: {{ address: '{strict}', tls: {{ certificates: site.pem, client_auth: required, client_ca: ca.pem }} }}, default_backend: app }}
  old: {{ bind: {{ address: '{old}', tls: {{ certificates: site.pem, alpn: http/1.1 }} }}, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  own: {{ health_check: {{ type: https, path: /own, tls: {tls} }}, servers: [{{ name: s, address: '{secure}' }}] }}
  servers: {{ health_check: {{ type: https, path: /servers }}, servers: [{{ name: s, address: '{old}', tls: {tls} }}] }}
  other: {{ health_check: {{ type: https, tls: {{ ca: ca.pem, sni: other.example }} }}, servers: [{{ name: s, address: '{secure}' }}] }}
  unknown: {{ health_check: {{ type: https, tls: {tls} }}, servers: [{{ name: s, address: '{strict}' }}] }}
  nobody: {{ health_check: {{ type: https }}, servers: [{{ name: s, address: '{secure}' }}] }}
  anybody: {{ health_check: {{ type: https, port: {port}, path: /anybody, tls: {{ verify: none }} }},
    servers: [{{ name: s, address: '{plain}', tls: {tls} }}] }}
  missing: {{ health_check: {{ type: https, path: /missing, tls: {tls} }}, servers: [{{ name: s, address: '{secure}' }}] }}
  over: {{ health_check: {{ type: h2, path: /over, host: site.example }}, servers: [{{ name: s, address: '{secure}', tls: {tls} }}] }}
  agreed: {{ health_check: {{ type: http, path: /agreed }}, servers: [{{ name: s, address: '{secure}', tls: {tls}, protocol: h2 }}] }}
  prior: {{ health_check: {{ type: h2, path: /prior, expect: {{ body: hello }} }},
    servers: [{{ name: s, address: '{plain}' }}] }}
  known: {{ health_check: {{ type: http, path: /known }}, servers: [{{ name: s, address: '{plain}', protocol: h2 }}] }}
  never: {{ health_check: {{ type: h2 }}, servers: [{{ name: s, address: '{app}' }}] }}
  lacking: {{ health_check: {{ type: h2, expect: {{ body: goodbye }} }}, servers: [{{ name: s, address: '{plain}' }}] }}
  refused: {{ health_check: {{ type: h2 }}, servers: [{{ name: s, address: '{old}', tls: {tls} }}] }}
",
            port = secure.port(),
        ),
        plain,
    );
    let result = |backend: &str| {
        let (status, code, _) = checked(&daemon, backend);
        format!("{status}/{code}")
    };
    for backend in [
        "own", "servers", "anybody", "over", "agreed", "prior", "known",
    ] {
        assert_eq!(result(backend), "L7OK/200", "{backend}");
    }
    assert_eq!(result("missing"), "L7STS/404");
    assert_eq!(result("never"), "L7RSP/");
    assert_eq!(result("lacking"), "L7RSP/");
    for (backend, says) in [
        ("other", "not valid for name"),
        ("nobody", "UnknownIssuer"),
        ("refused", ""),
        ("unknown", "received fatal alert: CertificateRequired"),
    ] {
        let (status, code, why) = checked(&daemon, backend);
        assert_eq!((status.as_str(), code.as_str()), ("L6RSP", ""), "{backend}");
        assert!(why.contains(says), "{backend}: {why}");
    }
    for line in [
        "/own HTTP/1.0 secure~",
        "/servers HTTP/1.0 old~",
        "/anybody HTTP/1.0 secure~",
        "/over HTTP/2.0 secure~",
        "/agreed HTTP/2.0 secure~",
        "/prior HTTP/2.0 plain",
        "/known HTTP/2.0 plain",
    ] {
        daemon.logged(line);
    }
}

#[test]
fn a_check_introduces_itself_where_it_is_told_to() {
    let ((app, seen), web) = (server(), free());
    let backend = |name: &str, check: &str, server: &str| {
        format!(
            "  {name}: {{ health_check: {{ type: http, path: /{name}, {check} }}, servers: [{{ name: s, address: '{app}', {server} }}] }}\n"
        )
    };
    let backends = [
        backend("as-traffic", "", "send_proxy: v2"),
        backend(
            "elsewhere",
            &format!("port: {}", app.port()),
            "send_proxy: v2",
        ),
        backend("first", "send_proxy: true", ""),
        backend(
            "second",
            &format!("send_proxy: true, port: {}", app.port()),
            "send_proxy: v2",
        ),
        backend("own", "send_proxy: v2", "send_proxy: v1"),
        backend("never", "send_proxy: false", "send_proxy: v1"),
        backend(
            "summed",
            "",
            "send_proxy: v2, proxy_v2_options: [crc32c, unique-id]",
        ),
    ];
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:\n  web: {{ bind: '{web}', default_backend: never }}\nbackends:\n{}",
            backends.concat()
        ),
        web,
    );
    let local = "\r\n\r\n\0\r\nQUIT\n\u{20}\0\0\0";
    // As HAProxy's, byte for byte.
    let summed = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x07\x03\0\x04\xa9\xb8\x7e\x8f";
    let summed = String::from_utf8_lossy(summed).into_owned();
    let port = app.port();
    for (name, begins, ends) in [
        ("summed", summed, String::new()),
        ("as-traffic", local.to_owned(), String::new()),
        ("elsewhere", String::new(), String::new()),
        (
            "first",
            "PROXY TCP4 127.0.0.1 127.0.0.1 ".to_owned(),
            format!(" {port}\r\n"),
        ),
        ("second", local.to_owned(), String::new()),
        ("own", local.to_owned(), String::new()),
        ("never", String::new(), String::new()),
    ] {
        assert_eq!(checked(&daemon, name).0, "L7OK", "{name}");
        let request = format!("GET /{name} HTTP/1.0\r\n\r\n");
        let seen = seen.lock().unwrap();
        let head = seen.iter().find(|head| head.contains(&request)).unwrap();
        let before = head.strip_suffix(&request).unwrap();
        assert!(
            before.starts_with(&begins) && before.ends_with(&ends),
            "{name}: {before:?}"
        );
        assert_eq!(before.is_empty(), begins.is_empty(), "{name}: {before:?}");
    }
}

/// gRPC's own server with its own health service; what is said to it sets a service's state.
const GRPC: &str = r#"
import sys, grpc
from concurrent import futures
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("demo.Down", health_pb2.HealthCheckResponse.NOT_SERVING)
servicer.set("demo.Up", health_pb2.HealthCheckResponse.SERVING)
port = server.add_insecure_port("127.0.0.1:0")
pem = open(sys.argv[1], "rb").read()
secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
server.start()
print(port, secure, flush=True)
for line in sys.stdin:
    name, state = line.split()
    servicer.set(name, health_pb2.HealthCheckResponse.ServingStatus.Value(state))
"#;

struct Grpc(Child);

impl Drop for Grpc {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn grpcs_own_servers_are_asked_by_their_own_protocol() {
    let Some(python) = python_with("grpc, grpc_health") else {
        return;
    };
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "ca.pem", &ca.pem());
    let pem = write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let mut child = Command::new(python)
        .args(["-c", GRPC, &pem])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ports = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut ports)
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let _server = Grpc(child);
    let (plain, secure) = ports.trim().split_once(' ').unwrap();
    let ((app, _), web) = (server(), free());
    let backend = |name: &str, service: &str, port: &str, tls: &str| {
        format!(
            "  {name}: {{ health_check: {{ type: grpc, {service} interval: 50ms, rise: 1, fall: 1, timeout: 5s }}, \
             servers: [{{ name: s, address: '127.0.0.1:{port}', {tls} }}] }}\n"
        )
    };
    let backends = [
        backend("whole", "", plain, ""),
        backend("up", "service: demo.Up,", plain, ""),
        backend("down", "service: demo.Down,", plain, ""),
        backend("unknown", "service: demo.Nobody,", plain, ""),
        backend(
            "secure",
            "service: demo.Up,",
            secure,
            "tls: { ca: ca.pem, sni: site.example }",
        ),
        backend(
            "own",
            "service: demo.Up, tls: { ca: ca.pem, sni: site.example },",
            secure,
            "",
        ),
        backend(
            "wrong",
            "service: demo.Up,",
            secure,
            "tls: { ca: ca.pem, sni: other.example }",
        ),
        backend("http", "", &app.port().to_string(), ""),
    ];
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:\n  web: {{ bind: '{web}', default_backend: whole }}\nbackends:\n{}",
            backends.concat()
        ),
        web,
    );
    for (name, status, code, says) in [
        ("whole", "L7OK", "0", ""),
        ("up", "L7OK", "0", ""),
        ("down", "L7STS", "0", "NOT_SERVING"),
        ("unknown", "L7STS", "5", "gRPC status 5 NOT_FOUND"),
        ("secure", "L7OK", "0", ""),
        ("own", "L7OK", "0", ""),
        ("wrong", "L6RSP", "", ""),
        ("http", "L7RSP", "", ""),
    ] {
        let found = checked(&daemon, name);
        assert_eq!(
            (found.0.as_str(), found.1.as_str()),
            (status, code),
            "{name}: {found:?}"
        );
        assert!(found.2.contains(says), "{name}: {found:?}");
    }
    input
        .write_all(b"demo.Down SERVING\ndemo.Up NOT_SERVING\n")
        .unwrap();
    daemon.logged("Server down/s is UP, reason: Layer7 check passed, code: 0, ");
    daemon.logged(
        "Server up/s is DOWN, reason: Layer7 wrong status, code: 0, info: \"NOT_SERVING\", ",
    );
}
