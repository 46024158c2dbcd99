//! What of the counters outlives the process: numbers that only grow, and maxima. Rates begin anew.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use super::{
    BackendCounters, Counter, FrontendCounters, KernelTraffic, ServerCounters, each::EARLIER,
};

/// Numbers by their names.
pub type Numbers = BTreeMap<String, u64>;

macro_rules! saved {
    ($name:ident $(, $kernel:ident)?) => {
        impl $name {
            /// What outlives the process.
            pub fn save(&self) -> Numbers {
                let mut numbers = Numbers::new();
                self.each(&mut |name, _, counter| {
                    if counter.value() > 0 {
                        numbers.insert(name.to_owned(), counter.value());
                    }
                });
                $(self.$kernel.save(&mut numbers);)?
                numbers
            }

            /// Has it again, on top of what has been counted since.
            pub fn restore(&self, numbers: &Numbers) {
                self.each(&mut |name, how, counter| {
                    if let Some(&number) = numbers.get(name) {
                        how.add(counter, number);
                    }
                });
                $(self.$kernel.restore(numbers);)?
            }
        }
    };
}

saved!(FrontendCounters, kernel);
saved!(BackendCounters);
saved!(ServerCounters, kernel);

/// What the kernel counts, by name.
const KERNEL: [&str; 5] = [
    "connections",
    "bytes_in",
    "bytes_out",
    "packets_in",
    "packets_out",
];

impl KernelTraffic {
    fn counters(&self) -> [&Counter; 5] {
        [
            &self.connections,
            &self.bytes_in,
            &self.bytes_out,
            &self.packets_in,
            &self.packets_out,
        ]
    }

    /// Notes all that the kernel has counted. What of that its present maps have not is among the counters that are visited.
    fn save(&self, numbers: &mut Numbers) {
        let all = KERNEL.iter().map(|name| format!("kernel_{name}"));
        for (name, counter) in all.zip(self.counters()) {
            if counter.value() > 0 {
                numbers.insert(name, counter.value());
            }
        }
    }

    /// Has all that the kernel has counted again, once the counters have been visited.
    fn restore(&self, numbers: &Numbers) {
        let number = |name: &str| numbers.get(name).copied().unwrap_or(0);
        for (at, (name, counter)) in KERNEL.iter().zip(self.counters()).enumerate() {
            let all = number(&format!("kernel_{name}"));
            let before = number(EARLIER[at]);
            counter.set(all);
            if let Some(maps) = self.maps.get(at) {
                maps.set(all.saturating_sub(before));
            }
        }
    }

    /// The kernel path has begun: on maps that were `taken_over`, which go on counting, or on new ones, to which all that
    /// was counted before is earlier.
    pub fn begin(&self, taken_over: bool) {
        for (earlier, maps) in self.earlier.iter().zip(&self.maps) {
            let counted = maps.value();
            maps.set(0);
            if !taken_over {
                earlier.add(counted);
            }
        }
    }

    /// It goes on with new maps: all that was counted is earlier.
    pub fn begin_anew(&self) {
        for (earlier, counter) in self.earlier.iter().zip(self.counters()) {
            earlier.set(counter.value());
        }
    }

    /// All that was counted counts no more; what the maps have counted by now is theirs to leave out.
    pub fn clear(&self) {
        let all = self.counters().into_iter().chain(&self.earlier);
        all.chain(&self.maps).for_each(|counter| counter.set(0));
    }

    /// Takes what the present maps have counted: connections, bytes in and out, packets in and out. Returns how many
    /// connections have come since it was last called.
    pub fn take(&self, counted: [u64; 5]) -> u64 {
        let before = self.connections.value();
        for ((counter, earlier), now) in self.counters().iter().zip(&self.earlier).zip(counted) {
            counter.set(now.saturating_add(earlier.value()));
        }
        // What maps had counted before they were taken over is no news.
        match self.known.swap(true, Relaxed) {
            true => self.connections.value().saturating_sub(before),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_restored_is_added_to_what_came_since() {
        let before = BackendCounters::default();
        before.connections.add(5);
        before.max_current.raise(9);
        before.http.response(503);
        before.connection_rate.tick(1_000);
        let after = BackendCounters::default();
        after.connections.inc();
        after.restore(&before.save());
        assert_eq!(
            (after.connections.value(), after.max_current.value()),
            (6, 9)
        );
        assert_eq!(after.http.responses(), [0, 0, 0, 0, 1, 0]);
        assert_eq!(
            (
                after.connection_rate.max(),
                after.connection_rate.per_second(9_000)
            ),
            (1, 0)
        );
        after.restore(&Numbers::from([("nonsense".to_owned(), 1)]));
    }

    /// A process that has the numbers of an earlier one, after the kernel path has begun there.
    fn next(before: &ServerCounters, taken_over: bool) -> ServerCounters {
        let after = ServerCounters::default();
        after.restore(&before.save());
        after.kernel.begin(taken_over);
        after
    }

    #[test]
    fn kernel_traffic_is_counted_once_whether_maps_stay_or_go() {
        let first = ServerCounters::default();
        first.kernel.take([10, 100, 0, 1, 1]);
        let second = next(&first, false);
        assert_eq!(
            second.kernel.connections.value(),
            10,
            "before the kernel path is polled"
        );
        second.kernel.take([3, 30, 0, 1, 1]);
        assert_eq!(
            (
                second.kernel.connections.value(),
                second.kernel.bytes_in.value()
            ),
            (13, 130)
        );
        let third = next(&second, true);
        third.kernel.take([4, 40, 0, 1, 1]);
        assert_eq!(
            (
                third.kernel.connections.value(),
                third.kernel.bytes_in.value()
            ),
            (14, 140)
        );
        let fourth = next(&third, false);
        assert_eq!(fourth.kernel.take([0; 5]), 0);
        assert_eq!(fourth.kernel.take([2, 0, 0, 0, 0]), 2);
        assert_eq!(fourth.kernel.connections.value(), 16);
    }
}
