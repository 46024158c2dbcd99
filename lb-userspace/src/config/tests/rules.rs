//! What is wrong with rules, conditions and actions.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "conditions",
        text: r#"frontends:
  web:
    bind: "*:80"
    acls:
      api: { path_prefix: /api/ }
    rules:
      - { if: ap, use_backend: app }
      - { if: { path_regex: "(" }, use_backend: app }
      - { if: { header: { value: x } }, use_backend: app }
      - { if: { expr: { of: "path,lowr", value: x } }, use_backend: app }
      - { if: { source: 10.0.0.0/40 }, use_backend: app }
      - { if: { method: get }, use_backend: app }
      - { if: { not: { pathprefix: /a } }, use_backend: app }
      - { if: { any: [] }, use_backend: app }
      - { if: { expr: { of: status, value: 200 } }, use_backend: app }
      - { if: { expr: { of: src_port, value: many } }, use_backend: app }
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "7:15 error: there is no condition `ap` => did you mean `api`?",
            "8:29 error: `(` is no regular expression: unclosed group => see https://docs.rs/regex for the syntax; `\\` before a character takes it as it is",
            "9:25 error: `name` is missing in `header` => write `header: { name: …, value: … }`",
            "10:29 error: there is no converter `lowr` => did you mean `lower`?",
            "11:25 error: `10.0.0.0/40` is no address and no network => write an address or a network: `192.0.2.0/24`",
            "12:25 error: `get` is no method: they are in capitals => write `GET`",
            "13:24 error: unknown key `pathprefix` in `if` => did you mean `path_prefix`?",
            "14:22 error: `any` is an empty list => write at least one condition",
            "15:9 error: `if` of a rule sees the request alone, there is no response yet => write the condition below `response`: `response: { if: { … }, … }`; in haproxy.cfg, write the rule as `http-response`",
            "16:46 error: `many` is no number => write a number, or a range as in `400:499` or `ge 100`",
        ],
    },
    Case {
        name: "ends of responses and connections",
        text: r#"frontends:
  web:
    bind: "*:80"
    mode: tcp
    inspect: { rules: [{ close: true }] }
    default_backend: app
  pages:
    bind: "*:81"
    rules:
      - { response: { always: true, wait_for_body: true } }
      - { response: { always: true, silent_drop: true } }
    default_backend: pages
backends:
  app: { mode: tcp, servers: [{ name: s1, address: "192.0.2.1:80" }] }
  pages: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:26 error: `close` is for what servers say => write `reject: true`, or it below `inspect_response`",
            "10:37 error: what is done `always` waits for no body => remove `always`, or `wait_for_body`",
            "11:37 error: what is done `always` changes the answer and gives no other one => remove `always`",
        ],
    },
    Case {
        name: "actions",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules:
      - { deny: 99 }
      - { redirect: { code: 302 } }
      - { redirect: { location: /a, scheme: https } }
      - { redirect: { location: /a, code: 304 } }
      - { return: { body: a, file: /b } }
      - { set_header: { Content-Length: "3" } }
      - { set_header: { X-A: "%[pth]" } }
      - { set_header: { X-A: "100%" } }
      - { set_path: app }
      - { replace_path: { regex: "^/a" } }
      - { rate_limit: { key: src, rate: 100 } }
      - { auth: { users: nobody } }
      - { set_var: { x: 1 } }
      - { deny: 403, use_backend: app }
      - { response: { redirect: { prefix: / } } }
      - { if: { path: / }, response: { always: true, deny: 403 } }
    default_backend: app
backends:
  app:
    rules: [{ use_backend: app }]
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "5:17 error: `deny` must be a whole number from 200 to 599, not `99` => write a number in that range",
            "6:11 error: `location` is missing in `redirect` => write `location`, `prefix` or `scheme`",
            "7:11 error: `location`, `prefix` and `scheme` exclude one another => write one of them",
            "8:43 error: `code` cannot be `304` => did you mean `301`? It takes `301`, `302`, `303`, `307` or `308`",
            "9:30 error: `body` and `file` exclude one another => write one of them",
            "9:36 error: /b cannot be read: No such file or directory (os error 2) => name a readable file",
            "10:25 error: `Content-Length` says where a message ends or what becomes of its connection => leave it to the balancer",
            "11:30 error: there is no fetch `pth` => did you mean `path`?",
            "12:30 error: a `%` stands alone in `100%` => write `%[path]` for what a request has, `%%` for a percent sign",
            "13:21 error: `set_path` has to begin with `/` => write a path as in `/app%[path]`",
            "14:25 error: `with` is missing in `replace_path` => write `{ regex: \"^/old/(.*)\", with: '/new/\\1' }`",
            "15:30 error: `src` is no key to count requests by => write `source`, `header:NAME`, `cookie:NAME` or `%[…]`",
            "15:41 error: `rate`: `100` is no rate => write requests and a time: `\"100/1s\"`, `\"5/1m\"`",
            "16:26 error: there is no list of users `nobody` => add it: `userlists: { nobody: { USER: PASSWORD } }`",
            "17:22 error: the variable `x` has no scope => write `proc.`, `sess.`, `txn.`, `req.` or `res.` and a name, `check.` in a check",
            "18:22 error: a rule can only end the list in one way => write another rule for this",
            "19:23 error: a response is redirected to a `location` alone => write `redirect: { location: … }`",
            "20:9 error: `if` beside `response` with `always` has no effect: there may be no request => write the condition below `response`: `response: { always: true, if: { … }, … }`",
            "20:54 error: what is done `always` changes the answer and gives no other one => remove `always`",
            "24:15 error: `use_backend` in a backend's rules => write it in those of the frontend",
        ],
    },
    Case {
        name: "rules of connections",
        text: r#"frontends:
  web:
    mode: tcp
    bind: ["*:80", "udp:*:80"]
    connection_rules: [{ if: { path: / }, reject: true }, { deny: 403 }]
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:5 error: `connection_rules` see no packets, and `udp:*:80` takes them => give that bind a frontend of its own",
            "5:24 error: a rule of connections asks for a request, and there is none yet => write it below `rules`",
            "5:61 error: unknown key `deny` in a rule => there is no request to answer: write `reject: true`",
        ],
    },
    Case {
        name: "servers by name",
        text: r#"frontends:
  web: { bind: "*:80", rules: [{ use_server: s1 }], default_backend: app }
backends:
  app: { rules: [{ use_server: s2 }, { use_server: s1 }], servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "2:34 error: `use_server` in a frontend's rules => write it in those of the backend",
        ],
    },
    Case {
        name: "servers that there are not",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app: { rules: [{ use_server: s2 }, { use_server: s1 }], servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &["4:18 error: backend `app` has no server `s2` => name one of its servers"],
    },
    Case {
        name: "two hosts",
        text: r#"frontends:
  web: { bind: "*:80", rules: [{ add_header: { Host: a } }], default_backend: app }
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &["2:48 error: a request has one Host => write `set_header`, which replaces it"],
    },
    Case {
        name: "rules of first bytes",
        text: r#"frontends:
  f:
    mode: tcp
    bind: ["*:80", "udp:*:81"]
    inspect: { dely: 1s, rules: [{ if: { path: / }, reject: true }] }
    default_backend: b
  g:
    mode: tcp
    bind: "*:82"
    connection_rules: [{ if: { expr: { of: req.len, value: "0" } }, reject: true }]
    inspect: { rules: [{ if: { expr: { of: res.len } }, deny: true }] }
    rules: [{ if: { expr: { of: "res.payload(0,4)", value: x } }, use_backend: b }]
    default_backend: b
  h:
    bind: "*:83"
    inspect: { rules: [{ reject: true }] }
    rules: [{ if: { expr: { of: "req.payload(0)", value: x } }, deny: 403 }, { if: { expr: { of: req.len, value: "1" } }, deny: 403 }]
    default_backend: c
backends:
  b: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
  c: { inspect: {}, servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:5 error: rules of a connection's bytes see no datagrams, and `udp:*:81` takes them => give that bind a frontend of its own",
            "5:16 error: unknown key `dely` in `inspect` => did you mean `delay`?",
            "5:34 error: a rule of bytes asks for a request, and in mode tcp there is none => ask for `req.payload(0,4)` and the like, or write `mode: http`",
            "10:24 error: a rule of connections asks for bytes, and none have been read => write it below `inspect`, in mode tcp",
            "11:24 error: a rule of what clients say asks for what the server says => write it below `inspect_response` of the backend",
            "11:57 error: unknown key `deny` in a rule => there is no request to answer: write `reject: true`",
            "12:13 error: rules of mode tcp are `use_backend` by what a connection is and brings, and `g` is in mode tcp => write `mode: http`, or remove it",
            "16:5 error: in mode http there are requests to look at, and no bytes => write the rules below `rules`, or `mode: tcp`",
            "17:33 error: `req.payload` needs a number of bytes => write `req.payload(…)`",
            "17:78 error: a rule of requests asks for a connection's bytes, which mode tcp looks at => ask for the request, as in `path` or `req.hdr(NAME)`",
            "21:8 error: `rules` is missing in `inspect` => say what is done: `rules: [{ if: …, reject: true }]`",
            "21:8 error: in mode http there are requests to look at, and no bytes => write the rules below `rules`, or `mode: tcp`",
        ],
    },
    Case {
        name: "waiting for bodies",
        text: r#"frontends:
  f:
    bind: "*:80"
    rules:
      - { wait_for_body: { tim: 1s } }
      - { wait_for_body: { time: 0s, at_least: 20000 } }
      - { wait_for_body: maybe }
      - { if: { expr: { of: "req.body_len(1)", value: "1" } }, deny: 403 }
    connection_rules: [{ if: { expr: { of: req.body_len, value: "0" } }, reject: true }]
    log_format: "%ci %[req.body_len]"
    default_backend: c
backends:
  c: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:28 error: unknown key `tim` in `wait_for_body` => did you mean `time`?",
            "6:34 error: `time` must be at least 1ms, not `0s` => write a longer duration",
            "6:48 error: `at_least` must be a whole number from 1 to 15360, not `20000` => write a number in that range",
            "7:26 error: `wait_for_body` must be true or false, not `maybe` => write `true` or `false`",
            "8:29 error: `req.body_len` has too many arguments => write `req.body_len` alone",
            "9:24 error: a rule of connections asks for a request, and there is none yet => write it below `rules`",
            "10:17 error: `log_format`: header fields are gone when the line is written, and `req.body_len` asks for them => keep what you need below `capture` and write `%hr` or `%[capture.req.hdr(0)]`, or in a variable: `set_var: { txn.name: … }` and `%[var(txn.name)]`",
        ],
    },
    Case {
        name: "types of what is no body, and pages that are none",
        text: r#"frontends:
  f:
    bind: "*:80"
    rules:
      - { if: { path: /a }, deny: { content_type: text/x } }
      - { if: { path: /b }, return: { status: 404, page: true, content_type: text/x } }
      - { if: { path: /c }, return: { status: 404, page: false } }
      - { if: { path: /d }, return: { status: 404, page: } }
    default_backend: c
backends:
  c: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:37 error: `content_type` has no effect without a body => add `body`, `file` or `template_file`, or remove it",
            "6:64 error: `content_type` has no effect beside `page`, which has its own => remove it, or `page`",
            "7:52 error: `page: false` has no effect: there is no page unless it says so => remove it, or write `true` or a file's name",
            "8:56 error: `page` has no value => write one, or remove the key",
        ],
    },
    Case {
        name: "arrays of counters",
        text: r#"frontends:
  f:
    bind: "*:80"
    stick_table: { store: ["gpc(0)", gpt, "gpc_rate(4)", "gpc_rate(4,0s)", "gpt(4,10s)", "gpc(101)"] }
    rules:
      - { inc_gpc: { counter: 0 } }
      - { inc_gpc: { index: 100 } }
      - { set_gpt: { index: 0 } }
      - { if: { expr: { of: "sc_get_gpc(a,0)", value: "1" } }, deny: 403 }
      - { set_header: { X: "%[src,table_gpc(100,f)]" } }
      - { set_header: { X: "%[src_get_gpt(0)]%[sc_inc_gpc0(0)]%[sc_get_gpc(1)]" } }
    default_backend: c
backends:
  c: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "4:28 error: `store`: `gpc` needs a number of places => write `\"gpc(4)\"`: how many, up to 100",
            "6:11 error: `index` is missing in `inc_gpc` => say which of the array: `index: 0`",
            "7:29 error: `index` must be a whole number from 0 to 99, not `100` => write a number in that range",
            "8:11 error: `value` is missing in `set_gpt` => write `{ counter: 0, index: 0, value: 1 }`",
            "9:29 error: `a` is no place in an array => write a number from 0 to 99",
            "10:28 error: `100` is no place in an array => write a number from 0 to 99",
            "11:28 error: `sc_get_gpc` needs the number of a counter => write `sc_get_gpc(…)`",
        ],
    },
    Case {
        name: "what rules change, and groups of users",
        text: r#"userlists:
  l: { ann: { pasword: x }, eve: { password: x, groups: [a], more: 1 } }
frontends:
  f:
    bind: "*:80"
    rules:
      - { set_map: { file: x.map, key: "%[src]" } }
      - { add_acl: { file: x.lst, value: "1" } }
      - { del_map: { key: a, fle: x } }
      - { if: { expr: { of: "http_auth_group(m)", value: a } }, deny: 403 }
    default_backend: c
backends:
  c: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "2:8 error: `password` is missing in user `ann` => write `{ password: …, groups: [ … ] }`",
            "2:15 error: unknown key `pasword` in user `ann` => did you mean `password`?",
            "2:62 error: unknown key `more` in user `eve` => it takes `password` or `groups`",
            "7:20 error: `value` is missing in `set_map` => write `{ file: hosts.map, key: \"%[src]\", value: \"%[path]\" }`",
            "8:20 error: `key` is missing in `add_acl` => write `{ file: blocked.txt, key: \"%[src]\" }`",
            "8:35 error: unknown key `value` in `add_acl` => it takes `file` or `key`",
            "9:20 error: `file` is missing in `del_map` => write `{ file: blocked.txt, key: \"%[src]\" }`",
            "9:30 error: unknown key `fle` in `del_map` => did you mean `file`?",
            "10:29 error: there is no list of users `m` => add it below `userlists`",
        ],
    },
    Case {
        name: "nothing to change",
        text: r#"frontends:
  f:
    bind: "*:80"
    rules: [{ set_map: { file: x.map, key: "%[src]", value: a } }]
    default_backend: c
backends:
  c: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "4:24 error: nothing is looked up in this file, so that there is nothing to change => name it in a condition, or in `map(FILE)`, as it is written there",
        ],
    },
    Case {
        name: "persistence, and redirects to nowhere",
        text: r#"frontends:
  f:
    bind: "*:80"
    connection_rules: [{ set_src: "%[path]" }]
    rules: [{ redirect: { prefix: /a, ignore_empty: true } }, { ignore_persist: false }, { redirect: { location: /a, set_cookie: "A=%[src]" } }]
    default_backend: c
backends:
  c: { rules: [{ force_persist: maybe }], servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "4:24 error: a rule of connections asks for a request, and there is none yet => write it below `rules`",
            "5:39 error: `ignore_empty` has no effect without `location` => remove it",
            "5:65 error: `ignore_persist: false` has no effect => remove it",
            "5:130 warning: `set_cookie` is taken as it is, `%[` too => write `return: { status: 302, headers: { Location: …, Set-Cookie: … } }`, which computes both",
            "8:33 error: `force_persist` must be true or false, not `maybe` => write `true` or `false`",
        ],
    },
];
