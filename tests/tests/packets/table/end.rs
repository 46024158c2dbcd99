//! Step 10, end: closed flows are freed by those that are established later, idle ones by the reaper.

use lb_common::abi::{REAP_BATCH, REAP_BATCH6, reap};
use lb_common::counter::Reason::*;
use lb_common::flow::{HALF_OPEN_MS, LINGER_MS, UNANSWERED_MS};

use super::{
    Row, connect, connected, conversing, finished, follow, forward, nothing, opening, row, seen_as,
    sent,
};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Drop, Out, Up};
use crate::frame::{Frame, proto};
use crate::tuple::Tuple;
use crate::world::{IDLE, TICK, World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = freed(w);
    rows.extend(idle(w));
    rows.extend(removed(w));
    rows.extend(half_open(w));
    rows
}

/// By the establishment of another, which the row's packet completes.
fn freed(w: &World) -> Vec<Row> {
    let says = |what: &str| format!("closed flows: {what}");
    let ack = || Frame::tcp(w.client_2, w.at(port::DSR_ONE), ".");
    /// Another client's flow is about to be established.
    fn next(f: &mut Fixture) {
        f.send(&f.world.syn(f.world.client_2, port::DSR_ONE));
    }
    fn close(f: &mut Fixture, n: u16) {
        let w = f.world;
        for i in 0..n {
            let client = w.client.at_port(500 + i);
            connect(f, client, port::DSR_ONE);
            f.send(&Frame::tcp(client, w.at(port::DSR_ONE), "F."));
        }
        assert_eq!(f.all_active(), [0; 8]);
    }
    let established = |what: &str, given: Box<dyn Fn(&mut Fixture)>, left: u64| {
        row(
            says(what),
            given,
            ack(),
            Out,
            &[ForwardedIn, FlowEstablished],
        )
        .out(sent(w, &ack()))
        .then(move |f| {
            assert_eq!((f.flow_count(), f.flows().len() as u64), (left, left));
            assert_eq!(f.active()[0], 1);
        })
    };
    vec![
        established(
            "one lingers for a minute",
            Box::new(|f| {
                close(f, 1);
                f.age_closed(LINGER_MS - 10_000);
                next(f);
            }),
            2,
        ),
        {
            let mut row = established(
                "then it is freed",
                Box::new(|f| {
                    close(f, 1);
                    f.age_closed(LINGER_MS);
                    f.set("CLOCK", 0, TICK + 600);
                    next(f);
                }),
                1,
            );
            row.counts.push(FlowClosed);
            row
        },
        {
            let mut row = established(
                "not if only its client has closed it, and perhaps just now once more",
                Box::new(|f| {
                    close(f, 1);
                    f.age_closed(LINGER_MS);
                    f.set("CLOCK", 0, TICK + 299);
                    next(f);
                }),
                2,
            );
            row.then = Box::new(|f| {
                assert_eq!((f.flow_count(), f.active()[0]), (2, 1));
                f.age_closed(LINGER_MS);
                f.set("CLOCK", 0, TICK + 600);
                let client = f.world.client_2.at_port(700);
                connect(f, client, port::DSR_ONE);
                assert_eq!(
                    (f.flow_count(), f.active()[0]),
                    (2, 2),
                    "it is queued again"
                );
            });
            row
        },
        row(
            says("both entries of one that was translated"),
            |f| {
                finished(port::TURN)(f);
                f.age_closed(LINGER_MS);
                next(f);
            },
            ack(),
            Out,
            &[ForwardedIn, FlowEstablished, FlowClosed],
        )
        .out(sent(w, &ack()))
        .then(|f| assert_eq!((f.flow_count(), f.flows().len()), (1, 1))),
        {
            let mut row = established(
                "one that was opened again meanwhile is left alone",
                Box::new(|f| {
                    close(f, 1);
                    let w = f.world;
                    let client = w.client.at_port(500);
                    f.send(&Frame::tcp(client, w.at(port::DSR_ONE), "P.").data(b"forged"));
                    f.age_closed(LINGER_MS);
                    next(f);
                }),
                2,
            );
            row.then = Box::new(|f| assert_eq!((f.flow_count(), f.active()[0]), (2, 2)));
            row
        },
        {
            let mut row = established(
                "with the table full a second is long enough",
                Box::new(|f| {
                    close(f, 1);
                    f.age_closed(1_000);
                    next(f);
                    f.settings(|settings| settings.admit_below = [1; 2]);
                }),
                1,
            );
            row.counts.push(FlowClosed);
            row
        },
    ]
}

/// Two at most are freed at once; counted twice, which the rows above do not express.
pub(super) fn two_at_once(f: &mut Fixture) {
    let w = f.world;
    for i in 0..3 {
        let client = w.client.at_port(500 + i);
        connect(f, client, port::DSR_ONE);
        f.send(&Frame::tcp(client, w.at(port::DSR_ONE), "F."));
    }
    f.age_closed(LINGER_MS);
    f.set("CLOCK", 0, TICK + 600);
    for (n, left) in [2, 2, 3].into_iter().enumerate() {
        let client = w.client_2.at_port(700 + n as u16);
        connect(f, client, port::DSR_ONE);
        assert_eq!((f.flow_count(), f.flows().len() as u64), (left, left));
    }
}

