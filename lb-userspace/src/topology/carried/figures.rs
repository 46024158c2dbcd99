//! Counters on their way to the process that takes this one's place: all of them at first, then what is added by those who
//! are served to their end here.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::topology::{
    Topology,
    counters::{Each, How},
    histogram::Histogram,
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

/// Of something, what has been added to one of its histograms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Of what.
    pub of: Subject,
    /// Which.
    pub name: String,
    /// How many, by bucket.
    pub buckets: Vec<u64>,
    /// Microseconds of all of them.
    pub sum: u64,
}

/// What has been told so far.
#[derive(Debug, Default)]
pub struct Sent {
    numbers: HashMap<Subject, HashMap<&'static str, u64>>,
    spreads: HashMap<(Subject, &'static str), (Vec<u64>, u64)>,
}

/// What is done with each that is counted of, given what goes through its counters.
type EachSubject<'a> = &'a mut dyn FnMut(Subject, &dyn Fn(Each<'_>));

impl Sent {
    /// What has changed since it was last asked for.
    pub fn next(&mut self, topology: &Topology) -> Vec<Figure> {
        let mut all = Vec::new();
        each_subject(topology, &mut |of, visit| {
            let known = self.numbers.entry(of.clone()).or_default();
            let mut numbers = Vec::new();
            visit(&mut |name, how, counter| {
                let now = counter.value();
                let known = known.insert(name, now);
                let before = known.unwrap_or(0);
                let number = match how {
                    How::Sum => now.saturating_sub(before),
                    How::Max if now > before => now,
                    How::Once if known.is_none() => now,
                    How::Max | How::Once => 0,
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

impl Sent {
    /// What has come to histograms since it was last asked for.
    pub fn next_spreads(&mut self, topology: &Topology) -> Vec<Spread> {
        let mut all = Vec::new();
        each_histogram(topology, &mut |of, name, histogram| {
            let (now, sum) = histogram.buckets();
            let key = (of.clone(), name);
            let before = self.spreads.insert(key, (now.to_vec(), sum));
            let (before, sum_before) = before.unwrap_or_else(|| (vec![0; now.len()], 0));
            let added = now
                .iter()
                .zip(&before)
                .map(|(now, before)| now.saturating_sub(*before));
            let buckets: Vec<u64> = added.collect();
            if buckets.iter().any(|more| *more > 0) {
                let (name, sum) = (name.to_owned(), sum.wrapping_sub(sum_before));
                all.push(Spread {
                    of,
                    name,
                    buckets,
                    sum,
                });
            }
        });
        all
    }
}

/// Adds what has come to histograms of another process.
pub fn add_spreads(topology: &Topology, spreads: &[Spread]) {
    let spreads = spreads
        .iter()
        .map(|spread| ((&spread.of, &*spread.name), spread));
    let spreads: HashMap<_, _> = spreads.collect();
    each_histogram(topology, &mut |of, name, histogram| {
        if let Some(spread) = spreads.get(&(&of, name)) {
            histogram.add(&spread.buckets, spread.sum);
        }
    });
}

fn each_histogram(topology: &Topology, each: &mut dyn FnMut(Subject, &'static str, &Histogram)) {
    for frontend in &topology.frontends {
        let of = || Subject::Frontend(frontend.name.to_string());
        each(of(), "total", &frontend.counters.total);
        each(of(), "kernel_total", &frontend.counters.kernel_total);
    }
    for backend in &topology.backends {
        let of = || Subject::Backend(backend.name.to_string());
        let times = &backend.counters.distributions;
        each(of(), "queue", &times.queue);
        each(of(), "connect", &times.connect);
        each(of(), "response", &times.response);
        each(of(), "total", &times.total);
        each(of(), "kernel_connect", &times.kernel_connect);
        each(of(), "kernel_total", &times.kernel_total);
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
        visit(&mut |name, how, counter| {
            if let Some(&number) = numbers.get(name) {
                how.add(counter, number);
            }
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
