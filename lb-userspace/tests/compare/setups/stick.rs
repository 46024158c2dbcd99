//! Clients that stay on their server by what a table remembers of them.

use crate::{
    case::{Setup, Via, get},
    run::compare,
};

#[test]
fn clients_stick_to_servers() {
    let mut cases = Vec::new();
    for user in ["a", "b", "a", "c", "b", "a", "c", "d", "d", "b"] {
        let header = format!("X-User: {user}\n");
        cases.push(get("/plain", &header).without_probe());
    }
    for _ in 0..4 {
        cases.push(get("/plain", "").without_probe().named("nobody"));
    }
    // It is the same clients however they speak, and whatever pieces their cookies come in.
    for user in ["a", "c", "e", "e"] {
        let case = get("/plain", &format!("X-User: {user}\n")).without_probe();
        cases.push(case.via("web", Via::H2));
    }
    for cookies in [
        "Cookie: sess=x\n",
        "Cookie: a=1\nCookie: sess=y\nCookie: b=2\n",
        "Cookie: sess=z; a=1\n",
        "Cookie: b=2\nCookie: sess=x\n",
        "Cookie: sess=y\n",
    ] {
        let case = get("/cookie/plain", cookies).without_probe();
        cases.push(case.clone().via("web", Via::H2));
        if cookies.matches("Cookie").count() == 1 {
            cases.push(case);
        }
    }
    // What a response has said names the server from then on.
    for (give, asks) in [
        ("one", ""),
        ("two", ""),
        ("", "one"),
        ("", "two"),
        ("", "one"),
        ("", "two"),
        ("", "three"),
    ] {
        let header = format!("X-Give: X-Session: {give}\nX-Session: {asks}\n");
        let header = match (give, asks) {
            ("", _) => format!("X-Session: {asks}\n"),
            (_, "") => format!("X-Give: X-Session: {give}\n"),
            _ => header,
        };
        cases.push(get("/session/plain", &header).without_probe());
    }
    // One table for two backends; what is not to be remembered is not.
    for user in ["a", "b", "c", "a", "b"] {
        let header = format!("X-User: {user}\n");
        cases.push(get("/other/plain", &header).without_probe());
    }
    compare(&Setup {
        name: "stick",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    rules:
      - { if: { path_prefix: /session/ }, use_backend: session }
      - { if: { path_prefix: /other/ }, use_backend: other }
      - { if: { path_prefix: /cookie/ }, use_backend: cookie }
    default_backend: app
backends:
  app:
    stick_table: { key: string, length: 16, size: 100, expire: 1m, store: [server_id] }
    stick: [{ on: req.hdr(X-User) }]
    servers: &servers
      - { name: s1, address: "{s1}" }
      - { name: s2, address: "{s2}" }
      - { name: s3, address: "{s3}" }
  cookie:
    stick_table: { key: string, length: 16, size: 100, store: [server_id] }
    stick: [{ on: req.cook(sess) }]
    servers: *servers
  session:
    stick_table: { key: string, length: 16, size: 100, store: [server_id] }
    stick: [{ match: req.hdr(X-Session) }, { store_response: res.hdr(X-Session) }]
    servers: *servers
  other:
    stick:
      - { match: req.hdr(X-User), table: app }
      - { store_request: req.hdr(X-User), table: app, if: { header: { name: X-User, value: b } } }
    servers: *servers
"#,
        cfg: "
frontend front
    bind {web}
    use_backend session if { path_beg /session/ }
    use_backend other if { path_beg /other/ }
    use_backend cookie if { path_beg /cookie/ }
    default_backend app
backend app
    stick-table type string len 16 size 100 expire 1m
    stick on req.hdr(X-User)
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend cookie
    stick-table type string len 16 size 100
    stick on req.cook(sess)
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend session
    stick-table type string len 16 size 100
    stick match req.hdr(X-Session)
    stick store-response res.hdr(X-Session)
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend other
    stick match req.hdr(X-User) table app
    stick store-request req.hdr(X-User) table app if { req.hdr(X-User) b }
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
",
        files: &[],
        cases,
        parallel: false,
        deviations: &[],
    });
}
