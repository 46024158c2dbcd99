//! Packets that open flows, open them again, or are refused.

use lb_common::abi::Settings;
use lb_common::counter::Reason::*;

use super::{Row, connected, finished, nothing, row, syn};
use crate::fixture::{Fixture, Verdict};
use crate::frame::Segment;
use crate::world::{CLIENT, CLIENT_2, S1, S2, SERVICE, SNAT, port};

pub(super) fn rows() -> Vec<Row> {
    use Verdict::{Drop, Pass, Redirect};
    let first = || syn(CLIENT, port::TURN).tcp_options(&[2, 4, 5, 180, 4, 2, 1, 1]);
    vec![
        row(
            "a SYN opens a flow to the first server",
            nothing,
            first(),
            Redirect,
            &[ForwardedIn, FlowOpened],
        )
        .out(first().forwarded(SNAT, S1)),
        row(
            "the next client's goes to the second",
            |fixture| drop(fixture.run(&syn(CLIENT, port::TURN).bytes())),
            syn(CLIENT_2, port::TURN),
            Redirect,
            &[ForwardedIn, FlowOpened],
        )
        .out(syn(CLIENT_2, port::TURN).forwarded(SNAT, S2)),
        row(
            "a SYN sent again goes to the same server and opens nothing",
            |fixture| drop(fixture.run(&syn(CLIENT, port::TURN).bytes())),
            syn(CLIENT, port::TURN),
            Redirect,
            &[ForwardedIn],
        )
        .out(syn(CLIENT, port::TURN).forwarded(SNAT, S1)),
        row(
            "nor does it take anyone's turn",
            |fixture| {
                for _ in 0..3 {
                    fixture.run(&syn(CLIENT, port::TURN).bytes());
                }
            },
            syn(CLIENT_2, port::TURN),
            Redirect,
            &[ForwardedIn, FlowOpened],
        )
        .out(syn(CLIENT_2, port::TURN).forwarded(SNAT, S2)),
        row(
            "a SYN on an open flow goes to the same server",
            connected,
            syn(CLIENT, port::TURN),
            Redirect,
            &[ForwardedIn],
        )
        .out(syn(CLIENT, port::TURN).forwarded(SNAT, S1)),
        row(
            "after a client's reset alone a SYN still goes to the same server",
            |fixture| {
                connected(fixture);
                fixture.run(&Segment::new(CLIENT, SERVICE, "R").bytes());
            },
            syn(CLIENT, port::TURN),
            Redirect,
            &[ForwardedIn],
        )
        .out(syn(CLIENT, port::TURN).forwarded(SNAT, S1)),
        row(
            "once both ends have finished a SYN is balanced anew",
            finished,
            syn(CLIENT, port::TURN),
            Redirect,
            &[ForwardedIn, FlowOpened, FlowReopened],
        )
        .out(syn(CLIENT, port::TURN).forwarded(SNAT, S2)),
        row(
            "a connection that the server refused is balanced anew",
            |fixture| {
                fixture.run(&syn(CLIENT, port::TURN).bytes());
                fixture.run(&Segment::new(S1, SNAT, "R.").bytes());
            },
            syn(CLIENT, port::TURN),
            Redirect,
            &[ForwardedIn, FlowOpened],
        )
        .out(syn(CLIENT, port::TURN).forwarded(SNAT, S2)),
        row(
            "by MAC address alone only that and the time to live change",
            nothing,
            syn(CLIENT, port::DSR),
            Redirect,
            &[ForwardedIn, FlowOpened],
        )
        .out(syn(CLIENT, port::DSR).forwarded(
            CLIENT.at_mac(SNAT.mac),
            SERVICE.at_port(port::DSR).at_mac(S1.mac),
        )),
        row(
            "the server with twice the weight is the least loaded at first",
            nothing,
            syn(CLIENT, port::LEAST),
            Redirect,
            &[ForwardedIn, FlowOpened],
        )
        .out(syn(CLIENT, port::LEAST).forwarded(SNAT, S2)),
        row(
            "a SYN whose time to live ends here is the host's to answer",
            nothing,
            syn(CLIENT, port::TURN).ttl(1),
            Pass,
            &[TtlExceededUp],
        ),
        row(
            "a service without a server passes new flows up",
            nothing,
            syn(CLIENT, port::EMPTY),
            Pass,
            &[NoServer],
        ),
        row(
            "or drops them if told so",
            nothing,
            syn(CLIENT, port::EMPTY_DROP),
            Drop,
            &[OverflowDropped],
        ),
        row(
            "a server without a neighbour leaves the flow to userspace",
            nothing,
            syn(CLIENT, port::NO_HOP),
            Pass,
            &[NoNextHop],
        ),
        row(
            "a client's side that nobody has described as well",
            Fixture::forget_side,
            syn(CLIENT, port::TURN),
            Pass,
            &[NoSide],
        ),
        row(
            "with every source port taken a new flow goes up",
            |fixture| {
                fixture.connect(CLIENT, port::ONE);
            },
            syn(CLIENT_2, port::ONE),
            Pass,
            &[NoSnatPort],
        ),
        row(
            "a source port that something here listens on is left out",
            Fixture::close_source_port,
            syn(CLIENT, port::ONE),
            Pass,
            &[NoSnatPort],
        ),
        row(
            "with the server at its limit a new flow goes up",
            |fixture| {
                fixture.limit(1);
                fixture.connect(CLIENT, port::ONE);
            },
            syn(CLIENT_2, port::ONE),
            Pass,
            &[NoServer],
        ),
        row(
            "so it does with all of them there",
            |fixture| fixture.limit(0),
            syn(CLIENT, port::LEAST),
            Pass,
            &[NoServer],
        ),
        row(
            "a full table lets no more in",
            |fixture| fixture.settings(|settings| settings.admit_below = 0),
            syn(CLIENT, port::TURN),
            Pass,
            &[TableFull],
        ),
        row(
            "while stopping new flows go up",
            |fixture| fixture.settings(|settings| settings.flags = Settings::DRAINING),
            syn(CLIENT, port::TURN),
            Pass,
            &[Draining],
        ),
    ]
}
