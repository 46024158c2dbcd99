//! The two haproxy.cfg files that most people begin with, as they stand in the guide but for addresses: HAProxy runs them,
//! then lb does, and answers, shares and log lines are the same. The one of mode tcp is served by the kernel program.
//!
//! Either runs in a mount namespace of its own, in which there are the user and the folders that the guide makes, and
//! nobody else's pins and sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lb_tests::client::{self, Load, Response, Tally};
use lb_tests::process::Process;
use lb_tests::scratch::Scratch;
use lb_tests::server::{Protocol, Server};
use lb_tests::{Lab, daemon, skip, wait};

use crate::setup::accepted_in_userspace;

const L7: &str = include_str!("tutorial/l7.cfg");
const L4: &str = include_str!("tutorial/l4.cfg");

/// What the guide has done before: a user, his folder. `/run` and bpffs are empty ones, but that the admin socket is to
/// be seen from outside.
const PREPARE: &str = "set -e
ulimit -n \"$(ulimit -Hn)\"
mount -t tmpfs tmpfs /run
mkdir /run/lb
mount --bind \"$1/run\" /run/lb
mount -t bpf bpf /sys/fs/bpf
mount --bind \"$1/passwd\" /etc/passwd
mount -t tmpfs tmpfs /home
mkdir -p /home/ha/haproxy/conf
shift
exec \"$@\"";

/// Connections that are compared.
const CONNECTIONS: usize = 200;

/// One of the two while it runs.
struct Running {
    process: Process,
    files: Scratch,
    /// What has come for syslog so far.
    log: Arc<Mutex<Vec<String>>>,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Haproxy,
    Lb,
}

impl Running {
    fn start(lab: &Lab, side: Side, text: &str) -> Running {
        let mut text = text.to_owned();
        for (i, address) in ["192.168.8.111", "192.168.8.112"].into_iter().enumerate() {
            text = text.replace(address, &lab.server_addr(i).to_string());
        }
        // What a machine may not grant; a test has no use for it.
        if most_files() < 65_536 {
            assert!(text.contains("maxconn 30000"));
            text = text.replace("maxconn 30000", "maxconn 1000");
        }
        let files =
            Scratch::files(lab.tag(), if side == Side::Lb { "ours" } else { "theirs" }).unwrap();
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let users = format!("{}\nha:x:65534:65534::/home/ha:/bin/sh\n", users.trim_end());
        files.write("passwd", &users).unwrap();
        fs::create_dir(files.path().join("run")).unwrap();
        let config = files.write("haproxy.cfg", &text).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        // The thread of the side before may still be about to end.
        let socket = wait::until("the log's port to be free", wait::PATIENCE, || {
            lab.balancer().run(|| UdpSocket::bind("127.0.0.1:514").ok())
        });
        let (socket, store) = (socket.unwrap(), Arc::downgrade(&log));
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Some(store) = store.upgrade() {
                if let Ok(length) = socket.recv(&mut buffer) {
                    let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    store.lock().unwrap().push(line);
                }
            }
        });
        let mut command = lab.balancer().command("unshare");
        command
            .args(["--mount", "sh", "-c", PREPARE, "sh"])
            .arg(files.path());
        match side {
            Side::Haproxy => command.args(["haproxy", "-db", "-f"]).arg(&config),
            Side::Lb => {
                // Where the project is checked out may be below what is hidden.
                let copy = files.path().join("lb");
                fs::copy(daemon::binary(), &copy).unwrap();
                command
                    .arg(copy)
                    .args(["run", "--fast-path", "auto", "--config"])
                    .arg(&config)
            }
        };
        Running {
            process: Process::start(command).unwrap(),
            files,
            log,
        }
    }

    /// What `lb status` says, once it answers.
    fn status(&self) -> Option<serde_json::Value> {
        let socket: PathBuf = self.files.path().join("run/admin.sock");
        let output = Command::new(daemon::binary())
            .args(["status", "--json", "--socket"])
            .arg(socket)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn said(&self) -> String {
        format!("{}{}", self.process.stdout(), self.process.stderr())
    }

    /// Waits until there are `count` lines of requests or connections of the frontend from these addresses.
    fn lines(&self, from: &BTreeSet<String>, count: usize) -> Vec<String> {
        let of_client = |line: &&String| {
            let client = line
                .split("]: ")
                .nth(1)
                .and_then(|line| line.split(':').next());
            client.is_some_and(|client| from.contains(client))
                && line.contains(" http-in ")
                && !line.contains("<BADREQ>")
        };
        let lines = || {
            self.log
                .lock()
                .unwrap()
                .iter()
                .filter(of_client)
                .cloned()
                .collect::<Vec<_>>()
        };
        wait::until_true(format!("{count} lines of the log"), || {
            lines().len() >= count
        })
        .unwrap_or_else(|error| {
            panic!(
                "{error}, but {}: {:#?}\n{}",
                lines().len(),
                self.log.lock().unwrap(),
                self.said()
            )
        });
        lines()
    }
}

