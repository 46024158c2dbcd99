//! Mode http beside HAProxy: the same requests to both, in front of the same servers, and the same answers.
//!
//! Both run the classic configuration for path routing with sticky cookies, HAProxy its own and `lb` the YAML of it. For
//! each request the status, the body, every header line and what the server saw must be equal; lines of one name keep
//! their order. Where they are not meant to be, [`ALLOWED`] and [`STRICTER`] say so and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use lb_tests::client::{self, Response};
use lb_tests::process::Process;
use lb_tests::scratch::Scratch;
use lb_tests::server::{Answer, Body, Protocol, Request, Server};
use lb_tests::{Daemon, Lab, skip, wait};

/// Where each of the two listens, on the service's address.
const LB: u16 = 9001;
const HAPROXY: u16 = 9101;

/// Backends: name, path that leads there, port of its servers, and which of its two servers run.
const BACKENDS: [(&str, Option<&str>, u16, &[usize]); 3] = [
    ("ms1", Some("/ms1/"), 8080, &[0]),
    ("ms2", Some("/ms2/"), 8081, &[]),
    ("def", None, 8082, &[0, 1]),
];

/// Header lines of a response.
type Fields = &'static [(&'static str, &'static str)];

/// Responses that a cache might keep and others, by the last part of the path.
const RESPONSES: &[(&str, u16, Fields)] = &[
    (
        "plain",
        200,
        &[
            ("Content-Type", "text/plain"),
            ("X-Mixed-Case", "Kept Value"),
        ],
    ),
    (
        "modified",
        200,
        &[("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")],
    ),
    ("public", 200, &[("Cache-Control", "public, max-age=60")]),
    ("private", 200, &[("Cache-Control", "private, max-age=60")]),
    ("nocache", 200, &[("Cache-Control", "no-cache")]),
    (
        "expires",
        200,
        &[("Expires", "Mon, 01 Jan 2034 00:00:00 GMT")],
    ),
    ("pragma", 200, &[("Pragma", "no-cache"), ("Expires", "0")]),
    ("etag", 200, &[("ETag", "\"x\"")]),
    (
        "cookies",
        200,
        &[
            ("Set-Cookie", "z=1"),
            ("Set-Cookie", "y=2"),
            ("Date", "now"),
            ("Server", "me"),
        ],
    ),
    ("notfound", 404, &[]),
    ("error", 500, &[]),
];

/// A header line that is known to differ: which of the two has it, and why that is as it should be.
const ALLOWED: &[(&str, &str)] = &[(
    "HTTP/1.0 ",
    "hyper answers a client that speaks HTTP/1.0 in that version, HAProxy in its own; RFC 9110 section 6.2 allows both",
)];

/// Requests that the two treat differently on purpose: what is sent, our status, HAProxy's, and why.
const STRICTER: &[(&str, u16, u16, &str)] = &[
    (
        "GET /plain HTTP/1.1\r\n\r\n",
        400,
        200,
        "RFC 9112 section 3.2: HTTP/1.1 without Host is refused",
    ),
    (
        "GET /plain HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        400,
        200,
        "RFC 9112 section 3.2: more than one Host is refused, equal or not",
    ),
    (
        "GET /plain HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        400,
        200,
        "RFC 9112 section 5.2: folded lines are refused instead of being unfolded",
    ),
    (
        "GET /plain HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
        400,
        200,
        "some servers take `_` for `-`, and would see a coding that we did not",
    ),
    (
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        405,
        200,
        "a reverse proxy opens no tunnels",
    ),
    (
        "GET /plain HTTP/1.2\r\nHost: a\r\n\r\n",
        400,
        200,
        "there is no such version",
    ),
    (
        "POST /plain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        422,
        "RFC 9112 section 6.1: a coding that is not understood is answered with 501",
    ),
];

/// Requests that are none.
const BAD: &[&str] = &[
    "garbage\r\n\r\n",
    "GET /plain\r\n\r\n",
    "GET plain HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /plain HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET /plain HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET http://b/plain HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /plain HTTP/1.1\r\nno colon\r\n\r\n",
    "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
];

