//! `slowstart`: a server that has come up gets its weight little by little.

use std::time::Duration;

use super::{Backend, rebuild};
use crate::topology::Server;

/// Between two steps of a slow start, as in HAProxy: every second, or less often where it lasts longer than
/// twenty seconds ([`STEPS`]).
pub const STEP: Duration = Duration::from_secs(1);
/// Most steps of a slow start: each of them makes a new balancing table, for both paths.
const STEPS: u64 = 20;

/// Percent of its weight that a server has `elapsed_ms` after it came up: 5 at first, then in proportion to the time, 100
/// from `slowstart` on.
pub(in crate::topology) fn throttle(elapsed_ms: u64, slowstart: Duration) -> u8 {
    let whole = u64::try_from(slowstart.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let steps = elapsed_ms.saturating_mul(STEPS) / whole;
    (steps.clamp(1, STEPS) * (100 / STEPS)) as u8
}

impl Backend {
    /// Whether a server of it may ever be in a slow start.
    pub fn has_slow_start(&self) -> bool {
        self.servers.iter().any(|s| s.config.slowstart.is_some())
    }

    /// Takes slow starts on to `now_ms` of the topology's clock: to be called each [`STEP`].
    pub fn step_slow_starts(&self, now_ms: u64) {
        let generations = self.lock();
        let changed = self.servers.iter().filter(|server| server.step(now_ms));
        if changed.count() > 0 {
            rebuild(&generations);
            self.notifier.changed();
            // Their limits have grown too.
            self.kernel_slots_freed();
        }
    }
}

impl Server {
    /// Sets how much of its weight it has at `now_ms`; whether that has changed.
    fn step(&self, now_ms: u64) -> bool {
        match (self.config.slowstart, self.is_slow_starting()) {
            (Some(slowstart), true) => {
                let elapsed = now_ms.saturating_sub(self.last_change_ms());
                self.set_throttle(throttle(elapsed, slowstart))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_grows_with_the_time() {
        let ten = Duration::from_secs(10);
        let at = |ms| throttle(ms, ten);
        assert_eq!([at(0), at(499), at(1_000), at(5_000)], [5, 5, 10, 50]);
        assert_eq!([at(9_999), at(10_000), at(u64::MAX)], [95, 100, 100]);
        assert_eq!(throttle(0, Duration::ZERO), 5);
        assert_eq!(throttle(0, Duration::MAX), 5);
    }
}
