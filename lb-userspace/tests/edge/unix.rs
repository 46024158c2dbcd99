//! Unix sockets to listen on, and servers behind them.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    certificates::Authority,
    clients::{curl, installed, read_all, write},
    daemon::{Daemon, PATIENCE, free},
    server::{BIG, Seen, server, unix_server},
};

/// A connection to a unix socket, as a type that does for both kinds.
fn connect(path: &Path) -> TcpStream {
    TcpStream::from(OwnedFd::from(UnixStream::connect(path).unwrap()))
}

/// Starts it. That one of its sockets takes clients does not say that all do.
fn start(folder: PathBuf, rest: &str, ready: SocketAddr) -> Daemon {
    let daemon = Daemon::start(folder, rest, ready);
    daemon.logged(" is running");
    daemon
}

/// Sends all of `bytes` and nothing more; what comes.
fn ask(path: &Path, bytes: &str) -> String {
    let mut stream = connect(path);
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    String::from_utf8(read_all(&mut stream)).unwrap()
}

/// What a server has got for `path`.
fn head(seen: &Seen, path: &str) -> String {
    let seen = seen.lock().unwrap();
    let found = seen
        .iter()
        .find(|head| head.contains(&format!("GET {path} ")));
    found
        .unwrap_or_else(|| panic!("no {path}: {seen:?}"))
        .clone()
}

const FORMAT: &str =
    "log_format: 'L %HP ci=%ci cp=%cp fi=%fi fp=%fp bi=%bi bp=%bp si=%si sp=%sp s=%[src]'";

