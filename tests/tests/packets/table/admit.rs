//! Step 4, admit: may this packet open a flow?

use lb_common::abi::Settings;
use lb_common::counter::Reason::*;
use lb_common::flow::{Hop, mac_key};

use super::{Row, connected, nothing, opening, row, sent, sent_to};
use crate::fixture::Verdict::{Drop, Out, Up};
use crate::frame::Frame;
use crate::world::{World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = strays(w);
    rows.extend(forged(w));
    rows.extend(denied(w));
    rows.extend(limited(w));
    rows.extend(closed(w));
    rows
}

/// Segments of no flow.
fn strays(w: &World) -> Vec<Row> {
    let mut rows: Vec<Row> = [".", "P.", "F.", "R", "R.", "S.", "SF", "SR", ""]
        .into_iter()
        .map(|flags| {
            row(
                format!(
                    "a segment of no flow with flags {flags:?} goes up, for the host to answer"
                ),
                nothing,
                Frame::tcp(w.client, w.service, flags),
                Up,
                &[NoFlow],
            )
        })
        .collect();
    rows.push(row(
        "while settling it is dropped instead, for the client to send again",
        |f| f.settings(|settings| settings.flags = Settings::SETTLING),
        Frame::tcp(w.client, w.service, "."),
        Drop,
        &[Settling],
    ));
    rows.push(
        row(
            "while settling flows are opened all the same",
            |f| f.settings(|settings| settings.flags = Settings::SETTLING),
            w.syn(w.client, port::TURN),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &w.syn(w.client, port::TURN))),
    );
    for port in [port::MAGLEV, port::SOURCE, port::DSR_MAGLEV] {
        let segment = Frame::tcp(w.client, w.at(port), "P.").data(b"in mid-connection");
        let [one, two] = [w.s1, w.s2].map(|server| sent_to(w, &segment, server));
        // Which server the hash says is not this step's business; see the balancing ones.
        let hash = expected_server(w, port);
        rows.push(
            row(
                format!("another node's flow is taken over in mid-connection at {port}"),
                nothing,
                segment,
                Out,
                &[ForwardedIn, FlowAdopted],
            )
            .out(if hash == 0 { one } else { two })
            .then(move |f| assert_eq!(f.active()[hash], 1)),
        );
        for flags in ["F.", "R", "S.", ""] {
            rows.push(row(
                format!("by an ordinary segment alone, not by {flags:?} at {port}"),
                nothing,
                Frame::tcp(w.client, w.at(port), flags),
                Up,
                &[NoFlow],
            ));
        }
    }
    let segment = Frame::tcp(w.client, w.at(port::MAGLEV), ".");
    let server = [w.s1, w.s2][expected_server(w, port::MAGLEV)];
    rows.push(
        row(
            "a flow taken over is established by its server's segment",
            {
                let segment = segment.clone();
                move |f| drop(f.send(&segment))
            },
            Frame::tcp(server, w.snat, "P.").data(b"answer"),
            crate::fixture::Verdict::Back,
            &[ForwardedOut, FlowEstablished],
        )
        .out(
            Frame::tcp(server, w.snat, "P.")
                .data(b"answer")
                .forwarded(w.at(port::MAGLEV), w.client),
        ),
    );
    rows.push(
        row(
            "a reset ends one that nobody has answered yet",
            move |f| drop(f.send(&segment)),
            Frame::tcp(w.client, w.at(port::MAGLEV), "R"),
            Out,
            &[ForwardedIn, FlowClosed],
        )
        .out(sent_to(
            w,
            &Frame::tcp(w.client, w.at(port::MAGLEV), "R"),
            server,
        ))
        .then(|f| assert_eq!((f.active(), f.half_open()), ([0, 0], vec![]))),
    );
    rows
}

