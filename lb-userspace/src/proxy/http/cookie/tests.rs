use super::*;

fn headers(fields: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(
            COOKIE,
            HeaderValue::from_str(field).expect("a header value"),
        );
    }
    headers
}

fn lookup(value: &[u8]) -> Named<u8> {
    match value {
        b"s1" => Named::Server(1),
        b"s2" => Named::Server(2),
        b"s3" => Named::Down,
        _ => Named::Nobody,
    }
}

/// Every case was put to HAProxy 2.6 (`cookie SRV insert indirect nocache`): what it made of the cookie, and the
/// Cookie fields that its server saw.
#[test]
fn requests_as_haproxy_reads_and_cleans_them() {
    let cases: &[(&[&str], Sticky<u8>, &[&str])] = &[
        (&["SRV=s1"], Sticky::Valid(1), &[]),
        (&["SRV=s1; b=2"], Sticky::Valid(1), &["b=2"]),
        (&["a=1; SRV=s1"], Sticky::Valid(1), &["a=1"]),
        (&["a=1; SRV=s2; b=2"], Sticky::Valid(2), &["a=1; b=2"]),
        (&["a=1;SRV=s1;b=2"], Sticky::Valid(1), &["a=1; b=2"]),
        (&["a=1;   SRV = s1 ;  b=2"], Sticky::Valid(1), &["a=1; b=2"]),
        (&["a=1; SRV=\"s1\"; b=2"], Sticky::Invalid, &["a=1; b=2"]),
        (&["a=1", "SRV=s2", "c=3"], Sticky::Valid(2), &["a=1", "c=3"]),
        (
            &["a=1; SRV=s2; SRV=s1; b=1"],
            Sticky::Valid(2),
            &["a=1; b=1"],
        ),
        (&["SRV=zz; SRV=s1"], Sticky::Valid(1), &[]),
        (&["SRV=nope; b=1"], Sticky::Invalid, &["b=1"]),
        (&["SRV=; b=1"], Sticky::Invalid, &["b=1"]),
        (&["SRV; b=1"], Sticky::None, &["SRV; b=1"]),
        (&["SRV=s3; b=1"], Sticky::Down, &["b=1"]),
        (&["srv=s1; b=1"], Sticky::None, &["srv=s1; b=1"]),
        (
            &["a=\"x;SRV=s1\"; b=1"],
            Sticky::None,
            &["a=\"x;SRV=s1\"; b=1"],
        ),
        (
            &["a=\"b\\\";SRV=s1; b=2"],
            Sticky::None,
            &["a=\"b\\\";SRV=s1; b=2"],
        ),
        (&["$Version=1; SRV=s1; $Path=/"], Sticky::Valid(1), &[]),
        (
            &["a=1; $Path=/; SRV=s1; $Path=/; b=2; $Domain=x"],
            Sticky::Valid(1),
            &["a=1; $Path=/; b=2; $Domain=x"],
        ),
        (&["a=1; b=2; SRV=s1;"], Sticky::Valid(1), &["a=1; b=2; "]),
        (&["SRV=s1;"], Sticky::Valid(1), &[]),
        (&["SRV=s1; ;SRV=s2"], Sticky::Valid(1), &[]),
        (&["XSRV=s1; b=2"], Sticky::None, &["XSRV=s1; b=2"]),
        (&["SRV=s1,b=2"], Sticky::Valid(1), &["b=2"]),
        (&["a=1, SRV=s1; b=2"], Sticky::Valid(1), &["a=1; b=2"]),
        (&[""], Sticky::None, &[""]),
    ];
    for (fields, sticky, left) in cases {
        let mut headers = headers(fields);
        assert_eq!(read(&headers, "SRV", lookup), *sticky, "{fields:?}");
        remove(&mut headers, "SRV");
        let seen: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let left: Vec<&[u8]> = left.iter().map(|field| field.as_bytes()).collect();
        assert_eq!(seen, left, "{fields:?}");
    }
}

#[test]
fn the_cookie_is_set_in_haproxys_words() {
    let set =
        |value: Option<&str>, attributes: &str| set_cookie("HA_STICKY_def", value, attributes);
    assert_eq!(
        set(Some("def.srv1"), "").expect("a header value"),
        "HA_STICKY_def=def.srv1; path=/"
    );
    let config = crate::config::model::Cookie {
        httponly: true,
        secure: true,
        same_site: Some(crate::config::model::SameSite::None),
        domains: vec![".example.com".into(), ".b.org".into()],
        ..Default::default()
    };
    let attributes = config.attributes();
    assert_eq!(
        set(Some("s1|awN9v"), &attributes).expect("a header value"),
        "HA_STICKY_def=s1|awN9v; path=/; domain=.example.com; domain=.b.org; HttpOnly; Secure; SameSite=None"
    );
    assert_eq!(
        set(None, "; HttpOnly").expect("a header value"),
        "HA_STICKY_def=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/; HttpOnly"
    );
    assert_eq!(set(Some("b\nc"), ""), None);
}

/// As HAProxy 2.6 took them off.
#[test]
fn prefixes_are_taken_off_before_the_server_sees_them() {
    for (sent, seen) in [
        ("SRV=s1~abc; x=y", "SRV=abc; x=y"),
        ("a=1; SRV = s1~abc~d; SRV=zz~", "a=1; SRV = abc~d; SRV="),
        ("SRV=s1; x=s1~y", "SRV=s1; x=s1~y"),
        ("SRV=~", "SRV="),
    ] {
        let mut headers = headers(&["z=1", sent]);
        remove_prefix(&mut headers, "SRV");
        let left: Vec<&HeaderValue> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["z=1", seen]);
    }
    assert_eq!(prefix(b"s1~abc~d"), b"s1");
    assert_eq!(prefix(b"s1"), b"s1");
}

