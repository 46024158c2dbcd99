//! What has the same name goes on.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::{
    daemon::{Daemon, PATIENCE, free},
    world::{Client, Server, ask, file, file_of, name, stat, take, wait_until, web},
};

#[test]
fn what_an_operator_has_set_stays_unless_the_file_speaks_of_it() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one, &two]);
    daemon.ask("set server app/one state drain\n");
    daemon.ask("set weight app/two 9\n");
    take(&daemon, &file(at, "", "balance: leastconn", &[&two, &one]));
    assert_eq!(stat(&daemon, "app", "one", "status"), "DRAIN");
    assert_eq!(stat(&daemon, "app", "two", "weight"), "9");
    for _ in 0..4 {
        assert_eq!(name(&ask(at, "/")), "two");
    }
    daemon.ask("set server app/two state maint\n");
    let servers = [one.entry(", weight: 3"), two.entry(", disabled: true")];
    take(&daemon, &file_of(at, "", "", &servers));
    assert_eq!(stat(&daemon, "app", "one", "status"), "DRAIN");
    assert_eq!(stat(&daemon, "app", "two", "status"), "MAINT");
    let servers = [one.entry(", weight: 3"), two.entry(", weight: 4")];
    take(&daemon, &file_of(at, "", "", &servers));
    assert_eq!(stat(&daemon, "app", "two", "status"), "no check");
    assert_eq!(stat(&daemon, "app", "two", "weight"), "4");
}

#[test]
fn counters_go_on() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    for _ in 0..3 {
        ask(at, "/");
    }
    let counted = |stot: &str| {
        let of = |server| stat(&daemon, "app", server, "stot");
        [of("BACKEND"), of("one")] == [stot; 2]
    };
    wait_until("three are counted", || counted("3"));
    // Whoever looked whether it listens is among these.
    let of_frontend = || {
        stat(&daemon, "web", "FRONTEND", "stot")
            .parse::<u32>()
            .unwrap()
    };
    let before = of_frontend();
    assert!(before >= 3);
    take(
        &daemon,
        &file(at, "maxconn: 100", "balance: leastconn", &[&one]),
    );
    assert!(counted("3"));
    assert_eq!(of_frontend(), before);
    ask(at, "/");
    wait_until("the fourth is counted", || counted("4"));
    assert_eq!(of_frontend(), before + 1);
}

#[test]
fn a_server_stays_up_or_down_by_as_much_as_before() {
    let one = Server::start("one");
    let at = free();
    let check = "health_check: { type: http, path: /health, interval: 300ms, rise: 100, fall: 3 }";
    one.set_broken(true);
    let daemon = Daemon::start(Daemon::folder(), &file(at, "", check, &[&one]), at);
    let status = || stat(&daemon, "app", "one", "status");
    wait_until("it is down", || status() == "DOWN");
    one.set_broken(false);
    let level = || -> u32 {
        let status = status();
        let level = status
            .strip_prefix("DOWN ")
            .and_then(|s| s.split('/').next());
        level.and_then(|level| level.parse().ok()).unwrap_or(0)
    };
    wait_until("it climbs", || level() >= 2);
    let before = level();
    take(&daemon, &file(at, "maxconn: 9", check, &[&one]));
    assert!(level() >= before, "{} after {before}", status());
    wait_until("it climbs on", || level() > before + 1);
}

#[test]
fn idle_connections_to_servers_are_used_on() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    client.get("/");
    for round in 0..5 {
        take(
            &daemon,
            &file(at, &format!("maxconn: {}", 100 + round), "", &[&one]),
        );
        client.get("/");
    }
    assert_eq!(one.connections(), 1);
    // Another protocol wants another connection.
    take(
        &daemon,
        &file_of(at, "", "", &[one.entry(", send_proxy: v1")]),
    );
    client.send("/", "");
    wait_until("it is made anew", || one.connections() == 2);
}

/// A rule that looks at the socket of the client's connection.
const ASKS_FOR_SOCKET: &str = "rules: [{ set_header: { x-end: '%[fc_src]' } }]";

#[test]
fn rules_that_come_later_see_the_socket_as_well() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    client.get("/");
    take(&daemon, &file(at, ASKS_FOR_SOCKET, "", &[&one]));
    client.get("/asked");
    let head = one.head_of("/asked").to_lowercase();
    assert!(head.contains("x-end: 127.0.0.1\r\n"), "{head}");
}

#[test]
fn requests_under_way_end_as_they_began() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    client.send("/wait", "");
    wait_until("the server has it", || one.waiting() == 1);
    take(&daemon, &file(at, "", "", &[&two]));
    assert_eq!(name(&ask(at, "/")), "two");
    one.release();
    let answer = client.answer().unwrap();
    assert_eq!(name(&answer), "one");
    assert!(!answer.to_ascii_lowercase().contains("connection: close"));
    assert_eq!(name(&client.get("/")), "two");
}

