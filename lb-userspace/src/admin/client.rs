//! The other end of the runtime socket, for the command line.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the daemon's socket is when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/lb/admin.sock";

/// What a process says that another has taken the place of to who has come to it before.
pub(super) const ELSEWHERE: &str = "Another process of lb has taken over: ask again.";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no lb answers at {}: {source}; is it running, and is --socket its global.admin_socket?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It says nothing: stopped, or at a loss.
    #[error("lb at {} has not answered for {patience:?}", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It broke off.
    #[error("lb at {} broke off: {source}", path.display())]
    Talk {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It answered with something else than the status.
    #[error("lb at {} answered what this version does not understand: {source}", path.display())]
    Understand {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Sends one line of commands and returns the whole answer.
///
/// # Errors
/// Nobody answers at `path`.
pub fn ask(path: &Path, line: &str) -> Result<String, ClientError> {
    ask_within(path, line, PATIENCE)
}

/// The same, where the answer may take some time.
///
/// # Errors
/// Nobody answers at `path`.
pub fn ask_within(path: &Path, line: &str, patience: Duration) -> Result<String, ClientError> {
    loop {
        let answer = ask_once(path, line, patience)?;
        if answer.trim_end() != ELSEWHERE {
            return Ok(answer);
        }
    }
}

fn ask_once(path: &Path, line: &str, patience: Duration) -> Result<String, ClientError> {
    let mut stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
        path: path.to_owned(),
        source,
    })?;
    talk(&mut stream, line, patience).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => ClientError::Silent {
            path: path.to_owned(),
            patience,
        },
        _ => ClientError::Talk {
            path: path.to_owned(),
            source,
        },
    })
}

/// Sends one line of commands and hands over the lines of the answer as they come, for as long as `each` says so.
///
/// # Errors
/// Nobody answers at `path`, or it breaks off.
pub fn follow(
    path: &Path,
    line: &str,
    each: &mut dyn FnMut(&str) -> io::Result<bool>,
) -> Result<(), ClientError> {
    let stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
        path: path.to_owned(),
        source,
    })?;
    read_lines(stream, line, each).map_err(|source| ClientError::Talk {
        path: path.to_owned(),
        source,
    })
}

fn read_lines(
    mut stream: UnixStream,
    line: &str,
    each: &mut dyn FnMut(&str) -> io::Result<bool>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(line.as_bytes())?;
    stream.write_all(b"\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        // The end of an answer.
        if line.is_empty() || !each(&line)? {
            return Ok(());
        }
    }
    Ok(())
}

fn talk(stream: &mut UnixStream, line: &str, patience: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(line.as_bytes())?;
    stream.write_all(b"\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
