//! Redirects, answers of one's own, refusals, edits, authorisation and maps.

use crate::{
    case::{Case, Deviation, Setup, ask, get},
    run::compare,
};

#[test]
fn rules() {
    let mut cases: Vec<Case> = Vec::new();
    // Redirects.
    for code in ["301", "302", "303", "307", "308"] {
        cases.push(get(&format!("/moved/{code}"), ""));
    }
    for target in [
        "/to-location?x=1",
        "/to-prefix/a?x=1",
        "/to-scheme?x=1",
        "/drop?x=1",
        "/slash?x=1",
        "/slash/?x=1",
        "/set-cookie",
        "/clear-cookie",
        "/computed/a%20b?x=1",
    ] {
        cases.push(get(target, ""));
        cases.push(ask(&format!("HEAD {target} HTTP/1.1\nHost: a\n\n")));
        cases.push(ask(&format!(
            "POST {target} HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"
        )));
        cases.push(ask(&format!("GET {target} HTTP/1.0\n\n")));
        cases.push(get(target, "Connection: close\n"));
    }
    // Answers and refusals.
    for target in [
        "/return/text",
        "/return/status",
        "/return/204",
        "/return/404",
        "/return/503",
        "/return/header",
        "/return/computed?q=1",
        "/return/file",
        "/deny/true",
        "/deny/400",
        "/deny/401",
        "/deny/404",
        "/deny/405",
        "/deny/408",
        "/deny/410",
        "/deny/413",
        "/deny/425",
        "/deny/429",
        "/deny/500",
        "/deny/501",
        "/deny/502",
        "/deny/503",
        "/deny/504",
        "/tarpit",
        "/private",
        "/deny-response",
    ] {
        cases.push(get(target, ""));
        cases.push(ask(&format!("HEAD {target} HTTP/1.1\nHost: a\n\n")));
        cases.push(ask(&format!(
            "POST {target} HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"
        )));
        cases.push(ask(&format!("GET {target} HTTP/1.0\n\n")));
    }
    cases.push(get("/private", "Authorization: Basic am9lOnNlY3JldA==\n"));
    cases.push(get("/private", "Authorization: Basic am9lOndyb25n\n"));
    cases.push(get("/private", "Authorization: Basic !\n"));
    cases.push(get("/private", "Authorization: Bearer x\n"));
    cases.push(get("/private", "authorization: basic am9lOnNlY3JldA==\n"));
    // Edits.
    for headers in [
        "",
        "X-Set: old\nX-Set: older\n",
        "X-Add: old\n",
        "X-Del: 1\nX-Del: 2\nX-Internal-A: 1\nX-Internal-B: 2\n",
        "X-Line: a=1, b=2\n",
        "X-List: a=1, b=2, a=3\n",
        "X-Give: X-Answer: old\nX-Give: X-Secret: 1\nX-Give: X-Secret: 2\n",
        "X-Give: X-Rline: a=1, b=2\nX-Give: X-Rlist: a=1, b=2\n",
        "X-Flag: yes\n",
        "User-Agent: Some Bot/1.0\nReferer: http://x/y\n",
        "Cookie: a=1; b=two; a=3\n",
        "Cookie: b=two\nCookie: c=3\n",
    ] {
        cases.push(get("/edit/plain?a=1&b=two%20words", headers));
    }
    for target in [
        "/strip/plain",
        "/strip/",
        "/strip/a/b?x=1",
        "/to-path/plain?x=1",
        "/to-query/plain?x=1",
        "/to-query/plain",
        "/to-uri/plain?x=1",
        "/method/plain",
        "/upper/Plain",
        "/field/a/b/c",
        "/vars/plain?n=5",
        "/vars/plain?n=x",
        "/vars/plain",
    ] {
        cases.push(get(target, ""));
    }
    // Conditions.
    for (target, headers) in [
        ("/cond/x.png", ""),
        ("/cond/X.PNG", ""),
        ("/cond/v12/x", ""),
        ("/cond/vx/x", ""),
        ("/cond/x?debug=1", ""),
        ("/cond/x?debug=2", ""),
        ("/cond/x?xdebug=1", ""),
        ("/cond/x?debug", ""),
        ("/cond/x?a=b&debug=1#f", ""),
        ("/cond/x", "X-Kind: a, special, b\n"),
        ("/cond/x", "X-Kind: specially\n"),
        ("/cond/x", "X-Kind: Special\n"),
        ("/cond/x", "Cookie: tier=gold\n"),
        ("/cond/x", "Cookie: tier=golden\n"),
        ("/cond/x", "Cookie: xtier=gold; tier=gold\n"),
        ("/cond/x", "X-Number: 7\n"),
        ("/cond/x", "X-Number: 70\n"),
        ("/cond/x", "X-Number: -7\n"),
        ("/cond/x", "X-Number: x\n"),
        ("/cond/x", "X-From: 192.0.2.77\n"),
        ("/cond/x", "X-From: 198.51.100.1\n"),
        ("/cond/x", "X-From: 1.2.3.4, 192.0.2.1\n"),
    ] {
        cases.push(get(target, headers));
    }
    for host in [
        "one.example",
        "ONE.EXAMPLE",
        "one.example:80",
        "one.example.",
        "x.two.example",
        "two.example",
        "xtwo.example",
        "[::1]:80",
    ] {
        cases.push(ask(&format!("GET /host/plain HTTP/1.1\nHost: {host}\n\n")));
    }
    // Maps.
    for host in ["red.example", "RED.example", "blue.example", "none.example"] {
        cases.push(ask(&format!("GET /map/plain HTTP/1.1\nHost: {host}\n\n")));
    }
    for path in [
        "/mapped/a/plain",
        "/mapped/b/plain",
        "/mapped/c/plain",
        "/mapped/a",
    ] {
        cases.push(get(path, ""));
    }
    // Counters.
    for key in ["k1", "k1", "k1", "k1", "k2", ""] {
        cases.push(get("/limited/plain", &format!("X-Key: {key}\n")));
    }
    cases.push(get("/limited/plain", ""));
    compare(&Setup {
        name: "rules",
        yaml: YAML,
        cfg: CFG,
        files: &[
            (
                "hosts.map",
                "# host backend\nred.example red\nblue.example   blue\n",
            ),
            ("paths.map", "/mapped/a red\n/mapped/b blue\n"),
            ("page.html", "<p>a file</p>\n"),
        ],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const YAML: &str = r#"
userlists:
  people: { joe: secret }
defaults:
  mode: http
  timeouts: { connect: 5s, client: 10s, server: 10s, tarpit: 100ms }
frontends:
  front:
    bind: "{web}"
    stick_table: { key: string, length: 32, size: 1k, store: [http_req_cnt] }
    rules:
      - { if: { path: /moved/301 }, redirect: { location: /new, code: 301 } }
      - { if: { path: /moved/302 }, redirect: { location: /new, code: 302 } }
      - { if: { path: /moved/303 }, redirect: { location: /new, code: 303 } }
      - { if: { path: /moved/307 }, redirect: { location: /new, code: 307 } }
      - { if: { path: /moved/308 }, redirect: { location: /new, code: 308 } }
      - { if: { path: /to-location }, redirect: { location: "http://b/x" } }
      - { if: { path_prefix: /to-prefix }, redirect: { prefix: "http://b/p" } }
      - { if: { path: /to-scheme }, redirect: { scheme: https } }
      - { if: { path: /drop }, redirect: { prefix: /p, drop_query: true } }
      - { if: { path_prefix: /slash }, redirect: { prefix: /p, drop_query: true, append_slash: true } }
      - { if: { path: /set-cookie }, redirect: { location: /x, set_cookie: "seen=1" } }
      - { if: { path: /clear-cookie }, redirect: { location: /x, clear_cookie: "seen=" } }
      - { if: { path_prefix: /computed/ }, redirect: { location: "https://%[hdr(host)]%[path]?q=%[query]" } }
      - { if: { path: /return/text }, return: { status: 200, body: hello, content_type: text/plain } }
      - { if: { path: /return/status }, return: { status: 200 } }
      - { if: { path: /return/204 }, return: { status: 204 } }
      - { if: { path: /return/404 }, return: { status: 404, body: gone, content_type: text/plain } }
      - { if: { path: /return/503 }, return: { status: 503, body: down, content_type: text/plain } }
      - { if: { path: /return/header }, return: { status: 200, body: x, content_type: text/plain, headers: { X-A: "%[path]", X-B: "2" } } }
      - { if: { path: /return/computed }, return: { status: 200, body: "q is %[urlp(q)]", content_type: text/plain } }
      - { if: { path: /return/file }, return: { status: 200, file: "{dir}/page.html", content_type: text/html } }
      - { if: { path: /deny/true }, deny: true }
      - { if: { path: /deny/400 }, deny: 400 }
      - { if: { path: /deny/401 }, deny: 401 }
      - { if: { path: /deny/404 }, deny: 404 }
      - { if: { path: /deny/405 }, deny: 405 }
      - { if: { path: /deny/408 }, deny: 408 }
      - { if: { path: /deny/410 }, deny: 410 }
      - { if: { path: /deny/413 }, deny: 413 }
      - { if: { path: /deny/425 }, deny: 425 }
      - { if: { path: /deny/429 }, deny: 429 }
      - { if: { path: /deny/500 }, deny: 500 }
      - { if: { path: /deny/501 }, deny: 501 }
      - { if: { path: /deny/502 }, deny: 502 }
      - { if: { path: /deny/503 }, deny: 503 }
      - { if: { path: /deny/504 }, deny: 504 }
      - { if: { path: /tarpit }, tarpit: true }
      - { if: { path: /private }, auth: { realm: the realm, users: people } }
      - if: { path: /deny-response }
        response: { deny: true }
      - if: { path_prefix: /edit/ }
        set_header: { X-Set: new, X-Source: "%[src]", X-Query: "%[query]", X-B: "%[urlp(b)]", X-Cookie-A: "%[req.cook(a)]", X-Agent: "%[hdr(user-agent),lower]", X-Where: "%[hdr(referer)]" }
        add_header: { X-Add: new }
        del_header: [X-Del, "X-Internal-*"]
        replace_header: { X-Line: { regex: "a=([0-9]), (.*)", with: '\2; \1' } }
        replace_value: { X-List: { regex: "a=([0-9])", with: 'A\1' } }
      - if: { path_prefix: /edit/ }
        response:
          set_header: { X-Answer: new }
          add_header: { X-More: one }
          del_header: X-Secret
          replace_header: { X-Rline: { regex: "a=([0-9]), (.*)", with: '\2; \1' } }
          replace_value: { X-Rlist: { regex: "a=([0-9])", with: 'A\1' } }
      - { if: { path_prefix: /edit/, header: { name: X-Flag, value: "yes" } }, response: { set_status: 418 } }
      - { if: { path_prefix: /strip/ }, replace_path: { regex: "^/strip/(.*)", with: '/\1' } }
      - { if: { path_prefix: /to-path/ }, set_path: "/new%[path]" }
      - { if: { path_prefix: /to-query/ }, set_query: "a=1&%[query]" }
      - { if: { path_prefix: /to-uri/ }, set_uri: "/uri?p=%[path]" }
      - { if: { path_prefix: /method/ }, set_method: PUT }
      - { if: { path_prefix: /upper/ }, set_header: { X-Upper: "%[path,upper]", X-Length: "%[path,length]", X-Hash: "%[path,crc32]", X-Hex: "%[path,hex]", X-64: "%[path,base64]", X-Sha: "%[path,sha1,hex]" } }
      - { if: { path_prefix: /field/ }, set_header: { X-F: "%[path,field(3,/)]", X-W: "%[path,word(2,/)]", X-S: '%[path,regsub(/,-,g)]', X-Base: "%[base]", X-Url: "%[url]" } }
      - if: { path_prefix: /vars/ }
        set_var: { txn.n: "%[urlp(n)]" }
        set_header: { X-N: "%[var(txn.n)]", X-Plus: "%[var(txn.n),add(2)]", X-Times: "%[int(3),mul(7)]", X-Have: "%[var(txn.n),length]" }
      - { if: { path_suffix: .png, path_prefix: /cond/ }, set_header: { X-Case-Sensitive: "1" } }
      - { if: { path_suffix: .png, path_prefix: /cond/, ignore_case: true }, set_header: { X-Any-Case: "1" } }
      - { if: { path_regex: "^/cond/v[0-9]+/" }, set_header: { X-Versioned: "1" } }
      - { if: { path_prefix: /cond/, query: { name: debug, value: "1" } }, set_header: { X-Debug: "1" } }
      - { if: { path_prefix: /cond/, query: { name: debug, present: true } }, set_header: { X-Debug-There: "1" } }
      - { if: { path_prefix: /cond/, header: { name: X-Kind, value: special } }, set_header: { X-Special: "1" } }
      - { if: { path_prefix: /cond/, cookie: { name: tier, value: gold } }, set_header: { X-Gold: "1" } }
      - { if: { path_prefix: /cond/, expr: { of: "hdr_val(X-Number)", value: "gt 5" } }, set_header: { X-Greater: "1" } }
      - { if: { path_prefix: /cond/, expr: { of: "hdr_val(X-Number)", value: "5:10" } }, set_header: { X-Range: "1" } }
      - { if: { path_prefix: /cond/, expr: { of: "hdr_ip(X-From)", value: 192.0.2.0/24 } }, set_header: { X-Inside: "1" } }
      - { if: { path_prefix: /host/, host: one.example }, set_header: { X-One: "1" } }
      - { if: { path_prefix: /host/ }, set_header: { X-Host: "%[hdr(host)]", X-Only: "%[hdr(host),host_only]", X-Port: "%[hdr(host),port_only]" } }
      - { if: { path_prefix: /map/ }, set_header: { X-Mapped: "%[hdr(host),lower,map({dir}/hosts.map,app)]" } }
      - { if: { path_prefix: /map/ }, use_backend: "%[hdr(host),lower,map({dir}/hosts.map,app)]" }
      - { if: { path_prefix: /mapped/ }, use_backend: "%[path,map_beg({dir}/paths.map)]" }
      - { if: { path_prefix: /limited/ }, track: { counter: 0, key: "%[hdr(X-Key)]" } }
      - { if: { path_prefix: /limited/, expr: { of: "sc_http_req_cnt(0)", value: "gt 2" } }, deny: { status: 429 } }
      - { if: { path_prefix: /limited/ }, set_header: { X-Count: "%[sc_http_req_cnt(0)]" } }
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  red: { servers: [{ name: s2, address: "{s2}" }] }
  blue: { servers: [{ name: s3, address: "{s3}" }] }
"#;

const CFG: &str = r#"
    timeout tarpit 100ms
userlist people
    user joe insecure-password secret
frontend front
    bind {web}
    stick-table type string len 32 size 1k store http_req_cnt
    http-request redirect location /new code 301 if { path /moved/301 }
    http-request redirect location /new code 302 if { path /moved/302 }
    http-request redirect location /new code 303 if { path /moved/303 }
    http-request redirect location /new code 307 if { path /moved/307 }
    http-request redirect location /new code 308 if { path /moved/308 }
    http-request redirect location http://b/x if { path /to-location }
    http-request redirect prefix http://b/p if { path_beg /to-prefix }
    http-request redirect scheme https if { path /to-scheme }
    http-request redirect prefix /p drop-query if { path /drop }
    http-request redirect prefix /p drop-query append-slash if { path_beg /slash }
    http-request redirect location /x set-cookie seen=1 if { path /set-cookie }
    http-request redirect location /x clear-cookie seen= if { path /clear-cookie }
    http-request redirect location https://%[hdr(host)]%[path]?q=%[query] if { path_beg /computed/ }
    http-request return status 200 content-type text/plain string hello if { path /return/text }
    http-request return status 200 if { path /return/status }
    http-request return status 204 if { path /return/204 }
    http-request return status 404 content-type text/plain string gone if { path /return/404 }
    http-request return status 503 content-type text/plain string down if { path /return/503 }
    http-request return status 200 content-type text/plain string x hdr X-A %[path] hdr X-B 2 if { path /return/header }
    http-request return status 200 content-type text/plain lf-string "q is %[urlp(q)]" if { path /return/computed }
    http-request return status 200 content-type text/html file {dir}/page.html if { path /return/file }
    http-request deny if { path /deny/true }
    http-request deny deny_status 400 if { path /deny/400 }
    http-request deny deny_status 401 if { path /deny/401 }
    http-request deny deny_status 404 if { path /deny/404 }
    http-request deny deny_status 405 if { path /deny/405 }
    http-request deny deny_status 408 if { path /deny/408 }
    http-request deny deny_status 410 if { path /deny/410 }
    http-request deny deny_status 413 if { path /deny/413 }
    http-request deny deny_status 425 if { path /deny/425 }
    http-request deny deny_status 429 if { path /deny/429 }
    http-request deny deny_status 500 if { path /deny/500 }
    http-request deny deny_status 501 if { path /deny/501 }
    http-request deny deny_status 502 if { path /deny/502 }
    http-request deny deny_status 503 if { path /deny/503 }
    http-request deny deny_status 504 if { path /deny/504 }
    http-request tarpit if { path /tarpit }
    http-request auth realm "the realm" if { path /private } !{ http_auth(people) }
    http-request set-var(txn.path) path
    http-response deny if { var(txn.path) -m str /deny-response }
    acl edit path_beg /edit/
    http-request set-var(txn.edit) bool(true) if edit
    http-request set-var(txn.flag) hdr(X-Flag)
    http-request set-header X-Set new if edit
    http-request set-header X-Source %[src] if edit
    http-request set-header X-Query %[query] if edit
    http-request set-header X-B %[urlp(b)] if edit
    http-request set-header X-Cookie-A %[req.cook(a)] if edit
    http-request set-header X-Agent %[hdr(user-agent),lower] if edit
    http-request set-header X-Where %[hdr(referer)] if edit
    http-request add-header X-Add new if edit
    http-request del-header X-Del if edit
    http-request del-header X-Internal- -m beg if edit
    http-request replace-header X-Line "a=([0-9]), (.*)" "\2; \1" if edit
    http-request replace-value X-List "a=([0-9])" "A\1" if edit
    acl was_edit var(txn.edit) -m bool
    http-response set-header X-Answer new if was_edit
    http-response add-header X-More one if was_edit
    http-response del-header X-Secret if was_edit
    http-response replace-header X-Rline "a=([0-9]), (.*)" "\2; \1" if was_edit
    http-response replace-value X-Rlist "a=([0-9])" "A\1" if was_edit
    http-response set-status 418 if was_edit { var(txn.flag) -m str yes }
    http-request replace-path ^/strip/(.*) /\1 if { path_beg /strip/ }
    http-request set-path /new%[path] if { path_beg /to-path/ }
    http-request set-query a=1&%[query] if { path_beg /to-query/ }
    http-request set-uri /uri?p=%[path] if { path_beg /to-uri/ }
    http-request set-method PUT if { path_beg /method/ }
    acl upper path_beg /upper/
    http-request set-header X-Upper %[path,upper] if upper
    http-request set-header X-Length %[path,length] if upper
    http-request set-header X-Hash %[path,crc32] if upper
    http-request set-header X-Hex %[path,hex] if upper
    http-request set-header X-64 %[path,base64] if upper
    http-request set-header X-Sha %[path,sha1,hex] if upper
    acl field path_beg /field/
    http-request set-header X-F %[path,field(3,/)] if field
    http-request set-header X-W %[path,word(2,/)] if field
    http-request set-header X-S %[path,regsub(/,-,g)] if field
    http-request set-header X-Base %[base] if field
    http-request set-header X-Url %[url] if field
    acl vars path_beg /vars/
    http-request set-var(txn.n) urlp(n) if vars
    http-request set-header X-N %[var(txn.n)] if vars
    http-request set-header X-Plus %[var(txn.n),add(2)] if vars
    http-request set-header X-Times %[int(3),mul(7)] if vars
    http-request set-header X-Have %[var(txn.n),length] if vars
    acl cond path_beg /cond/
    http-request set-header X-Case-Sensitive 1 if cond { path_end .png }
    http-request set-header X-Any-Case 1 if cond { path_end -i .png }
    http-request set-header X-Versioned 1 if { path_reg ^/cond/v[0-9]+/ }
    http-request set-header X-Debug 1 if cond { urlp(debug) 1 }
    http-request set-header X-Debug-There 1 if cond { urlp(debug) -m found }
    http-request set-header X-Special 1 if cond { hdr(X-Kind) special }
    http-request set-header X-Gold 1 if cond { req.cook(tier) gold }
    http-request set-header X-Greater 1 if cond { hdr_val(X-Number) gt 5 }
    http-request set-header X-Range 1 if cond { hdr_val(X-Number) 5:10 }
    http-request set-header X-Inside 1 if cond { hdr_ip(X-From) 192.0.2.0/24 }
    http-request set-header X-One 1 if { path_beg /host/ } { hdr(host),host_only -i one.example }
    http-request set-header X-Host %[hdr(host)] if { path_beg /host/ }
    http-request set-header X-Only %[hdr(host),host_only] if { path_beg /host/ }
    http-request set-header X-Port %[hdr(host),port_only] if { path_beg /host/ }
    http-request set-header X-Mapped %[hdr(host),lower,map({dir}/hosts.map,app)] if { path_beg /map/ }
    http-request track-sc0 hdr(X-Key) if { path_beg /limited/ }
    http-request deny deny_status 429 if { path_beg /limited/ } { sc_http_req_cnt(0) gt 2 }
    http-request set-header X-Count %[sc_http_req_cnt(0)] if { path_beg /limited/ }
    use_backend %[hdr(host),lower,map({dir}/hosts.map,app)] if { path_beg /map/ }
    use_backend %[path,map_beg({dir}/paths.map)] if { path_beg /mapped/ }
    default_backend app
backend app
    server s1 {s1}
backend red
    server s2 {s2}
backend blue
    server s3 {s3}
"#;

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["POST /"],
        field: "1 header connection",
        ours: "-",
        theirs: "close",
        why: "the body of a request that is answered here is read, so that the connection goes on",
    },
    Deviation {
        cases: &["POST /"],
        field: "kept",
        ours: "true",
        theirs: "false",
        why: "the body of a request that is answered here is read, so that the connection goes on",
    },
    Deviation {
        cases: &["/deny/501"],
        field: "1 *",
        ours: "*",
        theirs: "*",
        why: "HAProxy 2.6 has a full stop before the text, which is a mistake",
    },
    Deviation {
        cases: &["/tarpit"],
        field: "log 1 times",
        ours: "n/-1/-1/-1/n",
        theirs: "-1/n/-1/-1/n",
        why: "the head did come, and nothing waited for a server",
    },
    Deviation {
        cases: &["debug HTTP/1.1"],
        field: "seen 1 header x-debug-there",
        ours: "1",
        theirs: "-",
        why: "a parameter without a value is there",
    },
    Deviation {
        cases: &["Host: one.example.\n"],
        field: "seen 1 header x-one",
        ours: "1",
        theirs: "-",
        why: "a name and the same with its full stop at the end are one",
    },
    Deviation {
        cases: &["/deny/400", "/deny/408"],
        field: "1 header connection",
        ours: "-",
        theirs: "close",
        why: "a request that was understood is refused, and the next one may come; HAProxy's pages for these say that it closes",
    },
    Deviation {
        cases: &["/deny/400", "/deny/408"],
        field: "kept",
        ours: "true",
        theirs: "false",
        why: "a request that was understood is refused, and the next one may come; HAProxy's pages for these say that it closes",
    },
];