#[test]
fn the_same_requests_have_the_same_answers() {
    if skip::without_lb() || skip::without_tool("haproxy") {
        return;
    }
    let world = World::start();
    let _daemons = world.daemons();
    let requests = requests();
    assert!(requests.len() > 300, "{}", requests.len());
    let differences: Vec<String> = requests
        .iter()
        .filter_map(|request| world.compare(request))
        .collect();
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn what_is_no_request_is_refused_alike_or_more_strictly() {
    if skip::without_lb() || skip::without_tool("haproxy") {
        return;
    }
    let world = World::start();
    let _daemons = world.daemons();
    for request in BAD {
        let (ours, theirs) = (world.ask(LB, request), world.ask(HAPROXY, request));
        assert_eq!(
            (ours.status, &ours.body),
            (theirs.status, &theirs.body),
            "{request:?}"
        );
        assert_eq!(
            (ours.kept, theirs.kept),
            (false, false),
            "{request:?} ends the connection"
        );
        assert_eq!(
            (&ours.seen, &theirs.seen),
            (&None, &None),
            "{request:?} reaches no server"
        );
    }
    for (request, ours, theirs, why) in STRICTER {
        let got = world.ask(LB, request);
        assert_eq!(
            (got.status, &got.seen),
            (*ours, &None),
            "{request:?}: {why}"
        );
        assert_eq!(
            world.ask(HAPROXY, request).status,
            *theirs,
            "{request:?}: HAProxy has changed its mind"
        );
    }
}

/// Every path with every cookie by every method, and some that stand alone.
fn requests() -> Vec<String> {
    let cookies = |backend: &str| {
        let name = format!("HA_STICKY_{backend}");
        [
            String::new(),
            format!("Cookie: {name}={backend}.srv1\r\n"),
            // In ms1 this one is down.
            format!("Cookie: {name}={backend}.srv2\r\n"),
            format!("Cookie: {name}=unknown\r\n"),
            format!("Cookie: a=1; {name}={backend}.srv1; b=2\r\n"),
            format!("Cookie: a=1\r\nCookie: {name}={backend}.srv1; c=3\r\nCookie: d=4\r\n"),
        ]
    };
    let mut requests = Vec::new();
    for (backend, path, ..) in BACKENDS {
        for (last, ..) in RESPONSES {
            // All that ms2 has to say is that it has no server.
            if backend == "ms2" && *last != "plain" {
                continue;
            }
            let path = format!("{}{last}", path.unwrap_or("/"));
            for cookie in cookies(backend) {
                for (method, body) in [
                    ("GET", "\r\n"),
                    ("HEAD", "\r\n"),
                    ("POST", "Content-Length: 5\r\n\r\nhello"),
                ] {
                    requests.push(format!(
                        "{method} {path} HTTP/1.1\r\nHost: a\r\n{cookie}{body}"
                    ));
                }
            }
        }
    }
    for extra in [
        "GET /MS1/plain?q=/ms2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plain HTTP/1.1\r\nHost: a:8080\r\nX-Forwarded-For: 192.0.2.1\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n",
        "GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /ms2/plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /plain HTTP/1.0\r\n\r\n",
        "GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST /plain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "DELETE /plain HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /plain HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        requests.push(extra.to_owned());
    }
    requests
}

/// The laboratory with its servers.
struct World {
    lab: Lab,
    servers: Vec<Server>,
}

/// Header lines by lower-case name, those of one name in their order.
type Lines = BTreeMap<String, Vec<String>>;

/// What came of one request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    status_line: String,
    headers: Lines,
    body: Vec<u8>,
    /// Whether the connection carried another request.
    kept: bool,
    /// What a server saw of it: request line, header lines, body.
    seen: Option<(String, Lines, Vec<u8>)>,
}

