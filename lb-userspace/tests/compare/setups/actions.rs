//! Actions that are rarer, and what is done with every answer.

use crate::{
    case::{Case, Deviation, Setup, Step, Via, ask, get, pipeline, steps},
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
    // What rules make of bytes that may not stand in a field.
    for value in [
        "/%0a/b.example",
        "a%00b%7f%1f",
        "a%0d%0aX:%20y",
        "%0aa%0a",
        "a%09%20b",
        "%80%ff%22",
    ] {
        for path in ["fields", "moved", "returned"] {
            cases.push(get(&format!("/decoded/{path}?u={value}"), "X-A: a, b\n"));
        }
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
      - if: { path: /decoded/fields }
        set_header: { X-Set: "%[url_param(u),url_dec]", X-Part: "<%[url_param(u),url_dec]>" }
        add_header: { X-A: "%[url_param(u),url_dec]" }
      - { if: { path: /decoded/fields }, replace_value: { X-A: { regex: "^b$", with: "<%[url_param(u),url_dec]>" } } }
      - { if: { path: /decoded/moved }, redirect: "%[url_param(u),url_dec]" }
      - { if: { path: /decoded/returned }, return: { status: 200, body: "<%[url_param(u),url_dec]>", content_type: text/plain, headers: { X-Mine: "%[url_param(u),url_dec]" } } }
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
    http-request set-header X-Set %[url_param(u),url_dec] if { path /decoded/fields }
    http-request set-header X-Part <%[url_param(u),url_dec]> if { path /decoded/fields }
    http-request add-header X-A %[url_param(u),url_dec] if { path /decoded/fields }
    http-request replace-value X-A ^b$ <%[url_param(u),url_dec]> if { path /decoded/fields }
    http-request redirect location %[url_param(u),url_dec] if { path /decoded/moved }
    http-request return status 200 content-type text/plain lf-string "<%[url_param(u),url_dec]>" hdr X-Mine "%[url_param(u),url_dec]" if { path /decoded/returned }
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

#[test]
fn servers() {
    let mut cases: Vec<Case> = Vec::new();
    for (target, headers) in [
        ("/plain", ""),
        ("/two/plain", ""),
        ("/three/plain", ""),
        ("/gone/plain", ""),
        ("/gone/two/plain", ""),
        ("/named/plain", "X-Server: s3\n"),
        ("/named/plain", "X-Server: s9\n"),
        ("/two/plain", "Cookie: SRV=c3\n"),
    ] {
        for at in ["web", "web2"] {
            cases.push(get(target, headers).at(at));
        }
    }
    compare(&Setup {
        name: "servers",
        yaml: SERVERS_YAML,
        cfg: SERVERS_CFG,
        files: &[],
        cases,
        parallel: false,
        deviations: &[],
    });
}

const SERVERS_YAML: &str = r#"
frontends:
  web: { bind: "{web}", default_backend: app }
  both: { bind: "{web2}", default_backend: both }
backends:
  app:
    balance: first
    cookie: { name: SRV, mode: insert }
    acls: { two: { path_contains: /two/ } }
    rules:
      - { if: { path_prefix: /gone/ }, use_server: idle }
      - { if: two, use_server: s2 }
      - { if: { path_prefix: /three/ }, use_server: s3 }
      - { if: { path_prefix: /named/ }, use_server: "%[req.hdr(x-server)]" }
    servers:
      - { name: s1, address: "{s1}", cookie: c1 }
      - { name: s2, address: "{s2}", cookie: c2 }
      - { name: s3, address: "{s3}", cookie: c3 }
      - { name: idle, address: "{s3}", disabled: true }
  both:
    balance: first
    rules: [{ if: { path_prefix: /two/ }, use_server: s2 }]
    servers: [{ name: s1, address: "{s1}" }, { name: s2, address: "{s2}" }]
"#;

const SERVERS_CFG: &str = r#"
frontend web
    bind {web}
    default_backend app
backend app
    balance first
    cookie SRV insert
    acl two path_sub /two/
    use-server idle if { path_beg /gone/ }
    use-server s2 if two
    use-server s3 if { path_beg /three/ }
    use-server %[req.hdr(x-server)] if { path_beg /named/ }
    server s1 {s1} cookie c1
    server s2 {s2} cookie c2
    server s3 {s3} cookie c3
    server idle {s3} disabled
listen both
    bind {web2}
    balance first
    use-server s2 if { path_beg /two/ }
    server s1 {s1}
    server s2 {s2}
"#;

#[test]
fn samples() {
    let mut cases: Vec<Case> = Vec::new();
    for (target, headers) in [
        ("/a/plain?n=12&x=y", "Cookie: n=7; x=y\nX-Text: 1.2.3\n"),
        ("/plain", "X-Text: key\n"),
        ("/long/er/plain?n=-3x", "Cookie: n=abc\nX-Text: \n"),
    ] {
        cases.push(get(target, headers));
        cases.push(get(target, headers).via("tls", Via::Tls("a.example")));
        cases.push(get(target, headers).via("tls", Via::H2Tls("a.example")));
    }
    let lines = SAMPLES.iter().enumerate();
    let yaml: String = lines
        .clone()
        .map(|(i, sample)| format!("          X-S{i}: '<%[{sample}]>'\n"))
        .collect();
    let cfg: String = lines
        .map(|(i, sample)| format!("    http-request set-header X-S{i} '<%[{sample}]>'\n"))
        .collect();
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    compare(&Setup {
        name: "samples",
        yaml: leak(SAMPLES_YAML.replace("SAMPLES", &yaml)),
        cfg: leak(SAMPLES_CFG.replace("SAMPLES", &cfg)),
        files: &[],
        cases,
        parallel: false,
        deviations: &[],
    });
}

/// Each is asked of every request.
const SAMPLES: &[&str] = &[
    "base32",
    "urlp_val(n)",
    "req.cook_val(n)",
    "cook_val(n)",
    "fc_http_major",
    "ssl_fc_has_sni",
    "ssl_fc_alpn",
    "path,wt6",
    "path,wt6(1)",
    "path,digest(sha256),hex",
    "path,digest(SHA512),hex",
    "path,hmac(sha256,c2VjcmV0),hex",
    "path,hmac(sha1,txn.key),hex",
    "path,be2dec(:,2)",
    "path,be2dec(-,2,1)",
    "path,be2dec(\",\",8)",
    "path,be2hex",
    "path,be2hex(:,2)",
    "path,be2hex(--,2,1)",
    "path,length,htonl,hex",
    "hdr(x-text),secure_memcmp(txn.text)",
    "path,cut_crlf",
    "path,sha2(384),hex",
    "path,xxh32",
    "path,xxh64",
    "path,djb2",
    "path,djb2(1)",
    "path,sdbm",
    "path,crc32c",
    "path,length,mul(7),mod(5)",
    "path,url_enc",
    "hdr(x-text),ltrim(1),rtrim(3)",
    "hdr(x-text),strcmp(txn.text),bool",
    "src,ipmask(16)",
    "path,bytes(1,2)",
    "int(86400),utime(%Y-%m-%d)",
    "ssl_fc,iif(yes,no)",
    "hdr(cookie),lower,regsub(n=,m=)",
    "path,length,and(6),or(1),xor(3),neg,cpl",
];

const SAMPLES_YAML: &str = r#"
frontends:
  web:
    bind: ["{web}", { address: "{tls}", tls: { certificates: "{dir}/a.pem", alpn: [h2, http/1.1] } }]
    rules:
      - set_var: { txn.key: "%[str(c2VjcmV0)]", txn.text: "%[str(key)]" }
      - set_header:
SAMPLES    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
"#;

const SAMPLES_CFG: &str = r#"
frontend web
    bind {web}
    bind {tls} ssl crt {dir}/a.pem alpn h2,http/1.1
    http-request set-var(txn.key) str(c2VjcmV0)
    http-request set-var(txn.text) str(key)
SAMPLES    default_backend app
backend app
    server s1 {s1}
"#;

#[test]
fn connections() {
    let mut cases: Vec<Case> = Vec::new();
    let plain = "GET /plain HTTP/1.1\nHost: a\n\n";
    cases.push(get("/plain", ""));
    // What a connection follows counts all of its requests.
    cases.push(pipeline(&[plain, plain, plain]));
    cases.push(pipeline(&[
        plain,
        "GET /missing HTTP/1.1\nHost: a\nX-Status: 404 None\n\n",
        plain,
    ]));
    cases.push(pipeline(&[plain, plain, plain, plain, plain]));
    for target in ["/open/shut", "/shut"] {
        let text = format!("GET {target} HTTP/1.1\nHost: a\n\n");
        cases.push(steps(target, vec![Step::Send(text), Step::Rest]));
    }
    cases.push(get("/plain", "").at("tls2"));
    compare(&Setup {
        name: "connection_rules",
        yaml: CONNECTIONS_YAML,
        cfg: CONNECTIONS_CFG,
        files: &[],
        cases,
        parallel: false,
        deviations: &[Deviation {
            cases: &["/shut"],
            field: "log 1 request",
            ours: "GET /shut HTTP/1.1",
            theirs: "<BADREQ>",
            why: "the request is known, though HAProxy has not looked at it by then",
        }],
    });
}

const CONNECTIONS_YAML: &str = r#"
frontends:
  web:
    bind: "{web}"
    stick_table: { key: ip, store: [conn_cnt, conn_cur, http_req_cnt, http_err_cnt, gpc0] }
    connection_rules:
      - { track: { counter: 0, key: source } }
      - { if: { source: 127.0.0.0/8 }, set_var: { sess.near: "%[str(yes)]" } }
      - { if: { source: 127.0.0.0/8 }, inc_gpc0: 0, accept: true }
      - { reject: true }
    rules:
      - { if: { not: { path_prefix: /open/ }, path_suffix: shut }, reject: true }
      - set_header:
          X-Near: "%[var(sess.near)]"
          X-Conns: "%[sc_conn_cnt(0)] %[sc_conn_cur(0)] %[sc_get_gpc0(0)]"
          X-Requests: "%[sc_http_req_cnt(0)] %[sc_http_err_cnt(0)]"
      - { if: { expr: { of: sc_http_req_cnt(0), value: "gt 4" } }, deny: 429 }
    default_backend: app
  open:
    mode: tcp
    bind: "{tls2}"
    connection_rules: [{ if: { source: 127.0.0.0/8 }, accept: true }, { reject: true }]
    default_backend: bare
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  bare: { mode: tcp, servers: [{ name: s2, address: "{s2}" }] }
"#;

const CONNECTIONS_CFG: &str = r#"
frontend web
    bind {web}
    stick-table type ip size 1k store conn_cnt,conn_cur,http_req_cnt,http_err_cnt,gpc0
    tcp-request connection track-sc0 src
    tcp-request connection set-var(sess.near) str(yes) if { src 127.0.0.0/8 }
    tcp-request session sc-inc-gpc0(0) if { src 127.0.0.0/8 }
    tcp-request session accept if { src 127.0.0.0/8 }
    tcp-request session reject
    tcp-request inspect-delay 1s
    tcp-request content accept if { path_beg /open/ }
    tcp-request content reject if { path_end shut }
    http-request set-header X-Near %[var(sess.near)]
    http-request set-header X-Conns "%[sc_conn_cnt(0)] %[sc_conn_cur(0)] %[sc_get_gpc0(0)]"
    http-request set-header X-Requests "%[sc_http_req_cnt(0)] %[sc_http_err_cnt(0)]"
    http-request deny deny_status 429 if { sc_http_req_cnt(0) gt 4 }
    default_backend app
frontend open
    mode tcp
    option tcplog
    bind {tls2}
    tcp-request connection accept if { src 127.0.0.0/8 }
    tcp-request connection reject
    tcp-request session reject if { src 192.0.2.1 }
    default_backend bare
backend app
    server s1 {s1}
backend bare
    mode tcp
    server s2 {s2}
"#;
