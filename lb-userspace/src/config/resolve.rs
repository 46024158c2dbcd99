//! From what the file says to what holds: inheritance and "what goes without saying".

use std::{collections::HashMap, sync::Arc};

use lb_common::slots;

use super::{
    accepting,
    draft::{BackendDraft, DefaultsDraft, Draft, FrontendDraft, ServerDraft, ServerKeys},
    dynamic_cookie, forwarding, identity,
    logging::{self, Known},
    model::{
        AccessLog, Backend, Balance, Bind, CheckSpread, Config, Cookie, Dialling, ErrorFiles,
        Forward, Frontend, Habits, HashType, InitAddr, Label, LogOptions, Mode, OnMarkedDown,
        Overflow, Protocol, RetryOn, Server, Stats, has_fixed_weights,
    },
    timeouts, tls, tracking,
};
use crate::{
    rules::{Expr, Registry, RuleSet},
    tls::ServerOptions,
};

/// HAProxy's default.
const RETRIES: u32 = 3;
/// What a frontend without a limit counts for.
const MOST_SESSIONS: u32 = 2000;

/// The configuration. Only right for a draft in which [`super::cross::check`] found no error.
pub(super) fn resolve(draft: Draft, registry: &Registry<'_>) -> Config {
    let modes: HashMap<String, Mode> = draft
        .backends
        .iter()
        .map(|b| (b.name.value.clone(), backend_mode(b, &draft)))
        .collect();
    let full: HashMap<String, u32> = draft
        .backends
        .iter()
        .map(|b| (b.name.value.clone(), fullconn(b, &draft)))
        .collect();
    let Draft {
        global,
        defaults,
        frontends,
        backends,
        stats,
        ..
    } = draft;
    let spread = global.check_spread;
    let mut logs = Vec::new();
    let known = Known {
        global: &global.log,
        tag: global.log_tag.as_ref(),
        hostname: global.log_hostname.as_ref(),
    };
    logs.extend(
        backends
            .iter()
            .filter_map(|b| logging::messages(&b.name.value, &b.log, &defaults.log_options, known)),
    );
    let mut frontends: Vec<Frontend> = frontends
        .into_iter()
        .map(|f| {
            let (name, own) = (&f.name.value, &f.log_options);
            let (options, log) = logging::sessions(name, own, &defaults.log_options, known);
            logs.extend(log);
            frontend(f, options, &defaults)
        })
        .collect();
    let mut backends: Vec<Backend> = backends
        .into_iter()
        .map(|b| {
            let mode = modes.get(&b.name.value).copied().unwrap_or(Mode::Http);
            let full = full.get(&b.name.value).copied();
            let mut backend = backend(b, mode, &defaults);
            let fullconn = &mut backend.connections.fullconn;
            *fullconn = fullconn.or(full);
            spread_checks(&mut backend, spread);
            backend
        })
        .collect();
    identity::number(&mut frontends, &mut backends);
    Config {
        global,
        frontends: frontends.into_iter().map(Arc::new).collect(),
        logs,
        backends: backends.into_iter().map(Arc::new).collect(),
        stats: stats.map(|s| Stats {
            binds: s.binds.into_iter().map(|bind| bind.value).collect(),
            uri: s.uri,
            refresh: s.refresh,
            realm: s.realm,
            auth: s.auth,
            metrics: s.metrics,
            admin: s.admin,
            shows: s.shows,
            rules: RuleSet::default(),
        }),
        maps: registry.maps().to_vec(),
        tables: registry.tables().to_vec(),
        variables: registry.variables().to_vec(),
        process: registry.process().clone(),
        resolvers: Vec::new(),
        links: registry.links(),
        server_files: Default::default(),
        outline: super::model::Outline::default(),
    }
}

/// Tells a backend's checks how regularly they come.
fn spread_checks(backend: &mut Backend, spread: CheckSpread) {
    let servers = backend.servers.iter_mut();
    let of_servers = servers.flat_map(|server| [&mut server.health_check, &mut server.agent_check]);
    for check in of_servers.chain([&mut backend.health_check]).flatten() {
        check.spread = spread;
    }
}

/// HAProxy's `fullconn` where the file says none: a tenth of what all frontends that name the backend may have.
fn fullconn(backend: &BackendDraft, draft: &Draft) -> u32 {
    let most = draft.defaults.maxconn.or(draft.global.maxconn);
    let all = users(&backend.name.value, draft)
        .map(|frontend| frontend.maxconn.or(most).unwrap_or(MOST_SESSIONS))
        .fold(0, u32::saturating_add);
    (all / 10).max(1)
}

