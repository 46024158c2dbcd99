//! Fetches, converters, matches.

use super::*;

#[test]
fn fetches() {
    let head = head(
        "POST",
        "/a/b.html?x=1&y=%20&z",
        &[
            ("host", "WWW.Example.org.:8443"),
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
            ("x-forwarded-for", "10.0.0.3"),
            ("cookie", "a=1; sid=abc"),
            ("cookie", "sid=def, q=\"a;sid=no\"; \"sid=no\""),
            ("x-quoted", "\"a,b\", c"),
            ("authorization", "Basic dXNlcjpwYTpzcw=="),
        ],
    );
    for (text, want) in [
        ("src", "192.0.2.7"),
        ("src_port", "4711"),
        ("dst", "203.0.113.1"),
        ("dst_port", "443"),
        ("method", "POST"),
        ("path", "/a/b.html"),
        ("pathq", "/a/b.html?x=1&y=%20&z"),
        ("url", "/a/b.html?x=1&y=%20&z"),
        ("base", "WWW.Example.org.:8443/a/b.html"),
        ("query", "x=1&y=%20&z"),
        ("urlp(x)", "1"),
        ("urlp(y),url_dec", " "),
        ("urlp(z)", ""),
        ("urlp(none)", "-"),
        ("host", "www.example.org"),
        ("scheme", "https"),
        ("req.ver", "1.1"),
        ("req.hdr(x-forwarded-for)", "10.0.0.3"),
        ("req.hdr(x-forwarded-for,1)", "10.0.0.1"),
        ("hdr(x-forwarded-for,-2)", "10.0.0.2"),
        ("hdr(x-forwarded-for,4)", "-"),
        ("req.fhdr(x-forwarded-for,1)", "10.0.0.1, 10.0.0.2"),
        ("req.hdr_cnt(x-forwarded-for)", "3"),
        ("req.fhdr_cnt(x-forwarded-for)", "2"),
        ("hdr(x-quoted,1)", "\"a,b\""),
        ("hdr_ip(x-forwarded-for,1),ipmask(8)", "10.0.0.0"),
        ("req.cook(q)", "\"a;sid=no\""),
        ("req.cook(sid)", "def"),
        ("req.cook_cnt(sid)", "2"),
        ("http_auth_user", "user"),
        ("http_auth_pass", "pa:ss"),
        ("nbsrv(app)", "2"),
        ("ssl_fc", "1"),
        ("ssl_fc_sni", "www.example.org"),
        ("fe_name", "web"),
        ("int(-5),neg", "5"),
        ("rand(1)", "0"),
        ("sc_tracked(0)", "0"),
        ("sc_http_req_rate(0)", "-"),
        ("var(txn.x)", "-"),
    ] {
        assert_eq!(sample(text, &head), want, "{text}");
    }
    let id = sample("uuid", &head);
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
}

#[test]
fn parameters_are_divided_as_haproxy_does_it() {
    for (target, text, want) in [
        ("/a?x=1;y=2&z=3", "urlp(x)", "1"),
        ("/a?x=1;y=2&z=3", "urlp(y)", "2"),
        ("/a?x=1;y=2&z=3", "urlp()", "1"),
        ("/a;sid=7?x=1", "urlp(sid)", "-"),
        ("/a;b=c;sid=7&x=1", "urlp(sid,;)", "7"),
        ("/a;b=c;sid=7&x=1", "urlp(x,;)", "1"),
        ("/a?x=1", "urlp(x,;)", "-"),
        ("/a", "urlp(x,;)", "-"),
        ("/a?x=", "urlp_val(x)", "0"),
        ("/a?y=", "urlp_val(x)", "-"),
    ] {
        assert_eq!(
            sample(text, &head("GET", target, &[])),
            want,
            "{text} of {target}"
        );
    }
    // A condition sees them as others would divide them, too.
    for (target, value) in [
        ("/a?x=1;y=2", "1;y=2"),
        ("/a?x=1;y=2", "1"),
        ("/a?x=a?b", "a?b"),
        ("/a?x=a?b", "a"),
    ] {
        let head = head("GET", target, &[]);
        assert!(
            matches("urlp(x)", How::Exact, false, &[value], &head),
            "{value}"
        );
    }
    let head = head(
        "GET",
        "/",
        &[
            ("x-empty", ""),
            ("x-port", "192.0.2.3:80"),
            ("x-ports", "192.0.2.3:80000"),
            ("x-mapped", "::ffff:10.1.2.3"),
        ],
    );
    for (text, want) in [
        ("hdr_val(x-empty)", "0"),
        ("hdr_val(x-none)", "-"),
        ("hdr_ip(x-port)", "192.0.2.3"),
        ("hdr_ip(x-ports)", "-"),
        ("hdr_ip(x-empty)", "-"),
        ("hdr_ip(x-mapped),ipmask(24,64)", "10.1.2.0"),
    ] {
        assert_eq!(sample(text, &head), want, "{text}");
    }
}

