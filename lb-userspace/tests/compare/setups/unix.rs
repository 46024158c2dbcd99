//! Unix sockets to listen on, and servers behind them: what one instance says to itself over them, as its server sees it.

use crate::{
    case::{Deviation, Setup, get, pipeline},
    run::compare,
};

#[test]
fn unix_sockets() {
    let mut cases = Vec::new();
    for path in ["/plain", "/told/plain", "/v1/plain", "/v2/plain"] {
        cases.push(get(path, ""));
        cases.push(get(path, "X-Forwarded-For: 192.0.2.1\n"));
        cases.push(get(path, "Connection: close\n"));
    }
    let plain = "GET /plain HTTP/1.1\nHost: a\n\n";
    cases.push(pipeline(&[plain, plain]));
    cases.push(get("/nobody", ""));
    compare(&Setup {
        name: "unix",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    rules:
      - { if: { path_prefix: /told/ }, use_backend: told }
      - { if: { path_prefix: /v1/ }, use_backend: v1 }
      - { if: { path_prefix: /v2/ }, use_backend: v2 }
      - { if: { path: /nobody }, use_backend: nobody }
    default_backend: inner
  inner:
    bind: { address: "unix:{dir}/{web}.in", mode: 600 }
    forwarded_for: true
    rules: &rules
      - { set_header: { X-Source: "[%[src]]", X-Destination: "[%[dst]]" } }
      - { if: { source: [0.0.0.0/0] }, set_header: { X-Known: "1" } }
      - { if: { path_prefix: /v1/ }, use_backend: s1-v1 }
      - { if: { path_prefix: /v2/ }, use_backend: s1-v2 }
    default_backend: app
  told:
    bind: { address: "unix:{dir}/{web}.told", accept_proxy: true }
    forwarded_for: true
    rules: *rules
    default_backend: app
backends:
  inner: { balance: source, servers: [{ name: s1, address: "unix:{dir}/{web}.in" }] }
  v1: { servers: [{ name: s1, address: "unix:{dir}/{web}.in" }] }
  v2: { servers: [{ name: s1, address: "unix:{dir}/{web}.in" }] }
  told: { servers: [{ name: s1, address: "unix:{dir}/{web}.told", send_proxy: v2 }] }
  nobody: { retries: 0, servers: [{ name: s1, address: "unix:{dir}/{web}.nobody" }] }
  app: { balance: source, servers: [{ name: s1, address: "{s1}" }] }
  s1-v1: { servers: [{ name: s1, address: "{s1}", send_proxy: v1 }] }
  s1-v2: { servers: [{ name: s1, address: "{s1}", send_proxy: v2 }] }
"#,
        cfg: "
frontend front
    bind {web}
    use_backend told if { path_beg /told/ }
    use_backend v1 if { path_beg /v1/ }
    use_backend v2 if { path_beg /v2/ }
    use_backend nobody if { path /nobody }
    default_backend inner
frontend inner
    bind unix@{dir}/{web}.in mode 600
    option forwardfor
    http-request set-header X-Source [%[src]]
    http-request set-header X-Destination [%[dst]]
    http-request set-header X-Known 1 if { src 0.0.0.0/0 }
    use_backend s1-v1 if { path_beg /v1/ }
    use_backend s1-v2 if { path_beg /v2/ }
    default_backend app
frontend told
    bind {dir}/{web}.told accept-proxy
    option forwardfor
    http-request set-header X-Source [%[src]]
    http-request set-header X-Destination [%[dst]]
    http-request set-header X-Known 1 if { src 0.0.0.0/0 }
    default_backend app
backend inner
    balance source
    server s1 unix@{dir}/{web}.in
backend v1
    server s1 {dir}/{web}.in
backend v2
    server s1 {dir}/{web}.in
backend told
    server s1 {dir}/{web}.told send-proxy-v2
backend nobody
    retries 0
    server s1 {dir}/{web}.nobody
backend app
    balance source
    server s1 {s1}
backend s1-v1
    server s1 {s1} send-proxy
backend s1-v2
    server s1 {s1} send-proxy-v2
",
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["GET /v1/", "GET /v2/"],
    field: "seen 1 introduction",
    ours: "-",
    theirs: "*",
    why: "a connection that introduces nobody is as good for the next client; HAProxy opens one for each",
}];
