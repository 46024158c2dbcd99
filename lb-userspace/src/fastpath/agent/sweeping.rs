//! Looking through the flow tables: for what is idle, for what is to end, and for what nobody uses any more.

use std::time::Instant;

use super::Agent;
use crate::fastpath::{
    census::Seen,
    error::FastPathError,
    reset::{Resets, Which},
};

/// Entries of the flow tables that a sweep reads at each tick: a million in five seconds, in portions after each of which
/// the program's ring has room for the ends of all their flows.
const SWEEP_ENTRIES: usize = 10_000;
const SWEEP_PORTIONS: usize = 5;
/// Ticks from the begin of one sweep to that of the next, and likewise where there are more flows than a few: a sweep
/// through two million entries costs about a second of a core.
const SWEEP_TICKS: u32 = 10;
const LONG_SWEEP_TICKS: u32 = 100;
const FEW_FLOWS: u64 = 50_000;
/// Likewise for tables without flows, which may hold what a crash left half removed.
const EMPTY_SWEEP_TICKS: u32 = 600;
/// Ticks from one recount of active flows to the next.
const RECOUNT_TICKS: u32 = 600;
/// Sweeps that look at once for what others have left, where there is no room for something: that may have to rest.
pub(super) const SEARCHES: u8 = 5;

impl Agent {
    /// Goes on with a sweep for idle flows, or begins one if it is time: walking empty tables costs as well.
    pub(super) fn sweep(&mut self, now: u32, count: u32) -> Result<(), FastPathError> {
        self.sweep.expire_half(&self.kernel)?;
        let flows = self.kernel.maps.flows()?;
        let due = count.is_multiple_of(match flows {
            0 => EMPTY_SWEEP_TICKS,
            1..=FEW_FLOWS => SWEEP_TICKS,
            _ => LONG_SWEEP_TICKS,
        });
        if flows == 0 && !self.earlier_ports.is_empty() {
            // Those may be free by now.
            self.searches = self.searches.max(1);
        }
        // Where there is no room for something, what others have left is looked for at once.
        let searches = count.is_multiple_of(if flows <= FEW_FLOWS {
            SWEEP_TICKS
        } else {
            LONG_SWEEP_TICKS
        });
        let recount = count.is_multiple_of(RECOUNT_TICKS) || searches && self.searches > 0;
        // What the maps hold is not known for sure while they are behind.
        if recount && !self.sweep.is_under_way() && !self.behind {
            self.census.begin(Instant::now());
        }
        if due || recount || self.sweep.is_under_way() {
            for portion in 0..SWEEP_PORTIONS {
                let lane = |lane| self.synced.lane(lane);
                self.sweep.step(
                    &self.kernel,
                    &lane,
                    now,
                    SWEEP_ENTRIES,
                    recount && portion == 0,
                )?;
                self.log_flows();
                if !self.sweep.is_under_way() {
                    break;
                }
            }
        }
        match self.sweep.take_seen() {
            Some(seen) => self.free(&seen),
            None => Ok(()),
        }
    }

    /// Frees what nobody uses any more.
    fn free(&mut self, seen: &Seen) -> Result<(), FastPathError> {
        self.searches = self.searches.saturating_sub(1);
        // What is to be reset is known by its server.
        if self.behind || !self.resets.is_idle() {
            return Ok(());
        }
        let before = self.kernel.registry.version();
        self.free_earlier_ports(seen);
        for server in self.census.end(seen, &mut self.kernel, &self.topology)? {
            self.shutdowns.remove(&server);
        }
        // There may be room for what had none.
        self.behind |= self.short && self.kernel.registry.version() != before;
        Ok(())
    }

    /// Goes on ending flows that are to end.
    pub(super) fn step_resets(&mut self) -> Result<(), FastPathError> {
        if self.resets.is_idle() {
            return Ok(());
        }
        let server = |lane| self.synced.lane(lane).map(|lane| lane.server);
        self.resets.step(&self.kernel, &server, Instant::now())
    }

    /// Ends the flows of servers whose sessions have been shut down since the last look.
    pub(super) fn shut_down_sessions(&mut self) {
        self.each_shutdown(|resets, index| resets.begin(Which::Server(index), Instant::now()));
    }

    /// Notes how often each server's sessions have been shut down, and calls `more` for those of which that is news.
    pub(super) fn each_shutdown(&mut self, more: impl Fn(&mut Resets, u32)) {
        let room = self.kernel.capacity.room;
        for backend in &self.topology.backends {
            for server in &backend.servers {
                let times = server.shutdown_sessions();
                if times == 0 {
                    continue;
                }
                let registry = &mut self.kernel.registry;
                let Ok(index) = registry.server(&backend.name, &server.name, &room) else {
                    continue;
                };
                if self.shutdowns.insert(index, times) != Some(times) {
                    more(&mut self.resets, index);
                }
            }
        }
    }
}
