//! Clients that speak HTTP/2, with and without TLS.

use super::messages;
use crate::{
    case::{Deviation, EVERYTHING, Setup, Step, Via, ask, get},
    run::compare,
};

#[test]
fn clients_speak_http_2() {
    let mut cases = Vec::new();
    for (i, case) in messages::cases().into_iter().enumerate() {
        // What HTTP/2 has no words for.
        let text = match &case.steps[0] {
            Step::Send(text) => text.clone(),
            _ => continue,
        };
        let foreign = [
            "HTTP/1.0",
            "http://",
            "https://",
            "OPTIONS *",
            "Transfer-Encoding",
            "\u{e9}",
            "onnection: ",
            "TE: ",
            "Expect",
            "[]",
            "\"b\"",
        ];
        if foreign.iter().any(|part| text.contains(part)) {
            continue;
        }
        let case = case.without_probe();
        cases.push(if i % 2 == 0 {
            case.via("web", Via::H2)
        } else {
            case.via("tls", Via::H2Tls("a"))
        });
    }
    let both = |case: crate::case::Case| {
        let case = case.without_probe();
        [
            case.clone().via("web", Via::H2),
            case.via("tls", Via::H2Tls("a")),
        ]
    };
    for case in [
        get("/trailers", "TE: trailers\n"),
        get("/unannounced", ""),
        get("/short", ""),
        get("/cut-chunk", ""),
        get("/bad-chunk", ""),
        get("/silent", ""),
        get("/garbage", ""),
        get("/both-lengths", ""),
        get("/none/plain", ""),
        get("/denied", ""),
        get("/moved", ""),
        get("/returned", ""),
        get("/sticky/plain", ""),
        get("/sticky/plain", "Cookie: app=s2\n"),
        get(
            "/sticky/plain",
            "Cookie: x=1\nCookie: app=s1\nCookie: y=2\n",
        ),
        get("/plain", "Cookie: x=1\nCookie: y=2\n"),
        ask("POST /denied HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
    ] {
        cases.extend(both(case));
    }
    let mut several = get("/plain", "");
    several.steps = ["/plain", "/denied", "/empty", "/none/x", "/chunked"]
        .map(|path| Step::Send(format!("GET {path} HTTP/1.1\nHost: a\n\n")))
        .to_vec();
    cases.extend(both(several.named("several")));
    compare(&Setup {
        name: "h2",
        yaml: "
frontends:
  front:
    bind: [\"{web}\", { address: \"{tls}\", tls: { certificates: \"{dir}/a.pem\" } }]
    forwarded_for: true
    rules:
      - { if: { path: /denied }, deny: 403 }
      - { if: { path: /moved }, redirect: { location: /elsewhere } }
      - { if: { path: /returned }, return: { status: 200, body: returned, content_type: text/plain, headers: { X-From: proxy } } }
      - { if: { path_prefix: /none/ }, use_backend: none }
      - { if: { path_prefix: /sticky/ }, use_backend: sticky }
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: \"{s1}\" }] }
  none: { servers: [] }
  sticky:
    cookie: { name: app, mode: insert, indirect: true, nocache: true }
    servers: [{ name: s1, address: \"{s1}\", cookie: s1 }, { name: s2, address: \"{s2}\", cookie: s2 }]
",
        cfg: "
frontend front
    bind {web}
    bind {tls} ssl crt {dir}/a.pem alpn h2,http/1.1
    option forwardfor
    http-request deny if { path /denied }
    http-request redirect location /elsewhere if { path /moved }
    http-request return status 200 content-type text/plain string returned hdr X-From proxy if { path /returned }
    use_backend none if { path_beg /none/ }
    use_backend sticky if { path_beg /sticky/ }
    default_backend app
backend app
    server s1 {s1}
backend none
backend sticky
    cookie app insert indirect nocache
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
",
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["/hop "],
        field: "1 header x-hop",
        ours: "-",
        theirs: "1",
        why: "RFC 9110 section 7.6.1: what Connection names, and Connection itself, is for one hop",
    },
    Deviation {
        cases: &["/cut-chunk"],
        field: "1 whole",
        ours: "false",
        theirs: "true",
        why: "RFC 9113 section 8.1.1: an answer that was cut short is reset, not ended",
    },
    Deviation {
        cases: &["/bad-chunk"],
        field: EVERYTHING,
        ours: "200",
        theirs: "502",
        why: "what came before the bad chunk has been passed on, and the stream is reset; HAProxy looks at the whole segment first",
    },
    Deviation {
        cases: &["/silent"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "a request that may be repeated is, where a server closed a connection that had been idle, without a byte, and in the end answered with 502; HAProxy resets the stream and logs nothing",
    },
    Deviation {
        cases: &["/both-lengths"],
        field: EVERYTHING,
        ours: "502",
        theirs: "200",
        why: "RFC 9112 section 6.3: an answer with both lengths may be an attack, and is taken for none",
    },
];
