//! Rules over loopback: what clients get, what servers see, what is logged and counted.

use std::{path::PathBuf, sync::Mutex};

use super::*;
use crate::config::{self, model::Address};

impl Harness {
    /// A proxy with this configuration.
    pub(super) fn of(config: Config) -> Self {
        // One worker, so that which connections are idle there is no matter of chance.
        Self::start(config, 1)
    }
}

/// A server that answers with what it has got: the request's head.
fn echo(status: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    let address = server(move |mut stream| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while stream.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nServer: me\r\nX-Secret: 1\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                heads.lock().unwrap().push(text);
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    (address, seen)
}

/// A frontend `f` with these rules and its backend `b` with those; more backends may follow.
pub(super) struct Rules {
    pub(super) harness: Harness,
    _folder: Folder,
}

impl Rules {
    pub(super) fn new(servers: &[SocketAddr], frontend: &str, backend: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, SeqCst);
        let name = format!("lb-rules-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self::within(folder, servers, frontend, backend)
    }

    pub(super) fn within(
        folder: PathBuf,
        servers: &[SocketAddr],
        frontend: &str,
        backend: &str,
    ) -> Self {
        let list = |servers: &[SocketAddr]| {
            let each = servers.iter().enumerate();
            let each = each.map(|(i, at)| format!("{{ name: s{i}, address: \"{at}\" }}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "userlists: {{ ops: {{ admin: \"secret\" }} }}\ndefaults: {{ timeouts: {{ connect: 200ms }} }}\nfrontends:\n  \
             f:\n    bind: \"127.0.0.1:0\"\n    default_backend: b\n{frontend}\nbackends:\n  b:\n    servers: [{}]\n{backend}\n  \
             c: {{ servers: [{}] }}\n",
            list(servers),
            list(servers),
        );
        let folder = Folder(folder);
        let path = folder.0.join("lb.yaml");
        std::fs::write(&path, text.replace("127.0.0.1:0\"", "127.0.0.1:1\"")).unwrap();
        let loaded = config::load(&path, &|_| None).unwrap_or_else(|found| panic!("{found}"));
        let mut config = loaded.config;
        let mut frontend = model::Frontend::clone(&config.frontends[0]);
        frontend.binds[0].address = Address::Inet(([127, 0, 0, 1], 0).into());
        config.frontends = vec![Arc::new(frontend)];
        Self {
            harness: Harness::of(config),
            _folder: folder,
        }
    }

    /// The answer to a request, its line and fields as given.
    pub(super) fn ask(&self, line: &str, fields: &str) -> String {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n{fields}\r\n"
        );
        self.harness.ask(&request)
    }

    pub(super) fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path}"), "")
    }
}

/// The end of a log line: backend/server, status, termination, request.
fn gist(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    let request = line.split('"').nth(1).unwrap_or_default();
    format!("{} {} {} {request}", fields[1], fields[3], fields[7])
}

pub(super) fn cleaned(rules: Rules) -> Vec<String> {
    let lines = rules.harness.logged();
    lines.iter().map(|line| gist(line)).collect()
}

#[test]
fn local_answers_are_haproxys_in_bytes_log_and_counters() {
    let (at, seen) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        r#"    rules:
      - { if: { path: /deny }, deny: true }
      - { if: { path: /429 }, deny: { status: 429 } }
      - { if: { path: /loc }, redirect: { location: /x, set_cookie: "SEEN=1" } }
      - { if: { path: /pre }, redirect: { prefix: "https://h.example", code: 301 } }
      - { if: { path: /sch }, redirect: { scheme: https, code: 308 } }
      - { if: { path: /ret }, return: { body: "hello %[path]", headers: { X-A: "%[src]" } } }
      - { if: { path: /204 }, return: 204 }
      - { if: { path: /auth }, auth: { users: ops } }
      - { if: { path: /tarpit }, tarpit: true }
"#,
        "",
    );
    let html = "cache-control: no-cache\r\ncontent-type: text/html\r\n";
    let close = "connection: close\r\n\r\n";
    for (path, want) in [
        (
            "/deny",
            format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 93\r\n{html}{close}<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n"
            ),
        ),
        (
            "/429",
            format!(
                "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 117\r\n{html}{close}<html><body><h1>429 Too Many Requests</h1>\nYou have sent too many requests in a given amount of time.\n</body></html>\n"
            ),
        ),
        (
            "/loc",
            format!(
                "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: /x\r\ncache-control: no-cache\r\nset-cookie: SEEN=1; path=/;\r\n{close}"
            ),
        ),
        (
            "/pre?q=1",
            format!(
                "HTTP/1.1 301 Moved Permanently\r\ncontent-length: 0\r\nlocation: https://h.example/pre?q=1\r\n{close}"
            ),
        ),
        (
            "/sch",
            format!(
                "HTTP/1.1 308 Permanent Redirect\r\ncontent-length: 0\r\nlocation: https://www.example.org/sch\r\n{close}"
            ),
        ),
        (
            "/ret",
            format!(
                "HTTP/1.1 200 OK\r\nx-a: 127.0.0.1\r\ncontent-length: 10\r\ncontent-type: text/plain\r\n{close}hello /ret"
            ),
        ),
        ("/204", format!("HTTP/1.1 204 No Content\r\n{close}")),
        (
            "/auth",
            format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 112\r\n{html}www-authenticate: Basic realm=\"f\"\r\n{close}<html><body><h1>401 Unauthorized</h1>\nYou need a valid user and password to access this content.\n</body></html>\n"
            ),
        ),
        (
            "/tarpit",
            format!(
                "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 97\r\n{html}{close}<html><body><h1>500 Internal Server Error</h1>\nAn internal server error occurred.\n</body></html>\n"
            ),
        ),
    ] {
        assert_eq!(rules.get(path), want, "{path}");
    }
    assert!(
        seen.lock().unwrap().is_empty(),
        "no server has seen any of it"
    );
    let passed = rules.ask("GET /auth", "Authorization: Basic YWRtaW46c2VjcmV0\r\n");
    assert!(passed.starts_with("HTTP/1.1 200 OK\r\n"), "{passed}");
    let counters = &rules.harness.shared.topology.frontends[0].counters;
    assert_eq!(counters.denied_requests.value(), 3, "auth does not count");
    let lines = cleaned(rules);
    assert_eq!(
        lines,
        [
            "f/<NOSRV> 403 PR-- GET /deny HTTP/1.1",
            "f/<NOSRV> 429 PR-- GET /429 HTTP/1.1",
            "f/<NOSRV> 302 LR-- GET /loc HTTP/1.1",
            "f/<NOSRV> 301 LR-- GET /pre?q=1 HTTP/1.1",
            "f/<NOSRV> 308 LR-- GET /sch HTTP/1.1",
            "f/<NOSRV> 200 LR-- GET /ret HTTP/1.1",
            "f/<NOSRV> 204 LR-- GET /204 HTTP/1.1",
            "f/<NOSRV> 401 LR-- GET /auth HTTP/1.1",
            "f/<NOSRV> 500 PT-- GET /tarpit HTTP/1.1",
            "b/s0 200 ---- GET /auth HTTP/1.1",
        ]
    );
}

#[test]
fn requests_and_responses_are_edited_and_sent_where_rules_say() {
    let (at, seen) = echo("404 Not Found");
    let rules = Rules::new(
        &[at],
        r#"    acls:
      api: { path_prefix: /api/ }
    rules:
      - set_header: { X-Client: "%[src] %[hdr(host),upper]" }
        del_header: [X-Debug, "X-Internal-*"]
        replace_path: { regex: "^/old/(.*)", with: '/new/\1' }
        set_var: { txn.first: "%[path,field(2,/)]" }
      - { if: { query: { name: drop, present: true } }, set_query: "kept=%[urlp(keep)]" }
      - { if: { path_prefix: /old/ }, response: { set_header: { X-Old: "%[path] %[status] %[var(txn.first)]" } } }
      - { response: { if: { status: 4xx }, set_status: 410, del_header: X-Secret } }
      - { if: [ "!api", { header: { name: X-To, value: c } } ], use_backend: "%[req.hdr(x-to)]" }
      - { if: api, use_backend: c }
"#,
        r#"    rules:
      - { set_header: { X-Backend: "%[be_name] %[nbsrv]" } }
      - { response: { add_header: { X-By: b } } }
"#,
    );
    let answer = rules.ask(
        "GET /old/a?drop&keep=1",
        "X-Debug: 1\r\nX-Internal-A: 1\r\nX-Client: me\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 410 "), "{answer}");
    assert!(answer.contains("\r\nx-old: /old/a 404 new\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nx-by: b\r\n") && !answer.contains("x-secret"),
        "{answer}"
    );
    let head = seen.lock().unwrap().pop().unwrap();
    assert!(head.starts_with("GET /new/a?kept=1 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\nx-client: 127.0.0.1 WWW.EXAMPLE.ORG\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nx-backend: b 1\r\n"), "{head}");
    assert!(
        !head.contains("x-debug") && !head.contains("x-internal"),
        "{head}"
    );
    rules.get("/api/x");
    rules.ask("GET /x", "X-To: a, c\r\n");
    let lines = cleaned(rules);
    assert_eq!(
        lines,
        [
            "b/s0 410 ---- GET /old/a?drop&keep=1 HTTP/1.1",
            "c/s0 410 ---- GET /api/x HTTP/1.1",
            "c/s0 410 ---- GET /x HTTP/1.1",
        ]
    );
}

