//! `forward: dsr`: the packet goes on as it is, the server answers by itself.

use std::net::SocketAddr;

use lb_tests::capture::{Capture, Captured};
use lb_tests::client::Load;
use lb_tests::lab::ETH;
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, skip};

use crate::kernel::{counts_settle, kernel_connections, kernel_takes_over, reasons};
use crate::setup::{WEB, accepted_in_userspace, service};
use crate::wire;

/// Byte ranges in an Ethernet frame with IPv4: both MAC addresses, time to live, header checksum.
const MACS: std::ops::Range<usize> = 0..12;
const TTL: usize = 22;
const CHECKSUM: std::ops::Range<usize> = 24..26;

fn dsr(lab: &Lab) -> String {
    let mut text = format!(
        "frontends:\n  web: {{ mode: tcp, bind: \"{}\", default_backend: web }}\n\
         backends:\n  web:\n    mode: tcp\n    forward: dsr\n    servers:\n",
        service(lab)
    );
    for i in 0..lab.servers() {
        let address = lab.server_addr(i);
        text += &format!(
            "      - {{ name: s{}, address: \"{address}:{WEB}\" }}\n",
            i + 1
        );
    }
    text
}

/// A frame without what a router may change, to be compared with others.
fn untouched_part(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    bytes[MACS].fill(0);
    bytes[TTL] = 0;
    bytes[CHECKSUM].fill(0);
    bytes
}

/// Whether a frame is TCP over IPv4 to this address.
fn is_to(frame: &[u8], target: SocketAddr) -> bool {
    let SocketAddr::V4(target) = target else {
        return false;
    };
    frame.len() >= 54
        && frame[12..14] == [0x08, 0x00]
        && frame[23] == 6
        && frame[30..34] == target.ip().octets()
        && frame[36..38] == target.port().to_be_bytes()
}

#[test]
fn packets_arrive_as_they_were_sent_and_answers_go_straight_back() {
    if skip::without_lb() {
        return;
    }
    const CONNECTIONS: usize = 90;
    let lab = Lab::builder().one_armed().build().unwrap();
    let target = service(&lab);
    let servers: Vec<Server> = (0..lab.servers())
        .map(|i| {
            Server::start(
                lab.server(i),
                &format!("s{}", i + 1),
                Protocol::Http,
                target,
            )
            .unwrap()
        })
        .collect();
    let daemon = Daemon::builder(&lab, &dsr(&lab)).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let before: Vec<u64> = servers
        .iter()
        .map(|server| {
            counts_settle(&daemon, server);
            kernel_connections(&daemon, server.name())
        })
        .collect();
    let userspace = accepted_in_userspace(&lab);
    let near = Capture::start(lab.client(), ETH).unwrap();
    let far: Vec<Capture> = (0..lab.servers())
        .map(|i| Capture::start(lab.server(i), ETH).unwrap())
        .collect();

    let load = Load::to(target)
        .connections(CONNECTIONS)
        .parallel(4)
        .get("/");
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new());
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    for (server, before) in servers.iter().zip(before) {
        let got = tally.of(server.name());
        assert!(got.abs_diff(CONNECTIONS as u64 / 3) <= cpus, "{tally:?}");
        counts_settle(&daemon, server);
        assert_eq!(kernel_connections(&daemon, server.name()), before + got);
    }
    let peers = servers.iter().flat_map(Server::take_peers);
    assert!(
        peers
            .map(|peer| peer.ip())
            .any(|ip| ip == lab.client_addr()),
        "servers see clients"
    );
    assert_eq!(
        accepted_in_userspace(&lab),
        userspace,
        "all of them in the kernel: {}",
        reasons(&daemon)
    );

    let near = near.stop().unwrap();
    let far: Vec<Vec<Captured>> = far
        .into_iter()
        .map(|capture| capture.stop().unwrap())
        .collect();
    let mut sent: Vec<Vec<u8>> = near
        .iter()
        .filter(|c| c.frame.outgoing && is_to(&c.frame.bytes, target))
        .map(|c| untouched_part(&c.frame.bytes))
        .collect();
    let mut arrived = Vec::new();
    let balancer = lab.mac_of(lab.balancer_addr());
    for (i, captured) in far.iter().enumerate() {
        let own = lab.mac_of(lab.server_addr(i));
        // A switch that has yet to learn an address sends to all.
        let received = captured.iter().map(|c| &c.frame).filter(|frame| {
            !frame.outgoing && frame.bytes[..6] == own && is_to(&frame.bytes, target)
        });
        for frame in received {
            assert_eq!(frame.bytes[6..12], balancer, "it comes from the balancer");
            assert_eq!(frame.bytes[TTL], 63, "and from one hop away");
            arrived.push(untouched_part(&frame.bytes));
        }
        wire::assert_checksums(&wire::segments(captured));
    }
    sent.sort();
    arrived.sort();
    assert!(sent.len() >= CONNECTIONS * 4, "{}", sent.len());
    assert!(
        sent == arrived,
        "{} frames sent, {} arrived, and not the same",
        sent.len(),
        arrived.len()
    );
    for answer in near
        .iter()
        .filter(|c| !c.frame.outgoing && c.frame.bytes[12..14] == [0x08, 0x00])
    {
        assert_ne!(
            answer.frame.bytes[6..12],
            balancer,
            "answers do not come by the balancer"
        );
        assert_eq!(answer.frame.bytes[TTL], 64);
    }
}
