//! Child processes that end with their guard, and what they print.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Context, Error, Result, wait};

/// A running process, killed on drop.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Process {
    /// Starts a command, collecting what it prints.
    ///
    /// A command from [`crate::Netns::command`] is killed when the calling thread ends.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(mut command: Command) -> Result<Process> {
        let what = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("start `{what}`"))?;
        let stdout = Collected::from(child.stdout.take());
        let stderr = Collected::from(child.stderr.take());
        Ok(Process {
            what,
            child,
            stdout,
            stderr,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far; all of it once [`Process::wait`] has returned.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to stderr so far; all of it once [`Process::wait`] has returned.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Not reaped before now, so that the id is still its own.
        if self.ended().is_some() {
            return Err(Error::new(format!(
                "`{}` has ended: {}",
                self.what,
                self.stderr()
            )));
        }
        let pid = Pid::from_raw(self.child.id() as i32)
            .ok_or_else(|| Error::new("a process without an id"))?;
        kill_process(pid, signal).context(|| format!("send {signal:?} to `{}`", self.what))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of `{}`", self.what);
        let status = wait::until(what, limit, || self.ended())?;
        self.stdout.finish();
        self.stderr.finish();
        Ok(status)
    }

    /// Asks it to end (SIGTERM), and kills it if it has not within `limit`.
    pub fn end(&mut self, limit: Duration) {
        if self.signal(Signal::TERM).is_err() || self.wait(limit).is_err() {
            self.kill();
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.finish();
        self.stderr.finish();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end, which must be a success.
///
/// # Errors
/// With what it said, when it fails or cannot be started.
pub fn run(command: &mut Command) -> Result<Output> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .context(|| format!("start `{what}`"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(format!(
        "`{what}` failed ({}): {said}",
        output.status
    )))
}

/// A stream read to its end on a thread, so that the writer never blocks.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(stream: Option<impl Read + Send + 'static>) -> Collected {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let thread = stream.map(|mut stream| {
            let bytes = bytes.clone();
            thread::spawn(move || {
                let mut buffer = [0u8; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    bytes.extend_from_slice(&buffer[..length]);
                }
            })
        });
        Collected { bytes, thread }
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the end of the stream: every writer has closed it.
    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
