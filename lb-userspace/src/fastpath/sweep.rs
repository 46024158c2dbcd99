//! Finds flows that may be idle or closed, for the reaper program to decide, and recounts what is active.
//!
//! The tables are read in batches, a part at each tick, so that a million flows never hold the agent up; what looks old
//! enough goes to the kernel, which looks again under the flow's lock.
//!
//! A flow that only its client has reset is not forgotten before the client was asked. Sequence numbers are not checked in
//! the kernel, so anyone may have sent that reset; a client that has not answers the poke with an ordinary segment, which
//! takes the reset back, and one that has, with another reset or not at all.

use std::{collections::HashMap, mem};

use aya::Pod;
use lb_common::{
    abi::REAP_BATCH,
    flow::{Flow, FlowKey, HalfSet, Leg, V4, V6, flags},
    service::Lane,
    tcp::{self, state},
};

use super::{
    census::Seen,
    error::FastPathError,
    family::{Address, socket},
    image::TCP,
    kernel::{Kernel, Mapped},
    poke::Poker,
    reaper::{self, Order},
    recount::{Counts, Recount},
};

/// Entries read at a time.
const BATCH: usize = 4096;
/// Sets of half-open flows read at a time.
const HALF_BATCH: usize = 512;
/// Ticks in which all sets of half-open flows are looked through once.
const HALF_TICKS: u32 = 100;

/// Where a sweep through the tables stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    phase: Phase,
    v4: Reader<V4>,
    v6: Reader<V6>,
    /// Active flows by lane.
    counting: Vec<u64>,
    /// Likewise, of the last whole sweep.
    active: Vec<u64>,
    recount: Recount,
    /// What flows refer to, as far as a sweep that recounts has come, and once it has ended.
    seeing: Seen,
    seen: Option<Seen>,
    poker: Poker,
    half4: u32,
    half6: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Between,
    Flows4,
    Flows6,
    Half4,
    Half6,
}

impl Sweep {
    /// Reads up to `entries` more entries and hands candidates to the reaper. A sweep that begins with `recount` reads
    /// the half-open flows as well, and compares.
    pub(super) fn step(
        &mut self,
        kernel: &Kernel,
        lanes: &dyn Fn(u32) -> Option<Lane>,
        now: u32,
        entries: usize,
        recount: bool,
    ) -> Result<(), FastPathError> {
        let mut left = entries;
        while left > 0 {
            let mut look = Look {
                lanes,
                now,
                counting: &mut self.counting,
                seen: self.recount.is_under_way().then_some(&mut self.seeing),
                poker: &mut self.poker,
            };
            let (read, end) = match self.phase {
                Phase::Between => {
                    if recount {
                        self.seeing = Seen::default();
                        self.recount.begin(kernel)?;
                    }
                    (0, true)
                }
                Phase::Flows4 => self.v4.flows(kernel, &mut look)?,
                Phase::Flows6 => self.v6.flows(kernel, &mut look)?,
                Phase::Half4 => self.v4.half(kernel, &mut look)?,
                Phase::Half6 => self.v6.half(kernel, &mut look)?,
            };
            left = left.saturating_sub(read.max(1));
            if end {
                self.phase = self.next(self.phase);
                if self.phase == Phase::Between {
                    return self.end(kernel, lanes);
                }
            }
        }
        Ok(())
    }

    fn next(&self, phase: Phase) -> Phase {
        match phase {
            // The half-open ones first: one that is established meanwhile is met among the others at the latest.
            Phase::Between if self.recount.is_under_way() => Phase::Half4,
            Phase::Half4 => Phase::Half6,
            Phase::Between | Phase::Half6 => Phase::Flows4,
            Phase::Flows4 => Phase::Flows6,
            Phase::Flows6 => Phase::Between,
        }
    }

    fn end(
        &mut self,
        kernel: &Kernel,
        lanes: &dyn Fn(u32) -> Option<Lane>,
    ) -> Result<(), FastPathError> {
        self.active = mem::take(&mut self.counting);
        if self.recount.is_under_way() {
            self.seen = Some(mem::take(&mut self.seeing));
        }
        let mut counts = Counts::default();
        for (lane, flows) in (0..).zip(&self.active).filter(|(_, flows)| **flows > 0) {
            if let Some(lane) = lanes(lane) {
                *counts.entry(lane.server).or_default() += flows;
            }
        }
        self.recount.end(kernel, &counts)
    }

    /// Empties a part of the sets of half-open flows of what is too old.
    pub(super) fn expire_half(&mut self, kernel: &Kernel) -> Result<(), FastPathError> {
        let (v4, v6) = (kernel.capacity.v4.half_sets, kernel.capacity.v6.half_sets);
        self.half4 = expire::<V4>(kernel, self.half4, v4)?;
        self.half6 = expire::<V6>(kernel, self.half6, v6)?;
        Ok(())
    }

