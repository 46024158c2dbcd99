//! Step 2, flow: packets of flows that are open, and of those that have lost their way.

use lb_common::abi::Settings;
use lb_common::counter::Reason::*;

use super::{Row, connected, conversing, forward, from_server, row, sent, to_client, two_sided};
use crate::fixture::Verdict::{Back, Drop, Out};
use crate::frame::{Frame, proto};
use crate::world::{World, hop, port};

const PORTS: [u16; 4] = [port::TURN, port::NAT, port::DSR_ONE, port::IPIP];

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in PORTS {
        rows.extend(requests(w, port));
        if w.xdp() {
            let request = Frame::tcp(w.client, w.at(port), "P.").data(b"lost");
            let says =
                "what goes to an interface that cannot be redirected to is lost, and counted so";
            rows.push(
                row(
                    format!("{port}: {says}"),
                    move |f| {
                        connected(port)(f);
                        f.forget_interface();
                    },
                    request.clone(),
                    Drop,
                    &[HopLost],
                )
                .out(sent(w, &request)),
            );
        }
        if two_sided(port) {
            rows.extend(replies(w, port));
        }
    }
    rows.extend(moved(w));
    rows
}

fn requests(w: &World, port: u16) -> Vec<Row> {
    let request = || Frame::tcp(w.client, w.at(port), "P.").data(b"GET / HTTP/1.1\r\n\r\n");
    let says = |what: &str| format!("{port}: {what}");
    let server_hop = if port == port::IPIP {
        hop::IPIP
    } else {
        hop::S1
    };
    let through = |what: &str, packet: Frame| {
        let out = sent(w, &packet);
        row(says(what), connected(port), packet, Out, &[ForwardedIn]).out(out)
    };
    vec![
        through("a client's data goes to its server", request()).then(move |f| {
            let key = forward(&f.world, f.world.client, port, proto::TCP);
            let (packets, bytes) = (f.flows()[&key].packets, f.flows()[&key].bytes);
            assert_eq!((packets, bytes), (3, 18), "with the handshake's");
        }),
        through(
            "an odd number of bytes is summed like an even one",
            request().data(b"abc"),
        ),
        through(
            "a bare acknowledgement is sent on",
            Frame::tcp(w.client, w.at(port), "."),
        ),
        through("TCP options are kept", request().tcp_options(&[1; 40])),
        through("the service class is kept", request().class(0xb9)),
        through("as large as fits", request().data(&[7; 1400])),
        through("the last hop but one is still a hop", request().hops(2)),
        row(
            says("a packet whose time to live ends here is dropped"),
            connected(port),
            request().hops(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("so is one that should not have come this far"),
            connected(port),
            request().hops(0),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("while its server's neighbour is unknown it is dropped, not passed up"),
            move |f| {
                connected(port)(f);
                f.hop(server_hop, |hop| hop.flags = 0);
            },
            request(),
            Drop,
            &[HopLost],
        ),
        row(
            says("a flow goes on while no new ones are taken"),
            move |f| {
                connected(port)(f);
                f.settings(|settings| settings.flags = Settings::DRAINING | Settings::SETTLING);
            },
            request(),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &request())),
        row(
            says("a SYN on an open flow goes to the same server and changes nothing"),
            connected(port),
            w.syn(w.client, port),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &w.syn(w.client, port)))
        .then(move |f| {
            let key = forward(&f.world, f.world.client, port, proto::TCP);
            let state = f.flows()[&key].state;
            assert!(lb_common::tcp::is_established(state), "{state:x}");
        }),
        row(
            says("a server that is reached by another MAC address is, from then on"),
            move |f| {
                connected(port)(f);
                f.hop(server_hop, |hop| {
                    (hop.dst_mac_low, hop.dst_mac_high) =
                        lb_common::flow::Hop::mac_words([2, 0, 0, 0, 2, 77]);
                });
            },
            request(),
            Out,
            &[ForwardedIn],
        )
        .out({
            let mut out = sent(w, &request());
            out.to.mac = [2, 0, 0, 0, 2, 77];
            out
        }),
    ]
}

