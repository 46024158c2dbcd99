use super::{rfc7239::*, *};
use crate::config::model::Prefix;

fn written(element: &Element<'_>) -> String {
    let mut out = Vec::new();
    element.write(&mut out);
    String::from_utf8(out).expect("it is ASCII")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn elements_are_written_as_rfc_7239_and_haproxy_have_them() {
    let nothing = Element {
        proto: None,
        host: None,
        by: None,
        for_: None,
    };
    let usual = Element {
        proto: Some("http"),
        for_: Some((Some(at("127.0.0.1:4711")), false)),
        ..nothing
    };
    assert_eq!(written(&usual), "proto=http;for=127.0.0.1");
    let all = Element {
        proto: Some("https"),
        host: Some("www.example:8443"),
        by: Some((Some(at("[2001:db8::1]:443")), true)),
        for_: Some((Some(at("192.0.2.7:60138")), true)),
    };
    assert_eq!(
        written(&all),
        "proto=https;host=\"www.example:8443\";by=\"[2001:db8::1]:443\";for=\"192.0.2.7:60138\""
    );
    let six = Element {
        for_: Some((Some(at("[2001:db8::7]:1")), false)),
        ..nothing
    };
    assert_eq!(written(&six), "for=\"[2001:db8::7]\"");
    let mapped = Element {
        for_: Some((Some(at("[::ffff:192.0.2.7]:1")), true)),
        ..nothing
    };
    assert_eq!(written(&mapped), "for=\"192.0.2.7:1\"");
    let by_unix = Element {
        by: Some((None, true)),
        for_: Some((None, false)),
        ..nothing
    };
    assert_eq!(written(&by_unix), "by=unknown;for=unknown");
    let odd = Element {
        host: Some("a\"b\\c"),
        ..nothing
    };
    assert_eq!(written(&odd), "host=\"a\\\"b\\\\c\"");
}

#[test]
fn elements_are_read_or_refused() {
    let read = |line: &str| {
        let nodes = elements(line.as_bytes())?;
        let nodes = nodes.iter().map(|node| node.as_deref().unwrap_or("-"));
        Some(nodes.collect::<Vec<_>>().join("|"))
    };
    for (line, nodes) in [
        ("for=192.0.2.1", "192.0.2.1"),
        (
            "For=\"[2001:db8::1]:80\";proto=http , by=x;for=_gone,proto=https",
            "[2001:db8::1]:80|_gone|-",
        ),
        ("for=\"a,b;c\\\"d\";host=\"x\"", "a,b;c\"d"),
        ("", ""),
        ("for=a, ,by=x,", "a|-"),
        (";for=a;", "a"),
    ] {
        assert_eq!(read(line).as_deref(), Some(nodes), "{line}");
    }
    for bad in [
        "for=\"1.2.3.4",
        "for=\"a\\",
        "for",
        "for=",
        "=x",
        "for=[2001:db8::1]",
        "for=1.2.3.4:80",
        "for=a;for=b",
        "for=a b",
        "for=\"a\"b",
        "for =a",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn the_client_is_the_last_that_no_believed_proxy_vouches_for() {
    let trust = Trust {
        proxies: vec![
            Prefix {
                address: [10, 0, 0, 0].into(),
                length: 8,
            },
            Prefix {
                address: "2001:db8:1::".parse().expect("an address"),
                length: 48,
            },
        ],
        client_ip_from: None,
    };
    let named = |field: &'static str, lines: &[&'static str]| {
        let lines: Vec<_> = lines.iter().map(|line| (field, *line)).collect();
        let field = HeaderName::from_static(field);
        named_client(&headers(&lines), &field, &trust).map(|address| address.to_string())
    };
    for (lines, client) in [
        (&["192.0.2.1"][..], Some("192.0.2.1:0")),
        (&["198.51.100.9, 192.0.2.1, 10.1.2.3"], Some("192.0.2.1:0")),
        (
            &["198.51.100.9", "192.0.2.1:80", "10.1.2.3,10.0.0.1"],
            Some("192.0.2.1:80"),
        ),
        (&["10.0.0.9, 10.1.2.3"], Some("10.0.0.9:0")),
        (&["nonsense, 10.1.2.3"], Some("10.1.2.3:0")),
        (&["192.0.2.1, nonsense"], None),
        (
            &["[2001:db8::1]:80, 2001:db8:1::5"],
            Some("[2001:db8::1]:80"),
        ),
        (&["::ffff:192.0.2.1"], Some("192.0.2.1:0")),
        (&[], None),
    ] {
        assert_eq!(
            named("x-forwarded-for", lines).as_deref(),
            client,
            "{lines:?}"
        );
    }
    for (lines, client) in [
        (
            &["for=192.0.2.1;by=10.0.0.1, for=10.0.0.2"][..],
            Some("192.0.2.1:0"),
        ),
        (
            &["for=\"[2001:db8::1]:80\"", "For=10.0.0.2"],
            Some("[2001:db8::1]:80"),
        ),
        (&["for=192.0.2.1, for=unknown"], None),
        (&["for=192.0.2.1, for=\"x"], None),
    ] {
        assert_eq!(named("forwarded", lines).as_deref(), client, "{lines:?}");
    }
}

#[test]
fn what_is_not_believed_goes_under_every_spelling() {
    let mut found = headers(&[
        ("host", "a"),
        ("x-forwarded-for", "1"),
        ("x-forwarded-for", "2"),
        ("x_forwarded_proto", "https"),
        ("x-forwarded.host", "b"),
        ("forwarded", "for=1"),
        ("x-forwarded-prefix", "/"),
        ("x_client_ip", "3"),
    ]);
    let own = HeaderName::from_static("x-client-ip");
    remove(&mut found, FIELDS.iter().chain([&own]));
    let mut left: Vec<&str> = found.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["host", "x-forwarded-prefix"]);
}
