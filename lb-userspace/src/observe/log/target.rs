//! One destination of log lines, used by the log thread alone.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::{
    batch::Batch,
    clock::Calendar,
    journal,
    rfc3164::{Front, push_line},
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
    #[error("cannot open log file {}: {source}; check that its directory exists and may be written, which for an lb \
         that runs already are those that it was started with (restart it for others)", path.display())]
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
    front: Front,
    batch: Batch,
}

#[derive(Debug)]
enum Output {
    Udp {
        socket: UdpSocket,
        to: SocketAddr,
        /// Whether lines may still be sent together.
        together: bool,
    },
    Unix {
        socket: UnixDatagram,
        to: SocketAddrAny,
    },
    Journal {
        socket: UnixDatagram,
        to: SocketAddrAny,
    },
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
            LogDestination::Unix(to) => {
                let opened = datagrams(to);
                let (socket, to) = opened.map_err(|source| TargetError::Socket {
                    target: to.display().to_string(),
                    source,
                })?;
                Output::Unix { socket, to }
            }
            LogDestination::Tcp(to) => Output::Stream(Stream::new(*to)),
            LogDestination::Journald => {
                let opened = datagrams(Path::new(journal::SOCKET));
                let (socket, to) = opened.map_err(|source| TargetError::Socket {
                    target: "journald".to_owned(),
                    source,
                })?;
                Output::Journal { socket, to }
            }
            LogDestination::Stderr => Output::Stderr,
            LogDestination::File(path) => Output::File(LogFile::open(path.clone())?),
        };
        Ok(Self {
            facility: target.facility,
            level: target.level,
            format: target.format,
            output,
            front: Front::default(),
            batch: Batch::default(),
        })
    }

    /// Takes `line` if it is severe enough for this target. Returns how many lines could not be sent to make room for it.
    pub(super) fn add(&mut self, line: &Line, pid: u32) -> u64 {
        if line.level as u8 > self.level {
            return 0;
        }
        let message = match self.format {
            LogFormat::Text => &line.text,
            LogFormat::Json => &line.json,
        };
        let Some(message) = message else {
            return 0;
        };
        let (facility, front) = (self.facility, &mut self.front);
        match &self.output {
            Output::Journal { .. } => self
                .batch
                .add(|out| journal::entry(out, facility, line.level, pid, message)),
            Output::Udp { .. } | Output::Unix { .. } | Output::Stream(_) => self
                .batch
                .add(|out| front.frame(out, facility, line.level, line.at, pid, message)),
            Output::Stderr | Output::File(_) => {
                let stamped = self.format == LogFormat::Text;
                self.batch.add(|out| {
                    if stamped {
                        stamp(out, line);
                    }
                    push_line(out, message);
                });
            }
        }
        if self.batch.is_full() { self.send() } else { 0 }
    }

    /// Sends what has been added. Returns how many lines could not be.
    pub(super) fn send(&mut self) -> u64 {
        let batch = &mut self.batch;
        if batch.is_empty() {
            return 0;
        }
        match &mut self.output {
            Output::Udp {
                socket,
                to,
                together,
            } => batch.send_udp(socket, *to, together),
            Output::Unix { socket, to } | Output::Journal { socket, to } => batch.send(socket, to),
            Output::Stream(stream) => batch.each(|line| stream.send(line)),
            Output::Stderr => batch.write(&mut io::stderr().lock()),
            Output::File(file) => batch.write(file.current()),
        }
    }

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
    Ok(Output::Udp {
        socket,
        to,
        together: true,
    })
}

/// A socket for datagrams to `to`, which need not be there yet.
fn datagrams(to: &Path) -> io::Result<(UnixDatagram, SocketAddrAny)> {
    let to = SocketAddrUnix::new(to)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to.into()))
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

    /// What its name means now; if that cannot be opened, what it meant before.
    fn current(&mut self) -> &mut File {
        if self.looked.elapsed() >= REOPEN_INTERVAL {
            self.looked = Instant::now();
            if self.was_rotated()
                && let Ok(file) = open_append(&self.path)
            {
                self.file = file;
            }
        }
        &mut self.file
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
