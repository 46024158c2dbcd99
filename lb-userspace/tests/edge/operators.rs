//! The runtime commands about servers, frontends and sessions: answered byte for byte as HAProxy's, done for real, and kept
//! through a reload.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
};

use crate::{
    beside::{connect, haproxy, until},
    clients::{installed, write},
    daemon::{Daemon, free},
};

const HAPROXY: &str = "
global
  stats socket FOLDER/haproxy.sock level admin
  maxconn 100
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  mode http
frontend f
  bind ADDRESS
  maxconn 50
  default_backend b
backend b
  server s1 SERVER1 weight 10 check inter 1h
  server s2 SERVER2 maxconn 5
backend t
  mode tcp
  server t1 SERVER1 disabled
backend k
  server k1 SERVER1 check inter 1h
  server k4 SERVER1 backup
  server k5 SERVER1 backup
  server k2 SERVER1 track k1
  server k3 SERVER1 agent-check agent-port 1 agent-inter 1h
";

const OURS: &str = "
frontends:
  f: { bind: 'ADDRESS', mode: http, maxconn: 50, default_backend: b }
backends:
  b:
    mode: http
    health_check: { type: tcp, interval: 1h }
    servers:
      - { name: s1, address: 'SERVER1', weight: 10 }
      - { name: s2, address: 'SERVER2', maxconn: 5, check: false }
  t: { mode: tcp, servers: [{ name: t1, address: 'SERVER1', disabled: true }] }
  k:
    mode: http
    health_check: { type: tcp, interval: 1h }
    servers:
      - { name: k1, address: 'SERVER1' }
      - { name: k4, address: 'SERVER1', check: false, backup: true }
      - { name: k5, address: 'SERVER1', check: false, backup: true }
      - { name: k2, address: 'SERVER1', track: k1 }
      - { name: k3, address: 'SERVER1', check: false, agent_check: { port: 1, interval: 1h } }
";

/// Asked of both one after the other; the answers are the same.
const COMMANDS: &str = "set server
set server b/s1
set server x/y state ready
set server b/zz state ready
set server b/s1 foo
set server b/s1 state
set server b/s1 weight
set server b/s1 weight -1
set server b/s1 weight 300
set server b/s1 weight abc
set server b/s1 weight 5x
set server b/s1 health
set server b/s1 health up
set server b/s1 agent up
set server b/s1 agent-port 78
set server b/s1 agent-addr 1.2.3.4
set server b/s1 check-port x
set server b/s1 check-port
set server b/s2 check-port 81
set server b/s1 addr
set server b/s1 addr 127.0.0.9
set server b/s1 addr 127.0.0.9
set server b/s1 addr 127.0.0.9 port 77
set server b/s1 addr 127.0.0.9 port x
set server b/s1 addr 127.0.0.9 port
set server b/s1 addr foo.example
set server b/s1 addr ::1 port 80
get weight b/s1
get weight
set weight b/s1
set weight b/s1 50%
get weight b/s1
set weight b/s1 100%
set maxconn server b/s1
set maxconn server b/s1 x
set maxconn server b/s1 7
set maxconn server b/q 7
set maxconn frontend
set maxconn frontend f
set maxconn frontend f -4
set maxconn frontend f 50
set maxconn frontend zz 50
set maxconn global
set maxconn global 50000
set maxconn global 50
disable server
disable server b/s1
enable server b/s1
disable health b/s1
enable health b/s1
disable health t/t1
disable agent b/s1
enable agent b/s1
disable frontend
disable frontend zz
disable frontend f
disable frontend f
enable frontend f
enable frontend f
set timeout
set timeout cli
set timeout cli x
set timeout cli 10
set timeout foo 10
shutdown session
shutdown session 0x1
shutdown sessions server
shutdown sessions server b/s1
shutdown sessions server b/x
shutdown frontend zz
clear counters
clear counters all
clear counters foo
show stat zz 1 -1
show env NOPE
show env LB_TEST
show servers state zz
show servers conn zz
show sess 0x12
show backend
show cli level
show startup-logs
show errors zz
add server
add server b
add server b/
add server x/y 1.1.1.1:1
add server b/s1 1.1.1.1:1
add server b/n1
add server b/n1 1.1.1.1:1
add server b/n1 1.1.1.1:1
add server b/n2 1.1.1.2:2 weight 7 maxconn 9
show servers state b
get weight b/n2
del server
del server b/s1
del server b/n1
del server b/n1
show servers state b
show servers state
set server b/s1 state drain
show servers state b
set server b/s1 state maint
show servers state b
set server b/s1 state ready
enable server b/n2
show servers state b
disable server b/n2
del server b/n2
show servers state k
set server k/k1 health stopping
set server k/k3 health stopping
show servers state k
show stat k 6 -1
set server k/k1 state drain
show servers state k
show stat k 6 -1
set server k/k1 health up
set server k/k3 health up
show servers state k
show stat k 6 -1
set server k/k1 state maint
set server k/k3 state maint
show servers state k
show stat k 6 -1
set server k/k1 state ready
set server k/k3 state ready
show servers state k
show stat k 6 -1
set server k/k1 health down
show servers state k
show stat k 6 -1
set server k/k1 health up
show servers state k
show stat k 6 -1
operator
user
user; disable server b/s1
user; add server b/n8 1.1.1.1:1; set server b/s1 weight 1; show sess; show env HOME
operator; set maxconn global 5; set weight b/s1 5; show cli level
operator; clear counters all; show env NOPE
expert-mode
expert-mode on
experimental-mode on; experimental-mode
prompt
show backend;show cli level
";

