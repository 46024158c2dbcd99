//! What does not fit its way out: its sender is told what does, if he can be.

use lb_common::counter::Reason::*;

use super::{Row, connected, conversing, from_server, row, seen_as, sent, to_client, two_sided};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out};
use crate::frame::{End, Frame, proto};
use crate::world::{C_TAG, World, hop, port};

/// What fits the way to servers and to clients in these rows.
const FITS: u16 = 600;

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in [port::TURN, port::NAT, port::DSR_ONE] {
        rows.extend(to_servers(w, port, FITS));
    }
    // Without being made narrower: what the outer header takes is enough.
    rows.extend(to_servers(w, port::IPIP, if w.v4() { 1480 } else { 1460 }));
    rows.extend(to_servers(
        w,
        port::IPIP_OTHER,
        if w.v4() { 1460 } else { 1480 },
    ));
    for port in [port::TURN, port::NAT] {
        rows.extend(to_clients(w, port));
    }
    rows
}

/// Bytes of the IP header, and of TCP's.
fn headers(w: &World) -> u16 {
    if w.v4() { 40 } else { 60 }
}

fn data(frame: Frame, len: u16, headers: u16) -> Frame {
    frame.data(&vec![0x6b; usize::from(len - headers)])
}

/// The answer to a frame of which so much would fit: by `from`, to `to`.
fn told(w: &World, frame: &Frame, from: End, to: End, fits: u16) -> Frame {
    let [high, low] = fits.to_be_bytes();
    let (kind, code, header) = if w.v4() { (3, 4, 20) } else { (2, 0, 40) };
    let mut quoted = frame.packet();
    if w.xdp() {
        quoted.truncate(header + 8);
    } else {
        quoted.truncate(header + 20);
        settle(&mut quoted[header..], w.v4(), frame);
    }
    Frame::icmp(from, to, kind, code, [0, 0, high, low])
        .data(&quoted)
        .may_be_fragmented()
        .tagged(&frame.tags)
}

/// On TC a device may have the packet's checksum still to fill in, so it is quoted, as half of what the sum of all else
/// lacks: then the answer's own checksum is right whether it is filled in or not.
fn settle(quoted: &mut [u8], v4: bool, frame: &Frame) {
    let next = frame.packet()[if v4 { 9 } else { 6 }];
    let field = match next {
        proto::UDP => 6,
        proto::TCP => 16,
        // Behind extension headers it stays as it was.
        _ => return,
    };
    quoted[field..field + 2].fill(0);
    let words = quoted
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let half = (!(sum as u16)).rotate_right(1);
    quoted[field..field + 2].copy_from_slice(&half.to_be_bytes());
}

/// Makes the ways out so narrow.
fn narrow(f: &mut Fixture) {
    for hop in [hop::S1, hop::CLIENTS, hop::CLIENTS_TAG] {
        f.hop(hop, |hop| hop.mtu = FITS);
    }
}

fn to_servers(w: &World, port: u16, fits: u16) -> Vec<Row> {
    let large = |len| data(Frame::tcp(w.client, w.at(port), "P."), len, headers(w));
    let open = move |f: &mut Fixture| {
        connected(port)(f);
        narrow(f);
    };
    let open_udp = move |f: &mut Fixture| {
        if two_sided(port) {
            conversing(port)(f);
        } else {
            f.send(&f.world.datagram(f.world.client, port));
        }
        narrow(f);
    };
    let datagram = |len| data(Frame::udp(w.client, w.at(port)), len, headers(w) - 12);
    let answer = |frame: &Frame| told(w, frame, w.at(port), w.client, fits);
    let says = |what: &str| format!("{port}: {what}");
    let mut rows = vec![
        row(
            says("what just fits is sent"),
            open,
            large(fits),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &large(fits))),
        row(
            says("a byte more is answered"),
            open,
            large(fits + 1),
            Back,
            &[TooBigAnswered],
        )
        .out(answer(&large(fits + 1))),
        row(
            says("so is the largest there is"),
            open,
            large(1500),
            Back,
            &[TooBigAnswered],
        )
        .out(answer(&large(1500))),
        row(
            says("a datagram that must not be fragmented is answered"),
            open_udp,
            datagram(fits + 1),
            Back,
            &[TooBigAnswered],
        )
        .out(answer(&datagram(fits + 1))),
        row(
            says("one that fits is sent"),
            open_udp,
            datagram(fits),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &datagram(fits))),
        row(
            says("behind a tag it is answered there"),
            open,
            large(fits + 1).tagged(&[C_TAG]),
            Back,
            &[TooBigAnswered],
        )
        .out(answer(&large(fits + 1).tagged(&[C_TAG]))),
        row(
            says("behind two as well"),
            open,
            large(fits + 1).tagged(&crate::world::C_TAGS),
            Back,
            &[TooBigAnswered],
        )
        .out(answer(&large(fits + 1).tagged(&crate::world::C_TAGS))),
        row(
            says("a fragment that is too big is dropped"),
            open,
            large(fits + 1).part(5, true, 0),
            Drop,
            &[TooBigDropped],
        ),
    ];
    if w.v4() {
        rows.extend([
            row(
                says("TCP is told even where it allows fragments"),
                open,
                large(fits + 1).may_be_fragmented(),
                Back,
                &[TooBigAnswered],
            )
            .out(answer(&large(fits + 1).may_be_fragmented())),
            row(
                says("a datagram that may be fragmented is dropped"),
                open_udp,
                datagram(fits + 1).may_be_fragmented(),
                Drop,
                &[TooBigDropped],
            ),
            row(
                says("a packet with IP options is dropped"),
                open,
                large(fits).ip_options(&[1; 4]),
                Drop,
                &[TooBigDropped],
            ),
        ]);
    } else {
        rows.push(
            row(
                says("one with extension headers is answered, quoting its IP header and what follows"),
                open,
                large(fits).extension(proto::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0]),
                Back,
                &[TooBigAnswered],
            )
            .out(answer(&large(fits).extension(proto::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0]))),
        );
    }
    if !w.xdp() {
        rows.extend([
            row(
                says("segments received together go on if each fits"),
                open,
                large(1500),
                Out,
                &[ForwardedIn],
            )
            .segments(u32::from(fits - headers(w)))
            .out(sent(w, &large(1500))),
            row(
                says("if not, they are answered"),
                open,
                large(1500),
                Back,
                &[TooBigAnswered],
            )
            .segments(u32::from(fits - headers(w)) + 1)
            .out(answer(&large(1500))),
        ]);
        if !two_sided(port) && port != port::DSR_ONE {
            // A test run's packet does not say of which kind its segments are, and the kernel wants to know before it
            // gives them another header.
            rows.truncate(rows.len() - 2);
        }
    }
    rows
}

fn to_clients(w: &World, port: u16) -> Vec<Row> {
    let reply = |len| data(from_server(w, w.client, port, "P."), len, headers(w));
    let open = move |f: &mut Fixture| {
        connected(port)(f);
        narrow(f);
    };
    let seen = seen_as(w, w.client, port).at_mac(w.snat.mac);
    let says = |what: &str| format!("{port}: {what}");
    vec![
        row(
            says("a reply that just fits"),
            open,
            reply(FITS),
            Back,
            &[ForwardedOut],
        )
        .out(to_client(w, reply(FITS), w.client, port)),
        row(
            says("the server is told of one that does not"),
            open,
            reply(FITS + 1),
            Back,
            &[TooBigAnswered],
        )
        .out(told(w, &reply(FITS + 1), seen, w.s1, FITS)),
    ]
}
