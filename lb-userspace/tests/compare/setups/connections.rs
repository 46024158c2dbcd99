//! Connections that end after each request, clients that share none, the monitor's page, and who is sent elsewhere.

use crate::{
    case::{Case, Deviation, Setup, ask, get, pipeline},
    run::compare,
};

fn both(cases: &mut Vec<Case>, case: impl Fn() -> Case) {
    cases.push(case().at("web").named("server-close"));
    cases.push(case().at("web2").named("close"));
}

#[test]
fn connections() {
    let mut cases = Vec::new();
    let (plain, other) = (
        "GET /plain HTTP/1.1\nHost: a\n\n",
        "GET /other HTTP/1.1\nHost: a\n\n",
    );
    both(&mut cases, || get("/plain", ""));
    both(&mut cases, || get("/kept/plain", ""));
    both(&mut cases, || {
        ask("GET /plain HTTP/1.0\nConnection: keep-alive\n\n")
    });
    both(&mut cases, || {
        ask("POST /plain HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello")
    });
    both(&mut cases, || get("/denied", ""));
    both(&mut cases, || get("/none/plain", ""));
    both(&mut cases, || get("/alive", ""));
    both(&mut cases, || get("/alive?x", ""));
    both(&mut cases, || ask("HEAD /alive HTTP/1.1\nHost: a\n\n"));
    both(&mut cases, || get("/alone/plain", ""));
    cases.push(pipeline(&[plain, other]).at("web"));
    cases.push(get("/alive", "").at("tls").named("ill"));
    cases.push(get("/backups/plain", "X-Turn: 1\n").at("tls"));
    cases.push(get("/backups/plain", "X-Turn: 2\n").at("tls"));
    cases.push(get("/persist/plain", "Cookie: app=dead\n").at("tls"));
    cases.push(get("/plain", "").at("tls2").named("unlogged"));
    compare(&Setup {
        name: "connections",
        yaml: r#"
defaults:
  mode: http
  timeouts: { connect: 5s, client: 2s, server: 10s }
  connection_mode: server-close
frontends:
  front:
    bind: "{web}"
    monitor: { uri: /alive }
    rules: &rules
      - { if: { path: /denied }, deny: 403 }
      - { add_header: { X-Original-To: "%[dst]" } }
      - { if: { path_prefix: /none/ }, use_backend: none }
      - { if: { path_prefix: /kept/ }, use_backend: kept }
      - { if: { path_prefix: /alone/ }, use_backend: alone }
    default_backend: app
  closing:
    bind: "{web2}"
    connection_mode: close
    monitor: { uri: /alive }
    rules: *rules
    default_backend: app
  ill:
    bind: "{tls}"
    connection_mode: keep-alive
    monitor: { uri: /alive, fail_if: { expr: { of: nbsrv(none), value: lt 1 } } }
    rules:
      - { if: { path_prefix: /backups/ }, use_backend: backups }
      - { if: { path_prefix: /persist/ }, use_backend: persist }
    default_backend: app
  quiet:
    bind: "{tls2}"
    log: false
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  kept: { connection_mode: keep-alive, servers: [{ name: s1, address: "{s1}" }] }
  alone: { connection_mode: keep-alive, http_reuse: never, servers: [{ name: s1, address: "{s1}" }] }
  none: { errorfiles: { 503: { location: "http://sorry.example/" } }, servers: [] }
  backups:
    all_backups: true
    servers: [{ name: s1, address: "{s1}", backup: true }, { name: s2, address: "{s2}", backup: true }]
  persist:
    persist: true
    retries: 0
    errorfiles: { 503: { location: "http://sorry.example/", code: 303 } }
    cookie: { name: app, mode: insert, indirect: true }
    servers:
      - { name: s1, address: "{s1}", cookie: s1 }
      - { name: dead, address: "{dead}", cookie: dead, disabled: true }
"#,
        cfg: "
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 2s
    timeout server 10s
    option http-server-close
http-errors gone
    errorfile 503 {dir}/503.http
frontend front
    bind {web}
    monitor-uri /alive
    option originalto
    http-request deny if { path /denied }
    use_backend none if { path_beg /none/ }
    use_backend kept if { path_beg /kept/ }
    use_backend alone if { path_beg /alone/ }
    default_backend app
frontend closing
    bind {web2}
    option httpclose
    option originalto
    monitor-uri /alive
    http-request deny if { path /denied }
    use_backend none if { path_beg /none/ }
    use_backend kept if { path_beg /kept/ }
    use_backend alone if { path_beg /alone/ }
    default_backend app
frontend ill
    bind {tls}
    option http-keep-alive
    monitor-uri /alive
    monitor fail if { nbsrv(none) lt 1 }
    use_backend backups if { path_beg /backups/ }
    use_backend persist if { path_beg /persist/ }
    default_backend app
frontend quiet
    bind {tls2}
    no log
    default_backend app
backend app
    server s1 {s1}
backend kept
    option http-keep-alive
    server s1 {s1}
backend alone
    option http-keep-alive
    http-reuse never
    server s1 {s1}
backend none
    errorfiles gone
    errorloc 503 http://sorry.example/
backend backups
    option allbackups
    server s1 {s1} backup
    server s2 {s2} backup
backend persist
    option persist
    retries 0
    errorloc303 503 http://sorry.example/
    cookie app insert indirect
    server s1 {s1} cookie s1
    server dead {dead} cookie dead disabled
",
        files: &[("503.http", "HTTP/1.1 503 Gone\n\ngone")],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["close: GET /plain HTTP/1.0"],
    field: "seen 1 header connection",
    ours: "close",
    theirs: "-",
    why: "in HTTP/1.0 it goes without saying; it is said all the same",
}];
