//! Where log lines go, and in which form.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use crate::rules::LogLevel;

/// One entry of `log`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogTarget {
    /// Where to.
    pub target: LogDestination,
    /// Syslog facility, 0–23 (RFC 5424 §6.2.1).
    pub facility: u8,
    /// Least severe level still sent, 0 (emerg) – 7 (debug).
    pub level: u8,
    /// What is more severe is sent as this.
    pub min_level: u8,
    /// How a line is written.
    pub format: LogFormat,
    /// Most bytes of a line, its front among them.
    pub len: Option<usize>,
    /// Which lines, if not all.
    pub sample: Option<LogSample>,
    /// Who the lines are of: `log_tag`.
    pub tag: Option<Arc<str>>,
    /// The host that they are of: `global.log_send_hostname`.
    pub host: Option<Arc<str>>,
}

impl LogTarget {
    /// A target of which no more is said than this.
    pub fn new(target: LogDestination, facility: u8, level: u8, format: LogFormat) -> Self {
        Self {
            target,
            facility,
            level,
            min_level: 0,
            format,
            len: None,
            sample: None,
            tag: None,
            host: None,
        }
    }
}

/// Where a log line goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogDestination {
    /// Syslog datagrams.
    Udp(SocketAddr),
    /// Syslog lines in a stream.
    Tcp(SocketAddr),
    /// systemd's journal, in its own protocol.
    Journald,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What the process was started with under this number.
    Descriptor(u16),
    /// Appended to a file.
    File(PathBuf),
    /// A unix datagram socket such as /dev/log.
    Unix(PathBuf),
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// HAProxy's text behind what the target is used to: a syslog frame, or a date and a level.
    Text,
    /// A JSON object a line.
    Json,
    /// `<PRI>Mmm dd hh:mm:ss TAG[PID]: `
    Local,
    /// The same with the host's name.
    Rfc3164,
    /// `<PRI>1 DATE HOST TAG PID - - `, or structured data instead of the second dash
    Rfc5424,
    /// `<PRI>`
    Priority,
    /// `<LEVEL>`
    Short,
    /// `<LEVEL>DATE `
    Timed,
    /// `DATE `
    Iso,
    /// Nothing but the text.
    Raw,
}

impl LogFormat {
    /// All of them and their names.
    pub const ALL: [(&'static str, Self); 10] = [
        ("text", Self::Text),
        ("json", Self::Json),
        ("local", Self::Local),
        ("rfc3164", Self::Rfc3164),
        ("rfc5424", Self::Rfc5424),
        ("priority", Self::Priority),
        ("short", Self::Short),
        ("timed", Self::Timed),
        ("iso", Self::Iso),
        ("raw", Self::Raw),
    ];
}

/// Which of `of` lines in a row a target gets: `sample: "1,4-5:8"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogSample {
    /// A bit for each of them.
    pub wanted: u64,
    /// How many there are, up to 64.
    pub of: u8,
}

/// Which sessions are logged, how urgently, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// None of them.
    pub off: bool,
    /// Not those in which the client sent nothing.
    pub no_null: bool,
    /// Not those that went well.
    pub no_normal: bool,
    /// Those that did not go well are errors instead of information.
    pub separate_errors: bool,
    /// As soon as the answer's head, or the connection to the server, is there: what is not known yet has a `+` before it.
    pub asap: bool,
    /// What a rule says of this one's level.
    pub level: Option<LogLevel>,
    /// Where its line goes.
    pub to: LogTo,
}

/// Whose targets a line goes to: a proxy's, or those of `global`. A proxy is known by a number made of its name, so that what
/// an earlier configuration's sessions log goes where the proxy of that name sends it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LogTo(Option<u64>);

impl LogTo {
    /// Those of `global`.
    pub const GLOBAL: Self = Self(None);

    /// A frontend's.
    pub fn frontend(name: &str) -> Self {
        Self::of("frontend", name)
    }

    /// A backend's.
    pub fn backend(name: &str) -> Self {
        Self::of("backend", name)
    }

    fn of(kind: &str, name: &str) -> Self {
        // Its keys are the same each time.
        let mut hasher = DefaultHasher::new();
        (kind, name).hash(&mut hasher);
        Self(Some(hasher.finish()))
    }
}

/// The targets of a proxy that has its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLog {
    /// Whose they are.
    pub to: LogTo,
    /// None: nothing of it is logged.
    pub targets: Vec<LogTarget>,
}
