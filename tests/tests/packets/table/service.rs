//! Step 3, service: is the destination one of ours?

use lb_common::counter::Reason::*;

use super::{Row, nothing, row};
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
    rows.push(row(
        "whatever flags it has",
        nothing,
        Frame::tcp(w.s2, w.snat, "P.").data(b"late"),
        Drop,
        &[StrayReply],
    ));
    rows
}
