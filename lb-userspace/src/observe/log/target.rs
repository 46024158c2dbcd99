//! One destination of log lines, used by the log thread alone.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::{
    batch::Batch,
    journal,
    level::Level,
    rfc3164::{Front, push_line},
    stream::Stream,
    text::date,
};
use crate::config::model::{LogDestination, LogFormat, LogTarget};

/// How often a file is looked for under its name, so that rotating it needs no signal.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// Most bytes of a datagram, its end of line among them: what a packet of IPv4 holds (RFC 791, section 3.1; RFC 768). A
/// longer one is refused, so that who asks for much would leave no line at all.
const LONGEST_DATAGRAM: usize = 65_535 - 20 - 8;

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

/// A line's message, in the forms that anybody wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) text: Option<&'a str>,
    pub(super) json: Option<&'a str>,
    /// Beside the text.
    pub(super) structured: Option<&'a str>,
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Target {
    facility: u8,
    level: u8,
    min_level: u8,
    format: LogFormat,
    /// Most bytes of a line without its end.
    len: Option<usize>,
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
    Stdout,
    Stderr,
    File(LogFile),
    /// What it was started with, opened anew: it is another's to close.
    Descriptor(File),
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
            LogDestination::Stdout => Output::Stdout,
            LogDestination::Stderr => Output::Stderr,
            LogDestination::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                let opened = OpenOptions::new().append(true).open(&path);
                Output::Descriptor(opened.map_err(|source| TargetError::File { path, source })?)
            }
            LogDestination::File(path) => Output::File(LogFile::open(path.clone())?),
        };
        let fits = match output {
            Output::Udp { .. } | Output::Unix { .. } => Some(LONGEST_DATAGRAM - 1),
            _ => None,
        };
        Ok(Self {
            facility: target.facility,
            level: target.level,
            min_level: target.min_level,
            format: target.format,
            len: target.len.into_iter().chain(fits).min(),
            output,
            front: Front::new(target),
            batch: Batch::default(),
        })
    }

    /// Whether lines of `level` are severe enough for this target.
    pub(super) fn wants(&self, level: Level) -> bool {
        level as u8 <= self.level
    }

    /// Takes `line`. Returns how many lines could not be sent to make room for it.
    pub(super) fn add(
        &mut self,
        (level, at): (Level, SystemTime),
        line: Message<'_>,
        pid: u32,
    ) -> u64 {
        let message = match self.format {
            LogFormat::Json => line.json,
            _ => line.text,
        };
        let level = Level::of((level as u8).max(self.min_level));
        let Some(message) = message else {
            return 0;
        };
        let (facility, front, len) = (self.facility, &mut self.front, self.len);
        let is_syslog = matches!(
            self.output,
            Output::Udp { .. } | Output::Unix { .. } | Output::Stream(_)
        );
        let is_named = !matches!(self.format, LogFormat::Text | LogFormat::Json);
        match (&self.output, self.format) {
            (Output::Journal { .. }, _) => self
                .batch
                .add(|out| journal::entry(out, (facility, level), front.tag(), pid, message)),
            _ if is_syslog || is_named => self.batch.add(|out| {
                let begin = out.len();
                front.frame(out, level, at, pid, (line.structured, message));
                cut(out, begin, len);
            }),
            (_, format) => self.batch.add(|out| {
                let begin = out.len();
                if format == LogFormat::Text {
                    stamp(out, at, level);
                }
                push_line(out, message);
                cut(out, begin, len);
            }),
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
            Output::Stdout => batch.write(&mut io::stdout().lock()),
            Output::Stderr => batch.write(&mut io::stderr().lock()),
            Output::Descriptor(file) => batch.write(file),
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

/// Cuts the line from `begin` on to `len` bytes, its end not among them.
fn cut(out: &mut String, begin: usize, len: Option<usize>) {
    let Some(len) = len else { return };
    let end = begin.saturating_add(len);
    if out.len() <= end + 1 {
        return;
    }
    let end = (begin..=end).rev().find(|&end| out.is_char_boundary(end));
    out.truncate(end.unwrap_or(begin));
    out.push('\n');
}

/// `2026-11-23 02:30:20.251 notice  `, the beginning of a text line that no syslog daemon stamps.
pub(super) fn stamp(out: &mut String, at: SystemTime, level: Level) {
    /// The longest name's.
    const WIDTH: usize = "warning".len();
    date(out, at);
    out.push(' ');
    out.push_str(level.name());
    out.extend(std::iter::repeat_n(
        ' ',
        WIDTH.saturating_sub(level.name().len()) + 1,
    ));
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
