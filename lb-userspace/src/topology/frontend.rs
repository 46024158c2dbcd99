//! A frontend and its live state.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use super::counters::FrontendCounters;
use crate::config::model;

/// A frontend.
pub struct Frontend {
    /// Its name.
    pub name: Arc<str>,
    /// Its place in the topology, in the order of the file.
    pub index: usize,
    /// What the file says of it.
    pub config: Arc<model::Frontend>,
    /// Its counters.
    pub counters: FrontendCounters,
    current: AtomicU32,
}

impl Frontend {
    pub(super) fn new(config: &Arc<model::Frontend>, index: usize) -> Self {
        Self {
            name: config.name.as_str().into(),
            index,
            config: Arc::clone(config),
            counters: FrontendCounters::default(),
            current: AtomicU32::new(0),
        }
    }

    /// Userspace connections now.
    pub fn current(&self) -> u32 {
        self.current.load(SeqCst)
    }

    /// Whether `maxconn` leaves room for another connection.
    pub fn has_room(&self) -> bool {
        self.config.maxconn.is_none_or(|max| self.current() < max)
    }

    /// Counts a connection accepted at `now_ms` of the topology's clock, until the guard is dropped.
    pub fn enter(self: &Arc<Self>, now_ms: u64) -> Accepted {
        let current = self.current.fetch_add(1, SeqCst) + 1;
        self.counters.connections.inc();
        self.counters.connection_rate.tick(now_ms);
        self.counters.max_current.raise(u64::from(current));
        Accepted {
            frontend: Arc::clone(self),
        }
    }
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend")
            .field("name", &self.name)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

/// A client's connection, counted until dropped.
#[derive(Debug)]
pub struct Accepted {
    frontend: Arc<Frontend>,
}

impl Accepted {
    /// The frontend.
    pub fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.frontend.current.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        config::model::Balance,
        topology::{Topology, fixtures},
    };

    #[test]
    fn connections_are_counted_while_they_last() {
        let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
        let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
        frontend.maxconn = Some(2);
        let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
        let frontend = topology.frontend("f").unwrap();
        assert_eq!(
            topology.default_backend(&frontend.config).map(|b| &*b.name),
            Some("b")
        );
        let held = [frontend.enter(0), frontend.enter(0)];
        assert!(!frontend.has_room());
        drop(held);
        assert!(frontend.has_room());
        assert_eq!(
            (frontend.current(), frontend.counters.connections.value()),
            (0, 2)
        );
        assert_eq!(frontend.counters.max_current.value(), 2);
    }
}
