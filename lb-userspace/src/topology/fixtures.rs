//! Configurations for tests of this and other folders.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::Topology;
use crate::config::{
    Config,
    model::{
        AccessLog, Address, Attach, Backend, Balance, BalanceArguments, Bind, CheckKind,
        CheckSpread, FastPath, Forward, Frontend, Global, HashType, HealthCheck, Introduced,
        LogOptions, Mode, OnMarkedDown, OnStop, Overflow, Protocol, RetryOn, Server, SnatAddresses,
        Timeouts, Transport,
    },
    number_proxies,
};

/// Timeouts as `lb.yaml`'s example has them.
pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        client: Duration::from_secs(50),
        server: Duration::from_secs(50),
        http_request: Duration::from_secs(10),
        http_keep_alive: Duration::from_secs(60),
        queue: Duration::from_secs(5),
        tarpit: Duration::from_secs(5),
        tunnel: None,
        check: None,
        upgraded: Some(Duration::from_secs(3600)),
        client_fin: None,
        server_fin: None,
    }
}

/// A server of weight 1 at `address`.
pub(crate) fn server(name: &str, address: &str) -> Server {
    Server {
        id: None,
        track: None,
        name: name.into(),
        address: Address::Inet(address.parse().unwrap()),
        init_addr: Vec::new(),
        initial: None,
        resolve: None,
        weight: 1,
        maxconn: None,
        max_queue: None,
        minconn: None,
        source: None,
        dialling: Default::default(),
        sticks: true,
        max_reuse: None,
        on_marked_up: false,
        backup: false,
        disabled: false,
        cookie: None,
        check: true,
        slowstart: None,
        protocol: Protocol::H1,
        on_marked_down: OnMarkedDown::Nothing,
        health_check: None,
        agent_check: None,
        tls: None,
        tls_off: None,
        server_name: None,
        send_proxy: None,
        proxy_options: crate::config::model::ProxyOptions::default(),
    }
}

/// A TCP check every two seconds, rise 2, fall 3.
pub(crate) fn tcp_check() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(2),
        fast_interval: None,
        down_interval: None,
        rise: 2,
        fall: 3,
        timeout: None,
        address: None,
        port: None,
        tls: None,
        bare: false,
        introduction: Introduced::default(),
        observe: None,
        disable_on_404: false,
        send_state: false,
        variables: Vec::new(),
        spread: CheckSpread::default(),
        then: Vec::new(),
    }
}

/// A backend of mode tcp with a TCP check.
pub(crate) fn backend(name: &str, balance: Balance, servers: Vec<Server>) -> Backend {
    Backend {
        id: 0,
        stats: None,
        name: name.into(),
        mode: Mode::Tcp,
        balance,
        balance_arguments: BalanceArguments::default(),
        hash_type: HashType::MapBased,
        hashing: crate::config::model::Hashing::default(),
        hash_balance_factor: None,
        table_size: 65_537,
        forward: Forward::FullNat,
        overflow: Overflow::Proxy,
        cookie: None,
        health_check: Some(tcp_check()),
        servers,
        retries: 3,
        redispatch: None,
        retry_on: RetryOn::default(),
        timeouts: timeouts(),
        forwarding: Default::default(),
        rules: crate::rules::RuleSet::default(),
        errorfiles: Default::default(),
        connections: Default::default(),
        http: Default::default(),
        sticks: Vec::new(),
        inspect: Default::default(),
        inspect_response: Default::default(),
    }
}

/// A frontend of mode tcp at `bind`.
pub(crate) fn frontend(name: &str, bind: SocketAddr, default_backend: &str) -> Frontend {
    Frontend {
        id: 0,
        name: name.into(),
        mode: Mode::Tcp,
        binds: vec![Bind {
            address: bind.into(),
            permissions: Default::default(),
            both_families: false,
            transport: Transport::Tcp,
            text: bind.to_string(),
            tls: None,
            accept_proxy: None,
            sockets: Default::default(),
            label: Default::default(),
        }],
        maxconn: None,
        rules: crate::rules::RuleSet::default(),
        connection_rules: crate::rules::RuleSet::default(),
        inspect: Default::default(),
        default_backend: Some(default_backend.into()),
        timeouts: timeouts(),
        forwarding: Default::default(),
        trust: None,
        log_format: AccessLog::Tcp,
        error_log_format: None,
        log_format_sd: None,
        http: Default::default(),
        captures: Default::default(),
        log_options: LogOptions::default(),
        errorfiles: Default::default(),
        unique_id: None,
        connection_mode: Default::default(),
        accepting: Default::default(),
        habits: Default::default(),
        h2_upgrade: true,
        monitor: None,
        stats: None,
    }
}

/// A whole configuration in userspace alone.
pub(crate) fn config(mut frontends: Vec<Frontend>, mut backends: Vec<Backend>) -> Config {
    number_proxies(&mut frontends, &mut backends);
    Config {
        logs: Vec::new(),
        global: Global {
            check_spread: CheckSpread::default(),
            log_tag: None,
            log_hostname: None,
            threads: std::num::NonZeroUsize::new(1),
            maxconn: None,
            user: None,
            group: None,
            pidfile: None,
            stats_file: None,
            grace: Duration::from_secs(30),
            health_file: None,
            watch_config: false,
            admin_socket: PathBuf::new(),
            admin_sockets: Vec::new(),
            log: Vec::new(),
            fast_path: FastPath {
                attach: Attach::Off,
                interfaces: Vec::new(),
                pin_path: PathBuf::new(),
                max_flows: Some(1000),
                new_flows_per_source: 0,
                deny: Vec::new(),
                snat_ports: 10000..=32767,
                snat_addresses: SnatAddresses::Auto,
                on_stop: OnStop::Detach,
            },
        },
        frontends: frontends.into_iter().map(Arc::new).collect(),
        backends: backends.into_iter().map(Arc::new).collect(),
        stats: None,
        maps: Vec::new(),
        tables: Vec::new(),
        process: crate::rules::Process::default(),
        links: Default::default(),
        variables: Vec::new(),
        resolvers: Vec::new(),
        server_files: Default::default(),
        outline: Default::default(),
    }
}

/// `one/s` is checked, `two/t` follows it, `two/u` follows that, `two/v` nobody.
pub(crate) fn followed() -> Topology {
    let mut one = backend(
        "one",
        Balance::RoundRobin,
        vec![server("s", "192.0.2.1:80")],
    );
    one.health_check = Some(tcp_check());
    let follows = |name: &str, backend: &str, tracked: &str| {
        let mut follower = server(name, "192.0.2.2:80");
        follower.track = Some((backend.to_owned(), tracked.to_owned()));
        follower
    };
    let servers = vec![
        follows("u", "two", "t"),
        follows("t", "one", "s"),
        server("v", "192.0.2.3:80"),
    ];
    let mut two = backend("two", Balance::RoundRobin, servers);
    two.health_check = None;
    Topology::new(&config(Vec::new(), vec![one, two]))
}
