//! What is asked for, and what the clients report.

use std::time::Duration;

use lb_tests::{Error, Result};

/// Connections at a time.
const CONNECTIONS: u32 = 64;
/// Streams of HTTP/2 in each of so many fewer connections.
const STREAMS: u32 = 4;

/// One kind of traffic, one size of answers.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) size: Size,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1 over connections that stay.
    Http1,
    /// The same over TLS.
    Tls1,
    /// HTTP/2 over TLS.
    Tls2,
    /// Mode tcp, which happens to carry HTTP/1.
    Tcp,
    /// A connection a request.
    Closing,
}

#[derive(Clone, Copy)]
pub(crate) enum Size {
    Small,
    Large,
}

pub(crate) const CASES: [Case; 9] = [
    case("h1-128", Kind::Http1, Size::Small),
    case("h1-16k", Kind::Http1, Size::Large),
    case("tls1-128", Kind::Tls1, Size::Small),
    case("tls1-16k", Kind::Tls1, Size::Large),
    case("tls2-128", Kind::Tls2, Size::Small),
    case("tls2-16k", Kind::Tls2, Size::Large),
    case("tcp-128", Kind::Tcp, Size::Small),
    case("tcp-16k", Kind::Tcp, Size::Large),
    case("close-128", Kind::Closing, Size::Small),
];

const fn case(name: &'static str, kind: Kind, size: Size) -> Case {
    Case { name, kind, size }
}

impl Size {
    /// The file that the servers have of it.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Small => "128",
            Self::Large => "16k",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 128,
            Self::Large => 16 * 1024,
        }
    }
}

impl Case {
    /// Where `port` has it.
    pub(crate) fn url(&self, port: u16) -> String {
        let scheme = match self.kind {
            Kind::Tls1 | Kind::Tls2 => "https",
            Kind::Http1 | Kind::Tcp | Kind::Closing => "http",
        };
        format!("{scheme}://localhost:{port}/{}", self.size.file())
    }

    /// The client's command line.
    pub(crate) fn client(&self, port: u16, time: Duration) -> Vec<String> {
        let seconds = time.as_secs();
        let mut words = match self.kind {
            Kind::Tls2 => vec![
                "h2load".into(),
                "-t1".into(),
                format!("-c{}", CONNECTIONS / STREAMS),
                format!("-m{STREAMS}"),
                format!("-D{seconds}"),
            ],
            _ => vec![
                "wrk".into(),
                "-t1".into(),
                format!("-c{CONNECTIONS}"),
                format!("-d{seconds}s"),
            ],
        };
        if self.kind == Kind::Closing {
            words.extend(["-H".into(), "Connection: close".into()]);
        }
        words.push(self.url(port));
        words
    }

    /// Requests that were answered well, by what the client printed.
    ///
    /// # Errors
    /// Some were not, or it printed something else.
    pub(crate) fn answered(&self, printed: &str) -> Result<u64> {
        let before = |word: &str| {
            let mut words = printed.split([' ', '\n', ',']).filter(|w| !w.is_empty());
            let mut last = "";
            words.find_map(|w| {
                let found = (w == word).then(|| last.parse::<u64>().ok()).flatten();
                last = w;
                found
            })
        };
        let (answered, failed) = match self.kind {
            Kind::Tls2 => (before("succeeded"), before("failed").unwrap_or(0)),
            _ => (before("requests"), bad_statuses(printed)),
        };
        match answered {
            Some(answered @ 1..) if failed == 0 => Ok(answered),
            _ => Err(Error::new(format!("{}: {printed}", self.name))),
        }
    }
}

/// Of wrk's report. It counts what a connection's end meets as an error of the socket, where each ends: that is no fault.
fn bad_statuses(printed: &str) -> u64 {
    printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses: "))
        .map_or(0, |count| count.trim().parse().unwrap_or(u64::MAX))
}
