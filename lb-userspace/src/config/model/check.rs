//! `health_check:` of a backend.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use super::{CheckText, ProxyVersion, Setting, Terms};
use crate::{
    rules::{Problem, Regex},
    tls::ServerOptions,
};

/// `health_check:` with its defaults merged in.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// Between checks.
    pub interval: Duration,
    /// Between checks of a server that is neither quite up nor quite down; `None` is [`HealthCheck::interval`].
    pub fast_interval: Option<Duration>,
    /// Between checks of a server that is down; `None` is [`HealthCheck::interval`].
    pub down_interval: Option<Duration>,
    /// Successes that make a server up.
    pub rise: u32,
    /// Failures that make it down.
    pub fall: u32,
    /// One check's time, if set: else `timeouts.check`, else the interval.
    pub timeout: Option<Duration>,
    /// Another address than the server's.
    pub address: Option<IpAddr>,
    /// Another port than the server's.
    pub port: Option<u16>,
    /// TLS of its own.
    pub tls: Option<ServerOptions>,
    /// No TLS, whatever the server's traffic has.
    pub bare: bool,
    /// The PROXY header before it.
    pub introduction: Introduced,
    /// What traffic says of a server's health.
    pub observe: Option<Observe>,
    /// A server that is up and answers 404 wants nobody new.
    pub disable_on_404: bool,
    /// It is told how it is.
    pub send_state: bool,
    /// Variables that it sets before it asks.
    pub variables: Vec<Setting>,
    /// How regularly it comes: that of `global`.
    pub spread: CheckSpread,
    /// What it has to pass after that, one after the other, each over a connection of its own.
    pub then: Vec<HealthCheck>,
}

impl HealthCheck {
    /// Whether it goes where the server's traffic goes, and so meets what that meets. As HAProxy, a check at a port or an
    /// address of its own speaks to something else, which nothing is known of but what the check says.
    pub fn goes_to_server(&self) -> bool {
        self.port.is_none() && self.address.is_none()
    }

    /// The TLS that each connection of a check needs, its `then` included, of a server that is reached by `traffic`; `None`
    /// where it is that one, or none.
    pub fn all_tls(&self, traffic: Option<&ServerOptions>) -> Vec<Option<ServerOptions>> {
        let all = std::iter::once(self).chain(&self.then);
        all.map(|check| check.own_tls(traffic)).collect()
    }

    /// The TLS that checks of a server need that is reached by `traffic`, where it is not that one.
    pub fn own_tls(&self, traffic: Option<&ServerOptions>) -> Option<ServerOptions> {
        let (secure, h2) = match &self.kind {
            CheckKind::Http {
                secure, version, ..
            } => (*secure, version == HTTP_2),
            CheckKind::Grpc { .. } => (false, true),
            _ => (false, false),
        };
        if self.bare {
            return None;
        }
        let own = self.tls.clone().or_else(|| {
            let traffic = traffic.filter(|_| secure || (h2 && self.goes_to_server()));
            traffic.cloned().map(|mut tls| {
                if h2 {
                    tls.alpn.clear();
                }
                tls
            })
        });
        let own = own.or_else(|| secure.then(ServerOptions::default));
        own.map(|mut tls| {
            if h2 && tls.alpn.is_empty() {
                tls.alpn = vec!["h2".to_owned()];
            }
            tls
        })
    }
}

/// `global.spread_checks` and `global.max_spread_checks`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckSpread {
    /// By how many hundredths of it, at most, the time between two checks is shorter or longer, as chance has it.
    pub percent: u8,
    /// First checks come within this, if that is less than their interval.
    pub first: Option<Duration>,
}

/// `send_proxy` of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Introduced {
    /// As the server's traffic, where the check goes to the same place.
    #[default]
    AsTraffic,
    /// No header.
    Never,
    /// A header of this version, else of the one that the server's traffic has, else of the first.
    Always(Option<ProxyVersion>),
}

impl Introduced {
    /// What comes before a check of a server whose traffic has `traffic`, where the check goes to the `same` place.
    pub fn version(self, traffic: Option<ProxyVersion>, same: bool) -> Option<ProxyVersion> {
        match self {
            Self::AsTraffic => traffic.filter(|_| same),
            Self::Never => None,
            Self::Always(version) => Some(version.or(traffic).unwrap_or(ProxyVersion::V1)),
        }
    }
}