#[test]
fn requests_go_by_unix_sockets_on_both_sides_as_haproxys_do() {
    let folder = Daemon::folder();
    let seen = unix_server(&folder.join("app.sock"));
    let web = free();
    let daemon = start(
        folder,
        &format!(
            "frontends:
  web:
    bind: ['{web}', {{ address: 'unix:web.sock', mode: 660 }}, {{ address: 'unix:in.sock', accept_proxy: true }}]
    {FORMAT}
    forwarded_for: true
    forwarded_port: true
    forwarded: {{ for: true }}
    rules:
      - set_header: {{ x-src: '[%[src]%[src_port]%[dst]]' }}
      - {{ if: {{ source: [0.0.0.0/0, '::/0'] }}, set_header: {{ x-match: 'yes' }} }}
    default_backend: app
  line: {{ bind: 'unix:line.sock', default_backend: app }}
backends:
  app:
    balance: source
    health_check: {{ type: http, path: /check, interval: 50ms }}
    servers: [{{ name: s1, address: 'unix:app.sock', send_proxy: v1 }}]
"
        ),
        web,
    );
    let at = |name: &str| daemon.folder.join(name);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");

    let metadata = fs::metadata(at("web.sock")).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    assert!(ask(&at("web.sock"), &get("/a")).ends_with("hello"));
    let got = head(&seen, "/a");
    assert!(got.starts_with("PROXY UNKNOWN\r\nGET /a "), "{got}");
    assert!(got.contains("x-src: []\r\n"), "{got}");
    assert!(got.contains("forwarded: for=unknown\r\n"), "{got}");
    assert!(
        !got.contains("x-match") && !got.contains("x-forwarded"),
        "{got}"
    );
    let line = daemon.logged("L /a ");
    assert!(
        line.ends_with("ci=unix cp=2 fi=unix fp=2 bi=unix bp=0 si=unix sp=0 s=-"),
        "{line}"
    );

    // What the PROXY header says is the client.
    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n";
    assert!(ask(&at("in.sock"), &format!("{header}{}", get("/b"))).ends_with("hello"));
    let got = head(&seen, "/b");
    assert!(got.starts_with(header), "{got}");
    assert!(got.contains("x-forwarded-for: 192.0.2.7\r\n"), "{got}");
    assert!(got.contains("x-match: yes\r\n"), "{got}");
    let line = daemon.logged("L /b ");
    assert!(
        line.contains("ci=192.0.2.7 cp=1234 fi=198.51.100.1 fp=80 bi=unix "),
        "{line}"
    );
    assert!(ask(&at("in.sock"), &format!("PROXY UNKNOWN\r\n{}", get("/c"))).ends_with("hello"));
    daemon.logged("L /c ci=unix cp=3 ");
    assert_eq!(ask(&at("in.sock"), &get("/d")), "");
    daemon.logged(" unix:3 [");
    daemon.logged("] web/3: Received something which does not look like a PROXY protocol header");

    assert!(ask(&at("line.sock"), &get("/e")).ends_with("hello"));
    let line = daemon.logged("\"GET /e ");
    assert!(
        line.contains(" unix:1 [") && line.contains("] line app/s1 "),
        "{line}"
    );
    assert!(ask(&at("line.sock"), "GET b d HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(daemon.ask("show errors\n").contains("src unix:1\n"));

    // Others come from somewhere as ever.
    let mut stream = TcpStream::connect(web).unwrap();
    stream.write_all(get("/f").as_bytes()).unwrap();
    assert!(
        String::from_utf8(read_all(&mut stream))
            .unwrap()
            .ends_with("hello")
    );
    let got = head(&seen, "/f");
    assert!(got.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{got}");
    daemon.logged("L /f ci=127.0.0.1 ");

    // A check is nobody's connection, and the server has no address.
    let checked = head(&seen, "/check");
    assert!(checked.starts_with("PROXY UNKNOWN\r\n"), "{checked}");
    let csv = daemon.ask("show stat\n");
    let row = csv
        .lines()
        .find(|line| line.starts_with("app,s1,"))
        .unwrap();
    assert!(row.contains(",UP,") && row.contains(",unix,"), "{row}");
}

#[test]
fn a_connection_is_kept_and_parked_and_bodies_pass() {
    let folder = Daemon::folder();
    let seen = unix_server(&folder.join("app.sock"));
    let web = free();
    let daemon = start(
        folder,
        &format!(
            "frontends:
  web: {{ bind: ['{web}', 'unix:web.sock'], default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: 'unix:app.sock' }}] }}
"
        ),
        web,
    );
    let mut stream = connect(&daemon.folder.join("web.sock"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for path in ["/one", "/two"] {
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = Vec::new();
        let mut part = [0; 512];
        while !answer.ends_with(b"hello") {
            let n = stream.read(&mut part).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..n]);
        }
        // Long enough for it to be put aside.
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
    stream
        .write_all(b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let all = read_all(&mut stream);
    assert_eq!(all.iter().filter(|byte| **byte == b'x').count(), BIG);
}

#[test]
fn connections_of_mode_tcp_go_by_unix_sockets_both_ways() {
    let folder = Daemon::folder();
    let (seen, introduced) = (
        unix_server(&folder.join("app.sock")),
        unix_server(&folder.join("told.sock")),
    );
    let (inet, inet_seen) = server();
    let (raw, plain) = (free(), folder.join("plain.sock"));
    // Says back what it has got once that has ended.
    let echo = UnixListener::bind(&plain).unwrap();
    thread::spawn(move || {
        for mut stream in echo.incoming().flatten() {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = stream.write_all(&all);
        }
    });
    let daemon = start(
        folder,
        &format!(
            "defaults: {{ mode: tcp }}
frontends:
  raw: {{ bind: ['{raw}', 'unix:raw.sock'], default_backend: app }}
  out: {{ bind: 'unix:out.sock', default_backend: inet }}
  told: {{ bind: 'unix:told-in.sock', default_backend: told }}
  echo: {{ bind: 'unix:echo.sock', default_backend: echo }}
  none: {{ bind: 'unix:none.sock', default_backend: none }}
backends:
  app: {{ servers: [{{ name: s1, address: 'unix:app.sock' }}] }}
  inet: {{ servers: [{{ name: s1, address: '{inet}' }}] }}
  told: {{ servers: [{{ name: s1, address: 'unix:told.sock', send_proxy: v2, proxy_v2_options: crc32c }}] }}
  echo: {{ servers: [{{ name: s1, address: 'unix:plain.sock' }}] }}
  none: {{ retries: 0, servers: [{{ name: s1, address: 'unix:nobody.sock' }}] }}
"
        ),
        raw,
    );
    let at = |name: &str| daemon.folder.join(name);
    let get = "GET /big HTTP/1.0\r\n\r\n";
    for name in ["raw.sock", "out.sock"] {
        let answer = ask(&at(name), get);
        assert_eq!(
            answer.bytes().filter(|byte| *byte == b'x').count(),
            BIG,
            "{name}"
        );
    }
    let mut stream = TcpStream::connect(raw).unwrap();
    stream.write_all(get.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut stream).len() > BIG);
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(inet_seen.lock().unwrap().len(), 1);
    daemon.logged_with(&[" unix:2 [", "] raw app/s1 "]);

    assert!(ask(&at("told-in.sock"), "GET /v2 HTTP/1.0\r\n\r\n").ends_with("hello"));
    let got = head(&introduced, "/v2");
    // HAProxy's, byte for byte.
    let header = b"\r\n\r\n\0\r\nQUIT\n \0\0\x07\x03\0\x04\xa9\xb8\x7e\x8fGET ";
    assert!(
        got.starts_with(&*String::from_utf8_lossy(header)),
        "{got:?}"
    );

    // One direction ends long before the other begins.
    let much = "0123456789abcdef".repeat(100_000);
    assert_eq!(ask(&at("echo.sock"), &much), much);

    assert_eq!(read_all(&mut connect(&at("none.sock"))), b"");
    let line = daemon.logged("] none none/s1 ");
    assert!(line.contains(" SC "), "{line}");
}

#[test]
fn tls_and_http_2_go_by_unix_sockets() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    unix_server(&folder.join("app.sock"));
    let web = free();
    let daemon = start(
        folder,
        &format!(
            "frontends:
  web: {{ bind: ['{web}', 'unix:web.sock'], default_backend: secure }}
  secure: {{ bind: {{ address: 'unix:secure.sock', tls: {{ certificates: site.pem }} }}, default_backend: app }}
backends:
  secure:
    health_check: {{ type: h2, path: /check }}
    servers: [{{ name: s1, address: 'unix:secure.sock', tls: {{ ca: ca.pem, sni: site.example }}, protocol: h2 }}]
  app: {{ servers: [{{ name: s1, address: 'unix:app.sock' }}] }}
"
        ),
        web,
    );
    let at = |name: &str| daemon.folder.join(name).display().to_string();
    let version = ["-w", " %{http_version}"];
    let (body, code) = curl(
        &[
            &version[..],
            &[
                "--http2",
                "--cacert",
                &ca_file,
                "--unix-socket",
                &at("secure.sock"),
            ],
            &["https://site.example/tls"],
        ]
        .concat(),
    );
    assert_eq!((body.as_str(), code), ("hello 2", Some(0)));
    let (body, code) = curl(
        &[
            &version[..],
            &["--http2-prior-knowledge", "--unix-socket", &at("web.sock")],
            &["http://site.example/h2c"],
        ]
        .concat(),
    );
    assert_eq!((body.as_str(), code), ("hello 2", Some(0)));
    daemon.logged_with(&[
        "unix:1 [",
        "] secure~ app/s1 ",
        "GET https://site.example/tls HTTP/2.0",
    ]);
    daemon.logged_with(&["] web secure/s1 ", "/h2c HTTP/2.0"]);
    daemon.logged_with(&["] secure~ app/s1 ", "/check HTTP/2.0"]);
}