#[test]
fn rules_ask_for_proxies_and_servers_by_name() {
    let (at, seen) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    rules:\n      - { set_header: { X-Facts: \"%[nbsrv(c)] %[srv_is_up(c/s0)] %[srv_weight(b/s0)] %[fe_conn(f)] %[be_conn(c)]\" } }\n",
        "",
    );
    rules.get("/");
    let server = &rules.harness.shared.topology.backends[1].servers[0];
    rules.harness.shared.topology.backends[1].set_admin(server, crate::topology::AdminState::Maint);
    rules.get("/");
    let seen = seen.lock().unwrap().concat();
    assert!(seen.contains("\r\nx-facts: 1 1 1 1 0\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-facts: 0 0 1 1 0\r\n"), "{seen}");
    cleaned(rules);
}

#[test]
fn a_denied_response_is_answered_for_and_counted() {
    let (at, _) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    rules:\n      - { response: { if: { header: { name: x-secret, present: true } }, deny: true } }\n",
        "",
    );
    let answer = rules.get("/");
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    let topology = &rules.harness.shared.topology;
    let denied = [
        topology.frontends[0].counters.denied_responses.value(),
        topology.backends[0].counters.denied_responses.value(),
        topology.backends[0].servers[0]
            .counters
            .denied_responses
            .value(),
    ];
    assert_eq!(denied, [1, 1, 1]);
    assert_eq!(cleaned(rules), ["b/s0 502 PH-- GET / HTTP/1.1"]);
}

