//! Messages of every kind, through a configuration that does nothing.

use crate::{
    case::{Case, Deviation, EVERYTHING, Setup, Step, ask, get, pipeline, steps},
    run::compare,
};

/// What both say of a request of any framing, of clients and of servers.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for answer in [
        "plain",
        "mixed",
        "empty",
        "chunked",
        "until-close",
        "closing",
        "old",
        "old-length",
        "old-kept",
        "nothing-new",
        "no-content",
        "no-reason",
        "own-reason",
        "unusual",
        "hop",
        "hints",
        "same-lengths",
    ] {
        for method in ["GET", "HEAD"] {
            cases.push(ask(&format!("{method} /{answer} HTTP/1.1\nHost: a\n\n")));
            cases.push(ask(&format!("{method} /{answer} HTTP/1.0\n\n")));
        }
        cases.push(get(&format!("/{answer}"), "Connection: close\n"));
        cases.push(ask(&format!(
            "GET /{answer} HTTP/1.0\nConnection: keep-alive\n\n"
        )));
        cases.push(ask(&format!(
            "POST /{answer} HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"
        )));
    }
    for status in [
        "201 Created",
        "206 Partial Content",
        "301 Moved Permanently",
        "401 Unauthorized",
        "404 Not Found",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        cases.push(get(
            "/plain",
            &format!("X-Status: {status}\nX-Give: Location: /x\n"),
        ));
    }
    for (method, more) in [
        ("POST", "Content-Length: 0\n\n"),
        ("POST", "\n"),
        (
            "PUT",
            "Content-Length: 5\nContent-Type: text/plain\n\nhello",
        ),
        ("PUT", "Transfer-Encoding: chunked\n\n5\nhello\n0\n\n"),
        (
            "POST",
            "Transfer-Encoding: chunked\n\n5;ext=1\nhello\n6\n world\n0\n\n",
        ),
        ("POST", "Transfer-Encoding: Chunked\n\n5\nhello\n0\n\n"),
        ("DELETE", "\n"),
        ("DELETE", "Content-Length: 5\n\nhello"),
        ("GET", "Content-Length: 5\n\nhello"),
        ("PATCH", "Content-Length: 5\n\nhello"),
        ("OPTIONS", "\n"),
        ("PROPFIND", "Depth: 1\n\n"),
        ("TRACE", "\n"),
        ("purge", "\n"),
        ("POST", "Expect: 100-continue\nContent-Length: 5\n\nhello"),
    ] {
        cases.push(ask(&format!("{method} /plain HTTP/1.1\nHost: a\n{more}")));
    }
    for headers in [
        "X-Forwarded-For: 192.0.2.1\n",
        "X-Forwarded-For: 192.0.2.1\nX-Forwarded-For: 192.0.2.2, 192.0.2.3\n",
        "Connection: keep-alive\nKeep-Alive: timeout=5\n",
        "Connection: X-Gone\nX-Gone: 1\nX-Stays: 1\n",
        "Connection: close, X-Gone\nX-Gone: 1\n",
        "TE: trailers\nConnection: TE\n",
        "TE: gzip\n",
        "Proxy-Connection: keep-alive\n",
        "Proxy-Authorization: Basic eDp5\n",
        "Cookie: a=1; b=2\nCookie: c=3\n",
        "X-Two: 1\nX-Other: 0\nX-Two: 2\n",
        "X-Empty:\n",
        "X-Space:    much   \t \n",
        "X-High: \u{e9}\n",
        "Accept-Encoding: gzip, br\nAccept: */*\nUser-Agent: x\nReferer: http://a/\n",
        "Range: bytes=0-1\nIf-None-Match: \"x\"\n",
        "Max-Forwards: 0\n",
        "Upgrade: h2c\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\nConnection: Upgrade, HTTP2-Settings\n",
        "Host2: b\n",
    ] {
        cases.push(get("/plain", headers));
    }
    for target in [
        "/",
        "/plain?",
        "/plain?a=1&b=%20",
        "/a%2Fb/plain",
        "//plain",
        "/a/../plain",
        "/./plain",
        "/plain;v=1",
        "/PLAIN",
        "/%7Eplain",
        "/plain?a=/b?c",
        "/a:b/plain",
        "/plain?[]{}",
        "/a/%00/plain",
        "/plain?a=\"b\"",
    ] {
        cases.push(get(target, ""));
    }
    cases.push(ask("GET http://a/plain?x=1 HTTP/1.1\nHost: a\n\n"));
    cases.push(ask("GET http://a HTTP/1.1\nHost: a\n\n"));
    cases.push(ask("GET https://a/plain HTTP/1.1\nHost: a\n\n"));
    cases.push(ask("GET /plain HTTP/1.1\nHost: A.Example:8080\n\n"));
    cases.push(ask("OPTIONS * HTTP/1.1\nHost: a\n\n"));
    cases
}

