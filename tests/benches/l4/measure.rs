//! Runs a group's cases and their calibrations, round by round in turn, and proves from the program's own counters that
//! each packet took the way meant.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use lb_common::bench::Tuple;
use lb_common::counter::{Outcome, Reason};
use lb_tests::{Error, Result};

use crate::case::{Case, CaseFeed, Group, HANDSHAKES, ROUNDS, STRANGER};
use crate::frame::{self, Kind, frame};
use crate::rig::{Counts, Feed, Rig, Target};
use crate::shape::{Protocol, Shape};

/// Nanoseconds a packet, one figure a round, least first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<u64>);

/// What became of a case.
pub(crate) struct Measured {
    pub(crate) ns: Times,
    /// The stub's, fed alike.
    pub(crate) calibration: Times,
}

impl Times {
    fn add(&mut self, ns: u64) {
        self.0.push(ns);
        self.0.sort_unstable();
    }

    pub(crate) fn least(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    pub(crate) fn most(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Whether half of the rounds took a fifth longer than the quickest.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.median() * 5 > self.least() * 6
    }

    pub(crate) fn median(&self) -> u64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(0)
    }
}

impl Measured {
    /// Nanoseconds over the calibration, medians.
    pub(crate) fn over(&self) -> i64 {
        self.ns.median() as i64 - self.calibration.median() as i64
    }

    /// The same of the least disturbed rounds.
    pub(crate) fn best(&self) -> i64 {
        self.ns.least() as i64 - self.calibration.least() as i64
    }
}

/// Measures a group's cases.
pub(crate) fn group(group: &Group) -> Result<Vec<Measured>> {
    let mut rig = Rig::load(group.shape)?;
    let mut flows = Flows::new(group.shape)?;
    let mut replies = Vec::new();
    let mut clients = Vec::new();
    for i in 0..group.flows {
        clients.push(frame::client(i));
        replies.push(flows.open(&rig, i, false)?);
    }
    if group.shape.protocol == Protocol::Udp && !group.shape.two_sided() {
        // Of which no answer is seen, they are established by going on for a second; and a few had to make room for
        // others while all were half-open, and begin anew. Those were the first: they come last, when there is room.
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(1100));
            for i in (0..group.flows).rev() {
                flows.open(&rig, i, true)?;
            }
        }
    }
    rig.set_tuples(0, &clients)?;
    rig.set_tuples(group.flows, &replies)?;
    rig.set_tuples(group.flows * 2, &out_of_order(&clients))?;
    let mut times: Vec<Times> = group.cases.iter().map(|_| Times::default()).collect();
    let mut calibrations: BTreeMap<(Target, Feed), Times> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut calibrated = Vec::new();
        for (case, times) in group.cases.iter().zip(&mut times) {
            let frame = pattern(group.shape, case)?;
            let feed = case.feed(group.flows, round);
            if case.feed == CaseFeed::Stranger {
                rig.set_tuples(STRANGER, &[frame::tuple(group.shape.family, &frame)])?;
            }
            let (stub, fed) = calibration(case, group.flows);
            if !calibrated.contains(&(stub, fed)) {
                calibrated.push((stub, fed));
                let ns = rig.time(stub, &frame, fed, crate::case::PACKETS)?;
                calibrations.entry((stub, fed)).or_default().add(ns);
            }
            if case.feed == CaseFeed::HalfOpen {
                // After the group's own flows, both directions.
                let first = group.flows * 2 + round * HANDSHAKES;
                let fresh: Vec<Tuple> = (0..HANDSHAKES)
                    .map(|i| frame::client(group.flows + round * HANDSHAKES + i))
                    .collect();
                for i in 0..HANDSHAKES {
                    flows.open(&rig, group.flows + round * HANDSHAKES + i, true)?;
                }
                rig.set_tuples(first, &fresh)?;
            }
            let before = rig.counts()?;
            times.add(rig.time(Target::FastPath, &frame, feed, case.packets())?);
            prove(case, &before, &rig.counts()?)
                .map_err(|error| Error::new(format!("{}, {}: {error}", group.name, case.name)))?;
        }
    }
    let measured = group.cases.iter().zip(times).map(|(case, ns)| Measured {
        ns,
        calibration: calibrations
            .get(&calibration(case, group.flows))
            .cloned()
            .unwrap_or_default(),
    });
    Ok(measured.collect())
}

