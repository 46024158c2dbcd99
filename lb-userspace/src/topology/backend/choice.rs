//! Which server a new flow goes to.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use lb_common::hash::mix;

use super::{Backend, Unavailable};
use crate::{
    config::model::Balance,
    topology::{Connection, Server, server::Claim, table::Table},
};

impl Backend {
    /// The server that a new flow of `client` goes to, `exclude` (indexes) left out; `None` if there is none with a
    /// slot left. Takes no slot: see [`Backend::claim`].
    pub fn choose(&self, client: SocketAddr, exclude: &[usize]) -> Option<&Arc<Server>> {
        let table = self.table.load();
        match self.config.balance {
            Balance::RoundRobin => self.round_robin(&table, exclude),
            Balance::LeastConn => self
                .least_connections(&table, exclude)
                .map(|(server, _)| server),
            Balance::Random => self.random(&table, exclude).map(|(server, _)| server),
            Balance::Source => self.at_slot(&table, table.source_slot(client.ip()), exclude),
            Balance::Maglev => self.at_slot(&table, table.endpoint_slot(client), exclude),
        }
    }

    /// Chooses as [`Backend::choose`] and takes a slot.
    pub fn claim(&self, client: SocketAddr, exclude: &[usize]) -> Result<Connection, Unavailable> {
        let table = self.table.load();
        // The count that made a server the least must still hold when the slot is taken.
        let claim_at = |(server, active): (&Arc<Server>, u32)| {
            server.claim_at(active).map_err(|_| Claim::Moved(0))
        };
        let claim_hashed = |server: &Arc<Server>| server.claim().ok_or(Claim::Full);
        loop {
            let attempt = match self.config.balance {
                Balance::RoundRobin => self
                    .round_robin(&table, exclude)
                    .map(|server| server.claim().ok_or(Claim::Moved(0))),
                Balance::LeastConn => self.least_connections(&table, exclude).map(claim_at),
                Balance::Random => self.random(&table, exclude).map(claim_at),
                Balance::Source => self
                    .at_slot(&table, table.source_slot(client.ip()), exclude)
                    .map(claim_hashed),
                Balance::Maglev => self
                    .at_slot(&table, table.endpoint_slot(client), exclude)
                    .map(claim_hashed),
            };
            match attempt {
                Some(Ok(connection)) => {
                    self.counters.balanced.inc();
                    connection.server().counters.balanced.inc();
                    return Ok(connection);
                }
                Some(Err(Claim::Moved(_))) => {}
                Some(Err(Claim::Full)) => return Err(Unavailable::Full),
                None if table.servers().all(|index| exclude.contains(&index)) => {
                    return Err(Unavailable::NoServer);
                }
                None => return Err(Unavailable::Full),
            }
        }
    }

    fn round_robin(&self, table: &Table, exclude: &[usize]) -> Option<&Arc<Server>> {
        (0..table.len()).find_map(|_| {
            let server = self
                .servers
                .get(table.at(self.turn.fetch_add(1, Relaxed))?)?;
            (!exclude.contains(&server.index) && !server.is_full()).then_some(server)
        })
    }

    /// The server with the least (active + 1) / weight, and its userspace connections when it was looked at. Ties go
    /// in turn.
    fn least_connections(&self, table: &Table, exclude: &[usize]) -> Option<(&Arc<Server>, u32)> {
        let count = table.servers().len();
        let turn = if count > 1 {
            self.turn.fetch_add(1, Relaxed) % count
        } else {
            0
        };
        // Twice round, so that the look starts at whose turn it is.
        self.least_loaded(table.servers().cycle().skip(turn).take(count), exclude)
    }

    /// The less loaded of two servers that are drawn by weight; if neither may be had, the first in the table from there
    /// on that may.
    fn random(&self, table: &Table, exclude: &[usize]) -> Option<(&Arc<Server>, u32)> {
        let draw = || {
            let turn = self.turn.fetch_add(1, Relaxed) as u64;
            // The upper half: it is the better mixed one.
            table.slot((mix(turn ^ self.seed) >> 32) as u32)
        };
        let (one, other) = (draw(), draw());
        let drawn = [one, other].into_iter().filter_map(|slot| table.at(slot));
        self.least_loaded(drawn, exclude).or_else(|| {
            (one..one + table.len())
                .filter_map(|slot| table.at(slot))
                .find_map(|index| self.least_loaded(std::iter::once(index), exclude))
        })
    }

    /// Of the servers with these indexes the one with the least (active + 1) / weight, and its userspace connections
    /// when it was looked at. The first of equals wins.
    fn least_loaded(
        &self,
        indexes: impl Iterator<Item = usize>,
        exclude: &[usize],
    ) -> Option<(&Arc<Server>, u32)> {
        let mut best: Option<(&Arc<Server>, u32, u64, u64)> = None;
        for index in indexes {
            let Some(server) = self.servers.get(index) else {
                continue;
            };
            let (userspace, weight) = (
                server.userspace_active(),
                u64::from(server.balance_weight()),
            );
            if weight == 0 || exclude.contains(&index) || server.is_full() {
                continue;
            }
            let load = u64::from(server.active()) + 1;
            // load / weight < best_load / best_weight, without the division.
            if best.is_none_or(|(_, _, best_load, best_weight)| {
                load * best_weight < best_load * weight
            }) {
                best = Some((server, userspace, load, weight));
            }
        }
        best.map(|(server, userspace, ..)| (server, userspace))
    }

    /// The server of a client's slot, full or not, or the next one that is not left out.
    fn at_slot(&self, table: &Table, start: usize, exclude: &[usize]) -> Option<&Arc<Server>> {
        (start..start + table.len())
            .filter_map(|slot| self.servers.get(table.at(slot)?))
            .find(|server| !exclude.contains(&server.index))
    }
}
