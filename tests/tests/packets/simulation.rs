//! A network of clients and servers around the program, seeded: handshakes, data and ends, lost, sent twice and out of
//! order; segments that somebody forged, floods of first packets, ports that are used again, servers that come and go,
//! time that passes, orders to the reaper. After each step the invariants that a packet can break are checked.
//!
//! A failure says its seed; `LB_SIMULATION_SEED` runs another one, `LB_SIMULATION_STEPS` more or fewer steps.

mod ends;
mod model;

use lb_common::abi::{Settings, reap};
use lb_common::flow::{Hop, flags};
use lb_common::load::Weight;

use crate::any::assert_sane;
use crate::fixture::{Fixture, Hook, Outcome, Verdict};
use crate::frame::{Frame, proto};
use crate::races::assert_counts_agree;
use crate::tuple::Tuple;
use crate::world::{Family, SNAT_PORT, TICK, hop, port};

use ends::{Ends, Random};
use model::Model;

/// Steps of a simulation unless told otherwise.
const STEPS: u64 = 100_000;
/// The tables are recounted whenever so many steps are done: a recount reads every entry, which takes as long as some
/// thirty steps, and what it would find stays wrong until the next one.
const RECOUNT: u64 = 200;
/// Source NAT ports: few, so that they are used again and run out.
const SOURCE_PORTS: u16 = 12;
/// Sets of half-open flows: few, so that they are evicted.
const SETS: u32 = 16;
/// Ports of services of every kind.
pub(super) const SERVICES: [u16; 8] = [
    port::TURN,
    port::LEAST,
    port::NAT,
    port::DSR,
    port::IPIP,
    port::IPIP_OTHER,
    port::MAGLEV,
    port::SOURCE,
];

struct Simulation {
    f: Fixture,
    random: Random,
    ends: Ends,
    model: Model,
    /// What is on its way to the balancer.
    wire: Vec<Frame>,
    tick: u32,
}

impl Simulation {
    fn new(hook: Hook, seed: u64) -> Simulation {
        let mut f = Fixture::new(hook);
        f.source_ports(SOURCE_PORTS);
        f.sets = SETS;
        let mut simulation = Simulation {
            f,
            random: Random::new(seed),
            ends: Ends::default(),
            model: Model::new(),
            wire: Vec::new(),
            tick: TICK,
        };
        simulation.settings(0, 900);
        simulation
    }

    fn settings(&mut self, flags: u32, admit_below: u32) {
        self.f.settings(|settings| {
            settings.snat_count = SOURCE_PORTS;
            (settings.half_mask4, settings.half_mask6) = (SETS - 1, SETS - 1);
            (settings.flags, settings.admit_below) = (flags, [admit_below; 2]);
        });
    }

    fn step(&mut self) {
        let family = Family::BOTH[self.random.below(2)];
        self.f.turn_to(family);
        let w = self.f.world;
        match self.random.below(1_000) {
            0..520 => self.deliver(),
            520..740 => {
                let frame = self.ends.client_acts(&w, &mut self.random);
                self.wire.push(frame);
            }
            740..820 => {
                if let Some(frame) = self.ends.server_acts(&w, &mut self.random) {
                    self.wire.push(frame);
                }
            }
            820..890 => {
                let frame = self.ends.forged(&w, &mut self.random);
                self.receive(&frame);
            }
            890..970 => {
                let frame = self.ends.stranger(&w, &mut self.random);
                self.receive(&frame);
            }
            970..980 => self.change_servers(),
            980..990 => {
                self.let_time_pass();
                self.f.forget_counters();
            }
            990..995 => {
                self.order();
                self.f.forget_counters();
            }
            // Most of the time all is well.
            _ => self.as_usual(),
        }
        // What is late stays away for good.
        if self.wire.len() > 200 {
            let late = self.random.below(self.wire.len());
            self.wire.swap_remove(late);
        }
    }