/// Which of the two servers a client gets from a hash.
pub(super) fn expected_server(w: &World, port: u16) -> usize {
    use lb_common::hash::{endpoint_v4, endpoint_v6, reduce, source_v4, source_v6};
    if port == port::DSR_MAGLEV {
        return 0;
    }
    let hash = match w.client.address {
        std::net::IpAddr::V4(address) => {
            let address = u32::from(address);
            if port == port::SOURCE {
                source_v4(address)
            } else {
                endpoint_v4(address, w.client.port)
            }
        }
        std::net::IpAddr::V6(address) => {
            let address = u128::from(address);
            let (high, low) = ((address >> 64) as u64, address as u64);
            if port == port::SOURCE {
                source_v6(high, low)
            } else {
                endpoint_v6(high, low, w.client.port)
            }
        }
    };
    reduce(hash, 2) as usize
}

/// From or to where no honest packet comes or goes.
fn forged(w: &World) -> Vec<Row> {
    let sources: &[&str] = if w.v4() {
        &[
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.9.9.9",
            "255.255.255.255",
        ]
    } else {
        &["::", "::1", "::ffff:192.0.2.1", "ff02::1", "ff0e::9"]
    };
    let mut rows = Vec::new();
    for source in sources {
        let mut client = w.client;
        // Literals above.
        client.address = source.parse().unwrap();
        for packet in [w.syn(client, port::TURN), w.datagram(client, port::TURN)] {
            rows.push(row(
                format!("no flow is opened from {source}"),
                nothing,
                packet,
                Up,
                &[MartianSource],
            ));
        }
    }
    const ELSEWHERE: [u8; 6] = [0x02, 0xfe, 0, 0, 9, 9];
    const BESIDE: [u8; 6] = [0x02, 0xfe, 0, 0, 9, 8];
    let (low, high) = Hop::mac_words(BESIDE);
    let key = mac_key(low, high);
    for port in [port::TURN, port::DSR, port::DSR_MAGLEV] {
        for packet in [w.syn(w.client, port), w.datagram(w.client, port)] {
            let mut astray = packet.clone();
            astray.to.mac = ELSEWHERE;
            rows.push(
                row(
                    format!("no flow is opened by a frame for another station at {port}"),
                    nothing,
                    astray,
                    Up,
                    &[OtherStation],
                )
                .then(|f| assert_eq!((f.active(), f.half_open()), ([0, 0], vec![]))),
            );
            let mut beside = packet.clone();
            beside.to.mac = BESIDE;
            rows.push(
                row(
                    format!("one is by a frame for another interface of this host at {port}"),
                    move |f| f.put("MACS", key, 1u32),
                    beside,
                    Out,
                    &[ForwardedIn, FlowOpened],
                )
                .out(sent(w, &packet)),
            );
        }
    }
    rows
}

fn denied(w: &World) -> Vec<Row> {
    let (bits, family) = if w.v4() {
        ([8, 24, 32], Settings::DENY4)
    } else {
        ([16, 64, 128], Settings::DENY6)
    };
    let address = w.client.address;
    let deny = move |f: &mut crate::fixture::Fixture, bits| {
        f.deny(address, bits);
        f.settings(|settings| settings.flags = family);
    };
    let mut rows = Vec::new();
    for bits in bits {
        for packet in [
            w.syn(w.client, port::TURN),
            w.datagram(w.client, port::TURN),
        ] {
            rows.push(row(
                format!("a denied prefix of {bits} bits opens no flow"),
                move |f| deny(f, bits),
                packet,
                Drop,
                &[Denied],
            ));
        }
    }
    let [_, _, all] = bits;
    rows.extend([
        row(
            "nor does a denied client get an answer to a stray segment",
            move |f| deny(f, all),
            Frame::tcp(w.client, w.service, "."),
            Drop,
            &[Denied],
        ),
        row(
            "its neighbour does",
            move |f| deny(f, all),
            w.syn(w.client_2, port::TURN),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &w.syn(w.client_2, port::TURN))),
        row(
            "what it has open goes on until the agent ends it",
            move |f| {
                connected(port::TURN)(f);
                deny(f, all);
            },
            Frame::tcp(w.client, w.service, "."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &Frame::tcp(w.client, w.service, "."))),
        row(
            "without the flag nobody looks at the trie",
            move |f| f.deny(address, all),
            w.syn(w.client, port::TURN),
            Out,
            &[ForwardedIn, FlowOpened],
        )
        .out(sent(w, &w.syn(w.client, port::TURN))),
        row(
            "what is no service's is the host's, denied or not",
            move |f| deny(f, all),
            w.syn(w.client, port::NONE),
            Up,
            &[NotForUs],
        ),
    ]);
    rows
}

