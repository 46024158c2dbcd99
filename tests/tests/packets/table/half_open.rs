//! Step 5, half-open: flows whose handshake is not complete live apart, and evict none but their like.

use lb_common::abi::Settings;
use lb_common::counter::Reason::*;
use lb_common::flow::HALF_OPEN_MS;

use super::{
    Row, answered, forward, from_server, nothing, opening, row, sent, sent_to, to_client, two_sided,
};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{Frame, ISN, proto};
use crate::world::{World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in [
        port::TURN,
        port::NAT,
        port::DSR_ONE,
        port::IPIP,
        port::IPIP_OTHER,
    ] {
        rows.extend(handshake(w, port));
    }
    rows.extend(evictions(w));
    rows.extend(super::tuples::rows(w));
    rows
}

/// From the SYN to the acknowledgement that proves the client.
fn handshake(w: &World, port: u16) -> Vec<Row> {
    let syn = || {
        w.syn(w.client, port)
            .tcp_options(&[2, 4, 5, 180, 4, 2, 1, 1])
    };
    let ack = |flags| Frame::tcp(w.client, w.at(port), flags);
    let says = |what: &str| format!("{port}: {what}");
    let established = move |f: &mut Fixture| {
        let key = forward(&f.world, f.world.client, port, proto::TCP);
        assert!(f.flows().contains_key(&key));
        assert_eq!((f.half_open(), f.flow_count()), (vec![], 1));
    };
    let still_half_open = move |f: &mut Fixture| {
        assert_eq!((f.flows().len(), f.active()[0]), (0, expected_active(port)));
    };
    let ended = move |f: &mut Fixture| {
        assert_eq!((f.half_open(), f.all_active()), (vec![], [0; 8]));
        assert_eq!(f.events().len(), 1);
    };
    let mut rows = vec![
        row(
            says("a SYN opens a flow"),
            nothing,
            syn(),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &syn()))
        .then(still_half_open),
        row(
            says("sent again it goes to the same server and opens nothing"),
            opening(port),
            syn(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &syn()))
        .then(still_half_open),
        row(
            says("another attempt from the same port goes there too"),
            opening(port),
            syn().seq(77),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &syn().seq(77))),
        row(
            says("an acknowledgement of the attempt before that proves nothing"),
            move |f| {
                answered(port)(f);
                f.send(&f.world.syn(f.world.client, port).seq(77));
                if two_sided(port) {
                    let answer = from_server(&f.world, f.world.client, port, "S.");
                    f.send(&answer.seq(5_000).ack(78));
                }
            },
            ack("."),
            if two_sided(port) { Drop } else { Out },
            if two_sided(port) {
                &[BadHandshake]
            } else {
                &[ForwardedIn]
            },
        )
        .out(if two_sided(port) {
            ack(".")
        } else {
            sent(w, &ack("."))
        }),
        row(
            says("the right acknowledgement establishes the flow"),
            answered(port),
            ack("."),
            Out,
            &[ForwardedIn, FlowEstablished],
        )
        .out(sent(w, &ack(".")))
        .then(established),
        row(
            says("so does the first data, if the acknowledgement was lost"),
            answered(port),
            ack("P.").data(b"GET /"),
            Out,
            &[ForwardedIn, FlowEstablished],
        )
        .out(sent(w, &ack("P.").data(b"GET /")))
        .then(established),
        row(
            says("and a FIN, which is seen"),
            answered(port),
            ack("F."),
            Out,
            &[ForwardedIn, FlowEstablished],
        )
        .out(sent(w, &ack("F.")))
        .then(move |f| {
            let key = forward(&f.world, f.world.client, port, proto::TCP);
            assert_ne!(f.flows()[&key].state & lb_common::tcp::state::FIN_CLIENT, 0);
        }),
        row(
            says("a client's reset in sequence ends it"),
            opening(port),
            ack("R"),
            Out,
            &[ForwardedIn, FlowClosed],
        )
        .out(sent(w, &ack("R")))
        .then(ended),
        row(
            says("out of sequence it does not"),
            opening(port),
            ack("R").seq(ISN + 1_000),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &ack("R").seq(ISN + 1_000)))
        .then(still_half_open),
        row(
            says("a segment whose time to live ends here is dropped"),
            opening(port),
            syn().hops(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("while its way out is lost it is dropped, not passed up"),
            move |f| {
                opening(port)(f);
                let hop = match port {
                    port::IPIP => crate::world::hop::IPIP,
                    port::IPIP_OTHER => crate::world::hop::IPIP_OTHER,
                    _ => crate::world::hop::S1,
                };
                f.hop(hop, |hop| hop.flags = 0);
            },
            syn(),
            Drop,
            &[HopLost],
        ),
        row(
            says("with the table full a proven flow goes on as half-open"),
            move |f| {
                answered(port)(f);
                fill(f);
            },
            ack("."),
            Out,
            &[ForwardedIn, NotEstablished],
        )
        .out(sent(w, &ack("."))),
        row(
            says("and does so as long as it goes on, data of both ends included"),
            move |f| {
                answered(port)(f);
                fill(f);
                let w = f.world;
                f.send(&Frame::tcp(w.client, w.at(port), "P.").data(b"request"));
                if two_sided(port) {
                    f.send(&from_server(&w, w.client, port, "P.").data(b"reply"));
                }
                f.age_half_open(HALF_OPEN_MS - 1_000);
            },
            ack(".").seq(ISN + 8).ack(ISN + 6),
            Out,
            &[ForwardedIn, NotEstablished],
        )
        .out(sent(w, &ack(".").seq(ISN + 8).ack(ISN + 6)))
        .then(move |f| {
            f.age_half_open(HALF_OPEN_MS - 1_000);
            f.reap(&f.half_order());
            let places = if two_sided(port) { 2 } else { 1 };
            assert_eq!(f.half_open().len(), places);
        }),
        row(
            says("data that came with the SYN or right behind the answer may be acknowledged too"),
            move |f| {
                let w = f.world;
                f.send(&w.syn(w.client, port).data(b"hello"));
                if two_sided(port) {
                    f.send(&from_server(&w, w.client, port, "S.").ack(ISN + 6));
                    f.send(&from_server(&w, w.client, port, "P.").data(b"reply"));
                    f.send(&from_server(&w, w.client, port, "F.").seq(ISN + 6));
                }
            },
            ack(".").seq(ISN + 6).ack(ISN + 7),
            Out,
            &[ForwardedIn, FlowEstablished],
        )
        .out(sent(w, &ack(".").seq(ISN + 6).ack(ISN + 7)))
        .then(established),
    ];
    if two_sided(port) {
        rows.extend(answers(w, port));
    } else {
        rows.extend([row(
            says("a segment out of sequence is sent on and proves nothing"),
            opening(port),
            ack(".").seq(ISN + 2),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &ack(".").seq(ISN + 2)))
        .then(still_half_open)]);
    }
    rows
}