    /// Whether a sweep has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.phase != Phase::Between
    }

    /// What flows refer to, if a sweep that looked for it has just ended.
    pub(super) fn take_seen(&mut self) -> Option<Seen> {
        self.seen.take()
    }

    /// Active flows of a lane at the last whole sweep.
    pub(super) fn active(&self, lane: u32) -> u64 {
        self.active.get(lane as usize).copied().unwrap_or(0)
    }

    /// By how many the counts of active flows differed from the tables at the last exact recount.
    pub(super) fn drift(&self) -> u64 {
        self.recount.drift()
    }
}

/// Expires the next part of the sets, and returns where to go on.
fn expire<A: Address>(kernel: &Kernel, mut first: u32, sets: u32) -> Result<u32, FastPathError> {
    for _ in 0..sets.div_ceil(HALF_TICKS * REAP_BATCH as u32) {
        if first >= sets {
            return Ok(0);
        }
        let count = (sets - first).min(REAP_BATCH as u32);
        reaper::expire_half::<A>(kernel, first, count)?;
        first += count;
    }
    Ok(first)
}

/// What is done with what is read.
struct Look<'a> {
    lanes: &'a dyn Fn(u32) -> Option<Lane>,
    now: u32,
    counting: &'a mut Vec<u64>,
    seen: Option<&'a mut Seen>,
    poker: &'a mut Poker,
}

impl Look<'_> {
    /// Counts a leg and returns its lane. An index that nobody gave is not counted: the vector is as long as the highest.
    fn count<A>(&mut self, leg: &Leg<A>) -> Option<Lane> {
        if let Some(seen) = &mut self.seen {
            seen.lanes.insert(leg.lane);
            seen.hops.insert(leg.hop);
            if leg.flags & (flags::REVERSE | flags::TRANSLATE) == flags::TRANSLATE {
                seen.ports.insert(u16::from_be(leg.sport));
            }
        }
        let lane = (self.lanes)(leg.lane)?;
        if leg.flags & flags::REVERSE == 0 && !tcp::is_closing(leg.state) {
            let at = leg.lane as usize;
            if self.counting.len() <= at {
                self.counting.resize(at + 1, 0);
            }
            self.counting[at] += 1;
        }
        Some(lane)
    }
}

/// Reads one family's tables from end to end.
#[derive(Debug)]
struct Reader<A> {
    cursor: Option<u32>,
    /// Flows whose clients were asked and have not taken the reset back, as of the sweep before and of this one, and how
    /// many packets of theirs there had been by then.
    asked: HashMap<FlowKey<A>, u32>,
    asking: HashMap<FlowKey<A>, u32>,
    keys: Vec<FlowKey<A>>,
    flows: Vec<Flow<A>>,
    indexes: Vec<u32>,
    sets: Vec<HalfSet<A>>,
}

impl<A: Default + Clone> Default for Reader<A> {
    fn default() -> Self {
        Self {
            cursor: None,
            asked: HashMap::new(),
            asking: HashMap::new(),
            keys: vec![FlowKey::default(); BATCH],
            flows: vec![Flow::default(); BATCH],
            indexes: vec![0; HALF_BATCH],
            sets: vec![HalfSet::default(); HALF_BATCH],
        }
    }
}

impl<A: Address + Mapped> Reader<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    HalfSet<A>: Pod,
{
    /// Reads a batch of established flows; how many, and whether the end was reached.
    fn flows(
        &mut self,
        kernel: &Kernel,
        look: &mut Look<'_>,
    ) -> Result<(usize, bool), FastPathError> {
        let tables = &A::maps(&kernel.maps).flows;
        let (n, end) = tables.batch(&mut self.cursor, &mut self.keys, &mut self.flows)?;
        let mut candidates = Vec::new();
        for (key, flow) in self.keys.iter().zip(&self.flows).take(n) {
            let lane = look.count(&flow.leg);
            let due = is_candidate(flow, lane, look.now);
            if is_in_doubt(key, flow) {
                let before = self.asked.get(key).copied();
                match next(flow.packets, before, due) {
                    Doubt::Wait => self.asking.extend(before.map(|packets| (*key, packets))),
                    Doubt::Ask => {
                        let client = socket(key.src, key.sport);
                        let service = socket(key.dst, key.dport);
                        look.poker.poke(service, client, flow.last);
                        self.asking.insert(*key, flow.packets);
                    }
                    Doubt::Believe => candidates.push(*key),
                }
            } else if due {
                candidates.push(*key);
            }
        }
        reaper::give(kernel, Order::Idle, &candidates)?;
        if end {
            self.cursor = None;
            self.asked = mem::take(&mut self.asking);
        }
        Ok((n, end))
    }