#[test]
fn requests_that_were_sent_ahead_are_all_answered_in_order() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    for path in ["/wait", "/a", "/b", "/c"] {
        client.send(path, "");
    }
    wait_until("the server has the first", || one.waiting() == 1);
    take(&daemon, &file(at, "", "", &[&two]));
    one.release();
    assert_eq!(name(&client.answer().unwrap()), "one");
    for path in ["/a", "/b", "/c"] {
        let answer = client.answer().unwrap();
        let by = if name(&answer) == "one" { &one } else { &two };
        assert!(by.head_of(path).starts_with(&format!("GET {path} ")));
    }
    assert_eq!(name(&client.get("/d")), "two");
}

#[test]
fn who_waits_for_a_slot_is_served_in_turn() {
    let one = Server::start("one");
    let at = free();
    let limited = |max: u32| file_of(at, "", "", &[one.entry(&format!(", maxconn: {max}"))]);
    let daemon = Daemon::start(Daemon::folder(), &limited(1), at);
    let mut holder = Client::connect(at);
    holder.send("/wait", "");
    wait_until("the server has it", || one.waiting() == 1);
    let mut waiters = [Client::connect(at), Client::connect(at)];
    for waiter in &mut waiters {
        waiter.send("/", "");
    }
    let queued = |n: &str| stat(&daemon, "app", "BACKEND", "qcur") == n;
    wait_until("two wait", || queued("2"));
    take(
        &daemon,
        &file_of(at, "maxconn: 99", "", &[one.entry(", maxconn: 1")]),
    );
    assert!(queued("2"), "they still wait");
    take(&daemon, &limited(2));
    for waiter in &mut waiters {
        assert_eq!(name(&waiter.answer().unwrap()), "one");
    }
    one.release();
    assert_eq!(name(&holder.answer().unwrap()), "one");
    wait_until("nobody is counted any more", || {
        stat(&daemon, "app", "one", "scur") == "0"
    });
}

#[test]
fn clients_stay_with_their_servers_by_cookie_and_by_table() {
    let [one, two, three] = ["one", "two", "three"].map(Server::start);
    let at = free();
    let cookie = "cookie: { name: SRV, mode: insert, indirect: true }";
    let entry = |server: &Server, n: &str| server.entry(&format!(", cookie: {n}"));
    let daemon = Daemon::start(
        Daemon::folder(),
        &file_of(at, "", cookie, &[entry(&one, "a"), entry(&two, "b")]),
        at,
    );
    take(
        &daemon,
        &file_of(
            at,
            "",
            cookie,
            &[entry(&three, "c"), entry(&two, "b"), entry(&one, "a")],
        ),
    );
    for _ in 0..4 {
        let answer = Client::connect(at).get_with("/", "Cookie: SRV=b\r\n");
        assert_eq!(name(&answer), "two");
    }
    let mut first = Client::connect(at).get("/");
    first.make_ascii_lowercase();
    let value = match name(&first) {
        "one" => "srv=a;",
        "two" => "srv=b;",
        _ => "srv=c;",
    };
    assert!(first.contains(value), "{first}");
}

#[test]
fn a_table_remembers_the_server_and_not_its_place() {
    let [one, two, three] = ["one", "two", "three"].map(Server::start);
    let at = free();
    let stick = "stick_table: { key: ip, size: 100, store: [server_id] }\nstick: [{ on: src }]\nbalance: roundrobin";
    let daemon = Daemon::start(Daemon::folder(), &file(at, "", stick, &[&one, &two]), at);
    let first = ask(at, "/");
    let mine = name(&first).to_owned();
    // Others come before it, and it changes its place.
    take(&daemon, &file(at, "", stick, &[&three, &two, &one]));
    for _ in 0..4 {
        assert_eq!(name(&ask(at, "/")), mine);
    }
    // It goes: another is remembered, also when a new one takes its place.
    let left: Vec<&Server> = [&one, &two]
        .into_iter()
        .filter(|server| !server.entry("").contains(&format!("name: {mine},")))
        .collect();
    let four = Server::start("four");
    take(&daemon, &file(at, "", stick, &[&four, left[0]]));
    let other = ask(at, "/");
    assert_ne!(name(&other), mine);
    for _ in 0..4 {
        assert_eq!(name(&ask(at, "/")), name(&other));
    }
}

#[test]
fn limits_go_on_counting() {
    let one = Server::start("one");
    let at = free();
    let limit = "rules: [{ rate_limit: { key: source, rate: \"2/1h\", burst: 2, status: 429 } }]";
    let daemon = Daemon::start(Daemon::folder(), &file(at, limit, "", &[&one]), at);
    assert!(ask(at, "/").starts_with("HTTP/1.1 200 "));
    take(&daemon, &file(at, limit, "balance: leastconn", &[&one]));
    assert!(ask(at, "/").starts_with("HTTP/1.1 200 "));
    take(&daemon, &file(at, limit, "", &[&one]));
    assert!(ask(at, "/").starts_with("HTTP/1.1 429 "));
}

