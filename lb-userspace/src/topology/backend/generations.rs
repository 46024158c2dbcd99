//! A backend through the configurations that have it, one after the other.
//!
//! What has begun under one keeps the [`Backend`] of that one. What changes while it runs is the same for all of them, all
//! hear of each change, and whoever waits under an earlier one may have the servers that a later one has added.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::{Backend, EventKind, Server, Unavailable};
use crate::{
    config::model,
    topology::{Connection, queue::Turn},
};

/// What changes of a backend while it runs; the backend of the same name in the next configuration has the same.
#[derive(Debug, Default)]
pub(in crate::topology) struct Live {
    /// Turn of `roundrobin`, of ties in `leastconn`, and of draws in `random`.
    pub(in crate::topology) turn: AtomicUsize,
    pub(super) current: Arc<AtomicU32>,
    pub(in crate::topology) last_change_ms: AtomicU64,
    /// The highest number that a server has had.
    pub(super) last_id: AtomicU32,
    /// The backend in each configuration that still has connections, the present one last. Held by whoever writes state:
    /// writers take turns, or two of them could leave an old table behind.
    generations: Mutex<Vec<Weak<Backend>>>,
}

/// The servers that the present configuration has beside those of an earlier one.
#[derive(Debug)]
pub(super) struct Added {
    present: Weak<Backend>,
    /// By their indexes there.
    is_added: Vec<bool>,
}

impl Added {
    /// Those of `present` that whoever came under `earlier` can be served by as well; `None` if there are none.
    fn of(earlier: &Backend, present: &Arc<Backend>) -> Option<Self> {
        // Whoever speaks another protocol is not understood.
        if earlier.config.mode != present.config.mode {
            return None;
        }
        // By what they share: one that was gone meanwhile is another, whatever it is called.
        let shared = |server: &Arc<Server>| Arc::as_ptr(&server.live);
        let known: HashSet<_> = earlier.servers.iter().map(shared).collect();
        let same_variables = earlier.variables == present.variables;
        let is_added = |server: &Arc<Server>| {
            // What computes a name knows variables by their places.
            let computes = server.config.server_name.is_some();
            !known.contains(&shared(server)) && (same_variables || !computes)
        };
        let is_added: Vec<bool> = present.servers.iter().map(is_added).collect();
        is_added.contains(&true).then(|| Self {
            present: Arc::downgrade(present),
            is_added,
        })
    }
}

/// The numbers of a backend's servers, by their places: what the file says, else what they have had `before`, else what none
/// has had; the highest that one has had is `last`.
pub(super) fn ids(config: &model::Backend, before: Option<&Backend>, last: u32) -> Vec<u32> {
    let said: Vec<u32> = config.servers.iter().filter_map(|s| s.id).collect();
    let kept = |server: &model::Server| {
        let id = before?.server(&server.name)?.id;
        Some(id).filter(|id| !said.contains(id))
    };
    let servers = config.servers.iter();
    let ids = servers.map(|server| server.id.or_else(|| kept(server)).unwrap_or(0));
    let mut ids: Vec<u32> = ids.collect();
    if before.is_none() {
        model::number(&mut ids, 1);
        return ids;
    }
    let mut next = last;
    for id in ids.iter_mut().filter(|id| **id == 0) {
        next += 1;
        while said.contains(&next) {
            next += 1;
        }
        *id = next;
    }
    ids
}

impl Backend {
    /// From now on this is the one that runs, in the place of `before`.
    pub(in crate::topology) fn take_over(self: &Arc<Self>, before: Option<&Arc<Self>>) {
        let mut generations = self.lock();
        generations.retain(|one| one.strong_count() > 0);
        generations.push(Arc::downgrade(self));
        let ids = self.servers.iter().map(|server| server.id);
        self.live.last_id.fetch_max(ids.max().unwrap_or(0), Relaxed);
        let Some(before) = before else { return };
        let now_ms = self.clock.now_ms();
        let mut stays = false;
        for server in &before.servers {
            if let Some(after) = self.server(&server.name) {
                after.take_over(server, now_ms);
                stays |= after.is_eligible();
            }
        }
        for server in &before.servers {
            // Where none of the others can take its place, requests that are on their way to it still get there.
            if self.server(&server.name).is_none() && stays {
                server.retire();
            }
        }
        rebuild(&generations);
        for one in generations.iter().filter_map(Weak::upgrade) {
            one.added.store(Added::of(&one, self).map(Arc::new));
        }
        drop(generations);
        // Also of servers that are no more: who waits for one of those has to look for another. And who waits for any may
        // have one that has come.
        for server in self.servers.iter().chain(&before.servers) {
            server.queue.wake_all();
        }
        self.queue.wake_all();
    }

    /// A slot of a server that a later configuration has added, for whoever stands at `turn` in the queue or, without one,
    /// has just come, and has got none of this one's own for that reason: as HAProxy's servers that come take of those who
    /// wait. They are had in turn, by weight.
    ///
    /// # Errors
    /// [`Unavailable::Full`] where there are such servers, else the reason that there was.
    pub fn claim_added(
        &self,
        turn: Option<Turn>,
        reason: Unavailable,
    ) -> Result<Connection, Unavailable> {
        let added = self.added.load();
        let Some(added) = added.as_ref() else {
            return Err(reason);
        };
        let Some(present) = added.present.upgrade() else {
            return Err(reason);
        };
        let table = present.table.load();
        let is_added = |index: &usize| added.is_added.get(*index) == Some(&true);
        if !table.servers().any(|index| is_added(&index)) {
            return Err(reason);
        }
        let start = present.live.turn.fetch_add(1, Relaxed);
        let connection = table
            .from(start % table.len().max(1))
            .filter(is_added)
            .filter_map(|index| present.servers.get(index))
            .filter(|server| server.has_slot_for(turn))
            .find_map(Server::claim)
            .ok_or(Unavailable::Full)?;
        self.counters.balanced.inc();
        connection.server().counters.balanced.inc();
        Ok(connection)
    }

    /// The place of `server` among this one's; `None` for one of another configuration.
    pub fn place_of(&self, server: &Server) -> Option<usize> {
        let there = self.servers.get(server.index)?;
        std::ptr::eq(&**there, server).then_some(server.index)
    }

    /// Somebody who waited for any server does so no more: those who wait for one alone may be next, whichever
    /// configuration they came under.
    pub fn goes_on(&self) {
        for one in self.lock().iter().filter_map(Weak::upgrade) {
            one.servers
                .iter()
                .for_each(|server| server.queue.wake_one());
        }
    }

    pub(super) fn change_by(
        &self,
        server: &Arc<Server>,
        via: bool,
        change: impl FnOnce(&Server) -> Option<EventKind>,
    ) {
        let generations = self.lock();
        let newest = generations.last().and_then(Weak::upgrade);
        let present = newest.as_deref().unwrap_or(self);
        let there = present.server(&server.name);
        let (backend, server) = match there.filter(|there| there.is_same(server)) {
            Some(there) => (present, there),
            None => (self, server),
        };
        backend.change_locked(&generations, server, via, change);
        drop(generations);
        // Theirs is another lock.
        server.tell_followers();
    }

    pub(in crate::topology) fn lock(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        // What it guards is changed in one step, so a writer that panicked left nothing half done behind it.
        let generations = self.live.generations.lock();
        generations.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the tables of all generations up to date; the writers' lock is held.
pub(in crate::topology) fn rebuild(generations: &[Weak<Backend>]) {
    for backend in generations.iter().filter_map(Weak::upgrade) {
        backend.rebuild();
    }
}