/// Between unix sockets: `web.sock`, beside an address, and a server's.
fn by_unix_sockets() -> (Daemon, SocketAddr) {
    let folder = Daemon::folder();
    unix_server(&folder.join("app.sock"));
    let web = free();
    let daemon = start(
        folder,
        &format!(
            "frontends:
  web: {{ bind: ['{web}', 'unix:web.sock'], default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: 'unix:app.sock' }}] }}
"
        ),
        web,
    );
    (daemon, web)
}

#[test]
fn every_worker_takes_connections_and_the_file_goes_with_a_stop() {
    let (mut daemon, _) = by_unix_sockets();
    let path = daemon.folder.join("web.sock");
    let mut all: Vec<TcpStream> = (0..40).map(|_| connect(&path)).collect();
    for stream in &mut all {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
    }
    for stream in &mut all {
        assert!(read_all(stream).ends_with(b"hello"));
    }
    // An answer under way goes on to its end; the name goes before that.
    let mut slow = connect(&path);
    slow.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut begun = [0; 1000];
    slow.read_exact(&mut begun).unwrap();
    daemon.stop();
    let deadline = Instant::now() + PATIENCE;
    while path.exists() {
        assert!(Instant::now() < deadline, "the file stays");
        thread::sleep(Duration::from_millis(5));
    }
    let rest = read_all(&mut slow);
    let body = begun.iter().chain(&rest).filter(|byte| **byte == b'x');
    assert_eq!(body.count(), BIG);
    daemon.ended();
}

/// Starts another daemon with this frontend, which is to refuse; what it says.
fn refused(folder: &Path, bind: &str) -> String {
    let config = folder.join("other.yaml");
    let text = format!(
        "global: {{ admin_socket: {}/other.admin, fast_path: {{ attach: off }} }}\nfrontends:\n  other: {{ bind: {bind}, \
         default_backend: b }}\nbackends:\n  b: {{ servers: [{{ name: s1, address: '127.0.0.1:9' }}] }}\n",
        folder.display()
    );
    fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lb"))
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_is_not() {
    let folder = Daemon::folder();
    unix_server(&folder.join("app.sock"));
    let stale = folder.join("web.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let before = fs::metadata(&stale).unwrap().ino();
    let web = free();
    let daemon = start(
        folder,
        &format!(
            "frontends:
  web: {{ bind: ['{web}', 'unix:web.sock'], default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: 'unix:app.sock' }}] }}
"
        ),
        web,
    );
    let get = "GET / HTTP/1.0\r\n\r\n";
    assert!(ask(&stale, get).ends_with("hello"));
    let live = fs::metadata(&stale).unwrap().ino();
    let said = refused(&daemon.folder, "'unix:web.sock'");
    assert!(
        said.contains("frontend other: unix:web.sock: another process answers there; stop that one (`ss -lxp` names it) or choose another path"),
        "{said}"
    );
    assert_eq!(fs::metadata(&stale).unwrap().ino(), live, "it was {before}");
    assert!(ask(&stale, get).ends_with("hello"));
    let file = write(&daemon.folder, "precious", "text");
    let said = refused(&daemon.folder, "'unix:precious'");
    assert!(
        said.contains("there is a file that is no socket; remove it"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(file).unwrap(), "text");
    let said = refused(
        &daemon.folder,
        "{ address: 'unix:new.sock', user: no-such-user-of-lb }",
    );
    assert!(
        said.contains("this host has no user `no-such-user-of-lb`"),
        "{said}"
    );
    assert!(!daemon.folder.join("new.sock").exists());
    let said = refused(&daemon.folder, "'unix:nowhere/new.sock'");
    assert!(said.contains("there is no folder"), "{said}");
}