fn replies(w: &World, port: u16) -> Vec<Row> {
    let reply = || from_server(w, w.client, port, "P.").data(b"HTTP/1.1 200 OK\r\n\r\n");
    let says = |what: &str| format!("{port}: {what}");
    let back = |frame: Frame| to_client(w, frame, w.client, port);
    vec![
        row(
            says("a server's data goes to its client from the service's address"),
            connected(port),
            reply(),
            Back,
            &[ForwardedOut],
        )
        .out(back(reply())),
        row(
            says("an odd number of bytes too"),
            connected(port),
            reply().data(b"odd"),
            Back,
            &[ForwardedOut],
        )
        .out(back(reply().data(b"odd"))),
        row(
            says("a reply whose time to live ends here is dropped"),
            connected(port),
            reply().hops(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            says("a reply to a side that is lost is dropped"),
            move |f| {
                connected(port)(f);
                f.hop(hop::CLIENTS, |hop| hop.flags = 0);
            },
            reply(),
            Drop,
            &[HopLost],
        ),
        row(
            says("a reply that changes the state of a flow without its other half ends here"),
            move |f| {
                connected(port)(f);
                f.forget_flow(forward(&f.world, f.world.client, port, proto::TCP));
            },
            from_server(w, w.client, port, "F."),
            Drop,
            &[HalfMissing],
        ),
    ]
}

/// Clients that are suddenly elsewhere.
fn moved(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (udp, port) in [
        (false, port::TURN),
        (false, port::NAT),
        (true, port::TURN),
        (true, port::NAT),
    ] {
        let frame = move |w: &World, mac| {
            let client = w.client.at_mac(mac);
            if udp {
                w.datagram(client, port)
            } else {
                Frame::tcp(client, w.at(port), ".")
            }
        };
        let open = move |f: &mut crate::fixture::Fixture| {
            if udp {
                conversing(port)(f);
            } else {
                connected(port)(f);
            }
        };
        let elsewhere = w.client_2.mac;
        let reply = if udp {
            Frame::udp(w.s1, super::seen_as(w, w.client, port))
        } else {
            from_server(w, w.client, port, "P.").data(b"reply")
        };
        rows.extend([
            row(
                "a client that has moved to another MAC address is noticed",
                open,
                frame(w, elsewhere),
                Out,
                &[ForwardedIn, SideRelearnt],
            )
            .out(sent(w, &frame(w, elsewhere))),
            row(
                "once",
                move |f| {
                    open(f);
                    f.send(&frame(&f.world, elsewhere));
                },
                frame(w, elsewhere),
                Out,
                &[ForwardedIn],
            )
            .out(sent(w, &frame(w, elsewhere))),
            row(
                "and answered there",
                move |f| {
                    open(f);
                    f.send(&frame(&f.world, elsewhere));
                },
                reply.clone(),
                Back,
                &[ForwardedOut],
            )
            .out(to_client(
                w,
                reply.clone(),
                w.client.at_mac(elsewhere),
                port,
            )),
            row(
                "one that has moved behind a tag is answered behind it",
                move |f| {
                    open(f);
                    f.send(&frame(&f.world, f.world.client.mac).tagged(&[crate::world::C_TAG]));
                },
                reply.clone(),
                Back,
                &[ForwardedOut],
            )
            .out_tagged(
                w,
                &[],
                to_client(w, reply, w.client, port).tagged(&[crate::world::C_TAG]),
            ),
            row(
                "to a side that nobody has described it does not move",
                open,
                frame(w, w.client.mac).tagged(&[(0x8100, 999)]),
                Out,
                &[ForwardedIn],
            )
            .out(sent(w, &frame(w, w.client.mac))),
        ]);
    }
    rows
}
