//! What is done with the first bytes of connections of mode tcp.

use std::time::Duration;

use crate::rules::RuleSet;

/// `inspect`, `inspect_response`
#[derive(Debug, Clone, Default)]
pub struct Inspect {
    /// How long bytes are waited for that rules ask for; nothing is not at all.
    pub delay: Duration,
    /// What is asked.
    pub rules: RuleSet,
}

impl Inspect {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
