//! What right files mean: defaults, inheritance, the forms of each value.

use std::{net::IpAddr, time::Duration};

use super::{
    model::{
        AccessLog, Attach, Balance, CheckKind, Forward, LogDestination, LogFormat, Mode,
        OnMarkedDown, OnStop, Overflow, SnatAddresses, Transport,
    },
    *,
};

const SECOND: Duration = Duration::from_secs(1);

/// `defaults`, keys of a frontend and keys of a backend, around one server.
pub(super) fn file(defaults: &str, frontend: &str, backend: &str) -> Config {
    valid(&format!(
        "defaults: {{ {defaults} }}\nfrontends:\n  web: {{ bind: '*:80', default_backend: app, {frontend} }}\nbackends:\n  \
         app: {{ {backend} servers: [{{ name: s1, address: '192.0.2.1:80' }}] }}\n"
    ))
}

#[test]
fn what_goes_without_saying() {
    let config = file("", "", "");
    let global = &config.global;
    assert_eq!(
        (global.threads, global.maxconn, &global.user),
        (None, None, &None)
    );
    assert_eq!(global.grace, 30 * SECOND);
    assert_eq!(global.log.len(), 1);
    assert_eq!(
        (&global.log[0].target, global.log[0].level),
        (&LogDestination::Stderr, 5)
    );
    let path = &global.fast_path;
    assert_eq!(
        (path.attach, path.on_stop, &path.snat_addresses),
        (Attach::Auto, OnStop::Detach, &SnatAddresses::Auto)
    );
    assert_eq!(
        (path.snat_ports.clone(), path.max_flows),
        (10_000..=32_767, None)
    );
    assert!(path.interfaces.is_empty());
    let frontend = &config.frontends[0];
    assert_eq!(
        (
            frontend.mode,
            frontend.log_format.clone(),
            frontend.forwarding.forwarded_for.is_some()
        ),
        (Mode::Http, AccessLog::Http, false)
    );
    assert_eq!(frontend.binds[0].address.to_string(), "0.0.0.0:80");
    assert_eq!(
        (frontend.binds[0].transport, frontend.binds[0].text.as_str()),
        (Transport::Tcp, "*:80")
    );
    let backend = config.backend("app").unwrap();
    assert_eq!(
        (backend.mode, backend.balance, backend.forward),
        (Mode::Http, Balance::RoundRobin, Forward::Proxy)
    );
    assert_eq!((backend.retries, backend.redispatch), (3, None));
    assert_eq!((&backend.cookie, &backend.health_check), (&None, &None));
    let server = &backend.servers[0];
    assert_eq!(
        (
            server.weight,
            server.maxconn,
            server.backup,
            server.disabled,
            server.check
        ),
        (1, None, false, false, true)
    );
    assert!(config.stats.is_none());
}

#[test]
fn timeouts_that_nobody_sets() {
    let timeouts = |defaults: &str| {
        file(&format!("timeouts: {{ {defaults} }}"), "", "").frontends[0]
            .timeouts
            .clone()
    };
    let all = timeouts("");
    assert_eq!(
        (all.connect, all.client, all.server),
        (5 * SECOND, 50 * SECOND, 50 * SECOND)
    );
    assert_eq!(
        (all.http_request, all.http_keep_alive, all.queue),
        (10 * SECOND, 50 * SECOND, 5 * SECOND)
    );
    assert_eq!((all.tunnel, all.check), (None, None));
    assert_eq!(all.upgraded, Some(3600 * SECOND));
    let tunnel = |text: &str| {
        let of = timeouts(text);
        (of.tunnel, of.upgraded)
    };
    assert_eq!(tunnel("tunnel: 7s"), (Some(7 * SECOND), Some(7 * SECOND)));
    // As before the request became one.
    assert_eq!(tunnel("tunnel: none"), (None, None));
    assert_eq!(timeouts("connect: 7s").queue, 7 * SECOND);
    assert_eq!(timeouts("http_request: 3s").http_keep_alive, 3 * SECOND);
    assert_eq!(timeouts("client: 3s").http_keep_alive, 3 * SECOND);
    assert_eq!(
        timeouts("client: 3s, http_keep_alive: 500ms").http_keep_alive,
        SECOND / 2
    );
}

