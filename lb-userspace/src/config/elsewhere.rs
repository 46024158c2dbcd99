//! Words of HAProxy, nginx, Envoy and Traefik for what has another name or another place here, and what to write instead.

/// A word and its mend.
pub(super) type Hints = &'static [(&'static str, &'static str)];

/// Of `mode`.
pub(super) const MODES: Hints = &[
    ("https", TLS_AT_THE_BIND),
    ("tls", TLS_OF_TCP),
    ("ssl", TLS_OF_TCP),
    ("tcp4", "write `tcp`"),
    ("h2", HTTP_VERSION),
    ("http2", HTTP_VERSION),
    ("http/2", HTTP_VERSION),
    ("grpc", HTTP_VERSION),
    ("udp", "write `mode: tcp`, and `bind: \"udp:ADDR:PORT\"`"),
];

const TLS_AT_THE_BIND: &str = "write `mode: http`, and TLS at the bind: `bind: { address: \"*:443\", tls: { certificates: FILE } }`";
const TLS_OF_TCP: &str = "write `mode: tcp` or `http`, and TLS at the bind: `bind: { address: \"*:443\", tls: { certificates: FILE } }`";
const HTTP_VERSION: &str =
    "write `mode: http`, which speaks HTTP/1 and HTTP/2, whichever the client asks for";

/// Of `balance`.
pub(super) const ALGORITHMS: Hints = &[
    ("rr", "it is `roundrobin`"),
    ("wrr", "it is `roundrobin`, which heeds weights"),
    ("weighted", "it is `roundrobin`, which heeds weights"),
    (
        "weighted_round_robin",
        "it is `roundrobin`, which heeds weights",
    ),
    ("static_rr", "it is `static-rr`"),
    ("lc", "it is `leastconn`"),
    ("least_request", "it is `leastconn`"),
    ("least_requests", "it is `leastconn`"),
    ("least_connections", "it is `leastconn`"),
    ("least_time", "it is `leasttime`"),
    ("ip_hash", "it is `source`"),
    ("iphash", "it is `source`"),
    ("source_ip", "it is `source`"),
    ("hash", HASHES),
    ("consistent", HASHES),
    ("ring_hash", HASHES),
    ("consistent_hash", HASHES),
    ("p2c", "it is `random`, which draws two servers"),
    ("two_choices", "it is `random`, which draws two servers"),
    ("cookie", STICKY),
    ("sticky", STICKY),
];

const HASHES: &str = "write what is hashed: `source`, `uri`, `url_param` or `hdr`, with `hash_type: consistent`; or \
                      `maglev` for addresses";
const STICKY: &str = "write `cookie: { name: … }` beside `balance: roundrobin`";

/// Keys of `balance`.
pub(super) const BALANCE: Hints = &[
    ("param", "it is `name`"),
    ("header", "it is `name`"),
    ("type", "it is `algorithm`"),
    ("method", "it is `algorithm`"),
    ("policy", "it is `algorithm`"),
];

const BELOW_THE_BIND: &str =
    "write it at the bind: `bind: { address: \"*:443\", tls: { certificates: FILE } }`";
const ALPN: &str = "it is the bind's: `bind: { address: …, tls: { …, alpn: [h2, http/1.1] } }`, which is the default";
const PROXY: &str = "it is the bind's: `bind: { address: …, accept_proxy: true }`";
const BY_RULE: &str = "write a rule: `rules: [{ if: …, set_header: { NAME: VALUE } }]`";
const BY_HOST: &str = "write a rule: `rules: [{ if: { host: NAME }, use_backend: NAME }]`";

/// Keys of a frontend.
pub(super) const FRONTEND: Hints = &[
    (
        "use_backend",
        "write it as a rule: `rules: [{ if: …, use_backend: NAME }]`",
    ),
    (
        "acl",
        "write it below `acls: { NAME: { … } }`, or the condition into the rule: `rules: [{ if: …, use_backend: NAME }]`",
    ),
    ("backend", "it is `default_backend`"),
    ("service", "it is `default_backend`"),
    ("proxy_pass", "it is `default_backend`"),
    ("server", "servers belong to a backend"),
    (
        "servers",
        "servers belong to a backend: name it with `default_backend`",
    ),
    ("balance", "`balance` belongs to the backend"),
    (
        "option",
        "HAProxy's options have keys of their own, such as `forwarded_for: true`",
    ),
    ("listen", "it is `bind`"),
    ("address", "it is `bind`"),
    ("port", "write it with the address: `bind: \"*:80\"`"),
    ("forwardfor", "it is `forwarded_for: true`"),
    ("server_name", BY_HOST),
    ("host", BY_HOST),
    ("hosts", BY_HOST),
    ("http_request", BY_RULE),
    ("http-request", BY_RULE),
    ("headers", BY_RULE),
    (
        "redirect",
        "write a rule: `rules: [{ if: …, redirect: … }]`",
    ),
    ("ssl", BELOW_THE_BIND),
    ("tls", BELOW_THE_BIND),
    ("cert", BELOW_THE_BIND),
    ("certs", BELOW_THE_BIND),
    ("crt", BELOW_THE_BIND),
    ("certificate", BELOW_THE_BIND),
    ("certificates", BELOW_THE_BIND),
    ("ssl_certificate", BELOW_THE_BIND),
    ("alpn", ALPN),
    ("http2", ALPN),
    ("h2", ALPN),
    ("proxy_protocol", PROXY),
    ("accept_proxy", PROXY),
];