    /// Something arrives, not necessarily what was sent first; or it is lost, or comes again.
    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.random.below(self.wire.len());
        let frame = match self.random.below(20) {
            0 => {
                self.wire.swap_remove(at);
                return;
            }
            1 => self.wire[at].clone(),
            _ => self.wire.swap_remove(at),
        };
        self.f.turn_to(family_of(&frame));
        self.receive(&frame);
    }

    /// The balancer gets a frame, and whoever it sends it on to answers.
    fn receive(&mut self, frame: &Frame) {
        let packet = frame.bytes();
        let outcome = self.f.run_on(&packet);
        assert_sane(&packet, &outcome);
        assert!(
            !outcome.counted.contains_key("half_missing"),
            "{frame:?}: {outcome:?}"
        );
        let w = self.f.world;
        let sent = matches!(
            outcome.verdict,
            Verdict::Out | Verdict::Back | Verdict::Sent
        );
        let from_client = frame.from.address != w.s1.address && frame.from.address != w.s2.address;
        if from_client {
            self.client_sent(frame, &outcome, sent);
        } else {
            self.server_sent(frame, &outcome, sent);
        }
        let counted = |name| outcome.counted.contains_key(name);
        if counted("flow_established") && counted("flow_closed") {
            // It has freed what had closed long before.
            let flows = self.f.flows();
            self.model.agrees(self.f.world.family, &flows);
        }
    }

    fn client_sent(&mut self, frame: &Frame, outcome: &Outcome, sent: bool) {
        let w = self.f.world;
        let key = Tuple::new(frame.from, frame.to, proto_of(frame));
        if outcome.counted.contains_key("reset_answered") {
            self.ends.client_is_reset(key);
            return;
        }
        if !sent {
            self.model.not_sent(key, frame, outcome);
            return;
        }
        let (server, to, seen) = model::read(&w, frame, &outcome.bytes);
        let expected = model::expected(&w, frame, to, seen);
        // A flow being reset turns what its client sends into a reset on its way to the server.
        if outcome.bytes != expected.bytes() && self.model.is_resetting(key) {
            return;
        }
        assert!(
            outcome.bytes == expected.bytes(),
            "{frame:?}: rewritten as nothing that is known: {outcome:02x?}, not {:02x?}",
            expected.bytes()
        );
        let at_server = Tuple::new(seen, server, key.proto);
        let ordinal = match frame.to.port {
            port::IPIP => 3,
            port::IPIP_OTHER => 4,
            _ => usize::from(server.address == w.s2.address),
        };
        let opened = self
            .model
            .request(key, (at_server, ordinal), frame, outcome, self.tick);
        if opened {
            self.check_choice(ordinal);
        }
        // Whoever sends by a tuple has it: what the server answers comes to him. A reset may be the last of its flow.
        if model::is_translated(frame.to.port) && !model::is_reset(frame) {
            let owner = self.f.leg(at_server.reversed()).map(|leg| leg.to);
            // In a set in which all are as young as itself a new flow's one leg may make room for its other.
            assert!(
                owner == Some(key.reversed()) || (opened && owner.is_none()),
                "{frame:?}: by {at_server:?}, which is {owner:?}'s: {outcome:?}"
            );
        }
        let answers = self
            .ends
            .server_receives(&w, at_server, frame, &mut self.random);
        for answer in answers {
            if model::is_translated(frame.to.port) {
                self.wire.push(answer);
            } else if let Some(frame) = self.ends.client_receives(&w, key, &answer) {
                // The server answers it directly.
                self.wire.push(frame);
            }
        }
    }

    fn server_sent(&mut self, frame: &Frame, outcome: &Outcome, sent: bool) {
        let w = self.f.world;
        let at_server = Tuple::new(frame.to, frame.from, proto_of(frame));
        if outcome.counted.contains_key("reset_answered") {
            self.ends.server_is_reset(at_server);
            return;
        }
        if !sent {
            self.model.reply_not_sent(at_server, outcome);
            return;
        }
        let (client, service) = model::read_reply(&w, &outcome.bytes);
        let expected = frame.clone().forwarded(w.at(service), client);
        assert_eq!(
            outcome.bytes,
            expected.bytes(),
            "{frame:?}: rewritten as nothing that is known"
        );
        let key = Tuple::new(client, w.at(service), at_server.proto);
        self.model.reply(key, at_server, frame, outcome, self.tick);
        if let Some(frame) = self.ends.client_receives(&w, key, frame) {
            self.wire.push(frame);
        }
    }

    /// A new flow goes to no server that refuses, and to none beyond its limit.
    fn check_choice(&mut self, ordinal: usize) {
        let active = self.f.all_active()[ordinal];
        let refuses = self.model.refuses & (1 << ordinal) != 0;
        assert!(
            !refuses && active <= self.model.limit,
            "server {ordinal} of {} has {active}, refuses {:x}",
            self.model.limit,
            self.model.refuses
        );
    }

    /// Servers come and go, are full, or cannot be reached for a while.
    fn change_servers(&mut self) {
        match self.random.below(3) {
            0 => {
                let limit = [3, 10, 40][self.random.below(3)];
                (self.model.limit, self.model.refuses) = (limit, 0);
                self.f.limit(limit);
            }
            1 => {
                let ordinal = self.random.below(2);
                self.model.refuses |= 1 << ordinal;
                self.f.external(ordinal, Weight::REFUSES);
            }
            _ => {
                let hop = [hop::S1, hop::S2, hop::IPIP][self.random.below(3)];
                self.f.hop(hop, |hop| hop.flags &= !Hop::USABLE);
            }
        }
    }

    /// All servers take flows and can be reached, and so can the balancer.
    fn as_usual(&mut self) {
        (self.model.limit, self.model.refuses) = (Weight::UNBOUNDED, 0);
        self.f.limit(Weight::UNBOUNDED);
        for family in Family::BOTH {
            self.f.turn_to(family);
            for hop in [hop::S1, hop::S2, hop::IPIP] {
                self.f.hop(hop, |hop| hop.flags |= Hop::USABLE);
            }
        }
        self.settings(0, 900);
    }

    /// The clock goes on, what has closed and what is half-open grows older, and the reaper looks at all of it.
    fn let_time_pass(&mut self) {
        self.tick += [1, 50, 150, 700][self.random.below(4)];
        self.f.set("CLOCK", 0, self.tick);
        match self.random.below(4) {
            0 => self.f.age_closed(70_000),
            1 => {
                let ms = [5_000, 31_000, 61_000][self.random.below(3)];
                self.f.age_half_open(ms);
                let counted = self.f.reap(&self.f.half_order());
                assert!(
                    counted.keys().all(|name| *name == "half_open_expired"),
                    "{counted:?}"
                );
            }
            2 => self.f.open_earlier(2_000),
            _ => {
                let before = self.f.flows();
                let keys: Vec<Tuple> = before.keys().copied().collect();
                for some in keys.chunks(lb_common::abi::REAP_BATCH6) {
                    self.f.reap(&self.f.order(reap::IDLE, some));
                }
                let after = self.f.flows();
                for key in keys.iter().filter(|key| !after.contains_key(key)) {
                    self.model.reaped(before[key], self.tick);
                }
            }
        }
    }

    /// The agent orders something.
    fn order(&mut self) {
        match self.random.below(4) {
            0 => self.settings(Settings::DRAINING, 900),
            1 => {
                let admit_below = [5, 900][self.random.below(2)];
                self.settings(Settings::SETTLING, admit_below);
            }
            order => {
                let flows = self.f.flows();
                let forward: Vec<Tuple> = flows
                    .values()
                    .filter(|flow| !flow.is_reverse())
                    .map(|flow| flow.key)
                    .collect();
                if forward.is_empty() {
                    return;
                }
                let key = forward[self.random.below(forward.len())];
                if order == 2 {
                    self.f.reap(&self.f.order(reap::RESET, &[key]));
                    if let Some(at_server) = self.model.reset(key) {
                        // Each end is poked, and answers.
                        let w = self.f.world;
                        self.wire.extend(self.ends.poked(&w, key, at_server));
                    }
                } else {
                    self.f.reap(&self.f.order(reap::REMOVE, &[key]));
                    self.model.removed(key);
                }
            }
        }
    }

    /// Reads all of the tables: counts equal a recount, halves have each other, and each flow that was opened is still
    /// there, was evicted, or was told of once.
    fn recount(&mut self) {
        self.model.told += self.f.events().len() as u64;
        let mut live = 0;
        for family in Family::BOTH {
            self.f.turn_to(family);
            assert_counts_agree(&mut self.f);
            let (flows, half) = (self.f.flows(), self.f.half_open());
            for half in &half {
                assert!(
                    !flows.contains_key(&half.key),
                    "half-open and established: {half:?}"
                );
            }
            live += flows
                .values()
                .chain(&half)
                .filter(|entry| !entry.is_reverse() && entry.flags & flags::TOLD == 0)
                .count() as u64;
            self.model.agrees(family, &flows);
        }
        let counters = self.f.reasons();
        let count = |reason: lb_common::counter::Reason| counters[reason as usize];
        use lb_common::counter::Reason::*;
        assert_eq!(count(EventLost), 0);
        assert_eq!(
            count(FlowOpened) + count(FlowAdopted),
            live + count(HalfOpenEvicted) + self.model.told,
            "opened or taken over; live, evicted or told of"
        );
    }
}

