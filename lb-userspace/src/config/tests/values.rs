//! Values of the wrong kind or out of range.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "booleans of other times",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    cookie: { name: C, indirect: yes, nocache: "off" }
    servers:
      - { name: s1, address: "192.0.2.1:80", backup: 1, cookie: s1 }
"#,
        found: &[
            "5:34 error: `indirect` must be true or false, not `yes` => write `true`",
            "5:48 error: `nocache` must be true or false, not `off` => write `false`",
            "7:54 error: `backup` must be true or false, not `1` => write `true`",
        ],
    },
    Case {
        name: "text that reads as something else",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    cookie: { name: C }
    servers:
      - { name: 0x1f, address: "192.0.2.1:80", cookie: 22:30 }
      - { name: on, address: "192.0.2.2:80", cookie: 007 }
"#,
        found: &[
            r#"7:17 error: `name` must be text, but `0x1f` without quotes is a number in another base to many YAML readers => quote it: `"0x1f"`"#,
            r#"7:56 error: `cookie` must be text, but `22:30` without quotes is a number in base 60 to many YAML readers => quote it: `"22:30"`"#,
            r#"8:17 error: `name` must be text, but `on` without quotes is a boolean to many YAML readers => quote it: `"on"`"#,
            r#"8:54 error: `cookie` must be text, but `007` without quotes is a number to many YAML readers => quote it: `"007"`"#,
        ],
    },
    Case {
        name: "a password that reads as a number",
        text: r#"stats: { bind: "127.0.0.1:1080", auth: { admin: 0123 } }
"#,
        found: &[
            "1:49 error: the password of `admin` must be text, but without quotes it is a number to many YAML readers => quote it",
        ],
    },
    Case {
        name: "durations",
        text: r#"global: { grace: -1s }
defaults:
  timeouts: { connect: 5000, client: 1.5s, server: 5 sec, queue: 0s, tunnel: 30d, check: ~, http_request: [] }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "1:18 error: `grace`: `-1s` is no duration => write a whole number and a unit: `500ms`, `10s`, `5m`, `1h`",
            "3:24 error: `connect`: `5000` has no unit => write `5s`, or `5000ms`",
            "3:38 error: `client`: `1.5s` is not whole => write `1500ms`",
            "3:52 error: `server`: `5 sec` is no duration => write `5s`",
            "3:66 error: `queue` must be at least 1ms, not `0s` => write a longer duration",
            "3:78 error: `tunnel`: `30d` is longer than 24 days => write at most `24d`",
            "3:90 error: `check` has no value => write one, or remove the key",
            "3:107 error: `http_request` must be a single value, this is a list => write one value; a text with brackets or braces in it wants quotes",
        ],
    },
    Case {
        name: "numbers",
        text: r#"global: { threads: 0, maxconn: -1 }
defaults: { retries: many, redispatch: perhaps }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80", weight: 257 }
      - { name: s2, address: "192.0.2.2:80", weight: 1.5, maxconn: 0 }
"#,
        found: &[
            "1:20 error: `threads` must be `auto` or a whole number from 1 to 1024, not `0` => write a number in that range",
            "1:32 error: `maxconn` must be a whole number from 1 to 4294967295, not `-1` => write a number in that range",
            "2:22 error: `retries` must be a whole number from 0 to 100, not `many` => write decimal digits alone",
            "2:40 error: `redispatch` cannot be `perhaps` => write `true`, `false` or a number from -100 to 100: every which retry goes to another server",
            "8:54 error: `weight` must be a whole number from 0 to 256, not `257` => write a number in that range",
            "9:54 error: `weight` must be a whole number from 0 to 256, not `1.5` => write decimal digits alone",
            "9:68 error: `maxconn` must be a whole number from 1 to 4294967295, not `0` => write a number in that range",
        ],
    },
    Case {
        name: "sizes and ranges",
        text: r#"global:
  fast_path: { max_flows: 1mb, snat_ports: 32767-10000 }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:27 error: `max_flows` must be a whole number from 1024 to 67108864, not `1mb` => write `1m`",
            "2:44 error: `snat_ports`: `32767-10000` ends before it begins => write `10000-32767`",
        ],
    },
    Case {
        name: "ranges of ports",
        text: r#"global:
  fast_path: { max_flows: 16, snat_ports: 80-2000 }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:27 error: `max_flows` must be a whole number from 1024 to 67108864, not `16` => write a number in that range",
            "2:43 error: `snat_ports`: `80-2000` takes in ports below 1024, which services listen on => write `1024-2000` or a higher range",
        ],
    },
    Case {
        name: "a fast path of slips",
        text: r#"global:
  fast_path: { attach: xpd, interfaces: [lo, eth0, eth0, "a/b", averyverylongname], snat_addresses: 192.0.2.1, on_stop: stay }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:24 error: `attach` cannot be `xpd` => did you mean `xdp`? It takes `auto`, `xdp`, `xdp-generic`, `tc` or `off`",
            "2:42 error: `lo` is never attached to => remove it: userspace serves local clients",
            "2:52 error: the interface `eth0` is named twice => remove one",
            "2:58 error: `a/b` cannot be an interface's name => write a name that `ip link` shows",
            "2:65 error: `averyverylongname` cannot be an interface's name => write a name that `ip link` shows",
            "2:101 error: `snat_addresses` cannot be `192.0.2.1` => write a list: `[192.0.2.1]`",
            "2:121 error: `on_stop` cannot be `stay` => write `detach` or `keep`",
        ],
    },
    Case {
        name: "source addresses",
        text: r#"global:
  fast_path: { snat_addresses: [192.0.2.1, 192.0.2.1, 0.0.0.0, x], interfaces: eth0 }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:44 error: `192.0.2.1` is named twice => remove one",
            "2:55 error: an address of `snat_addresses`: servers cannot answer to `0.0.0.0` => write an address of this host",
            "2:64 error: an address of `snat_addresses`: `x` is no IP address => write one address",
            "2:80 error: `interfaces` must be a list, this is a single value => write `- …` lines or `[…, …]`",
        ],
    },
    Case {
        name: "denied prefixes and rates",
        text: r#"global:
  fast_path: { deny: [198.51.100.0/24, 198.51.100.7/24, "2001:db8::1/32", 198.51.100.0/24, x, 10.0.0.0/40], new_flows_per_source: -1 }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:40 error: a prefix of `deny`: `198.51.100.7/24` has bits set beyond its length => write `198.51.100.0/24`, or `198.51.100.7/32` for the one address",
            "2:57 error: a prefix of `deny`: `2001:db8::1/32` has bits set beyond its length => write `2001:db8::/32`, or `2001:db8::1/128` for the one address",
            "2:75 error: `198.51.100.0/24` is denied twice => remove one",
            "2:92 error: a prefix of `deny`: `x` is no IP address => write a prefix such as `198.51.100.0/24` or `2001:db8::/32`",
            "2:95 error: a prefix of `deny`: `/40` is no length of a prefix of 32 bits => write a number from 0 to 32: `10.0.0.0/32` is one address",
            "2:131 error: `new_flows_per_source` must be a whole number from 0 to 4294967295, not `-1` => write a number in that range",
        ],
    },
    Case {
        name: "algorithms",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
backends:
  a:
    balance: { table_size: 65536, algorithm: maglev }
    servers: &servers [{ name: s1, address: "192.0.2.1:80" }]
  b: { balance: { algorithm: random, table_size: 13 }, servers: *servers }
  c: { balance: { table_size: 70001 }, servers: *servers }
  d: { balance: random x, servers: *servers }
  e: { balance: { algorithm: maglev, draws: 2, tablesize: 7 }, servers: *servers }
  f: { balance: magleev, servers: *servers }
  g: { balance: uri depth, servers: *servers }
  h: { balance: hdr, servers: *servers }
  i: { balance: "hdr(a b)", servers: *servers }
  j: { balance: { algorithm: url_param }, servers: *servers }
  k: { balance: { algorithm: url_param, name: "a=b", len: 3 }, servers: *servers }
  l: { balance: leastconn 3, hash_balance_factor: 100, hash_type: crc, servers: *servers }
"#,
        found: &[
            "5:28 error: `table_size` must be a prime number, which 65536 is not => write `65521`",
            "7:38 error: `table_size` has no effect without `algorithm: maglev` => remove it",
            "8:8 error: `algorithm` is missing in `balance` => write `balance: { algorithm: maglev, table_size: 65537 }`",
            "8:31 error: `table_size` must be a whole number from 2 to 65537, not `70001` => write a number in that range",
            "9:17 error: `balance: random` cannot draw `x` servers => write a number from 1 to 256",
            "10:38 error: `draws` has no effect without `algorithm: random` => remove it",
            "10:48 error: unknown key `tablesize` in `balance` => did you mean `table_size`?",
            "11:17 error: `balance` cannot be `magleev` => did you mean `maglev`?",
            "12:17 error: `depth` of `balance: uri` needs a number => write `balance: uri depth N`, N from 1 to 65535",
            "13:17 error: `balance: hdr` does not say which => write `balance: hdr NAME`",
            "14:17 error: `balance: hdr` does not take `b` => remove it",
            "15:8 error: `name` is missing in `balance` => write `balance: { algorithm: url_param, name: … }`",
            "16:47 error: `a=b` cannot be the name of a header or parameter => write a name such as `X-User` or `userid`",
            "16:54 error: `len` has no effect without `algorithm: uri` => remove it",
            "17:17 error: `balance: leastconn` does not take `3` => remove it",
            "17:51 error: `hash_balance_factor` must be 0 or more than 100, not 100 => write 150: no server has more than one and a half times the mean load",
            "17:67 error: `hash_type` cannot be `crc` => write `map-based` or `consistent`",
        ],
    },
    Case {
        name: "checks of other kinds",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
  api: { bind: "*:81", default_backend: b }
  ftp: { bind: "*:82", default_backend: c }
  dns: { bind: "*:83", default_backend: d }
backends:
  a:
    health_check: { type: tcp, send: "", expect: { status: 200 }, steps: [{ send: a, expect: b }], address: "192.0.2.1:80" }
    servers: &servers [{ name: s1, address: "192.0.2.1:80" }]
  b: { health_check: { type: http, send: x, expect: { regex: "(" }, error_limit: 3 }, servers: *servers }
  c: { health_check: { type: ssl, expect: x, path: /, observe: layer3 }, servers: *servers }
  d: { health_check: { type: agent, steps: [], on_error: sudden-death, observe: layer4, error_limit: 0 }, servers: *servers }
"#,
        found: &[
            r#"8:38 error: `send` is empty => write a text; `"\r\n"` in double quotes is the end of a line"#,
            r#"8:42 error: `expect` does not say what => write a text that has to come, `{ regex: "^OK" }`, `{ hex: 0d0a }`, `{ template: … }`, `{ hex_template: … }` or `{ not: … }`"#,
            "8:52 error: unknown key `status` in `expect` => it is for `type: http`",
            "8:67 error: `steps` stand beside `send` or `expect`, and nothing says which comes first => write all of it as `steps: [{ send: … }, { expect: … }]`",
            r#"8:75 error: a step either sends, expects or sets variables => write `{ send: "PING\r\n" }` or `{ expect: "+PONG" }`"#,
            "8:109 error: `address`: `192.0.2.1:80` is no IP address => write one such as `192.0.2.1`; the port is `port`",
            "10:36 error: `send` has no effect in this check => write `type: tcp`, or remove it",
            r#"10:62 error: `(` is no regular expression: unclosed group => see https://docs.rs/regex for the syntax; `\` before a character takes it as it is"#,
            "10:69 error: `error_limit` has no effect without `observe` => add `observe: layer7`, or remove it",
            "11:35 error: `expect` has no effect in this check => write `type: http`, or remove it",
            "11:46 error: `path` has no effect in this check => write `type: http`, or remove it",
            "11:64 error: `observe` cannot be `layer3` => did you mean `layer4`? It takes `layer4` or `layer7`",
            "12:37 error: `steps` has no effect in this check => write `type: tcp`, or remove it",
            "12:102 error: `error_limit` must be a whole number from 1 to 4294967295, not `0` => write a number in that range",
        ],
    },
    Case {
        name: "what servers have in common",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    on_marked_down: shutdown
    slowstart: 5s
    default_server: { weight: 300, address: "192.0.2.1:80", slowstart: 10, resolve: x }
    health_check: { type: tcp, slowstart: 5s }
    servers:
      - { name: s1, address: "192.0.2.1:80", on_marked_down: close, slowstart: soon }
"#,
        found: &[
            "5:21 error: `on_marked_down` cannot be `shutdown` => write `shutdown-sessions` or `none`",
            "6:5 error: unknown key `slowstart` in backend `app` => it is a server's, or `default_server: { slowstart: … }`",
            "7:31 error: `weight` must be a whole number from 0 to 256, not `300` => write a number in that range",
            "7:36 error: unknown key `address` in `default_server` => each server has its own",
            "7:72 error: `slowstart`: `10` has no unit => write `10s` or `10ms`",
            "7:85 error: there are no resolvers `x` => add it: `resolvers: { x: { nameservers: [ … ] } }`",
            "8:32 error: unknown key `slowstart` in `health_check` => it is a server's, or `default_server: { slowstart: … }`",
            "10:62 error: `on_marked_down` cannot be `close` => write `shutdown-sessions` or `none`",
            "10:80 error: `slowstart`: `soon` is no duration => write a whole number and a unit: `500ms`, `10s`, `5m`, `1h`",
        ],
    },
    Case {
        name: "log targets",
        text: r#"global:
  log:
    - { target: stdrr }
    - { target: "tls://127.0.0.1:514" }
    - { target: "udp://loghost:514", facility: local8, level: warn, format: xml }
    - { level: info }
    - stderr
    - { target: /var/log/ }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "3:17 error: `target`: `stdrr` is no place that logs can go to => did you mean `stderr`?",
            r#"4:17 error: `target`: `tls://127.0.0.1:514` is no place that logs can go to => write `stderr`, `stdout`, `fd@3`, `journald`, `"udp://ADDR:PORT"`, `"tcp://ADDR:PORT"`, `unix:/dev/log` or the path of a file"#,
            "5:17 error: `target`: `loghost` is a host name, which is looked up for servers alone => write its IP address",
            "5:48 error: `facility` cannot be `local8` => did you mean `local0`?",
            "5:63 error: `level` cannot be `warn` => write `emerg`, `alert`, `crit`, `err`, `warning`, `notice`, `info` or `debug`",
            "5:77 error: `format` cannot be `xml` => write `text`, `json`, `local`, `rfc3164`, `rfc5424`, `priority`, `short`, `timed`, `iso` or `raw`",
            r#"6:7 error: `target` is missing in an entry of `log` => write `{ target: stderr }` or `{ target: "udp://127.0.0.1:514" }`"#,
            r#"7:7 error: an entry of `log` must be a mapping, this is a single value => write `{ target: "stderr" }`"#,
            "8:17 error: `target`: `/var/log/` is a folder => write the path of a file",
        ],
    },
    Case {
        name: "binds",
        text: r#"frontends:
  web:
    bind: [80, ":81", "localhost:82", "*:0", "*:65536", "::1", "*:80,*:81", "http://*:80", "300.1.1.1:80", "224.0.0.1:80", { address: "*" }, {}]
    default_backend: app
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"3:12 error: `bind`: `80` is a port without an address => write `"*:80"`"#,
            r#"3:16 error: `bind`: `:81` has no address => write `"*:81"` for all of them"#,
            r#"3:23 error: `bind`: `localhost` is no IP address => write `"127.0.0.1:82"`, or `"*:82"` for all addresses"#,
            "3:39 error: `bind`: `0` is no port => write a number from 1 to 65535",
            "3:46 error: `bind`: `65536` is no port => write a number from 1 to 65535",
            r#"3:57 error: `bind`: `::1` has no port => write `"[::1]:PORT"`"#,
            r#"3:64 error: `bind`: `*:80,*:81` is more than one address => write a list: `["ADDR:PORT", "ADDR:PORT"]`"#,
            r#"3:77 error: `bind`: `http://*:80` is a URL => write address and port alone, without `http://`: `"*:80"`"#,
            r#"3:92 error: `bind`: `300.1.1.1` is no IP address => write an address of this host, or `"*:80"` for all of them"#,
            "3:108 error: `bind`: `224.0.0.1` is a group address, nothing can listen on it => write a unicast address",
            r#"3:135 error: `address`: `*` has no port => write address and port, such as `"*:80"`"#,
            r#"3:142 error: `address` is missing in a bind => write `{ address: "*:80" }`"#,
        ],
    },
    Case {
        name: "no bind",
        text: r#"frontends:
  web: { default_backend: app }
  api: { bind: [], default_backend: app }
  old: { bind: , default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"2:3 error: `bind` is missing in frontend `web` => say where to listen: `bind: "*:80"`"#,
            r#"3:16 error: `bind` is an empty list => say where to listen: `bind: "*:80"`"#,
            "4:14 error: `bind` has no value => write one, or remove the key",
        ],
    },
    Case {
        name: "servers",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - 192.0.2.1:80
      - { name: s1 }
      - { address: "192.0.2.1:80" }
      - { name: "s 2", address: "192.0.2.1" }
      - { name: BACKEND, address: "localhost:80", port: 80 }
      - { name: s3, address: "0.0.0.0:80", check: maybe }
      - { name: s4, address: "1.2.3:80" }
"#,
        found: &[
            r#"6:9 error: a server must be a mapping, this is a single value => write `{ name: s1, address: "192.0.2.1:80" }`"#,
            r#"7:9 error: `address` is missing in a server => write `{ name: s1, address: "192.0.2.10:80" }`"#,
            r#"8:9 error: `name` is missing in a server => write `{ name: s1, address: "192.0.2.10:80" }`"#,
            "9:17 error: `s 2` cannot be the name of a server => write up to 128 letters, digits, `_`, `-`, `.` or `:`",
            r#"9:33 error: `address`: `192.0.2.1` has no port => write it after the address, such as `"192.0.2.1:80"`"#,
            "10:17 error: `BACKEND` is what statistics call a whole proxy => choose another name",
            r#"10:51 error: unknown key `port` in a server => write the port after the address: `address: "192.0.2.10:80"`"#,
            "11:30 error: `address`: `0.0.0.0` is the address of no server => write the server's own address",
            "11:51 error: `check` must be true or false, not `maybe` => write `true` or `false`",
            "12:30 error: `address`: `1.2.3` is no IP address => write four numbers from 0 to 255, or `[IPv6]`",
        ],
    },
    Case {
        name: "sections of the wrong kind",
        text: r#"global: [a]
defaults: fast
frontends:
  - { name: web }
backends: 3
stats: "*:1080"
"#,
        found: &[
            "1:9 error: `global` must be a mapping of keys and values, this is a list => write `key: value` lines, indented, or `{ key: value }`",
            "2:11 error: `defaults` must be a mapping of keys and values, this is a single value => write `key: value` lines, indented, or `{ key: value }`",
            "4:3 error: `frontends` must be a mapping of keys and values, this is a list => write `key: value` lines, indented, or `{ key: value }`",
            "5:11 error: `backends` must be a mapping of keys and values, this is a single value => write `key: value` lines, indented, or `{ key: value }`",
            "6:8 error: `stats` must be a mapping of keys and values, this is a single value => write `key: value` lines, indented, or `{ key: value }`",
        ],
    },
    Case {
        name: "lists of the wrong kind",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules: { if: x }
    default_backend: [app]
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
stats: { bind: "*:1080", auth: admin }
"#,
        found: &[
            "4:12 error: `rules` must be a list, this is a mapping => write `- …` lines or `[…, …]`",
            "5:22 error: `default_backend` must be a single value, this is a list => write one value; a text with brackets or braces in it wants quotes",
            "10:32 error: `auth` must be a mapping of keys and values, this is a single value => write `auth: { USER: PASSWORD }`",
        ],
    },
    Case {
        name: "health checks",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
  api: { bind: "*:81", default_backend: b }
backends:
  a:
    health_check: { path: health, interval: 1ms, rise: 0, expect: { status: 2x } }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  b:
    health_check: { type: tcp, path: /, inter: 2s }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  c:
    health_check: { type: grpc, path: /, tls: false, send_proxy: v3 }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  d:
    health_check: { type: agent, service: a, tls: true, send_proxy: true }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  e:
    health_check: { type: h2, version: HTTP/1.0, tls: { alpn: h3 } }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "6:5 error: `type` is missing in `health_check` => write `type: tcp`, `type: http` or `type: none`",
            "6:27 error: `health` cannot be asked for: a path begins with `/` and has no blanks => write `/health`",
            "6:45 error: `interval` must be at least 10ms, not `1ms` => write a longer duration",
            "6:56 error: `rise` must be a whole number from 1 to 1000, not `0` => write a number in that range",
            "6:77 error: `status`: `2x` is no status => write `200`, `2xx` or `200-399`, divided by commas",
            "9:32 error: `path` has no effect in this check => write `type: http`, or remove it",
            "9:41 error: unknown key `inter` in `health_check` => it is `interval`",
            "12:33 error: `path` has no effect in this check => write `type: http`, or remove it",
            "12:66 error: `send_proxy` cannot be `v3` => did you mean `v1`? It takes `true`, `v1`, `v2` or `false`",
            "15:34 error: `service` has no effect in this check => write `type: grpc`, or remove it",
            "15:46 error: `tls` has no effect in this check => remove it",
            "15:57 error: `send_proxy` has no effect in this check => remove it",
            "18:31 error: `version` has no effect in this check => write `type: http`, or remove it",
            "18:50 error: this check cannot speak `h3` => write `alpn: [h2, http/1.1]`, or leave `alpn` out",
        ],
    },
    Case {
        name: "http checks",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
  api: { bind: "*:81", default_backend: b }
backends:
  a:
    health_check: { type: http, method: "GET /", path: /a b, version: HTTP/2, headers: { "X Y": 1, Connection: close, A: "1", a: "2", B: "\x01" }, expect: { body: ok } }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
  b:
    health_check: { type: http, version: HTTP/1.1, expect: {} }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "6:41 error: `GET /` is no method of a check => write `GET`, `HEAD` or `OPTIONS`",
            "6:56 error: `/a b` cannot be asked for: a path begins with `/` and has no blanks => write `/a%20b`",
            "6:71 error: `version` is one of HTTP/1 => write `type: h2`",
            "6:90 error: `X Y` cannot be the name of a header => write a name such as `X-Check`",
            "6:127 error: the header `a` is given twice => keep one",
            "6:138 error: `B` has characters that no header can carry => write printable ASCII",
            "9:42 warning: HTTP/1.1 without `host`: most servers answer 400 => add `host: www.example.org`, or use HTTP/1.0",
            r#"9:52 error: `status` is missing in `expect` => write `expect: { status: "2xx,3xx" }`"#,
        ],
    },
    Case {
        name: "cookies",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
  api: { bind: "*:81", default_backend: b }
backends:
  a:
    cookie: { mode: insert, insert: true }
    servers: [{ name: s1, address: "192.0.2.1:80", cookie: "a;b" }]
  b:
    cookie: { name: "A B" }
    servers: [{ name: s1, address: "192.0.2.1:80", cookie: "" }]
"#,
        found: &[
            "6:5 error: `name` is missing in `cookie` => write `{ name: SERVERID, mode: insert, indirect: true, nocache: true }`",
            "6:29 error: unknown key `insert` in `cookie` => it is `mode: insert`",
            r#"7:60 error: `a;b` cannot be the value of a cookie => write printable ASCII without blanks, quotes, `,`, `;`, `\`, `|` and `~`"#,
            "9:21 error: `A B` cannot be the name of a cookie => write letters, digits, `_`, `-` or `.`",
            r#"10:60 error: `` cannot be the value of a cookie => write printable ASCII without blanks, quotes, `,`, `;`, `\`, `|` and `~`"#,
        ],
    },
    Case {
        name: "rules",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules:
      - { path_prefix: /a/, use_backend: app }
      - { if: { path_prefix: a/, path: "/a?b" }, use_backend: app }
      - { if: {}, use_backend: app }
      - { if: { host: "www.example.org:80" }, use_backend: app }
      - { if: { host: "*.*.org", ignore_case: true }, use_backend: app }
      - { if: { path_beg: /x }, use_backend: app }
      - { if: { path_prefix: [] } }
      - { if: { host: "http://x/" }, use_backend: app }
      - app
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "5:11 error: unknown key `path_prefix` in a rule => conditions go below `if`: `{ if: { … }, use_backend: NAME }`",
            "6:30 error: no path begins with `a/`: they begin with `/` => write `/a/`",
            "6:40 error: no path has a `?` in it as `/a?b` has: the query begins there => write `query: { name: …, value: … }` for what follows it",
            "7:11 error: `if` without a condition => remove it: a rule without `if` always holds",
            "8:23 error: `www.example.org:80` has a port: hosts are compared without => write `www.example.org`",
            r#"9:23 error: `*.*.org`: a `*` stands for the first labels only => write `"*.example.org"`"#,
            "9:34 error: `ignore_case` has no text to compare here => remove it: hosts are compared without case",
            "10:17 error: unknown key `path_beg` in `if` => it is `path_prefix`",
            "11:9 error: `use_backend` is missing in a rule => write `{ if: …, use_backend: NAME }`",
            "11:30 error: `path_prefix` is an empty list, which never holds => write at least one value",
            "12:23 error: `http://x/` is no host name => write the name alone, as in `www.example.org`",
            "13:9 error: a rule must be a mapping of keys and values, this is a single value => write `key: value` lines, indented, or `{ key: value }`",
        ],
    },
    Case {
        name: "statistics",
        text: r#"stats: { uri: stats, refresh: 30, realm: "ü", auth: { "a:b": x, c: "" }, metrics: { auth: true, path: /m } }
"#,
        found: &[
            r#"1:1 error: `bind` is missing in `stats` => say where to listen: `bind: "*:1080"`"#,
            "1:15 error: `stats` is no path: it begins with `/` and has no blanks, `#` or `;` => write `/stats`",
            "1:31 error: `refresh`: `30` has no unit => write `30s` or `30ms`",
            "1:42 error: `realm` has characters that no header can carry => write printable ASCII",
            "1:55 error: `a:b` cannot be a user: basic authentication has no `:` in it => choose another name",
            "1:68 error: the password of `c` is empty => choose one",
            "1:97 error: unknown key `path` in `metrics` => it takes `auth` or `servers`",
        ],
    },
    Case {
        name: "a statistics page in the way",
        text: r#"stats: { bind: "127.0.0.1:1080", uri: /metrics, metrics: { auth: true } }
"#,
        found: &[
            "1:39 error: `/metrics` is taken by another page => write `/stats`",
            "1:60 error: `metrics.auth` needs users => write `auth: { USER: PASSWORD }` below `stats`",
        ],
    },
    Case {
        name: "names",
        text: r#"frontends:
  "my web": { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:3 error: `my web` cannot be the name of a frontend => write up to 128 letters, digits, `_`, `-`, `.` or `:`",
        ],
    },
    Case {
        name: "variables",
        text: r#"global: { maxconn: "${MAX}", user: "${NOBODY}", group: "${}", pidfile: "${A" }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "1:20 error: `maxconn`: the environment has no variable `MAX` => set it, or give a default: `${MAX:-value}`",
            "1:36 error: `user`: the environment has no variable `NOBODY` => set it, or give a default: `${NOBODY:-value}`",
            "1:56 error: `group`: `${}` names no variable => write `${NAME}` or `${NAME:-default}`, or `$${` for the characters themselves",
            "1:72 error: `pidfile`: `${` without its `}` => write `${NAME}`, or `$${` for the characters themselves",
        ],
    },
];