/// Active flows of the first server, to which the services of tunnels do not belong.
fn expected_active(port: u16) -> u32 {
    u32::from(!matches!(port, port::IPIP | port::IPIP_OTHER))
}

/// Leaves no room in the table of established flows.
fn fill(f: &mut Fixture) {
    let w = f.world;
    f.settings(|settings| settings.admit_below = [5_000; 2]);
    for n in 0..1_024u16 {
        let client = w.client_2.at_port(2_000 + n);
        f.run_uncounted(&w.syn(client, port::DSR_ONE).bytes(), None);
        let ack = Frame::tcp(client, w.at(port::DSR_ONE), ".");
        f.run_uncounted(&ack.bytes(), None);
    }
    assert_eq!(f.flows().len(), 1_024);
}

/// What servers answer.
fn answers(w: &World, port: u16) -> Vec<Row> {
    let answer = |flags| from_server(w, w.client, port, flags);
    let back = |frame: Frame| to_client(w, frame, w.client, port);
    let ack = |flags| Frame::tcp(w.client, w.at(port), flags);
    let says = |what: &str| format!("{port}: {what}");
    let still_half_open =
        |f: &mut Fixture| assert_eq!((f.half_open().len(), f.active()[0]), (2, 1));
    let ended = |f: &mut Fixture| {
        assert_eq!((f.half_open(), f.all_active()), (vec![], [0; 8]));
        assert_eq!(f.events().len(), 1);
    };
    let mut rows = vec![
        row(
            says("the server's SYN goes to the client"),
            opening(port),
            answer("S."),
            Back,
            &[ForwardedOut],
        )
        .out(back(answer("S.")))
        .then(still_half_open),
        row(
            says("sent again as well"),
            answered(port),
            answer("S."),
            Back,
            &[ForwardedOut],
        )
        .out(back(answer("S."))),
        row(
            says("a challenge of the server's goes to the client"),
            opening(port),
            answer("."),
            Back,
            &[ForwardedOut],
        )
        .out(back(answer("."))),
        row(
            says("a server's refusal ends it"),
            opening(port),
            answer("R."),
            Back,
            &[ForwardedOut, FlowClosed],
        )
        .out(back(answer("R.")))
        .then(ended),
        row(
            says("and its reset in sequence after it has answered"),
            answered(port),
            answer("R."),
            Back,
            &[ForwardedOut, FlowClosed],
        )
        .out(back(answer("R.")))
        .then(ended),
        row(
            says("out of sequence, what a stray segment brought upon itself, it does not"),
            answered(port),
            answer("R").seq(9_999),
            Back,
            &[ForwardedOut],
        )
        .out(back(answer("R").seq(9_999)))
        .then(still_half_open),
        row(
            says("after a refusal the port is used anew"),
            move |f| {
                opening(port)(f);
                f.send(&from_server(&f.world, f.world.client, port, "R."));
            },
            w.syn(w.client, port),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(if port == port::TURN {
            sent_to(w, &w.syn(w.client, port), w.s2)
        } else {
            sent(w, &w.syn(w.client, port))
        }),
        row(
            says("an acknowledgement before the server's answer proves nothing"),
            opening(port),
            ack("."),
            Drop,
            &[BadHandshake],
        )
        .then(still_half_open),
        row(
            says("nor does one after it that it was not seen"),
            answered(port),
            ack("F"),
            Drop,
            &[BadHandshake],
        ),
    ];
    for off in [0, 2, 0x8000_0000] {
        rows.push(
            row(
                says(&format!(
                    "a wrong acknowledgement, ISN + {off}, proves nothing"
                )),
                answered(port),
                ack(".").ack(ISN.wrapping_add(off)),
                Drop,
                &[BadHandshake],
            )
            .then(still_half_open),
        );
    }
    rows
}

/// Four places in a set, and the oldest makes room.
fn evictions(w: &World) -> Vec<Row> {
    /// All flows in one set, of clients at these ports in this order of age, the oldest first.
    fn crowd(f: &mut Fixture, port: u16, clients: &'static [u16]) {
        f.settings(|settings| (settings.half_mask4, settings.half_mask6) = (0, 0));
        let w = f.world;
        for client in clients {
            f.send(&w.syn(w.client_2.at_port(*client), port));
        }
        f.change_half_open(move |key, since| {
            let old = |at: u16| clients.iter().position(|client| *client == at);
            if let Some(place) = old(key.src.port()).or(old(key.dst.port())) {
                *since = since.wrapping_sub(1_000 - 10 * place as u32);
            }
        });
    }
    fn clients(f: &Fixture) -> Vec<u16> {
        let half = f.half_open().into_iter().filter(|half| !half.is_reverse());
        let mut ports: Vec<u16> = half.map(|half| half.key.src.port()).collect();
        ports.sort();
        ports
    }
    let syn = |port| w.syn(w.client, port);
    let mut rows = Vec::new();
    for (order, left) in [
        (&[1, 2, 3, 4][..], [2, 3, 4]),
        (&[4, 3, 2, 1], [1, 2, 3]),
        (&[2, 4, 1, 3], [1, 3, 4]),
        (&[3, 1, 4, 2], [1, 2, 4]),
    ] {
        rows.push(
            row(
                format!("of flows as old as {order:?} the oldest makes room"),
                move |f| crowd(f, port::DSR_ONE, order),
                syn(port::DSR_ONE),
                Out,
                &[ForwardedIn, FlowOpened, HalfOpenEvicted],
            )
            .out(sent(w, &syn(port::DSR_ONE)))
            .then(move |f| {
                assert_eq!(clients(f), [&left[..], &[40_000]].concat());
                assert_eq!(f.active()[0], 4);
            }),
        );
    }
    rows.extend([
        row(
            "three leave room for a fourth",
            |f| crowd(f, port::DSR_ONE, &[1, 2, 3]),
            syn(port::DSR_ONE),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &syn(port::DSR_ONE))),
        row(
            "both legs of a flow make room for both of another",
            |f| crowd(f, port::NAT, &[1, 2]),
            syn(port::NAT),
            Out,
            &[ForwardedIn, FlowOpened, HalfOpenEvicted],
        )
        .out(sent(w, &syn(port::NAT)))
        .then(|f| {
            assert_eq!(clients(f), [2, 40_000]);
            assert_eq!((f.half_open().len(), f.active()[0]), (4, 2));
        }),
        row(
            "a flow that was established is not evicted",
            |f| {
                let client = f.world.client_2;
                super::connect(f, client, port::DSR_ONE);
                crowd(f, port::DSR_ONE, &[1, 2, 3, 4]);
            },
            syn(port::DSR_ONE),
            Out,
            &[ForwardedIn, FlowOpened, HalfOpenEvicted],
        )
        .out(sent(w, &syn(port::DSR_ONE)))
        .then(|f| assert_eq!(f.flow_count(), 1)),
        row(
            "an evicted flow's next segment is of none",
            |f| {
                crowd(f, port::DSR_ONE, &[1, 2, 3, 4]);
                f.send(&f.world.syn(f.world.client, port::DSR_ONE));
            },
            Frame::tcp(w.client_2.at_port(1), w.at(port::DSR_ONE), "."),
            Up,
            &[NoFlow],
        ),
        row(
            "settling, it is dropped",
            |f| {
                crowd(f, port::DSR_ONE, &[1, 2, 3, 4]);
                f.send(&f.world.syn(f.world.client, port::DSR_ONE));
                f.settings(|settings| settings.flags = Settings::SETTLING);
            },
            Frame::tcp(w.client_2.at_port(1), w.at(port::DSR_ONE), "."),
            Drop,
            &[Settling],
        ),
    ]);
    rows
}
