//! Which server a new flow goes to.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use lb_common::hash::mix;

use super::{Backend, Unavailable};
use crate::{
    config::model::Balance,
    topology::{
        Asking, Connection, Server, hashing::of_address, queue::Turn, server::Claim, table::Table,
    },
};

/// A server that was chosen, and what must still hold when its slot is taken.
enum Picked<'a> {
    /// Another will do as well if it has filled up.
    Any(&'a Arc<Server>),
    /// The count that made it the least.
    At(&'a Arc<Server>, u32),
    /// This one and no other: whoever comes is waiting for it.
    This(&'a Arc<Server>),
}

/// The servers that are left out (indexes), and where whoever asks stands.
type Among<'a> = (&'a [usize], Option<Turn>);

impl<'a> Picked<'a> {
    fn server(&self) -> &'a Arc<Server> {
        match self {
            Self::Any(server) | Self::At(server, _) | Self::This(server) => server,
        }
    }

    fn claim(&self, turn: Option<Turn>) -> Result<Connection, Claim> {
        match self {
            Self::Any(server) => server.claim().ok_or(Claim::Moved(0)),
            Self::At(server, active) => server.claim_at(*active).map_err(|_| Claim::Moved(0)),
            Self::This(server) if !server.has_slot_for(turn) => Err(Claim::Full),
            Self::This(server) => server.claim().ok_or(Claim::Full),
        }
    }
}

impl Backend {
    /// The server that a new flow of `asking` goes to, `exclude` (indexes) left out; `None` if there is none with a slot
    /// left. Takes no slot: see [`Backend::claim`].
    pub fn choose(&self, asking: impl Into<Asking>, exclude: &[usize]) -> Option<&Arc<Server>> {
        self.pick(&self.table.load(), &asking.into(), exclude)
            .map(|picked| picked.server())
    }

