use http::{Request, Response};

use super::*;

fn head(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn fields(headers: &HeaderMap) -> Vec<String> {
    headers
        .iter()
        .map(|(n, v)| format!("{n}: {}", v.to_str().expect("text")))
        .collect()
}

#[test]
fn what_is_refused() {
    type Case = (
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
        Result<(), StatusCode>,
    );
    let cases: &[Case] = &[
        ("GET", "/x?q", &[("host", "a")], Ok(())),
        ("OPTIONS", "*", &[("host", "a")], Ok(())),
        ("GET", "*", &[("host", "a")], Err(StatusCode::BAD_REQUEST)),
        ("GET", "x", &[("host", "a")], Err(StatusCode::BAD_REQUEST)),
        (
            "CONNECT",
            "a:80",
            &[("host", "a:80")],
            Err(StatusCode::METHOD_NOT_ALLOWED),
        ),
        ("GET", "/x", &[], Err(StatusCode::BAD_REQUEST)),
        (
            "GET",
            "/x",
            &[("host", "a"), ("host", "a")],
            Err(StatusCode::BAD_REQUEST),
        ),
        ("GET", "http://a/x", &[("host", "A")], Ok(())),
        ("GET", "http://a:80/x", &[("host", "a")], Ok(())),
        (
            "GET",
            "http://b/x",
            &[("host", "a")],
            Err(StatusCode::BAD_REQUEST),
        ),
        (
            "POST",
            "/",
            &[("host", "a"), ("transfer-encoding", "chunked")],
            Ok(()),
        ),
        (
            "POST",
            "/",
            &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
            Err(StatusCode::NOT_IMPLEMENTED),
        ),
        (
            "GET",
            "/",
            &[("host", "a"), ("transfer_encoding", "chunked")],
            Err(StatusCode::BAD_REQUEST),
        ),
        (
            "GET",
            "/",
            &[("host", "a"), ("content_length", "3")],
            Err(StatusCode::BAD_REQUEST),
        ),
    ];
    for (method, uri, headers, want) in cases {
        assert_eq!(
            check(&head(method, uri, headers)).map(drop),
            *want,
            "{method} {uri} {headers:?}"
        );
    }
}

#[test]
fn a_host_is_what_http_2_can_carry() {
    let hosts = "a a:80 a: a_b A.Example one.example. 127.0.0.1 [::1] [::1]:80 [fe80::1.2.3.4] xn--a*b a:99999";
    for host in hosts.split(' ') {
        assert!(is_host(host.as_bytes()), "{host}");
        assert!(Authority::try_from(host).is_ok(), "{host}");
    }
    assert!(is_host(b""));
    let others = "a:b a:b:c a:80:81 : :80 ::1 [ ] [] [a] [::1 [::1]a x[::1] a[ a%20b [fe80::1%25a] a,b u@a a/b \
        a?b a#b a\\b a`b {a} a|b a^b \u{e9} [:::::::::]";
    for host in others.split_whitespace() {
        assert!(!is_host(host.as_bytes()), "{host}");
    }
}

proptest::proptest! {
    #[test]
    fn no_host_passes_that_http_2_cannot_carry(host in "[a:1\\[\\].%_x~@/-]{1,12}") {
        if is_host(host.as_bytes()) {
            proptest::prop_assert!(Authority::try_from(&*host).is_ok());
        }
    }
}

#[test]
fn a_request_sheds_what_belongs_to_the_connection() {
    let mut head = head(
        "GET",
        "http://a/x?q",
        &[
            ("host", "a"),
            ("connection", "X-Foo, close, Host, x-forwarded-for"),
            ("x-foo", "1"),
            ("keep-alive", "300"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("x-forwarded-for", "1.2.3.4"),
        ],
    );
    let had = Fields::of(&head.headers);
    assert!(!leave_connection(&mut head, had));
    request(&mut head, had);
    let mut got = fields(&head.headers);
    got.sort();
    assert_eq!(got, ["host: a", "te: trailers", "x-forwarded-for: 1.2.3.4"]);
    assert_eq!(head.uri, "/x?q");
}

#[test]
fn http_1_0_is_asked_to_keep_the_connection() {
    let mut head = head("GET", "/", &[]);
    head.version = Version::HTTP_10;
    let had = Fields::of(&head.headers);
    assert!(!leave_connection(&mut head, had));
    request(&mut head, had);
    assert_eq!(fields(&head.headers), ["connection: keep-alive"]);
}

fn answered(status: u16, fields: &[(&str, &str)]) -> response::Parts {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(()).expect("a response").into_parts().0
}

fn answer(head: &mut response::Parts, client: (Version, bool)) -> Option<Length> {
    let fields = Fields::of(&head.headers);
    response(head, fields, client)
}

#[test]
fn responses() {
    let mut head = answered(
        200,
        &[
            ("connection", "x-foo"),
            ("x-foo", "1"),
            ("keep-alive", "5"),
            ("server", "me"),
        ],
    );
    assert_eq!(
        answer(&mut head, (Version::HTTP_11, true)).map(|length| length.declared),
        Some(None)
    );
    assert_eq!(fields(&head.headers), ["server: me"]);

    let mut head = answered(204, &[("content-length", "0")]);
    assert!(answer(&mut head, (Version::HTTP_10, false)).is_some());
    assert_eq!(fields(&head.headers), ["connection: close"]);

    let mut head = answered(304, &[("content-length", "10")]);
    assert_eq!(
        answer(&mut head, (Version::HTTP_11, true)).map(|length| length.declared),
        Some(Some(10))
    );

    let mut both = answered(
        200,
        &[("content-length", "2"), ("transfer-encoding", "chunked")],
    );
    assert_eq!(answer(&mut both, (Version::HTTP_11, true)), None);
    let mut switching = answered(101, &[("upgrade", "websocket")]);
    assert_eq!(answer(&mut switching, (Version::HTTP_11, true)), None);
}