#[test]
fn timeouts_merge_key_by_key() {
    let config = file(
        "timeouts: { connect: 1s, client: 2s, server: 3s, tunnel: 1h }",
        "timeouts: { client: 20s }",
        "timeouts: { server: 30s, check: 4s },",
    );
    let (frontend, backend) = (&config.frontends[0].timeouts, &config.backends[0].timeouts);
    assert_eq!(
        (frontend.connect, frontend.client, frontend.server),
        (SECOND, 20 * SECOND, 3 * SECOND)
    );
    assert_eq!(
        (backend.connect, backend.client, backend.server),
        (SECOND, 2 * SECOND, 30 * SECOND)
    );
    assert_eq!(
        (backend.tunnel, backend.check),
        (Some(3600 * SECOND), Some(4 * SECOND))
    );
    assert_eq!(
        model::Timeouts::kernel_idle(frontend, backend),
        3600 * SECOND
    );
    let silent = file(
        "",
        "timeouts: { client: 20s }",
        "timeouts: { server: 30s },",
    );
    let idle =
        model::Timeouts::kernel_idle(&silent.frontends[0].timeouts, &silent.backends[0].timeouts);
    assert_eq!(idle, 30 * SECOND);
}

#[test]
fn modes_come_from_the_frontend() {
    let tcp = file("", "mode: tcp", "");
    assert_eq!(
        (tcp.backends[0].mode, tcp.backends[0].forward),
        (Mode::Tcp, Forward::FullNat)
    );
    assert_eq!(
        (
            tcp.backends[0].overflow,
            tcp.frontends[0].log_format.clone()
        ),
        (Overflow::Proxy, AccessLog::Tcp)
    );
    assert_eq!(file("mode: tcp", "", "").backends[0].mode, Mode::Tcp);
    assert_eq!(
        file("mode: tcp", "mode: http", "").backends[0].mode,
        Mode::Http
    );
    let dsr = file("mode: tcp, forward: dsr", "", "");
    assert_eq!(
        (dsr.backends[0].forward, dsr.backends[0].overflow),
        (Forward::Dsr, Overflow::Drop)
    );
}

#[test]
fn defaults_made_for_one_mode_leave_the_other_alone() {
    let config = file(
        "mode: http, log_format: http, forwarded_for: true, cookie: { name: C }",
        "mode: tcp",
        "",
    );
    let frontend = &config.frontends[0];
    assert_eq!(
        (
            frontend.log_format.clone(),
            frontend.forwarding.forwarded_for.is_some()
        ),
        (AccessLog::Tcp, false)
    );
    assert_eq!(config.backends[0].cookie, None);
    let json = file(
        "log_format: json, maxconn: 7, forward: dsr, overflow: drop",
        "",
        "",
    );
    assert_eq!(
        (
            json.frontends[0].log_format.clone(),
            json.frontends[0].maxconn
        ),
        (AccessLog::Json, Some(7))
    );
    assert_eq!(
        (json.backends[0].forward, json.backends[0].overflow),
        (Forward::Proxy, Overflow::Proxy)
    );
}

#[test]
fn servers_inherit_from_default_server_key_by_key() {
    let config = valid(
        "defaults: { default_server: { weight: 7, maxconn: 5 }, on_marked_down: shutdown-sessions }\n\
         frontends: { t: { mode: tcp, bind: '*:80', default_backend: app } }\n\
         backends:\n  app:\n    default_server: { weight: 9, slowstart: 30s, backup: true }\n    servers:\n      \
         - { name: a, address: '192.0.2.1:80' }\n      \
         - { name: b, address: '192.0.2.2:80', weight: 3, slowstart: 0s, backup: false, on_marked_down: none }\n",
    );
    let [a, b] = &config.backends[0].servers[..] else {
        panic!("two servers")
    };
    let shown = |s: &model::Server| (s.weight, s.maxconn, s.backup, s.slowstart, s.on_marked_down);
    let thirty = Some(Duration::from_secs(30));
    assert_eq!(
        shown(a),
        (9, Some(5), true, thirty, OnMarkedDown::ShutdownSessions)
    );
    assert_eq!(shown(b), (3, Some(5), false, None, OnMarkedDown::Nothing));
}