    /// Chooses as [`Backend::choose`] and takes a slot.
    pub fn claim(
        &self,
        asking: impl Into<Asking>,
        exclude: &[usize],
    ) -> Result<Connection, Unavailable> {
        let (table, asking) = (self.table.load(), asking.into());
        loop {
            match self
                .pick(&table, &asking, exclude)
                .map(|picked| picked.claim(asking.turn))
            {
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

    /// Whether whoever stands at `turn` in the queue of `server` or, without one, has just come for it alone, comes before
    /// all who wait for any server and could have this one: the other side of [`Server::has_slot_for`].
    pub fn lets_pass(&self, server: &Server, turn: Option<Turn>) -> bool {
        server.is_unlimited() || self.queue.lets_pass(turn) || !self.offers(server)
    }

    /// Whether those who wait for any server may have this one, which a later configuration may have added.
    fn offers(&self, server: &Server) -> bool {
        match self.place_of(server) {
            Some(place) => self.table.load().servers().any(|index| index == place),
            None => server.is_eligible(),
        }
    }

    /// The server that `asking` has to wait for while it is full; `None` if any will do.
    pub fn bound_to(&self, asking: Asking, exclude: &[usize]) -> Option<&Arc<Server>> {
        match self.pick(&self.table.load(), &asking, exclude) {
            Some(Picked::This(server)) => Some(server),
            _ => None,
        }
    }

    fn pick(&self, table: &Table, asking: &Asking, exclude: &[usize]) -> Option<Picked<'_>> {
        let at = |(server, active)| Picked::At(server, active);
        let among = (exclude, asking.turn);
        let by = |slot: Option<usize>| match slot {
            Some(slot) => self.hashed(table, slot, among),
            // There is nothing to stick to.
            None => self.round_robin(table, among).map(Picked::Any),
        };
        match self.config.balance {
            Balance::RoundRobin | Balance::StaticRr => {
                self.round_robin(table, among).map(Picked::Any)
            }
            Balance::LeastConn if self.has_queues => self.least_queued(table, among),
            Balance::LeastConn => self.least_connections(table, among).map(at),
            Balance::LeastTime => self.least_time(table, among).map(at),
            Balance::First => self.first(table, among).map(Picked::Any),
            Balance::Random => self.random(table, among).map(at),
            Balance::Source if self.config.has_map_of_haproxy() => {
                let hash = |client: SocketAddr| of_address(self.config.hashing, client.ip());
                by(asking
                    .client
                    .map(|client| table.remainder_slot(hash(client))))
            }
            Balance::Source => by(asking.client.map(|client| table.source_slot(client.ip()))),
            Balance::Maglev => by(asking.client.map(|client| table.endpoint_slot(client))),
            Balance::Uri | Balance::UrlParam | Balance::Hdr | Balance::RdpCookie => {
                by(asking.hash.map(|hash| match self.config.is_consistent() {
                    // The upper half is the better mixed one, and not every function mixes well.
                    true => table.slot((mix(u64::from(hash)) >> 32) as u32),
                    false => table.remainder_slot(hash),
                }))
            }
        }
    }

    /// The first in the file that has a slot.
    fn first(&self, table: &Table, (exclude, turn): Among<'_>) -> Option<&Arc<Server>> {
        table
            .servers()
            .filter(|index| !exclude.contains(index))
            .filter_map(|index| self.servers.get(index))
            .find(|server| server.has_slot_for(turn))
    }

    fn hashed(
        &self,
        table: &Table,
        start: usize,
        (exclude, turn): Among<'_>,
    ) -> Option<Picked<'_>> {
        self.bounded(table, start, (exclude, turn))
            .or_else(|| self.at_slot(table, start, exclude))
            .map(Picked::This)
    }

    /// The server of a slot, or the first from there on that has less than its share of the load, as
    /// `hash_balance_factor` bounds it (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads).
    fn bounded(
        &self,
        table: &Table,
        start: usize,
        (exclude, turn): Among<'_>,
    ) -> Option<&Arc<Server>> {
        let factor = u128::from(self.config.hash_balance_factor?);
        let load = u128::from(self.load.as_ref()?.load(Relaxed));
        let slots = ((load + 1) * factor).div_ceil(100);
        let has_room = |server: &Server| {
            let share = slots * u128::from(server.balance_weight());
            u128::from(server.active()) < share.div_ceil(u128::from(table.weight().max(1)))
        };
        table
            .from(start)
            .filter_map(|index| self.servers.get(index))
            .find(|server| {
                !exclude.contains(&server.index) && server.has_slot_for(turn) && has_room(server)
            })
    }

    fn round_robin(&self, table: &Table, (exclude, turn): Among<'_>) -> Option<&Arc<Server>> {
        let free = |index: usize| {
            let server = self.servers.get(index)?;
            (!exclude.contains(&index) && server.has_slot_for(turn)).then_some(server)
        };
        // A turn that comes to nothing is over, or whoever is next would have two; when most are full, turns are over soon.
        let turns = (0..table.servers().len())
            .filter_map(|_| table.at(self.live.turn.fetch_add(1, Relaxed)));
        turns.chain(table.servers()).find_map(free)
    }

    /// The server with the least [load](load) / weight, and its userspace connections when it was looked at. Of equals
    /// it is the one that has not been for longest.
    fn least_connections(
        &self,
        table: &Table,
        (exclude, turn): Among<'_>,
    ) -> Option<(&Arc<Server>, u32)> {
        let has_room = |server: &Server| server.has_slot_for(turn);
        self.in_turn(table, exclude, has_room, |server| {
            load(server.active().into())
        })
    }

    /// The same where those count that wait for a server, and whose `max_queue` leaves room for another of them is
    /// no fuller than one with a slot left: HAProxy's way to have short queues at the servers.
    fn least_queued(&self, table: &Table, (exclude, turn): Among<'_>) -> Option<Picked<'_>> {
        let waiting =
            |server: &Server| load(u64::from(server.active()) + u64::from(server.queue.len()));
        let has_room = |server: &Server| {
            // Who waits for any server waits for no single one.
            let may_wait =
                || turn.is_none() && server.config.max_queue.is_some() && !server.is_queue_full();
            server.has_slot_for(turn) || may_wait()
        };
        let (server, active) = self.in_turn(table, exclude, has_room, waiting)?;
        Some(match server.has_slot_for(turn) {
            true => Picked::At(server, active),
            false => Picked::This(server),
        })
    }

    /// The server with the least response time × (active + 1) / weight, likewise.
    fn least_time(&self, table: &Table, (exclude, turn): Among<'_>) -> Option<(&Arc<Server>, u32)> {
        let now_ms = self.clock.now_ms();
        let load = |server: &Server| {
            let active = server.active();
            server.latency.estimate(active, now_ms) * (u64::from(active) + 1)
        };
        self.in_turn(table, exclude, |server| server.has_slot_for(turn), load)
    }

    /// The least loaded of all servers, and of equals the one that has not been for longest.
    fn in_turn(
        &self,
        table: &Table,
        exclude: &[usize],
        has_room: impl Fn(&Server) -> bool,
        load: impl Fn(&Server) -> u64,
    ) -> Option<(&Arc<Server>, u32)> {
        let since = |server: &Server| server.live.turn.load(Relaxed);
        let least = self.least_of(table.servers(), exclude, has_room, load, since);
        if let Some((server, _)) = least {
            let turn = self.live.turn.fetch_add(1, Relaxed);
            server.live.turn.store(turn.wrapping_add(1), Relaxed);
        }
        least
    }

    /// The least loaded of some servers that are drawn by weight; if none may be had, the first in the table from there
    /// on that may.
    fn random(&self, table: &Table, (exclude, turn): Among<'_>) -> Option<(&Arc<Server>, u32)> {
        let draw = |_| {
            let turn = self.live.turn.fetch_add(1, Relaxed) as u64;
            // The upper half: it is the better mixed one.
            table.slot((mix(turn ^ self.seed) >> 32) as u32)
        };
        // Idle servers are as good as each other whatever their weight: that is in the draws already.
        let least = |indexes: &mut dyn Iterator<Item = usize>| {
            let active = |server: &Server| u64::from(server.active());
            self.least_of(
                indexes,
                exclude,
                |server| server.has_slot_for(turn),
                active,
                |_| 0,
            )
        };
        let draws = self.config.balance_arguments.draws;
        let mut drawn = (0..draws).map(draw).filter_map(|slot| table.at(slot));
        least(&mut drawn).or_else(|| {
            table
                .from(draw(draws))
                .find_map(|index| least(&mut std::iter::once(index)))
        })
    }

    /// Of the servers with these indexes that have room the one with the least load / weight, and its userspace
    /// connections when it was looked at; of equals the one with the least `rank`, or else the first.
    fn least_of(
        &self,
        indexes: impl Iterator<Item = usize>,
        exclude: &[usize],
        has_room: impl Fn(&Server) -> bool,
        load: impl Fn(&Server) -> u64,
        rank: impl Fn(&Server) -> usize,
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
            if weight == 0 || exclude.contains(&index) || !has_room(server) {
                continue;
            }
            let load = load(server);
            let is_less = best.is_none_or(|(other, _, best_load, best_weight)| {
                // load / weight against best_load / best_weight, without the division.
                let ours = u128::from(load) * u128::from(best_weight);
                let theirs = u128::from(best_load) * u128::from(weight);
                ours < theirs || ours == theirs && rank(server) < rank(other)
            });
            if is_less {
                best = Some((server, userspace, load, weight));
            }
        }
        best.map(|(server, userspace, ..)| (server, userspace))
    }

    /// The server of a client's slot, full or not, or the next one that is not left out.
    fn at_slot(&self, table: &Table, start: usize, exclude: &[usize]) -> Option<&Arc<Server>> {
        table
            .from(start)
            .filter_map(|index| self.servers.get(index))
            .find(|server| !exclude.contains(&server.index))
    }
}

/// What a server with so many connections would have with one more; but whoever has none has no load, so that no server
/// waits for its first while others, heavier ones, have their next. HAProxy counts so.
fn load(active: u64) -> u64 {
    match active {
        0 => 0,
        _ => active + 1,
    }
}

#[cfg(test)]
mod tests;
