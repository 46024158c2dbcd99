//! What rules remember from one request to another, and so from one configuration to the next: tables and limits.

use super::Topology;
use crate::{config::Config, rules::RuleSet};

/// Has tables and limits of `config` go on with what those of `before` hold: tables of the same name that are made alike,
/// and of each proxy the limits that stand at the same place among its limits.
pub(super) fn keep(before: &Topology, config: &Config) {
    for handle in &config.tables {
        let known = before
            .tables
            .iter()
            .find(|known| known.name() == handle.name());
        if let Some((known, table)) = known.and_then(|known| known.table()).zip(handle.table()) {
            table.go_on_with(known);
        }
    }
    for after in &config.frontends {
        if let Some(before) = before.frontend(&after.name) {
            keep_limits(&before.config.rules, &after.rules);
        }
    }
    for after in &config.backends {
        if let Some(before) = before.backend(&after.name) {
            keep_limits(&before.config.rules, &after.rules);
        }
    }
}

fn keep_limits(before: &RuleSet, after: &RuleSet) {
    for (before, after) in before.limiters().zip(after.limiters()) {
        after.go_on_with(before);
    }
}
