//! What changes of a server while it runs. It outlives a configuration: the server of the same name in the next one has
//! the same.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::{AdminState, CheckResult, Health, Server, server::Orders};
use crate::config::model::{self, Address};

/// No session was ever served.
pub(super) const NEVER: u64 = u64::MAX;

/// A server's state.
#[derive(Debug)]
pub(super) struct Live {
    /// See [`Health`].
    pub(super) level: AtomicU32,
    /// Its agent says that it is down.
    pub(super) agent_down: AtomicBool,
    /// Its agent has put it into maintenance.
    pub(super) kept_by_agent: AtomicBool,
    /// Its check was told that it wants nobody new.
    pub(super) stopping: AtomicBool,
    /// How the server is that it follows.
    pub(super) via: AtomicU8,
    /// [`AdminState`].
    pub(super) admin: AtomicU8,
    /// The operator's weight.
    pub(super) weight: AtomicU16,
    /// Userspace connections now.
    pub(super) active: AtomicU32,
    /// Connections of HTTP/1 to it, those included that are idle.
    pub(super) open: AtomicU32,
    /// Those of them that wait for the end of others, as it seems.
    pub(super) pressing: AtomicU32,
    /// Its backend's turn when it was last the least loaded.
    pub(super) turn: AtomicUsize,
    /// See [`Slots`].
    pub(super) kernel_slots: AtomicU32,
    /// See [`Slots`].
    pub(super) userspace_slots: AtomicU32,
    /// What the last check found.
    pub(super) last_check: ArcSwapOption<CheckResult>,
    /// What its agent has said the last time.
    last_agent: ArcSwapOption<CheckResult>,
    /// When it last became up or ceased to be.
    pub(super) last_change_ms: AtomicU64,
    /// Time spent down before the present spell.
    pub(super) downtime_ms: AtomicU64,
    /// When a session was last given to it.
    pub(super) last_session_ms: AtomicU64,
    /// Percent of its weight that it has: below 100 in a slow start.
    pub(super) throttle: AtomicU8,
    /// What operators have ordered beside that.
    pub(super) orders: Orders,
    /// Rises each time that its sessions are to end.
    pub(super) shutdowns: Shutdowns,
    /// The file has it no more.
    retired: AtomicBool,
}

