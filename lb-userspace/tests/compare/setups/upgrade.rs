//! WebSocket and other upgrades.

use crate::{
    case::{Case, Deviation, Setup, Step, Via, ask, steps},
    run::compare,
};

const SOCKET: &str = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";

fn tunnel(name: &str, request: &str, then: Vec<Step>) -> Case {
    let mut all = vec![Step::Send(request.to_owned()), Step::Read("GET".into())];
    all.extend(then);
    steps(name, all)
}

#[test]
fn connections_become_tunnels() {
    let socket = format!("GET /switch HTTP/1.1\nHost: a\n{SOCKET}\n");
    let talk = || {
        vec![
            Step::Expect("first"),
            Step::Bytes(b"one".to_vec()),
            Step::Expect("one"),
            Step::Bytes(b"two".to_vec()),
            Step::Expect("two"),
            Step::Shut,
            Step::Rest,
        ]
    };
    let mut cases = vec![
        tunnel("websocket", &socket, talk()),
        tunnel(
            "with a cookie",
            &socket.replace("/switch", "/sticky/switch"),
            talk(),
        ),
        tunnel("websocket over TLS", &socket, talk()).via("tls", Via::Tls("a")),
        tunnel(
            "at once",
            &socket,
            vec![
                Step::Expect("first"),
                Step::Bytes(b"0123456789".repeat(1000)),
                Step::Shut,
                Step::Rest,
            ],
        ),
        tunnel("idle", &socket, vec![Step::Expect("first"), Step::Rest]),
        tunnel(
            "case",
            "GET /switch HTTP/1.1\nHost: a\nconnection: keep-alive, upgrade\nupgrade: WebSocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n",
            talk(),
        ),
        tunnel(
            "other",
            "GET /switch-other HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: other/1\n\n",
            vec![
                Step::Bytes(b"one".to_vec()),
                Step::Expect("one"),
                Step::Shut,
                Step::Rest,
            ],
        ),
        tunnel(
            "with a body",
            "POST /switch-other HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: other/1\nContent-Length: 5\n\nhello",
            vec![
                Step::Bytes(b"one".to_vec()),
                Step::Expect("one"),
                Step::Shut,
                Step::Rest,
            ],
        ),
        tunnel(
            "second on a connection",
            "GET /plain HTTP/1.1\nHost: a\n\n",
            [
                vec![Step::Send(socket.clone()), Step::Read("GET".into())],
                talk(),
            ]
            .concat(),
        ),
    ];
    for text in [
        format!("GET /plain HTTP/1.1\nHost: a\n{SOCKET}\n"),
        format!("GET /refused HTTP/1.1\nHost: a\nX-Status: 426 Upgrade Required\n{SOCKET}\n"),
        format!("GET /plain HTTP/1.0\n{SOCKET}\n"),
        "GET /plain HTTP/1.1\nHost: a\nUpgrade: websocket\n\n".to_owned(),
        "GET /switch HTTP/1.1\nHost: a\nUpgrade: websocket\n\n".to_owned(),
        "GET /switch HTTP/1.1\nHost: a\n\n".to_owned(),
        format!("GET /none/switch HTTP/1.1\nHost: a\n{SOCKET}\n"),
        format!("GET /silent HTTP/1.1\nHost: a\n{SOCKET}\n"),
        format!("GET /switch HTTP/1.1\nHost: a\nX-Deny: 1\n{SOCKET}\n"),
        format!("GET /plain HTTP/1.1\nHost: a\nX-Deny: 1\n{SOCKET}\n"),
    ] {
        cases.push(ask(&text));
    }
    compare(&Setup {
        name: "upgrade",
        yaml: r#"
defaults:
  mode: http
  timeouts: { connect: 5s, client: 2s, server: 10s, tunnel: 700ms }
frontends:
  front:
    bind: ["{web}", { address: "{tls}", tls: { certificates: "{dir}/a.pem" } }]
    forwarded_for: true
    rules:
      - { response: { set_header: { X-Seen: "%[status]" } } }
      - { if: { header: { name: x-deny, present: true } }, response: { deny: true } }
      - { if: { path_prefix: /none/ }, use_backend: none }
      - { if: { path_prefix: /sticky/ }, use_backend: sticky }
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  none: { servers: [] }
  sticky: { cookie: { name: app, mode: insert, nocache: true }, servers: [{ name: s1, address: "{s1}", cookie: s1 }] }
"#,
        cfg: "
    timeout tunnel 700ms
frontend front
    bind {web}
    bind {tls} ssl crt {dir}/a.pem alpn h2,http/1.1
    option forwardfor
    http-request set-var(txn.deny) req.hdr(x-deny)
    http-response set-header X-Seen %[status]
    http-response deny if { var(txn.deny) -m found }
    use_backend none if { path_beg /none/ }
    use_backend sticky if { path_beg /sticky/ }
    default_backend app
backend app
    server s1 {s1}
backend none
backend sticky
    cookie app insert nocache
    server s1 {s1} cookie s1
",
        files: &[],
        cases,
        parallel: true,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["with a body"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "RFC 9110 section 7.8: a request with a body may ask for another protocol",
    },
    Deviation {
        cases: &["HTTP/1.0", "Host: a\nUpgrade: websocket\n\n"],
        field: "seen 1 header*",
        ours: "*",
        theirs: "*",
        why: "RFC 9110 section 7.8: Upgrade counts only if Connection names it, and never in HTTP/1.0",
    },
    Deviation {
        cases: &["case"],
        field: "seen 1 header connection",
        ours: "Upgrade",
        theirs: "upgrade",
        why: "we write it anew, as nearly everybody writes it",
    },
];