/// The frontend's own, else `defaults.mode`, else http.
pub(super) fn frontend_mode(frontend: &FrontendDraft, defaults: &DefaultsDraft) -> Mode {
    frontend
        .mode
        .as_ref()
        .or(defaults.mode.as_ref())
        .map_or(Mode::Http, |mode| mode.value)
}

/// The backend's own, else that of the first frontend that names it, else `defaults.mode`, else http.
pub(super) fn backend_mode(backend: &BackendDraft, draft: &Draft) -> Mode {
    if let Some(mode) = &backend.mode {
        return mode.value;
    }
    match users(&backend.name.value, draft).next() {
        Some(frontend) => frontend_mode(frontend, &draft.defaults),
        None => draft
            .defaults
            .mode
            .as_ref()
            .map_or(Mode::Http, |mode| mode.value),
    }
}

/// Frontends that may send to a backend.
pub(super) fn users<'a>(
    backend: &'a str,
    draft: &'a Draft,
) -> impl Iterator<Item = &'a FrontendDraft> {
    draft.frontends.iter().filter(move |f| {
        f.default_backend
            .iter()
            .chain(f.rules.iter().filter_map(|rule| rule.use_backend.as_ref()))
            .any(|name| name.value == backend)
    })
}

/// The backend's own `forward`, else that of `defaults`, else fullnat; always proxy in mode http.
pub(super) fn forward(backend: &BackendDraft, mode: Mode, defaults: &DefaultsDraft) -> Forward {
    match mode {
        Mode::Http => Forward::Proxy,
        Mode::Tcp => backend
            .proxy
            .forward
            .as_ref()
            .or(defaults.proxy.forward.as_ref())
            .map_or(Forward::FullNat, |f| f.value),
    }
}

fn frontend(draft: FrontendDraft, log_options: LogOptions, defaults: &DefaultsDraft) -> Frontend {
    let mode = frontend_mode(&draft, defaults);
    let follows_mode = match mode {
        Mode::Http => AccessLog::Http,
        Mode::Tcp => AccessLog::Tcp,
    };
    let inherited = defaults
        .log_format
        .as_ref()
        .map(|format| format.value.clone());
    // A default made for one mode does not reach proxies of the other.
    let of_requests = |format: &AccessLog| match format {
        AccessLog::Http => true,
        AccessLog::Custom(line) => line.samples().any(Expr::needs_request) || line.tells_requests(),
        AccessLog::Tcp | AccessLog::Json => false,
    };
    let inherited = inherited.filter(|format| mode == Mode::Http || !of_requests(format));
    let structured = defaults.log_format_sd.as_ref().map(|line| &line.value);
    let structured = structured
        .filter(|line| mode == Mode::Http || !line.samples().any(Expr::needs_request))
        .cloned();
    let binds = draft.binds.into_iter();
    let mut binds: Vec<Bind> = binds.map(|bind| with_protocols(bind.value, mode)).collect();
    Label::number(&mut binds);
    Frontend {
        id: draft.id.map_or(0, |id| id.value),
        mode,
        binds,
        maxconn: draft.maxconn.or(defaults.maxconn),
        accepting: accepting::resolve(draft.accepting, defaults.accepting),
        rules: RuleSet::new(draft.rules.into_iter().map(|rule| rule.rule).collect()),
        connection_rules: RuleSet::new(
            draft
                .connection_rules
                .map_or_else(Vec::new, |rules| rules.value),
        ),
        inspect: draft
            .inspect
            .map(|inspect| inspect.value)
            .unwrap_or_default(),
        default_backend: draft.default_backend.map(|name| name.value),
        timeouts: timeouts::resolve(&draft.timeouts, &defaults.timeouts),
        forwarding: forwarding::resolve(&draft.forwarding, Some(&defaults.forwarding), mode),
        trust: forwarding::resolve_trust(draft.trust, &defaults.trust, mode),
        captures: Arc::new(draft.captures),
        log_options,
        log_format: draft
            .log_format
            .map(|format| format.value)
            .or(inherited)
            .unwrap_or(follows_mode),
        error_log_format: draft
            .error_log_format
            .or_else(|| defaults.error_log_format.clone())
            .map(|format| format.value),
        log_format_sd: draft.log_format_sd.map(|line| line.value).or(structured),
        errorfiles: ErrorFiles::resolve(draft.errorfiles, defaults.errorfiles.as_ref()),
        unique_id: draft.unique_id.map(|id| id.value),
        connection_mode: draft
            .connection_mode
            .or(defaults.proxy.connection_mode)
            .filter(|_| mode == Mode::Http)
            .map_or_else(Default::default, |mode| mode.value),
        habits: draft.habits,
        h2_upgrade: draft.h2_upgrade.is_none_or(|on| on.value),
        http: draft.http.resolve(&defaults.proxy.http, mode),
        monitor: draft.monitor.map(|monitor| monitor.value),
        stats: draft.stats.map(|stats| stats.value),
        name: draft.name.value,
    }
}