#[test]
fn every_way_of_the_kernel_and_every_algorithm_can_be_asked_for() {
    let config = valid(
        "global: { fast_path: { attach: tc, new_flows_per_source: 100, deny: [198.51.100.0/24, '2001:db8::/32', 192.0.2.7] } }\n\
         frontends: { dns: { mode: tcp, bind: ['udp:*:53', '*:53'], default_backend: a }, \
                      six: { mode: tcp, bind: 'udp:[2001:db8::9]:53', default_backend: b }, \
                      web: { mode: tcp, bind: '*:80', default_backend: c } }\n\
         backends:\n  \
           a: { forward: nat, balance: { algorithm: maglev, table_size: 1009 }, servers: [{ name: s, address: '192.0.2.1:53' }] }\n  \
           b: { forward: ipip, balance: maglev, servers: [{ name: s, address: '[2001:db8::1]:53' }] }\n  \
           c: { forward: dsr, balance: { algorithm: random }, servers: [{ name: s, address: '192.0.2.1:80' }] }\n",
    );
    let source = file(
        "default_server: { slowstart: 30s }",
        "mode: tcp",
        "balance: source,",
    );
    assert_eq!(
        source.backends[0].servers[0].slowstart, None,
        "no client of `source` is moved for a default"
    );
    let path = &config.global.fast_path;
    assert_eq!(path.attach, Attach::Tc);
    assert_eq!((path.new_flows_per_source, path.max_flows), (100, None));
    let deny: Vec<String> = path.deny.iter().map(ToString::to_string).collect();
    assert_eq!(deny, ["198.51.100.0/24", "2001:db8::/32", "192.0.2.7/32"]);
    let binds = &config.frontends[0].binds;
    assert_eq!(
        (binds[0].transport, binds[1].transport),
        (Transport::Udp, Transport::Tcp)
    );
    let shown = |i: usize| {
        let b: &model::Backend = &config.backends[i];
        (b.forward, b.overflow, b.balance, b.table_size)
    };
    assert_eq!(
        [shown(0), shown(1), shown(2)],
        [
            (Forward::Nat, Overflow::Proxy, Balance::Maglev, 1009),
            (Forward::Ipip, Overflow::Drop, Balance::Maglev, 65_537),
            (Forward::Dsr, Overflow::Drop, Balance::Random, 65_537),
        ]
    );
}

#[test]
fn checks_and_balance_are_replaced_whole() {
    let defaults = "balance: leastconn, retries: 1, redispatch: true, \
                    health_check: { type: http, path: /up, interval: 1s, rise: 9 }";
    let inherited = file(defaults, "", "");
    let backend = &inherited.backends[0];
    assert_eq!(
        (backend.balance, backend.retries, backend.redispatch),
        (Balance::LeastConn, 1, Some(-1))
    );
    let check = backend.health_check.as_ref().unwrap();
    assert_eq!(
        (
            check.interval,
            check.rise,
            check.fall,
            check.timeout,
            check.port
        ),
        (SECOND, 9, 3, None, None)
    );
    let own = file(
        defaults,
        "",
        "balance: source, redispatch: 3, health_check: { type: tcp, port: 8000, timeout: 500ms },",
    );
    let backend = &own.backends[0];
    assert_eq!(
        (backend.balance, backend.redispatch),
        (Balance::Source, Some(3))
    );
    let check = backend.health_check.as_ref().unwrap();
    assert_eq!(
        (&check.kind, check.interval, check.rise),
        (&CheckKind::Tcp, 2 * SECOND, 2)
    );
    assert_eq!((check.port, check.timeout), (Some(8000), Some(SECOND / 2)));
    assert_eq!(
        file(
            defaults,
            "",
            "health_check: { type: none }, redispatch: false,"
        )
        .backends[0]
            .health_check,
        None
    );
}

#[test]
fn http_checks() {
    let kind = |keys: &str| {
        let config = file("", "", &format!("health_check: {{ type: http, {keys} }},"));
        config.backends[0].health_check.clone().unwrap().kind
    };
    assert_eq!(
        kind(""),
        CheckKind::Http {
            method: "GET".into(),
            path: "/".into(),
            version: "HTTP/1.0".into(),
            secure: false,
            host: None,
            headers: vec![],
            status: vec![200..=399],
            content: vec![],
            body: None,
            terms: Box::default(),
        }
    );
    assert_eq!(
        kind(
            "method: OPTIONS, path: '*', version: HTTP/1.1, host: a.example, headers: { X-A: b c }, expect: { status: [204, '2xx'] }"
        ),
        CheckKind::Http {
            method: "OPTIONS".into(),
            path: "*".into(),
            version: "HTTP/1.1".into(),
            secure: false,
            host: Some("a.example".into()),
            headers: vec![("X-A".into(), "b c".into())],
            status: vec![204..=204, 200..=299],
            content: vec![],
            body: None,
            terms: Box::default(),
        }
    );
    let CheckKind::Http {
        status, content, ..
    } = kind("expect: { body: ready, regex: '^[a-z]+$', headers: { X-Ready: 'yes' } }")
    else {
        panic!("it asks by HTTP");
    };
    assert_eq!(status, vec![], "nothing is said of it");
    let header = model::Content::Header(model::HeadField::simple("X-Ready", "yes"));
    assert_eq!(content.len(), 3);
    assert_eq!(
        (&content[0], &content[2]),
        (&model::Content::Text(b"ready".into()), &header)
    );
}

