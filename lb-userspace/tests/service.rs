//! The daemon under a service manager, and without one: readiness, watchdog, sockets that are passed on, the background, and
//! a second start by mistake.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{
            net::{UnixDatagram, UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a configuration, an address to serve and a server behind it; gone with the test.
struct Place {
    path: PathBuf,
    address: SocketAddr,
}

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("lb-service-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        // Free a moment ago, and nobody else here asks for a port by number.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let place = Self { path, address };
        place.configure("lb.yaml", "", &address.to_string());
        place
    }

    /// Writes a configuration with an echo server behind `bind`.
    fn configure(&self, name: &str, global: &str, bind: &str) -> PathBuf {
        let (at, server) = (self.path.display(), echo_server());
        let text = format!(
            "global:
  threads: 2
  grace: 1s
  admin_socket: {at}/admin.sock
  pidfile: {at}/lb.pid
  log: [{{ target: \"{at}/lb.log\" }}]
  fast_path: {{ attach: off }}
{global}
frontends:
  in: {{ mode: tcp, bind: \"{bind}\", default_backend: b }}
backends:
  b: {{ mode: tcp, servers: [{{ name: s, address: \"{server}\" }}] }}
"
        );
        let path = self.path.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn lb(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("run").arg("--config");
        command.arg(self.path.join("lb.yaml"));
        command.stdin(Stdio::null());
        command
    }

    /// What the pidfile says.
    fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.path.join("lb.pid")).ok()?;
        text.trim().parse().ok()
    }

    fn serves(&self) -> bool {
        TcpStream::connect(self.address).is_ok_and(round_trip)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            signal(pid, libc::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Killed with the test.
struct Running(Child);

impl Running {
    fn terminate(mut self) -> Option<i32> {
        signal(i32::try_from(self.0.id()).unwrap(), libc::SIGTERM);
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: plain numbers; the process is one that the test has started.
    unsafe { libc::kill(pid, signal) };
}

fn lives(pid: i32) -> bool {
    // A process that nobody has waited for is there still, but not alive.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends back what it gets.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut copy = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut copy);
            });
        }
    });
    address
}

fn round_trip(mut stream: impl Read + Write) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"ping"
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Has `descriptors` passed on from 3, as a service manager does.
fn pass_on(command: &mut Command, descriptors: Vec<RawFd>) {
    // SAFETY: dup2 alone is called between fork and exec, on descriptors that the caller holds open until then.
    unsafe {
        command.pre_exec(move || {
            // First out of the way of one another.
            let high: Vec<RawFd> = descriptors
                .iter()
                .map(|&fd| libc::fcntl(fd, libc::F_DUPFD, 100))
                .collect();
            for (at, fd) in (3..).zip(high) {
                libc::dup2(fd, at);
            }
            Ok(())
        });
    }
}

/// The daemon with sockets passed on, whose number and its own id are in its environment.
fn activated(place: &Place, descriptors: Vec<RawFd>) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" run --config \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_lb"));
    command.arg(place.path.join("lb.yaml"));
    command.env("LISTEN_FDS", descriptors.len().to_string());
    pass_on(&mut command, descriptors);
    Running(command.stdin(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_service_manager_is_told_of_start_health_and_stop() {
    let place = Place::new();
    let path = place.path.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 1024];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let daemon = place
        .lb()
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .spawn();
    let daemon = Running(daemon.unwrap());
    let mut all = Vec::new();
    let mut hear = |line: &str| loop {
        let told = heard();
        let found = told.lines().any(|told| told == line);
        all.push(told);
        if found {
            return;
        }
    };
    hear("READY=1");
    assert!(place.serves(), "it is ready when it says so");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    // Another process takes its place: the one that the service manager listens to tells it so.
    let upgrade = Command::new(env!("CARGO_BIN_EXE_lb"))
        .args(["upgrade", "--socket"])
        .arg(place.path.join("admin.sock"))
        .output()
        .unwrap();
    assert!(upgrade.status.success(), "{upgrade:?}");
    let new = place.pid().unwrap();
    assert_ne!(new, i32::try_from(daemon.0.id()).unwrap());
    hear(&format!("MAINPID={new}"));
    hear("WATCHDOG=1");
    assert!(place.serves());
    let mut daemon = daemon;
    assert!(daemon.0.wait().unwrap().success());
    signal(new, libc::SIGTERM);
    hear("STOPPING=1");
    assert!(all.iter().any(|told| told.contains("\nSTATUS=")), "{all:?}");
    let stops = all.iter().filter(|told| told.contains("STOPPING=1"));
    assert_eq!(
        stops.count(),
        1,
        "the first process does not stop the service"
    );
}

#[test]
fn sockets_that_are_passed_on_are_matched_by_their_address() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = place.path.join("in.sock");
    let unix = UnixListener::bind(&path).unwrap();
    // A stop that ignores newcomers for a while does so no longer than it lasts.
    let drain = format!(
        "  health_file: {{ path: {}/health, drain: 50ms, linger: 50ms }}",
        place.path.display()
    );
    let config = place.configure("lb.yaml", &drain, &address.to_string());
    let text = fs::read_to_string(&config).unwrap().replace(
        "frontends:\n",
        &format!(
            "frontends:\n  files: {{ mode: tcp, bind: \"unix:{}\", default_backend: b }}\n",
            path.display()
        ),
    );
    fs::write(&config, text).unwrap();
    let descriptors = [other.as_raw_fd(), unix.as_raw_fd(), listener.as_raw_fd()];
    let daemon = activated(&place, descriptors.to_vec());
    // Whoever came before the daemon waits in the socket's queue.
    for _ in 0..8 {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(round_trip(stream));
        assert!(round_trip(UnixStream::connect(&path).unwrap()));
    }
    assert_eq!(daemon.terminate(), Some(0));
    assert!(path.exists(), "the name is the service manager's");
    // Its sockets are open still, and the next daemon goes on with them.
    let waiting = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    let daemon = activated(&place, descriptors.to_vec());
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(round_trip(waiting));
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn the_background_is_entered_once_it_serves() {
    let place = Place::new();
    let output = place.lb().arg("--daemon").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let pid = place.pid().unwrap();
    assert!(lives(pid) && place.serves());

    // The same once more is refused, and the first goes on.
    let second = place.lb().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = said(&second);
    assert!(
        words.contains(&format!("another lb (pid {pid})")),
        "{words}"
    );
    assert!(
        words.contains("lb stop") && words.contains("admin.sock"),
        "{words}"
    );
    let second = place.lb().arg("--daemon").output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", said(&second));
    assert!(said(&second).contains("another lb"), "{}", said(&second));
    assert_eq!(place.pid(), Some(pid));
    assert!(place.serves());

    // What a killed one leaves is replaced.
    signal(pid, libc::SIGKILL);
    until("it is killed", || !lives(pid));
    assert!(place.path.join("admin.sock").exists());
    let again = place.lb().arg("--daemon").output().unwrap();
    assert!(again.status.success(), "{}", said(&again));
    let pid = place.pid().unwrap();
    assert!(lives(pid) && place.serves());
    signal(pid, libc::SIGTERM);
    until("it ends", || !lives(pid));
    assert!(!place.path.join("lb.pid").exists());
    assert!(!place.path.join("admin.sock").exists());
}

#[test]
fn the_pidfile_names_whoever_serves() {
    let place = Place::new();
    let output = place.lb().arg("--daemon").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let lb = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args([command, "--socket"])
            .arg(place.path.join("admin.sock"))
            .output();
        output.unwrap()
    };
    let mut before = place.pid().unwrap();
    for _ in 0..2 {
        let mut stays = TcpStream::connect(place.address).unwrap();
        assert!(round_trip(&stays));
        let upgrade = lb("upgrade");
        assert!(upgrade.status.success(), "{}", said(&upgrade));
        let pid = place.pid().unwrap();
        assert_ne!(pid, before);
        assert!(lives(pid) && lives(before) && round_trip(&mut stays));
        let second = place.lb().arg("--daemon").output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        let words = said(&second);
        assert!(
            words.contains(&format!("another lb (pid {pid})")),
            "{words}"
        );
        assert_eq!(place.pid(), Some(pid));
        drop(stays);
        until("the one before ends", || !lives(before));
        assert_eq!(place.pid(), Some(pid), "it leaves the other's file alone");
        assert!(place.serves());
        // No terminal's, and nobody's child but the first process's.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        assert_eq!(fields.split(' ').nth(4), Some("0"), "{stat}");
        before = pid;
    }
    // One that comes to nothing writes nothing.
    let config = place.path.join("lb.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}nonsense\n")).unwrap();
    let upgrade = lb("upgrade");
    assert!(!upgrade.status.success(), "{}", said(&upgrade));
    assert_eq!(place.pid(), Some(before));
    fs::write(&config, text).unwrap();

    signal(before, libc::SIGTERM);
    until("it ends", || !lives(before));
    assert!(!place.path.join("lb.pid").exists());
    assert!(!place.path.join("admin.sock").exists());
    let again = place.lb().arg("--daemon").output().unwrap();
    assert!(again.status.success(), "{}", said(&again));
    let upgrade = lb("upgrade");
    assert!(upgrade.status.success(), "{}", said(&upgrade));
    let pid = place.pid().unwrap();
    let stop = lb("stop");
    assert!(stop.status.success(), "{}", said(&stop));
    until("it ends", || !lives(pid));
    assert!(!place.path.join("lb.pid").exists());
}

#[test]
fn what_does_not_come_to_serving_is_told_before_the_terminal_is_left() {
    let place = Place::new();
    let holder = TcpListener::bind(place.address).unwrap();
    let output = place.lb().arg("--daemon").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    assert!(
        words.contains(&format!("{} is in use", place.address)),
        "{words}"
    );
    assert!(!Path::new(&place.path.join("lb.pid")).exists());
    drop(holder);
}

#[test]
fn two_instances_live_side_by_side() {
    let (one, other) = (Place::new(), Place::new());
    let daemons = [&one, &other].map(|place| Running(place.lb().spawn().unwrap()));
    until("both serve", || one.serves() && other.serves());
    for daemon in daemons {
        assert_eq!(daemon.terminate(), Some(0));
    }
}
