//! haproxy.cfg and what comes of it.

use super::{Options, import};
use crate::config::{self, Config, Source};

mod addresses;
mod checks;
mod idle;
mod logs;
mod meaning;
mod names;
mod operators;
mod patterns;
mod slips;
mod written;

/// As YAML, and what was said beside it.
fn imported(text: &str) -> (String, Vec<String>) {
    let source = Source::new("haproxy.cfg", text);
    let (yaml, said) = import(&source, &|_| None, &Options::default());
    // Files here are short: which timeouts they lack is nothing that the tests are about.
    let said = said
        .iter()
        .filter(|d| !d.message.contains("waits for ever"));
    let said = said.map(|d| {
        let place = d
            .span
            .map_or((0, 0), |span| (span.start.line, span.start.column));
        format!(
            "{}:{} {}: {}",
            place.0,
            place.1,
            d.severity.as_str(),
            d.message
        )
    });
    (yaml, said.collect())
}

/// What the YAML of a .cfg says once it is read again; there must be nothing wrong with it.
fn reread(text: &str) -> Config {
    let (yaml, said) = imported(text);
    assert!(
        said.iter().all(|line| !line.contains(" error: ")),
        "{said:?}"
    );
    match config::parse("lb.yaml", &yaml, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(found) => panic!("{found}\n{yaml}"),
    }
}

/// What is below `rules:` of the only frontend, line by line.
fn rules(lines: &str) -> Vec<String> {
    let text = format!(
        "frontend f\n mode http\n bind :80\n{lines}\n default_backend b\nbackend b\n mode http\n server s 192.0.2.1:80\n"
    );
    reread(&text);
    let (yaml, _) = imported(&text);
    let mut found = yaml
        .lines()
        .skip_while(|line| line.trim() != "rules:")
        .skip(1);
    let indent = "      ";
    let mut all = Vec::new();
    while let Some(line) = found.next().filter(|line| line.starts_with(indent)) {
        all.push(line.trim_start().to_owned());
    }
    all
}

