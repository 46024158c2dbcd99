//! What is easily misread: defaults that differ, lines that change what others mean, and what only seems to be carried.

use super::{imported, reread, rules};

/// What was said of a file, without its places.
fn said(text: &str) -> Vec<String> {
    let (_, said) = imported(text);
    said.into_iter()
        .map(|line| line.split_once(' ').unwrap_or_default().1.to_owned())
        .collect()
}

/// Lines of what a file becomes, without their indentation.
fn lines(text: &str) -> Vec<String> {
    reread(text);
    imported(text)
        .0
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn has(text: &str, line: &str) {
    let lines = lines(text);
    assert!(
        lines.iter().any(|other| other == line),
        "{line}\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_head_may_take_as_long_as_a_client_may_be_silent() {
    for (lines, seconds) in [
        ("timeout client 60s", 60),
        ("timeout client 3s", 3),
        ("timeout client 10s", 10),
        ("timeout client 60s\n timeout http-request 7s", 7),
    ] {
        let text = format!(
            "defaults\n mode http\n {lines}\nfrontend f\n bind :80\n default_backend b\nbackend b\n"
        );
        let config = reread(&text);
        assert_eq!(
            config.frontends[0].timeouts.http_request.as_secs(),
            seconds,
            "{lines}"
        );
        let text = text.replace("bind :80", "bind :80\n timeout client 10s");
        let seconds = if lines.contains("http-request") {
            7
        } else {
            10
        };
        assert_eq!(
            reread(&text).frontends[0].timeouts.http_request.as_secs(),
            seconds,
            "{lines}"
        );
    }
}

#[test]
fn what_is_without_end_is_told() {
    let source = crate::config::Source::new(
        "h.cfg",
        "listen l\n bind :80\n timeout server 5s\n server s 192.0.2.1:80\n",
    );
    let (_, said) = super::import(&source, &|_| None, &super::Options::default());
    let said: Vec<&str> = said.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "HAProxy waits for ever without `timeout client`: lb waits 50 seconds",
            "HAProxy waits for ever without `timeout connect`: lb waits 5 seconds",
        ]
    );
    assert_eq!(
        self::said(
            "frontend f\n mode http\n bind :80\n default_backend b\n timeout client 0\n timeout server 5s\nbackend b\n timeout http-request 5s\n"
        ),
        [
            "error: `timeout client 0` has no end in HAProxy: lb has no such timeout",
            "warning: `timeout server` has no effect here: it is the backend's in lb",
            "warning: `timeout http-request` has no effect here: it is the frontend's in lb",
        ]
    );
}

#[test]
fn options_of_servers_count_wherever_ssl_stands() {
    let text = "\
frontend f
 bind :80
 default_backend b
backend b
 default-server verify none
 server s1 192.0.2.1:443 ssl
 default-server ssl alpn h2
 server s2 192.0.2.1:443
 server s3 192.0.2.1:80 no-ssl
";
    let config = reread(text);
    let servers = &config.backend("b").unwrap().servers;
    assert!(servers[0].tls.as_ref().is_some_and(|tls| !tls.verify));
    assert!(
        servers[1]
            .tls
            .as_ref()
            .is_some_and(|tls| !tls.verify && tls.alpn == ["h2"])
    );
    assert!(servers[2].tls.is_none());
    let text = "backend b\n server s 192.0.2.1:443 ssl sni str(a.example) verifyhost b.example\n";
    assert!(said(text)[0].contains("`verifyhost` has no effect beside `sni`"));
}

#[test]
fn servers_are_verified_by_the_name_that_haproxy_verifies_them_by() {
    for (options, tls) in [
        (
            "verify required ca-file c.pem",
            "{ verify: chain, ca: c.pem }",
        ),
        ("ca-file c.pem", "{ ca: c.pem, verify: chain }"),
        (
            "verify required ca-file c.pem verifyhost a.example",
            "{ verify: required, ca: c.pem, sni: a.example }",
        ),
        (
            "verifyhost a.example verify required ca-file c.pem sni str(b.example)",
            "{ verify: required, ca: c.pem, sni: b.example }",
        ),
        (
            "verify required ca-file c.pem sni req.hdr(x-name)",
            "{ verify: required, ca: c.pem, sni: \"%[req.hdr(x-name)]\" }",
        ),
        (
            "verify required ca-file @system-ca sni str(a.example)",
            "{ verify: required, sni: a.example }",
        ),
        ("verify required ca-file @system-ca", "{ verify: chain }"),
        ("verify none", "{ verify: none }"),
        ("verify none verifyhost a.example", "{ verify: none }"),
        (
            "verify none sni str(a.example)",
            "{ verify: none, sni: a.example }",
        ),
    ] {
        let text =
            format!("listen l\n mode http\n bind :80\n server s 192.0.2.1:443 ssl {options}\n");
        let (yaml, _) = imported(&text);
        assert!(yaml.contains(&format!("tls: {tls}")), "{options}\n{yaml}");
    }
    let check = |options: &str| {
        let text = format!(
            "listen l\n mode http\n option httpchk\n bind :80\n server s 192.0.2.1:443 check {options}\n"
        );
        imported(&text).0
    };
    let yaml = check("ssl verify required ca-file c.pem check-sni a.example");
    assert!(yaml.contains("tls: { verify: chain, ca: c.pem }"), "{yaml}");
    assert!(
        yaml.contains("tls: { verify: required, ca: c.pem, sni: a.example }"),
        "{yaml}"
    );
    let yaml = check("check-ssl verify required ca-file c.pem");
    assert!(yaml.contains("tls: { verify: chain, ca: c.pem }"), "{yaml}");
}