/// In mode http a client that asks by ALPN is to get an answer.
fn with_protocols(mut bind: Bind, mode: Mode) -> Bind {
    if let Some(tls) = bind
        .tls
        .as_mut()
        .filter(|tls| mode == Mode::Http && tls.alpn.is_empty())
    {
        tls.alpn = tls::HTTP.iter().map(|&name| name.to_owned()).collect();
    }
    bind
}

/// What is spoken to a server, and what TLS offers it if the file does not say that.
fn spoken(keys: &ServerKeys) -> (Protocol, &'static [&'static str]) {
    let written = keys.protocol.map(|protocol| protocol.value);
    let asks = keys
        .tls
        .as_ref()
        .and_then(|tls| tls.value.as_ref())
        .is_some_and(|tls| tls.alpn.iter().any(|name| name == "h2"));
    match written {
        Some(Protocol::H1) => (Protocol::H1, &["http/1.1"]),
        Some(Protocol::H2) => (Protocol::H2, &["h2"]),
        Some(Protocol::Auto) => (Protocol::Auto, tls::HTTP),
        None if asks => (Protocol::Auto, tls::HTTP),
        None => (Protocol::H1, &["http/1.1"]),
    }
}

fn backend(draft: BackendDraft, mode: Mode, defaults: &DefaultsDraft) -> Backend {
    let forward = forward(&draft, mode, defaults);
    let inherited = &defaults.proxy;
    let own = draft.proxy;
    let overflow = own
        .overflow
        .as_ref()
        .or(inherited.overflow.as_ref())
        .map(|overflow| overflow.value);
    let overflow = match (forward, overflow) {
        (Forward::Proxy, _) => Overflow::Proxy,
        (_, Some(overflow)) => overflow,
        (Forward::Dsr | Forward::Ipip, None) => Overflow::Drop,
        (Forward::FullNat | Forward::Nat, None) => Overflow::Proxy,
    };
    let cookie = own
        .cookie
        .or_else(|| inherited.cookie.clone())
        .filter(|_| mode == Mode::Http);
    let health_check = own.health_check.or_else(|| inherited.health_check.clone());
    let sticky = cookie.as_ref().map(|cookie| cookie.value.clone());
    let balance = own.balance.or_else(|| inherited.balance.clone());
    let algorithm = balance
        .as_ref()
        .map_or(Balance::RoundRobin, |balance| balance.algorithm);
    let (hash_type, hashing) = own
        .hash_type
        .or(inherited.hash_type)
        .map_or_else(Default::default, |hash_type| hash_type.value);
    let hash_balance_factor = own
        .hash_balance_factor
        .or(inherited.hash_balance_factor)
        .and_then(|factor| factor.value)
        .filter(|_| algorithm.has_hash_type() && hash_type == HashType::Consistent);
    let source = own.connections.source(&inherited.connections);
    let mut default_server = default_server(own.default_server, own.on_marked_down, defaults);
    default_server.source = default_server.source.take().or(source);
    let habits = draft.habits;
    if has_fixed_weights(algorithm, hash_type) {
        // Only what `defaults` says for others can be left here: each step would move clients.
        default_server.slowstart = None;
    }
    let [inspect, inspect_response] = draft
        .inspect
        .map(|inspect| inspect.map(|inspect| inspect.value).unwrap_or_default());
    Backend {
        id: draft.id.map_or(0, |id| id.value),
        mode,
        inspect,
        inspect_response,
        balance: algorithm,
        hash_type,
        hashing,
        hash_balance_factor,
        table_size: balance
            .as_ref()
            .and_then(|balance| balance.table_size.as_ref())
            .map_or(slots::MAGLEV_SLOTS, |size| size.value),
        balance_arguments: balance.map_or_else(Default::default, |balance| balance.arguments),
        forward,
        overflow,
        stats: draft.stats.map(|stats| stats.value),
        cookie: sticky.clone(),
        health_check: health_check.and_then(|check| check.value),
        servers: draft
            .servers
            .into_iter()
            .map(|s| {
                let mut server =
                    server(s, &draft.name.value, mode, sticky.as_ref(), &default_server);
                server.dialling.habits = habits;
                server
            })
            .collect(),
        retries: own.retries.or(inherited.retries).unwrap_or(RETRIES),
        redispatch: own.redispatch.or(inherited.redispatch).flatten(),
        retry_on: own
            .retry_on
            .or(inherited.retry_on)
            .map_or_else(RetryOn::default, |retry_on| retry_on.value),
        timeouts: timeouts::resolve(&draft.timeouts, &defaults.timeouts),
        forwarding: forwarding::resolve(&draft.forwarding, None, mode),
        rules: RuleSet::new(draft.rules.into_iter().map(|rule| rule.rule).collect()),
        errorfiles: ErrorFiles::resolve(draft.errorfiles, None),
        sticks: draft.sticks.into_iter().map(|stick| stick.value).collect(),
        http: own.http.resolve(&inherited.http, mode),
        connections: own.connections.resolve(
            &inherited.connections,
            own.connection_mode
                .or(inherited.connection_mode)
                .map(|mode| mode.value),
            mode,
        ),
        name: draft.name.value,
    }
}

