//! Servers with a bound on connections, and the wait for them.

use crate::{
    case::{Case, Deviation, Setup, Step, get, steps},
    run::compare,
};

/// A request that has to wait until the server is done with others, and is let go after a while.
fn waiting(name: &str, path: &str, holders: usize, headers: &str) -> Case {
    let request = format!("GET {path} HTTP/1.1\nHost: a\n{headers}\n");
    let holder = format!(
        "GET {}hold HTTP/1.1\nHost: a\n{headers}\n",
        &path[..=path.rfind('/').unwrap()]
    );
    let case = steps(
        name,
        vec![
            Step::Send(request),
            Step::Pause(400),
            Step::Release,
            Step::Read("GET".into()),
        ],
    );
    case.busy(&vec![holder.as_str(); holders])
}

/// A request whose wait ends otherwise.
fn refused(name: &str, path: &str, holders: usize, headers: &str) -> Case {
    let mut case = waiting(name, path, holders, headers);
    case.steps = vec![case.steps[0].clone(), Step::Read("GET".into())];
    case
}

#[test]
fn requests_wait_for_servers() {
    let mut left = waiting("the client leaves the queue", "/one/plain", 1, "");
    left.steps = vec![
        left.steps[0].clone(),
        Step::Pause(300),
        Step::Shut,
        Step::Pause(100),
    ];
    let cases = vec![
        get("/one/plain", ""),
        get("/two/plain", ""),
        waiting("one", "/one/plain", 1, ""),
        get("/two/plain", "")
            .busy(&["GET /two/hold HTTP/1.1\nHost: a\n\n"])
            .named("two servers, one busy"),
        waiting("of the cookie", "/two/plain", 1, "Cookie: app=s2\n"),
        refused("too long", "/impatient/plain", 1, ""),
        refused(
            "too long for the cookie's",
            "/impatient-two/plain",
            1,
            "Cookie: app=s2\n",
        ),
        get("/impatient-two/plain", "")
            .busy(&["GET /impatient-two/hold HTTP/1.1\nHost: a\n\n"])
            .named("the other is free"),
        left,
    ];
    compare(&Setup {
        name: "queue",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    rules: [{ use_backend: "%[path,field(2,/)]" }]
    default_backend: one
backends:
  one: { servers: [{ name: s1, address: "{s1}", maxconn: 1 }] }
  two: { balance: leastconn, cookie: { name: app, mode: insert, indirect: true }, servers: [{ name: s1, address: "{s1}", maxconn: 1, cookie: s1 }, { name: s2, address: "{s2}", maxconn: 1, cookie: s2 }] }
  impatient: { timeouts: { queue: 200ms }, servers: [{ name: s1, address: "{s1}", maxconn: 1 }] }
  impatient-two: { timeouts: { queue: 200ms }, balance: leastconn, cookie: { name: app, mode: insert, indirect: true }, servers: [{ name: s1, address: "{s1}", maxconn: 1, cookie: s1 }, { name: s2, address: "{s2}", maxconn: 1, cookie: s2 }] }
"#,
        cfg: "
frontend front
    bind {web}
    use_backend %[path,field(2,/)]
    default_backend one
backend one
    server s1 {s1} maxconn 1
backend two
    balance leastconn
    cookie app insert indirect
    server s1 {s1} maxconn 1 cookie s1
    server s2 {s2} maxconn 1 cookie s2
backend impatient
    timeout queue 200ms
    server s1 {s1} maxconn 1
backend impatient-two
    timeout queue 200ms
    balance leastconn
    cookie app insert indirect
    server s1 {s1} maxconn 1 cookie s1
    server s2 {s2} maxconn 1 cookie s2
",
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["the client leaves"],
    field: "seen 2 header connection",
    ours: "-",
    theirs: "close",
    why: "that a client has shut its side down is nothing to the server, whose connection serves others",
}];