#[test]
fn global_limits_of_tls_hold_for_binds_that_have_none() {
    let text = "\
global
 ssl-default-bind-options ssl-min-ver TLSv1.3 no-sslv3
frontend f
 bind :443 ssl crt a.pem
 bind :444 ssl crt a.pem ssl-min-ver TLSv1.2
 bind :445 ssl crt a.pem ca-file c.pem
 default_backend b
";
    let (yaml, said) = imported(text);
    for (port, tls) in [
        (443, "min_version: 1.3"),
        (444, "min_version: 1.2"),
        (445, "min_version: 1.3"),
    ] {
        let line = yaml
            .lines()
            .position(|line| line.contains(&format!(":{port}")))
            .unwrap();
        let entry: String = yaml.lines().skip(line).take(2).collect();
        assert!(entry.replace('"', "").contains(tls), "{port}: {yaml}");
    }
    assert!(!yaml.contains("client_ca"), "{yaml}");
    assert_eq!(
        said,
        [
            "6:34 warning: `ca-file` has no effect without `verify required` or `verify optional`, as in HAProxy"
        ]
    );
}

#[test]
fn a_redirect_line_is_no_format() {
    let yaml = rules(" redirect location /a%b?%[query]\n http-request redirect location /%[query]");
    assert_eq!(
        yaml,
        [
            r#"- { redirect: { location: "/%[query]" } }"#,
            r#"- { redirect: { location: "/a%%b?%%[query]" } }"#,
        ]
    );
}

#[test]
fn the_mode_holds_for_lines_above_it() {
    let text = "\
frontend f
 tcp-request content reject if { path /x }
 bind :80
 mode http
 default_backend b
backend b
 mode http
";
    has(text, "- { if: { path: /x }, reject: true }");
}

#[test]
fn a_computed_backend_is_the_last_that_is_asked() {
    let text = "frontend f\n mode http\n bind :80\n use_backend %[path]\n use_backend c\n default_backend b\n\
         backend b\n mode http\nbackend c\n mode http\n";
    has(text, "- { use_backend: b }");
    let yaml = rules(
        " acl a path /a\n use_backend %[path,field(2,/)] if a\n use_backend c\nbackend c\n mode http\nfrontend g\n mode http\n bind :81",
    );
    assert_eq!(
        yaml,
        [
            r#"- { if: a, use_backend: "%[path,field(2,/)]" }"#,
            "- { if: a, deny: 503 }",
            "- { use_backend: c }"
        ]
    );
}