impl World {
    fn start() -> World {
        let lab = Lab::builder().servers(2).build().unwrap();
        let mut servers = Vec::new();
        for (backend, path, port, running) in BACKENDS {
            for &i in running {
                let (name, address) = (
                    format!("{backend}.srv{}", i + 1),
                    SocketAddr::from((lab.server_addr(i), port)),
                );
                let server = Server::start(lab.server(i), &name, Protocol::Http, address).unwrap();
                for (last, status, headers) in RESPONSES {
                    let answer = Answer {
                        status: *status,
                        headers: headers
                            .iter()
                            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                            .collect(),
                        body: Body::Bytes(b"what the server says".to_vec()),
                        ..Answer::default()
                    };
                    server.set_answer_for(&format!("{}{last}", path.unwrap_or("/")), answer);
                }
                server.set_answer(Answer {
                    body: Body::Bytes(b"else".to_vec()),
                    ..Answer::default()
                });
                servers.push(server);
            }
        }
        World { lab, servers }
    }

    /// Starts both; they are ready when each says that ms2 and the server that does not run are down.
    fn daemons(&self) -> (Daemon<'_>, Process, Scratch) {
        let daemon = Daemon::builder(&self.lab, &self.yaml())
            .fast_path("attach: off")
            .start()
            .unwrap();
        let files = Scratch::files(self.lab.tag(), "haproxy").unwrap();
        let file = files.path().join("haproxy.cfg");
        std::fs::write(&file, self.cfg()).unwrap();
        let haproxy = Process::start(haproxy(&self.lab, &file)).unwrap();
        for port in [LB, HAPROXY] {
            wait::until_true(format!("port {port} knows which servers are down"), || {
                let holder =
                    "GET /ms1/plain HTTP/1.1\r\nHost: a\r\nCookie: HA_STICKY_ms1=ms1.srv2\r\n\r\n";
                let none = "GET /ms2/plain HTTP/1.1\r\nHost: a\r\n\r\n";
                let status = |request| {
                    self.try_ask(port, request)
                        .map(|(response, _)| response.status)
                };
                status(none) == Some(503) && status(holder) == Some(200)
            })
            .unwrap();
        }
        (daemon, haproxy, files)
    }

    fn yaml(&self) -> String {
        let mut text = format!(
            "defaults:\n  mode: http\n  forwarded_for: true\n\
             \x20 timeouts: {{ connect: 5s, client: 10s, server: 50s }}\n\
             \x20 health_check: {{ type: http, method: GET, path: /healthCheck.html }}\n\
             frontends:\n  http-in:\n    bind: \"*:{LB}\"\n    rules:\n"
        );
        for (backend, path, ..) in BACKENDS {
            if let Some(path) = path {
                let _ = writeln!(
                    text,
                    "      - {{ if: {{ path_prefix: {path}, ignore_case: true }}, use_backend: {backend} }}"
                );
            }
        }
        text.push_str("    default_backend: def\nbackends:\n");
        for (backend, _, port, _) in BACKENDS {
            let _ = writeln!(
                text,
                "  {backend}:\n    balance: roundrobin\n    cookie: {{ name: HA_STICKY_{backend}, mode: insert, \
                 indirect: true, nocache: true }}\n    servers:"
            );
            for i in 0..2 {
                let (name, address) = (format!("{backend}.srv{}", i + 1), self.lab.server_addr(i));
                let _ = writeln!(
                    text,
                    "      - {{ name: {name}, address: \"{address}:{port}\", cookie: {name}, maxconn: 300 }}"
                );
            }
        }
        text
    }

