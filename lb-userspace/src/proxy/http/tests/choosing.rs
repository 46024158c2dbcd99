//! Which server a request goes to: by what it says, and by its cookie.

use super::*;

/// Servers that answer with their number.
fn numbered() -> [SocketAddr; 3] {
    [
        answering("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n0"),
        answering("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"),
        answering("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2"),
    ]
}

/// The numbers of the servers that answered `heads`, one after the other.
fn answered(harness: &Harness, heads: &[String]) -> String {
    let heads = heads.iter().map(|head| {
        let answer = harness.ask(&format!("{head}connection: close\r\n\r\n"));
        answer.chars().last().unwrap()
    });
    heads.collect()
}

fn get(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}")
}

fn is_one(numbers: &str) -> bool {
    numbers.bytes().all(|n| n == numbers.as_bytes()[0])
}

/// Every server is among so many (a hash misses one of three once in ten million).
fn is_all(numbers: &str) -> bool {
    ["0", "1", "2"].iter().all(|n| numbers.contains(n))
}

#[test]
fn a_path_stays_on_its_server() {
    let harness = Harness::new(&numbered(), |_, backend| {
        backend.balance = Balance::Uri;
        backend.balance_arguments.depth = Some(2);
    });
    let same = ["/a/b/c", "/a/b/d?x=1", "/a/b"].map(|path| get(path, ""));
    assert!(is_one(&answered(&harness, &same)));
    let many: Vec<_> = (0..40).map(|n| get(&format!("/a/{n}/x"), "")).collect();
    let once = answered(&harness, &many);
    assert!(is_all(&once), "{once}");
    assert_eq!(answered(&harness, &many), once);
}

#[test]
fn a_parameter_stays_on_its_server_and_without_one_it_goes_in_turn() {
    let harness = Harness::new(&numbered(), |_, backend| {
        backend.balance = Balance::UrlParam;
        backend.balance_arguments.name = "user".into();
        backend.hash_type = model::HashType::Consistent;
    });
    let same = ["/?user=ann", "/else?q=1&user=ann"].map(|path| get(path, ""));
    assert!(is_one(&answered(&harness, &same)));
    let none = answered(&harness, &vec![get("/", ""); 40]);
    assert!(is_all(&none), "{none}");
}

#[test]
fn a_header_stays_on_its_server() {
    let harness = Harness::new(&numbered(), |_, backend| {
        backend.balance = Balance::Hdr;
        backend.balance_arguments.name = "X-User".into();
    });
    let same = vec![get("/", "x-user: ann\r\n"); 4];
    assert!(is_one(&answered(&harness, &same)));
    let many: Vec<_> = (0..40)
        .map(|n| get("/", &format!("x-user: {n}\r\n")))
        .collect();
    assert!(is_all(&answered(&harness, &many)));
}

#[test]
fn the_first_server_takes_all_that_it_can() {
    let harness = Harness::new(&numbered(), |_, backend| backend.balance = Balance::First);
    assert_eq!(answered(&harness, &vec![get("/", ""); 5]), "00000");
}

#[test]
fn a_server_that_fails_is_no_quick_one() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let servers = [closed, numbered()[1]];
    let harness = Harness::new(&servers, |_, backend| {
        backend.balance = Balance::LeastTime;
        backend.redispatch = Some(1);
        backend.timeouts.connect = Duration::from_millis(100);
    });
    assert_eq!(answered(&harness, &vec![get("/", ""); 10]), "1111111111");
    let failed = &harness.shared.topology.backends[0].servers[0];
    assert!(
        failed.counters.redispatches.value() <= 1,
        "it is not asked again and again"
    );
}

/// A backend whose two servers have the cookies `v1` and `v2`, the first of which is asked first.
fn sticky(cookie: model::Cookie, answer: &'static str) -> Harness {
    Harness::new(&[answering(answer), answering(answer)], |_, backend| {
        backend.cookie = Some(model::Cookie {
            name: "C".into(),
            ..cookie
        });
        for (server, value) in backend.servers.iter_mut().zip(["v1", "v2"]) {
            server.cookie = Some(value.into());
        }
    })
}

