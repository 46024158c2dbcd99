//! What the file says, section by section: parsed and in range, but neither inherited nor compared with one another.
//!
//! `Option` means that the file is silent; spans are kept where a later check may have to point.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    connections::ConnectionsDraft,
    forwarding::{ForwardingDraft, TrustDraft},
    http_options::HttpOptionsDraft,
    logging::{LogDraft, LogFiles},
    model::{
        Accepting, AccessLog, Address, Balance, BalanceArguments, Bind, ComputedName,
        ConnectionMode, Cookie, ErrorFiles, Forward, Global, Habits, HashType, Hashing,
        HealthCheck, InitAddr, Inspect, LogLine, Metrics, Mode, Monitor, OnMarkedDown, Overflow,
        Protocol, ProxyOptions, ProxyVersion, Resolve, RetryOn, Shows, Stats, StatsAdmin, UniqueId,
    },
    sockets::Source,
    source::{Span, Spanned},
    tls::Wanted,
};
use crate::{
    rules::{Captures, Rule, Stick, Users},
    tls::ServerOptions,
};

/// A whole file.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) global: Global,
    pub(super) places: Places,
    pub(super) defaults: DefaultsDraft,
    pub(super) frontends: Vec<FrontendDraft>,
    pub(super) backends: Vec<BackendDraft>,
    pub(super) stats: Option<StatsDraft>,
}

/// Where the settings are that have to do with the host.
#[derive(Debug, Default, Clone)]
pub(super) struct Places {
    pub(super) user: Option<Span>,
    pub(super) group: Option<Span>,
    pub(super) pidfile: Option<Span>,
    pub(super) admin_socket: Option<Span>,
    /// One for each of `HealthFile::backends`.
    pub(super) health_backends: Vec<Span>,
    /// Files that lines go to.
    pub(super) log_files: LogFiles,
    pub(super) attach: Option<Span>,
    /// One for each of `FastPath::interfaces`.
    pub(super) interfaces: Vec<Span>,
    pub(super) max_flows: Option<Span>,
    pub(super) snat_ports: Option<Span>,
    pub(super) stats: Option<Span>,
    pub(super) tls: Vec<Wanted>,
    /// Servers' addresses that are names, by backend and server.
    pub(super) names: HashMap<(String, String), Span>,
}

/// `defaults:`
#[derive(Debug, Default)]
pub(super) struct DefaultsDraft {
    pub(super) mode: Option<Spanned<Mode>>,
    pub(super) maxconn: Option<u32>,
    pub(super) accepting: Accepting,
    pub(super) log_format: Option<Spanned<AccessLog>>,
    pub(super) error_log_format: Option<Spanned<AccessLog>>,
    pub(super) log_format_sd: Option<Spanned<Arc<LogLine>>>,
    pub(super) log_options: LogDraft,
    pub(super) forwarding: ForwardingDraft,
    pub(super) trust: TrustDraft,
    pub(super) timeouts: TimeoutsDraft,
    pub(super) errorfiles: Option<Spanned<ErrorFiles>>,
    pub(super) proxy: ProxyDraft,
}

/// What `defaults` and a backend have in common.
#[derive(Debug, Default)]
pub(super) struct ProxyDraft {
    pub(super) balance: Option<BalanceDraft>,
    pub(super) hash_type: Option<Spanned<(HashType, Hashing)>>,
    /// The inner `None` is 0.
    pub(super) hash_balance_factor: Option<Spanned<Option<u16>>>,
    pub(super) forward: Option<Spanned<Forward>>,
    pub(super) overflow: Option<Spanned<Overflow>>,
    pub(super) cookie: Option<Spanned<Cookie>>,
    /// `cookie` is there, though perhaps not readable.
    pub(super) cookie_written: bool,
    /// The inner `None` is `type: none`.
    pub(super) health_check: Option<Spanned<Option<HealthCheck>>>,
    /// `health_check` is there, though perhaps not readable.
    pub(super) check_written: bool,
    pub(super) retries: Option<u32>,
    /// The inner `None` is `false`.
    pub(super) redispatch: Option<Option<i32>>,
    pub(super) retry_on: Option<Spanned<RetryOn>>,
    pub(super) on_marked_down: Option<OnMarkedDown>,
    pub(super) connection_mode: Option<Spanned<ConnectionMode>>,
    pub(super) connections: ConnectionsDraft,
    pub(super) http: HttpOptionsDraft,
    /// What its servers have unless they say otherwise.
    pub(super) default_server: ServerKeys,
}

