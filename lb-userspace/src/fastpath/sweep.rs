//! Finds flows that may be idle or closed, for the reaper program to decide.
//!
//! The table is read in batches, a part at each tick, so that a million flows never hold the agent up; what looks old
//! enough goes to the kernel, which looks again under the flow's lock.

use std::collections::HashMap;

use lb_common::{
    abi::{REAP_BATCH, REAP_HEADER},
    flow::{Flow, FlowKey, V4, flags},
    service::Lane,
    tcp,
};

use super::{error::FastPathError, kernel::Kernel};

/// Entries read at a time.
const BATCH: usize = 4096;

/// Where a sweep through the table stands.
#[derive(Debug)]
pub(super) struct Sweep {
    cursor: Option<u32>,
    keys: Vec<FlowKey<V4>>,
    flows: Vec<Flow<V4>>,
    candidates: Vec<FlowKey<V4>>,
    counting: HashMap<u32, u64>,
    active: HashMap<u32, u64>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            cursor: None,
            keys: vec![FlowKey::default(); BATCH],
            flows: vec![Flow::default(); BATCH],
            candidates: Vec::new(),
            counting: HashMap::new(),
            active: HashMap::new(),
        }
    }
}

impl Sweep {
    /// Reads up to `entries` more entries and hands candidates to the reaper; whether the table's end was reached.
    pub(super) fn step(
        &mut self,
        kernel: &mut Kernel,
        lanes: &dyn Fn(u32) -> Option<Lane>,
        now: u32,
        entries: usize,
    ) -> Result<bool, FastPathError> {
        let mut read = 0;
        let mut end = false;
        while read < entries && !end {
            let (n, done) =
                kernel
                    .maps
                    .flow_batch(&mut self.cursor, &mut self.keys, &mut self.flows)?;
            read += n.max(1);
            end = done;
            for (key, flow) in self.keys.iter().zip(&self.flows).take(n) {
                if flow.flags & flags::REVERSE == 0 && !tcp::is_closing(flow.state) {
                    *self.counting.entry(flow.lane).or_default() += 1;
                }
                if is_candidate(flow, lanes(flow.lane), now) {
                    self.candidates.push(*key);
                }
            }
        }
        for batch in self.candidates.chunks(REAP_BATCH) {
            kernel.reap(&packet(batch))?;
        }
        self.candidates.clear();
        if end {
            self.cursor = None;
            self.active = std::mem::take(&mut self.counting);
        }
        Ok(end)
    }

    /// Whether a sweep has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.cursor.is_some()
    }

    /// Active flows of a lane at the last whole sweep.
    pub(super) fn active(&self, lane: u32) -> u64 {
        self.active.get(&lane).copied().unwrap_or(0)
    }
}

/// Whether an entry's own time says that the flow may be idle. The other direction may say otherwise: the reaper looks.
fn is_candidate(flow: &Flow<V4>, lane: Option<Lane>, now: u32) -> bool {
    let idle = now.wrapping_sub(flow.last);
    if flow.flags & flags::REVERSE != 0 {
        // Only those whose forward entry is gone are removed; the reaper finds out. Rare, so looked for rarely.
        return idle > ORPHAN && idle < u32::MAX / 2;
    }
    lane.is_some_and(|lane| idle >= tcp::idle_ticks(flow.state, lane.idle) && idle < u32::MAX / 2)
}

/// A reverse entry this old may be an orphan, ticks.
const ORPHAN: u32 = 120_000 / lb_common::abi::TICK_MS;

/// The reaper's packet: the header that the kernel insists on, then keys.
fn packet(keys: &[FlowKey<V4>]) -> Vec<u8> {
    let mut bytes = vec![0; REAP_HEADER];
    for key in keys {
        bytes.extend(key.src.to_ne_bytes());
        bytes.extend(key.dst.to_ne_bytes());
        bytes.extend(key.sport.to_ne_bytes());
        bytes.extend(key.dport.to_ne_bytes());
        bytes.extend(key.proto.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Option<Lane> = Some(Lane {
        server: 0,
        idle: 600,
    });

    #[test]
    fn a_flow_is_a_candidate_once_its_states_time_is_over() {
        let mut flow = Flow {
            state: tcp::state::ESTABLISHED,
            last: 1000,
            ..Flow::default()
        };
        assert!(!is_candidate(&flow, LANE, 1599));
        assert!(is_candidate(&flow, LANE, 1600));
        flow.state |= tcp::state::RST_SERVER;
        assert!(is_candidate(&flow, LANE, 1100), "ten seconds after a reset");
        assert!(
            !is_candidate(&flow, LANE, 999),
            "a packet may be newer than the clock we read"
        );
    }

    #[test]
    fn keys_are_laid_out_as_the_program_reads_them() {
        let key = FlowKey {
            src: 1,
            dst: 2,
            sport: 3,
            dport: 4,
            proto: 6,
        };
        let bytes = packet(&[key; 2]);
        assert_eq!(bytes.len(), REAP_HEADER + 2 * size_of::<FlowKey<V4>>());
        assert_eq!(bytes[REAP_HEADER + 16], 1);
        assert_eq!(bytes[REAP_HEADER + 12], 6);
    }
}