/// By the reaper, once they are idle for as long as their state allows.
fn idle(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let idle: [(&str, u16, &'static [&'static str], u32); 9] = [
        ("an open one", port::TURN, &[], IDLE),
        ("an open one of one side", port::DSR_ONE, &[], IDLE),
        ("half closed", port::TURN, &[">F."], 1_200),
        ("half closed by the server", port::TURN, &["<F."], 1_200),
        ("closed by both", port::TURN, &[">F.", "<F."], 600),
        ("closed by one of one side", port::DSR_ONE, &[">F."], 600),
        ("reset by the client", port::TURN, &[">R"], 100),
        ("reset by the server", port::TURN, &["<R"], 100),
        (
            "reset by the client of one side",
            port::DSR_ONE,
            &[">R"],
            100,
        ),
    ];
    for (says, port, segments, ticks) in idle {
        let segment = Frame::tcp(w.client, w.at(port), ".");
        let reaped = move |f: &mut Fixture, ticks: u32| {
            connected(port)(f);
            follow(f, port, segments);
            f.set("CLOCK", 0, TICK + ticks);
            let keys: Vec<Tuple> = f.flows().into_keys().collect();
            f.reap(&f.order(reap::IDLE, &keys))
        };
        rows.push(row(
            format!("{says} is idle after {ticks} ticks"),
            move |f| {
                let counted = reaped(f, ticks);
                let open = segments.is_empty() || says.starts_with("half");
                let reason = if open { FlowExpired } else { FlowClosed };
                assert_eq!(counted.get(reason.name()), Some(&1), "{says}: {counted:?}");
                assert_eq!(
                    (f.flow_count(), f.flows().len(), f.all_active()),
                    (0, 0, [0; 8])
                );
                assert_eq!(f.events().len(), 1, "{says}: its end is told once");
            },
            segment.clone(),
            Up,
            &[NoFlow],
        ));
        let out = sent(w, &segment);
        rows.push(
            row(
                format!("{says} is not idle a tick before"),
                move |f| assert!(reaped(f, ticks - 1).is_empty(), "{says}"),
                segment,
                Out,
                &[ForwardedIn],
            )
            .out(out),
        );
    }
    rows.extend([
        row(
            "the other direction's packets keep a flow young",
            |f| {
                connected(port::TURN)(f);
                f.set("CLOCK", 0, TICK + IDLE);
                let w = f.world;
                f.send(&super::from_server(&w, w.client, port::TURN, "."));
                let keys: Vec<Tuple> = f.flows().into_keys().collect();
                assert!(f.reap(&f.order(reap::IDLE, &keys)).is_empty());
            },
            Frame::tcp(w.client, w.service, "."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &Frame::tcp(w.client, w.service, "."))),
        row(
            "a conversation of datagrams idles out as well",
            |f| {
                conversing(port::TURN)(f);
                f.set("CLOCK", 0, TICK + IDLE);
                let keys: Vec<Tuple> = f.flows().into_keys().collect();
                let counted = f.reap(&f.order(reap::IDLE, &keys));
                assert_eq!(counted.get(FlowExpired.name()), Some(&1));
                assert_eq!(f.all_active(), [0; 8]);
            },
            Frame::udp(w.s1, w.snat),
            Drop,
            &[StrayReply],
        ),
        row(
            "an answering entry without its other half is removed after a minute",
            |f| {
                connected(port::TURN)(f);
                f.forget_flow(forward(&f.world, f.world.client, port::TURN, proto::TCP));
                let keys: Vec<Tuple> = f.flows().into_keys().collect();
                f.set("CLOCK", 0, TICK + 599);
                assert!(f.reap(&f.order(reap::IDLE, &keys)).is_empty());
                f.set("CLOCK", 0, TICK + 600);
                let counted = f.reap(&f.order(reap::IDLE, &keys));
                assert_eq!(counted.get(OrphanRemoved.name()), Some(&1));
            },
            Frame::tcp(w.s1, w.snat, "."),
            Drop,
            &[StrayReply],
        ),
        row(
            "an order is for as many flows as it says",
            |f| {
                let w = f.world;
                let most = if w.v4() { REAP_BATCH } else { REAP_BATCH6 };
                f.settings(|settings| settings.admit_below = [5_000; 2]);
                for n in 0..most as u16 {
                    let client = w.client_2.at_port(1_000 + n);
                    f.run_uncounted(&w.syn(client, port::DSR_ONE).bytes(), None);
                    let ack = Frame::tcp(client, w.at(port::DSR_ONE), ".");
                    f.run_uncounted(&ack.bytes(), None);
                }
                f.set("CLOCK", 0, TICK + IDLE);
                let keys: Vec<Tuple> = f.flows().into_keys().collect();
                assert_eq!(keys.len(), most);
                let mut order = f.order(reap::IDLE, &keys);
                order[4..8].copy_from_slice(&3u32.to_ne_bytes());
                assert_eq!(f.reap(&order)[FlowExpired.name()], 3);
                let counted = f.reap(&f.order(reap::IDLE, &keys));
                assert_eq!(counted[FlowExpired.name()], most as u64 - 3);
            },
            Frame::tcp(w.client_2.at_port(1_000), w.at(port::DSR_ONE), "."),
            Up,
            &[NoFlow],
        ),
    ]);
    rows
}

