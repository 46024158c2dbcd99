//! How long things took, in buckets: what Prometheus' histograms are made of.
//!
//! Each worker has a shard of its own, on cache lines of its own, so that two of them never write the same one. A shard
//! is made by the thread that first needs it; whoever reads adds them up.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::Duration,
};

use super::owner;

/// Upper bounds of the buckets, in microseconds and as a label in seconds. They reach from a server on the same host to a
/// connection of an hour, for requests and sessions alike.
pub const BOUNDS: [(u64, &str); 20] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
    (300_000_000, "300.0"),
    (3_600_000_000, "3600.0"),
];

/// One more than there are bounds: what is above the last.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Most threads that have a shard of their own; further ones share one.
const MOST_OWNERS: usize = 256;

/// Durations since the process began.
pub struct Histogram {
    shards: Box<[OnceLock<Box<Shard>>]>,
}

/// What a thread has recorded. Two cache lines are fetched as one by processors that look ahead.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    /// Microseconds.
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distribution {
    /// How many were at most as long as each of [`BOUNDS`], and last how many there were at all.
    pub cumulative: [u64; BUCKETS],
    /// Microseconds of all of them.
    pub sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            shards: (0..shards()).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Histogram {
    /// Takes one duration in.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let shared = self.shards.len() - 1;
        let number = owner::thread().min(shared);
        let shard = self.shards[number].get_or_init(Box::default);
        let bucket = &shard.buckets[bucket(micros)];
        if number == shared {
            bucket.fetch_add(1, Relaxed);
            shard.sum.fetch_add(micros, Relaxed);
        } else {
            // Nobody else writes it, which spares the bus lock.
            bucket.store(bucket.load(Relaxed) + 1, Relaxed);
            let sum = shard.sum.load(Relaxed).wrapping_add(micros);
            shard.sum.store(sum, Relaxed);
        }
    }

    /// Adds what another process has recorded: how many in each bucket, and the microseconds of all. Nothing if its buckets
    /// are others.
    pub(super) fn add(&self, buckets: &[u64], sum: u64) {
        if buckets.len() != BUCKETS {
            return;
        }
        // The one that may have more than one writer.
        let Some(shard) = self.shards.last() else {
            return;
        };
        let shard = shard.get_or_init(Box::default);
        for (bucket, more) in shard.buckets.iter().zip(buckets) {
            bucket.fetch_add(*more, Relaxed);
        }
        shard.sum.fetch_add(sum, Relaxed);
    }

    /// How many were recorded in each bucket, and the microseconds of all.
    pub(super) fn buckets(&self) -> ([u64; BUCKETS], u64) {
        let Distribution { cumulative, sum } = self.distribution();
        let mut buckets = cumulative;
        for (at, bucket) in buckets.iter_mut().enumerate().skip(1) {
            *bucket -= cumulative[at - 1];
        }
        (buckets, sum)
    }

    /// What was recorded until now.
    pub fn distribution(&self) -> Distribution {
        let mut all = Distribution::default();
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (sum, bucket) in all.cumulative.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Relaxed);
            }
            all.sum = all.sum.wrapping_add(shard.sum.load(Relaxed));
        }
        let mut below = 0;
        for count in &mut all.cumulative {
            below += *count;
            *count = below;
        }
        all
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram")
            .field(&self.distribution())
            .finish()
    }
}

/// Which bucket a duration falls into.
fn bucket(micros: u64) -> usize {
    BOUNDS.partition_point(|(bound, _)| *bound < micros)
}

/// A shard a processor, one for the thread that reads the kernel's events, and the last for whoever has none.
fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let processors = available_parallelism().map_or(1, usize::from);
        (processors + 1).min(MOST_OWNERS) + 1
    })
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, time::Instant};

    use super::*;
    use crate::topology::counters::Average;

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for took in [0, 100, 101, 1_000_000, 3_600_000_000, 3_600_000_001] {
            histogram.record(micros(took));
        }
        let found = histogram.distribution();
        let at_most = |bound: &str| {
            let at = BOUNDS.iter().position(|(_, label)| *label == bound);
            found.cumulative[at.expect("it is a bound")]
        };
        assert_eq!([at_most("0.0001"), at_most("0.00025")], [2, 3]);
        assert_eq!(
            [at_most("0.5"), at_most("1.0"), at_most("3600.0")],
            [3, 4, 5]
        );
        assert_eq!(found.cumulative[BUCKETS - 1], 6);
        assert_eq!(found.sum, 201 + 1_000_000 + 7_200_000_001);
    }

    #[test]
    fn labels_say_what_bounds_are() {
        for (micros, label) in BOUNDS {
            let seconds: f64 = label.parse().expect("a number");
            assert!((seconds * 1e6 - micros as f64).abs() < 1e-6, "{label}");
        }
    }

    #[test]
    fn threads_are_added_up() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..1_000 {
                        histogram.record(micros(n));
                    }
                });
            }
        });
        let found = histogram.distribution();
        assert_eq!(found.cumulative[BUCKETS - 1], 4_000);
        assert_eq!(found.sum, 4 * 499_500);
    }

    #[test]
    fn no_duration_is_too_long() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.distribution().cumulative[BUCKETS - 1], 1);
    }

    /// Prints what a request's five records cost, beside the averages that it counts anyway.
    #[test]
    #[ignore = "prints times, which are this machine's"]
    fn what_a_record_costs() {
        const ROUNDS: u32 = 2_000_000;
        let per_round =
            |started: Instant| started.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS);
        let histograms: [Histogram; 5] = std::array::from_fn(|_| Histogram::default());
        let averages: [Average; 5] = std::array::from_fn(|_| Average::default());
        let started = Instant::now();
        for n in 0..ROUNDS {
            for histogram in &histograms {
                histogram.record(black_box(Duration::from_micros(u64::from(n % 9_000))));
            }
        }
        let ours = per_round(started);
        let started = Instant::now();
        for n in 0..ROUNDS {
            for average in &averages {
                average.add(black_box(u64::from(n % 9)));
            }
        }
        let theirs = per_round(started);
        println!("five histograms: {ours:.1} ns a request; five averages: {theirs:.1} ns");
    }
}