/// The Set-Cookie lines of the answer to a request with these headers.
fn set_by(harness: &Harness, headers: &str) -> Vec<String> {
    let answer = harness.ask(&format!("{}connection: close\r\n\r\n", get("/", headers)));
    let sets = answer.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie")
            .then(|| value.to_owned())
    });
    sets.collect()
}

/// The server and the cookie's two letters in each line of the log.
fn states(harness: Harness) -> Vec<String> {
    let lines = harness.logged();
    let states = lines.iter().map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        format!("{} {}", fields[1], &fields[7][2..])
    });
    states.collect()
}

const OWN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: z=1\r\nset-cookie: C=own; path=/app\r\n\r\n";

// What follows was asked of HAProxy 2.6 with the same cookies, and answered by it as it is expected here.

#[test]
fn insert_replaces_the_servers_own_cookie() {
    let harness = sticky(model::Cookie::default(), OWN);
    assert_eq!(set_by(&harness, ""), ["z=1", "C=v1; path=/"]);
    assert_eq!(set_by(&harness, "cookie: C=v2\r\n"), ["z=1"]);
    assert_eq!(
        set_by(&harness, "cookie: C=zz\r\n"),
        ["z=1", "C=v2; path=/"]
    );
    assert_eq!(
        set_by(&harness, "cookie: a=1; C=v1|awjHm|awjHj\r\n"),
        ["z=1", "C=v1; path=/"],
        "dates that are no longer wanted"
    );
    assert_eq!(
        states(harness),
        ["b/s0 NI", "b/s1 VD", "b/s1 II", "b/s0 VU"]
    );
}

#[test]
fn preserve_leaves_the_servers_own_cookie() {
    let cookie = model::Cookie {
        preserve: true,
        indirect: true,
        ..Default::default()
    };
    let harness = sticky(cookie, OWN);
    assert_eq!(set_by(&harness, ""), ["z=1", "C=own; path=/app"]);
    assert_eq!(
        set_by(&harness, "cookie: C=v2\r\n"),
        ["z=1", "C=own; path=/app"]
    );
    assert_eq!(states(harness), ["b/s0 NP", "b/s1 VP"]);
}

#[test]
fn rewrite_and_prefix_change_what_the_server_sets() {
    for (mode, set) in [
        (
            model::CookieMode::Rewrite,
            ["C=v1; path=/app", "C=v2; path=/app"],
        ),
        (
            model::CookieMode::Prefix,
            ["C=v1~own; path=/app", "C=v2~own; path=/app"],
        ),
    ] {
        let cookie = |mode| model::Cookie {
            mode,
            ..Default::default()
        };
        let harness = sticky(cookie(mode), OWN);
        assert_eq!(set_by(&harness, ""), ["z=1", set[0]]);
        assert_eq!(set_by(&harness, "cookie: C=v2\r\n"), ["z=1", set[1]]);
        assert_eq!(states(harness), ["b/s0 NR", "b/s1 VR"]);
        let quiet = sticky(cookie(mode), OK);
        assert_eq!(set_by(&quiet, ""), Vec::<String>::new());
        assert_eq!(set_by(&quiet, "cookie: C=v2\r\n"), Vec::<String>::new());
        assert_eq!(states(quiet), ["b/s0 NN", "b/s1 VN"]);
    }
}

#[test]
fn prefix_shows_the_server_what_it_has_set() {
    let echo = server(|mut stream| {
        let head = read_head(&mut stream);
        let cookie = head.lines().find(|line| line.starts_with("cookie: "));
        let body = cookie.unwrap_or("none");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
    });
    let harness = Harness::new(&[echo], |_, backend| {
        backend.cookie = Some(model::Cookie {
            name: "C".into(),
            mode: model::CookieMode::Prefix,
            ..Default::default()
        });
        backend.servers[0].cookie = Some("v1".into());
    });
    let cookie = get("/", "cookie: a=1; C=v1~own; b=2\r\n");
    let answer = harness.ask(&format!("{cookie}connection: close\r\n\r\n"));
    assert!(answer.ends_with("cookie: a=1; C=own; b=2"), "{answer}");
}

