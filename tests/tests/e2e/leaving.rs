//! From a kernel path to none, with connections running.

use std::time::{Duration, Instant};

use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, client, skip, wait};

use crate::kernel::kernel_takes_over;
use crate::privileges::reserved;
use crate::setup::{BACKEND, accepted_in_userspace, assert_alive, held, servers, service, tcp};

#[test]
fn a_start_without_kernel_path_lets_an_earlier_ones_flows_end() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    daemon.kill();
    daemon.change_fast_path("attach: off", &body).unwrap();
    daemon.start().unwrap();
    wait::until_true("new connections to go to userspace", || {
        let before = accepted_in_userspace(&lab);
        client::connect(lab.client(), service(&lab), None).is_ok()
            && accepted_in_userspace(&lab) > before
    })
    .unwrap();
    assert_alive(&mut held);
    assert!(
        daemon.pin_path().is_dir(),
        "the kernel path stays for its flows"
    );
    drop(held);
    wait::until_true("the kernel path is gone with its last flow", || {
        !daemon.pin_path().exists()
    })
    .unwrap();
    client::connect(lab.client(), service(&lab), None).unwrap();
}

#[test]
fn a_stop_governs_a_kernel_path_that_is_being_left() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body)
        .global("grace", "2s")
        .prepare()
        .unwrap();
    for (stop, keeps) in [
        (&["stop"][..], false),
        (&["stop", "--now"][..], false),
        (&["stop"][..], true),
        (&["stop", "--now"][..], true),
    ] {
        let turn = format!("{stop:?}, keeps: {keeps}");
        let kernel = "attach: xdp, max_flows: 100000, on_stop: detach";
        daemon.change_fast_path(kernel, &body).unwrap();
        daemon.start().unwrap();
        kernel_takes_over(&lab, &daemon);
        let mut held = held(&lab, 5);
        daemon.kill();
        let on_stop = if keeps { "keep" } else { "detach" };
        let off = format!("attach: off, on_stop: {on_stop}");
        daemon.change_fast_path(&off, &body).unwrap();
        daemon.start().unwrap();
        // It is the agent's already.
        wait::until_true("it is being left", || {
            let status = daemon.status().unwrap();
            status["fast_path"]["interfaces"][0]["attach"] == "xdp"
        })
        .unwrap();
        assert!(daemon.lb(&["health"]).unwrap().status.success(), "{turn}");
        assert_alive(&mut held);
        let begun = Instant::now();
        daemon.lb(stop).unwrap();
        daemon.wait(Duration::from_secs(20)).unwrap();
        let took = begun.elapsed();
        let graceful = !keeps && stop.len() == 1;
        assert_eq!(took >= Duration::from_secs(2), graceful, "{turn}: {took:?}");
        let left = daemon.pin_path().exists();
        assert_eq!(
            (left, !reserved(&lab).is_empty()),
            (keeps, keeps),
            "{turn}; {}",
            daemon.log()
        );
        for stream in &mut held {
            let goes_on = client::echo(stream, b"still there?").is_ok();
            assert_eq!(goes_on, keeps, "{turn}; {}", daemon.log());
        }
        let refused = client::connect(lab.client(), service(&lab), None).is_err();
        assert!(refused, "{turn}: nobody is there for new ones");
    }
}

#[test]
fn flows_keep_the_source_ports_that_they_have_when_the_file_says_others() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let ports =
        |range| format!("attach: xdp, max_flows: 100000, on_stop: keep, snat_ports: {range}");
    // One that ends with a reset is forgotten soon.
    let connect = || {
        let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        client::greeting(&mut stream).unwrap();
        stream
    };
    let mut daemon = Daemon::builder(&lab, &body)
        .fast_path(&ports("20000-20199"))
        .start()
        .unwrap();
    let mut held = wait::until("a flow of the kernel", wait::PATIENCE, || {
        let before = accepted_in_userspace(&lab);
        let stream = connect();
        (accepted_in_userspace(&lab) == before).then_some(vec![stream])
    })
    .unwrap();
    held.extend((0..50).map(|_| connect()));

    // Twice, since the second agent may not have them from the first.
    for (range, kept) in [
        ("21000-21199", "20000-20199,21000-21199"),
        ("22000-22199", "20000-20199,21000-21199,22000-22199"),
    ] {
        daemon.lb(&["stop", "--now"]).unwrap();
        daemon.wait(wait::PATIENCE).unwrap();
        daemon.change_fast_path(&ports(range), &body).unwrap();
        daemon.start().unwrap();
        wait::until_true("the ports of both files to be reserved", || {
            reserved(&lab) == kept
        })
        .unwrap_or_else(|error| panic!("{error}: {}", reserved(&lab)));
        assert_alive(&mut held);
        held.push(connect());
    }

    // What the host itself opens towards the server gets none of them.
    lab.balancer()
        .sysctl("net/ipv4/ip_local_port_range", "20000 20201")
        .unwrap();
    let target = (lab.server_addr(0), BACKEND).into();
    for _ in 0..2 {
        let mut own = client::connect(lab.balancer(), target, None).unwrap();
        assert!(own.local_addr().unwrap().port() >= 20_200);
        client::greeting(&mut own).unwrap();
        held.push(own);
    }
    assert_alive(&mut held);

    drop(held);
    wait::until(
        "the earlier ports to be the host's again",
        Duration::from_secs(60),
        || (reserved(&lab) == "22000-22199").then_some(()),
    )
    .unwrap_or_else(|error| panic!("{error}: {}", reserved(&lab)));
}
