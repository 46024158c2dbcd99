//! The daemon as its operator meets it: the binary, signals, exit codes. In userspace and on loopback, so that it needs
//! no privileges.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn lb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("lb-daemon-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running daemon, killed with the test.
struct Daemon {
    directory: Directory,
    address: SocketAddr,
    child: Child,
}

impl Daemon {
    /// One frontend before a server at `server`.
    fn start(server: SocketAddr, grace: &str) -> Self {
        Self::start_with(server, grace, "", "")
    }

    /// The same beside other frontends and backends, each a line of YAML.
    fn start_with(server: SocketAddr, grace: &str, frontends: &str, backends: &str) -> Self {
        let directory = Directory::new();
        // Free a moment ago, and nobody else here asks for a port by number.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let path = directory.0.display();
        let config = directory.write(
            "lb.yaml",
            &format!(
                "global:
  threads: 2
  grace: {grace}
  admin_socket: {path}/admin.sock
  pidfile: {path}/lb.pid
  fast_path: {{ attach: off }}
frontends:
  in: {{ mode: tcp, bind: \"{address}\", default_backend: b }}
{frontends}
backends:
{backends}
  b:
    mode: tcp
    health_check: {{ type: tcp, interval: 10s }}
    servers: [{{ name: s, address: \"{server}\" }}]
"
            ),
        );
        let child = lb().arg("run").arg("--config").arg(config).spawn().unwrap();
        let mut daemon = Self {
            directory,
            address,
            child,
        };
        daemon.wait_until("it accepts", |daemon| {
            TcpStream::connect(daemon.address).is_ok()
        });
        daemon
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "{what}; it said:\n{}",
                self.kill()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: plain numbers; the process is a child of ours that has not been waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Waits for its end; its exit code, and what it wrote to standard error.
    fn ended(&mut self) -> (Option<i32>, String) {
        self.wait_until("it ends", |daemon| {
            daemon.child.try_wait().unwrap().is_some()
        });
        let code = self.child.wait().unwrap().code();
        (code, self.said())
    }

    /// Waits until it has written `text` to standard error; what follows on that line and later is left to
    /// [`Daemon::said`].
    fn says(&mut self, text: &str) {
        let mut said = Vec::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        while !said.ends_with(text.as_bytes()) {
            let mut byte = [0];
            let end = stderr.read(&mut byte).unwrap() == 0;
            assert!(!end, "it said:\n{}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }

    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.said()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends back what it gets.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn round_trip(stream: &mut TcpStream) {
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

#[test]
fn it_serves_stops_when_told_and_leaves_nothing() {
    let mut daemon = Daemon::start(echo_server(), "30s");
    round_trip(&mut daemon.connect());
    let pid = fs::read_to_string(daemon.directory.0.join("lb.pid")).unwrap();
    assert_eq!(pid.trim(), daemon.child.id().to_string());
    let status = lb()
        .args(["status", "--json", "--socket"])
        .arg(daemon.directory.0.join("admin.sock"))
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("fast_path.attach is off"),
        "{status:?}"
    );
    daemon.signal(libc::SIGTERM);
    let (pidfile, socket) = (
        daemon.directory.0.join("lb.pid"),
        daemon.directory.0.join("admin.sock"),
    );
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!pidfile.exists() && !socket.exists(), "its files are gone");
}

#[test]
fn it_relays_udp_and_says_how() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = server.local_addr().unwrap();
    // Free a moment ago, as above.
    let service = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut daemon = Daemon::start_with(
        echo_server(),
        "30s",
        &format!("  dns: {{ mode: tcp, bind: \"udp:{service}\", default_backend: resolvers }}"),
        &format!(
            "  resolvers: {{ balance: maglev, forward: nat, servers: [{{ name: r, address: \"{to}\" }}] }}"
        ),
    );
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(service).unwrap();
    let mut buffer = [0; 100];
    for question in [b"who", b"why"] {
        client.send(question).unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], question);
        server.send_to(b"lb", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"lb");
    }
    let status = lb()
        .args(["status", "--json", "--socket"])
        .arg(daemon.directory.0.join("admin.sock"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(
        text.contains("from this host's address instead of the client's"),
        "{text}"
    );
    let config = daemon.directory.0.join("lb.yaml");
    let checked = lb()
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(
        text.contains(
            "frontend dns: userspace (fast_path.attach is off), from this host's address"
        ),
        "{text}"
    );
    // The flow is given up once it has been silent for a moment: nobody waits for the whole of its idle time.
    daemon.signal(libc::SIGTERM);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(" left after "), "{said}");
}

#[test]
fn a_graceful_stop_waits_for_connections_and_a_second_signal_does_not() {
    let mut daemon = Daemon::start(echo_server(), "1h");
    let mut client = daemon.connect();
    round_trip(&mut client);
    daemon.signal(libc::SIGUSR1);
    daemon.wait_until("its listeners are closed", |daemon| {
        TcpStream::connect(daemon.address).is_err()
    });
    round_trip(&mut client);
    daemon.signal(libc::SIGTERM);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)),
        "the connection has ended"
    );
}

#[test]
fn a_stop_does_not_wait_for_a_reload_that_reads() {
    let mut daemon = Daemon::start(echo_server(), "1h");
    let mut client = daemon.connect();
    round_trip(&mut client);
    // A file that takes as long as its writer, as one does whose names nobody answers for.
    let path = daemon.directory.0.join("lb.yaml");
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    daemon.signal(libc::SIGHUP);
    let mut writer = None;
    daemon.wait_until("it reads", |_| {
        // Without a reader it cannot be opened.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        writer = open(&path, flags, Mode::empty()).ok();
        writer.is_some()
    });
    daemon.signal(libc::SIGTERM);
    daemon.wait_until("its listeners are closed", |daemon| {
        TcpStream::connect(daemon.address).is_err()
    });
    round_trip(&mut client);
    drop(client);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the running configuration stays"), "{said}");
    drop(writer);
}

#[test]
fn grace_is_not_endless() {
    let mut daemon = Daemon::start(echo_server(), "100ms");
    let mut client = daemon.connect();
    round_trip(&mut client);
    daemon.signal(libc::SIGINT);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 1 connection is left after 100ms"), "{said}");
}

#[test]
fn hangup_reads_the_file_again_and_stops_nothing() {
    let mut daemon = Daemon::start(echo_server(), "100ms");
    daemon.signal(libc::SIGHUP);
    // A stop would end a reload that still reads.
    daemon.says("nothing has changed");
    round_trip(&mut daemon.connect());
    daemon.signal(libc::SIGTERM);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_second_daemon_on_the_same_port_is_refused() {
    let daemon = Daemon::start(echo_server(), "100ms");
    let config = fs::read_to_string(daemon.directory.0.join("lb.yaml")).unwrap();
    let other = Directory::new();
    let config = other.write(
        "lb.yaml",
        &config
            .replace("admin.sock", "other.sock")
            .replace("lb.pid", "other.pid"),
    );
    let output = lb()
        .arg("run")
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("frontend in: {} is in use", daemon.address)),
        "{said}"
    );
    round_trip(&mut daemon.connect());
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    let code = |output: Output| output.status.code();
    assert_eq!(code(lb().arg("fly").output().unwrap()), Some(2));
    assert_eq!(
        code(
            lb().args(["run", "--config", "/nonexistent.yaml"])
                .output()
                .unwrap()
        ),
        Some(1)
    );
    let directory = Directory::new();
    let wrong = directory.write("wrong.yaml", "frontends: 7\n");
    assert_eq!(
        code(
            lb().args(["check", "--config"])
                .arg(&wrong)
                .output()
                .unwrap()
        ),
        Some(1)
    );
    assert_eq!(
        code(lb().args(["run", "--config"]).arg(&wrong).output().unwrap()),
        Some(1)
    );
    let version = lb().arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&version.stdout);
    assert!(
        version.status.success() && text.contains("commit ") && text.contains("eBPF "),
        "{text}"
    );
}

#[test]
fn the_configuration_is_named_by_itself_or_after_its_option() {
    let directory = Directory::new();
    let wrong = directory.write("wrong.yaml", "frontends: 7\n");
    let wrong = wrong.to_str().unwrap();
    for verb in ["check", "run"] {
        for arguments in [vec![wrong], vec!["--config", wrong], vec!["-f", wrong]] {
            let out = lb().arg(verb).args(&arguments).output().unwrap();
            let said = [&out.stdout[..], &out.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains("wrong.yaml:1:12: error"), "{said}");
            assert_eq!(out.status.code(), Some(1), "{verb} {arguments:?}");
        }
        let both = lb()
            .args([verb, wrong, "--config", wrong])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&both.stderr).into_owned();
        assert!(said.contains("cannot be used with '--config"), "{said}");
        assert_eq!(both.status.code(), Some(2));
    }
}
