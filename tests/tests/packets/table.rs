//! The packet table: what goes in, what comes of it, and a sentence that says why. A file for each step of a packet's way
//! has its rows as data; each row is there for XDP and TC, IPv4 and IPv6, TCP and UDP where it concerns both.

mod admit;
mod balance;
mod closing;
mod end;
mod established;
mod fragments;
mod half_open;
mod icmp;
mod parse;
mod reset;
mod rewrite;
mod service;
mod too_big;
mod tuples;
mod udp;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lb_common::counter::Reason;

use crate::fixture::{Fixture, Hook, Outcome, Verdict};
use crate::frame::{End, Frame, proto};
use crate::tuple::Tuple;
use crate::world::{Family, S_TAG, S_TAGS, World, port, tunnel};

type Given = Box<dyn Fn(&mut Fixture)>;

/// A row: after `given`, `packet` gets this verdict, leaves as `out` and moves these counters by one each; `then` looks at
/// what is left behind.
struct Row {
    says: String,
    given: Given,
    packet: Vec<u8>,
    /// On TC: the payload of each segment of what was received together.
    segment: Option<u32>,
    verdict: Verdict,
    out: Vec<u8>,
    counts: Vec<Reason>,
    then: Given,
}

/// A row whose packet leaves as it came.
fn row(
    says: impl Into<String>,
    given: impl Fn(&mut Fixture) + 'static,
    packet: impl Into<Vec<u8>>,
    verdict: Verdict,
    counts: &[Reason],
) -> Row {
    let packet = packet.into();
    Row {
        says: says.into(),
        given: Box::new(given),
        out: packet.clone(),
        packet,
        segment: None,
        verdict,
        counts: counts.to_vec(),
        then: Box::new(|_| {}),
    }
}

impl Row {
    /// What leaves instead.
    fn out(self, out: impl Into<Vec<u8>>) -> Row {
        let out = out.into();
        Row { out, ..self }
    }

    /// What leaves instead, from a frame with these tags: TC keeps a tag that it puts on beside the frame, where a test
    /// run does not show it.
    fn out_tagged(self, w: &World, from: &[(u16, u16)], mut out: Frame) -> Row {
        if w.hook == Hook::Tc && (out.tags != from || out.outer.is_some()) && !out.tags.is_empty() {
            out.tags.remove(0);
        }
        self.out(out)
    }

    /// What is left behind.
    fn then(self, then: impl Fn(&mut Fixture) + 'static) -> Row {
        let then = Box::new(then);
        Row { then, ..self }
    }

    /// On TC: as segments with this payload each.
    fn segments(self, size: u32) -> Row {
        let segment = Some(size);
        Row { segment, ..self }
    }
}

/// What a server sees of a client by a service's port.
fn seen_as(w: &World, client: End, port: u16) -> End {
    match port {
        port::NAT => client.at_mac(w.snat.mac),
        port::DSR | port::DSR_ONE | port::DSR_MAGLEV => client.at_mac(w.snat.mac),
        port::IPIP | port::IPIP_OTHER | port::IPIP_TAGS => client.at_mac(w.snat.mac),
        _ => w.snat,
    }
}

/// Whether the servers of a service answer through the balancer.
fn two_sided(port: u16) -> bool {
    !matches!(
        port,
        port::DSR
            | port::DSR_ONE
            | port::DSR_MAGLEV
            | port::IPIP
            | port::IPIP_OTHER
            | port::IPIP_TAGS
    )
}

/// A client's frame to a service as it reaches the first server.
fn sent(w: &World, frame: &Frame) -> Frame {
    sent_to(w, frame, w.s1)
}

fn sent_to(w: &World, frame: &Frame, server: End) -> Frame {
    let frame = Frame {
        tags: server_tags(frame.to.port).to_vec(),
        ..frame.clone()
    };
    let port = frame.to.port;
    if two_sided(port) {
        let from = seen_as(w, frame.from, port);
        return frame.forwarded(from, server);
    }
    let frame = frame.resent(w.snat, server);
    match port {
        port::IPIP | port::IPIP_TAGS => {
            let (src, dst) = tunnel(w.family);
            frame.wrapped(src, dst)
        }
        port::IPIP_OTHER => {
            let (src, dst) = tunnel(w.family.other());
            frame.wrapped(src, dst)
        }
        _ => frame,
    }
}

/// The tags of a service's servers.
fn server_tags(port: u16) -> &'static [(u16, u16)] {
    match port {
        port::TAG => &[S_TAG],
        port::TAGS | port::IPIP_TAGS => &S_TAGS,
        _ => &[],
    }
}

/// A segment of the first server to a client of a service.
fn from_server(w: &World, client: End, port: u16, flags: &'static str) -> Frame {
    Frame::tcp(w.s1, seen_as(w, client, port), flags).tagged(server_tags(port))
}

