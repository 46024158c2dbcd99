//! The laboratory without a balancer: links carry frames, real and redirected, and captures see what is on the wire.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use lb_tests::bpf::{Link, Program};
use lb_tests::capture::Capture;
use lb_tests::client::{self, Load};
use lb_tests::lab::{CLIENTS, ETH, Lab, SERVERS};
use lb_tests::link::{ifindex, ip, show_mac};
use lb_tests::raw::RawSocket;
use lb_tests::server::{Answer, Body, Protocol, Server};
use lb_tests::{skip, tools, wait};

use crate::wire;

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

/// Joins client and servers through the balancer by XDP redirect alone: what comes in on one side goes out on the other
/// as it is, and each believes the other to be on its own segment.
fn wire_through(lab: &Lab) -> Vec<Link> {
    let neighbour = |address, dev| {
        format!(
            "neigh add {address} lladdr {} dev {dev} nud permanent",
            show_mac(lab.mac_of(address))
        )
    };
    ip(lab.client(), &[format!("route add 10.77.2.0/24 dev {ETH}")]).unwrap();
    for i in 0..lab.servers() {
        ip(lab.client(), &[neighbour(lab.server_addr(i), ETH)]).unwrap();
        let to_client = [
            format!("route add 10.77.1.0/24 dev {ETH}"),
            neighbour(lab.client_addr(), ETH),
        ];
        ip(lab.server(i), &to_client).unwrap();
    }
    lab.balancer().run(|| {
        let (clients, servers) = (ifindex(CLIENTS).unwrap(), ifindex(SERVERS).unwrap());
        vec![
            Program::xdp_redirect(servers)
                .unwrap()
                .attach(clients)
                .unwrap(),
            Program::xdp_redirect(clients)
                .unwrap()
                .attach(servers)
                .unwrap(),
        ]
    })
}

#[test]
fn the_balancer_reaches_both_sides_and_forwards_nothing_by_itself() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let servers: Vec<Server> = (0..3)
        .map(|i| {
            let name = format!("s{}", i + 1);
            Server::start(
                lab.server(i),
                &name,
                Protocol::Echo,
                at(lab.server_addr(i), 80),
            )
            .unwrap()
        })
        .collect();
    for server in &servers {
        let mut stream = client::connect(lab.balancer(), server.address(), None).unwrap();
        assert_eq!(client::greeting(&mut stream).unwrap(), server.name());
        client::echo(&mut stream, b"hello").unwrap();
    }
    let edge = at(lab.service_addr(), 80);
    let _edge = Server::start(lab.balancer(), "edge", Protocol::Name, edge).unwrap();
    let alias = lab.client_alias(300);
    for source in [None, Some(alias.into())] {
        let mut stream = client::connect(lab.client(), edge, source).unwrap();
        assert_eq!(client::greeting(&mut stream).unwrap(), "edge");
        assert_eq!(
            stream.local_addr().unwrap().ip(),
            source.unwrap_or(lab.client_addr().into())
        );
    }
    assert!(client::connect(lab.client(), servers[0].address(), None).is_err());
}

#[test]
fn redirected_frames_cross_the_links_with_right_checksums() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _programs = wire_through(&lab);
    let target = at(lab.server_addr(1), 8080);
    let server = Server::start(lab.server(1), "s2", Protocol::Http, target).unwrap();
    let near = Capture::start(lab.client(), ETH).unwrap();
    let far = Capture::start(lab.server(1), ETH).unwrap();

    let tally = Load::to(target)
        .connections(50)
        .parallel(4)
        .get("/")
        .run(lab.client());
    assert_eq!((tally.of("s2"), tally.failures), (50, vec![]));
    server.set_answer(Answer {
        body: Body::Size(300_000),
        ..Answer::default()
    });
    let mut stream = client::connect(lab.client(), target, None).unwrap();
    let big = client::exchange(&mut stream, b"GET /big HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(big.body.len(), 300_000);

    let (near, far) = (
        wire::segments(&near.stop().unwrap()),
        wire::segments(&far.stop().unwrap()),
    );
    for segments in [&near, &far] {
        wire::assert_checksums(segments);
        assert_eq!(
            segments.iter().filter(|s| s.syn && s.ttl == 64).count(),
            2 * 51
        );
        assert!(
            segments.iter().all(|s| s.payload <= 1460),
            "no segment larger than the wire's"
        );
    }
    let bytes = |outgoing| {
        near.iter()
            .filter(|s| s.outgoing == outgoing)
            .map(|s| s.payload)
            .sum()
    };
    let (sent, received): (usize, usize) = (bytes(true), bytes(false));
    assert!(sent < 10_000 && received >= 300_000, "{sent} {received}");
    assert_eq!(server.take_requests().len(), 51);
}

#[test]
fn ten_thousand_connections_are_no_burden() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let _programs = wire_through(&lab);
    let target = at(lab.server_addr(0), 80);
    let server = Server::start(lab.server(0), "s1", Protocol::Http, target).unwrap();
    let tally = Load::to(target)
        .connections(10_000)
        .parallel(16)
        .get("/")
        .run(lab.client());
    assert_eq!((tally.of("s1"), tally.failures), (10_000, vec![]));
    assert_eq!((server.accepted(), server.served()), (10_000, 10_000));
    wait::until_true("all connections closed", || server.open() == 0).unwrap();
}