    fn cfg(&self) -> String {
        let mut text = format!(
            "global\n    maxconn 1000\ndefaults\n    mode http\n    option http-keep-alive\n    option forwardfor\n\
             \x20   retries 3\n    timeout connect 5s\n    timeout client 10s\n    timeout server 50s\n\
             \x20   option httpchk GET /healthCheck.html\nfrontend http-in\n    bind *:{HAPROXY}\n"
        );
        for (backend, path, ..) in BACKENDS {
            if let Some(path) = path {
                let _ = writeln!(
                    text,
                    "    acl url_{backend} path_beg -i {path}\n    use_backend {backend} if url_{backend}"
                );
            }
        }
        text.push_str("    default_backend def\n");
        for (backend, _, port, _) in BACKENDS {
            let _ = writeln!(
                text,
                "backend {backend}\n    balance roundrobin\n    cookie HA_STICKY_{backend} insert indirect nocache"
            );
            for i in 0..2 {
                let (name, address) = (format!("{backend}.srv{}", i + 1), self.lab.server_addr(i));
                let _ = writeln!(
                    text,
                    "    server {name} {address}:{port} cookie {name} maxconn 300 check"
                );
            }
        }
        text
    }

    /// Sends a request; the response, and whether the connection carries another.
    fn try_ask(&self, port: u16, request: &str) -> Option<(Response, bool)> {
        let address = SocketAddr::from((self.lab.service_addr(), port));
        let mut stream = client::connect(self.lab.client(), address, None).ok()?;
        // An empty line before the request is no part of it, nor of what decides whether a body follows.
        let response = client::exchange(&mut stream, request.as_bytes()).ok()?;
        let kept =
            client::exchange(&mut stream, b"GET /another HTTP/1.1\r\nHost: a\r\n\r\n").is_ok();
        Some((response, kept))
    }

    fn ask(&self, port: u16, request: &str) -> Outcome {
        self.take_requests();
        let (response, kept) = self
            .try_ask(port, request)
            .unwrap_or_else(|| panic!("no answer on port {port} to {request:?}"));
        let mut seen = self.take_requests();
        seen.retain(|(_, request)| request.target != "/another");
        assert!(seen.len() <= 1, "{request:?} came twice: {seen:?}");
        let seen = seen.pop();
        let mut headers = lines(
            response
                .head
                .iter()
                .skip(1)
                .filter_map(|line| line.split_once(": ")),
        );
        // Which server is whose turn is not compared, but the cookie has to name the one that was asked.
        if let (Some((server, _)), Some(cookies)) = (&seen, headers.get_mut("set-cookie")) {
            for cookie in cookies
                .iter_mut()
                .filter(|cookie| cookie.starts_with("HA_STICKY_"))
            {
                *cookie = cookie.replace(server.as_str(), "THE SERVER");
            }
        }
        Outcome {
            status: response.status,
            status_line: response.head.first().cloned().unwrap_or_default(),
            headers,
            body: response.body,
            kept,
            seen: seen.map(|(_, request)| {
                let line = format!("{} {} {}", request.method, request.target, request.version);
                let headers = lines(
                    request
                        .headers
                        .iter()
                        .map(|(n, v)| (n.as_str(), v.as_str())),
                );
                (line, headers, request.body)
            }),
        }
    }

    /// What servers have seen since the last call, with the server's name.
    fn take_requests(&self) -> Vec<(String, Request)> {
        let of = |server: &Server| {
            let name = server.name().to_owned();
            server
                .take_requests()
                .into_iter()
                .map(move |request| (name.clone(), request))
        };
        self.servers.iter().flat_map(of).collect()
    }

    /// Where the answers to a request differ, if they do and may not.
    fn compare(&self, request: &str) -> Option<String> {
        let (mut ours, theirs) = (self.ask(LB, request), self.ask(HAPROXY, request));
        for (prefix, _why) in ALLOWED {
            if let Some(rest) = ours.status_line.strip_prefix(prefix) {
                ours.status_line = format!("HTTP/1.1 {rest}");
            }
        }
        (ours != theirs).then(|| format!("{request:?}\n  ours   {ours:?}\n  theirs {theirs:?}"))
    }
}

fn lines<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Lines {
    let mut by_name = Lines::new();
    for (name, value) in lines {
        by_name
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.to_owned());
    }
    by_name
}

fn haproxy(lab: &Lab, file: &Path) -> std::process::Command {
    let mut command = lab.balancer().command("haproxy");
    command.arg("-db").arg("-f").arg(file);
    command
}
