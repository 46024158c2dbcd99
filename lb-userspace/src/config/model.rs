//! The checked configuration: what every other part of the daemon reads.
//!
//! A value of these types has passed validation, so nothing downstream checks it again: names resolve, defaults are
//! merged in, addresses are parsed. It holds no state; what changes while running lives in [`crate::topology`].

use std::{
    net::IpAddr, num::NonZeroUsize, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration,
};

mod accepting;
mod address;
mod admin;
mod balance;
mod check;
mod check_text;
mod connections;
mod cookie;
mod forwarding;
mod http_options;
mod identity;
mod inspect;
mod introduction;
mod log_line;
mod logging;
mod names;
mod prefix;
mod retry_on;
mod server;
mod sockets;
mod timeouts;

pub use super::{
    errorfiles::{ErrorFiles, Filled, Page},
    outline::Outline,
};
pub use accepting::Accepting;
pub use address::{Address, Asked, AskedPort, LONGEST_PATH, Permissions};
pub use admin::{AdminLevel, AdminSocket, HealthFile};
pub(super) use balance::has_fixed_weights;
pub use balance::{Balance, BalanceArguments, HashFunction, HashType, Hashing};
pub use check::{
    CheckKind, CheckSpread, Content, HTTP_2, HeadField, HealthCheck, Introduced, Layer, Like,
    Observe, OnError, Parts, Pattern, Step,
};
pub use check_text::{CheckText, Setting, Terms};
pub use connections::{ConnectionMode, Connections, Reuse};
pub use cookie::{Cookie, CookieMode, SameSite};
pub use forwarding::{Forwarded, ForwardedFor, Forwarding, Trust, is_among};
pub use http_options::{HeaderNames, HttpOptions};
pub use identity::number;
pub use inspect::Inspect;
pub use introduction::ProxyOptions;
pub use log_line::{AccessLog, Field, LogLine, Piece, Sample, Wants};
pub use logging::{LogDestination, LogFormat, LogOptions, LogSample, LogTarget, LogTo, ProxyLog};
pub use names::{Hold, InitAddr, Nameserver, Resolve, Resolvers};
pub use prefix::Prefix;
pub use retry_on::{RetryOn, STATUSES};
pub use server::{ComputedName, OnMarkedDown, Protocol, Server};
pub use sockets::{Dialling, Habits, KeepAlive, Sockets, Spoof};
pub use timeouts::Timeouts;

use super::source::Source;
use crate::{
    rules::{Captures, Condition, Handle, Links, Map, Process, RuleSet, Stick, Template, Users},
    tls::BindOptions,
    watched::Stamp,
};

/// A whole configuration file.
#[derive(Debug, Clone)]
pub struct Config {
    /// Settings of the process.
    pub global: Global,
    /// Frontends in the order of the file.
    pub frontends: Vec<Arc<Frontend>>,
    /// Backends in the order of the file.
    pub backends: Vec<Arc<Backend>>,
    /// The stats endpoint, if configured.
    pub stats: Option<Stats>,
    /// The targets of proxies that log elsewhere than `global` says.
    pub logs: Vec<ProxyLog>,
    /// Files that expressions look values up in.
    pub maps: Vec<Arc<Map>>,
    /// Tables that rules count in.
    pub tables: Vec<Arc<Handle>>,
    /// The names of rules' variables, in the order of their numbers.
    pub variables: Vec<String>,
    /// The variables that the whole process has.
    pub process: Process,
    /// Whom names are asked of.
    pub resolvers: Vec<Arc<Resolvers>>,
    /// What rules ask of connections that has to be remembered.
    pub links: Links,
    /// Files of servers beside it.
    pub server_files: ServerFiles,
    /// What the file says where, to be compared with another.
    pub outline: Outline,
}

/// Files that `servers_from` names.
#[derive(Debug, Clone, Default)]
pub struct ServerFiles {
    /// Each as it was just before it was read.
    pub files: Vec<(PathBuf, Stamp)>,
    /// The file that names them; none if there are none.
    pub main: Option<Arc<Source>>,
}

impl Config {
    /// The backend called `name`.
    pub fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|b| b.name == name)
    }

    /// All targets of log lines, those of `global` first.
    pub fn log_targets(&self) -> impl Iterator<Item = &LogTarget> {
        let own = self.logs.iter().flat_map(|log| &log.targets);
        self.global.log.iter().chain(own)
    }
}