#[test]
fn a_cookie_that_is_too_old_is_not_followed() {
    let minute = Duration::from_secs(60);
    let cookie = model::Cookie {
        indirect: true,
        maxidle: Some(minute),
        maxlife: Some(60 * minute),
        httponly: true,
        ..Default::default()
    };
    let harness = sticky(cookie, OK);
    let set = set_by(&harness, "");
    let (value, attributes) = set[0].split_once("; ").unwrap();
    assert_eq!(attributes, "path=/; HttpOnly");
    let (dates, len) = (value.strip_prefix("C=v1|").unwrap(), value.len());
    assert_eq!((dates[..5] == dates[6..], len), (true, 16), "{value}");
    // Both dates are now; the last use is rounded up, so that nothing is due at once.
    assert_eq!(
        set_by(&harness, &format!("cookie: {value}\r\n")),
        Vec::<String>::new()
    );
    for (old, seen) in [("v2|aAAAB", "E"), ("v2|aAAAB|aAAAB", "O")] {
        let set = set_by(&harness, &format!("cookie: C={old}\r\n"));
        assert!(
            set[0].len() > 16 && !set[0].contains("aAAAB"),
            "{seen} {set:?}"
        );
    }
    let undated = set_by(&harness, "cookie: C=v2\r\n");
    assert!(undated[0].starts_with("C=v2|"), "{undated:?}");
    assert_eq!(
        states(harness),
        ["b/s0 NI", "b/s0 VN", "b/s1 EI", "b/s0 OI", "b/s1 VU"]
    );
}

#[test]
fn a_server_without_a_value_takes_the_cookie_away() {
    let harness = Harness::new(&[answering(OK)], |_, backend| {
        backend.cookie = Some(model::Cookie {
            name: "C".into(),
            ..Default::default()
        });
    });
    let gone = "C=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/";
    assert_eq!(set_by(&harness, "cookie: C=old\r\n"), [gone]);
    assert_eq!(states(harness), ["b/s0 II"]);
}

#[test]
fn a_server_whose_answers_are_bad_is_left_before_its_checks_find_out() {
    let bad = answering("HTTP/1.1 500 Oops\r\ncontent-length: 1\r\n\r\nx");
    let harness = Harness::new(&[bad, numbered()[1]], |_, backend| {
        if let Some(check) = &mut backend.health_check {
            check.observe = Some(model::Observe {
                layer: model::Layer::Seven,
                error_limit: 2,
                on_error: model::OnError::MarkDown,
            });
        }
    });
    assert_eq!(answered(&harness, &vec![get("/", ""); 8]), "x1x11111");
    let server = &harness.shared.topology.backends[0].servers[0];
    assert_eq!(server.counters.observed_failures.value(), 1);
    let found = server.last_check().unwrap();
    assert_eq!(
        found.info,
        "Detected 2 consecutive errors, last one was: Wrong http response"
    );
}

#[test]
fn a_body_that_is_none_is_an_answer_that_is_none() {
    let bad = answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\nx\r\n");
    let harness = Harness::new(&[bad], |_, backend| {
        if let Some(check) = &mut backend.health_check {
            check.observe = Some(model::Observe {
                layer: model::Layer::Seven,
                error_limit: 2,
                on_error: model::OnError::MarkDown,
            });
        }
    });
    for _ in 0..2 {
        let mut client = harness.connect();
        let head = get("/", "connection: close\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        // What has come of it has; how it ends is another test's.
        let _ = client.read_to_end(&mut Vec::new());
    }
    let server = &harness.shared.topology.backends[0].servers[0];
    // The exchange is over only once its client has heard of it.
    wait_until("it is down", || server.status() == "DOWN");
    assert!(
        server
            .last_check()
            .is_some_and(|found| found.info.ends_with("Invalid http response"))
    );
}