#[test]
fn converters() {
    let head = head(
        "GET",
        "/One/two//three",
        &[
            ("host", "a:80"),
            ("accept-language", "fr;q=0.5, de-AT;q=0.9, en"),
        ],
    );
    for (text, want) in [
        ("path,lower", "/one/two//three"),
        ("path,upper", "/ONE/TWO//THREE"),
        ("path,length", "15"),
        ("path,field(2,/)", "One"),
        ("path,field(-1,/)", "three"),
        ("path,field(4,/)", ""),
        ("path,word(3,/)", "three"),
        ("path,word(2,/,0)", "two//three"),
        ("path,word(-2,/,2)", "One/two"),
        ("path,word(9,/)", "-"),
        ("path,bytes(1,3)", "One"),
        ("path,regsub(\"/+\",-)", "-One/two//three"),
        ("path,regsub(\"/+\",-,g)", "-One-two-three"),
        (
            "path,regsub(\"^/([^/]*)/([^/]*).*\",'/\\2/\\1')",
            "/two/One",
        ),
        ("path,regsub(one,X,i)", "/X/two//three"),
        ("str(a b&c),url_enc", "a%20b%26c"),
        ("str(a+b%2Fc),url_dec(1)", "a b/c"),
        ("str(a%2),url_dec", "-"),
        ("str(hello),base64", "aGVsbG8="),
        ("str(aGVsbG8=),b64dec", "hello"),
        ("str(hello),hex", "68656C6C6F"),
        ("str(ff),hex2i", "255"),
        (
            "str(abc),sha1,hex",
            "A9993E364706816ABA3E25717850C26C9CD0D89D",
        ),
        (
            "str(abc),sha2(256),hex",
            "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        ),
        ("str(123456789),crc32", "3421780262"),
        ("str(123456789),crc32c", "3808858755"),
        ("str(abc),djb2", "193485963"),
        ("str(abc),sdbm", "807794786"),
        ("str(abc),xxh32", "852579327"),
        ("int(7),mod(4),add(10),mul(2),sub(1),div(5)", "5"),
        ("int(7),div(0)", "9223372036854775807"),
        ("int(7),mod(0)", "0"),
        ("int(6),and(3),or(8),xor(1)", "11"),
        ("int(4),even", "1"),
        ("bool(true),not,iif(yes,no)", "no"),
        ("str(a),concat(-,,-b)", "a--b"),
        ("str(  x ),ltrim( ),rtrim( )", "x"),
        (
            "int(0),utime(%Y-%m-%dT%H:%M:%S %a %j)",
            "1970-01-01T00:00:00 Thu 001",
        ),
        (
            "int(951782400),utime(%F %A %e %B)",
            "2000-02-29 Tuesday 29 February",
        ),
        ("int(784111777),http_date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("req.fhdr(accept-language),language(de;fr)", "de"),
        ("req.fhdr(accept-language),language(en;de)", "en"),
        ("req.fhdr(accept-language),language(it)", "-"),
        ("req.fhdr(accept-language),language(it,none)", "none"),
        ("str(/),djb2(1)", "3725504903"),
        ("hdr(host),host_only", "a"),
        ("hdr(host),port_only", "80"),
        (
            "str('{\"a\":{\"b\":[1,\"x\"]},\"t\":true}'),json_query('$.a.b[1]')",
            "x",
        ),
        (
            "str('{\"a\":{\"b\":[1,\"x\"]},\"t\":true}'),json_query('$.a.b[0]',int)",
            "1",
        ),
        ("str('{\"t\":true}'),json_query('$.t')", "1"),
        ("str('{\"t\":'),json_query('$.t')", "-"),
        ("str('a\"b'),json", "a\\\"b"),
        ("ipv4(10.1.2.3),ipmask(16)", "10.1.0.0"),
        ("ipv6(2001:db8::1),ipmask(24,32)", "2001:db8::"),
    ] {
        assert_eq!(sample(text, &head), want, "{text}");
    }
}

#[test]
fn what_is_no_expression() {
    for (text, message) in [
        ("pth", "there is no fetch `pth`"),
        ("ssl_bc_unique_id", "there is no fetch `ssl_bc_unique_id`"),
        ("path,lowr", "there is no converter `lowr`"),
        ("path(1)", "`path` has too many arguments"),
        ("req.hdr", "`req.hdr` needs a header field's name"),
        ("req.hdr(a,0)", "`0` is no occurrence"),
        ("src,json_query(a)", "`a` is no path into JSON"),
        (
            "path,regsub((,x)",
            "`(` is no regular expression: unclosed group",
        ),
        (
            "path,regsub(\"(\",x)",
            "`(` is no regular expression: unclosed group",
        ),
        (
            "method,add(1)",
            "`add` takes a number, but what comes before it is a method",
        ),
        (
            "path,map(/no/such/file)",
            "the map /no/such/file cannot be read: No such file or directory (os error 2)",
        ),
        ("var(x)", "the variable `x` has no scope"),
        ("sc_http_req_rate(99)", "there is no counter `99`"),
        ("path,sha2(1)", "there is no SHA-2 of 1 bits"),
        ("int(1),utime(%Q)", "`%Q` has a letter that is not known"),
        ("http_auth(none)", "there is no list of users `none`"),
    ] {
        let problem = Expr::parse(text, &mut registry()).unwrap_err();
        assert_eq!(problem.message, message, "{text}");
    }
}

#[test]
fn ways_of_matching() {
    use How::*;
    let head = head(
        "GET",
        "/Static/img.Example.png",
        &[
            ("host", "Img.Example.org:80"),
            ("x-a", "one, two"),
            ("x-a", "three"),
            ("x-n", "5, 12"),
        ],
    );
    let long = "abcdefgh";
    type Case<'a> = (&'a str, How, bool, &'a [&'a str], bool);
    let cases: &[Case<'_>] = &[
        ("path", Prefix, false, &["/static"], false),
        ("path", Prefix, true, &["/static"], true),
        ("path", Prefix, false, &["/x", "/Static"], true),
        ("path", Suffix, false, &[".png"], true),
        ("path", Suffix, true, &["EXAMPLE.PNG"], true),
        ("path", Contains, false, &["img"], true),
        ("path", Directory, false, &["/Static/"], true),
        ("path", Directory, false, &["Stat"], false),
        ("path", DomainPart, false, &["Example"], true),
        ("path", DomainPart, false, &["ample"], false),
        ("path", Regex, false, &["^/[A-Z]tatic/.*\\.png$"], true),
        ("path", Regex, true, &["^/static/"], true),
        ("path", Length, false, &["20:30"], true),
        ("host", Host, false, &["*.example.org"], true),
        ("host", Host, false, &["img.example.org"], true),
        ("host", Host, false, &["*.img.example.org"], false),
        ("req.hdr(x-a)", Exact, false, &["two"], true),
        ("req.hdr(x-a)", Exact, false, &["one, two"], false),
        ("req.fhdr(x-a)", Exact, false, &["one, two"], true),
        ("req.hdr(x-a,1)", Exact, false, &["two"], false),
        ("req.hdr(x-a)", Exact, true, &["THREE"], true),
        ("req.hdr(x-none)", Found, false, &[], false),
        ("req.hdr(x-a)", Found, false, &[], true),
        ("hdr_val(x-n)", Number, false, &["gt 10"], true),
        ("hdr_val(x-n)", Number, false, &["6-11", "13:"], false),
        ("src", Address, false, &["192.0.2.0/24"], true),
        (
            "src",
            Address,
            false,
            &["10.0.0.0/8", "2001:db8::/32"],
            false,
        ),
        ("src", Address, false, &["192.0.2.7"], true),
        ("src", Address, false, &["0.0.0.0/0"], true),
        ("ssl_fc", True, false, &[], true),
        ("src_port", Number, false, &["4711"], true),
    ];
    for (text, how, fold, patterns, want) in cases {
        let got = matches(text, *how, *fold, patterns, &head);
        assert_eq!(got, *want, "{text} {how:?} {patterns:?}");
    }
    assert!(Range::parse("5x").is_err() && Range::parse(long).is_err());
    assert_eq!(Range::parse("-5--1").map(|r| (r.from, r.to)), Ok((-5, -1)));
    assert!(network("1.2.3.4/33").is_err() && network("a").is_err());
    assert!(network("1.2.3.4/255.0.255.0").is_err());
}