/// [`CheckKind::Http`]'s version that is not one of text.
pub const HTTP_2: &str = "HTTP/2";

/// What a health check does.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckKind {
    /// Connects.
    Tcp,
    /// Connects, sends and looks at what comes.
    Script(Vec<Step>),
    /// Says hello as a TLS client and waits for any answer of TLS.
    Ssl,
    /// Asks an agent how the server is, what weight it should have and whether it should be drained.
    Agent {
        /// Sent first, if anything.
        send: Vec<u8>,
    },
    /// Asks and looks at the answer.
    Http {
        /// Method, `OPTIONS` or `GET` or another.
        method: String,
        /// Path.
        path: CheckText,
        /// `HTTP/1.0`, `HTTP/1.1` or [`HTTP_2`]; what TLS agrees on goes before.
        version: String,
        /// Over TLS, whatever the server's traffic does.
        secure: bool,
        /// Host header, if any.
        host: Option<CheckText>,
        /// Further headers.
        headers: Vec<(String, CheckText)>,
        /// What follows them, if anything.
        body: Option<CheckText>,
        /// Statuses that pass, empty for all; HAProxy's default is 200–399.
        status: Vec<RangeInclusive<u16>>,
        /// What else has to be there.
        content: Vec<Content>,
        /// What is said of that.
        terms: Box<Terms>,
    },
    /// Asks by gRPC's own health protocol.
    Grpc {
        /// Which of the server's services; empty for all.
        service: String,
        /// The name that it is asked by, if another than its address.
        host: Option<CheckText>,
        /// Further headers.
        headers: Vec<(String, CheckText)>,
    },
}

/// A step of [`CheckKind::Script`].
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Sends this.
    Send(Vec<u8>),
    /// Sends what comes of this.
    SendText(CheckText),
    /// The same of hexadecimal digits.
    SendHex(CheckText),
    /// Waits until this is there, on these terms.
    Expect(Content, Box<Terms>),
    /// Sets a variable.
    Set(Setting),
}

/// What an answer has to contain.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// These bytes, anywhere.
    Text(Vec<u8>),
    /// What comes of this, anywhere.
    Filled(CheckText),
    /// Something that matches, anywhere.
    Regex(Pattern),
    /// Anything but this, which is known once there is no more.
    Not(Box<Content>),
    /// The bytes whose hexadecimal digits come of this, anywhere.
    FilledHex(CheckText),
    /// What nothing has: it was to be put together, and could not.
    Nothing,
    /// A field of the head.
    Header(HeadField),
}

/// A field that an answer has to have; one of several of its name will do.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadField {
    /// Its name, in any case.
    pub name: String,
    /// Which part of its value is looked at.
    pub parts: Parts,
    /// What that has to be like.
    pub like: Like,
}

impl HeadField {
    /// Of this value, alone or among others.
    pub fn simple(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parts: Parts::Either,
            like: Like::Is(value.into().into_bytes()),
        }
    }
}

/// Which part of a field's value is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// All of it, or any that commas divide.
    Either,
    /// Any that commas divide.
    Each,
    /// All of it.
    Whole,
}

/// What a value has to be like.
#[derive(Debug, Clone, PartialEq)]
pub enum Like {
    /// It is there.
    There,
    /// These bytes.
    Is(Vec<u8>),
    /// What comes of this.
    Filled(CheckText),
    /// It begins so.
    Begins(Vec<u8>),
    /// It ends so.
    Ends(Vec<u8>),
    /// It has this somewhere.
    Contains(Vec<u8>),
    /// Something in it matches.
    Matches(Pattern),
}

/// A regular expression, compiled.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    /// It is none.
    pub fn new(pattern: &str) -> Result<Self, Problem> {
        Regex::new(pattern, false).map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// `observe` with `error_limit` and `on_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observe {
    /// What is looked at.
    pub layer: Layer,
    /// Errors in a row that are too many.
    pub error_limit: u32,
    /// What then happens.
    pub on_error: OnError,
}

/// `observe`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Whether connections are established.
    Four,
    /// Whether responses come, and with which status.
    Seven,
}

/// `on_error`; each of them also asks for the next check after `fast_interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Nothing more.
    FastInter,
    /// As if a check had failed.
    FailCheck,
    /// As if all checks had failed but the last one that is needed.
    SuddenDeath,
    /// Down at once.
    MarkDown,
}
