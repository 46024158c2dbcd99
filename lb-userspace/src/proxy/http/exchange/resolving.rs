//! Names that rules have looked up.

use std::net::IpAddr;

use super::{Client, rules::Memory};
use crate::{
    names::{ask::Asker, first_address},
    rules::action::Lookup,
};

/// Finds out the address of a name, and remembers it where the rule says; of one that has none nothing is.
pub(super) async fn look_up(client: &Client, wanted: &Lookup, name: &[u8]) {
    let address = address(client, wanted, name).await;
    if let Some(address) = address {
        Memory::of(client).remembered.state.found(wanted, address);
    }
}

async fn address(client: &Client, wanted: &Lookup, name: &[u8]) -> Option<IpAddr> {
    let name = str::from_utf8(name).ok()?;
    let shared = &client.worker.shared;
    let mut all = shared.config.resolvers.iter();
    let resolvers = all.find(|resolvers| *resolvers.name == *wanted.resolvers)?;
    let asker = Asker::new(resolvers, &shared.topology.resolving);
    first_address(&asker, name, wanted.prefers_v4).await
}
