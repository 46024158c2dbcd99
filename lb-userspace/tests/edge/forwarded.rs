//! What servers are told of clients, and whose word on clients is taken.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::{
    certificates::Authority,
    clients::{curl, installed, resolve, write},
    daemon::{Daemon, free},
    server::{Seen, server},
};

/// Fields of the request for `path` that a server has seen, but for those that every request has.
fn told(seen: &Seen, path: &str) -> Vec<String> {
    let seen = seen.lock().unwrap();
    let head = seen
        .iter()
        .find(|head| head.starts_with(&format!("GET {path} ")))
        .unwrap_or_else(|| panic!("no {path} in {seen:?}"));
    let every = ["host: ", "user-agent: ", "accept: ", "connection: "];
    head.lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !every.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect()
}

/// Sends requests on one connection, one after the other.
fn ask(at: SocketAddr, before: &str, requests: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(before.as_bytes()).unwrap();
    for (path, fields) in requests {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.example:81\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const ALL: &str = "forwarded_for: true, forwarded_proto: true, forwarded_port: true, forwarded_host: true, \
    forwarded: { proto: true, host: true, by: true, by_port: true, for: true, for_port: true }";

/// What a client says of others.
const CLAIMS: &str = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: gopher\r\nx-forwarded-port: 70\r\n\
    x-forwarded-host: b.example\r\nforwarded: for=192.0.2.1\r\nx_forwarded_host: c\r\n";

#[test]
fn servers_are_told_and_proxies_believed() {
    let (app, seen) = server();
    let (anyone, nobody, some) = (free(), free(), free());
    let _daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "defaults: {{ {ALL} }}
frontends:
  anyone: {{ bind: '{anyone}', default_backend: app }}
  nobody: {{ bind: '{nobody}', trusted_proxies: [], default_backend: app }}
  some:
    bind: {{ address: '{some}', accept_proxy: true }}
    trusted_proxies: [198.51.100.0/24, '2001:db8::/64']
    default_backend: app
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        some,
    );
    // Nobody is told apart: entries are added to, what has no entries is replaced.
    ask(anyone, "", &[("/anyone", CLAIMS)]);
    let got = told(&seen, "/anyone");
    let port = anyone.port();
    assert_eq!(
        got[..6],
        [
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            format!("x-forwarded-port: {port}").as_str(),
            "x-forwarded-host: a.example:81",
            got[5].as_str(),
        ]
    );
    let element = "forwarded: for=192.0.2.1, proto=http;host=\"a.example:81\";by=\"127.0.0.1:";
    assert!(
        got[5].starts_with(&format!("{element}{port}\";for=\"127.0.0.1:")),
        "{got:?}"
    );
    // Nobody is believed, on none of a connection's requests.
    ask(nobody, "", &[("/nobody", CLAIMS), ("/again", "")]);
    for path in ["/nobody", "/again"] {
        let got = told(&seen, path);
        assert_eq!(got.len(), 5, "{got:?}");
        assert_eq!(got[0], "x-forwarded-for: 127.0.0.1");
        assert!(got[4].starts_with("forwarded: proto=http;"), "{got:?}");
    }
    // A proxy is, whatever its family.
    for (family, proxy) in [("TCP4", "198.51.100.7"), ("TCP6", "2001:db8::7")] {
        let before = format!(
            "PROXY {family} {proxy} {} 4711 443\r\n",
            if family == "TCP4" {
                "192.0.2.9"
            } else {
                "2001:db8:1::9"
            }
        );
        let path = format!("/{family}");
        ask(some, &before, &[(&path, CLAIMS)]);
        let got = told(&seen, &path);
        let ends = match family {
            "TCP4" => "by=\"192.0.2.9:443\";for=\"198.51.100.7:4711\"",
            _ => "by=\"[2001:db8:1::9]:443\";for=\"[2001:db8::7]:4711\"",
        };
        assert_eq!(
            got,
            [
                "x-forwarded-for: 192.0.2.1",
                &format!("x-forwarded-for: {proxy}"),
                "x-forwarded-proto: gopher",
                "x-forwarded-port: 70",
                "x-forwarded-host: b.example",
                &format!("forwarded: for=192.0.2.1, proto=http;host=\"a.example:81\";{ends}"),
                "x_forwarded_host: c",
            ]
        );
    }
    let before = "PROXY TCP4 203.0.113.7 192.0.2.9 4711 443\r\n";
    ask(some, before, &[("/stranger", CLAIMS)]);
    let got = told(&seen, "/stranger");
    assert_eq!(got[0], "x-forwarded-for: 203.0.113.7", "{got:?}");
    assert_eq!(got.len(), 5, "{got:?}");
}

#[test]
fn a_believed_proxy_names_the_client() {
    let (app, seen) = server();
    let web = free();
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  web:
    bind: {{ address: '{web}', accept_proxy: true }}
    forwarded_for: true
    trusted_proxies: 198.51.100.0/24
    client_ip_from: X-Forwarded-For
    rules:
      - {{ set_header: {{ X-Source: '%[src]' }} }}
      - {{ if: {{ source: 192.0.2.66 }}, deny: 403 }}
    default_backend: app
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        web,
    );
    let proxy = "PROXY TCP4 198.51.100.7 192.0.2.9 4711 443\r\n";
    let said = ask(
        web,
        proxy,
        &[
            (
                "/named",
                "x-forwarded-for: 203.0.113.9, 192.0.2.1, 198.51.100.8\r\n",
            ),
            ("/not-named", ""),
            ("/denied", "x-forwarded-for: 192.0.2.66\r\n"),
        ],
    );
    assert!(said.contains("HTTP/1.1 403 "), "{said}");
    assert_eq!(
        told(&seen, "/named"),
        [
            "x-forwarded-for: 203.0.113.9, 192.0.2.1, 198.51.100.8",
            "x-forwarded-for: 198.51.100.7",
            "x-source: 192.0.2.1",
        ]
    );
    assert_eq!(
        told(&seen, "/not-named"),
        ["x-source: 198.51.100.7", "x-forwarded-for: 198.51.100.7"]
    );
    let line = daemon.logged("GET /named ");
    assert!(line.contains(" 192.0.2.1:0 ["), "{line}");
    let line = daemon.logged("GET /not-named ");
    assert!(line.contains(" 198.51.100.7:4711 ["), "{line}");
    // What is no request has nobody to name its client.
    let named =
        "GET /before HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\n\r\ngarbage\r\n\r\n";
    let said = ask(web, &format!("{proxy}{named}"), &[]);
    assert!(said.contains("HTTP/1.1 400 "), "{said}");
    let line = daemon.logged("<BADREQ>");
    assert!(line.contains(" 198.51.100.7:4711 ["), "{line}");
    let stranger = "PROXY TCP4 203.0.113.7 192.0.2.9 4711 443\r\n";
    ask(
        web,
        stranger,
        &[("/stranger", "x-forwarded-for: 192.0.2.1\r\n")],
    );
    assert_eq!(
        told(&seen, "/stranger"),
        ["x-source: 203.0.113.7", "x-forwarded-for: 203.0.113.7"]
    );
}

