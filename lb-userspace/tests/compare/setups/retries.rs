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

#[test]
fn what_a_server_spoils_is_sent_again_where_the_file_says_so() {
    let mut cases = Vec::new();
    for backend in [
        "default", "never", "empty", "junk", "slow", "all", "moves", "every", "post",
    ] {
        for trouble in ["garbage", "half-head", "late", "no-version"] {
            cases.push(get(&format!("/{backend}/{trouble}"), ""));
        }
        cases.push(ask(&format!(
            "POST /{backend}/silent HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"
        )));
    }
    // To the others we repeat a GET all the same, if it went on a connection that had been idle.
    for backend in ["empty", "all", "moves", "every", "post"] {
        for trouble in ["silent", "reset"] {
            cases.push(get(&format!("/{backend}/{trouble}"), ""));
        }
    }
    for status in [401, 403, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505] {
        for backend in ["plain", "all-answers", "some", "moves-answers"] {
            cases.push(get(
                &format!("/{backend}/plain"),
                &format!("X-Status: {status} Told\n"),
            ));
        }
    }
    for (length, backend) in [
        (5, "all-answers"),
        (14_000, "all-answers"),
        (20_000, "all-answers"),
        (5, "some"),
    ] {
        let body = "x".repeat(length);
        cases.push(ask(&format!(
            "PUT /{backend}/plain HTTP/1.1\nHost: a\nX-Status: 500 Told\nContent-Length: {length}\n\n{body}"
        )));
    }
    cases.push(ask(
        "POST /all-answers/plain HTTP/1.1\nHost: a\nX-Status: 500 Told\nTransfer-Encoding: chunked\n\n5\nhello\n6\n world\n0\n\n",
    ));
    cases.push(ask(
        "HEAD /all-answers/plain HTTP/1.1\nHost: a\nX-Status: 503 Told\n\n",
    ));
    for backend in ["dead", "dead-never"] {
        cases.push(get(&format!("/{backend}/plain"), ""));
    }
    compare(&Setup {
        name: "retry-on",
        yaml: r#"
defaults:
  mode: http
  timeouts: { connect: 5s, client: 10s, server: 1s }
frontends:
  front:
    bind: "{web}"
    rules: [{ use_backend: "%[path,field(2,/)]" }]
    default_backend: plain
backends:
  plain: { servers: [{ name: s1, address: "{s1}" }] }
  all-answers: { retry_on: all-retryable-errors, retries: 2, servers: [{ name: s1, address: "{s1}" }] }
  moves-answers: { retry_on: all-retryable-errors, retries: 1, redispatch: 1, balance: first, servers: [{ name: s1, address: "{s1}" }, { name: s2, address: "{s2}" }] }
  default: { servers: [{ name: s1, address: "{s1}" }] }
  never: { retry_on: none, servers: [{ name: s1, address: "{s1}" }] }
  empty: { retry_on: empty-response, retries: 1, servers: [{ name: s1, address: "{s1}" }] }
  junk: { retry_on: junk-response, retries: 1, servers: [{ name: s1, address: "{s1}" }] }
  slow: { retry_on: response-timeout, retries: 1, servers: [{ name: s1, address: "{s1}" }] }
  all: { retry_on: all-retryable-errors, retries: 2, servers: [{ name: s1, address: "{s1}" }] }
  some: { retry_on: [401, 403, 404, 408, 425, 501], retries: 1, servers: [{ name: s1, address: "{s1}" }] }
  moves: { retry_on: all-retryable-errors, retries: 1, redispatch: 1, balance: first, servers: &two [{ name: s1, address: "{s1}" }, { name: s2, address: "{s2}" }] }
  every: { retry_on: [empty-response, junk-response], retries: 3, redispatch: 1, balance: first, servers: *two }
  post: { retry_on: all-retryable-errors, retries: 1, rules: [{ if: { method: POST }, disable_l7_retry: true }], servers: [{ name: s1, address: "{s1}" }] }
  dead: { retry_on: [500], servers: [{ name: dead, address: "{dead}" }] }
  dead-never: { retry_on: none, servers: [{ name: dead, address: "{dead}" }] }
"#,
        cfg: "
    timeout connect 5s
    timeout server 1s
frontend front
    bind {web}
    use_backend %[path,field(2,/)]
    default_backend plain
backend plain
    server s1 {s1}
backend all-answers
    retry-on all-retryable-errors
    retries 2
    server s1 {s1}
backend moves-answers
    retry-on all-retryable-errors
    retries 1
    option redispatch 1
    balance first
    server s1 {s1}
    server s2 {s2}
backend default
    server s1 {s1}
backend never
    retry-on none
    server s1 {s1}
backend empty
    retry-on empty-response
    retries 1
    server s1 {s1}
backend junk
    retry-on junk-response
    retries 1
    server s1 {s1}
backend slow
    retry-on response-timeout
    retries 1
    server s1 {s1}
backend all
    retry-on all-retryable-errors
    retries 2
    server s1 {s1}
backend some
    retry-on 401 403 404 408 425 501
    retries 1
    server s1 {s1}
backend moves
    retry-on all-retryable-errors
    retries 1
    option redispatch 1
    balance first
    server s1 {s1}
    server s2 {s2}
backend every
    retry-on empty-response junk-response
    retries 3
    option redispatch 1
    balance first
    server s1 {s1}
    server s2 {s2}
backend post
    retry-on all-retryable-errors
    retries 1
    http-request disable-l7-retry if METH_POST
    server s1 {s1}
backend dead
    retry-on 500
    server dead {dead}
backend dead-never
    retry-on none
    server dead {dead}
",
        files: &[],
        cases,
        parallel: true,
        deviations: &[],
    });
}

const DEVIATIONS: &[Deviation] = &[Deviation {
    cases: &["/last/"],
    field: "log 1 retries",
    ours: "+2",
    theirs: "+1",
    why: "HAProxy 2.6 redispatches at the first retry instead of the last, against its documentation, and later versions do not",
}];
