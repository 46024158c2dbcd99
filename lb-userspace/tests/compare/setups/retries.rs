//! Servers that cannot be reached, and what is tried then.

use crate::{
    case::{Deviation, Setup, ask, get},
    run::compare,
};

#[test]
fn what_cannot_be_reached_is_tried_again() {
    let mut cases = Vec::new();
    for backend in [
        "none",
        "disabled",
        "once",
        "twice",
        "elsewhere",
        "each",
        "last",
        "mute",
        "mute-elsewhere",
        "backup",
        "sticky",
        "sticky-elsewhere",
        "refuses",
    ] {
        cases.push(get(&format!("/{backend}/plain"), "Cookie: app=dead\n"));
        cases.push(ask(&format!(
            "POST /{backend}/plain HTTP/1.1\nHost: a\nCookie: app=dead\nContent-Length: 5\n\nhello"
        )));
    }
    // One alone, since they take turns.
    cases.push(get("/all-dead/plain", ""));
    for backend in ["none", "disabled", "once"] {
        cases.push(ask(&format!("HEAD /{backend}/plain HTTP/1.1\nHost: a\n\n")));
        cases.push(ask(&format!("GET /{backend}/plain HTTP/1.0\n\n")));
        cases.push(get(&format!("/{backend}/plain"), "Connection: close\n"));
    }
    compare(&Setup {
        name: "retries",
        yaml: r#"
defaults:
  mode: http
  timeouts: { connect: 300ms, client: 10s, server: 10s }
frontends:
  front:
    bind: "{web}"
    rules: [{ use_backend: "%[path,field(2,/)]" }]
    default_backend: none
backends:
  none: { servers: [] }
  disabled: { servers: [{ name: s1, address: "{s1}", disabled: true }] }
  once: { retries: 0, servers: [{ name: dead, address: "{dead}" }] }
  twice: { retries: 1, servers: [{ name: dead, address: "{dead}" }] }
  elsewhere: { retries: 1, redispatch: true, balance: first, servers: [{ name: dead, address: "{dead}" }, { name: s1, address: "{s1}" }] }
  each: { retries: 3, redispatch: 1, balance: first, servers: [{ name: dead, address: "{dead}" }, { name: s1, address: "{s1}" }] }
  last: { retries: 2, redispatch: -1, balance: first, servers: [{ name: dead, address: "{dead}" }, { name: s1, address: "{s1}" }] }
  mute: { retries: 1, servers: [{ name: mute, address: "{mute}" }] }
  mute-elsewhere: { retries: 1, redispatch: true, balance: first, servers: [{ name: mute, address: "{mute}" }, { name: s1, address: "{s1}" }] }
  all-dead: { retries: 2, redispatch: true, servers: [{ name: d1, address: "{dead}" }, { name: d2, address: "{dead}" }] }
  backup: { servers: [{ name: s1, address: "{s1}", disabled: true }, { name: s2, address: "{s2}", backup: true }] }
  sticky: { retries: 1, balance: first, cookie: &cookie { name: app, mode: insert, indirect: true }, servers: &servers [{ name: dead, address: "{dead}", cookie: dead }, { name: s1, address: "{s1}", cookie: s1 }] }
  sticky-elsewhere: { retries: 1, redispatch: true, balance: first, cookie: *cookie, servers: *servers }
  refuses: { retries: 1, redispatch: false, balance: first, servers: [{ name: dead, address: "{dead}" }, { name: s1, address: "{s1}" }] }
"#,
        cfg: "
    timeout connect 300ms
frontend front
    bind {web}
    use_backend %[path,field(2,/)]
    default_backend none
backend none
backend disabled
    server s1 {s1} disabled
backend once
    retries 0
    server dead {dead}
backend twice
    retries 1
    server dead {dead}
backend elsewhere
    retries 1
    option redispatch
    balance first
    server dead {dead}
    server s1 {s1}
backend each
    retries 3
    option redispatch 1
    balance first
    server dead {dead}
    server s1 {s1}
backend last
    retries 2
    option redispatch -1
    balance first
    server dead {dead}
    server s1 {s1}
backend mute
    retries 1
    server mute {mute}
backend mute-elsewhere
    retries 1
    option redispatch
    balance first
    server mute {mute}
    server s1 {s1}
backend all-dead
    retries 2
    option redispatch
    server d1 {dead}
    server d2 {dead}
backend backup
    server s1 {s1} disabled
    server s2 {s2} backup
backend sticky
    retries 1
    balance first
    cookie app insert indirect
    server dead {dead} cookie dead
    server s1 {s1} cookie s1
backend sticky-elsewhere
    retries 1
    option redispatch
    balance first
    cookie app insert indirect
    server dead {dead} cookie dead
    server s1 {s1} cookie s1
backend refuses
    retries 1
    no option redispatch
    balance first
    server dead {dead}
    server s1 {s1}
",
        files: &[],
        cases,
        parallel: true,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["/last/"],
    field: "log 1 retries",
    ours: "+2",
    theirs: "+1",
    why: "HAProxy 2.6 redispatches at the first retry instead of the last, against its documentation, and later versions do not",
}];