/// `balance` with its arguments.
#[derive(Debug, Clone)]
pub(super) struct BalanceDraft {
    pub(super) span: Span,
    pub(super) algorithm: Balance,
    pub(super) arguments: BalanceArguments,
    pub(super) table_size: Option<Spanned<u32>>,
}

/// How long nothing may move in a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tunnel {
    /// As long as the client and the server may be silent otherwise.
    AsBefore,
    Time(Duration),
}

/// `timeouts:`
#[derive(Debug, Default, Clone)]
pub(super) struct TimeoutsDraft {
    pub(super) connect: Option<Duration>,
    pub(super) client: Option<Duration>,
    pub(super) server: Option<Duration>,
    pub(super) http_request: Option<Duration>,
    pub(super) http_keep_alive: Option<Duration>,
    pub(super) queue: Option<Duration>,
    pub(super) tarpit: Option<Duration>,
    pub(super) tunnel: Option<Tunnel>,
    pub(super) check: Option<Duration>,
    pub(super) client_fin: Option<Duration>,
    pub(super) server_fin: Option<Duration>,
}

/// One entry of `frontends:`.
#[derive(Debug)]
pub(super) struct FrontendDraft {
    pub(super) name: Spanned<String>,
    pub(super) id: Option<Spanned<u32>>,
    pub(super) mode: Option<Spanned<Mode>>,
    pub(super) binds: Vec<Spanned<Bind>>,
    pub(super) maxconn: Option<u32>,
    pub(super) accepting: Accepting,
    /// What is kept for the log, by rules too.
    pub(super) captures: Captures,
    /// Where `capture` is written, if it is.
    pub(super) captures_span: Option<Span>,
    pub(super) rules: Vec<RuleDraft>,
    /// Those of connections.
    pub(super) connection_rules: Option<Spanned<Vec<Rule>>>,
    /// Those of what they bring.
    pub(super) inspect: Option<Spanned<Inspect>>,
    pub(super) default_backend: Option<Spanned<String>>,
    pub(super) timeouts: TimeoutsDraft,
    pub(super) forwarding: ForwardingDraft,
    pub(super) trust: TrustDraft,
    pub(super) log_format: Option<Spanned<AccessLog>>,
    pub(super) error_log_format: Option<Spanned<AccessLog>>,
    pub(super) log_format_sd: Option<Spanned<Arc<LogLine>>>,
    pub(super) log_options: LogDraft,
    pub(super) errorfiles: Option<Spanned<ErrorFiles>>,
    pub(super) unique_id: Option<Spanned<UniqueId>>,
    pub(super) http: HttpOptionsDraft,
    pub(super) connection_mode: Option<Spanned<ConnectionMode>>,
    pub(super) habits: Habits,
    pub(super) h2_upgrade: Option<Spanned<bool>>,
    pub(super) monitor: Option<Spanned<Monitor>>,
    pub(super) stats: Option<Spanned<Stats>>,
    /// A backend was named, though perhaps in a way that could not be read.
    pub(super) routes: bool,
}

/// One entry of `rules:`.
#[derive(Debug)]
pub(super) struct RuleDraft {
    pub(super) span: Span,
    pub(super) rule: Rule,
    /// The backend that it names, if it does.
    pub(super) use_backend: Option<Spanned<String>>,
}

/// One entry of `backends:`.
#[derive(Debug)]
pub(super) struct BackendDraft {
    pub(super) name: Spanned<String>,
    pub(super) id: Option<Spanned<u32>>,
    pub(super) mode: Option<Spanned<Mode>>,
    pub(super) log: LogDraft,
    /// Its own alone: what `defaults` says reaches requests by their frontend.
    pub(super) forwarding: ForwardingDraft,
    pub(super) timeouts: TimeoutsDraft,
    pub(super) proxy: ProxyDraft,
    pub(super) rules: Vec<RuleDraft>,
    pub(super) sticks: Vec<Spanned<Stick>>,
    pub(super) stats: Option<Spanned<Stats>>,
    pub(super) habits: Habits,
    /// `inspect` and `inspect_response`.
    pub(super) inspect: [Option<Spanned<Inspect>>; 2],
    pub(super) errorfiles: Option<Spanned<ErrorFiles>>,
    pub(super) servers: Vec<ServerDraft>,
    /// Where `servers` is written, if it is.
    pub(super) servers_span: Option<Span>,
    /// There is a file that gives it servers, at present perhaps none.
    pub(super) from_file: bool,
}

