//! One destination of log lines, used by the log thread alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    clock::Calendar,
    journal,
    rfc3164::{self, push_line},
    sink::Line,
    stream::Stream,
};
use crate::config::model::{LogDestination, LogFormat, LogTarget};

/// How often a file is looked for under its name, so that rotating it needs no signal.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// A destination that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file cannot be appended to.
    #[error("cannot open log file {}: {source}; check that its directory exists and may be written", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No socket could be made.
    #[error("cannot make a socket for log target {target}: {source}")]
    Socket {
        /// The target as configured.
        target: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Target {
    facility: u8,
    level: u8,
    format: LogFormat,
    output: Output,
    buffer: String,
}

#[derive(Debug)]
enum Output {
    Udp { socket: UdpSocket, to: SocketAddr },
    Unix { socket: UnixDatagram, to: PathBuf },
    Journal(UnixDatagram),
    Stream(Stream),
    Stderr,
    File(LogFile),
}

impl Target {
    pub(super) fn open(target: &LogTarget) -> Result<Self, TargetError> {
        let output = match &target.target {
            LogDestination::Udp(to) => udp(*to).map_err(|source| TargetError::Socket {
                target: format!("udp://{to}"),
                source,
            })?,
            LogDestination::Unix(to) => unix(to).map_err(|source| TargetError::Socket {
                target: to.display().to_string(),
                source,
            })?,
            LogDestination::Tcp(to) => Output::Stream(Stream::new(*to)),
            LogDestination::Journald => {
                let socket = UnixDatagram::unbound().and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                });
                Output::Journal(socket.map_err(|source| TargetError::Socket {
                    target: "journald".to_owned(),
                    source,
                })?)
            }
            LogDestination::Stderr => Output::Stderr,
            LogDestination::File(path) => Output::File(LogFile::open(path.clone())?),
        };
        Ok(Self {
            facility: target.facility,
            level: target.level,
            format: target.format,
            output,
            buffer: String::with_capacity(1024),
        })
    }

    /// Sends `line` if it is severe enough for this target.
    pub(super) fn send(&mut self, line: &Line, pid: u32) -> io::Result<()> {
        if line.level as u8 > self.level {
            return Ok(());
        }
        let message = match self.format {
            LogFormat::Text => &line.text,
            LogFormat::Json => &line.json,
        };
        let Some(message) = message else {
            return Ok(());
        };
        let out = &mut self.buffer;
        match &self.output {
            Output::Journal(_) => journal::entry(out, self.facility, line.level, pid, message),
            Output::Udp { .. } | Output::Unix { .. } | Output::Stream(_) => {
                rfc3164::frame(out, self.facility, line.level, line.at, pid, message);
            }
            Output::Stderr | Output::File(_) => {
                out.clear();
                if self.format == LogFormat::Text {
                    stamp(out, line);
                }
                push_line(out, message);
            }
        }
        match &mut self.output {
            Output::Udp { socket, to } => socket.send_to(out.as_bytes(), *to).map(drop),
            Output::Unix { socket, to } => socket.send_to(out.as_bytes(), to).map(drop),
            Output::Journal(socket) => socket.send_to(out.as_bytes(), journal::SOCKET).map(drop),
            Output::Stream(stream) => stream.send(out.as_bytes()),
            Output::Stderr => io::stderr().lock().write_all(out.as_bytes()),
            Output::File(file) => file.append(out.as_bytes()),
        }
    }
}

impl Target {
    /// Goes on with what a stream did not take at once; whether there is more of it.
    pub(super) fn flush(&mut self) -> bool {
        match &mut self.output {
            Output::Stream(stream) => stream.flush(),
            _ => false,
        }
    }
}

/// `2026-11-23 02:30:20.251 notice  `, the beginning of a text line that no syslog daemon stamps.
pub(super) fn stamp(out: &mut String, line: &Line) {
    use std::fmt::Write as _;
    let at = Calendar::local(line.at);
    // A String takes everything.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03} {:7} ",
        at.year,
        at.month + 1,
        at.day,
        at.hour,
        at.minute,
        at.second,
        at.millisecond,
        line.level
    );
}

fn udp(to: SocketAddr) -> io::Result<Output> {
    // Not connected: a receiver that is not there yet would turn every other line into ECONNREFUSED.
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    Ok(Output::Udp { socket, to })
}

fn unix(to: &Path) -> io::Result<Output> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(Output::Unix {
        socket,
        to: to.to_owned(),
    })
}

/// A file that is appended to, and opened anew once its name means another file.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    fn open(path: PathBuf) -> Result<Self, TargetError> {
        match open_append(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                looked: Instant::now(),
            }),
            Err(source) => Err(TargetError::File { path, source }),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.looked.elapsed() >= REOPEN_INTERVAL {
            self.looked = Instant::now();
            if self.was_rotated() {
                self.file = open_append(&self.path)?;
            }
        }
        self.file.write_all(bytes)
    }

    fn was_rotated(&self) -> bool {
        match (self.path.metadata(), self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) != (open.dev(), open.ino()),
            (Err(_), _) => true,
            (_, Err(_)) => false,
        }
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
