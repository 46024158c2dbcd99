//! Packets that nobody should send, beside a connection that must not notice.

use std::time::Duration;

use lb_tests::client;
use lb_tests::lab::ETH;
use lb_tests::raw::RawSocket;
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, link, skip, wait};

use crate::kernel::{counter, kernel_takes_over};
use crate::setup::{servers, service, tcp};

#[test]
fn broken_packets_disturb_no_running_connection() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let wire = RawSocket::open(lab.client(), ETH).unwrap();
    let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
    client::greeting(&mut stream).unwrap();

    // A frame of the connection itself, taken from the wire.
    client::echo(&mut stream, b"a request").unwrap();
    let mut own = None;
    while own.is_none() {
        let frame = wire
            .receive(Duration::from_secs(5))
            .unwrap()
            .expect("the request on the wire");
        if frame.outgoing && frame.bytes.ends_with(b"a request") {
            own = Some(frame.bytes);
        }
    }
    let own = own.unwrap();
    let reasons = ["malformed", "not_for_us", "fragment", "ttl_exceeded"];
    let before = reasons.map(|reason| counter(&daemon, reason));
    let mut sent = 0;
    let mut send = |frame: &[u8]| {
        wire.send(frame).unwrap();
        sent += 1;
    };
    for length in 14..own.len() {
        send(&own[..length]);
    }
    for (at, bytes) in [
        (12, [0x88, 0xb5]), // an ethertype for experiments
        (12, [0x08, 0x06]), // ARP that is none
        (12, [0x86, 0xdd]), // IPv6 that is none
        (14, [0x44, 0x00]), // a header shorter than one can be
        (14, [0x4f, 0x00]), // options that are data
        (16, [0xff, 0xff]), // longer than the frame
        (16, [0x00, 0x14]), // without TCP
        (20, [0x00, 0x05]), // a fragment whose first nobody has seen
        (20, [0x20, 0x00]), // a first one
        (20, [0x00, 0x05]), // and what follows it
        (22, [0x00, 0x06]), // nowhere left to go
        (24, [0x12, 0x34]), // a wrong IP checksum
        (46, [0x00, 0x18]), // a TCP header without length
        (46, [0xf0, 0x18]), // one longer than the packet
    ] {
        let mut frame = own.clone();
        frame[at..at + 2].copy_from_slice(&bytes);
        send(&frame);
        client::echo(&mut stream, b"unimpressed").unwrap();
    }
    assert!(sent > 60);
    // The link goes away and comes back; the connection does not mind.
    lab.client().run(|| link::set_down(ETH)).unwrap();
    lab.client().run(|| link::set_up(ETH)).unwrap();
    client::echo(&mut stream, b"unimpressed").unwrap();
    for (reason, before) in reasons.into_iter().zip(before) {
        let counted = || counter(&daemon, reason) > before;
        wait::until_true(format!("{reason} is counted"), counted).unwrap();
    }
    daemon.kill();
    client::echo(&mut stream, b"nor by that").unwrap();
}
