//! Steps 8 and 9, rewrite and out: what each way of forwarding makes of a packet, every byte of it.

use lb_common::counter::Reason::*;

use super::{
    Row, connected, conversing, from_server, nothing, patched, row, seen_as, sent, server_tags,
    to_client, two_sided,
};
use crate::fixture::Verdict::{Back, Out};
use crate::frame::Frame;
use crate::world::{World, port};

const PORTS: [u16; 8] = [
    port::TURN,
    port::NAT,
    port::DSR_ONE,
    port::IPIP,
    port::IPIP_OTHER,
    port::TAG,
    port::TAGS,
    port::IPIP_TAGS,
];

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in PORTS {
        let syn = w
            .syn(w.client, port)
            .tcp_options(&[2, 4, 5, 180])
            .class(0x2e);
        let data = Frame::tcp(w.client, w.at(port), "P.").data(b"payload");
        let datagram = w.datagram(w.client, port);
        rows.extend([
            row(
                format!("{port}: a SYN"),
                nothing,
                syn.clone(),
                Out,
                &[ForwardedIn, FlowOpened],
            )
            .out_tagged(w, &[], sent(w, &syn)),
            row(
                format!("{port}: data"),
                connected(port),
                data.clone(),
                Out,
                &[ForwardedIn],
            )
            .out_tagged(w, &[], sent(w, &data)),
            row(
                format!("{port}: Ethernet padding stays behind it"),
                connected(port),
                data.clone().padded(9),
                Out,
                &[ForwardedIn],
            )
            .out_tagged(w, &[], sent(w, &data.clone().padded(9))),
            row(
                format!("{port}: a wrong checksum is not put right"),
                connected(port),
                broken(data.clone()),
                Out,
                &[ForwardedIn],
            )
            .out(broken_out(w, sent(w, &data))),
            row(
                format!("{port}: a first datagram"),
                nothing,
                datagram.clone(),
                Out,
                &[ForwardedIn, FlowOpened],
            )
            .out_tagged(w, &[], sent(w, &datagram)),
            row(
                format!("{port}: an empty datagram"),
                nothing,
                datagram.clone().data(b""),
                Out,
                &[ForwardedIn, FlowOpened],
            )
            .out_tagged(w, &[], sent(w, &datagram.clone().data(b""))),
            row(
                format!("{port}: from behind the same tags as the server"),
                {
                    move |f| {
                        connected(port)(f);
                        f.describe_server_side(port);
                    }
                },
                data.clone().tagged(server_tags(port)),
                Out,
                if two_sided(port) && !server_tags(port).is_empty() {
                    &[ForwardedIn, SideRelearnt]
                } else {
                    &[ForwardedIn]
                },
            )
            .out_tagged(w, server_tags(port), sent(w, &data)),
        ]);
        if w.v4() {
            let bare = datagram.clone().without_checksum();
            rows.push(
                row(
                    format!("{port}: a datagram without a checksum stays without"),
                    nothing,
                    bare.clone(),
                    Out,
                    &[ForwardedIn, FlowOpened],
                )
                .out_tagged(w, &[], sent(w, &bare)),
            );
        }
        if two_sided(port) {
            let reply = from_server(w, w.client, port, "P.").data(b"reply");
            let datagram = Frame::udp(w.s1, seen_as(w, w.client, port)).tagged(server_tags(port));
            rows.extend([
                row(
                    format!("{port}: a reply"),
                    connected(port),
                    reply.clone(),
                    Back,
                    &[ForwardedOut],
                )
                .out(to_client(w, reply, w.client, port)),
                row(
                    format!("{port}: a datagram in reply"),
                    conversing(port),
                    datagram.clone(),
                    Back,
                    &[ForwardedOut],
                )
                .out(to_client(w, datagram, w.client, port)),
            ]);
        }
    }
    rows.extend(zero_checksums(w));
    rows
}

/// A datagram whose checksum becomes 0 by the translation is sent with 0xffff, which means the same.
fn zero_checksums(w: &World) -> Vec<Row> {
    let datagram = |word: u16| w.datagram(w.client, port::TURN).data(&word.to_be_bytes());
    // The checksum is at the end of the UDP header, two bytes before this payload's.
    let check = |frame: &Frame| {
        let bytes = frame.bytes();
        [bytes[bytes.len() - 4], bytes[bytes.len() - 3]]
    };
    let zeroes = |frame: &dyn Fn(u16) -> Frame| {
        (0..=u16::MAX)
            .find(|word| check(&frame(*word)) == [0xff, 0xff])
            .unwrap()
    };
    let before = zeroes(&|word| datagram(word));
    let after = zeroes(&|word| sent(w, &datagram(word)));
    [
        ("a checksum of 0xffff is one like any other", before),
        ("a checksum that becomes 0 is sent as 0xffff", after),
    ]
    .map(|(says, word)| {
        row(
            says,
            nothing,
            datagram(word),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &datagram(word)))
    })
    .into()
}

/// With its last byte changed after the checksum was made.
fn broken(frame: Frame) -> Vec<u8> {
    let at = frame.bytes().len() - 1;
    let last = frame.bytes()[at];
    patched(frame, at, &[last ^ 0x20])
}

fn broken_out(w: &World, mut frame: Frame) -> Vec<u8> {
    if w.hook == crate::fixture::Hook::Tc && !frame.tags.is_empty() {
        frame.tags.remove(0);
    }
    broken(frame)
}
