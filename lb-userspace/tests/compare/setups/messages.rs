//! Messages of every kind, through a configuration that does nothing.

use crate::{
    case::{Case, Deviation, Setup, Step, ask, get, pipeline, steps},
    run::compare,
};

/// What both say of a request of any framing, of clients and of servers.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for answer in [
        "plain", "mixed", "empty", "chunked", "until-close", "closing", "old", "old-length", "old-kept", "nothing-new",
        "no-content", "no-reason", "own-reason", "unusual", "hop", "hints", "same-lengths",
    ] {
        for method in ["GET", "HEAD"] {
            cases.push(ask(&format!("{method} /{answer} HTTP/1.1\nHost: a\n\n")));
            cases.push(ask(&format!("{method} /{answer} HTTP/1.0\n\n")));
        }
        cases.push(get(&format!("/{answer}"), "Connection: close\n"));
        cases.push(ask(&format!("GET /{answer} HTTP/1.0\nConnection: keep-alive\n\n")));
        cases.push(ask(&format!("POST /{answer} HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello")));
    }
    for status in ["201 Created", "206 Partial Content", "301 Moved Permanently", "401 Unauthorized", "404 Not Found", "500 Internal Server Error", "503 Service Unavailable"] {
        cases.push(get("/plain", &format!("X-Status: {status}\nX-Give: Location: /x\n")));
    }
    for (method, more) in [
        ("POST", "Content-Length: 0\n\n"),
        ("POST", "\n"),
        ("PUT", "Content-Length: 5\nContent-Type: text/plain\n\nhello"),
        ("PUT", "Transfer-Encoding: chunked\n\n5\nhello\n0\n\n"),
        ("POST", "Transfer-Encoding: chunked\n\n5;ext=1\nhello\n6\n world\n0\n\n"),
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
        "/", "/plain?", "/plain?a=1&b=%20", "/a%2Fb/plain", "//plain", "/a/../plain", "/./plain", "/plain;v=1", "/PLAIN", "/%7Eplain",
        "/plain?a=/b?c", "/a:b/plain", "/plain?[]{}", "/a/%00/plain", "/plain?a=\"b\"",
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
        ask("POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTrailer: X-Sum\n\n5\nhello\n0\nX-Sum: 1\n\n"),
        ask("\nGET /plain HTTP/1.1\nHost: a\n\n"),
        pipeline(&[plain, plain, plain]),
        pipeline(&[plain, "HEAD /plain HTTP/1.1\nHost: a\n\n", "GET /notfound HTTP/1.1\nHost: a\nX-Status: 404 Not Found\n\n"]),
        pipeline(&["POST /plain HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", plain]),
        pipeline(&["POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", plain]),
        pipeline(&[plain, "GET /plain HTTP/1.1\nHost: a\nConnection: close\n\n"]),
        pipeline(&[plain, "garbage\n\n"]),
        ask("POST /refuse HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\n"),
        ask("POST /eager HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
        // A client that says it is done, and still reads.
        steps("half-close", vec![Step::Send(plain.into()), Step::Shut, Step::Read("GET".into()), Step::Rest]),
        steps("slow head", vec![
            Step::Send("GET /plain HTTP/1.1\nHost: a\n".into()), Step::Pause(50), Step::Bytes(b"X-Slow: 1\r\n".to_vec()), Step::Pause(50),
            Step::Bytes(b"\r\n".to_vec()), Step::Read("GET".into()),
        ]),
        steps("slow body", vec![
            Step::Send("POST /plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nhello".into()), Step::Pause(50), Step::Bytes(b"world".to_vec()),
            Step::Read("POST".into()),
        ]),
        steps("nothing", vec![Step::Shut, Step::Rest]),
        steps("half a head", vec![Step::Send("GET /plain HTTP/1.1\nHost: a\n".into()), Step::Shut, Step::Rest]),
        steps("half a body", vec![
            Step::Send("POST /plain HTTP/1.1\nHost: a\nContent-Length: 10\n\nhello".into()), Step::Pause(100), Step::Shut, Step::Rest,
        ]),
        steps("bad chunk", vec![
            Step::Send("POST /plain HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\nzz\n".into()), Step::Rest,
        ]),
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

const DEVIATIONS: &[Deviation] = &[];
