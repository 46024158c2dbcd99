//! Cookies of every mode.

use crate::{
    case::{Deviation, Setup, ask, get},
    run::compare,
};

/// Backends by what their cookie is.
const MODES: [&str; 9] = [
    "insert",
    "indirect",
    "nocache",
    "preserve",
    "dressed",
    "aged",
    "rewrite",
    "prefix",
    "valueless",
];

#[test]
fn cookies_of_every_mode() {
    let mut cases = Vec::new();
    for mode in MODES {
        let at = |last: &str| format!("/{mode}/{last}");
        for headers in [
            "",
            "Cookie: app=s1\n",
            "Cookie: app=s2\n",
            "Cookie: app=unknown\n",
            "Cookie: app=\n",
            "Cookie: app\n",
            "Cookie: a=1; app=s2; b=2\n",
            "Cookie: a=1;app=s2;b=2\n",
            "Cookie: app=s2;b=2\n",
            "Cookie: a=1; app=s2\n",
            "Cookie: app=s1; app=s2\n",
            "Cookie: a=1\nCookie: app=s2\nCookie: b=2\n",
            "Cookie: xapp=s2; App=s1\n",
            "Cookie: app=\"s2\"\n",
            "Cookie: app = s2\n",
            "Cookie: app=s2~value\n",
            "Cookie: a=1; app=s2~value; b=2\n",
            "Cookie: app=s2~\n",
            "Cookie: app=unknown~value\n",
            "Cookie: app=down~value\n",
            "Cookie: app=down\n",
            "Cookie: app=s2|aaaaa|aaaaa\n",
            "Cookie: app=s2|zzzzz\n",
            "Cookie: $Version=1; app=s2; $Path=/\n",
        ] {
            cases.push(get(&at("plain"), headers));
        }
        for give in [
            "X-Give: Set-Cookie: app=value; path=/x; HttpOnly\n",
            "X-Give: Set-Cookie: app=\n",
            "X-Give: Set-Cookie: app\n",
            "X-Give: Set-Cookie: other=1\nX-Give: Set-Cookie: app=value\nX-Give: Set-Cookie: more=2\n",
            "X-Give: Set-Cookie: app=\"value\"; secure\n",
            "X-Give: Set-Cookie: APP=value\n",
            "X-Give: Cache-Control: public\n",
            "X-Give: Cache-Control: max-age=60\n",
            "X-Give: Cache-Control: no-store\n",
            "X-Give: Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\n",
            "X-Give: Expires: 0\nX-Give: Pragma: no-cache\n",
        ] {
            cases.push(get(&at("plain"), give));
            cases.push(get(&at("plain"), &format!("Cookie: app=s2\n{give}")));
        }
        cases.push(ask(&format!(
            "POST /{mode}/plain HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"
        )));
        cases.push(ask(&format!("HEAD /{mode}/plain HTTP/1.1\nHost: a\n\n")));
        cases.push(get(&at("plain"), "X-Status: 404 Not Found\n"));
        cases.push(get(&at("plain"), "X-Status: 500 Internal Server Error\n"));
    }
    compare(&Setup {
        name: "cookies",
        yaml: YAML,
        cfg: CFG,
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const YAML: &str = r#"
frontends:
  front:
    bind: "{web}"
    rules: [{ use_backend: "%[path,field(2,/)]" }]
    default_backend: insert
backends:
  insert: { cookie: { name: app, mode: insert }, servers: &servers [{ name: s1, address: "{s1}", cookie: s1 }, { name: s2, address: "{s2}", cookie: s2 }, { name: down, address: "{dead}", cookie: down, disabled: true }] }
  indirect: { cookie: { name: app, mode: insert, indirect: true }, servers: *servers }
  nocache: { cookie: { name: app, mode: insert, indirect: true, nocache: true }, servers: *servers }
  preserve: { cookie: { name: app, mode: insert, indirect: true, preserve: true }, servers: *servers }
  dressed: { cookie: { name: app, mode: insert, indirect: true, nocache: true, httponly: true, secure: true, domain: .example.org, same_site: lax }, servers: *servers }
  aged: { cookie: { name: app, mode: insert, indirect: true, maxidle: 30m, maxlife: 8h }, servers: *servers }
  rewrite: { cookie: { name: app, mode: rewrite }, servers: *servers }
  prefix: { cookie: { name: app, mode: prefix }, servers: *servers }
  valueless: { cookie: { name: app, mode: insert, indirect: true }, servers: [{ name: s1, address: "{s1}" }, { name: s2, address: "{s2}", cookie: s2 }] }
"#;

const CFG: &str = r#"
frontend front
    bind {web}
    use_backend %[path,field(2,/)]
    default_backend insert
backend insert
    cookie app insert
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend indirect
    cookie app insert indirect
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend nocache
    cookie app insert indirect nocache
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend preserve
    cookie app insert indirect preserve
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend dressed
    cookie app insert indirect nocache httponly secure domain .example.org attr SameSite=Lax
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend aged
    cookie app insert indirect maxidle 30m maxlife 8h
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend rewrite
    cookie app rewrite
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend prefix
    cookie app prefix
    server s1 {s1} cookie s1
    server s2 {s2} cookie s2
    server down {dead} cookie down disabled
backend valueless
    cookie app insert indirect
    server s1 {s1}
    server s2 {s2} cookie s2
"#;

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["s2|zzzzz"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "a date after 2038 lies in the future; HAProxy takes it for one long ago",
    },
    Deviation {
        cases: &["app = s2"],
        field: "seen 1 header cookie",
        ours: "app = s2",
        theirs: "app=s2",
        why: "cookies that stay are sent on as they came",
    },
];
