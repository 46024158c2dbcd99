//! A log line of the user's own: HAProxy's `log-format`, read.

use std::sync::Arc;

use super::Frontend;
use crate::rules::{Expr, Style};

/// What a log line consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogLine {
    /// One after the other.
    pub pieces: Vec<Piece>,
    /// What has to be found out for it.
    pub wants: Wants,
}

impl LogLine {
    /// A line of these.
    pub fn new(pieces: Vec<Piece>) -> Self {
        let any = |fields: &[Field]| {
            let is =
                |piece: &Piece| matches!(piece, Piece::Field(field, _) if fields.contains(field));
            pieces.iter().any(is)
        };
        let samples = pieces.iter().any(|piece| matches!(piece, Piece::Sample(_)));
        let wants = Wants {
            samples,
            // An expression may be about anything.
            destination: samples || any(&[Field::FrontendIp, Field::FrontendPort]),
            local: any(&[Field::BackendIp, Field::BackendPort]),
            lines: any(&[Field::LogCounter]),
            number: any(&[Field::RequestCounter]),
            end: any(&Field::OF_ENDS),
        };
        Self { pieces, wants }
    }

    /// Whether it tells a request's line.
    pub fn tells_requests(&self) -> bool {
        let is = |piece: &Piece| matches!(piece, Piece::Field(Field::Request, _));
        self.pieces.iter().any(is)
    }

    /// The expressions in it.
    pub fn samples(&self) -> impl Iterator<Item = &Expr> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Sample(sample) => Some(&sample.expr),
            _ => None,
        })
    }
}

/// What has to be found out for a line, and for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// What expressions come to.
    pub samples: bool,
    /// The address that the client came to.
    pub destination: bool,
    /// Our end of the connection to the server.
    pub local: bool,
    /// How many lines the frontend has written.
    pub lines: bool,
    /// The request's number.
    pub number: bool,
    /// What is known at the end alone: without it a line is written as soon as the answer or the connection is there.
    pub end: bool,
}

impl Frontend {
    /// Whether its lines do not wait for the end: they are not meant to, or tell nothing of it.
    pub fn logs_at_once(&self) -> bool {
        self.log_options.asap || !self.wants().end
    }

    /// What has to be found out for its lines, and for their structured data.
    pub fn wants(&self) -> Wants {
        self.wants_of(&self.log_format)
    }

    /// The same of lines in another form.
    pub fn wants_of(&self, format: &AccessLog) -> Wants {
        let structured = self.log_format_sd.as_ref();
        let structured = structured.map(|line| line.wants).unwrap_or_default();
        format.wants().and(structured)
    }
}

/// `log_format`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// HAProxy's `option httplog`.
    Http,
    /// HAProxy's `option tcplog`.
    Tcp,
    /// One JSON object.
    Json,
    /// A line of the user's own.
    Custom(Arc<LogLine>),
}

impl AccessLog {
    /// The line, if it is the user's own.
    pub fn line(&self) -> Option<&LogLine> {
        match self {
            Self::Custom(line) => Some(line),
            Self::Http | Self::Tcp | Self::Json => None,
        }
    }

    /// What has to be found out for its lines.
    pub fn wants(&self) -> Wants {
        let usual = Wants {
            end: true,
            ..Wants::default()
        };
        self.line().map_or(usual, |line| line.wants)
    }
}

impl Wants {
    /// What this and another want.
    pub fn and(self, other: Self) -> Self {
        Self {
            samples: self.samples || other.samples,
            destination: self.destination || other.destination,
            local: self.local || other.local,
            lines: self.lines || other.lines,
            number: self.number || other.number,
            end: self.end || other.end,
        }
    }
}

/// A part of a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// A fact of the session.
    Field(Field, Style),
    /// What an expression comes to.
    Sample(Box<Sample>),
}

/// An expression of a line.
#[derive(Debug, Clone)]
pub struct Sample {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub expr: Expr,
    /// How its value is written.
    pub style: Style,
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.style) == (&other.text, other.style)
    }
}

impl Eq for Sample {}

impl Field {
    /// What HAProxy takes for a reason to wait for the end.
    const OF_ENDS: [Self; 22] = [
        Self::BytesOut,
        Self::BytesIn,
        Self::UniqueId,
        Self::RequestTime,
        Self::QueueTime,
        Self::ConnectTime,
        Self::ResponseTime,
        Self::DataTime,
        Self::ActiveTime,
        Self::TotalTime,
        Self::UserTime,
        Self::HeadTime,
        Self::HandshakeTime,
        Self::IdleTime,
        Self::Termination,
        Self::ProcessConnections,
        Self::FrontendConnections,
        Self::BackendConnections,
        Self::ServerConnections,
        Self::Retries,
        Self::ServerQueue,
        Self::BackendQueue,
    ];
}

