//! What must hold of the program's flows, by what it was seen to do: no code of its own is shared.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::fixture::{Outcome, Verdict};
use crate::frame::{End, Frame, L4};
use crate::simulation::ends::client_at;
use crate::tuple::{Entry, Tuple};
use crate::world::{Family, World, port, tunnel};

/// Ticks after which an established flow may be forgotten at the earliest: one that was reset.
const LEAST_IDLE: u32 = 100;

/// A flow, by its client's tuple.
#[derive(Clone, Copy, Debug)]
struct Live {
    /// Its tuple at the server.
    at_server: Tuple,
    /// Which one that is.
    ordinal: usize,
    established: bool,
    /// Its server has said that it is done: a FIN or RST since the flow was established.
    server_ended: bool,
    /// Either end has: it may be freed before its time.
    any_ended: bool,
    resetting: bool,
    /// The server has not said anything since a SYN.
    asked: bool,
    last: u32,
}

pub(super) struct Model {
    flows: HashMap<Tuple, Live>,
    /// Established flows by their tuples at servers.
    at_servers: HashMap<Tuple, Tuple>,
    /// Servers that refuse new flows, a bit an ordinal.
    pub(super) refuses: u32,
    pub(super) limit: u32,
    /// Ends of flows that were told.
    pub(super) told: u64,
}

/// Whether the packets of a service are translated.
pub(super) fn is_translated(port: u16) -> bool {
    !matches!(port, port::DSR | port::IPIP | port::IPIP_OTHER)
}

pub(super) fn is_reset(frame: &Frame) -> bool {
    ends(frame).1
}

fn is_syn(frame: &Frame) -> bool {
    matches!(frame.l4, L4::Tcp { flags, .. } if flags.contains('S') && !flags.contains('A'))
}

