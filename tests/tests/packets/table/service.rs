//! Step 3, service: is the destination one of ours?

use lb_common::abi::Settings;
use lb_common::counter::Reason::*;

use super::{Row, nothing, row};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Drop, Up};
use crate::frame::Frame;
use crate::world::{World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for udp in [false, true] {
        let name = if udp { "UDP" } else { "TCP" };
        let packet = |from, to| {
            if udp {
                Frame::udp(from, to)
            } else {
                Frame::tcp(from, to, "S")
            }
        };
        let up =
            |says: &str, frame| row(format!("{name}: {says}"), nothing, frame, Up, &[NotForUs]);
        rows.extend([
            up(
                "a port that might be ours at an address that has no such service",
                packet(w.client, w.at(port::NONE)),
            ),
            up(
                "a port of ours at an address that is not",
                packet(w.client, w.snat.at_port(80)),
            ),
            up("a port that is nobody's", packet(w.client, w.at(22))),
            up(
                "a source NAT port, from a stranger",
                packet(w.client, w.snat),
            ),
            up(
                "the port after the last of source NAT, from a server",
                packet(w.s1, w.snat.at_port(w.snat.port + 1)),
            ),
            up(
                "a server's own connection to another host",
                packet(w.s1, w.router.at_port(443)),
            ),
            row(
                format!("{name}: a server's reply to a source NAT port without a flow is dropped"),
                nothing,
                packet(w.s1, w.snat),
                Drop,
                &[StrayReply],
            ),
        ]);
    }
    let come = w.at(port::EVERYWHERE);
    // A test run on TC comes in by no device, and the routes are asked for one.
    let (verdict, reason) = if w.xdp() {
        (Drop, Settling)
    } else {
        (Up, NotForUs)
    };
    let marked = |f: &mut Fixture| f.settings(|settings| settings.flags = Settings::EVERYWHERE);
    for flags in [".", "P."] {
        rows.push(row(
            format!("a segment {flags:?} to a port that is served everywhere, at an address of which nobody knows yet"),
            marked,
            Frame::tcp(w.client, come, flags),
            verdict,
            &[reason],
        ));
    }
    for flags in ["F.", "S.", "R", ""] {
        rows.push(row(
            format!("a segment {flags:?} of which no node could make a flow"),
            marked,
            Frame::tcp(w.client, come, flags),
            Up,
            &[NotForUs],
        ));
    }
    rows.push(row(
        "without the flag nobody looks for it",
        nothing,
        Frame::tcp(w.client, come, "."),
        Up,
        &[NotForUs],
    ));
    rows.extend([
        row(
            "a first segment to it is the host's",
            marked,
            Frame::tcp(w.client, come, "S"),
            Up,
            &[NotForUs],
        ),
        row(
            "and so is a segment in a frame for another station",
            marked,
            Frame::tcp(w.client, come.at_mac(w.s1.mac), "."),
            Up,
            &[NotForUs],
        ),
        row(
            "and a datagram",
            marked,
            Frame::udp(w.client, come),
            Up,
            &[NotForUs],
        ),
        row(
            "what stands for every address is none itself",
            marked,
            Frame::tcp(w.client, w.nowhere(port::EVERYWHERE), "S"),
            Up,
            &[NotForUs],
        ),
    ]);
    rows.push(row(
        "whatever flags it has",
        nothing,
        Frame::tcp(w.s2, w.snat, "P.").data(b"late"),
        Drop,
        &[StrayReply],
    ));
    rows
}
