//! Step 1, parse: what is too short, too strange or nobody's business goes up; what may be a flow's is understood through
//! tags, options and extension headers.

use lb_common::counter::Reason::{self, *};

use super::{Row, connected, patched, row, sent, server_tags, to_client};
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{Frame, proto};
use crate::world::{C_TAG, C_TAGS, World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = ethernet(w);
    rows.extend(tags(w));
    rows.extend(lengths(w));
    rows.extend(if w.v4() { options(w) } else { extensions(w) });
    rows
}

fn data(w: &World) -> Frame {
    Frame::tcp(w.client, w.service, "P.").data(b"0123456789abcdef")
}

/// A segment of an open flow with some bytes changed goes up.
fn strange(w: &World, says: &str, at: usize, bytes: &[u8], reason: Reason) -> Row {
    let packet = patched(data(w), at, bytes);
    row(says, connected(port::TURN), packet, Up, &[reason])
}

fn ethernet(w: &World) -> Vec<Row> {
    let other = if w.v4() { [0x86, 0xdd] } else { [0x08, 0x00] };
    let proto = if w.v4() { 23 } else { 20 };
    vec![
        strange(w, "to everyone on the link", 0, &[0xff; 6], NotForUs),
        strange(w, "to a group", 0, &[0x01, 0, 0x5e, 0, 0, 1], NotForUs),
        strange(w, "ARP", 12, &[0x08, 0x06], NotForUs),
        strange(w, "a length instead of a type", 12, &[0x00, 0x40], NotForUs),
        strange(w, "the other version's type", 12, &other, NotForUs),
        strange(w, "an IP version that is none", 14, &[0x55], NotForUs),
        strange(w, "SCTP", proto, &[132], NotForUs),
        strange(w, "IP in IP", proto, &[4], NotForUs),
    ]
}

/// Clients behind tags, and tags that lead nowhere.
fn tags(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (says, tags) in [("one tag", &[C_TAG][..]), ("two tags", &C_TAGS)] {
        let w = *w;
        let open = move |f: &mut crate::fixture::Fixture| {
            for frame in [
                w.syn(w.client, port::TURN).tagged(tags),
                Frame::tcp(w.s1, w.snat, "S."),
                Frame::tcp(w.client, w.service, ".").tagged(tags),
            ] {
                f.send(&frame);
            }
        };
        let request = data(&w).tagged(tags);
        rows.push(
            row(
                format!("a client behind {says} opens a flow"),
                super::nothing,
                w.syn(w.client, port::TURN).tagged(tags),
                Out,
                &[ForwardedIn, FlowOpened],
            )
            .out(sent(&w, &w.syn(w.client, port::TURN))),
        );
        rows.push(
            row(
                format!("a client behind {says} is understood"),
                open,
                request.clone(),
                Out,
                &[ForwardedIn],
            )
            .out(sent(&w, &request)),
        );
        let prioritised: Vec<_> = tags.iter().map(|(kind, id)| (*kind, id | 0xe000)).collect();
        rows.push(
            row(
                format!("whatever the priority in {says}"),
                open,
                request.clone().tagged(&prioritised),
                Out,
                &[ForwardedIn],
            )
            .out(sent(&w, &request)),
        );
        let reply = Frame::tcp(w.s1, w.snat, "P.").data(b"reply");
        rows.push(
            row(
                format!("a client behind {says} is answered there"),
                open,
                reply.clone(),
                Back,
                &[ForwardedOut],
            )
            .out_tagged(
                &w,
                &[],
                to_client(&w, reply, w.client, port::TURN).tagged(tags),
            ),
        );
        rows.push(row(
            format!("ARP behind {says}"),
            open,
            patched(request.clone(), 12 + 4 * tags.len(), &[0x08, 0x06]),
            Up,
            &[NotForUs],
        ));
        rows.push(row(
            format!("{says} that nobody has described"),
            super::nothing,
            w.syn(w.client, port::TURN).tagged(
                &tags
                    .iter()
                    .map(|(kind, id)| (*kind, id + 1))
                    .collect::<Vec<_>>(),
            ),
            Up,
            &[NoSide],
        ));
    }
    rows.push(row(
        "three tags are more than anyone here uses",
        connected(port::TURN),
        data(w).tagged(&[C_TAG, C_TAG, C_TAG]),
        Up,
        &[NotForUs],
    ));
    for port in [port::TAG, port::TAGS] {
        let tags = server_tags(port);
        let request = Frame::tcp(w.client, w.at(port), "P.").data(b"request");
        rows.push(
            row(
                format!("servers behind {} tags get them", tags.len()),
                connected(port),
                request.clone(),
                Out,
                &[ForwardedIn],
            )
            .out_tagged(w, &[], sent(w, &request)),
        );
        let reply = super::from_server(w, w.client, port, "P.").data(b"reply");
        rows.push(
            row(
                format!("and what they answer with {} loses them", tags.len()),
                connected(port),
                reply.clone(),
                Back,
                &[ForwardedOut],
            )
            .out(to_client(w, reply, w.client, port)),
        );
    }
    rows
}

