//! Agents beside servers, whatever they say, beside HAProxy: what becomes of the server, and what is told of it.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    beside::{haproxy, until},
    clients::{installed, write},
    daemon::{Daemon, free},
    operators::{ask, server},
};

/// What an agent each says.
const SAID: &[&str] = &[
    "up\n",
    "UP\r",
    "ready,up 50%\t# fine\n",
    "75\n",
    "75%\r\n",
    "300%\n",
    "99999999999999999999%\n",
    "up 50% 25%\n",
    "foo 50%\n",
    "what up\n",
    "down # reason text\n",
    "down some words\n",
    "stopped\tx\n",
    "failed\n",
    "up down\n",
    "down up\n",
    "maxconn:30\n",
    "MaxConn:0 up\n",
    "maint\n",
    "drain\n",
    "# only a comment\n",
    "\n",
    "\nup\n",
    "0%\n",
];
/// Lines that are none: HAProxy has other words for that, but does as little.
const BROKEN: &[&str] = &["", "down", "50", "up\0\n"];
/// What of a server's line is compared.
const COLUMNS: &[&str] = &[
    "status",
    "uweight",
    "slim",
    "agent_status",
    "agent_code",
    "agent_desc",
    "agent_health",
    "last_agt",
];

/// An agent that says `line` to each who connects.
fn agent(line: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(line.as_bytes());
        }
    });
    at
}

/// The columns of each backend's server.
fn columns(socket: &Path) -> Vec<Vec<String>> {
    let csv = ask(socket, "show stat\n");
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap()[2..].split(',').collect();
    let at: Vec<usize> = COLUMNS
        .iter()
        .map(|name| head.iter().position(|column| column == name).unwrap())
        .collect();
    let rows = lines.filter(|line| line.split(',').nth(1) == Some("s"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(',').collect();
        at.iter()
            .map(|&at| cells[at].trim_matches('"').to_owned())
            .collect()
    })
    .collect()
}

#[test]
fn agents_are_understood_as_haproxy_understands_them() {
    if !installed("haproxy") {
        return;
    }
    let (app, folder) = (server("one"), Daemon::folder());
    let mut backends = String::new();
    for (number, line) in SAID.iter().chain(BROKEN).enumerate() {
        let port = agent(line).port();
        writeln!(
            backends,
            "backend b{number}\n server s {app} weight 100 maxconn 77 agent-check agent-port {port} agent-inter 50ms"
        )
        .unwrap();
    }
    let file = |socket: &str, at: SocketAddr| {
        format!(
            "# lb: fast_path attach off\nglobal\n stats socket {}/{socket} level admin\ndefaults\n mode tcp\n \
             timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend f\n bind {at}\n default_backend b0\n{backends}",
            folder.display()
        )
    };
    let (theirs, ours) = (free(), free());
    let path = write(&folder, "haproxy.cfg", &file("haproxy.sock", theirs));
    let _haproxy = haproxy(&path, &[], &[theirs]);
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let config = file("admin.sock", ours);
    let _daemon = Daemon::start_file(binary, folder.clone(), ("lb.cfg", &config), ours);
    let sockets = [folder.join("haproxy.sock"), folder.join("admin.sock")];
    until("sockets", || sockets.iter().all(|s| s.exists()));
    let status = COLUMNS
        .iter()
        .position(|name| *name == "agent_status")
        .unwrap();
    for socket in &sockets {
        until("an answer of each agent", || {
            let rows = columns(socket);
            rows.iter().all(|row| !row[status].contains("INI"))
        });
    }
    // While it asks once more, HAProxy tells less of an agent.
    let both = || sockets.each_ref().map(|socket| columns(socket));
    let alike = |[theirs, ours]: &[Vec<Vec<String>>; 2]| ours[..SAID.len()] == theirs[..SAID.len()];
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = both();
    while !alike(&seen) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(7));
        seen = both();
    }
    let [theirs, ours] = seen;
    assert_eq!(ours.len(), SAID.len() + BROKEN.len());
    for (number, line) in SAID.iter().enumerate() {
        assert_eq!(ours[number], theirs[number], "{line:?}");
    }
    for (at, line) in BROKEN.iter().enumerate() {
        let number = SAID.len() + at;
        assert_eq!(ours[number][..3], theirs[number][..3], "{line:?}");
        assert_eq!(ours[number][..3], ["no check", "100", "77"], "{line:?}");
    }
}