#[test]
fn rules_keep_their_order() {
    let config = valid(
        "frontends:\n  web:\n    bind: ['*:80', { address: '[::1]:80' }]\n    rules:\n      \
         - { if: { path_prefix: [/a/, /b/], ignore_case: true, host: WWW.Example.org. }, use_backend: app }\n      \
         - { if: { host: ['*.example.org', '[::1]'] }, use_backend: app }\n      - { use_backend: app }\n\
         backends:\n  app: { servers: [{ name: s1, address: '[2001:db8::1]:80' }] }\n",
    );
    let rules = config.frontends[0].rules.rules();
    assert_eq!(rules.len(), 3);
    assert!(rules[0].condition.is_some() && rules[1].condition.is_some());
    assert!(rules[2].condition.is_none() && rules[2].routes_connections());
    assert_eq!(config.frontends[0].binds.len(), 2);
}

#[test]
fn global_in_full() {
    let config = valid(
        "global:\n  threads: 4\n  maxconn: 100\n  user: lb\n  group: lb\n  grace: 0s\n  log:\n    \
         - { target: 'udp://127.0.0.1', facility: local7, level: err, format: json }\n    \
         - { target: 'udp://[::1]:5514' }\n    - { target: /dev/log }\n    - { target: 'unix:log.sock' }\n  \
         fast_path: { attach: off, interfaces: [eth0], max_flows: 64k, snat_ports: 20000-20010, \
         snat_addresses: [192.0.2.9, '2001:db8::9'], on_stop: keep }\nstats: { bind: '127.0.0.1:1080', refresh: 30s, \
         realm: My LB, auth: { a: b, c: \"d:e\" }, metrics: { auth: true } }\n",
    );
    let global = &config.global;
    assert_eq!(global.threads.map(|n| n.get()), Some(4));
    assert_eq!(global.grace, Duration::ZERO);
    let log = &global.log;
    assert_eq!(
        log[0].target,
        LogDestination::Udp("127.0.0.1:514".parse().unwrap())
    );
    assert_eq!(
        (log[0].facility, log[0].level, log[0].format),
        (23, 3, LogFormat::Json)
    );
    assert_eq!(
        log[1].target,
        LogDestination::Udp("[::1]:5514".parse().unwrap())
    );
    assert_eq!(
        (log[1].facility, log[1].level, log[1].format),
        (16, 7, LogFormat::Text)
    );
    assert_eq!(log[2].target, LogDestination::Unix("/dev/log".into()));
    assert_eq!(
        log[3].target,
        LogDestination::Unix("/etc/lb/log.sock".into())
    );
    let path = &global.fast_path;
    assert_eq!(
        (path.attach, path.max_flows, path.on_stop),
        (Attach::Off, Some(65_536), OnStop::Keep)
    );
    assert_eq!(path.snat_ports, 20_000..=20_010);
    let addresses: Vec<IpAddr> = ["192.0.2.9", "2001:db8::9"]
        .iter()
        .map(|ip| ip.parse().unwrap())
        .collect();
    assert_eq!(path.snat_addresses, SnatAddresses::List(addresses));
    let stats = config.stats.unwrap();
    assert_eq!(
        (stats.uri.as_str(), stats.refresh, stats.metrics.auth),
        ("/stats", Some(30 * SECOND), true)
    );
    let users = stats.auth.unwrap();
    assert!(users.verify(b"a", b"b") && users.verify(b"c", b"d:e"));
}