#[test]
fn a_switched_connection_and_one_of_mode_tcp_go_on() {
    let one = Server::start("one");
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = echo.local_addr().unwrap();
    thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = stream;
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
    let (at, raw) = (free(), free());
    let with = |more: &str| {
        format!(
            "frontends:
  web: {{ bind: '{at}', default_backend: app }}
  raw: {{ mode: tcp, bind: '{raw}', default_backend: raw }}
backends:
  app: {{ servers: [{}] }}
  raw: {{ mode: tcp{more}, servers: [{{ name: s1, address: '{to}' }}] }}
",
            one.entry("")
        )
    };
    let daemon = Daemon::start(Daemon::folder(), &with(""), at);
    let mut switched = Client::connect(at);
    let answer = switched.get_with("/", "Connection: upgrade\r\nUpgrade: echo\r\n");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let mut tcp = Client::connect(raw);
    for round in 0..5 {
        switched.echo(b"still there?");
        tcp.echo(b"and you?");
        take(&daemon, &with(&format!(", retries: {round}")));
    }
    // Also when they are there no longer.
    take(&daemon, &file(at, "", "", &[&one]));
    switched.echo(b"still there?");
    tcp.echo(b"and you?");
    wait_until("nobody new is taken", || TcpStream::connect(raw).is_err());
    tcp.echo(b"and now?");
}

#[test]
fn connections_that_wait_to_be_accepted_are_accepted() {
    let one = Server::start("one");
    let at = free();
    let daemon = Daemon::start(Daemon::folder(), &file(at, "maxconn: 1", "", &[&one]), at);
    let mut holder = Client::connect(at);
    holder.get("/");
    // The kernel has them; nobody accepts them.
    let mut waiting: Vec<Client> = (0..5).map(|_| Client::connect(at)).collect();
    for client in &mut waiting {
        client.send("/", "");
    }
    for round in 0..3 {
        take(
            &daemon,
            &file(at, "maxconn: 1", &format!("retries: {round}"), &[&one]),
        );
    }
    assert_eq!(name(&holder.get("/")), "one");
    take(&daemon, &file(at, "maxconn: 10", "", &[&one]));
    for client in &mut waiting {
        assert_eq!(name(&client.answer().unwrap()), "one");
    }
    assert_eq!(name(&holder.get("/")), "one");
}

#[test]
fn a_flow_of_datagrams_stays_with_its_server_and_its_socket() {
    let server = |name: &'static str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(name.as_bytes(), from);
            }
        });
        at
    };
    let (one, two) = (server("one"), server("two"));
    let (at, ready) = (free(), free());
    let with = |to, more: &str| {
        format!(
            "frontends:
  ready: {{ mode: tcp, bind: '{ready}', default_backend: tcp }}
{more}backends:
  tcp: {{ mode: tcp, servers: [{{ name: s, address: '{to}' }}] }}
  udp: {{ mode: tcp, servers: [{{ name: s, address: '{to}' }}] }}
"
        )
    };
    let udp = format!("  udp: {{ mode: tcp, bind: 'udp:{at}', default_backend: udp }}\n");
    let daemon = Daemon::start(Daemon::folder(), &with(one, &udp), ready);
    let client = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let ask = |socket: &UdpSocket| {
        let mut buffer = [0; 64];
        for _ in 0..1000 {
            // As long as nobody listens yet, each is told so of the one before.
            let length = socket.send(b"?").and_then(|_| socket.recv(&mut buffer));
            match length {
                Ok(length) => return String::from_utf8_lossy(&buffer[..length]).into_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("nobody listens")
    };
    let old = client();
    assert_eq!(ask(&old), "one");
    take(&daemon, &with(two, &udp));
    assert_eq!(ask(&old), "one");
    assert_eq!(ask(&client()), "two");
    take(&daemon, &with(two, ""));
    assert_eq!(ask(&old), "one", "it lasts until it idles");
}

#[test]
fn a_connection_over_http_2_is_served_by_the_new_file_from_its_next_stream_on() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut ask = async |path: &str| {
            let request = http::Request::get(format!("http://x{path}"))
                .body(())
                .unwrap();
            sender = sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            let mut text = Vec::new();
            while let Some(part) = body.data().await {
                text.extend_from_slice(&part.unwrap());
            }
            String::from_utf8(text).unwrap()
        };
        assert_eq!(ask("/").await, "one");
        for round in 0..6 {
            let (server, expected) = [(&two, "two"), (&one, "one")][round % 2];
            take(&daemon, &file(at, "", "", &[server]));
            assert_eq!(ask("/").await, expected);
        }
        // Nothing has asked for its socket so far.
        take(&daemon, &file(at, ASKS_FOR_SOCKET, "", &[&one]));
        ask("/asked").await;
        let head = one.head_of("/asked");
        assert!(head.contains("x-end: 127.0.0.1\r\n"), "{head}");
        assert!(!driving.is_finished());
    });
}

#[test]
fn the_same_file_a_hundred_times_changes_nothing() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    client.get("/");
    for _ in 0..100 {
        let answer = daemon.ask("reload\n");
        assert!(
            answer.starts_with("Success=1\n--\nnothing has changed"),
            "{answer}"
        );
    }
    assert_eq!(name(&client.get("/")), "one");
    let mut raw = TcpStream::connect(at).unwrap();
    raw.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).unwrap();
    assert_eq!(name(&answer), "one");
}