#[test]
fn a_file_that_somebody_removes_comes_back_by_a_reload() {
    let (mut daemon, web) = by_unix_sockets();
    let path = daemon.folder.join("web.sock");
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut kept = connect(&path);
    let mut slow = connect(&path);
    slow.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut begun = [0; 1000];
    slow.read_exact(&mut begun).unwrap();
    for _ in 0..2 {
        fs::remove_file(&path).unwrap();
        let (said, taken) = daemon.reload();
        assert!(taken && said.starts_with("nothing has changed\n"), "{said}");
        for _ in 0..8 {
            assert!(ask(&path, get).ends_with("hello"));
        }
    }
    // Whoever has come before is served.
    kept.write_all(get.as_bytes()).unwrap();
    assert!(read_all(&mut kept).ends_with(b"hello"));
    let rest = read_all(&mut slow);
    let body = begun.iter().chain(&rest).filter(|byte| **byte == b'x');
    assert_eq!(body.count(), BIG);

    // Another's socket is left alone, and the configuration that runs stays.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let (said, taken) = daemon.reload();
    assert!(!taken);
    assert!(
        said.contains("frontend web: unix:web.sock: another process answers there"),
        "{said}"
    );
    daemon.accepts(web);
    drop(other);
    // What it has left is replaced, and goes with the daemon.
    assert!(daemon.reload().1);
    assert!(ask(&path, get).ends_with("hello"));
    daemon.stop();
    daemon.ended();
    assert!(!path.exists());
}

/// A program that goes with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nginx_is_reached_by_its_unix_socket() {
    if !installed("curl") || Command::new("nginx").arg("-v").output().is_err() {
        eprintln!("skipped: nginx is not installed");
        return;
    }
    let folder = Daemon::folder();
    let path = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {path}/nginx.pid; error_log {path}/nginx.log;\nevents {{ }}\n\
         http {{ access_log off; client_body_temp_path {path}/body;\n\
         server {{ listen unix:{path}/nginx.sock; location / {{ return 200 $remote_addr:$http_x_forwarded_for; }} }}\n\
         server {{ listen unix:{path}/told.sock proxy_protocol; location / {{ return 200 $proxy_protocol_addr; }} }} }}\n"
    );
    let config = write(&folder, "nginx.conf", &text);
    let nginx = Command::new("nginx")
        .args(["-p", &path.to_string(), "-c", &config])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _nginx = Ended(nginx);
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(folder.join("told.sock")).is_err() {
        assert!(Instant::now() < deadline, "nginx does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    let web = free();
    let daemon = start(
        folder,
        &format!(
            "frontends:
  web:
    bind: ['{web}', 'unix:web.sock']
    forwarded_for: true
    rules: [{{ if: {{ path: /told }}, use_backend: told }}]
    default_backend: nginx
backends:
  nginx: {{ servers: [{{ name: s1, address: 'unix:nginx.sock' }}] }}
  told: {{ servers: [{{ name: s1, address: 'unix:told.sock', send_proxy: v2 }}] }}
"
        ),
        web,
    );
    let socket = daemon.folder.join("web.sock").display().to_string();
    let by_unix =
        |path: &str| curl(&["--unix-socket", &socket, &format!("http://a.example{path}")]);
    assert_eq!(by_unix("/"), ("unix::".into(), Some(0)));
    let by_tcp = |path: &str| curl(&[&format!("http://{web}{path}")]);
    assert_eq!(by_tcp("/"), ("unix::127.0.0.1".into(), Some(0)));
    assert_eq!(by_tcp("/told"), ("127.0.0.1".into(), Some(0)));
    let (_, code) = by_unix("/told");
    assert_eq!(code, Some(0));
}
