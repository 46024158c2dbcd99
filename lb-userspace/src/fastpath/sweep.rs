//! Finds flows that may be idle or closed, for the reaper program to decide, and recounts what is active.
//!
//! The tables are read in batches, a part at each tick, so that a million flows never hold the agent up; what looks old
//! enough goes to the kernel, which looks again under the flow's lock.

use std::collections::HashMap;

use aya::Pod;
use lb_common::{
    abi::REAP_BATCH,
    flow::{Flow, FlowKey, HalfSet, Leg, V4, V6, flags},
    service::Lane,
    tcp,
};

use super::{
    error::FastPathError,
    family::Address,
    kernel::{Kernel, Mapped},
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
    counting: HashMap<u32, u64>,
    active: HashMap<u32, u64>,
    recount: Recount,
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
            };
            let (read, end) = match self.phase {
                Phase::Between => {
                    if recount {
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
            Phase::Between => Phase::Flows4,
            Phase::Flows4 => Phase::Flows6,
            Phase::Flows6 if self.recount.is_under_way() => Phase::Half4,
            Phase::Half4 => Phase::Half6,
            Phase::Flows6 | Phase::Half6 => Phase::Between,
        }
    }

    fn end(
        &mut self,
        kernel: &Kernel,
        lanes: &dyn Fn(u32) -> Option<Lane>,
    ) -> Result<(), FastPathError> {
        self.active = std::mem::take(&mut self.counting);
        let mut counts = Counts::default();
        for (lane, flows) in &self.active {
            if let Some(lane) = lanes(*lane) {
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

    /// Active flows of a lane at the last whole sweep.
    pub(super) fn active(&self, lane: u32) -> u64 {
        self.active.get(&lane).copied().unwrap_or(0)
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
    counting: &'a mut HashMap<u32, u64>,
}

impl Look<'_> {
    fn count<A>(&mut self, leg: &Leg<A>) {
        if leg.flags & flags::REVERSE == 0 && !tcp::is_closing(leg.state) {
            *self.counting.entry(leg.lane).or_default() += 1;
        }
    }
}

/// Reads one family's tables from end to end.
#[derive(Debug)]
struct Reader<A> {
    cursor: Option<u32>,
    keys: Vec<FlowKey<A>>,
    flows: Vec<Flow<A>>,
    indexes: Vec<u32>,
    sets: Vec<HalfSet<A>>,
}

impl<A: Default + Clone> Default for Reader<A> {
    fn default() -> Self {
        Self {
            cursor: None,
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
            look.count(&flow.leg);
            if is_candidate(flow, (look.lanes)(flow.leg.lane), look.now) {
                candidates.push(*key);
            }
        }
        reaper::give(kernel, Order::Idle, &candidates)?;
        if end {
            self.cursor = None;
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
    fn a_flow_is_a_candidate_once_its_states_time_is_over() {
        let mut flow = Flow::<V4> {
            last: 1000,
            ..Flow::default()
        };
        flow.leg.state = tcp::state::ESTABLISHED;
        assert!(!is_candidate(&flow, LANE, 1599));
        assert!(is_candidate(&flow, LANE, 1600));
        flow.leg.state |= tcp::state::RST_SERVER;
        assert!(is_candidate(&flow, LANE, 1100), "ten seconds after a reset");
        assert!(
            !is_candidate(&flow, LANE, 999),
            "a packet may be newer than the clock we read"
        );
    }
}