#[test]
fn the_tutorials_file_becomes_what_a_person_would_have_written() {
    let text = "\
global
    maxconn 30000
    log 127.0.0.1 local0 info

defaults
    mode http
    log global
    option forwardfor
    option httplog
    timeout connect 5000ms
    timeout client 10000
    timeout server 50000ms
    option httpchk GET /healthCheck.html

# where clients come
frontend http-in
    bind *:9001  # all of them
    acl url_ms1 path_beg -i /ms1/
    # the first one's
    use_backend ms1 if url_ms1
    default_backend ms1

backend ms1
    balance roundrobin
    cookie HA_STICKY_ms1 insert indirect nocache
    server ms1.srv1 192.168.8.111:8080 cookie ms1.srv1 maxconn 300 check
    server ms1.srv2 192.168.8.112:8080 cookie ms1.srv2 maxconn 300

listen stats
    bind *:1080
    stats refresh 30s
    stats uri /stats
    stats realm HAProxy\\ Stats
    stats auth admin:admin
";
    let wanted = "\
global:
  maxconn: 30000
  log:
    - { target: \"udp://127.0.0.1\", level: info }
  fast_path: { attach: off }

defaults:
  mode: http
  log_format: http
  forwarded_for: true
  timeouts: { client: 10s, connect: 5s, server: 50s, tunnel: none }
  health_check: { type: http, method: GET, path: /healthCheck.html }

frontends:
  # where clients come
  http-in:
    bind: [\"*:9001\"]  # all of them
    acls:
      url_ms1: { path_prefix: /ms1/, ignore_case: true }
    rules:
      # the first one's
      - { if: url_ms1, use_backend: ms1 }
    default_backend: ms1

backends:
  ms1:
    balance: roundrobin
    cookie: { name: HA_STICKY_ms1, mode: insert, indirect: true, nocache: true }
    servers:
      - { name: ms1.srv1, address: \"192.168.8.111:8080\", cookie: ms1.srv1, maxconn: 300 }
      - { name: ms1.srv2, address: \"192.168.8.112:8080\", cookie: ms1.srv2, maxconn: 300, check: false }

stats:
  bind: \"*:1080\"
  refresh: 30s
  uri: /stats
  realm: HAProxy Stats
  auth: { admin: admin }
";
    let (yaml, said) = imported(text);
    assert_eq!(yaml, wanted);
    assert_eq!(said, [""; 0]);
    let config = reread(text);
    assert_eq!((config.frontends.len(), config.backends.len()), (1, 1));
}

#[test]
fn conditions_are_written_as_people_write_them() {
    let of = |acl: &str| {
        let found = rules(&format!(" acl a {acl}\n http-request deny if {{ {acl} }}"));
        found.join(" ")
    };
    for (acl, yaml) in [
        ("path /a /b", "{ path: [/a, /b] }"),
        ("path_beg -i /a", "{ path_prefix: /a, ignore_case: true }"),
        ("path -m beg /a", "{ path_prefix: /a }"),
        ("path_end .png", "{ path_suffix: .png }"),
        ("path_reg ^/v[0-9]+/", "{ path_regex: \"^/v[0-9]+/\" }"),
        ("method POST", "{ method: POST }"),
        ("src 10.0.0.0/8 ::1", "{ source: [10.0.0.0/8, \"::1\"] }"),
        ("dst_port 443", "{ dst_port: 443 }"),
        (
            "hdr(host) -i a.example",
            "{ header: { name: host, value: a.example }, ignore_case: true }",
        ),
        (
            "hdr_beg(host) www.",
            "{ header: { name: host, prefix: www. } }",
        ),
        (
            "req.hdr(X) -m found",
            "{ expr: { of: req.hdr(X), present: true } }",
        ),
        ("cook(seen) 1", "{ cookie: { name: seen, value: 1 } }"),
        ("nbsrv(b) lt 2", "{ expr: { of: nbsrv(b), value: lt 2 } }"),
        (
            "path,lower /a",
            "{ expr: { of: \"path,lower\", value: /a } }",
        ),
        ("ssl_fc", "{ expr: { of: ssl_fc } }"),
    ] {
        assert_eq!(of(acl), format!("- {{ if: {yaml}, deny: true }}"), "{acl}");
    }
    let named = " acl a path /a\n acl b path /b\n acl b src 10.0.0.1\n";
    for (condition, yaml) in [
        ("if a", "a"),
        ("if !a b", "\"!a b\""),
        ("unless a", "\"!a\""),
        ("if a or b", "{ any: [a, b] }"),
        (
            "if a b || !b { path /c }",
            "{ any: [a b, { all: [\"!b\", { path: /c }] }] }",
        ),
        ("unless a b", "{ not: a b }"),
        ("if METH_GET", "{ method: [GET, HEAD] }"),
    ] {
        let found = rules(&format!("{named} http-request deny {condition}"));
        assert_eq!(
            found,
            [format!("- {{ if: {yaml}, deny: true }}")],
            "{condition}"
        );
    }
}

#[test]
fn actions_are_carried_over() {
    for (line, yaml) in [
        (
            "http-request set-header X-A %[src]",
            r#"- { set_header: { X-A: "%[src]" } }"#,
        ),
        (
            "http-request add-header X-A b",
            "- { add_header: { X-A: b } }",
        ),
        ("http-request del-header X-A", "- { del_header: X-A }"),
        (
            "http-request del-header X- -m beg",
            "- { del_header: \"X-*\" }",
        ),
        (
            "http-request replace-header X ^a b",
            "- { replace_header: { X: { regex: ^a, with: b } } }",
        ),
        (
            r"http-request replace-path ^/a/(.*) /\1",
            r#"- { replace_path: { regex: "^/a/(.*)", with: /\1 } }"#,
        ),
        (
            "http-request set-path /x%[path]",
            "- { set_path: \"/x%[path]\" }",
        ),
        ("http-request set-query a=b", "- { set_query: a=b }"),
        ("http-request set-pathq /a", "- { set_pathq: /a }"),
        ("http-request reject", "- { reject: true }"),
        ("http-request silent-drop", "- { silent_drop: true }"),
        (
            "http-request set-src hdr(x-real-ip)",
            "- { set_src: \"%[hdr(x-real-ip)]\" }",
        ),
        (
            "http-request normalize-uri path-strip-dotdot full",
            "- { normalize_uri: path-strip-dotdot full }",
        ),
        (
            "http-response set-status 503 reason Later",
            "- { response: { set_status: { status: 503, reason: Later } } }",
        ),
        (
            "http-after-response set-header X-A b if { status 200 }",
            "- { response: { always: true, if: { expr: { of: status, value: 200 } }, set_header: { X-A: b } } }",
        ),
        ("http-request deny deny_status 429", "- { deny: 429 }"),
        (
            "http-request allow if { src 10.0.0.1 }",
            "- { if: { source: 10.0.0.1 }, allow: true }",
        ),
        ("http-request tarpit", "- { tarpit: true }"),
        (
            "http-request redirect scheme https code 301",
            "- { redirect: { scheme: https, code: 301 } }",
        ),
        (
            "redirect prefix /new drop-query if { path /old }",
            "- { if: { path: /old }, redirect: { prefix: /new, drop_query: true } }",
        ),
        (
            "http-request return status 200 content-type text/plain string pong hdr X-A b",
            "- { return: { status: 200, content_type: text/plain, body: pong, headers: { X-A: b } } }",
        ),
        (
            "http-request set-var(txn.a) path,lower",
            r#"- { set_var: { txn.a: "%[path,lower]" } }"#,
        ),
        (
            "http-request track-sc0 src table f",
            "- { track: { counter: 0, key: source, table: f } }",
        ),
        (
            "http-response set-header X-A b if { status 404 }",
            "- { response: { if: { expr: { of: status, value: 404 } }, set_header: { X-A: b } } }",
        ),
        (
            "http-response del-header Server",
            "- { response: { del_header: Server } }",
        ),
        (
            "use_backend %[path,field(2,/)]",
            r#"- { use_backend: "%[path,field(2,/)]" }"#,
        ),
    ] {
        let table = match line.contains("table f") {
            true => " stick-table type ip size 1k store gpc0\n",
            false => "",
        };
        assert_eq!(rules(&format!("{table} {line}")), [yaml], "{line}");
    }
}

#[test]
fn users_of_a_list_are_asked_for() {
    let text = "\
userlist u
 user a insecure-password b
frontend f
 mode http
 bind :80
 http-request auth realm R unless { http_auth(u) }
 acl ok http_auth(u)
 http-request auth unless ok
 http-request auth if { path /p } !ok
 default_backend b
backend b
 mode http
 server s 192.0.2.1:80
";
    let (yaml, _) = imported(text);
    assert!(
        yaml.contains("- { auth: { realm: R, users: u } }\n      - { auth: { users: u } }\n      - { if: { path: /p }, auth: { users: u } }\n"),
        "{yaml}"
    );
    reread(text);
}

#[test]
fn each_proxy_has_the_defaults_above_it_or_those_it_names() {
    let text = "\
defaults one
 mode http
 timeout client 10s
 timeout server 20s
defaults
 mode tcp
 timeout client 30s
frontend a from one
 bind :80
 default_backend b
backend b from one
 server s 192.0.2.1:80
frontend c
 bind :81
 default_backend d
backend d
 balance leastconn
 server s 192.0.2.1:81 check inter 5s fall 2
";
    let config = reread(text);
    let (yaml, _) = imported(text);
    assert!(!yaml.contains("defaults:"), "{yaml}");
    let seconds: Vec<u64> = config
        .frontends
        .iter()
        .map(|f| f.timeouts.client.as_secs())
        .collect();
    assert_eq!(seconds, [10, 30]);
    assert!(
        yaml.contains("health_check: { type: tcp, interval: 5s, fall: 2 }"),
        "{yaml}"
    );
}

#[test]
fn a_listen_is_a_frontend_and_a_backend() {
    let text = "listen web\n mode tcp\n bind 192.0.2.9:80,[2001:db8::9]:80-81\n server a 192.0.2.1:80 backup\n server b 192.0.2.2:80 weight 5\n";
    let config = reread(text);
    assert_eq!((config.frontends.len(), config.backends.len()), (1, 1));
    assert_eq!(config.frontends[0].binds.len(), 3);
}

#[test]
fn what_cannot_be_carried_is_told_with_its_place() {
    let text = "\
global
 chroot /var/lib/haproxy
 lua-load x.lua
 frobnicate 1
frontend f
 mode http
 bind :80
 server s 192.0.2.1:80
 http-request lua.x
 use_backend b if nobody
 default_backend b
backend b
 mode http
 option external-check user x
 server s app.example
 server t 192.0.2.1:80 bogus
";
    let (_, said) = imported(text);
    assert_eq!(
        said,
        [
            "2:2 warning: `chroot` is left out: lb needs its files: it drops privileges instead",
            "3:2 warning: `lua-load` is left out: there is no Lua in lb",
            "4:2 error: there is no keyword `frobnicate`",
            "8:2 warning: `server` has no effect in a frontend: it is a backend's",
            "9:15 error: unsupported: `http-request lua.x` has no counterpart in lb yet",
            "10:19 error: there is no acl `nobody` in this proxy",
            "14:9 error: unsupported: `option external-check` has no counterpart in lb yet, which runs no programs as checks yet",
            "15:11 error: `app.example` has no port: HAProxy then takes the one the client connected to, lb does not",
            "16:24 error: there is no `bogus` of `server`",
        ]
    );
}

proptest::proptest! {
    /// Whatever stands there, it is answered.
    #[test]
    fn nothing_panics(text in "((global|defaults|frontend f|listen l|backend b|acl|if|unless|\\{|\\}|bind|server|http-request|option|:80|src|\"|'|\\\\|#|\\$|\\.if|[a-z%\\[\\](),-]{0,6}) ?\n?){0,40}") {
        let _ = imported(&text);
    }
}

#[test]
fn files_are_looked_for_below_their_base() {
    let text = "global\n crt-base /etc/crt/\n ca-base /etc/ca\nlisten l\n bind :443 ssl crt a.pem crt /b.pem ca-file c.pem verify required\n server s 192.0.2.1:443 ssl verify required ca-file d.pem crt ./e.pem\n";
    let (yaml, said) = imported(text);
    assert_eq!(said, [""; 0]);
    for path in [
        "certificates: [/etc/crt/a.pem, /b.pem]",
        "client_ca: /etc/ca/c.pem",
        "ca: /etc/ca/d.pem",
        "cert: ./e.pem",
    ] {
        assert!(yaml.contains(path), "{path}\n{yaml}");
    }
}

#[test]
fn what_binds_say_of_sockets_and_tls_is_all_there() {
    let text = "global\n ssl-default-bind-options no-tls-tickets\nlisten l\n mode http\n \
         bind 192.0.2.1:80,[2001:db8::1]:80 v6only\n bind :81 tfo\n \
         bind :443 ssl crt a.pem crt folder/ tls-ticket-keys keys ciphers ECDHE-RSA-AES128-GCM-SHA256,AES256\n \
         server s 192.0.2.1:80\n";
    let (yaml, said) = imported(text);
    assert_eq!(said, [""; 0]);
    for line in [
        "- \"192.0.2.1:80\"",
        "- { address: \"[2001:db8::1]:80\", v6only: true }",
        "- { address: \"*:81\", fast_open: true }",
        "certificates: [a.pem, folder/]",
        "ciphers: [ECDHE-RSA-AES128-GCM-SHA256, AES256]",
        "tickets: false",
    ] {
        assert!(yaml.contains(line), "{line}\n{yaml}");
    }
    assert!(!yaml.contains("ticket_keys"), "{yaml}");
    reread(text);
}

#[test]
fn unix_sockets_keep_their_owners() {
    let text = "frontend f\n mode http\n bind unix@/run/a.sock mode 660 user www gid 33\n bind /run/b.sock accept-proxy\n \
         default_backend b\nbackend b\n mode http\n server s1 /run/s1.sock\n server s2 unix@/run/s2.sock check\n";
    let config = reread(text);
    let binds = &config.frontends[0].binds;
    assert_eq!(binds[0].address.to_string(), "unix:/run/a.sock");
    let permissions = &binds[0].permissions;
    assert_eq!(permissions.mode, Some(0o660));
    assert_eq!(permissions.user.as_deref(), Some("www"));
    assert_eq!(permissions.group.as_deref(), Some("33"));
    assert!(binds[1].accept_proxy.is_some());
    let servers = config.backends[0].servers.iter();
    let servers: Vec<String> = servers.map(|server| server.address.to_string()).collect();
    assert_eq!(servers, ["unix:/run/s1.sock", "unix:/run/s2.sock"]);
}

#[test]
fn rules_of_connections_are_carried_over() {
    let text = "\
frontend f
 mode http
 bind :80
 stick-table type ip size 1k store conn_cur
 tcp-request connection accept if { src 10.0.0.0/8 }
 tcp-request connection track-sc0 src
 tcp-request session reject if { sc_conn_cur(0) gt 3 }
 tcp-request inspect-delay 5s
 tcp-request content accept if { path /ok }
 tcp-request content reject if { dst_port 81 }
 default_backend b
frontend g
 mode tcp
 bind :443
 tcp-request inspect-delay 5s
 tcp-request content accept if { req.ssl_hello_type 1 }
 tcp-request content reject if { req.len 0 }
 default_backend c
backend b
 mode http
 server s 192.0.2.1:80
backend c
 mode tcp
 server s 192.0.2.1:80
";
    let (yaml, said) = imported(text);
    let lines: Vec<&str> = yaml.lines().map(str::trim).collect();
    for line in [
        "- { if: { not: { source: 10.0.0.0/8 } }, track: { counter: 0, key: source } }",
        "- { if: { expr: { of: sc_conn_cur(0), value: gt 3 } }, reject: true }",
    ] {
        assert!(lines.contains(&line), "{line}\n{yaml}");
    }
    assert!(
        yaml.contains("all: [{ dst_port: 81 }, { not: { path: /ok } }]"),
        "{yaml}"
    );
    for line in [
        "delay: 5s",
        "- { if: { expr: { of: req.ssl_hello_type, value: 1 } }, accept: true }",
        "- { if: { expr: { of: req.len, value: 0 } }, reject: true }",
    ] {
        assert!(lines.contains(&line), "{line}\n{yaml}");
    }
    assert_eq!(said, [""; 0]);
}

#[test]
fn servers_that_are_checked_otherwise_say_so_themselves() {
    let text = "\
backend b
    option httpchk GET /up
    default-server inter 3s
    server s1 192.0.2.1:80 check fall 5
    server s2 192.0.2.2:80 check port 8080 inter 10s
    server s3 192.0.2.3:80 check check-ssl
    server s4 192.0.2.4:80
frontend f
    bind :80
    default_backend b
";
    let (yaml, said) = imported(text);
    assert!(said.iter().all(|line| !line.contains("error")), "{said:?}");
    for line in [
        "health_check: { type: http, method: GET, path: /up }",
        "- { name: s1, address: \"192.0.2.1:80\", health_check: { interval: 3s, fall: 5 } }",
        "- { name: s2, address: \"192.0.2.2:80\", health_check: { interval: 10s, port: 8080 } }",
        "- { name: s3, address: \"192.0.2.3:80\", health_check: { type: https, interval: 3s } }",
        "- { name: s4, address: \"192.0.2.4:80\", check: false }",
    ] {
        assert!(yaml.contains(line), "{line}\n{yaml}");
    }
    let config = reread(text);
    let backend = config.backend("b").unwrap();
    let of = |index: usize| backend.check_of(&backend.servers[index]);
    assert_eq!(of(0).unwrap().fall, 5);
    assert_eq!((of(1).unwrap().port, of(1).unwrap().fall), (Some(8080), 3));
    assert!(of(3).is_none());
}

#[test]
fn a_template_is_as_many_servers_and_pages_come_from_their_section() {
    let folder = folder_of_its_own();
    let page = folder.join("503.http");
    std::fs::write(&page, "HTTP/1.1 503 Gone\r\n\r\ngone").unwrap();
    let text = format!(
        "http-errors gone\n errorfile 503 {0}\n errorfile 500 {0}\nfrontend f\n mode http\n bind :80\n errorfiles gone 503\n \
         default_backend b\nbackend b\n mode http\n server-template app 2-4 192.0.2.1:80 weight 7\n",
        page.display()
    );
    let config = reread(&text);
    std::fs::remove_dir_all(&folder).unwrap();
    let servers = &config.backend("b").unwrap().servers;
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["app2", "app3", "app4"]);
    assert!(servers.iter().all(|server| server.weight == 7));
    let pages = &config.frontends[0].errorfiles;
    assert!(pages.page(503).is_some() && pages.page(500).is_none());
    let (_, said) = imported("frontend f\n mode http\n bind :80\n errorfiles nobody\n");
    assert!(
        said.iter()
            .any(|line| line.contains("no `http-errors nobody`")),
        "{said:?}"
    );
}

/// A folder of the test's own.
fn folder_of_its_own() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("lb-http-errors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
