//! Counters with the meaning of HAProxy's statistics columns (management guide, section 9.1).
//!
//! Userspace traffic is counted here as it happens. Kernel traffic is kept apart in [`KernelTraffic`], which the fast
//! path sets to absolute values at each poll; readers add the two.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::histogram::Histogram;

mod counter;
mod each;
mod saved;

pub use counter::Counter;
use each::EARLIER;
pub use each::{Each, How};
pub use saved::Numbers;

/// Events in the last second, as HAProxy's frequency counters estimate it: this second's count, and of the one before
/// it the part that still lies within a second.
#[derive(Debug, Default)]
pub struct Rate {
    /// Second in the upper half, its count in the lower.
    current: AtomicU64,
    /// Count of the second before `current`'s.
    previous: AtomicU64,
    /// The largest [`Rate::per_second`] after an event.
    pub(super) max: Counter,
}

impl Rate {
    /// Counts an event at `now_ms`, milliseconds of the topology's clock.
    pub fn tick(&self, now_ms: u64) {
        self.add(1, now_ms);
    }

    /// Counts as many events at once.
    pub fn add(&self, events: u64, now_ms: u64) {
        // A second's count has half a word.
        let events = events.min(u64::from(u32::MAX) >> 1);
        let second = now_ms / 1000;
        let before = self.current.fetch_update(Relaxed, Relaxed, |word| {
            let there = if word >> 32 == second {
                word & 0xffff_ffff
            } else {
                0
            };
            Some((second << 32) | (there + events).min(0xffff_ffff))
        });
        // The closure never declines, so both arms carry the word before.
        let (Ok(before) | Err(before)) = before;
        let before_second = before >> 32;
        if before_second != second {
            let last = if before_second + 1 == second {
                before & 0xffff_ffff
            } else {
                0
            };
            self.previous.store(last, Relaxed);
        }
        self.max.raise(self.per_second(now_ms));
    }

    /// Events in the second before `now_ms`.
    pub fn per_second(&self, now_ms: u64) -> u64 {
        let (second, elapsed) = (now_ms / 1000, now_ms % 1000);
        let word = self.current.load(Relaxed);
        let (at, count) = (word >> 32, word & 0xffff_ffff);
        let previous = if at == second {
            self.previous.load(Relaxed)
        } else if at + 1 == second {
            return count * (1000 - elapsed) / 1000;
        } else {
            return 0;
        };
        count + previous * (1000 - elapsed) / 1000
    }

    /// The largest rate seen.
    pub fn max(&self) -> u64 {
        self.max.value()
    }

    /// Forgets the largest rate.
    pub fn clear_max(&self) {
        self.max.set(0);
    }
}

/// Samples that [`Average`] looks back over; HAProxy's `TIME_STATS_SAMPLES`.
const AVERAGE_SAMPLES: u64 = 512;

/// Mean of roughly the last 512 values, kept as a decaying sum. Of two values that come in the same moment one may go by.
#[derive(Debug, Default)]
pub struct Average {
    pub(super) sum: Counter,
    pub(super) samples: Counter,
    pub(super) max: Counter,
}

impl Average {
    /// Takes one value in, in milliseconds.
    pub fn add(&self, value: u64) {
        let samples = self.samples.change(|samples| samples.saturating_add(1));
        self.max.raise(value);
        let n = samples.clamp(1, AVERAGE_SAMPLES);
        self.sum.change(|sum| {
            // Until the window is full the sum only grows; then each value replaces an average one.
            let kept = if n < AVERAGE_SAMPLES {
                sum
            } else {
                sum - sum.div_ceil(AVERAGE_SAMPLES)
            };
            kept.saturating_add(value)
        });
    }

    /// The largest value, 0 if there was none.
    pub fn max(&self) -> u64 {
        self.max.value()
    }

    /// How many values there were.
    pub fn samples(&self) -> u64 {
        self.samples.value()
    }

    /// The mean, 0 if there was no value.
    pub fn mean(&self) -> u64 {
        let n = self.samples.value().clamp(1, AVERAGE_SAMPLES);
        self.sum.value() / n
    }
}

/// Responses by class of status (`hrsp_1xx` … `hrsp_other`) and requests (`req_tot`).
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Requests.
    pub requests: Counter,
    /// Requests a second, and their largest.
    pub request_rate: Rate,
    pub(super) responses: [Counter; 6],
}