/// The same, none beside the one that it was beside.
fn out_of_order(tuples: &[Tuple]) -> Vec<Tuple> {
    /// A prime larger than half of their number, and no divisor of it.
    const STRIDE: usize = 61_657;
    let place = |i: usize| tuples[i * STRIDE % tuples.len()];
    (0..tuples.len()).map(place).collect()
}

/// The stub that a case is compared with, and what it is fed with: the same tuples each round.
fn calibration(case: &Case, flows: u32) -> (Target, Feed) {
    (case.over, case.feed(flows, 0))
}

fn pattern(shape: Shape, case: &Case) -> Result<Vec<u8>> {
    let mut bytes = frame(shape, case.kind)?;
    if let Some(port) = case.port {
        let tuple = Tuple {
            dport: port.to_be(),
            ..frame::client(0)
        };
        frame::set_tuple(shape.family, &mut bytes, tuple);
    }
    Ok(bytes)
}

/// Every packet was counted as what the case says, and as nothing else.
fn prove(case: &Case, before: &Counts, after: &Counts) -> std::result::Result<(), String> {
    let packets = u64::from(case.packets());
    for (reason, (before, after)) in Reason::ALL
        .iter()
        .zip(before.reasons.iter().zip(&after.reasons))
    {
        let expected = if *reason == case.reason || case.noted.contains(reason) {
            packets
        } else if reason.outcome() == Outcome::Noted {
            continue;
        } else {
            0
        };
        let counted = after - before;
        if counted != expected {
            return Err(format!(
                "{counted} of {packets} packets were counted as {}, not {expected}: another path was measured",
                reason.name()
            ));
        }
    }
    for (what, counted, expected) in [
        (
            "towards servers",
            after.packets_in - before.packets_in,
            case.reason == Reason::ForwardedIn,
        ),
        (
            "towards clients",
            after.packets_out - before.packets_out,
            case.reason == Reason::ForwardedOut,
        ),
        (
            "as established flows",
            after.opened - before.opened,
            case.noted.contains(&Reason::FlowEstablished),
        ),
    ] {
        let expected = if expected { packets } else { 0 };
        if counted != expected {
            return Err(format!(
                "{counted} packets {what} in the lanes, not {expected}"
            ));
        }
    }
    Ok(())
}

/// Opens flows as clients and servers do.
struct Flows {
    shape: Shape,
    first: Vec<u8>,
    answer: Vec<u8>,
    last: Vec<u8>,
}

impl Flows {
    fn new(shape: Shape) -> Result<Flows> {
        let kinds = match shape.protocol {
            Protocol::Tcp => [Kind::Syn, Kind::SynAck, Kind::Ack],
            Protocol::Udp => [Kind::Data, Kind::Reply, Kind::Data],
        };
        let [first, answer, last] = kinds.map(|kind| frame(shape, kind));
        Ok(Flows {
            shape,
            first: first?,
            answer: answer?,
            last: last?,
        })
    }

    /// Takes the `i`th client's flow through its handshake, or all of it but the last packet; returns the tuple of the
    /// server's packets, where they come by.
    fn open(&mut self, rig: &Rig, i: u32, but_last: bool) -> Result<Tuple> {
        let family = self.shape.family;
        let client = frame::client(i);
        frame::set_tuple(family, &mut self.first, client);
        let out = sent(rig, &self.first, i)?;
        let mut reply = Tuple::default();
        if self.shape.two_sided() {
            reply = frame::answer(family, &out);
            frame::set_tuple(family, &mut self.answer, reply);
            sent(rig, &self.answer, i)?;
        }
        if !but_last {
            frame::set_tuple(family, &mut self.last, client);
            sent(rig, &self.last, i)?;
        }
        Ok(reply)
    }
}

fn sent(rig: &Rig, frame: &[u8], i: u32) -> Result<Vec<u8>> {
    rig.send(frame)?.ok_or_else(|| {
        Error::new(format!(
            "a packet of flow {i} was not sent on while it opened; has the map room?"
        ))
    })
}
