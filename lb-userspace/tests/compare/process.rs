//! The processes that are compared.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Theirs,
    /// Ours, with HAProxy's file.
    Read,
    /// Ours, with the YAML that `lb import` prints of it.
    Imported,
}

impl Side {
    /// By which servers tell whose request it is.
    pub(crate) fn tag(self, case: usize) -> String {
        let side = match self {
            Side::Ours => "o",
            Side::Theirs => "t",
            Side::Read => "r",
            Side::Imported => "i",
        };
        format!("{side}{case}")
    }
}

/// One of the two as it runs.
pub(crate) struct Proxy {
    pub(crate) side: Side,
    child: Child,
    log: PathBuf,
}

impl Proxy {
    pub(crate) fn start(side: Side, folder: &Path, text: &str, ready: &[SocketAddr]) -> Self {
        let name = match side {
            Side::Read => "read.cfg",
            Side::Imported => "imported.cfg",
            Side::Ours => "ours",
            Side::Theirs => "theirs",
        };
        let config = match side {
            Side::Read | Side::Imported => folder.join(name),
            _ => folder.join(format!("{name}.config")),
        };
        let errors = folder.join(format!("{name}.stderr"));
        let log = match side {
            Side::Read | Side::Imported => errors.clone(),
            _ => folder.join(format!("{name}.log")),
        };
        fs::write(&config, text).unwrap();
        let config = match side {
            Side::Imported => import(&config),
            _ => config,
        };
        // What is written to either is one log.
        let both = fs::File::options()
            .append(true)
            .create(true)
            .open(&errors)
            .unwrap();
        let (mut command, stdout) = match side {
            Side::Ours => (Command::new(env!("CARGO_BIN_EXE_lb")), Stdio::null()),
            Side::Read | Side::Imported => (
                Command::new(env!("CARGO_BIN_EXE_lb")),
                both.try_clone().unwrap().into(),
            ),
            Side::Theirs => (
                Command::new("haproxy"),
                fs::File::create(&log).unwrap().into(),
            ),
        };
        let arguments: &[&str] = match side {
            Side::Ours | Side::Read | Side::Imported => &["run", "--config"],
            Side::Theirs => &["-db", "-f"],
        };
        let child = command
            .args(arguments)
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(both)
            .spawn()
            .unwrap();
        let mut proxy = Proxy { side, child, log };
        let deadline = Instant::now() + PATIENCE;
        while ready.iter().any(|at| TcpStream::connect(at).is_err()) {
            let said = || fs::read_to_string(&errors).unwrap_or_default();
            assert!(
                proxy.child.try_wait().unwrap().is_none(),
                "{name} ended: {}",
                said()
            );
            assert!(
                Instant::now() < deadline,
                "{name} does not accept: {}",
                said()
            );
            thread::sleep(Duration::from_millis(5));
        }
        proxy
    }

    /// Ends it once its connections have, so that all of its log is written; the log.
    pub(crate) fn stop(mut self) -> String {
        if let Some(status) = self.child.try_wait().unwrap() {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            panic!("it ended before it was told to ({status}): {said}");
        }
        let signal = match self.side {
            Side::Ours | Side::Read | Side::Imported => Signal::TERM,
            Side::Theirs => Signal::USR1,
        };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `lb import` makes of HAProxy's file, beside it.
pub(crate) fn import(cfg: &Path) -> PathBuf {
    let mut lb = Command::new(env!("CARGO_BIN_EXE_lb"));
    let output = lb.args(["import", "haproxy"]).arg(cfg).output().unwrap();
    let yaml = cfg.with_extension("yaml");
    fs::write(&yaml, output.stdout).unwrap();
    yaml
}