    /// Reads a batch of half-open flows.
    fn half(
        &mut self,
        kernel: &Kernel,
        look: &mut Look<'_>,
    ) -> Result<(usize, bool), FastPathError> {
        let tables = &A::maps(&kernel.maps).flows;
        let (n, end) = tables.half_batch(&mut self.cursor, &mut self.indexes, &mut self.sets)?;
        for half in self.sets.iter().take(n).flat_map(|set| &set.ways) {
            if half.key.proto != 0 {
                look.count(&half.leg);
            }
        }
        if end {
            self.cursor = None;
        }
        Ok((n, end))
    }
}

/// Whether an entry's own time says that the flow may be idle. The other direction may say otherwise: the reaper looks.
fn is_candidate<A>(flow: &Flow<A>, lane: Option<Lane>, now: u32) -> bool {
    let idle = now.wrapping_sub(flow.last);
    if flow.leg.flags & flags::REVERSE != 0 {
        // Only those whose forward entry is gone are removed; the reaper finds out. Rare, so looked for rarely.
        return idle > ORPHAN && idle < u32::MAX / 2;
    }
    lane.is_some_and(|lane| {
        idle >= tcp::idle_ticks(flow.leg.state, lane.idle) && idle < u32::MAX / 2
    })
}

/// What to do about a flow that is in doubt.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// Nothing yet.
    Wait,
    /// Ask its client.
    Ask,
    /// It has ended.
    Believe,
}

/// `packets` have come from the client of a flow in doubt, and so many `before` it was asked, if it was: one more is its
/// answer, and since the flow is still in doubt that was a reset. Yet more are another's word again. `due` is whether the
/// flow has been idle for long enough.
fn next(packets: u32, before: Option<u32>, due: bool) -> Doubt {
    match before {
        _ if !due => Doubt::Wait,
        Some(before) if packets.wrapping_sub(before) <= 1 => Doubt::Believe,
        _ => Doubt::Ask,
    }
}

/// Whether all that speaks for a flow's end is what its client is said to have sent.
fn is_in_doubt<A>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    const RESETS: u8 = state::RST_CLIENT | state::RST_SERVER;
    let leg = &flow.leg;
    key.proto == u32::from(TCP)
        && leg.flags & (flags::REVERSE | flags::RESETTING) == 0
        && leg.state & RESETS == state::RST_CLIENT
        && !tcp::is_over(leg.state)
}

/// A reverse entry this old may be an orphan, ticks.
const ORPHAN: u32 = 120_000 / lb_common::abi::TICK_MS;

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Option<Lane> = Some(Lane {
        server: 0,
        idle: 600,
    });

    #[test]
    fn a_client_is_asked_whether_it_has_reset_its_connection() {
        assert_eq!(next(9, None, false), Doubt::Wait);
        assert_eq!(next(9, None, true), Doubt::Ask);
        assert_eq!(next(9, Some(9), true), Doubt::Believe, "no answer");
        assert_eq!(next(10, Some(9), false), Doubt::Wait);
        assert_eq!(next(10, Some(9), true), Doubt::Believe, "a reset");
        assert_eq!(
            next(11, Some(9), true),
            Doubt::Ask,
            "taken back, and forged again"
        );
    }

    #[test]
    fn in_doubt_is_what_the_client_alone_has_ended() {
        use state::{ESTABLISHED, FIN_BOTH, RST_CLIENT, RST_SERVER};
        let key = FlowKey::<V4> {
            proto: TCP.into(),
            ..FlowKey::default()
        };
        let with = |state| {
            let mut flow = Flow::<V4>::default();
            flow.leg.state = state;
            is_in_doubt(&key, &flow)
        };
        assert!(with(ESTABLISHED | RST_CLIENT));
        assert!(!with(ESTABLISHED));
        assert!(!with(ESTABLISHED | RST_CLIENT | RST_SERVER));
        assert!(!with(ESTABLISHED | RST_CLIENT | FIN_BOTH));
    }

    #[test]
    fn a_flow_is_a_candidate_once_its_states_time_is_over() {
        let mut flow = Flow::<V4> {
            last: 1000,
            ..Flow::default()
        };
        flow.leg.state = state::ESTABLISHED;
        assert!(!is_candidate(&flow, LANE, 1599));
        assert!(is_candidate(&flow, LANE, 1600));
        flow.leg.state |= state::RST_SERVER;
        assert!(is_candidate(&flow, LANE, 1100), "ten seconds after a reset");
        assert!(
            !is_candidate(&flow, LANE, 999),
            "a packet may be newer than the clock we read"
        );
    }
}
