//! What operators have ordered of a server while it runs, beside its state, weight and address.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::Server;
use crate::{config::model, topology::carried::FileSays};

/// Where something is asked instead of where the file says, as far as an operator has said so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    /// Another address.
    pub address: Option<IpAddr>,
    /// Another port.
    pub port: Option<u16>,
    /// What an agent is sent instead.
    pub send: Option<Vec<u8>>,
}

/// The orders, for the process that takes this one's place. What it does not know of it must not leave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersState {
    maxconn: Option<u32>,
    by_file: bool,
    checks_off: bool,
    agent_off: bool,
    check: Elsewhere,
    agent: Elsewhere,
}

/// The orders. They outlive a configuration.
#[derive(Debug)]
pub(in crate::topology) struct Orders {
    /// Most connections at a time, `u32::MAX` is unbounded: what the file says until somebody says something else.
    maxconn: AtomicU32,
    /// Its maintenance is the file's.
    by_file: AtomicBool,
    checks_off: AtomicBool,
    agent_off: AtomicBool,
    check: ArcSwap<Elsewhere>,
    agent: ArcSwap<Elsewhere>,
}

impl Orders {
    /// What the file says.
    pub(in crate::topology) fn new(config: &model::Server) -> Self {
        Self {
            maxconn: AtomicU32::new(config.maxconn.unwrap_or(u32::MAX)),
            by_file: AtomicBool::new(config.disabled),
            checks_off: AtomicBool::new(false),
            agent_off: AtomicBool::new(false),
            check: ArcSwap::default(),
            agent: ArcSwap::default(),
        }
    }
}

impl Server {
    /// What operators have ordered.
    pub(in crate::topology) fn orders(&self) -> OrdersState {
        OrdersState {
            maxconn: self.maxconn(),
            by_file: self.is_disabled_by_file(),
            checks_off: !self.checks_enabled(),
            agent_off: !self.agent_enabled(),
            check: Elsewhere::clone(&self.check_elsewhere()),
            agent: Elsewhere::clone(&self.agent_elsewhere()),
        }
    }

    /// The same orders hold here, where the file says what it has said in the other process.
    pub(in crate::topology) fn take_orders(
        &self,
        orders: &OrdersState,
        file: &FileSays,
        before: &FileSays,
    ) {
        if file.maxconn == before.maxconn && self.maxconn() != orders.maxconn {
            self.set_maxconn(orders.maxconn);
        }
        if file.disabled == before.disabled {
            self.set_by_file(orders.by_file);
        }
        self.enable_checks(!orders.checks_off);
        self.enable_agent(!orders.agent_off);
        self.set_check_elsewhere(|to| to.clone_from(&orders.check));
        self.set_agent_elsewhere(|to| to.clone_from(&orders.agent));
    }

    /// Most connections at a time; `None` is unbounded.
    pub fn maxconn(&self) -> Option<u32> {
        Some(self.live.orders.maxconn.load(SeqCst)).filter(|&max| max != u32::MAX)
    }

    /// Another bound holds. What the kernel path has of it stays, as far as there is so much.
    pub(in crate::topology) fn set_maxconn(&self, max: Option<u32>) {
        let max = max.unwrap_or(u32::MAX);
        self.live.orders.maxconn.store(max, SeqCst);
        let mut slots = self.slots();
        slots.kernel = match max {
            u32::MAX => 0,
            max => slots.kernel.min(max),
        };
        slots.userspace = max - slots.kernel;
        self.set_slots(slots);
    }

    /// Whether its maintenance is what the file began with, and no operator has spoken since.
    pub fn is_disabled_by_file(&self) -> bool {
        self.live.orders.by_file.load(Relaxed)
    }

    /// Whose its state is from now on.
    pub(in crate::topology) fn set_by_file(&self, by_file: bool) {
        self.live.orders.by_file.store(by_file, Relaxed);
    }

    /// Whether its checks are made, as far as operators are concerned.
    pub fn checks_enabled(&self) -> bool {
        !self.live.orders.checks_off.load(Relaxed)
    }

    /// Whether its agent is asked, as far as operators are concerned.
    pub fn agent_enabled(&self) -> bool {
        !self.live.orders.agent_off.load(Relaxed)
    }

    /// Makes its checks, or does not.
    pub fn enable_checks(&self, enabled: bool) {
        self.live.orders.checks_off.store(!enabled, Relaxed);
    }

    /// Asks its agent, or does not.
    pub fn enable_agent(&self, enabled: bool) {
        self.live.orders.agent_off.store(!enabled, Relaxed);
    }

    /// Where its checks go instead.
    pub fn check_elsewhere(&self) -> Arc<Elsewhere> {
        self.live.orders.check.load_full()
    }

    /// Sends its checks elsewhere.
    pub fn set_check_elsewhere(&self, change: impl FnOnce(&mut Elsewhere)) {
        changed(&self.live.orders.check, change);
    }

    /// Where its agent is asked instead, and what it is sent.
    pub fn agent_elsewhere(&self) -> Arc<Elsewhere> {
        self.live.orders.agent.load_full()
    }

    /// Asks its agent elsewhere, or something else.
    pub fn set_agent_elsewhere(&self, change: impl FnOnce(&mut Elsewhere)) {
        changed(&self.live.orders.agent, change);
    }
}

fn changed(slot: &ArcSwap<Elsewhere>, change: impl FnOnce(&mut Elsewhere)) {
    let mut now = Elsewhere::clone(&slot.load());
    change(&mut now);
    slot.store(Arc::new(now));
}