pub(crate) fn ask(socket: &Path, command: &str) -> String {
    let mut stream = connect(socket);
    stream.write_all(command.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Without what differs by nature: how long ago something changed.
fn alike(command: &str, answer: &str) -> String {
    if command.starts_with("show stat") {
        let cells = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            // Its names, status, weight, servers, and how often it was down.
            [0, 1, 17, 18, 19, 20, 22]
                .map(|at| cells.get(at).copied().unwrap_or(""))
                .join(",")
                + "\n"
        };
        return answer.lines().map(cells).collect();
    }
    if !command.starts_with("show servers state") {
        return answer.to_owned();
    }
    let row = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        if words.len() == 25 && !line.starts_with('#') {
            // srv_time_since_last_change
            words[9] = "_";
            // srv_check_health of who is not checked, which HAProxy makes something of.
            if words[13] == "0" {
                words[12] = "_";
            }
        }
        words.join(" ") + "\n"
    };
    answer.lines().map(row).collect()
}

pub(crate) fn fill(text: &str, folder: &Path, at: SocketAddr, servers: [SocketAddr; 2]) -> String {
    text.replace("ADDRESS", &at.to_string())
        .replace("FOLDER", &folder.display().to_string())
        .replace("SERVER1", &servers[0].to_string())
        .replace("SERVER2", &servers[1].to_string())
}

/// A server whose answers bear its name; it lives as long as the test.
pub(crate) fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                    let length = name.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// Who answers; nothing if nobody does.
pub(crate) fn who(at: SocketAddr) -> String {
    let Ok(mut stream) = TcpStream::connect(at) else {
        return String::new();
    };
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    // A connection that is reset answers nothing.
    let _ = stream
        .write_all(request)
        .and_then(|()| stream.read_to_string(&mut answer).map(drop));
    match answer.starts_with("HTTP/1.1 200") {
        true => answer
            .rsplit_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
            .to_owned(),
        false => answer.split(' ').nth(1).unwrap_or_default().to_owned(),
    }
}

