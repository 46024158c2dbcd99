//! The connections of checks.

use super::{imported, reread};

/// `health_check` of a backend with these lines and a server with these words.
fn check(lines: &str, server: &str) -> String {
    let text = format!(
        "frontend f\n mode http\n bind :80\n default_backend b\nbackend b\n mode http\n{lines} server s 192.0.2.1:80 check {server}\n"
    );
    let (yaml, said) = imported(&text);
    assert_eq!(said, [""; 0], "{text}");
    let (_, found) = yaml.split_once("health_check:").expect("it is checked");
    let (found, _) = found.split_once("    servers:").expect("it has a server");
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_connect_is_tls_where_it_or_with_default_the_server_says_so() {
    let http = |connect: &str, server: &str| {
        check(&format!(" option httpchk\n{connect}"), server).replace("method: OPTIONS", "…")
    };
    let none = "ssl verify none";
    let connect = " http-check connect\n";
    assert_eq!(http("", none), "{ type: https, … }");
    assert_eq!(http(connect, none), "{ type: http, …, tls: false }");
    assert_eq!(http(connect, "check-ssl verify none"), "{ type: http, … }");
    assert_eq!(
        http(" http-check connect default\n", none),
        "{ type: https, … }"
    );
    assert_eq!(
        http(" http-check connect ssl\n", none),
        "{ type: https, …, tls: { verify: none } }"
    );
    assert_eq!(
        http(
            " http-check connect ssl sni a.example\n",
            "ssl verify required ca-file ca.pem sni str(b.example)"
        ),
        "{ type: https, …, tls: { verify: required, ca: ca.pem, sni: a.example } }"
    );
    assert_eq!(
        http(" http-check connect sni a.example\n", none),
        "{ type: http, …, tls: false }",
        "a name alone makes nothing TLS"
    );
    assert_eq!(
        http(" http-check connect port 81\n", none),
        "{ type: http, …, port: 81 }"
    );
    assert_eq!(
        http(" http-check connect default port 81\n", none),
        "{ type: https, …, port: 81 }"
    );
    assert_eq!(
        http("", "ssl verify none port 81"),
        "{ type: http, …, port: 81 }"
    );
    let verified = "ssl verify required ca-file ca.pem sni ssl_fc_sni";
    assert_eq!(
        http("", verified),
        "{ type: https, …, tls: { verify: chain, ca: ca.pem } }",
        "a check has no client's name"
    );
    assert_eq!(
        http("", &format!("{verified} verifyhost v.example")),
        "{ type: https, …, tls: { verify: required, ca: ca.pem, sni: v.example } }"
    );
    assert_eq!(
        http("", &format!("{verified} check-sni c.example")),
        "{ type: https, …, tls: { verify: required, ca: ca.pem, sni: c.example } }"
    );
    assert_eq!(
        http("", "ssl verify none sni ssl_fc_sni"),
        "{ type: https, … }"
    );
    assert_eq!(
        http("", "check-ssl verify none"),
        "{ type: https, …, tls: { verify: none } }"
    );
    assert_eq!(
        http(connect, "ssl verify none send-proxy"),
        "{ type: http, …, send_proxy: false, tls: false }"
    );
    assert_eq!(
        http(
            " http-check connect default\n",
            "ssl verify none send-proxy"
        ),
        "{ type: https, … }"
    );
}

#[test]
fn each_connection_of_a_check_is_what_its_own_connect_says() {
    let lines = " option tcp-check\n tcp-check connect ssl\n tcp-check send a\n tcp-check connect default port 81\n tcp-check send b\n \
                 tcp-check connect send-proxy\n tcp-check send c\n";
    assert_eq!(
        check(lines, "ssl verify none"),
        "type: tcp steps: - { send: a } then: - { type: tcp, port: 81, steps: [{ send: b }], tls: { verify: none } } - { type: \
         tcp, steps: [{ send: c }], send_proxy: true, tls: false } tls: { verify: none }"
    );
}

#[test]
fn fields_that_a_check_writes_itself_are_left_out() {
    let text = "backend b\n mode http\n option httpchk\n http-check send hdr Content-Length 5 hdr X-A b hdr transfer-encoding x\n \
                server s 192.0.2.1:80 check\n";
    let (yaml, said) = imported(text);
    let left_out = |place: &str, name: &str| {
        format!(
            "{place} warning: `{name}` is left out, as in HAProxy: the check itself says how long what it sends is"
        )
    };
    assert_eq!(
        said[..2],
        [
            left_out("4:37", "Content-Length"),
            left_out("4:71", "transfer-encoding")
        ]
    );
    assert!(yaml.contains("headers: { X-A: b }"), "{yaml}");
}

#[test]
fn expected_fields_and_digits_are_read() {
    let http = |expect: &str| {
        let found = check(
            &format!(" option httpchk\n http-check expect {expect}\n"),
            "",
        );
        found
            .split_once("expect:")
            .expect("it expects")
            .1
            .trim()
            .to_owned()
    };
    assert_eq!(
        http("fhdr name X-A value \"a, b\""),
        "{ headers: [{ name: X-A, value: \"a, b\", whole: true }] }"
    );
    assert_eq!(
        http("! hdr name X-A value -m beg a"),
        "{ headers: [{ name: X-A, prefix: a, not: true }] } }"
    );
    let tcp = check(
        " option tcp-check\n tcp-check expect binary-lf 0d%[str(a),hex]\n",
        "",
    );
    assert_eq!(
        tcp,
        "{ type: tcp, steps: [{ expect: { hex_template: \"0d%[str(a),hex]\" } }] }"
    );
}

#[test]
fn a_server_that_follows_another_has_no_check() {
    let text = |more: &str| {
        format!(
            "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nfrontend f\n bind :80\n \
             default_backend b\nbackend a\n option httpchk\n server s 192.0.2.1:80 check\nbackend b\n option \
             httpchk\n server t 192.0.2.2:80 track a/s{more}\n server u 192.0.2.3:80 check\n server v 192.0.2.4:80 track t\n"
        )
    };
    let (yaml, said) = imported(&text(""));
    assert_eq!(said, [""; 0]);
    let config = reread(&text(""));
    assert!(
        yaml.contains("- { name: t, address: \"192.0.2.2:80\", track: a/s }"),
        "{yaml}"
    );
    let servers = &config.backends[1].servers;
    let track: Vec<_> = servers
        .iter()
        .map(|s| s.track.as_ref().map(|(b, s)| format!("{b}/{s}")))
        .collect();
    assert_eq!(
        track,
        [Some("a/s".to_owned()), None, Some("b/t".to_owned())]
    );
    assert_eq!(
        servers.iter().map(|s| s.check).collect::<Vec<_>>(),
        [false, true, false]
    );
    let (_, said) = imported(&text(" check"));
    assert_eq!(said, ["14:34 error: `check` of a server that has `track`"]);
}
