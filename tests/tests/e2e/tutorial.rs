//! The two configurations that most people begin with, as they lie in `conf/`, with the lab's addresses.

use std::net::SocketAddr;
use std::path::Path;

use lb_tests::client::{self, Load};
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, skip, wait};

use crate::kernel::{kernel_takes_over_at, reasons, server_status};
use crate::setup::accepted_in_userspace;

/// A file of `conf/` with the addresses of two of the lab's servers: its `global:` without that line, and the rest.
fn configuration(lab: &Lab, name: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conf")
        .join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (i, address) in ["192.168.8.111", "192.168.8.112"].into_iter().enumerate() {
        assert!(text.contains(address), "{name} has lost {address}");
        text = text.replace(address, &lab.server_addr(i).to_string());
    }
    // Needs more file descriptors than a test machine may grant.
    assert!(text.contains("maxconn: 30000"));
    text = text.replace("maxconn: 30000", "maxconn: 1000");
    let (_, text) = text.split_once("\nglobal:\n").unwrap();
    let (global, body) = text.split_once("\ndefaults:\n").unwrap();
    (global.to_owned(), format!("defaults:\n{body}"))
}

fn server(lab: &Lab, i: usize, name: &str, port: u16) -> Server {
    let address = SocketAddr::from((lab.server_addr(i), port));
    Server::start(lab.server(i), name, Protocol::Http, address).unwrap()
}

fn until_checked(daemon: &Daemon<'_>, servers: &[Server]) {
    for server in servers {
        wait::until_true(format!("{} to be checked", server.name()), || {
            server_status(daemon, server.name())["row"]["check_status"] == "L7OK"
        })
        .unwrap();
    }
}

#[test]
fn l7_routes_by_path_and_sticks_by_cookie() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let servers: Vec<Server> = [("ms1", 8080), ("ms2", 8081), ("def", 8082)]
        .into_iter()
        .flat_map(|(group, port)| {
            [0, 1].map(|i| server(&lab, i, &format!("{group}.srv{}", i + 1), port))
        })
        .collect();
    let (global, body) = configuration(&lab, "l7.yaml");
    let daemon = Daemon::builder(&lab, &body)
        .global_lines(&global)
        .start()
        .unwrap();
    until_checked(&daemon, &servers);
    let ask = |port: u16, path: &str, more: &str| {
        let mut stream =
            client::connect(lab.client(), (lab.service_addr(), port).into(), None).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        client::exchange(&mut stream, request.as_bytes()).unwrap()
    };
    for (path, group, cookie) in [
        ("/ms1/a", "ms1", "HA_STICKY_ms1"),
        ("/MS2/b", "ms2", "HA_STICKY_ms2"),
        ("/else", "def", "HA_STICKY_def"),
    ] {
        let first = ask(9001, path, "");
        let name = first.server();
        assert!(
            first.status == 200 && name.starts_with(group),
            "{path}: {first:?}"
        );
        assert_eq!(
            first.header("set-cookie"),
            [format!("{cookie}={name}; path=/")]
        );
        for _ in 0..4 {
            let again = ask(9001, path, &format!("Cookie: {cookie}={name}\r\n"));
            assert_eq!(
                (again.server(), again.header("set-cookie")),
                (name.clone(), vec![])
            );
        }
    }
    let seen = servers.iter().flat_map(Server::take_requests);
    for request in seen {
        assert_eq!(
            request.header("x-forwarded-for"),
            [lab.client_addr().to_string()]
        );
        assert!(request.header("cookie").is_empty(), "indirect: {request:?}");
    }
    assert_eq!(ask(1080, "/stats", "").status, 401);
    // admin:admin
    let page = ask(1080, "/stats", "Authorization: Basic YWRtaW46YWRtaW4=\r\n");
    assert!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("ms1.srv1"));
}

#[test]
fn l4_is_forwarded_in_the_kernel_and_checked_over_http() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let servers = [0, 1].map(|i| server(&lab, i, &format!("def.srv{}", i + 1), 8082));
    let (global, body) = configuration(&lab, "l4.yaml");
    let daemon = Daemon::builder(&lab, &body)
        .global_lines(&global)
        .start()
        .unwrap();
    until_checked(&daemon, &servers);
    let target = SocketAddr::from((lab.service_addr(), 9002));
    kernel_takes_over_at(&lab, &daemon, target);
    let userspace = accepted_in_userspace(&lab);
    let load = Load::to(target).connections(200).parallel(4).get("/");
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new());
    for server in &servers {
        assert!(tally.of(server.name()).abs_diff(100) <= 2, "{tally:?}");
        assert!(server.health_checks() > 0);
    }
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );

    servers[0].set_healthy(false);
    wait::until_true("def.srv1 to be down", || {
        server_status(&daemon, "def.srv1")["row"]["status"] == "DOWN"
    })
    .unwrap();
    assert_eq!(
        server_status(&daemon, "def.srv1")["row"]["check_status"],
        "L7STS"
    );
}
