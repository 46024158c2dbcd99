//! Half-open flows and their tuples at the server.

use lb_common::counter::Reason::*;
use lb_common::flow::flags;

use super::{Row, answered, nothing, opening, row, seen_as, sent};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{Frame, proto};
use crate::tuple::Tuple;
use crate::world::{World, port};

/// The tuple at the server, half-open flows' hold on it included.
pub(super) fn rows(w: &World) -> Vec<Row> {
    let syn = |client, port| w.syn(client, port);
    let evict_reverse = |f: &mut Fixture| f.forget_half_open(|key| key.src.port() == 8080);
    vec![
        row(
            "a source port that a half-open flow has is not taken",
            opening(port::ONE),
            syn(w.client_2, port::ONE),
            Up,
            &[NoSnatPort],
        )
        .then(|f| assert_eq!(f.active()[0], 1)),
        row(
            "nor one that an established flow has",
            super::connected(port::ONE),
            syn(w.client_2, port::ONE),
            Up,
            &[NoSnatPort],
        )
        .then(|f| assert_eq!((f.active()[0], f.half_open().len()), (1, 0))),
        row(
            "one that something here listens on is left out",
            Fixture::close_source_port,
            syn(w.client, port::ONE),
            Up,
            &[NoSnatPort],
        )
        .then(|f| assert_eq!((f.active()[0], f.half_open().len()), (0, 0))),
        row(
            "with the client's own address its tuple may be in use by another service",
            |f| {
                let w = f.world;
                opening(port::NAT)(f);
                f.put_nat_twin(&w);
            },
            w.syn(w.client, port::NONE),
            Up,
            &[TupleTaken],
        )
        .then(|f| assert_eq!(f.active()[0], 1)),
        row(
            "but not by what an evicted flow of its own has left behind",
            |f| {
                opening(port::NAT)(f);
                f.forget_half_open(|key| key.dst.port() == port::NAT);
                f.set_active(&[0]);
            },
            w.syn(w.client, port::NAT),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &w.syn(w.client, port::NAT)))
        .then(|f| assert_eq!((f.active()[0], f.half_open().len()), (1, 2))),
        row(
            "a server without a neighbour leaves the flow to userspace",
            nothing,
            syn(w.client, port::NO_HOP),
            Up,
            &[NoNextHop],
        )
        .then(|f| assert_eq!(f.all_active(), [0; 8])),
        row(
            "a client's side that nobody has described as well",
            Fixture::forget_side,
            syn(w.client, port::TURN),
            Up,
            &[NoSide],
        )
        .then(|f| assert_eq!(f.all_active(), [0; 8])),
        row(
            "a datagram's likewise",
            Fixture::forget_side,
            w.datagram(w.client, port::TURN),
            Up,
            &[NoSide],
        ),
        row(
            "a flow whose answering leg was evicted gets it again by the next SYN",
            move |f| {
                opening(port::ONE)(f);
                evict_reverse(f);
                f.age_half_open(5_000);
            },
            syn(w.client, port::ONE),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &syn(w.client, port::ONE)))
        .then(|f| {
            let forward = f.half_open().into_iter().find(|half| !half.is_reverse()).unwrap();
            let reverse = f
                .half_open()
                .into_iter()
                .find(|half| half.is_reverse())
                .unwrap();
            assert_eq!(
                reverse.key,
                Tuple::new(f.world.s1, f.world.snat, proto::TCP)
            );
            assert_ne!(reverse.flags & flags::TRANSLATE, 0);
            let younger = reverse.last.wrapping_sub(forward.last);
            assert!((5_000..100_000).contains(&younger), "as young as its packet");
        }),
        row(
            "unless another flow has taken its tuple: then it is forgotten, and another port is sought",
            move |f| {
                opening(port::ONE)(f);
                evict_reverse(f);
                f.send(&f.world.syn(f.world.client_2, port::ONE));
            },
            syn(w.client, port::ONE),
            Up,
            &[HalfOpenEvicted, NoSnatPort],
        )
        .then(|f| {
            let half = f.half_open();
            let client = (f.world.client_2.address, f.world.client_2.port).into();
            assert!(half.iter().all(|half| half.key.src == client || half.to.dst == client));
            assert_eq!((half.len(), f.active()[0]), (2, 1));
        }),
        row(
            "an established one too",
            move |f| {
                opening(port::ONE)(f);
                evict_reverse(f);
                let other = f.world.client_2;
                super::connect(f, other, port::ONE);
            },
            syn(w.client, port::ONE),
            Up,
            &[HalfOpenEvicted, NoSnatPort],
        )
        .then(|f| assert_eq!((f.half_open().len(), f.active()[0], f.flow_count()), (0, 1, 1))),
        row(
            "and the other's answer is not proof for it",
            move |f| {
                opening(port::ONE)(f);
                evict_reverse(f);
                f.send(&f.world.syn(f.world.client_2, port::ONE));
                f.send(&Frame::tcp(f.world.s1, f.world.snat, "S."));
            },
            Frame::tcp(w.client, w.at(port::ONE), "."),
            Drop,
            &[BadHandshake],
        )
        .then(|f| assert_eq!(f.flow_count(), 0)),
        row(
            "until then its acknowledgement proves nothing",
            move |f| {
                answered(port::ONE)(f);
                evict_reverse(f);
            },
            Frame::tcp(w.client, w.at(port::ONE), "."),
            Drop,
            &[BadHandshake],
        ),
        row(
            "and its server's answer is of no flow",
            move |f| {
                opening(port::ONE)(f);
                evict_reverse(f);
            },
            Frame::tcp(w.s1, seen_as(w, w.client, port::ONE), "S."),
            Drop,
            &[StrayReply],
        ),
        row(
            "a segment for a leg whose client's was evicted still reaches the client",
            |f| {
                opening(port::ONE)(f);
                f.forget_half_open(|key| key.dst.port() == port::ONE);
            },
            Frame::tcp(w.s1, w.snat, "S."),
            Back,
            &[ForwardedOut],
        )
        .out(Frame::tcp(w.s1, w.snat, "S.").forwarded(w.at(port::ONE), w.client)),
    ]
}
