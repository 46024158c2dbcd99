//! TCP through the kernel program: shares, checksums, times to live, and nothing in userspace.

use lb_tests::capture::Capture;
use lb_tests::client::Load;
use lb_tests::lab::ETH;
use lb_tests::server::{Answer, Body, Protocol};
use lb_tests::{Daemon, Lab, skip, tools};

use crate::kernel::{counts_settle, kernel_connections, kernel_takes_over, reasons};
use crate::setup::{accepted_in_userspace, servers, service, tcp};
use crate::wire::{self, Segment};

#[test]
fn ten_thousand_connections_are_shared_by_weight_to_one_round_a_cpu() {
    if skip::without_lb() {
        return;
    }
    const WEIGHTS: [u16; 3] = [2, 1, 1];
    const CONNECTIONS: usize = 10_000;
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Http);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &WEIGHTS))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);
    let before: Vec<u64> = servers
        .iter()
        .map(|server| {
            counts_settle(&daemon, server);
            kernel_connections(&daemon, server.name())
        })
        .collect();

    let load = Load::to(service(&lab))
        .connections(CONNECTIONS)
        .parallel(16)
        .get("/");
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new(), "{}", reasons(&daemon));
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    for ((server, weight), before) in servers.iter().zip(WEIGHTS).zip(before) {
        let share = CONNECTIONS as u64 * u64::from(weight) / 4;
        let got = tally.of(server.name());
        let round = u64::from(weight) * cpus;
        assert!(
            got.abs_diff(share) <= round,
            "{}: {got} instead of {share}",
            server.name()
        );
        assert_eq!(server.served(), got);
        counts_settle(&daemon, server);
        assert_eq!(kernel_connections(&daemon, server.name()), before + got);
    }
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );
}

#[test]
fn what_clients_send_and_get_is_whole_on_the_wire() {
    if skip::without_lb() || ["curl", "wrk"].iter().any(|tool| skip::without_tool(tool)) {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Http);
    for server in &servers {
        server.set_answer_for(
            "/big",
            Answer {
                body: Body::Size(1_000_000),
                ..Answer::default()
            },
        );
    }
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);
    let near = Capture::start(lab.client(), ETH).unwrap();
    let far: Vec<Capture> = (0..lab.servers())
        .map(|i| Capture::start(lab.server(i), ETH).unwrap())
        .collect();

    let url = format!("http://{}", service(&lab));
    let answer = tools::curl(lab.client(), &[&url]).unwrap();
    assert!(
        servers
            .iter()
            .any(|s| answer.starts_with(&format!("{}\n", s.name()))),
        "{answer}"
    );
    let size = [
        "--output",
        "/dev/null",
        "--write-out",
        "%{size_download}",
        &format!("{url}/big"),
    ];
    assert_eq!(tools::curl(lab.client(), &size).unwrap(), "1000000");
    let report = tools::wrk(lab.client(), 256, 1, &url).unwrap();
    assert!(report.requests > 0, "{report:?}");
    assert_eq!((report.socket_errors, report.bad_statuses), (0, 0));

    let near = wire::segments(&near.stop().unwrap());
    let far: Vec<Segment> = far
        .into_iter()
        .flat_map(|c| wire::segments(&c.stop().unwrap()))
        .collect();
    for segments in [&near, &far] {
        wire::assert_checksums(segments);
        for segment in segments {
            let hops = if segment.outgoing { 64 } else { 63 };
            assert_eq!(segment.ttl, hops, "{segment:?}");
        }
    }
    let balancer = lab.balancer_addr().octets();
    assert!(
        far.iter()
            .filter(|s| !s.outgoing)
            .all(|s| s.source.0 == balancer)
    );
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );
}

#[test]
fn a_bulk_transfer_goes_through_both_ways() {
    if skip::without_lb() || skip::without_tool("iperf3") {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let stand_in = servers(&lab, Protocol::Name);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    // iperf3 serves one at a time: a probe would have kept it busy.
    let address = stand_in[0].address();
    drop(stand_in);
    let _server = tools::iperf3_server(lab.server(0), address).unwrap();
    let received = lab.balancer().snmp("Tcp", "InSegs").unwrap();
    for reverse in [false, true] {
        let bytes = 20_000_000;
        let report = tools::iperf3(lab.client(), service(&lab), bytes, reverse).unwrap();
        assert!(report.sent >= bytes, "{report:?}");
        // At the end it stops reading: what is on the way then is sent and not received.
        assert!(report.received >= bytes / 2, "{report:?}");
    }
    let in_userspace = lab.balancer().snmp("Tcp", "InSegs").unwrap() - received;
    assert_eq!(
        in_userspace, 0,
        "segments that the balancer's own stack saw"
    );
}

#[test]
fn source_ports_of_ended_connections_are_used_again_when_there_are_no_others() {
    if skip::without_lb() {
        return;
    }
    // Four times as many as there are ports, within the minute that an ended connection lingers.
    const CONNECTIONS: usize = 2_400;
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Http);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .fast_path("snat_ports: 20000-20199")
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);
    let load = Load::to(service(&lab))
        .connections(CONNECTIONS)
        .parallel(4)
        .get("/");
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new(), "{}", reasons(&daemon));
    let more = accepted_in_userspace(&lab) - userspace;
    // A try may find only ports of connections that are just ending.
    assert!(
        more <= CONNECTIONS as u64 / 50,
        "{more} went to userspace: {}",
        reasons(&daemon)
    );
}
