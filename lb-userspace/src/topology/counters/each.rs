//! The counters by their names: what goes from one process to the next, by a file or by hand.

use super::{
    Average, BackendCounters, Counter, FrontendCounters, HttpCounters, KernelTraffic, Rate,
    ServerCounters, Times,
};

/// How a number goes together with one of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// They are added up.
    Sum,
    /// The larger one counts.
    Max,
    /// They are added up once: what decays says nothing by how much it changes.
    Once,
}

impl How {
    /// Has a counter go on from a number of another process.
    pub fn add(self, counter: &Counter, number: u64) {
        match self {
            How::Sum => counter.add(number),
            How::Once => {
                counter.change(|now| now.saturating_add(number));
            }
            How::Max => counter.raise(number),
        }
    }
}

/// What is done with each counter.
pub type Each<'a> = &'a mut dyn FnMut(&'static str, How, &Counter);

/// What the kernel has counted in maps that are gone.
pub(super) const EARLIER: [&str; 5] = [
    "kernel_connections_earlier",
    "kernel_bytes_in_earlier",
    "kernel_bytes_out_earlier",
    "kernel_packets_in_earlier",
    "kernel_packets_out_earlier",
];

/// Visits the counters of these names.
macro_rules! each {
    ($self:ident, $f:ident, sum: [$($sum:ident),* $(,)?], max: [$($max:ident),* $(,)?]) => {
        $($f(stringify!($sum), How::Sum, &$self.$sum);)*
        $($f(stringify!($max), How::Max, &$self.$max);)*
    };
}

impl FrontendCounters {
    /// Has `f` look at each counter.
    pub fn each(&self, f: Each<'_>) {
        each!(self, f, sum: [
            connections, bytes_in, bytes_out, denied_requests, denied_responses, denied_sessions, request_errors, intercepted,
            tls_sessions, reused_tls_sessions, failed_handshakes,
        ], max: [max_current]);
        self.connection_rate.each(f, "connection_rate_max");
        self.http.each(f);
        self.kernel.each(f);
    }
}

impl BackendCounters {
    /// Has `f` look at each counter.
    pub fn each(&self, f: Each<'_>) {
        each!(self, f, sum: [
            connections, bytes_in, bytes_out, denied_requests, denied_responses, connect_errors, response_errors,
            retries, redispatches, client_aborts, server_aborts, balanced, times_down,
        ], max: [max_current]);
        self.connection_rate.each(f, "connection_rate_max");
        self.http.each(f);
        self.times.each(f);
    }
}

impl ServerCounters {
    /// Has `f` look at each counter.
    pub fn each(&self, f: Each<'_>) {
        each!(self, f, sum: [
            connections, bytes_in, bytes_out, denied_responses, connects, connect_errors, response_errors, retries,
            redispatches, client_aborts, server_aborts, balanced, checks_failed, observed_failures, times_down,
        ], max: [max_current]);
        self.connection_rate.each(f, "connection_rate_max");
        self.http.each(f);
        self.times.each(f);
        self.kernel.each(f);
    }
}

impl KernelTraffic {
    /// What the present maps have counted is theirs to tell.
    fn each(&self, f: Each<'_>) {
        for (name, earlier) in EARLIER.into_iter().zip(&self.earlier) {
            f(name, How::Sum, earlier);
        }
    }
}

impl HttpCounters {
    fn each(&self, f: Each<'_>) {
        f("requests", How::Sum, &self.requests);
        self.request_rate.each(f, "request_rate_max");
        let names = [
            "hrsp_1xx",
            "hrsp_2xx",
            "hrsp_3xx",
            "hrsp_4xx",
            "hrsp_5xx",
            "hrsp_other",
        ];
        for (name, counter) in names.into_iter().zip(&self.responses) {
            f(name, How::Sum, counter);
        }
    }
}

impl Rate {
    /// What happens in the very second of the change is each process's own.
    fn each(&self, f: Each<'_>, name: &'static str) {
        f(name, How::Max, &self.max);
    }
}

impl Times {
    fn each(&self, f: Each<'_>) {
        self.queue
            .each(f, ["queue_sum", "queue_samples", "queue_max"]);
        self.connect
            .each(f, ["connect_sum", "connect_samples", "connect_max"]);
        self.response
            .each(f, ["response_sum", "response_samples", "response_max"]);
        self.total
            .each(f, ["total_sum", "total_samples", "total_max"]);
    }
}

impl Average {
    fn each(&self, f: Each<'_>, [sum, samples, max]: [&'static str; 3]) {
        f(sum, How::Once, &self.sum);
        f(samples, How::Once, &self.samples);
        f(max, How::Max, &self.max);
    }
}