#[test]
fn over_tls_and_in_http_2_the_same_is_told() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["a.example"]).both());
    let (app, seen) = server();
    let (web, plain) = (free(), free());
    let _daemon = Daemon::start(
        folder,
        &format!(
            "defaults: {{ trusted_proxies: [], {ALL} }}
frontends:
  web: {{ bind: {{ address: '{web}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
  plain: {{ bind: '{plain}', default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        plain,
    );
    let port = web.port();
    let resolve = resolve("a.example", web);
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://a.example:{port}/tls{version}");
        let (body, code) = curl(&[
            "--cacert",
            &ca_file,
            "--resolve",
            &resolve,
            version,
            "-H",
            "x-forwarded-for: 1.2.3.4",
            &url,
        ]);
        assert_eq!((body.as_str(), code), ("hello", Some(0)));
        let got = told(&seen, &format!("/tls{version}"));
        assert_eq!(
            got[..4],
            [
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-proto: https",
                &format!("x-forwarded-port: {port}"),
                &format!("x-forwarded-host: a.example:{port}"),
            ]
        );
        let element = format!(
            "forwarded: proto=https;host=\"a.example:{port}\";by=\"127.0.0.1:{port}\";for=\"127.0.0.1:"
        );
        assert!(got[4].starts_with(&element), "{got:?}");
    }
    let url = format!("http://{plain}/h2c");
    let (body, code) = curl(&[
        "--http2-prior-knowledge",
        "-H",
        "x-forwarded-proto: https",
        &url,
    ]);
    assert_eq!((body.as_str(), code), ("hello", Some(0)));
    let got = told(&seen, "/h2c");
    assert!(
        got.contains(&"x-forwarded-proto: http".to_owned()),
        "{got:?}"
    );
    assert_eq!(got.len(), 5, "{got:?}");
}
