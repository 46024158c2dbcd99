//! What is no request, what is no answer, and pages of one's own.

use crate::{
    case::{Deviation, EVERYTHING, Setup, ask, get},
    run::compare,
};

#[test]
fn errors() {
    let mut cases = Vec::new();
    let long = "x".repeat(20_000);
    for (at, name) in [("web", "plain"), ("web2", "paged")] {
        let mut more = Vec::new();
        // Not requests.
        for bad in [
            "garbage\n\n",
            "GET /plain\n\n",
            "GET  /plain HTTP/1.1\nHost: a\n\n",
            "GET plain HTTP/1.1\nHost: a\n\n",
            "GET /a b HTTP/1.1\nHost: a\n\n",
            "GET /plain HTTP/1.1\nHost : a\n\n",
            "GET /plain HTTP/1.1\nHost: a\nno colon\n\n",
            "GET /plain HTTP/1.1\nHost: a\nbad name: x\n\n",
            "GET /plain HTTP/1.1\nHost: a\n: x\n\n",
            "GET /plain HTTP/2.0\nHost: a\n\n",
            "GET /plain HTTP/1.11\nHost: a\n\n",
            "GET /plain http/1.1\nHost: a\n\n",
            "G@T /plain HTTP/1.1\nHost: a\n\n",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: x\n\n",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: -1\n\n",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: +5\n\nhello",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 4\n\nabcd",
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999\n\n",
            "POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nzz\n",
            "GET /plain HTTP/1.1\nHost: a\nHost: b\n\n",
            "GET http://b/plain HTTP/1.1\nHost: a\n\n",
            "GET /pl\u{1}ain HTTP/1.1\nHost: a\n\n",
        ] {
            more.push(ask(bad).at(at));
        }
        more.push(
            ask(&format!("GET /{long} HTTP/1.1\nHost: a\n\n"))
                .named("long target")
                .at(at),
        );
        more.push(
            get("/plain", &format!("X-Long: {long}\n"))
                .named("long field")
                .at(at),
        );
        more.push(
            get("/plain", &"X-Many: 1\n".repeat(120))
                .named("many fields")
                .at(at),
        );
        // Not answers.
        for answer in [
            "garbage",
            "silent",
            "reset",
            "half-head",
            "short",
            "bad-chunk",
            "cut-chunk",
            "two-lengths",
            "both-lengths",
            "bad-name",
            "bad-status",
            "letters",
            "no-version",
            "huge",
            "gzip-chunked",
            "same-lengths",
        ] {
            more.push(get(&format!("/{answer}"), "").at(at));
        }
        // Lengths that are none, where no body follows or a coding says how long it is; and one that is.
        for answer in ["nothing-new", "no-content"] {
            for length in ["+5", "5, 6", "5"] {
                more.push(
                    get(
                        &format!("/{answer}"),
                        &format!("X-Give: Content-Length: {length}\n"),
                    )
                    .at(at),
                );
            }
        }
        for answer in ["plain", "chunked"] {
            let bad = format!("HEAD /{answer} HTTP/1.1\nHost: a\nX-Give: Content-Length: +5\n\n");
            more.push(ask(&bad).at(at));
        }
        more.push(get("/chunked", "X-Give: Content-Length: +5\n").at(at));
        for answer in ["garbage", "silent", "short", "huge"] {
            more.push(ask(&format!("HEAD /{answer} HTTP/1.1\nHost: a\n\n")).at(at));
            more.push(
                ask(&format!(
                    "POST /{answer} HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"
                ))
                .at(at),
            );
            more.push(ask(&format!("GET /{answer} HTTP/1.0\n\n")).at(at));
        }
        // Servers' own errors are theirs, and ours have pages.
        for status in [
            "400 Bad Request",
            "403 Forbidden",
            "404 Not Found",
            "502 Bad Gateway",
            "503 Service Unavailable",
        ] {
            more.push(get("/plain", &format!("X-Status: {status}\n")).at(at));
        }
        more.push(get("/none/plain", "").at(at));
        more.push(ask("HEAD /none/plain HTTP/1.1\nHost: a\n\n").at(at));
        more.push(ask("GET /none/plain HTTP/1.0\n\n").at(at));
        more.push(get("/denied", "").at(at));
        cases.extend(more.into_iter().map(|case| case.named(name)));
    }
    compare(&Setup {
        name: "errors",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    rules: &rules [{ if: { path: /denied }, deny: 403 }, { if: { path_prefix: /none/ }, use_backend: none }]
    default_backend: app
  paged:
    bind: "{web2}"
    errorfiles: { 400: "{dir}/400.http", 403: "{dir}/403.http", 502: "{dir}/502.http", 503: "{dir}/503.http" }
    rules: *rules
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  none: { servers: [] }
"#,
        cfg: "
frontend front
    bind {web}
    http-request deny if { path /denied }
    use_backend none if { path_beg /none/ }
    default_backend app
frontend paged
    bind {web2}
    errorfile 400 {dir}/400.http
    errorfile 403 {dir}/403.http
    errorfile 502 {dir}/502.http
    errorfile 503 {dir}/503.http
    http-request deny if { path /denied }
    use_backend none if { path_beg /none/ }
    default_backend app
backend app
    server s1 {s1}
backend none
",
        files: &[
            (
                "400.http",
                "HTTP/1.0 400 Oh\nContent-Type: text/plain\nX-Page: 400\n\nnot a request",
            ),
            (
                "403.http",
                "HTTP/1.1 403 No\nContent-Type: text/plain\nX-Page: 403\n\nno",
            ),
            (
                "502.http",
                "HTTP/1.1 502 Broken\nContent-Type: text/plain\nX-Page: 502\n\nbroken",
            ),
            (
                "503.http",
                "HTTP/1.1 503 Sorry\nContent-Type: text/plain\nX-Page: 503\n\nsorry",
            ),
        ],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["GET  /plain"],
        field: EVERYTHING,
        ours: "*",
        theirs: "200 OK",
        why: "RFC 9112 section 3: one space",
    },
    Deviation {
        cases: &["HTTP/2.0"],
        field: EVERYTHING,
        ours: "*",
        theirs: "200 OK",
        why: "there is no such version of this protocol",
    },
    Deviation {
        cases: &["long target"],
        field: EVERYTHING,
        ours: "414*",
        theirs: "400*",
        why: "414 says what is too large",
    },
    Deviation {
        cases: &["long field", "many fields"],
        field: EVERYTHING,
        ours: "431*",
        theirs: "400*",
        why: "the status of RFC 6585 that says what is too large",
    },
    Deviation {
        cases: &["Transfer-Encoding: chunked\n\nzz"],
        field: "log*",
        ours: "*",
        theirs: "*",
        why: "the head has been taken before its body is looked at",
    },
    Deviation {
        cases: &["bad-chunk"],
        field: EVERYTHING,
        ours: "200 OK",
        theirs: "502*",
        why: "what came before the bad chunk has been passed on; HAProxy looks at the whole segment first",
    },
    Deviation {
        cases: &["/huge "],
        field: EVERYTHING,
        ours: "200 OK",
        theirs: "502*",
        why: "20 kB of a head are too large for HAProxy's buffer, not for ours",
    },
    Deviation {
        cases: &["/both-lengths "],
        field: EVERYTHING,
        ours: "502*",
        theirs: "200 OK",
        why: "RFC 9112 section 6.3: an answer with both lengths may be an attack, and is taken for none",
    },
    Deviation {
        cases: &["/silent ", "/reset "],
        field: "seen 2 *",
        ours: "*",
        theirs: "-",
        why: "a request that may be repeated is, where a server closed a connection that had been idle, without a byte",
    },
    Deviation {
        cases: &["/silent ", "/reset "],
        field: "log 1 retries",
        ours: "1",
        theirs: "0",
        why: "a request that may be repeated is, where a server closed a connection that had been idle, without a byte",
    },
    Deviation {
        cases: &["/bad-status "],
        field: EVERYTHING,
        ours: "502*",
        theirs: "-",
        why: "RFC 9110 section 15: there are no statuses below 100",
    },
    Deviation {
        cases: &["paged"],
        field: EVERYTHING,
        ours: "400 Oh",
        theirs: "400 Bad request",
        why: "a page for 400 is for every 400; HAProxy's own parser does not look at it",
    },
    Deviation {
        cases: &["paged"],
        field: "1 header connection",
        ours: "-",
        theirs: "close",
        why: "a page has a length, so that the connection goes on; HAProxy sends the file as it is and closes",
    },
    Deviation {
        cases: &["paged"],
        field: "1 header content-length",
        ours: "*",
        theirs: "-",
        why: "a page has a length, so that the connection goes on; HAProxy sends the file as it is and closes",
    },
    Deviation {
        cases: &["paged"],
        field: "1 body ends",
        ours: "-",
        theirs: "closed",
        why: "a page has a length, so that the connection goes on; HAProxy sends the file as it is and closes",
    },
    Deviation {
        cases: &["paged"],
        field: "1 whole",
        ours: "true",
        theirs: "false",
        why: "a page has a length, so that the connection goes on; HAProxy sends the file as it is and closes",
    },
    Deviation {
        cases: &["paged"],
        field: "kept",
        ours: "true",
        theirs: "false",
        why: "a page has a length, so that the connection goes on; HAProxy sends the file as it is and closes",
    },
];
