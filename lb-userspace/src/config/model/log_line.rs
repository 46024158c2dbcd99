//! A log line of the user's own: HAProxy's `log-format`, read.

/// What a log line consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// One after the other.
    pub pieces: Vec<Piece>,
}

/// A part of a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// A fact of the session.
    Field(Field, Style),
}

/// How a fact is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// `Q`: in double quotes.
    pub quote: bool,
    /// `E`: `"`, `\` and `]` get a backslash before them.
    pub escape: bool,
    /// `X`: numbers and addresses in hexadecimal.
    pub hex: bool,
    /// `M`: a fact that is not there is a `-`, unless it is quoted.
    pub mandatory: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            quote: false,
            escape: false,
            hex: false,
            mandatory: true,
        }
    }
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
    /// Path without the query, likewise: this is no proxy of absolute forms.
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
}

/// Variables of HAProxy's that are not there yet.
pub const LATER: &[&str] = &[
    "bi", "bp", "fi", "fp", "si", "sp", "hr", "hrl", "hs", "hsl", "ID", "lc", "rt", "Th", "Ti",
    "Tq", "Tu", "sslc", "sslv",
];
