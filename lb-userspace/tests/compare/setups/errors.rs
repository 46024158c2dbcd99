//! What is no request, what is no answer, and pages of one's own.

use crate::{
    case::{Deviation, Setup, ask, get},
    run::compare,
};

#[test]
fn errors() {
    let mut cases = Vec::new();
    let long = "x".repeat(20_000);
    for at in ["web", "web2"] {
        // Not requests.
        for bad in [
            "garbage\n\n",
            "GET /plain\n\n",
            "GET  /plain HTTP/1.1\nHost: a\n\n",
            "GET plain HTTP/1.1\nHost: a\n\n",
            "GET /a b HTTP/1.1\nHost: a\n\n",
            "GET /plain HTTP/1.1\nHost : a\n\n",
            "GET /plain HTTP/1.1\nHost: a\nno colon\n\n",
            "GET /plain HTTP/1.1\nHost: a\nbad name: x\n\n",
            "GET /plain HTTP/1.1\nHost: a\n: x\n\n",
            "GET /plain HTTP/2.0\nHost: a\n\n",
            "GET /plain HTTP/1.11\nHost: a\n\n",
            "GET /plain http/1.1\nHost: a\n\n",
            "G@T /plain HTTP/1.1\nHost: a\n\n",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: x\n\n",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: -1\n\n",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: +5\n\nhello",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 4\n\nabcd",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999\n\n",
            "POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nzz\n",
            "GET /plain HTTP/1.1\nHost: a\nHost: b\n\n",
            "GET http://b/plain HTTP/1.1\nHost: a\n\n",
            "GET /pl\u{1}ain HTTP/1.1\nHost: a\n\n",
        ] {
            cases.push(ask(bad).at(at));
        }
        cases.push(ask(&format!("GET /{long} HTTP/1.1\nHost: a\n\n")).named("long target").at(at));
        cases.push(get("/plain", &format!("X-Long: {long}\n")).named("long field").at(at));
        cases.push(get("/plain", &"X-Many: 1\n".repeat(120)).named("many fields").at(at));
        // Not answers.
        for answer in [
            "garbage", "silent", "reset", "half-head", "short", "bad-chunk", "cut-chunk", "two-lengths", "both-lengths", "bad-name", "bad-status", "letters",
            "no-version", "huge", "gzip-chunked", "same-lengths",
        ] {
            cases.push(get(&format!("/{answer}"), "").at(at));
        }
        for answer in ["garbage", "silent", "short", "huge"] {
            cases.push(ask(&format!("HEAD /{answer} HTTP/1.1\nHost: a\n\n")).at(at));
            cases.push(ask(&format!("POST /{answer} HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello")).at(at));
            cases.push(ask(&format!("GET /{answer} HTTP/1.0\n\n")).at(at));
        }
        // Servers' own errors are theirs, and ours have pages.
        for status in ["400 Bad Request", "403 Forbidden", "404 Not Found", "502 Bad Gateway", "503 Service Unavailable"] {
            cases.push(get("/plain", &format!("X-Status: {status}\n")).at(at));
        }
        cases.push(get("/none/plain", "").at(at));
        cases.push(ask("HEAD /none/plain HTTP/1.1\nHost: a\n\n").at(at));
        cases.push(ask("GET /none/plain HTTP/1.0\n\n").at(at));
        cases.push(get("/denied", "").at(at));
    }
    compare(&Setup {
        name: "errors",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    rules: &rules [{ if: { path: /denied }, deny: 403 }, { if: { path_prefix: /none/ }, use_backend: none }]
    default_backend: app
  paged:
    bind: "{web2}"
    errorfiles: { 400: "{dir}/400.http", 403: "{dir}/403.http", 502: "{dir}/502.http", 503: "{dir}/503.http" }
    rules: *rules
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  none: { servers: [] }
"#,
        cfg: "
frontend front
    bind {web}
    http-request deny if { path /denied }
    use_backend none if { path_beg /none/ }
    default_backend app
frontend paged
    bind {web2}
    errorfile 400 {dir}/400.http
    errorfile 403 {dir}/403.http
    errorfile 502 {dir}/502.http
    errorfile 503 {dir}/503.http
    http-request deny if { path /denied }
    use_backend none if { path_beg /none/ }
    default_backend app
backend app
    server s1 {s1}
backend none
",
        files: &[
            ("400.http", "HTTP/1.0 400 Oh\nContent-Type: text/plain\nX-Page: 400\n\nnot a request"),
            ("403.http", "HTTP/1.1 403 No\nContent-Type: text/plain\nX-Page: 403\n\nno"),
            ("502.http", "HTTP/1.1 502 Broken\nContent-Type: text/plain\nX-Page: 502\n\nbroken"),
            ("503.http", "HTTP/1.1 503 Sorry\nContent-Type: text/plain\nX-Page: 503\n\nsorry"),
        ],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[];