#[test]
fn rates_are_limited_by_key_and_say_when_to_come_again() {
    let (at, _) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    rules:\n      - { rate_limit: { key: \"header:X-Key\", rate: \"1/1h\", burst: 2 } }\n",
        "",
    );
    let statuses = |key: &str| rules.ask("GET /", key)[9..12].to_owned();
    assert_eq!(
        [statuses("X-Key: a\r\n"), statuses("X-Key: a\r\n")],
        ["200", "200"]
    );
    let refused = rules.ask("GET /", "X-Key: a\r\n");
    assert!(
        refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
        "{refused}"
    );
    let after = refused
        .split("retry-after: ")
        .nth(1)
        .and_then(|rest| rest.split('\r').next());
    let after: u32 = after.unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&after), "{after}");
    assert_eq!([statuses("X-Key: b\r\n"), statuses("")], ["200", "200"]);
    assert_eq!(statuses("X-Key: a\r\n"), "429");
    cleaned(rules);
}

#[test]
fn tables_count_what_is_tracked() {
    let (at, _) = echo("404 Not Found");
    let rules = Rules::new(
        &[at],
        r#"    stick_table: { key: string, store: [http_req_cnt, http_err_cnt, conn_cur, gpc0, "http_req_rate(1h)"] }
    rules:
      - { track: { key: "%[req.hdr(x-key)]" } }
      - { if: { path: /bad }, inc_gpc0: 0 }
      - if: { expr: { of: "sc_get_gpc0(0)", value: "gt 0" } }
        return: { body: "%[sc_http_req_cnt(0)] %[sc_http_err_cnt(0)] %[sc_conn_cur(0)] %[sc_http_req_rate(0)] %[sc_get_gpc0(0)]" }
"#,
        "",
    );
    let ask =
        |path: &str, key: &str| rules.ask(&format!("GET {path}"), &format!("X-Key: {key}\r\n"));
    for _ in 0..3 {
        assert!(ask("/", "a").starts_with("HTTP/1.1 404 "));
    }
    let body = |answer: String| answer.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert_eq!(body(ask("/bad", "a")), "4 3 1 4 1");
    assert_eq!(body(ask("/", "a")), "5 3 1 5 1");
    assert!(ask("/", "b").starts_with("HTTP/1.1 404 "), "another key");
    cleaned(rules);
}

