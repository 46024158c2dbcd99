//! What is wrong only between sections.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "a health file that watches backends",
        text: r#"global: { health_file: { path: /run/x, backends: [app, apq] } }
frontends: { web: { bind: "*:80", default_backend: app } }
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
        found: &["1:56 error: there is no backend `apq` => did you mean `app`?"],
    },
    Case {
        name: "backends that do not exist",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules:
      - { if: { path_prefix: /a/ }, use_backend: nothing }
    default_backend: ap
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "5:50 error: there is no backend `nothing` => add it below `backends`: `nothing: { servers: [ … ] }`",
            "6:22 error: there is no backend `ap` => did you mean `app`?",
        ],
    },
    Case {
        name: "a frontend that leads nowhere",
        text: r#"frontends:
  web: { bind: "*:80" }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &["2:3 error: frontend `web` leads to no backend => write `default_backend: NAME`"],
    },
    Case {
        name: "no frontends",
        text: r#"backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "1:1 error: `frontends` is missing in the configuration => write `frontends:` with a `bind` and a `default_backend` each",
        ],
    },
    Case {
        name: "a backend that is empty, by mistake or not",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
"#,
        found: &[
            r#"4:3 warning: backend `app` has no servers: whatever comes to it is refused => write `servers: [{ name: s1, address: "192.0.2.10:80" }]`"#,
        ],
    },
    Case {
        name: "the same address twice",
        text: r#"frontends:
  web: { bind: ["*:80", "192.0.2.1:80"], default_backend: app }
  api: { bind: "0.0.0.0:80", default_backend: app }
  v6: { bind: "[::]:81", default_backend: app }
  v4: { bind: ["*:81", "[::]:81"], default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
stats: { bind: "192.0.2.1:80" }
"#,
        found: &[
            "3:16 error: `0.0.0.0:80` is bound twice => choose another port or address, or remove one",
            "5:24 error: `[::]:81` is bound twice => choose another port or address, or remove one",
            "10:16 error: `192.0.2.1:80` is bound twice => choose another port or address, or remove one",
        ],
    },
    Case {
        name: "modes that differ",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
  raw: { mode: tcp, bind: "*:81", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "5:3 error: backend `app` takes its mode from its frontends, and they differ => make it two backends with the same servers, one for each mode",
        ],
    },
    Case {
        name: "modes that differ in writing",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    mode: tcp
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "5:11 error: backend `app` is in mode tcp, frontend `web` in mode http => write `mode: http`, or name another backend there",
        ],
    },
    Case {
        name: "keys of mode http in mode tcp",
        text: r#"defaults: { mode: tcp }
frontends:
  web:
    bind: "*:80"
    forwarded_for: true
    log_format: http
    timeouts: { http_request: 5s }
    rules: [{ if: { path_prefix: / }, use_backend: app }]
backends:
  app:
    forwarded_for: true
    cookie: { name: C }
    servers: [{ name: s1, address: "192.0.2.1:80", cookie: s1 }]
"#,
        found: &[
            "3:3 error: the timeout `http_request` has no effect in mode tcp => remove it",
            "5:5 error: `forwarded_for` has no effect in mode tcp => write `mode: http`, or remove it",
            "6:17 error: there are no requests to log in mode tcp => write `log_format: tcp`",
            "8:13 error: rules of mode tcp are `use_backend` by what a connection is and brings, and `web` is in mode tcp => write `mode: http`, or remove it",
            "11:5 error: `forwarded_for` has no effect in mode tcp => remove it",
            "12:5 error: `cookie` needs mode http, `app` is in mode tcp => remove it; `balance: source` keeps a client on its server in mode tcp",
        ],
    },
    Case {
        name: "rules, pages, ids and tables in mode tcp",
        text: r#"defaults: { mode: tcp }
frontends:
  web:
    bind: "*:80"
    unique_id: { header: X-Id }
    timeouts: { tarpit: 5s }
    errorfiles: {}
    default_backend: app
backends:
  app:
    errorfiles: {}
    rules: [{ set_header: { A: b } }]
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "3:3 error: the timeout `tarpit` has no effect in mode tcp => remove it",
            "5:5 error: `header` of `unique_id` has no effect in mode tcp => remove it",
            "7:5 error: `errorfiles` has no effect in mode tcp => write `mode: http`, or remove it",
            "11:5 error: `errorfiles` has no effect in mode tcp => remove it",
            "12:13 error: rules of a backend in mode tcp are `use_server` by what a connection is and brings, and `app` is in mode tcp => write `mode: http`, or remove it",
        ],
    },
    Case {
        name: "a table in mode tcp, which rules of mode http may name",
        text: r#"frontends:
  raw:
    mode: tcp
    bind: "*:81"
    stick_table: { store: conn_cur }
    default_backend: raw-app
  web:
    bind: "*:80"
    rules: [{ track: { table: counted } }]
    default_backend: app
backends:
  app:
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  raw-app:
    stick_table: { store: conn_cur }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  counted:
    mode: tcp
    stick_table: { store: conn_cur }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "5:5 error: `stick_table` has no effect in mode tcp, and no rule of mode http names `raw` => remove it",
            "15:5 error: `stick_table` has no effect in mode tcp, and no rule of mode http names `raw-app` => remove it",
            "17:3 warning: no frontend uses the backend `counted` => name it in a `default_backend` or a rule, or remove it",
        ],
    },
    Case {
        name: "keys of mode tcp in mode http",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    forward: dsr
    overflow: drop
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "5:5 error: `forward` belongs to mode tcp, `app` is in mode http => remove it",
            "6:5 error: `overflow` belongs to mode tcp, `app` is in mode http => remove it",
        ],
    },
    Case {
        name: "overflow of nothing",
        text: r#"frontends:
  t: { mode: tcp, bind: "*:80", default_backend: app }
backends:
  app:
    forward: proxy
    overflow: drop
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "6:5 error: `overflow` has no effect with `forward: proxy`: userspace takes every connection => remove it",
        ],
    },
    Case {
        name: "timeouts in the wrong place",
        text: r#"frontends:
  web:
    bind: "*:80"
    timeouts: { connect: 1s }
    default_backend: app
backends:
  app:
    timeouts: { client: 1s, srever: 2s }
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "4:17 error: `connect` has no effect here: it is a timeout of the backend => move it to the timeouts of the backend, or to those of `defaults`",
            "8:17 error: `client` has no effect here: it is a timeout of the frontend => move it to the timeouts of the frontend, or to those of `defaults`",
            "8:29 error: unknown key `srever` in `timeouts` => did you mean `server`?",
        ],
    },
    Case {
        name: "servers of one name or cookie",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    cookie: { name: C, indirect: true }
    servers:
      - { name: s1, address: "192.0.2.1:80", cookie: a }
      - { name: s1, address: "192.0.2.2:80", cookie: b }
      - { name: s3, address: "192.0.2.3:80", cookie: a }
      - { name: s4, address: "192.0.2.4:80" }
"#,
        found: &[
            "8:17 error: a second server `s1` in backend `app` => give each server a name of its own",
            "9:54 warning: two servers have the cookie value `a` => give each server a value of its own: clients of both stay on the first",
            "10:17 warning: server `s4` has no `cookie`: its clients do not stay on it => write `cookie: s4`",
        ],
    },
    Case {
        name: "cookies and checks without a backend's",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80", cookie: a, check: true }
"#,
        found: &[
            "6:54 error: backend `app` has no `cookie`, so this value has no effect => give the backend `cookie: { name: SERVERID, indirect: true, nocache: true }` in mode http, or remove it",
            "6:57 error: backend `app` has no `health_check`, so nothing is checked => give it `health_check: { type: tcp }`, or remove `check`",
        ],
    },
    Case {
        name: "a bind among the ports of full NAT",
        text: r#"global:
  fast_path: { snat_ports: 10000-20000 }
frontends:
  t: { mode: tcp, bind: "*:10080", default_backend: app }
backends:
  app:
    balance: leastconn
    servers:
      - { name: s1, address: "192.0.2.1:80" }
stats: { bind: "127.0.0.1:20000" }
"#,
        found: &[
            "4:25 error: port 10080 is among the ports 10000-20000 that full NAT takes for itself => choose a port outside, or another range with `global.fast_path.snat_ports`",
            "10:16 error: port 20000 is among the ports 10000-20000 that full NAT takes for itself => choose a port outside, or another range with `global.fast_path.snat_ports`",
        ],
    },
    Case {
        name: "dsr that changes the port",
        text: r#"frontends:
  t: { mode: tcp, bind: "*:8080", default_backend: app }
backends:
  app:
    forward: dsr
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"7:30 error: `forward: dsr` cannot change the port: the frontend's is 8080, the server's 80 => write `"192.0.2.1:8080"`, or use `forward: fullnat`"#,
        ],
    },
    Case {
        name: "dsr between families",
        text: r#"frontends:
  t: { mode: tcp, bind: "[::]:80", default_backend: app }
backends:
  app:
    forward: dsr
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"2:25 warning: IPv6 clients of `[::]:80` take the userspace path to IPv4 servers => they come from this host's address instead of the client's: write `"*:80"` to listen on IPv4 alone"#,
        ],
    },
    Case {
        name: "dsr to an IPv6 server",
        text: r#"frontends:
  t: { mode: tcp, bind: "*:80", default_backend: app }
backends:
  app:
    forward: dsr
    servers:
      - { name: s1, address: "[2001:db8::1]:80" }
"#,
        found: &[
            "2:25 error: `forward: dsr` cannot bring IPv4 clients of `*:80` to IPv6 servers => give the servers' IPv4 addresses, or write `forward: proxy`",
        ],
    },
    Case {
        name: "dsr with IPv6",
        text: r#"frontends:
  t: { mode: tcp, bind: "[2001:db8::2]:80", default_backend: app }
backends:
  app:
    forward: dsr
    servers:
      - { name: s1, address: "[2001:db8::1]:80" }
"#,
        found: &[],
    },
    Case {
        name: "dsr without a kernel path",
        text: r#"global: { fast_path: { attach: off } }
frontends:
  t: { mode: tcp, bind: "*:80", default_backend: app }
backends:
  app:
    forward: dsr
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "6:5 error: `forward: dsr` needs the kernel, but `fast_path.attach` is off: nothing would be served => write `forward: proxy`, or `overflow: proxy`, or let the fast path attach",
        ],
    },
    Case {
        name: "dsr that may pass userspace",
        text: r#"frontends:
  t: { mode: tcp, bind: "*:80", default_backend: app }
backends:
  app:
    forward: dsr
    overflow: proxy
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "5:5 warning: connections that userspace serves reach the servers from this host's address => write `overflow: drop` if the servers must see the clients' addresses",
        ],
    },
    Case {
        name: "clients and servers of two families",
        text: r#"frontends:
  t: { mode: tcp, bind: "[2001:db8::2]:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:25 error: `forward: fullnat` cannot bring IPv6 clients of `[2001:db8::2]:80` to IPv4 servers => give the servers' IPv6 addresses, or write `forward: proxy`",
        ],
    },
    Case {
        name: "clients of both families and servers of one or both",
        text: r#"frontends:
  t: { mode: tcp, bind: "[::]:80", default_backend: four }
  u: { mode: tcp, bind: "udp:[::]:80", default_backend: six }
  v: { mode: tcp, bind: "[::]:81", default_backend: both }
backends:
  four:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
  six:
    forward: nat
    servers:
      - { name: s1, address: "[2001:db8::1]:80" }
  both:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
      - { name: s2, address: "[2001:db8::1]:80" }
"#,
        found: &[
            "2:25 warning: IPv6 clients of `[::]:80` take the userspace path to IPv4 servers => it works; the kernel path wants addresses of one family",
            r#"3:25 warning: IPv4 clients of `udp:[::]:80` take the userspace path to IPv6 servers => they come from this host's address instead of the client's: write `"udp:ADDRESS:80"` to listen on IPv6 alone"#,
            "4:25 error: `forward: fullnat` cannot bring IPv6 clients of `[::]:81` to IPv4 servers => make two frontends and two backends, one for each family, or write `forward: proxy`",
        ],
    },
    Case {
        name: "ipip between families",
        text: r#"frontends:
  t: { mode: tcp, bind: "192.0.2.9:80", default_backend: six }
  u: { mode: tcp, bind: "[2001:db8::9]:80", default_backend: four }
backends:
  six:
    forward: ipip
    servers:
      - { name: s1, address: "[2001:db8::1]:80" }
      - { name: s2, address: "192.0.2.1:81" }
  four:
    forward: ipip
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "3:25 error: `forward: ipip` cannot bring IPv6 clients of `[2001:db8::9]:80` to IPv4 servers => give the servers' IPv6 addresses, or write `forward: proxy`",
            r#"9:30 error: `forward: ipip` cannot change the port: the frontend's is 80, the server's 81 => write `"192.0.2.1:80"`, or use `forward: fullnat`"#,
        ],
    },
    Case {
        name: "ipip from both families to IPv6 servers",
        text: r#"frontends:
  t: { mode: tcp, bind: "[::]:80", default_backend: six }
backends:
  six:
    forward: ipip
    servers:
      - { name: s1, address: "[2001:db8::1]:80" }
"#,
        found: &[],
    },
    Case {
        name: "two families without a kernel path",
        text: r#"global: { fast_path: { attach: off } }
frontends:
  t: { mode: tcp, bind: "[2001:db8::2]:80", default_backend: app }
  u: { mode: tcp, bind: "*:81", default_backend: nat }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
  nat:
    forward: nat
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "10:5 warning: `forward: nat` needs the kernel, but `fast_path.attach` is off: the servers see this host's address => write `forward: proxy` if that will do, or let the fast path attach",
        ],
    },
    Case {
        name: "UDP in mode http and in statistics",
        text: r#"frontends:
  web: { bind: ["*:80", "udp:*:80"], default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
stats: { bind: "udp:127.0.0.1:1080" }
"#,
        found: &[
            "2:25 error: `udp:*:80` needs mode tcp => write `mode: tcp`",
            r#"7:16 error: statistics are read by TCP => write `"127.0.0.1:1080"`"#,
        ],
    },
    Case {
        name: "checks of servers that are reached by UDP",
        text: r#"defaults: { mode: tcp, health_check: { type: tcp } }
frontends:
  one: { bind: "udp:*:53", default_backend: inherits }
  two: { bind: "udp:*:54", default_backend: own }
  both: { bind: ["udp:*:55", "*:55"], default_backend: both }
  log: { bind: "udp:*:56", default_backend: unchecked }
  ntp: { bind: "udp:*:57", default_backend: other }
  quic: { bind: "udp:*:58", default_backend: none }
backends:
  inherits:
    servers: [{ name: s1, address: "192.0.2.1:53" }]
  own:
    health_check: { type: http }
    servers: [{ name: s1, address: "192.0.2.1:53" }]
  both:
    servers: [{ name: s1, address: "192.0.2.1:53" }]
  unchecked:
    health_check: { type: none }
    servers: [{ name: s1, address: "192.0.2.1:53" }]
  other:
    health_check: { type: tcp, port: 8053 }
    servers: [{ name: s1, address: "192.0.2.1:53" }]
  none:
    default_server: { check: false }
    servers: [{ name: s1, address: "192.0.2.1:53" }]
"#,
        found: &[
            "10:3 error: `inherits` is reached by UDP, and the check of `defaults` has no `port` for it => write `health_check: { type: tcp, port: PORT }` with a port that answers while the service works, or `{ type: none }`",
            "13:5 error: the check of `own` has no `port`: its servers are reached by UDP, which no check speaks => write `health_check: { type: tcp, port: PORT }` with a port that answers while the service works, or `{ type: none }`",
        ],
    },
    Case {
        name: "algorithms that do not suit the servers",
        text: r#"frontends:
  a: { mode: tcp, bind: "*:80", default_backend: few }
  b: { mode: tcp, bind: "*:81", default_backend: coarse }
  c: { mode: tcp, bind: "*:82", default_backend: source }
  d: { mode: tcp, bind: "*:83", default_backend: uri }
  e: { mode: tcp, bind: "*:84", default_backend: first }
backends:
  few:
    balance: { algorithm: maglev, table_size: 2 }
    servers: &servers
      - { name: s1, address: "192.0.2.1:80" }
      - { name: s2, address: "192.0.2.2:80" }
      - { name: s3, address: "192.0.2.3:80" }
  coarse:
    balance: { table_size: 101, algorithm: maglev }
    servers: *servers
  source:
    health_check: { type: tcp, observe: layer7 }
    balance: source
    hash_balance_factor: 150
    default_server: { slowstart: 30s }
    servers: *servers
  uri:
    balance: uri
    servers: *servers
  first:
    balance: first
    hash_type: consistent
    servers: [{ name: s1, address: "192.0.2.1:80", slowstart: 3s }]
"#,
        found: &[
            "9:47 error: `table_size` 2 is less than the 3 servers of `few`: some would never be chosen => remove it, so that it is 65537",
            "15:28 warning: `table_size` 101 is small for the 3 servers of `coarse`: shares differ from the weights by more than a hundredth => remove it, so that it is 65537, or write a prime of a hundred times as many slots as servers",
            "18:5 error: `observe: layer7` needs mode http, `source` is in mode tcp => write `observe: layer4`",
            "20:5 error: `hash_balance_factor` has no effect without `hash_type: consistent` => add it, or remove this",
            "21:23 error: `slowstart` has no effect with `balance: source`: each step would move clients to other servers => remove it, or write `hash_type: consistent`",
            "24:5 error: `balance: uri` needs mode http, `uri` is in mode tcp => write `balance: source`, or another that looks at no request",
            "28:5 error: `hash_type` has no effect with `balance: first` => remove it, or balance by `source`, `uri`, `url_param` or `hdr`",
            "29:52 error: `slowstart` has no effect with `balance: first` => remove it, or write `balance: roundrobin`",
        ],
    },
    Case {
        name: "a rule that is never reached",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules:
      - { use_backend: "%[path,word(1,/)]" }
      - { redirect: { location: "%[req.hdr(x)]", ignore_empty: true } }
      - { use_backend: app }
      - { if: { path_prefix: /a }, use_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "8:9 warning: no request comes to this rule: one above it always holds => move the rule without `if` to the end, or write `default_backend` instead",
        ],
    },
    Case {
        name: "a backend that nobody uses",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
  spare:
    servers: [{ name: s1, address: "192.0.2.1:80", weight: 0 }]
"#,
        found: &[
            "7:3 warning: no frontend uses the backend `spare` => name it in a `default_backend` or a rule, or remove it",
            "8:5 warning: every server of `spare` has weight 0: nothing new is sent to any => give at least one a weight above 0",
        ],
    },
];