fn more() -> Vec<Case> {
    let plain = "GET /plain HTTP/1.1\nHost: a\n\n";
    vec![
        get("/trailers", "TE: trailers\nConnection: TE\n"),
        get("/trailers", ""),
        get("/unannounced", ""),
        ask(
            "POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTrailer: X-Sum\n\n5\nhello\n0\nX-Sum: 1\n\n",
        ),
        ask("\nGET /plain HTTP/1.1\nHost: a\n\n"),
        pipeline(&[plain, plain, plain]),
        pipeline(&[
            plain,
            "HEAD /plain HTTP/1.1\nHost: a\n\n",
            "GET /notfound HTTP/1.1\nHost: a\nX-Status: 404 Not Found\n\n",
        ]),
        pipeline(&[
            "POST /plain HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello",
            plain,
        ]),
        pipeline(&[
            "POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            plain,
        ]),
        pipeline(&[plain, "GET /plain HTTP/1.1\nHost: a\nConnection: close\n\n"]),
        pipeline(&[plain, "garbage\n\n"]),
        ask("POST /refuse HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\n"),
        ask("POST /eager HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
        // A client that says it is done, and still reads.
        steps(
            "half-close",
            vec![
                Step::Send(plain.into()),
                Step::Shut,
                Step::Read("GET".into()),
                Step::Rest,
            ],
        ),
        steps(
            "slow head",
            vec![
                Step::Send("GET /plain HTTP/1.1\nHost: a\n".into()),
                Step::Pause(50),
                Step::Bytes(b"X-Slow: 1\r\n".to_vec()),
                Step::Pause(50),
                Step::Bytes(b"\r\n".to_vec()),
                Step::Read("GET".into()),
            ],
        ),
        steps(
            "slow body",
            vec![
                Step::Send("POST /plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nhello".into()),
                Step::Pause(50),
                Step::Bytes(b"world".to_vec()),
                Step::Read("POST".into()),
            ],
        ),
        steps("nothing", vec![Step::Shut, Step::Rest]),
        steps(
            "half a head",
            vec![
                Step::Send("GET /plain HTTP/1.1\nHost: a\n".into()),
                Step::Shut,
                Step::Rest,
            ],
        ),
        steps(
            "half a body",
            vec![
                Step::Send("POST /plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nhello".into()),
                Step::Pause(100),
                Step::Shut,
                Step::Rest,
            ],
        ),
        steps(
            "bad chunk",
            vec![
                Step::Send(
                    "POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\nzz\n"
                        .into(),
                ),
                Step::Rest,
            ],
        ),
    ]
}

#[test]
fn messages_of_every_kind() {
    let mut cases = cases();
    cases.extend(more());
    compare(&Setup {
        name: "messages",
        yaml: "
frontends:
  front: { bind: \"{web}\", forwarded_for: true, default_backend: app }
backends:
  app: { servers: [{ name: s1, address: \"{s1}\" }] }
",
        cfg: "
frontend front
    bind {web}
    option forwardfor
    default_backend app
backend app
    server s1 {s1}
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
        field: "1 header*",
        ours: "*",
        theirs: "*",
        why: "RFC 9110 section 7.6.1: what Connection names, and Connection itself, is for one hop",
    },
    Deviation {
        cases: &["/old"],
        field: EVERYTHING,
        ours: "200 OK",
        theirs: "200 OK",
        why: "what comes to a client is our own message, of our version and with our connection's fate, whatever the server's was",
    },
    Deviation {
        cases: &["/until-close "],
        field: EVERYTHING,
        ours: "200 OK",
        theirs: "200 OK",
        why: "an answer that ends with its connection is chunked for clients that know it, so that a cut one is told from a whole one and the connection goes on",
    },
    Deviation {
        cases: &["/chunked HTTP/1.0"],
        field: EVERYTHING,
        ours: "200 OK",
        theirs: "200 OK",
        why: "RFC 9112 section 6.1: a client that speaks HTTP/1.0 does not know chunks, which HAProxy sends it",
    },
    Deviation {
        cases: &["HEAD /chunked HTTP/1.1"],
        field: "1 header transfer-encoding",
        ours: "-",
        theirs: "chunked",
        why: "RFC 9112 section 6.1 lets the answer to HEAD do without it",
    },
    Deviation {
        cases: &["/hints "],
        field: "1 interim*",
        ours: "-",
        theirs: "*",
        why: "hyper passes on no interim answers but 100; they are hints",
    },
    Deviation {
        cases: &["?a=\"b\""],
        field: EVERYTHING,
        ours: "400 Bad request",
        theirs: "200 OK",
        why: "RFC 3986: a quote has to be encoded in a query",
    },
    Deviation {
        cases: &[
            "Connection: X-Gone",
            "close, X-Gone",
            "Connection: TE",
            "HTTP2-Settings",
            "Keep-Alive: timeout",
            "Proxy-Connection: keep-alive",
        ],
        field: "seen 1 header*",
        ours: "-",
        theirs: "*",
        why: "RFC 9110 section 7.6.1: what Connection names, and Connection itself, is for one hop; and no request asks for another HTTP, in which it would come past the rules",
    },
    Deviation {
        cases: &["GET http"],
        field: "seen 1 line",
        ours: "*",
        theirs: "*",
        why: "RFC 9112 section 3.2.1: a server gets the origin-form",
    },
    Deviation {
        cases: &["GET http"],
        field: "log 1 request",
        ours: "*",
        theirs: "*",
        why: "an empty path is a slash",
    },
    Deviation {
        cases: &["GET /trailers HTTP/1.1\nHost: a\n\n", "GET /unannounced"],
        field: "1 trailer",
        ours: "-",
        theirs: "x-sum: 1",
        why: "RFC 9110 section 6.5.1: trailers are for those who say that they read them",
    },
    Deviation {
        cases: &["POST /refuse"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "after a final status instead of 100 the connection is closed, since nobody knows whether the body will come; HAProxy takes what follows for the body",
    },
    Deviation {
        cases: &["bad chunk"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "what came before the bad chunk is already on its way to the server, whose connection is then closed; HAProxy looks at the whole segment first",
    },
];
