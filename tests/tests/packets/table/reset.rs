//! Step 10, resets by order: a flow marked as being reset turns what its ends acknowledge into resets.

use lb_common::abi::reap;
use lb_common::counter::Reason::*;

use super::{Row, connected, conversing, forward, from_server, row, seen_as, sent, two_sided};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out};
use crate::frame::{Frame, ISN, proto};
use crate::world::{C_TAG, World, hop, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in [port::TURN, port::NAT, port::DSR_ONE, port::IPIP] {
        rows.extend(any(w, port));
    }
    for port in [port::TURN, port::NAT] {
        rows.extend(two(w, port));
    }
    for port in [port::DSR_ONE, port::IPIP, port::IPIP_OTHER] {
        rows.extend(one(w, port));
    }
    rows
}

/// The client's connection is being reset.
fn resetting(port: u16) -> impl Fn(&mut Fixture) + Copy {
    move |f| {
        connected(port)(f);
        let order = f.order(
            reap::RESET,
            &[forward(&f.world, f.world.client, port, proto::TCP)],
        );
        let counted = f.reap(&order);
        assert_eq!(counted[FlowReset.name()], 1, "{counted:?}");
        assert_eq!(f.all_active(), [0; 8], "no longer one of its server's");
        assert!(f.reap(&order).is_empty(), "asked again, it counts nothing");
    }
}

/// The reset that answers a segment.
fn answer(frame: &Frame, ack: u32) -> Frame {
    let mut reset = Frame::tcp(frame.to, frame.from, "R")
        .seq(ack)
        .window(0)
        .hops(frame.hops - 1)
        .tagged(&frame.tags);
    if let (crate::frame::L4::Tcp { options, .. }, crate::frame::L4::Tcp { options: to, .. }) =
        (&frame.l4, &mut reset.l4)
    {
        to.clone_from(options);
    }
    reset
}

fn any(w: &World, port: u16) -> Vec<Row> {
    let client = |flags| Frame::tcp(w.client, w.at(port), flags);
    let says = |what: &str| format!("{port}: {what}");
    vec![
        row(
            says("data cannot be answered"),
            resetting(port),
            client("P.").data(b"x"),
            Drop,
            &[ResetDropped],
        ),
        row(
            says("nor a FIN"),
            resetting(port),
            client("F."),
            Drop,
            &[ResetDropped],
        ),
        row(
            says("nor a reset"),
            resetting(port),
            client("R"),
            Drop,
            &[ResetDropped],
        ),
        row(
            says("nor a segment that acknowledges nothing"),
            resetting(port),
            client(""),
            Drop,
            &[ResetDropped],
        ),
        row(
            says("nor a fragment"),
            resetting(port),
            client(".").part(1, true, 0),
            Drop,
            &[ResetDropped],
        ),
        row(
            says("nor what may go no further"),
            resetting(port),
            client(".").hops(1),
            Drop,
            &[TtlExceeded],
        ),
    ]
}

fn two(w: &World, port: u16) -> Vec<Row> {
    let ack = || Frame::tcp(w.client, w.at(port), ".").ack(0x7777_0001);
    let reply = || from_server(w, w.client, port, ".").ack(0x3333_0002);
    let says = |what: &str| format!("{port}: {what}");
    let timestamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    vec![
        row(
            says("the client's acknowledgement becomes the reset that it will accept"),
            resetting(port),
            ack(),
            Back,
            &[ResetAnswered],
        )
        .out(answer(&ack(), 0x7777_0001)),
        row(
            says("the next one too"),
            move |f| {
                resetting(port)(f);
                f.send(&Frame::tcp(f.world.client, f.world.at(port), "."));
            },
            ack(),
            Back,
            &[ResetAnswered],
        )
        .out(answer(&ack(), 0x7777_0001)),
        row(
            says("with options, behind a tag"),
            resetting(port),
            ack().tcp_options(&timestamps).tagged(&[C_TAG]),
            Back,
            &[ResetAnswered],
        )
        .out(answer(
            &ack().tcp_options(&timestamps).tagged(&[C_TAG]),
            0x7777_0001,
        )),
        row(
            says("so does the server's"),
            resetting(port),
            reply(),
            Back,
            &[ResetAnswered],
        )
        .out(answer(
            &Frame {
                to: seen_as(w, w.client, port).at_mac(w.snat.mac),
                ..reply()
            },
            0x3333_0002,
        )),
        row(
            says("a server's data cannot be answered"),
            resetting(port),
            reply().data(b"x"),
            Drop,
            &[ResetDropped],
        ),
    ]
}

fn one(w: &World, port: u16) -> Vec<Row> {
    assert!(!two_sided(port));
    let ack = || {
        Frame::tcp(w.client, w.at(port), ".")
            .ack(0x7777_0001)
            .seq(ISN + 500)
    };
    let says = |what: &str| format!("{port}: {what}");
    let to_server = Frame::tcp(w.client, w.at(port), "R")
        .seq(ISN + 500)
        .window(0);
    vec![
        row(
            says("the client's first acknowledgement goes on to the server as a reset"),
            resetting(port),
            ack(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &to_server)),
        row(
            says("its second is answered with one"),
            move |f| {
                resetting(port)(f);
                f.send(&Frame::tcp(f.world.client, f.world.at(port), "."));
            },
            ack(),
            Back,
            &[ResetAnswered],
        )
        .out(answer(&ack(), 0x7777_0001)),
        row(
            says("while the way to the server is lost the first is dropped"),
            move |f| {
                resetting(port)(f);
                for hop in [hop::S1, hop::IPIP, hop::IPIP_OTHER] {
                    f.hop(hop, |hop| hop.flags = 0);
                }
            },
            ack(),
            Drop,
            &[HopLost],
        ),
        row(
            says("a flow without a handshake cannot be reset"),
            move |f| {
                f.send(&f.world.datagram(f.world.client, port));
                f.open_earlier(1_000);
                f.send(&f.world.datagram(f.world.client, port));
                let tuple = forward(&f.world, f.world.client, port, proto::UDP);
                f.reap(&f.order(reap::RESET, &[tuple]));
            },
            w.datagram(w.client, port),
            Drop,
            &[ResetDropped],
        ),
        row(
            says("another flow than the one being reset goes on"),
            move |f| {
                resetting(port)(f);
                conversing(port::TURN)(f);
            },
            w.datagram(w.client, port::TURN),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &w.datagram(w.client, port::TURN))),
    ]
}
