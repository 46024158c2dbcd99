//! TLS from clients and to servers.

use crate::{
    case::{Deviation, EVERYTHING, Setup, Via, ask, get},
    run::compare,
};

#[test]
fn tls_ends_here_and_begins_again() {
    let mut cases = Vec::new();
    for name in ["a", "b.example", "x.b.example"] {
        for path in [
            "/plain",
            "/secure/plain",
            "/named/plain",
            "/other/plain",
            "/bad/plain",
        ] {
            cases.push(get(path, "").named(name).via("tls", Via::Tls(name)));
        }
    }
    for case in [
        ask("POST /secure/plain HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
        ask("POST /secure/plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n"),
        ask("HEAD /secure/plain HTTP/1.1\nHost: a\n\n"),
        ask("GET /secure/until-close HTTP/1.1\nHost: a\n\n"),
        ask("GET /secure/chunked HTTP/1.1\nHost: a\n\n"),
        ask("GET /secure/closing HTTP/1.1\nHost: a\n\n"),
        ask("GET /secure/silent HTTP/1.1\nHost: a\n\n"),
        ask("GET /secure/short HTTP/1.1\nHost: a\n\n"),
        ask("GET /secure/reset HTTP/1.1\nHost: a\n\n"),
        ask("GET /until-close HTTP/1.1\nHost: a\n\n"),
        ask("GET /plain HTTP/1.0\n\n"),
        ask("garbage\n\n"),
        ask("GET /redirect HTTP/1.1\nHost: a\n\n"),
    ] {
        cases.push(case.clone().via("tls", Via::Tls("a")));
    }
    cases.push(get("/redirect?x=1", ""));
    cases.push(get("/plain", ""));
    compare(&Setup {
        name: "tls",
        yaml: "
defaults:
  mode: http
  timeouts: { connect: 400ms, client: 2s, server: 10s }
frontends:
  front:
    bind: [\"{web}\", { address: \"{tls}\", tls: { certificates: [\"{dir}/a.pem\", \"{dir}/b.pem\"] } }]
    forwarded_for: true
    rules:
      - { if: { scheme: https }, set_header: { X-Forwarded-Proto: https, X-Name: \"%[ssl_fc_sni]\", X-Version: \"%[ssl_fc_protocol]\" } }
      - { if: { scheme: http, path: /redirect }, redirect: { scheme: https, code: 301 } }
      - { if: { path_prefix: /secure/ }, use_backend: secure }
      - { if: { path_prefix: /named/ }, use_backend: named }
      - { if: { path_prefix: /other/ }, use_backend: other }
      - { if: { path_prefix: /bad/ }, use_backend: bad }
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: \"{s1}\" }] }
  secure: { servers: [{ name: s, address: \"{secure}\", tls: { verify: none } }] }
  named: { servers: [{ name: s, address: \"{secure}\", tls: { ca: \"{dir}/ca.pem\", sni: inner.example } }] }
  other: { retries: 0, servers: [{ name: s, address: \"{secure}\", tls: { ca: \"{dir}/ca.pem\", sni: unknown.example } }] }
  bad: { retries: 0, servers: [{ name: s, address: \"{s1}\", tls: { verify: none } }] }
",
        cfg: "
    timeout connect 400ms
frontend front
    bind {web}
    bind {tls} ssl crt {dir}/a.pem crt {dir}/b.pem alpn h2,http/1.1
    option forwardfor
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Name %[ssl_fc_sni] if { ssl_fc }
    http-request set-header X-Version %[ssl_fc_protocol] if { ssl_fc }
    http-request redirect scheme https code 301 if !{ ssl_fc } { path /redirect }
    use_backend secure if { path_beg /secure/ }
    use_backend named if { path_beg /named/ }
    use_backend other if { path_beg /other/ }
    use_backend bad if { path_beg /bad/ }
    default_backend app
backend app
    server s1 {s1}
backend secure
    server s {secure} ssl verify none
backend named
    server s {secure} ssl ca-file {dir}/ca.pem sni str(inner.example) verifyhost inner.example
backend other
    retries 0
    server s {secure} ssl ca-file {dir}/ca.pem sni str(unknown.example) verifyhost unknown.example
backend bad
    retries 0
    server s {s1} ssl verify none
",
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["/until-close"],
    field: EVERYTHING,
    ours: "200 OK",
    theirs: "200 OK",
    why: "an answer that ends with its connection is chunked for clients that know it, so that a cut one is told from a whole one and the connection goes on",
}];
