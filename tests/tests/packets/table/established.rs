//! Packets of flows that are open.

use lb_common::abi::Settings;
use lb_common::counter::Reason::*;

use super::{Row, ack, connected, row};
use crate::fixture::Verdict;
use crate::frame::Segment;
use crate::world::{CLIENT, CLIENT_2, S1, SERVICE, SNAT};

pub(super) fn rows() -> Vec<Row> {
    use Verdict::{Drop, Redirect, Tx};
    let request = || Segment::new(CLIENT, SERVICE, "P.").data(b"GET / HTTP/1.1\r\n\r\n");
    let response = || Segment::new(S1, SNAT, "P.").data(b"HTTP/1.1 200 OK\r\n\r\n");
    let sent_on = |segment: Segment| segment.forwarded(SNAT, S1);
    vec![
        row(
            "a client's data goes to its server from our address",
            connected,
            request(),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(request())),
        row(
            "a server's data goes to its client from the service's address",
            connected,
            response(),
            Tx,
            &[ForwardedOut],
        )
        .out(response().forwarded(SERVICE, CLIENT)),
        row(
            "an odd number of bytes is summed like an even one",
            connected,
            request().data(b"abc"),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(request().data(b"abc"))),
        row(
            "a bare acknowledgment is forwarded",
            connected,
            ack(CLIENT, SERVICE),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(ack(CLIENT, SERVICE))),
        row(
            "Ethernet padding stays",
            connected,
            [ack(CLIENT, SERVICE).bytes(), vec![0xee; 6]].concat(),
            Redirect,
            &[ForwardedIn],
        )
        .out([sent_on(ack(CLIENT, SERVICE)).bytes(), vec![0xee; 6]].concat()),
        row(
            "IP options are stepped over and kept",
            connected,
            request().ip_options(&[148, 4, 0, 0, 1, 1, 1, 0]),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(request().ip_options(&[148, 4, 0, 0, 1, 1, 1, 0]))),
        row(
            "the longest of both headers' options too",
            connected,
            request().ip_options(&[1; 40]).tcp_options(&[1; 40]),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(
            request().ip_options(&[1; 40]).tcp_options(&[1; 40]),
        )),
        row(
            "the last hop but one is still a hop",
            connected,
            request().ttl(2),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(request().ttl(2))),
        row(
            "a packet whose time to live ends here is dropped",
            connected,
            request().ttl(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            "so is one that should not have come this far",
            connected,
            request().ttl(0),
            Drop,
            &[TtlExceeded],
        ),
        row(
            "and a server's",
            connected,
            response().ttl(1),
            Drop,
            &[TtlExceeded],
        ),
        row(
            "while its server's neighbour is unknown a flow's packets are dropped, not passed up",
            |fixture| {
                connected(fixture);
                fixture.set_hop(false);
            },
            request(),
            Drop,
            &[HopLost],
        ),
        row(
            "a flow goes on while no new ones are taken",
            |fixture| {
                connected(fixture);
                fixture.settings(|settings| settings.flags = Settings::DRAINING);
            },
            request(),
            Redirect,
            &[ForwardedIn],
        )
        .out(sent_on(request())),
        row(
            "a client that has moved to another MAC address is noticed",
            connected,
            Segment::new(CLIENT.at_mac(CLIENT_2.mac), SERVICE, "."),
            Redirect,
            &[ForwardedIn, SideRelearnt],
        )
        .out(sent_on(ack(CLIENT, SERVICE))),
        row(
            "and answered there",
            |fixture| {
                connected(fixture);
                fixture.run(&ack(CLIENT.at_mac(CLIENT_2.mac), SERVICE).bytes());
            },
            response(),
            Tx,
            &[ForwardedOut],
        )
        .out(response().forwarded(SERVICE, CLIENT.at_mac(CLIENT_2.mac))),
        row(
            "a reply whose flow has lost its other half ends here",
            |fixture| {
                connected(fixture);
                fixture.forget_flow(CLIENT, SERVICE);
            },
            Segment::new(S1, SNAT, "F."),
            Drop,
            &[HalfMissing],
        ),
    ]
}