/// `global:`
#[derive(Debug, Clone, PartialEq)]
pub struct Global {
    /// Worker threads; `None` is one per available core.
    pub threads: Option<NonZeroUsize>,
    /// Most userspace connections at a time, all frontends together.
    pub maxconn: Option<u32>,
    /// User to drop to.
    pub user: Option<String>,
    /// Group to drop to.
    pub group: Option<String>,
    /// Where the process id is written.
    pub pidfile: Option<PathBuf>,
    /// How regularly servers are checked.
    pub check_spread: CheckSpread,
    /// Where statistics are kept for the next start.
    pub stats_file: Option<PathBuf>,
    /// How long a graceful stop lets connections run.
    pub grace: Duration,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// All sockets that take runtime commands, that one among them.
    pub admin_sockets: Vec<AdminSocket>,
    /// Whether the file is read again when it changes.
    pub watch_config: bool,
    /// Where what `lb health` says is kept.
    pub health_file: Option<HealthFile>,
    /// Where log lines go.
    pub log: Vec<LogTarget>,
    /// What its lines are called, and those of proxies that have no name of their own for them.
    pub log_tag: Option<Arc<str>>,
    /// The host that lines are said to be of.
    pub log_hostname: Option<Arc<str>>,
    /// The in-kernel path.
    pub fast_path: FastPath,
}

/// `global.fast_path:`
#[derive(Debug, Clone, PartialEq)]
pub struct FastPath {
    /// How to attach.
    pub attach: Attach,
    /// Interfaces by name; empty means every Ethernet-like one that is up.
    pub interfaces: Vec<String>,
    /// Where programs and maps are pinned.
    pub pin_path: PathBuf,
    /// Most kernel flows at a time; `None` is what this host's memory suggests
    /// ([`crate::config::host::max_flows`]).
    pub max_flows: Option<u32>,
    /// New kernel flows that one source (an IPv4 address, an IPv6 /64) may open a second; 0 is unbounded.
    pub new_flows_per_source: u32,
    /// Sources whose new flows the kernel drops, for every frontend.
    pub deny: Vec<Prefix>,
    /// Source ports that full NAT may take.
    pub snat_ports: RangeInclusive<u16>,
    /// Source addresses that full NAT may take.
    pub snat_addresses: SnatAddresses,
    /// Whether kernel flows outlive a stop.
    pub on_stop: OnStop,
}

/// `global.fast_path.attach`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// Native XDP, else TC, else userspace.
    Auto,
    /// Native XDP or an error.
    Xdp,
    /// The generic (skb) XDP hook.
    XdpGeneric,
    /// TC ingress.
    Tc,
    /// Userspace alone.
    Off,
}

/// `global.fast_path.snat_addresses`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnatAddresses {
    /// The egress interface's own address.
    Auto,
    /// The service's address.
    Service,
    /// These.
    List(Vec<IpAddr>),
}

/// `global.fast_path.on_stop`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// Flows end with the daemon.
    Detach,
    /// Flows outlive it.
    Keep,
}

/// `mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Layer 4.
    Tcp,
    /// Layer 7.
    Http,
}

/// A frontend.
#[derive(Debug, Clone)]
pub struct Frontend {
    /// Its name.
    pub name: String,
    /// What rules and statistics know it by.
    pub id: u32,
    /// Layer 4 or 7.
    pub mode: Mode,
    /// Where it listens.
    pub binds: Vec<Bind>,
    /// Most userspace connections at a time.
    pub maxconn: Option<u32>,
    /// Rules, top to bottom.
    pub rules: RuleSet,
    /// Rules of connections, before their first request.
    pub connection_rules: RuleSet,
    /// Rules of what they bring (mode tcp).
    pub inspect: Inspect,
    /// Backend when no rule chose one.
    pub default_backend: Option<String>,
    /// Its timeouts, defaults merged in.
    pub timeouts: Timeouts,
    /// What servers are told of its clients.
    pub forwarding: Forwarding,
    /// Proxies before it that are believed; `None`: nobody is told apart.
    pub trust: Option<Trust>,
    /// The access log's line.
    pub log_format: AccessLog,
    /// The line of what never came to a request or a server.
    pub error_log_format: Option<AccessLog>,
    /// Structured data of its lines, for targets whose format has any.
    pub log_format_sd: Option<Arc<LogLine>>,
    /// What is kept of requests and responses for it.
    pub captures: Arc<Captures>,
    /// Which sessions are logged.
    pub log_options: LogOptions,
    /// Pages for answers of ours.
    pub errorfiles: ErrorFiles,
    /// What each request is called.
    pub unique_id: Option<UniqueId>,
    /// Whether connections outlive a request.
    pub connection_mode: ConnectionMode,
    /// What it makes of its clients.
    pub http: HttpOptions,
    /// How they are taken.
    pub accepting: Accepting,
    /// What its clients' sockets are like.
    pub habits: Habits,
    /// Whether clients may begin HTTP/2 without having agreed on it.
    pub h2_upgrade: bool,
    /// A page of its own that says whether it is well.
    pub monitor: Option<Monitor>,
    /// The statistics, among its traffic.
    pub stats: Option<Stats>,
}