/// As HAProxy 2.6 rewrote them.
#[test]
fn a_servers_own_cookie_is_rewritten_or_prefixed() {
    for (keep, sent, seen) in [
        (false, "SRV=own; path=/app", "SRV=v2; path=/app"),
        (false, "SRV=; path=/", "SRV=v2; path=/"),
        (false, "SRV=two; HttpOnly", "SRV=v2; HttpOnly"),
        (false, "SRV", "SRV"),
        (true, "SRV=own; path=/app", "SRV=v2~own; path=/app"),
        (true, "SRV=; path=/", "SRV=v2~; path=/"),
        (true, "SRVX=own", "SRVX=own"),
        (true, "SRV= own", "SRV= v2~own"),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("z=1, SRV=x"));
        headers.append(SET_COOKIE, HeaderValue::from_str(sent).expect("a value"));
        rewrite_set(&mut headers, "SRV", "v2", keep);
        let left: Vec<&HeaderValue> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(left, ["z=1, SRV=x", seen]);
    }
}

#[test]
fn a_servers_own_cookie_of_that_name_is_dropped() {
    let mut headers = HeaderMap::new();
    for field in ["SRV=own; path=/q", "z=1; SRV=x"] {
        headers.append(SET_COOKIE, HeaderValue::from_static(field));
    }
    assert!(is_set(&headers, "SRV"));
    remove_set(&mut headers, "SRV");
    assert!(!is_set(&headers, "SRV"));
    let left: Vec<&HeaderValue> = headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(left, ["z=1; SRV=x"]);
}

/// Each response was sent through HAProxy 2.6; it added `cache-control: private` to those marked true.
#[test]
fn responses_that_a_cache_might_keep() {
    type Case = (
        &'static str,
        u16,
        &'static [(&'static str, &'static str)],
        bool,
    );
    const ETAG: (&str, &str) = ("etag", "\"x\"");
    let cases: &[Case] = &[
        ("GET", 200, &[], false),
        (
            "GET",
            200,
            &[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")],
            true,
        ),
        (
            "GET",
            200,
            &[("expires", "Mon, 01 Jan 2034 00:00:00 GMT")],
            true,
        ),
        ("GET", 200, &[("vary", "x")], false),
        ("GET", 200, &[ETAG], true),
        ("HEAD", 200, &[ETAG], true),
        ("OPTIONS", 200, &[ETAG], true),
        ("TRACE", 200, &[ETAG], true),
        ("POST", 200, &[ETAG], false),
        ("PUT", 200, &[ETAG], false),
        ("DELETE", 200, &[ETAG], false),
        ("FOO", 200, &[ETAG], false),
        ("GET", 410, &[ETAG], true),
        ("GET", 206, &[ETAG], true),
        ("GET", 201, &[ETAG], false),
        ("GET", 304, &[ETAG], false),
        ("GET", 500, &[ETAG], false),
        ("GET", 404, &[], false),
        ("GET", 200, &[("cache-control", "public")], false),
        ("GET", 200, &[("cache-control", "max-age=3")], true),
        ("GET", 200, &[("cache-control", "s-maxage=3")], true),
        ("POST", 200, &[("cache-control", "max-age=3")], false),
        ("POST", 500, &[("cache-control", "public, max-age=4")], true),
        ("GET", 500, &[("cache-control", "public")], false),
        ("GET", 302, &[("cache-control", "max-age=5")], false),
        ("GET", 302, &[("cache-control", "public, max-age=5")], true),
        ("GET", 200, &[("cache-control", "max-age=0")], false),
        ("GET", 200, &[("cache-control", "no-cache")], false),
        (
            "GET",
            200,
            &[("cache-control", "private, max-age=60")],
            false,
        ),
        ("GET", 200, &[("cache-control", "private"), ETAG], false),
        (
            "GET",
            200,
            &[("cache-control", "must-revalidate, max-age=3")],
            true,
        ),
        (
            "GET",
            200,
            &[(
                "cache-control",
                "no-cache=\"set-cookie\", public, max-age=3",
            )],
            true,
        ),
        (
            "GET",
            200,
            &[("cache-control", "no-store, public, max-age=3")],
            true,
        ),
        (
            "GET",
            200,
            &[("cache-control", "public, no-store, max-age=3")],
            false,
        ),
        ("GET", 200, &[("cache-control", "foo"), ETAG], true),
        (
            "GET",
            200,
            &[
                ("pragma", "no-cache"),
                ("cache-control", "public, max-age=4"),
            ],
            false,
        ),
        (
            "GET",
            200,
            &[("pragma", "no-cache"), ("expires", "0")],
            false,
        ),
    ];
    for (method, status, fields, cacheable) in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in *fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let status = StatusCode::from_u16(*status).expect("a status");
        assert_eq!(
            is_cacheable(&method, status, Fields::of(&headers), &headers),
            *cacheable,
            "{method} {status} {fields:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_cookie_field_is_left_with_the_cookie_or_loses_another(field in "[ab=;, \"SRV$]{0,24}") {
        let mut headers = headers(&[&field]);
        remove(&mut headers, "SRV");
        proptest::prop_assert_eq!(read(&headers, "SRV", |_| Named::Server(())), Sticky::None);
    }
}