#[test]
fn hosts_are_compared_without_case_port_and_trailing_dot() {
    for (host, want) in [
        ("api.example.org", true),
        ("API.Example.Org:8080", true),
        ("api.example.org.", true),
        ("api.example.org.:80", true),
        ("xapi.example.org", false),
        ("a.example.net", true),
        ("a.b.example.net", true),
        ("example.net", false),
        ("xexample.net", false),
        ("[::1]:80", false),
    ] {
        let head = head("GET", "/", &[("host", host)]);
        let patterns = ["api.example.org", "*.example.net"];
        assert_eq!(
            matches("host", How::Host, false, &patterns, &head),
            want,
            "{host}"
        );
    }
}

#[test]
fn paths_are_compared_as_text() {
    for (uri, want) in [
        ("/ms1/x", true),
        ("/MS1/x", true),
        ("/ms1", false),
        ("/x?/ms1/", false),
        ("/%6ds1/x", false),
        ("//ms1/x", false),
        ("http://h/ms1/x", true),
    ] {
        let head = head("GET", uri, &[]);
        assert_eq!(
            matches("path", How::Prefix, true, &["/ms1/"], &head),
            want,
            "{uri}"
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// No request and no expression can panic.
    #[test]
    fn nothing_panics(text in "[a-z_.(),'\" 0-9%\\\\-]{0,40}", path in "/[ -~]{0,30}", value in "[ -~]{0,30}") {
        let path: String = path.chars().filter(|c| !matches!(c, ' ' | '"' | '<' | '>' | '`' | '{' | '}' | '\\' | '^' | '|')).collect();
        let head = head("GET", &path, &[("host", "a"), ("x-a", &value), ("cookie", &value), ("authorization", &value)]);
        if let Ok(expr) = Expr::parse(&text, &mut registry()) {
            let state = State::default();
            let scene = Scene { request: Some(RequestView::new(&head)), response: None, state: &state, world: &Fixed };
            let _ = expr.sample(&scene);
        }
        for text in ["path,field(-3,/,0)", "hdr(x-a,-10)", "hdr(x-a),url_dec(1)", "req.fhdr(x-a),language(a;b)",
                     "hdr(x-a),b64dec", "hdr(x-a),json_query('$.a[0]')", "hdr(x-a),word(-1,a,3)", "hdr_val(x-a),mul(9),div(-1),mod(-1)",
                     "hdr_val(x-a),utime(%c)", "hdr_val(x-a),ltime(%Y %z)", "hdr(x-a),ub64dec", "http_auth_pass", "urlp(a)", "hdr_ip(x-a)"] {
            if let Ok(expr) = Expr::parse(text, &mut registry()) {
                let state = State::default();
                let scene = Scene { request: Some(RequestView::new(&head)), response: None, state: &state, world: &Fixed };
                let _ = expr.sample(&scene);
                let _ = expr.any(&scene, &mut |_| false);
            }
        }
    }
}

#[test]
fn a_connection_has_no_variables() {
    let of_connection = |text: &str| {
        let expr = Expr::parse(text, &mut registry()).unwrap();
        expr.is_of_connection()
    };
    assert!(of_connection("src,concat(-,,-)"));
    assert!(!of_connection("src,concat(-,txn.x)"));
    assert!(!of_connection("src,strcmp(txn.x)"));
}

/// A connection whose requests have names.
struct Naming(Template);

impl World for Naming {
    fn source(&self) -> Option<SocketAddr> {
        Fixed.source()
    }

    fn destination(&self) -> Option<SocketAddr> {
        None
    }

    fn frontend(&self) -> &str {
        "web"
    }

    fn backend(&self) -> Option<&str> {
        None
    }

    fn fact(&self, _: &Fact) -> Option<i64> {
        None
    }

    fn tls(&self, _: TlsFact) -> Option<Value<'_>> {
        None
    }

    fn unique_format(&self) -> Option<&Template> {
        Some(&self.0)
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

#[test]
fn a_unique_id_is_made_once_and_not_of_itself() {
    let parse = |text: &str| Template::parse(text, &mut registry()).unwrap();
    let world = Naming(parse("%[src]-%[path]-[%[unique-id]]"));
    let (first, then) = (head("GET", "/a", &[]), head("GET", "/b", &[]));
    let mut state = State::default();
    let asked = |state: &State, head| {
        let scene = Scene {
            request: Some(RequestView::new(head)),
            response: None,
            state,
            world: &world,
        };
        String::from_utf8(parse("%[unique-id]").render(&scene)).unwrap()
    };
    assert_eq!(state.unique_id(), None);
    assert_eq!(asked(&state, &first), "192.0.2.7-/a-[]");
    assert_eq!(asked(&state, &then), "192.0.2.7-/a-[]");
    state.next();
    assert_eq!(asked(&state, &then), "192.0.2.7-/b-[]");
    assert_eq!(sample("unique-id", &first), "-");
}
