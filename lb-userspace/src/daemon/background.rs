//! `lb run --daemon`: for hosts without a service manager.
//!
//! Whoever started it gets its shell back once the daemon serves, and with exit code 1 if it does not come to that; until
//! then errors go to the terminal, afterwards to the log targets alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::AsFd,
    process::ExitCode,
    sync::Mutex,
};

use rustix::process::setsid;

/// Whom to tell.
static PARENT: Mutex<Option<PipeWriter>> = Mutex::new(None);

/// Goes on in a process of its own, without a terminal. In the process that was started the answer is its exit code, once
/// the other serves or has ended.
///
/// To be called while the process has one thread.
///
/// # Errors
/// There is no process or pipe to be had.
pub fn detach() -> io::Result<Option<ExitCode>> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: there is no other thread that could hold a lock or be amid something, and the child goes on as this one.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(reader);
            setsid()?;
            let nothing = File::open("/dev/null")?;
            rustix::stdio::dup2_stdin(&nothing)?;
            if let Ok(mut parent) = PARENT.lock() {
                *parent = Some(writer);
            }
            Ok(None)
        }
        _ => {
            drop(writer);
            Ok(Some(answer(reader)))
        }
    }
}

/// Lets whoever waits go, and the terminal with it. Nothing without [`detach`].
pub(super) fn ready() {
    let parent = PARENT.lock().ok().and_then(|mut parent| parent.take());
    let Some(mut parent) = parent else {
        return;
    };
    // Landlock's rules know /dev/null.
    match OpenOptions::new().write(true).open("/dev/null") {
        Ok(nothing) => {
            let nothing = nothing.as_fd();
            let _ = rustix::stdio::dup2_stdout(nothing);
            let _ = rustix::stdio::dup2_stderr(nothing);
        }
        Err(error) => tracing::debug!("the terminal stays: {error}"),
    }
    // Somebody who does not wait any more has gone by himself.
    let _ = parent.write_all(READY);
}

const READY: &[u8] = b"ready";

fn answer(mut child: PipeReader) -> ExitCode {
    let mut said = Vec::new();
    match child.read_to_end(&mut said) {
        Ok(_) if said == READY => ExitCode::SUCCESS,
        // It has said why on standard error.
        _ => ExitCode::FAILURE,
    }
}