pub(super) fn proto_of(frame: &Frame) -> u8 {
    match frame.l4 {
        crate::frame::L4::Udp { .. } => proto::UDP,
        _ => proto::TCP,
    }
}

pub(super) fn family_of(frame: &Frame) -> Family {
    if frame.from.address.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    }
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(value) => value.parse().unwrap(),
        Err(_) => default,
    }
}

fn simulate(hook: Hook, seed: u64) {
    if crate::skipped() {
        return;
    }
    /// Says where it stopped, when it is dropped on the way out of a panic.
    struct Place(u64, u64);
    impl Drop for Place {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("at step {} with LB_SIMULATION_SEED={}", self.1, self.0);
            }
        }
    }
    let seed = number("LB_SIMULATION_SEED", seed);
    let mut place = Place(seed, 0);
    let mut simulation = Simulation::new(hook, seed);
    for step in 0..number("LB_SIMULATION_STEPS", STEPS) {
        place.1 = step;
        simulation.step();
        if step % RECOUNT == 0 {
            simulation.recount();
        }
    }
    simulation.recount();
    simulation.enough_happened();
}

impl Simulation {
    /// A simulation in which nothing happens proves nothing.
    fn enough_happened(&self) {
        use lb_common::counter::Reason::*;
        let counters = self.f.reasons();
        let told = |reason: lb_common::counter::Reason| (reason.name(), counters[reason as usize]);
        let all: Vec<_> = lb_common::counter::Reason::ALL
            .iter()
            .map(|r| told(*r))
            .collect();
        eprintln!("{all:?}");
        if number("LB_SIMULATION_STEPS", STEPS) < STEPS {
            return;
        }
        for reason in [
            ForwardedIn,
            ForwardedOut,
            FlowOpened,
            FlowEstablished,
            FlowAdopted,
            FlowClosed,
            FlowExpired,
            FlowReset,
            FlowReopened,
            HalfOpenEvicted,
            HalfOpenExpired,
            NoServer,
            NoNextHop,
            NoSnatPort,
            NoFlow,
            Settling,
            Draining,
            TableFull,
            HopLost,
            BadHandshake,
            ResetAnswered,
            ResetDropped,
            StrayReply,
        ] {
            let (name, count) = told(reason);
            assert!(count >= 5, "{name}: {count} in {all:?}");
        }
        assert_eq!(SNAT_PORT, 10_000);
    }
}

#[test]
fn nothing_that_happens_breaks_an_invariant_on_xdp() {
    simulate(Hook::Xdp, 1);
}

#[test]
fn nothing_that_happens_breaks_an_invariant_on_tc() {
    simulate(Hook::Tc, 2);
}
