//! gRPC and WebSocket by the libraries that most Python programs use, through the daemon, with the same at the other end.
//!
//! The libraries live in the user's cache folder, where the first of these tests to run puts them.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    clients::installed,
    daemon::{Daemon, PATIENCE, free},
};

/// What is installed, so that everybody tests the same.
const LIBRARIES: [&str; 5] = [
    "grpcio==1.85.3",
    "websockets==17.4",
    "haproxyadmin==0.2.4",
    "haproxyctl==0.3.1",
    "six==1.17.0",
];

/// A Python with the libraries; `None`, said why, where there is none to be had.
pub(crate) fn python() -> Option<PathBuf> {
    if !installed("python3") {
        return None;
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let home = cache.join("lb");
    let folder = home.join(format!("python-{}", LIBRARIES.join("-").replace("==", "-")));
    let python = folder.join("bin/python3");
    fs::create_dir_all(&home).unwrap();
    // One makes it, the others wait for that.
    let lock = fs::File::create(home.join("python.lock")).unwrap();
    lock.lock().unwrap();
    let complete = folder.join("complete");
    if complete.exists() {
        return Some(python);
    }
    let ran = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && ran(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--retries", "0"])
            .args(LIBRARIES));
    if !made {
        eprintln!("skipped: no {} to be had", LIBRARIES.join(" and "));
        return None;
    }
    fs::write(complete, "").unwrap();
    Some(python)
}

/// The server side of a script; ends with the test.
struct Server(Child);

impl Server {
    fn start(python: &Path, script: &str, at: SocketAddr) -> Self {
        let child = run(python, script, "server", &at.port().to_string())
            .stdin(Stdio::piped())
            .spawn();
        let server = Self(child.unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < deadline, "{script} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(python: &Path, script: &str, side: &str, what: &str) -> Command {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/edge/python");
    let mut command = Command::new(python);
    command.arg(format!("{scripts}/{script}"));
    command.args([side, what]);
    command
}

/// Runs the client side of a script to its end.
fn client(python: &Path, script: &str, to: &str, daemon: &Daemon) {
    let mut child = run(python, script, "client", to)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut said, mut complained) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let mut errors = child.stderr.take().unwrap();
    errors.read_to_string(&mut complained).unwrap();
    let status = child.wait().unwrap();
    let log = fs::read_to_string(daemon.folder.join("log")).unwrap_or_default();
    let log: Vec<&str> = log.lines().rev().take(20).collect();
    assert!(
        status.success() && said.trim() == "done",
        "{script} to {to}: {said}{complained}\n{}",
        log.join("\n")
    );
}

#[test]
fn grpc_of_every_kind_passes() {
    let Some(python) = python() else { return };
    let (app, front) = (free(), free());
    let _server = Server::start(&python, "rpc.py", app);
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  front: {{ bind: '{front}', default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}', protocol: h2 }}] }}
"
        ),
        front,
    );
    client(&python, "rpc.py", &front.to_string(), &daemon);
    let line = daemon.logged("/lb.Test/Forever HTTP/2.0");
    assert!(line.contains(" CD-- ") || line.contains(" ---- "), "{line}");
}

#[test]
fn websockets_pass_whatever_is_spoken_to_the_server() {
    let Some(python) = python() else { return };
    let (app, front, twice) = (free(), free(), free());
    let _server = Server::start(&python, "websocket.py", app);
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  front: {{ bind: '{front}', default_backend: app }}
  twice: {{ bind: '{twice}', default_backend: front }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  front: {{ servers: [{{ name: s1, address: '{front}', protocol: h2 }}] }}
"
        ),
        front,
    );
    // HTTP/1 to HTTP/1; then HTTP/1 to HTTP/2, and that to HTTP/1.
    for at in [front, twice] {
        client(&python, "websocket.py", &format!("ws://{at}/chat"), &daemon);
    }
    let line = daemon.logged("] twice front/s1 ");
    assert!(line.contains(" 101 ") && line.contains(" ---- "), "{line}");
    let line = daemon.logged("/chat HTTP/2.0");
    assert!(line.contains(" 200 ") && line.contains(" ---- "), "{line}");
}
