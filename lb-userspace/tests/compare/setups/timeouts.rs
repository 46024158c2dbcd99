//! Clients and servers that are too slow.

use crate::{
    case::{Deviation, Setup, Step, Via, get, steps},
    run::compare,
};

#[test]
fn who_is_too_slow() {
    let send = |text: &str| Step::Send(text.to_owned());
    let get_read = || Step::Read("GET".into());
    let plain = || send("GET /plain HTTP/1.1\nHost: a\n\n");
    let cases = vec![
        // timeouts.http_request
        steps("nothing comes", vec![Step::Rest]),
        steps(
            "half a line",
            vec![Step::Bytes(b"GET /pl".to_vec()), Step::Rest],
        ),
        steps(
            "half a head",
            vec![send("GET /plain HTTP/1.1\nHost: a\n"), Step::Rest],
        ),
        steps(
            "a head in drops",
            vec![
                send("GET /plain HTTP/1.1\nHost: a\n"),
                Step::Pause(250),
                Step::Bytes(b"X-A: 1\r\n".to_vec()),
                Step::Pause(250),
                Step::Bytes(b"X-B: 1\r\n".to_vec()),
                Step::Pause(250),
                Step::Rest,
            ],
        ),
        steps(
            "half a second head",
            vec![
                plain(),
                get_read(),
                send("GET /plain HTTP/1.1\nHost: a\n"),
                Step::Rest,
            ],
        ),
        // timeouts.http_keep_alive
        steps("no second request", vec![plain(), get_read(), Step::Rest]),
        steps(
            "a second request in time",
            vec![plain(), get_read(), Step::Pause(50), plain(), get_read()],
        ),
        // timeouts.client
        steps(
            "half a body",
            vec![
                send("POST /plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nhello"),
                Step::Rest,
            ],
        ),
        steps(
            "no body",
            vec![
                send("POST /plain HTTP/1.1\nHost: a\nContent-Length: 10\n\n"),
                Step::Rest,
            ],
        ),
        steps(
            "half a chunk",
            vec![
                send("POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhel"),
                Step::Rest,
            ],
        ),
        // timeouts.server, which is the shorter one there
        steps(
            "quick, half",
            vec![
                send("POST /quick/plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nhello"),
                Step::Rest,
            ],
        ),
        steps(
            "quick, none",
            vec![
                send("POST /quick/plain HTTP/1.1\nHost: a\nContent-Length: 10\n\n"),
                Step::Rest,
            ],
        ),
        steps(
            "quick, half of a chunk",
            vec![
                send("POST /quick/plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhel"),
                Step::Rest,
            ],
        ),
        steps(
            "quick, in drops",
            vec![
                send("POST /quick/plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nh"),
                Step::Pause(200),
                Step::Bytes(b"e".to_vec()),
                Step::Pause(200),
                Step::Bytes(b"l".to_vec()),
                Step::Rest,
            ],
        ),
        steps(
            "quick, in drops to the end",
            vec![
                send("POST /quick/plain HTTP/1.1\nHost: a\nContent-Length: 3\n\nh"),
                Step::Pause(200),
                Step::Bytes(b"e".to_vec()),
                Step::Pause(200),
                Step::Bytes(b"l".to_vec()),
                Step::Read("POST".into()),
            ],
        ),
        // timeouts.server
        get("/late", ""),
        get("/late", "Connection: close\n"),
        steps(
            "late, 1.0",
            vec![send("GET /late HTTP/1.0\n\n"), get_read(), Step::Rest],
        ),
        steps(
            "late, with a body",
            vec![
                send("POST /late HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
                Step::Read("POST".into()),
            ],
        ),
        get("/soon", ""),
        get("/stalling", "").without_probe(),
        // timeouts.connect
        get("/mute/plain", ""),
        // The client does not wait.
        steps(
            "the client leaves",
            vec![send("GET /soon HTTP/1.1\nHost: a\n\n"), Step::Pause(100)],
        ),
        steps(
            "the client leaves in mid-answer",
            vec![
                send("GET /stalling HTTP/1.1\nHost: a\n\n"),
                Step::Pause(200),
            ],
        ),
        get("/late", "")
            .without_probe()
            .named("h2")
            .via("web", Via::H2),
        get("/stalling", "")
            .without_probe()
            .named("h2")
            .via("web", Via::H2),
        get("/mute/plain", "")
            .without_probe()
            .named("h2")
            .via("web", Via::H2),
        steps("h2 half a body", vec![]).via("web", Via::H2),
    ];
    compare(&Setup {
        name: "timeouts",
        yaml: r#"
defaults:
  mode: http
  timeouts: { connect: 300ms, client: 800ms, server: 900ms, http_request: 600ms, http_keep_alive: 400ms }
frontends:
  front:
    bind: "{web}"
    rules:
      - { if: { path_prefix: /mute/ }, use_backend: mute }
      - { if: { path_prefix: /quick/ }, use_backend: quick }
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  quick: { timeouts: { server: 400ms }, servers: [{ name: s1, address: "{s1}" }] }
  mute: { retries: 0, servers: [{ name: mute, address: "{mute}" }] }
"#,
        cfg: "
    timeout connect 300ms
    timeout client 800ms
    timeout server 900ms
    timeout http-request 600ms
    timeout http-keep-alive 400ms
frontend front
    bind {web}
    use_backend mute if { path_beg /mute/ }
    use_backend quick if { path_beg /quick/ }
    default_backend app
backend app
    server s1 {s1}
backend quick
    timeout server 400ms
    server s1 {s1}
backend mute
    retries 0
    server mute {mute}
",
        files: &[],
        cases,
        parallel: true,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["half a body", "no body", "half a chunk"],
        field: "rest",
        ours: "http/1.1 408*",
        theirs: "http/1.1 504*",
        why: "timeouts.client runs while the client has to send, as it does everywhere else; HAProxy waits for timeouts.server, \
              then says that the server is late and counts it against the server",
    },
    Deviation {
        cases: &["half a body", "no body", "half a chunk"],
        field: "log 1 *",
        ours: "*",
        theirs: "*",
        why: "it is the client who is late: `cD` instead of `sH`, with 408 instead of 504",
    },
    Deviation {
        cases: &["h2: GET /mute"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "a server that is not reached is a 503 as in HTTP/1; HAProxy resets the stream",
    },
];