/// What a backend's servers have unless they say otherwise: the backend's `default_server`, then its `on_marked_down`,
/// then the same of `defaults`.
pub(super) fn default_server(
    own: ServerKeys,
    on_marked_down: Option<OnMarkedDown>,
    defaults: &DefaultsDraft,
) -> ServerKeys {
    let last = |on_marked_down| ServerKeys {
        on_marked_down,
        ..ServerKeys::default()
    };
    own.or(&last(on_marked_down))
        .or(&defaults.proxy.default_server)
        .or(&last(defaults.proxy.on_marked_down))
}

fn server(
    draft: ServerDraft,
    backend: &str,
    mode: Mode,
    sticky: Option<&Cookie>,
    default_server: &ServerKeys,
) -> Server {
    let unused = default_server.tls.clone().and_then(|tls| tls.value);
    let keys = draft.keys.or(default_server);
    let own = draft.cookie.map(|cookie| cookie.value);
    let cookie = sticky.and_then(|sticky| {
        let key = sticky.dynamic_key.as_ref();
        own.or_else(|| key.and_then(|key| dynamic_cookie::value(key, &draft.address.value)))
    });
    let (protocol, offered) = spoken(&keys);
    let resolve = keys.resolve.and_then(|resolve| resolve.value);
    let init_addr = keys.init_addr.map(|ways| ways.value);
    let source = keys.source.unwrap_or_default();
    let speaks = |mut tls: ServerOptions| {
        if mode == Mode::Http && tls.alpn.is_empty() {
            tls.alpn = offered.iter().map(|&name| name.to_owned()).collect();
        }
        tls
    };
    Server {
        id: draft.id.map(|id| id.value),
        name: draft.name.value,
        // A name that is followed may be one that nobody knows yet.
        init_addr: init_addr.unwrap_or_else(|| match resolve {
            Some(_) => vec![InitAddr::Last, InitAddr::Libc, InitAddr::None],
            None => vec![InitAddr::Last, InitAddr::Libc],
        }),
        initial: None,
        resolve: resolve.filter(|_| draft.address.value.is_name()),
        address: draft.address.value,
        weight: keys.weight.unwrap_or(1),
        maxconn: keys.maxconn,
        max_queue: keys.max_queue.map(|most| most.value),
        // What is no less does not fall.
        minconn: keys
            .minconn
            .map(|least| least.value)
            .filter(|least| Some(*least) < keys.maxconn),
        source: source.address,
        dialling: Dialling {
            habits: Habits::default(),
            user_timeout: keys.user_timeout,
            fast_open: keys.fast_open.unwrap_or(false),
            interface: source.interface,
            spoof: source.spoof,
        },
        sticks: keys.sticks.unwrap_or(true),
        max_reuse: keys.max_reuse,
        on_marked_up: keys.on_marked_up.unwrap_or(false),
        backup: keys.backup.unwrap_or(false),
        disabled: keys.disabled.unwrap_or(false),
        cookie,
        // `type: none` of its own is no check.
        check: draft.track.is_none()
            && keys.check.is_none_or(|check| check.value)
            && !matches!(&draft.health_check, Some(own) if own.value.is_none()),
        health_check: draft.health_check.and_then(|own| own.value),
        track: draft
            .track
            .map(|track| tracking::named(&track.value, backend)),
        agent_check: keys.agent_check,
        slowstart: keys
            .slowstart
            .map(|time| time.value)
            .filter(|time| !time.is_zero()),
        protocol,
        on_marked_down: keys.on_marked_down.unwrap_or(OnMarkedDown::Nothing),
        tls_off: unused
            .filter(|_| keys.tls.as_ref().is_some_and(|tls| tls.value.is_none()))
            .map(speaks),
        tls: keys.tls.and_then(|tls| tls.value).map(speaks),
        server_name: keys.server_name.flatten(),
        send_proxy: keys.send_proxy.and_then(|version| version.value),
        proxy_options: keys
            .proxy_options
            .map(|options| options.value)
            .unwrap_or_default(),
    }
}
