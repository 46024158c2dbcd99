//! Step 5 for flows that end: FIN and RST only shorten the time after which an idle flow is forgotten, and no single
//! packet can move or kill a flow.

use lb_common::counter::Reason::*;

use super::{
    Row, after, connected, finished, forward, from_server, row, sent, sent_to, to_client, two_sided,
};
use crate::fixture::Fixture;
use crate::fixture::Verdict::{Back, Drop, Out, Up};
use crate::frame::{Frame, proto};
use crate::world::{World, port};

pub(super) fn rows(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for port in [port::TURN, port::NAT] {
        rows.extend(two(w, port));
    }
    for port in [port::DSR_ONE, port::IPIP] {
        rows.extend(one(w, port));
    }
    rows
}

/// Active flows of all servers.
fn active(f: &mut Fixture) -> u32 {
    f.all_active().iter().sum()
}

/// Flows of which both directions are seen.
fn two(w: &World, port: u16) -> Vec<Row> {
    let client = |flags| Frame::tcp(w.client, w.at(port), flags);
    let server = |flags| from_server(w, w.client, port, flags);
    let to_server = |says: &str, given: Box<dyn Fn(&mut Fixture)>, packet: Frame, left: u32| {
        let out = sent(w, &packet);
        row(
            format!("{port}: {says}"),
            given,
            packet,
            Out,
            &[ForwardedIn],
        )
        .out(out)
        .then(move |f| assert_eq!(active(f), left))
    };
    let to_client = |says: &str, given: Box<dyn Fn(&mut Fixture)>, packet: Frame, left: u32| {
        let out = to_client(w, packet.clone(), w.client, port);
        row(
            format!("{port}: {says}"),
            given,
            packet,
            Back,
            &[ForwardedOut],
        )
        .out(out)
        .then(move |f| assert_eq!(active(f), left))
    };
    let given = |segments| -> Box<dyn Fn(&mut Fixture)> { Box::new(after(port, segments)) };
    let syn = || w.syn(w.client, port);
    // In turn the second server is next.
    let next = if port == port::TURN { w.s2 } else { w.s1 };
    let reopened = |says: &str, given: Box<dyn Fn(&mut Fixture)>| {
        row(
            format!("{port}: {says}"),
            given,
            syn(),
            Out,
            &[ForwardedIn, FlowOpened, FlowReopened],
        )
        .out(sent_to(w, &syn(), next))
        .then(|f| assert_eq!((active(f), f.flow_count(), f.flows().len()), (1, 0, 0)))
    };
    let mut rows = vec![
        to_server("a client's FIN leaves it open", given(&[]), client("F."), 1),
        to_client("a server's FIN leaves it open", given(&[]), server("F."), 1),
        to_client("the second FIN closes it", given(&[">F."]), server("F."), 0),
        to_server("whoever is second", given(&["<F."]), client("F."), 0),
        to_server(
            "the last acknowledgement changes nothing",
            given(&[">F.", "<F."]),
            client("."),
            0,
        ),
        to_client(
            "nor does data that is sent again on the way out",
            given(&[">F.", "<F."]),
            server("P.").data(b"again"),
            0,
        ),
        to_client(
            "half closed, a server's data goes on",
            given(&[">F."]),
            server("P.").data(b"x"),
            1,
        ),
        to_server(
            "data after a FIN shows that it was forged",
            given(&[">F."]),
            client("P.").data(b"x"),
            1,
        ),
        to_server("a client's reset ends it", given(&[]), client("R"), 0),
        to_client("a server's reset ends it", given(&[]), server("R"), 0),
        to_server(
            "a client's next segment shows that its reset was forged",
            given(&[">R"]),
            client("."),
            1,
        ),
        to_client(
            "a server's says nothing about it",
            given(&[">R"]),
            server("."),
            0,
        ),
        to_client(
            "a server's next segment shows that its own was forged",
            given(&["<R"]),
            server("."),
            1,
        ),
        to_server(
            "after the client's reset alone a SYN goes to the same server",
            given(&[">R"]),
            syn(),
            1,
        ),
        to_client(
            "whose challenge brings it back",
            Box::new(move |f| {
                after(port, &[">R"])(f);
                f.send(&f.world.syn(f.world.client, port));
            }),
            server("."),
            1,
        ),
        to_server(
            "half closed, a SYN goes to the same server",
            given(&[">F."]),
            syn(),
            1,
        ),
        reopened(
            "once both ends have finished a SYN is balanced anew",
            Box::new(finished(port)),
        ),
        reopened("after the server's reset too", given(&["<R"])),
        row(
            format!("{port}: a SYN that acknowledges something is no new one"),
            finished(port),
            client("S."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &client("S."))),
        row(
            format!("{port}: a port used anew is not closed by its old self"),
            move |f| {
                finished(port)(f);
                let w = f.world;
                f.send(&w.syn(w.client, port));
            },
            client("."),
            Drop,
            &[BadHandshake],
        ),
        row(
            format!("{port}: with no server left a port used anew goes up"),
            move |f| {
                finished(port)(f);
                f.limit(0);
            },
            syn(),
            Up,
            &[FlowReopened, NoServer],
        )
        .then(|f| assert_eq!((active(f), f.flow_count(), f.flows().len()), (0, 0, 0))),
        row(
            format!("{port}: a client's segment without its server's half goes on"),
            move |f| {
                connected(port)(f);
                let seen = super::seen_as(&f.world, f.world.client, port);
                f.forget_flow(crate::tuple::Tuple::new(f.world.s1, seen, proto::TCP));
            },
            client("F."),
            Out,
            &[ForwardedIn],
        )
        .out(sent(w, &client("F."))),
    ];
    let says = "its end is told once, with what it carried";
    rows.push(
        row(
            format!("{port}: {says}"),
            move |f| {
                connected(port)(f);
                let w = f.world;
                f.send(&Frame::tcp(w.client, w.at(port), "P.").data(b"request"));
                f.send(&from_server(&w, w.client, port, "P.").data(b"the answer"));
                super::follow(f, port, &[">F."]);
                assert!(f.events().is_empty());
            },
            server("F.").data(b"!"),
            Back,
            &[ForwardedOut],
        )
        .out(super::to_client(w, server("F.").data(b"!"), w.client, port))
        .then(move |f| {
            super::follow(f, port, &[">.", ">R", "<R"]);
            let events = f.events();
            let told: Vec<_> = events
                .iter()
                .map(|e| (e.bytes_in, e.bytes_out, e.proto))
                .collect();
            assert_eq!(told, [(7, 11, proto::TCP)]);
            assert_eq!(events[0].client_port, f.world.client.port.to_be());
            assert_eq!(events[0].service_port, port.to_be());
        }),
    );
    rows
}

