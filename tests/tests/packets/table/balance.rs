//! Step 6, balance: which server gets a new flow; who is full or refuses gets none.

use lb_common::counter::Reason::{self, *};
use lb_common::load::Weight;

use super::admit::expected_server;
use super::{Row, connect, connected, nothing, opening, row, sent, sent_to};
use crate::fixture::Verdict::{Drop, Out, Up};
use crate::fixture::{Fixture, Verdict};
use crate::frame::{End, Frame};
use crate::world::{World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for udp in [false, true] {
        rows.extend(chosen(w, udp));
        rows.extend(refused(w, udp));
    }
    rows.extend([
        row(
            "a SYN sent again takes nobody's turn",
            |f| {
                for _ in 0..3 {
                    opening(port::TURN)(f);
                }
            },
            w.syn(w.client_2, port::TURN),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent_to(w, &w.syn(w.client_2, port::TURN), w.s2)),
        row(
            "a full server's open flow goes on",
            |f| {
                connected(port::ONE)(f);
                f.limit(1);
            },
            Frame::tcp(w.client, w.at(port::ONE), "."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &Frame::tcp(w.client, w.at(port::ONE), "."))),
        row(
            "so does one of a server in drain or maintenance",
            |f| {
                connected(port::ONE)(f);
                f.external(0, Weight::REFUSES);
            },
            Frame::tcp(w.client, w.at(port::ONE), "."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &Frame::tcp(w.client, w.at(port::ONE), "."))),
        row(
            "a server that has closed its last flow takes another",
            |f| {
                f.limit(1);
                connected(port::DSR_ONE)(f);
                f.send(&Frame::tcp(f.world.client, f.world.at(port::DSR_ONE), "F."));
            },
            w.syn(w.client_2, port::DSR_ONE),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &w.syn(w.client_2, port::DSR_ONE))),
    ]);
    rows
}

fn first(w: &World, udp: bool, client: End, port: u16) -> Frame {
    if udp {
        w.datagram(client, port)
    } else {
        w.syn(client, port)
    }
}

fn chosen(w: &World, udp: bool) -> Vec<Row> {
    let goes_to = |says: &str, given: Box<dyn Fn(&mut Fixture)>, client, port, server| {
        let packet = first(w, udp, client, port);
        let out = sent_to(w, &packet, [w.s1, w.s2][server]);
        row(says, given, packet, Out, &[ForwardedIn, FlowOpened])
            .out(out)
            .then(move |f| assert!(f.active()[server] > 0))
    };
    // So many clients before, at a service of MAC addresses alone, which need no source port each.
    let before = move |n: u16, port| -> Box<dyn Fn(&mut Fixture)> {
        Box::new(move |f| {
            let w = f.world;
            for i in 0..n {
                f.send(&first(&w, udp, w.client_2.at_port(1_000 + i), port));
            }
        })
    };
    vec![
        goes_to(
            "in turn: the first",
            Box::new(nothing),
            w.client,
            port::TURN,
            0,
        ),
        goes_to(
            "in turn: the second",
            before(1, port::DSR),
            w.client,
            port::DSR,
            1,
        ),
        goes_to(
            "in turn: the first again",
            before(2, port::DSR),
            w.client,
            port::DSR,
            0,
        ),
        goes_to(
            "the least loaded: the one with twice the weight at first",
            Box::new(nothing),
            w.client,
            port::LEAST,
            1,
        ),
        goes_to(
            "the least loaded: the first, when the other has its two",
            Box::new(|f| {
                // Turn 0 and a count of its own: what others have opened there.
                f.set_active(&[0, 2]);
            }),
            w.client,
            port::LEAST,
            0,
        ),
        goes_to(
            "the least loaded: connections of userspace count",
            Box::new(|f| f.external(1, 5)),
            w.client,
            port::LEAST,
            0,
        ),
        goes_to(
            "the least loaded of those that take any",
            Box::new(|f| f.external(1, Weight::REFUSES)),
            w.client,
            port::LEAST,
            0,
        ),
        goes_to(
            "by the client's address",
            Box::new(nothing),
            w.client,
            port::SOURCE,
            expected_server(w, port::SOURCE),
        ),
        goes_to(
            "by the client's address and port",
            Box::new(nothing),
            w.client,
            port::MAGLEV,
            expected_server(w, port::MAGLEV),
        ),
        goes_to(
            "at random: the only one that takes any",
            Box::new(|f| f.external(0, Weight::REFUSES)),
            w.client,
            port::RANDOM,
            1,
        ),
        goes_to(
            "in turn: the next, when one refuses",
            Box::new(|f| f.external(0, Weight::REFUSES)),
            w.client,
            port::TURN,
            1,
        ),
        goes_to(
            "in turn: the next, when one is full",
            Box::new(|f| {
                f.limit(3);
                f.set_active(&[3, 2]);
            }),
            w.client,
            port::TURN,
            1,
        ),
    ]
}

fn refused(w: &World, udp: bool) -> Vec<Row> {
    let goes_up = |says: &str, given: Box<dyn Fn(&mut Fixture)>, port, reason: Reason| {
        let verdict: Verdict = if reason == OverflowDropped { Drop } else { Up };
        let packet = first(w, udp, w.client, port);
        row(says, given, packet, verdict, &[reason])
    };
    let full = |active: &'static [u32]| -> Box<dyn Fn(&mut Fixture)> {
        Box::new(move |f| {
            f.limit(2);
            f.set_active(active);
        })
    };
    let refusing = || -> Box<dyn Fn(&mut Fixture)> {
        Box::new(|f| {
            f.external(0, Weight::REFUSES);
            f.external(1, Weight::REFUSES);
        })
    };
    let mut rows = vec![
        goes_up("no server", Box::new(nothing), port::EMPTY, NoServer),
        goes_up(
            "no server, dropped",
            Box::new(nothing),
            port::EMPTY_DROP,
            OverflowDropped,
        ),
        goes_up(
            "a lane that is none",
            Box::new(nothing),
            port::NO_LANE,
            NoServer,
        ),
        goes_up(
            "userspace's connections count towards the limit",
            Box::new(|f| {
                f.limit(2);
                f.external(0, 2);
            }),
            port::ONE,
            NoServer,
        ),
    ];
    for port in [
        port::TURN,
        port::ONE,
        port::LEAST,
        port::SOURCE,
        port::MAGLEV,
        port::RANDOM,
        port::NAT,
        port::DSR_ONE,
    ] {
        rows.push(goes_up(
            &format!("all servers full, the flow goes up to wait: {port}"),
            full(&[2, 2]),
            port,
            NoServer,
        ));
        rows.push(goes_up(
            &format!("all in drain or maintenance: {port}"),
            refusing(),
            port,
            NoServer,
        ));
    }
    rows.push(goes_up(
        "all servers full, dropped where told so",
        full(&[2, 2]),
        port::DSR,
        OverflowDropped,
    ));
    if !udp {
        rows.push(row(
            "the last connection that a server may have is taken, not the next",
            |f| {
                f.limit(1);
                let client = f.world.client_2;
                connect(f, client, port::DSR_ONE);
            },
            w.syn(w.client, port::DSR_ONE),
            Up,
            &[NoServer],
        ));
    }
    rows
}