/// `monitor`
#[derive(Debug, Clone)]
pub struct Monitor {
    /// The path, with a query if it has one.
    pub uri: String,
    /// When it is not well.
    pub fail: Option<Condition>,
}

/// `unique_id`
#[derive(Debug, Clone)]
pub struct UniqueId {
    /// What it is made of.
    pub format: Template,
    /// The field that tells the server.
    pub header: Option<http::HeaderName>,
}

/// One address that a frontend listens on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bind {
    /// The address; unspecified means all of its family.
    pub address: Address,
    /// Of a unix socket's file.
    pub permissions: Permissions,
    /// Whether `[::]` takes IPv4 as well.
    pub both_families: bool,
    /// Protocol of the socket.
    pub transport: Transport,
    /// As the user wrote it, for messages.
    pub text: String,
    /// TLS towards clients.
    pub tls: Option<BindOptions>,
    /// From whom a PROXY header is taken.
    pub accept_proxy: Option<AcceptProxy>,
    /// What else there is to say of its sockets.
    pub sockets: Sockets,
    /// What rules and logs call it.
    pub label: Label,
}

/// What a bind is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Label {
    /// Its number among those of its frontend: who has none gets one once the whole file is read.
    pub id: Option<u32>,
    /// Its name.
    pub name: Option<String>,
}

impl Label {
    /// Numbers those of a frontend that have none, as HAProxy does: by their places, past what is taken.
    pub fn number(binds: &mut [Bind]) {
        let said = binds.iter().map(|bind| bind.label.id.unwrap_or(0));
        let mut ids: Vec<u32> = said.collect();
        number(&mut ids, 1);
        let all = binds.iter_mut().zip(ids);
        all.for_each(|(bind, id)| bind.label.id = Some(id));
    }
}

impl Bind {
    /// Whether something comes before the connection's own bytes, which only userspace knows how to take.
    pub fn has_preamble(&self) -> bool {
        self.tls.is_some() || self.accept_proxy.is_some()
    }
}

/// `accept_proxy`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AcceptProxy {
    /// Every connection begins with a PROXY header.
    Everyone,
    /// Those from these addresses do; no other is looked at.
    From(Vec<Prefix>),
}

/// `send_proxy`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a bind speaks below the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A backend.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// What rules and statistics know it by.
    pub id: u32,
    /// Layer 4 or 7.
    pub mode: Mode,
    /// The algorithm.
    pub balance: Balance,
    /// Its arguments.
    pub balance_arguments: BalanceArguments,
    /// How a hash becomes a server.
    pub hash_type: HashType,
    /// The rest of it: how the hash is made.
    pub hashing: Hashing,
    /// Percent of the mean load that a server may have before a consistent hash passes it over.
    pub hash_balance_factor: Option<u16>,
    /// Slots of the table of a consistent algorithm, a prime up to 65,537.
    pub table_size: u32,
    /// How the kernel sends to servers (mode tcp).
    pub forward: Forward,
    /// What becomes of a new connection that the kernel cannot take.
    pub overflow: Overflow,
    /// The statistics, among its traffic.
    pub stats: Option<Stats>,
    /// Stickiness (mode http).
    pub cookie: Option<Cookie>,
    /// How servers are checked; `None` is no check at all.
    pub health_check: Option<HealthCheck>,
    /// Its servers, in the order of the file; names are unique.
    pub servers: Vec<Server>,
    /// Times a connection is tried again.
    pub retries: u32,
    /// Whether another server may be tried: `None` never, `Some(n)` every n-th retry, counted as HAProxy does.
    pub redispatch: Option<i32>,
    /// What is tried again.
    pub retry_on: RetryOn,
    /// Its timeouts, defaults merged in.
    pub timeouts: Timeouts,
    /// What its servers are told of clients, whichever frontend they came by.
    pub forwarding: Forwarding,
    /// Rules for what comes to it, after the frontend's.
    pub rules: RuleSet,
    /// Pages for answers of ours, before the frontend's.
    pub errorfiles: ErrorFiles,
    /// How connections are kept and shared.
    pub connections: Connections,
    /// What it makes of requests and its servers.
    pub http: HttpOptions,
    /// Tables that keep clients on their server.
    pub sticks: Vec<Stick>,
    /// Rules of what clients say (mode tcp).
    pub inspect: Inspect,
    /// Rules of what servers say (mode tcp).
    pub inspect_response: Inspect,
}

