//! Fragments: the first has the ports, and later ones follow it. A fragment does not open a flow.

use lb_common::counter::Reason::*;

use super::{Row, connected, conversing, nothing, row, seen_as, sent, to_client, two_sided};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{End, Frame, L4, proto};
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
        rows.extend(known(w, port));
    }
    rows.extend(unknown(w));
    rows
}

/// A later fragment.
fn later(from: End, to: End, udp: bool, id: u16, more: bool) -> Frame {
    let proto = if udp { proto::UDP } else { proto::TCP };
    Frame::other(from, to, proto).part(id, more, 5)
}

/// The first fragment.
fn first(from: End, to: End, udp: bool, id: u16) -> Frame {
    let frame = if udp {
        Frame::udp(from, to).data(&[3; 32])
    } else {
        Frame::tcp(from, to, "P.").data(&[3; 20])
    };
    frame.part(id, true, 0)
}

fn open(udp: bool, port: u16) -> impl Fn(&mut Fixture) + Copy {
    move |f| {
        if !udp {
            connected(port)(f);
        } else if two_sided(port) {
            conversing(port)(f);
        } else {
            f.send(&f.world.datagram(f.world.client, port));
        }
    }
}

fn known(w: &World, port: u16) -> Vec<Row> {
    let mut rows = Vec::new();
    for udp in [false, true] {
        let (client, service) = (w.client, w.at(port));
        let head = move |w: &World, id| first(w.client, w.at(port), udp, id);
        let tail = |id, more| later(client, service, udp, id, more);
        let open = open(udp, port);
        let says = |what: &str| format!("{port}{}: {what}", if udp { " UDP" } else { "" });
        rows.extend([
            row(
                says("a first fragment of a flow goes on"),
                open,
                head(w, 7),
                Out,
                &[ForwardedIn],
            )
            .out(sent(w, &head(w, 7))),
            row(
                says("a later one follows it"),
                move |f| {
                    open(f);
                    f.send(&head(&f.world, 7));
                },
                tail(7, true),
                Out,
                &[ForwardedIn],
            )
            .out(sent(w, &tail(7, true))),
            row(
                says("and the last"),
                move |f| {
                    open(f);
                    f.send(&head(&f.world, 7));
                },
                tail(7, false),
                Out,
                &[ForwardedIn],
            )
            .out(sent(w, &tail(7, false))),
            row(
                says("one of another datagram does not"),
                move |f| {
                    open(f);
                    f.send(&head(&f.world, 7));
                },
                tail(8, false),
                Up,
                &[Fragment],
            ),
            row(
                says("one that comes before the first goes up"),
                open,
                tail(7, true),
                Up,
                &[Fragment],
            ),
            row(
                says("one whose time to live ends here"),
                move |f| {
                    open(f);
                    f.send(&head(&f.world, 7));
                },
                tail(7, true).hops(1),
                Drop,
                &[TtlExceeded],
            ),
        ]);
        if two_sided(port) {
            let seen = seen_as(w, client, port);
            let head = move |w: &World| first(w.s1, seen_as(w, w.client, port), udp, 9);
            rows.extend([
                row(
                    says("a server's first fragment"),
                    open,
                    head(w),
                    Back,
                    &[ForwardedOut],
                )
                .out(to_client(w, head(w), client, port)),
                row(
                    says("a server's later one"),
                    move |f| {
                        open(f);
                        f.send(&head(&f.world));
                    },
                    later(w.s1, seen, udp, 9, false),
                    Back,
                    &[ForwardedOut],
                )
                .out(to_client(w, later(w.s1, seen, udp, 9, false), client, port)),
            ]);
        }
    }
    rows
}

fn unknown(w: &World) -> Vec<Row> {
    let (client, service) = (w.client, w.service);
    let mut rows = Vec::new();
    for udp in [false, true] {
        rows.extend([
            row(
                "a first fragment of no flow is the host's",
                nothing,
                first(client, service, udp, 7),
                Up,
                &[Fragment],
            )
            .then(|f| assert_eq!((f.half_open(), f.flows().len()), (vec![], 0))),
            row(
                "so is what follows it",
                move |f| drop(f.run(&first(client, service, udp, 7).bytes())),
                later(client, service, udp, 7, false),
                Up,
                &[Fragment],
            ),
            row(
                "and a fragment to a port that is nobody's",
                nothing,
                first(client, service.at_port(22), udp, 7),
                Up,
                &[Fragment],
            ),
        ]);
    }
    rows.push(row(
        "a SYN in two parts opens nothing",
        nothing,
        w.syn(client, port::TURN).data(&[0; 8]).part(7, true, 0),
        Up,
        &[Fragment],
    ));
    if w.v4() {
        let mut icmp = Frame::icmp(client, service, 8, 0, [0; 4]).data(&[0; 16]);
        icmp = icmp.part(3, true, 0);
        assert!(matches!(icmp.l4, L4::Icmp(..)));
        rows.push(row("a fragment of ICMP", nothing, icmp, Up, &[Fragment]));
    } else {
        let whole = Frame::tcp(client, service, "P.")
            .data(b"x")
            .part(7, false, 0);
        rows.push(
            row(
                "a fragment that is all of its datagram goes on",
                connected(port::TURN),
                whole.clone(),
                Out,
                &[ForwardedIn],
            )
            .out(sent(w, &whole)),
        );
        let icmp = Frame::icmp(client, service, 128, 0, [0; 4]).part(3, true, 0);
        rows.push(row("a fragment of ICMPv6", nothing, icmp, Up, &[NotForUs]));
    }
    rows
}