#[test]
fn they_answer_as_haproxys() {
    if !installed("haproxy") {
        return;
    }
    let folder = Daemon::folder();
    let (theirs, ours) = (free(), free());
    let servers = [server("one"), server("two")];
    let path = write(
        &folder,
        "haproxy.cfg",
        &fill(HAPROXY, &folder, theirs, servers),
    );
    let _haproxy = haproxy(&path, &[("LB_TEST", "a b=c")], &[theirs]);
    let config = format!(
        "global: {{ threads: 2, maxconn: 100, admin_socket: FOLDER/admin.sock, fast_path: {{ attach: off }} }}\n{}",
        fill(OURS, &folder, ours, servers)
    );
    let _daemon = Daemon::start_with(folder.clone(), &config, ours, &[("LB_TEST", "a b=c")]);
    let sockets = [folder.join("haproxy.sock"), folder.join("admin.sock")];
    until("checks", || {
        sockets
            .iter()
            .all(|socket| ask(socket, "show stat b 4 -1\n").contains("L4OK"))
    });
    let mut differ = Vec::new();
    for line in COMMANDS.lines() {
        let command = format!("{line}\n");
        let [theirs, ours] = [0, 1].map(|at| alike(line, &ask(&sockets[at], &command)));
        if theirs != ours {
            differ.push(format!("{command}haproxy: {theirs:?}\nours:    {ours:?}\n"));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
    // Prompted, both stay.
    let talk = "prompt\nshow backend;get weight b/zz\nget weight b/s1\nprompt\n";
    assert_eq!(ask(&sockets[0], talk), ask(&sockets[1], talk));
}

#[test]
fn typed_tables_are_haproxys() {
    if !installed("haproxy") {
        return;
    }
    let folder = Daemon::folder();
    let (theirs, ours) = (free(), free());
    let servers = [server("one"), server("two")];
    let path = write(
        &folder,
        "haproxy.cfg",
        &fill(HAPROXY, &folder, theirs, servers),
    );
    let _haproxy = haproxy(&path, &[], &[theirs]);
    let _daemon = Daemon::start(folder.clone(), &fill(OURS, &folder, ours, servers), ours);
    let sockets = [folder.join("haproxy.sock"), folder.join("admin.sock")];
    for command in ["show stat typed", "show info typed"] {
        let [theirs, ours] = [0, 1].map(|at| ask(&sockets[at], &format!("{command}\n")));
        // What each line is, but for its value.
        let kinds = |table: &str| -> Vec<String> {
            let rows = table.lines().filter(|line| !line.is_empty());
            let kind = |row: &str| {
                let parts: Vec<&str> = row.splitn(4, ':').collect();
                parts.get(..3).map(|parts| parts.join(":"))
            };
            rows.filter_map(kind).collect()
        };
        let (theirs, ours) = (kinds(&theirs), kinds(&ours));
        let strange: Vec<_> = ours
            .iter()
            .filter(|line| !theirs.contains(line))
            // HAProxy has it where somebody has described the host.
            .filter(|line| !line.contains(".description."))
            .filter(|line| !line.contains(".check_") && !line.contains(".last_chk."))
            .collect();
        assert!(strange.is_empty(), "{command}: {strange:?}");
    }
}

pub(crate) const MOVED: &str = "
frontends:
  f: { bind: 'ADDRESS', mode: http, default_backend: b }
backends:
  b:
    mode: http
    servers: [{ name: s1, address: 'SERVER1' }]
";

#[test]
fn what_was_set_holds_and_a_reload_keeps_it() {
    let (folder, at) = (Daemon::folder(), free());
    let servers = [server("one"), server("two")];
    let config = fill(MOVED, &folder, at, servers);
    let daemon = Daemon::start(folder.clone(), &config, at);
    assert_eq!(who(at), "one");
    let second = servers[1];
    // Another server, which gets traffic once it is enabled.
    let added = daemon.ask(&format!("add server b/s2 {second} weight 30\n"));
    assert_eq!(added, "New server registered.\n\n");
    assert!(daemon.ask("show stat b 4 2\n").contains(",MAINT,"));
    assert_eq!(
        daemon.ask("enable server b/s2;set server b/s1 state maint\n"),
        "\n\n"
    );
    assert_eq!([who(at), who(at)], ["two", "two"]);
    let set = "set maxconn server b/s2 7;set weight b/s2 50%;set maxconn frontend f 77;set maxconn global 88";
    assert_eq!(daemon.ask(&format!("{set}\n")), "\n\n\n\n");
    let told = |daemon: &Daemon| {
        let state = daemon.ask("show servers state\n");
        let row = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            words
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != 9)
                .map(|(_, word)| *word)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let rows: Vec<String> = state.lines().map(row).collect();
        let info = daemon.ask("show info\n");
        let maxconn = info
            .lines()
            .find(|line| line.starts_with("Maxconn:"))
            .map(str::to_owned);
        let limits: Vec<String> = daemon
            .ask("show stat\n")
            .lines()
            .filter_map(|line| line.split(',').nth(6).map(str::to_owned))
            .collect();
        (rows, maxconn, limits)
    };
    let before = told(&daemon);
    assert_eq!(before.1.as_deref(), Some("Maxconn: 88"));
    assert!(
        before.2.contains(&"77".to_owned()) && before.2.contains(&"7".to_owned()),
        "{before:?}"
    );
    let reload = |daemon: &Daemon| {
        let said = daemon.ask("reload\n");
        assert!(said.starts_with("Success=1\n"), "{said}");
    };
    reload(&daemon);
    assert_eq!(told(&daemon), before);
    assert_eq!(who(at), "two");
    // A server of the file's that was deleted stays away; one whose address was changed stays where it is.
    let (ip, port) = (servers[0].ip(), servers[0].port());
    daemon.ask("del server b/s1\n");
    daemon.ask(&format!("set server b/s2 addr {ip} port {port}\n"));
    until("the other server", || who(at) == "one");
    reload(&daemon);
    assert_eq!(who(at), "one");
    let state = daemon.ask("show servers state b\n");
    assert!(!state.contains(" s1 ") && state.contains(" s2 "), "{state}");
    // An added one can be deleted again, once it has nothing to do.
    assert_eq!(
        daemon.ask("del server b/s2\n"),
        "Only servers in maintenance mode can be deleted.\n"
    );
    daemon.ask("disable server b/s2\n");
    until("an idle server", || {
        daemon.ask("del server b/s2\n") == "Server deleted.\n"
    });
    assert_eq!(who(at), "503");
    reload(&daemon);
    assert_eq!(who(at), "503");
    // What the file says anew of one that was deleted holds.
    write(
        &folder,
        "lb.yaml",
        &std::fs::read_to_string(folder.join("lb.yaml"))
            .unwrap()
            .replace("{ name: s1,", "{ name: s1, weight: 3,"),
    );
    reload(&daemon);
    assert_eq!(who(at), "one");
}

#[test]
fn a_frontend_pauses_and_goes_on() {
    let (folder, at) = (Daemon::folder(), free());
    let servers = [server("one"), server("two")];
    let daemon = Daemon::start(folder.clone(), &fill(MOVED, &folder, at, servers), at);
    let status = || {
        let row = daemon.ask("show stat f 1 -1\n");
        row.lines()
            .nth(1)
            .and_then(|row| row.split(',').nth(17).map(str::to_owned))
    };
    for _ in 0..3 {
        assert_eq!(daemon.ask("disable frontend f\n"), "\n");
        assert_eq!(status().as_deref(), Some("PAUSED"));
        until("a refusal", || TcpStream::connect(at).is_err());
        assert!(daemon.ask("reload\n").starts_with("Success=1\n"));
        assert!(TcpStream::connect(at).is_err());
        assert_eq!(daemon.ask("enable frontend f\n"), "\n");
        until("an answer", || who(at) == "one");
        assert_eq!(status().as_deref(), Some("OPEN"));
    }
    assert_eq!(daemon.ask("shutdown frontend f\n"), "\n");
    until("a refusal", || TcpStream::connect(at).is_err());
    assert_eq!(status().as_deref(), Some("STOP"));
}

#[test]
fn sessions_are_shown_and_killed() {
    let (folder, at) = (Daemon::folder(), free());
    let servers = [server("one"), server("two")];
    let config = fill(
        "
frontends:
  f: { bind: 'ADDRESS', mode: tcp, default_backend: b }
backends:
  b: { mode: tcp, servers: [{ name: s1, address: 'SERVER1' }] }
",
        &folder,
        at,
        servers,
    );
    let daemon = Daemon::start(folder, &config, at);
    let open = || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).unwrap() > 0);
        stream
    };
    let line = |client: &TcpStream| {
        let (sess, own) = (daemon.ask("show sess\n"), client.local_addr().unwrap());
        assert!(
            sess.contains(" src=unix:1 fe=GLOBAL be=<NONE> srv=<none> "),
            "{sess}"
        );
        let line = sess
            .lines()
            .find(|line| line.contains(&format!(" src={own} ")));
        line.map(str::to_owned)
    };
    let gone = |mut client: TcpStream| {
        let mut rest = Vec::new();
        // It may be reset.
        let _ = client.read_to_end(&mut rest);
        assert!(rest.is_empty());
    };
    let [mut stays, killed, first, second] = [(); 4].map(|()| open());
    let seen = line(&killed).expect("it is shown");
    assert!(
        seen.contains(": proto=tcpv4 ") && seen.contains(" fe=f be=b srv=s1 "),
        "{seen}"
    );
    let id = seen.split(':').next().unwrap();
    assert!(
        daemon
            .ask(&format!("show sess {id}\n"))
            .contains("\n  server=s1\n")
    );
    assert_eq!(daemon.ask(&format!("shutdown session {id}\n")), "\n");
    gone(killed);
    stays
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    assert!(stays.read(&mut [0; 4096]).unwrap() > 0);
    assert_eq!(daemon.ask("shutdown sessions server b/s1\n"), "\n");
    for client in [stays, first, second] {
        gone(client);
    }
    until("nobody", || !daemon.ask("show sess\n").contains(" fe=f "));
    let log = daemon.logged(" K");
    assert!(log.contains("b/s1"), "{log}");
}
