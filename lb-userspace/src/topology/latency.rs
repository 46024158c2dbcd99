//! How quickly a server has answered of late, for `balance: leasttime`. Pure but for one atomic.
//!
//! A peak-sensitive moving average: it jumps to a sample that is slower than it, and comes down by and by with quicker
//! ones, the more so the longer the last one is ago. A server that has become slow is so left at once; one that nobody
//! was sent to for a while is tried again, since then its average decays.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// After this time a sample has lost all but a third (1/e) of its weight.
const DECAY_MS: u32 = 10_000;
/// What is assumed of a server that is being asked and has not answered yet, and of one that failed.
const ASSUMED_US: u32 = 1_000_000;

/// The average of one server.
#[derive(Debug, Default)]
pub struct Latency {
    /// Microseconds in the upper half; in the lower the low bits of the time in milliseconds. 0: no sample yet.
    state: AtomicU64,
}

impl Latency {
    /// Takes a sample at `now_ms` of the topology's clock.
    pub fn record(&self, took: Duration, now_ms: u64) {
        let sample = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        // Two samples at once may lose one of them, which an average can afford.
        let before = self.state.load(Relaxed);
        self.state
            .store(step(before, sample, now_ms as u32), Relaxed);
    }

    /// The server could not be reached or gave no answer.
    pub fn record_failure(&self, now_ms: u64) {
        self.record(Duration::from_micros(ASSUMED_US.into()), now_ms);
    }

    /// Microseconds, at least 1, that the next one is likely to wait at a server that `active` others are served by. The
    /// average decays only while there are none.
    pub fn estimate(&self, active: u32, now_ms: u64) -> u64 {
        let state = self.state.load(Relaxed);
        let micros = match (state, active) {
            (0, 0) => 1,
            (0, _) => ASSUMED_US,
            (_, 0) => scaled(micros(state), weight(state, now_ms as u32)),
            _ => micros(state),
        };
        u64::from(micros.max(1))
    }
}

/// The state after a sample.
fn step(before: u64, sample: u32, now_ms: u32) -> u64 {
    let average = micros(before);
    let micros = if before == 0 || sample >= average {
        sample
    } else {
        let old = weight(before, now_ms);
        scaled(average, old).saturating_add(scaled(sample, 1.0 - old))
    };
    u64::from(micros.max(1)) << 32 | u64::from(now_ms)
}

fn micros(state: u64) -> u32 {
    (state >> 32) as u32
}

/// What is left of the weight of a state at `now_ms`, from 1 down to 0.
fn weight(state: u64, now_ms: u32) -> f64 {
    let elapsed = now_ms.wrapping_sub(state as u32);
    if elapsed == 0 {
        // As it nearly always is where there is much to do.
        return 1.0;
    }
    (-f64::from(elapsed) / f64::from(DECAY_MS)).exp()
}

fn scaled(micros: u32, by: f64) -> u32 {
    (f64::from(micros) * by) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_quick_ones_bring_it_down() {
        let latency = Latency::default();
        latency.record(millis(1), 1_000);
        assert_eq!(latency.estimate(1, 1_000), 1_000);
        latency.record(millis(100), 1_001);
        assert_eq!(latency.estimate(1, 1_001), 100_000);
        let mut last = 100_000;
        for n in 1..100 {
            latency.record(millis(1), 1_001 + n * 500);
            let now = latency.estimate(1, 1_001 + n * 500);
            assert!(now < last || now <= 1_001, "{now} after {last}");
            last = now;
        }
        assert!(last < 2_000, "{last}");
    }

    #[test]
    fn whoever_is_not_asked_is_forgiven() {
        let latency = Latency::default();
        latency.record_failure(5);
        assert_eq!(latency.estimate(0, 5), 1_000_000);
        assert!((350_000..380_000).contains(&latency.estimate(0, 10_005)));
        assert_eq!(latency.estimate(0, 1_000_005), 1);
        assert_eq!(latency.estimate(1, 1_000_005), 1_000_000, "still waiting");
    }

    #[test]
    fn nothing_is_known_of_a_new_server_until_it_answers() {
        let latency = Latency::default();
        assert_eq!(latency.estimate(0, 7), 1);
        assert_eq!(latency.estimate(1, 7), 1_000_000);
        latency.record(Duration::ZERO, 0);
        assert_eq!(latency.estimate(1, 7), 1, "a sample of nothing is a sample");
    }

    #[test]
    fn times_of_any_size_are_borne() {
        let latency = Latency::default();
        latency.record(Duration::MAX, u64::MAX);
        assert_eq!(latency.estimate(3, 0), u64::from(u32::MAX));
        latency.record(Duration::ZERO, 0);
        assert!(latency.estimate(0, u64::MAX) >= 1);
    }
}
