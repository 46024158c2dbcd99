//! Heads of requests: RFC 9113 section 8.

use super::*;

const REFUSED: &str = "reset 1 PROTOCOL_ERROR";
const TAKEN: &str = "request";

/// HEADERS of a GET that some fields are left out of (`-name`) or put in front of or behind.
fn asked(front: &[(&str, &str)], without: &str, behind: &[(&str, &str)]) -> Vec<u8> {
    let plain = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let kept = plain.iter().filter(|(name, _)| *name != without);
    let fields: Vec<_> = front.iter().chain(kept).chain(behind).copied().collect();
    headers(END, 1, &fields)
}

#[test]
fn heads_are_as_the_standard_has_them() {
    let with = |name: &str, value: &str| asked(&[], "", &[(name, value)]);
    let instead = |name: &str, value: &str| asked(&[(name, value)], name, &[]);
    let without = |name: &str| asked(&[], name, &[]);
    let twice = |name: &str, value: &str| asked(&[(name, value)], "", &[]);
    let upload = |length: &str, frames: &[Vec<u8>]| {
        let head = post(1, &[("content-length", length)]);
        [head, frames.concat()].concat()
    };
    let trailers = |name: &str, value: &str| {
        let end = headers(END, 1, &[(name, value)]);
        all([post(1, &[]), frame(DATA, 0, 1, b"x"), end])
    };
    let data = |text: &[u8]| frame(DATA, 0, 1, text);
    let last = |text: &[u8]| frame(DATA, flag::END_STREAM, 1, text);
    let broken = "request, reset 1 PROTOCOL_ERROR";
    check(vec![
        ("8.2", "a field", with("x", "y"), TAKEN),
        ("8.2", "an empty value", with("x", ""), TAKEN),
        ("8.2.1", "capitals", with("X", "y"), REFUSED),
        ("8.2.1", "one capital", with("x-Forwarded", "y"), REFUSED),
        ("8.2.1", "no name", with("", "y"), REFUSED),
        ("8.2.1", "a blank in a name", with("x y", "z"), REFUSED),
        ("8.2.1", "a tab in a name", with("x\t", "z"), REFUSED),
        (
            "8.2.1",
            "beyond ASCII in a name",
            with("\u{e9}", "z"),
            REFUSED,
        ),
        ("8.2.1", "DEL in a name", with("x\x7f", "z"), REFUSED),
        ("8.2.1", "a colon in a name", with("x:", "z"), REFUSED),
        ("8.2.1", "NUL in a value", with("x", "y\0"), REFUSED),
        ("8.2.1", "a carriage return", with("x", "y\rz"), REFUSED),
        ("8.2.1", "a line feed", with("x", "\n"), REFUSED),
        ("8.2.1", "blanks around a value", with("x", " y\t"), TAKEN),
        (
            "8.2.1",
            "blanks around a length",
            with("content-length", " 0"),
            REFUSED,
        ),
        (
            "8.2.2",
            "connection",
            with("connection", "keep-alive"),
            REFUSED,
        ),
        (
            "8.2.2",
            "keep-alive",
            with("keep-alive", "timeout=5"),
            REFUSED,
        ),
        (
            "8.2.2",
            "proxy-connection",
            with("proxy-connection", "close"),
            REFUSED,
        ),
        (
            "8.2.2",
            "transfer-encoding",
            with("transfer-encoding", "chunked"),
            REFUSED,
        ),
        ("8.2.2", "upgrade", with("upgrade", "h2c"), REFUSED),
        ("8.2.2", "te: trailers", with("te", "trailers"), TAKEN),
        (
            "8.2.2",
            "te: more",
            with("te", "trailers, deflate;q=0.5"),
            REFUSED,
        ),
        ("8.2.2", "te: nothing", with("te", ""), REFUSED),
        (
            "8.2.3",
            "cookies in pieces",
            asked(&[], "", &[("cookie", "a=1"), ("cookie", "b=2")]),
            TAKEN,
        ),
        (
            "8.3",
            "an unknown pseudo-field",
            with(":test", "y"),
            REFUSED,
        ),
        ("8.3", "one of answers", with(":status", "200"), REFUSED),
        ("8.3", "no name but the colon", with(":", "y"), REFUSED),
        ("8.3", "one in capitals", instead(":Path", "/"), REFUSED),
        (
            "8.3",
            "one behind a field",
            asked(&[("x", "y")], "", &[]),
            REFUSED,
        ),
        (
            "8.3",
            "the last behind a field",
            asked(&[], ":path", &[("x", "y"), (":path", "/")]),
            REFUSED,
        ),
        ("8.3.1", "no method", without(":method"), REFUSED),
        ("8.3.1", "no scheme", without(":scheme"), REFUSED),
        ("8.3.1", "no path", without(":path"), REFUSED),
        ("8.3.1", "no authority", without(":authority"), TAKEN),
        ("8.3.1", "two methods", twice(":method", "GET"), REFUSED),
        ("8.3.1", "two schemes", twice(":scheme", "http"), REFUSED),
        ("8.3.1", "two paths", twice(":path", "/"), REFUSED),
        (
            "8.3.1",
            "two authorities",
            twice(":authority", "a"),
            REFUSED,
        ),
        ("8.3.1", "an empty method", instead(":method", ""), REFUSED),
        (
            "8.3.1",
            "a method that is none",
            instead(":method", "GE T"),
            REFUSED,
        ),
        ("8.3.1", "an empty scheme", instead(":scheme", ""), REFUSED),
        (
            "8.3.1",
            "a scheme that is none",
            instead(":scheme", "1"),
            REFUSED,
        ),
        ("8.3.1", "an empty path", instead(":path", ""), REFUSED),
        (
            "8.3.1",
            "a path without slash",
            instead(":path", "x"),
            REFUSED,
        ),
        (
            "8.3.1",
            "a whole URL",
            instead(":path", "http://a/"),
            REFUSED,
        ),
        ("8.3.1", "a query", instead(":path", "/a?b=c?d/"), TAKEN),
        ("8.3.1", "a fragment", instead(":path", "/a#b"), REFUSED),
        (
            "8.3.1",
            "a fragment of a query",
            instead(":path", "/a?b#c"),
            REFUSED,
        ),
        (
            "8.3.1",
            "a blank in a path",
            instead(":path", "/a b"),
            REFUSED,
        ),
        (
            "8.3.1",
            "an empty authority",
            instead(":authority", ""),
            REFUSED,
        ),
        (
            "8.3.1",
            "a star",
            asked(
                &[
                    (":method", "OPTIONS"),
                    (":scheme", "http"),
                    (":path", "*"),
                    (":authority", "a"),
                ],
                ":x",
                &[],
            ),
            REFUSED,
        ),
        (
            "8.3.1",
            "a star, once",
            headers(
                END,
                1,
                &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")],
            ),
            TAKEN,
        ),
        (
            "8.5",
            "CONNECT",
            headers(END, 1, &[(":method", "CONNECT"), (":authority", "a:1")]),
            TAKEN,
        ),
        (
            "8.5",
            "CONNECT with a scheme",
            headers(
                END,
                1,
                &[
                    (":method", "CONNECT"),
                    (":scheme", "http"),
                    (":authority", "a:1"),
                ],
            ),
            REFUSED,
        ),
        (
            "8.5",
            "CONNECT to nobody",
            headers(END, 1, &[(":method", "CONNECT")]),
            REFUSED,
        ),
        (
            "8.5",
            "a protocol without CONNECT",
            asked(&[(":protocol", "websocket")], "", &[]),
            REFUSED,
        ),
        (
            "8.1",
            "a pseudo-field behind a body",
            trailers(":path", "/"),
            broken,
        ),
        ("8.1", "capitals behind a body", trailers("X", "y"), broken),
        (
            "8.1",
            "connection behind a body",
            trailers("connection", "x"),
            broken,
        ),
        ("8.1", "fields behind a body", trailers("x", "y"), TAKEN),
        (
            "8.1.1",
            "as long as was said",
            upload("2", &[data(b"x"), last(b"y")]),
            TAKEN,
        ),
        (
            "8.1.1",
            "as long, and an empty end",
            upload("1", &[data(b"x"), last(b"")]),
            TAKEN,
        ),
        ("8.1.1", "too short", upload("2", &[last(b"x")]), broken),
        (
            "8.1.1",
            "too short by and by",
            upload("3", &[data(b"x"), last(b"y")]),
            broken,
        ),
        ("8.1.1", "too long", upload("1", &[last(b"xy")]), broken),
        (
            "8.1.1",
            "too long by and by",
            upload("2", &[data(b"xy"), last(b"z")]),
            broken,
        ),
        (
            "8.1.1",
            "a length, and nothing",
            with("content-length", "1"),
            REFUSED,
        ),
        (
            "8.1.1",
            "a length of nothing, and nothing",
            with("content-length", "0"),
            TAKEN,
        ),
        (
            "8.1.1",
            "something, and a length of nothing",
            upload("0", &[last(b"x")]),
            broken,
        ),
    ]);
}

#[test]
fn what_is_passed_on_has_no_blanks_around_it() {
    let mut connection = Connection::new();
    let request = connection.request(&asked(&[], "", &[("x", " \ty z "), ("empty", "  ")]));
    let headers = &request.asked.head.headers;
    assert_eq!(
        (&headers["x"], &headers["empty"]),
        (
            &HeaderValue::from_static("y z"),
            &HeaderValue::from_static("")
        )
    );
}