impl Live {
    /// That of a server that has just begun.
    pub(super) fn new(config: &model::Server, check: Option<(u32, u32)>) -> Self {
        let admin = match config.disabled {
            true => AdminState::Maint,
            false => AdminState::Ready,
        };
        Self {
            agent_down: AtomicBool::new(false),
            kept_by_agent: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            via: AtomicU8::new(0),
            level: AtomicU32::new(check.map_or(1, |(rise, _)| rise)),
            admin: AtomicU8::new(admin as u8),
            weight: AtomicU16::new(config.weight),
            active: AtomicU32::new(0),
            turn: AtomicUsize::new(0),
            kernel_slots: AtomicU32::new(0),
            open: AtomicU32::new(0),
            pressing: AtomicU32::new(0),
            userspace_slots: AtomicU32::new(config.maxconn.unwrap_or(u32::MAX)),
            last_check: ArcSwapOption::empty(),
            last_agent: ArcSwapOption::empty(),
            last_change_ms: AtomicU64::new(0),
            downtime_ms: AtomicU64::new(0),
            last_session_ms: AtomicU64::new(NEVER),
            throttle: AtomicU8::new(100),
            orders: Orders::new(config),
            shutdowns: Shutdowns::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// Whether it takes no new flows any more, because the file has it no longer.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

/// How often sessions were to end.
#[derive(Debug, Default)]
pub(super) struct Shutdowns {
    /// Each session asks when it begins, and spares itself the lock.
    count: AtomicU64,
    /// How often it was when an operator last wanted it.
    ordered: AtomicU64,
    told: watch::Sender<u64>,
}

impl Shutdowns {
    pub(super) fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Those that there are are to end.
    pub(super) fn rise(&self) {
        let count = self.count.fetch_add(1, SeqCst) + 1;
        self.told.send_modify(|told| *told = count.max(*told));
    }

    /// The same where it is an operator who wants it.
    pub(super) fn order(&self) {
        // Before anybody can see that they are to end, and once more in case that others were to end meanwhile.
        self.ordered.fetch_max(self.count() + 1, SeqCst);
        self.rise();
        self.ordered.fetch_max(self.count(), SeqCst);
    }

    /// How often sessions had been to end after the last time that an operator wanted it.
    pub(super) fn ordered(&self) -> u64 {
        self.ordered.load(SeqCst)
    }

    /// Resolves once it is more than `count`, or nobody is left who would say so.
    pub(super) fn more_than(&self, count: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut told = self.told.subscribe();
        async move {
            let _ = told.wait_for(|told| *told > count).await;
        }
    }
}

/// Where a server listens.
#[derive(Debug)]
pub(super) struct Whereabouts {
    /// A name, as long as nobody knows its address.
    pub(super) address: ArcSwap<Address>,
    /// Rises each time that its address changes.
    pub(super) moves: AtomicU32,
    /// The host and the port that it stands for, of those that its name has.
    pub(super) service: ArcSwapOption<(String, u16)>,
}

impl Whereabouts {
    /// What the file says, and what has come of that.
    pub(super) fn new(config: &model::Server) -> Self {
        Self {
            address: ArcSwap::from_pointee(match config.initial {
                Some(address) => address.into(),
                None => config.address.clone(),
            }),
            moves: AtomicU32::new(0),
            service: ArcSwapOption::empty(),
        }
    }
}

/// Where a level of one rise and fall stands with another.
pub(super) fn translated(before: Health, rise: u32, fall: u32) -> u32 {
    let after = Health {
        level: 0,
        rise,
        fall,
    };
    match before.is_up() {
        true if before.level >= before.top() => after.top(),
        true => (rise + (before.level - before.rise)).min(after.top()),
        false => before.level.min(rise - 1),
    }
}

impl Server {
    /// Whether the other is the same server in another configuration.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.live, &other.live)
    }

    /// Whether connections that were made to the other may be used for this one.
    pub fn is_reached_like(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.config, &other.config);
        Arc::ptr_eq(&self.at, &other.at)
            && ours.source == theirs.source
            && ours.dialling == theirs.dialling
            && ours.tls == theirs.tls
            && ours.send_proxy == theirs.send_proxy
            && ours.proxy_options == theirs.proxy_options
            && ours.protocol == theirs.protocol
    }

    /// What its agent has said the last time; `None` before the first.
    pub fn last_agent(&self) -> Option<Arc<CheckResult>> {
        self.live.last_agent.load_full()
    }

    /// Its agent has said that.
    pub fn set_last_agent(&self, result: &CheckResult) {
        self.live.last_agent.store(Some(Arc::new(result.clone())));
    }

    /// It takes no new flows from now on, and carries on with those that it has.
    pub(super) fn retire(&self) {
        self.live.retired.store(true, Relaxed);
    }

    /// Takes what the file says now where that is something else than it said before: what it does not speak of stays as
    /// it is.
    pub(super) fn take_over(&self, before: &Self, now_ms: u64) {
        let was_up = before.is_up();
        let (ours, theirs) = (&self.config, &before.config);
        if ours.weight != theirs.weight {
            self.set_weight(ours.weight);
        }
        match (theirs.disabled, ours.disabled) {
            (false, true) => {
                self.set_admin(AdminState::Maint);
                self.set_by_file(true);
            }
            (true, false) => self.set_admin(AdminState::Ready),
            _ => {}
        }
        if ours.maxconn != theirs.maxconn {
            self.set_maxconn(ours.maxconn);
        }
        let elsewhere = !Arc::ptr_eq(&self.at, &before.at);
        if let Some(address) = ours.initial.filter(|_| !self.is_resolved()) {
            self.set_address(address.into());
        }
        if elsewhere || ours.agent_check.is_none() {
            self.set_agent_down(false);
        }
        match (before.health(), self.check) {
            // What the one before was asked says nothing of this one.
            (_, Some((rise, _))) if elsewhere => self.begin_checks(rise),
            (None, Some((rise, _))) => self.begin_checks(rise),
            (Some(health), Some((rise, fall))) if (health.rise, health.fall) != (rise, fall) => {
                self.set_level(translated(health, rise, fall));
            }
            (Some(_), Some(_)) => {}
            (_, None) => self.live.last_check.store(None),
        }
        // Without a check it is an operator's word, which stays.
        if elsewhere || self.check.is_none() && before.check.is_some() {
            self.set_stopping(false);
        }
        if ours.slowstart.is_none() {
            self.live.throttle.store(100, SeqCst);
        }
        if was_up != self.is_up() {
            self.note_change(now_ms);
        }
    }

    /// Until its first check it counts as up, and a first failure alone makes it down.
    fn begin_checks(&self, rise: u32) {
        self.set_level(rise);
        self.live.last_check.store(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_keeps_its_meaning_under_another_rise_and_fall() {
        let at = |level| Health {
            level,
            rise: 2,
            fall: 3,
        };
        // Down, on its way up, up with failures against it, up.
        let levels = [0, 1, 2, 3, 4];
        let after = |rise, fall| levels.map(|level| translated(at(level), rise, fall));
        assert_eq!(after(2, 3), levels);
        assert_eq!(after(1, 1), [0, 0, 1, 1, 1]);
        assert_eq!(after(5, 2), [0, 1, 5, 6, 6]);
    }
}