/// One entry of `servers:`.
#[derive(Debug)]
pub(super) struct ServerDraft {
    pub(super) name: Spanned<String>,
    pub(super) id: Option<Spanned<u32>>,
    pub(super) address: Spanned<Address>,
    pub(super) cookie: Option<Spanned<String>>,
    /// The backend's with what the server says otherwise; the inner `None` is `type: none`.
    pub(super) health_check: Option<Spanned<Option<HealthCheck>>>,
    /// `BACKEND/SERVER`, or the name of one beside it.
    pub(super) track: Option<Spanned<String>>,
    pub(super) keys: ServerKeys,
}

/// What a server says, or `default_server` for it.
#[derive(Debug, Default, Clone)]
pub(super) struct ServerKeys {
    pub(super) weight: Option<u16>,
    pub(super) maxconn: Option<u32>,
    pub(super) max_queue: Option<Spanned<u32>>,
    pub(super) minconn: Option<Spanned<u32>>,
    pub(super) source: Option<Source>,
    pub(super) user_timeout: Option<Duration>,
    pub(super) fast_open: Option<bool>,
    pub(super) sticks: Option<bool>,
    pub(super) max_reuse: Option<u32>,
    pub(super) on_marked_up: Option<bool>,
    pub(super) backup: Option<bool>,
    pub(super) disabled: Option<bool>,
    pub(super) check: Option<Spanned<bool>>,
    /// No time at all is none.
    pub(super) slowstart: Option<Spanned<Duration>>,
    pub(super) protocol: Option<Spanned<Protocol>>,
    pub(super) on_marked_down: Option<OnMarkedDown>,
    /// The inner `None` is `false`.
    pub(super) tls: Option<Spanned<Option<ServerOptions>>>,
    /// What `sni` of that `tls` asks, if it asks anything but the host.
    pub(super) server_name: Option<Option<ComputedName>>,
    /// The inner `None` is `false`.
    pub(super) send_proxy: Option<Spanned<Option<ProxyVersion>>>,
    pub(super) proxy_options: Option<Spanned<ProxyOptions>>,
    pub(super) agent_check: Option<HealthCheck>,
    /// The inner `None` is `false`.
    pub(super) resolve: Option<Spanned<Option<Resolve>>>,
    pub(super) init_addr: Option<Spanned<Vec<InitAddr>>>,
}

impl ServerKeys {
    /// These, and where they are silent `other`.
    pub(super) fn or(self, other: &ServerKeys) -> ServerKeys {
        let other = other.clone();
        ServerKeys {
            weight: self.weight.or(other.weight),
            maxconn: self.maxconn.or(other.maxconn),
            max_queue: self.max_queue.or(other.max_queue),
            minconn: self.minconn.or(other.minconn),
            source: self.source.or(other.source),
            user_timeout: self.user_timeout.or(other.user_timeout),
            fast_open: self.fast_open.or(other.fast_open),
            sticks: self.sticks.or(other.sticks),
            max_reuse: self.max_reuse.or(other.max_reuse),
            on_marked_up: self.on_marked_up.or(other.on_marked_up),
            backup: self.backup.or(other.backup),
            disabled: self.disabled.or(other.disabled),
            check: self.check.or(other.check),
            slowstart: self.slowstart.or(other.slowstart),
            protocol: self.protocol.or(other.protocol),
            on_marked_down: self.on_marked_down.or(other.on_marked_down),
            tls: self.tls.or(other.tls),
            server_name: self.server_name.or(other.server_name),
            send_proxy: self.send_proxy.or(other.send_proxy),
            proxy_options: self.proxy_options.or(other.proxy_options),
            agent_check: self.agent_check.or(other.agent_check),
            resolve: self.resolve.or(other.resolve),
            init_addr: self.init_addr.or(other.init_addr),
        }
    }
}

/// `stats:`
#[derive(Debug)]
pub(super) struct StatsDraft {
    pub(super) binds: Vec<Spanned<Bind>>,
    pub(super) uri: String,
    pub(super) refresh: Option<Duration>,
    pub(super) realm: String,
    pub(super) auth: Option<Arc<Users>>,
    pub(super) metrics: Metrics,
    pub(super) admin: StatsAdmin,
    pub(super) shows: Shows,
}