/// Declares the facts under HAProxy's names.
macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A fact of a session.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $variant,)*
        }

        impl Field {
            /// Names and facts.
            pub const ALL: &[(&'static str, Self)] = &[$(($name, Self::$variant),)*];
        }
    };
}

fields! {
    /// Client's address.
    ClientIp = "ci",
    /// Client's port.
    ClientPort = "cp",
    /// Frontend.
    Frontend = "f",
    /// Frontend, with `~` after it for TLS.
    FrontendTransport = "ft",
    /// Backend.
    Backend = "b",
    /// Server.
    Server = "s",
    /// From the first byte of the request to the end of its head.
    RequestTime = "TR",
    /// Waiting for a slot.
    QueueTime = "Tw",
    /// Connecting to the server.
    ConnectTime = "Tc",
    /// From there to the response's head.
    ResponseTime = "Tr",
    /// Transferring data.
    DataTime = "Td",
    /// Whole time of the request.
    ActiveTime = "Ta",
    /// Whole time of the session.
    TotalTime = "Tt",
    /// Status.
    Status = "ST",
    /// Bytes to the client.
    BytesOut = "B",
    /// Bytes from the client.
    BytesIn = "U",
    /// Captured cookie of the request.
    RequestCookie = "CC",
    /// Captured cookie of the response.
    ResponseCookie = "CS",
    /// Termination state with cookies.
    TerminationCookies = "tsc",
    /// Termination state.
    Termination = "ts",
    /// Sessions of the process.
    ProcessConnections = "ac",
    /// Sessions of the frontend.
    FrontendConnections = "fc",
    /// Sessions of the backend.
    BackendConnections = "bc",
    /// Sessions of the server.
    ServerConnections = "sc",
    /// Retries.
    Retries = "rc",
    /// Place in the server's queue.
    ServerQueue = "sq",
    /// Place in the backend's queue.
    BackendQueue = "bq",
    /// Request line.
    Request = "r",
    /// Method.
    Method = "HM",
    /// Path without the query.
    PathOnly = "HPO",
    /// Target without the query: in absolute form that is more than the path.
    Path = "HP",
    /// Query with its `?`.
    Query = "HQ",
    /// Target of the request.
    Uri = "HU",
    /// Version.
    Version = "HV",
    /// When it began, local time with milliseconds.
    Date = "t",
    /// When the request began, likewise.
    RequestDate = "tr",
    /// When it began, local time with its zone.
    DateLocal = "Tl",
    /// Likewise of the request.
    RequestDateLocal = "trl",
    /// When it began, in UTC.
    DateUtc = "T",
    /// Likewise of the request.
    RequestDateUtc = "trg",
    /// When it began: seconds since 1970.
    Timestamp = "Ts",
    /// The milliseconds after that.
    Milliseconds = "ms",
    /// Name of this host.
    Hostname = "H",
    /// Process id.
    Pid = "pid",
    /// Our address towards the server.
    BackendIp = "bi",
    /// Our port towards the server.
    BackendPort = "bp",
    /// The address that the client came to.
    FrontendIp = "fi",
    /// The port that the client came to.
    FrontendPort = "fp",
    /// The server's address.
    ServerIp = "si",
    /// The server's port.
    ServerPort = "sp",
    /// What is kept of the request: `{a|b}`.
    RequestCaptures = "hr",
    /// The same as a list.
    RequestCaptureList = "hrl",
    /// What is kept of the response.
    ResponseCaptures = "hs",
    /// The same as a list.
    ResponseCaptureList = "hsl",
    /// Unique id.
    UniqueId = "ID",
    /// Lines that the frontend has written before.
    LogCounter = "lc",
    /// Number of the request.
    RequestCounter = "rt",
    /// Handshakes.
    HandshakeTime = "Th",
    /// Idle before the request.
    IdleTime = "Ti",
    /// From the end of the request before to the end of the head.
    HeadTime = "Tq",
    /// Whole time without idle time.
    UserTime = "Tu",
    /// Cipher of the client's TLS.
    TlsCipher = "sslc",
    /// Version of the client's TLS.
    TlsVersion = "sslv",
}
