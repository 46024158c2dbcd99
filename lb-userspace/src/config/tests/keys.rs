//! Keys and values that the format does not know, or that are not built yet.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "unknown keys, near and far",
        text: r#"global: { maxcon: 3, colour: red }
frontend:
  web: {}
frontends:
  web: { bind: "*:80", default-backend: app, default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "1:11 error: unknown key `maxcon` in `global` => did you mean `maxconn`?",
            "1:22 error: unknown key `colour` in `global` => it takes `threads`, `maxconn`, `user`, `group`, `pidfile`, `spread_checks`, `max_spread_checks`, `stats_file`, `grace`, `admin_socket`, `watch_config`, `health_file`, `log`, `log_tag`, `log_send_hostname`, `set_var` or `fast_path`",
            "2:1 error: unknown key `frontend` in the configuration => did you mean `frontends`?",
            "5:24 error: unknown key `default-backend` in frontend `web` => did you mean `default_backend`?",
        ],
    },
    Case {
        name: "HAProxy's words",
        text: r#"listen: {}
global: { nbthread: 2 }
defaults: { option: httplog, timeout: { connect: 5s } }
frontends:
  web: { bind: "*:80", acl: x, use_backend: app, default_backend: app }
backends:
  app: { server: [], option: httpchk }
"#,
        found: &[
            "1:1 error: unknown key `listen` in the configuration => write a frontend and a backend",
            "2:11 error: unknown key `nbthread` in `global` => it is `threads`",
            "3:13 error: unknown key `option` in `defaults` => HAProxy's options have keys of their own, such as `forwarded_for: true`",
            "3:30 error: unknown key `timeout` in `defaults` => did you mean `timeouts`?",
            "5:24 error: unknown key `acl` in frontend `web` => write it below `acls: { NAME: { … } }`, or the condition into the rule: `rules: [{ if: …, use_backend: NAME }]`",
            "5:32 error: unknown key `use_backend` in frontend `web` => write it as a rule: `rules: [{ if: …, use_backend: NAME }]`",
            r#"7:3 warning: backend `app` has no servers: whatever comes to it is refused => write `servers: [{ name: s1, address: "192.0.2.10:80" }]`"#,
            "7:10 error: unknown key `server` in backend `app` => did you mean `servers`?",
            "7:22 error: unknown key `option` in backend `app` => HAProxy's options have keys of their own, such as `health_check`",
        ],
    },
    Case {
        name: "keys that are not built yet",
        text: r#"global:
  health_file: { path: /run/x, backends: [app, ap], every: 1s }
frontends:
  web:
    bind: { address: "*:443", strict: eth0 }
    compression: true
    default_backend: app
backends:
  app:
    retry_on: [conn-failure, 0rtt-rejected]
    cookie: { name: C, secured: true }
    health_check: { type: grpc, send_proxy: true }
    servers:
      - { name: s1, address: "192.0.2.1:80", cookie: s1, resolve: true }
stats: { bind: "*:1080", admin: { to: x } }
"#,
        found: &[
            "2:53 error: unknown key `every` in `health_file` => it takes `path`, `backends`, `drain` or `linger`",
            "5:31 error: unknown key `strict` in a bind => it takes `address`, `tls`, `accept_proxy`, `mode`, `user`, `group`, `maxconn`, `backlog`, `mss`, `user_timeout`, `defer_accept`, `fast_open`, `interface`, `transparent`, `id`, `name` or `v6only`",
            "6:5 error: unsupported: `compression` in frontend `web` is not built yet => remove it until it is",
            "10:30 error: `0rtt-rejected` has no effect => remove it: requests are not sent to servers as early data",
            "11:24 error: unknown key `secured` in `cookie` => did you mean `secure`?",
            "14:58 warning: `resolve` has no effect on `s1`, whose address is no host name => remove it",
            "15:26 error: `from` is missing in `admin` => write `admin: true`, or `{ from: [192.0.2.0/24] }`",
            "15:35 error: unknown key `to` in `admin` => it takes `from`",
        ],
    },
    Case {
        name: "what binds are called",
        text: r#"stats:
  bind: { address: "127.0.0.1:1080", name: s }
frontends:
  web:
    bind:
      - { address: "*:80", id: 2 }
      - { address: "*:81", id: 0 }
      - { address: "*:82", id: 2, name: again }
    default_backend: app
backends:
  app:
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "2:20 error: nobody asks what a bind of the statistics is called => remove `id` and `name`",
            "7:32 error: `id` must be a whole number from 1 to 2147483647, not `0` => write a number in that range",
            "8:20 error: another bind of this frontend has the `id` 2 as well => give each a number of its own",
        ],
    },
    Case {
        name: "what is kept for the log",
        text: r#"frontends:
  web:
    bind: "*:80"
    capture:
      request: [{ header: "a b", len: 8 }, { header: Host }, { len: 0 }, { header: X-A, len: 8 }]
      cookie: { name: A, prefix: B, len: 8 }
      headers: []
    rules:
      - { capture: { value: "%[path]" } }
      - { capture: { value: "%[path]", id: 3 } }
      - { capture: { value: "%[path]", id: 0, len: 3 } }
      - { capture: { header: Host, len: 3 } }
      - { capture: { value: "%[src]", len: 15 } }
      - { response: { capture: { value: "%[status]", id: 0 } } }
    default_backend: app
  raw: { mode: tcp, bind: "*:81", capture: { request: { header: A, len: 3 } }, log_format: "%ci %[path]", default_backend: raw, log_format_sd: "[a b=%[path]]" }
backends:
  app:
    rules: [{ capture: { value: "%[src]", len: 15 } }, { capture: { value: "%[src]", id: 9 } }]
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  raw: { mode: tcp, servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:27 error: `a b` cannot be a header field's name => write letters, digits and `-`",
            "5:44 error: `len` is missing in a capture => say how many bytes are kept at most: `len: 64`",
            "5:69 error: `len` must be a whole number from 1 to 8192, not `0` => write a number in that range",
            "6:26 error: a cookie is kept by its `name` or by a `prefix` of it => remove one of them",
            "7:7 error: unknown key `headers` in `capture` => what is kept says whose it is: `request: [{ header: User-Agent, len: 64 }]`",
            "9:11 error: `len` is missing in `capture` => say how many bytes are kept at most: `len: 64`; or in which place with `id`",
            "10:44 error: there is no place 3: places are counted from 0, so far there is room for 1 => write one more below the frontend's `capture`: `{ len: 64 }`",
            "11:40 error: `id` names a place that has its length => remove `id` or `len`",
            r#"12:11 error: `value` is missing in `capture` => write `capture: { value: "%[path]", len: 64 }`"#,
            r#"12:22 error: unknown key `header` in `capture` => it is `value: "%[req.hdr(NAME)]"`"#,
            "14:58 error: there is no place 0: places are counted from 0, so far there is room for 0 => write one more below the frontend's `capture`: `{ len: 64 }`",
            "16:35 error: `capture` has no effect in mode tcp => write `mode: http`, or remove it",
            "16:92 error: `log_format` asks for requests, and there are none in mode tcp => write HAProxy's variables alone, such as `%ci` and `%fp`",
            "16:144 error: `log_format_sd` asks for requests, and there are none in mode tcp => write HAProxy's variables alone, such as `%ci` and `%fp`",
            "19:15 error: a backend has no places of its own: the log is the frontend's => write `id` instead of `len`, and the place below the frontend's `capture`: `{ len: 64 }`",
        ],
    },
    Case {
        name: "cookies that contradict themselves",
        text: r#"frontends: { web: { bind: "*:80", default_backend: a } }
backends:
  a:
    cookie: { name: C, mode: prefix, nocache: true, maxidle: 1s, same_site: none, domain: [a b, .c], dynamic: true }
    servers: [{ name: s1, address: "192.0.2.1:80", cookie: s1 }]
  b:
    cookie: { name: C, dynamic: false, dynamic_cookie_key: k, preserve: true, same_site: none, maxlife: 3s, attr: x }
    servers: [{ name: s1, address: "192.0.2.1:80", cookie: s1 }]
  c:
    cookie: { name: C, dynamic_cookie_key: k, mode: append }
    servers: [{ name: s1, address: "192.0.2.1:80", cookie: s1 }]
"#,
        found: &[
            "4:38 error: `nocache` has no effect without `mode: insert` => remove it",
            "4:53 error: `maxidle` has no effect without `mode: insert` => remove it",
            "4:62 error: `maxidle` must be at least 4000ms, not `1s` => write a longer duration",
            "4:66 error: `same_site` has no effect without `mode: insert` => remove it",
            "4:66 warning: browsers drop a cookie with `same_site: none` that is not `secure` => add `secure: true`",
            "4:83 error: `domain` has no effect without `mode: insert` => remove it",
            "4:92 error: `a b` is no domain of a cookie => write a name such as `.example.org`",
            r#"4:102 error: `dynamic` needs a key that the values are computed of => add `dynamic_cookie_key: "${COOKIE_KEY}"`, the same on every node"#,
            "7:40 error: `dynamic_cookie_key` has no effect with `dynamic: false` => remove it",
            "7:79 warning: browsers drop a cookie with `same_site: none` that is not `secure` => add `secure: true`",
            "7:105 error: `maxlife` must be at least 4000ms, not `3s` => write a longer duration",
            "7:109 error: unknown key `attr` in `cookie` => it is `same_site`, or one of `attributes`",
            "10:24 error: `dynamic_cookie_key` has no effect without `dynamic: true` => add it, or remove this",
            "10:53 error: `mode` cannot be `append` => write `insert`, `rewrite`, `prefix` or `passive`",
        ],
    },
    Case {
        name: "values that are not built yet",
        text: r#"global: { log: [{ target: "tls://192.0.2.1" }] }
defaults: { log_format: "%ci %[hdr(host)]" }
frontends:
  t: { mode: tcp, bind: ["unix:@abcde", "quic:*:443", "*:80-89"], default_backend: app }
backends:
  app:
    cookie: { name: C, mode: rewrite, indirect: true }
    servers:
      - { name: s1, address: "app.example.org:80" }
stats: { bind: "*:1080", auth: { admin: "$6$salt$hash" } }
"#,
        found: &[
            r#"1:27 error: `target`: `tls://192.0.2.1` is no place that logs can go to => write `stderr`, `stdout`, `fd@3`, `journald`, `"udp://ADDR:PORT"`, `"tcp://ADDR:PORT"`, `unix:/dev/log` or the path of a file"#,
            "2:25 error: `log_format`: header fields are gone when the line is written, and `hdr(host)` asks for them => keep what you need below `capture` and write `%hr` or `%[capture.req.hdr(0)]`, or in a variable: `set_var: { txn.name: … }` and `%[var(txn.name)]`",
            "4:26 error: unsupported: abstract unix sockets are not built yet => write a path such as `unix:/run/app.sock`",
            r#"4:41 error: unsupported: HTTP/3 frontends are not built yet => write a TCP address such as `"*:80"`"#,
            "4:55 error: unsupported: a range of ports (`80-89`) is not built yet => write a list with one entry a port",
            "7:5 error: `cookie` needs mode http, `app` is in mode tcp => remove it; `balance: source` keeps a client on its server in mode tcp",
            "7:39 error: `indirect` has no effect without `mode: insert` => remove it",
            "10:41 error: the password of `admin` is a hash of a kind that is not understood => make it with `openssl passwd -6`: SHA-512 (`$6$`), SHA-256 (`$5$`) and Argon2 (`$argon2id$`) are",
        ],
    },
    Case {
        name: "patterns of files",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules:
      - { if: { path: { files: a.txt } }, deny: 403 }
      - { if: { source: [{ file: /nowhere/networks }] }, deny: 403 }
      - { if: { method: [GET, {}] }, deny: 403 }
"#,
        found: &[
            "5:23 error: `file` is missing in `path` => write a text, or `{ file: … }` with one a line",
            "5:25 error: unknown key `files` in `path` => did you mean `file`?",
            "6:26 error: the file /nowhere/networks cannot be read: No such file or directory (os error 2) => name a readable file",
            "7:31 error: `file` is missing in `method` => write a text, or `{ file: … }` with one a line",
        ],
    },
];
