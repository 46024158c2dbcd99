//! The daemon under test: `lb run` in the balancer's namespace, with a configuration, an admin socket and a pin path of
//! its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::process::Process;
use crate::scratch::Scratch;
use crate::{Context, Error, Lab, Netns, Result, wait};

/// The daemon; killed on drop, and everything that it left is removed.
#[derive(Debug)]
pub struct Daemon<'a> {
    // First, so that the process is gone before its files are.
    process: Option<Process>,
    netns: &'a Netns,
    config: PathBuf,
    socket: PathBuf,
    files: Scratch,
    _pins: Scratch,
    global: Global,
    pin_path: PathBuf,
    // The binary as nobody may run it, if it is to run as nobody.
    unprivileged: Option<PathBuf>,
    capabilities: Vec<String>,
    environment: Vec<(String, String)>,
    // Another name of the binary, if it is to have one.
    alias: Option<PathBuf>,
    successors: Mutex<Vec<u32>>,
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // One that a test did not expect as well.
        let answers = self.status().ok();
        let answers = answers.and_then(|status| status["process"]["pid"].as_u64());
        let answers = answers.and_then(|pid| u32::try_from(pid).ok());
        for pid in self.successors().into_iter().chain(answers) {
            // Unless the number is somebody else's by now.
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let config = self.config.as_os_str().as_encoded_bytes();
            let ours = arguments
                .split(|byte| *byte == 0)
                .any(|word| word == config);
            if let Some(pid) = Pid::from_raw(pid.cast_signed()).filter(|_| ours) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The user and group without any right (`nobody`).
const NOBODY: u32 = 65534;

/// What goes into `global:` beside the paths of this daemon.
#[derive(Clone, Debug)]
struct Global {
    lines: String,
    fast_path: String,
}

/// A daemon to be started.
#[derive(Debug)]
pub struct Builder<'a> {
    lab: &'a Lab,
    role: String,
    global: Global,
    body: String,
    unprivileged: bool,
    given_away: bool,
    capabilities: Vec<String>,
    closed_pins: bool,
    environment: Vec<(String, String)>,
    netns: Option<&'a Netns>,
    alias: Option<String>,
}

/// The kernel path unless a test asks for another. The flow table is allocated whole, which for the default of a million
/// flows takes a quarter of a gigabyte and on a busy machine many seconds.
const FAST_PATH: &str = "attach: xdp, max_flows: 100000";

/// Where the binary is: `LB_BIN`, else what `cargo xtask build` leaves.
pub fn binary() -> PathBuf {
    match std::env::var_os("LB_BIN") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/lb"),
    }
}

impl<'a> Daemon<'a> {
    /// A daemon in the lab's balancer. `body` is the configuration but for `global:`.
    pub fn builder(lab: &'a Lab, body: &str) -> Builder<'a> {
        Builder {
            lab,
            role: "lb".to_owned(),
            global: Global {
                lines: String::new(),
                fast_path: FAST_PATH.to_owned(),
            },
            body: body.to_owned(),
            unprivileged: false,
            given_away: false,
            capabilities: Vec::new(),
            closed_pins: false,
            environment: Vec::new(),
            netns: None,
            alias: None,
        }
    }

    /// Starts it (again) and waits until it answers on its admin socket.
    ///
    /// # Errors
    /// With what it said, when it ends or does not answer.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(|daemon| daemon.status().ok()).map(|_| ())
    }

    /// Starts it (again) and waits until `ready` gives something.
    ///
    /// # Errors
    /// With what it said, when it ends before, or takes too long.
    pub fn start_with<T>(&mut self, mut ready: impl FnMut(&Daemon<'a>) -> Option<T>) -> Result<T> {
        let mut command = match &self.unprivileged {
            None => match &self.alias {
                Some(alias) => self.netns.command(alias),
                None => self.netns.command(binary()),
            },
            Some(binary) => {
                let mut command = self.netns.command("setpriv");
                command.arg(format!("--reuid={NOBODY}"));
                command.arg(format!("--regid={NOBODY}"));
                command.args(["--clear-groups", "--no-new-privs"]);
                let mut capabilities = "-all".to_owned();
                for capability in &self.capabilities {
                    let _ = write!(capabilities, ",+{capability}");
                }
                // An empty set of ambient ones cannot be named where there are none.
                command.arg(format!("--inh-caps={capabilities}"));
                if !self.capabilities.is_empty() {
                    command.arg(format!("--ambient-caps={capabilities}"));
                }
                command.arg("--").arg(binary);
                command
            }
        };
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.arg("run").arg("--config").arg(&self.config);
        command.env("RUST_BACKTRACE", "1");
        self.process = Some(Process::start(command)?);
        let result = wait::until("lb to be ready", wait::PATIENCE, || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.ended()
            {
                // Its last words may still be on their way through the pipe.
                let _ = process.wait(wait::PATIENCE);
                return Some(Err(Error::new(format!("lb has ended: {status}"))));
            }
            ready(self).map(Ok)
        });
        result
            .and_then(|result| result)
            .map_err(|error| self.with_log(error))
    }