impl HttpCounters {
    /// Counts a response with this status.
    pub fn response(&self, status: u16) {
        self.responses[Self::class(status)].inc();
    }

    /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx, other.
    pub fn responses(&self) -> [u64; 6] {
        std::array::from_fn(|class| self.responses[class].value())
    }

    fn class(status: u16) -> usize {
        match status {
            100..=599 => usize::from(status / 100) - 1,
            _ => 5,
        }
    }
}

/// What kernel flows add, in absolute values that the fast path sets at each poll.
#[derive(Debug, Default)]
pub struct KernelTraffic {
    /// Flows opened since the maps were made.
    pub connections: Counter,
    /// Bytes from clients to servers.
    pub bytes_in: Counter,
    /// Bytes from servers to clients; 0 for modes whose replies do not pass here.
    pub bytes_out: Counter,
    /// Packets from clients to servers.
    pub packets_in: Counter,
    /// Packets from servers to clients.
    pub packets_out: Counter,
    /// Flows that are half-open or open now.
    pub active: Counter,
    /// What of the others the present maps have not counted: before them there were others.
    earlier: [Counter; 5],
    /// What earlier maps had counted when that was noted, until it is known whether the present ones are those.
    maps: [Counter; 5],
    /// Whether maps have been read.
    known: AtomicBool,
}

/// Times of a request or connection in milliseconds: `qtime`, `ctime`, `rtime`, `ttime`.
#[derive(Debug, Default)]
pub struct Times {
    /// In the queue.
    pub queue: Average,
    /// Reaching the server.
    pub connect: Average,
    /// To the first byte of the response.
    pub response: Average,
    /// From accept to end.
    pub total: Average,
}

/// The same times as distributions, of userspace, and what is known of the kernel's flows.
#[derive(Debug, Default)]
pub struct Distributions {
    /// In the queue.
    pub queue: Histogram,
    /// Reaching the server.
    pub connect: Histogram,
    /// To the first byte of the response.
    pub response: Histogram,
    /// From accept, or a request's first byte, to the end.
    pub total: Histogram,
    /// A kernel flow's handshake with its server.
    pub kernel_connect: Histogram,
    /// A kernel flow from its first packet to its end.
    pub kernel_total: Histogram,
}

/// A frontend's counters.
#[derive(Debug, Default)]
pub struct FrontendCounters {
    /// `stot`, `conn_tot`: connections accepted.
    pub connections: Counter,
    /// `rate`, `rate_max`.
    pub connection_rate: Rate,
    /// `smax`: most connections at a time.
    pub max_current: Counter,
    /// `bin`: bytes from clients.
    pub bytes_in: Counter,
    /// `bout`: bytes to clients.
    pub bytes_out: Counter,
    /// `dreq`: requests denied.
    pub denied_requests: Counter,
    /// `dresp`: responses denied.
    pub denied_responses: Counter,
    /// `dses`: connections that rules have not let in.
    pub denied_sessions: Counter,
    /// `intercepted`: requests that rules or the statistics have answered.
    pub intercepted: Counter,
    /// `ereq`: requests that were none, or that the client broke off.
    pub request_errors: Counter,
    /// `ssl_sess`: TLS sessions with clients.
    pub tls_sessions: Counter,
    /// `ssl_reused_sess`: those of them that go on from earlier ones.
    pub reused_tls_sessions: Counter,
    /// `ssl_failed_handshake`: TLS handshakes that failed, were broken off, or not done in time.
    pub failed_handshakes: Counter,
    /// Requests and responses (mode http).
    pub http: HttpCounters,
    /// Requests in mode http, else sessions: from their beginning to their end.
    pub total: Histogram,
    /// The same of flows that the kernel forwarded.
    pub kernel_total: Histogram,
    /// What the kernel forwards for it.
    pub kernel: KernelTraffic,
}

