//! Actions that are rarer, and what is done with every answer.

use crate::{
    case::{Case, Deviation, Setup, Step, ask, get, steps},
    run::compare,
};

#[test]
fn actions() {
    let mut cases: Vec<Case> = Vec::new();
    // Targets.
    for target in [
        "/uri/plain?x=1",
        "/pathq/plain?x=1",
        "/new-pathq/plain?x=1",
        "/merge//a///plain?x=//",
        "/dot/./a/./plain",
        "/dot/./plain/.",
        "/dotdot/a/../plain",
        "/dotdot/../../plain",
        "/full/../../full/plain",
        "/upper/%2f%aa/plain?%3d",
        "/unreserved/%41%2f/plain?%7e",
        "/sort/plain?c=3&a=2&b&a=1",
    ] {
        cases.push(get(target, ""));
    }
    // Answers instead of a server's.
    for target in [
        "/answer/redirect",
        "/answer/return",
        "/answer/allowed",
        "/answer/reason",
        "/answer/plain",
    ] {
        cases.push(get(target, ""));
        cases.push(ask(&format!("HEAD {target} HTTP/1.1\nHost: a\n\n")));
    }
    // What is done with every answer.
    for target in [
        "/after/plain",
        "/after/denied",
        "/after/moved",
        "/after/returned",
        "/after/nowhere",
        "/after/garbage",
        "/after/backend",
        "/other",
    ] {
        cases.push(get(target, "X-Give: X-Secret: 1\n"));
    }
    // Without an answer.
    let without = |target: &str| {
        let text = format!("GET {target} HTTP/1.1\nHost: a\n\n");
        steps(target, vec![Step::Send(text), Step::Rest])
    };
    cases.push(without("/reject"));
    // Who the client is said to be.
    cases.push(get("/source/plain", "X-Real-IP: 192.0.2.55\n"));
    cases.push(get("/source/plain", "X-Real-IP: none\n"));
    cases.push(get("/source/plain", ""));
    // Before the answer, and beside the log.
    cases.push(get("/hint/plain", ""));
    cases.push(get("/quiet/plain", ""));
    cases.push(get("/quiet/loud", ""));
    compare(&Setup {
        name: "actions",
        yaml: YAML,
        cfg: CFG,
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const YAML: &str = r#"
frontends:
  web:
    bind: "{web}"
    forwarded_for: true
    rules:
      - { if: { path_prefix: /uri/ }, replace_uri: { regex: "^/uri/([^?]*)(.*)$", with: '/new/\1\2' } }
      - { if: { path_prefix: /pathq/ }, replace_pathq: { regex: "^/pathq/(.*)[?](.*)$", with: '/new/\1?q=\2' } }
      - { if: { path_prefix: /new-pathq/ }, set_pathq: "/new?p=%[path]" }
      - { if: { path_prefix: /merge/ }, normalize_uri: path-merge-slashes }
      - { if: { path_prefix: /dot/ }, normalize_uri: path-strip-dot }
      - { if: { path_prefix: /dotdot/ }, normalize_uri: path-strip-dotdot }
      - { if: { path_prefix: /full/ }, normalize_uri: path-strip-dotdot full }
      - { if: { path_prefix: /upper/ }, normalize_uri: percent-to-uppercase }
      - { if: { path_prefix: /unreserved/ }, normalize_uri: percent-decode-unreserved }
      - { if: { path_prefix: /sort/ }, normalize_uri: query-sort-by-name }
      - { if: { path: /reject }, reject: true }
      - if: { path_prefix: /source/ }
        set_src: "%[req.hdr(x-real-ip)]"
        set_src_port: "%[int(4711)]"
        set_header: { X-Source: "%[src]:%[src_port]" }
      - { if: { path_prefix: /hint/ }, early_hint: { Link: "</a.css>; rel=preload" } }
      - { if: { path_prefix: /hint/ }, early_hint: { X-Path: "%[path]" } }
      - { if: { path: /quiet/plain }, set_log_level: silent }
      - { set_var: { txn.path: "%[path]" } }
      - { if: { path: /after/denied }, deny: 403 }
      - { if: { path: /after/moved }, redirect: /there }
      - { if: { path: /after/returned }, return: { status: 200, body: mine } }
      - { response: { if: { expr: { of: var(txn.path), value: /answer/redirect } }, redirect: { location: "/to?%[status]", code: 303 } } }
      - { response: { if: { expr: { of: var(txn.path), value: /answer/return } }, return: { status: 404, body: "gone %[status]", content_type: text/plain, headers: { X-Mine: "1" } } } }
      - { response: { if: { expr: { of: var(txn.path), value: /answer/allowed } }, allow: true } }
      - { response: { if: { expr: { of: var(txn.path), value: /answer/reason } }, set_status: { status: 503, reason: Slow Down } } }
      - { response: { set_header: { X-Passed: "1" } } }
      - response:
          always: true
          if: { expr: { of: var(txn.path), prefix: /after/ } }
          set_header: { X-After: "%[status]" }
          add_header: { X-More: "%[var(txn.path)]" }
          del_header: X-Secret
      - { response: { always: true, if: { expr: { of: var(txn.path), value: /after/returned } }, allow: true } }
      - { response: { always: true, if: { status: 200 }, set_header: { X-Fine: "1" } } }
      - { if: { path: /after/nowhere }, use_backend: nowhere }
    default_backend: app
backends:
  app:
    rules:
      - { if: { path: /after/backend }, deny: 410 }
      - { response: { always: true, set_header: { X-Backend: app } } }
    servers: [{ name: s1, address: "{s1}" }]
  nowhere:
    retries: 0
    servers: [{ name: dead, address: "{dead}" }]
"#;

const CFG: &str = r#"
global
    expose-experimental-directives
frontend web
    bind {web}
    option forwardfor
    http-request replace-uri ^/uri/([^?]*)(.*)$ /new/\1\2 if { path_beg /uri/ }
    http-request replace-pathq ^/pathq/(.*)[?](.*)$ /new/\1?q=\2 if { path_beg /pathq/ }
    http-request set-pathq /new?p=%[path] if { path_beg /new-pathq/ }
    http-request normalize-uri path-merge-slashes if { path_beg /merge/ }
    http-request normalize-uri path-strip-dot if { path_beg /dot/ }
    http-request normalize-uri path-strip-dotdot if { path_beg /dotdot/ }
    http-request normalize-uri path-strip-dotdot full if { path_beg /full/ }
    http-request normalize-uri percent-to-uppercase if { path_beg /upper/ }
    http-request normalize-uri percent-decode-unreserved if { path_beg /unreserved/ }
    http-request normalize-uri query-sort-by-name if { path_beg /sort/ }
    http-request reject if { path /reject }
    http-request set-src req.hdr(x-real-ip) if { path_beg /source/ }
    http-request set-src-port int(4711) if { path_beg /source/ }
    http-request set-header X-Source %[src]:%[src_port] if { path_beg /source/ }
    http-request early-hint Link "</a.css>; rel=preload" if { path_beg /hint/ }
    http-request early-hint X-Path %[path] if { path_beg /hint/ }
    http-request set-log-level silent if { path /quiet/plain }
    http-request set-var(txn.path) path
    http-request deny deny_status 403 if { path /after/denied }
    http-request redirect location /there if { path /after/moved }
    http-request return status 200 content-type text/plain string mine if { path /after/returned }
    acl p var(txn.path) -m found
    http-response redirect location /to?%[status] code 303 if { var(txn.path) -m str /answer/redirect }
    http-response return status 404 content-type text/plain lf-string "gone %[status]" hdr X-Mine 1 if { var(txn.path) -m str /answer/return }
    http-response allow if { var(txn.path) -m str /answer/allowed }
    http-response set-status 503 reason "Slow Down" if { var(txn.path) -m str /answer/reason }
    http-response set-header X-Passed 1
    http-after-response set-header X-After %[status] if { var(txn.path) -m beg /after/ }
    http-after-response add-header X-More %[var(txn.path)] if { var(txn.path) -m beg /after/ }
    http-after-response del-header X-Secret if { var(txn.path) -m beg /after/ }
    http-after-response allow if { var(txn.path) -m str /after/returned }
    http-after-response set-header X-Fine 1 if { status 200 }
    use_backend nowhere if { path /after/nowhere }
    default_backend app
backend app
    http-request deny deny_status 410 if { path /after/backend }
    http-after-response set-header X-Backend app
    server s1 {s1}
backend nowhere
    retries 0
    server dead {dead}
"#;

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["/dotdot/", "/upper/", "/unreserved/"],
        field: "seen 1 line",
        ours: "*",
        theirs: "*",
        why: "HAProxy 2.6 forgets which step it is if a condition follows one that may have an argument",
    },
    Deviation {
        cases: &["/answer/return"],
        field: "1 body",
        ours: "gone 200",
        theirs: "gone ",
        why: "HAProxy does not know the status any more in an answer that takes a response's place",
    },
    Deviation {
        cases: &["/answer/return"],
        field: "1 header content-length",
        ours: "8",
        theirs: "5",
        why: "HAProxy does not know the status any more in an answer that takes a response's place",
    },
];
