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
            "1:22 error: unknown key `colour` in `global` => it takes `threads`, `maxconn`, `user`, `group`, `pidfile`, `grace`, `admin_socket`, `log` or `fast_path`",
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
  health_file: /run/x
frontends:
  web:
    bind: { address: "*:443", interface: eth0 }
    compression: true
    default_backend: app
backends:
  app:
    retry_on: [conn-failure]
    cookie: { name: C, secure: true }
    health_check: { type: grpc, fast_interval: 1s }
    servers:
      - { name: s1, address: "192.0.2.1:80", cookie: s1, resolve: true }
stats: { bind: "*:1080", admin: true }
"#,
        found: &[
            "2:3 error: unsupported: `health_file` in `global` is not built yet => remove it until it is",
            "5:31 error: unsupported: `interface` in a bind is not built yet => remove it until it is",
            "6:5 error: unsupported: `compression` in frontend `web` is not built yet => remove it until it is",
            "10:5 error: unsupported: `retry_on` in backend `app` is not built yet => remove it until it is",
            "11:24 error: unsupported: `secure` in `cookie` is not built yet => remove it until it is",
            "12:27 error: unsupported: `type` `grpc` is not built yet => write `tcp`, `http` or `none`",
            "12:33 error: unsupported: `fast_interval` in `health_check` is not built yet => remove it until it is",
            "14:58 error: unsupported: `resolve` in a server is not built yet => remove it until it is",
            "15:26 error: unsupported: `admin` in `stats` is not built yet => remove it until it is",
        ],
    },
    Case {
        name: "values that are not built yet",
        text: r#"global: { log: [{ target: journald }] }
defaults: { log_format: "%ci %r", balance: first }
frontends:
  t: { mode: tcp, bind: ["unix:/run/s", "quic:*:443", "*:80-89"], default_backend: app }
backends:
  app:
    cookie: { name: C, mode: rewrite }
    balance: { algorithm: uri }
    servers:
      - { name: s1, address: "app.example.org:80" }
stats: { bind: "*:1080", auth: { admin: "$6$salt$hash" } }
"#,
        found: &[
            "1:27 error: unsupported: `journald` is not built yet => write `stderr`: a systemd unit's standard error goes to the journal",
            "2:25 error: unsupported: a log format of one's own is not built yet => write `http`, `tcp` or `json`",
            "2:44 error: unsupported: `balance` `first` is not built yet => write `roundrobin`, `leastconn`, `source`, `maglev` or `random`",
            r#"4:26 error: unsupported: unix sockets to listen on are not built yet => write a TCP address such as `"*:80"`"#,
            r#"4:41 error: unsupported: HTTP/3 frontends are not built yet => write a TCP address such as `"*:80"`"#,
            "4:55 error: unsupported: a range of ports (`80-89`) is not built yet => write a list with one entry a port",
            "7:5 error: `cookie` needs mode http, `app` is in mode tcp => remove it; `balance: source` keeps a client on its server in mode tcp",
            "7:30 error: unsupported: `mode` `rewrite` is not built yet => write `insert`",
            "8:27 error: unsupported: `algorithm` `uri` is not built yet => write `roundrobin`, `leastconn`, `source`, `maglev` or `random`",
            "10:30 error: unsupported: host names (`app.example.org`) are not resolved yet => write its IP address",
            "11:41 error: unsupported: the password of `admin` is a hash, which is not built yet => write the password itself, or take it from the environment: `${STATS_PASSWORD}`",
        ],
    },
];