/// A backend's counters.
#[derive(Debug, Default)]
pub struct BackendCounters {
    /// `stot`: connections and requests sent here.
    pub connections: Counter,
    /// `rate`, `rate_max`.
    pub connection_rate: Rate,
    /// `smax`: most at a time.
    pub max_current: Counter,
    /// `bin`: bytes towards servers.
    pub bytes_in: Counter,
    /// `bout`: bytes from servers.
    pub bytes_out: Counter,
    /// `dreq`: requests denied.
    pub denied_requests: Counter,
    /// `dresp`: responses denied.
    pub denied_responses: Counter,
    /// `econ`: connections that could not be made after all retries, or for want of a server.
    pub connect_errors: Counter,
    /// `eresp`: responses that were none, or that the server broke off.
    pub response_errors: Counter,
    /// `wretr`: connections tried again.
    pub retries: Counter,
    /// `wredis`: connections given to another server.
    pub redispatches: Counter,
    /// `cli_abrt`: transfers that the client broke off.
    pub client_aborts: Counter,
    /// `srv_abrt`: transfers that the server broke off.
    pub server_aborts: Counter,
    /// `lbtot`: times that the algorithm chose.
    pub balanced: Counter,
    /// `chkdown`: times that it had no server left.
    pub times_down: Counter,
    /// Requests and responses (mode http).
    pub http: HttpCounters,
    /// Averages.
    pub times: Times,
    /// Distributions.
    pub distributions: Distributions,
}

/// A server's counters.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// `stot`: connections and requests sent to it.
    pub connections: Counter,
    /// `rate`, `rate_max`.
    pub connection_rate: Rate,
    /// `smax`: most at a time.
    pub max_current: Counter,
    /// `bin`: bytes to it.
    pub bytes_in: Counter,
    /// `bout`: bytes from it.
    pub bytes_out: Counter,
    /// `dresp`: its responses denied.
    pub denied_responses: Counter,
    /// `connect`: attempts to connect to it; the other requests went by connections that there were.
    pub connects: Counter,
    /// `econ`: connections that it did not take.
    pub connect_errors: Counter,
    /// `eresp`: responses that were none, or that it broke off.
    pub response_errors: Counter,
    /// `wretr`: connections tried again on it.
    pub retries: Counter,
    /// `wredis`: connections taken from it to another.
    pub redispatches: Counter,
    /// `cli_abrt`: transfers that the client broke off.
    pub client_aborts: Counter,
    /// `srv_abrt`: transfers that it broke off.
    pub server_aborts: Counter,
    /// `lbtot`: times that the algorithm chose it.
    pub balanced: Counter,
    /// `chkfail`: checks that failed while it was up.
    pub checks_failed: Counter,
    /// Times that its traffic had too many errors in a row.
    pub observed_failures: Counter,
    /// `chkdown`: times that it went down.
    pub times_down: Counter,
    /// Requests and responses (mode http).
    pub http: HttpCounters,
    /// Averages.
    pub times: Times,
    /// What the kernel forwards to it.
    pub kernel: KernelTraffic,
}

macro_rules! clears {
    ($($name:ident)*) => {
        $(impl $name {
            /// Sets maxima to 0, and with `all` every number; what the kernel path has counted is for
            /// [`KernelTraffic::clear`].
            pub fn clear(&self, all: bool) {
                self.each(&mut |name, how, counter| {
                    if how == How::Max || all && !EARLIER.contains(&name) {
                        counter.set(0);
                    }
                });
            }
        })*
    };
}

clears!(FrontendCounters BackendCounters ServerCounters);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_looks_back_one_second() {
        let rate = Rate::default();
        for _ in 0..10 {
            rate.tick(5_000);
        }
        assert_eq!(rate.per_second(5_900), 10);
        assert_eq!(
            rate.per_second(6_500),
            5,
            "half of the second before still counts"
        );
        rate.tick(6_500);
        assert_eq!(rate.per_second(6_500), 6);
        assert_eq!(rate.per_second(8_000), 0);
        assert_eq!(rate.max(), 10);
    }

    #[test]
    fn an_average_follows_what_comes() {
        let average = Average::default();
        assert_eq!(average.mean(), 0);
        average.add(10);
        average.add(20);
        assert_eq!((average.mean(), average.max()), (15, 20));
        for _ in 0..10_000 {
            average.add(100);
        }
        assert!(
            (95..=100).contains(&average.mean()),
            "got {}",
            average.mean()
        );
    }

    #[test]
    fn responses_are_counted_by_class() {
        let http = HttpCounters::default();
        for status in [100, 200, 204, 304, 404, 503, 700, 0] {
            http.response(status);
        }
        assert_eq!(http.responses(), [1, 2, 1, 1, 1, 2]);
    }
}