    /// Waits until the namespace has a listener that accepts, from within.
    ///
    /// # Errors
    /// With what the daemon said, when there is none.
    pub fn listens(&self, address: SocketAddr) -> Result<()> {
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(1));
        wait::until_true(format!("a listener on {address}"), || {
            self.netns.run(|| connect().is_ok())
        })
        .map_err(|error| self.with_log(error))
    }

    /// Has another process of lb take its place; that one's id.
    ///
    /// # Errors
    /// With what `lb upgrade` said, when it fails.
    pub fn upgrade(&self) -> Result<u32> {
        self.upgrade_with(&[])
    }

    /// The same with these arguments.
    ///
    /// # Errors
    /// With what `lb upgrade` said, when it fails.
    pub fn upgrade_with(&self, arguments: &[&str]) -> Result<u32> {
        let output = self.lb(&[&["upgrade"], arguments].concat())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(self.with_log(Error::new(format!("lb upgrade: {said}"))));
        }
        let status = self.status()?;
        let pid = status["process"]["pid"].as_u64();
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| Error::new("the status has no process id"))?;
        if let Ok(mut successors) = self.successors.lock() {
            successors.push(pid);
        }
        Ok(pid)
    }

    /// Those that have taken its place, one after the other.
    fn successors(&self) -> Vec<u32> {
        self.successors
            .lock()
            .map_or_else(|_| Vec::new(), |pids| pids.clone())
    }

    /// Runs another of `lb`'s commands against this daemon, in its namespace.
    ///
    /// # Errors
    /// When the binary cannot be started. What it says and its exit code are the caller's to judge.
    pub fn lb(&self, arguments: &[&str]) -> Result<Output> {
        let mut command: Command = self.netns.command(binary());
        command.args(arguments).arg("--socket").arg(&self.socket);
        command
            .stdin(Stdio::null())
            .output()
            .context(|| format!("run lb {arguments:?}"))
    }

    /// What the runtime socket says to `line`, without the end.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn ask(&self, line: &str) -> Result<String> {
        let asked = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.write_all(format!("{line}\n").as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            io::read_to_string(stream)
        };
        let answer: io::Result<String> = asked();
        Ok(answer
            .context(|| format!("ask {line:?}"))?
            .trim_end()
            .to_owned())
    }

    /// What `lb status --json` says.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let output = self.lb(&["status", "--json"])?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Error::io(format!("read the status: {said}"), io::Error::from(error))
        })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running()?.signal(signal)
    }

    /// Kills it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.running()?.wait(limit)
    }

    /// Replaces the configuration file but for `global:`; the daemon is told by HUP or a restart.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_config(&self, body: &str) -> Result<()> {
        let text = self.global.render(&self.socket, &self.pin_path) + body;
        self.files.write("lb.yaml", &text).map(|_| ())
    }

    /// What it has written to stderr since it was last started.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default()
    }

    /// Its process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Another `fast_path` for the next start, and the configuration's rest with it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn change_fast_path(&mut self, inline: &str, body: &str) -> Result<()> {
        inline.clone_into(&mut self.global.fast_path);
        self.write_config(body)
    }

    /// Where its programs and maps are pinned.
    pub fn pin_path(&self) -> &Path {
        &self.pin_path
    }

    /// The folder with its files.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// Its admin socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .ok_or_else(|| Error::new("lb is not running"))
    }

    fn with_log(&self, error: Error) -> Error {
        Error::new(format!("{error}; lb said:\n{}", self.log()))
    }
}

