//! What the running model knows that the file does not say, in a form that another process of lb reads: the one that takes
//! this one's place.
//!
//! Everything goes by name and says itself what it is, so that a version that knows more, or less, of something takes what it
//! understands. What an operator has set is not among the things that may be left out: see [`ServerState`].

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    AdminState, Backend, CheckResult, CheckStatus, Health, Server, Topology, live::translated,
    server::OrdersState,
};
use crate::config::model;

mod figures;
mod frontends;
mod tls;

pub use figures::{Figure, Sent, Spread, Subject, add, add_spreads};
pub use frontends::FrontendState;

/// A server's state. Fields without a default are what an operator relies on: who cannot read them must not go on as if
/// there was nothing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerState {
    /// Its backend's name.
    pub backend: String,
    /// Its name.
    pub server: String,
    /// Its number, which tables remember it by.
    pub id: u32,
    /// `ready`, `drain` or `maint`.
    pub admin: String,
    /// The operator's weight.
    pub weight: u16,
    /// What the file said of it.
    pub file: FileSays,
    /// Where it listens, by its name or as an operator has said; `None` if nobody knows, or at a path.
    pub address: Option<SocketAddr>,
    /// The host and port that it stands for.
    #[serde(default)]
    pub service: Option<(String, u16)>,
    /// Its health: level, rise and fall.
    #[serde(default)]
    pub health: Option<(u32, u32, u32)>,
    /// Its agent says that it is down.
    #[serde(default)]
    pub agent_down: bool,
    /// Its agent keeps it in maintenance.
    #[serde(default)]
    pub kept_by_agent: bool,
    /// Its check was told that it wants nobody new.
    #[serde(default)]
    pub stopping: bool,
    /// What operators have ordered besides; not told by the oldest versions.
    #[serde(default)]
    pub orders: Option<OrdersState>,
    /// Percent of its weight in a slow start.
    #[serde(default = "whole")]
    pub throttle: u8,
    /// Milliseconds of the clock, which goes on.
    #[serde(default)]
    pub last_change_ms: u64,
    /// Likewise.
    #[serde(default)]
    pub downtime_ms: u64,
    /// Likewise.
    #[serde(default)]
    pub last_session_ms: Option<u64>,
    /// What the last check found.
    #[serde(default)]
    pub last_check: Option<CheckState>,
}

fn whole() -> u8 {
    100
}

/// What the file said where what runs may differ from it: a file that says something else by now has the word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSays {
    /// Its address as it is shown.
    pub address: String,
    /// Its weight.
    pub weight: u16,
    /// Whether it begins in maintenance.
    pub disabled: bool,
    /// Its bound of connections.
    #[serde(default)]
    pub maxconn: Option<u32>,
}

