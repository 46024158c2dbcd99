//! The cases: which packets, what must become of each, and how fast that is meant to be.

use std::collections::BTreeMap;

use lb_common::counter::Reason;

use crate::frame::Kind;
use crate::rig::{Feed, MOST_TUPLES, Target};
use crate::shape::{Family, Mode, Protocol, Shape};
use crate::world::{NEIGHBOUR_PORT, STRANGE_PORT};

/// Cases that share a service and its flows.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// Flows that are established beforehand.
    pub(crate) flows: u32,
    pub(crate) cases: Vec<Case>,
}

/// Packets whose cost is asked for.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What they are.
    pub(crate) kind: Kind,
    pub(crate) feed: CaseFeed,
    /// Destination port, if it is not the service's.
    pub(crate) port: Option<u16>,
    /// What each is counted as.
    pub(crate) reason: Reason,
    /// What each is noted as besides.
    pub(crate) noted: &'static [Reason],
    /// Whose time is taken off.
    pub(crate) over: Target,
    pub(crate) aim: Aim,
}

/// Whose packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaseFeed {
    /// Of so many established flows in turn.
    Known(u32),
    /// Of all established flows, in another order than the one that they opened in: their entries do not lie one after
    /// the other in memory, where the processor would fetch the next one before it is asked for.
    OutOfOrder,
    /// Of flows whose handshake lacks only this packet, each once.
    HalfOpen,
    /// Of one source that has no flow.
    Stranger,
    /// Each of a source of its own.
    Strangers,
}

/// Nanoseconds over the calibration that are aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Below(i64),
    /// As the same case with IPv4 and TCP in this run, and so much.
    Beside(i64),
    /// The case is there to be seen.
    None,
}

/// Where the tuple of [`CaseFeed::Stranger`] lies: behind all others.
pub(crate) const STRANGER: u32 = MOST_TUPLES - 1;

/// Rounds of each case, in turn with all others of its group.
pub(crate) const ROUNDS: u32 = 9;
/// Packets in a round.
pub(crate) const PACKETS: u32 = 500_000;
/// Packets in a round where each opens a flow.
pub(crate) const NEW_FLOWS: u32 = 40_000;

/// Handshakes that a round completes: so few that no set of half-open flows gets more than it holds.
pub(crate) const HANDSHAKES: u32 = 2_500;

impl Case {
    /// Whether the name, with its group's before it as in the table, has this in it.
    pub(crate) fn is_called(&self, group: &str, part: &str) -> bool {
        format!("{group}: {}", self.name).contains(part)
    }

    /// Packets in a round of this case.
    pub(crate) fn packets(&self) -> u32 {
        match self.feed {
            CaseFeed::HalfOpen => HANDSHAKES,
            CaseFeed::Strangers if self.noted.contains(&Reason::FlowOpened) => NEW_FLOWS,
            _ => PACKETS,
        }
    }

    /// What the wrapper is fed with in a round; `flows` are established, new ones come after.
    pub(crate) fn feed(&self, flows: u32, round: u32) -> Feed {
        match self.feed {
            // Replies lie behind the clients' tuples.
            CaseFeed::Known(count) => Feed::Flows {
                first: if self.kind.is_servers() { flows } else { 0 },
                count,
            },
            // Behind both.
            CaseFeed::OutOfOrder => Feed::Flows {
                first: flows * 2,
                count: flows,
            },
            CaseFeed::HalfOpen => Feed::Flows {
                first: flows * 2 + round * HANDSHAKES,
                count: HANDSHAKES,
            },
            CaseFeed::Stranger => Feed::Flows {
                first: STRANGER,
                count: 1,
            },
            CaseFeed::Strangers => Feed::Strangers,
        }
    }
}

/// All of them, in the order of the table.
pub(crate) fn groups() -> Vec<Group> {
    let mut groups = vec![strangers()];
    for family in [Family::V4, Family::V6] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for mode in [Mode::Dsr, Mode::Ipip, Mode::FullNat, Mode::Nat] {
                groups.push(established(Shape::new(mode, family, protocol)));
            }
        }
    }
    for mode in [Mode::Dsr, Mode::Ipip, Mode::FullNat] {
        groups.push(opening(Shape::new(mode, Family::V4, Protocol::Tcp)));
    }
    groups.push(opening(
        Shape::new(Mode::FullNat, Family::V4, Protocol::Tcp).least_conn(64),
    ));
    groups
}

