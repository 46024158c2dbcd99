//! What is kept of messages for the log, in httplog lines and in lines of one's own.

use crate::{
    case::{Setup, Step, ask, get, steps},
    run::compare,
};

#[test]
fn what_is_kept() {
    let mut cases = Vec::new();
    for at in ["web", "web2"] {
        for (target, fields) in [
            ("/plain", ""),
            ("/plain", "X-A: first\nX-A: longer than kept\nX-Empty:\n"),
            ("/plain", "X-A: a{b|c}#\\]\nUser-Agent: agent\nX-B: other\n"),
            ("/plain", "X-A: caf\u{e9}\n"),
            (
                "/plain?q=1",
                "Cookie: a=1; SESSION=longer than kept; SESS=2\n",
            ),
            ("/plain", "Cookie: a=1; b=SESS\nCookie: SESS=\n"),
            (
                "/plain",
                "X-Give: Server: one\nX-Give: Server: t|w{o}#\nX-Give: Set-Cookie: x=1; path=/\n",
            ),
            (
                "/plain",
                "X-Give: Set-Cookie: SESSION=abcdefghijkl; path=/\nX-Give: Set-Cookie: SESS=2\n",
            ),
            ("/id/plain", "X-A: 1\nX-B: from another field\n"),
            ("/id/plain", "X-A: 1\n"),
            ("/denied", "X-A: 1\nCookie: SESS=2\n"),
            ("/backend/plain", "X-A: 1\nX-B: 2\n"),
            ("/none/plain", "X-A: 1\n"),
            ("/garbage", "X-A: 1\n"),
            ("/plain", "X-Status: 404 Not Found\nX-Give: Server: x\n"),
        ] {
            cases.push(get(target, fields).at(at));
        }
        cases.push(ask("HEAD /plain HTTP/1.0\nX-A: old\n\n").at(at));
        cases.push(
            steps(
                "two requests",
                vec![
                    Step::Send("GET /plain HTTP/1.1\nHost: a\nX-A: 1\n\n".into()),
                    Step::Read("GET".into()),
                    Step::Send("GET /plain HTTP/1.1\nHost: a\nX-B: 2\n\n".into()),
                    Step::Read("GET".into()),
                ],
            )
            .at(at),
        );
        cases.push(ask("garbage\n\n").at(at));
    }
    compare(&Setup {
        name: "captures",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    capture: &capture
      request: [{ header: X-A, len: 8 }, { header: User-Agent, len: 20 }]
      response: [{ header: Server, len: 20 }, { header: X-Empty, len: 3 }, { len: 10 }]
      cookie: { prefix: SESS, len: 12 }
    rules: &rules
      - { set_var: { txn.path: "%[path]" } }
      - { capture: { value: "%[path]", len: 6 } }
      - { capture: { value: "%[req.hdr(x-b)]", len: 5 } }
      - { if: { path_prefix: /id/ }, capture: { value: "%[req.hdr(x-b)]", id: 0 } }
      - { if: { path: /denied }, deny: 403 }
      - { set_header: { X-Seen: "%[capture.req.hdr(0)]|%[capture.req.uri]|%[capture.req.method]|%[capture.req.ver]" } }
      - { response: { capture: { value: "%[res.hdr(x-server)]", id: 2 }, set_header: { X-Kept: "%[capture.res.hdr(0)]" } } }
      - { if: { path_prefix: /backend/ }, use_backend: backend }
      - { if: { path_prefix: /none/ }, use_backend: none }
    default_backend: app
  own:
    bind: "{web2}"
    log_format: &line '%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %hrl|%hsl|%{+E}hr  %hs x%[capture.req.hdr(0)] %{+E}[capture.req.hdr(0)] %[capture.req.method] %[capture.req.uri] %[capture.req.ver] %[capture.res.ver] %[capture.res.hdr(0)] %[dst_port] %[int(5)] %{+X}[int(255)] %[bool(true)] %[var(txn.path),upper] %[var(txn.none)] %[ssl_fc] %[fe_name] %[nbsrv(app)] %fi:%fp %si:%sp %{+X}si %sslc %sslv %{+Q}hr %{+Q}hs %{+Q}hrl %{+Q}hsl %{+Q}CC %{+Q}[capture.req.hdr(0)] %{+Q}[var(txn.none)] %{+Q}sslv'
    capture: *capture
    rules: *rules
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  backend:
    rules: [{ capture: { value: "%[str(from-backend)]", id: 0 } }]
    servers: [{ name: s1, address: "{s1}" }]
  none: { servers: [] }
"#,
        cfg: r#"
frontend front
    bind {web}
    capture request header X-A len 8
    capture request header User-Agent len 20
    capture response header Server len 20
    capture response header X-Empty len 3
    declare capture response len 10
    capture cookie SESS len 12
    http-request set-var(txn.path) path
    http-request capture path len 6
    http-request capture req.hdr(x-b) len 5
    http-request capture req.hdr(x-b) id 0 if { path_beg /id/ }
    http-request deny if { path /denied }
    http-request set-header X-Seen "%[capture.req.hdr(0)]|%[capture.req.uri]|%[capture.req.method]|%[capture.req.ver]"
    http-response capture res.hdr(x-server) id 2
    http-response set-header X-Kept %[capture.res.hdr(0)]
    use_backend backend if { path_beg /backend/ }
    use_backend none if { path_beg /none/ }
    default_backend app
frontend own
    bind {web2}
    log-format "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %hrl|%hsl|%{+E}hr  %hs x%[capture.req.hdr(0)] %{+E}[capture.req.hdr(0)] %[capture.req.method] %[capture.req.uri] %[capture.req.ver] %[capture.res.ver] %[capture.res.hdr(0)] %[dst_port] %[int(5)] %{+X}[int(255)] %[bool(true)] %[var(txn.path),upper] %[var(txn.none)] %[ssl_fc] %[fe_name] %[nbsrv(app)] %fi:%fp %si:%sp %{+X}si %sslc %sslv %{+Q}hr %{+Q}hs %{+Q}hrl %{+Q}hsl %{+Q}CC %{+Q}[capture.req.hdr(0)] %{+Q}[var(txn.none)] %{+Q}sslv"
    capture request header X-A len 8
    capture request header User-Agent len 20
    capture response header Server len 20
    capture response header X-Empty len 3
    declare capture response len 10
    capture cookie SESS len 12
    http-request set-var(txn.path) path
    http-request capture path len 6
    http-request capture req.hdr(x-b) len 5
    http-request capture req.hdr(x-b) id 0 if { path_beg /id/ }
    http-request deny if { path /denied }
    http-request set-header X-Seen "%[capture.req.hdr(0)]|%[capture.req.uri]|%[capture.req.method]|%[capture.req.ver]"
    http-response capture res.hdr(x-server) id 2
    http-response set-header X-Kept %[capture.res.hdr(0)]
    use_backend backend if { path_beg /backend/ }
    use_backend none if { path_beg /none/ }
    default_backend app
backend app
    server s1 {s1}
backend backend
    http-request capture str(from-backend) id 0
    server s1 {s1}
backend none
"#,
        files: &[],
        cases,
        parallel: false,
        deviations: &[],
    });
}