#[test]
fn attach_may_be_a_boolean() {
    for off in ["off", "'off'", "Off", "false"] {
        let config = valid(&format!(
            "global: {{ fast_path: {{ attach: {off} }} }}\nstats: {{ bind: '*:1' }}\n"
        ));
        assert_eq!(config.global.fast_path.attach, Attach::Off, "{off}");
    }
}

#[test]
fn anchors_and_merge_keys() {
    let config = valid(
        "frontends:\n  web: { bind: '*:80', default_backend: a }\n  api: { bind: '*:81', default_backend: b }\nbackends:\n  \
         a: &a\n    balance: leastconn\n    retries: 1\n    servers: &servers [{ name: s1, address: '192.0.2.1:80' }]\n  \
         b: { <<: *a, retries: 2 }\n",
    );
    let (a, b) = (&config.backends[0], &config.backends[1]);
    assert_eq!((a.balance, a.retries), (Balance::LeastConn, 1));
    assert_eq!((b.balance, b.retries), (Balance::LeastConn, 2));
    assert_eq!(a.servers, b.servers);
}

#[test]
fn variables_of_the_environment() {
    let environment = |name: &str| match name {
        "PORT" => Some("9001".to_owned()),
        "ON" => Some("true".to_owned()),
        "SECRET" => Some("0x10".to_owned()),
        _ => None,
    };
    let text = "global: { maxconn: \"${MAX:-12}\", threads: \"${THREADS:-auto}\" }\ndefaults: { forwarded_for: \"${ON}\" }\n\
                frontends:\n  web:\n    bind: ${ADDRESS:-127.0.0.1}:${PORT}\n    default_backend: app\nbackends:\n  app:\n    \
                servers: [{ name: 's${PORT}', address: '192.0.2.1:${PORT}' }]\n\
                stats: { bind: '127.0.0.1:1', auth: { admin: \"${SECRET}\", b: 'x$${y}' } }\n";
    let config = parse("lb.yaml", text, &environment).unwrap().config;
    assert_eq!(
        (config.global.maxconn, config.global.threads),
        (Some(12), None)
    );
    assert_eq!(config.frontends[0].binds[0].text, "127.0.0.1:9001");
    assert!(config.frontends[0].forwarding.forwarded_for.is_some());
    assert_eq!(config.backends[0].servers[0].name, "s9001");
    let users = config.stats.unwrap().auth.unwrap();
    assert!(users.verify(b"admin", b"0x10") && users.verify(b"b", b"x${y}"));
}

#[test]
fn binds_may_share_a_port_by_address() {
    let config = valid(
        "frontends:\n  a: { bind: ['*:80', '192.0.2.1:80', '[2001:db8::1]:80'], default_backend: app }\n  \
         b: { bind: '[::]:81', default_backend: app }\nbackends:\n  \
         app: { servers: [{ name: s1, address: '192.0.2.1:80' }] }\n",
    );
    assert_eq!(config.frontends[0].binds.len(), 3);
    assert!(config.frontends[1].binds[0].both_families);
    let config = valid(
        "frontends:\n  a: { bind: '[::]:80', default_backend: app }\n  b: { bind: '*:80', default_backend: app }\n  \
         c: { bind: ['[::]:81', '192.0.2.1:81'], default_backend: app }\nbackends:\n  \
         app: { servers: [{ name: s1, address: '192.0.2.1:80' }] }\nstats: { bind: '[::]:82' }\n",
    );
    let both = |index: usize| config.frontends[index].binds[0].both_families;
    assert!(!both(0), "b has its IPv4 clients");
    assert!(both(2), "an exact address takes its own alone");
}

/// The kernel path takes ports only where it is on and translates addresses.
#[test]
fn ports_of_full_nat_matter_to_full_nat_alone() {
    let text = |attach: &str, mode: &str, forward: &str| {
        format!(
            "global: {{ fast_path: {{ attach: {attach} }} }}\nfrontends:\n  a: {{ mode: {mode}, bind: '*:10080', \
             default_backend: app }}\nbackends:\n  app: {{ {forward} servers: [{{ name: s1, address: '192.0.2.1:10080' }}] }}\n"
        )
    };
    valid(&text("off", "tcp", ""));
    valid(&text("auto", "http", ""));
    valid(&text("auto", "tcp", "forward: dsr,"));
    valid(&text("auto", "tcp", "forward: proxy,"));
    assert!(parse("lb.yaml", &text("auto", "tcp", ""), &no_environment).is_err());
}
