//! How a backend chooses among its servers.

use super::Backend;

/// `balance`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Weighted, in turn.
    RoundRobin,
    /// In turn by the weights of the file, whatever they are set to later.
    StaticRr,
    /// Fewest active connections for its weight.
    LeastConn,
    /// Shortest response time, times what is under way, for its weight.
    LeastTime,
    /// The first in the file that has a slot.
    First,
    /// Hash of the client's address.
    Source,
    /// Hash of the client's address and port into a table of which little moves when a server comes or goes.
    Maglev,
    /// The less loaded, for its weight, of a few that are drawn by weight.
    Random,
    /// Hash of the request's path.
    Uri,
    /// Hash of a parameter of the query.
    UrlParam,
    /// Hash of a header.
    Hdr,
    /// Hash of the cookie that an RDP client begins with.
    RdpCookie,
}

impl Balance {
    /// All of them, in the order that messages list them.
    pub const ALL: [Self; 12] = [
        Self::RoundRobin,
        Self::StaticRr,
        Self::LeastConn,
        Self::LeastTime,
        Self::First,
        Self::Source,
        Self::Maglev,
        Self::Random,
        Self::Uri,
        Self::UrlParam,
        Self::Hdr,
        Self::RdpCookie,
    ];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::StaticRr => "static-rr",
            Self::LeastConn => "leastconn",
            Self::LeastTime => "leasttime",
            Self::First => "first",
            Self::Source => "source",
            Self::Maglev => "maglev",
            Self::Random => "random",
            Self::Uri => "uri",
            Self::UrlParam => "url_param",
            Self::Hdr => "hdr",
            Self::RdpCookie => "rdp-cookie",
        }
    }

    /// Whether it looks at a request, which mode tcp has none of.
    pub const fn needs_request(self) -> bool {
        matches!(self, Self::Uri | Self::UrlParam | Self::Hdr)
    }

    /// Whether what is asked for, or who asks, says which server it is, and not whose turn it is or how much each has to do.
    pub const fn is_hash(self) -> bool {
        self.has_hash_type() || matches!(self, Self::Maglev)
    }

    /// Whether `hash_type` says how its hash becomes a server.
    pub const fn has_hash_type(self) -> bool {
        self.needs_request() || matches!(self, Self::Source | Self::RdpCookie)
    }
}

/// What `balance` is told beside the algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceArguments {
    /// [`Balance::Uri`]: the query too.
    pub whole: bool,
    /// [`Balance::Uri`]: so many folders of the path.
    pub depth: Option<u32>,
    /// [`Balance::Uri`]: so many bytes.
    pub len: Option<u32>,
    /// The parameter of [`Balance::UrlParam`], the header of [`Balance::Hdr`] or the cookie of [`Balance::RdpCookie`].
    pub name: String,
    /// [`Balance::Hdr`]: the part of a name alone that stands before its last dot, up to the dot before that.
    pub domain_only: bool,
    /// [`Balance::UrlParam`]: the form that a POST without the parameter brings, too.
    pub check_post: bool,
    /// How many [`Balance::Random`] draws.
    pub draws: u32,
}

impl BalanceArguments {
    /// HAProxy's default, and what the kernel path does.
    pub const DRAWS: u32 = 2;
}

impl Default for BalanceArguments {
    fn default() -> Self {
        Self {
            whole: false,
            depth: None,
            len: None,
            name: String::new(),
            domain_only: false,
            check_post: false,
            draws: Self::DRAWS,
        }
    }
}

/// `hash_type`: how a hash becomes a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashType {
    /// By a table of the servers that are up: exact shares, but many clients move when one comes or goes.
    #[default]
    MapBased,
    /// By a table of which little moves when a server comes or goes.
    Consistent,
}

/// The function in `hash_type`: how a key becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashFunction {
    /// HAProxy's default.
    #[default]
    Sdbm,
    /// Daniel J. Bernstein's.
    Djb2,
    /// Willy Tarreau's.
    Wt6,
    /// Ethernet's.
    Crc32,
    /// The key is a number already.
    None,
}

/// How a key becomes a number, for [`HashType`] to make a server of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hashing {
    /// The function.
    pub function: HashFunction,
    /// Whether its result is mixed once more.
    pub avalanche: bool,
}

impl Backend {
    /// Whether it chooses by a hash just as HAProxy does: the kernel path has no part in it.
    pub fn has_map_of_haproxy(&self) -> bool {
        self.mode == super::Mode::Http
            && self.balance.has_hash_type()
            && self.hash_type == HashType::MapBased
    }

    /// Whether its table is one of which little moves when a server comes or goes.
    pub fn is_consistent(&self) -> bool {
        self.balance == Balance::Maglev
            || self.balance.has_hash_type() && self.hash_type == HashType::Consistent
    }

    /// Whether each step of a slow start, or a weight set at run time, would move clients or have no effect.
    pub fn has_fixed_weights(&self) -> bool {
        has_fixed_weights(self.balance, self.hash_type)
    }
}

/// [`Backend::has_fixed_weights`] before there is one.
pub(in crate::config) fn has_fixed_weights(balance: Balance, hash_type: HashType) -> bool {
    match balance {
        Balance::StaticRr | Balance::First => true,
        _ => balance.has_hash_type() && hash_type == HashType::MapBased,
    }
}
