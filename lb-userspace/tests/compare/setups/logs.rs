//! Log lines of one's own, and sessions that are not logged.

use crate::{
    case::{Deviation, Setup, Step, ask, get, steps},
    run::compare,
};

#[test]
fn lines_of_ones_own() {
    let mut cases = Vec::new();
    for at in ["web", "web2"] {
        for target in [
            "/plain",
            "/plain?a=1&b=%20",
            "/a/../plain?",
            "/a;b/plain?x=[y]",
            "/%22/plain",
            "/a?b?c",
        ] {
            cases.push(get(target, "").at(at));
            cases.push(get(target, "X-Status: 503 Service Unavailable\n").at(at));
        }
        for case in [
            ask("POST /plain HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
            ask("HEAD /plain HTTP/1.0\n\n"),
            ask("GET http://a/plain?x HTTP/1.1\nHost: a\n\n"),
            ask("OPTIONS * HTTP/1.1\nHost: a\n\n"),
            ask("garbage\n\n"),
            ask("GET /none/plain HTTP/1.1\nHost: a\n\n"),
            ask("GET /dead/plain HTTP/1.1\nHost: a\n\n"),
            ask("GET /denied HTTP/1.1\nHost: a\n\n"),
            ask("GET /moved HTTP/1.1\nHost: a\n\n"),
            ask("GET /garbage HTTP/1.1\nHost: a\n\n"),
            ask("GET /short HTTP/1.1\nHost: a\n\n"),
            ask("GET /sticky/plain HTTP/1.1\nHost: a\n\n"),
            steps("nothing", vec![Step::Shut, Step::Rest]),
            steps(
                "half a head",
                vec![Step::Bytes(b"GET /".to_vec()), Step::Shut, Step::Rest],
            ),
        ] {
            cases.push(case.at(at));
        }
    }
    compare(&Setup {
        name: "logs",
        yaml: r#"
defaults:
  mode: http
  timeouts: { connect: 300ms, client: 2s, server: 10s }
  dontlognull: true
  log_format: '%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq method=%HM path=%HP %HPO query=%HQ uri=%HU version=%HV f=%f ts=%ts quoted=%{+Q}HU escaped=%{+E}HU missing=%{-M}HQ %% %{+Q}r'
frontends:
  front:
    bind: "{web}"
    rules: &rules
      - { if: { path: /denied }, deny: 403 }
      - { if: { path: /moved }, redirect: { location: /new } }
      - { if: { path_prefix: /none/ }, use_backend: none }
      - { if: { path_prefix: /dead/ }, use_backend: dead }
      - { if: { path_prefix: /sticky/ }, use_backend: sticky }
    default_backend: app
  quiet: { bind: "{web2}", dontlog_normal: true, rules: *rules, default_backend: app }
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  none: { servers: [] }
  dead: { retries: 0, servers: [{ name: dead, address: "{dead}" }] }
  sticky: { cookie: { name: app }, servers: [{ name: s2, address: "{s2}", cookie: s2 }] }
"#,
        cfg: r#"
    timeout connect 300ms
    option dontlognull
    log-format "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq method=%HM path=%HP %HPO query=%HQ uri=%HU version=%HV f=%f ts=%ts quoted=%{+Q}HU escaped=%{+E}HU missing=%{-M}HQ %% %{+Q}r"
frontend front
    bind {web}
    http-request deny if { path /denied }
    http-request redirect location /new if { path /moved }
    use_backend none if { path_beg /none/ }
    use_backend dead if { path_beg /dead/ }
    use_backend sticky if { path_beg /sticky/ }
    default_backend app
frontend quiet
    bind {web2}
    option dontlog-normal
    http-request deny if { path /denied }
    http-request redirect location /new if { path /moved }
    use_backend none if { path_beg /none/ }
    use_backend dead if { path_beg /dead/ }
    use_backend sticky if { path_beg /sticky/ }
    default_backend app
backend app
    server s1 {s1}
backend none
backend dead
    retries 0
    server dead {dead}
backend sticky
    cookie app insert
    server s2 {s2} cookie s2
"#,
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["GET http"],
    field: "seen 1 line",
    ours: "*",
    theirs: "*",
    why: "RFC 9112 section 3.2.1: a server gets the origin-form",
}];
