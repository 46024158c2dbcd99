//! The rows of [`super::raw_tests`].

use super::raw_tests::Row;

/// A GET with these fields after its Host.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// The same as a server sees it.
fn seen_get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

/// A POST with these fields after its Host, and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

/// The same as a server sees it.
fn seen_post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn seen_chunked(body: &str) -> String {
    seen_post("transfer-encoding: chunked\r\n", body)
}

struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, sent: impl Into<String>, answered: &'static str, seen: impl Into<String>) {
        self.0.push(Row {
            sent: sent.into(),
            answered,
            seen: seen.into(),
        });
    }

    fn passes(&mut self, sent: impl Into<String>, seen: impl Into<String>) {
        self.add(sent, "200", seen);
    }

    /// The server sees nothing of it.
    fn refused(&mut self, answered: &'static str, sent: impl Into<String>) {
        self.add(sent, answered, "");
    }
}

/// All of them.
pub(super) fn rows() -> Vec<Row> {
    let mut table = Table(Vec::new());
    request_lines(&mut table);
    targets(&mut table);
    hosts(&mut table);
    fields(&mut table);
    hops(&mut table);
    lengths(&mut table);
    codings(&mut table);
    chunks(&mut table);
    limits(&mut table);
    several(&mut table);
    table.0
}

