//! Flows without a handshake: they stay evictable until a reply is seen, or, where replies go another way, until they
//! have gone on for a while.

use lb_common::counter::Reason::*;

use super::{Row, conversing, forward, nothing, row, seen_as, sent, to_client, two_sided};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{Frame, proto};
use crate::world::{World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in [port::TURN, port::NAT] {
        rows.extend(two(w, port));
    }
    for port in [port::DSR_ONE, port::IPIP, port::IPIP_OTHER] {
        rows.extend(one(w, port));
    }
    rows
}

fn sent_one(port: u16) -> impl Fn(&mut Fixture) {
    move |f| drop(f.send(&f.world.datagram(f.world.client, port)))
}

fn is_established(port: u16, f: &Fixture) -> bool {
    f.flows()
        .contains_key(&forward(&f.world, f.world.client, port, proto::UDP))
}

fn two(w: &World, port: u16) -> Vec<Row> {
    assert!(two_sided(port));
    let datagram = || w.datagram(w.client, port);
    let reply = || Frame::udp(w.s1, seen_as(w, w.client, port)).data(b"a reply");
    let says = |what: &str| format!("{port}: {what}");
    vec![
        row(
            says("a first datagram opens a flow"),
            nothing,
            datagram(),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &datagram()))
        .then(move |f| {
            assert_eq!((f.active()[0], is_established(port, f)), (1, false));
            assert_eq!(f.lane(0).flows - f.remembered, 1, "counted as it opens");
        }),
        row(
            says("the next goes the same way"),
            sent_one(port),
            datagram(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &datagram()))
        .then(move |f| assert!(!is_established(port, f), "the client's own prove nothing")),
        row(
            says("the first reply establishes the flow"),
            sent_one(port),
            reply(),
            Back,
            &[ForwardedOut, FlowEstablished],
        )
        .out(to_client(w, reply(), w.client, port))
        .then(move |f| {
            assert!(is_established(port, f));
            assert_eq!(
                (f.half_open(), f.active()[0], f.flow_count()),
                (vec![], 1, 1)
            );
        }),
        row(
            says("the second is one like any other"),
            conversing(port),
            reply(),
            Back,
            &[ForwardedOut],
        )
        .out(to_client(w, reply(), w.client, port)),
        row(
            says("so are the client's from then on"),
            conversing(port),
            datagram(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &datagram())),
        row(
            says("a time to live that ends here"),
            sent_one(port),
            datagram().hops(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("and a reply's"),
            sent_one(port),
            reply().hops(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("a flow whose answering leg was evicted gets it again by the next datagram"),
            move |f| {
                sent_one(port)(f);
                f.forget_half_open(|key| key.src.port() == 8080);
            },
            datagram(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &datagram()))
        .then(|f| assert_eq!(f.half_open().len(), 2)),
        row(
            says("a server that is slower than the client is patient is answered for"),
            move |f| {
                let order = f.half_order();
                sent_one(port)(f);
                for _ in 0..4 {
                    f.age_half_open(lb_common::flow::UNANSWERED_MS - 10_000);
                    f.reap(&order);
                    sent_one(port)(f);
                }
            },
            reply(),
            Back,
            &[ForwardedOut, FlowEstablished],
        )
        .out(to_client(w, reply(), w.client, port)),
        row(
            says("one whose tuple another flow has taken since is forgotten"),
            move |f| {
                sent_one(port)(f);
                f.forget_half_open(|key| key.src.port() == 8080);
                // The same tuple at the server: its only source port, or the client's own address by another service.
                let w = f.world;
                if port == port::NAT {
                    f.put_nat_twin(&w);
                    sent_one(port::NONE)(f);
                } else {
                    f.send(&w.datagram(w.client_2, port::ONE));
                }
            },
            datagram(),
            if port == port::NAT { Up } else { Out },
            if port == port::NAT {
                &[HalfOpenEvicted, TupleTaken]
            } else {
                &[ForwardedIn, FlowOpened, HalfOpenEvicted]
            },
        )
        .out(if port == port::NAT {
            datagram()
        } else {
            // In turn the second server is next, where the source port is free.
            super::sent_to(w, &datagram(), w.s2)
        }),
    ]
}

fn one(w: &World, port: u16) -> Vec<Row> {
    assert!(!two_sided(port));
    let datagram = || w.datagram(w.client, port);
    let says = |what: &str| format!("{port}: {what}");
    let opened_before = move |f: &mut Fixture, ms| {
        sent_one(port)(f);
        f.open_earlier(ms);
    };
    vec![
        row(
            says("a first datagram opens a flow"),
            nothing,
            datagram(),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &datagram())),
        row(
            says("the next goes the same way"),
            sent_one(port),
            datagram(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &datagram())),
        row(
            says("after a second the flow is taken for real"),
            move |f| opened_before(f, 1_000),
            datagram(),
            Out,
            &[ForwardedIn, FlowEstablished],
        )
        .out(sent(w, &datagram()))
        .then(move |f| {
            assert!(is_established(port, f));
            assert_eq!((f.half_open(), f.flow_count()), (vec![], 1));
        }),
        row(
            says("unless the table is half full of others"),
            move |f| {
                opened_before(f, 1_000);
                let second = u32::from(!f.world.v4());
                f.set::<u64>("FLOW_COUNT", second, 450);
            },
            datagram(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &datagram()))
        .then(move |f| assert!(!is_established(port, f))),
    ]
}