impl<'a> Builder<'a> {
    /// More keys of `global.fast_path`, inline, instead of `attach: xdp` and a flow table of moderate size: `attach: off`.
    pub fn fast_path(mut self, inline: &str) -> Builder<'a> {
        inline.clone_into(&mut self.global.fast_path);
        self
    }

    /// A key of `global:` and its value.
    pub fn global(mut self, key: &str, value: &str) -> Builder<'a> {
        let _ = writeln!(self.global.lines, "  {key}: {value}");
        self
    }

    /// Lines of `global:` as they stand in a file, indented by two.
    pub fn global_lines(mut self, lines: &str) -> Builder<'a> {
        let _ = writeln!(self.global.lines, "{}", lines.trim_end());
        self
    }

    /// Runs it as a user without any right, by setpriv(1).
    pub fn unprivileged(mut self) -> Builder<'a> {
        self.unprivileged = true;
        self
    }

    /// The folder of its files is nobody's, whom it becomes by `user`.
    pub fn given_to_nobody(mut self) -> Builder<'a> {
        self.given_away = true;
        self
    }

    /// Runs it as a user with these capabilities alone, named as setpriv(1) does (`net_admin`), and a pin path that is that
    /// user's.
    pub fn capabilities(mut self, capabilities: &[&str]) -> Builder<'a> {
        self.unprivileged = true;
        self.capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// A pin path in a folder that is for root alone, as /sys/fs/bpf itself is on most hosts.
    pub fn closed_pins(mut self) -> Builder<'a> {
        self.closed_pins = true;
        self
    }

    /// In another namespace than the lab's balancer.
    pub fn in_netns(mut self, netns: &'a Netns) -> Builder<'a> {
        self.netns = Some(netns);
        self
    }

    /// Under another name of the process, by which others find it.
    pub fn alias(mut self, name: &str) -> Builder<'a> {
        self.alias = Some(name.to_owned());
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Builder<'a> {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A name of its own, for a second daemon of one lab.
    pub fn role(mut self, role: &str) -> Builder<'a> {
        role.clone_into(&mut self.role);
        self
    }

    /// Starts it and waits until it answers on its admin socket.
    ///
    /// # Errors
    /// With what it said, when it ends or does not answer.
    pub fn start(self) -> Result<Daemon<'a>> {
        let mut daemon = self.prepare()?;
        daemon.start()?;
        Ok(daemon)
    }

    /// Writes its files without starting it.
    ///
    /// # Errors
    /// When a file cannot be written or bpffs not be mounted.
    pub fn prepare(self) -> Result<Daemon<'a>> {
        let files = Scratch::files(self.lab.tag(), &self.role)?;
        let mut unprivileged = None;
        if self.unprivileged {
            // Where the project is checked out he may have no right to go.
            let copy = files.path().join("lb");
            fs::copy(binary(), &copy).context(|| format!("copy lb to {}", copy.display()))?;
            unprivileged = Some(copy);
        }
        if self.unprivileged || self.given_away {
            chown(files.path(), Some(NOBODY), Some(NOBODY))
                .context(|| format!("give {} away", files.path().display()))?;
        }
        let pins = Scratch::pins(self.lab.tag(), &self.role)?;
        let made = |path: &Path| {
            let mut builder = fs::DirBuilder::new();
            let made = builder.mode(0o700).create(path);
            made.context(|| format!("make {}", path.display()))
        };
        let mut pin_path = pins.path().to_owned();
        if self.closed_pins {
            made(&pin_path)?;
            pin_path.push("in");
        } else if !self.capabilities.is_empty() {
            made(&pin_path)?;
            chown(&pin_path, Some(NOBODY), Some(NOBODY))
                .context(|| format!("give {} away", pin_path.display()))?;
        }
        let alias = self.alias.map(|name| files.path().join(name));
        if let Some(alias) = &alias {
            symlink(binary(), alias).context(|| format!("make {}", alias.display()))?;
        }
        let daemon = Daemon {
            process: None,
            netns: self.netns.unwrap_or(self.lab.balancer()),
            config: files.path().join("lb.yaml"),
            socket: files.path().join("admin.sock"),
            _pins: pins,
            pin_path,
            files,
            global: self.global,
            unprivileged,
            capabilities: self.capabilities,
            environment: self.environment,
            alias,
            successors: Mutex::default(),
        };
        daemon.write_config(&self.body)?;
        Ok(daemon)
    }
}

impl Global {
    fn render(&self, socket: &Path, pins: &Path) -> String {
        format!(
            "global:\n  admin_socket: {}\n  fast_path: {{ pin_path: {}, {} }}\n{}",
            socket.display(),
            pins.display(),
            self.fast_path,
            self.lines,
        )
    }
}
