//! Names of servers that lead elsewhere while the daemon runs.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    daemon::{Daemon, PATIENCE, free},
    dns::{Dns, Does, Says, at},
};

/// A server at `ip` that says its name to everybody, and keeps connections.
fn server(ip: &str, port: u16, name: &'static str) -> SocketAddr {
    let ip: IpAddr = ip.parse().unwrap();
    let listener = TcpListener::bind((ip, port)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
                        name.len()
                    );
                    let _ = stream.write_all(answer.as_bytes());
                    // Of who comes by mode tcp.
                    if bytes[..length].windows(5).any(|part| part == b"close") {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Asks over a connection of its own; all of the answer.
fn ask(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks until the answer ends in `text`.
fn until(at: SocketAddr, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(at);
        if answer.ends_with(text) {
            return;
        }
        assert!(Instant::now() < deadline, "no {text}, but {answer}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The column of `server` in the statistics.
fn column(daemon: &Daemon, server: &str, column: &str) -> String {
    let table = daemon.ask("show stat\n");
    let mut lines = table.lines();
    let header = lines.next().unwrap().trim_start_matches("# ");
    let at = header.split(',').position(|name| name == column).unwrap();
    let line = lines
        .find(|line| line.starts_with(&format!("{server},")))
        .unwrap();
    line.split(',').nth(at).unwrap().to_owned()
}

fn resolvers(dns: &Dns) -> String {
    format!(
        "resolvers: {{ inside: {{ nameservers: ['{}'], timeouts: {{ resolve: 20ms, retry: 1s }}, hold: {{ valid: 20ms, nx: 0s }} }} }}\n",
        dns.address
    )
}

#[test]
fn requests_and_checks_follow_a_name() {
    let dns = Dns::start();
    let one = server("127.0.0.2", 0, "one");
    server("127.0.0.3", one.port(), "two");
    let (web, tcp, port) = (free(), free(), one.port());
    dns.set("app.example", at(&["127.0.0.2"]));
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "{}defaults: {{ timeouts: {{ queue: 100ms }} }}
frontends:
  web: {{ bind: '{web}', default_backend: app }}
  tcp: {{ mode: tcp, bind: '{tcp}', default_backend: raw }}
backends:
  app:
    health_check: {{ type: tcp, interval: 50ms, rise: 1, fall: 1 }}
    servers: [{{ name: s1, address: 'app.example:{port}', init_addr: none, resolve: {{ resolvers: inside, prefer: ipv4 }} }}]
  raw:
    servers: [{{ name: s1, address: 'app.example:{port}', init_addr: [127.0.0.3], resolve: inside }}]
",
            resolvers(&dns)
        ),
        web,
    );
    until(web, "one");
    until(tcp, "one");
    assert_eq!(
        column(&daemon, "app,s1", "addr"),
        format!("127.0.0.2:{port}")
    );
    dns.set("app.example", at(&["127.0.0.3"]));
    // Also those that have kept a connection to where it was.
    until(web, "two");
    until(tcp, "two");
    daemon.logged("app/s1 changed its IP from 127.0.0.2 to 127.0.0.3 by inside.");
    // Where nobody listens, the check finds out.
    dns.set("app.example", at(&["127.0.0.4"]));
    until(web, "</html>\n");
    daemon.logged("Server app/s1 is DOWN, reason: Layer4 connection problem");
    dns.set("app.example", Does::Fail(3));
    daemon.logged("Server app/s1 was DOWN and now enters maintenance (DNS NX status).");
    assert_eq!(column(&daemon, "app,s1", "status"), "MAINT (resolution)");
    assert_eq!(column(&daemon, "app,s1", "addr"), "");
    dns.set("app.example", at(&["127.0.0.2"]));
    until(web, "one");
    daemon.logged("Server app/s1 administratively READY thanks to valid DNS answer.");
}

#[test]
fn srv_records_fill_the_places_of_a_template() {
    let dns = Dns::start();
    let (one, two) = (server("127.0.0.2", 0, "one"), server("127.0.0.3", 0, "two"));
    let service = |address: SocketAddr, target| {
        Says::Service(256, address.port(), target, Some(address.ip()))
    };
    dns.set(
        "_web._tcp.example",
        Does::Say(vec![service(one, "one.example")]),
    );
    let web = free();
    let folder = Daemon::folder();
    let daemon = Daemon::start(
        folder,
        &format!(
            "{}frontends: {{ web: {{ bind: '{web}', default_backend: app }} }}
backends:
  app:
    default_server: {{ resolve: inside }}
    servers: [{{ name: s1, address: _web._tcp.example }}, {{ name: s2, address: _web._tcp.example }}]
",
            resolvers(&dns)
        ),
        web,
    );
    until(web, "one");
    assert_eq!(column(&daemon, "app,s2", "status"), "MAINT (resolution)");
    dns.set(
        "_web._tcp.example",
        Does::Say(vec![
            service(two, "two.example"),
            service(one, "one.example"),
        ]),
    );
    until(web, "two");
    until(web, "one");
    dns.set(
        "_web._tcp.example",
        Does::Say(vec![service(two, "two.example")]),
    );
    daemon.logged("Server app/s1 is going DOWN for maintenance (No IP for server ).");
    assert!(ask(web).ends_with("two"));
}
