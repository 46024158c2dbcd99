//! What is wrong with what checks say and with what they are to hear.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "what checks send and expect",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
  api: { bind: "*:81", default_backend: b }
backends:
  a:
    health_check: { type: tcp, steps: [{ send: {} }, { expect: { min_recv: 3 } }, { expect: { text: a, hex: 0d } }] }
    servers: &servers [{ name: s1, address: "192.0.2.1:80" }]
  b:
    health_check: { type: http, expect: { headers: [{ value: a }, { name: "a b" }, { name: a, value: b, prefix: c }] } }
    servers: *servers
"#,
        found: &[
            "6:48 error: `send` does not say what => write a text, `{ hex: 0d0a }`, `{ template: … }` or `{ hex_template: … }`",
            r#"6:56 error: `expect` does not say what => write a text that has to come, `{ regex: "^OK" }`, `{ hex: 0d0a }`, `{ template: … }`, `{ hex_template: … }` or `{ not: … }`"#,
            "6:85 error: more than one thing is expected => write a step for each",
            "9:53 error: `name` is missing in `headers` => write `- { name: X-Ready, value: yes }`",
            "9:75 error: `a b` cannot be the name of a header => write a name such as `X-Check`",
            "9:84 error: more than one thing is said of a field => write a field for each: `- { name: …, prefix: … }`",
        ],
    },
    Case {
        name: "what checks cannot ask",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
backends:
  a:
    health_check: { type: http, path_template: "/%[fe_conn]", host: "%[src]", body_template: "%[path]", expect: { template: "%[bc_dst]", on_error: "%[last_rule_line]" } }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "5:48 error: a check has no client and no request that this could look at => ask for `var(check.NAME)`, `srv_name`, `nbsrv(BACKEND)` and the like",
            "5:69 error: a check has no client and no request that this could look at => ask for `var(check.NAME)`, `srv_name`, `nbsrv(BACKEND)` and the like",
            "5:94 error: a check has no client and no request that this could look at => ask for `var(check.NAME)`, `srv_name`, `nbsrv(BACKEND)` and the like",
            "5:125 error: a check has no client and no request that this could look at => ask for `var(check.NAME)`, `srv_name`, `nbsrv(BACKEND)` and the like",
            "5:148 error: a check has no client and no request that this could look at => ask for `var(check.NAME)`, `srv_name`, `nbsrv(BACKEND)` and the like",
        ],
    },
    Case {
        name: "what checks ask of others",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: a }
backends:
  a:
    health_check: { type: http, path_template: "/%[nbsrv(a)]%[nbsrv]%[be_conn]%[fe_conn(web)]%[be_server_timeout]", host: "%[nbsrv(b)]", body_template: "%[srv_is_up(a/s2)]" }
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "5:123 error: there is no backend `b` => did you mean `a`?",
            "5:153 error: there is no server `s2` in the backend `a` => did you mean `s1`?",
        ],
    },
];