/// Whether a segment is a FIN, and whether it is a reset.
fn ends(frame: &Frame) -> (bool, bool) {
    match frame.l4 {
        L4::Tcp { flags, .. } => (flags.contains('F'), flags.contains('R')),
        _ => (false, false),
    }
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            flows: HashMap::new(),
            at_servers: HashMap::new(),
            refuses: 0,
            limit: u32::MAX,
            told: 0,
        }
    }

    /// A client's packet has reached a server; whether it has opened a flow.
    pub(super) fn request(
        &mut self,
        key: Tuple,
        (at_server, ordinal): (Tuple, usize),
        frame: &Frame,
        outcome: &Outcome,
        tick: u32,
    ) -> bool {
        let counted = |name| outcome.counted.contains_key(name);
        let opened = counted("flow_opened") || counted("flow_adopted");
        let before = self.flows.get(&key).copied();
        if let Some(live) = before.filter(|live| live.established) {
            if opened {
                assert!(
                    self.may_move(&live) && counted("flow_reopened"),
                    "{frame:?}: moved from {live:?}, which its server has not ended"
                );
                self.forget(key);
            } else {
                assert_eq!(
                    live.at_server, at_server,
                    "{frame:?}: {live:?} has changed its server"
                );
            }
        } else if let Some(live) = before.filter(|_| !opened) {
            assert_eq!(
                live.at_server, at_server,
                "{frame:?}: {live:?} has changed its server"
            );
        }
        if opened {
            if let Some(other) = self.at_servers.get(&at_server).copied() {
                // Where no other port is free, that of a flow that is over is taken over.
                let over = self.flows.get(&other).is_some_and(|live| live.server_ended);
                assert!(
                    over && counted("flow_closed"),
                    "{frame:?}: by {at_server:?}, which {other:?} has"
                );
                self.forget(other);
            }
            let live = Live {
                at_server,
                ordinal,
                established: false,
                server_ended: false,
                any_ended: false,
                resetting: false,
                asked: false,
                last: tick,
            };
            self.flows.insert(key, live);
        }
        let (fin, rst) = ends(frame);
        if let Some(live) = self.flows.get_mut(&key) {
            // A SYN keeps none that is established from being forgotten.
            if live.established && is_syn(frame) {
                live.asked = true;
            } else {
                live.last = tick;
            }
            live.any_ended |= fin || rst;
        }
        if counted("flow_established") {
            self.establish(key);
        } else if !opened && counted("flow_closed") && before.is_some_and(|live| !live.established)
        {
            self.flows.remove(&key);
        }
        opened
    }

    /// A server's packet has reached a client.
    pub(super) fn reply(
        &mut self,
        key: Tuple,
        at_server: Tuple,
        frame: &Frame,
        outcome: &Outcome,
        tick: u32,
    ) {
        if outcome.counted.contains_key("flow_established") {
            self.establish(key);
        }
        if let Some(owner) = self.at_servers.get(&at_server) {
            assert_eq!(
                *owner, key,
                "{frame:?}: by {at_server:?}, which another has"
            );
        }
        let (fin, rst) = ends(frame);
        let Some(live) = self.flows.get_mut(&key) else {
            return;
        };
        if live.at_server != at_server {
            // Of a leg that its evicted flow has left behind.
            assert!(
                !self.at_servers.contains_key(&at_server),
                "{frame:?}: {live:?}"
            );
            return;
        }
        if !(live.established && is_syn(frame)) {
            live.last = tick;
        }
        live.asked = false;
        if live.established {
            live.server_ended |= fin || rst;
            live.any_ended |= fin || rst;
        } else if outcome.counted.contains_key("flow_closed") {
            self.flows.remove(&key);
        }
    }

    /// A client's packet was not sent on.
    pub(super) fn not_sent(&mut self, key: Tuple, frame: &Frame, outcome: &Outcome) {
        if outcome.counted.contains_key("flow_established") {
            // Its way out was lost, but it has proven its flow.
            self.establish(key);
        }
        let Some(live) = self.flows.get_mut(&key) else {
            return;
        };
        // What the client says of the flow counts though the way to the server is lost.
        let (fin, rst) = ends(frame);
        live.any_ended |= fin || rst;
        if outcome.counted.contains_key("flow_established") {
            // It was, just now.
        } else if outcome.counted.contains_key("flow_reopened") {
            let live = *live;
            assert!(self.may_move(&live), "{outcome:?}: {live:?}");
            self.forget(key);
        } else if live.established {
            let allowed: &[&str] = if live.resetting {
                &["reset_dropped", "hop_lost"]
            } else {
                &["hop_lost"]
            };
            let fits = outcome
                .counted
                .keys()
                .all(|name| allowed.contains(name) || *name == "side_relearnt");
            assert!(fits, "{outcome:?}: {live:?} has another owner");
        } else if outcome.verdict == Verdict::Up {
            // It was evicted, or had lost its tuple.
            self.flows.remove(&key);
        }
    }

    /// Nor was a server's.
    pub(super) fn reply_not_sent(&self, at_server: Tuple, outcome: &Outcome) {
        let Some(key) = self.at_servers.get(&at_server) else {
            return;
        };
        let live = &self.flows[key];
        let allowed: &[&str] = if live.resetting {
            &["reset_dropped"]
        } else {
            &[]
        };
        let fits = outcome.counted.keys().all(|name| allowed.contains(name));
        assert!(fits, "{outcome:?}: {live:?} has another owner");
    }

    /// Whether a SYN may open another flow in the place of one: its server has ended it. Of one that takes no new flows less is
    /// wanted: that its client has, or that it was asked before and is silent.
    fn may_move(&self, live: &Live) -> bool {
        let refuses = self.refuses & (1 << live.ordinal) != 0;
        live.server_ended || refuses && (live.any_ended || live.asked)
    }

    fn establish(&mut self, key: Tuple) {
        let Some(live) = self.flows.get_mut(&key) else {
            panic!("{key:?} was established, and never opened");
        };
        live.established = true;
        if is_translated(key.dst.port()) {
            let other = self.at_servers.insert(live.at_server, key);
            assert_eq!(other, None, "{live:?}: two flows with one tuple");
        }
    }

    fn forget(&mut self, key: Tuple) {
        if let Some(live) = self.flows.remove(&key) {
            self.at_servers
                .retain(|at, owner| *at != live.at_server || *owner != key);
        }
    }

    pub(super) fn is_resetting(&self, key: Tuple) -> bool {
        self.flows.get(&key).is_some_and(|live| live.resetting)
    }

    /// The flow was marked as being reset.
    /// Says what its tuple is at the server.
    pub(super) fn reset(&mut self, key: Tuple) -> Option<Tuple> {
        let live = self.flows.get_mut(&key)?;
        // As if both ends had ended it.
        (live.resetting, live.server_ended, live.any_ended) = (true, true, true);
        Some(live.at_server)
    }

    /// The flow was removed by order.
    pub(super) fn removed(&mut self, key: Tuple) {
        self.forget(key);
    }

    /// The reaper has removed an entry.
    pub(super) fn reaped(&mut self, entry: Entry, tick: u32) {
        if entry.is_reverse() {
            return;
        }
        let live = self.flows[&entry.key];
        let since = tick - live.last;
        assert!(
            since >= LEAST_IDLE,
            "{live:?} was reaped after {since} ticks"
        );
        self.forget(entry.key);
    }

    /// What is established here is so there: nothing vanishes but by order, or because it was ended.
    pub(super) fn agrees(&mut self, family: Family, flows: &BTreeMap<Tuple, Entry>) {
        let of_family = |key: &Tuple| key.src.is_ipv4() == (family == Family::V4);
        let mut gone = Vec::new();
        for (key, live) in self.flows.iter().filter(|(key, _)| of_family(key)) {
            if live.established && !flows.contains_key(key) {
                assert!(live.any_ended, "{key:?}: {live:?} has vanished");
                gone.push(*key);
            }
        }
        for key in gone {
            self.forget(key);
        }
        for entry in flows.values().filter(|entry| !entry.is_reverse()) {
            let live = self.flows.get(&entry.key);
            assert!(
                live.is_some_and(|live| live.established),
                "{entry:?} was never established: {live:?}"
            );
        }
    }
}

