//! ICMP errors about packets of known flows, inside and out: whoever sent what the error quotes gets it, with the
//! quotation as he sent it. All other ICMP is the host's.

use lb_common::counter::Reason::*;

use super::{
    Row, connected, conversing, from_server, nothing, opening, patched, row, seen_as, sent,
    two_sided,
};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{End, Frame};
use crate::world::{World, hop, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in [port::TURN, port::NAT, port::TAG] {
        for udp in [false, true] {
            rows.extend(inside(w, port, udp));
        }
    }
    for port in [
        port::TURN,
        port::NAT,
        port::DSR_ONE,
        port::IPIP,
        port::IPIP_OTHER,
    ] {
        for udp in [false, true] {
            rows.extend(outside(w, port, udp));
        }
    }
    rows.extend(hosts_own(w));
    rows
}

/// What a router says of a packet that it cannot send on because it is too big: type, code and what fits.
fn too_big(w: &World) -> (u8, u8, [u8; 4]) {
    if w.v4() {
        (3, 4, [0, 0, 5, 0])
    } else {
        (2, 0, [0, 0, 5, 0])
    }
}

/// Types of errors, and a code.
fn errors(w: &World) -> &'static [(u8, u8)] {
    if w.v4() {
        &[(3, 1), (3, 4), (11, 0), (12, 0)]
    } else {
        &[(1, 4), (2, 0), (3, 0), (4, 1)]
    }
}

/// What is not an error.
fn messages(w: &World) -> &'static [(u8, u8)] {
    if w.v4() {
        &[(0, 0), (5, 1), (8, 0), (13, 0)]
    } else {
        &[
            (0, 0),
            (5, 0),
            (128, 0),
            (129, 0),
            (133, 0),
            (135, 0),
            (136, 0),
        ]
    }
}

/// The head of a packet as an error quotes it at least: its IP header and eight bytes.
fn quote(frame: &Frame) -> Vec<u8> {
    let header = if frame.from.address.is_ipv4() {
        20 + frame.ip_options.len()
    } else {
        40
    };
    frame.packet()[..header + 8].to_vec()
}

