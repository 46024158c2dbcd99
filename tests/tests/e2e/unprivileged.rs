//! Without any right: the same configuration, L4 and L7, served by userspace.

use lb_tests::client::{self, Load};
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, skip, wait};

use crate::setup::{BACKEND, servers};

const L4: u16 = 9002;
const L7: u16 = 9001;

fn both_layers(lab: &Lab) -> String {
    let service = lab.service_addr();
    let mut text = format!(
        "frontends:\n  \
           tcp-in: {{ mode: tcp, bind: \"{service}:{L4}\", default_backend: l4 }}\n  \
           http-in:\n    mode: http\n    bind: \"{service}:{L7}\"\n    \
             rules:\n      - {{ if: {{ path_prefix: /one/ }}, use_backend: one }}\n    \
             default_backend: l7\n\
         backends:\n"
    );
    let of = |range: std::ops::Range<usize>| {
        range.map(|i| {
            format!(
                "{{ name: s{}, address: \"{}:{BACKEND}\", cookie: c{} }}",
                i + 1,
                lab.server_addr(i),
                i + 1
            )
        })
    };
    let cookie = "cookie: { name: SRV, mode: insert, indirect: true, nocache: true }";
    for (name, mode, more, servers) in [
        ("l4", "tcp", "balance: leastconn", of(0..3)),
        ("l7", "http", cookie, of(0..3)),
        ("one", "http", "balance: roundrobin", of(0..1)),
    ] {
        text += &format!("  {name}:\n    mode: {mode}\n    {more}\n    servers:\n");
        for server in servers {
            let server = if more == cookie {
                server
            } else {
                server.split(", cookie").next().unwrap().to_owned() + " }"
            };
            text += &format!("      - {server}\n");
        }
    }
    text
}

#[test]
fn a_user_without_rights_serves_both_layers() {
    if skip::without_lb() || skip::without_tool("setpriv") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Http);
    let daemon = Daemon::builder(&lab, &both_layers(&lab))
        .fast_path("attach: off")
        .unprivileged()
        .start()
        .unwrap();
    let pid = daemon.pid().unwrap();
    let who = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(who.contains("Uid:\t65534\t65534\t65534\t65534"), "{who}");
    assert!(who.contains("CapEff:\t0000000000000000"), "{who}");

    for (port, connections) in [(L4, 300), (L7, 300)] {
        let load = Load::to((lab.service_addr(), port))
            .connections(connections)
            .parallel(4)
            .get("/");
        let tally = load.run(lab.client());
        assert_eq!(
            tally.failures,
            Vec::<String>::new(),
            "{port}: {}",
            daemon.log()
        );
        assert_eq!(tally.answered(), connections as u64);
        assert!(
            servers.iter().all(|server| tally.of(server.name()) > 0),
            "{port}: {tally:?}"
        );
    }
    let ask = |path: &str, cookie: &str| {
        let mut stream =
            client::connect(lab.client(), (lab.service_addr(), L7).into(), None).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{cookie}\r\n");
        client::exchange(&mut stream, request.as_bytes()).unwrap()
    };
    for _ in 0..6 {
        assert_eq!(ask("/one/x", "").server(), "s1");
        let sticky = ask("/", "Cookie: SRV=c3\r\n");
        assert_eq!(
            (sticky.server().as_str(), sticky.header("set-cookie")),
            ("s3", vec![])
        );
    }
    assert!(ask("/", "").header("set-cookie")[0].starts_with("SRV=c"));
    let status = daemon.status().unwrap();
    for frontend in status["fast_path"]["frontends"].as_array().unwrap() {
        assert_eq!(frontend["path"], "userspace", "{frontend}");
    }
    // What it forwarded it has also let go of.
    wait::until_true("no connection is left", || {
        let status = daemon.status().unwrap();
        status["process"]["current_connections"] == 0
    })
    .unwrap();
    let served: u64 = servers.iter().map(Server::served).sum();
    assert_eq!(served, 300 + 300 + 13);
}