#[test]
fn maps_are_followed() {
    let (at, _) = echo("200 OK");
    let folder = std::env::temp_dir().join(format!("lb-rules-map-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("hosts.map");
    std::fs::write(&file, "www.example.org c\n").unwrap();
    let rules = Rules::within(
        folder,
        &[at],
        "    rules:\n      - { use_backend: \"%[host,map(hosts.map,b)]\" }\n",
        "",
    );
    rules.get("/1");
    std::fs::write(&file, "www.example.org nobody # longer\n").unwrap();
    for map in &rules.harness.shared.config.maps {
        assert_eq!(map.refresh(), Ok(None));
        assert_eq!(map.refresh(), Ok(Some(1)));
    }
    // A name that is no backend's goes on with the list.
    rules.get("/2");
    assert_eq!(
        cleaned(rules),
        [
            "c/s0 200 ---- GET /1 HTTP/1.1",
            "b/s0 200 ---- GET /2 HTTP/1.1"
        ]
    );
}

#[test]
fn a_body_that_a_rule_does_not_want_does_not_hurt_the_next_request() {
    let (at, _) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    rules:\n      - { if: { path: /deny }, deny: true }\n",
        "",
    );
    let answer = rules.harness.ask(
        "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        answer.contains("HTTP/1.1 200 OK\r\n") && answer.contains("GET /x HTTP/1.1"),
        "{answer}"
    );
    cleaned(rules);
}

#[test]
fn pages_of_ones_own_stand_for_answers_of_ours() {
    let (at, _) = echo("200 OK");
    let folder = std::env::temp_dir().join(format!("lb-rules-pages-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("403.http"),
        "HTTP/1.0 403 Forbidden\nContent-Type: text/plain\nContent-Length: 99\nX-Page: 1\n\nno way",
    )
    .unwrap();
    std::fs::write(folder.join("400.json"), "{}").unwrap();
    let rules = Rules::within(
        folder,
        &[at],
        "    errorfiles: { 403: 403.http, 400: 400.json }\n    rules:\n      - { if: { path: /deny }, deny: true }\n",
        "",
    );
    assert_eq!(
        rules.get("/deny"),
        "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\nx-page: 1\r\ncontent-length: 6\r\nconnection: close\r\n\r\nno way"
    );
    assert_eq!(
        rules.harness.ask("nonsense\r\n\r\n"),
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    );
    cleaned(rules);
}

#[test]
fn a_requests_name_may_be_made_of_where_the_client_came_to() {
    let (at, seen) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    unique_id: { header: X-Request-ID, format: \"%[dst]:%[dst_port]-%[src_port]\" }\n",
        "",
    );
    rules.get("/");
    let head = seen.lock().unwrap().pop().unwrap();
    let id = head.split("\r\nx-request-id: ").nth(1).unwrap();
    let (to, from) = id.split_once('\r').unwrap().0.split_once('-').unwrap();
    assert_eq!(to, rules.harness.address.to_string());
    assert!(!to.ends_with(&format!(":{from}")), "{id}");
    cleaned(rules);
}

#[test]
fn a_request_has_one_name_wherever_it_is_asked_for() {
    let (at, seen) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    unique_id: { header: X-Request-ID }\n    rules:\n      - { set_header: { X-Copy: \"%[unique-id]\" }, \
         response: { set_header: { X-Request-ID: \"%[unique-id]\" } } }\n",
        "",
    );
    let answer = rules.ask("GET /", "X-Request-ID: mine\r\n");
    let field = |text: &str, name: &str| {
        let value = text.split(&format!("\r\n{name}: ")).nth(1).unwrap();
        value.split('\r').next().unwrap().to_owned()
    };
    let id = field(&answer, "x-request-id");
    assert_eq!(id.len(), 36, "{answer}");
    let head = seen.lock().unwrap().pop().unwrap();
    assert_eq!(field(&head, "x-request-id"), id);
    assert_eq!(field(&head, "x-copy"), id);
    let second = rules.get("/");
    assert_ne!(field(&second, "x-request-id"), id);
    cleaned(rules);
}

#[test]
fn no_client_names_away_what_rules_set_or_hides_from_them_what_the_server_sees() {
    let (at, seen) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    rules:\n      - { if: { header: { name: x-hidden, present: true } }, deny: 403 }\n      \
         - { set_header: { X-Who: \"%[src]\" } }\n",
        "    rules:\n      - { set_header: { X-Backend: b } }\n",
    );
    let named = "Connection: X-Who, x-backend, X-Hidden\r\nX-Who: me\r\nX-Hidden: 1\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{named}Connection: close\r\n\r\n");
    let answer = rules.harness.ask(&request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = seen.lock().unwrap().pop().unwrap();
    assert!(head.contains("\r\nx-who: 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-backend: b\r\n"), "{head}");
    assert!(!head.contains("x-hidden"), "{head}");
    cleaned(rules);
}

#[test]
fn a_changed_status_keeps_a_message_whole() {
    let with_body = echo("200 OK").0;
    let without = server(|mut stream| {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
            let answer = "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let answered = |at: SocketAddr, status: u16| {
        let rules = format!("    rules:\n      - {{ response: {{ set_status: {status} }} }}\n");
        let rules = Rules::new(&[at], &rules, "");
        let answer = rules.get("/");
        cleaned(rules);
        answer
    };
    for status in [204, 304] {
        let answer = answered(with_body, status);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length"), "{answer}");
    }
    let answer = answered(without, 200);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
    let answer = answered(without, 304);
    assert!(answer.contains("\r\ncontent-length: 7\r\n"), "{answer}");
}

#[test]
fn a_host_that_a_rule_makes_of_what_a_client_sends_is_a_host() {
    let (at, seen) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        "    rules:\n      - { set_header: { Host: \"%[urlp(to),url_dec]\" } }\n",
        "",
    );
    for (to, status) in [
        ("a.example:8080", 200),
        ("a%20b", 500),
        ("a/b", 500),
        ("a%0d%0ax:y", 500),
    ] {
        let answer = rules.get(&format!("/?to={to}"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{to}: {answer}"
        );
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("\r\nhost: a.example:8080\r\n"), "{seen:?}");
    drop(seen);
    cleaned(rules);
}

#[test]
fn what_is_always_done_holds_for_answers_of_ours_too() {
    let (at, _) = echo("200 OK");
    let rules = Rules::new(
        &[at],
        r#"    monitor: { uri: /alive }
    rules:
      - { response: { always: true, if: { not: { path: /alive } }, set_header: { X-Else: "1" } } }
      - { response: { always: true, if: { path: /empty }, set_status: 204 } }
      - { if: { path_prefix: /empty }, deny: true }"#,
        "",
    );
    let alive = rules.get("/alive");
    assert!(
        alive.starts_with("HTTP/1.1 200 ") && !alive.contains("x-else"),
        "{alive}"
    );
    let empty = rules.get("/empty");
    assert!(empty.starts_with("HTTP/1.1 204 "), "{empty}");
    assert!(
        !empty.to_ascii_lowercase().contains("content-length"),
        "{empty}"
    );
    assert!(
        empty.ends_with("\r\n\r\n") && empty.contains("x-else: 1"),
        "{empty}"
    );
    assert!(rules.get("/empty/not").starts_with("HTTP/1.1 403 "));
    cleaned(rules);
}
