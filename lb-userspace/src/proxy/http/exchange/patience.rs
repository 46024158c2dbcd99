//! How long servers and tunnels are waited for: as rules say, or else as the backend does.

use std::time::Duration;

use super::{Client, Target};
use crate::rules::{Awaited, Priority};

/// How long the client's request waits where a rule says so.
pub(super) fn of_rules(client: &Client, of: Awaited) -> Option<Duration> {
    let remembered = client.rules.borrow();
    remembered.as_ref().and_then(|rules| rules.patience(of))
}

/// How long the server may take.
pub(super) fn of_server(client: &Client, target: &Target) -> Duration {
    of_rules(client, Awaited::Server).unwrap_or(target.backend.config.timeouts.server)
}

/// Where in queues the request belongs.
pub(super) fn priority(client: &Client) -> Priority {
    let remembered = client.rules.borrow();
    let priority = remembered.as_ref().map(|rules| rules.state.priority());
    priority.unwrap_or_default()
}