#[test]
fn captures_stand_in_the_order_of_their_lines() {
    let text = "\
frontend f
 mode http
 bind :80
 http-request capture req.hdr(a) len 5
 capture request header Host len 20
 http-request capture req.hdr(b) len 6
 default_backend b
backend b
 mode http
";
    has(
        text,
        "capture: { request: [{ len: 5 }, { header: Host, len: 20 }] }",
    );
    has(text, r#"- { capture: { value: "%[req.hdr(a)]", id: 0 } }"#);
    has(text, r#"- { capture: { value: "%[req.hdr(b)]", len: 6 } }"#);
}

#[test]
fn a_way_of_checking_takes_the_place_of_the_one_of_defaults() {
    let text = "\
defaults
 mode http
 option httpchk GET /up
 http-check expect status 204
frontend f
 bind :80
 default_backend b
backend b
 option redis-check
 server s 192.0.2.1:80 check
backend c
 option tcp-check
 server s 192.0.2.1:80 check
backend d
 option httpchk
 server s 192.0.2.1:80 check
backend e
 http-check expect string ready
 server s 192.0.2.1:80 check
backend f
 option smtpchk
 option httpchk HEAD /f
 http-check expect status 200
 tcp-check send x
 server s 192.0.2.1:80 check
";
    for line in [
        r#"health_check: { type: tcp, steps: [{ send: "*1\r\n$4\r\nPING\r\n" }, { expect: "+PONG\r\n" }] }"#,
        "health_check: { type: tcp }",
        "health_check: { type: http, method: OPTIONS }",
        "health_check: { type: http, method: GET, path: /up, expect: { body: ready } }",
        "health_check: { type: http, method: HEAD, path: /f, expect: { status: 200 } }",
    ] {
        has(text, line);
    }
    let said = said(text);
    assert!(
        said[0].contains("HAProxy sends no request here"),
        "{said:?}"
    );
    assert_eq!(
        said[1],
        "warning: `tcp-check` has no effect without `option tcp-check`, as in HAProxy"
    );
    let text = "backend b\n no option httpchk\n http-check expect status 200\n http-check expect rstatus ^2\n";
    assert_eq!(
        self::said(text),
        [
            "error: `no option httpchk` is nothing, as in HAProxy",
            "error: unsupported: `a second expect of rstatus in http-check` has no counterpart in lb yet"
        ]
    );
}

#[test]
fn rules_of_connections_that_come_too_late_say_so() {
    let text = |options: &str, layer: &str| {
        said(&format!(
            "frontend f\n mode http\n bind :80{options}\n tcp-request {layer} reject if {{ src 192.0.2.1 }}\n default_backend b\nbackend b\n mode http\n"
        ))
    };
    assert_eq!(text("", "connection"), [""; 0]);
    assert_eq!(text(" accept-proxy", "session"), [""; 0]);
    assert!(
        text(" accept-proxy", "connection")[0]
            .starts_with("error: `tcp-request connection` looks at whoever sends the PROXY")
    );
    assert_eq!(
        text(" ssl crt a.pem", "connection"),
        ["warning: lb asks `tcp-request connection` rules once TLS has begun, HAProxy before it"]
    );
}

#[test]
fn what_would_be_lost_is_told() {
    for (line, what) in [
        (
            " http-response return status 502 errorfiles site",
            "error: there is no page for 502 in `http-errors site`",
        ),
        (
            " option idle-close-on-response",
            "warning: `option idle-close-on-response` is left out: lb does without",
        ),
        (
            " http-request set-path /a?b",
            "warning: a `?` of `set-path` is one of the path's and encoded: `set-pathq` and `set-query` change the query",
        ),
        (
            " dynamic-cookie-key a",
            "warning: `dynamic-cookie-key` has no effect without `cookie … dynamic`, as in HAProxy",
        ),
        (
            " tcp-response content reject if { status 404 }",
            "warning: without `tcp-response inspect-delay` HAProxy asks `tcp-response content` rules before there is an answer; lb asks them once its head is there",
        ),
    ] {
        let all = said(&format!(
            "listen l\n mode http\n bind :80\n{line}\n server s 192.0.2.1:80\n"
        ));
        assert_eq!(all, [what], "{line}");
    }
    let all = said(
        "global\n log 192.0.2.1 local0 info err\nfrontend f\n mode http\n log global\n bind :80\n default_backend b\n",
    );
    assert_eq!(
        all,
        [
            "warning: HAProxy's lines tell who connected and no more without `option httplog`: lb's are as with it",
        ]
    );
}

#[test]
fn numbers_are_what_haproxy_takes_them_for() {
    let text = "\
defaults
 maxconn 0
listen l
 mode http
 bind :80
 stick-table type ip size 1m expire 5000 store http_req_rate(10000),conn_rate(10s)
 default-server maxconn 5 inter 500
 server s1 192.0.2.1:80 check maxconn 0
 server s2 192.0.2.1:80 check inter 1s
";
    has(
        text,
        r#"stick_table: { key: ip, size: 1m, expire: 5s, store: [http_req_rate(10s), conn_rate(10s)] }"#,
    );
    let config = reread(text);
    assert_eq!(config.frontends[0].maxconn, None);
    let backend = config.backend("l").unwrap();
    let of = |index: usize| {
        backend
            .check_of(&backend.servers[index])
            .unwrap()
            .interval
            .as_millis()
    };
    assert_eq!((of(0), of(1)), (500, 1000));
    assert_eq!(
        (backend.servers[0].maxconn, backend.servers[1].maxconn),
        (None, Some(5))
    );
}

/// What conversations cannot show, or not without waiting: that it is carried over to where other tests look at it.
#[test]
fn lines_become_the_keys_that_are_tested_elsewhere() {
    let text = "\
frontend f
 mode http
 bind :80
 option forwarded proto for
 default_backend b
backend b
 mode http
 server s 192.0.2.1:80 check downinter 7s slowstart 20s on-marked-down shutdown-sessions
";
    has(text, "forwarded: { proto: true, for: true }");
    has(text, "health_check: { type: tcp, down_interval: 7s }");
    has(
        text,
        r#"- { name: s, address: "192.0.2.1:80", slowstart: 20s, on_marked_down: shutdown-sessions }"#,
    );
}

#[test]
fn tunnels_without_a_time_of_their_own_have_that_of_either_side() {
    let all = " mode http\n timeout connect 1s\n timeout client 2s\n timeout server 3s\n";
    let both = |defaults: &str, backend: &str| {
        let text = format!(
            "defaults\n{defaults}frontend f\n bind :80\n default_backend b\nbackend b\n{backend} server s 192.0.2.1:80\n"
        );
        let timeouts = reread(&text).backends[0].timeouts.clone();
        (timeouts.tunnel, timeouts.upgraded)
    };
    let second = Some(std::time::Duration::from_secs(1));
    assert_eq!(both(all, ""), (None, None));
    let common = format!("{all} timeout tunnel 1s\n");
    assert_eq!(both(&common, ""), (second, second));
    assert_eq!(both(all, " timeout tunnel 1s\n"), (second, second));
    let of_tcp = all.replace("http", "tcp");
    assert_eq!(both(&of_tcp, "").0, None);
}

#[test]
fn times_and_numbers_reach_their_places() {
    let text = "\
defaults
 mode http
 timeout connect 1s
 timeout client 2000
 timeout server 3s
 timeout http-request 4s
 timeout http-keep-alive 5s
 timeout queue 6s
 timeout tarpit 7s
 timeout tunnel 8s
 timeout check 9s
 fullconn 10
frontend f
 bind :80
 bind :443 ssl crt a.pem alpn h2
 default_backend b
backend b
 balance random(3)
 hash-type consistent
 hash-balance-factor 150
 retries 4
 option redispatch 2
 server s 192.0.2.1:80 check inter 11s fastinter 12s downinter 13s rise 4 fall 5 observe layer7 error-limit 6 on-error mark-down \
   weight 7 maxconn 8 maxqueue 9
 server t 192.0.2.2:80 check agent-check agent-port 9777 agent-inter 14s agent-send hello
";
    let text = text.replace(" \\\n  ", "");
    for line in [
        "timeouts:",
        "client: 2s",
        "http_request: 4s",
        "http_keep_alive: 5s",
        "tarpit: 7s",
        "connect: 1s",
        "server: 3s",
        "queue: 6s",
        "tunnel: 8s",
        "check: 9s",
        "balance: random 3",
        "retries: 4",
        "redispatch: 2",
    ] {
        has(&text, line);
    }
    assert!(
        !imported(&text).0.contains("hash_"),
        "random hashes nothing"
    );
    let hashing = text.replace("random(3)", "uri depth 2");
    for line in [
        "balance: uri depth 2",
        "hash_type: consistent",
        "hash_balance_factor: 150",
    ] {
        has(&hashing, line);
    }
    let (yaml, _) = imported(&text);
    for part in [
        "alpn: [h2]",
        "interval: 11s",
        "fast_interval: 12s",
        "down_interval: 13s",
        "rise: 4",
        "fall: 5",
        "observe: layer7",
        "error_limit: 6",
        "on_error: mark-down",
        "weight: 7",
        "maxconn: 8",
        "max_queue: 9",
        "agent_check: { port: 9777, interval: 14s, send: hello }",
    ] {
        let flat = yaml.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{part}\n{yaml}");
    }
}

#[test]
fn a_comment_may_ask_for_the_kernel_path() {
    let text = "# lb: fast_path attach auto\nlisten l\n bind :80\n server s 192.0.2.1:80\n";
    let (yaml, _) = imported(text);
    assert!(yaml.contains("fast_path: { attach: auto }"), "{yaml}");
}

#[test]
fn a_way_of_reuse_is_what_it_is_called_or_that_is_said() {
    use crate::config::model::Reuse;
    for (lines, reuse, warns) in [
        ("", Reuse::Always, false),
        ("http-reuse always", Reuse::Always, false),
        ("http-reuse safe", Reuse::Safe, false),
        ("http-reuse safe\n http-reuse always", Reuse::Always, false),
        ("http-reuse aggressive", Reuse::Safe, true),
        ("http-reuse never", Reuse::Never, false),
    ] {
        let text = format!(
            "defaults\n mode http\nfrontend f\n bind :80\n default_backend b\nbackend b\n {lines}\n server s 127.0.0.1:80\n"
        );
        let config = reread(&text);
        assert_eq!(config.backends[0].connections.reuse, reuse, "{lines}");
        let warned = said(&text).iter().any(|line| line.contains("aggressive"));
        assert_eq!(warned, warns, "{lines}");
    }
}