/// By order, whatever their state.
fn removed(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (port, segments) in [
        (port::TURN, &[][..]),
        (port::TURN, &[">F.", "<F."]),
        (port::NAT, &[">R"]),
        (port::DSR_ONE, &[]),
        (port::IPIP, &[">F."]),
    ] {
        rows.push(row(
            format!("{port}: a flow is removed by order after {segments:?}"),
            move |f| {
                connected(port)(f);
                follow(f, port, segments);
                let key = forward(&f.world, f.world.client, port, proto::TCP);
                let counted = f.reap(&f.order(reap::REMOVE, &[key]));
                assert_eq!(counted.get(FlowReset.name()), Some(&1), "{counted:?}");
                assert_eq!(
                    (f.flow_count(), f.flows().len(), f.all_active()),
                    (0, 0, [0; 8])
                );
                assert_eq!(f.events().len(), 1);
            },
            Frame::tcp(w.client, w.at(port), "."),
            Up,
            &[NoFlow],
        ));
    }
    rows.push(
        row(
            "an answering entry by itself is not",
            |f| {
                connected(port::TURN)(f);
                let seen = seen_as(&f.world, f.world.client, port::TURN);
                let key = Tuple::new(f.world.s1, seen, proto::TCP);
                assert!(f.reap(&f.order(reap::REMOVE, &[key])).is_empty());
                assert!(f.reap(&f.order(reap::RESET, &[key])).is_empty());
            },
            Frame::tcp(w.client, w.service, "."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &Frame::tcp(w.client, w.service, "."))),
    );
    rows.push(row(
        "an order about a flow that is not does nothing",
        |f| {
            let key = forward(&f.world, f.world.client, port::TURN, proto::TCP);
            for order in [reap::IDLE, reap::RESET, reap::REMOVE] {
                assert!(f.reap(&f.order(order, &[key])).is_empty());
            }
        },
        Frame::tcp(w.client, w.service, "."),
        Up,
        &[NoFlow],
    ));
    rows
}

/// What is half-open for too long.
fn half_open(w: &World) -> Vec<Row> {
    let expire = |f: &mut Fixture| {
        let order = f.half_order();
        f.reap(&order)
    };
    let mut rows = Vec::new();
    for (says, udp, ms) in [
        ("a SYN", false, HALF_OPEN_MS),
        ("a datagram", true, UNANSWERED_MS),
    ] {
        for port in [port::TURN, port::DSR_ONE] {
            let open = move |f: &mut Fixture, ms| {
                if udp {
                    f.send(&f.world.datagram(f.world.client, port));
                } else {
                    opening(port)(f);
                }
                f.age_half_open(ms);
            };
            let packet = if udp {
                w.datagram(w.client, port)
            } else {
                w.syn(w.client, port)
            };
            rows.push(
                row(
                    format!("{port}: {says} that nobody answers is forgotten in time"),
                    move |f| {
                        open(f, ms);
                        assert_eq!(expire(f).get(HalfOpenExpired.name()), Some(&1));
                        assert_eq!((f.half_open(), f.all_active()), (vec![], [0; 8]));
                        assert_eq!(f.events().len(), 1);
                    },
                    packet.clone(),
                    Out,
                    &[ForwardedIn, FlowOpened],
                )
                .out(if port == port::TURN {
                    super::sent_to(w, &packet, w.s2)
                } else {
                    sent(w, &packet)
                }),
            );
            rows.push(
                row(
                    format!("{port}: {says} is not forgotten before"),
                    move |f| {
                        open(f, ms - 10_000);
                        assert!(expire(f).is_empty());
                    },
                    packet.clone(),
                    Out,
                    &[ForwardedIn],
                )
                .out(sent(w, &packet)),
            );
        }
    }
    rows.push(
        row(
            "a datagram keeps its flow young",
            move |f| {
                let w = f.world;
                f.send(&w.datagram(w.client, port::DSR_ONE));
                f.age_half_open(UNANSWERED_MS - 10_000);
                f.send(&w.datagram(w.client, port::DSR_ONE));
                f.age_half_open(UNANSWERED_MS - 10_000);
                assert!(expire(f).is_empty());
            },
            w.datagram(w.client, port::DSR_ONE),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &w.datagram(w.client, port::DSR_ONE))),
    );
    rows.push(row(
        "nothing is half-open",
        move |f| {
            nothing(f);
            assert!(expire(f).is_empty());
        },
        Frame::tcp(w.client, w.service, "."),
        Up,
        &[NoFlow],
    ));
    rows
}
