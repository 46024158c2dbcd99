//! Says what is being done, why and for about how long; keeps what the children print in log files, and shows its end when
//! one fails.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How often a running step prints its age in its first minute.
const EARLY_HEARTBEAT: Duration = Duration::from_secs(15);

/// How often it does afterwards.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Lines of a failed child's output that are shown.
const SHOWN_LINES: usize = 80;

/// The steps taken so far.
pub(crate) struct Progress {
    logs: PathBuf,
    started: Instant,
    stages: Vec<(String, Duration)>,
}

/// What a child printed, in one text, and how it ended.
pub(crate) struct Finished {
    /// How it ended; None if it was ended for taking too long.
    pub(crate) status: Option<ExitStatus>,
    /// Both streams as they were interleaved.
    pub(crate) output: String,
    /// The file where `output` is kept.
    pub(crate) log: PathBuf,
}

impl Finished {
    /// Whether the child exited with 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The failure, with the end of the output shown.
    pub(crate) fn failure(&self, what: &str) -> Error {
        show_end(&self.output);
        let outcome = self
            .status
            .map_or_else(|| "it took too long".into(), |status| status.to_string());
        Error::Failed {
            what: what.into(),
            outcome,
            log: self.log.clone(),
        }
    }
}

impl Progress {
    /// Keeps the children's output as files in `logs`.
    pub(crate) fn new(logs: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&logs).map_err(Error::file("create", &logs))?;
        Ok(Self {
            logs,
            started: Instant::now(),
            stages: Vec::new(),
        })
    }

    /// Runs a child to its end; its failure is this step's.
    ///
    /// `name` is short and names the log file; `about` says what is done, why, and how long it takes when that is long.
    pub(crate) fn run(
        &mut self,
        name: &str,
        about: &str,
        command: Command,
    ) -> Result<Finished, Error> {
        let finished = self.attempt(name, about, command, None)?;
        if finished.success() {
            Ok(finished)
        } else {
            Err(finished.failure(name))
        }
    }

    /// Runs a child to its end or for `limit`, whichever is first; its failure is for the caller to judge.
    pub(crate) fn attempt(
        &mut self,
        name: &str,
        about: &str,
        mut command: Command,
        limit: Option<Duration>,
    ) -> Result<Finished, Error> {
        let log = self
            .logs
            .join(format!("{}.log", name.replace([' ', '/'], "-")));
        let file = File::create(&log).map_err(Error::file("create", &log))?;
        let second = file.try_clone().map_err(Error::file("write", &log))?;
        let started = Instant::now();
        print(&format!("{name}: {about} …"));
        command
            .stdin(std::process::Stdio::null())
            .stdout(file)
            .stderr(second);
        if limit.is_some() {
            // A group of its own, so that its children end with it.
            command.process_group(0);
        }
        let waited = wait(command, limit);
        let took = started.elapsed();
        self.stages.push((name.into(), took));
        let status = match waited {
            Ok(status) => status,
            Err(error) => {
                print(" cannot start\n");
                return Err(error);
            }
        };
        let output = fs::read(&log).map_err(Error::file("read", &log))?;
        let finished = Finished {
            status,
            output: String::from_utf8_lossy(&output).into_owned(),
            log,
        };
        print(&format!(
            " {} {}\n",
            if finished.success() {
                "done in"
            } else {
                "failed after"
            },
            seconds(took)
        ));
        Ok(finished)
    }

    /// One line that is not a step.
    pub(crate) fn say(&self, line: &str) {
        print(&format!("{line}\n"));
    }

    /// Time since the verb began, for its closing line.
    pub(crate) fn elapsed(&self) -> String {
        seconds(self.started.elapsed())
    }

    /// Each step with its time, longest names aligned.
    pub(crate) fn table(&self) -> String {
        let width = self
            .stages
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        self.stages
            .iter()
            .map(|(name, took)| format!("  {name:<width$}  {:>8}\n", seconds(*took)))
            .collect()
    }
}

/// Waits for the child in another thread, so that this one can print the time or end it.
fn wait(mut command: Command, limit: Option<Duration>) -> Result<Option<ExitStatus>, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|source| Error::Start {
        program: program.clone(),
        source,
    })?;
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let status = child.wait();
        // The receiver is there until it has this.
        let _ = ended.send(());
        status
    });
    let started = Instant::now();
    let mut in_time = true;
    while in_time {
        let age = started.elapsed();
        let heartbeat = if age < HEARTBEAT {
            EARLY_HEARTBEAT
        } else {
            HEARTBEAT
        };
        let left = limit.map_or(heartbeat, |limit| limit.saturating_sub(age).min(heartbeat));
        match end.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                in_time = limit.is_none_or(|limit| started.elapsed() < limit);
            }
        }
        if in_time {
            print(&format!(" {}", seconds(started.elapsed())));
        } else {
            // It may have ended just now; then there is nothing to end.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
    let status = waiter.join().unwrap_or_else(|_| {
        Err(io::Error::other(
            "the thread that waited for it ended early",
        ))
    });
    let status = status.map_err(|source| Error::Start { program, source })?;
    Ok(in_time.then_some(status))
}

/// The end of a child's output, set off from our own lines.
fn show_end(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_LINES);
    if skipped > 0 {
        eprintln!("  | … {skipped} lines before these");
    }
    for line in lines.iter().skip(skipped) {
        eprintln!("  | {line}");
    }
}

/// Tenths below ten seconds, whole seconds below a hundred, minutes above.
pub(crate) fn seconds(time: Duration) -> String {
    let whole = time.as_secs_f64().round() as u64;
    match whole {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..100 => format!("{whole} s"),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

/// A name for [`Path`]s in progress lines: relative to where the user is, if that is shorter.
pub(crate) fn short(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf))
        .unwrap_or_else(|| path.to_path_buf())
        .display()
        .to_string()
}

/// Progress goes to stderr: stdout belongs to what a verb is asked for. A closed stderr is no reason to stop.
fn print(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(340)), "0.3 s");
        assert_eq!(seconds(Duration::from_millis(42_400)), "42 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn a_child_that_takes_too_long_is_ended_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60; true"]).process_group(0);
        let started = Instant::now();
        assert!(matches!(
            wait(command, Some(Duration::from_millis(50))),
            Ok(None)
        ));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = wait(Command::new("lb-no-such-program"), None)
            .map(|_| ())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot start lb-no-such-program: "),
            "{error}"
        );
    }
}
