//! `lb stop`: ends the daemon gracefully, or now.

use std::{process::ExitCode, thread, time::Duration};

use clap::Args;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    cli::{Daemon, fail},
    client::{self, ClientError},
};
use crate::observe::stats::Snapshot;

/// Arguments of `lb stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// End connections at once instead of within global.grace
    #[arg(long)]
    pub now: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Between the signals of a stop that is to be immediate, so that they are two.
const APART: Duration = Duration::from_millis(50);

impl StopArgs {
    /// Asks the daemon to end and waits until it has.
    pub fn run(&self) -> ExitCode {
        let path = &self.daemon.socket;
        let snapshot = client::ask(path, "show status json").and_then(|answer| {
            serde_json::from_str::<Snapshot>(&answer).map_err(|source| ClientError::Understand {
                path: path.clone(),
                source,
            })
        });
        let pid = match snapshot {
            Ok(snapshot) => snapshot.process.pid,
            Err(error) => return fail(&error),
        };
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return fail(&format!("{pid} is no process"));
        };
        match end(pid, self.now) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!(
                "process {} could not be stopped: {error}",
                pid.as_raw_nonzero()
            )),
        }
    }
}

/// Signals a process and waits until it has ended, whether or not its parent has looked.
fn end(pid: Pid, now: bool) -> Result<(), Errno> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_send_signal(&process, Signal::TERM)?;
    if now {
        thread::sleep(APART);
        match pidfd_send_signal(&process, Signal::TERM) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