fn request_lines(t: &mut Table) {
    let rest = "\r\nHost: a\r\n\r\n";
    t.passes(get(""), seen_get(""));
    // RFC 9112 section 2.2: what clients send too much in front, and bare LF.
    t.passes(format!("\r\n{}", get("")), seen_get(""));
    t.passes(format!("\r\n\r\n{}", get("")), seen_get(""));
    t.passes(format!("\n{}", get("")), seen_get(""));
    t.passes("GET / HTTP/1.1\nHost: a\n\n", seen_get(""));
    t.passes("GET / HTTP/1.1\r\nHost: a\n\r\n", seen_get(""));
    t.passes("GET / HTTP/1.1\nHost: a\r\n\n", seen_get(""));
    for line in [
        "GET",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / x HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/1.10",
        "GET / HTTP/1,1",
        "GET / HTTP/01.1",
        "GET / HTTP/0.9",
        "GET / HTTP/2.0",
        "GET / HTTP/3",
        "GET / http/1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.",
        "GET / HTTP/",
        "GET / XTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "G:T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "/ HTTP/1.1",
        "HTTP/1.1 200 OK",
        "GET / HTTP/1.1\rX: y",
        "\0GET / HTTP/1.1",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        t.refused("400", format!("{line}{rest}"));
    }
    for method in ["get", "PURGE", "M-SEARCH", "X!#$%&'*+-.^_`|~0"] {
        t.passes(
            format!("{method} / HTTP/1.1{rest}"),
            format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"),
        );
    }
    t.refused("405", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    t.refused("405", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n");
    t.passes(
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    );
}

fn targets(t: &mut Table) {
    let ask = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    for target in [
        "/%00",
        "/%2e%2e/",
        "/a//b",
        "/../../etc/passwd",
        "/;x=1?a=b&c=%zz",
        "/?",
        "/?http://b/",
        "//b/x",
        "/a:b@c",
        "/a|b\"{}",
        "/a\\b",
    ] {
        t.passes(ask(target), ask(target).replace("Host", "host"));
    }
    t.passes(ask("http://a"), seen_get(""));
    t.passes(ask("http://a/"), seen_get(""));
    t.passes(ask("HTTP://A/"), seen_get(""));
    t.passes(ask("http://a:80/"), seen_get(""));
    t.passes(ask("https://a/x?y"), "GET /x?y HTTP/1.1\r\nhost: a\r\n\r\n");
    t.passes(ask("http://a?x"), "GET /?x HTTP/1.1\r\nhost: a\r\n\r\n");
    t.passes(
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    for target in [
        "http://b/",
        "http://a:81/",
        "http://a.b/",
        "http://u@a/",
        "http://a:/",
        "http:///",
        "http://",
        "*",
        "a",
        "a/b",
        "a:80",
        "?x",
        "#",
        "/#x",
        "/?a#x",
        "http://a/#x",
        "/\u{e9}",
        "/?\u{e9}",
        "/\u{c3}\u{a9}",
        "/\u{ff}",
        "/a\u{7f}",
        "/a\u{1}",
        "/a\0b",
        "/<a>",
    ] {
        t.refused("400", ask(target));
    }
}

fn hosts(t: &mut Table) {
    t.refused("400", "GET / HTTP/1.1\r\n\r\n");
    t.refused("400", "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n");
    t.refused("400", "GET http://a/ HTTP/1.1\r\n\r\n");
    for more in [
        "Host: a\r\n",
        "Host: b\r\n",
        "HOST: a\r\n",
        "x: y\r\nhost: b\r\n",
    ] {
        t.refused("400", get(more));
    }
    t.refused("400", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
    for host in [
        "a b", "a,b", "a/b", "a\\b", "a?b", "a#b", "u@a", "a\u{e9}", "a\tb", "<a>", "a\"", "a:b:c",
        "a:b", ":80", "[::1", "[a]", "a%20b", "a|b",
    ] {
        t.refused("400", format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for host in ["a:80", "[::1]:8080", "A.Example", "a_b", "", "127.0.0.1"] {
        t.passes(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        );
    }
}

fn fields(t: &mut Table) {
    for field in [
        "X : y\r\n",
        "X\t: y\r\n",
        " X: y\r\n",
        "\tX: y\r\n",
        "X: y\r\n z\r\n",
        "X: y\r\n\tz\r\n",
        "X y\r\n",
        ": y\r\n",
        "\u{e9}: y\r\n",
        "X\0: y\r\n",
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: a\u{1}b\r\n",
        "X: a\u{7f}b\r\n",
        "(X): y\r\n",
        "X/Y: z\r\n",
        "X@Y: z\r\n",
        "X[Y]: z\r\n",
        "X\"Y: z\r\n",
        "X,Y: z\r\n",
        "X;Y: z\r\n",
        "X=Y: z\r\n",
        "X\\Y: z\r\n",
        "X{Y}: z\r\n",
        "X\rY: z\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "transfer_encoding: chunked\r\n",
        "Transfer_Encoding: x\r\n",
        "content_length: 3\r\n",
        "Content_Length: 0\r\n",
        "Content.Length: 0\r\n",
        "Transfer.Encoding: chunked\r\n",
    ] {
        t.refused("400", get(field));
    }
    for (field, seen) in [
        ("X:y\r\n", "x: y\r\n"),
        ("X:   y  \r\n", "x: y\r\n"),
        ("X:\ty\t\r\n", "x: y\r\n"),
        ("X:\r\n", "x: \r\n"),
        ("X: a\tb\r\n", "x: a\tb\r\n"),
        ("X: \u{e9}\u{ff}\r\n", "x: \u{e9}\u{ff}\r\n"),
        ("X!#$%&'*+-.^_`|~0: y\r\n", "x!#$%&'*+-.^_`|~0: y\r\n"),
        ("X: a\r\nX: b\r\n", "x: a\r\nx: b\r\n"),
        ("X: a\nY: b\r\n", "x: a\r\ny: b\r\n"),
        ("X: \"a, b\"\r\n", "x: \"a, b\"\r\n"),
    ] {
        t.passes(get(field), seen_get(seen));
    }
}

fn hops(t: &mut Table) {
    for (field, seen) in [
        ("Connection: keep-alive\r\n", ""),
        ("Connection: X-Secret\r\nX-Secret: 1\r\n", ""),
        (
            "Connection: close, x-a\r\nX-A: 1\r\nX-B: 2\r\n",
            "x-b: 2\r\n",
        ),
        ("Connection: host\r\n", ""),
        ("Connection: \u{e9}, x-a\r\nX-A: 1\r\n", ""),
        ("Keep-Alive: timeout=5\r\n", ""),
        ("Proxy-Connection: keep-alive\r\n", ""),
        (
            "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
            "http2-settings: x\r\n",
        ),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
            "",
        ),
        ("Upgrade: websocket\r\n", ""),
        ("TE: gzip\r\n", ""),
        ("TE: trailers, gzip;q=0.5\r\n", "te: trailers\r\n"),
    ] {
        t.passes(get(field), seen_get(seen));
    }
    t.passes(
        post("Connection: content-length\r\nContent-Length: 3\r\n", "abc"),
        seen_post("content-length: 3\r\n", "abc"),
    );
    t.passes(
        post(
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        seen_chunked("3\r\nabc\r\n0\r\n\r\n"),
    );
}

fn lengths(t: &mut Table) {
    let with = |length: &str| post(&format!("Content-Length: {length}\r\n"), "abc");
    t.passes(with("3"), seen_post("content-length: 3\r\n", "abc"));
    t.passes(with(" 3 "), seen_post("content-length: 3\r\n", "abc"));
    for length in [
        "",
        "+3",
        "-3",
        "3 3",
        "3,3",
        "3, 3",
        "3, 4",
        "0x3",
        "3.0",
        "3a",
        "a",
        "\u{b2}",
        "3;",
        "18446744073709551616",
        "18446744073709551615",
        "99999999999999999999999",
        "\"3\"",
        "3\u{b}",
    ] {
        t.refused("400", with(length));
    }
    // The same length twice is one length; differing ones are none.
    t.passes(
        post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
        seen_post("content-length: 3\r\n", "abc"),
    );
    t.refused(
        "400",
        post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
    );
    t.refused(
        "400",
        post("Content-Length: 3\r\nX: y\r\nContent-Length: 0\r\n", "abc"),
    );
    t.passes(
        post("Content-Length: 0\r\n", ""),
        seen_post("content-length: 0\r\n", ""),
    );
    t.passes(post("", ""), seen_post("", ""));
    t.passes(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
    );
    t.passes(
        post("Content-Length: 003\r\n", "abc"),
        seen_post("content-length: 003\r\n", "abc"),
    );
    // Both: the coding counts, the length is not passed on, and nothing after it is taken for a request.
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
    ] {
        t.passes(
            format!("{}{}", post(both, "5\r\nhello\r\n0\r\n\r\n"), get("")),
            seen_chunked("5\r\nhello\r\n0\r\n\r\n"),
        );
    }
}

fn codings(t: &mut Table) {
    let with = |fields: &str| post(fields, "3\r\nabc\r\n0\r\n\r\n");
    let whole = seen_chunked("3\r\nabc\r\n0\r\n\r\n");
    t.passes(with("Transfer-Encoding: chunked\r\n"), whole.as_str());
    t.passes(with("Transfer-Encoding: CHUNKED\r\n"), whole.as_str());
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "identity, chunked",
        "x, y, chunked",
        ", chunked",
    ] {
        t.refused("501", with(&format!("Transfer-Encoding: {coding}\r\n")));
    }
    t.refused(
        "501",
        with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
    );
    t.refused(
        "501",
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    );
    for coding in [
        "gzip",
        "identity",
        "",
        "xchunked",
        "chunkedx",
        "chunked, gzip",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\u{b}",
        "chun ked",
        "chunked,",
    ] {
        t.refused("400", with(&format!("Transfer-Encoding: {coding}\r\n")));
    }
    t.refused(
        "400",
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    );
    t.refused(
        "400",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
}

fn chunks(t: &mut Table) {
    let end = "0\r\n\r\n";
    let whole = seen_chunked("3\r\nabc\r\n0\r\n\r\n");
    for body in [
        "3\r\nabc\r\n0\r\n\r\n",
        "03\r\nabc\r\n00\r\n\r\n",
        "3;x\r\nabc\r\n0\r\n\r\n",
        "3;x=y\r\nabc\r\n0;z\r\n\r\n",
        "3;x=\"y z\"\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    ] {
        t.passes(chunked(body), whole.as_str());
    }
    t.passes(chunked(end), seen_chunked(end));
    t.passes(
        chunked("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
        seen_chunked("A\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
    );
    // No answer has begun, so that there is one; the server's connection ends with what was whole.
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;x\nabc\r\n0\r\n\r\n",
        "10000000000000000\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        ";x\r\nabc\r\n0\r\n\r\n",
        "3g\r\nabc\r\n0\r\n\r\n",
    ] {
        t.refused("400", chunked(body));
    }
    let first = seen_chunked("3\r\nabc\r\n");
    for body in [
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc\r\nz\r\n\r\n",
        "3\r\nabc\r\n0\r\nX y\r\n\r\n",
        "3\r\nabc\r\n0\r\n X: y\r\n\r\n",
    ] {
        t.add(chunked(body), "400", first.as_str());
    }
    // Not all of it comes: nobody is there to be answered.
    t.add(chunked("3\r\nab"), "", seen_chunked("2\r\nab\r\n"));
    t.add(chunked("3\r\nabc\r\n"), "", first.as_str());
    t.add(
        post("Content-Length: 5\r\n", "abc"),
        "",
        seen_post("content-length: 5\r\n", "abc"),
    );
}

fn limits(t: &mut Table) {
    let many = |n: usize| (0..n).map(|i| format!("x{i}: y\r\n")).collect::<String>();
    t.passes(get(&many(99)), seen_get(&many(99)));
    t.refused("431", get(&many(101)));
    t.refused("431", get(&many(1000)));
    let long = |n: usize| format!("x: {}\r\n", "y".repeat(n));
    t.passes(get(&long(14_000)), seen_get(&long(14_000)));
    t.refused("431", get(&long(16_000)));
    t.refused("431", get(&long(200_000)));
    t.refused("431", get(&format!("{}: y\r\n", "x".repeat(20_000))));
    let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n));
    t.passes(target(8_000), target(8_000).replace("Host", "host"));
    t.refused("414", target(16_000));
    t.refused("414", target(70_000));
    t.refused("414", format!("GET /{}", "x".repeat(40_000)));
    t.refused("400", "GET / HTTP/1.1\r\nHost: a\r\nX: y");
    t.refused("400", "GET / HT");
    t.refused("400", "");
}

fn several(t: &mut Table) {
    t.add(
        format!("{}{}", get(""), get("X: y\r\n")),
        "200 200",
        format!("{}{}", seen_get(""), seen_get("x: y\r\n")),
    );
    t.add(format!("{}x\r\n\r\n", get("")), "200 400", seen_get(""));
    t.add(
        format!("{}{}", get(""), get("Host: b\r\n")),
        "200 400",
        seen_get(""),
    );
    t.add(
        format!("{}{}", post("Content-Length: 3\r\n", "abc"), get("")),
        "200 200",
        format!(
            "{}{}",
            seen_post("content-length: 3\r\n", "abc"),
            seen_get("")
        ),
    );
    t.add(
        format!("{}\r\n{}", post("Content-Length: 3\r\n", "abc"), get("")),
        "200 200",
        format!(
            "{}{}",
            seen_post("content-length: 3\r\n", "abc"),
            seen_get("")
        ),
    );
    t.add(
        format!("{}{}", chunked("3\r\nabc\r\n0\r\n\r\n"), get("")),
        "200 200",
        format!("{}{}", seen_chunked("3\r\nabc\r\n0\r\n\r\n"), seen_get("")),
    );
    // What follows a body with a length is the next request, whatever it looks like.
    t.add(
        format!("{}GET", post("Content-Length: 0\r\n", "")),
        "200 400",
        seen_post("content-length: 0\r\n", ""),
    );
    t.add(
        format!("{}{}", get("Connection: close\r\n"), get("")),
        "200",
        seen_get(""),
    );
    t.add(
        format!("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n{}", get("")),
        "200 200",
        format!("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n{}", seen_get("")),
    );
    t.add(
        format!("{}{}", get(""), "GET / HTTP/1.1\r\nHost"),
        "200 400",
        seen_get(""),
    );
}