/// That, as it reaches the client.
fn to_client(w: &World, frame: Frame, client: End, port: u16) -> Frame {
    frame.forwarded(w.at(port), client).tagged(&[])
}

/// The tuple of a client's packets to a service.
fn forward(w: &World, client: End, port: u16, proto: u8) -> Tuple {
    Tuple::new(client, w.at(port), proto)
}

fn nothing(_: &mut Fixture) {}

/// The client has sent its SYN.
fn opening(port: u16) -> impl Fn(&mut Fixture) {
    move |f| drop(f.send(&f.world.syn(f.world.client, port)))
}

/// The first server has answered it.
fn answered(port: u16) -> impl Fn(&mut Fixture) {
    move |f| {
        opening(port)(f);
        if two_sided(port) {
            f.send(&from_server(&f.world, f.world.client, port, "S."));
        }
    }
}

/// The client has a connection to the first server.
fn connected(port: u16) -> impl Fn(&mut Fixture) {
    move |f| {
        let client = f.world.client;
        connect(f, client, port);
    }
}

/// This client has one to the first server.
fn connect(f: &mut Fixture, client: End, port: u16) {
    let w = f.world;
    f.send(&w.syn(client, port));
    if two_sided(port) {
        f.send(&from_server(&w, client, port, "S."));
    }
    f.send(&Frame::tcp(client, w.at(port), "."));
    let key = forward(&w, client, port, proto::TCP);
    assert!(f.flows().contains_key(&key), "{client:?} at {port}");
}

/// The client's connection, after these segments: letters as in tcpdump, `>` from the client and `<` from the server.
fn after(port: u16, segments: &'static [&'static str]) -> impl Fn(&mut Fixture) {
    move |f| {
        connected(port)(f);
        follow(f, port, segments);
    }
}

fn follow(f: &mut Fixture, port: u16, segments: &'static [&'static str]) {
    let w = f.world;
    for segment in segments {
        let frame = match segment.split_at(1) {
            (">", flags) => Frame::tcp(w.client, w.at(port), flags),
            (_, flags) => from_server(&w, w.client, port, flags),
        };
        f.send(&frame);
    }
}

/// It has ended, first the client and then the server.
fn finished(port: u16) -> impl Fn(&mut Fixture) {
    after(port, &[">F.", "<F.", ">."])
}

/// A client's datagram has been answered by the first server.
fn conversing(port: u16) -> impl Fn(&mut Fixture) {
    move |f| {
        let w = f.world;
        f.send(&w.datagram(w.client, port));
        f.send(&Frame::udp(w.s1, seen_as(&w, w.client, port)));
    }
}

/// Replaces bytes of a frame.
fn patched(frame: Frame, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.bytes();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn rows(w: &World) -> Vec<Row> {
    [
        parse::rows(w),
        service::rows(w),
        admit::rows(w),
        half_open::rows(w),
        balance::rows(w),
        established::rows(w),
        rewrite::rows(w),
        closing::rows(w),
        udp::rows(w),
        fragments::rows(w),
        icmp::rows(w),
        too_big::rows(w),
        reset::rows(w),
        end::rows(w),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is wrong with a row, if anything is.
fn look_at(row: &Row, fixture: &mut Fixture) -> Option<String> {
    fixture.reset();
    (row.given)(fixture);
    let verdict = match (fixture.world.hook, row.verdict) {
        (Hook::Tc, Verdict::Out | Verdict::Back) => Verdict::Sent,
        (_, verdict) => verdict,
    };
    let expected = Outcome {
        verdict,
        bytes: row.out.clone(),
        counted: row.counts.iter().map(|reason| (reason.name(), 1)).collect(),
    };
    let outcome = fixture.run_as(&row.packet, row.segment);
    if outcome != expected {
        return Some(format!(
            "   in {:02x?}\nwant {expected:02x?}\n got {outcome:02x?}\n",
            row.packet
        ));
    }
    (row.then)(fixture);
    None
}

fn every_row(hook: Hook) {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(hook);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for family in Family::BOTH {
        fixture.turn_to(family);
        for row in rows(&fixture.world) {
            count += 1;
            // A row that fails on its way does not keep the others from being looked at.
            let outcome = catch_unwind(AssertUnwindSafe(|| look_at(&row, &mut fixture)));
            let problem = match outcome {
                Ok(problem) => problem,
                Err(_) => Some("panicked, see above".to_owned()),
            };
            if let Some(problem) = problem {
                eprintln!("^ {family:?}: {}", row.says);
                wrong.push(format!("{family:?}: {}\n{problem}", row.says));
            }
        }
        fixture.reset();
        end::two_at_once(&mut fixture);
    }
    eprintln!("{count} rows");
    assert!(
        wrong.is_empty(),
        "{} of {count} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_packet_on_xdp_gets_its_verdict_bytes_and_counter() {
    every_row(Hook::Xdp);
}

#[test]
fn every_packet_on_tc_gets_its_verdict_bytes_and_counter() {
    every_row(Hook::Tc);
}
