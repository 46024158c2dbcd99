//! Processes of an upgrade that are killed amid it, at each step: whoever is left serves, and if nobody is, a start does at once.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    daemon::free,
    upgrade::Upgraded,
    world::{Client, Server, ask, file, name, wait_until},
};

/// What stands between both processes.
const BETWEEN: &str = include_str!("between.py");

/// True, and says why, where it cannot.
pub(crate) fn without_python() -> bool {
    let missing = Command::new("python3").arg("--version").output().is_err();
    if missing {
        eprintln!("skipped: python3 is missing");
    }
    missing
}

/// A binary for an upgrade that goes as far as the message `when`, and then does what `what` says.
pub(crate) fn between(folder: &Path, when: &str, what: &str) -> String {
    let path = folder.join("between");
    let text = BETWEEN.replace("LB", env!("CARGO_BIN_EXE_lb"));
    fs::write(&path, text.replace("WHEN", when).replace("DO", what)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let _ = fs::remove_file(folder.join("there"));
    path.to_str().unwrap().to_owned()
}

/// All that the processes say, in the order in which they say it, from where the new one may go on alone.
const BEFORE: [&str; 3] = ["Hello", "Sockets", "Offered"];
const AFTER: [&str; 6] = ["Prepared", "Servers", "Told", "Ready", "Commit", "Serving"];

struct World {
    lb: Upgraded,
    at: std::net::SocketAddr,
    _server: Server,
}

impl World {
    fn new() -> Self {
        let server = Server::start("one");
        let at = free();
        let rest = file(at, "", "", &[&server]);
        let lb = Upgraded::start(at, "pidfile: FOLDER/pid\ngrace: 20s", &rest);
        Self {
            lb,
            at,
            _server: server,
        }
    }

    /// Has somebody killed as the processes come to `when`; what the command said.
    fn killed(&self, when: &str, what: &str) -> String {
        let binary = between(&self.lb.0.folder, when, what);
        let (said, good) = self.lb.run(&["upgrade", "--binary", &binary]);
        assert!(!good, "{when} {what}: {said}");
        assert!(self.lb.0.folder.join("there").exists(), "{when}: {said}");
        said
    }

    /// Processes of lb that have this configuration.
    fn processes(&self) -> Vec<u32> {
        let config = self.lb.0.folder.join("lb.yaml");
        let config = config.as_os_str().as_encoded_bytes();
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let of = |pid: &u32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = arguments.split(|byte| *byte == 0).collect();
            // What stands between them is none, and neither is one that has ended.
            let stands = words.iter().any(|word| word.ends_with(b"/between"));
            words.contains(&config) && !stands && lives(*pid)
        };
        pids.filter(of).collect()
    }

    /// One process serves, and all it is asked for.
    #[track_caller]
    fn one_serves(&self, what: &str) -> u32 {
        wait_until(what, || self.processes().len() == 1);
        let pid = self.processes()[0];
        wait_until(what, || {
            fs::read_to_string(self.lb.0.folder.join("pid"))
                .is_ok_and(|text| text == format!("{pid}\n"))
        });
        for _ in 0..8 {
            assert_eq!(name(&ask(self.at, "/")), "one", "{what}");
        }
        assert_eq!(self.lb.pid(), pid, "{what}");
        pid
    }

    /// A daemon is started anew, and serves.
    #[track_caller]
    fn starts(&self, what: &str) {
        // A process that ends has no arguments any more, and its sockets for a moment yet.
        let socket = self.lb.0.folder.join("admin.sock");
        wait_until(what, || UnixStream::connect(&socket).is_err());
        let started = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(["run", "--daemon", "--config"])
            .arg(self.lb.0.folder.join("lb.yaml"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(started.status.success(), "{what}: {started:?}");
        assert_eq!(name(&ask(self.at, "/")), "one", "{what}");
    }
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

fn kill(pid: u32) {
    // SAFETY: plain numbers; the process is one that the test has started.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
}

#[test]
fn the_old_process_goes_on_without_the_new_one() {
    if without_python() {
        return;
    }
    let world = World::new();
    let old = world.lb.pid();
    let mut client = Client::connect(world.at);
    assert_eq!(name(&client.get("/")), "one");
    for when in BEFORE.iter().chain(&AFTER) {
        let said = world.killed(when, "new");
        assert!(said.contains("SIGKILL"), "{when}: {said}");
        assert_eq!(world.one_serves(when), old, "{when}");
        assert_eq!(name(&client.get("/")), "one", "{when}");
    }
    // Another upgrade is as good as ever.
    let new = world.lb.upgrade();
    drop(client);
    assert_eq!(world.one_serves("the new one"), new);
}

#[test]
fn the_new_process_serves_without_the_old_one() {
    if without_python() {
        return;
    }
    let world = World::new();
    let old = world.lb.pid();
    assert!(!world.killed("Hello", "old").contains("process"), "{old}");
    wait_until("nobody is left", || world.processes().is_empty());
    world.starts("after the beginning");
    for when in AFTER {
        let old = world.one_serves(when);
        world.killed(when, "old");
        assert_ne!(world.one_serves(when), old, "{when}");
    }
}

#[test]
fn a_start_serves_at_once_without_either() {
    if without_python() {
        return;
    }
    let world = World::new();
    for when in BEFORE.iter().chain(&AFTER) {
        world.one_serves(when);
        world.killed(when, "both");
        wait_until("nobody is left", || world.processes().is_empty());
        world.starts(when);
    }
}

#[test]
fn whoever_is_killed_while_the_old_one_serves_its_last_takes_nothing_else_along() {
    let world = World::new();
    let old = world.lb.pid();
    let tunnel = || {
        let mut tunnel = Client::connect(world.at);
        tunnel.get_with("/", "connection: upgrade\r\nupgrade: echo\r\n");
        tunnel
    };
    let mut first = tunnel();
    let new = world.lb.upgrade();
    let mut second = tunnel();
    kill(old);
    assert_eq!(world.one_serves("the old one is killed"), new);
    assert!(first.byte_or_reset().is_none());
    second.echo(b"still here");

    // The one before serves its last, and another serves beside it.
    let last = world.lb.upgrade();
    kill(last);
    wait_until("it is gone", || world.processes() == [new]);
    world.starts("beside the one before");
    second.echo(b"and here");
    let pid = world.lb.pid();
    assert!(pid != new && pid != last);
    drop(second);
    assert_eq!(world.one_serves("the one before has ended"), pid);
}
