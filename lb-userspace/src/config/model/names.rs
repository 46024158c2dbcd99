//! Names of servers: whom to ask for their addresses, and how what is answered is taken.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::Prefix;

/// An entry of `resolvers:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resolvers {
    /// Its name.
    pub name: String,
    /// DNS servers, asked all at once.
    pub nameservers: Vec<Nameserver>,
    /// Those of /etc/resolv.conf too.
    pub system: bool,
    /// Times that a question is asked again.
    pub retries: u32,
    /// From one question to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub retry: Duration,
    /// Largest answer that is asked for by UDP.
    pub payload: u16,
    /// How long what is known outlives what is answered.
    pub hold: Hold,
}

impl Resolvers {
    /// The name of the one that every file has.
    pub const DEFAULT: &'static str = "default";

    /// HAProxy's defaults.
    pub fn new(name: &str) -> Self {
        let seconds = Duration::from_secs;
        Self {
            name: name.to_owned(),
            nameservers: Vec::new(),
            system: false,
            retries: 3,
            interval: seconds(1),
            retry: seconds(1),
            payload: 512,
            hold: Hold {
                valid: seconds(10),
                nx: seconds(30),
                refused: seconds(30),
                timeout: seconds(30),
                other: seconds(30),
                obsolete: Duration::ZERO,
            },
        }
    }

    /// Those of the system, which a file need not say anything of.
    pub fn system() -> Self {
        Self {
            system: true,
            ..Self::new(Self::DEFAULT)
        }
    }
}

/// One DNS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nameserver {
    /// Where it listens.
    pub address: SocketAddr,
    /// It is asked by TCP alone.
    pub tcp: bool,
}

/// `hold`, from when the last good answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hold {
    /// A good answer, before the question is asked again.
    pub valid: Duration,
    /// What is known, once there is no such name.
    pub nx: Duration,
    /// Once servers refuse.
    pub refused: Duration,
    /// Once nobody answers.
    pub timeout: Duration,
    /// Once the answers are of no use.
    pub other: Duration,
    /// An address that is not among the answers any more.
    pub obsolete: Duration,
}

/// `resolve`: a server's name is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// Whom to ask.
    pub resolvers: Arc<Resolvers>,
    /// IPv4 goes before IPv6.
    pub prefers_v4: bool,
    /// Networks that go before others.
    pub networks: Vec<Prefix>,
    /// Two servers of a backend may have one address.
    pub duplicates: bool,
    /// The weights of SRV records are left out.
    pub ignores_weight: bool,
}

/// `init_addr`: a way to a server's first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitAddr {
    /// The one that it had.
    Last,
    /// What the system's resolver says.
    Libc,
    /// None: the server has to wait for one.
    None,
    /// This one.
    Address(IpAddr),
}
