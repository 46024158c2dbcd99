//! The access log of connections that the kernel forwarded.

use std::net::Shutdown;

use lb_tests::server::{Answer, Body, Protocol};
use lb_tests::{Daemon, Lab, client, skip, tools, wait};

use crate::kernel::kernel_takes_over;
use crate::setup::{accepted_in_userspace, servers, service, tcp};

#[test]
fn what_the_kernel_forwarded_is_in_the_access_log() {
    if skip::without_lb() || skip::without_tool("curl") {
        return;
    }
    const SIZE: usize = 100_000;
    let lab = Lab::builder().build().unwrap();
    let mut servers = servers(&lab, Protocol::Http);
    for server in &servers {
        server.set_answer_for(
            "/big",
            Answer {
                body: Body::Size(SIZE),
                ..Answer::default()
            },
        );
    }
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .global("log", "[{ target: stderr, level: info }]")
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);
    let url = format!("http://{}/big", service(&lab));
    tools::curl(lab.client(), &[&url]).unwrap();
    assert_eq!(accepted_in_userspace(&lab), userspace);

    // tcplog: client [date] frontend backend/server Tw/Tc/Tt bytes state …
    let line = || {
        daemon.log().lines().rev().find_map(|line| {
            let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let at = fields.iter().position(|field| field == "web")?;
            let bytes: usize = fields.get(at + 3)?.parse().ok()?;
            (bytes > SIZE).then(|| fields[at..].to_vec())
        })
    };
    wait::until_true("the line of the transfer", || line().is_some()).unwrap();
    let fields = line().unwrap();
    assert!(fields[1].starts_with("web/s"), "{fields:?}");
    let times: Vec<i64> = fields[2].split('/').map(|t| t.parse().unwrap()).collect();
    assert_eq!(times[0], 0, "nothing waits in the kernel: {fields:?}");
    assert!(times[1] >= 0 && times[2] >= times[1], "{fields:?}");
    let bytes: usize = fields[3].parse().unwrap();
    assert!(
        bytes < SIZE + 2_000,
        "the body and a head, not the packets' headers: {fields:?}"
    );
    assert_eq!(fields[4], "--", "{fields:?}");

    servers[0].refuse();
    // Turns are a CPU's own: twelve hold a whole round of one of two.
    let refused = (0..12).filter(|_| {
        client::connect(lab.client(), service(&lab), None)
            .map(|stream| stream.shutdown(Shutdown::Both))
            .is_err()
    });
    assert!(refused.count() >= 1, "s1 had its turn");
    wait::until_true("the line of the refused connection", || {
        daemon
            .log()
            .lines()
            .any(|line| line.contains(" SC ") && line.contains("web/s1"))
    })
    .unwrap();
}
