//! The binary, with a folder of its own.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon with a folder of its own; both go with the test.
pub(crate) struct Daemon {
    pub(crate) folder: PathBuf,
    child: Child,
}

impl Daemon {
    /// A folder for files that the configuration names.
    pub(crate) fn folder() -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path =
            std::env::temp_dir().join(format!("lb-edge-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Starts it; `rest` is all of the configuration but `global`. It accepts once `ready` does.
    pub(crate) fn start(folder: PathBuf, rest: &str, ready: SocketAddr) -> Self {
        Self::start_binary(env!("CARGO_BIN_EXE_lb").as_ref(), folder, rest, ready)
    }

    /// The same with another build of it.
    pub(crate) fn start_binary(
        binary: &Path,
        folder: PathBuf,
        rest: &str,
        ready: SocketAddr,
    ) -> Self {
        let text = whole(&folder, rest);
        Self::start_file(binary, folder, ("lb.yaml", &text), ready)
    }

    /// The same with these variables in its environment.
    #[allow(dead_code, reason = "shared with other tests")]
    pub(crate) fn start_with(
        folder: PathBuf,
        rest: &str,
        ready: SocketAddr,
        environment: &[(&str, &str)],
    ) -> Self {
        let text = whole(&folder, rest);
        let binary = env!("CARGO_BIN_EXE_lb").as_ref();
        Self::start_in(binary, folder, ("lb.yaml", &text), ready, environment)
    }

    /// The same with a file of this name and text.
    pub(crate) fn start_file(
        binary: &Path,
        folder: PathBuf,
        file: (&str, &str),
        ready: SocketAddr,
    ) -> Self {
        Self::start_in(binary, folder, file, ready, &[])
    }

    fn start_in(
        binary: &Path,
        folder: PathBuf,
        (name, text): (&str, &str),
        ready: SocketAddr,
        environment: &[(&str, &str)],
    ) -> Self {
        let config = folder.join(name);
        fs::write(&config, text).unwrap();
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&config)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self { folder, child };
        daemon.accepts(ready);
        daemon
    }

    /// Waits until it accepts connections there: one bind may be a moment behind another.
    pub(crate) fn accepts(&mut self, at: SocketAddr) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(at).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended, {status}: {}", self.read("stderr"));
            }
            assert!(Instant::now() < deadline, "it does not accept");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Another file for it to read; `rest` is all of it but `global`.
    #[allow(dead_code, reason = "shared with other tests")]
    pub(crate) fn write(&self, rest: &str) {
        let path = self.folder.join("lb.yaml");
        let new = self.folder.join("lb.yaml.new");
        fs::write(&new, whole(&self.folder, rest)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Has it read the file again by `lb reload`: what that printed, and whether it went well.
    #[allow(dead_code, reason = "shared with other tests")]
    pub(crate) fn reload(&self) -> (String, bool) {
        // As soon as it answers there.
        self.ask("show version\n");
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(["reload", "--socket"])
            .arg(self.folder.join("admin.sock"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            String::from_utf8_lossy(&said).into_owned(),
            output.status.success(),
        )
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop once its connections have ended.
    pub(crate) fn stop(&self) {
        let pid = i32::try_from(self.pid()).unwrap();
        // SAFETY: plain numbers; the process is a child of ours that has not been waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// Sends `command`, payload and all, to the admin socket; its answer.
    pub(crate) fn ask(&self, command: &str) -> String {
        // The kernel takes clients a moment before the daemon has its socket.
        let path = self.folder.join("admin.sock");
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream.write_all(command.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits until a line of the log holds `text`, and gives it.
    pub(crate) fn logged(&self, text: &str) -> String {
        self.logged_with(&[text])
    }

    /// The same of a line that has all of these in it.
    pub(crate) fn logged_with(&self, texts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.read("log");
            if let Some(line) = log
                .lines()
                .find(|line| texts.iter().all(|text| line.contains(text)))
            {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no {texts:?} in the log:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A file of which `rest` is all but `global`, or all of it where it has that itself.
fn whole(folder: &Path, rest: &str) -> String {
    let path = folder.display();
    if rest.starts_with("global:") {
        return rest.replace("FOLDER", &path.to_string());
    }
    format!(
        "global:\n  threads: 2\n  admin_socket: {path}/admin.sock\n  fast_path: {{ attach: off }}\n  \
         log: [{{ target: {path}/log, level: debug }}]\n{rest}"
    )
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An address that was free a moment ago, with a port that no client gets from the kernel: one of those would be some other
/// test's connection before a daemon listens there.
pub(crate) fn free() -> SocketAddr {
    const LOWEST: u32 = 10_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u32 = range.split_whitespace().next().unwrap().parse().unwrap();
    let ports = first.saturating_sub(LOWEST);
    // Each process begins elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    let next = || begin.wrapping_add(TRIED.fetch_add(1, Relaxed));
    let tries = std::iter::repeat_with(next)
        .take(1000)
        .filter(|_| ports > 0);
    let mut ports = tries.filter_map(|n| u16::try_from(LOWEST + n % ports).ok());
    let bound = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let bound = bound.unwrap_or_else(|| TcpListener::bind("127.0.0.1:0").unwrap());
    bound.local_addr().unwrap()
}