/// Packets that are none of ours.
fn strangers() -> Group {
    let case = |name: &str, port, feed, aim| Case {
        name: name.into(),
        kind: Kind::Data,
        feed,
        port: Some(port),
        reason: Reason::NotForUs,
        noted: &[],
        over: Target::Pass,
        aim,
    };
    let aim = Aim::Below(20);
    Group {
        name: "not a service".into(),
        shape: Shape::new(Mode::Dsr, Family::V4, Protocol::Tcp),
        flows: 0,
        cases: vec![
            case("port of nothing", STRANGE_PORT, CaseFeed::Stranger, aim),
            case(
                "port beside a service's",
                NEIGHBOUR_PORT,
                CaseFeed::Stranger,
                aim,
            ),
            case(
                "the same, new sources",
                NEIGHBOUR_PORT,
                CaseFeed::Strangers,
                Aim::None,
            ),
        ],
    }
}

/// Packets of flows that are there.
fn established(shape: Shape) -> Group {
    const FLOWS: [u32; 3] = [1, 10_000, 100_000];
    let aims = match shape.mode {
        Mode::Dsr | Mode::Ipip => [45, 50, 120],
        Mode::FullNat | Mode::Nat => [60, 70, 150],
    };
    let case = |name: String, kind: Kind, feed, aim| Case {
        name,
        kind,
        feed,
        port: None,
        reason: if kind.is_servers() {
            Reason::ForwardedOut
        } else {
            Reason::ForwardedIn
        },
        noted: &[],
        over: sent(shape),
        aim,
    };
    let mut cases = Vec::new();
    for kind in [Kind::Data, Kind::Reply] {
        if kind.is_servers() && !shape.two_sided() {
            continue;
        }
        let direction = if kind.is_servers() { "replies, " } else { "" };
        for (count, aim) in FLOWS.into_iter().zip(aims) {
            let flows = if count == 1 { "flow" } else { "flows" };
            let aim = if (shape.family, shape.protocol) == (Family::V4, Protocol::Tcp) {
                Aim::Below(aim)
            } else {
                Aim::Beside(10)
            };
            let name = format!("{direction}{} {flows}", thousands(count));
            cases.push(case(name, kind, CaseFeed::Known(count), aim));
        }
    }
    let name = "the same, out of order".into();
    cases.insert(3, case(name, Kind::Data, CaseFeed::OutOfOrder, Aim::None));
    Group {
        name: format!("established, {shape}"),
        shape,
        flows: 100_000,
        cases,
    }
}

/// A flood, and a handshake's end.
fn opening(shape: Shape) -> Group {
    Group {
        name: format!("new flows, {shape}"),
        shape,
        flows: 0,
        cases: vec![
            Case {
                name: "SYN flood".into(),
                kind: Kind::Syn,
                feed: CaseFeed::Strangers,
                port: None,
                reason: Reason::ForwardedIn,
                noted: &[Reason::FlowOpened],
                over: sent(shape),
                aim: Aim::Below(if shape.mode == Mode::FullNat {
                    350
                } else {
                    200
                }),
            },
            Case {
                name: "handshake's last ACK".into(),
                kind: Kind::Ack,
                feed: CaseFeed::HalfOpen,
                port: None,
                reason: Reason::ForwardedIn,
                noted: &[Reason::FlowEstablished],
                over: sent(shape),
                aim: Aim::Below(250),
            },
        ],
    }
}

/// The stub that does to a frame what this mode does at least.
fn sent(shape: Shape) -> Target {
    match shape.mode {
        Mode::Ipip => Target::Wrap,
        Mode::Dsr | Mode::FullNat | Mode::Nat => Target::Send,
    }
}

/// A number as people read it.
pub(crate) fn thousands(n: u32) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What a case came to, by mode and case: what IPv6 and UDP are compared with.
pub(crate) type Beside = BTreeMap<(Mode, String), i64>;
