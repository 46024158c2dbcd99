//! Counters on their way to the process that takes this one's place: all of them at first, then what is added by those who
//! are served to their end here.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::topology::{
    Topology,
    counters::{Each, How},
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

/// What is done with each that is counted of, given what goes through its counters.
type EachSubject<'a> = &'a mut dyn FnMut(Subject, &dyn Fn(Each<'_>));

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