fn segment(from: End, to: End, udp: bool, hops: u8) -> Frame {
    let frame = if udp {
        Frame::udp(from, to)
    } else {
        Frame::tcp(from, to, "P.").data(b"data")
    };
    frame.hops(hops)
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

/// Errors that a router on the servers' side sends about a client's packets.
fn inside(w: &World, port: u16, udp: bool) -> Vec<Row> {
    let seen = seen_as(w, w.client, port);
    let quoted = quote(&segment(seen, w.s1, udp, 60));
    let original = quote(&segment(w.client, w.at(port), udp, 60));
    let says = |what: &str| format!("{port}{}: {what}", if udp { " UDP" } else { "" });
    let mut rows = Vec::new();
    let error = |kind, code, rest| {
        // It comes as the router's answer to what it saw as the sender.
        let to = seen.at_port(0).at_mac(w.snat.mac);
        Frame::icmp(w.inner_router, to, kind, code, rest)
            .data(&quoted)
            .tagged(super::server_tags(port))
    };
    let told = |kind, code, rest| {
        Frame::icmp(w.at(port), w.client, kind, code, rest)
            .data(&original)
            .hops(63)
    };
    for (kind, code) in errors(w) {
        let rest = [0, 0, 5, 0];
        rows.push(
            row(
                says(&format!(
                    "an error {kind}/{code} from inside reaches the client"
                )),
                open(udp, port),
                error(*kind, *code, rest),
                Back,
                &[IcmpForwarded],
            )
            .out(told(*kind, *code, rest)),
        );
    }
    let (kind, code, rest) = too_big(w);
    // A router may quote more than it must: TCP's checksum then stays that of the packet it saw.
    if !udp {
        let more = segment(seen, w.s1, udp, 60);
        let mut original = segment(w.client, w.at(port), udp, 60).packet();
        let check = original.len() - 4 - 20 + 16;
        original[check..check + 2].copy_from_slice(&more.packet()[check..check + 2]);
        rows.push(
            row(
                says("one that quotes all of the packet"),
                open(udp, port),
                error(kind, code, rest).data(&more.packet()),
                Back,
                &[IcmpForwarded],
            )
            .out(told(kind, code, rest).data(&original)),
        );
    }
    rows.extend([
        row(
            says("one about a flow that is not proven yet"),
            move |f: &mut Fixture| {
                if udp {
                    f.send(&f.world.datagram(f.world.client, port));
                } else {
                    opening(port)(f);
                }
            },
            error(kind, code, rest),
            Back,
            &[IcmpForwarded],
        )
        .out(told(kind, code, rest)),
        row(
            says("one whose own time to live ends here"),
            open(udp, port),
            error(kind, code, rest).hops(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("one whose way back is lost"),
            move |f| {
                open(udp, port)(f);
                f.hop(hop::CLIENTS, |hop| hop.flags = 0);
            },
            error(kind, code, rest),
            Drop,
            &[HopLost],
        ),
        row(
            says("one about no flow"),
            nothing,
            error(kind, code, rest),
            Up,
            &[IcmpNoFlow],
        ),
        row(
            says("one about a packet of another protocol"),
            open(udp, port),
            error(kind, code, rest).data(&{
                let mut quoted = quoted.clone();
                quoted[if w.v4() { 9 } else { 6 }] = 132;
                quoted
            }),
            Up,
            &[IcmpNoFlow],
        ),
    ]);
    rows
}

/// Errors that a router on the clients' side sends about servers' answers.
fn outside(w: &World, port: u16, udp: bool) -> Vec<Row> {
    let service = w.at(port);
    let quoted = quote(&segment(service, w.client, udp, 50));
    let says = |what: &str| format!("{port}{}: {what}", if udp { " UDP" } else { "" });
    let error = |kind, code, rest| {
        Frame::icmp(w.router, service.at_port(0), kind, code, rest).data(&quoted)
    };
    let told = |kind, code, rest| {
        let frame = error(kind, code, rest);
        if !two_sided(port) {
            // Only sent on, as what the client sends is.
            let addressed = Frame {
                to: service,
                ..frame
            };
            return sent(w, &addressed);
        }
        let seen = seen_as(w, w.client, port);
        let original = quote(&segment(w.s1, seen, udp, 50));
        Frame::icmp(seen.at_mac(w.snat.mac), w.s1, kind, code, rest)
            .data(&original)
            .hops(63)
    };
    let mut rows: Vec<Row> = errors(w)
        .iter()
        .map(|(kind, code)| {
            row(
                says(&format!(
                    "an error {kind}/{code} from outside reaches the server"
                )),
                open(udp, port),
                error(*kind, *code, [0, 0, 5, 0]),
                Out,
                &[IcmpForwarded],
            )
            .out(told(*kind, *code, [0, 0, 5, 0]))
        })
        .collect();
    let (kind, code, rest) = too_big(w);
    rows.push(row(
        says("one about a flow that is not"),
        nothing,
        error(kind, code, rest),
        Up,
        &[IcmpNoFlow],
    ));
    if w.v4() {
        let odd = Frame::icmp(w.router, service.at_port(0), kind, code, rest).ip_options(&[1; 4]);
        let quoted = segment(service, w.client, udp, 50).ip_options(&[1; 8]);
        rows.push(
            row(
                says("options in both headers are stepped over"),
                open(udp, port),
                odd.clone().data(&quote(&quoted)),
                Out,
                &[IcmpForwarded],
            )
            .out({
                let mut out = told(kind, code, rest).ip_options(&[1; 4]);
                out.payload = if two_sided(port) {
                    let seen = seen_as(w, w.client, port);
                    quote(&segment(w.s1, seen, udp, 50).ip_options(&[1; 8]))
                } else {
                    quote(&quoted)
                };
                out
            }),
        );
        let later = quoted.part(4, false, 9);
        rows.push(row(
            says("one that quotes a later fragment"),
            open(udp, port),
            odd.data(&quote(&later)),
            Up,
            &[IcmpNoFlow],
        ));
    }
    rows
}

/// What is not an error about a flow.
fn hosts_own(w: &World) -> Vec<Row> {
    let quoted = quote(&segment(w.service, w.client, false, 50));
    let mut rows: Vec<Row> = messages(w)
        .iter()
        .map(|(kind, code)| {
            row(
                format!("a message {kind}/{code} is the host's"),
                connected(port::TURN),
                Frame::icmp(w.client, w.service.at_port(0), *kind, *code, [0, 1, 0, 2])
                    .data(&quoted),
                Up,
                &[NotForUs],
            )
        })
        .collect();
    rows.push(row(
        "an echo request of the usual length is the host's",
        nothing,
        Frame::icmp(
            w.client,
            w.service,
            if w.v4() { 8 } else { 128 },
            0,
            [0, 1, 0, 2],
        )
        .data(&[9; 56]),
        Up,
        &[NotForUs],
    ));
    let (kind, code, rest) = too_big(w);
    let whole = Frame::icmp(w.router, w.service.at_port(0), kind, code, rest).data(&quoted);
    let len = whole.bytes().len();
    for cut in 1..=quoted.len() + 4 {
        let mut packet = whole.bytes();
        packet.truncate(len - cut);
        // An IPv4 header that is quoted whole says whose it is, though the ports are missing.
        let reason = if w.v4() && cut <= 8 {
            IcmpNoFlow
        } else {
            NotForUs
        };
        rows.push(row(
            format!("an error that lacks {cut} bytes is the host's"),
            connected(port::TURN),
            packet,
            Up,
            &[reason],
        ));
    }
    let at = if w.v4() { 14 + 20 + 8 } else { 14 + 40 + 8 };
    rows.push(row(
        "an error that quotes another version of IP",
        connected(port::TURN),
        patched(whole.clone(), at, &[0x55]),
        Up,
        &[IcmpNoFlow],
    ));
    if !w.v4() {
        let pad = [0, 0, 1, 4, 0, 0, 0, 0];
        rows.push(row(
            "an error behind an extension header",
            connected(port::TURN),
            whole.extension(crate::frame::proto::DESTINATION, &pad),
            Up,
            &[NotForUs],
        ));
    }
    let reply = from_server(w, w.client, port::TURN, "P.").data(b"still works");
    rows.push(
        row(
            "no error changes anything in its flow",
            move |f| {
                connected(port::TURN)(f);
                let before = f.flows();
                let w = f.world;
                for (kind, code) in errors(&w) {
                    let quoted = quote(&segment(w.service, w.client, false, 50));
                    let error = Frame::icmp(w.router, w.service.at_port(0), *kind, *code, [0; 4]);
                    f.send(&error.data(&quoted));
                }
                assert_eq!(f.flows(), before);
            },
            reply.clone(),
            Back,
            &[ForwardedOut],
        )
        .out(super::to_client(w, reply, w.client, port::TURN)),
    );
    rows
}