/// Flows whose servers answer clients directly.
fn one(w: &World, port: u16) -> Vec<Row> {
    let client = |flags| Frame::tcp(w.client, w.at(port), flags);
    let to_server = |says: &str, given: &'static [&'static str], packet: Frame, left: u32| {
        let out = sent(w, &packet);
        row(
            format!("{port}: {says}"),
            after(port, given),
            packet,
            Out,
            &[ForwardedIn],
        )
        .out(out)
        .then(move |f| {
            assert_eq!(active(f), left);
            let key = forward(&f.world, f.world.client, port, proto::TCP);
            assert!(f.flows().contains_key(&key), "never moved");
        })
    };
    assert!(!two_sided(port));
    vec![
        to_server(
            "a client's FIN is all there is to see of the end",
            &[],
            client("F."),
            0,
        ),
        to_server(
            "what it still acknowledges goes on",
            &[">F."],
            client("."),
            0,
        ),
        to_server(
            "data shows that the FIN was forged",
            &[">F."],
            client("P.").data(b"x"),
            1,
        ),
        to_server("a client's reset ends it", &[], client("R"), 0),
        to_server(
            "its next segment shows that it was forged",
            &[">R"],
            client("."),
            1,
        ),
        to_server(
            "a SYN after a FIN opens it again on the same server",
            &[">F."],
            w.syn(w.client, port),
            1,
        ),
        to_server("a SYN after a reset too", &[">R"], w.syn(w.client, port), 1),
    ]
}