/// Which server a client's packet went to, under which address, and as whose, from its bytes alone. Where the packet
/// keeps the service's address the server is given the service's port, so that its connections are told apart.
pub(super) fn read(w: &World, frame: &Frame, bytes: &[u8]) -> (End, End, End) {
    let servers = [w.s1, w.s2];
    let by_mac = servers.into_iter().find(|server| server.mac == bytes[..6]);
    let server = by_mac.unwrap_or_else(|| panic!("{frame:?}: to {:02x?}", &bytes[..6]));
    let port = frame.to.port;
    let same = frame.from.at_mac(w.snat.mac);
    if !is_translated(port) {
        return (server.at_port(port), frame.to.at_mac(server.mac), same);
    }
    if port == port::NAT {
        return (server, server, same);
    }
    let at = if w.v4() { 34 } else { 54 };
    let source = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (server, server, w.snat.at_port(source))
}

/// What it must be then, byte for byte.
pub(super) fn expected(w: &World, frame: &Frame, to: End, seen: End) -> Frame {
    let out = frame.clone().forwarded(seen, to);
    let (src, dst) = match frame.to.port {
        port::IPIP => tunnel(w.family),
        port::IPIP_OTHER => tunnel(w.family.other()),
        _ => return out,
    };
    out.wrapped(src, dst)
}

/// Which client a server's packet went to, and from which port of the service.
pub(super) fn read_reply(w: &World, bytes: &[u8]) -> (End, u16) {
    let (address, ports) = if w.v4() { (30, 34) } else { (38, 54) };
    let host = if w.v4() { bytes[33] } else { bytes[53] };
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let client = client_at(w, host, word(ports + 2));
    let written = match client.address {
        IpAddr::V4(client) => bytes[address..address + 4] == client.octets(),
        IpAddr::V6(client) => bytes[address..address + 16] == client.octets(),
    };
    assert!(written, "to nobody: {bytes:02x?}");
    (client, word(ports))
}