/// How many descriptors a process may have here.
fn most_files() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4));
    hard.map_or(0, |hard| hard.parse().unwrap_or(u64::MAX))
}

/// A line without what is another each time: process, port, date, how long things took, how many connections there were.
fn alike(line: &str) -> String {
    let (_, line) = line.split_once("]: ").unwrap_or(("", line));
    let words = line
        .split_whitespace()
        .enumerate()
        .map(|(at, word)| match (at, word) {
            (0, word) => word.split(':').next().unwrap_or_default().to_owned(),
            (1, _) => "[DATE]".to_owned(),
            (4, times) => {
                let times = times
                    .split('/')
                    .map(|time| if time == "-1" { "-1" } else { "n" });
                times.collect::<Vec<_>>().join("/")
            }
            // Active connections, of which the retries are the request's own.
            (_, word) if word.split('/').count() == 5 => {
                format!("n/n/n/n/{}", word.rsplit('/').next().unwrap_or_default())
            }
            (_, word) => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

fn server(lab: &Lab, i: usize, name: &str, port: u16) -> Server {
    let address = SocketAddr::from((lab.server_addr(i), port));
    let server = Server::start(lab.server(i), name, Protocol::Http, address).unwrap();
    server.set_health_path("/healthCheck.html");
    server
}

/// What came of the file of mode tcp: who answered, an answer, and lines of the log with how many of each there were.
type Carried = (Tally, Response, BTreeMap<String, usize>);

fn carry(lab: &Lab, side: Side) -> Carried {
    let servers = [0, 1].map(|i| server(lab, i, &format!("def.srv{}", i + 1), 8082));
    let running = Running::start(lab, side, L4);
    let target = SocketAddr::from((lab.service_addr(), 9002));
    let connects =
        || client::connect(lab.client(), target, Some(lab.client_alias(1).into())).is_ok();
    wait::until_true(format!("{side:?} to accept and check"), || {
        connects() && servers.iter().all(|server| server.health_checks() > 0)
    })
    .unwrap_or_else(|error| panic!("{error}: {}", running.said()));
    if side == Side::Lb {
        wait::until_true("the kernel to take connections", || {
            let before = accepted_in_userspace(lab);
            let path = running
                .status()
                .map(|status| status["fast_path"]["frontends"][0]["path"].clone());
            path.is_some_and(|path| path == "kernel")
                && (0..8).all(|_| connects())
                && accepted_in_userspace(lab) == before
        })
        .unwrap_or_else(|error| panic!("{error}: {}", running.said()));
    }
    let accepted = accepted_in_userspace(lab);
    let sources: Vec<_> = (10..30).map(|i| lab.client_alias(i)).collect();
    let from: BTreeSet<String> = sources.iter().map(ToString::to_string).collect();
    let load = Load::to(target)
        .connections(CONNECTIONS)
        .parallel(4)
        .get("/x")
        .from(sources);
    let tally = load.run(lab.client());
    let mut stream =
        client::connect(lab.client(), target, Some(lab.client_alias(2).into())).unwrap();
    let answer = client::exchange(&mut stream, b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(stream);
    let accepted = accepted_in_userspace(lab) - accepted;
    match side {
        Side::Haproxy => assert_eq!(accepted, CONNECTIONS as u64 + 1, "all of them by a socket"),
        Side::Lb => {
            assert_eq!(accepted, 0, "all of them in the kernel");
            let status = running.status().unwrap();
            let flows = &status["fast_path"]["counters"];
            assert!(flows.to_string().contains("new_flow"), "{flows}");
        }
    }
    let mut lines = BTreeMap::new();
    for line in running.lines(&from, CONNECTIONS) {
        let mut line = alike(&line);
        for source in &from {
            line = line.replace(&format!("{source} "), "CLIENT ");
        }
        *lines.entry(line).or_insert(0) += 1;
    }
    (tally, answer, lines)
}

#[test]
fn the_file_of_mode_tcp_is_the_same_in_the_kernel() {
    if skip::without_lb() || skip::without_tool("haproxy") || skip::without_tool("unshare") {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let (theirs, their_answer, their_lines) = carry(&lab, Side::Haproxy);
    let (ours, our_answer, our_lines) = carry(&lab, Side::Lb);
    assert_eq!(
        (&ours.failures, &theirs.failures),
        (&Vec::new(), &Vec::new())
    );
    for name in ["def.srv1", "def.srv2"] {
        let (ours, theirs) = (ours.of(name), theirs.of(name));
        assert!(
            ours.abs_diff(theirs) <= 2,
            "{name}: {ours} and {theirs} of {CONNECTIONS}"
        );
    }
    // Which server it was is chance, and part of the body.
    let without_name = |answer: &Response| (answer.status, answer.head.clone(), answer.body.len());
    assert_eq!(without_name(&our_answer), without_name(&their_answer));
    let of = |lines: &BTreeMap<String, usize>| lines.keys().cloned().collect::<Vec<_>>();
    assert_eq!(of(&our_lines), of(&their_lines));
}

/// What is asked of the file of mode http: port, path and further header lines.
const ASKED: &[(u16, &str, &str)] = &[
    (9001, "/ms1/a", ""),
    (9001, "/MS1/a", "Cookie: HA_STICKY_ms1=ms1.srv2\r\n"),
    (
        9001,
        "/ms2/b?c=d",
        "Cookie: HA_STICKY_ms2=ms2.srv1; other=1\r\n",
    ),
    (9001, "/ms2/b", "Cookie: HA_STICKY_ms2=nobody\r\n"),
    (9001, "/ms1", ""),
    (
        9001,
        "/else",
        "Cookie: HA_STICKY_def=def.srv2\r\nX-Forwarded-For: 192.0.2.1\r\n",
    ),
    (1080, "/stats", ""),
    // admin:admin
    (1080, "/stats", "Authorization: Basic YWRtaW46YWRtaW4=\r\n"),
    // Elsewhere at that port HAProxy says that it has no server, lb asks for the password.
];

/// What came of a request: status, header lines in any order, and what the server saw.
type Outcome = (u16, BTreeSet<String>, Vec<Vec<String>>);

fn ask(lab: &Lab, side: Side) -> (Vec<Outcome>, Vec<String>) {
    let servers: Vec<Server> = [("ms1", 8080), ("ms2", 8081), ("def", 8082)]
        .into_iter()
        .flat_map(|(group, port)| {
            [0, 1].map(|i| server(lab, i, &format!("{group}.srv{}", i + 1), port))
        })
        .collect();
    let running = Running::start(lab, side, L7);
    let source = lab.client_alias(7);
    let connect = |port: u16| {
        let target = SocketAddr::from((lab.service_addr(), port));
        client::connect(lab.client(), target, Some(source.into()))
    };
    wait::until_true(format!("{side:?} to accept and check"), || {
        connect(9001).is_ok()
            && connect(1080).is_ok()
            && servers.iter().all(|server| server.health_checks() > 0)
    })
    .unwrap_or_else(|error| panic!("{error}: {}", running.said()));
    let outcomes = ASKED.iter().map(|(port, path, more)| {
        servers
            .iter()
            .for_each(|server| drop(server.take_requests()));
        let mut stream = connect(*port).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n");
        let answer = client::exchange(&mut stream, request.as_bytes()).unwrap();
        let seen = servers.iter().flat_map(Server::take_requests);
        let seen = seen.map(|request| {
            request
                .header("x-forwarded-for")
                .into_iter()
                .map(str::to_owned)
                .collect()
        });
        let lines = answer.head.iter().map(|line| line.to_ascii_lowercase());
        // The page is another one: who may see it, and how often browsers ask again, is the same.
        let common = ["http/1.1", "www-authenticate", "refresh", "cache-control"];
        let is_common = |line: &str| common.iter().any(|name| line.starts_with(name));
        let lines = lines.filter(|line| *port != 1080 || is_common(line));
        (answer.status, lines.collect(), seen.collect())
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    let from = BTreeSet::from([source.to_string()]);
    let asked = ASKED.iter().filter(|(port, ..)| *port == 9001).count();
    let lines = running.lines(&from, asked);
    // What the two count of a message's bytes differs.
    let lines = lines.iter().map(|line| {
        let line = alike(line);
        let words = line.split(' ').enumerate();
        let words: Vec<&str> = words
            .map(|(at, word)| if at == 6 { "BYTES" } else { word })
            .collect();
        words.join(" ")
    });
    // Each of their threads writes for itself: who is answered first may be told of second.
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    (outcomes, lines)
}

#[test]
fn the_file_of_mode_http_is_the_same() {
    if skip::without_lb() || skip::without_tool("haproxy") || skip::without_tool("unshare") {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let (theirs, their_lines) = ask(&lab, Side::Haproxy);
    let (ours, our_lines) = ask(&lab, Side::Lb);
    for (asked, (ours, theirs)) in ASKED.iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(ours, theirs, "{asked:?}");
    }
    assert_eq!(our_lines, their_lines);
}