impl FileSays {
    /// What it says of a server.
    pub fn of(server: &model::Server) -> Self {
        Self {
            address: server.address.to_string(),
            weight: server.weight,
            disabled: server.disabled,
            maxconn: server.maxconn,
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckState {
    /// HAProxy's name.
    pub status: String,
    /// The protocol's code.
    pub code: Option<u16>,
    /// Microseconds.
    pub took: u64,
    /// What was said.
    pub info: String,
    /// When, in milliseconds of the clock.
    pub at_ms: u64,
}

/// A backend's own state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendState {
    /// Its name.
    pub backend: String,
    /// Milliseconds of the clock.
    #[serde(default)]
    pub last_change_ms: u64,
    /// Whose turn it is.
    #[serde(default)]
    pub turn: usize,
}

impl Topology {
    /// The state of every server.
    pub fn server_states(&self) -> impl Iterator<Item = ServerState> {
        let clock = self.clock;
        self.servers().map(move |server| ServerState {
            backend: server.backend.to_string(),
            server: server.name.to_string(),
            id: server.id,
            admin: server.admin().word().to_owned(),
            weight: server.weight(),
            file: FileSays::of(&server.config),
            address: server.address().inet(),
            service: server.service(),
            health: server.health().map(|h| (h.level, h.rise, h.fall)),
            agent_down: server.is_down_by_agent(),
            kept_by_agent: server.is_kept_by_agent(),
            stopping: server.is_stopping(),
            orders: Some(server.orders()),
            throttle: server.throttle().unwrap_or(100),
            last_change_ms: server.last_change_ms(),
            downtime_ms: server.live.downtime_ms.load(Relaxed),
            last_session_ms: server.last_session_ms(),
            last_check: server.last_check().map(|check| CheckState {
                status: check.status.name().to_owned(),
                code: check.code,
                took: u64::try_from(check.duration.as_micros()).unwrap_or(u64::MAX),
                info: check.info.clone(),
                at_ms: clock.at(check.at),
            }),
        })
    }

    /// The state of every backend.
    pub fn backend_states(&self) -> impl Iterator<Item = BackendState> {
        self.backends.iter().map(|backend| BackendState {
            backend: backend.name.to_string(),
            last_change_ms: backend.live.last_change_ms.load(Relaxed),
            turn: backend.live.turn.load(Relaxed),
        })
    }

    /// Goes on where another process was, whose clock this one has.
    ///
    /// # Errors
    /// An operator's word that is not understood.
    pub fn take_states(
        &self,
        servers: &[ServerState],
        backends: &[BackendState],
    ) -> Result<(), String> {
        let mut by_backend: HashMap<&str, Vec<&ServerState>> = HashMap::new();
        for state in servers {
            by_backend.entry(&state.backend).or_default().push(state);
        }
        for (name, states) in by_backend {
            // What is there no longer needs no state.
            let Some(backend) = self.backend(name) else {
                continue;
            };
            backend.take_states(&states)?;
        }
        for state in backends {
            if let Some(backend) = self.backend(&state.backend) {
                let live = &backend.live;
                live.last_change_ms.store(state.last_change_ms, Relaxed);
                live.turn.store(state.turn, Relaxed);
            }
        }
        self.settle();
        self.notifier.changed();
        Ok(())
    }

    fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.backends.iter().flat_map(|backend| &backend.servers)
    }
}

impl Backend {
    fn take_states(&self, states: &[&ServerState]) -> Result<(), String> {
        let generations = self.lock();
        for state in states {
            if let Some(server) = self.server(&state.server) {
                server.take_state(state, self.clock)?;
            }
        }
        super::backend::rebuild(&generations);
        Ok(())
    }
}

impl Server {
    fn take_state(&self, state: &ServerState, clock: super::Clock) -> Result<(), String> {
        let now = FileSays::of(&self.config);
        if now.weight == state.file.weight {
            self.set_weight(state.weight.min(256));
        }
        if now.disabled == state.file.disabled {
            let admin = AdminState::named(&state.admin).ok_or_else(|| {
                format!(
                    "{}/{} is in a state called `{}`, which this version does not know",
                    self.backend, self.name, state.admin
                )
            })?;
            self.set_admin(admin);
        }
        if let Some(orders) = &state.orders {
            self.take_orders(orders, &now, &state.file);
        }
        if now.address != state.file.address {
            // What was found out is about another server.
            return Ok(());
        }
        if !self.config.address.is_unix()
            && self.config.address.asked().is_none()
            && let Some(address) = state.address
            && self.address().inet() != Some(address)
        {
            self.set_address(address.into());
        }
        self.set_service(state.service.as_ref());
        self.set_agent_down(state.agent_down && self.config.agent_check.is_some());
        self.set_kept_by_agent(state.kept_by_agent);
        // Without a check, then and now, an operator has said so.
        let same = self.check.is_some() || state.health.is_none();
        self.set_stopping(state.stopping && same);
        if let (Some((level, rise, fall)), Some((own_rise, own_fall))) = (state.health, self.check)
        {
            let before = Health { level, rise, fall };
            self.set_level(match (rise, fall) == (own_rise, own_fall) {
                true => level.min(before.top()),
                false => translated(before, own_rise, own_fall),
            });
        }
        if self.config.slowstart.is_some() {
            self.set_throttle(state.throttle.clamp(1, 100));
        }
        let live = &self.live;
        live.last_change_ms.store(state.last_change_ms, Relaxed);
        live.downtime_ms.store(state.downtime_ms, Relaxed);
        if let Some(at) = state.last_session_ms {
            live.last_session_ms.store(at, Relaxed);
        }
        if let Some(check) = &state.last_check
            && self.check.is_some()
            && let Some(status) = CheckStatus::named(&check.status)
        {
            self.set_last_check(CheckResult {
                status,
                code: check.code,
                duration: Duration::from_micros(check.took),
                info: check.info.clone(),
                at: clock.instant(check.at_ms),
            });
        }
        Ok(())
    }
}

impl AdminState {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }

    fn named(word: &str) -> Option<Self> {
        let all = [Self::Ready, Self::Drain, Self::Maint];
        all.into_iter().find(|state| state.word() == word)
    }
}

impl CheckStatus {
    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

#[cfg(test)]
mod tests;