fn limited(w: &World) -> Vec<Row> {
    // One bucket for all: which source has which is not this row's business.
    let rate = |f: &mut crate::fixture::Fixture, rate| {
        f.settings(|settings| {
            settings.new_flows_per_source = rate;
            settings.bucket_mask = 0;
        });
    };
    /// A bucket as it is this many milliseconds after it had so many thousandths of a token.
    fn bucket(f: &mut crate::fixture::Fixture, ms: u64, parts: u64) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        let at = now.wrapping_sub(ms) & 0xffff_ffff;
        f.set::<u64>("BUCKETS", 0, at << 32 | parts);
    }
    let syn = || w.syn(w.client, port::TURN);
    let opened = |says: &str, given: fn(&mut crate::fixture::Fixture)| {
        let given = move |f: &mut crate::fixture::Fixture| {
            rate(f, 1);
            given(f);
        };
        row(says, given, syn(), Out, &[ForwardedIn, FlowOpened]).out(sent(w, &syn()))
    };
    let refused = |says: &str, given: fn(&mut crate::fixture::Fixture)| {
        let given = move |f: &mut crate::fixture::Fixture| {
            rate(f, 1);
            given(f);
        };
        row(says, given, syn(), Drop, &[RateLimited])
    };
    vec![
        opened(
            "a source that was never seen has a token, which it takes",
            nothing,
        )
        .then(|f| assert_eq!(f.get::<u64>("BUCKETS", 0) & 0xffff_ffff, 0)),
        opened(
            "one that has been away for long has a second's worth",
            |f| {
                bucket(f, 3_600_000, 0);
            },
        ),
        opened("one with a token left has it", |f| bucket(f, 0, 1_000)),
        opened("one that has saved up for a second", |f| {
            bucket(f, 1_000, 0);
        }),
        refused("one that has spent all is refused", |f| bucket(f, 0, 0)),
        refused("a part of a token is none", |f| bucket(f, 10, 500)),
        row(
            "a SYN sent again takes no token",
            move |f| {
                rate(f, 1);
                opening(port::TURN)(f);
                bucket(f, 0, 0);
            },
            syn(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &syn())),
        row(
            "nor does a segment of no flow",
            move |f| {
                rate(f, 1);
                bucket(f, 0, 0);
            },
            Frame::tcp(w.client, w.service, "."),
            Up,
            &[NoFlow],
        ),
    ]
}

/// Nobody is let in.
fn closed(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (packet, dropped) in [
        (w.syn(w.client, port::TURN), w.syn(w.client, port::DSR)),
        (
            w.datagram(w.client, port::TURN),
            w.datagram(w.client, port::DSR),
        ),
    ] {
        let draining = |f: &mut crate::fixture::Fixture| {
            f.settings(|settings| settings.flags = Settings::DRAINING);
        };
        let full =
            |f: &mut crate::fixture::Fixture| f.settings(|settings| settings.admit_below = [0; 2]);
        rows.extend([
            row(
                "while stopping new flows go up",
                draining,
                packet.clone(),
                Up,
                &[Draining],
            ),
            row(
                "or are dropped where told so",
                draining,
                dropped.clone(),
                Drop,
                &[OverflowDropped],
            ),
            row(
                "a full table lets no more in",
                full,
                packet.clone(),
                Up,
                &[TableFull],
            ),
            row(
                "or drops them where told so",
                full,
                dropped,
                Drop,
                &[OverflowDropped],
            ),
            row(
                "a time to live that ends here is the host's to answer",
                nothing,
                packet.clone().hops(1),
                Up,
                &[TtlExceededUp],
            ),
            row(
                "so is none at all",
                nothing,
                packet.hops(0),
                Up,
                &[TtlExceededUp],
            ),
        ]);
    }
    rows
}
