//! HTTP/2 as TLS agrees on it, on both sides.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    certificates::Authority,
    clients::{curl, installed, resolve, write},
    daemon::{Daemon, PATIENCE, free},
    server::server,
};

#[test]
fn http_2_is_what_both_sides_agree_on() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let ((app, seen), front, inner, old) = (server(), free(), free(), free());
    let server = |at, more: &str| {
        format!(
            "servers: [{{ name: s1, address: '{at}', tls: {{ ca: ca.pem, sni: site.example }}{more} }}]"
        )
    };
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  front:
    bind: {{ address: '{front}', tls: {{ certificates: site.pem }} }}
    rules:
      - {{ if: {{ path_prefix: /auto }}, use_backend: auto }}
      - {{ if: {{ path_prefix: /old }}, use_backend: old }}
      - {{ if: {{ path_prefix: /h2 }}, use_backend: h2 }}
    default_backend: h1
  inner: {{ bind: {{ address: '{inner}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
  older: {{ bind: {{ address: '{old}', tls: {{ certificates: site.pem, alpn: [http/1.1] }} }}, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  auto: {{ {} }}
  old: {{ {} }}
  h2: {{ {} }}
  h1: {{ {} }}
",
            server(inner, ", protocol: auto"),
            server(old, ", protocol: auto"),
            server(inner, ", protocol: h2"),
            server(inner, ""),
        ),
        front,
    );
    let resolve = resolve("site.example", front);
    for (path, inside) in [
        ("auto", "https://site.example:PORT/auto HTTP/2.0"),
        ("old", "/old HTTP/1.1"),
        ("h2", "https://site.example:PORT/h2 HTTP/2.0"),
        ("h1", "/h1 HTTP/1.1"),
    ] {
        let url = format!("https://site.example:{}/{path}", front.port());
        for version in ["--http2", "--http1.1"] {
            let arguments = [
                "--cacert",
                &ca_file,
                "--resolve",
                &resolve,
                "-w",
                " %{http_version}",
            ];
            let spoken = if version == "--http2" { "2" } else { "1.1" };
            assert_eq!(
                curl(&[&arguments[..], &[version, &url]].concat()),
                (format!("hello {spoken}"), Some(0)),
                "{path} {version}"
            );
        }
        let inside = inside.replace("PORT", &front.port().to_string());
        let frontend = if path == "old" { "older~" } else { "inner~" };
        // The outer frontend's line may be the same but for the names, and come first.
        daemon.logged_with(&[
            &format!("\"GET {inside}\""),
            &format!("] {frontend} app/s1 "),
        ]);
        let outer = format!("\"GET {url} HTTP/2.0\"");
        let line = daemon.logged(&outer);
        assert!(line.contains(" 200 "), "{line}");
    }
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|head| head.contains(&format!("host: site.example:{}\r\n", front.port())))
    );
    if installed("h2load") {
        let url = format!("https://{front}/auto");
        let out = Command::new("h2load")
            .args(["-n", "2000", "-c", "4", "-m", "20", &url])
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.contains("2000 succeeded, 0 failed"), "{out}");
    }
}

/// Stands before `to`: counts who comes, and lets nobody's bytes through before `open` says so.
fn gate(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, came) = (
        listener.local_addr().unwrap(),
        Arc::<AtomicUsize>::default(),
    );
    let (open, opened) = mpsc::channel();
    let count = Arc::clone(&came);
    thread::spawn(move || {
        let first = listener.accept();
        count.fetch_add(1, SeqCst);
        let _ = opened.recv();
        let others = listener.incoming().inspect(|_| {
            count.fetch_add(1, SeqCst);
        });
        for client in first
            .map(|(stream, _)| Ok(stream))
            .into_iter()
            .chain(others)
        {
            let (client, server) = (client.unwrap(), TcpStream::connect(to).unwrap());
            for (mut from, mut into) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, came, open)
}

/// The requests that a frontend has seen.
fn requests(daemon: &Daemon, frontend: &str) -> usize {
    let stat = daemon.ask("show stat\n");
    let column = |line: &str, name: &str| {
        let at = stat.lines().next()?.split(',').position(|n| n == name)?;
        line.split(',').nth(at)?.parse().ok()
    };
    let row = stat
        .lines()
        .find(|line| line.starts_with(&format!("{frontend},FRONTEND,")));
    row.and_then(|row| column(row, "req_tot")).unwrap_or(0)
}

#[test]
fn those_who_wait_for_a_server_that_may_choose_share_one_connection() {
    const CLIENTS: usize = 8;
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let ((app, _), inner, old) = (server(), free(), free());
    let (new_gate, new_came, new_open) = gate(inner);
    let (old_gate, old_came, old_open) = gate(old);
    let (new, older) = (free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  new: {{ bind: '{new}', default_backend: new }}
  old: {{ bind: '{older}', default_backend: old }}
  inner: {{ bind: {{ address: '{inner}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
  older: {{ bind: {{ address: '{old}', tls: {{ certificates: site.pem, alpn: [http/1.1] }} }}, default_backend: app }}
defaults: {{ timeouts: {{ connect: 20s }} }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  new:
    servers: [{{ name: s1, address: '{new_gate}', tls: {{ ca: ca.pem, sni: site.example }}, protocol: auto }}]
  old:
    servers: [{{ name: s1, address: '{old_gate}', tls: {{ ca: ca.pem, sni: site.example }}, protocol: auto }}]
"
        ),
        new,
    );
    // A worker has its own connections.
    for (name, at, open, came, most) in [
        ("new", new, new_open, new_came, 2),
        ("old", older, old_open, old_came, CLIENTS),
    ] {
        let mut clients: Vec<TcpStream> = (0..CLIENTS)
            .map(|_| TcpStream::connect(at).unwrap())
            .collect();
        for client in &mut clients {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n")
                .unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        while requests(&daemon, name) < CLIENTS {
            assert!(Instant::now() < deadline, "not all have asked");
            thread::sleep(Duration::from_millis(5));
        }
        open.send(()).unwrap();
        for client in &mut clients {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let came = came.load(SeqCst);
        assert!((1..=most).contains(&came), "{name}: {came} connections");
    }
}

#[test]
fn a_flood_of_streams_is_answered_by_every_combination() {
    if !installed("h2load") {
        return;
    }
    let ((app, _), front, inner) = (server(), free(), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  front: {{ bind: '{front}', default_backend: inner }}
  inner: {{ bind: '{inner}', default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}', maxconn: 50 }}], timeouts: {{ queue: 20s }} }}
  inner: {{ servers: [{{ name: s1, address: '{inner}', protocol: h2 }}] }}
"
        ),
        front,
    );
    // To a server of HTTP/1 that takes fewer than come, and to one of HTTP/2.
    for (at, more) in [(inner, &[][..]), (front, &[]), (front, &["--h1"])] {
        let streams = if more.is_empty() { "100" } else { "1" };
        let out = Command::new("h2load")
            .args(["-n", "3000", "-c", "20", "-m", streams])
            .args(more)
            .arg(format!("http://{at}/"))
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.contains("3000 succeeded, 0 failed"), "{out}");
        assert!(out.contains(" 3000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{out}");
    }
    assert!(daemon.pid() > 0);
}
