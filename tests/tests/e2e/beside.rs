//! Kernel paths of two lbs on the same interfaces: left by one that had another pin path, or at work side by side.

use std::net::SocketAddr;

use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, client, process, skip, wait};
use rustix::process::Signal;

use crate::kernel::{kernel_takes_over, kernel_takes_over_at};
use crate::setup::{WEB, assert_alive, held, servers, service, tcp};

/// Why a start is refused.
#[track_caller]
fn refused(daemon: &mut Daemon<'_>) -> String {
    match daemon.start() {
        Ok(()) => panic!("it has started: {}", daemon.log()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_was_left_under_another_pin_path_is_noticed() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    for attach in ["xdp", "tc"] {
        let fast_path = format!("attach: {attach}, max_flows: 100000, on_stop: keep");
        let build = |role| {
            let builder = Daemon::builder(&lab, &body).role(role);
            builder.fast_path(&fast_path).prepare().unwrap()
        };
        let (mut first, mut second) = (build("first"), build("second"));
        first.start().unwrap();
        kernel_takes_over(&lab, &first);
        let mut held = held(&lab, 3);
        first.signal(Signal::TERM).unwrap();
        first.signal(Signal::TERM).unwrap();
        first.wait(wait::PATIENCE).unwrap();
        assert_alive(&mut held);

        let said = refused(&mut second);
        let path = first.pin_path().display().to_string();
        for part in [
            "an lb that is gone",
            &format!("pin_path: {path}"),
            &format!("rm -r {path}"),
            &service(&lab).to_string(),
        ] {
            assert!(said.contains(part), "{attach}: no {part}: {said}");
        }
        assert!(!second.pin_path().join("v2").exists(), "nothing was made");
        assert_alive(&mut held);

        // As it was told: the pin path of before takes it over, and a stop removes it.
        first.start().unwrap();
        kernel_takes_over(&lab, &first);
        assert_alive(&mut held);
        let detach = format!("attach: {attach}, max_flows: 100000");
        first.change_fast_path(&detach, &body).unwrap();
        assert!(first.lb(&["reload"]).unwrap().status.success());
        assert!(first.lb(&["stop", "--now"]).unwrap().status.success());
        first.wait(wait::PATIENCE).unwrap();
        second.start().unwrap();
        kernel_takes_over(&lab, &second);
        second.change_fast_path(&detach, &body).unwrap();
        assert!(second.lb(&["reload"]).unwrap().status.success());
        assert!(second.lb(&["stop", "--now"]).unwrap().status.success());
        second.wait(wait::PATIENCE).unwrap();
    }
}

#[test]
fn two_side_by_side_do_not_take_the_same_source_ports() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let web = tcp(&lab, "roundrobin", &[]);
    let other = SocketAddr::from((lab.service_addr(), WEB + 1));
    let beside = web.replace(&service(&lab).to_string(), &other.to_string());
    let ports = |more: &str| format!("attach: tc, max_flows: 100000, {more}");
    let first = Daemon::builder(&lab, &web)
        .role("first")
        .fast_path(&ports(
            "snat_ports: 20000-20999, interfaces: [clients0, servers0]",
        ))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &first);
    let mut held = held(&lab, 3);
    let mut second = Daemon::builder(&lab, &beside)
        .role("second")
        .fast_path(&ports("snat_ports: 20500-21500"))
        .prepare()
        .unwrap();

    let said = refused(&mut second);
    let pid = first.pid().unwrap();
    for part in [
        &format!("another lb (pid {pid}, pin_path"),
        "source ports 20500-20999 too",
        "a global.fast_path.snat_ports of its own",
    ] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    assert_alive(&mut held);

    // On an interface of its own it may have them.
    for arguments in [
        "link add beside0 type veth peer name beside1",
        "link set beside0 up",
        "link set beside1 up",
    ] {
        let mut ip = lab.balancer().command("ip");
        process::run(ip.args(arguments.split(' '))).unwrap();
    }
    let apart = ports("snat_ports: 20500-21500, interfaces: [beside0]");
    second.change_fast_path(&apart, &beside).unwrap();
    second.start().unwrap();
    wait::until_true("it to be attached there", || {
        let status = second.status().unwrap();
        status["fast_path"]["interfaces"][0]["name"] == "beside0"
    })
    .unwrap();
    second.signal(Signal::TERM).unwrap();
    second.wait(wait::PATIENCE).unwrap();

    // With ports of its own it is welcome.
    second
        .change_fast_path(&ports("snat_ports: 22000-22999"), &beside)
        .unwrap();
    second.start().unwrap();
    kernel_takes_over_at(&lab, &second, other);
    kernel_takes_over(&lab, &first);
    for target in [service(&lab), other] {
        let mut stream = client::connect(lab.client(), target, None).unwrap();
        client::greeting(&mut stream).unwrap();
        client::echo(&mut stream, b"both of them").unwrap();
    }
    assert_alive(&mut held);
}