#[test]
fn with_one_arm_all_share_a_segment_and_the_balancer_alone_has_the_service_address() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().one_armed().servers(2).build().unwrap();
    let service = at(lab.service_addr(), 80);
    let servers = [0, 1].map(|i| {
        Server::start(
            lab.server(i),
            &format!("s{i}"),
            Protocol::Name,
            at(lab.server_addr(i), 80),
        )
        .unwrap()
    });
    let on_loopback = Server::start(lab.server(0), "loopback", Protocol::Name, service).unwrap();
    let _edge = Server::start(lab.balancer(), "edge", Protocol::Name, service).unwrap();
    let tally = Load::to(service).connections(20).run(lab.client());
    assert_eq!((tally.of("edge"), tally.failures), (20, vec![]));
    assert_eq!(on_loopback.accepted(), 0);
    for server in &servers {
        let mut stream = client::connect(lab.client(), server.address(), None).unwrap();
        assert_eq!(client::greeting(&mut stream).unwrap(), server.name());
    }
}

#[test]
fn servers_stop_restart_hang_and_refuse_as_told() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let address = at(lab.server_addr(0), 80);
    let mut server = Server::start(lab.server(0), "s1", Protocol::Http, address).unwrap();
    let connect = || client::connect(lab.balancer(), address, None);
    let get = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n".as_slice();
    let mut kept = connect().unwrap();

    let response = client::exchange(&mut kept, get).unwrap();
    assert_eq!((response.status, response.server().as_str()), (200, "s1"));
    assert!(response.body.ends_with(get));

    server.set_healthy(false);
    let check = b"GET /healthCheck.html HTTP/1.0\r\n\r\n";
    assert_eq!(
        client::exchange(&mut connect().unwrap(), check)
            .unwrap()
            .status,
        503
    );
    assert_eq!((server.health_checks(), server.served()), (1, 1));

    let header = ("X-A".to_owned(), "b".to_owned());
    let delay = Duration::from_millis(50);
    server.set_answer_for(
        "/x",
        Answer {
            status: 404,
            headers: vec![header],
            delay,
            ..Answer::default()
        },
    );
    let response = client::exchange(&mut kept, get).unwrap();
    assert_eq!((response.status, response.header("x-a")), (404, vec!["b"]));

    server.hang(true);
    let mut waiting = connect().unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client::exchange(&mut waiting, get).is_err());
    server.hang(false);
    waiting.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    assert_eq!(client::exchange(&mut waiting, b"").unwrap().status, 404);

    server.refuse();
    assert!(connect().is_err());
    assert_eq!(client::exchange(&mut kept, get).unwrap().status, 404);

    server.stop();
    assert!(client::exchange(&mut kept, get).is_err());
    assert_eq!(server.open(), 0);

    server.restart().unwrap();
    assert_eq!(
        client::exchange(&mut connect().unwrap(), get)
            .unwrap()
            .status,
        404
    );
    let requests = server.take_requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[0].peer.ip(), lab.balancer_addr());
    assert_eq!(requests[0].header("host"), ["a"]);
}

#[test]
fn frames_made_by_hand_arrive_as_they_are() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let (client, balancer) = (
        RawSocket::open(lab.client(), ETH).unwrap(),
        RawSocket::open(lab.balancer(), CLIENTS).unwrap(),
    );
    // An ethertype set aside for experiments (IEEE 802).
    let mut frame = lab.mac_of(lab.service_addr()).to_vec();
    frame.extend(lab.mac_of(lab.client_addr()));
    frame.extend([0x88, 0xb5, 1, 2, 3]);
    client.send(&frame).unwrap();
    let seen = balancer
        .receive_matching(wait::PATIENCE, |bytes| {
            (bytes[12..14] == [0x88, 0xb5]).then(|| bytes.to_vec())
        })
        .unwrap();
    assert_eq!(seen, Some(frame));
    assert!(client.send(&[0; 13]).is_err());
}

#[test]
fn real_clients_are_driven() {
    if skip::without_bpf()
        || ["curl", "wrk", "iperf3"]
            .iter()
            .any(|tool| skip::without_tool(tool))
    {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let address = at(lab.server_addr(0), 80);
    let _server = Server::start(lab.server(0), "s1", Protocol::Http, address).unwrap();
    let url = format!("http://{address}/");
    assert!(
        tools::curl(lab.balancer(), &[&url])
            .unwrap()
            .starts_with("s1\nGET / HTTP/1.1\r\n")
    );
    let report = tools::wrk(lab.balancer(), 32, 1, &url).unwrap();
    assert!(
        report.requests > 0 && report.socket_errors == 0 && report.bad_statuses == 0,
        "{report:?}"
    );
    let bulk = at(lab.server_addr(0), 5201);
    let _iperf3 = tools::iperf3_server(lab.server(0), bulk).unwrap();
    let report = tools::iperf3(lab.balancer(), bulk, 1_000_000, false).unwrap();
    // It sends whole blocks.
    assert!(report.sent >= 1_000_000, "{report:?}");
}

#[test]
fn nothing_is_left_after_a_lab() {
    if skip::without_bpf() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let tag = lab.tag().to_string();
    let left = || {
        let names = fs::read_dir("/run/netns")
            .unwrap()
            .map(|e| e.unwrap().file_name());
        names
            .filter(|name| {
                name.to_str()
                    .is_some_and(|n| n.starts_with(&format!("{tag}-")))
            })
            .count()
    };
    assert_eq!(left(), 4);
    drop(lab);
    assert_eq!(left(), 0);
}