fn lengths(w: &World) -> Vec<Row> {
    let (l4, len) = if w.v4() { (34, 16) } else { (54, 18) };
    // What IP's length says of the segment of 36 bytes.
    let whole = if w.v4() { 56 } else { 36u8 };
    let mut rows = vec![
        strange(
            w,
            "a TCP header shorter than one can be",
            l4 + 12,
            &[0x40],
            Malformed,
        ),
        strange(
            w,
            "TCP options beyond the packet",
            l4 + 12,
            &[0xf0],
            Malformed,
        ),
        strange(
            w,
            "a length that does not hold the headers",
            len,
            &[0, whole - 17],
            Malformed,
        ),
        strange(
            w,
            "a length beyond the frame",
            len,
            &[0, whole + 1],
            Malformed,
        ),
        strange(
            w,
            "the largest length there is",
            len,
            &[0xff, 0xff],
            Malformed,
        ),
        row(
            "a length that holds the headers alone is one of an acknowledgement",
            connected(port::TURN),
            Frame::tcp(w.client, w.service, ".").padded(16),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &Frame::tcp(w.client, w.service, ".").padded(16))),
        row(
            "a datagram too short for its header",
            super::nothing,
            {
                let mut bytes = w.datagram(w.client, port::TURN).data(b"").bytes();
                bytes.truncate(bytes.len() - 1);
                bytes
            },
            Up,
            &[Malformed],
        ),
    ];
    if w.v4() {
        rows.push(strange(
            w,
            "an IP header shorter than one can be",
            14,
            &[0x44],
            Malformed,
        ));
        rows.push(strange(w, "no length at all", len, &[0, 0], Malformed));
    }
    rows
}

fn options(w: &World) -> Vec<Row> {
    let routed = |says: &str, options: &[u8]| {
        let packet = data(w).ip_options(options);
        row(says, connected(port::TURN), packet, Drop, &[SourceRoute])
    };
    let kept = |says: &str, options: &[u8]| {
        let packet = data(w).ip_options(options);
        let out = sent(w, &packet);
        row(says, connected(port::TURN), packet, Out, &[ForwardedIn]).out(out)
    };
    vec![
        routed("loose source routing", &[1, 131, 7, 4, 10, 77, 9, 9]),
        routed("strict source routing", &[1, 137, 7, 4, 10, 77, 9, 9]),
        routed("behind another option", &[148, 4, 0, 0, 131, 3, 4, 0]),
        routed(
            "behind one whose length is none",
            &[7, 0, 131, 3, 4, 0, 0, 0],
        ),
        routed("at the very end of 40 bytes", &{
            let mut options = [1; 40];
            options[37..].copy_from_slice(&[131, 3, 4]);
            options
        }),
        kept(
            "IP options are stepped over and kept",
            &[148, 4, 0, 0, 1, 1, 1, 0],
        ),
        kept("the longest of them too", &[1; 40]),
        kept(
            "source routing after their end is none",
            &[0, 131, 7, 4, 10, 77, 9, 9],
        ),
        kept(
            "nor is it within another option",
            &[148, 8, 131, 7, 137, 7, 0, 0],
        ),
        {
            let packet = data(w).ip_options(&[1; 40]).tcp_options(&[1; 40]);
            let out = sent(w, &packet);
            row(
                "the longest of both headers' options",
                connected(port::TURN),
                packet,
                Out,
                &[ForwardedIn],
            )
            .out(out)
        },
    ]
}

fn extensions(w: &World) -> Vec<Row> {
    let pad = [0, 0, 1, 4, 0, 0, 0, 0];
    let deep = |n| {
        let kinds = [
            proto::HOP_BY_HOP,
            proto::DESTINATION,
            proto::ROUTING,
            proto::DESTINATION,
            proto::DESTINATION,
        ];
        let extend = |frame: Frame, kind: &u8| frame.extension(*kind, &pad);
        kinds[..n].iter().fold(data(w), extend)
    };
    let mut rows = Vec::new();
    for n in 1..=4 {
        let out = sent(w, &deep(n));
        rows.push(
            row(
                format!("{n} extension headers are walked over"),
                connected(port::TURN),
                deep(n),
                Out,
                &[ForwardedIn],
            )
            .out(out),
        );
    }
    let long = data(w).extension(proto::HOP_BY_HOP, &[1; 264]);
    rows.extend([
        row(
            "but not five",
            connected(port::TURN),
            deep(5),
            Up,
            &[ExtensionHeaders],
        ),
        row(
            "a long one is stepped over whole",
            connected(port::TURN),
            long.clone(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &long)),
        row(
            "one beyond the packet",
            connected(port::TURN),
            patched(deep(1), 14 + 40 + 1, &[200]),
            Up,
            &[Malformed],
        ),
        row(
            "a chain that goes on beyond the packet",
            connected(port::TURN),
            patched(deep(2), 14 + 40 + 1, &[60]),
            Up,
            &[ExtensionHeaders],
        ),
        row(
            "a routing header of type 0 with segments left",
            connected(port::TURN),
            data(w).extension(proto::ROUTING, &[0, 0, 0, 1, 0, 0, 0, 0]),
            Drop,
            &[SourceRoute],
        ),
        row(
            "of another type it is the end's own",
            connected(port::TURN),
            data(w).extension(proto::ROUTING, &[0, 0, 4, 1, 0, 0, 0, 0]),
            Out,
            &[ForwardedIn],
        )
        .out(sent(
            w,
            &data(w).extension(proto::ROUTING, &[0, 0, 4, 1, 0, 0, 0, 0]),
        )),
        row(
            "an authentication header is not walked over",
            connected(port::TURN),
            data(w).extension(51, &[0, 0, 0, 0, 0, 0, 0, 0]),
            Up,
            &[NotForUs],
        ),
        row(
            "nothing after the header",
            connected(port::TURN),
            Frame::other(w.client, w.service, 59),
            Up,
            &[NotForUs],
        ),
        row(
            "a SYN behind an extension header opens a flow",
            super::nothing,
            w.syn(w.client, port::TURN)
                .extension(proto::DESTINATION, &pad),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(
            w,
            &w.syn(w.client, port::TURN)
                .extension(proto::DESTINATION, &pad),
        )),
    ]);
    rows
}
