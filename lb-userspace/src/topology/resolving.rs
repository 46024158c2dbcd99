//! What questions to DNS servers have come to, for `show resolvers`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::counters::Counter;

/// What one DNS server was asked and has answered, under HAProxy's names.
#[derive(Debug, Default)]
pub struct Asked {
    /// Questions sent.
    pub sent: Counter,
    /// Questions that could not be sent.
    pub send_errors: Counter,
    /// Good answers.
    pub valid: Counter,
    /// There is no such name.
    pub no_name: Counter,
    /// Nobody has answered in time.
    pub timeouts: Counter,
    /// It does not answer us.
    pub refused: Counter,
    /// Other errors, and answers that were none.
    pub other: Counter,
    /// Answers by UDP that were cut short.
    pub truncated: Counter,
}

/// DNS servers, by the name of whom they are of and their addresses. They outlive a configuration.
#[derive(Debug, Default)]
pub struct Resolving(Mutex<BTreeMap<String, Section>>);

/// What the DNS servers of one name have answered, in the order in which they were first asked.
pub type Section = Vec<(SocketAddr, Arc<Asked>)>;

impl Resolving {
    /// The counters of a server.
    pub fn of(&self, resolvers: &str, server: SocketAddr) -> Arc<Asked> {
        let mut sections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let section = sections.entry(resolvers.to_owned()).or_default();
        if let Some((_, asked)) = section.iter().find(|(known, _)| *known == server) {
            return Arc::clone(asked);
        }
        let asked = Arc::<Asked>::default();
        section.push((server, Arc::clone(&asked)));
        asked
    }

    /// All of them.
    pub fn sections(&self) -> BTreeMap<String, Section> {
        let sections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sections.clone()
    }
}
