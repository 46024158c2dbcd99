//! Servers whose state follows another's, as HAProxy's `track` has it.
//!
//! Whoever changes a server tells those that follow it once it has let go of the lock, and they look at it under their own: so
//! no lock is waited for while another is held, and whoever looks last has seen the last change.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak, atomic::Ordering::SeqCst},
};

use super::{AdminState, Backend, EventKind, Health, Server, Topology};

/// How a server is, as far as those that follow it are so too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Up = 0,
    Down = 1,
    Drain = 2,
    Maint = 3,
    /// See [`Server::is_stopping`].
    Stopping = 4,
}

impl State {
    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Down,
            2 => Self::Drain,
            3 => Self::Maint,
            4 => Self::Stopping,
            _ => Self::Up,
        }
    }
}

/// Whom a server follows, and who follows it, in its configuration.
#[derive(Debug, Default)]
pub(super) struct Links {
    followed: OnceLock<Arc<Server>>,
    followers: OnceLock<Vec<(Weak<Backend>, Weak<Server>)>>,
}

impl Server {
    /// The server that it follows, as `backend/server`.
    pub fn tracked(&self) -> Option<String> {
        let followed = self.links.followed.get()?;
        Some(format!("{}/{}", followed.backend, followed.name))
    }

    /// The health of the checked server that it follows at last.
    pub(super) fn health_followed(&self) -> Option<Health> {
        let followed = self.links.followed.get()?;
        followed.health().or_else(|| followed.health_followed())
    }

    /// Whether the server that it follows is in maintenance.
    pub fn inherits_maint(&self) -> bool {
        self.via() == State::Maint
    }

    /// Whether the server that it follows drains by an operator's will.
    pub fn inherits_drain(&self) -> bool {
        let followed = self.links.followed.get();
        followed.is_some_and(|one| one.admin() == AdminState::Drain || one.inherits_drain())
    }

    /// Whether the server that it follows [is stopping](Server::is_stopping).
    pub fn inherits_stop(&self) -> bool {
        self.via() == State::Stopping
    }

    /// Whether others follow it.
    pub fn is_followed(&self) -> bool {
        let mut followers = self.links.followers.get().into_iter().flatten();
        followers.any(|(_, follower)| follower.strong_count() > 0)
    }

    /// Whether nothing goes there because an operator will have it so, here or at a server that it follows, or because
    /// nobody knows where it is.
    pub fn is_in_maintenance(&self) -> bool {
        self.state() == State::Maint
    }

    /// What it has seen of the server that it follows; one that follows nobody is as itself is.
    pub(super) fn via(&self) -> State {
        State::from_u8(self.live.via.load(SeqCst))
    }

    /// Whether the server that it follows has nobody new sent there, though it is up.
    pub(super) fn drains_via(&self) -> bool {
        matches!(self.via(), State::Drain | State::Stopping)
    }

    /// How those that follow it are.
    fn state(&self) -> State {
        if self.admin() == AdminState::Maint || !self.is_resolved() || self.via() == State::Maint {
            State::Maint
        } else if !self.is_healthy() {
            State::Down
        } else if self.is_stopping() || self.via() == State::Stopping {
            State::Stopping
        } else if self.admin() == AdminState::Drain || self.via() == State::Drain {
            State::Drain
        } else {
            State::Up
        }
    }

    /// Takes over how the server is that it follows. What is to be told of it.
    fn look(&self) -> Option<EventKind> {
        let now = self.links.followed.get().map_or(State::Up, |s| s.state());
        let (before, was_up) = (self.via(), self.is_up());
        self.live.via.store(now as u8, SeqCst);
        // Whatever it is now, the operator has it in maintenance.
        if before == now || self.admin() == AdminState::Maint {
            return None;
        }
        Some(match (before, now) {
            (_, State::Maint) => EventKind::Maint { was_up },
            (_, State::Down) => EventKind::Down,
            (State::Maint, now) => EventKind::LeftMaint {
                draining: now == State::Drain,
            },
            (_, State::Drain) => EventKind::Drain,
            (_, State::Stopping) => EventKind::Stopping,
            (State::Drain, State::Up) => EventKind::LeftDrain,
            (_, State::Up) => EventKind::Up,
        })
    }

    /// Has those that follow it look.
    pub(super) fn tell_followers(&self) {
        for (backend, server) in self.links.followers.get().into_iter().flatten() {
            if let (Some(backend), Some(server)) = (backend.upgrade(), server.upgrade()) {
                backend.change_via(&server, Server::look);
            }
        }
    }
}