impl Backend {
    /// How one of its servers is checked, if it is.
    pub fn check_of<'a>(&'a self, server: &'a Server) -> Option<&'a HealthCheck> {
        let check = server.health_check.as_ref().or(self.health_check.as_ref());
        check.filter(|_| server.check)
    }
}

/// `forward`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Source and destination rewritten.
    FullNat,
    /// Destination rewritten.
    Nat,
    /// Destination MAC rewritten.
    Dsr,
    /// Wrapped into another IP packet.
    Ipip,
    /// Userspace, a connection each side.
    Proxy,
}

impl Forward {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullNat => "fullnat",
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Proxy => "proxy",
        }
    }

    /// Whether the packet arrives as the client sent it: servers answer for the service's address and port.
    pub const fn leaves_packet(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip)
    }

    /// Whether servers see the client's address on the kernel path, which userspace cannot give them.
    pub const fn keeps_client(self) -> bool {
        matches!(self, Self::Nat | Self::Dsr | Self::Ipip)
    }
}

/// `overflow`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Userspace takes it.
    Proxy,
    /// It is dropped.
    Drop,
}

/// `stats:`
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Where it listens.
    pub binds: Vec<Bind>,
    /// Path of the page.
    pub uri: String,
    /// The page's refresh.
    pub refresh: Option<Duration>,
    /// Realm of the basic authentication.
    pub realm: String,
    /// Users and passwords; without any it is open.
    pub auth: Option<Arc<Users>>,
    /// `/metrics`.
    pub metrics: Metrics,
    /// Who may change servers by the page.
    pub admin: StatsAdmin,
    /// What the page says of itself.
    pub shows: Shows,
    /// Who may look, of a frontend's or a backend's page.
    pub rules: RuleSet,
}

/// What a page of statistics shows.
#[derive(Debug, Clone, Default)]
pub struct Shows {
    /// The proxies of these names alone.
    pub scope: Option<Vec<String>>,
    /// Not which version of lb this is.
    pub hide_version: bool,
    /// Another name than the host's own.
    pub node: Option<String>,
    /// What it is of.
    pub description: Option<String>,
}

impl Shows {
    /// Whether it shows the proxy called `name`.
    pub fn wants(&self, name: &str) -> bool {
        let scope = self.scope.as_ref();
        scope.is_none_or(|scope| scope.iter().any(|known| known == name))
    }
}

/// `metrics` of `stats:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Whether it needs a password too.
    pub auth: bool,
    /// Whether each server has figures of its own there.
    pub servers: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            auth: false,
            servers: true,
        }
    }
}

/// `stats.admin`
#[derive(Debug, Clone, Default)]
pub enum StatsAdmin {
    /// Nobody.
    #[default]
    Nobody,
    /// Everybody who may look.
    Everybody,
    /// Who may look and comes from one of these.
    From(Vec<Prefix>),
    /// Whose request has this condition hold, of a frontend's or a backend's page.
    If(Box<Condition>),
}

impl StatsAdmin {
    /// Whether a client with this address may; one of a unix socket has none. `holds`: whether the condition does.
    pub fn allows(&self, address: Option<IpAddr>, holds: bool) -> bool {
        match self {
            Self::Nobody => false,
            Self::If(_) => holds,
            Self::Everybody => true,
            Self::From(prefixes) => address.is_some_and(|address| {
                let address = address.to_canonical();
                prefixes.iter().any(|prefix| prefix.contains(address))
            }),
        }
    }
}
