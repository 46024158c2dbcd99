//! Counters on their way to the process that takes this one's place: all of them at first, then what is added by those who
//! are served to their end here.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::topology::{
    Topology,
    counters::{
        Average, BackendCounters, Counter, FrontendCounters, HttpCounters, Rate, ServerCounters,
        Times,
    },
};

/// What is counted of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// A frontend, by its name.
    Frontend(String),
    /// A backend, by its name.
    Backend(String),
    /// A server, by its backend's name and its own.
    Server(String, String),
}

/// Of something, what has been added to its counters, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Of what.
    pub of: Subject,
    /// Names and numbers: what is to be added, or for the largest of its kind what is to be reached.
    pub numbers: Vec<(String, u64)>,
}

/// What has been told so far.
#[derive(Debug, Default)]
pub struct Sent(HashMap<Subject, HashMap<&'static str, u64>>);

/// How a number goes together with one of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// They are added up.
    Sum,
    /// The larger one counts.
    Max,
}

/// What is done with each that is counted of, given what goes through its counters.
type EachSubject<'a> = &'a mut dyn FnMut(Subject, &dyn Fn(Each<'_>));

/// What is done with each counter.
type Each<'a> = &'a mut dyn FnMut(&'static str, How, &Counter);

impl Sent {
    /// What has changed since it was last asked for.
    pub fn next(&mut self, topology: &Topology) -> Vec<Figure> {
        let mut all = Vec::new();
        each_subject(topology, &mut |of, visit| {
            let known = self.0.entry(of.clone()).or_default();
            let mut numbers = Vec::new();
            visit(&mut |name, how, counter| {
                let now = counter.value();
                let before = known.insert(name, now).unwrap_or(0);
                let number = match how {
                    How::Sum => now.saturating_sub(before),
                    How::Max if now > before => now,
                    How::Max => 0,
                };
                if number > 0 {
                    numbers.push((name.to_owned(), number));
                }
            });
            if !numbers.is_empty() {
                all.push(Figure { of, numbers });
            }
        });
        all
    }
}

/// Adds what another process has counted. What nobody has a name for here is nobody's.
pub fn add(topology: &Topology, figures: &[Figure]) {
    let figures: HashMap<&Subject, &Figure> = figures.iter().map(|f| (&f.of, f)).collect();
    each_subject(topology, &mut |of, visit| {
        let Some(figure) = figures.get(&of) else {
            return;
        };
        let numbers: HashMap<&str, u64> = figure
            .numbers
            .iter()
            .map(|(name, n)| (name.as_str(), *n))
            .collect();
        visit(&mut |name, how, counter| match (numbers.get(name), how) {
            (Some(&number), How::Sum) => counter.add(number),
            (Some(&number), How::Max) => counter.raise(number),
            (None, _) => {}
        });
    });
}

fn each_subject(topology: &Topology, each: EachSubject<'_>) {
    for frontend in &topology.frontends {
        let counters = &frontend.counters;
        each(Subject::Frontend(frontend.name.to_string()), &|f| {
            counters.each(f);
        });
    }
    for backend in &topology.backends {
        let counters = &backend.counters;
        each(Subject::Backend(backend.name.to_string()), &|f| {
            counters.each(f);
        });
        for server in &backend.servers {
            let (backend, name) = (backend.name.to_string(), server.name.to_string());
            let counters = &server.counters;
            each(Subject::Server(backend, name), &|f| counters.each(f));
        }
    }
}

/// Visits the counters of these names.
macro_rules! each {
    ($self:ident, $f:ident, sum: [$($sum:ident),* $(,)?], max: [$($max:ident),* $(,)?]) => {
        $($f(stringify!($sum), How::Sum, &$self.$sum);)*
        $($f(stringify!($max), How::Max, &$self.$max);)*
    };
}

impl FrontendCounters {
    fn each(&self, f: Each<'_>) {
        each!(self, f, sum: [
            connections, bytes_in, bytes_out, denied_requests, denied_responses, denied_sessions, request_errors,
        ], max: [max_current]);
        self.connection_rate.each(f, "connection_rate_max");
        self.http.each(f);
    }
}

impl BackendCounters {
    fn each(&self, f: Each<'_>) {
        each!(self, f, sum: [
            connections, bytes_in, bytes_out, denied_requests, denied_responses, connect_errors, response_errors,
            retries, redispatches, client_aborts, server_aborts, balanced,
        ], max: [max_current]);
        self.connection_rate.each(f, "connection_rate_max");
        self.http.each(f);
        self.times.each(f);
    }
}

impl ServerCounters {
    fn each(&self, f: Each<'_>) {
        each!(self, f, sum: [
            connections, bytes_in, bytes_out, denied_responses, connect_errors, response_errors, retries,
            redispatches, client_aborts, server_aborts, balanced, checks_failed, observed_failures, times_down,
        ], max: [max_current]);
        self.connection_rate.each(f, "connection_rate_max");
        self.http.each(f);
        self.times.each(f);
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
        f(sum, How::Sum, &self.sum);
        f(samples, How::Sum, &self.samples);
        f(max, How::Max, &self.max);
    }
}