impl Topology {
    /// Lets servers know whom they follow.
    pub(super) fn link(backends: &[Arc<Backend>]) {
        let mut followers: HashMap<(Arc<str>, Arc<str>), Vec<_>> = HashMap::new();
        for backend in backends {
            for server in &backend.servers {
                let Some((name, of)) = &server.config.track else {
                    continue;
                };
                let tracked = backends.iter().find(|backend| *backend.name == **name);
                let Some(tracked) = tracked.and_then(|backend| backend.server(of)) else {
                    continue;
                };
                let whose = (Arc::clone(&tracked.backend), Arc::clone(&tracked.name));
                let follower = (Arc::downgrade(backend), Arc::downgrade(server));
                followers.entry(whose).or_default().push(follower);
                // A link is set once, just after its server was made.
                let _ = server.links.followed.set(Arc::clone(tracked));
            }
        }
        for ((backend, server), followers) in followers {
            let backend = backends.iter().find(|one| one.name == backend);
            if let Some(server) = backend.and_then(|backend| backend.server(&server)) {
                let _ = server.links.followers.set(followers);
            }
        }
    }

    /// Has all servers look at those that they follow, without a word of it: what they see is how they begin.
    pub(super) fn settle(&self) {
        // Chains are short, and each round goes a link further.
        let mut moved = true;
        while moved {
            moved = false;
            for backend in &self.backends {
                for server in &backend.servers {
                    let now = server.links.followed.get().map_or(State::Up, |s| s.state());
                    if server.via() != now {
                        moved = true;
                        backend.change_via(server, |server| {
                            server.look();
                            None
                        });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{CheckResult, CheckStatus, fixtures};

    fn states(topology: &Topology) -> [String; 4] {
        [("one", "s"), ("two", "t"), ("two", "u"), ("two", "v")]
            .map(|(backend, server)| topology.server(backend, server).unwrap().status())
    }

    fn check(topology: &Topology, status: CheckStatus, level: u32) {
        let result = CheckResult {
            status,
            code: None,
            duration: std::time::Duration::ZERO,
            info: String::new(),
            at: std::time::Instant::now(),
        };
        let backend = &topology.backends[0];
        backend.record_check(&backend.servers[0], result, |_| level);
    }

    #[test]
    fn a_chain_is_as_its_end_is() {
        let topology = fixtures::followed();
        assert_eq!(
            states(&topology),
            ["UP 1/3", "UP 1/3", "UP 1/3", "no check"]
        );
        check(&topology, CheckStatus::L4Con, 0);
        assert_eq!(states(&topology), ["DOWN", "DOWN", "DOWN", "no check"]);
        assert_eq!(topology.backends[1].servers_up(), (1, 0));
        check(&topology, CheckStatus::L4Ok, 4);
        assert_eq!(states(&topology), ["UP", "UP", "UP", "no check"]);
        let one = &topology.backends[0];
        one.set_admin(&one.servers[0], AdminState::Maint);
        assert_eq!(
            states(&topology),
            [
                "MAINT",
                "MAINT (via one/s)",
                "MAINT (via two/t)",
                "no check"
            ]
        );
        one.set_admin(&one.servers[0], AdminState::Drain);
        assert_eq!(
            states(&topology)[1..],
            ["DRAIN 1/3", "DRAIN 1/3", "no check"]
        );
        let follower = topology.server("two", "t").unwrap();
        assert!(follower.is_usable_by_cookie() && !follower.is_eligible());
        one.set_admin(&one.servers[0], AdminState::Ready);
        assert_eq!(states(&topology)[1..], ["UP 1/3", "UP 1/3", "no check"]);
        // In the midst of it.
        let two = &topology.backends[1];
        two.set_admin(follower, AdminState::Maint);
        assert_eq!(
            states(&topology)[1..],
            ["MAINT", "MAINT (via two/t)", "no check"]
        );
        check(&topology, CheckStatus::L4Con, 0);
        assert_eq!(
            states(&topology)[1..],
            ["MAINT", "MAINT (via two/t)", "no check"]
        );
        two.set_admin(follower, AdminState::Ready);
        assert_eq!(states(&topology)[1..], ["DOWN", "DOWN", "no check"]);
    }

    #[test]
    fn the_next_configuration_goes_on_where_this_one_is() {
        let topology = fixtures::followed();
        check(&topology, CheckStatus::L4Con, 0);
        let mut backends: Vec<_> = topology
            .backends
            .iter()
            .map(|b| (*b.config).clone())
            .collect();
        // Nobody is followed by `u` any more, and `v` follows.
        backends[1].servers[0].track = None;
        backends[1].servers[2].track = Some(("one".into(), "s".into()));
        let next = topology.next(&fixtures::config(Vec::new(), backends));
        next.take_over(&topology);
        assert_eq!(states(&next), ["DOWN", "DOWN", "no check", "DOWN"]);
        // What a check of the earlier one finds out is said here.
        check(&topology, CheckStatus::L4Ok, 4);
        assert_eq!(states(&next), ["UP", "UP", "no check", "UP"]);
    }
}
