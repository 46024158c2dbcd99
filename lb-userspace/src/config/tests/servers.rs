//! What is wrong with servers' keys.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "limits and sources",
        text: r#"frontends:
  web: { bind: "*:80", backlog: 0, rate_limit_sessions: none, default_backend: app }
backends:
  app:
    source: "2001:db8::1"
    fullconn: 10
    servers:
      - { name: s1, address: "192.0.2.1:80", on_marked_up: yes }
      - { name: s2, address: "192.0.2.2:80", source: 192.0.2.9 }
  other:
    fullconn: 10
    send_name_header: "a b"
    servers:
      - { name: s1, address: "192.0.2.1:80", minconn: 5 }
      - { name: s2, address: "192.0.2.2:80", minconn: 5, maxconn: 4, source: here }
"#,
        found: &[
            "2:33 error: `backlog` must be a whole number from 1 to 2147483647, not `0` => write a number in that range",
            "2:57 error: `rate_limit_sessions` must be a whole number from 1 to 1000000, not `none` => write decimal digits alone",
            "6:5 warning: `fullconn` has no effect: no server of `app` has a `minconn` => remove it",
            "8:30 error: `s1` cannot be reached from `2001:db8::1`, which is of another family => write a `source` of the server's family",
            "8:60 error: `on_marked_up` cannot be `yes` => write `shutdown-backup-sessions` or `none`",
            "12:23 error: `a b` cannot be a header field's name => write letters, digits and `-`",
            "14:46 error: `minconn` of `s1` has no effect: it has no `maxconn` => write a `maxconn` that is larger, or remove it",
            "15:46 error: `minconn` of `s2` is 5, its `maxconn` 4 => write a `maxconn` that is larger, or remove it",
            "15:78 error: `source`: `here` has no port => write address and port, such as `\"192.0.2.10:80\"`",
        ],
    },
    Case {
        name: "numbers of several, of none and of one `listen`",
        text: r#"frontends:
  web: { bind: "*:80", id: 7, default_backend: web }
  other: { bind: "*:81", id: 8, default_backend: app }
backends:
  web: { id: 7, servers: [{ name: s1, id: 1, address: "192.0.2.1:80" }, { name: s2, address: "192.0.2.2:80", id: 1 }] }
  app: { id: 8, servers: [{ name: s1, id: 0, address: "192.0.2.1:80" }] }
"#,
        found: &[
            "5:114 error: another server of this backend has the `id` 1 as well => give each a number of its own",
            "6:14 error: another proxy has the `id` 8 as well => give each a number of its own",
            "6:43 error: `id` must be a whole number from 1 to 2147483647, not `0` => write a number in that range",
        ],
    },
    Case {
        name: "introductions, and statistics where there are no requests",
        text: r#"frontends:
  web: { mode: http, bind: "*:80", default_backend: app, rules: [{ set_timeout: {} }] }
  raw: { mode: tcp, bind: "*:81", default_backend: raw }
backends:
  app:
    mode: http
    default_server: { send_proxy: v2, proxy_v2_options: crc32c }
    servers:
      - { name: s1, address: "192.0.2.1:80", proxy_v2_options: ssl }
      - { name: s2, address: "192.0.2.2:80", proxy_v2_options: ssl, send_proxy: v1 }
  raw:
    mode: tcp
    stats: { uri: /stats }
    default_server: { proxy_v2_options: [ssl, crc32c] }
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:68 error: `set_timeout` says of nothing how long it waits => write `server` or `tunnel` and a time",
            "10:46 error: `proxy_v2_options` has no effect without `send_proxy: v2` => write that beside it, or remove it",
            "13:5 error: `stats` needs mode http, `raw` is in mode tcp => remove it; `stats` of the whole file has a port of its own",
            "14:23 error: `proxy_v2_options` has no effect without `send_proxy: v2` => write that beside it, or remove it",
        ],
    },
    Case {
        name: "names",
        text: r#"resolvers:
  none: {}
  few: { nameservers: [192.0.2.53, "tcp:192.0.2.54:5353", here, "unix:/x"], hold: { valid: 5 }, nameserver: x }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    default_server: { resolve: few }
    servers:
      - { name: s1, address: "app.example:80", resolve: fwe }
      - { name: s2, address: "_http._tcp.example" }
      - { name: s3, address: "_http._tcp.example", resolve: false }
      - { name: s4, address: "a..b:80", init_addr: [libc, never] }
      - { name: s5, address: "192.0.2.1:80" }
      - { name: s6, address: "192.0.2.1:81", init_addr: none }
      - { name: s7, address: "app.example:80", resolve: { resolver: few, prefer: v4, networks: 10.0.0.0/8 } }
"#,
        found: &[
            "2:3 error: `nameservers` is missing in resolvers `none` => write `nameservers: [\"192.0.2.53\"]`, or `parse_resolv_conf: true` for the system's",
            "3:59 error: `nameservers`: `here` has no port => write address and port, such as `\"192.0.2.10:80\"`",
            "3:65 error: `nameservers`: `unix:/x` is no IP address => write the DNS server's own address: `\"192.0.2.53:53\"`",
            "3:92 error: `valid`: `5` has no unit => write `5s` or `5ms`",
            "3:97 error: unknown key `nameserver` in resolvers `few` => it is `nameservers: [ADDRESS, …]`",
            "10:57 error: there are no resolvers `fwe` => did you mean `few`?",
            "12:30 error: `_http._tcp.example` names SRV records, and `s3` has no `resolve` => write `resolve: true`, or a host name with a port",
            "13:30 error: `address`: `a..b` is no host name => write letters, digits, `-` and `_` between single dots, at most 63 of them in a row",
            "13:59 error: `init_addr`: `never` is no way to an address => write `last`, `libc`, `none`, or an IP address",
            "15:46 warning: `init_addr` has no effect on `s6`, whose address is no host name => remove it",
            "16:59 error: unknown key `resolver` in `resolve` => did you mean `resolvers`?",
            "16:82 error: `prefer` cannot be `v4` => write `ipv4` or `ipv6`",
        ],
    },
    Case {
        name: "a queue where nobody waits",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    default_server: { max_queue: 9 }
    servers:
      - { name: s1, address: "192.0.2.1:80" }
      - { name: s2, address: "192.0.2.2:80", maxconn: 1 }
      - { name: s3, address: "192.0.2.3:80", max_queue: 0 }
"#,
        found: &[
            "5:23 warning: `max_queue` has no effect on `s1`, which has no `maxconn`: nobody waits for it => write `maxconn` as well, or remove it",
            "9:57 error: `max_queue` must be a whole number from 1 to 4294967295, not `0` => write a number in that range",
        ],
    },
    Case {
        name: "further connections of a check",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    health_check:
      type: tcp
      disable_on_404: true
      then:
        - { type: http, interval: 2s, observe: layer7, disable_on_404: true, then: [], uri: /x, colour: red }
        - { type: none }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  none:
    health_check: { type: tcp, send_state: true, then: { type: tcp, port: 81, tls: false } }
    servers: [{ name: s1, address: "192.0.2.1:80", health_check: { type: https, tls: false } }]
"#,
        found: &[
            "9:25 error: unknown key `interval` in a check of `then` => write it beside `then`: it holds for all of them",
            "9:39 error: unknown key `observe` in a check of `then` => write it beside `then`: it holds for all of them",
            "9:56 error: unknown key `disable_on_404` in a check of `then` => write it beside `then`: it holds for all of them",
            "9:78 error: unknown key `then` in a check of `then` => write it beside `then`: it holds for all of them",
            "9:88 error: unknown key `uri` in a check of `then` => it is `path`",
            "9:97 error: unknown key `colour` in a check of `then` => it takes `type`, `port`, `address`, `tls`, `send_proxy`, `service`, `set_var`, `unset_var`, `method`, `path`, `version`, `host`, `headers`, `body`, `body_template`, `path_template`, `send`, `expect` or `steps`",
            "10:11 error: `type: none` below `then` asks nothing => remove it",
            "13:32 error: `send_state` has no effect in this check => write `type: http`, or remove it",
            "13:79 error: `tls: false` has no effect beside a `port` or an `address`: there is no TLS there => remove it",
            "14:81 error: `type: https` and `tls: false` exclude one another => write `type: http`, or remove it",
        ],
    },
];