/// Keys of a bind.
pub(super) const BIND: Hints = &[
    ("port", "write it with the address: `address: \"*:80\"`"),
    ("host", "it is `address`"),
    ("ssl", "it is `tls: { certificates: FILE }`"),
    ("cert", "it is `tls: { certificates: FILE }`"),
    ("certs", "it is `tls: { certificates: FILE }`"),
    ("crt", "it is `tls: { certificates: FILE }`"),
    ("certificate", "it is `tls: { certificates: FILE }`"),
    ("certificates", "it is `tls: { certificates: FILE }`"),
    (
        "key",
        "it is `tls: { certificates: [{ cert: FILE, key: FILE }] }`",
    ),
    (
        "alpn",
        "write it below `tls`: `tls: { …, alpn: [h2, http/1.1] }`",
    ),
    ("proxy_protocol", "it is `accept_proxy: true`"),
    ("v4v6", "remove it: `[::]` is both families unless `v6only`"),
];

/// Keys of `tls` of a bind.
pub(super) const BIND_TLS: Hints = &[
    ("cert", TLS_FILES),
    ("certs", TLS_FILES),
    ("certificate", TLS_FILES),
    ("key", TLS_FILES),
    ("crt", "it is `certificates: FILE-OR-FOLDER`"),
    ("crt-list", "it is `crt_list: FILE`"),
    ("ca", "it is `client_ca`"),
    ("verify", "it is `client_auth: none | optional | required`"),
];

const TLS_FILES: &str = "it is `certificates: [{ cert: FILE, key: FILE }]`";

/// Keys of a server.
pub(super) const SERVER: Hints = &[
    (
        "port",
        "write the port after the address: `address: \"192.0.2.10:80\"`",
    ),
    ("ip", "it is `address`"),
    ("host", "it is `address`"),
    ("url", "it is `address`, without `http://`"),
    ("inter", "it is `health_check: { interval: … }`"),
    ("rise", "it is `health_check: { rise: … }`"),
    ("fall", "it is `health_check: { fall: … }`"),
    ("max_fails", "it is `health_check: { fall: … }`"),
    ("fail_timeout", "it is `health_check: { interval: … }`"),
    ("ssl", "it is `tls: true`, or `tls: { … }`"),
    ("https", "it is `tls: true`, or `tls: { … }`"),
    ("down", "it is `disabled: true`"),
    ("resolvers", "it is the backend's"),
];

/// Keys of `global`.
pub(super) const GLOBAL: Hints = &[
    (
        "daemon",
        "remove it: `lb run` stays in the foreground, as service managers want it, `lb run --daemon` does not",
    ),
    ("nbthread", "it is `threads`"),
    ("workers", "it is `threads`"),
    ("worker_processes", "it is `threads`"),
    ("concurrency", "it is `threads`"),
    ("worker_connections", "it is `maxconn`"),
    ("nbproc", "there is one process: set `threads`"),
    ("chroot", "remove it: it is not needed, set `user`"),
    ("stats", "write `stats:` at the top level"),
    ("stats_socket", "it is `admin_socket`"),
    ("hard-stop-after", "it is `grace`"),
    ("hard_stop_after", "it is `grace`"),
];

/// Keys of `stats`.
pub(super) const STATS: Hints = &[
    ("user", "write `auth: { USER: PASSWORD }`"),
    ("password", "write `auth: { USER: PASSWORD }`"),
    ("listen", "it is `bind`"),
    ("address", "it is `bind`"),
    ("port", "it is `bind: \"127.0.0.1:PORT\"`"),
    ("path", "it is `uri`"),
    (
        "enable",
        "remove it: `stats` with a `bind` is enough, without the whole there is no page",
    ),
    (
        "enabled",
        "remove it: `stats` with a `bind` is enough, without the whole there is no page",
    ),
];

const PROXIES: &str = "write `frontends:` and `backends:` at the top level";

/// Keys of the file.
pub(super) const FILE: Hints = &[
    ("listen", "write a frontend and a backend"),
    ("http", PROXIES),
    ("tcp", PROXIES),
    ("stream", PROXIES),
    ("static_resources", PROXIES),
    ("servers", "servers belong to a backend"),
    ("upstream", "it is `backends`"),
    ("upstreams", "it is `backends`"),
    ("clusters", "it is `backends`"),
    ("services", "it is `backends`"),
    ("server", "it is `frontends`"),
    ("listeners", "it is `frontends`"),
    ("entryPoints", "it is `frontends`"),
    ("entrypoints", "it is `frontends`"),
    ("routers", "it is `rules` of a frontend"),
    ("admin", "it is `stats`, or `global: { admin_socket: … }`"),
    ("log", "write it below `global`"),
];
