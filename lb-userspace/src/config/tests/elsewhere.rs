//! What operators of other balancers write.

use super::{Case, check};

#[test]
fn words_of_other_balancers_are_told_what_they_are_here() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "datagrams written like a URL",
        text: r#"frontends:
  web: { mode: tcp, bind: "udp://192.0.2.1:53", default_backend: app }
backends:
  app: { mode: tcp, servers: [{ name: s1, address: "192.0.2.2:53" }] }
"#,
        found: &[
            r#"2:27 error: `bind`: `//192.0.2.1:53` begins like a URL => write `"udp:192.0.2.1:53"`"#,
        ],
    },
    Case {
        name: "keys at the top",
        text: r#"upstreams: {}
listeners: {}
static_resources: {}
global: { worker_processes: 4, stats_socket: /run/lb.sock, log: [{ target: "file:/var/log/lb.log" }] }
stats: { bind: "127.0.0.1:1080", path: /stats }
"#,
        found: &[
            "1:1 error: unknown key `upstreams` in the configuration => it is `backends`",
            "2:1 error: unknown key `listeners` in the configuration => it is `frontends`",
            "3:1 error: unknown key `static_resources` in the configuration => write `frontends:` and `backends:` at the top level",
            "4:11 error: unknown key `worker_processes` in `global` => it is `threads`",
            "4:32 error: unknown key `stats_socket` in `global` => it is `admin_socket`",
            "4:76 error: `target`: `file:/var/log/lb.log` is no place that logs can go to => write the path alone: `/var/log/lb.log`",
            "5:34 error: unknown key `path` in `stats` => it is `uri`",
        ],
    },
    Case {
        name: "a frontend",
        text: r#"frontends:
  web:
    mode: https
    bind: ["udp@:53", "*:443 ssl", "0.0.0.0:https", { address: "*:80", ssl: true }, { address: "*:81", tls: true }]
    server_name: example.org
    maxconn: 10k
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            r#"3:11 error: `mode` cannot be `https` => write `mode: http`, and TLS at the bind: `bind: { address: "*:443", tls: { certificates: FILE } }`"#,
            r#"4:12 error: `bind`: `udp@` is no part of an address here => write `"udp:*:53"`"#,
            "4:23 error: `bind`: `443 ssl` is no port => write `443`: what else is said of an address has keys of its own beside `address`",
            "4:36 error: `bind`: `https` is no port => write the number: `443`",
            "4:72 error: unknown key `ssl` in a bind => it is `tls: { certificates: FILE }`",
            "4:109 error: `tls` of a bind must be a mapping, this is a single value => write `tls: { certificates: FILE }`",
            "5:5 error: unknown key `server_name` in frontend `web` => write a rule: `rules: [{ if: { host: NAME }, use_backend: NAME }]`",
            "6:14 error: `maxconn` must be a whole number from 1 to 4294967295, not `10k` => write `10000`",
        ],
    },
    Case {
        name: "conditions",
        text: r#"frontends:
  web:
    bind: "*:80"
    default_backend: app
    rules:
      - { if: { res_header: { name: X-A, present: true } }, deny: true }
      - { if: { req_header: { name: X-A, present: true } }, deny: true }
      - { if: { status: 404 }, deny: true }
      - { response: { if: { header: { name: X-A, present: true } }, deny: 502 } }
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "6:17 error: unknown key `res_header` in `if` => it is `header`, in the `if` within `response`: `response: { if: { header: … } }`",
            "7:17 error: unknown key `req_header` in `if` => it is `header`",
            "8:17 error: unknown key `status` in `if` => it belongs to the `if` within `response`",
        ],
    },
    Case {
        name: "a backend",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    balance: ip_hash
    health_check: /healthz
    cookie: SRV
    servers:
      - { name: s1, address: "http://192.0.2.1/x" }
      - { name: s2, address: "192.0.2.2:80,192.0.2.3:80" }
      - { name: s3, address: "192.0.2.2:80 check", max_fails: 3 }
      - { name: s4, address: "unix@/run/app.sock", ssl: true }
  other:
    balance: hash $remote_addr
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  more:
    balance: { type: LEAST_REQUEST }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "5:14 error: `balance` cannot be `ip_hash` => it is `source`",
            "6:19 error: `health_check` must be a mapping of keys and values, this is a single value => write `health_check: { type: http, path: /healthz }`",
            "7:13 error: `cookie` must be a mapping of keys and values, this is a single value => write `cookie: { name: SRV, mode: insert, indirect: true, nocache: true }`",
            r#"9:30 error: `address`: `http://192.0.2.1/x` is a URL => write address and port alone, without `http://`: `"192.0.2.1:80"`"#,
            "10:30 error: `address`: `192.0.2.2:80,192.0.2.3:80` is more than one address => write a server for each: `- { name: …, address: … }`",
            "11:30 error: `address`: `80 check` is no port => write `80`: what else is said of an address has keys of its own beside `address`",
            "11:52 error: unknown key `max_fails` in a server => it is `health_check: { fall: … }`",
            "12:30 error: `address`: `unix@/run/app.sock` has no port => write `unix:/run/app.sock` if it is a unix socket",
            "12:52 error: unknown key `ssl` in a server => it is `tls: true`, or `tls: { … }`",
            "14:14 error: `balance` cannot be `hash $remote_addr` => write what is hashed: `source`, `uri`, `url_param` or `hdr`, with `hash_type: consistent`; or `maglev` for addresses",
            "17:5 error: `algorithm` is missing in `balance` => write `balance: { algorithm: maglev, table_size: 65537 }`",
            "17:16 error: unknown key `type` in `balance` => it is `algorithm`",
        ],
    },
];
