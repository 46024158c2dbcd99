//! The coarse clock that flows are aged by.

use std::time::{Duration, Instant};

use lb_common::abi::{TICK_MS, Tick};

const TICK: Duration = Duration::from_millis(TICK_MS as u64);

/// Most ticks that pass between two looks. An agent that was stopped, or did not get to run, has not moved the clock
/// meanwhile, so that packets of that time were stamped as old as its beginning: to count it would make busy flows idle.
const LEAP: u32 = 10;

/// Ticks during which the agent ran, on from where an earlier one left them.
#[derive(Debug)]
pub(super) struct Clock {
    tick: Tick,
    /// When this tick began.
    since: Instant,
}

impl Clock {
    /// Goes on from `tick`.
    pub(super) fn resume(tick: Tick, now: Instant) -> Self {
        Self { tick, since: now }
    }

    /// The tick at `now`.
    pub(super) fn at(&mut self, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(self.since);
        match u32::try_from(passed.as_millis() / u128::from(TICK_MS)) {
            Ok(ticks) if ticks <= LEAP => {
                self.since += TICK * ticks;
                self.tick = self.tick.wrapping_add(ticks);
            }
            _ => {
                self.since = now;
                self.tick = self.tick.wrapping_add(LEAP);
            }
        }
        self.tick
    }
}

/// The clock of `bpf_ktime_get_ns`, in milliseconds modulo 2³².
pub(super) fn monotonic_ms() -> u32 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (time.tv_sec as u64)
        .wrapping_mul(1000)
        .wrapping_add(time.tv_nsec as u64 / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_the_time_that_the_agent_ran() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::resume(u32::MAX, start);
        assert_eq!(clock.at(after(99)), u32::MAX);
        assert_eq!(clock.at(after(250)), 1, "it wraps");
        assert_eq!(clock.at(after(300)), 2, "no part of a tick is lost");
        assert_eq!(clock.at(after(300)), 2);
        assert_eq!(clock.at(after(60_300)), 12, "a minute of standstill");
        assert_eq!(clock.at(after(60_400)), 13);
    }
}
